"""Turns progress into phase and temperature.

Progress is the fraction of the run that is done. Nothing here keeps anything between two steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Phase = Literal["warmup", "search", "compare", "final"]
NO_SEARCH = (0.0, 0.0)  # ends of warm-up and search of a run that is its final phase alone
USUAL = (0.1, 0.6)  # ends of warm-up and search to type, as fractions of the run


def check_phases(phases: Sequence[float]) -> tuple[float, float]:
    """Return the ends of warm-up and search, checked.

    Raises:
        ValueError: unless they are two fractions in order.
    """
    try:
        ends = [float(end) for end in phases]
    except (TypeError, ValueError):
        ends = []
    if len(ends) != 2 or not 0.0 <= ends[0] < ends[1] < 1.0:
        raise ValueError(
            f"Expected phases as two fractions of the run in order, 0 <= warm-up's end < search's "
            f"end < 1, but got {phases!r}. Pass a pair such as phases={_nearest(phases, ends)}."
        )
    return ends[0], ends[1]


def _nearest(phases: object, ends: Sequence[float]) -> tuple[float, float]:
    """Return the phases that may have been meant: one end, per cent, or another order."""
    if isinstance(phases, int | float):
        ends = [USUAL[0], float(phases)]
    if all(end == 0.0 or 1.0 <= end <= 100.0 for end in ends):
        ends = [round(end / 100.0, 6) for end in ends]
    ordered = tuple(sorted(ends))
    if len(ordered) == 2 and 0.0 <= ordered[0] < ordered[1] < 1.0:
        return ordered
    return USUAL


def phase_at(progress: float, phases: tuple[float, float], compared: float = 0.0) -> Phase:
    """Return the phase of the run.

    Args:
        progress: fraction of the run that is done.
        phases: ends of warm-up and search, as fractions of the run.
        compared: share of what follows the search in which numbers of joints are compared.

    >>> [phase_at(p, (0.1, 0.6)) for p in (0.0, 0.1, 0.6)]
    ['warmup', 'search', 'final']
    >>> [phase_at(p, (0.1, 0.6), compared=0.5) for p in (0.6, 0.8)]
    ['compare', 'final']
    """
    warmup_end, search_end = phases
    if progress < warmup_end:
        return "warmup"
    if progress < search_end:
        return "search"
    return "compare" if progress < final_start(phases, compared) else "final"


def final_start(phases: tuple[float, float], compared: float = 0.0) -> float:
    """Return the fraction of the run at which the final phase begins, to nine digits.

    Args:
        phases: ends of warm-up and search, as fractions of the run.
        compared: share of what follows the search in which numbers of joints are compared.

    >>> final_start((0.1, 0.6)), final_start((0.1, 0.6), compared=0.5)
    (0.6, 0.8)
    """
    return round(phases[1] + compared * (1.0 - phases[1]), 9) if compared else phases[1]


def search_progress(progress: float, phases: tuple[float, float]) -> float:
    """Return how much of the search is done, 0 before and 1 after it; 1 where there is none.

    >>> search_progress(0.5, (0.25, 0.75)), search_progress(0.0, NO_SEARCH)
    (0.5, 1.0)
    """
    warmup_end, search_end = phases
    if warmup_end == search_end:
        return 1.0
    return min(1.0, max(0.0, (progress - warmup_end) / (search_end - warmup_end)))


def temperature_at(done: float, ends: tuple[float, float]) -> float:
    """Return the temperature at a point of the search, which falls geometrically.

    >>> round(temperature_at(0.5, (1.0, 0.25)), 6)
    0.5
    """
    start, end = ends
    return float(start * (end / start) ** done)
