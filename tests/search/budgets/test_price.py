"""`Price` is a number, or a share of the loss that was removed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.search.budgets.metric_floor import MetricFloor
from lightning_jointprune.search.budgets.price import Price
from lightning_jointprune.search.budgets.target_joints import TargetJoints
from tests.search.test_controller import (
    controller_of,
    fractions,
    goes_on,
    learned,
    losses,
    observing,
    price_of,
)


@given(losses, st.integers(1, 600))
def test_the_automatic_price_is_a_share_of_the_loss_removed_so_far(
    values: list[float], joints: int
) -> None:
    first = sum(values[:10]) / len(values[:10])
    recent = first
    for value in values[10:]:
        recent = 0.98 * recent + 0.02 * value
    removed = max(first - recent, 0.001 * abs(first))
    price = price_of(observing(controller_of(Price("auto"), joints), values))
    assert price == pytest.approx(0.3 * removed / joints, rel=1e-3, abs=1e-6)


@given(st.floats(1e-3, 1e3), st.floats(-50, 50))
def test_neither_scale_nor_offset_of_the_loss_matters_to_the_automatic_price(
    scale: float, offset: float
) -> None:
    fall = [2.0 ** (-step / 20) for step in range(60)]
    price = price_of(observing(controller_of(Price("auto"), 10), fall))
    moved = observing(controller_of(Price("auto"), 10), [scale * (v + offset) for v in fall])
    assert price_of(moved) == pytest.approx(scale * price, rel=1e-3)


def test_a_loss_that_does_not_fall_gives_a_price_of_next_to_nothing_and_a_doubt() -> None:
    rising = observing(controller_of(Price("auto"), 10), [2.0] * 10 + [3.0] * 90)
    assert price_of(rising) == pytest.approx(0.3 * 0.002 / 10)
    assert "from 2 at the start to 2.8" in (rising.late_doubt() or "")
    assert learned(Price("auto"), 10).late_doubt() is None
    assert observing(controller_of(Price(0.1), 10), [2.0] * 20).late_doubt() is None


def test_the_scale_of_a_price_is_at_least_a_tenth_of_the_loss() -> None:
    controller = observing(controller_of(Price("auto"), 10), [-4.0] * 10)
    assert controller.checked_price() == pytest.approx(0.3 * 0.4 / 10)
    assert learned(Price("auto"), 10, 4.0).checked_price() == pytest.approx(0.3 * 4 / 10, rel=1e-3)
    for seen in ([], [math.nan] * 3, [0.0] * 10):
        with pytest.raises(ValueError, match=r"pass budget=Price\(0.003\)"):
            observing(controller_of(Price("auto"), 10), seen).checked_price()


@pytest.mark.parametrize("budget", [Price("auto"), TargetJoints(3), MetricFloor("acc", 0.8)])
@given(values=losses, scale=st.floats(1e-3, 1e3), expected=st.floats(1, 10))
def test_a_price_without_a_number_scales_with_the_loss(
    budget, values: list[float], scale: float, expected: float
) -> None:
    values = [abs(value) + 0.1 for value in values]
    plain = observing(controller_of(budget, 10), values)
    scaled = observing(controller_of(budget, 10), [scale * value for value in values])
    for done in (0.1, 0.5, 1.0):
        got = price_of(scaled, expected, done)
        assert got == pytest.approx(scale * price_of(plain, expected, done), rel=1e-4)


@given(st.floats(0, 10), fractions)
def test_a_price_rises_over_the_first_third_of_the_search_and_stays(value: float, done) -> None:
    got = price_of(controller_of(Price(value), 4), done=done)
    assert got == pytest.approx(value * min(1.0, 3 * done))


def test_it_goes_on_where_its_state_was_saved() -> None:
    goes_on(Price("auto"))
