"""A run with `Fewest` compares numbers of joints, and trains on the fewest that do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader, IterableDataset

from lightning_jointprune import Fewest, PruningRecord, analyze_pruning, load_pruned
from lightning_jointprune.run import trainer as trainers
from tests.callback.watched import check_resumed
from tests.runs import (
    BATCHES,
    INFORMATIVE,
    SHORT_RUNS,
    Classifier,
    J,
    clips,
    fit,
    pruning,
    trainer,
)

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]
FEWEST = Fewest("val_acc")
COMPARE = range(3 * BATCHES, 4 * BATCHES)  # the steps in which all rungs are trained


@pytest.fixture(autouse=True)
def all_rungs_are_affordable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainers, "affordable_validations", lambda *_: 100)


class Rungs(Classifier):
    """Keeps the number of joints of every sample, for each training step."""

    def __init__(self) -> None:
        super().__init__()
        self.joints: list[list[int]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.joints.append((self.got != 0).any(3).any(1).sum(1).tolist())
        return loss


def test_all_numbers_are_trained_together_and_then_the_chosen_one_alone() -> None:
    model, callback = Rungs(), pruning(FEWEST)
    fit(model, callback)
    compared = {joints for step in COMPARE for joints in model.joints[step]}
    assert compared == set(range(1, J + 1))
    kept = len(callback.selection.indices)
    final = {joints for step in model.joints[COMPARE.stop :] for joints in step}
    assert final == {kept}
    assert {*INFORMATIVE} <= {*callback.selection.indices}
    assert kept < J


def test_the_record_has_every_number_with_its_metric_and_the_selection_with_the_last_one(
    tmp_path: Path,
) -> None:
    model, callback = Classifier(), pruning(FEWEST, dirpath=tmp_path)
    done = fit(model, callback)
    record = PruningRecord.from_json(tmp_path)
    assert [len(rung.indices) for rung in record.rungs] == list(range(J, 0, -1))
    for more, fewer in zip(record.rungs, record.rungs[1:], strict=False):
        assert {*fewer.indices} < {*more.indices}
    values = [rung.metrics["val_acc"] for rung in record.rungs]
    assert values[0] > values[-1]
    assert [point.value for point in callback.frontier] == values[::-1]
    assert [point.indices for point in record.frontier[::-1]] == [r.indices for r in record.rungs]
    last = float(done.callback_metrics["val_acc"])
    assert record.selection.metrics["val_acc"] == pytest.approx(last)
    assert [note.phase for note in record.history] == [
        "warmup",
        "search",
        "search",
        "compare",
        "final",
    ]


def test_a_rung_is_measured_with_the_weights_at_the_end_of_the_comparison(tmp_path: Path) -> None:
    callback = pruning(FEWEST)
    save = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, monitor=None)
    fit(Classifier(), callback, save, enable_checkpointing=True)
    model = Classifier.load_from_checkpoint(tmp_path / "epoch=3.ckpt").eval()
    for rung in callback.record.rungs:
        kept = torch.tensor(rung.mask)[:, None]
        right = [
            (model(torch.where(kept, x, 0.0)).argmax(1) == sign).float().mean()
            for x, sign in clips(2, seed=1)
        ]
        assert rung.metrics["val_acc"] == pytest.approx(float(sum(right) / 2))


def test_a_checkpoint_loads_with_the_chosen_joints_or_those_of_another_number(
    tmp_path: Path,
) -> None:
    callback = pruning(FEWEST, dirpath=tmp_path)
    done = fit(Classifier(), callback, enable_checkpointing=True, default_root_dir=tmp_path)
    path = done.checkpoint_callback.best_model_path
    chosen = analyze_pruning(load_pruned(Classifier, path))
    assert chosen.indices == callback.selection.indices
    with pytest.warns(UserWarning, match="Expected 2 joints, with which alone .* but got 5"):
        other = load_pruned(Classifier, path, joints=5)
    assert len(analyze_pruning(other).indices) == 5


@pytest.mark.parametrize("budget", [3, FEWEST], ids=repr)
def test_a_callback_that_adopts_the_mask_of_another_run_has_its_joints(budget: Any) -> None:
    model, callback, fresh = Classifier(), pruning(budget), pruning(FEWEST)
    fit(model, callback)
    trainer(fresh).test(model, clips(2, seed=1), verbose=False)
    assert fresh.selection.indices == callback.selection.indices
    assert [point.joints for point in fresh.frontier] == [len(callback.selection.indices)]


def test_other_callbacks_see_no_metric_of_a_compared_number() -> None:
    seen = []

    class Looks(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            seen.append(float(trainer.callback_metrics.get("val_acc", -1.0)))

    model, callback = Classifier(), pruning(FEWEST)
    fit(model, Looks(), callback)
    before, after = seen[COMPARE.stop - 1], seen[COMPARE.stop]
    # The validation at the end of the comparison's epoch had all joints, and so have both.
    assert after == callback.record.history[3].metrics["val_acc"]
    assert before == callback.record.history[2].metrics["val_acc"]


def test_nothing_is_judged_before_the_choice(tmp_path: Path) -> None:
    stop = EarlyStopping("val_acc", mode="max", patience=0, stopping_threshold=0.01)
    best = ModelCheckpoint(tmp_path, monitor="val_acc", mode="max")
    callback = pruning(FEWEST)
    done = fit(Classifier(), callback, stop, best, enable_checkpointing=True)
    assert callback.record.phase == "final"
    kept = analyze_pruning(load_pruned(Classifier, best.best_model_path)).indices
    assert kept == callback.selection.indices
    assert done.current_epoch == 5


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_a_run_that_is_resumed_ends_as_without_the_break(epoch: int, tmp_path: Path) -> None:
    check_resumed(tmp_path, epoch, lambda at: pruning(FEWEST, dirpath=at), monitor=None)


def test_a_run_that_ends_before_the_choice_has_dropped_no_joint() -> None:
    class Stops(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = trainer.global_step >= COMPARE.start + 2

    callback = pruning(FEWEST)
    with pytest.warns(UserWarning, match="The run ended in its compare phase"):
        fit(Classifier(), Stops(), callback)
    assert callback.selection.indices == tuple(range(J))
    assert callback.record.phase == "compare"


class Stream(IterableDataset):
    """Has the clips, and no length."""

    def __iter__(self) -> Any:
        return iter(clips().dataset)


FEW_STEPS: dict[str, dict[str, Any]] = {
    "the comparison ends with the run": {"phases": (0.2, 0.95)},
    "epochs of unknown length": {"train": DataLoader(Stream(), batch_size=8), "max_epochs": 4},
    "a validation of unknown length, too": {
        "train": DataLoader(Stream(), batch_size=8),
        "val": DataLoader(Stream(), batch_size=8),
        "max_epochs": 4,
    },
}


@pytest.mark.parametrize("settings", FEW_STEPS.values(), ids=FEW_STEPS)
def test_a_run_without_a_step_in_its_final_phase_chooses_at_its_end(
    settings: dict[str, Any],
) -> None:
    asked = dict(settings)
    callback = pruning(FEWEST, phases=asked.pop("phases", (0.2, 0.6)))
    fit(Classifier(), callback, **asked)
    assert callback.record.phase == "final"
    assert set(INFORMATIVE) <= set(callback.selection.indices)
    assert len(callback.selection.indices) < J


# --- the metric ----------------------------------------------------------------------------------


class LogsOne(Classifier):
    """Logs nothing but one metric of its validation."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, sign = batch
        return torch.nn.functional.cross_entropy(self(x), sign)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, sign = batch
        self.log("wrong_loss", (self(x).argmax(1) != sign).float().mean())


