"""The default budget compares numbers of joints where a validation can, and else prices them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping

from lightning_jointprune import Fewest, Groups, JointPruningCallback, Price
from lightning_jointprune.report.doubts import findings
from lightning_jointprune.run import trainer as trainers
from tests.callback.watched import check_resumed
from tests.runs import INFORMATIVE, SHORT_RUNS, Classifier, J, clips, fit, pruning, trainer

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


@pytest.fixture(autouse=True)
def all_rungs_are_affordable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainers, "affordable_validations", lambda *_: 100)


class LogsSeveral(Classifier):
    """Logs metrics of which nobody says which to go by."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, sign = batch
        right = (self(x).argmax(1) == sign).float().mean()
        self.log_dict({"top1": right, "top5": right + 0.1})


def by_accuracy() -> EarlyStopping:
    return EarlyStopping("val_acc", mode="max", patience=99)


def budget_of(callback: JointPruningCallback) -> str:
    (name,) = callback.record.settings["budget"]
    return str(name)


def which(said: list[str]) -> str:
    """Return what was said of the budget."""
    return " ".join(line for line in said if 'budget="auto"' in line)


def test_without_a_budget_a_validated_run_is_that_of_fewest(said: list[str]) -> None:
    """Joint for joint and weight for weight, and the record has the budget that was taken."""
    runs = []
    for budget in ("auto", Fewest()):
        torch.manual_seed(3)
        model, callback = Classifier(), pruning(budget)
        fit(model, callback, by_accuracy())
        runs.append((callback.record, model.head.weight))
    (automatic, weight), (explicit, other) = runs
    assert automatic == explicit
    assert torch.equal(weight, other)
    assert {*INFORMATIVE} <= {*automatic.selection.indices} < {*range(J)}
    assert "is Fewest here, since the run is validated by val_acc." in which(said)


class ShowsBoth(Classifier):
    """Shows its loss and its accuracy in the progress bar."""

    def log(self, *args: Any, **settings: Any) -> None:
        super().log(*args, **{"prog_bar": True, **settings})


def test_of_several_metrics_that_nothing_monitors_it_says_how_to_choose(said: list[str]) -> None:
    fit(ShowsBoth(), pruning("auto"))
    assert "validated by val_loss. Nothing is monitored, and val_loss is the first" in which(said)
    assert which(said).endswith("For val_acc, pass budget=Fewest('val_acc').")
    said.clear()
    fit(ShowsBoth(), pruning("auto"), by_accuracy())
    assert which(said).endswith("is validated by val_acc.")


@pytest.mark.filterwarnings("ignore:The run ended in its warmup phase")
def test_a_run_that_resumes_before_its_search_says_nothing_of_what_it_has_not_seen(
    said: list[str],
) -> None:
    class Stops(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, *args: Any) -> None:
            trainer.should_stop = True

    fit(ShowsBoth(), pruning("auto"), by_accuracy(), Stops()).save_checkpoint("first.ckpt")
    said.clear()
    again = trainer(pruning("auto"), by_accuracy())
    again.fit(ShowsBoth(), clips(), clips(2, seed=1), ckpt_path="first.ckpt")
    assert which(said).endswith("is validated by val_acc.")


def test_without_a_validation_it_is_a_price(said: list[str]) -> None:
    callback = pruning("auto")
    fit(Classifier(), callback, limit_val_batches=0)
    assert budget_of(callback) == "Price"
    assert which(said).endswith("since no validation can compare numbers of joints.")


@pytest.mark.parametrize("sanity", [0, 2])
def test_where_nobody_knows_the_metric_to_go_by_it_is_a_price_and_says_what_to_type(
    sanity: int, said: list[str]
) -> None:
    callback = pruning("auto")
    fit(LogsSeveral(), callback, num_sanity_val_steps=sanity)
    assert budget_of(callback) == "Price"
    assert "the validation logged top1, top5, of which none is monitored" in which(said)
    assert "pass budget=Fewest('top1')" in which(said)


