"""What the data before the gates say against an answer is said, and nothing where they do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lightning_jointprune.record.confounds import JointInput
from lightning_jointprune.record.evaluation import JointEvaluation
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.report.trust import findings, normalised
from tests.records import evaluated, record_of


def watched(inputs: dict[int, JointInput], **more: Any) -> tuple[PruningRecord, JointEvaluation]:
    """A run that keeps ten of 17 joints, and an evaluation with inputs that differ for some."""
    record = record_of("coco_17", tuple(range(10)))
    names = record.selection.joint_names
    usual = JointInput(1.0, 1.0, 0.0, None)
    seen = {name: inputs.get(number, usual) for number, name in enumerate(names)}
    return record, replace(evaluated(record), inputs=seen, **more)


def test_kept_joints_that_are_seldom_there_are_named() -> None:
    missing = {2: JointInput(1.0, 0.3, 0.0, None), 12: JointInput(1.0, 0.0, 0.0, None)}
    record, evaluation = watched(missing)
    found = {one.level: one for one in findings(record, (), evaluation) if "picture" in one.title}
    assert list(found) == ["check"]
    assert found["check"].title.startswith("1 of the 10 kept joints is undetected")
    assert "right_eye (0.99)." in found["check"].advice  # joint 12 is dropped
    numbered = replace(
        evaluation,
        joint_names=tuple(f"joint_{j}" for j in range(17)),
        inputs={f"joint_{j}": one for j, one in enumerate(evaluation.inputs.values())},
        drop={},
    )
    assert "right_eye (0.99)." in str(findings(record, (), numbered))
    record, evaluation = watched({})
    assert "Every kept joint is there to be seen" in str(findings(record, (), evaluation))


def test_costs_that_go_with_motion_are_said() -> None:
    record, evaluation = watched({j: JointInput(1.0 + j, 1.0, 0.0, None) for j in range(10)})
    found = [one for one in findings(record, (), evaluation) if "how they move" in one.title]
    assert [(one.level, one.title[-5:]) for one in found] == [("check", "1.00.")]
    mixed = {j: JointInput((7.0 * j) % 10, 1.0, 0.0, None) for j in range(10)}
    found = [one for one in findings(record, (), watched(mixed)[1]) if "how they move" in one.title]
    assert [one.level for one in found] == ["note"]
    few = replace(evaluation, drop=dict(list(evaluation.drop.items())[:7]))
    assert "how they move" not in str(findings(record, (), few))


@pytest.mark.parametrize(
    ("found", "level", "said"),
    [
        ({"centred": "frame"}, "check", "centred by all joints of each frame"),
        ({"scaled": "sequence"}, "check", "scaled by all joints of each sequence"),
        ({"centred": "frame", "scaled": "frame"}, "check", "centred and scaled by all joints"),
        ({"origin": 0}, "check", "nose is at 0 in every frame"),
        ({"origin": 5}, "note", "left_shoulder is at 0 in every frame"),
        ({"standardised": True}, "note", "look standardised, all joints together"),
    ],
)
def test_a_normalisation_by_dropped_joints_is_said(
    found: dict[str, Any], level: str, said: str
) -> None:
    record = record_of("coco_17", (5, 7), normalisation=found)
    [finding] = normalised(record)
    assert finding.level == level
    assert said in finding.title
    assert finding in findings(record)


def test_without_a_dropped_joint_a_normalisation_is_no_doubt() -> None:
    record = record_of("coco_17", tuple(range(17)), normalisation={"centred": "frame"})
    assert [one.level for one in normalised(record)] == ["note"]


@pytest.mark.parametrize("found", [{}, {"origin": 99}, {"origin": "nose"}, {"centred": None}])
def test_what_was_not_found_is_not_said(found: dict[str, Any]) -> None:
    assert list(normalised(record_of("coco_17", (5, 7), normalisation=found))) == []
