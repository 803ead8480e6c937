"""What a search learned, as plain data: the kept joints, how they were found; JSON in and out."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Real
from pathlib import Path
from typing import Any, SupportsIndex, TypeVar, cast

from lightning_jointprune.record.files import PathLike, write_text
from lightning_jointprune.record.intervals import Estimate, wilson
from lightning_jointprune.record.tables import joint_table
from lightning_jointprune.record.wording import selection_sentence

SCHEMA = 1
PHASES = ("warmup", "search", "final")
RECORD_FILE, SELECTION_FILE = "pruning_record.json", "selection.json"
REPORT_FILE = "joint_importance.html"
WHOLE = 2e-3  # what single precision leaves of a whole number, up to some 10,000
D = TypeVar("D")


def is_undecided(probability: float) -> bool:
    """Return whether a keep probability lies strictly between 0.1 and 0.9."""
    return 0.1 < probability < 0.9


@dataclass(frozen=True)
class JointSelection:
    """The joints that a search kept, with the figures to cite them by.

    Args:
        indices: the kept joints, ascending, each in `[0, num_joints)`.
        num_joints: J, the number of joints the model was given.
        joint_names: names of all joints, shape `(J,)`, each once.
        keep_probabilities: P(gate open) of all joints, shape `(J,)`, each in [0, 1].
        metrics: finite values of the final phase's last validation, with the kept joints only.
        metrics_all_joints: what the last validation of the warm-up measured, with all joints.
        metric: the metric that `sentence` quotes; a key of `metrics` when it was measured.
        floor: the value that `metric` was asked to stay at or above, in units of `metric`.
        higher_is_better: whether more of `metric` is better; where it is not, `floor` is a ceiling.
        samples: how many samples that validation had; None if not known.

    Raises:
        ValueError: a length, index, name or probability that does not fit.

    >>> selection = JointSelection((0, 2), 3, ("wrist", "thumb", "index"), (0.99, 0.02, 0.97))
    >>> selection.sentence("AUTSL")
    '2 of 3 joints are kept on AUTSL, a 33.3 % reduction; no metric was measured with them.'
    """

    indices: tuple[int, ...]
    num_joints: int
    joint_names: tuple[str, ...]
    keep_probabilities: tuple[float, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    metrics_all_joints: Mapping[str, float] = field(default_factory=dict)
    metric: str | None = None
    floor: float | None = None
    higher_is_better: bool = True
    samples: int | None = None

    def __post_init__(self) -> None:
        count = _whole(self.num_joints, "num_joints")
        names = tuple(map(str, self.joint_names))
        if len(names) != count or len(set(names)) != count:
            raise ValueError(
                f"Expected {count} different joint names but got {len(names)} names, "
                f"{len(set(names))} of them different. Name every joint once, dropped ones too."
            )
        floor = None if self.floor is None else _real(self.floor, "floor")
        if floor is not None and (self.metric is None or not math.isfinite(floor)):
            raise ValueError(
                f"Expected a finite floor but got {floor} of {self.metric}. Pass both."
            )
        _set(self, indices=_indices(self.indices, count), num_joints=count, joint_names=names)
        _set(self, keep_probabilities=_probabilities(self.keep_probabilities, count), floor=floor)
        _set(self, metrics=_finite(self.metrics), metric=self.metric and str(self.metric))
        _set(self, metrics_all_joints=_finite(self.metrics_all_joints))
        _set(self, samples=None if self.samples is None else _whole(self.samples, "samples"))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the kept joints, in the order of `indices`."""
        return tuple(self.joint_names[joint] for joint in self.indices)

    @property
    def mask(self) -> tuple[bool, ...]:
        """Whether each joint is kept, shape `(J,)`."""
        kept = set(self.indices)
        return tuple(joint in kept for joint in range(self.num_joints))

    @property
    def ratio(self) -> float:
        """Pruning ratio: the fraction of joints removed, in [0, 1]."""
        return 1 - len(self.indices) / self.num_joints

    @property
    def interval(self) -> Estimate | None:
        """`metric` with the kept joints, and Wilson's 95 % interval; None where it is not known.

        It is known of a share of the validation's samples, such as their accuracy: of a value that
        is a whole number of them over all. That the joints were chosen on the same samples, or the
        best of several checkpoints was, it does not count.
        """
        value = self.metrics.get(self.metric or "", math.nan)
        share = self.higher_is_better and 0 <= value <= 1
        if self.samples is None or self.samples < 1 or not share:
            return None
        right = value * self.samples
        return wilson(value, self.samples) if abs(right - round(right)) < WHOLE else None

    @property
    def undecided(self) -> int:
        """How many keep probabilities lie strictly between 0.1 and 0.9."""
        return sum(map(is_undecided, self.keep_probabilities))

    def summary(self, width: int | None = None) -> str:
        """The KEEP / PRUNE table as text of `width` characters, by default the terminal's."""
        counts = f"{len(self.indices)} of {self.num_joints} joints kept, {self.undecided} undecided"
        width = max(width or shutil.get_terminal_size((100, 24)).columns, 40)
        table = joint_table(self.joint_names, self.keep_probabilities, self.mask, width)
        return f"{counts}, {100 * self.ratio:.1f} % removed\n{table}"

    def sentence(self, title: str | None = None) -> str:
        """One sentence for a paper, with nothing that was not measured; `title` names the data."""
        return selection_sentence(self, f" on {title}" if title else "")

    def to_json(self, path: PathLike | None = None) -> str:
        """The selection as JSON; also written to a file, or into a folder as `selection.json`."""
        return _to_json(self, "joint_selection", path, SELECTION_FILE)

    @classmethod
    def from_json(cls, path_or_text: PathLike) -> JointSelection:
        """Read a selection from a file, from a folder with `selection.json`, or from JSON text.

        Raises ValueError for what is no selection or a newer one, OSError for what cannot be read.
        """
        return _build(cls, *_read(path_or_text, "joint_selection", SELECTION_FILE))

    def __str__(self) -> str:
        return self.summary()


