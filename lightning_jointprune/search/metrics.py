"""Tells from a metric's name which values are better."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

# Parts of names, and words in them that are also parts of others such as answer and certainty.
LOWER_ANYWHERE = ("loss", "error", "mse", "mae", "mpjpe", "perplexity", "nll")
LOWER = {"wer", "cer"}
HIGHER = {"acc", "accuracy", "f1", "auc", "auroc", "precision", "recall", "iou"}


def higher_is_better(metric: str) -> bool:
    """Return whether higher values of a metric of this name are better, as far as the name tells.

    >>> higher_is_better("val_acc"), higher_is_better("val_loss")
    (True, False)
    """
    return not _says(metric, LOWER_ANYWHERE, LOWER)


def contradicts(metric: str, higher: bool) -> bool:
    """Return whether a metric of this name is surely better the other way.

    Args:
        metric: the name.
        higher: whether higher values were taken for better.

    >>> contradicts("val_acc", higher=False), contradicts("val_wrong", higher=False)
    (True, False)
    """
    return higher_is_better(metric) != higher and (higher or _says(metric, (), HIGHER))


def _says(metric: str, anywhere: Sequence[str], alone: Set[str]) -> bool:
    """Return whether a name has one of these parts, or one of these words."""
    name = metric.lower()
    return any(part in name for part in anywhere) or not alone.isdisjoint(re.split(r"\W|_", name))
