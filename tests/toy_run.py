"""The shortest run there is, to try an installed package with: `python toy_run.py FOLDER`."""

from __future__ import annotations

import sys

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_jointprune


class Toy(pl.LightningModule):
    """A linear classifier of 8 frames of 10 joints."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8 * 10 * 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def main(folder: str) -> None:
    """Train for one epoch on signs that the joint 3 carries, and leave record and report."""
    torch.manual_seed(0)
    x = torch.randn(512, 8, 10, 2)
    data = DataLoader(TensorDataset(x, (x[:, :, 3].mean((1, 2)) > 0).long()), batch_size=4)
    pruning = lightning_jointprune.JointPruningCallback(num_joints=10, budget=3, dirpath=folder)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[pruning],
    )
    trainer.fit(Toy(), data)
    if pruning.report_path is None or len(pruning.selection.indices) != 3:
        raise SystemExit(f"Expected a report and 3 joints but got {pruning.selection}.")


if __name__ == "__main__":
    main(sys.argv[1])
