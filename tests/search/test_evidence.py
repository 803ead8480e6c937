"""Evidence ranks gates by what a loss said of them, whatever its scale."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_jointprune.search.evidence import LOGITS, MEMORY, Evidence, ranking


def steps_of(count: int, gates: int = 4, seed: int = 0) -> list[Tensor]:
    """Return moments of slopes, as they could be: no mean is larger than its root mean square."""
    generator = torch.Generator().manual_seed(seed)
    slopes = torch.randn(count, 8, gates, generator=generator)
    return list(torch.stack([slopes.mean(1), slopes.square().mean(1)], dim=1))


def worth_of(steps: list[Tensor], dones: list[float], batches: int = 1) -> Tensor:
    evidence = Evidence()
    for moments, done in zip(steps, dones, strict=True):
        evidence.add(moments, batches, done)
    worth = evidence.worth()
    assert worth is not None
    return worth


def test_it_is_the_root_of_the_mean_square_less_the_mean_with_weights_that_fade() -> None:
    steps, dones = steps_of(3), [0.1, 0.2, 0.45]
    weights = [math.exp((done - 0.45) / MEMORY) for done in dones]
    sizes = [moments[1].mean().sqrt() for moments in steps]
    mean = sum(w * m[0] / s for w, m, s in zip(weights, steps, sizes, strict=True)) / sum(weights)
    square = sum(w * m[1] / s**2 for w, m, s in zip(weights, steps, sizes, strict=True)) / sum(
        weights
    )
    torch.testing.assert_close(worth_of(steps, dones), square.sqrt() - mean)


@given(scales=st.lists(st.floats(1e-3, 1e5), min_size=5, max_size=5))
def test_the_scale_of_a_steps_loss_does_not_matter(scales: list[float]) -> None:
    steps, dones = steps_of(5), [0.1, 0.2, 0.3, 0.4, 0.5]
    scaled = [m * torch.tensor([[s], [s * s]]) for m, s in zip(steps, scales, strict=True)]
    torch.testing.assert_close(worth_of(scaled, dones), worth_of(steps, dones))


def test_a_step_of_two_batches_is_one_of_a_batch_twice_as_large() -> None:
    slopes = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    whole = torch.stack([slopes.mean(0), slopes.square().mean(0)])
    halves = slopes.view(2, 4, 4) / 2  # of losses divided by their number
    two = torch.stack([halves.mean(1).sum(0), halves.square().mean(1).sum(0)])
    torch.testing.assert_close(worth_of([two], [0.1], batches=2), worth_of([whole], [0.1]))


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, 0.0])
def test_a_step_without_finite_slopes_counts_nothing(broken: float) -> None:
    steps = steps_of(3)
    without = worth_of([steps[0], steps[2]], [0.1, 0.3])
    steps[1] = torch.full((2, 4), broken)
    torch.testing.assert_close(worth_of(steps, [0.1, 0.2, 0.3]), without)


def test_without_a_step_nothing_is_known() -> None:
    assert Evidence().worth() is None


def test_a_ranking_adds_the_worth_and_the_logits_of_the_free_joints_each_standardised() -> None:
    worth, logits = torch.tensor([9.0, 1.0, 3.0, 2.0]), torch.tensor([-9.0, 0.0, 1.0, -1.0])
    free = torch.tensor([False, True, True, True])
    zs = [(x[1:] - x[1:].mean()) / x[1:].std(correction=0) for x in (worth, logits)]
    torch.testing.assert_close(ranking(worth, logits, free)[1:], zs[0] + LOGITS * zs[1])


@given(scale=st.floats(1e-3, 1e3), offset=st.floats(-10.0, 10.0))
def test_the_scale_of_the_worth_does_not_change_a_ranking(scale: float, offset: float) -> None:
    worth, logits = torch.tensor([0.5, 1.0, 3.0, 2.0]), torch.tensor([0.3, 0.0, 1.0, -1.0])
    free = torch.ones(4, dtype=torch.bool)
    scaled = ranking(scale * worth + offset, logits, free)
    torch.testing.assert_close(scaled, ranking(worth, logits, free), atol=1e-2, rtol=1e-2)


def test_where_no_joint_is_free_or_all_are_alike_a_ranking_is_finite() -> None:
    alike, free = torch.ones(3), torch.ones(3, dtype=torch.bool)
    assert ranking(alike, alike, free).isfinite().all()
    assert ranking(alike, alike, ~free).isfinite().all()
