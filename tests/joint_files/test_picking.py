"""Test that a clip comes on the axes that were asked for, or is refused."""

from __future__ import annotations

import numpy as np
import pytest
from einops import rearrange

from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.joint_files.picking import Picking
from tests.joint_files.written import noise, selection_of


def picking(axes: str) -> Picking:
    layout = Layout.parse(f"b {axes}")
    return Picking(selection_of((0, 2), 5), Layout(layout.groups[1:], layout.blocks))


@pytest.mark.parametrize("axes", ["t j c", "c t j", "t (j c)", "(c j) t", "j t c", "t m j c"])
def test_a_clip_is_arranged_as_by_einops(axes: str) -> None:
    clip = noise(4, 1, 2, 3)
    wanted = rearrange(clip, f"t m j c -> {axes}" if "m" in axes else f"t 1 j c -> {axes}")
    assert np.array_equal(picking(axes).arranged(clip, "x"), wanted)


@pytest.mark.parametrize("axes", ["m c t j", "t (m j) c"])
def test_several_people_have_an_axis(axes: str) -> None:
    clip = noise(4, 2, 2, 3)
    assert np.array_equal(picking(axes).arranged(clip, "x"), rearrange(clip, f"t m j c -> {axes}"))
    with pytest.raises(ValueError, match=r'one person in x .* but got 2\. Pass axes="t m j c"'):
        picking("t j c").arranged(clip, "x")


@pytest.mark.parametrize("axes", ["t j", "t j c p", "t (2*3 + 3*3)"])
def test_other_axes_are_refused(axes: str) -> None:
    with pytest.raises(ValueError, match="axes of frames t, joints j, coordinates c"):
        picking(axes).arranged(noise(4, 1, 2, 3), "x")
