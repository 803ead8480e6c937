"""Callbacks that remember a metric forget it when the final phase begins, as if they were new."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tests.runs import BATCHES, SHORT_RUNS, Classifier, fit, pruning

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]

RATE = 0.01
PATIENT = {"patience": 1, "factor": 0.5, "threshold": 0.0}
# Of the validations that follow each other in the final phase; all are worse than any before.
FINAL = [1.0, 0.9, 0.95, 0.96, 0.7, 0.8, 0.81, 0.82, 0.83, 0.84, 0.6, 0.61]


class Scripted(Classifier):
    """Logs losses that fall until the final phase and are those of `FINAL` in it."""

    def __init__(self, scheduler: Any = ReduceLROnPlateau, monitor: str = "score") -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["scheduler"])
        self.kind, self.monitor = scheduler, monitor
        self.before, self.after = 0, 0
        self.fed: list[tuple[str, float]] = []  # what the scheduler was given, with the phase

    def count(self) -> float:
        """Return the next loss of the script."""
        if self.pruning.record.phase == "final":
            self.after += 1
            return FINAL[(self.after - 1) % len(FINAL)]
        self.before += 1
        return 0.5 / self.before

    @property
    def pruning(self) -> Any:
        return next(it for it in self.trainer.callbacks if "JointPruning" in type(it).__name__)

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.log("score", self.count())

    def made(self) -> tuple[Any, Any]:
        optimizer = AdamW(self.parameters(), lr=RATE)
        scheduler = self.kind(optimizer, **PATIENT)
        step = scheduler.step

        def noted(metrics: Any) -> None:
            self.fed.append((self.pruning.record.phase, float(metrics)))
            step(metrics)

        scheduler.step = noted
        return optimizer, scheduler

    def configure_optimizers(self) -> Any:
        optimizer, scheduler = self.made()
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "monitor": self.monitor, "strict": False},
        }


class ByHand(Scripted):
    """Steps its scheduler by hand, after a validation or after an epoch."""

    after_epoch = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        optimizer, scheduler = self.made()
        return [optimizer], [scheduler]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        optimizer = self.optimizers()
        loss = self.step(batch, "train")
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss

    def feed(self) -> None:
        if self.monitor in self.trainer.callback_metrics and not self.trainer.sanity_checking:
            self.lr_schedulers().step(self.trainer.callback_metrics[self.monitor])

    def on_validation_end(self) -> None:
        if not self.after_epoch:
            self.feed()

    def on_train_epoch_end(self) -> None:
        if self.after_epoch:
            self.feed()


class ByHandAfterEpochs(ByHand):
    after_epoch = True


class InAList(ByHand):
    """Keeps its scheduler in a list of its own."""

    def configure_optimizers(self) -> Any:
        optimizer, scheduler = self.made()
        self.held = [scheduler]
        return optimizer

    def lr_schedulers(self) -> Any:
        return self.held[0]


class Around:
    """A scheduler of no library, around another."""

    def __init__(self, optimizer: Any, **settings: Any) -> None:
        self.optimizer = optimizer
        self.after_scheduler = ReduceLROnPlateau(optimizer, **settings)

    def step(self, metrics: Any) -> None:
        self.after_scheduler.step(metrics)


class Own:
    """A scheduler that somebody wrote by hand: halves the rate after two values that are worse."""

    def __init__(self, optimizer: Any, patience: int, factor: float, threshold: float) -> None:
        self.optimizer, self.mode, self.best, self.num_bad_epochs = optimizer, "min", None, 0

    def step(self, metrics: Any) -> None:
        value = float(metrics)
        if self.best is None or value < self.best:
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.num_bad_epochs > 1:
            self.num_bad_epochs = 0
            for group in self.optimizer.param_groups:
                group["lr"] *= 0.5


class Rates(pl.Callback):
    """Notes the user's rate after every epoch, with the phase."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.seen.append((pl_module.pruning.record.phase, rate_of(trainer)))

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.seen.append((pl_module.pruning.record.phase, rate_of(trainer)))


