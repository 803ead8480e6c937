"""A controller takes losses that are finite, and goes on where its state was saved."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.search.budgets import Budget, make_controller
from lightning_jointprune.search.budgets.price import Price
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
    """Return a controller after a training that has removed all of the loss."""
    return observing(controller_of(budget, joints), [removed] * 10 + [0.0] * 600)


losses = st.lists(st.floats(-10, 10), min_size=1, max_size=40)


@given(losses, st.integers(0, 9))
def test_a_loss_that_is_not_finite_does_not_count(values: list[float], at: int) -> None:
    values = values[:8]
    clean = observing(controller_of(Price("auto"), 4), values)
    holes = [*values[:at], math.nan, math.inf, *values[at:]]
    assert price_of(observing(controller_of(Price("auto"), 4), holes)) == price_of(clean)


@given(st.floats(0.05, 20), st.floats(-1, 1), st.integers(10, 300), st.sampled_from([1, -1]))
def test_a_model_has_learned_when_a_tenth_of_its_first_loss_is_gone(
    first: float, share: float, later: int, sign: int
) -> None:
    """Whatever the loss was before, the later ones count alone, as soon as there are ten."""
    now = sign * first - share * first
    controller = observing(controller_of(Price("auto"), 4), [sign * first] * 10 + [now] * later)
    if abs(share - 0.1) > 1e-3:
        assert controller.has_learned() == (share > 0.1)


@given(losses)
def test_with_less_than_ten_losses_after_the_first_ten_nobody_can_tell(values: list[float]) -> None:
    assert observing(controller_of(Price("auto"), 4), values[:19]).has_learned()


# --- state ---------------------------------------------------------------------------------------


def goes_on(budget: Budget) -> None:
    """Make sure that a controller goes on where its state was saved, which is plain."""

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


def test_a_controller_goes_on_where_its_state_was_saved() -> None:
    goes_on(Price(0.1))
