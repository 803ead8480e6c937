"""Gives proportions, and differences of two, their 95 % confidence intervals."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

from torch import Tensor

Z = NormalDist().inv_cdf(0.975)  # half of a 95 % interval, in standard deviations


class Estimate(NamedTuple):
    """Holds a value and the ends of its 95 % confidence interval, None where not known."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        ends = "" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.value:.3f}{ends}"


def wilson(value: float, count: int) -> Estimate:
    """Return a proportion of so many samples, with the score interval of Wilson 1927.

    Args:
        value: the proportion, in [0, 1].
        count: how many samples, at least 1.
    """
    centre = (value + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * math.sqrt(value * (1 - value) / count + Z**2 / (4 * count**2))
    low = max(0.0, centre - half) if value > 0 else 0.0  # not 2e-17, by rounding
    high = min(1.0, centre + half) if value < 1 else 1.0
    return Estimate(value, low, high)


def proportion(right: Tensor) -> Estimate:
    """Return the proportion in `right` with Wilson's interval; bools, shape `(samples,)`."""
    return wilson(right.double().mean().item(), len(right))


def difference(first: Tensor, second: Tensor) -> Estimate:
    """Return `mean(first) - mean(second)`, with the interval of Bonett and Price 2012.

    Args:
        first: bools, shape `(samples,)`.
        second: those of the same samples, in the same order.
    """
    n, lost, won = len(first), int((first & ~second).sum()), int((second & ~first).sum())
    p, q = (lost + 1) / (n + 2), (won + 1) / (n + 2)
    half = Z * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return Estimate((lost - won) / n, max(-1.0, p - q - half), min(1.0, p - q + half))
