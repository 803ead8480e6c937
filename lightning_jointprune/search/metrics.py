"""Tells from a metric's name which values are better."""

from __future__ import annotations

import re


def higher_is_better(metric: str) -> bool:
    """Return whether higher values of a metric of this name are better, as far as the name tells.

    >>> higher_is_better("val_acc"), higher_is_better("val_loss")
    (True, False)
    """
    name = metric.lower()
    anywhere = ("loss", "error", "mse", "mae", "mpjpe", "perplexity", "nll")
    alone = {"wer", "cer"}  # also parts of words such as answer and certainty
    return not any(part in name for part in anywhere) and alone.isdisjoint(re.split(r"\W|_", name))
