"""Test that the axis of the batch has as many samples as there are labels, or is refused."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune import JointPruningLayer
from lightning_jointprune.attach.detect import resolve, resolve_parts
from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.attach.probe import Seen
from lightning_jointprune.attach.samples import SampleCheck, batch_elsewhere, label_counts

J, C = 9, 2


def seen(*shape: int, path: str = "x") -> Seen:
    return Seen("", (path,), shape, torch.float32)


@pytest.mark.parametrize(
    ("batch", "counts"),
    [
        ([torch.zeros(6, 32, J, C), torch.zeros(32)], {32}),
        ({"x": torch.zeros(6, 32, J, C), "one_hot": torch.zeros(32, 4)}, {32}),
        ([torch.zeros(6, 32), torch.zeros(32), torch.zeros(7)], {32, 7}),
        (SimpleNamespace(x=torch.zeros(6, 32, J, C), scale=torch.zeros(())), set()),
        (None, set()),
    ],
)
def test_labels_are_the_vectors_of_a_batch_or_else_its_matrices(
    batch: Any, counts: set[int]
) -> None:
    assert label_counts(batch) == counts


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([(J, C), (C, J), (J,)]))
def test_frames_first_are_refused_and_what_is_offered_puts_the_batch_where_the_labels_are(
    frames: int, batch: int, after: tuple[int, ...]
) -> None:
    if frames == J:
        with pytest.raises(ValueError, match="Expected one axis of 9 joints but got 2"):
            resolve([seen(batch, frames, *after)], J, labels={batch})
        return
    right = resolve([seen(batch, frames, *after)], J, labels={batch})
    assert right.layout.groups[0] == ("b",)
    if frames == batch:  # what cannot be told is taken as all usual loaders have it
        return
    if batch == J:
        with pytest.raises(ValueError, match="Expected one axis of 9 joints but got 2"):
            resolve([seen(frames, batch, *after)], J, labels={batch})
        return
    if after == (C, J) and batch > 4:
        assert right.axes in ("b c t j", "b t c j")
    with pytest.raises(ValueError, match="Expected as many samples on axis b") as caught:
        resolve([seen(frames, batch, *after)], J, labels={batch})
    *moved, last = re.findall(r'axes="([^"]+)"', str(caught.value))
    assert ("b",) in [Layout.parse(axes).groups[1] for axes in moved]
    for axes in (*moved, last):
        assert resolve([seen(frames, batch, *after)], J, axes=axes, labels={batch}).axes == axes


def test_the_offers_for_a_flat_skeleton_put_the_batch_where_the_labels_are() -> None:
    for where in (None, "x"):
        with pytest.raises(ValueError, match=r'pass axes="t b \(j c\)" or axes="t b \(c j\)" or'):
            resolve([seen(6, 32, J * C)], J, where, labels={32})


def test_parts_are_held_against_the_labels_too() -> None:
    parts = [seen(6, 32, 4, C), seen(6, 32, 5, C, path="y")]
    with pytest.raises(ValueError, match=r'labels in the batch, 32, but got 6.*axes="t b j c"'):
        resolve_parts(parts, J, "x + y", labels={32})
    assert len(resolve_parts(parts, J, "x + y", "t b j c", labels={32})) == 2
    assert len(resolve_parts(parts, J, "x + y", labels={6})) == 2


@pytest.mark.parametrize("axes", ["b j c", "(b j) c", "t b j c"])
def test_what_has_no_other_axis_for_the_batch_is_left_alone(axes: str) -> None:
    assert batch_elsewhere(axes, (6, 32, J, C)[: len(Layout.parse(axes).groups)], {32}) == []


def test_two_axes_of_one_length_are_watched_until_a_batch_decides() -> None:
    layer, words = JointPruningLayer(J), ("b", "t", "j", "c")
    assert SampleCheck.is_needed("b t j c", (6, 6, J, C), {6})
    assert not SampleCheck.is_needed("b t j c", (6, 5, J, C), {6})
    for last, refused in (((4, 6), False), ((6, 4), True)):
        check = SampleCheck("x")
        check.watch(layer)
        for counts in ({6}, frozenset()):
            check.counts = counts
            layer(torch.zeros(6, 6, J, C), words)
            assert check.waits
        check.counts = {4}
        layer.eval()(torch.zeros(6, 4, J, C), words)  # a validation has labels of its own
        assert check.waits
        layer.train()
        if refused:
            with pytest.raises(ValueError, match=r"labels in the batch, 4, but got 6 in input `x`"):
                layer(torch.zeros(*last, J, C), words)
        else:
            layer(torch.zeros(*last, J, C), words)
            assert not check.waits
            assert not layer._forward_pre_hooks
