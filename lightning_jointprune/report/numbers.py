"""Computes the numbers of a report from a record, and knows nothing of how they are drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lightning_jointprune.record.evaluation import JointEvaluation
from lightning_jointprune.record.intervals import Estimate
from lightning_jointprune.record.record import PruningRecord, Snapshot
from lightning_jointprune.record.selection import JointSelection, stand_ins_of
from lightning_jointprune.record.tables import ranked
from lightning_jointprune.report.curve import Frontier, Point, frontier_numbers
from lightning_jointprune.skeletons import Skeleton, get_skeleton

# Okabe and Ito's colours that stand out on white and on black.
COLOURS = ("#1F7FBF", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
# Colours of body parts, each the farthest from those before it in OKLab, without greys: grey is
# what was dropped. More parts than colours repeat them with a pattern.
PART_COLOURS = (
    *COLOURS,
    *("#9122C2", "#6D5D14", "#B41C62", "#3747F2", "#9079FE", "#10C72E"),
    *("#EC5DFA", "#FA0760", "#77568B", "#998B09", "#D21FB7", "#FE8674"),
)
PATTERNS = ("", "/", ".")


class Joint(NamedTuple):
    """Holds a joint as figures and table show it.

    `mean` is its keep probability over the search. `cost` is what dropping it costs, if measured.
    `stand_ins` are the dropped joints that could stand in for it by name, with their R², the best
    first; None if it has none.
    """

    number: int
    name: str
    part: str
    probability: float
    mean: float
    kept: bool
    cost: Estimate | None = None
    stand_ins: Mapping[str, float] | None = None


class Axis(NamedTuple):
    """Holds the title of an axis, its two ends, and a value to compare with."""

    title: str
    span: tuple[float, float]
    line: float


PROBABILITY = Axis("keep probability", (0.0, 1.0), 0.5)


class Bars(NamedTuple):
    """Holds the bars of joints: costs where they were measured, else keep probabilities.

    Attributes:
        axis: of the values.
        values: of the first joints by rank; others have none.
        ends: how far the interval of each value goes below and above it; 0 where none is known.
        decimals: of the values as text.
    """

    axis: Axis
    values: tuple[float, ...]
    ends: tuple[tuple[float, float], ...]
    decimals: int

    @property
    def measured(self) -> bool:
        """Return whether they are costs."""
        return self.axis != PROBABILITY


class Part(NamedTuple):
    """Holds a body part's colour, and how many of its joints are kept."""

    name: str
    kept: int
    total: int
    colour: str
    pattern: str


class Drawing(NamedTuple):
    """Holds a place for each joint, x right and y down, and edges by whether both ends are kept.

    `labels` name the sides, as (text, x, y), since the drawing is seen from the front.
    """

    joints: tuple[Joint, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]
    kept_edges: tuple[tuple[int, int], ...]
    other_edges: tuple[tuple[int, int], ...]
    labels: tuple[tuple[str, float, float], ...]


class Classes(NamedTuple):
    """Holds the accuracy that each class loses when a joint goes.

    Attributes:
        names: the classes, by the most that a class loses at a joint; shape `(classes,)`.
        accuracy: accuracy of each class with all kept joints.
        joints: the kept joints, by number and name, by their cost.
        lost: accuracy that is lost, shape `(classes, joints)`.
    """

    names: tuple[str, ...]
    accuracy: tuple[float, ...]
    joints: tuple[tuple[int, str], ...]
    lost: tuple[tuple[float, ...], ...]

    def dearest(self, place: int) -> tuple[str, float]:
        """Return the joint whose drop costs a class most, and that cost."""
        lost, joint = max(zip(self.lost[place], range(len(self.joints)), strict=True))
        return self.joints[joint][1], lost


