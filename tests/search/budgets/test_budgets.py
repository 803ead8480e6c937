"""A budget is refused where it cannot be, and none is another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest

from lightning_jointprune.search.budgets import make_budget
from lightning_jointprune.search.budgets.metric_floor import MetricFloor
from lightning_jointprune.search.budgets.price import Price
from lightning_jointprune.search.budgets.target_joints import TargetJoints


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


def test_no_two_budgets_are_one() -> None:
    budgets = [
        Price(0.1),
        Price("auto"),
        TargetJoints(3),
        MetricFloor("a", 0.1),
        MetricFloor("a", drop=0.1),
    ]
    for first, second in itertools.combinations(budgets, 2):
        assert first != second
