"""The result of an evaluation: its intervals, its table, and JSON in and out."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from lightning_jointprune.confounds import JointInput, confounds
from lightning_jointprune.evaluation import Estimate, JointEvaluation, difference, proportion

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


def rights(count: int, of: int) -> torch.Tensor:
    return torch.arange(of) < count


def test_wilsons_interval_is_that_of_his_formula() -> None:
    # Worked by hand for 8 of 10: (0.8 + z²/20 ± z √(0.016 + z²/400)) / (1 + z²/10).
    assert proportion(rights(8, 10)) == pytest.approx((0.8, 0.49016, 0.94332), abs=1e-4)


@pytest.mark.parametrize("count", [0, 7])
def test_an_interval_at_the_end_of_the_scale_has_a_width(count: int) -> None:
    value, low, high = proportion(rights(count, 7))
    assert 0.0 <= low <= value <= high <= 1.0
    assert high - low > 0.1


def test_a_paired_difference_has_the_interval_of_bonett_and_price() -> None:
    # 5 of 48 only right before, 1 only right after: p = 6/50, q = 2/50.
    first, second = rights(20, 48), torch.cat([torch.zeros(5), torch.ones(16), torch.zeros(27)])
    half = 1.959964 * math.sqrt((0.12 + 0.04 - 0.08**2) / 50)
    found = difference(first, second.bool())
    assert found == pytest.approx((4 / 48, 0.08 - half, 0.08 + half), abs=1e-6)


def test_no_change_is_known_better_from_more_samples() -> None:
    few, many = (difference(rights(n, n), rights(n, n)) for n in (10, 1000))
    assert few.value == many.value == 0.0
    assert few.low < many.low < 0.0 < many.high < few.high


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
