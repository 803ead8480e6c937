"""The price steers a population of gates to its target, and stays finite where it cannot."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_jointprune.gates.masks import hard_mask
from lightning_jointprune.search.budgets.target_joints import TargetJoints
from lightning_jointprune.search.controller import Controller
from tests.search.test_controller import learned, price_of


def population(
    worth: Tensor,
    controller: Controller,
    steps: int = 600,
    measure: Callable[[list[bool]], float] | None = None,
    noise: float = 0.0,
) -> Tensor:
    """Return keep probabilities of gates that follow the sign of `worth - price`, as under Adam.

    Args:
        measure: a metric of the kept joints, taken twenty times in the search.
        noise: standard deviation of the gradients of the worth, in units of the largest one.
    """
    logits = torch.full_like(worth, 2.2)
    random, largest = torch.Generator().manual_seed(0), float(worth.max())
    for step in range(steps):
        done = step / steps
        if controller.begins_descent(done - 1 / steps, done):
            logits = logits.clamp(max=2.2)
        p = torch.sigmoid(logits)
        price = controller.price(p.sum(), done)
        if controller.decided is not None:
            earns = controller.decided & hard_mask(p, controller.count)
            price = torch.where(earns, -price, price)
        felt = worth + noise * largest * torch.randn(len(worth), generator=random)
        slope = (price - felt) * p * (1 - p)
        logits = logits - 0.05 * slope / (slope.abs() + 1e-3 * largest)
        if measure and (step + 1) % (steps // 20) == 0:
            mask = hard_mask(torch.sigmoid(logits)).tolist()
            controller.observe_search({"acc": measure(mask)}, mask)
    return torch.sigmoid(logits)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("count", [3, 10, 30])
@pytest.mark.parametrize("steps", [300, 2000])
def test_steering_brings_a_population_of_gates_to_its_target(
    count: int, scale: float, steps: int
) -> None:
    """Forty joints, each worth 0.82 times the one before it; the loss is 1 in the same units."""
    worth = scale * 0.1 * 0.82 ** torch.arange(40.0)
    controller = learned(TargetJoints(count), 40, scale)
    p = population(worth, controller, steps)
    assert float(p.sum()) == pytest.approx(count, rel=0.15, abs=0.75)
    assert set(torch.topk(p, count).indices.tolist()) == set(range(count))


@pytest.mark.parametrize("expected", [1e-6, 40.0])
def test_a_price_that_steers_stays_finite_however_long_the_target_is_missed(expected) -> None:
    controller = learned(TargetJoints(10), 40)
    prices = [price_of(controller, expected, done / 5000) for done in range(2500, 5001)]
    bounds = [0.3 / 40 * math.exp(sign * 14.0) for sign in (-1, 1)]
    assert all(0.99 * bounds[0] <= price <= 1.01 * bounds[1] for price in prices)
