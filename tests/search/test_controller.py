"""Budgets to prices and masks, against closed forms and a population of gates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.gates.masks import hard_mask
from lightning_jointprune.search.budgets import Budget, make_controller
from lightning_jointprune.search.budgets.metric_floor import MetricFloor
from lightning_jointprune.search.budgets.price import Price
from lightning_jointprune.search.budgets.target_joints import TargetJoints
from lightning_jointprune.search.controller import Controller

fractions = st.floats(0, 1)


# --- prices --------------------------------------------------------------------------------------


def observing(controller: Controller, losses: Sequence[float]) -> Controller:
    for loss in losses:
        controller.observe_loss(torch.tensor(loss))
    return controller


def price_of(controller: Controller, expected: float = 5.0, done: float = 1.0) -> float:
    return float(controller.price(torch.tensor(expected), done))


def controller_of(
    budget: Budget, joints: int, keep: Sequence[int] = (), drop: Sequence[int] = ()
) -> Controller:
    return make_controller(budget, JointPruningLayer(joints, keep=keep, drop=drop))


def learned(budget: Budget, joints: int, removed: float = 1.0) -> Controller:
    """A controller after a training that has removed all of the loss."""
    return observing(controller_of(budget, joints), [removed] * 10 + [0.0] * 600)


losses = st.lists(st.floats(-10, 10), min_size=1, max_size=40)


@given(losses, st.integers(0, 9))
def test_a_loss_that_is_not_finite_does_not_count(values: list[float], at: int) -> None:
    values = values[:8]
    clean = observing(controller_of(Price("auto"), 4), values)
    holes = [*values[:at], math.nan, math.inf, *values[at:]]
    assert price_of(observing(controller_of(Price("auto"), 4), holes)) == price_of(clean)


# --- steering ------------------------------------------------------------------------------------


def population(
    worth: Tensor,
    controller: Controller,
    steps: int = 600,
    measure: Callable[[list[bool]], float] | None = None,
    noise: float = 0.0,
) -> Tensor:
    """Gates that follow the sign of `worth - price`, as under Adam: logits of a toy search.

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


# --- a floor on a metric -------------------------------------------------------------------------


# --- state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "budget",
    [Price("auto"), Price(0.1), TargetJoints(3), MetricFloor("a", 0), MetricFloor("a", drop=0.1)],
)
def test_a_controller_goes_on_where_its_state_was_saved(budget) -> None:
    def drive(controller: Controller, steps: range) -> list[float]:
        prices = []
        for step in steps:
            controller.observe_loss(torch.tensor(1.0 + step))
            prices.append(price_of(controller, 10.0 - step / 3, step / 20))
            controller.observe_warmup({"a": float(step)})
            controller.observe_search({"a": (-1.0) ** step}, [True] * 5 + [False] * 5)
        return prices

    whole, half, other = (controller_of(budget, 10) for _ in range(3))
    expected = drive(whole, range(20))
    drive(half, range(7))
    state = half.state_dict()
    other.load_state_dict(state)
    drive(half, range(7, 12))  # what goes on does not change what was saved
    assert drive(other, range(7, 20)) == expected[7:]
    assert other.chosen == whole.chosen
    plain = (bool, int, float, str, list, Tensor, type(None))
    assert all(isinstance(value, plain) for value in state.values())