def test_the_only_metric_is_taken_and_its_name_says_that_lower_is_better() -> None:
    callback = pruning(Fewest())
    fit(LogsOne(), callback)
    assert (callback.selection.metric, callback.selection.higher_is_better) == ("wrong_loss", False)
    assert {*INFORMATIVE} <= {*callback.selection.indices}
    assert len(callback.selection.indices) < J


def test_a_monitored_metric_is_taken_among_several() -> None:
    callback = pruning(Fewest())
    fit(Classifier(), callback, EarlyStopping("val_acc", mode="max", patience=9))
    assert callback.selection.metric == "val_acc"


def test_metrics_of_which_none_is_named_are_refused_at_the_first_validation() -> None:
    with pytest.raises(
        MisconfigurationException,
        match=r"compare numbers of joints by but .* val_loss, val_acc.*Pass Fewest\('val_loss'\)",
    ):
        fit(Classifier(), pruning(Fewest()))


def test_a_run_without_validation_is_refused_before_it_begins() -> None:
    with pytest.raises(MisconfigurationException, match="validation that logs 'a metric'"):
        trainer(pruning(Fewest())).fit(Classifier(), clips())


class Wrong(LogsOne):
    """Logs the same under a name that does not tell which values are better."""

    def log(self, name: str, *args: Any, **kwargs: Any) -> None:
        super().log("val_wrong" if name == "wrong_loss" else name, *args, **kwargs)