class History(NamedTuple):
    """Holds the run over time.

    `heat` has shape (joints by rank, snapshots): keep probabilities, and once the mask is frozen
    the gates themselves, 1 or 0. `phase_names` is the phase of each snapshot, `phases` each phase
    with its first and last step.
    """

    steps: tuple[int, ...]
    epochs: tuple[int, ...]
    phase_names: tuple[str, ...]
    joints: tuple[Joint, ...]
    heat: list[list[float]]
    loss: list[float | None]
    expected: list[float | None]
    active: list[int]
    price: list[float | None]
    temperature: list[float | None]
    metrics: dict[str, list[float | None]]
    phases: tuple[tuple[str, float, float], ...]


class Rung(NamedTuple):
    """Holds a number of joints or a run that a page can show, and the joints as it shows them then.

    Attributes:
        kept: how many joints the model sees.
        value: the metric with them; None where it was not measured.
        joints: all joints by rank, with their keep probabilities when this number was settled.
    """

    kept: int
    value: float | None
    joints: tuple[Joint, ...]


class Numbers(NamedTuple):
    """Holds all that a report shows of a run; None where there is nothing to show."""

    joints: tuple[Joint, ...]
    parts: tuple[Part, ...]
    bars: Bars
    drawing: Drawing | None
    history: History | None
    frontier: Frontier | None
    rungs: tuple[Rung, ...]
    seeds: tuple[Rung, ...]
    classes: Classes | None


def report_numbers(
    record: PruningRecord,
    evaluation: JointEvaluation | None = None,
    points: Iterable[Point] = (),
    seeds: Sequence[PruningRecord] = (),
) -> Numbers:
    """Return the numbers that figures, sketch and tables of one report share.

    Args:
        record: the run.
        evaluation: what its joints are worth.
        points: other values of the record's metric.
        seeds: runs that differ in their seed.

    Raises:
        ValueError: if the evaluation is of other joints.
    """
    if evaluation is not None:
        check_evaluation(record, evaluation)
    joints = importance_numbers(record, evaluation)
    return Numbers(
        joints=joints,
        parts=part_numbers(joints),
        bars=bar_numbers(joints, evaluation),
        drawing=skeleton_numbers(record, joints),
        history=history_numbers(record, joints, evaluation),
        frontier=frontier_numbers(record, points),
        rungs=rung_numbers(record, joints),
        seeds=seed_numbers(record, joints, seeds),
        classes=None if evaluation is None else class_numbers(evaluation),
    )


def skeleton_of(record: PruningRecord) -> Skeleton | None:
    """Return the named skeleton, if it is known and has as many joints."""
    try:
        skeleton = get_skeleton(record.skeleton) if record.skeleton else None
    except ValueError:  # from a version that knows more skeletons
        return None
    return skeleton if skeleton and skeleton.num_joints == record.selection.num_joints else None


def _part_names(record: PruningRecord) -> list[str]:
    """Return the body part of each joint; empty where it is not known."""
    skeleton = skeleton_of(record)
    groups = skeleton.groups if skeleton else record.parts or record.settings.get("groups")
    names = [""] * record.selection.num_joints
    for name, members in groups.items() if isinstance(groups, Mapping) else ():
        for joint in members if isinstance(members, Sequence) else ():
            if isinstance(joint, int) and 0 <= joint < len(names):
                names[joint] = name
    return [name or "other" for name in names] if any(names) else names


def check_evaluation(record: PruningRecord, evaluation: JointEvaluation) -> None:
    """Check that the joints of this run were evaluated.

    Raises:
        ValueError: if they are others, or a joint or class is missing.
    """
    ours, theirs = record.selection, evaluation
    if not is_of(record, evaluation):
        raise ValueError(
            f"Expected an evaluation of the {len(ours.indices)} of {ours.num_joints} joints that "
            f"the run kept but got one of {len(theirs.indices)} of {len(theirs.joint_names)}, or "
            "of others. Evaluate the model of this run: evaluate_joints(load_pruned(...), data)."
        )


