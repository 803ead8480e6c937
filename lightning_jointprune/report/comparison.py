"""Several runs of the same joints: which joints they agree on, and how stable the choice is."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lightning_jointprune.agreement import stability
from lightning_jointprune.record import JointSelection, PruningRecord


class Row(NamedTuple):
    """One joint in all runs: how many keep it, and what each of them made of it."""

    number: int
    name: str
    votes: int
    kept: tuple[bool, ...]
    probabilities: tuple[float, ...]


class Comparison(NamedTuple):
    """Runs side by side.

    Attributes:
        runs: a name for each run, shape `(runs,)`.
        rows: joints by votes, then by mean keep probability; shape `(joints,)`.
        overlaps: of each pair of runs, the joints that both keep.
        jaccard: of each pair of runs, those over the joints that either keeps, in [0, 1].
        stability: agreement beyond chance, at most 1; None where it is not defined.
    """

    runs: tuple[str, ...]
    rows: tuple[Row, ...]
    overlaps: dict[tuple[int, int], int]
    jaccard: dict[tuple[int, int], float]
    stability: float | None

    @property
    def disputed(self) -> tuple[Row, ...]:
        """The joints that some runs keep and others drop."""
        return tuple(row for row in self.rows if 0 < row.votes < len(self.runs))


def compare(records: Mapping[str, PruningRecord]) -> Comparison:
    """Put runs side by side.

    Args:
        records: a name for each run, and its record.

    Raises:
        ValueError: fewer than two runs, or runs of different joints.
    """
    runs = tuple(records)
    if len(runs) < 2:
        raise ValueError(f"Expected at least 2 runs to compare but got {len(runs)}. Name another.")
    selections = [record.selection for record in records.values()]
    for run, selection in zip(runs, selections, strict=True):
        _check_joints(runs[0], selections[0], run, selection)
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
        _stability(selections),
    )


def jaccard(first: Sequence[int], second: Sequence[int]) -> float:
    """Joints that both keep, over joints that one of them keeps, in [0, 1]; 1 for two empty ones.

    Jaccard 1901: |A ∩ B| / |A ∪ B|.
    """
    both, either = set(first) & set(second), {*first, *second}
    return len(both) / len(either) if either else 1.0


def _stability(selections: Sequence[JointSelection]) -> float | None:
    """Agreement beyond chance; None where it is not defined, as all keep all joints, or none."""
    if all(selection.ratio in (0.0, 1.0) for selection in selections):
        return None
    return stability(selections).value


def _check_joints(first: str, expected: JointSelection, run: str, got: JointSelection) -> None:
    if expected.joint_names == got.joint_names:
        return
    if expected.num_joints != got.num_joints:
        said = f"Expected the {expected.num_joints} joints of {first} but got {got.num_joints}"
    else:
        pairs = zip(expected.joint_names, got.joint_names, strict=True)
        number, (a, b) = next((j, pair) for j, pair in enumerate(pairs) if pair[0] != pair[1])
        said = f"Expected the joints of {first} but got others: joint {number} is {a!r}, not {b!r},"
    raise ValueError(f"{said} in {run}. Compare runs of one skeleton.")
