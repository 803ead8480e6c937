"""A final phase in which no validation falls is warned of when the run begins, and validated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import IterableDataset

from lightning_jointprune import Fewest, MetricFloor
from tests.runs import SHORT_RUNS, Classifier, clips, fit, pruning, trainer

NONE = "No validation falls in the final phase"
pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]
expected_warning = pytest.mark.filterwarnings(f"ignore:{NONE}")


class Phases(pl.Callback):
    """Notes the phase and the step of every validation."""

    def __init__(self, pruning: Any) -> None:
        self.pruning, self.seen = pruning, []

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self.seen.append((self.pruning.record.phase, trainer.global_step))


def run(*callbacks: Any, phases: Any = (0.1, 0.6), model: Any = None, **settings: Any) -> Any:
    callback = pruning(phases=phases)
    watch = Phases(callback)
    fitted = fit(
        model or Classifier(), callback, watch, *callbacks, **{"max_epochs": 9, **settings}
    )
    return callback, watch.seen, fitted


def phase_of(path: str) -> str:
    states = torch.load(path, weights_only=True)["callbacks"]
    return next(it for key, it in states.items() if key.startswith("Joint"))["search"]["phase"]


SPARSE: dict[str, dict[str, Any]] = {
    "every fifth epoch": {"check_val_every_n_epoch": 5},
    "fewer epochs than that": {"check_val_every_n_epoch": 20},
    "early in each epoch": {"val_check_interval": 5, "phases": (0.5, 0.96)},
    "every 40 batches": {"val_check_interval": 40, "check_val_every_n_epoch": None},
    "steps end within an epoch": {"max_epochs": -1, "max_steps": 22, "phases": (0.5, 0.8)},
    "epochs and steps": {"max_steps": 28, "check_val_every_n_epoch": 2, "phases": (0.2, 0.6)},
    "accumulated gradients": {
        "max_epochs": -1,
        "max_steps": 11,
        "accumulate_grad_batches": 3,
        "phases": (0.5, 0.8),
    },
}
DENSE: dict[str, dict[str, Any]] = {
    "every epoch": {},
    "every third epoch": {"check_val_every_n_epoch": 3},
    "twice an epoch": {"val_check_interval": 0.5},
    "every 35 batches": {"val_check_interval": 35, "check_val_every_n_epoch": None},
    "steps": {"max_epochs": -1, "max_steps": 22},
}


@pytest.mark.parametrize("settings", SPARSE.values(), ids=SPARSE)
@pytest.mark.compatibility("Trainer", "no validation planned in the final phase: one at its end")
def test_what_is_planned_is_warned_of_with_what_to_type_and_one_is_added(
    settings: dict[str, Any],
) -> None:
    with pytest.warns(UserWarning, match=NONE) as told:
        callback, seen, fitted = run(**settings)
    assert [at for phase, at in seen if phase == "final"] == [fitted.global_step]
    assert callback.selection.metrics.keys() == {"val_loss", "val_acc"}
    message = next(str(it.message) for it in told if NONE in str(it.message))
    (typed,) = re.findall(r"pass Trainer\((.*)\)\.", message)
    values = dict(pair.split("=") for pair in typed.split(", "))
    new = {name: None if value == "None" else int(value) for name, value in values.items()}
    _, seen, _ = run(**{**settings, **new})  # as is typed, without a warning
    assert "final" in dict(seen)


@pytest.mark.parametrize("settings", DENSE.values(), ids=DENSE)
def test_a_run_with_validations_in_its_final_phase_has_those_alone(
    settings: dict[str, Any],
) -> None:
    watch = Phases(pruning())
    fit(Classifier(), watch, **{"max_epochs": 9, **settings})
    plain = [at for _, at in watch.seen]
    _, seen, _ = run(**settings)
    assert [at for _, at in seen] == plain
    assert "final" in dict(seen)


class Endless(IterableDataset):
    """A stream of which nobody knows how long an epoch is."""

    def __iter__(self) -> Any:
        return iter(clips(8).dataset)


def test_a_stream_is_validated_at_its_end_too() -> None:
    stream = torch.utils.data.DataLoader(Endless(), batch_size=8)
    callback = pruning()
    watch = Phases(callback)
    fitted = trainer(callback, watch, max_epochs=-1, max_steps=14)
    fitted.fit(Classifier(), stream, clips(2, seed=1))
    assert [at for phase, at in watch.seen if phase == "final"] == [fitted.global_step] == [14]


@pytest.mark.parametrize("budget", [3, MetricFloor("val_acc", 0.5), Fewest("val_acc")], ids=repr)
def test_a_quick_trial_is_not_doubted_for_its_plan(
    budget: Any, recwarn: pytest.WarningsRecorder
) -> None:
    fit(Classifier(), pruning(budget), fast_dev_run=5)
    assert not any(words in str(it.message) for it in recwarn for words in (NONE, "needs valid"))


@expected_warning
def test_the_trainer_is_as_it_was_afterwards() -> None:
    _, _, fitted = run(check_val_every_n_epoch=5, val_check_interval=0.5)
    assert (fitted.check_val_every_n_epoch, fitted.val_check_batch, fitted.val_check_interval) == (
        5,
        4,
        0.5,
    )


# --- what judges by it ---------------------------------------------------------------------------


@expected_warning
@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")  # before a validation
@pytest.mark.parametrize("on_epoch", [None, True, False])
@pytest.mark.parametrize("settings", SPARSE.values(), ids=SPARSE)
@pytest.mark.compatibility("Callbacks", "ModelCheckpoint with a monitor, of the final phase")
def test_the_best_is_of_the_final_phase(settings: dict[str, Any], on_epoch: Any) -> None:
    kept: dict[str, Any] = {"save_on_train_epoch_end": on_epoch, "filename": "{epoch}-{step}"}
    checkpoints = [
        ModelCheckpoint("best", monitor="val_loss", save_last=True, **kept),
        ModelCheckpoint("top", monitor="val_acc", mode="max", save_top_k=3, **kept),
        ModelCheckpoint("latest", every_n_train_steps=None, **kept),
    ]
    callback, _, fitted = run(*checkpoints, enable_checkpointing=True, **settings)
    loss, *_ = (float(it.best_model_score) for it in checkpoints[:2])
    assert loss == pytest.approx(callback.selection.metrics["val_loss"])
    epoch = fitted.current_epoch - 1
    for checkpoint in checkpoints:
        assert Path(checkpoint.best_model_path).stem == f"epoch={epoch}-step={fitted.global_step}"
        assert phase_of(checkpoint.best_model_path) == "final"
        assert {phase_of(path) for path in checkpoint.best_k_models} <= {"final"}
    assert phase_of(checkpoints[0].last_model_path) == "final"


@expected_warning
@pytest.mark.compatibility("Callbacks", "EarlyStopping by a training metric, in the final phase")
def test_a_run_that_a_training_metric_stops_before_its_validation_is_validated() -> None:
    stopper = EarlyStopping(
        "train_loss", patience=1, min_delta=100.0, check_on_train_epoch_end=True
    )
    best = ModelCheckpoint(".", "{epoch}-{step}", monitor="val_loss")
    callback, seen, fitted = run(
        stopper, best, enable_checkpointing=True, check_val_every_n_epoch=4
    )
    assert fitted.current_epoch == 7  # the final phase begins in the sixth epoch
    assert [at for phase, at in seen if phase == "final"] == [fitted.global_step]
    assert callback.selection.metrics["val_loss"] == pytest.approx(float(best.best_model_score))
    assert Path(best.best_model_path).stem == f"epoch=6-step={fitted.global_step}"


# --- checkpoints that are sparse themselves ------------------------------------------------------


@pytest.mark.parametrize(
    "often",
    [{"every_n_epochs": 5}, {"every_n_train_steps": 30}],
    ids=lambda often: next(iter(often)),
)
@pytest.mark.parametrize("monitor", ["val_loss", "train_loss", None])
@pytest.mark.compatibility("Callbacks", "ModelCheckpoint that saves none in the final phase")
def test_checkpoints_that_miss_the_final_phase_save_its_end(often: Any, monitor: Any) -> None:
    kept: dict[str, Any] = {"filename": "{epoch}-{step}", "save_last": True, **often}
    best = ModelCheckpoint("best", monitor=monitor, **kept)
    with pytest.warns(UserWarning, match=r"None of the checkpoints with monitor=.* in the final"):
        _, _, fitted = run(best, enable_checkpointing=True, max_epochs=7, phases=(0.1, 0.8))
    assert Path(best.best_model_path).stem == f"epoch=6-step={fitted.global_step}"
    assert phase_of(best.best_model_path) == phase_of(best.last_model_path) == "final"
    assert {phase_of(path) for path in best.best_k_models} <= {"final"}


def test_checkpoints_that_never_saved_save_nothing_more() -> None:
    never = ModelCheckpoint("never", monitor="val_loss", every_n_epochs=50)
    run(never, enable_checkpointing=True)
    assert never.best_model_path == ""


def test_the_best_of_several_are_of_the_final_phase_alone() -> None:
    top = ModelCheckpoint("top", "{epoch}", monitor="val_loss", mode="max", save_top_k=6)
    run(top, enable_checkpointing=True)
    assert len(top.best_k_models) == 4  # the epochs that end in the final phase
    assert {phase_of(path) for path in top.best_k_models} == {"final"}
