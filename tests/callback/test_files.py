"""A run leaves its files, however it ends."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_jointprune import JointPruningCallback, JointSelection, PruningRecord
from tests.runs import SHORT_RUNS, Classifier, J, clips, fit, pruning, trainer

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


class Stop(pl.Callback):
    """Ends a run at an optimizer step, politely or not."""

    def __init__(self, step: int, error: type[BaseException] | None = None) -> None:
        self.step = step
        self.error = error

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            trainer.should_stop = True
            if self.error:
                raise self.error


def test_the_record_the_selection_and_the_report_are_left(tmp_path: Path) -> None:
    callback = pruning(dirpath=tmp_path / "results")
    fit(Classifier(), callback)

    record = PruningRecord.from_json(tmp_path / "results")
    assert record == callback.record
    assert record.phase == "final"
    assert record.selection.indices == callback.selection.indices
    assert [snapshot.step for snapshot in record.history] == [8, 16, 24, 32, 40]
    assert record.settings["budget"] == {"TargetJoints": {"count": 3}}
    assert "torch" in record.versions
    selection = json.loads((tmp_path / "results" / "selection.json").read_text())
    assert selection["indices"] == list(callback.selection.indices)
    assert callback.report_path == tmp_path / "results" / "joint_importance.html"
    assert callback.report_path.exists()


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    callback = pruning(dirpath=tmp_path / "file")
    with pytest.warns(UserWarning, match=r"could not be written to .*file"):
        fit(Classifier(), callback)
    assert callback.report_path is None
    assert len(callback.selection.indices) == 3


def test_a_record_that_cannot_be_made_costs_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise ValueError("Expected edges")

    monkeypatch.setattr("lightning_jointprune.run.recorder.PruningRecord", fail)
    model, callback = Classifier(), pruning()
    with pytest.warns(UserWarning, match=r"There is no record: .*Expected edges"):
        fit(model, callback)
    assert len(callback.selection.indices) == 3


def test_a_report_that_fails_costs_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("no figure")

    monkeypatch.setattr("lightning_jointprune.report.write_report", broken)
    with pytest.warns(UserWarning, match="no figure"):
        fit(Classifier(), pruning())
    assert PruningRecord.from_json(Path()).phase == "final"


@pytest.mark.parametrize(
    ("step", "phase"), [(12, "search"), (20, "search"), (30, "final"), (35, "final")]
)
def test_an_interrupted_run_leaves_what_it_knows(step: int, phase: str) -> None:
    model, callback = Classifier(), pruning()
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        fit(model, callback, Stop(step, KeyboardInterrupt))

    record = PruningRecord.from_json(Path())
    assert record.phase == phase
    assert record.selection == callback.selection
    assert bool(record.selection.metrics) == (phase == "final" and step > 32)
    assert callback.report_path is not None


def test_after_an_error_nothing_is_asked_that_all_processes_have_to_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Alone(Stop):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if trainer.global_step == self.step:
                monkeypatch.setattr(trainer.strategy, "broadcast", None)
                monkeypatch.setattr(trainer.strategy, "reduce", None)
            super().on_train_batch_end(trainer, *args)

    with pytest.raises(RuntimeError):
        fit(Classifier(), pruning(), Alone(20, RuntimeError))
    assert PruningRecord.from_json(Path()).phase == "search"


def test_an_interrupted_warmup_leaves_a_record_with_all_joints() -> None:
    callback = pruning(phases=(0.5, 0.8))
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        fit(Classifier(), callback, Stop(12, KeyboardInterrupt))
    record = PruningRecord.from_json(Path())
    assert record.phase == "warmup"
    assert record.selection.indices == tuple(range(J))


def test_an_error_of_the_users_in_the_first_step_leaves_no_trace() -> None:
    class Broken(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            super().training_step(batch, batch_idx)
            raise RuntimeError("mine")

    model = Broken()
    with pytest.raises(RuntimeError, match="mine"):
        fit(model, pruning())
    assert "forward" not in model.__dict__
    assert not Path("pruning_record.json").exists()


def test_a_run_that_ends_in_the_search_says_that_nothing_was_frozen() -> None:
    callback = pruning()
    with pytest.warns(UserWarning, match=r"ended in its search phase, at \d\d% .* provisional"):
        fit(Classifier(), callback, Stop(16))
    assert PruningRecord.from_json(Path()).phase == "search"


@pytest.mark.parametrize("steps", [True, 10])
@pytest.mark.compatibility("Trainer", "fast_dev_run={steps}")
def test_a_quick_trial_goes_through_and_writes_nothing(steps: Any, tmp_path: Path) -> None:
    callback = pruning()
    fit(Classifier(), callback, fast_dev_run=steps)
    assert list(tmp_path.iterdir()) == []
    assert callback.report_path is None
    assert callback.record.phase == ("warmup" if steps is True else "final")


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), PermissionError("ro")])
def test_a_disk_that_fails_all_along_changes_nothing_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: OSError
) -> None:
    def run() -> tuple[Classifier, JointPruningCallback]:
        torch.manual_seed(1)
        model, callback = Classifier(), pruning(dirpath=tmp_path / "results")
        fit(model, callback)
        return model, callback

    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr("lightning_jointprune.run.recorder.REFRESH_COST", 0.0)
    monkeypatch.setattr("lightning_jointprune.run.recorder.REFRESH_SHARE", 1e9)
    (model, callback) = run()
    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.warns(UserWarning, match=r"could not be written.*The training is not affected"):
        other, again = run()
    assert again.record == callback.record
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_clock_that_goes_back_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(2e9, -86_400.0)
    monkeypatch.setattr("time.time", lambda: next(clock))
    callback = pruning(dirpath=tmp_path)
    fit(Classifier(), callback)
    assert PruningRecord.from_json(tmp_path) == callback.record
    assert callback.record.phase == "final"


def test_two_runs_at_once_with_one_dirpath_do_not_mix_their_files(tmp_path: Path) -> None:
    class Between(pl.Callback):
        """A whole run while the other one is in its search."""

        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
            if trainer.current_epoch == 2:
                fit(Classifier(), inner)

    inner, outer = (pruning(count, dirpath=tmp_path) for count in (2, 5))
    with pytest.warns(UserWarning, match="Give each run a dirpath of its own"):
        fit(Classifier(), outer, Between())
    assert outer.report_path == tmp_path / "run_2" / "joint_importance.html"
    for callback, folder in ((inner, tmp_path), (outer, tmp_path / "run_2")):
        assert PruningRecord.from_json(folder) == callback.record
        assert JointSelection.from_json(folder / "selection.json") == callback.selection


def test_a_run_killed_before_it_left_its_files_leaves_them_when_resumed(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True)
    whole = pruning(dirpath=tmp_path / "whole")
    fit(Classifier(), whole, saver, enable_checkpointing=True)

    resumed = pruning(dirpath=tmp_path / "resumed")
    run = trainer(resumed)
    run.fit(Classifier(), clips(), clips(2, seed=1), ckpt_path=saver.best_model_path)
    assert resumed.report_path == tmp_path / "resumed" / "joint_importance.html"
    assert PruningRecord.from_json(tmp_path / "resumed") == whole.record
