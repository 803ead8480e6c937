"""Small runs: a model that knows nothing of pruning and remembers what reached it, and its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_jointprune import JointPruningCallback

T, J, C, SIGNS = 4, 8, 2, 4
BATCHES = 8  # of a training epoch
INFORMATIVE = (1, 4)  # joints that carry half of the sign each; the others are noise
# Most runs are too short for gates to be sure; what is warned of then has its own tests.
SHORT_RUNS = [
    pytest.mark.filterwarnings("ignore:.* kept joints? ha(s|ve) a keep probability of at most"),
    pytest.mark.filterwarnings("ignore:The gates hardly moved"),
    pytest.mark.filterwarnings("ignore:The model had (not|hardly) begun to learn"),
    pytest.mark.filterwarnings("ignore:The search had .* steps"),
    pytest.mark.filterwarnings("ignore:The validation has .* sample"),
    pytest.mark.filterwarnings("ignore:MetricFloor needs validations"),
    pytest.mark.filterwarnings("ignore:.* is better with the fewest joints"),
    pytest.mark.filterwarnings("ignore:.* was not surely at its (floor|ceiling)"),
    pytest.mark.filterwarnings("ignore:.* ended at .* its (floor|ceiling) of"),
]
SMALL_FLAGS = [  # of the example's command line
    "--datamodule.num_frames=8",
    "--model.hidden_size=32",
    "--model.num_layers=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def clips(batches: int = BATCHES, size: int = 8, seed: int = 0) -> DataLoader[Any]:
    """Batches in a fixed order. No coordinate is exactly 0, so a dropped joint can be told."""
    random = torch.Generator().manual_seed(seed)
    sign = torch.randint(SIGNS, (batches * size,), generator=random)
    x = torch.randn(batches * size, T, J, C, generator=random)
    for joint, bit in zip(INFORMATIVE, (sign % 2, sign // 2), strict=True):
        x[:, :, joint] += 2.0 * bit[:, None, None] - 1.0
    return DataLoader(TensorDataset(x, sign), batch_size=size)


def first_joint(x: Tensor, axes: tuple[str, ...]) -> Tensor:
    """A fill: every dropped joint becomes the first."""
    return x.narrow(axes.index("j"), 0, 1)


@dataclass(frozen=True)
class Call:
    """Hold a batch, and what of it reached the model."""

    stage: str
    step: int
    given: Tensor
    got: Tensor

    @property
    def kept(self) -> list[bool]:
        """The joints that reached the model in some way."""
        return (self.got != 0).any(dim=3).any(dim=1).any(dim=0).tolist()

    @property
    def kind(self) -> str:
        """`open`: all joints as they are; `masked`: those kept; `sampled`: anything else."""
        if torch.equal(self.got, self.given):
            return "open"
        mask = torch.tensor(self.kept).view(-1, 1)
        return "masked" if torch.equal(self.got, self.given * mask) else "sampled"


class Classifier(pl.LightningModule):
    """A linear classifier of skeletons, with explicit parameter groups and accuracy logged."""

    def __init__(self, lr: float = 0.01, dropout: float = 0.0, joints: int = J) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(T * joints * C, SIGNS)
        self.calls: list[Call] = []
        self.losses: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.got = x.detach()
        return self.head(self.drop(x.flatten(1)))

    def step(self, batch: Any, name: str) -> Tensor:
        x, sign = batch
        logits = self(x)
        stage = self.trainer.state.stage or "none"
        self.calls.append(Call(str(stage.value), self.trainer.global_step, x, self.got))
        loss = cross_entropy(logits, sign)
        self.log(f"{name}_loss", loss)
        if name != "train":  # logging takes longer than such a step does
            self.log(f"{name}_acc", (logits.argmax(1) == sign).float().mean())
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.step(batch, "train")
        self.losses.append(loss.detach())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.step(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.step(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, _ = batch
        logits = self(x)
        self.calls.append(Call("predict", self.trainer.global_step, x, self.got))
        return logits

    def configure_optimizers(self) -> Any:
        bias = {"params": [self.head.bias], "weight_decay": 0.0}
        return torch.optim.AdamW([{"params": [self.head.weight]}, bias], lr=self.hparams["lr"])

    def of(self, stage: str) -> list[Call]:
        """The calls in a stage of the trainer."""
        return [call for call in self.calls if call.stage == stage]


class InParts(Classifier):
    """The same, with the first 3 joints and the other 5 as two arguments."""

    def forward(self, body: Tensor, hand: Tensor) -> Tensor:
        return super().forward(torch.cat([body, hand], dim=2))

    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x[:, :, :3], hand=x[:, :, 3:])


class SteppedByHand(pl.LightningModule):
    """Steps its optimizer itself; stands before the model in a class of both."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        loss: Tensor = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        optimizer.step()
        return loss


def pruning(budget: Any = 3, **settings: Any) -> JointPruningCallback:
    """A callback whose phases end with epochs 1 and 3 of 5, and that prunes in so few steps."""
    joints = {} if "skeleton" in settings else {"num_joints": J}
    return JointPruningCallback(
        **{"phases": (0.2, 0.6), "lr": 0.5, **joints, **settings}, budget=budget
    )


def trainer(*callbacks: Any, **settings: Any) -> pl.Trainer:
    """A trainer of 5 epochs that writes into the working directory."""
    return pl.Trainer(**{"max_epochs": 5, **QUIET, "callbacks": list(callbacks), **settings})


def fit(model: Any, *callbacks: Any, train: Any = None, val: Any = None, **settings: Any) -> Any:
    """Train a model; returns the trainer."""
    run = trainer(*callbacks, **settings)
    train, val = clips() if train is None else train, clips(2, seed=1) if val is None else val
    run.fit(model, train, val)
    return run
