"""Each budget ends at the number of joints that it asks for."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_jointprune import JointPruningCallback, MetricFloor, TargetJoints
from tests.runs import INFORMATIVE, SHORT_RUNS, Classifier, J, fit, pruning

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


@pytest.mark.parametrize("budget", [1, 5, 8, TargetJoints(2)])
def test_exactly_as_many_joints_are_frozen_as_were_asked_for(budget: Any) -> None:
    model, callback = Classifier(), pruning(budget)
    fit(model, callback)
    count = budget if isinstance(budget, int) else budget.count

    assert len(callback.selection.indices) == count
    assert sum(model.of("train")[-1].kept) == count


class Probabilities(pl.Callback):
    """Remembers the keep probabilities before every training step."""

    def __init__(self, callback: JointPruningCallback) -> None:
        self.callback = callback
        self.seen: list[tuple[str, tuple[float, ...]]] = []

    def on_train_batch_start(self, *args: Any) -> None:
        search = self.callback._search  # a record of every step would take longer than the run
        self.seen.append((search.phase, tuple(search.probabilities())))


@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_the_joints_of_a_target_are_open_before_they_are_frozen(count: int) -> None:
    """Of eight joints two are worth something: fewer, as many and more."""
    callback = JointPruningCallback(J, budget=count, lr=0.1)
    watch = Probabilities(callback)
    fit(Classifier(), watch, callback, max_epochs=30)
    last = [probabilities for phase, probabilities in watch.seen if phase == "search"][-1]
    kept = callback.selection.indices
    assert len(kept) == count
    assert all(last[joint] > 0.5 for joint in kept)
    assert all(last[joint] < 0.5 for joint in range(J) if joint not in kept)
    assert set(kept) <= set(INFORMATIVE) if count < 2 else set(INFORMATIVE) <= set(kept)


class Needing(Classifier):
    """Logs the fraction of the joints it needs that reached it."""

    needed: tuple[int, ...] = INFORMATIVE

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        kept = self.calls[-1].kept
        self.log("enough", sum(kept[joint] for joint in self.needed) / len(self.needed))


def test_pruning_stops_where_the_floor_is_met() -> None:
    callback = JointPruningCallback(J, budget=MetricFloor("enough", 1.0), lr=0.1)
    fit(Needing(), callback, max_epochs=30)

    assert set(INFORMATIVE) <= set(callback.selection.indices)
    assert len(callback.selection.indices) <= 4
    assert any(snapshot.metrics["enough"] < 1.0 for snapshot in callback.record.history)
    assert callback.selection.metric == "enough"
    assert callback.selection.floor == 1.0
    assert callback.selection.metrics["enough"] == 1.0


def test_a_floor_that_is_never_met_keeps_all_joints_and_says_so() -> None:
    callback = pruning(MetricFloor("enough", 2.0))
    unmet, doubt = "enough was not surely at its floor of 2 with", "one of them in per cent"
    with pytest.warns(UserWarning, match=unmet), pytest.warns(UserWarning, match=doubt):
        fit(Needing(), callback)
    assert len(callback.selection.indices) == J


class ShortOf(Needing):
    """Needs five joints in the final phase, which the search could not know."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        final = self.trainer.current_epoch >= 0.6 * self.trainer.max_epochs
        self.log("reached", min(1.0, sum(self.calls[-1].kept) / 5) if final else 1.0)


def test_joints_are_opened_again_when_the_final_phase_misses_the_floor() -> None:
    callback, model = JointPruningCallback(J, budget=MetricFloor("reached", 1.0), lr=0.1), ShortOf()
    fit(model, callback, max_epochs=30)
    final = [note.active_joints for note in callback.record.history if note.phase == "final"]
    assert final == sorted(final)
    assert final[0] < 5 <= final[-1] == len(callback.selection.indices)
    assert model.of("train")[-1].kept == list(callback.selection.mask)
    assert callback.selection.metrics["reached"] == 1.0


def test_a_floor_may_be_a_drop_from_what_the_warm_up_measured() -> None:
    callback = JointPruningCallback(J, budget=MetricFloor("enough", drop=0.25), lr=0.1)
    fit(Needing(), callback, max_epochs=30)

    assert callback.selection.floor == 0.75
    assert set(INFORMATIVE) <= set(callback.selection.indices)
    assert len(callback.selection.indices) <= 4
    asked = {"metric": "enough", "floor": None, "mode": None, "drop": 0.25}
    assert callback.record.settings["budget"] == {"MetricFloor": asked}


def test_a_drop_without_a_validation_in_the_warm_up_is_an_error() -> None:
    callback = pruning(MetricFloor("enough", drop=0.25), phases=(0.1, 0.6))
    with pytest.raises(MisconfigurationException, match=r"'enough' in the warm-up.*Lengthen"):
        fit(Needing(), callback)


def test_a_floors_metric_is_quoted_from_the_start() -> None:
    selection = JointPruningCallback(4, budget=MetricFloor("val_loss", 0.5)).selection
    assert (selection.metric, selection.floor) == ("val_loss", 0.5)
    assert not selection.higher_is_better
    assert JointPruningCallback(4).selection.metric is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 5}, r"TargetJoints from 1 .* to 4 .* but got 5"),
        ({"keep": [0], "drop": [0]}, r"got joint_0 in both of keep and drop"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_before_there_is_a_trainer(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        JointPruningCallback(4, **settings)
