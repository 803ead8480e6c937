"""Reads the fewest joints that will do from a metric against numbers of joints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Choice(NamedTuple):
    """Holds a number of joints that was chosen from a curve.

    Attributes:
        rung: the position of the number in the curve.
        top: the highest point of the smoothed curve (the lowest, where lower is better).
        error: one standard error of a point, in units of the metric.
    """

    rung: int
    top: float
    error: float


def choose_rung(
    values: Sequence[float], within: float, *, higher: bool = True, samples: int | None = None
) -> Choice:
    """Choose the fewest joints that do as well as the best.

    Args:
        values: the metric of every rung, the fewest joints first; at least one.
        within: how much worse than the top is as good, in units of the metric.
        higher: whether higher values are better.
        samples: of the validation; None if not known.
    """
    sign = 1.0 if higher else -1.0
    smoothed = [sign * value for value in unimodal([sign * value for value in values])]
    top = (max if higher else min)(smoothed)
    error = standard_error(values, smoothed, top, samples)
    tolerance = max(within, error) + 1e-9  # of rounding
    rung = next(i for i, value in enumerate(smoothed) if sign * (top - value) <= tolerance)
    return Choice(rung, top, error)


def standard_error(
    values: Sequence[float], smoothed: Sequence[float], top: float, samples: int | None
) -> float:
    """Return one standard error of a validation.

    A share of the samples has that of a binomial distribution, `sqrt(p (1 - p) / n)`. Of any other
    metric it is the spread of the values around the smoothed curve.
    """
    if samples and all(0.0 <= value <= 1.0 for value in values):
        share = min(max(top, 1.0 / (samples + 2)), 1.0 - 1.0 / (samples + 2))
        return math.sqrt(share * (1.0 - share) / samples)
    return math.sqrt(_distance(values, smoothed) / len(values))


def unimodal(values: Sequence[float]) -> list[float]:
    """Return the least-squares fit that rises to a top and falls after it.

    More joints first help a model, and then they may harm it. A fit that only rises would lower the
    top where all joints do worse than some. Frisén, Unimodal regression, The Statistician 35, 1986.

    >>> unimodal([1.0, 3.0, 2.0, 4.0, 1.0])
    [1.0, 2.5, 2.5, 4.0, 1.0]
    """
    fits = [
        rising(values[:top]) + rising(values[top:][::-1])[::-1] for top in range(len(values) + 1)
    ]
    return min(fits, key=lambda fit: _distance(fit, values))


def _distance(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the sum of squared differences; infinite where it is too large for a float."""
    differences = [a - b for a, b in zip(first, second, strict=True)]
    return sum(difference * difference for difference in differences)


def rising(values: Sequence[float]) -> list[float]:
    """Return the least-squares fit that never falls: pool adjacent violators.

    Ayer et al., An empirical distribution function for sampling with incomplete information, Annals
    of Mathematical Statistics 26, 1955.

    >>> rising([1.0, 3.0, 2.0])
    [1.0, 2.5, 2.5]
    """
    means: list[float] = []
    sizes: list[int] = []
    for value in values:
        means.append(value)
        sizes.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            total = means[-2] * sizes[-2] + means[-1] * sizes[-1]
            sizes[-2:] = [sizes[-2] + sizes[-1]]
            means[-2:] = [total / sizes[-1]]
    return [mean for mean, size in zip(means, sizes, strict=True) for _ in range(size)]


def spaced(first: int, last: int, count: int) -> list[int]:
    """Return whole numbers from the first to the last, evenly spaced, as many as there can be.

    >>> spaced(0, 14, 4), spaced(3, 4, 5), spaced(5, 4, 2)
    ([0, 5, 9, 14], [3, 4], [])
    """
    count = min(count, last - first + 1)
    if count <= 1:
        return [(first + last) // 2] * max(0, count)
    return [round(first + (last - first) * step / (count - 1)) for step in range(count)]
