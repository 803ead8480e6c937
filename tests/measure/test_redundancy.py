"""Test the R² between joints against least squares on whole arrays, and against planted truth."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_jointprune.gates.axes import is_there
from lightning_jointprune.measure.redundancy import FEWEST, RIDGE, redundancy


def ridge_by_least_squares(target: Tensor, source: Tensor) -> float:
    """Return R² of a ridge regression as least squares with a row for each penalty."""
    y, x = (part.double() - part.double().mean(0) for part in (target, source))
    penalty = RIDGE * x.square().sum(0).mean()
    rows = torch.cat([x, penalty.sqrt() * torch.eye(x.shape[1], dtype=torch.float64)])
    wanted = torch.cat([y, y.new_zeros(x.shape[1], y.shape[1])])
    slope = torch.linalg.lstsq(rows, wanted).solution
    return 1 - ((y - x @ slope).square().sum() / y.square().sum()).item()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.sampled_from([0.0, torch.nan]), st.booleans())
def test_it_is_the_ridge_regression_of_the_frames_that_have_both(
    seed: int, channels: int, missing: float, by_part: bool
) -> None:
    random = torch.Generator().manual_seed(seed)
    joints = 5
    mixed = torch.randn(3 * joints * channels, joints * channels, generator=random)
    x = torch.randn(700, 3 * joints * channels, generator=random) @ mixed
    x = x.view(700, joints, channels) + 300 * torch.randn(joints, channels, generator=random)
    lost = torch.rand(700, joints, generator=random) < 0.3
    if by_part:
        lost[:, 1:3], lost[:, 4] = lost[:, :1], False
    x[lost] = missing
    found, there = redundancy(x), is_there(x)
    for k in range(joints):
        for d in range(joints):
            both = there[:, k] & there[:, d]
            expected = ridge_by_least_squares(x[both, k], x[both, d])
            assert found[k, d].item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("shift", [0.0, 50.0])
def test_followers_of_correlation_08_have_an_r2_of_064_in_any_unit(
    scale: float, shift: float
) -> None:
    random = torch.Generator().manual_seed(0)
    leader, own = (torch.randn(4096, 1, 3, generator=random) for _ in range(2))
    follower = 0.8 * leader + 0.6 * own
    r2 = redundancy(scale * (torch.cat([leader, follower], 1) + shift))
    assert r2.diagonal().tolist() == pytest.approx([1, 1], abs=1e-4)
    assert [r2[0, 1].item(), r2[1, 0].item()] == pytest.approx([0.64, 0.64], abs=0.03)


def test_a_turned_and_moved_copy_foretells_wholly_and_noise_nothing() -> None:
    x = torch.randn(1000, 2, 2, generator=torch.Generator().manual_seed(1))
    turn = torch.tensor([[math.cos(1), math.sin(1)], [-math.sin(1), math.cos(1)]])
    r2 = redundancy(torch.cat([x, x[:, :1] @ turn * 3 + 7], 1))
    assert [r2[0, 2].item(), r2[2, 0].item()] == pytest.approx([1, 1], abs=1e-4)
    assert max(r2[0, 1].item(), r2[1, 2].item()) < 0.02


def test_nothing_is_said_of_joints_that_stand_still_or_are_seldom_seen_together() -> None:
    x = torch.randn(3 * FEWEST, 5, 2, generator=torch.Generator().manual_seed(2))
    x[:, 1:4] = x[:, :1]
    x[:, 1] = 0.1  # stands still somewhere
    x[:, 2] = 0.0  # the joint that the others are centred on
    x[: -FEWEST + 1, 3] = torch.nan
    x[FEWEST:, 4] = 5.0  # stands still wherever joint 3 is seen
    r2 = redundancy(x)
    assert r2.isfinite().all()
    assert r2[0].tolist() == pytest.approx([1, 0, 0, 0, r2[0, 4].item()], abs=1e-4)
    assert r2[3].tolist() == r2[:, 3].tolist() == [0.0] * 5


def test_numbers_too_large_to_multiply_say_nothing() -> None:
    x = torch.randn(99, 2, 2, generator=torch.Generator().manual_seed(3))
    x[::9, 0] = torch.finfo(torch.float32).max  # as some detectors write for a missing joint
    assert redundancy(x).isfinite().all()


def test_no_random_number_is_drawn() -> None:
    before = torch.get_rng_state()
    redundancy(torch.zeros(40, 2, 2))
    assert torch.equal(before, torch.get_rng_state())
