"""Numbers of joints are compared and chosen beside all that Lightning can do around a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_jointprune import Fewest, JointPruningCallback, Price
from lightning_jointprune.run import trainer as trainers
from tests.runs import (
    BATCHES,
    INFORMATIVE,
    QUIET,
    SHORT_RUNS,
    SIGNS,
    Classifier,
    J,
    SteppedByHand,
    T,
    clips,
    fit,
    pruning,
    trainer,
)

pytestmark = [
    *SHORT_RUNS,
    pytest.mark.usefixtures("run_folder"),
    pytest.mark.filterwarnings("ignore:No validation falls in the final phase"),
]
BUDGETS = [Fewest("val_acc"), "auto"]


@pytest.fixture(autouse=True)
def all_rungs_are_affordable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainers, "affordable_validations", lambda *_: 100)


def check_chosen(callback: JointPruningCallback) -> None:
    """Check that the run compared numbers of joints, and kept those that were planted."""
    record = callback.record
    assert (record.phase, [*record.settings["budget"]]) == ("final", ["Fewest"])
    assert len([point for point in callback.frontier if point.value is not None]) == J
    assert {*INFORMATIVE} <= {*record.selection.indices} < {*range(J)}
    assert {note.phase for note in record.history} >= {"warmup", "search", "final"}


class ByHand(SteppedByHand, Classifier):
    """Steps its optimizer itself, at a rate at which it learns."""

    def __init__(self) -> None:
        super().__init__(lr=0.02)


RUNS: dict[str, dict[str, Any]] = {
    "accumulate_grad_batches=2": {"accumulate_grad_batches": 2, "max_epochs": 10},
    "check_val_every_n_epoch=2": {"check_val_every_n_epoch": 2, "max_epochs": 10},
    "val_check_interval=0.5": {"val_check_interval": 0.5},
    "num_sanity_val_steps=0": {"num_sanity_val_steps": 0},
    "max_steps": {"max_epochs": -1, "max_steps": 5 * BATCHES - 2},
    "max_time": {"max_time": "00:01:00:00"},
    'precision="bf16-mixed"': {"precision": "bf16-mixed"},
    "manual optimization": {"model": ByHand},
}


@pytest.mark.parametrize("budget", BUDGETS, ids=repr)
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.compatibility("Trainer", "`Fewest`, with {name}")
def test_numbers_are_compared_and_the_planted_joints_are_kept(name: str, budget: Any) -> None:
    settings = dict(RUNS[name])
    callback, model = pruning(budget), settings.pop("model", Classifier)()
    fit(model, callback, EarlyStopping("val_acc", mode="max", patience=99), **settings)
    check_chosen(callback)


class OldClassifier(pytorch_lightning.LightningModule):
    """The same for those who import Lightning under its old name."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(T * J * 2, SIGNS)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, sign = batch
        return cross_entropy(self(x), sign)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, sign = batch
        self.log("val_acc", (self(x).argmax(1) == sign).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


@pytest.mark.parametrize("budget", BUDGETS, ids=repr)
@pytest.mark.compatibility("Trainer", "`Fewest`, with `import pytorch_lightning`")
def test_numbers_are_compared_under_the_old_name_and_early_stopping_waits(budget: Any) -> None:
    stopper = pytorch_lightning.callbacks.EarlyStopping(
        "val_acc", mode="max", patience=1, min_delta=1.0
    )
    callback = pruning(budget)
    run = pytorch_lightning.Trainer(max_epochs=20, callbacks=[stopper, callback], **QUIET)
    run.fit(OldClassifier(), clips(), clips(2, seed=1))
    check_chosen(callback)
    assert run.current_epoch == 18  # the choice is after 16, and one better than none after 17


# --- runs that go on -----------------------------------------------------------------------------


@pytest.mark.parametrize("budget", BUDGETS, ids=repr)
@pytest.mark.compatibility("Checkpoints", "`Fewest`, from a checkpoint of a run without pruning")
def test_the_phases_share_what_is_left_of_a_plain_checkpoint(budget: Any) -> None:
    fit(Classifier(), max_epochs=2).save_checkpoint("plain.ckpt")
    callback = pruning(budget, phases=(0.0, 0.6))  # it has learned, so nothing to wait for
    stopper = EarlyStopping("val_acc", mode="max", patience=99)
    run = trainer(callback, stopper, max_epochs=12)
    run.fit(Classifier(), clips(), clips(2, seed=1), ckpt_path="plain.ckpt")
    record = callback.record
    assert {*INFORMATIVE} <= {*record.selection.indices} < {*range(J)}
    assert [note.phase for note in record.history] == ["search"] * 6 + ["compare"] * 2 + [
        "final"
    ] * 2


NEW = ("budget", "began", "learned_at", "looks", "waited", "steps")


@pytest.mark.parametrize("epoch", [1, 2, 4], ids=["warm-up", "search", "final"])
def test_a_checkpoint_of_an_older_version_goes_on(epoch: int, tmp_path: Path) -> None:
    """As it had neither waiting nor a count of steps, the search of a run that learns is as now."""

    def run(**more: Any) -> JointPruningCallback:
        pl.seed_everything(0, verbose=False)
        callback = pruning(Price())
        save = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
        trainer(callback, save, enable_checkpointing=True).fit(
            Classifier(), clips(), clips(2, seed=1), **more
        )
        return callback

    whole = run()
    path = tmp_path / f"epoch={epoch - 1}.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    state = checkpoint["callbacks"][whole.state_key]
    state["search"]["learned"] = bool(state["search"]["steps"])
    for name in NEW:
        del state["search"][name]
    for name in ("samples", "logged", "baseline"):
        del state["journal"][name]
    torch.save(checkpoint, tmp_path / "older.ckpt")
    resumed = run(ckpt_path=tmp_path / "older.ckpt")
    assert resumed.selection.indices == whole.selection.indices
    assert resumed.selection.keep_probabilities == whole.selection.keep_probabilities
