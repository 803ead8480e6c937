"""Test that the picture shows the same skeleton as the figure."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lightning_jointprune.report.numbers import importance_numbers, skeleton_numbers
from lightning_jointprune.report.picture import MARGIN, WIDTH, skeleton_picture
from lightning_jointprune.skeletons import skeleton_names
from tests.records import record_of, unnamed


@pytest.mark.parametrize("skeleton", skeleton_names())
def test_kept_joints_are_filled_at_their_places_and_dropped_ones_are_white(skeleton: str) -> None:
    record = record_of(skeleton, (0, 3))
    picture, drawing = (
        skeleton_picture(record),
        skeleton_numbers(record, importance_numbers(record)),
    )
    assert picture is not None
    assert drawing is not None
    assert (picture.dtype, picture.shape[1:]) == (torch.uint8, (WIDTH, 3))
    left, top = min(drawing.x), min(drawing.y)
    high = max(drawing.y) - top
    scale = (len(picture) - 2 * MARGIN) / high

    def colour(joint: int) -> list[int]:
        across = MARGIN + scale * (drawing.x[joint] - left)
        down = MARGIN + scale * (drawing.y[joint] - top)
        pixel: list[int] = picture[round(down), round(across)].tolist()
        return pixel

    kept, far = colour(0), len(drawing.joints) - 1
    assert kept == colour(3)
    red, _, blue = kept
    assert blue > red + 100  # certain joints are blue
    if len(drawing.joints) < 60:  # in larger ones, joints cover each other
        assert colour(far) == [255, 255, 255]


def test_a_skeleton_without_places_has_no_picture_and_one_on_a_line_has() -> None:
    assert skeleton_picture(unnamed((0.9, 0.1))) is None
    for pose in (((0.0, 0.0), (1.0, 0.0)), ((0.0, 0.0), (0.0, 1.0))):
        assert skeleton_picture(replace(unnamed((0.9, 0.1)), pose=pose)) is not None
