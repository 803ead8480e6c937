"""Test what to do with the answer: parts to switch off, code that repeats the run, papers."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

import lightning_jointprune
from lightning_jointprune import (
    Fewest,
    Groups,
    HardConcrete,
    JointPruningCallback,
    MetricFloor,
    Price,
    TargetJoints,
)
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.report.usage import callback_code, idle_components, load_code, papers
from lightning_jointprune.skeletons import Skeleton, get_skeleton
from tests.records import HOSTILE, compared, record_of, unnamed


def kept_of(skeleton: str, *prefixes: str) -> PruningRecord:
    names = get_skeleton(skeleton).joints
    kept = tuple(joint for joint, name in enumerate(names) if name.startswith(prefixes))
    return record_of(skeleton, kept)


@pytest.mark.parametrize(
    ("prefixes", "idle"),
    [
        (("left_hand_wrist", "right_hand_wrist", "pose_nose", "face_0"), []),
        (("left_hand_wrist", "right_hand_wrist"), ["Face Landmarker", "Pose Landmarker"]),
        (("pose_nose",), ["Face Landmarker", "Hand Landmarker"]),
        (("face_0", "pose_nose", "left_hand_wrist"), ["right hand is kept"]),
    ],
)
def test_a_part_of_mediapipe_without_a_kept_joint_can_be_switched_off(
    prefixes: tuple[str, ...], idle: list[str]
) -> None:
    said = idle_components(kept_of("mediapipe_holistic", *prefixes))
    assert len(said) == len(idle)
    assert [word for word, sentence in zip(idle, said, strict=True) if word not in sentence] == []


@pytest.mark.parametrize(
    "record",
    [
        record_of("coco_wholebody_133", (0,)),  # not MediaPipe
        record_of("mediapipe_hand", (0,)),  # of one part
        record_of("mediapipe_holistic", ()),  # of nothing
        record_of("mediapipe_holistic", (500,), phase="search"),  # not decided
        unnamed((0.9, 0.1)),
    ],
)
def test_nothing_is_said_where_nothing_is_known(record: PruningRecord) -> None:
    assert idle_components(record) == ()


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_joints": 5},
        {"num_joints": 5, "budget": Price(0.003), "keep": [1], "fill": "mean", "axes": "b t j c"},
        {"num_joints": 5, "budget": 2, "input": 'a"b', "lr": 0.1, "phases": (0.2, 0.7)},
        {"num_joints": 5, "budget": MetricFloor("val_acc", 0.85, mode="max")},
        {"num_joints": 5, "groups": {"a": [0, 1]}, "gate": HardConcrete(temperature=0.5)},
        {"num_joints": 5, "groups": Groups({"a": [0, 1], "b": [2, 3, 4]}, tied=True)},
        {"num_joints": 5, "budget": [4, 2], "drop": [0]},
        {
            "num_joints": 5,
            "groups": {"a": [0, 1]},
            "budget": Price(0.003, groups={"a": 3.0}),
        },
        {"skeleton": "coco_17", "groups": "tied", "budget": TargetJoints(4)},
        {"skeleton": "coco_17", "groups": "hierarchical", "keep": ["nose"], "gate": "stochastic"},
        {"skeleton": Skeleton('my "own"', tuple("abcde"))},
        {"skeleton": Skeleton("a", tuple("abcde"), {"x": (0, 1)}, ((0, 4),)), "groups": "tied"},
    ],
)
def test_the_code_makes_the_callback_of_the_run(arguments: dict[str, Any]) -> None:
    settings = JointPruningCallback(**arguments)._settings
    names = settings.joint_names
    selection = JointSelection((0,), len(names), names, (0.9,) + (0.1,) * (len(names) - 1))
    skeleton = settings.skeleton or Skeleton("none", names)
    own = {} if skeleton.known else {"edges": skeleton.edges, "parts": skeleton.groups}
    name = settings.skeleton and settings.skeleton.name
    record = PruningRecord(selection, skeleton=name, settings=settings.as_plain(), **own)
    code = callback_code(PruningRecord.from_json(record.to_json()))
    assert code is not None
    imported, _, call = code.partition("\n\n")
    scope = {
        name: getattr(lightning_jointprune, name) for name in re.findall(r"[A-Z]\w+", imported)
    }
    again = eval(call, scope)._settings
    assert again.as_plain() == settings.as_plain()
    assert (again.joint_names, again.skeleton) == (names, settings.skeleton)


CURVE = {2: 0.8, 5: 0.9, 17: 0.91}


def test_the_chosen_joints_are_loaded_and_other_rungs_of_a_ladder_by_their_number() -> None:
    record = compared(CURVE, 5)
    assert load_code(record, 5).splitlines()[2:] == [
        'model = load_pruned(MyModel, "best.ckpt")  # sees the kept joints only',
        'kept = PruningRecord.from_json("pruning_record.json").selection.indices',
    ]
    ladder = replace(record, settings={"budget": {"TargetJoints": {"count": [17, 5, 2]}}})
    assert 'load_pruned(MyModel, "best.ckpt", joints=17)  # or another' in load_code(ladder, 5)
    assert load_code(ladder, 2).splitlines()[2:] == [
        'model = load_pruned(MyModel, "best.ckpt", joints=2)  # sees the kept joints only',
        'kept = PruningRecord.from_json("pruning_record.json").selection_of(2).indices',
    ]
    assert "joints=" not in load_code(record_of("coco_17", (0,)), 1)


@pytest.mark.parametrize("known", [True, False])
def test_for_a_number_that_was_not_chosen_the_code_trains_a_model_for_its_joints(
    known: bool,
) -> None:
    record = compared(CURVE, 5)
    asked = JointPruningCallback(skeleton="coco_17", budget=Fewest("val_acc"), axes="b t j c")
    settings = asked._settings.as_plain()
    record = replace(record, settings=settings if known else {"budget": settings["budget"]})
    code = load_code(record, 2)
    assert code.startswith("# The last part of the run trained the model for 5 joints alone.")
    imported, _, call = code.partition("\n\n")
    words = re.findall(r"[A-Z]\w+", imported.splitlines()[-1])
    again = eval(call, {name: getattr(lightning_jointprune, name) for name in words})._settings
    assert again.budget == TargetJoints(2)
    assert again.as_plain()["keep"] == [0, 1]
    if known:
        assert (again.axes, again.skeleton) == ("b t j c", get_skeleton("coco_17"))


@pytest.mark.parametrize(
    "settings", [{}, {"budget": 3}, {"budget": 3, "gate": "x", "from_a_later_version": 1}]
)
def test_settings_that_are_not_all_known_are_no_code(settings: dict[str, Any]) -> None:
    assert callback_code(replace(unnamed((0.9, 0.1)), settings=settings)) is None


@pytest.mark.parametrize(
    "odd", [HOSTILE[0], {}, [], {"GumbelSigmoid": 3}, {"a": {"b": [None]}}, -1]
)
def test_odd_settings_are_only_text(odd: Any) -> None:
    record = replace(
        unnamed((0.9, 0.1)),
        settings=dict.fromkeys(("budget", "gate", "groups", "keep", "tied"), odd),
    )
    assert isinstance(callback_code(record), str)


@pytest.mark.parametrize(
    ("gate", "paper"),
    [
        (None, "1611.00712"),
        ({"GumbelSigmoid": {}}, "1611.01144"),
        ("hard_concrete", "1712.01312"),
        ("HardConcrete(beta=0.67)", "1712.01312"),
        ({"StochasticGate": {"sigma": 0.5}}, "1810.04247"),
        ("stochastic", "1810.04247"),
    ],
)
def test_the_gates_own_paper_is_cited(gate: Any, paper: str) -> None:
    cited = papers(replace(unnamed((0.9, 0.1)), settings={"gate": gate}))
    assert paper in " ".join(source.where for source in cited)
    assert len(cited) == (2 if paper.startswith("1611") else 1)
