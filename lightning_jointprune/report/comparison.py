"""Compares several runs of the same joints: the joints they agree on, and their stability."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lightning_jointprune.measure.agreement import (
    Exchange,
    effective_stability,
    exchanges,
    jaccard,
    similarity_of,
    stability,
)
from lightning_jointprune.record.intervals import Estimate
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.record.selection import JointSelection


class Row(NamedTuple):
    """Holds a joint's votes and keep probabilities in all runs."""

    number: int
    name: str
    votes: int
    kept: tuple[bool, ...]
    probabilities: tuple[float, ...]


class Comparison(NamedTuple):
    """Holds runs side by side.

    Attributes:
        runs: a name for each run, shape `(runs,)`.
        rows: joints by votes, then by mean keep probability; shape `(joints,)`.
        overlaps: number of joints that both runs of a pair keep.
        jaccard: that number over the number of joints that either keeps, in [0, 1].
        stability: agreement beyond chance, at most 1; None where it is not defined.
        settings: number of each run's settings; runs with the same number differ in their seed.
        effective: the stability that counts a joint and its stand-in as agreement; None where it
            is not defined, or a run does not know how joints foretell each other.
        exchanges: pairs of redundant joints of which some runs keep one, and some the other, those
            first that were exchanged most often.
    """

    runs: tuple[str, ...]
    rows: tuple[Row, ...]
    overlaps: dict[tuple[int, int], int]
    jaccard: dict[tuple[int, int], float]
    stability: float | None
    settings: tuple[int, ...]
    effective: float | None = None
    exchanges: tuple[Exchange, ...] = ()

    @property
    def disputed(self) -> tuple[Row, ...]:
        """Return the joints that some runs keep and others drop."""
        return tuple(row for row in self.rows if 0 < row.votes < len(self.runs))

    @property
    def beyond_seeds(self) -> tuple[Row, ...]:
        """Return the disputed joints on which all runs of the same settings agree.

        It is empty unless there are at least two settings, with two runs each.
        """
        if len(set(self.settings)) < 2 or self._fewest < 2:
            return ()
        sides = [list(zip(self.settings, row.kept, strict=True)) for row in self.disputed]
        return tuple(
            row
            for row, side in zip(self.disputed, sides, strict=True)
            if len(set(side)) == len(set(self.settings))
        )

    @property
    def _fewest(self) -> int:
        return min(self.settings.count(setting) for setting in self.settings)

    def _luck(self, votes: int) -> float:
        """Return the chance that so many votes, given to runs at random, fill whole settings."""
        sizes = [self.settings.count(setting) for setting in set(self.settings)]
        whole = itertools.chain.from_iterable(
            itertools.combinations(sizes, count) for count in range(1, len(sizes))
        )
        return sum(sum(sides) == votes for sides in whole) / math.comb(len(self.runs), votes)

    def words(self) -> str:
        """Return a text on which differences are larger than those between seeds."""
        disputed, sure = len(self.disputed), self.beyond_seeds
        if len(set(self.settings)) == 1:
            return (
                f"All runs have the same settings, so the {disputed} joints that they disagree on "
                "are what another seed changes."
            )
        if self._fewest < 2:
            return (
                "The runs have different settings. To tell what these change from what another "
                "seed changes, compare at least two runs of each."
            )
        chance = max((self._luck(row.votes) for row in sure), default=0.0)
        names = ", ".join(row.name for row in sure) or "none"
        luck = (
            f" By luck alone a joint does so with a chance of up to {chance:.2g}." if sure else ""
        )
        return (
            f"Of the {disputed} joints that the runs disagree on, {len(sure)} differ between the "
            f"settings and never between their seeds: {names}.{luck}"
        )


def compare(records: Mapping[str, PruningRecord]) -> Comparison:
    """Return runs side by side.

    Args:
        records: a name for each run, and its record.

    Raises:
        ValueError: if there are fewer than two runs, or their joints differ.
    """
    runs = tuple(records)
    if len(runs) < 2:
        raise ValueError(f"Expected at least 2 runs to compare but got {len(runs)}. Name another.")
    selections = [record.selection for record in records.values()]
    for run, selection in zip(runs, selections, strict=True):
        check_joints(runs[0], selections[0], run, selection)
    columns = zip(*(selection.keep_probabilities for selection in selections), strict=True)
    kept = zip(*(selection.mask for selection in selections), strict=True)
    rows = [
        Row(number, name, sum(marks), marks, values)
        for number, (name, marks, values) in enumerate(
            zip(selections[0].joint_names, kept, columns, strict=True)
        )
    ]
    pairs = list(itertools.combinations(range(len(runs)), 2))
    both = {(a, b): len({*selections[a].indices} & {*selections[b].indices}) for a, b in pairs}
    return Comparison(
        runs,
        tuple(sorted(rows, key=lambda row: (-row.votes, -sum(row.probabilities), row.number))),
        both,
        {(a, b): jaccard(selections[a].indices, selections[b].indices) for a, b in pairs},
        None if (found := stability_of(selections)) is None else found.value,
        _settings(records.values()),
        *_with_stand_ins(records.values()),
    )


def _settings(records: Iterable[PruningRecord]) -> tuple[int, ...]:
    texts = [json.dumps(record.settings, sort_keys=True) for record in records]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return tuple(numbers[text] for text in texts)


def stability_of(selections: Sequence[JointSelection]) -> Estimate | None:
    """Return agreement beyond chance; None where all runs keep all joints, or none."""
    if all(selection.ratio in (0.0, 1.0) for selection in selections):
        return None
    return stability(selections)


def _with_stand_ins(
    records: Iterable[PruningRecord],
) -> tuple[float | None, tuple[Exchange, ...]]:
    """Return the effective stability and the exchanges; None and none where they are not known."""
    records = list(records)
    selections = [record.selection for record in records]
    if stability_of(selections) is None or not all(record.redundancy for record in records):
        return None, ()
    similarity = similarity_of([record.redundancy for record in records])
    found = exchanges(selections, similarity)
    try:
        return effective_stability(selections, similarity), found
    except ValueError:  # all joints move as one
        return None, found


def check_joints(first: str, expected: JointSelection, run: str, got: JointSelection) -> None:
    """Refuse runs of other joints.

    Args:
        first: name of a run.
        expected: its joints.
        run: name of another run.
        got: the joints of that one.

    Raises:
        ValueError: if they are not the same; both runs are named.
    """
    if expected.joint_names == got.joint_names:
        return
    if expected.num_joints != got.num_joints:
        said = f"Expected the {expected.num_joints} joints of {first} but got {got.num_joints}"
    else:
        pairs = zip(expected.joint_names, got.joint_names, strict=True)
        number, (a, b) = next((j, pair) for j, pair in enumerate(pairs) if pair[0] != pair[1])
        said = f"Expected the joints of {first} but got others: joint {number} is {a!r}, not {b!r},"
    raise ValueError(f"{said} in {run}. Compare runs of one skeleton.")
