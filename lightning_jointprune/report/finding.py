"""A finding about a run, and how its values and joints are written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lightning_jointprune.record.record import PruningRecord

NAMED = 8  # joints that a finding names


class Finding(NamedTuple):
    """One thing the record says about the run.

    Attributes:
        level: `"good"`, `"note"`, `"check"` (read with care) or `"bad"` (do not rely on it).
        title: what was found, in one sentence.
        advice: what it means and what to do, with code between backticks.
    """

    level: str
    title: str
    advice: str


def names_of(record: PruningRecord, joints: Iterable[int]) -> str:
    """The first joints' names, with their keep probabilities."""
    selection, numbers = record.selection, list(joints)
    named = [
        f"{selection.joint_names[j]} ({selection.keep_probabilities[j]:.2f})"
        for j in numbers[:NAMED]
    ]
    return ", ".join(named) + (f" and {len(numbers) - NAMED} more" * (len(numbers) > NAMED))


def show(value: float) -> str:
    """Three decimals, or as many digits where these would be zeros."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.3g}"
