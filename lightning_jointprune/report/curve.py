"""Collects accuracy against the number of joints as plain points, and words the number chosen."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from lightning_jointprune.measure.baseline import baseline_of
from lightning_jointprune.record.files import PathLike, Place, file_at
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.record.selection import show
from lightning_jointprune.record.stored import class_of
from lightning_jointprune.search.budgets.fewest import Fewest
from lightning_jointprune.search.budgets.given_joints import GivenJoints
from lightning_jointprune.search.curve import choose_rung

POINTS_FILE = "frontier.csv"
COLUMNS = ("label", "joints", "value")  # required columns; low and high may be missing or empty


class Point(NamedTuple):
    """Holds a number of joints, and what a model reaches with them.

    Attributes:
        joints: the number of joints that the model sees.
        value: the metric.
        label: whose joints these are, such as `"both hands"`; points of one label are a line.
        low: lower end of the interval or band around the value; None if not known.
        high: upper end of it; None if not known.
    """

    joints: int
    value: float
    label: str
    low: float | None = None
    high: float | None = None


class Frontier(NamedTuple):
    """Holds points by label, in the order of their joints.

    Attributes:
        metric: name of the metric.
        lines: the points of each label; those of runs come first.
        runs: the labels that are names of runs.
        chosen: by the label of a run that has several points, the one whose joints it kept.
        baselines: by the label of a run, what it reaches without pruning, where that is known.
    """

    metric: str
    lines: dict[str, tuple[Point, ...]]
    runs: tuple[str, ...]
    chosen: dict[str, Point]
    baselines: dict[str, float]


def frontier_numbers(
    records: PruningRecord | Mapping[str, PruningRecord], points: Iterable[Point] = ()
) -> Frontier | None:
    """Return the points of runs and of others; None with fewer than two, or without a metric.

    Args:
        records: a run's record, or several with a name for each; only those with the first one's
            metric count.
        points: other values of that metric, such as those of published sets of joints, or of
            random ones with the band that they lie in.
    """
    named = {"this run": records} if isinstance(records, PruningRecord) else records
    metric = next((record.selection.metric for record in named.values()), None)
    found = [
        point
        for name, record in named.items()
        if record.selection.metric == metric
        for point in _points_of(record, name)
    ]
    lines: dict[str, list[Point]] = {}
    for point in [*found, *points]:
        lines.setdefault(point.label, []).append(point)
    if metric is None or sum(map(len, lines.values())) < 2:
        return None
    ordered = {
        label: tuple(sorted(line, key=lambda p: (p.joints, p.value)))
        for label, line in lines.items()
    }
    chosen = {
        name: point
        for name, record in named.items()
        for point in ordered.get(name, ())
        if point.joints == len(record.selection.indices) and record.rungs
    }
    known = {name: baseline_of(record) for name, record in named.items() if name in ordered}
    baselines = {name: value for name, value in known.items() if value is not None}
    return Frontier(metric, ordered, tuple(named), chosen, baselines)


def _points_of(record: PruningRecord, label: str) -> list[Point]:
    """Return the points of a run that were measured, one for each rung of a ladder."""
    return [
        Point(point.joints, point.value, label, point.low, point.high)
        for point in record.frontier
        if point.value is not None
    ]


# What a number of joints that was chosen from a curve asks for.
TEST_PART = "The number was chosen on the validation, so quote a metric of a test part."


class Chosen(NamedTuple):
    """Holds the number of joints that `Fewest` chose, beside those that it was compared with.

    Attributes:
        numbers: how many numbers of joints were measured.
        kept: the one that was chosen.
        value: the metric with it, when they were compared.
        best: the number of joints with the best metric of all.
        best_value: the metric with that one.
        tolerance: how much worse than the top of the smoothed curve was as good.
        by_error: whether that is one standard error, since it was larger than `within`.
    """

    numbers: int
    kept: int
    value: float
    best: int
    best_value: float
    tolerance: float
    by_error: bool

    def words(self) -> str:
        """Return what the other numbers of joints do, without a full stop."""
        own = f"{show(self.value)} with {self.kept}"
        if self.best == self.kept:
            return (
                f"no other number of joints did better when {self.numbers} numbers were compared "
                f"({own})"
            )
        margin = f"{self.tolerance:.2g}"
        margin = f"one standard error, {margin}," if self.by_error else margin
        smooth = abs(self.best_value - self.value) > self.tolerance + 1e-9  # of rounding
        return (
            f"{'on the smoothed curve ' if smooth else ''}no number of joints did better by more "
            f"than {margin} when {self.numbers} numbers were compared ({own}, "
            f"{show(self.best_value)} with {self.best})"
        )


def fewest_of(record: PruningRecord) -> Mapping[str, Any] | None:
    """Return the arguments of `Fewest` in a run with it; None with another budget."""
    name, arguments = class_of(record.settings.get("budget"))
    return arguments if name == Fewest.__name__ else None


def given_of(record: PruningRecord) -> str | None:
    """Return the sentence on a run whose joints were given; None where it searched for them."""
    name, arguments = class_of(record.settings.get("budget"))
    if name != GivenJoints.__name__:
        return None
    source = arguments.get("source")
    return f"The joints were given{f', by {source}' if source else ''}: this run searched for none."


def number_trained(record: PruningRecord) -> int:
    """Return the number of joints that the model was trained for to the end.

    A record may be given the selection of another number of its ladder, for which `Fewest` did not
    train the model on.
    """
    last = record.history[-1] if record.history else None
    if fewest_of(record) is None or last is None or last.phase != "final":
        return len(record.selection.indices)
    return last.active_joints


def compared_samples(record: PruningRecord) -> int | None:
    """Return how many samples numbers of joints are compared on: of a short run, fewer than all."""
    of_rungs = [rung.samples for rung in record.rungs if rung.metrics]
    return of_rungs[0] if of_rungs else record.selection.samples


def chosen_of(record: PruningRecord) -> Chosen | None:
    """Return how `Fewest` chose the number of joints; None where it did not, or not this one."""
    selection, arguments = record.selection, fewest_of(record)
    known = [point for point in record.frontier if point.value is not None]
    if arguments is None or record.phase != "final" or not known:
        return None
    values, higher = [float(point.value or 0.0) for point in known], selection.higher_is_better
    within = arguments.get("within")
    if not isinstance(within, int | float) or not abs(within) <= sys.float_info.max:
        within = Fewest.within
    choice = choose_rung(values, float(within), higher=higher, samples=compared_samples(record))
    chosen, best = known[choice.rung], values.index((max if higher else min)(values))
    if chosen.joints != len(selection.indices):
        return None
    return Chosen(
        numbers=len(known),
        kept=chosen.joints,
        value=values[choice.rung],
        best=known[best].joints,
        best_value=values[best],
        tolerance=max(within, choice.error),
        by_error=choice.error > within,
    )


def sentence_of(record: PruningRecord, title: str | None = None) -> str:
    """Return one sentence for a paper; it says what other numbers of joints do, if it is known.

    Args:
        record: of the run.
        title: names the data.
    """
    sentence, compared = record.selection.sentence(title), chosen_of(record)
    return sentence if compared is None else f"{sentence[:-1]}; {compared.words()}."


def read_points(path: PathLike) -> tuple[Point, ...]:
    """Return points from a CSV file with columns `label,joints,value` and perhaps `low,high`.

    Args:
        path: the file, or the folder of a run for `frontier.csv`.

    Raises:
        ValueError: if a column is missing, or a number is not one.
        OSError: if the file cannot be read.
    """
    path = file_at(path, POINTS_FILE)
    rows = csv.DictReader(io.StringIO(_text_of(path), newline=""))
    if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
        raise ValueError(
            f"Expected the columns {','.join(COLUMNS)} in {path} but got no {missing[0]}. "
            "Name them in its first line; low and high may follow."
        )
    return tuple(_point(row, f"{path}, line {rows.line_num}") for row in rows)


def _text_of(path: Place) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected UTF-8 text in {path} but got the byte {error.object[error.start]:#x}. Save "
            "it as CSV in UTF-8."
        ) from error


def _point(row: Mapping[str, str | None], place: str) -> Point:
    try:
        low, high = (float(row.get(end) or "nan") for end in ("low", "high"))
        value, joints = float(row["value"] or ""), int(row["joints"] or "")
        if not math.isfinite(value) or joints < 0:
            raise ValueError(f"{joints} joints with {value}")
    except ValueError as error:
        raise ValueError(
            f"Expected a whole number of joints and a finite value in {place} but got: {error}. "
            "Write a row such as both hands,42,0.965."
        ) from error
    known = math.isfinite(low) and math.isfinite(high)
    return Point(joints, value, row["label"] or "", *((low, high) if known else ()))
