"""Train a model that is validated as it is trained, and count what that takes.

The model counts itself, since nobody but the model hears of validations between two others.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, SequentialLR

from benchmarks.shared.held_out import Parts
from benchmarks.shared.models import GRUClassifier, Recipe, loader, quiet_trainer

IDLE = 1e-3  # the learning rate of a late learner, in the recipe's, until it begins
METRIC = "val_acc"
SCORED = 256  # sequences of a batch of the test part
FORWARD = 1 / 3  # cost of a sequence that is only validated, in sequences that are trained on


class Watched(GRUClassifier):
    """A GRU that counts its steps and the processor's time, and may learn late.

    Args:
        joints: J.
        coordinates: of a joint.
        classes: number of classes.
        recipe: how it is trained.
        late: share of the run in which it hardly learns, 0 to 1; the recipe's schedule follows.
        phase: says the phase that a training step is in.
    """

    def __init__(
        self,
        joints: int,
        coordinates: int,
        classes: int,
        recipe: Recipe,
        late: float = 0.0,
        phase: Callable[[], str] = lambda: "training",
    ) -> None:
        super().__init__(joints, coordinates, classes, recipe)
        self.late = late
        self.phase = phase
        self.steps: Counter[str] = Counter()  # by phase
        self.validated = 0  # sequences
        self.seconds: Counter[str] = Counter()  # by part of the run
        self.latest = time.process_time()
        self.planned = 1  # steps

    def lap(self, part: str) -> None:
        """Add the processor's time since the last call to a part of the run."""
        now = time.process_time()
        self.seconds[part] += now - self.latest
        self.latest = now

    @property
    def part(self) -> str:
        """Return the part of the run by the steps that are done: `before`, 0 to 9, `after`."""
        return self.part_after(self.steps.total()) if self.steps else "before"

    def part_after(self, steps: int) -> str:
        tenth = 10 * steps // self.planned
        return str(tenth) if tenth < 10 else "after"

    def on_train_start(self) -> None:
        self.planned = int(self.trainer.estimated_stepping_batches)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.lap(self.part)
        self.steps[self.phase()] += 1
        return super().training_step(batch, batch_idx)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.lap(self.part_after(self.steps.total() - 1))

    def on_validation_start(self) -> None:
        self.lap(self.part)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        if not self.trainer.sanity_checking:
            self.validated += len(batch[1])

    def on_validation_end(self) -> None:
        self.lap("before" if self.trainer.sanity_checking else "validation")

    def _scheduler(self, optimizer: Optimizer, steps: int) -> LRScheduler:
        idle = round(self.late * steps)
        usual = super()._scheduler(optimizer, steps - idle)
        if not idle:
            return usual
        return SequentialLR(optimizer, [ConstantLR(optimizer, IDLE, steps), usual], [idle])


def spent(result: dict[str, Any]) -> float:
    """Return the processor's seconds of a run, of what `train` returned."""
    return float(sum(result["seconds"].values()))


def in_steps(ours: dict[str, Any], plain: dict[str, Any], batch_size: int) -> float:
    """Return what a run cost in training steps, in those of one without the callback.

    What it validated more counts as a third of what it was trained on.
    """
    more = FORWARD * (ours["validated"] - plain["validated"]) / batch_size
    return float(sum(ours["steps"].values()) + more) / sum(plain["steps"].values())


def train(
    data: Parts,
    recipe: Recipe,
    epochs: int,
    seed: int,
    pruning: Any = None,
    late: float = 0.0,
) -> dict[str, Any]:
    """Train a new model, validate it after each epoch and score it once on the test part.

    The seed settles the weights and the order of the batches, with the callback or without.

    Returns:
        The metric on the `test` part and on the last `validation`, `steps` by phase, sequences that
        were `validated`, `seconds` of the processor by part of the run, the `wall` clock's seconds,
        and what the run warned of, `said`.
    """
    pl.seed_everything(seed, verbose=False)
    coordinates = data.train.tensors[0].shape[3]
    how: dict[str, Any] = {} if pruning is None else {"phase": lambda: pruning._search.phase}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = quiet_trainer(epochs, folder, [] if pruning is None else [pruning])
        # Whole batches have no size that a callback could ask for: both have the same.
        validation = loader(data.validation, recipe.batch_size)
        start = time.perf_counter()
        model = Watched(data.joints, coordinates, data.classes, recipe, late, **how)
        trainer.fit(model, loader(data.train, recipe.batch_size, seed), validation)
        model.lap("after")
        result = {
            "validation": round(float(trainer.callback_metrics[METRIC]), 5),
            "steps": dict(model.steps),
            "validated": model.validated,
            "seconds": {part: round(spent, 3) for part, spent in model.seconds.items()},
            "wall": round(time.perf_counter() - start, 2),
        }
        scores = trainer.validate(model, loader(data.test, SCORED), verbose=False)
    said = sorted({str(warning.message) for warning in caught})
    return {"test": round(float(scores[0][METRIC]), 5), **result, "said": said}
