"""What early stopping and best checkpoints beside ours are told: the final phase is what counts.

Before it, a metric is that of another model: of all joints, or of a mask that still changes.
Callbacks are recognised by the name of their class, since Lightning comes as two packages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def of_kind(callbacks: Sequence[Any], kind: str) -> list[Any]:
    """The callbacks whose class, or one it derives from, has this name."""
    return [
        callback
        for callback in callbacks
        if any(parent.__name__ == kind for parent in type(callback).__mro__)
    ]


def monitored(callbacks: Sequence[Any]) -> list[tuple[str, bool]]:
    """The metrics that checkpoints and early stopping look at, and whether higher is better."""
    watchers = [*of_kind(callbacks, "ModelCheckpoint"), *of_kind(callbacks, "EarlyStopping")]
    return [(one.monitor, one.mode == "max") for one in watchers if one.monitor]


class EarlyStoppingHold:
    """Keeps early stopping from ending a run before its final phase."""

    def __init__(self) -> None:
        self._thresholds: list[tuple[Any, float | None]] = []

    def apply(self, callbacks: Sequence[Any]) -> None:
        """Let nothing count yet: call before every check that early stopping could make."""
        stoppers = of_kind(callbacks, "EarlyStopping")
        if not self._thresholds:
            self._thresholds = [(one, one.stopping_threshold) for one in stoppers]
        for one in stoppers:
            one.wait_count = 0
            one.best_score = torch.tensor(_worst(one.mode))
            one.stopping_threshold = None

    def release(self) -> None:
        """Give early stopping its thresholds back; its patience begins now."""
        for one, threshold in self._thresholds:
            one.stopping_threshold = threshold
        self._thresholds = []


def forget_best(callbacks: Sequence[Any]) -> None:
    """Make every best checkpoint so far the first to be replaced.

    The files stay until a checkpoint of the final phase takes their place, so a run that is cut off
    in between can still be resumed from them.
    """
    for one in of_kind(callbacks, "ModelCheckpoint"):
        if one.monitor is None:
            continue
        worst = torch.tensor(_worst(one.mode))
        one.best_k_models = dict.fromkeys(one.best_k_models, worst)
        if one.best_k_models:
            one.best_model_score = one.kth_value = worst


def _worst(mode: str) -> float:
    return -torch.inf if mode == "max" else torch.inf
