"""Holds what a run learned: snapshots of its gates, its joints, and how they were found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from lightning_jointprune.record.files import PathLike
from lightning_jointprune.record.selection import (
    JointSelection,
    finite,
    indices_below,
    probabilities_of,
    stand_ins_of,
)
from lightning_jointprune.record.stored import (
    RECORD_FILE,
    build,
    plain,
    read_json,
    real,
    set_fields,
    whole,
    write_json,
)

KIND = "pruning_record"
PHASES = ("warmup", "search", "compare", "final")
REPORT_FILE = "joint_importance.html"


@dataclass(frozen=True)
class Snapshot:
    """Holds the state of the gates at one moment of the run.

    Args:
        step: optimizer steps taken so far.
        epoch: the epoch they end in, from 0.
        progress: fraction of the run's steps taken so far, in [0, 1].
        phase: `"warmup"`, `"search"`, `"compare"` or `"final"`.
        temperature: the relaxation's temperature, no unit; 1 is that of a plain sigmoid.
        price: what an open gate costs, in units of the training loss.
        expected_joints: expected L0, the sum of the keep probabilities, in joints.
        active_joints: how many joints the hard mask would keep, or keeps.
        keep_probabilities: P(gate open) of all joints, shape `(J,)`, each in [0, 1].
        metrics: what was logged at that moment, by name; values that are not finite are left out.
        loss: mean training loss of the latest batches, without the price; None if not known.

    Raises:
        ValueError: an unknown phase, or a keep probability outside [0, 1].
    """

    step: int
    epoch: int
    progress: float
    phase: str
    temperature: float
    price: float
    expected_joints: float
    active_joints: int
    keep_probabilities: tuple[float, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    loss: float | None = None

    def __post_init__(self) -> None:
        wholes = ("step", "epoch", "active_joints")
        reals = ("progress", "temperature", "price", "expected_joints")
        set_fields(self, **{name: whole(getattr(self, name), name) for name in wholes})
        set_fields(self, **{name: real(getattr(self, name), name) for name in reals})
        set_fields(self, phase=_phase(self.phase), metrics=finite(self.metrics))
        set_fields(self, loss=_known(self.loss, "loss"))
        set_fields(self, keep_probabilities=probabilities_of(self.keep_probabilities, None))


class CurvePoint(NamedTuple):
    """Holds a number of joints of a run, and what the model reached with them in that run.

    Attributes:
        joints: how many joints the model sees.
        value: the metric that the run quotes; None where it was not measured.
        low: lower end of Wilson's 95 % interval, where the metric is a share of the samples.
        high: upper end of it; None elsewhere.
        indices: the joints, ascending.
    """

    joints: int
    value: float | None
    low: float | None
    high: float | None
    indices: tuple[int, ...]


@dataclass(frozen=True)
class PruningRecord:
    """Holds all that a run learned: its report can be redrawn without the model or the data.

    Args:
        selection: the joints that are kept.
        rungs: of a ladder, the selection of each number of joints, the most first; `selection` is
            of one of them.
        history: snapshots in the order of training.
        skeleton: name of the skeleton that the joints are from, for its drawing.
        skeleton_file: the file that named the joints; None where none did.
        edges: pairs of connected joints, shape `(edges, 2)`, where the skeleton has no known name.
        parts: body parts where the skeleton has no known name, each with its joints.
        pose: mean place of each joint in the data, shape `(J, 2 or 3)`, in units of the input and
            with y downwards, where the skeleton has no name; empty if it is not known.
        settings: the callback's arguments; what JSON does not know is kept as its text.
        versions: versions of the packages that were used, by name.
        phase: the phase the run was in when this was written; only `"final"` is a result.
        normalisation: how the joints were normalised before the gates, as far as the first batches
            show it: `"centred"` and `"scaled"` by all of them in each `"frame"` or `"sequence"`,
            `"origin"`, the joint that is always at 0, `"standardised"`.
        unseen: joints that were `"undetected"` in most frames of the first batches, or there and
            `"outside"` the picture, where coordinates are shares of it; empty if it is not known.
        baseline: finite figures of a run without the callback, by name; empty if not known.
        course: of the search: `"began"` and `"learned_at"`, the fractions of the run at which it
            began and at which the training loss had fallen by a tenth (None for not yet),
            `"steps"`, its optimizer steps, and `"cover"`, whether joints were chosen that stand for
            others; empty if that is not known.
        redundancy: R² with which joint d foretells joint k's coordinates in training frames, shape
            `(J, J)`, row k, column d, each in [0, 1], to two digits; empty if it is not known.

    Raises:
        ValueError: an unknown phase, an edge to no joint, or a snapshot, a pose or a redundancy of
            other joints.
    """

    selection: JointSelection
    history: tuple[Snapshot, ...] = ()
    skeleton: str | None = None
    edges: tuple[tuple[int, int], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    phase: str = "final"
    pose: tuple[tuple[float, ...], ...] = ()
    rungs: tuple[JointSelection, ...] = ()
    normalisation: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    baseline: Mapping[str, float] = field(default_factory=dict)
    course: Mapping[str, Any] = field(default_factory=dict)
    skeleton_file: str | None = None
    redundancy: tuple[tuple[float, ...], ...] = ()
    unseen: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        joints = self.selection.num_joints
        for snapshot in self.history:
            probabilities_of(snapshot.keep_probabilities, joints)
        for rung in self.rungs:
            probabilities_of(rung.keep_probabilities, joints)
        edges = tuple((whole(a, "edge"), whole(b, "edge")) for a, b in self.edges)
        if any(not 0 <= end < joints for edge in edges for end in edge):
            raise ValueError(f"Expected edges between joints 0 to {joints - 1} but got {edges}.")
        set_fields(self, history=tuple(self.history), edges=edges, phase=_phase(self.phase))
        set_fields(self, rungs=tuple(self.rungs), pose=_pose(self.pose, joints))
        for name in ("skeleton", "skeleton_file"):
            text = getattr(self, name)
            set_fields(self, **{name: None if text is None else str(text)})
        parts = {str(name): indices_below(sorted(of), joints) for name, of in self.parts.items()}
        set_fields(self, parts=parts, normalisation=plain(dict(self.normalisation)))
        unseen = {str(kind): indices_below(of, joints) for kind, of in self.unseen.items()}
        set_fields(self, baseline=finite(self.baseline), unseen=unseen)
        set_fields(self, course=plain(dict(self.course)))
        set_fields(self, redundancy=_redundancy(self.redundancy, joints))
        set_fields(self, settings=plain(dict(self.settings)), versions=plain(dict(self.versions)))

    @property
    def frontier(self) -> tuple[CurvePoint, ...]:
        """Return the metric of each number of joints of the run, the fewest joints first.

        A run that is no ladder has the point of its selection alone. Numbers that `Fewest` compared
        were measured when they were compared, and those of other ladders at the end of the run.
        """
        rungs = self.rungs or (self.selection,)
        return tuple(sorted((_point(rung) for rung in rungs), key=lambda point: point.joints))

    def selection_of(self, joints: int) -> JointSelection:
        """Return the selection of so many joints, out of those of a ladder, with its stand-ins.

        Raises:
            ValueError: if the run has none of so many.
        """
        known = {len(rung.indices): rung for rung in (*self.rungs, self.selection)}
        if joints not in known:
            raise ValueError(
                f"Expected a number of joints that the run has, "
                f"{', '.join(map(str, sorted(known)))}, but got {joints}."
                + other_rungs(joints, min(known), self.selection.num_joints)
            )
        found = known[joints]
        return replace(found, stand_ins=stand_ins_of(found, self.redundancy) or found.stand_ins)

    def to_json(self, path: PathLike | None = None) -> str:
        """Return the record as JSON; also write it to a file, or into a folder.

        In a folder it is `pruning_record.json`.
        """
        return write_json(self, KIND, path, RECORD_FILE)

    @classmethod
    def from_json(cls, path_or_text: PathLike) -> PruningRecord:
        """Read a record from a file, from a folder with `pruning_record.json`, or from JSON text.

        Raises ValueError for what is no record or a newer one, OSError for what cannot be read.
        """
        data, source = read_json(path_or_text, KIND, RECORD_FILE)

        def selection(item: Any) -> JointSelection:
            return build(JointSelection, item, source)

        return build(
            cls,
            data,
            source,
            selection=selection,
            rungs=lambda items: [selection(item) for item in items],
            history=lambda items: [build(Snapshot, item, source) for item in items],
        )


def other_rungs(joints: int, fewest: int, num_joints: int) -> str:
    """Return the sentence that says how to get a number of joints, where that can be had.

    Args:
        joints: the number that a run has not.
        fewest: the smallest number that it has.
        num_joints: J.
    """
    if not 0 < joints <= num_joints:
        return ""
    return f" Train with budget=TargetJoints([{joints}, {fewest}]) for others."


def _point(rung: JointSelection) -> CurvePoint:
    value, interval = rung.metrics.get(rung.metric or ""), rung.interval
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return CurvePoint(len(rung.indices), value, low, high, rung.indices)


def _known(value: Any, name: str) -> float | None:
    number = real(value, name)
    return number if math.isfinite(number) else None


def _pose(places: Iterable[Iterable[float]], joints: int) -> tuple[tuple[float, ...], ...]:
    pose = tuple(tuple(real(value, "coordinate") for value in place) for place in places)
    fits = not pose or (len(pose) == joints and len(pose[0]) in (2, 3))
    fits &= all(len(place) == len(pose[0]) and all(map(math.isfinite, place)) for place in pose)
    if not fits:
        raise ValueError(
            f"Expected 2 or 3 finite coordinates of each of {joints} joints as pose but got {pose}."
        )
    return pose


def _redundancy(rows: Iterable[Iterable[float]], joints: int) -> tuple[tuple[float, ...], ...]:
    table = tuple(tuple(map(float, row)) for row in rows)
    fits = not table or {len(table), *map(len, table)} == {joints}
    if not (fits and all(min(row) >= 0 and max(row) <= 1 for row in table)):
        raise ValueError(
            f"Expected a redundancy of {joints} times {joints} values in [0, 1] but got "
            f"{len(table)} rows of {sorted({*map(len, table)})}. Pass an R² for each pair, or ()."
        )
    return table


def _phase(phase: str) -> str:
    if phase not in PHASES:
        raise ValueError(f"Expected a phase out of {', '.join(PHASES)} but got {phase!r}.")
    return phase