def is_of(record: PruningRecord, evaluation: JointEvaluation) -> bool:
    """Return whether an evaluation is of the joints that a run kept, and complete."""
    ours, theirs = record.selection, evaluation
    fit = (ours.num_joints, ours.indices) == (len(theirs.joint_names), theirs.indices)
    known = set(theirs.joint_names) >= set(theirs.drop) >= set(theirs.per_class_drop)
    known = known and set(theirs.inputs) in (set(), set(theirs.joint_names))
    lengths = {len(theirs.per_class), *map(len, theirs.per_class_drop.values())}
    return fit and known and len(lengths) == 1


def costs_of(evaluation: JointEvaluation) -> dict[int, Estimate]:
    """Return what dropping each joint costs, by its number, where that is a finite number."""
    numbers = {name: number for number, name in enumerate(evaluation.joint_names)}
    known = evaluation.drop.items()
    return {numbers[name]: cost for name, cost in known if math.isfinite(cost.value)}


def importance_numbers(
    record: PruningRecord, evaluation: JointEvaluation | None = None
) -> tuple[Joint, ...]:
    """Return the joints by rank: by what dropping them costs if it was measured, see `ranked`."""
    costs = {} if evaluation is None else costs_of(evaluation)
    selection, parts = record.selection, _part_names(record)
    search = [s.keep_probabilities for s in record.history if s.phase == "search"]
    means = [sum(column) / len(search) for column in zip(*search, strict=True)]
    joints = [
        Joint(
            number=index,
            name=name,
            part=parts[index],
            probability=p,
            mean=means[index] if means else p,
            kept=kept,
            cost=costs.get(index),
            stand_ins=selection.stand_ins.get(name),
        )
        for index, (name, p, kept) in enumerate(
            zip(selection.joint_names, selection.keep_probabilities, selection.mask, strict=True)
        )
    ]
    return _ranked(joints)


def _ranked(joints: Sequence[Joint]) -> tuple[Joint, ...]:
    """Return joints, in the order of their numbers, by rank."""
    costs = {joint.number: joint.cost.value for joint in joints if joint.cost is not None}
    return tuple(joints[number] for number in ranked([j.probability for j in joints], costs))


def bar_numbers(joints: Sequence[Joint], evaluation: JointEvaluation | None = None) -> Bars:
    """Return the bars of joints: what dropping each costs, and keep probabilities before that.

    Args:
        joints: by rank, with the costs of the evaluation.
        evaluation: names the metric of the costs.
    """
    costs = [joint.cost for joint in joints if joint.cost is not None]
    if evaluation is None or not costs:
        shares = tuple(short(joint.probability) or 0.0 for joint in joints)
        return Bars(PROBABILITY, shares, ((0.0, 0.0),) * len(shares), 2)
    ends = [
        (0.0, 0.0) if c.low is None or c.high is None else (c.value - c.low, c.high - c.value)
        for c in costs
    ]
    least = min(cost.value - down for cost, (down, _) in zip(costs, ends, strict=True))
    most = max(cost.value + up for cost, (_, up) in zip(costs, ends, strict=True))
    least, most = min(0.0, least), max(1e-3, most)
    room = 0.02 * (most - least)  # so that no end lies on an edge, where rounding would hide it
    axis = Axis(f"cost in {evaluation.metric}", (least - room, most + room), 0.0)
    return Bars(axis, tuple(cost.value for cost in costs), tuple(ends), 3)


def rung_numbers(record: PruningRecord, joints: Sequence[Joint]) -> tuple[Rung, ...]:
    """Return the numbers of joints to choose from on a page, the fewest first; empty without two.

    Args:
        record: the run.
        joints: its `importance_numbers`, which are those of the number that was chosen.
    """
    chosen, found = len(record.selection.indices), []
    rungs = {len(rung.indices): rung for rung in record.rungs}
    for point in record.frontier:
        if point.value is None or point.joints not in rungs:
            continue
        rung = rungs[point.joints]
        stand_ins = stand_ins_of(rung, record.redundancy)
        ranked = _as_kept(joints, rung, stand_ins) if point.joints != chosen else tuple(joints)
        found.append(Rung(point.joints, point.value, ranked))
    known = {rung.kept for rung in found}
    return tuple(found) if len(known) > 1 and chosen in known else ()


