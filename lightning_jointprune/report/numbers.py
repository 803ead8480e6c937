"""A record to the numbers of its report; nothing here knows how they are drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lightning_jointprune.record import PruningRecord, Snapshot
from lightning_jointprune.skeletons import Skeleton, get_skeleton

# Okabe and Ito's colours, those to be told from white and black alike; then with a pattern.
COLOURS = ("#1F7FBF", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C")
PATTERNS = ("", "/", ".")


class Joint(NamedTuple):
    """One joint as figures and table show it; `mean` is its keep probability over the search."""

    number: int
    name: str
    part: str
    probability: float
    mean: float
    kept: bool


class Part(NamedTuple):
    """One body part: its colour, and how many of its joints are kept."""

    name: str
    kept: int
    total: int
    colour: str
    pattern: str


class Drawing(NamedTuple):
    """Where each joint is, x to the right and y down, and the edges by whether both ends stay.

    `labels` say which side is which, as (text, x, y): what is drawn is seen from the front.
    """

    joints: tuple[Joint, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]
    kept_edges: tuple[tuple[int, int], ...]
    other_edges: tuple[tuple[int, int], ...]
    labels: tuple[tuple[str, float, float], ...]


class History(NamedTuple):
    """The run over time; `heat` has shape (joints by rank, snapshots), None is not known.

    `phase_names` is the phase of each snapshot, `phases` each phase with its first and last step.
    """

    steps: tuple[int, ...]
    epochs: tuple[int, ...]
    phase_names: tuple[str, ...]
    joints: tuple[Joint, ...]
    heat: list[list[float]]
    expected: list[float | None]
    active: list[int]
    price: list[float | None]
    temperature: list[float | None]
    metrics: dict[str, list[float | None]]
    phases: tuple[tuple[str, float, float], ...]


def skeleton_of(record: PruningRecord) -> Skeleton | None:
    """The named skeleton, if it is known and has as many joints."""
    try:
        skeleton = get_skeleton(record.skeleton) if record.skeleton else None
    except ValueError:  # from a version that knows more skeletons
        return None
    return skeleton if skeleton and skeleton.num_joints == record.selection.num_joints else None


def _part_names(record: PruningRecord) -> list[str]:
    """The body part of each joint; empty where it is not known."""
    skeleton, groups = skeleton_of(record), record.settings.get("groups")
    if skeleton is not None:
        groups = skeleton.groups
    names = [""] * record.selection.num_joints
    for name, members in groups.items() if isinstance(groups, Mapping) else ():
        for joint in members if isinstance(members, Sequence) else ():
            if isinstance(joint, int) and 0 <= joint < len(names):
                names[joint] = name
    return [name or "other" for name in names] if any(names) else names


def importance_numbers(record: PruningRecord) -> tuple[Joint, ...]:
    """The joints by rank: keep probability to two decimals, then its mean over the search."""
    selection, parts = record.selection, _part_names(record)
    search = [s.keep_probabilities for s in record.history if s.phase == "search"]
    means = [sum(column) / len(search) for column in zip(*search, strict=True)]
    joints = [
        Joint(index, name, parts[index], p, means[index] if means else p, kept)
        for index, (name, p, kept) in enumerate(
            zip(selection.joint_names, selection.keep_probabilities, selection.mask, strict=True)
        )
    ]
    return tuple(sorted(joints, key=lambda j: (-round(j.probability, 2), -j.mean, j.number)))


def part_numbers(joints: Iterable[Joint]) -> tuple[Part, ...]:
    """The body parts in the skeleton's order; empty if no joint has one."""
    members: dict[str, list[bool]] = {}
    for joint in sorted(joints, key=lambda j: j.number):
        members.setdefault(joint.part, []).append(joint.kept)
    looks = itertools.cycle((colour, pattern) for pattern in PATTERNS for colour in COLOURS)
    parts = zip(members.items(), looks, strict=False)
    return tuple(Part(name, sum(kept), len(kept), *look) for (name, kept), look in parts)


def skeleton_numbers(record: PruningRecord) -> Drawing | None:
    """What `plot_skeleton` draws; None if the joints are of no skeleton known by name."""
    skeleton, mask = skeleton_of(record), record.selection.mask
    if skeleton is None:
        return None
    joints = sorted(importance_numbers(record), key=lambda j: j.number)
    x, y = zip(*skeleton.drawing, strict=True)
    edges = record.edges or skeleton.edges
    kept = tuple(edge for edge in edges if mask[edge[0]] and mask[edge[1]])
    other = tuple(edge for edge in edges if edge not in set(kept))
    return Drawing(tuple(joints), x, y, kept, other, _side_labels(skeleton))


def _side_labels(skeleton: Skeleton) -> tuple[tuple[str, float, float], ...]:
    """A label under each hand, or under each arm where there are no hands."""
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


def _phase_spans(history: Sequence[Snapshot]) -> tuple[tuple[str, float, float], ...]:
    """Phases as (phase, first step, last step); they meet halfway between two snapshots."""
    changes = [(a.step + b.step) / 2 for a, b in itertools.pairwise(history) if a.phase != b.phase]
    borders = [history[0].step, *changes, history[-1].step]
    phases = [phase for phase, _ in itertools.groupby(s.phase for s in history)]
    return tuple(
        (phase, *span) for phase, span in zip(phases, itertools.pairwise(borders), strict=True)
    )


def history_numbers(record: PruningRecord) -> History | None:
    """The run over time; None if it has fewer than two moments."""
    history, joints = record.history, importance_numbers(record)
    if len(history) < 2:
        return None
    names = {name for s in history for name in s.metrics if not name.startswith("joint_pruning/")}
    return History(
        steps=tuple(s.step for s in history),
        epochs=tuple(s.epoch for s in history),
        phase_names=tuple(s.phase for s in history),
        joints=joints,
        heat=[[round(s.keep_probabilities[j.number], 3) for s in history] for j in joints],
        expected=[short(s.expected_joints) for s in history],
        active=[s.active_joints for s in history],
        price=[short(s.price) for s in history],
        temperature=[short(s.temperature) for s in history],
        metrics={n: [short(s.metrics.get(n)) for s in history] for n in sorted(names)},
        phases=_phase_spans(history),
    )


def short(value: float | None) -> float | None:
    """Four significant digits, enough for a screen."""
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None