@dataclass(frozen=True)
class Snapshot:
    """The state of the gates at one moment of the run.

    Args:
        step: optimizer steps taken so far.
        epoch: the epoch they end in, from 0.
        progress: fraction of the run's steps taken so far, in [0, 1].
        phase: `"warmup"`, `"search"` or `"final"`.
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
        _set(self, **{name: _whole(getattr(self, name), name) for name in wholes})
        _set(self, **{name: _real(getattr(self, name), name) for name in reals})
        _set(self, phase=_phase(self.phase), metrics=_finite(self.metrics))
        _set(self, loss=_known(self.loss, "loss"))
        _set(self, keep_probabilities=_probabilities(self.keep_probabilities, None))


@dataclass(frozen=True)
class PruningRecord:
    """Everything a run learned: enough to redraw its report without the model or the data.

    Args:
        selection: the joints that are kept.
        rungs: of a ladder, the selection of each number of joints, the most first; the last one is
            `selection`.
        history: snapshots in the order of training.
        skeleton: name of the skeleton that the joints are from, for its drawing.
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

    Raises:
        ValueError: an unknown phase, an edge to no joint, or a snapshot or a pose of other joints.
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

    def __post_init__(self) -> None:
        joints = self.selection.num_joints
        for snapshot in self.history:
            _probabilities(snapshot.keep_probabilities, joints)
        for rung in self.rungs:
            _probabilities(rung.keep_probabilities, joints)
        edges = tuple((_whole(a, "edge"), _whole(b, "edge")) for a, b in self.edges)
        if any(not 0 <= end < joints for edge in edges for end in edge):
            raise ValueError(f"Expected edges between joints 0 to {joints - 1} but got {edges}.")
        _set(self, history=tuple(self.history), edges=edges, phase=_phase(self.phase))
        _set(self, rungs=tuple(self.rungs), pose=_pose(self.pose, joints))
        _set(self, skeleton=None if self.skeleton is None else str(self.skeleton))
        parts = {str(name): _indices(sorted(of), joints) for name, of in self.parts.items()}
        _set(self, parts=parts, normalisation=_plain(dict(self.normalisation)))
        _set(self, settings=_plain(dict(self.settings)), versions=_plain(dict(self.versions)))

    def selection_of(self, joints: int) -> JointSelection:
        """The selection of so many joints, out of those of a ladder.

        Raises:
            ValueError: if the run has none of so many.
        """
        known = {len(one.indices): one for one in (self.selection, *self.rungs)}
        if joints not in known:
            raise ValueError(
                f"Expected joints out of {', '.join(map(str, sorted(known)))} but got {joints}. "
                f"Train with budget=TargetJoints([{joints}, {min(known)}]) for others."
            )
        return known[joints]

    def to_json(self, path: PathLike | None = None) -> str:
        """The record as JSON; also written to a file, or into a folder as `pruning_record.json`."""
        return _to_json(self, "pruning_record", path, RECORD_FILE)

    @classmethod
    def from_json(cls, path_or_text: PathLike) -> PruningRecord:
        """Read a record from a file, from a folder with `pruning_record.json`, or from JSON text.

        Raises ValueError for what is no record or a newer one, OSError for what cannot be read.
        """
        return _build(cls, *_read(path_or_text, "pruning_record", RECORD_FILE))


def _set(instance: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(instance, name, value)  # the way into a frozen dataclass


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex) or abs(int(value)) > 2**63:
        raise ValueError(f"Expected an integer as {name} but got {value!r}. Pass `int(value)`.")
    return int(value)


def _real(value: Any, name: str) -> float:
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
        raise ValueError(f"Expected a number as {name} but got {value!r}. Pass `float(value)`.")
    return math.nan if value is None else float(value)  # JSON's null is a number not known


