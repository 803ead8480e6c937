"""Names a model's inputs, finds their axes of batch and frames, and gives them other sizes.

Axes have einops' words: `b` is the batch and `t` the frames of a skeleton.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_jointprune.attach.hooks import attached_layers
from lightning_jointprune.attach.modules import module_at, signature_of
from lightning_jointprune.attach.target import Target
from lightning_jointprune.compaction.tracing import Call
from lightning_jointprune.gates.layer import LayerCall

SIZES = {"b": "batch", "t": "time"}  # word of each axis that may be of any size, and its name


@dataclass(frozen=True)
class Input:
    """Describes one tensor of a call.

    Args:
        name: name of the argument, then keys and indices inside it, such as `"batch.skeleton"`.
        tensor: its value in the example.
        words: axis to `"b"` or `"t"`, for the axes of batch and frames.
    """

    name: str
    tensor: Tensor
    words: Mapping[int, str]

    def resized(self, sizes: Mapping[str, int]) -> Tensor:
        """Return the example with more clips or frames by repetition, or fewer of them."""
        x = self.tensor
        for axis, word in self.words.items():
            if word in sizes:
                places = torch.arange(sizes[word], device=x.device) % x.shape[axis]
                x = x.index_select(axis, places)
        return x


def read_inputs(
    model: nn.Module,
    called: str,
    targets: Sequence[Target],
    call: Call,
    paths: Mapping[int, tuple[str, ...]] | None = None,
) -> tuple[Input, ...]:
    """Return the tensors of a call, in the order of `Called.tensors`.

    The skeleton's axes are those of its target. In another tensor, the first axis is the batch if
    it is as long, and another axis the frames if that is as long.

    Args:
        model: the model.
        called: path of the module that is called.
        targets: where the skeleton enters.
        call: an example.
        paths: what targets call a tensor, by its `id`; others are called by where they are kept.

    Raises:
        ValueError: if the example has one clip or one frame, so that its axes cannot be told
            apart; or if no tensor of it can be seen.
    """
    named = _named(module_at(model, called), call, paths or {})
    layouts = {
        ".".join(target.path): target.layout for target in targets if target.module == called
    }
    places = {
        name: {
            axis: group[0]
            for axis, group in enumerate(layouts[name].groups)
            if len(group) == 1 and group[0] in SIZES
        }
        for name in named
        if name in layouts
    }
    sizes = _sizes_of({word: named[n].shape[a] for n in places for a, word in places[n].items()})
    if not places:
        sizes = _sizes_of(_sizes_inside(model, called, call))
    small = [f"{size} {SIZES[word]}" for word, size in sizes.items() if size < 2]
    if small or not named:
        found = f"one of size {' and '.join(small)}" if small else "one without a tensor in it"
        raise ValueError(
            f"Expected an example of at least 2 clips of 2 frames but got {found}. Sizes of 1 "
            "cannot be told from axes that are always 1; pass torch.cat([x, x])."
            if small
            else f"Expected tensors in the example but got {found}. Pass the tensors themselves, "
            "or an object that has them as attributes."
        )
    return tuple(
        Input(name, x, places[name] if name in places else _alike(x, sizes))
        for name, x in named.items()
    )


def _sizes_of(found: Mapping[str, int]) -> dict[str, int]:
    return {word: size for word, size in found.items() if word in SIZES}


def _alike(x: Tensor, sizes: Mapping[str, int]) -> dict[int, str]:
    """Return the axes of another tensor that are as long as those of the skeleton."""
    words = {}
    if x.ndim and x.shape[0] == sizes.get("b"):
        words[0] = "b"
    for axis in range(1, x.ndim):
        if x.shape[axis] == sizes.get("t") and "t" not in words.values():
            words[axis] = "t"
    return words


def _named(
    module: nn.Module, call: Call, paths: Mapping[int, tuple[str, ...]]
) -> dict[str, Tensor]:
    """Return the tensors of a call by name."""
    signature = signature_of(module)
    parameters = list(signature.parameters.values()) if signature else []
    leaves, _ = pytree.tree_flatten_with_path((call.args, call.kwargs))
    tensors = [(keys, leaf) for keys, leaf in leaves if isinstance(leaf, Tensor)]
    found = {".".join(_path(parameters, keys)): leaf for keys, leaf in tensors}
    # An object may keep a tensor elsewhere than where it gives it: `batch.x` in `batch._store`.
    wanted = {at: ".".join(path) for at, path in paths.items() if ".".join(path) not in found}
    return {wanted.pop(id(leaf), name): leaf for name, leaf in found.items()}


def _path(parameters: Sequence[Parameter], keys: Sequence[Any]) -> list[str]:
    """Return the argument's name and the path inside it, given keys into `(args, kwargs)`."""
    words = [str(_word_of(key)) for key in keys]
    if words[0] == "1":
        return words[1:]
    place = int(words[1])
    for at, parameter in enumerate(parameters[: place + 1]):
        if parameter.kind is Parameter.VAR_POSITIONAL:
            return [parameter.name, str(place - at), *words[2:]]
    return [parameters[place].name if place < len(parameters) else f"input_{place}", *words[2:]]


def _word_of(key: Any) -> Any:
    """Return the dict's key, the index or the attribute's name that a key of PyTorch's trees is."""
    if isinstance(key, pytree.MappingKey):
        return key.key
    return key.idx if isinstance(key, pytree.SequenceKey) else key.name


def _sizes_inside(model: nn.Module, called: str, call: Call) -> dict[str, int]:
    """Return the sizes of a skeleton that enters further inside, as the layer before it sees it."""
    found: dict[str, int] = {}

    def note(_: nn.Module, args: tuple[Any, ...]) -> None:
        given = LayerCall(*args)
        found.update(zip(given.axes, given.x.shape, strict=True))

    hooks = [layer.register_forward_pre_hook(note) for _, layer in attached_layers(model)]
    try:
        call.on(module_at(model, called))
    finally:
        for hook in hooks:
            hook.remove()
    return found
