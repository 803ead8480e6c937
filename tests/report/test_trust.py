"""Whether a run can be trusted: each doubt is found where it is, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lightning_jointprune.record.intervals import Estimate
from lightning_jointprune.record.record import JointSelection, PruningRecord
from lightning_jointprune.report.trust import findings, show, verdict
from tests.records import evaluated, record_of, snapshot, unnamed

GATE = {"GumbelSigmoid": {"initial_keep_probability": 0.9, "temperature": [1.0, 0.3]}}


def titles(record: PruningRecord, level: str) -> str:
    return " | ".join(finding.title for finding in findings(record) if finding.level == level)


def selected(record: PruningRecord, **changes: Any) -> PruningRecord:
    return replace(record, selection=replace(record.selection, **changes))


def measured(search: tuple[float, ...], final: tuple[float, ...], **more: Any) -> PruningRecord:
    """A run that measured these values of a metric in its search and in its final phase."""
    phases = [("search", value) for value in search] + [("final", value) for value in final]
    history = tuple(
        snapshot(10 * step, phase, (0.99, 0.01), metrics={"val": value})
        for step, (phase, value) in enumerate(phases)
    )
    record = unnamed((0.99, 0.01), history)
    return selected(record, metric="val", metrics={"val": final[-1]}, **more)


def test_a_run_without_doubts_looks_sound() -> None:
    record = record_of("coco_17", (0, 1))
    assert titles(record, "check") == titles(record, "bad") == ""
    assert verdict(findings(record)).level == "good"


@pytest.mark.parametrize("phase", ["warmup", "search"])
def test_an_unfinished_run_is_provisional(phase: str) -> None:
    record = record_of("coco_17", (0, 1), phase=phase)
    said = verdict(findings(record))
    assert said.level == "bad"
    assert said.advice == "The run has not reached its final phase."
    assert "ckpt_path" in findings(record)[0].advice


def test_undecided_joints_are_counted_and_named() -> None:
    found = findings(unnamed((0.99, 0.62, 0.1, 0.9)))
    doubt = next(finding for finding in found if finding.level == "check")
    assert doubt.title == "1 of 4 joints is undecided."
    assert "joint_1 (0.62)" in doubt.advice
    assert "joint_2" not in doubt.advice


def test_of_many_undecided_joints_the_first_are_named() -> None:
    found = findings(unnamed((0.6,) * 30))
    doubt = next(finding for finding in found if "undecided" in finding.title)
    assert "joint_7 (0.60) and 22 more" in doubt.advice


def test_gates_that_hardly_moved_are_said_once() -> None:
    record = replace(unnamed((0.88, 0.94, 0.86)), settings={"gate": GATE})
    assert titles(record, "bad").startswith("The gates hardly moved")
    assert "undecided" not in titles(record, "check")


@pytest.mark.parametrize("settings", [{}, {"gate": "gumbel_sigmoid"}, {"gate": {"X": None}}])
def test_without_a_known_start_no_gate_is_said_to_have_stayed_there(settings: Any) -> None:
    record = replace(unnamed((0.88, 0.94)), settings=settings)
    assert "moved" not in titles(record, "bad")


def test_one_gate_that_moved_is_enough_and_joints_always_kept_do_not_count() -> None:
    moved = replace(unnamed((0.88, 0.3)), settings={"gate": GATE})
    assert titles(moved, "bad") == ""
    stuck = replace(unnamed((1.0, 0.88)), settings={"gate": GATE, "keep": [0]})
    assert "hardly moved" in titles(stuck, "bad")


def test_joints_that_the_budget_and_not_the_search_decided_are_named() -> None:
    names = ("a", "b", "c", "d")
    selection = JointSelection((0, 1), 4, names, (0.95, 0.4, 0.99, 0.01))
    found = {finding.level: finding for finding in findings(PruningRecord(selection))}
    assert "1 of the 2 kept joints has a keep probability of at most 0.5" in titles(
        PruningRecord(selection), "check"
    )
    notes = titles(PruningRecord(selection), "note")
    assert "1 dropped joint has a keep probability above 0.5" in notes
    assert found


@pytest.mark.parametrize(
    ("search", "final", "level", "words"),
    [
        ((0.9, 0.95), (0.94, 0.95), "good", "held at the freeze"),
        ((0.9, 0.95), (0.80, 0.95), "note", "has recovered"),
        ((0.9, 0.95), (0.80, 0.81), "check", "fell at the freeze by 0.150"),
        ((20.0, 10.0), (9.9, 9.9), "good", "held at the freeze"),
        ((20.0, 10.0), (9.0, 9.0), "check", "fell at the freeze by 1.000"),
    ],
)
def test_the_drop_at_the_freeze_is_between_the_validations_on_its_two_sides(
    search: tuple[float, ...], final: tuple[float, ...], level: str, words: str
) -> None:
    record = measured(search, final)
    assert words in titles(record, level)
    advice = next(one.advice for one in findings(record) if words in one.title)
    assert f"It was {show(search[-1])} at the last validation of the search (step 10)" in advice
    assert f"{show(final[0])} at the first after it" in advice


def test_of_a_loss_a_rise_is_the_fall() -> None:
    record = measured((0.5, 0.4), (0.6, 0.6), higher_is_better=False)
    assert "fell at the freeze by 0.200" in titles(record, "check")
    assert "fell" not in titles(measured((0.5, 0.4), (0.3, 0.3), higher_is_better=False), "check")


def test_a_freeze_that_was_not_measured_on_both_sides_is_not_judged() -> None:
    record = measured((), (0.9, 0.9))
    assert not [finding for finding in findings(record) if "freeze" in finding.title]


def test_a_floor_that_was_never_met_is_no_result() -> None:
    record = selected(measured((0.6, 0.7), (0.8,)), floor=0.9, indices=(0, 1))
    assert titles(record, "bad").startswith("val was never at its floor of 0.9 in the search")
    assert "at most 0.5" not in titles(record, "check")
    assert "No joint was dropped" not in titles(record, "check")


def test_a_floor_that_was_met_and_then_lost_is_a_doubt() -> None:
    record = measured((0.95,), (0.89,), floor=0.9)
    assert "val ended at 0.890, below its floor of 0.9." in titles(record, "check")
    assert titles(record, "bad") == ""
    ceiling = measured((0.1,), (0.3,), floor=0.2, higher_is_better=False)
    assert "val ended at 0.300, above its ceiling of 0.2." in titles(ceiling, "check")


@pytest.mark.parametrize(
    ("probabilities", "level", "words"),
    [((0.01, 0.02), "bad", "No joint is kept"), ((0.98, 0.99), "check", "No joint was dropped")],
)
def test_none_and_all_are_no_answers(
    probabilities: tuple[float, ...], level: str, words: str
) -> None:
    assert words in titles(unnamed(probabilities), level)


def test_a_metric_that_is_worse_than_with_all_joints_is_said() -> None:
    record = selected(record_of("coco_17", (0,)), metrics={"val_acc": 0.7})
    assert "val_acc is worse than with all joints" in titles(record, "check")
    loss = selected(record, higher_is_better=False)
    assert "val_acc is no worse" in titles(loss, "note")


def test_a_missing_metric_is_said() -> None:
    assert "No metric was measured" in titles(unnamed((0.99, 0.01)), "check")
    named = selected(unnamed((0.99, 0.01)), metric="val_acc")
    assert "val_acc was not measured" in titles(named, "check")


def test_the_agreement_of_seeds_is_said_and_what_they_do_not_share() -> None:
    record = unnamed((0.99, 0.98, 0.01, 0.02))
    same = findings(record, [record, record])[-1]
    assert (same.level, same.title) == (
        "good",
        "2 of the 2 kept joints are kept by all 3 seeds, stability 1.00.",
    )
    other = findings(record, [unnamed((0.99, 0.01, 0.98, 0.02))])[-1]
    assert other.level == "check"
    assert other.title.startswith("1 of the 2 kept joints are kept by all 2 seeds, stability 0.")
    assert "Not kept by all: joint_1 (0.98)." in other.advice
    assert "joint_2" not in other.advice
    assert "One run shows" not in titles(record, "check")


def test_seeds_of_other_joints_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected the 2 joints"):
        findings(unnamed((0.99, 0.01)), [unnamed((0.99,))])


@pytest.mark.parametrize(
    ("soft", "level"),
    [
        (Estimate(0.1, 0.05, 0.15), "check"),
        (Estimate(0.1, -0.01, 0.2), "good"),
        (Estimate(0.1), "check"),
        (Estimate(-0.1), "good"),
    ],
)
def test_gates_that_do_better_than_the_hard_mask_are_a_doubt(soft: Estimate, level: str) -> None:
    record = record_of("coco_17", (0, 1))
    evaluation = replace(evaluated(record), soft=soft)
    found = [one for one in findings(record, (), evaluation) if "Gates drawn" in one.title]
    assert [one.level for one in found] == [level]
    assert f"The difference in accuracy is {soft}." in found[0].advice


def test_an_evaluation_of_costs_alone_says_nothing_of_trust() -> None:
    record = record_of("coco_17", tuple(range(10)))
    assert findings(record, (), evaluated(record)) == findings(record)


def test_the_verdict_is_the_worst_finding() -> None:
    doubts = findings(unnamed((0.99, 0.5, 0.01)))
    said = verdict(doubts)
    assert (said.level, said.title) == ("check", "Read this with care:")
    assert said.advice.startswith("1 of 3 joints is undecided. No metric")
