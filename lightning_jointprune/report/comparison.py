"""Compares several runs of the same joints: the joints they agree on, and their stability."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from lightning_jointprune.gates.masks import hard_mask_of_units
from lightning_jointprune.measure.agreement import (
    Exchange,
    effective_stability,
    exchanges,
    jaccard,
    similarity_of,
    stability,
)
from lightning_jointprune.record.intervals import Estimate, wilson
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.record.selection import JointSelection, stand_ins_of
from lightning_jointprune.record.stored import as_code


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
        stability: agreement beyond chance, at most 1, with its 95 % interval; None where it is not
            defined.
        settings: number of each run's settings; runs with the same number differ in their seed.
        effective: the stability that counts a joint and its stand-in as agreement; None where it
            is not defined, or a run does not know how joints foretell each other.
        exchanges: pairs of redundant joints of which some runs keep one, and some the other, those
            first that were exchanged most often.
        covers: whether each run chose joints that stand for others, shape `(runs,)`.
    """

    runs: tuple[str, ...]
    rows: tuple[Row, ...]
    overlaps: dict[tuple[int, int], int]
    jaccard: dict[tuple[int, int], float]
    stability: Estimate | None
    settings: tuple[int, ...]
    effective: float | None = None
    exchanges: tuple[Exchange, ...] = ()
    covers: tuple[bool, ...] = ()

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
        if not disputed:
            return "The runs keep the same joints."
        if len(set(self.settings)) == 1:
            joints = "joint that they disagree on is"
            if disputed > 1:
                joints = "joints that they disagree on are"
            return (
                f"All runs have the same settings, so the {disputed} {joints} what another seed "
                f"changes. {_mixed(self.covers)}".rstrip()
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
        _settings(records.values()),
        *_with_stand_ins(records.values()),
        _covers(records.values()),
    )


def _covers(records: Iterable[PruningRecord]) -> tuple[bool, ...]:
    return tuple(bool(record.course.get("cover")) for record in records)


def _mixed(covers: Sequence[bool]) -> str:
    """Return a sentence on runs of which only some chose joints that stand for others, if any."""
    if sum(covers) in (0, len(covers)):
        return ""
    return (
        f"In {sum(covers)} of the {len(covers)} runs the kept joints also stand for others, "
        "since near-copies were worth the same there, and in the rest not."
    )


def _settings(records: Iterable[PruningRecord]) -> tuple[int, ...]:
    texts = [json.dumps(record.settings, sort_keys=True) for record in records]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return tuple(numbers[text] for text in texts)


def _stability(selections: Sequence[JointSelection]) -> Estimate | None:
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
    if _stability(selections) is None or not all(record.redundancy for record in records):
        return None, ()
    similarity = similarity_of([record.redundancy for record in records])
    found = exchanges(selections, similarity)
    try:
        return effective_stability(selections, similarity), found
    except ValueError:  # all joints move as one
        return None, found


def _check_joints(first: str, expected: JointSelection, run: str, got: JointSelection) -> None:
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


# --- consensus ------------------------------------------------------------------------------------

THRESHOLDS = (0.6, 0.75, 0.9)  # shares of the runs; Meinshausen and Bühlmann advise 0.6 to 0.9
# Settings that decide which joints can be kept, and how many.
DECISIVE = ("budget", "keep", "drop", "groups", "tied")
NO_BOUND = (
    "How many of them are kept wrongly is not bounded. Runs that differ by their seed alone share "
    "their data, so all of them may keep a joint that tells the classes apart in these data by "
    "chance. The bound of stability selection is for pairs of runs on the two halves of the data, "
    "split at random for each pair, and without tied groups. After such runs, pass --halves, or in "
    "Python halves=True."
)
BOUNDED = (
    "How many joints are kept wrongly, for a threshold that was chosen before the runs (Shah and "
    "Samworth 2013, theorem 1; Meinshausen and Bühlmann 2010, theorem 1). Wrong is a joint that a "
    "run on half of the data keeps no more often than it keeps a joint on average."
)


ON_LADDER = (
    "Over all numbers of joints that the runs measured (Melikechi and Miller 2024, "
    "arXiv:2403.15877, with their cubic function), if pairs of runs keep a joint without worth "
    "independently of each other:"
)
EXPECTED = (0.1, 0.5, 1.0)  # wrong joints that the ladder's bound is told for
INTEGRAL = 0.05  # most of the mean over a ladder's numbers, their C: larger ones are left out


