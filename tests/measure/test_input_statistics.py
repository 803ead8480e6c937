"""Test the statistics of what reaches the gates: motion, detection, interpolation, the picture."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor

from lightning_jointprune.measure.input_statistics import InputStatistics
from lightning_jointprune.record.confounds import JointInput, confounds

AXES = ("b", "t", "j", "c")


def measured(
    x: Tensor, axes: tuple[str, ...] = AXES, frame: tuple[float, float] | None = None
) -> list[JointInput]:
    statistics = InputStatistics(x.shape[axes.index("j")], frame)
    statistics.add([(x, axes, None)])
    return statistics.result()


def moving(frames: int = 12, joints: int = 4, seed: int = 0) -> Tensor:
    """Return two clips of joints that jitter about the middle of the picture."""
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + 0.05 * torch.randn(2, frames, joints, 2, generator=generator)


def listed(found: list[JointInput]) -> list[float]:
    return [math.nan if value is None else value for joint in found for value in joint]


def test_motion_is_the_mean_step_from_frame_to_frame() -> None:
    x = torch.full((1, 3, 2, 2), 0.5)
    x[0, :, 1, 0] = torch.tensor([0.1, 0.5, 0.2])  # steps of 0.4 and 0.3 in x, none in y
    still, moves = measured(x)
    assert still.motion == 0.0
    assert moves.motion == pytest.approx((0.4 + 0.3) / 4)


def test_steps_from_and_to_a_missing_frame_are_no_motion() -> None:
    x = moving()
    expected = measured(x[:, :6])[1].motion
    x[:, 6:, 1] = math.nan
    assert measured(x)[1].motion == pytest.approx(expected)


@pytest.mark.parametrize("missing", [0.0, math.nan, math.inf])
def test_a_joint_is_detected_where_it_is_finite_and_not_all_0(missing: float) -> None:
    x = moving()
    x[:, 3:, 2] = missing
    x[:, :, 3, 0] = 0.0  # one coordinate may be 0
    assert [joint.detected for joint in measured(x)] == [1.0, 1.0, 0.25, 1.0]


@pytest.mark.parametrize("padding", [0.0, math.nan])
def test_padding_changes_nothing(padding: float) -> None:
    x = moving()
    x[:, 5:8, 1] = math.nan
    padded = torch.cat([x, torch.full((2, 7, 4, 2), padding)], dim=1)
    assert listed(measured(padded, frame=(0, 1))) == pytest.approx(
        listed(measured(x, frame=(0, 1)))
    )


def test_what_stands_on_a_straight_line_while_others_move_is_interpolated() -> None:
    x = moving(frames=12)
    start, end = x[:, 2:3, 1].clone(), x[:, 10:11, 1].clone()
    x[:, 2:11, 1] = torch.lerp(start, end, torch.linspace(0, 1, 9)[None, :, None])
    x[:, :, 2] = x[:, :1, 2]  # held throughout
    # Of the ten frames that have two neighbours, frames 3 to 9 are on the line.
    assert [joint.interpolated for joint in measured(x)] == [0.0, 0.7, 1.0, 0.0]


def test_standardised_interpolation_is_still_one() -> None:
    x = moving(frames=40).double()
    x[..., 1, :] = torch.lerp(
        x[:, :1, 1], x[:, -1:, 1], torch.linspace(0, 1, 40).view(1, 40, 1).double()
    )
    x = ((x.float() - 0.5) / 0.05).float()
    assert [joint.interpolated for joint in measured(x)] == [0.0, 1.0, 0.0, 0.0]


def test_frames_in_which_nothing_moves_are_not_interpolated() -> None:
    x = moving()
    assert [joint.interpolated for joint in measured(x.repeat_interleave(4, dim=1))] == [0.0] * 4


def test_what_is_outside_the_picture_is_asked_for() -> None:
    x = moving()
    x[:, :3, 1, 1] = 1.2
    x[:, 3:, 3] = 0.0  # what is not there is not outside
    assert [joint.out_of_frame for joint in measured(x, frame=(0.1, 1.0))] == [0.0, 0.25, 0.0, 0.0]
    assert [joint.out_of_frame for joint in measured(x)] == [None] * 4
    with pytest.raises(ValueError, match=r"two ends of the picture but got \(1, 0\)"):
        InputStatistics(3, frame=(1, 0))


@given(st.permutations(["b", "t", "j", "c", "m"]).filter(lambda axes: axes[0] == "b"))
def test_the_order_of_the_axes_does_not_matter(axes: list[str]) -> None:
    x = moving().unsqueeze(-1).expand(-1, -1, -1, -1, 3)
    turned = x.permute([("b", "t", "j", "c", "m").index(word) for word in axes])
    found = measured(turned, tuple(axes), frame=(0.4, 0.6))
    assert listed(found) == pytest.approx(listed(measured(moving(), frame=(0.4, 0.6))))


def test_axes_without_frames_or_channels_give_what_can_be_known() -> None:
    x = torch.tensor([[0.5, 0.0], [0.25, 0.5]])
    assert measured(x, ("b", "j")) == [
        JointInput(None, 1.0, None, None),
        JointInput(None, 0.5, None, None),
    ]


def test_parts_of_a_skeleton_and_batches_are_added_up() -> None:
    x = moving()
    x[:, 6:, 2:] = 0.0  # a hand that is not there is no padding
    x[:, 10:] = 0.0
    statistics = InputStatistics(4, (0.4, 0.6))
    for clip in (x[:1], x[1:]):
        statistics.add([(clip[:, :, :2], AXES, range(2)), (clip[:, :, 2:], AXES, range(2, 4))])
    found = statistics.result()
    assert listed(found) == pytest.approx(listed(measured(x, frame=(0.4, 0.6))))
    assert [joint.detected for joint in found] == [1.0, 1.0, 0.6, 0.6]


def test_a_skeleton_that_is_read_twice_counts_as_once() -> None:
    x = moving()
    statistics = InputStatistics(4)
    statistics.add([(x, AXES, None), (x, AXES, None)])
    assert listed(statistics.result())[:3] == pytest.approx(listed(measured(x))[:3])


def test_two_clips_in_one_pass_have_each_their_own_padding() -> None:
    first, second = moving(seed=1), moving(seed=2)
    first[:, 4:], second[:, :6] = 0.0, 0.0
    statistics = InputStatistics(4)
    statistics.add([(first, AXES, None), (second, AXES, None)])
    assert [joint.detected for joint in statistics.result()] == [1.0] * 4


def test_of_no_data_nothing_is_known() -> None:
    assert InputStatistics(1).result() == [JointInput(None, None, None, None)]


def test_importance_that_goes_with_motion_is_seen() -> None:
    x = moving(frames=30)
    x[..., 0, :] = 0.5 + 0.5 * (x[..., 0, :] - 0.5)
    x[..., 3, :] = 0.5 + 4.0 * (x[..., 3, :] - 0.5)
    x[:, 5:, 1] = 0.0
    inputs = dict(zip("abcd", measured(x), strict=True))
    found = confounds({"a": 0.0, "c": 0.1, "d": 0.4}, inputs, kept=["a", "c", "d"])
    assert (found.joints, found.motion, found.detected) == (3, 1.0, None)
    assert confounds({"a": 3.0, "b": 1.0, "c": 2.0}, inputs, ["a"]).detected == pytest.approx(
        spearmanr([3, 1, 2], [1, 0, 1]).statistic
    )
