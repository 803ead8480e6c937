"""Between two readings of a batch none is guessed: it is told apart, or refused with both."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.attach.detect import resolve, resolve_parts
from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.attach.probe import Seen

J, LABELS = 75, 6
POSE = 33  # joints of which MediaPipe gives a fourth value
LENGTHS = [1, 2, 3, 4, LABELS, 8, J, 2 * J, 3 * J, 3 * J + POSE, 4 * J, 6 * J]
Shape = tuple[int, ...]


def seen(shape: Shape, name: str = "x") -> Seen:
    return Seen("", (name,), shape, torch.float32)


def shapes(least: int = 2, most: int = 5) -> st.SearchStrategy[Shape]:
    return st.lists(st.sampled_from(LENGTHS), min_size=least, max_size=most).map(tuple)


def joint_axes(shape: Shape) -> set[int]:
    """The axes that the joints may be on, by themselves or with their channels at the end."""
    alone = {axis for axis in range(1, len(shape)) if shape[axis] == J}
    widths = [c * J for c in range(2, 13 if len(shape) == 3 else 5)]
    widths += [3 * J + POSE] if len(shape) < 4 else []
    return alone | ({len(shape) - 1} if shape[-1] in widths else set())


def offered(error: pytest.ExceptionInfo[ValueError], argument: str) -> list[str]:
    return re.findall(rf'{argument}="([^"]+)"', str(error.value))


def found(shape: Shape, **how: Any) -> Layout | None:
    try:
        return resolve([seen(shape)], J, **how).layout
    except ValueError:
        return None


@given(shapes())
def test_one_axis_is_taken_where_it_alone_can_have_the_joints_by_themselves(shape: Shape) -> None:
    axes, layout = joint_axes(shape), found(shape)
    if layout is None:
        assert len(axes) != 1 or shape[next(iter(axes))] != J
    else:
        assert axes == {layout.groups.index(("j",))}


@given(shapes(least=3))
def test_what_is_offered_has_every_axis_that_can_have_the_joints(shape: Shape) -> None:
    axes = joint_axes(shape)
    if not axes or found(shape) is not None:
        return
    with pytest.raises(ValueError, match=r"Pass|pass") as error:
        resolve([seen(shape)], J, "x")
    layouts = [Layout.parse(text) for text in offered(error, "axes")]
    with_joints = [["j" in group for group in layout.groups] for layout in layouts]
    places = {axis.index(True) for axis in with_joints}
    assert axes <= places
    for layout in layouts:
        assert found(shape, axes=layout.pattern) == layout


@given(shapes(least=3), st.sampled_from([{LABELS}, {LABELS, 8}]))
def test_the_batch_is_where_the_labels_are_or_nowhere_else(shape: Shape, labels: set[int]) -> None:
    layout = found(shape, labels=labels)
    if layout is None:
        return
    free = [axis for axis, (word,) in enumerate(layout.groups) if word not in ("b", "j", "c")]
    assert shape[0] in labels or not any(shape[axis] in labels for axis in free)


@given(shapes(least=3), shapes(least=3))
def test_of_two_inputs_that_can_be_the_skeleton_none_is_taken(first: Shape, second: Shape) -> None:
    inputs = {"first": first, "second": second}
    fitting = [name for name, shape in inputs.items() if J in shape[1:]]
    try:
        target = resolve([seen(shape, name) for name, shape in inputs.items()], J)
    except ValueError as error:
        both = re.findall(r'input="([^"]+)"', str(error))
        assert len(fitting) != 2 or both == ["first", "second"]
    else:
        assert [target.input] == fitting
        (other,) = {*inputs} - {target.input}
        flat = joint_axes(inputs[other]) and len(inputs[other]) < 4
        assert not (flat and inputs[other][-1] in (2 * J, 3 * J, 4 * J))


@given(
    st.lists(st.sampled_from([2, 3, 4, 8, 33, 42, 37, 38]), min_size=2, max_size=3),
    st.integers(0, 2),
    st.data(),
)
def test_parts_are_joined_on_the_only_axis_on_which_they_can_be(
    before: Sequence[int], at: int, data: st.DataObject
) -> None:
    """Of an axis that is 33 and 42 long, and others that may add up to 75 as well."""
    shared = [8, *before]
    place = 1 + at % len(before)
    parts = []
    for name, length in (("a", 33), ("b", 42)):
        shape = list(shared)
        shape[place] = length
        if data.draw(st.booleans()):
            shape[-1] = shape[-1] if place == len(shape) - 1 else data.draw(st.sampled_from([2, 3]))
        parts.append(seen(tuple(shape), name))
    sums = [sum(lengths) for lengths in zip(*(part.shape for part in parts), strict=True)]
    try:
        targets = resolve_parts(parts, J, "a + b")
    except ValueError:
        return
    (axis,) = {target.layout.groups.index(("j",)) for target in targets}
    assert sums[axis] == J
    lengths = [part.shape[axis] for part in parts]
    assert lengths == [33, 42] or sums.count(J) == 1
    assert [len(target.joints or ()) for target in targets] == lengths