class Bound(NamedTuple):
    """Bounds how many joints are kept wrongly, see `expected_wrong`.

    Attributes:
        threshold: the share of the runs from which on a joint counts as kept.
        joints: those joints, ascending, without the ones that `keep` names.
        wrong: the expected number of wrong ones among them is at most that.
    """

    threshold: float
    joints: tuple[int, ...]
    wrong: float

    def __str__(self) -> str:
        share, count = f"{self.threshold:.0%}".replace("%", " %"), len(self.joints)
        nothing = ", which tells nothing" if self.wrong >= count else ""
        return (
            f"- Of the {count} joints that at least {share} of the runs kept, at most "
            f"{self.wrong:.2g} are expected to be wrong{nothing}."
        )


class LadderBound(NamedTuple):
    """Bounds how many joints are kept wrongly, by all numbers of a ladder; see `wrong_by_ladder`.

    Attributes:
        wrong: the expected number of wrong joints.
        joints: the joints, ascending, of which no more than that are expected to be wrong.
    """

    wrong: float
    joints: tuple[int, ...]

    def __str__(self) -> str:
        count = len(self.joints)
        joints = "1 joint stands" if count == 1 else f"{count} joints stand"
        return (
            f"- {joints} out so far that {self.wrong:g} of them or fewer are expected to be wrong."
        )


class Consensus(NamedTuple):
    """Holds the joints that several runs agree on.

    Attributes:
        selection: the joints that most runs kept, with mean keep probabilities; a run can take it
            as its budget.
        votes: how many runs kept each joint, shape `(J,)`.
        shares: the share of the runs that kept each joint, with Wilson's 95 % interval for runs
            with other seeds, shape `(J,)`.
        stability: agreement beyond chance with its 95 % interval; None where it is not defined.
        bounds: of the joints kept wrongly, at several thresholds; empty where there is none.
        by_ladder: the same by all numbers of joints of the runs' ladders; empty without these.
        covers: whether each run chose joints that stand for others, shape `(runs,)`.
    """

    selection: JointSelection
    votes: tuple[int, ...]
    shares: tuple[Estimate, ...]
    stability: Estimate | None
    bounds: tuple[Bound, ...]
    by_ladder: tuple[LadderBound, ...]
    covers: tuple[bool, ...]

    def words(self) -> str:
        """Return a text on how many joints are kept wrongly, and on runs that chose otherwise."""
        if not self.bounds:
            return f"{NO_BOUND} {_mixed(self.covers)}".rstrip()
        some = [bound for bound in self.by_ladder if bound.joints]
        ladder = [ON_LADDER, *map(str, some or self.by_ladder[-1:])] if self.by_ladder else []
        lines = [BOUNDED, *map(str, self.bounds), *ladder, _mixed(self.covers)]
        return "\n".join(filter(None, lines))


def consensus(
    records: Mapping[str, PruningRecord] | Sequence[PruningRecord],
    joints: int | None = None,
    *,
    halves: bool = False,
) -> Consensus:
    """Return the joints that most of several runs kept.

    Of joints that as many runs kept, those with the higher mean keep probability come first, then
    those with the lower index. Whole groups are taken of tied ones.

    Args:
        records: a name for each run, such as its folder, and its record; or the records alone. They
            are of one data set, skeleton and budget, and differ by their seed or half of the data.
        joints: how many joints to take; None takes the median of the runs' numbers, of two middle
            ones the lower, so that it is a number that a run found to do.
        halves: whether the runs are pairs that were trained on the two halves of the training data,
            split at random for each pair. Then the number of wrong joints is bounded.

    Returns:
        The consensus, whose `selection.source` names the runs and how many of them kept each joint.

    Raises:
        ValueError: if there are fewer than two runs, one is there twice, or they are of other data,
            skeletons or budgets; or if there cannot be so many joints.
    """
    if not isinstance(records, Mapping):
        records = {f"run {place}": record for place, record in enumerate(records, start=1)}
    if len(records) < 2:
        raise ValueError(
            f"Expected at least 2 runs for a consensus but got {len(records)}. Name another."
        )
    _check_alike(records)
    if halves and len(records) % 2:
        raise ValueError(
            f"Expected pairs of runs, on the two halves of the data, but got {len(records)} runs. "
            "Name the missing one, or leave halves out."
        )
    runs = list(records.values())
    selections = [record.selection for record in runs]
    votes = tuple(map(sum, zip(*(selection.mask for selection in selections), strict=True)))
    columns = zip(*(selection.keep_probabilities for selection in selections), strict=True)
    means = tuple(map(statistics.fmean, columns))
    if joints is None:
        joints = statistics.median_low(len(selection.indices) for selection in selections)
    first, found = runs[0], _stability(selections)
    source = {
        "runs": list(records),
        "kept_by": votes,
        "skeleton": first.skeleton,
        "stability": None if found is None else found.value,
    }
    selection = JointSelection(
        indices=_most_kept(first, votes, means, joints, len(runs)),
        num_joints=first.selection.num_joints,
        joint_names=first.selection.joint_names,
        keep_probabilities=means,
        source=source,
    )
    return Consensus(
        selection=replace(selection, stand_ins=stand_ins_of(selection, _mean_redundancy(runs))),
        votes=votes,
        shares=tuple(wilson(count / len(runs), len(runs)) for count in votes),
        stability=found,
        bounds=_bounds(first, votes, len(runs)) if halves else (),
        by_ladder=_by_ladder(runs) if halves else (),
        covers=_covers(runs),
    )


