"""Test that the points of accuracy against joints are the measured ones, of runs and of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.report import Point, plot_frontier
from lightning_jointprune.report.curve import (
    Chosen,
    chosen_of,
    frontier_numbers,
    read_points,
    sentence_of,
)
from tests.records import HOSTILE, compared, record_of, unnamed

OTHERS = (
    Point(42, 0.9, "both hands"),
    Point(8, 0.7, "random", 0.6, 0.8),
    Point(4, 0.5, "random", 0.3, 0.7),
)


def run(kept: int, value: float) -> PruningRecord:
    record = record_of("mediapipe_hands", tuple(range(kept)))
    return replace(record, selection=replace(record.selection, metrics={"val_acc": value}))


def test_the_points_are_the_runs_joints_and_metrics_in_the_order_of_joints() -> None:
    numbers = frontier_numbers({"a": run(12, 0.8), "b": run(4, 0.7)}, OTHERS)
    assert numbers is not None
    assert numbers.metric == "val_acc"
    assert numbers.lines == {
        "a": (Point(12, 0.8, "a"),),
        "b": (Point(4, 0.7, "b"),),
        "both hands": (OTHERS[0],),
        "random": (OTHERS[2], OTHERS[1]),
    }


def test_a_ladder_has_a_point_for_every_rung_that_was_measured() -> None:
    small, large, blank = run(4, 0.7), run(12, 0.8).selection, run(20, 0.9).selection
    rungs = (replace(blank, metrics={}), large, small.selection)
    numbers = frontier_numbers({"a": replace(small, rungs=rungs)})
    assert numbers is not None
    assert numbers.lines == {"a": (Point(4, 0.7, "a"), Point(12, 0.8, "a"))}


def test_a_run_that_measured_another_metric_or_none_has_no_point() -> None:
    other = run(3, 0.1)
    other = replace(other, selection=replace(other.selection, metric="val_loss"))
    blank = replace(other, selection=replace(other.selection, metric="val_acc", metrics={}))
    numbers = frontier_numbers({"a": run(12, 0.8), "b": other, "c": blank}, OTHERS[:1])
    assert numbers is not None
    assert list(numbers.lines) == ["a", "both hands"]


@pytest.mark.parametrize("record", [run(12, 0.8), unnamed((0.9, 0.1))])
def test_one_point_is_no_frontier(record: PruningRecord) -> None:
    assert frontier_numbers({"a": record}) is None
    assert plot_frontier(record).data == ()


def test_without_a_metric_nothing_can_be_put_beside_others() -> None:
    assert frontier_numbers({"a": unnamed((0.9, 0.1))}, OTHERS) is None


def test_the_figure_shows_every_point_with_its_interval() -> None:
    figure = plot_frontier(run(12, 0.8), OTHERS)
    ours, hands, random = figure.data
    assert (ours.name, list(ours.x), list(ours.y)) == ("this run", [12], [0.8])
    assert hands.error_y.array is None
    assert (list(random.x), list(random.y)) == ([4, 8], [0.5, 0.7])
    assert random.error_y.array == pytest.approx((0.2, 0.1))
    assert random.error_y.arrayminus == pytest.approx((0.2, 0.1))
    assert random.customdata[1] == "0.700 [0.600, 0.800]"
    assert figure.layout.yaxis.title.text == "val_acc"


def test_the_baseline_is_a_dashed_line_across_the_figure() -> None:
    record = replace(run(12, 0.8), baseline={"val_acc": 0.85})
    ours, _, _, line = plot_frontier(record, OTHERS).data
    assert (list(line.x), list(line.y), line.line.dash) == ([0, 42], [0.85, 0.85], "dash")
    assert (line.name, line.line.color) == ("without pruning", ours.line.color)
    assert len(plot_frontier(run(12, 0.8), OTHERS).data) == 3
    named = plot_frontier({"a": run(4, 0.7), "b": record}).data
    assert [trace.name for trace in named] == ["a", "b", "b, without pruning"]
    assert named[2].line.color == named[1].line.color
    percent = replace(record, baseline={"val_acc": 85.0})
    assert len(plot_frontier(percent, OTHERS).data) == 3


RISING = {1: 0.6, 2: 0.8, 8: 0.952, 12: 0.957, 17: 0.95}


def test_the_sentence_of_a_chosen_number_says_what_the_others_do() -> None:
    record = compared(RISING, 8, last=0.96)
    assert chosen_of(record) == Chosen(5, 8, 0.952, 12, 0.957, 0.01, False)
    assert sentence_of(record, "AUTSL") == (
        "With 8 of 17 joints the model reaches val_acc 0.960 on AUTSL, with 52.9 % of the joints "
        "removed; no "
        "number of joints did better by more than 0.01 when 5 numbers were compared (0.952 with 8, "
        "0.957 with 12)."
    )


def test_one_standard_error_is_named_where_it_is_larger() -> None:
    record = compared({2: 0.8, 8: 0.945, 12: 0.96}, 8, samples=100)
    error = (0.96 * 0.04 / 100) ** 0.5
    chosen = chosen_of(record)
    assert chosen is not None
    assert (chosen.tolerance, chosen.by_error) == (pytest.approx(error), True)
    words = "no number of joints did better by more than one standard error, 0.02, when 3 numbers"
    assert words in sentence_of(record)
    wide = compared({2: 0.8, 8: 0.945, 12: 0.96}, 8, samples=100, within=0.03)
    assert "by more than 0.03 when 3 numbers were compared" in sentence_of(wide)


def test_where_no_number_did_better_or_lower_is_better_the_sentence_says_so() -> None:
    best = compared({2: 0.8, 8: 0.96, 12: 0.95}, 8)
    assert (
        "; no other number of joints did better when 3 numbers were compared (0.960 with 8)."
        in (sentence_of(best))
    )
    error = compared({2: 0.5, 8: 0.105, 12: 0.1}, 8, higher_is_better=False)
    assert "by more than 0.01 when 3 numbers were compared (0.105 with 8, 0.100 with 12)" in (
        sentence_of(error)
    )


def test_a_point_that_sticks_out_of_the_smoothed_curve_is_said() -> None:
    # 0.95 and 0.5 are smoothed to 0.725 each.
    record = compared({1: 0.95, 2: 0.5, 8: 0.9, 12: 0.9, 17: 0.9}, 8, within=0.02, samples=10_000)
    sentence = sentence_of(record)
    assert "; on the smoothed curve no number of joints did better by more than 0.02" in sentence
    assert "(0.900 with 8, 0.950 with 1)" in sentence


def test_numbers_that_were_not_measured_are_not_counted() -> None:
    record = compared({**RISING, 5: None}, 8)
    assert "when 5 numbers were compared" in sentence_of(record)


@pytest.mark.parametrize(
    "record",
    [
        run(12, 0.8),
        compared(RISING, 12),  # another rung than the chosen one
        compared(RISING, 8, phase="compare"),
        compared(dict.fromkeys(RISING), 8),
        replace(compared(RISING, 8), settings={"budget": {"TargetJoints": {"count": [12, 8]}}}),
        replace(compared(RISING, 8), settings={}),
    ],
)
def test_what_was_not_chosen_from_a_curve_has_the_sentence_of_its_selection(
    record: PruningRecord,
) -> None:
    assert chosen_of(record) is None
    assert sentence_of(record) == record.selection.sentence()


def test_the_chosen_number_is_marked() -> None:
    line, chosen = plot_frontier(compared(RISING, 8)).data
    assert list(line.x) == [1, 2, 8, 12, 17]
    assert (list(chosen.x), list(chosen.y), chosen.name) == ([8], [0.952], "chosen")
    assert len(plot_frontier({"a": run(12, 0.8), "b": run(4, 0.7)}).data) == 2
    both = plot_frontier({"a": run(12, 0.8), "b": compared(RISING, 8)}).data
    assert [trace.name for trace in both] == ["a", "b", "b, chosen"]
    assert both[2].marker.color == both[1].line.color


def test_many_joints_are_on_a_logarithmic_axis() -> None:
    wide = plot_frontier(run(12, 0.8), [Point(543, 0.9, "all")])
    assert wide.layout.xaxis.type == "log"
    assert plot_frontier(run(12, 0.8), OTHERS).layout.xaxis.type is None
    none = plot_frontier(run(12, 0.8), [Point(543, 0.9, "all"), Point(0, 0.1, "none")])
    assert none.layout.xaxis.type is None


def test_labels_are_plain_text() -> None:
    figure = plot_frontier({HOSTILE[0]: run(12, 0.8)}, [Point(3, 0.1, HOSTILE[1])])
    assert "<img" not in str(figure.to_dict())
    assert "<script" not in str(figure.to_dict())


def test_points_are_read_from_a_file_or_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "frontier.csv"
    path.write_text(
        "label,joints,value,low,high\n"
        "both hands,42,0.9,,\nrandom,8,0.7,0.6,0.8\nrandom,4,0.5,0.3,0.7\n"
    )
    assert read_points(tmp_path) == read_points(path) == OTHERS
    path.write_text("value,joints,label\n0.9,42,both hands\n")
    assert read_points(path) == OTHERS[:1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the columns label,joints,value in .*frontier.csv but got no label"),
        ("label,joints\n", "but got no value"),
        ("label,joints,value\na,4\n", "frontier.csv, line 2 but got"),
        ("label,joints,value\na,4.5,1\n", "Write a row such as both hands,42,0.965"),
        ("label,joints,value\na,4,nan\n", "line 2 but got: 4 joints with nan"),
        ("label,joints,value,low\na,4,1,x\n", "line 2 but got"),
    ],
)
def test_a_file_that_is_none_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "frontier.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_points(tmp_path)
