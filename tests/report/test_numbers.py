"""Test that the report's numbers are those of the record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lightning_jointprune.record.confounds import JointInput
from lightning_jointprune.record.evaluation import JointEvaluation
from lightning_jointprune.record.intervals import Estimate
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.report import plot_history, plot_skeleton
from lightning_jointprune.report.numbers import (
    Drawing,
    History,
    bar_numbers,
    check_evaluation,
    class_numbers,
    history_numbers,
    importance_numbers,
    part_numbers,
    report_numbers,
    rung_numbers,
    skeleton_numbers,
)
from lightning_jointprune.skeletons import get_skeleton
from tests.records import compared, evaluated, record_of, snapshot, unnamed


def drawing_of(record: PruningRecord) -> Drawing | None:
    return skeleton_numbers(record, importance_numbers(record))


def history_of(record: PruningRecord, worth: JointEvaluation | None = None) -> History | None:
    return history_numbers(record, importance_numbers(record, worth), worth)


def test_every_number_of_joints_that_was_measured_has_its_own_joints_and_ranks() -> None:
    record = compared({2: 0.8, 3: None, 5: 0.9, 17: 0.91}, 5)
    odd = replace(record.rungs[-1], indices=(4, 9), keep_probabilities=(*(0.1,) * 9, *(0.7,) * 8))
    record = replace(record, rungs=(*record.rungs[:-1], odd))
    ranked = importance_numbers(record, evaluated(record))
    few, chosen, most = rung_numbers(record, ranked)
    assert [(rung.kept, rung.value) for rung in (few, chosen, most)] == [
        (2, 0.8),
        (5, 0.9),
        (17, 0.91),
    ]
    assert chosen.joints == ranked
    assert {joint.number for joint in few.joints if joint.kept} == {4, 9}
    assert [joint.number for joint in few.joints] == [*range(9, 17), *range(9)]
    assert [joint.probability for joint in few.joints] == [0.7] * 8 + [0.1] * 9
    assert {joint.cost for joint in few.joints} == {None}
    assert all(joint.kept for joint in most.joints)


@pytest.mark.parametrize(
    "record",
    [
        record_of("coco_17", (0, 1)),
        compared({2: None, 5: 0.9, 17: None}, 5),
        compared({2: 0.8, 5: None, 17: 0.9}, 5),
    ],
)
def test_without_measured_numbers_there_is_nothing_to_choose_from(record: PruningRecord) -> None:
    assert rung_numbers(record, importance_numbers(record)) == ()


def test_a_joint_has_the_stand_ins_of_the_number_that_is_shown() -> None:
    record = compared({1: 0.8, 3: 0.9}, 3)
    rows = [[0.0] * 17 for _ in range(17)]
    rows[0][2], rows[0][5] = 0.9, 0.7
    selection = replace(record.selection, stand_ins={"nose": {"left_shoulder": 0.7}})
    numbers = report_numbers(replace(record, selection=selection, redundancy=rows))
    few, many = numbers.rungs
    assert few.joints[0].stand_ins == {"right_eye": 0.9, "left_shoulder": 0.7}
    assert numbers.joints[0].stand_ins == many.joints[0].stand_ins == {"left_shoulder": 0.7}
    assert {joint.stand_ins for joint in few.joints[1:]} == {None}


def test_joints_are_ranked_by_keep_probability() -> None:
    joints = importance_numbers(unnamed((0.2, 0.99, 0.6)))
    assert [joint.number for joint in joints] == [1, 2, 0]
    assert [joint.probability for joint in joints] == [0.99, 0.6, 0.2]
    assert [joint.kept for joint in joints] == [True, True, False]


def test_ranks_are_those_of_the_table_in_the_terminal() -> None:
    values = (0.9914, 0.9912, 0.5, 0.9914, 0.02)
    joints = importance_numbers(unnamed(values))
    lines = unnamed(values).selection.summary(80).splitlines()[3:]
    assert [joint.number for joint in joints] == [int(line.split("|")[0]) for line in lines]
    assert [joint.number for joint in joints] == [0, 3, 1, 2, 4]


def test_near_ties_are_ranked_as_they_are_shown_and_know_their_mean_over_the_search() -> None:
    history = (
        snapshot(0, "warmup", (0.9, 0.1, 0.9)),  # does not count
        snapshot(10, "search", (0.5, 0.8, 0.4)),
        snapshot(20, "search", (0.7, 0.8, 0.4)),
        snapshot(30, "final", (0.9, 0.1, 0.9)),  # nor does this
    )
    joints = importance_numbers(unnamed((0.991, 0.989, 0.02), history))
    assert [joint.number for joint in joints] == [0, 1, 2]
    assert [joint.mean for joint in joints] == pytest.approx([0.6, 0.8, 0.4])


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
    assert len({part.colour for part in parts}) == len(parts) == 17
    for part in parts:  # no colour is near grey, which is what was dropped
        shades = [int(part.colour[place : place + 2], 16) for place in (1, 3, 5)]
        assert max(shades) - min(shades) > 48


def test_more_parts_than_colours_differ_by_a_pattern() -> None:
    record = replace(unnamed((0.9,) * 40), settings={"groups": {f"g{j}": [j] for j in range(40)}})
    parts = part_numbers(importance_numbers(record))
    assert len({(part.colour, part.pattern) for part in parts}) == len(parts) == 40


def test_the_drawing_is_the_skeletons_and_tells_kept_edges() -> None:
    skeleton = get_skeleton("coco_17")
    drawing = drawing_of(record_of("coco_17", skeleton.edges[0]))
    assert drawing is not None
    assert tuple(zip(drawing.x, drawing.y, strict=True)) == skeleton.drawing
    assert drawing.kept_edges == skeleton.edges[:1]
    assert drawing.other_edges == skeleton.edges[1:]
    assert [joint.number for joint in drawing.joints] == list(range(17))


def test_the_costs_of_an_evaluation_are_those_of_the_joints() -> None:
    record = record_of("coco_17", (3, 10))
    joints = importance_numbers(record, evaluated(record))
    costs = {joint.number: joint.cost for joint in joints if joint.cost is not None}
    assert costs == {3: pytest.approx((0.1, 0.05, 0.15)), 10: pytest.approx((0.2, 0.15, 0.25))}
    numbered = replace(evaluated(record), joint_names=tuple(f"joint_{j}" for j in range(17)))
    numbered = replace(numbered, drop={"joint_10": Estimate(0.5)}, per_class_drop={}, per_class={})
    check_evaluation(record, numbered)  # without names, `evaluate_joints` numbers them
    joints = importance_numbers(record, numbered)
    assert [(joint.number, joint.cost) for joint in joints if joint.cost] == [
        (10, (0.5, None, None))
    ]


def test_ranks_are_by_cost_once_that_was_measured() -> None:
    record = record_of("coco_17", (3, 10, 12))
    names = record.selection.joint_names
    drop = {names[3]: 0.01, names[10]: -0.02, names[12]: 0.3}
    worth = replace(evaluated(record), drop={n: Estimate(c) for n, c in drop.items()})
    joints = importance_numbers(record, worth)
    assert [joint.number for joint in joints[:4]] == [12, 3, 10, 0]
    bars = bar_numbers(joints, worth)
    assert bars.measured
    assert bars.values == (0.3, 0.01, -0.02)
    assert bars.axis.span == pytest.approx((-0.0264, 0.3064))
    assert bars.axis.title == "cost in accuracy"
    unknown = replace(worth, drop=dict.fromkeys(drop, Estimate(float("nan"))))
    assert not bar_numbers(importance_numbers(record, unknown), unknown).measured
    assert not bar_numbers(importance_numbers(record)).measured


def test_classes_are_ordered_by_what_they_lose_and_joints_by_what_they_cost() -> None:
    record = record_of("coco_17", (3, 10))
    numbers = class_numbers(evaluated(record))
    assert numbers is not None
    names = get_skeleton("coco_17").joints
    assert numbers.names == ("2", "1", "0")
    assert numbers.accuracy == pytest.approx((0.7, 0.8, 0.9))
    assert numbers.joints == ((10, names[10]), (3, names[3]))
    assert numbers.lost[0] == pytest.approx((0.2, 0.1))
    assert numbers.lost[2] == pytest.approx((0.2 / 3, 0.1 / 3))
    assert numbers.dearest(0) == (names[10], pytest.approx(0.2))


def test_classes_have_their_names_where_these_are_known() -> None:
    evaluation = replace(evaluated(record_of("coco_17", (3,))), class_names=("hello", "thanks"))
    numbers = class_numbers(evaluation)
    assert numbers is not None
    assert numbers.names == ("2", "thanks", "hello")


def test_without_classes_there_are_none() -> None:
    evaluation = replace(evaluated(record_of("coco_17", (3,))), per_class={}, per_class_drop={})
    assert class_numbers(evaluation) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"indices": (3, 9)},
        {"joint_names": ("a", "b")},
        {"drop": {"tail": Estimate(0.1)}},
        {"per_class": {0: 1.0}},
        {"inputs": {"nose": JointInput(1.0, 1.0, 0.0, None)}},
    ],
)
def test_an_evaluation_of_other_joints_is_refused(changes: dict[str, Any]) -> None:
    record = record_of("coco_17", (3, 10))
    with pytest.raises(ValueError, match="Expected an evaluation of the 2 of 17 joints that the r"):
        check_evaluation(record, replace(evaluated(record), **changes))


def test_an_unnamed_skeleton_is_drawn_at_its_mean_pose_in_its_own_proportions() -> None:
    pose = ((10.0, 5.0, 1.0), (14.0, 5.0, 2.0), (12.0, 13.0, 3.0))
    record = replace(unnamed((0.9, 0.8, 0.1)), pose=pose, edges=((0, 1), (1, 2)))
    drawing = drawing_of(record)
    assert drawing is not None
    assert drawing.x == (0.0, 0.5, 0.25)
    assert drawing.y == (0.0, 0.0, 1.0)
    assert (drawing.kept_edges, drawing.other_edges) == (((0, 1),), ((1, 2),))
    assert drawing.labels == ()
    assert len(plot_skeleton(record).data[-1].x) == 2


def test_of_a_pose_in_one_place_there_is_no_drawing() -> None:
    assert drawing_of(replace(unnamed((0.9, 0.1)), pose=((1.0, 2.0),) * 2)) is None


def test_a_named_skeleton_is_drawn_by_its_own_drawing() -> None:
    record = record_of("coco_17", (0,))
    posed = replace(record, pose=tuple((float(j), 0.0) for j in range(17)))
    assert drawing_of(posed) == drawing_of(record)


@pytest.mark.parametrize("name", [None, "of_a_later_version", "coco_17"])
def test_without_a_skeleton_that_fits_there_is_no_drawing(name: str | None) -> None:
    record = replace(unnamed((0.9, 0.1)), skeleton=name)
    assert drawing_of(record) is None
    assert plot_skeleton(record).data == ()


def test_history_is_ordered_by_rank_and_knows_its_phases() -> None:
    history = (
        snapshot(0, "warmup", (0.9, 0.9), metrics={"val_acc": 0.5, "joint_pruning/ratio": 0.1}),
        snapshot(10, "search", (0.12345, 0.9), price=float("nan"), loss=2.34567),
        snapshot(30, "final", (0.1, 0.95)),
        snapshot(40, "final", (0.1, 0.95), metrics={"val_acc": 0.123456}),
    )
    numbers = history_of(unnamed((0.1, 0.95), history))
    assert numbers is not None
    assert numbers.heat == [[0.9, 0.9, 1.0, 1.0], [0.9, 0.123, 0.0, 0.0]]
    assert numbers.steps == (0, 10, 30, 40)
    assert numbers.phase_names == ("warmup", "search", "final", "final")
    assert numbers.active == [2, 1, 1, 1]
    assert numbers.loss == [None, 2.346, None, None]
    assert numbers.price == [0.003, None, 0.003, 0.003]
    assert numbers.metrics == {"val_acc": [0.5, None, None, 0.1235]}
    assert numbers.phases == (("warmup", 0, 5), ("search", 5, 20), ("final", 20, 40))


@pytest.mark.parametrize("moments", [0, 1])
def test_there_is_no_history_of_one_moment(moments: int) -> None:
    record = record_of("coco_17", (0,), moments)
    assert history_of(record) is None
    assert plot_history(record).data == ()


@pytest.mark.parametrize("name", ["mediapipe_hands", "mediapipe_holistic", "ntu_25"])
def test_each_side_is_labelled_under_its_own_joints(name: str) -> None:
    skeleton = get_skeleton(name)
    drawing = drawing_of(record_of(name, (0,)))
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
    drawing = drawing_of(record_of("mediapipe_hand", (0,)))
    assert drawing is not None
    assert drawing.labels == ()


@pytest.mark.parametrize(("more_is_better", "sampled"), [(True, 0.85), (False, 0.95)])
def test_an_evaluation_adds_the_metric_under_both_kinds_of_gates_at_the_end(
    more_is_better: bool, sampled: float
) -> None:
    record = record_of("coco_17", (0, 1))
    worth = replace(evaluated(record), soft=Estimate(-0.05), higher_is_better=more_is_better)
    numbers = history_of(record, worth)
    assert numbers is not None
    assert numbers.metrics["accuracy, hard mask"] == [None, None, None, 0.9]
    assert numbers.metrics["accuracy, sampled gates"] == [None, None, None, sampled]
    without = history_of(record, evaluated(record))
    assert without is not None
    assert without._replace(joints=importance_numbers(record)) == history_of(record)
