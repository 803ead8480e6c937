"""A resumed run remembers as much of its metrics as the uninterrupted one, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint

from tests.runs import BATCHES, SHORT_RUNS, Classifier, clips, pruning, trainer
from tests.whole.test_with_lightning import Resumable, assert_equal_runs

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


class Halving:
    """Halves the rate after two losses that are no better than the best, like ReduceLROnPlateau.

    Lightning steps that one after it has saved a checkpoint, and not again when it resumes.
    """

    def __init__(self, optimizer: Any) -> None:
        self.optimizer, self.mode = optimizer, "min"
        self.best, self.num_bad_epochs = float("inf"), 0

    def step(self, loss: Any) -> None:
        better = float(loss) < self.best
        self.num_bad_epochs = 0 if better else self.num_bad_epochs + 1
        self.best = min(float(loss), self.best)
        if self.num_bad_epochs > 1:
            self.num_bad_epochs = 0
            for group in self.optimizer.param_groups:
                group["lr"] *= 0.5

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "num_bad_epochs": self.num_bad_epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class Judged(Classifier):
    """Cuts its rate by the losses of its steps."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        halving = {"scheduler": Halving(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": halving}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step(self.losses[-1])


def run(ckpt: str | None = None, beside: Any = None, **settings: Any) -> Any:
    torch.manual_seed(3 if ckpt is None else 4)  # a resumed run must not need its own luck
    model, callback = Judged(), pruning(3)
    kept: dict[str, Any] = {"filename": "{epoch}", "enable_version_counter": False}
    watchers = [
        ModelCheckpoint("top", monitor="val_loss", save_top_k=2, **kept),
        ModelCheckpoint("train", monitor="train_loss", mode="max", **kept),
        EarlyStopping("val_loss", patience=4, mode="max"),
    ]
    kept |= {"filename": "{step}", "save_top_k": -1}
    saver = ModelCheckpoint("all", every_n_train_steps=1, **kept)
    settings = {"max_epochs": 8, "enable_checkpointing": True, **settings}
    run = trainer(callback, *watchers, saver, **settings)
    run.fit(model, Resumable(clips(BATCHES)), clips(2, seed=1), ckpt_path=ckpt)
    return (model, callback, run), watchers


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.parametrize("settings", [{}, {"check_val_every_n_epoch": 3}], ids=["each", "sparse"])
@pytest.mark.compatibility("Checkpoints", "resuming what remembers a metric, bit for bit")
def test_a_resumed_run_remembers_what_the_uninterrupted_one_does(settings: dict[str, Any]) -> None:
    whole, judges = run(**settings)
    for step in (13, 39, 41, 52):  # the final phase begins with step 39
        resumed, others = run(f"all/step={step}.ckpt", **settings)
        assert_equal_runs(resumed, whole)
        scheduler, other = (it[2].lr_scheduler_configs[0].scheduler for it in (whole, resumed))
        assert other.state_dict() == scheduler.state_dict()
        assert resumed[1]._companions.state_dict() == whole[1]._companions.state_dict()
        for judge, other in zip(judges, others, strict=True):
            expected, found = ({**it.state_dict(), "current_score": None} for it in (judge, other))
            assert found == expected  # Lightning does not restore the current score


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.parametrize("step", [13, 39, 52])
def test_a_resumed_average_is_the_uninterrupted_one(step: int) -> None:
    whole, _ = run(beside=EMAWeightAveraging(decay=0.9))
    resumed, _ = run(f"all/step={step}.ckpt", beside=EMAWeightAveraging(decay=0.9))
    assert_equal_runs(resumed, whole)
