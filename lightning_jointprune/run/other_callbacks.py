"""Keeps the other callbacks of a run right: what they remember is of one model with one mask.

Early stopping and best checkpoints are about the final phase: before it, a metric is that of
another model, of all joints or of a mask that still changes. Callbacks that count parameter groups
are shown the user's alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch

from lightning_jointprune.run.trainer import of_kind

# Callbacks that take all groups of an optimizer for the user's: to match them with the module's
# parameters, to number them, to give each a rate. And the hooks in which they do.
COUNTING = {
    "BaseFinetuning": ("on_fit_start", "on_train_epoch_start"),
    "LearningRateMonitor": ("on_train_start", "on_train_epoch_start", "on_train_batch_start"),
    "StochasticWeightAveraging": ("on_train_epoch_start",),
}


def monitored(trainer: Any) -> list[tuple[str, bool]]:
    """The metrics that checkpoints and early stopping look at, and whether higher is better."""
    watchers = [*of_kind(trainer, "ModelCheckpoint"), *of_kind(trainer, "EarlyStopping")]
    return [(one.monitor, one.mode == "max") for one in watchers if one.monitor]


def count_apart(trainer: Any, apart: Callable[[], AbstractContextManager[None]]) -> ExitStack:
    """Run the hooks of callbacks that count parameter groups within a context of ours.

    Args:
        trainer: whose callbacks they are.
        apart: makes the context, in which the optimizer has the user's groups alone.

    Returns:
        What gives the callbacks their own hooks back, when it is closed.
    """
    undo = ExitStack()
    for one in trainer.callbacks:
        kinds = [parent.__name__ for parent in type(one).__mro__]
        for hook in {hook for kind in kinds for hook in COUNTING.get(kind, ())}:
            state, own = vars(one), getattr(one, hook)
            if hook in state:
                undo.callback(state.__setitem__, hook, own)
            else:
                undo.callback(state.pop, hook, None)
            state[hook] = _within(apart, own)
    return undo


def _within(
    context: Callable[[], AbstractContextManager[None]], hook: Callable[..., None]
) -> Callable[..., None]:
    def within(*args: Any, **kwargs: Any) -> None:
        with context():
            hook(*args, **kwargs)

    return within


class Companions:
    """Keeps early stopping and best checkpoints from judging a run before its final phase.

    Attributes:
        released: whether they judge by themselves, since metrics are those of the final phase.
    """

    def __init__(self) -> None:
        self.released = False
        self._thresholds: list[tuple[Any, float | None]] = []

    def hold(self, trainer: Any) -> None:
        """Let nothing count yet: call before every check that early stopping could make."""
        if self.released:
            return
        stoppers = of_kind(trainer, "EarlyStopping")
        if not self._thresholds:
            self._thresholds = [(one, one.stopping_threshold) for one in stoppers]
        for one in stoppers:
            one.wait_count = 0
            one.best_score = torch.tensor(_worst(one.mode))
            one.stopping_threshold = None

    def release(self, trainer: Any) -> None:
        """Let what is measured from now on count, and nothing before."""
        if self.released:
            return
        self.hold(trainer)
        self.give_back()
        forget_best(trainer)
        self.released = True

    def judge(self, trainer: Any, final: bool) -> None:
        """Let what is measured from now on count if it is the final phase's, else nothing."""
        (self.release if final else self.hold)(trainer)

    def give_back(self) -> None:
        """Give early stopping the thresholds back that it had."""
        for one, threshold in self._thresholds:
            one.stopping_threshold = threshold
        self._thresholds = []


def forget_best(trainer: Any) -> None:
    """Make every best checkpoint so far the first to be replaced.

    The files stay until a checkpoint of the final phase takes their place, so a run that is cut off
    in between can still be resumed from them.
    """
    for one in of_kind(trainer, "ModelCheckpoint"):
        if one.monitor is None:
            continue
        worst = torch.tensor(_worst(one.mode))
        one.best_k_models = dict.fromkeys(one.best_k_models, worst)
        if one.best_k_models:
            one.best_model_score = one.kth_value = worst


def _worst(mode: str) -> float:
    return -torch.inf if mode == "max" else torch.inf
