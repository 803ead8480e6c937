"""The models that are measured, as plain LightningModules, and how they are trained and scored.

Nothing here knows of pruning. A batch is a pair: sequences of shape `(batch, frames, joints,
coordinates)` and classes of shape `(batch,)`.
"""

from __future__ import annotations

import logging
import math
import tempfile
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler
from torch.utils.data import TensorDataset as Part

from benchmarks.shared.losses import LOSSES

DEFAULT_LR = {"adamw": 2e-3, "adam": 2e-3, "sgd": 0.1}
MOMENTUM = 0.9
WARMUP = 0.05  # share of the run in which LambdaLR's rate rises; it falls as a cosine after it


class Recipe(NamedTuple):
    """Describe how a model is trained.

    Attributes:
        optimizer: adamw, adam or sgd (with momentum).
        lr: highest learning rate; None takes the optimizer's own from `DEFAULT_LR`.
        schedule: lambda (LambdaLR) or onecycle, both per step.
        weight_decay: of weight matrices; biases and norms are in a group without.
        loss_scale: what the loss is multiplied with.
        loss: its name in `LOSSES`.
        batch_size: sequences per step.
    """

    optimizer: str = "adamw"
    lr: float | None = None
    schedule: str = "lambda"
    weight_decay: float = 0.01
    loss_scale: float = 1.0
    batch_size: int = 64
    loss: str = "cross_entropy"

    def changed(self) -> dict[str, Any]:
        """Return all settings, but the loss only where it is not the cross-entropy."""
        return {k: v for k, v in self._asdict().items() if (k, v) != ("loss", "cross_entropy")}


class Classifier(pl.LightningModule):
    """Everything but `forward`."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return LOSSES[self.recipe.loss](self(x), y) * self.recipe.loss_scale

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, y = batch
        hits = (self(x).argmax(dim=1) == y).float()
        self.log("val_acc", hits.mean(), batch_size=len(y))

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self._optimizer()
        scheduler = self._scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        parameters = [p for p in self.parameters() if p.requires_grad]
        return [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]

    def _optimizer(self) -> torch.optim.Optimizer:
        recipe = self.recipe
        lr = recipe.lr or DEFAULT_LR[recipe.optimizer]
        if recipe.optimizer == "adamw":
            return torch.optim.AdamW(self.parameter_groups(recipe.weight_decay), lr=lr)
        # Decay is added to the gradient here, so it grows with the loss and with 1 / rate.
        decay = recipe.weight_decay * recipe.loss_scale / 100
        if recipe.optimizer == "adam":
            return torch.optim.Adam(self.parameter_groups(decay), lr=lr)
        # SGD is the one whose step grows with the loss: its user would lower the rate.
        groups = self.parameter_groups(decay)
        return torch.optim.SGD(groups, lr=lr / recipe.loss_scale, momentum=MOMENTUM)

    def _scheduler(self, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
        if self.recipe.schedule == "onecycle":
            rates = [group["lr"] for group in optimizer.param_groups]
            return OneCycleLR(optimizer, max_lr=rates, total_steps=steps)
        rise = max(1, round(WARMUP * steps))

        def rate(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))

        return LambdaLR(optimizer, rate)


class GRUClassifier(Classifier):
    """Flattened joints, one GRU layer, mean over time, dropout 0.3, linear head."""

    def __init__(
        self, joints: int, coordinates: int, classes: int, recipe: Recipe, hidden: int = 128
    ) -> None:
        super().__init__(recipe)
        self.gru = nn.GRU(joints * coordinates, hidden, batch_first=True)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(hidden, classes)

    def forward(self, keypoints: Tensor) -> Tensor:
        states, _ = self.gru(keypoints.flatten(2))
        return self.head(self.dropout(states.mean(dim=1)))


class BertClassifier(Classifier):
    """A small BERT that reads frames as `inputs_embeds`, mean over time, linear head."""

    def __init__(
        self, joints: int, coordinates: int, classes: int, recipe: Recipe, hidden: int = 128
    ) -> None:
        from transformers import BertConfig, BertModel

        super().__init__(recipe)
        config = BertConfig(
            vocab_size=1,
            hidden_size=hidden,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=2 * hidden,
            max_position_embeddings=64,
        )
        self.embed = nn.Linear(joints * coordinates, hidden)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.bert.embeddings.word_embeddings.requires_grad_(False)  # unused: there are no words
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(hidden, classes)

    def forward(self, keypoints: Tensor) -> Tensor:
        states = self.bert(inputs_embeds=self.embed(keypoints.flatten(2))).last_hidden_state
        return self.head(self.dropout(states.mean(dim=1)))


ENCODERS = {"gru": GRUClassifier, "bert": BertClassifier}


def loader(part: Part, batch_size: int, seed: int | None = None) -> DataLoader[Any]:
    """Return whole batches by index, no work per sequence; shuffled where there is a seed."""
    if seed is None:
        order: Iterable[int] = SequentialSampler(part)
    else:
        order = RandomSampler(part, generator=torch.Generator().manual_seed(seed))
    batches = BatchSampler(order, batch_size, drop_last=False)
    return DataLoader(part, sampler=batches, batch_size=None)


def quiet_trainer(epochs: int, folder: str, callbacks: list[pl.Callback]) -> pl.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*have no `val_dataloader`.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        callbacks=callbacks,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1_000_000,
    )


def fit_and_score(
    encoder: str,
    train: Part,
    unseen: Part,
    classes: int,
    recipe: Recipe,
    epochs: int,
    seed: int,
    callback: pl.Callback | None = None,
) -> float:
    """Train a new model on `train` alone and return its accuracy on `unseen`, measured once.

    The seed settles the weights and the order of the batches, with the callback or without.
    """
    pl.seed_everything(seed, verbose=False)
    _, _, joints, coordinates = train.tensors[0].shape
    model = ENCODERS[encoder](joints, coordinates, classes, recipe)
    with tempfile.TemporaryDirectory() as folder:
        trainer = quiet_trainer(epochs, folder, [] if callback is None else [callback])
        trainer.fit(model, loader(train, recipe.batch_size, seed))
        # One batch size for all that are compared, small enough for an attention's memory.
        scores = trainer.validate(model, loader(unseen, 256), verbose=False)
    return float(scores[0]["val_acc"])
