"""Early stopping and best checkpoints judge the final phase alone."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from tests.runs import SHORT_RUNS, Classifier, fit, pruning

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


class Scored(Classifier):
    """Logs a validation score that only ever gets worse."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("score", float(-self.trainer.current_epoch))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("at_epoch_end", [True, False])
@pytest.mark.parametrize("every", [1.0, 0.5])
@pytest.mark.compatibility("Callbacks", "EarlyStopping, in the final phase")
def test_early_stopping_waits_for_the_final_phase(
    first: bool, at_epoch_end: bool, every: float, said: list[str]
) -> None:
    stopper = EarlyStopping("score", mode="max", patience=1, check_on_train_epoch_end=at_epoch_end)
    callbacks = [stopper, pruning()] if first else [pruning(), stopper]
    run = fit(Scored(), *callbacks, max_epochs=10, val_check_interval=every)

    # the search ends with epoch 5; the first check after it is the first score, the next is worse
    assert run.current_epoch == 8 if every == 1.0 or at_epoch_end else 7
    assert said.count("Joint pruning: early stopping waits for the final phase.") == 1


@pytest.mark.compatibility("Callbacks", "EarlyStopping, in the final phase")
def test_a_stopping_threshold_counts_in_the_final_phase_only() -> None:
    stopper = EarlyStopping("score", mode="max", patience=99, stopping_threshold=-99.0)
    run = fit(Scored(), pruning(), stopper)

    assert run.current_epoch == 4
    assert stopper.stopping_threshold == -99.0


def test_a_score_of_the_search_is_no_standard_for_the_final_phase() -> None:
    # Validated twice per epoch, with the freeze in between: what came before is another model's.
    class Later(Classifier):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            self.log("score", -float(self.trainer.global_step))

    class Watch(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if callback.record.phase == "final":
                standards.append((trainer.global_step, float(stopper.best_score)))

    standards: list[tuple[int, float]] = []
    stopper = EarlyStopping("score", mode="max", patience=2, check_on_train_epoch_end=False)
    callback = pruning(phases=(0.1, 0.65))
    fit(Later(), callback, stopper, Watch(), max_epochs=10, val_check_interval=0.5)
    assert standards[0] == (56, -56.0)


@pytest.mark.parametrize("top", [1, 2, -1])
@pytest.mark.parametrize("on_epoch", [True, False])
@pytest.mark.compatibility("Callbacks", "ModelCheckpoint with a monitor, of the final phase")
def test_a_best_checkpoint_is_a_pruned_model(top: int, on_epoch: bool) -> None:
    best = ModelCheckpoint(
        ".", monitor="score", mode="max", save_top_k=top, save_on_train_epoch_end=on_epoch
    )
    callback = pruning()
    fit(Scored(), callback, best, enable_checkpointing=True)
    state = torch.load(best.best_model_path, weights_only=True)["callbacks"][callback.state_key]

    assert state["search"]["phase"] == "final"
    assert tuple(state["mask"]) == callback.selection.mask
    assert float(best.best_model_score) == -3.0  # the first epoch of the final phase
