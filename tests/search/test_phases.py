"""Progress to phase and temperature against closed forms; what a budget accepts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.search.budgets import make_budget
from lightning_jointprune.search.metric_floor import MetricFloor, higher_is_better
from lightning_jointprune.search.phases import (
    check_phases,
    phase_at,
    search_progress,
    temperature_at,
)
from lightning_jointprune.search.price import Price
from lightning_jointprune.search.target_joints import TargetJoints

PHASES = (0.1, 0.6)
fractions = st.floats(0, 1)
ends = st.tuples(fractions, fractions).filter(lambda it: it[0] + 1e-3 < it[1])
above_zero = st.floats(1e-3, 1e3)


# --- progress ------------------------------------------------------------------------------------


@given(ends, fractions, fractions)
def test_phases_come_in_order_and_each_begins_at_its_end(phases, one: float, other: float) -> None:
    order = ["warmup", "search", "final"]
    early, late = sorted((one, other))
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
    with pytest.raises(ValueError, match=r"search.s end < 1, but got \(0.1, 1\)"):
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


@pytest.mark.parametrize(
    "budget", [Price(), Price(0.003), TargetJoints(3), MetricFloor("acc", 0.8)]
)
def test_a_budget_is_itself_and_a_whole_number_is_a_number_of_joints(budget) -> None:
    assert make_budget(budget) is budget
    assert make_budget(12) == TargetJoints(12)
    assert make_budget([3, 12]) == TargetJoints((12, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Price(-0.1), r"price of at least 0, in units of the loss, but got -0\.1.*Price\("),
        (lambda: Price(math.nan), "price of at least 0.* but got nan"),
        (lambda: Price(math.inf), "price of at least 0.* but got inf"),
        (lambda: Price("cheap"), "\"auto\" but got 'cheap'"),
        (lambda: Price(groups={"face": -1.0}), r"groups to cost at least 0.* \{'face': -1\.0\}"),
        (lambda: TargetJoints([]), "at least 1 but got"),
        (lambda: TargetJoints([3, 3]), r"different ones, .* but got \[3, 3\]"),
        (lambda: TargetJoints(0), r"at least 1 but got 0.*TargetJoints\(12\)"),
        (lambda: TargetJoints(2.5), r"at least 1 but got 2\.5"),
        (lambda: TargetJoints(True), "at least 1 but got True"),
        (lambda: MetricFloor("acc", math.nan), "finite floor for 'acc' but got nan"),
        (lambda: MetricFloor("acc"), "one of floor and drop for 'acc' but got floor=None and drop"),
        (lambda: MetricFloor("acc", 0.8, drop=0.1), r"one of .* but got floor=0\.8 and drop=0\.1"),
        (lambda: MetricFloor("acc", drop=-0.1), r"drop of 'acc', at least 0, but got -0\.1"),
        (lambda: MetricFloor("acc", drop=math.inf), "finite drop of 'acc'.* but got inf"),
        (lambda: MetricFloor("acc", 0.8, "up"), '"max" or "min" but got \'up\''),
        (lambda: make_budget(0.003), r"a number of joints but got 0\.003. Pass Price\(0\.003\)"),
        (lambda: make_budget(True), "a number of joints but got True"),
        (lambda: make_budget(None), "a number of joints but got None"),
        (lambda: make_budget(0), "at least 1 but got 0"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("metric", "higher"),
    [
        ("val_acc", True),
        ("val/f1", True),
        ("AUROC", True),
        ("answer_accuracy", True),
        ("certainty", True),
        ("val_loss", False),
        ("valLoss", False),
        ("losses/total", False),
        ("rmse", False),
        ("MPJPE_mm", False),
        ("val.wer", False),
        ("error_rate", False),
        ("test-perplexity", False),
        ("nll_epoch", False),
    ],
)
def test_a_metrics_name_tells_which_values_are_better_unless_the_mode_does(
    metric: str, higher: bool
) -> None:
    assert higher_is_better(metric) == higher
    assert MetricFloor(metric, 0.5).higher_is_better == higher
    assert MetricFloor(metric, 0.5, "max").higher_is_better
    assert not MetricFloor(metric, 0.5, "min").higher_is_better


@given(st.floats(-10, 10), st.floats(0, 10))
def test_a_drop_is_to_the_worse_side_of_the_unpruned_level(level: float, drop: float) -> None:
    assert MetricFloor("m", mode="max", drop=drop).floor_below(level) == level - drop
    assert MetricFloor("m", mode="min", drop=drop).floor_below(level) == level + drop
    assert MetricFloor("m", 0.5).floor_below(level) == 0.5


def test_no_two_budgets_are_one() -> None:
    budgets = [
        Price(0.1),
        Price("auto"),
        TargetJoints(3),
        MetricFloor("a", 0.1),
        MetricFloor("a", drop=0.1),
    ]
    for one, other in itertools.combinations(budgets, 2):
        assert one != other


@pytest.mark.parametrize(
    ("budget", "unpruned", "instead"),
    [
        (MetricFloor("val_acc", 90), [0.5, 0.6], "floor=0.9"),
        (MetricFloor("val_acc", 0.85), [50.0, 60.0], "floor=85"),
        (MetricFloor("val_acc", drop=2.0), [0.5, 0.6], "drop=0.02"),
    ],
)
def test_per_cent_beside_a_fraction_is_doubted_with_what_to_pass(
    budget: MetricFloor, unpruned: list[float], instead: str
) -> None:
    assert f"pass MetricFloor('val_acc', {instead})" in (budget.unit_doubt(unpruned) or "")


@pytest.mark.parametrize(
    ("budget", "unpruned"),
    [
        (MetricFloor("val_acc", 0.9), [0.5, 0.6]),
        (MetricFloor("val_acc", 90), [0.7, 60.0]),
        (MetricFloor("val_acc", drop=0.01), [50.0]),
        (MetricFloor("val_acc", drop=0.0), [0.5]),
        (MetricFloor("val_loss", 2.0), [0.5]),
        (MetricFloor("score", 0.5), [-1.0, 3.0]),
        (MetricFloor("val_acc", 90), []),
    ],
)
def test_a_floor_that_can_be_of_the_metrics_unit_is_not_doubted(
    budget: MetricFloor, unpruned: list[float]
) -> None:
    assert budget.unit_doubt(unpruned) is None