@pytest.mark.parametrize("budget", [Fewest(), Fewest("val_wrong")], ids=repr)
def test_the_mode_of_a_monitor_counts_also_where_the_metric_is_named(budget: Fewest) -> None:
    callback = pruning(budget)
    fit(Wrong(), callback, EarlyStopping("val_wrong", mode="min", patience=9))
    assert not callback.selection.higher_is_better
    assert {*INFORMATIVE} <= {*callback.selection.indices}


@pytest.mark.filterwarnings("ignore:No validation falls in the final phase")
@pytest.mark.parametrize("budget", [Fewest(), FEWEST, "auto"], ids=repr)
def test_a_run_whose_first_validation_is_the_comparison_chooses(budget: Any) -> None:
    callback = pruning(budget)
    monitor = EarlyStopping("val_acc", mode="max", patience=9)
    sparse = {"num_sanity_val_steps": 0, "check_val_every_n_epoch": 5}
    fit(Classifier(), callback, monitor, **sparse)
    assert callback.selection.samples == 16
    assert {*INFORMATIVE} <= {*callback.selection.indices}
    assert len(callback.selection.indices) < J


class LogsSometimes(Classifier):
    """Does not log its accuracy in one epoch."""

    def log(self, name: str, *args: Any, **kwargs: Any) -> None:
        if name != "val_acc" or self.current_epoch != 2:
            super().log(name, *args, **kwargs)


def test_a_metric_that_one_validation_lacks_costs_no_run() -> None:
    callback = pruning(FEWEST)
    fit(LogsSometimes(), callback)
    assert "val_acc" not in callback.record.history[2].metrics
    assert {*INFORMATIVE} <= {*callback.selection.indices} < {*range(J)}


class LogsLater(Classifier):
    """Logs its accuracy after the sanity check alone."""

    def log(self, name: str, *args: Any, **kwargs: Any) -> None:
        if name != "val_acc" or not self.trainer.sanity_checking:
            super().log(name, *args, **kwargs)


def test_a_monitored_metric_is_awaited_where_the_sanity_check_has_only_another() -> None:
    callback = pruning(Fewest())
    fit(LogsLater(), callback, EarlyStopping("val_acc", mode="max", patience=9))
    assert callback.selection.metric == "val_acc"


