"""A selection refuses what does not fit, and its sentence and table say what was measured."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_jointprune.record.selection import JointSelection, show, stand_ins_of


def selection_of(kept: int, total: int, **more: Any) -> JointSelection:
    probabilities = tuple(0.98 if joint < kept else 0.02 for joint in range(total))
    names = tuple(f"joint_{joint}" for joint in range(total))
    return JointSelection(tuple(range(kept)), total, names, probabilities, **more)


# --- what a selection knows -------------------------------------------------------------------


def test_names_mask_and_ratio_follow_from_the_indices() -> None:
    selection = JointSelection((0, 3), 4, ("a", "b", "c", "d"), (0.95, 0.1, 0.5, 0.9))
    assert selection.names == ("a", "d")
    assert selection.mask == (True, False, False, True)
    assert selection.ratio == 0.5
    assert selection.undecided == 1  # 0.1 and 0.9 themselves are decided


def test_lists_become_tuples_so_that_selections_compare() -> None:
    assert JointSelection([1], 2, ["a", "b"], [0, 1]) == JointSelection((1,), 2, ("a", "b"), (0, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indices": (2, 0)}, "ascending"),
        ({"indices": (0, 0)}, "ascending"),
        ({"stand_ins": {"a": {"nose": 0.9}}}, "stand-ins of joint_names"),
        ({"stand_ins": {"nose": {"b": 0.9}}}, "stand-ins of joint_names"),
        ({"stand_ins": {"a": {"b": 1.1}}}, r"an R² in \[0, 1\], but got {'b': 1.1} for 'a'"),
        ({"indices": (3,)}, r"in \[0, 3\) but got \(3,\)"),
        ({"indices": (-1,)}, "ascending"),
        ({"indices": (0.5,)}, "an integer as index but got 0.5"),
        ({"indices": (True,)}, "an integer as index"),
        ({"num_joints": 4}, "4 different joint names but got 3 names"),
        ({"num_joints": "3"}, "an integer as num_joints"),
        ({"joint_names": ("a", "b")}, "3 different joint names but got 2 names"),
        ({"joint_names": ("a", "b", "a")}, "got 3 names, 2 of them different"),
        ({"keep_probabilities": (0.1, 0.2)}, "3 keep probabilities but got 2"),
        ({"keep_probabilities": (0.1, 0.2, 1.5)}, r"in \[0, 1\] but got 1.5"),
        ({"keep_probabilities": (0.1, 0.2, math.nan)}, r"in \[0, 1\] but got nan"),
        ({"keep_probabilities": (0.1, 0.2, "1")}, "a number as keep probability"),
        ({"metrics": {"val_acc": "high"}}, "a number as val_acc but got 'high'"),
        ({"floor": 0.8}, "Pass both"),
        ({"floor": math.inf, "metric": "val_acc"}, "a finite floor"),
    ],
)
def test_a_selection_that_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    fitting: dict[str, Any] = {
        "indices": (0,),
        "num_joints": 3,
        "joint_names": ("a", "b", "c"),
        "keep_probabilities": (0.9, 0.1, 0.2),
    }
    JointSelection(**fitting)
    with pytest.raises(ValueError, match=message):
        JointSelection(**{**fitting, **change})


def test_a_metric_that_is_not_finite_was_not_measured() -> None:
    selection = selection_of(1, 2, metrics={"b": math.nan, "a": 1, "c": -math.inf})
    assert selection.metrics == {"a": 1.0}


def test_a_changed_copy_is_checked_again() -> None:
    with pytest.raises(ValueError, match="ascending"):
        replace(selection_of(1, 2), indices=(5,))


@pytest.mark.parametrize(
    ("value", "samples", "known"),
    [
        (0.8, 10, True),
        (float(np.float32(4187 / 4418)), 4418, True),
        (0.84, 10, False),  # no share of ten samples
        (0.8, None, False),
        (0.8, 0, False),
        (2.0, 10, False),  # a loss
        (math.nan, 10, False),
    ],
)
def test_a_share_of_the_samples_has_wilsons_interval(
    value: float, samples: int | None, known: bool
) -> None:
    found = selection_of(2, 4, metrics={"m": value}, metric="m", samples=samples).interval
    assert (found is not None) == known
    if samples == 10 and known:  # worked by hand, as in the tests of `proportion`
        assert found == pytest.approx((0.8, 0.49016, 0.94332), abs=1e-4)


def test_a_selection_knows_the_file_that_it_was_read_from(tmp_path: Path) -> None:
    first = selection_of(1, 2, source={"runs": ["a", "b"]})
    first.to_json(tmp_path)
    again = JointSelection.from_json(tmp_path)
    assert again == first
    assert again.source == {"runs": ["a", "b"], "file": str(tmp_path / "selection.json")}
    assert again.to_json() == first.to_json()  # where it was read from is no part of it
    assert JointSelection.from_json(first.to_json()).source == first.source


# --- the sentence -----------------------------------------------------------------------------


def test_the_sentence_of_a_floor_that_is_met() -> None:
    selection = selection_of(
        12, 42, metrics={"val_acc": 0.863}, metric="val_acc", floor=0.85
    ).sentence("AUTSL")
    assert selection == (
        "12 of 42 joints suffice to stay above 85 % val_acc on AUTSL "
        "(86.3 % with those joints alone), with 71.4 % of the joints removed."
    )


def test_the_sentence_says_that_a_floor_is_missed() -> None:
    selection = selection_of(12, 42, metrics={"val_acc": 0.831}, metric="val_acc", floor=0.85)
    assert selection.sentence("AUTSL") == (
        "12 of 42 joints are kept on AUTSL, with 71.4 % of the joints removed, "
        "but with those joints alone val_acc is 83.1 %, below the floor of 85 %."
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.8501, "above 85 % val_acc (85.01 %"),
        (0.84999, "is 84.999 %, below the floor of 85 %"),
        (0.85, "at 85 % val_acc (85.0 %"),
    ],
)
def test_a_value_is_never_rounded_onto_its_floor(value: float, words: str) -> None:
    selection = selection_of(3, 10, metrics={"val_acc": value}, metric="val_acc", floor=0.85)
    assert words in selection.sentence()


def test_a_floor_that_was_measured_is_rounded_but_never_past_the_value() -> None:
    known: dict[str, Any] = {"metric": "val_acc", "floor": 0.8423333}
    assert (
        "above 84.233 % val_acc (86.3 %"
        in selection_of(3, 10, metrics={"val_acc": 0.863}, **known).sentence()
    )
    near = selection_of(3, 10, metrics={"val_acc": 0.842334}, **known).sentence()
    assert "above 84.23333 % val_acc (84.2334 % with" in near
    missed = selection_of(3, 10, metrics={"val_acc": 0.842333}, **known).sentence()
    assert "is 84.2 %, below the floor of 84.233 %" in missed


def test_where_lower_is_better_the_floor_is_a_ceiling_and_no_percentage() -> None:
    more: dict[str, Any] = {"metric": "val_loss", "floor": 0.5, "higher_is_better": False}
    met = selection_of(3, 10, metrics={"val_loss": 0.42}, **more).sentence()
    missed = selection_of(3, 10, metrics={"val_loss": 0.6}, **more).sentence()
    assert "to stay below 0.5 val_loss (0.420 with those joints alone)" in met
    assert "val_loss is 0.600, above the ceiling of 0.5" in missed


def test_a_floor_outside_the_unit_interval_is_no_percentage() -> None:
    selection = selection_of(3, 10, metrics={"psnr": 31.25}, metric="psnr", floor=30)
    assert "above 30 psnr (31.250 with" in selection.sentence()


def test_without_a_floor_both_measurements_are_told_apart() -> None:
    selection = selection_of(
        12,
        42,
        metrics={"val_acc": 0.863},
        metrics_all_joints={"val_acc": 0.851},
        metric="val_acc",
    )
    assert selection.sentence("AUTSL") == (
        "With 12 of 42 joints the model reaches val_acc 0.863 on AUTSL, "
        "with 71.4 % of the joints removed."
    )


def test_what_was_measured_with_all_joints_only_is_not_quoted() -> None:
    selection = selection_of(12, 42, metrics_all_joints={"val_acc": 0.9}, metric="val_acc")
    assert selection.sentence() == (
        "12 of 42 joints are kept, with 71.4 % of the joints removed; "
        "val_acc was not measured with them."
    )


def test_without_any_metric_the_sentence_says_so() -> None:
    assert selection_of(12, 42).sentence("AUTSL") == (
        "12 of 42 joints are kept on AUTSL, with 71.4 % of the joints removed; "
        "no metric was measured with them."
    )


def test_the_sentence_of_an_unfinished_run_says_that_it_is_no_result() -> None:
    early = replace(selection_of(12, 42), source={"phase": "search"})
    assert early.sentence() == (
        "Not a result yet: this was written in the search phase. 12 of 42 joints are kept, with "
        "71.4 % of the joints removed; no metric was measured with them."
    )


def test_a_whole_number_of_per_cent_has_no_decimals() -> None:
    sentence = selection_of(27, 75, metrics={"val_acc": 0.863}, metric="val_acc").sentence()
    assert sentence.endswith("the model reaches val_acc 0.863, with 64 % of the joints removed.")


def test_with_all_joints_kept_nothing_is_claimed_about_fewer() -> None:
    kept = selection_of(4, 4, metrics={"val_acc": 0.9}, metric="val_acc", floor=0.8).sentence()
    assert kept == "With all 4 joints the model reaches val_acc 0.900, with none removed."


def test_one_joint_is_singular() -> None:
    selection = selection_of(1, 4, metrics={"val_acc": 0.9}, metric="val_acc", floor=0.8)
    assert selection.sentence().startswith("1 of 4 joints suffices to stay above")


# --- the table --------------------------------------------------------------------------------


def test_the_table_is_ordered_by_keep_probability() -> None:
    selection = JointSelection((2,), 3, ("low", "middle", "high"), (0.01, 0.3, 0.99))
    head, *lines = selection.summary(80).splitlines()
    assert head == "1 of 3 joints kept, 1 undecided, 66.7 % removed"
    rows = [line.split() for line in lines[-3:]]
    assert [row[-1] for row in rows] == ["KEEP", "PRUNE", "PRUNE"]
    assert [row[0] for row in rows] == ["2", "1", "0"]
    assert "0.300" in rows[1]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (0.12345, "0.123"), (-1.5, "-1.500"), (0.00012345, "0.000123")],
)
def test_a_value_has_three_decimals_or_as_many_digits(value: float, text: str) -> None:
    assert show(value) == text


# --- stand-ins ----------------------------------------------------------------------------------


def test_dropped_joints_stand_in_for_kept_ones_the_best_first() -> None:
    redundancy = ((1.0, 0.99, 0.5, 0.8), (0.9, 1.0, 0.49, 0.3), (0.0,) * 4, (0.0,) * 4)
    selection = selection_of(2, 4)
    found = stand_ins_of(selection, redundancy)
    assert found == {"joint_0": {"joint_3": 0.8, "joint_2": 0.5}}
    assert list(found["joint_0"]) == ["joint_3", "joint_2"]
    assert stand_ins_of(selection, ()) == {}
    assert stand_ins_of(selection_of(4, 4), redundancy) == {}


def test_stand_ins_come_back_from_json_in_their_order() -> None:
    stand_ins = {"joint_0": {"joint_2": 0.6, "joint_10": 0.7}, "joint_1": {}}
    selection = selection_of(2, 12, stand_ins=stand_ins)
    again = JointSelection.from_json(selection.to_json())
    assert again == selection
    assert [list(others) for others in again.stand_ins.values()] == [["joint_10", "joint_2"]]


def test_the_summary_explains_dropped_joints_of_a_high_keep_probability() -> None:
    likely = replace(selection_of(1, 6), keep_probabilities=(0.95, 0.9, 0.1, 0.1, 0.1, 0.1))
    assert likely.mask[:2] == (True, False)
    assert "Dropped joints above 0.5 are those that a larger number" in likely.summary(80)
    unlikely = replace(likely, keep_probabilities=(0.95, 0.5, 0.1, 0.1, 0.1, 0.1))
    assert "larger number" not in unlikely.summary(80)


def test_the_summary_names_at_most_three_stand_ins_of_a_joint() -> None:
    others = {f"joint_{joint}": 1 - joint / 10 for joint in range(1, 6)}
    lines = selection_of(1, 6, stand_ins={"joint_0": others}).summary(100).splitlines()
    assert lines[-2:] == [
        "Stand-ins, with the share of the kept joint's variance that each explains (R²)",
        "joint_0  or joint_1: 0.90, joint_2: 0.80, joint_3: 0.70, and 2 more",
    ]
    assert "Stand-ins" not in selection_of(1, 6).summary(100)


def test_a_stand_in_with_a_hostile_name_moves_no_cursor() -> None:
    selection = JointSelection((0,), 2, ("a", "b\x1b[2J"), (1, 0), stand_ins={"a": {"b\x1b[2J": 1}})
    assert "\x1b" not in selection.summary()


# --- how sure -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("again", "said"),
    [
        ((0.9, 0.4, 0.3, 0.1, 0.1, 0.1, 0.1), "joint_0 0.90. Nearest of the others: joint_2 0.30."),
        ((0.9, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1), "joint_0 0.90."),
        ((0.9, 0.4, 0.1, 0.1, 0.1, 0.001), "joint_2 0.10, joint_3 0.10, joint_4 0.10."),
    ],
)
def test_of_joints_with_the_same_chance_none_is_named_alone(
    again: tuple[float, ...], said: str
) -> None:
    assert selection_of(2, len(again), again=again).how_sure().endswith(said)


def test_the_summary_says_what_another_seed_is_expected_to_keep() -> None:
    again = (0.9, 0.4, 0.3, 0.2, 0.1, 0.05)
    selection = selection_of(2, 6, again=again)
    said = (
        "A run with another seed that keeps 2 joints is expected to keep 1.3 of these. "
        "Least sure: joint_1 0.40, joint_0 0.90. "
        "Nearest of the others: joint_2 0.30, joint_3 0.20, joint_4 0.10."
    )
    assert selection.how_sure() == said
    assert selection.summary(80).splitlines()[-1] == said
    assert JointSelection.from_json(selection.to_json()) == selection
    assert selection_of(2, 6).how_sure() == ""
    for wrong in ((0.5,) * 5, (0.5,) * 5 + (1.5,)):
        with pytest.raises(ValueError, match="Expected"):
            selection_of(2, 6, again=wrong)