def _mean_redundancy(records: Iterable[PruningRecord]) -> list[list[float]]:
    """Return how well joints foretell each other in the mean of the runs that know it."""
    known = [record.redundancy for record in records if record.redundancy]
    return [
        [round(statistics.fmean(values), 2) for values in zip(*rows, strict=True)]
        for rows in zip(*known, strict=True)
    ]


def expected_wrong(kept: float, joints: int, threshold: float) -> float:
    """Return the most joints that are expected to be kept wrongly, `q² / ((2π - 1) p)`.

    It is theorem 1 of Meinshausen and Bühlmann 2010 (doi:10.1111/j.1467-9868.2010.00740.x), for
    joints without worth that are exchangeable, and runs that are no worse than guessing. For pairs
    of runs on both halves of the data it needs neither, nor many pairs (Shah and Samworth 2013,
    doi:10.1111/j.1467-9868.2011.01034.x, theorem 1 with θ = q / p): then a wrong joint is one that
    a run keeps with a probability of at most q / p.

    Args:
        kept: q, the mean number of joints that a run keeps.
        joints: p, the number of joints to choose from.
        threshold: π, the share of the runs from which on a joint counts as kept, in (0.5, 1].

    >>> round(expected_wrong(kept=8.0, joints=80, threshold=0.9), 9)
    1.0
    """
    return kept**2 / ((2 * threshold - 1) * joints)


def wrong_by_ladder(shares: Sequence[Sequence[float]], pairs: int) -> list[float]:
    """Return for each joint how many wrong ones are expected among those that do as well as it.

    A joint's score is the mean of `max(0, 2π - 1)³` over the numbers of a ladder, π the share of
    the runs that kept it. Of the joints with a score of τ or more, at most I / τ are expected to be
    wrong, with `I` the mean of `q²/(pB²) + 3(B-1)q⁴/(p³B²) + (B-1)(B-2)q⁶/(p⁵B²)`, for q of p
    joints and B pairs of runs on both halves of the data (integrated path stability selection,
    Melikechi and Miller 2024, arXiv:2403.15877, their h₃, with equal weights). That is the
    expectation of the score, times p, of a joint that each half keeps with the probability q / p,
    if pairs keep it independently. Large numbers, with which I would exceed 0.05, are left out.

    Args:
        shares: of the runs that kept each joint, for each number of the ladder, the fewest first;
            shape `(numbers, p)`.
        pairs: B, at least 1.
    """
    p, b, terms = len(shares[0]), pairs, list[float]()
    for row in shares:
        q = sum(row)
        terms.append(
            q**2 / (p * b**2)
            + 3 * (b - 1) * q**4 / (p**3 * b**2)
            + (b - 1) * (b - 2) * q**6 / (p**5 * b**2)
        )
    means = [total / count for count, total in enumerate(itertools.accumulate(terms), start=1)]
    used = max(1, sum(mean <= INTEGRAL for mean in means))
    columns = zip(*shares[:used], strict=True)
    scores = [statistics.fmean(max(0.0, 2 * share - 1) ** 3 for share in path) for path in columns]
    return [means[used - 1] / score if score > 0 else float(p) for score in scores]


