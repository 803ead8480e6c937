"""Names the argument of a module in which a skeleton enters, and its axes there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_jointprune.attach.layout import Layout

LISTED = 12  # largest number of tensors, or of values to paste, in an error message


@dataclass(frozen=True)
class Target:
    """Describes an input of a module.

    >>> target = Target.parse("encoder:batch.keypoints", "b t (j c)")
    >>> target.module, target.path, target.input, target.axes
    ('encoder', ('batch', 'keypoints'), 'encoder:batch.keypoints', 'b t (j c)')

    Args:
        module: path of the module as in `named_modules()`; `""` is the root.
        path: the argument of its forward, then keys, attributes or indices inside it.
        layout: the axes of that tensor.
        joints: which of the skeleton's joints it holds if it is a part; None means all joints.
    """

    module: str
    path: tuple[str, ...]
    layout: Layout
    joints: range | None = None

    @classmethod
    def parse(cls, input: str, axes: str) -> Target:  # noqa: A002 -- the users' word
        """Return the target of the two strings that `input` and `axes` return."""
        module, path = parse_input(input)
        return cls(module, path, Layout.parse(axes))

    @property
    def input(self) -> str:
        """Return its place, as `[module path:]argument[.key…]`."""
        return input_string(self.module, self.path)

    @property
    def axes(self) -> str:
        """Return its axes in einops' words."""
        return self.layout.pattern


def parts_of(text: str) -> list[str]:
    """Return the inputs that hold a skeleton together.

    >>> parts_of("body + left_hand+right_hand")
    ['body', 'left_hand', 'right_hand']
    """
    return [part.strip() for part in text.split("+")]


def part_targets(
    places: Sequence[tuple[str, tuple[str, ...]]], layout: Layout, sizes: Sequence[int]
) -> tuple[Target, ...]:
    """Return the targets of a skeleton's parts, whose joints are numbered through.

    Args:
        places: path of the module and of the argument of each part.
        layout: the axes of all of them.
        sizes: number of joints of each part.
    """
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    return tuple(
        Target(*place, layout, range(start, start + size))
        for place, start, size in zip(places, starts, sizes, strict=True)
    )


def written(targets: Sequence[Target]) -> dict[str, Any]:
    """Return the state of targets for a checkpoint: one, the parts of a skeleton, or none yet."""
    return {
        "input": " + ".join(target.input for target in targets) or None,
        "axes": targets[0].axes if targets else None,
        "sizes": [len(target.joints) for target in targets if target.joints is not None],
    }


def read_targets(state: Mapping[str, Any]) -> tuple[Target, ...]:
    """Return the targets for which `written` returned this state."""
    if state["input"] is None:
        return ()
    if not state["sizes"]:
        return (Target.parse(state["input"], state["axes"]),)
    places = [parse_input(part) for part in parts_of(state["input"])]
    return part_targets(places, Layout.parse(state["axes"]), state["sizes"])


def where(targets: Sequence[Target]) -> str:
    """Return the place where a skeleton enters, for messages; empty for no targets."""
    return "{input} ({axes})".format(**written(targets)) if targets else ""


def input_string(module: str, path: tuple[str, ...]) -> str:
    """Return a module's path and an argument's path as users write them."""
    return f"{module}:{'.'.join(path)}" if module else ".".join(path)


def parse_input(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the module's path and the argument's path of `[module path:]argument[.key…]`.

    Raises:
        ValueError: the argument or a part of its path is empty.
    """
    module, _, argument = text.strip().rpartition(":")
    path = tuple(part.strip() for part in argument.split("."))
    if not all(path):
        raise ValueError(
            f"Expected input as [module path:]argument[.key…] but got {text!r}. "
            'Write it like input="encoder.net:x" or input="batch.keypoints".'
        )
    return module.strip(), path


def check_written(input: Any) -> None:  # noqa: A002 -- the users' word
    """Refuse an `input` that is no string, or malformed, before there is a model.

    Raises:
        ValueError: if it is; proposes how it is written.
    """
    if input is None:
        return
    if not isinstance(input, str):
        parts = [str(part) for part in input] if isinstance(input, list | tuple) else []
        fix = " + ".join(parts) or "keypoints"
        raise ValueError(f'Expected input as a string but got {input!r}. Pass input="{fix}".')
    dotted = re.sub(r"""\[\s*["']?(\w+)["']?\s*\]""", r".\1", input)
    if dotted != input:
        raise ValueError(
            f"Expected input as [module path:]argument[.key…] but got {input!r}. "
            f'Pass input="{dotted}".'
        )
    for part in parts_of(input):
        parse_input(part)


def alternatives(argument: str, values: Sequence[str]) -> str:
    """Return the arguments to paste.

    >>> alternatives("axes", ["b t (j c)", "b t (c j)"])
    'axes="b t (j c)" or axes="b t (c j)"'
    """
    return " or ".join(f'{argument}="{value}"' for value in values[:LISTED])
