"""Make small stand-ins for the models, the data and the finished runs that the pages name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_jointprune import JointPruningCallback, PruningRecord

T, J, C, SIGNS = 6, 42, 3, 4
BEARING = (8, 29)  # joints that carry half of the sign each; the others are noise


def clips(count: int, seed: int) -> TensorDataset:
    random = torch.Generator().manual_seed(seed)
    sign = torch.randint(SIGNS, (count,), generator=random)
    x = torch.randn(count, T, J, C, generator=random)
    for joint, bit in zip(BEARING, (sign % 2, sign // 2), strict=True):
        x[:, :, joint] += 2.0 * bit[:, None, None] - 1.0
    return TensorDataset(x, sign)


class MyModel(pl.LightningModule):
    """Reads clips `(B, T, 42, 3)` and knows nothing of pruning."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Linear(J * C, width), nn.ReLU(), nn.Linear(width, SIGNS))

    def forward(self, skeleton: Tensor) -> Tensor:
        return self.encoder(skeleton.flatten(2)).mean(1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        right = (self(batch[0]).argmax(1) == batch[1]).float().mean()
        self.log("val_acc", right, prog_bar=True)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


class MyData(pl.LightningDataModule):
    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(clips(160, seed=0), batch_size=16)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(clips(64, seed=1), batch_size=32)

    test_dataloader = val_dataloader


def finished_runs(folder: Path) -> None:
    """Two runs in `lightning_logs`, `best.ckpt` of a ladder's, a plain run, and `my_model.py`."""
    (folder / "plain").mkdir()
    (folder / "plain" / "metrics.csv").write_text("epoch,val_acc\n29,0.93\n")
    (folder / "my_model.py").write_text("from tests.stand_ins import MyModel\n")
    for seed in (0, 1):
        pl.seed_everything(seed, verbose=False)
        callback = JointPruningCallback(skeleton="mediapipe_hands", budget=[8, 4])
        trainer = pl.Trainer(
            max_epochs=10,
            callbacks=[callback, TQDMProgressBar(refresh_rate=0)],
            default_root_dir=folder,
            accelerator="cpu",
            enable_model_summary=False,
            log_every_n_steps=5,
        )
        trainer.fit(MyModel(), datamodule=MyData())
        trainer.save_checkpoint(folder / "best.ckpt")


def names_of_pages(folder: Path) -> dict[str, Any]:
    """Return what a page may name without having made it."""
    runs = [folder / "lightning_logs" / f"version_{n}" for n in (0, 1)]
    return {
        "MyModel": MyModel,
        "model": MyModel(),
        "datamodule": MyData(),
        "batch": next(iter(MyData().train_dataloader())),
        "test_dataloader": MyData().test_dataloader(),
        "signers": [f"signer {clip % 8}" for clip in range(64)],
        "records": [PruningRecord.from_json(run) for run in runs],
    }
