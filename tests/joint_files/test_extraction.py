"""Test that a plan names the models that kept joints need, and saves no more than measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lightning_jointprune
from lightning_jointprune.joint_files.extraction import COSTS, NAMES, extraction_plan
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.skeletons import get_skeleton

FOLDER = Path(lightning_jointprune.__file__).parent
MEASURED: Any = json.loads((FOLDER / "data" / COSTS).read_text("utf-8"))
HOLISTIC = get_skeleton("mediapipe_holistic").joints


def selection_of(names: Any, skeleton: str = "mediapipe_holistic") -> JointSelection:
    joints = get_skeleton(skeleton).joints
    kept = tuple(n for n, name in enumerate(joints) if name in names)
    return JointSelection(
        kept, len(joints), joints, tuple(float(n in kept) for n in range(len(joints)))
    )


@given(st.sets(st.sampled_from(HOLISTIC), min_size=1, max_size=6))
def test_the_parts_of_the_kept_joints_are_needed_and_no_others(names: set[str]) -> None:
    plan = extraction_plan(selection_of(names))
    assert plan is not None
    assert list(plan.components) == ["pose", "left_hand", "right_hand", "face"]
    for part, kept in plan.components.items():
        assert kept == sum(name.startswith(f"{part}_") for name in names)
    assert set(plan.needed) == {part for part, kept in plan.components.items() if kept}
    assert set(plan.idle) == set(plan.components) - set(plan.needed)
    for part in ("face", "pose"):
        said = any(f"No joint of the {part} is kept" in text for text in plan.idle_sentences())
        assert said == (part in plan.idle)


@given(st.sets(st.sampled_from(HOLISTIC), min_size=1, max_size=6))
def test_landmarkers_of_today_are_named_without_a_figure(names: set[str]) -> None:
    plan = extraction_plan(selection_of(names))
    assert plan is not None
    starts = {"pose": ("pose_",), "hand": ("left_hand_", "right_hand_"), "face": ("face_",)}
    needed = [part for part, begin in starts.items() if any(n.startswith(begin) for n in names)]
    said = " ".join(plan.models["mediapipe"])
    if len(needed) == 3:
        assert said == "holistic_landmarker.task"
    else:
        assert [part for part in starts if f"{part}_landmarker" in said] == needed
    assert plan.models["mediapipe-legacy"] == tuple(NAMES[solution] for solution in plan.solutions)
    text = plan.sentence().partition("MediaPipe 1.x takes ")[2]
    assert text == f"{' and '.join(plan.models['mediapipe'])}, which was not measured."


@pytest.mark.parametrize(
    ("names", "model"),
    [
        (["nose", "left_wrist"], "17 joints"),
        (["left_wrist", "left_heel"], "26 joints"),
        (["left_hand_root"], "133 joints"),
        (["nose", "face-3"], "133 joints"),
    ],
)
def test_smallest_rtmpose_that_has_the_kept_joints_is_named_without_a_figure(
    names: list[str], model: str
) -> None:
    plan = extraction_plan(selection_of(names, "coco_wholebody_133"))
    assert plan is not None
    assert list(plan.components) == ["body", "feet", "face", "left_hand", "right_hand"]
    assert sum(plan.components.values()) == len(names)
    (person, found) = plan.models["rtmpose"]
    assert (person, model in found) == ("a person detector", True)
    assert (plan.solutions, plan.share, plan.saving, plan.idle_sentences()) == ((), None, None, ())
    assert "%" not in plan.sentence()
    told = "It finds all parts at once." if model == "133 joints" else "saves was not measured."
    assert plan.sentence().endswith(told)


def test_parts_of_coco_wholebody_are_where_its_skeleton_has_them() -> None:
    joints = get_skeleton("coco_wholebody_133").joints
    for first, part in (
        ("left_big_toe", "feet"),
        ("face-0", "face"),
        ("left_hand_root", "left_hand"),
    ):
        plan = extraction_plan(selection_of([first], "coco_wholebody_133"))
        assert plan is not None
        assert plan.needed == (part,)
        plan = extraction_plan(
            selection_of([joints[joints.index(first) - 1]], "coco_wholebody_133")
        )
        assert plan is not None
        assert plan.needed != (part,)


@pytest.mark.parametrize(
    ("names", "solutions"),
    [
        (["pose_nose"], ["pose"]),
        (["left_hand_wrist", "right_hand_wrist"], ["hands"]),
        (["face_0"], ["face"]),
        (["pose_nose", "right_hand_wrist"], ["pose", "hands"]),
    ],
)
def test_each_part_is_found_by_its_own_solution_at_the_share_that_was_measured(
    names: list[str], solutions: list[str]
) -> None:
    plan = extraction_plan(selection_of(names))
    assert plan is not None
    assert list(plan.solutions) == solutions
    shares = [MEASURED["of_holistic"][solution]["median"] for solution in solutions]
    assert plan.share == pytest.approx(sum(shares))
    assert plan.saving == pytest.approx(1 - sum(shares))
    assert f"{100 * plan.share:.0f} % of Holistic's" in plan.sentence()
    assert MEASURED["mediapipe"] in plan.sentence()


def test_where_the_parts_cost_as_much_holistic_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    dear = {**MEASURED, "of_holistic": {n: {"median": 0.4} for n in ("pose", "hands", "face")}}
    monkeypatch.setattr("lightning_jointprune.joint_files.extraction._costs", lambda: dear)
    plan = extraction_plan(selection_of(["pose_nose", "left_hand_wrist", "face_0"]))
    assert plan is not None
    assert (plan.solutions, plan.saving) == (("holistic",), 0)
    assert plan.sentence() == (
        "Kept joints by part: pose 1, left hand 1, right hand 0, face 1. To extract them, run "
        "MediaPipe's Holistic. Nothing is saved. MediaPipe 1.x takes holistic_landmarker.task, "
        "which was not measured."
    )


def test_a_skeleton_has_the_parts_that_it_has_and_others_have_no_plan() -> None:
    plan = extraction_plan(selection_of(["left_hand_wrist"], "mediapipe_hands"))
    assert plan is not None
    assert plan.components == {"left_hand": 1, "right_hand": 0}
    assert extraction_plan(selection_of(["nose"], "coco_17")) is None
    assert extraction_plan(selection_of([])) is None


def test_what_was_measured_is_a_share_of_holistic() -> None:
    for share in MEASURED["of_holistic"].values():
        assert 0 < share["low"] <= share["median"] <= share["high"] <= 1
    assert MEASURED["found"]["pose"]["pose_landmarks"] == 1
