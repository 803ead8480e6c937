"""Hold what all methods share: the recipe of every training run, and what a method returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import TensorDataset as Part

from benchmarks.shared.joint_data import JointData
from benchmarks.shared.models import ENCODERS, Recipe, loader

EPOCHS = 12
RECIPE = Recipe("adam", lr=4e-3, schedule="onecycle", weight_decay=0.0)
RUNS = 6  # the most that a method may cost, in training runs


@dataclass
class Choice:
    """Hold what a method chose.

    Attributes:
        joints: number of joints asked for to the joints, ascending.
        open: number asked for to the number that the method left open of its own accord, before
            its best or worst were taken to make up the number; empty for methods that only rank.
        steps: training steps that all of this cost. A pass that only goes forward, over as many
            sequences as a batch has, is a third of a step.
        final: number asked for to the accuracy of the method's own model, where it trains one.
    """

    joints: dict[int, list[int]]
    open: dict[int, int]
    steps: float
    final: dict[int, float] = field(default_factory=dict)


def steps_of_a_run(train: Part) -> int:
    return EPOCHS * math.ceil(len(train) / RECIPE.batch_size)


def forward_steps(sequences: float) -> float:
    """Return what passes over so many sequences cost, in training steps."""
    return sequences / RECIPE.batch_size / 3


def best(scores: Tensor, count: int) -> list[int]:
    """Return the joints with the highest scores, ascending."""
    return sorted(scores.topk(count).indices.tolist())


def ranked(scores: Tensor, counts: Sequence[int], steps: float) -> Choice:
    """Return the choice of a method that only ranks the joints."""
    return Choice({count: best(scores, count) for count in counts}, {}, steps)


def new_model(data: JointData, encoder: str, seed: int) -> nn.Module:
    pl.seed_everything(seed, verbose=False)
    coordinates = data.train.tensors[0].shape[3]
    return ENCODERS[encoder](data.joints, coordinates, data.classes, RECIPE)


def fit(
    model: nn.Module,
    train: Part,
    seed: int,
    gates: nn.Module | None = None,
    gate_rate: float = 1.0,
    price: float = 0.0,
    after_step: Callable[[float], None] | None = None,
) -> float:
    """Train a model as every model here is trained, and return the number of steps.

    Args:
        model: a new one.
        train: sequences.
        seed: of the batches' order.
        gates: called without arguments it draws the joints' gates, shape `(J,)`, which multiply
            the joints; `expected()` is the expected number of open ones.
        gate_rate: their learning rate, in those of the model.
        price: of an open gate, in units of the loss.
        after_step: gets the learning rate of the step that was just done.
    """
    steps = steps_of_a_run(train)
    rates = [RECIPE.lr or 0.0]
    groups = [{"params": list(model.parameters())}]
    if gates is not None:
        groups.append({"params": list(gates.parameters())})
        rates.append(rates[0] * gate_rate)
    optimizer = torch.optim.Adam(groups, lr=rates[0])
    schedule = OneCycleLR(optimizer, max_lr=rates, total_steps=steps)
    model.train()
    for x, y in _batches(train, seed):
        if gates is None:
            loss = functional.cross_entropy(model(x), y)
        else:
            loss = functional.cross_entropy(model(x * gates()[:, None]), y)
            loss = loss + price * gates.expected()
        optimizer.zero_grad()
        loss.backward()
        rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        schedule.step()
        if after_step is not None:
            after_step(rate)
    model.eval()
    return float(steps)


def _batches(train: Part, seed: int) -> Iterator[list[Tensor]]:
    batches = loader(train, RECIPE.batch_size, seed)
    for _ in range(EPOCHS):
        yield from batches