def _known(value: Any, name: str) -> float | None:
    number = _real(value, name)
    return number if math.isfinite(number) else None


def _pose(places: Iterable[Iterable[float]], joints: int) -> tuple[tuple[float, ...], ...]:
    pose = tuple(tuple(_real(one, "coordinate") for one in place) for place in places)
    wrong = [place for place in pose if len(place) != len(pose[0]) or len(place) not in (2, 3)]
    if (
        (pose and len(pose) != joints)
        or wrong
        or not all(math.isfinite(one) for place in pose for one in place)
    ):
        raise ValueError(
            f"Expected 2 or 3 finite coordinates of each of {joints} joints as pose but got {pose}."
        )
    return pose


def _phase(phase: str) -> str:
    if phase not in PHASES:
        raise ValueError(f"Expected a phase out of {', '.join(PHASES)} but got {phase!r}.")
    return phase


def _indices(values: Iterable[int], count: int) -> tuple[int, ...]:
    indices = tuple(_whole(value, "index") for value in values)
    if list(indices) != sorted(set(indices) & set(range(count))):
        raise ValueError(f"Expected ascending joints in [0, {count}) but got {indices}. Sort them.")
    return indices


def _probabilities(values: Iterable[float], count: int | None) -> tuple[float, ...]:
    numbers = tuple(_real(value, "keep probability") for value in values)
    if count is not None and len(numbers) != count:
        raise ValueError(f"Expected {count} keep probabilities but got {len(numbers)}. Pass all.")
    wrong = [number for number in numbers if not 0 <= number <= 1]
    if wrong:
        raise ValueError(f"Expected keep probabilities in [0, 1] but got {wrong[0]}; no logits.")
    return numbers


def _finite(metrics: Mapping[str, Any]) -> dict[str, float]:
    numbers = {str(name): _real(value, str(name)) for name, value in metrics.items()}
    return {name: numbers[name] for name in sorted(numbers) if math.isfinite(numbers[name])}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        texts = {str(key): _plain(item) for key, item in value.items()}
        return {key: texts[key] for key in sorted(texts)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | bool | int) else str(value)


def _pretty(value: Any, margin: str = "\n") -> str:
    if isinstance(value, JointSelection):
        value = vars(value)
    if isinstance(value, Mapping):
        items = [f"{json.dumps(key)}: {_pretty(item, margin + ' ')}" for key, item in value.items()]
    elif isinstance(value, tuple) and value and isinstance(value[0], Snapshot | JointSelection):
        items = [json.dumps(_plain(vars(item)), allow_nan=False) for item in value]
    else:
        return json.dumps(_plain(value), allow_nan=False)
    start, end = "{}" if isinstance(value, Mapping) else "[]"
    return start + ",".join(f"{margin} {item}" for item in items) + margin * bool(items) + end


def _to_json(instance: Any, kind: str, path: PathLike | None, name: str) -> str:
    text = _pretty({"schema": SCHEMA, "kind": kind, **vars(instance)}) + "\n"
    if path is not None:
        write_text(Path(path) / name if Path(path).is_dir() else path, text)
    return text


def _read(path_or_text: PathLike, kind: str, name: str) -> tuple[dict[str, Any], str]:
    if isinstance(path_or_text, str) and path_or_text.lstrip().startswith(("{", "[")):
        text, source = path_or_text.encode("utf-8", "replace"), "the given text"
    else:
        path = Path(path_or_text)
        path = path / name if path.is_dir() else path
        text, source = path.read_bytes(), str(path)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected JSON in {source}, but it is damaged: {error}.") from error
    found = data.get("kind") if isinstance(data, dict) else type(data).__name__
    if found != kind:
        raise ValueError(
            f"Expected the kind {kind} in {source} but got {found}. "
            f"Pass {RECORD_FILE} for a PruningRecord and {SELECTION_FILE} for a JointSelection."
        )
    if data.get("schema") != SCHEMA:
        versions = data.get("versions")
        wrote = versions.get("lightning-jointprune") if isinstance(versions, dict) else None
        raise ValueError(
            f"Expected schema {SCHEMA} in {source} but got schema {data.get('schema')}. Read it "
            f"with lightning-jointprune {wrote or 'in the version that wrote it'}, or a newer one."
        )
    return data, source


def _build(cls: type[D], data: Any, source: str) -> D:
    try:
        known = {item.name: data[item.name] for item in fields(cast(Any, cls)) if item.name in data}
        if "selection" in known:
            known["selection"] = _build(JointSelection, known["selection"], source)
        if "rungs" in known:
            known["rungs"] = [_build(JointSelection, item, source) for item in known["rungs"]]
        if "history" in known:
            known["history"] = [_build(Snapshot, item, source) for item in known["history"]]
        return cls(**known)
    except (TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"Expected a {cls.__name__} in {source} but got: {error}") from error
