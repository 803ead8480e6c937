"""Fits a tiny model whose validations log given values, with the trainer of either package."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import lightning.pytorch
import pytest
import pytorch_lightning
import torch
from torch.utils.data import DataLoader

PACKAGES = [lightning.pytorch, pytorch_lightning]
each_package = pytest.mark.parametrize("pl", PACKAGES, ids=lambda pl: pl.__name__)
BATCHES = 4


def fit(
    pl: ModuleType,
    values: Sequence[float],
    callbacks: Sequence[Any],
    data: Any = None,
    validation: Any = None,
    **settings: Any,
) -> Any:
    """Fit a tiny model whose validations log these values; return the trainer."""

    class Tiny(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(6, 2)
            self.left = list(values)

        def forward(self, x: Any) -> Any:
            return self.layer(x)

        def training_step(self, x: Any) -> Any:
            return self(x).square().mean()

        def validation_step(self, x: Any) -> None:
            self(x)
            self.log("acc", torch.tensor(self.left.pop(0)))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=0.01)

    settings = {"max_epochs": len(values) or None, **settings}
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(
            type(callback).__name__ == "ModelCheckpoint" for callback in callbacks
        ),
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        **settings,
    )
    batches = DataLoader(torch.randn(BATCHES, 2, 6), batch_size=None)
    if values and validation is None:
        validation = DataLoader(torch.randn(1, 2, 6), batch_size=None)
    trainer.fit(Tiny(), batches if data is None else data, validation)
    return trainer


def before_epochs(pl: ModuleType, act: Any) -> Any:
    """Return a callback that acts before every epoch."""

    class BeforeEpochs(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            act(trainer)

    return BeforeEpochs()
