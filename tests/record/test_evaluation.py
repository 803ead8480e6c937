"""An evaluation prints its table, and JSON gives back what went in."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from lightning_jointprune.record.confounds import JointInput, confounds
from lightning_jointprune.record.evaluation import JointEvaluation
from lightning_jointprune.record.intervals import Estimate
from lightning_jointprune.skeletons import get_skeleton

EVALUATION = JointEvaluation(
    joint_names=("wrist", "thumb", "[index]"),
    indices=(0, 2),
    metric="accuracy",
    samples=40,
    kept=Estimate(0.9, 0.8, 0.95),
    drop={"wrist": Estimate(0.0), "[index]": Estimate(0.25, 0.125, 0.375)},
    add={"thumb": Estimate(-0.05, -0.1, 0.0)},
    permute={"wrist": Estimate(0.0, -0.1, 0.1), "[index]": Estimate(0.125, 0.0, 0.25)},
    groups={"hand": Estimate(0.5, 0.375, 0.625)},
    per_class={0: 1.0, 7: 0.8},
    per_class_drop={"wrist": (0.0, 0.0), "[index]": (0.125, 0.375)},
    soft=Estimate(-0.025, -0.1, 0.05),
    inputs={
        "wrist": JointInput(0.25, 1.0, 0.0, 0.0),
        "thumb": JointInput(0.125, 1.0, 0.0, 0.75),
        "[index]": JointInput(0.5, 0.25, 0.0, None),
    },
    class_names=("yes", "no"),
    per_signer={"ann": Estimate(1.0, 0.8, 1.0)},
)


def test_json_gives_back_what_was_written(tmp_path: Path) -> None:
    assert JointEvaluation.from_json(EVALUATION.to_json()) == EVALUATION
    EVALUATION.to_json(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["joint_evaluation.json"]
    assert JointEvaluation.from_json(tmp_path) == EVALUATION
    EVALUATION.to_json(tmp_path / "new" / "a.json")
    assert JointEvaluation.from_json(tmp_path / "new" / "a.json") == EVALUATION


def test_an_evaluation_without_sampled_gates_and_inputs_is_read() -> None:
    data = json.loads(EVALUATION.to_json())
    del data["soft"], data["inputs"]
    expected = dataclasses.replace(EVALUATION, soft=None, inputs={})
    assert JointEvaluation.from_json(json.dumps(data)) == expected
    assert JointEvaluation.from_json(expected.to_json()) == expected


def test_importance_is_compared_with_the_inputs() -> None:
    found = EVALUATION.confounds({"wrist": 0.9, "thumb": 0.1, "[index]": 0.95})
    assert found == confounds(
        {"wrist": 0.9, "thumb": 0.1, "[index]": 0.95}, EVALUATION.inputs, ["wrist", "[index]"]
    )
    assert found.motion == 1.0
    assert found.phantoms == ("[index]",)
    assert EVALUATION.confounds().joints == 2


@pytest.mark.parametrize(
    ("evaluation", "importance"),
    [
        (EVALUATION, {"elbow": 1.0}),
        (dataclasses.replace(EVALUATION, inputs={}), None),
        (dataclasses.replace(EVALUATION, drop={}, permute={}), None),
    ],
)
def test_what_was_not_measured_is_not_compared(
    evaluation: JointEvaluation, importance: dict[str, float] | None
) -> None:
    with pytest.raises(ValueError, match="Expected the importance of joints that were measured"):
        evaluation.confounds(importance)


def test_a_value_that_is_not_finite_is_null() -> None:
    text = JointEvaluation(("a",), (0,), "loss", 1, Estimate(math.inf)).to_json()
    assert json.loads(text)["kept"] == [None, None, None]
    assert math.isnan(JointEvaluation.from_json(text).kept.value)


@pytest.mark.parametrize(
    "changes",
    [{"schema": 2}, {"kind": "joint_selection"}, {"drop": {"wrist": [1.0]}}, {"kept": None}],
)
def test_what_is_no_evaluation_is_refused(changes: dict[str, object]) -> None:
    text = json.dumps({**json.loads(EVALUATION.to_json()), **changes})
    with pytest.raises(ValueError, match="Expected a joint_evaluation of schema 1 in the given"):
        JointEvaluation.from_json(text)


def test_text_that_is_damaged_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a joint_evaluation"):
        JointEvaluation.from_json("{")


def test_the_table_begins_with_the_joint_that_costs_most() -> None:
    lines = EVALUATION.summary(120).splitlines()
    assert lines[0] == "accuracy 0.900 [0.800, 0.950] on 40 samples, 2 of 3 joints kept"
    assert [line.split("|")[0].strip() for line in lines[3:]] == [
        "[index]",
        "wrist",
        "thumb",
        "group hand",
    ]
    assert [cell.strip() for cell in lines[3].split("|")] == [
        "[index]",
        "0.250 [0.125, 0.375]",
        "0.375 (7)",
        "0.125 [0.000, 0.250]",
        "",
    ]
    assert str(EVALUATION).splitlines()[0] == lines[0]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_table_breaks_no_name_and_has_no_empty_column(width: int) -> None:
    names = get_skeleton("mediapipe_hands").joints
    costs = dict.fromkeys(names, Estimate(0.25, 0.125, 0.375))
    evaluation = JointEvaluation(names, (*range(42),), "accuracy", 40, Estimate(0.9), costs)
    _, head, _, *rows = evaluation.summary(width).splitlines()
    assert [title.strip() for title in head.split("|")] == ["joint", "drop costs"]
    assert [row.split("|")[0].strip() for row in rows] == list(names)
    more = dataclasses.replace(evaluation, permute=costs, add=costs)
    shown = {row.split("|")[0].strip() for row in more.summary(width).splitlines()[3:-1]}
    assert shown - {"joint", ""} - {row for row in shown if set(row) <= {"-", "+"}} == set(names)


@pytest.mark.parametrize(
    ("width", "intervals"),
    [(120, (True, True, True)), (95, (True, True, False)), (84, (True, False, False))],
)
def test_a_narrow_table_has_a_line_for_each_joint_and_fewer_intervals(
    width: int, intervals: tuple[bool, ...]
) -> None:
    names = get_skeleton("mediapipe_hands").joints
    costs = dict.fromkeys(names, Estimate(0.25, 0.125, 0.375))
    evaluation = JointEvaluation(
        names, (*range(42),), "accuracy", 40, Estimate(0.9), costs, costs, costs
    )
    rows = [line for line in evaluation.summary(width).splitlines() if "|" in line][1:]
    assert len(rows) == 2 * len(names)  # of the same joints, once kept and once with what they gain
    for row in rows:
        assert tuple("[" in cell for cell in row.split("|")[1:]) == intervals
    assert ("wider terminal" in evaluation.summary(width)) == (not all(intervals))
