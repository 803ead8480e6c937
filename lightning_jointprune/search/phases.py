"""Turns progress into phase and temperature.

Progress is the fraction of the run that is done. Nothing here keeps anything between two steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Phase = Literal["warmup", "search", "final"]


def check_phases(phases: Sequence[float]) -> tuple[float, float]:
    """Return the ends of warm-up and search, checked.

    Raises:
        ValueError: unless they are two fractions in order.
    """
    if len(phases) != 2 or not 0.0 <= phases[0] < phases[1] < 1.0:
        raise ValueError(
            f"Expected phases as two fractions of the run in order, 0 <= warm-up's end < search's "
            f"end < 1, but got {tuple(phases)}. The default is (0.1, 0.6)."
        )
    return float(phases[0]), float(phases[1])


def phase_at(progress: float, phases: tuple[float, float]) -> Phase:
    """Return the phase of the run.

    >>> [phase_at(p, (0.1, 0.6)) for p in (0.0, 0.1, 0.6)]
    ['warmup', 'search', 'final']
    """
    warmup_end, search_end = phases
    if progress < warmup_end:
        return "warmup"
    return "search" if progress < search_end else "final"


def search_progress(progress: float, phases: tuple[float, float]) -> float:
    """Return how much of the search is done, 0 before and 1 after it.

    >>> search_progress(0.5, (0.25, 0.75))
    0.5
    """
    warmup_end, search_end = phases
    return min(1.0, max(0.0, (progress - warmup_end) / (search_end - warmup_end)))


def temperature_at(done: float, ends: tuple[float, float]) -> float:
    """Return the temperature at a point of the search, which falls geometrically.

    >>> round(temperature_at(0.5, (1.0, 0.25)), 6)
    0.5
    """
    start, end = ends
    return float(start * (end / start) ** done)
