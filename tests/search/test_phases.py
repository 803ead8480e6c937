"""Progress becomes phase and temperature, as closed forms say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.search.phases import (
    check_phases,
    phase_at,
    search_progress,
    temperature_at,
)

PHASES = (0.1, 0.6)
fractions = st.floats(0, 1)
ends = st.tuples(fractions, fractions).filter(lambda it: it[0] + 1e-3 < it[1])
above_zero = st.floats(1e-3, 1e3)


# --- progress ------------------------------------------------------------------------------------


@given(ends, fractions, fractions)
def test_phases_come_in_order_and_each_begins_at_its_end(
    phases, first: float, second: float
) -> None:
    order = ["warmup", "search", "final"]
    early, late = sorted((first, second))
    assert order.index(phase_at(early, phases)) <= order.index(phase_at(late, phases))
    assert phase_at(phases[0], phases) == "search"
    assert phase_at(phases[1], phases) == "final"
    assert phases[0] == 0.0 or phase_at(0.0, phases) == "warmup"


@given(ends, fractions)
def test_search_is_not_begun_in_the_warmup_linear_in_the_search_and_done_after_it(
    phases, progress: float
) -> None:
    done = search_progress(progress, phases)
    expected = {"warmup": 0.0, "final": 1.0}.get(phase_at(progress, phases))
    if expected is not None:
        assert done == expected
    else:
        assert phases[0] + done * (phases[1] - phases[0]) == pytest.approx(progress)


@given(above_zero, above_zero, fractions)
def test_temperature_is_geometric_between_its_two_ends(first: float, last: float, done) -> None:
    assert temperature_at(0.0, (first, last)) == first
    assert temperature_at(1.0, (first, last)) == pytest.approx(last)
    expected = (1 - done) * math.log(first) + done * math.log(last)
    assert math.log(temperature_at(done, (first, last))) == pytest.approx(expected, abs=1e-9)


def test_phases_come_back_as_a_pair_of_floats_whatever_held_them() -> None:
    assert check_phases([0, 0.5]) == (0.0, 0.5)
    with pytest.raises(ValueError, match=r"search.s end < 1, but got \[0.1, 1\]"):
        check_phases([0.1, 1])


@pytest.mark.parametrize(
    "phases",
    [(0.6, 0.1), (0.5, 0.5), (-0.1, 0.5), (0.1, 1.1), (0.1,), (0.1, 0.5, 0.9), (math.nan, 0.5)],
)
def test_phases_out_of_order_are_refused_with_the_default_named(phases: Sequence[float]) -> None:
    with pytest.raises(
        ValueError, match=r"two fractions of the run in order.* but got .*0\.1, 0\.6"
    ):
        check_phases(phases)


# --- budgets -------------------------------------------------------------------------------------