def seed_numbers(
    record: PruningRecord, joints: Sequence[Joint], seeds: Sequence[PruningRecord]
) -> tuple[Rung, ...]:
    """Return this run and those of other seeds, to choose from on a page; empty without others.

    Args:
        record: the run.
        joints: its `importance_numbers`.
        seeds: the other runs, of the same joints.
    """
    if not seeds:
        return ()
    runs = [record.selection, *(seed.selection for seed in seeds)]
    shown = [tuple(joints), *(_as_kept(joints, run, run.stand_ins) for run in runs[1:])]
    values = (run.metrics.get(record.selection.metric or "") for run in runs)
    return tuple(map(Rung, (len(run.indices) for run in runs), values, shown))


def _as_kept(
    joints: Sequence[Joint], selection: JointSelection, stand_ins: Mapping[str, Mapping[str, float]]
) -> tuple[Joint, ...]:
    """Return joints by rank as another selection keeps them; costs are of the run's own alone."""
    others = [
        joint._replace(
            probability=selection.keep_probabilities[joint.number],
            kept=selection.mask[joint.number],
            cost=None,
            stand_ins=stand_ins.get(joint.name),
        )
        for joint in sorted(joints, key=lambda joint: joint.number)
    ]
    return _ranked(others)


def part_numbers(joints: Iterable[Joint]) -> tuple[Part, ...]:
    """Return the body parts in the skeleton's order; empty if no joint has a part."""
    members: dict[str, list[bool]] = {}
    for joint in sorted(joints, key=lambda j: j.number):
        members.setdefault(joint.part, []).append(joint.kept)
    looks = itertools.cycle((colour, pattern) for pattern in PATTERNS for colour in PART_COLOURS)
    parts = zip(members.items(), looks, strict=False)
    return tuple(Part(name, sum(kept), len(kept), *look) for (name, kept), look in parts)


def skeleton_numbers(record: PruningRecord, joints: Sequence[Joint]) -> Drawing | None:
    """Return the drawing of the skeleton's name, or else of the mean pose; None without both.

    Args:
        record: the run.
        joints: its `importance_numbers`.
    """
    skeleton, mask = skeleton_of(record), record.selection.mask
    places = skeleton.drawing if skeleton else _spread(record.pose)
    if not places:
        return None
    x, y = zip(*places, strict=True)
    edges = record.edges or (skeleton.edges if skeleton else ())
    kept = tuple(edge for edge in edges if mask[edge[0]] and mask[edge[1]])
    other = tuple(edge for edge in edges if edge not in set(kept))
    labels = _side_labels(skeleton) if skeleton else ()
    by_number = tuple(sorted(joints, key=lambda joint: joint.number))
    return Drawing(by_number, x, y, kept, other, labels)