def _by_ladder(records: Sequence[PruningRecord]) -> tuple[LadderBound, ...]:
    """Return the bounds of ladders of the same numbers; none of tied groups."""
    free, first = _free(records[0]), records[0]
    ladders = [{len(rung.indices): rung for rung in record.rungs} for record in records]
    numbers = sorted(set.intersection(*(set(ladder) for ladder in ladders)))
    if not free or not numbers or first.settings.get("tied"):
        return ()
    shares = []
    for number in numbers:
        masks = [ladder[number].mask for ladder in ladders]
        shares.append([statistics.fmean(mask[joint] for mask in masks) for joint in free])
    wrong = dict(zip(free, wrong_by_ladder(shares, len(records) // 2), strict=True))
    return tuple(
        LadderBound(most, tuple(joint for joint in free if wrong[joint] <= most))
        for most in EXPECTED
    )


def _free(record: PruningRecord) -> list[int]:
    """Return the joints that a run may keep or drop."""
    fixed = {*_named(record, "keep"), *_named(record, "drop")}
    return [joint for joint in range(record.selection.num_joints) if joint not in fixed]


def _bounds(record: PruningRecord, votes: Sequence[int], runs: int) -> tuple[Bound, ...]:
    """Return the bounds on wrong joints, among those that a run may keep or drop."""
    free = _free(record)
    if not free or record.settings.get("tied"):
        return ()
    kept = sum(votes[joint] for joint in free) / runs
    return tuple(
        Bound(
            threshold,
            tuple(joint for joint in free if votes[joint] >= threshold * runs - 1e-9),
            expected_wrong(kept, len(free), threshold),
        )
        for threshold in THRESHOLDS
    )


def _most_kept(
    record: PruningRecord, votes: Sequence[int], means: Sequence[float], count: int, runs: int
) -> tuple[int, ...]:
    """Return so many joints, the most often kept ones; whole groups of tied ones."""
    always, never = _named(record, "keep"), _named(record, "drop")
    total = len(votes)
    if not max(1, len(always)) <= count <= total - len(never):
        raise ValueError(
            f"Expected from {max(1, len(always))} to {total - len(never)} joints, which is what "
            f"the runs' keep and drop leave, but got {count}. Pass another number."
        )
    units, usable = _units(record), [joint for joint in range(total) if joint not in never]
    # Means decide ties alone, and what the runs had to keep comes first.
    worth = [votes[j] + means[j] / 2 + (runs if j in always else 0) for j in usable]
    mask = hard_mask_of_units(worth, [units[joint] for joint in usable], count)
    return tuple(joint for joint, kept in zip(usable, mask, strict=True) if kept)


def _units(record: PruningRecord) -> list[int]:
    """Return the first joint of each joint's tied group, or the joint itself."""
    units, groups = list(range(record.selection.num_joints)), record.settings.get("groups")
    if not (record.settings.get("tied") and isinstance(groups, Mapping)):
        return units
    for members in groups.values():
        joints = _among(units, members)
        for joint in joints:
            units[joint] = min(joints)
    return units


def _named(record: PruningRecord, setting: str) -> list[int]:
    """Return the joints that `keep` or `drop` names."""
    return _among(range(record.selection.num_joints), record.settings.get(setting))


def _among(joints: Iterable[int], named: Any) -> list[int]:
    """Return those joints that a list in a record names, which may hold anything."""
    return [joint for joint in joints if joint in named] if isinstance(named, list) else []


def _check_alike(records: Mapping[str, PruningRecord]) -> None:
    """Make sure that runs are finished, different, and of one question.

    Raises:
        ValueError: if one is not; it is named, with what to do.
    """
    (first, reference), *_ = records.items()
    for run, record in records.items():
        if record.phase != "final":
            raise ValueError(
                f"Expected runs that reached their final phase but {run} was in its {record.phase} "
                "phase when it was written. Let it finish, or leave it out."
            )
        if record.course.get("steps") == 0:
            raise ValueError(
                f"Expected runs that searched for their joints but those of {run} were given. "
                "Leave it out."
            )
        _check_joints(first, reference.selection, run, record.selection)
        if doubt := _other_question(reference, record, first, run):
            raise ValueError(doubt)
    for (earlier, a), (later, b) in itertools.combinations(records.items(), 2):
        if (a.selection, a.history) == (b.selection, b.history):
            raise ValueError(
                f"Expected different runs but {earlier} and {later} are the same to the last digit "
                "of every gate. Name it once; for another run, train with another seed."
            )


def _other_question(a: PruningRecord, b: PruningRecord, first: str, run: str) -> str | None:
    """Return in what two runs differ that have to be alike, as a message; None if in nothing."""
    if a.skeleton != b.skeleton:
        return (
            f"Expected runs of one skeleton but got {a.skeleton!r} in {first} and {b.skeleton!r} "
            f"in {run}. Leave one out."
        )
    for name in DECISIVE:
        values = [as_code(record.settings.get(name), []) for record in (a, b)]
        if values[0] != values[1]:
            return (
                f"Expected runs with one {name} but got {values[0]} in {first} and {values[1]} in "
                f"{run}. Leave one out, or train it again with the other's."
            )
    metrics = a.selection.metric, b.selection.metric
    if None not in metrics and metrics[0] != metrics[1]:
        return (
            f"Expected runs of one data set but got the metric {metrics[0]} in {first} and "
            f"{metrics[1]} in {run}. Leave one out."
        )
    samples, others = a.selection.samples, b.selection.samples
    if samples is not None and others is not None and abs(samples - others) > 1:  # folds differ
        return (
            f"Expected runs of one data set but got {samples} validation samples in {first} and "
            f"{others} in {run}. Leave one out."
        )
    return None
