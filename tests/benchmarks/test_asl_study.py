"""benchmarks/asl_study.py: its runs, and what its table says of their results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import asl_study
from benchmarks.asl_study import COUNTS, EACH, ENCODERS, JOINTS, LADDER, Plan, part_of
from benchmarks.shared.data import Words, standardised
from benchmarks.shared.joint_data import PARTS
from benchmarks.shared.store import Store, code_state
from benchmarks.shared.study_models import train_and_score
from tests.runs import SHORT_RUNS

pytestmark = SHORT_RUNS


@pytest.fixture
def words() -> Words:
    """Two words that twenty joints of 75 tell apart."""
    rng = np.random.default_rng(0)
    y = np.arange(96) % 2
    x = rng.standard_normal((96, 8, JOINTS, 3), dtype=np.float32)
    x[y == 1, :, :20] += 3.0
    return Words(*standardised(x[:64], y[:64], x[64:], y[64:]), ("",) * JOINTS, 2)


@pytest.mark.parametrize("encoder", ["gru", "st-gcn"])
def test_every_number_of_a_ladder_has_its_score_and_its_joints(words: Words, encoder: str) -> None:
    result = train_and_score(encoder, words, [5, 3], epochs=6, seed=0)
    assert {k: len(joints) for k, joints in result["kept"].items()} == {"5": 5, "3": 3}
    assert set(result["kept"]["3"]) < set(result["kept"]["5"])
    assert set(result["accuracy"]) == {"5", "3"}
    assert all(0.0 <= accuracy <= 1.0 for accuracy in result["accuracy"].values())


def test_a_model_with_all_joints_learns_without_the_callback(words: Words) -> None:
    result = train_and_score("gru", words, [], epochs=40, seed=0)
    assert set(result) == {"accuracy"}
    assert result["accuracy"]["75"] > 0.9


def test_no_run_is_there_twice_and_a_ladder_serves_all_numbers(tmp_path: Path) -> None:
    plan = Plan()
    cells = plan.cells(Store(tmp_path, "asl_study"), 2)
    each = sum(EACH in how for how in ENCODERS.values())
    assert len(cells) == 2 * (2 * len(ENCODERS) + each * len(COUNTS))
    assert all(cells.count(cell) == 1 for cell in cells)
    assert plan.of("gru", LADDER, 10, 0) == plan.of("gru", LADDER, 5, 0)
    assert plan.of("gru", LADDER, JOINTS, 0) == plan.of("gru", EACH, JOINTS, 0)


def test_table_and_figures_are_those_of_finished_runs_alone(tmp_path: Path) -> None:
    plan, store = Plan(["gru"]), Store(tmp_path, "asl_study")
    assert asl_study.side_by_side(plan, store, 3) == []
    assert asl_study.figures(plan, store, 3) == []
    for seed, (everything, fewer) in enumerate([(0.9, 0.8), (0.8, 0.9)]):
        for joints, accuracy in ((JOINTS, everything), (5, fewer)):
            cell = plan.of("gru", EACH, joints, seed)
            result = {"accuracy": {str(joints): accuracy}}
            if joints == 5:
                result |= {"kept": {"5": [0, 54, 55, 56, 74]}}
            store.add({"settings": cell, "result": result, "code": code_state(cell)})
    head, each, *_ = asl_study.side_by_side(plan, store, 3)
    assert head[2:] == ["75", "42", "24", "10", "5"]
    assert each[2:] == ["0.850 (0.800 … 0.900, n = 2)", "", "", "", "0.850 (0.800 … 0.900, n = 2)"]
    difference, kept = asl_study.figures(plan, store, 3)
    assert difference.measured == "gru, each: 5 joints minus all 75, same seed"
    assert difference.value == "0.000 (-0.100 … 0.100, n = 2)"
    assert kept.value == "right hand 4.0, face 1.0"


def test_body_parts_are_those_of_the_recording() -> None:
    for name, joints in PARTS["asl_words"].items():
        assert {part_of(joint).split()[0] for joint in joints} == {name.split()[0]}