def rate_of(trainer: pl.Trainer) -> float:
    return float(trainer.optimizers[0].param_groups[0]["lr"])


def fresh(values: list[float]) -> tuple[float, float, int]:
    """The rate, the best and the bad epochs of a new scheduler that is fed with these alone."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    scheduler = ReduceLROnPlateau(optimizer, **PATIENT)
    for value in values:
        scheduler.step(value)
    return optimizer.param_groups[0]["lr"], scheduler.best, scheduler.num_bad_epochs


# --- schedulers ----------------------------------------------------------------------------------


KINDS = {
    "by Lightning": (Scripted, ReduceLROnPlateau),
    "by hand after a validation": (ByHand, ReduceLROnPlateau),
    "by hand after an epoch": (ByHandAfterEpochs, ReduceLROnPlateau),
    "in a list": (InAList, ReduceLROnPlateau),
    "within another": (InAList, Around),
    "of no library": (InAList, Own),
}


@pytest.mark.parametrize(("kind", "scheduler"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("end", [0.4, 0.37], ids=["after an epoch", "within an epoch"])
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.filterwarnings("ignore:ReduceLROnPlateau conditioned")  # before a first validation
@pytest.mark.compatibility("Schedulers", "ReduceLROnPlateau, new in the final phase")
def test_a_scheduler_in_the_final_phase_is_as_a_new_one(
    kind: Any, scheduler: Any, end: float, every: int
) -> None:
    model, rates = kind(scheduler), Rates()
    settings = {"max_epochs": 10, "check_val_every_n_epoch": every}
    run = fit(model, pruning(phases=(0.1, end)), rates, **settings)
    assert {rate for phase, rate in rates.seen if phase != "final"} == {RATE}
    values = [value for _, value in model.fed if any(abs(value - it) < 1e-6 for it in FINAL)]
    assert len(values) >= 6 // every
    held = model.held[0] if kind is InAList else run.lr_scheduler_configs[0].scheduler
    held = getattr(held, "after_scheduler", held)
    assert (rate_of(run), held.best, held.num_bad_epochs) == fresh(values)


def test_a_scheduler_compares_in_the_warm_up_and_waits_in_the_search() -> None:
    class Flat(Scripted):
        def count(self) -> float:
            return 1.0

    rates = Rates()
    fit(Flat(), pruning(phases=(0.6, 0.9)), rates, max_epochs=10)
    _, *seen = [rate for _, rate in rates.seen]  # after each epoch
    assert seen[:6] == [fresh([1.0] * epoch)[0] for epoch in range(1, 7)]
    assert seen[6:] == [seen[5]] * 4


@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize("end", [0.4, 0.37], ids=["after an epoch", "within an epoch"])
def test_a_training_metric_counts_from_the_first_step_of_the_final_phase(
    interval: str, end: float
) -> None:
    class Trained(Scripted):
        def configure_optimizers(self) -> Any:
            settings = super().configure_optimizers()
            settings["lr_scheduler"]["interval"] = interval
            return settings

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            self.log("mean", loss, on_step=interval == "step", on_epoch=interval == "epoch")
            return loss

    model, rates = Trained(monitor="mean"), Rates()
    run = fit(model, pruning(phases=(0.0, end)), rates, max_epochs=8)
    values = [value for phase, value in model.fed if phase == "final"]
    assert {rate for phase, rate in rates.seen if phase == "search"} == {RATE}
    held = run.lr_scheduler_configs[0].scheduler
    assert (rate_of(run), held.best, held.num_bad_epochs) == fresh(values)
    first = math.ceil(end * 8 * BATCHES)
    losses = [float(loss) for loss in model.losses[first:]]
    if interval == "step":
        assert values == losses
    else:  # the mean is of the steps in the final phase alone
        whole = losses[: -(first // -BATCHES) * BATCHES - first or BATCHES]
        assert values[0] == pytest.approx(sum(whole) / len(whole))
