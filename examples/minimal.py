"""Train a classifier of skeleton clips, and find the two joints that it needs.

    python -m examples.minimal

It takes some ten seconds. The clips are made: of ten joints, 3 and 7 alone carry the class.
"""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_jointprune import JointPruningCallback

FRAMES, JOINTS, CHANNELS, CLASSES = 8, 10, 2, 4
PLANTED = (3, 7)  # the joints that carry the class; the others are noise


class Classifier(pl.LightningModule):
    """Classify clips of a skeleton. Nothing in here knows of pruning."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(FRAMES * JOINTS * CHANNELS, 32)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, clips: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(clips.flatten(1))))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        clips, classes = batch
        return nn.functional.cross_entropy(self(clips), classes)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        clips, classes = batch
        accuracy = (self(clips).argmax(dim=1) == classes).float().mean()
        self.log("val_acc", accuracy, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def make_clips(count: int) -> TensorDataset:
    """Return clips (frames, joints, channels) of noise, in which two joints carry the class."""
    classes = torch.randint(CLASSES, (count,))
    clips = torch.randn(count, FRAMES, JOINTS, CHANNELS)
    for joint, sign in zip(PLANTED, (classes % 2, classes // 2), strict=True):
        clips[:, :, joint] += (2.0 * sign - 1.0)[:, None, None]
    return TensorDataset(clips, classes)


def main() -> JointPruningCallback:
    """Train once with the callback, and print which joints it kept."""
    pl.seed_everything(0)
    train = DataLoader(make_clips(2048), batch_size=16, shuffle=True)
    val = DataLoader(make_clips(512), batch_size=64)

    pruning = JointPruningCallback(num_joints=JOINTS)
    trainer = pl.Trainer(max_epochs=10, accelerator="cpu", callbacks=[pruning])
    trainer.fit(Classifier(), train, val)

    print(f"Kept: {', '.join(pruning.selection.names)}")
    print(f"Report: {pruning.report_path}")
    return pruning


if __name__ == "__main__":
    main()
