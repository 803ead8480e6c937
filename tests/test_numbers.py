"""The report's numbers are the record's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lightning_jointprune.report import plot_history, plot_skeleton
from lightning_jointprune.report.numbers import (
    history_numbers,
    importance_numbers,
    part_numbers,
    skeleton_numbers,
)
from lightning_jointprune.skeletons import get_skeleton
from tests.records import record_of, snapshot, unnamed


def test_joints_are_ranked_by_keep_probability() -> None:
    joints = importance_numbers(unnamed((0.2, 0.99, 0.6)))
    assert [joint.number for joint in joints] == [1, 2, 0]
    assert [joint.probability for joint in joints] == [0.99, 0.6, 0.2]
    assert [joint.kept for joint in joints] == [True, True, False]


def test_near_ties_are_ranked_by_the_mean_over_the_search() -> None:
    history = (
        snapshot(0, "warmup", (0.9, 0.1, 0.9)),  # does not count
        snapshot(10, "search", (0.5, 0.8, 0.4)),
        snapshot(20, "search", (0.7, 0.8, 0.4)),
        snapshot(30, "final", (0.9, 0.1, 0.9)),  # nor does this
    )
    joints = importance_numbers(unnamed((0.991, 0.989, 0.02), history))
    assert [joint.number for joint in joints] == [1, 0, 2]
    assert [joint.mean for joint in joints] == pytest.approx([0.8, 0.6, 0.4])


def test_body_parts_are_the_skeletons_and_count_kept_joints() -> None:
    parts = part_numbers(importance_numbers(record_of("coco_17", (0, 5, 6))))
    counts = {part.name: (part.kept, part.total) for part in parts}
    groups = get_skeleton("coco_17").groups
    assert {name: total for name, (_, total) in counts.items()} == {
        name: len(members) for name, members in groups.items()
    }
    assert (counts["head"], counts["torso"], counts["left_leg"]) == ((1, 5), (2, 4), (0, 2))


def test_body_parts_of_an_unnamed_skeleton_are_the_callbacks_groups() -> None:
    record = replace(unnamed((0.9, 0.1, 0.1)), settings={"groups": {"hand": [0, 1]}})
    parts = part_numbers(importance_numbers(record))
    assert [(part.name, part.kept, part.total) for part in parts] == [
        ("hand", 1, 2),
        ("other", 0, 1),
    ]


@pytest.mark.parametrize("groups", [None, "tied", {"a": 3}, {"a": ["x", 99, -1, None]}])
def test_groups_that_are_no_indices_are_no_body_parts(groups: Any) -> None:
    record = replace(unnamed((0.9, 0.1)), settings={"groups": groups})
    assert [part.name for part in part_numbers(importance_numbers(record))] == [""]


def test_body_parts_look_different() -> None:
    record = record_of("coco_wholebody_133", (0,))
    parts = part_numbers(importance_numbers(record))
    assert len({(part.colour, part.pattern) for part in parts}) == len(parts) == 17


def test_the_drawing_is_the_skeletons_and_tells_kept_edges() -> None:
    skeleton = get_skeleton("coco_17")
    drawing = skeleton_numbers(record_of("coco_17", skeleton.edges[0]))
    assert drawing is not None
    assert tuple(zip(drawing.x, drawing.y, strict=True)) == skeleton.drawing
    assert drawing.kept_edges == skeleton.edges[:1]
    assert drawing.other_edges == skeleton.edges[1:]
    assert [joint.number for joint in drawing.joints] == list(range(17))


@pytest.mark.parametrize("name", [None, "of_a_later_version", "coco_17"])
def test_without_a_skeleton_that_fits_there_is_no_drawing(name: str | None) -> None:
    record = replace(unnamed((0.9, 0.1)), skeleton=name)
    assert skeleton_numbers(record) is None
    assert plot_skeleton(record).data == ()


def test_history_is_ordered_by_rank_and_knows_its_phases() -> None:
    history = (
        snapshot(0, "warmup", (0.9, 0.9), metrics={"val_acc": 0.5, "joint_pruning/ratio": 0.1}),
        snapshot(10, "search", (0.12345, 0.9), price=float("nan")),
        snapshot(30, "final", (0.1, 0.95)),
        snapshot(40, "final", (0.1, 0.95), metrics={"val_acc": 0.123456}),
    )
    numbers = history_numbers(unnamed((0.1, 0.95), history))
    assert numbers is not None
    assert numbers.heat == [[0.9, 0.9, 0.95, 0.95], [0.9, 0.123, 0.1, 0.1]]
    assert numbers.steps == (0, 10, 30, 40)
    assert numbers.phase_names == ("warmup", "search", "final", "final")
    assert numbers.active == [2, 1, 1, 1]
    assert numbers.price == [0.003, None, 0.003, 0.003]
    assert numbers.metrics == {"val_acc": [0.5, None, None, 0.1235]}
    assert numbers.phases == (("warmup", 0, 5), ("search", 5, 20), ("final", 20, 40))


@pytest.mark.parametrize("moments", [0, 1])
def test_there_is_no_history_of_one_moment(moments: int) -> None:
    record = record_of("coco_17", (0,), moments)
    assert history_numbers(record) is None
    assert plot_history(record).data == ()


@pytest.mark.parametrize("name", ["mediapipe_hands", "mediapipe_holistic", "ntu_25"])
def test_each_side_is_labelled_under_its_own_joints(name: str) -> None:
    skeleton = get_skeleton(name)
    drawing = skeleton_numbers(record_of(name, (0,)))
    assert drawing is not None
    assert len(drawing.labels) == 2
    for text, x, y in drawing.labels:
        side, part = text.split()
        ours = [
            skeleton.drawing[joint]
            for group, joints in skeleton.groups.items()
            if group.startswith(f"{side}_{part}")
            for joint in joints
        ]
        assert min(x for x, _ in ours) <= x <= max(x for x, _ in ours)
        assert y == max(y for _, y in ours)


def test_one_hand_has_no_side() -> None:
    drawing = skeleton_numbers(record_of("mediapipe_hand", (0,)))
    assert drawing is not None
    assert drawing.labels == ()