def test_a_run_that_turns_to_a_price_is_that_of_a_price() -> None:
    """Weight for weight: no ladder is left whose first number, all joints, is trained on."""
    runs = []
    for budget in ("auto", Price()):
        torch.manual_seed(3)
        model, callback = LogsSeveral(), pruning(budget)
        fit(model, callback, num_sanity_val_steps=0)
        runs.append((callback.record, model.head.weight))
    (automatic, weight), (explicit, other) = runs
    assert automatic == explicit
    assert automatic.rungs == ()
    assert torch.equal(weight, other)


def test_a_monitor_of_the_training_leaves_the_budget_to_the_sanity_check() -> None:
    callback = pruning("auto", phases=(0.1, 0.6))  # the search begins before a validation
    fit(LogsSeveral(), callback, EarlyStopping("train_loss", patience=99))
    assert budget_of(callback) == "Price"


def test_tied_groups_of_several_sizes_have_a_price() -> None:
    callback = pruning("auto", groups=Groups({"pair": [0, 1], "three": [2, 3, 4]}, tied=True))
    fit(Classifier(), callback)
    assert budget_of(callback) == "Price"


@pytest.mark.filterwarnings("ignore:No validation falls in the final phase")
def test_a_metric_that_shows_too_late_is_an_error_that_says_what_to_type() -> None:
    with pytest.raises(MisconfigurationException, match=r"Pass Fewest\('top1'\), or budget=Price"):
        fit(
            LogsSeveral(),
            pruning("auto"),
            num_sanity_val_steps=0,
            check_val_every_n_epoch=2,
        )


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
@pytest.mark.parametrize("monitor", ["val_acc", None])
def test_a_resumed_run_is_the_uninterrupted_one(
    monitor: str | None, epoch: int, tmp_path: Path
) -> None:
    """Stopped in the warm-up, in the search, when numbers are compared, and with a price."""
    check_resumed(tmp_path, epoch, lambda at: pruning("auto", dirpath=at), monitor=monitor)


def test_a_fresh_callback_that_tests_a_checkpoint_has_the_budget_of_its_run(tmp_path: Path) -> None:
    callback, model = pruning("auto"), Classifier()
    fit(model, callback, by_accuracy()).save_checkpoint(tmp_path / "end.ckpt")
    fresh = pruning("auto")
    trainer(fresh).test(Classifier(), clips(2, seed=1), ckpt_path=tmp_path / "end.ckpt")
    assert fresh.selection.indices == callback.selection.indices
    assert budget_of(fresh) == "Fewest"


class LearnsLate(Classifier):
    """Learns nothing in the first 45 % of its steps, and then at its rate."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        late = self.global_step >= 0.45 * self.trainer.estimated_stepping_batches
        loss = super().training_step(batch, batch_idx)
        return loss if late else loss - (loss - 1.4).detach()  # as at chance

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        late = self.global_step >= 0.45 * self.trainer.estimated_stepping_batches
        for group in self.optimizers().param_groups:
            if not group.get("joint_pruning"):
                group["lr"] = 0.05 if late else 0.0
        super().optimizer_step(*args, **kwargs)


@pytest.mark.parametrize("budget", ["auto", Price()], ids=repr)
def test_a_model_that_learns_late_keeps_what_it_needs_or_says_that_it_cannot_tell(
    budget: Any,
) -> None:
    callback = JointPruningCallback(J, budget=budget)
    fit(LearnsLate(), callback, by_accuracy(), train=clips(32), max_epochs=10)
    course = callback.record.course
    assert 0.4 <= course["began"] <= course["learned_at"] + 0.1
    doubts = " ".join(finding.title for finding in findings(callback.record))
    told = "had hardly begun to learn" in doubts or "had not begun to learn" in doubts
    assert told or {*INFORMATIVE} <= {*callback.selection.indices}


@pytest.mark.parametrize("epoch", [2, 4, 5])
def test_a_run_that_waits_is_resumed_as_it_was(epoch: int, tmp_path: Path) -> None:
    """Stopped while it waits, when it has just stopped waiting, and when the model has learned."""
    whole = check_resumed(
        tmp_path,
        epoch,
        lambda at: JointPruningCallback(J, dirpath=at),
        LearnsLate,
        batches=32,
        max_epochs=10,
    )
    assert whole.record.history[2].phase == "warmup"
