"""A run whose selection is in doubt says so."""

from __future__ import annotations

import pytest

from lightning_jointprune import MetricFloor, Price
from tests.callback.watched import Indifferent
from tests.runs import SHORT_RUNS, Classifier, fit, pruning

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


def test_the_automatic_price_of_a_loss_that_does_not_fall_is_doubted() -> None:
    with pytest.warns(UserWarning, match="did not fall, from 1 at the start to 1 in the search"):
        fit(Indifferent(), pruning(Price("auto")))


def test_gates_that_hardly_moved_are_doubted() -> None:
    with pytest.warns(UserWarning, match="hardly moved in the search"):
        fit(Classifier(), pruning(Price(1e-6), lr=1e-6))


def test_joints_that_are_kept_by_force_are_doubted() -> None:
    with pytest.warns(UserWarning, match=r"The one kept joint has a keep .* the price is too high"):
        fit(Classifier(), pruning(Price(100.0)))


def test_a_floor_in_another_unit_is_doubted_when_the_search_begins() -> None:
    with pytest.warns(UserWarning, match=r"pass MetricFloor\('val_acc', floor=0.9\)"):
        fit(Classifier(), pruning(MetricFloor("val_acc", 90.0)))
