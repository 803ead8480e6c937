"""Test comparisons of runs against hand-counted overlaps and closed forms of their stability."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lightning_jointprune import stability
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.report import plot_comparison
from lightning_jointprune.report.comparison import compare
from tests.records import HOSTILE, record_of, unnamed


def test_joints_are_in_the_order_of_votes_and_then_of_their_keep_probability() -> None:
    runs = {"a": unnamed((0.9, 0.2, 0.95, 0.0)), "b": unnamed((0.8, 0.6, 0.9, 0.1))}
    found = compare(runs)
    assert [(row.number, row.votes) for row in found.rows] == [(2, 2), (0, 2), (1, 1), (3, 0)]
    assert [row.number for row in found.disputed] == [1]
    assert found.rows[0].probabilities == (0.95, 0.9)
    assert found.rows[2].kept == (False, True)
    assert found.overlaps == {(0, 1): 2}
    assert found.jaccard == {(0, 1): pytest.approx(2 / 3)}


@pytest.mark.parametrize("kept", [0.9, 0.1])
def test_stability_of_runs_that_keep_all_joints_or_none_is_not_defined(kept: float) -> None:
    runs = {name: unnamed((kept,) * 4) for name in ("a", "b")}
    assert compare(runs).stability is None


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({"a": unnamed((0.9,))}, "at least 2 runs to compare but got 1"),
        ({"a": unnamed((0.9,)), "b": unnamed((0.9, 0.1))}, "the 1 joints of a but got 2 in b"),
        (
            {"a": record_of("coco_17", (0,)), "b": unnamed((0.9,) * 17)},
            "others: joint 0 is 'nose', not 'joint_0', in b",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(runs: dict[str, PruningRecord], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(runs)


def test_a_joint_and_its_stand_in_count_as_agreement() -> None:
    rows = [[1.0, 0.9, 0.0, 0.0], [0.9, 1.0, 0.0, 0.0], [0.0] * 4, [0.0] * 4]
    kept = {"a": (0.9, 0.1, 0.9, 0.1), "b": (0.1, 0.9, 0.9, 0.1)}
    runs = {name: replace(unnamed(p), redundancy=rows) for name, p in kept.items()}
    found = compare(runs)
    assert found.stability is not None
    assert found.stability.value == 0.0
    assert found.effective == pytest.approx(1 - 0.1 / (1 - 0.15))  # as in the doctest
    (pair,) = found.exchanges
    assert (pair.joints, pair.similarity, pair.kept, pair.both) == ((0, 1), 0.9, (1, 1), 0)
    former = compare({**runs, "c": unnamed(kept["a"])})  # of a run that does not know it
    assert (former.effective, former.exchanges) == (None, ())
    rigid = compare({name: replace(run, redundancy=[[1.0] * 4] * 4) for name, run in runs.items()})
    assert (rigid.effective, len(rigid.exchanges)) == (None, 1)
    every = compare({name: replace(unnamed((0.9,) * 4), redundancy=rows) for name in "ab"})
    assert (every.effective, every.exchanges) == (None, ())


def seeds_of(settings: dict[str, object], *runs: tuple[float, ...]) -> list[PruningRecord]:
    return [replace(unnamed(run), settings=settings) for run in runs]


def test_differences_between_seeds_of_the_same_settings_are_noise() -> None:
    runs = seeds_of({"lr": 0.05}, (0.9, 0.9, 0.1), (0.9, 0.1, 0.1))
    found = compare({str(place): run for place, run in enumerate(runs)})
    assert found.settings == (0, 0)
    assert found.beyond_seeds == ()
    assert "the 1 joint that they disagree on is what another seed changes" in found.words()


def test_it_is_said_where_some_runs_chose_joints_that_stand_for_others() -> None:
    first, second = unnamed((0.9, 0.2, 0.9)), unnamed((0.9, 0.8, 0.9))
    covering = replace(second, course={"cover": True})
    said = compare({"a": first, "b": covering}).words()
    assert "In 1 of the 2 runs the kept joints also stand for others" in said
    both = {"a": replace(first, course={"cover": True}), "b": covering}
    for alike in ({"a": first, "b": second}, both):
        assert "stand for others" not in compare(alike).words()


def test_the_stability_of_three_runs_has_its_interval() -> None:
    kept = (0.9, 0.8, 0.2, 0.1), (0.9, 0.1, 0.7, 0.2), (0.9, 0.8, 0.3, 0.1)
    found = compare({str(place): unnamed(p) for place, p in enumerate(kept)})
    assert found.stability == stability([unnamed(p).selection for p in kept])
    assert found.stability is not None
    assert found.stability.low is not None


def test_a_difference_is_beyond_the_seeds_if_all_runs_of_each_settings_agree() -> None:
    cheap = seeds_of({"price": 0.1}, (0.9, 0.9, 0.1), (0.9, 0.9, 0.9), (0.9, 0.9, 0.1))
    dear = seeds_of({"price": 0.9}, (0.9, 0.1, 0.1), (0.9, 0.1, 0.1), (0.9, 0.1, 0.9))
    found = compare({str(place): run for place, run in enumerate([*cheap, *dear])})
    assert [row.number for row in found.beyond_seeds] == [1]
    words = found.words()
    assert "Of the 2 joints that the runs disagree on, 1 differ between the settings" in words
    assert "joint_1" in words
    assert "up to 0.1." in words  # two of the 20 ways to choose 3 of 6 runs


def test_one_run_of_each_settings_tells_nothing_of_seeds() -> None:
    runs = seeds_of({"price": 0.1}, (0.9, 0.9)) + seeds_of({"price": 0.9}, (0.9, 0.1))
    found = compare({"a": runs[0], "b": runs[1]})
    assert found.beyond_seeds == ()
    assert "compare at least two runs of each" in found.words()


def test_the_figure_shows_what_each_run_made_of_each_joint_that_any_keeps() -> None:
    runs = {HOSTILE[0]: unnamed((0.9, 0.2, 0.95, 0.0)), "b": unnamed((0.8, 0.6, 0.9, 0.1))}
    heat, dots = plot_comparison(runs).data
    assert [list(row) for row in heat.z] == [[0.95, 0.9], [0.9, 0.8], [0.2, 0.6]]
    assert list(zip(dots.x, dots.y, strict=True)) == [(0, 0), (1, 0), (0, 1), (1, 1), (1, 2)]
    assert "<img" not in str(plot_comparison(runs).to_dict())


def test_runs_that_keep_the_same_joints_disagree_on_none() -> None:
    run = record_of("coco_17", (0, 1))
    assert compare({"a": run, "b": run}).words() == "The runs keep the same joints."
