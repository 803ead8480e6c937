"""Test that a plan names the parts that kept joints are in, and saves no more than measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lightning_jointprune
from lightning_jointprune.joint_files.mediapipe import COSTS, extraction_plan
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
    monkeypatch.setattr("lightning_jointprune.joint_files.mediapipe._costs", lambda: dear)
    plan = extraction_plan(selection_of(["pose_nose", "left_hand_wrist", "face_0"]))
    assert plan is not None
    assert (plan.solutions, plan.saving) == (("holistic",), 0)
    assert plan.sentence().endswith("run MediaPipe's Holistic. Nothing is saved.")


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