def _spread(pose: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    """Return two coordinates of a pose, from 0 to at most 1; empty if all are the same."""
    if not pose:
        return ()
    x, y = ([place[axis] for place in pose] for axis in (0, 1))
    size = max(max(x) - min(x), max(y) - min(y))
    if size == 0:
        return ()
    return tuple(((a - min(x)) / size, (b - min(y)) / size) for a, b in zip(x, y, strict=True))


def _side_labels(skeleton: Skeleton) -> tuple[tuple[str, float, float], ...]:
    """Return a label under each hand, or under each arm where there are no hands."""
    for part in ("hand", "arm"):
        labels = []
        for side in ("left", "right"):
            groups = [g for name, g in skeleton.groups.items() if name.startswith(f"{side}_{part}")]
            places = [skeleton.drawing[joint] for group in groups for joint in group]
            if places:
                x, y = zip(*places, strict=True)
                labels.append((f"{side} {part}", (min(x) + max(x)) / 2, max(y)))
        if labels:
            return tuple(labels)
    return ()


def class_numbers(evaluation: JointEvaluation) -> Classes | None:
    """Return what each class loses; None if it was not measured, or no joint is kept."""
    numbers = {name: number for number, name in enumerate(evaluation.joint_names)}
    known = evaluation.class_names
    names = [known[c] if 0 <= c < len(known) else str(c) for c in evaluation.per_class]
    lost = evaluation.per_class_drop
    if not names or not lost:
        return None
    joints = sorted(lost, key=lambda name: (-evaluation.drop[name].value, numbers[name]))
    table = [tuple(lost[joint][place] for joint in joints) for place in range(len(names))]
    order = sorted(range(len(names)), key=lambda place: -max(table[place]))
    accuracy = list(evaluation.per_class.values())
    return Classes(
        tuple(names[place] for place in order),
        tuple(accuracy[place] for place in order),
        tuple((numbers[joint], joint) for joint in joints),
        tuple(table[place] for place in order),
    )


def _phase_spans(history: Sequence[Snapshot]) -> tuple[tuple[str, float, float], ...]:
    """Return phases as (phase, first step, last step), meeting halfway between two snapshots."""
    changes = [(a.step + b.step) / 2 for a, b in itertools.pairwise(history) if a.phase != b.phase]
    borders = [history[0].step, *changes, history[-1].step]
    phases = [phase for phase, _ in itertools.groupby(s.phase for s in history)]
    return tuple(
        (phase, *span) for phase, span in zip(phases, itertools.pairwise(borders), strict=True)
    )


def history_numbers(
    record: PruningRecord, joints: Sequence[Joint], evaluation: JointEvaluation | None = None
) -> History | None:
    """Return the run over time; None if it has fewer than two moments.

    Args:
        record: the run.
        joints: its `importance_numbers`.
        evaluation: adds its values at the end, with the hard mask and with sampled gates.
    """
    history = record.history
    if len(history) < 2:
        return None
    names = {name for s in history for name in s.metrics if not name.startswith("joint_pruning/")}
    metrics = {n: [short(s.metrics.get(n)) for s in history] for n in sorted(names)}
    return History(
        steps=tuple(s.step for s in history),
        epochs=tuple(s.epoch for s in history),
        phase_names=tuple(s.phase for s in history),
        joints=tuple(joints),
        heat=[[_openness(joint, note) for note in history] for joint in joints],
        loss=[short(s.loss) for s in history],
        expected=[short(s.expected_joints) for s in history],
        active=[s.active_joints for s in history],
        price=[short(s.price) for s in history],
        temperature=[short(s.temperature) for s in history],
        metrics=metrics | _at_the_end(evaluation, len(history)),
        phases=_phase_spans(history),
    )


def _openness(joint: Joint, note: Snapshot) -> float:
    """Return the probability that a joint's gate was open at one moment of the run."""
    if note.phase == "final":
        return float(joint.kept)
    return round(note.keep_probabilities[joint.number], 3)


def _at_the_end(evaluation: JointEvaluation | None, moments: int) -> dict[str, list[float | None]]:
    """Return an evaluation's values with both kinds of gates, as those of the last moment."""
    if evaluation is None or evaluation.soft is None:
        return {}
    hard, gain = evaluation.kept.value, evaluation.soft.value
    sampled = hard + gain if evaluation.higher_is_better else hard - gain
    ends = {"hard mask": hard, "sampled gates": sampled}
    return {
        f"{evaluation.metric}, {kind}": [*[None] * (moments - 1), short(value)]
        for kind, value in ends.items()
    }


def short(value: float | None) -> float | None:
    """Return four significant digits of a number, enough for a screen."""
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None
