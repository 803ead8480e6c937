"""benchmarks/how_few.py: which runs belong together, who runs them, and the tables' figures."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks.how_few import (
    LATE,
    LENGTHS,
    PLANS,
    ROWS,
    Family,
    distances,
    few_beat_all,
    finished,
    in_turn,
    is_of,
    nearest,
    share,
    tells,
)
from benchmarks.shared.rows import Row
from benchmarks.shared.store import Settings, Store, code_state

HAND = Family("hand_static", 12, 0)
SMALL = Family("planted42", 30, 0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "how_few")


def remember(store: Store, settings: Settings, **result: object) -> None:
    store.add({"settings": settings, "result": result, "code": code_state(settings)})


def default(store: Store, family: Family, **more: object) -> None:
    """Remember a default run that kept joints 3 and 5."""
    usual = {
        "kept": [5, 3],
        "test": 0.9,
        "curve": [[1, 0.5], [2, 0.9], [4, None], [21, 0.8]],
        "points": {"2": [3, 5]},
        "doubts": [],
        "said": [],
        "steps": {"search": 7},
        "seconds": {"0": 1.0},
    }
    remember(store, family.pruned(), **{**usual, **more})


@pytest.mark.parametrize(
    ("counts", "asked", "expected"),
    [([12, 16, 20], 15, 16), ([4, 9], 6, 4), ([21], 2, None), ([], 2, None)],
)
def test_the_nearest_number_is_nearest_as_a_ratio(
    counts: list[int], asked: int, expected: int | None
) -> None:
    assert nearest(counts, asked) == expected


def test_new_models_wait_for_the_joints_that_are_kept(store: Store) -> None:
    before = ROWS["hand_static"].cells(store, 1)
    default(store, HAND)
    after = ROWS["hand_static"].cells(store, 1)
    assert [cell for cell in after if cell not in before] == [HAND.plain([3, 5])]


def test_a_point_of_the_curve_stands_beside_a_new_model_on_its_joints(store: Store) -> None:
    hand = HAND._replace(epochs=LENGTHS[1])
    default(store, hand)
    cells = ROWS["curve"].cells(store, 1)
    assert hand.plain([3, 5]) in cells
    remember(store, hand.plain([3, 5]), test=0.7, validation=0.75)
    remember(store, hand.plain(), test=0.7, validation=0.9)
    found = finished(store, [hand])
    assert distances(found, store, 2) == [(2, pytest.approx(0.15))]
    assert distances(found, store, None) == [(21, pytest.approx(-0.1))]
    assert distances(found, store, 8) == []
    assert few_beat_all(found)[0].value == "+0.100 (n = 1)"
    met = {figure.measured.split(":")[0]: figure.met for figure in ROWS["curve"].figures(store, 1)}
    assert met == {"hand_static, 2 joints": None, "hand_static, 21 joints": False}


def test_a_run_that_loses_a_joint_has_to_say_so() -> None:
    lost = {"informative": [1, 2], "kept": [2], "doubts": [], "said": []}
    assert not tells(lost)
    assert not tells({**lost, "doubts": [["check", "3 of 9 joints are undecided."]]})
    assert tells({**lost, "said": ["The search was short."]})
    assert tells({**lost, "doubts": [["check", "The search was short."]]})
    assert tells({**lost, "kept": [1, 2, 3]})


def test_late_runs_are_told_from_usual_ones(store: Store) -> None:
    default(store, SMALL, informative=[3, 5, 9])
    assert ROWS["late"].figures(store, 1) == []
    default(store, SMALL._replace(late=LATE[0]), informative=[3, 5, 9])
    (figure,) = ROWS["late"].figures(store, 1)
    assert (figure.value, figure.met) == ("0 of 1", False)
    table = ROWS["late"].side_by_side
    assert table is not None
    assert table(store, 1)[1][:3] == ["10%", "2", "2"]


def test_planted_truth_may_be_missed_by_few_joints_in_few_runs(store: Store) -> None:
    joints = list(range(8))
    for seed, kept in enumerate([joints, joints[1:], joints[2:]]):
        family = SMALL._replace(seed=seed)
        default(store, family, informative=joints, kept=kept)
        remember(store, family.plain(joints), test=0.905)
    figures = {figure.measured: figure for figure in ROWS["planted42"].figures(store, 3)}
    close = figures["runs that keep 8 joints, within 1"]
    assert (close.value, close.met) == ("2 of 3", True)
    behind = "the run's own model minus a new one on the joints that carry the class"
    assert figures[behind].met is True


def test_a_recording_has_a_line_for_each_length(store: Store) -> None:
    for epochs in (12, 24):
        default(store, HAND._replace(epochs=epochs))
    table = ROWS["hand_static"].side_by_side
    assert table is not None
    assert [line[:2] for line in table(store, 1)[1:]] == [["12", "2"], ["24", "2"]]


def test_the_first_seed_of_every_row_comes_before_the_second_of_any() -> None:
    seeds = [family.seed for _, family in in_turn([*ROWS], None)]
    assert seeds == sorted(seeds)
    assert {name for name, family in in_turn([*ROWS], None) if family.seed == 0} == {*ROWS}


def test_parts_share_all_families_out_and_none_is_run_twice() -> None:
    families = {family for _, family in in_turn([*ROWS], None)}
    shares = [{f for f in families if is_of(f, (part, 2))} for part in (1, 2)]
    assert shares[0] | shares[1] == families
    assert not shares[0] & shares[1]
    assert abs(len(shares[0]) - len(shares[1])) <= 2


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b"])
def test_a_part_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="Expected a part"):
        share(text)


@pytest.mark.parametrize("row", ROWS.values(), ids=PLANS)
def test_rows_without_results_have_no_figures(row: Row, store: Store) -> None:
    assert row.figures(store, 3) == []
    assert row.side_by_side is None or row.side_by_side(store, 3) == []