class Percent(LogsOne):
    """Logs an accuracy in per cent."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, sign = batch
        self.log("val_acc", 100.0 * (self(x).argmax(1) == sign).float().mean())


class Monitored(Classifier):
    """Monitors its accuracy as Lightning does by default, as if lower were better."""

    def configure_callbacks(self) -> Any:
        return [EarlyStopping("val_acc", patience=9)]


@pytest.mark.parametrize(
    ("model", "budget", "message", "at"),
    [
        (Monitored, Fewest(), r"as if lower values of val_acc .* Pass `mode='max'`", 1),
        (Percent, Fewest(), r"beside within=0\.01 of Fewest.*pass `Fewest\('val_acc', within=1", 1),
        (Wrong, Fewest(), r"better with the fewest.*pass `Fewest\('val_wrong', mode='min'", 4),
        (Classifier, Fewest("val_acc", within=1.0), r"Every .* within 1 .*Fewest\(within=0\.01", 4),
        (LogsOne, Fewest(), r"The validation has 16 samples, too few", 1),
    ],
)
def test_a_metric_that_misleads_is_warned_of_as_soon_as_it_shows(
    model: type[Classifier], budget: Fewest, message: str, at: int
) -> None:
    seen: dict[int, list[str]] = {}

    class Looks(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            seen[trainer.current_epoch] = [str(it.message) for it in told]

    with pytest.warns(UserWarning, match=message) as told:
        fit(model(), pruning(budget), Looks())
    pattern = re.compile(message)
    assert min(epoch for epoch, texts in seen.items() if any(map(pattern.search, texts))) == at
    assert sum(bool(pattern.search(str(it.message))) for it in told) == 1


def test_a_metric_that_is_no_number_keeps_all_joints_with_a_warning() -> None:
    class NotANumber(Classifier):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_acc", self(batch[0]).mean() * torch.nan)

    callback = pruning(FEWEST)
    with pytest.warns(UserWarning, match=r"all are kept\. val_acc was not measured, or was no fin"):
        fit(NotANumber(), callback)
    assert callback.selection.indices == tuple(range(J))


def test_a_metric_that_cannot_be_measured_keeps_all_joints_with_a_warning() -> None:
    class Breaks(Classifier):
        validations = 0

        def on_validation_start(self) -> None:
            self.validations += 1
            if self.validations > 5:  # the sanity check and four epochs
                raise RuntimeError("disk full")

    callback = pruning(FEWEST)
    with (
        pytest.warns(UserWarning, match=r"rung .* could not be validated: .*disk full"),
        pytest.warns(UserWarning, match="No number of joints could be compared, so all are kept"),
        pytest.raises(RuntimeError, match="disk full"),  # of the fifth epoch's own
    ):
        fit(Breaks(), callback)
    assert callback.selection.indices == tuple(range(J))


def test_a_run_that_is_too_short_to_validate_all_numbers_says_how_many_it_did(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainers, "affordable_validations", lambda *_: 0)
    callback = pruning(FEWEST)
    fit(Classifier(), callback)
    measured = sum(bool(rung.metrics) for rung in callback.record.rungs)
    assert measured == 5
    assert any(f"5 of the {J} numbers of joints were validated" in line for line in said)


@pytest.mark.parametrize("anew", [0, 1])
def test_a_run_too_short_for_five_validations_takes_a_part_of_each(
    anew: int, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part is 68 %. Data that are loaded anew for the comparison are shortened, too."""
    monkeypatch.setattr(trainers, "affordable_validations", lambda *_: 3.4)
    model, callback = Classifier(), pruning(FEWEST)
    done = fit(model, callback, val=clips(4, seed=1), reload_dataloaders_every_n_epochs=anew)
    measured = [rung for rung in callback.record.rungs if rung.metrics]
    assert [rung.samples for rung in measured] == [16] * 5  # two batches of four
    validated = sum(call.stage == "validate" for call in model.calls)
    assert validated == 4 * done.max_epochs + 2 * 5
    assert callback.selection.samples == 32
    wanted = "5 of the 8 numbers of joints were validated, each on the first 2 of 4 batches, since"
    assert any(wanted in line for line in said)


def test_a_run_of_few_numbers_validates_each_on_all_that_is_affordable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainers, "affordable_validations", lambda *_: 2.0)
    callback = pruning(FEWEST, drop=[*range(2, J)])
    fit(Classifier(), callback, val=clips(4, seed=1))
    assert [rung.samples for rung in callback.record.rungs] == [32, 32]
