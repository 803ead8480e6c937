"""Test what to do with the answer: parts to switch off, code that repeats the run, papers."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

import lightning_jointprune
from lightning_jointprune import (
    Groups,
    HardConcrete,
    JointPruningCallback,
    MetricFloor,
    Price,
    TargetJoints,
)
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.report.usage import callback_code, idle_components, papers
from lightning_jointprune.skeletons import Skeleton, get_skeleton
from tests.records import HOSTILE, record_of, unnamed


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
