"""Means, signers and paired tests of a study agree with numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples.autsl.data.statistics import Run, comparisons_of, rows_of, runs_of
from examples.autsl.metrics import per_signer
from examples.autsl.study.selections import Cell, path_of
from lightning_jointprune.measure.significance import swap_test

CLIPS = [f"signer{signer}_sample{clip}" for signer in range(4) for clip in range(3)]


def run_of(
    selection: str, right: list[int], seed: int = 0, joints: int = 5, own: bool = False
) -> Run:
    """A run that has these clips of `CLIPS` right."""
    test = {
        "clips": CLIPS,
        "signers": [clip.split("_")[0] for clip in CLIPS],
        "signs": [0] * len(CLIPS),
        "answers": [0 if clip in right else 1 for clip in range(len(CLIPS))],
    }
    test["per_signer"] = per_signer(test)
    share = len(right) / len(CLIPS)
    result = {"test_acc": share, "test_top5": 1.0, "test_f1": share, "test": test}
    return Run("gru", selection, joints, seed, own, result)


def test_rows_are_means_over_seeds_with_an_interval_where_there_are_several() -> None:
    runs = [run_of("ladder", list(range(6)), 0), run_of("ladder", list(range(9)), 1)]
    runs += [run_of("ladder", [0], joints=10), run_of("all", [0, 3], joints=42)]
    every, most, row = rows_of(runs)
    assert (every.selection, most.joints, row.joints, row.seeds) == ("all", 10, 5, 2)
    assert row.values[0].value == pytest.approx((0.5 + 0.75) / 2)
    # Student's quantile with one degree of freedom is 12.706.
    half = 12.706 * (0.25 / 2**0.5) / 2**0.5
    assert row.values[0].high - row.values[0].value == pytest.approx(half, rel=1e-3)
    assert most.values[0].low is None
    assert row.signers == (0.0, pytest.approx(0.625), 1.0)
    assert every.signers == (0.0, pytest.approx(1 / 6), pytest.approx(1 / 3))


def test_clips_of_two_seeds_are_exchanged_together() -> None:
    seeds = [(range(8), range(3, 9)), (range(9), range(3, 10))]
    runs = [run_of("ladder", [*seeds[n][0]], n) for n in (0, 1)]
    runs += [run_of("random", [*seeds[n][1]], n) for n in (0, 1)]
    clips, signers = comparisons_of(runs)
    won = [sum((c in a) - (c in b) for a, b in seeds) for c in range(len(CLIPS))]
    assert clips.result.p == pytest.approx(swap_test(won))
    assert clips.result.difference.value == pytest.approx(sum(won) / 24)
    by_signer = [sum(won[3 * signer : 3 * signer + 3]) for signer in range(4)]
    assert signers.result.p == pytest.approx(swap_test(by_signer))
    assert (clips.over, signers.over) == ("clips", "signers")


def test_a_selection_is_compared_with_its_number_and_with_those_that_have_their_own() -> None:
    runs = [
        run_of("ladder", [0, 1], joints=10),
        run_of("ladder", [0], joints=5),
        run_of("learned", [0], joints=5),
        run_of("random", [1], joints=5),
        run_of("random", [1], joints=24),
        run_of("all", [2], joints=42, own=True),
        run_of("ladder", [0], joints=5)._replace(encoder="bert"),
    ]
    tests = comparisons_of(runs)
    pairs = {(t.encoder, t.result.first, t.result.second) for t in tests if t.over == "clips"}
    assert pairs == {
        ("gru", "ladder, 10", "all, 42"),
        ("gru", "ladder, 5", "all, 42"),
        ("gru", "ladder, 5", "random, 5"),
        ("gru", "ladder, 5", "learned, 5"),
        ("gru", "learned, 5", "random, 5"),
        ("gru", "learned, 5", "all, 42"),
    }


def test_correction_is_for_all_tests_over_the_same() -> None:
    runs = [run_of("ladder", list(range(12)))]
    runs += [run_of("random", []), run_of("all", [0, 1], joints=42, own=True)]
    for over in ("clips", "signers"):
        tests = [test.result for test in comparisons_of(runs) if test.over == over]
        least = min(tests, key=lambda test: test.p)
        assert least.p_holm == pytest.approx(min(1.0, 2 * least.p))
    over_clips = {test.result.p for test in comparisons_of(runs) if test.over == "clips"}
    assert over_clips == {2 * 0.5**12, 2 * 0.5**10}


def test_seeds_and_clips_that_only_one_has_are_left_out() -> None:
    other = run_of("random", [])
    for key in ("clips", "signs", "answers", "signers"):
        other.result["test"][key] = other.result["test"][key][1:]
    runs = [run_of("ladder", [0, 1]), run_of("ladder", [5], seed=1), other]
    assert comparisons_of(runs)[0].result.difference.value == pytest.approx(1 / 11)


def test_arrays_without_signers_have_no_test_over_signers() -> None:
    runs = [run_of("ladder", [0, 1]), run_of("random", [3])]
    for run in runs:
        del run.result["test"]["signers"], run.result["test"]["per_signer"]
    assert [test.over for test in comparisons_of(runs)] == ["clips"]
    assert [row.signers for row in rows_of(runs)] == [None, None]


def test_only_finished_cells_are_read(tmp_path: Path) -> None:
    cells: list[Cell] = [
        {"encoder": "gru", "seed": seed, "selection": "all", "joints": [], "args": []}
        for seed in (0, 1)
    ]
    path = path_of(cells[1], tmp_path)
    path.parent.mkdir()
    path.write_text(json.dumps({**cells[1], "results": [{"joints": 42}]}))
    assert runs_of(cells, tmp_path) == [Run("gru", "all", 42, 1, True, {"joints": 42})]
