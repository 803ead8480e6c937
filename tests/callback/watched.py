"""Look at what reached a model, and hold models and batches that several tests need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_jointprune import JointPruningCallback, Price
from tests.runs import BATCHES, Classifier, clips, fit, pruning, trainer


def kinds(model: Classifier, stage: str) -> dict[int, str]:
    """Return by optimizer step whether the model saw all joints, noisy ones or masked ones."""
    return {call.step: call.kind for call in model.of(stage)}


def masks(model: Classifier, stage: str) -> set[tuple[bool, ...]]:
    return {tuple(call.kept) for call in model.of(stage) if call.kind == "masked"}


def weights(model: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


class Indifferent(Classifier):
    """The loss does not care about the joints, so the price alone moves the gates."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return 0.0 * super().training_step(batch, batch_idx) + 1.0

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Falling(Indifferent):
    """A loss of 2 for ten batches, then 0."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return 2.0 * loss if len(self.losses) <= 10 else 0.0 * loss


def probabilities(**settings: Any) -> list[float]:
    callback = pruning(Price(0.3), lr=2.0)
    fit(Indifferent(), callback, **settings)
    assert min(callback.selection.keep_probabilities) < 0.8  # the gates moved
    return list(callback.selection.keep_probabilities)


def check_resumed(
    folder: Path,
    epoch: int,
    make: Callable[[Path], JointPruningCallback],
    model: type[Classifier] = Classifier,
    monitor: str | None = "val_acc",
    batches: int = BATCHES,
    **settings: Any,
) -> JointPruningCallback:
    """Make sure that a run goes on from the end of an epoch as without the break.

    Args:
        folder: of all files.
        epoch: after which it is broken off, from 1.
        make: the callback, which writes into a folder.
        model: the class of the model.
        monitor: of the checkpoints; None for none.
        batches: of a training epoch.
        **settings: of the trainer.

    Returns:
        The callback of the whole run.
    """

    def run(name: str, **more: Any) -> tuple[JointPruningCallback, Classifier]:
        pl.seed_everything(0, verbose=False)
        callback, trained = make(folder / name), model()
        save = ModelCheckpoint(folder / name, "{epoch}", save_top_k=-1, monitor=monitor, mode="max")
        fitting = trainer(callback, save, enable_checkpointing=True, **settings)
        fitting.fit(trained, clips(batches), clips(2, seed=1), **more)
        return callback, trained

    whole, first = run("whole")
    resumed, again = run("resumed", ckpt_path=folder / "whole" / f"epoch={epoch - 1}.ckpt")
    assert resumed.record.to_json() == whole.record.to_json()
    assert torch.equal(again.head.weight, first.head.weight)
    return whole


def batches(*xs: Tensor) -> DataLoader[Any]:
    return DataLoader([(x, torch.arange(len(x)) % 2) for x in xs], batch_size=None)
