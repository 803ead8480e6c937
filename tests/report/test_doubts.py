"""Test that each doubt about a run is found where it is, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from lightning_jointprune.record.confounds import JointInput
from lightning_jointprune.record.evaluation import JointEvaluation
from lightning_jointprune.record.intervals import Estimate
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.record.selection import JointSelection, show
from lightning_jointprune.report.doubts import (
    NAMED,
    baseline_doubts,
    early_doubts,
    findings,
    floor_doubts,
    freeze_doubts,
    names_of,
    normalised,
    unseen_at_first,
    verdict,
)
from lightning_jointprune.report.usage import callback_code, papers
from tests.records import compared, evaluated, record_of, snapshot, unnamed

GATE = {"GumbelSigmoid": {"initial_keep_probability": 0.9, "temperature": [1.0, 0.3]}}


def titles(record: PruningRecord, level: str) -> str:
    return " | ".join(finding.title for finding in findings(record) if finding.level == level)


def selected(record: PruningRecord, **changes: Any) -> PruningRecord:
    return replace(record, selection=replace(record.selection, **changes))


def measured(search: tuple[float, ...], final: tuple[float, ...], **more: Any) -> PruningRecord:
    """Return a run that measured these values of a metric in its search and its final phase."""
    phases = [("search", value) for value in search] + [("final", value) for value in final]
    history = tuple(
        snapshot(10 * step, phase, (0.99, 0.01), metrics={"val": value})
        for step, (phase, value) in enumerate(phases)
    )
    record = unnamed((0.99, 0.01), history)
    return selected(record, metric="val", metrics={"val": final[-1]}, **more)


def test_a_run_without_doubts_looks_sound_beside_a_baseline_and_not_without_one() -> None:
    record = record_of("coco_17", (0, 1))
    assert titles(record, "check") == titles(record, "bad") == ""
    said = verdict(findings(replace(record, baseline={"val_acc": 0.87})))
    assert (said.level, said.title) == ("good", "This looks sound:")
    alone = verdict(findings(record))
    assert alone.level == "note"
    assert "What the model reaches without pruning is not known yet" in alone.advice
    assert "sound" not in alone.title


def test_a_run_that_loses_against_its_baseline_does_not_look_sound() -> None:
    record = selected(record_of("coco_17", (0, 1)), metrics={"val_acc": 0.914})
    said = verdict(findings(replace(record, baseline={"val_acc": 0.93})))
    assert (said.level, said.advice) == ("check", "val_acc is 0.016 worse than without pruning.")
    fewest = {"budget": {"Fewest": {"metric": None, "within": 0.02}}}  # as much was allowed
    allowed = replace(record, baseline={"val_acc": 0.93}, settings=fewest)
    assert "0.016 worse" in titles(allowed, "note")
    fewest = {"budget": {"Fewest": {"metric": None, "within": 10**400}}}
    assert "0.016 worse" in titles(replace(allowed, settings=fewest), "check")
    percent = selected(record, metrics={"val_acc": 91.4})
    assert "1.600 worse" in titles(replace(percent, baseline={"val_acc": 93.0}), "check")


def test_of_joints_that_were_given_nothing_is_said_of_a_search() -> None:
    """The gates are where they were put, and no search has done anything wrong."""
    given = {"budget": {"GivenJoints": {"joints": [0, 1], "source": "c.json"}}, "gate": GATE}
    for kept in ((0, 1), tuple(range(17))):
        record = record_of("coco_17", kept, settings=given, course={"began": None, "steps": 0})
        note = "The joints were given, by c.json: this run searched for none."
        assert note in titles(record, "note")
        assert "One run shows which" not in titles(record, "note")
        assert "decided" not in titles(record, "good")
        assert titles(record, "check") == titles(record, "bad") == ""
        assert papers(record) == ()
    code = callback_code(replace(record, settings={**given, "keep": []}))
    assert code is not None
    assert 'budget=GivenJoints(joints=[0, 1], source="c.json"),' in code
    unknown = replace(record, settings={"budget": {"GivenJoints": {"joints": [0], "source": None}}})
    assert "The joints were given: this run searched for none." in titles(unknown, "note")


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
    advice = next(finding.advice for finding in findings(record) if words in finding.title)
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
    assert titles(record, "bad").startswith("val was not surely at its floor of 0.9 with")
    assert "at most 0.5" not in titles(record, "check")
    assert "No joint was dropped" not in titles(record, "check")


def test_a_floor_that_was_never_met_names_the_mask_that_came_nearest() -> None:
    values = {8: 0.85, 5: 0.91, 3: 0.7, 4: 0.905}
    history = [
        snapshot(10 * n, "search", (0.9,) * 10, metrics={"val": value}, active_joints=joints)
        for n, (joints, value) in enumerate(values.items())
    ]
    record = selected(unnamed((0.9,) * 10, tuple(history)), metric="val", floor=0.9)
    assert "With 4 joints it was there once: 0.905 at step 30." in str(findings(record))
    record = selected(record, floor=0.95)
    assert "With 5 joints it came nearest: 0.910 at step 10." in str(findings(record))


def test_a_drop_that_was_not_kept_to_is_spoken_of_as_a_drop() -> None:
    settings = {"budget": {"MetricFloor": {"metric": "val", "floor": None, "drop": 0.02}}}
    unmet = selected(measured((0.6,), (0.8,)), floor=0.9, indices=(0, 1))
    record = replace(unmet, settings=settings)
    assert "its floor of 0.9, for drop=0.02, with fewer" in titles(record, "bad")
    assert "Allow a larger drop" in str(findings(record))


@pytest.mark.parametrize(
    ("course", "level", "words"),
    [
        ({"began": 0.4, "learned_at": None}, "bad", "had not begun to learn when the search ended"),
        ({"began": 0.4, "learned_at": 0.45}, "check", "had hardly begun to learn when the search"),
        ({"began": 0.3, "learned_at": 0.3}, "", ""),
        ({"began": 0.1, "learned_at": 0.1}, "", ""),
        ({}, "", ""),
    ],
)
def test_a_search_that_began_before_the_model_had_learned_is_a_doubt(
    course: dict[str, Any], level: str, words: str
) -> None:
    record = replace(record_of("coco_17", (0, 1)), course=course)
    said = {finding.level: finding for finding in freeze_doubts(record)}
    assert [*said] == ([level] if level else [])
    assert all(words in finding.title for finding in said.values())


@pytest.mark.parametrize(("steps", "epochs"), [(40, 110), (200, 22), (400, None), (4000, None)])
def test_a_search_of_few_steps_is_a_doubt_with_the_epochs_to_type(
    steps: int, epochs: int | None
) -> None:
    """The run below had four epochs at 36 % of its length, so it is one of eleven."""
    base = record_of("coco_17", (0, 1), course={"began": 0.1, "learned_at": 0.1, "steps": steps})
    latest = replace(base.history[-1], epoch=3, progress=4 / 11, phase="search")
    later = replace(latest, step=2 * latest.step, epoch=7, progress=8.3 / 11, phase="final")
    record = replace(base, history=(*base.history[:-1], latest, later))
    advice = [finding.advice for finding in freeze_doubts(record)]
    assert advice == [] if epochs is None else f"Trainer(max_epochs={epochs})" in advice[0]
    enough = math.ceil(latest.step * 11 / 4 * 400 / steps)  # the step of then, over its share
    assert advice == [] if epochs is None else f"`max_steps={enough}`" in advice[0]
    older = replace(record, course={"began": None, "learned_at": 0.3, "steps": steps})
    assert freeze_doubts(older) == ()  # resumed: a state of before did not count the steps


@pytest.mark.parametrize(
    ("budget", "fewer"),
    [
        (8, False),
        ([8, 4], False),
        ({"TargetJoints": {"counts": [8]}}, False),
        ({"Fewest": {"metric": None, "within": 0.01, "mode": None}}, False),
        ({"Price": {"price": "auto", "groups": None}}, True),
    ],
)
def test_only_of_a_price_a_search_of_few_steps_is_said_to_keep_more(
    budget: Any, fewer: bool
) -> None:
    course = {"began": 0.1, "learned_at": 0.1, "steps": 40}
    record = record_of("coco_17", (0, 1), course=course, settings={"budget": budget})
    said = "".join(finding.advice for finding in findings(record) if "40 steps" in finding.title)
    assert "Pass `Trainer(max_epochs=" in said
    assert ("fewer joints" in said) is fewer


def test_of_a_number_of_joints_it_is_foretold_and_not_undecided_what_another_seed_keeps() -> None:
    probabilities = (0.95, 0.8, *[0.3] * 15)
    record = selected(record_of("coco_17", (0, 1)), keep_probabilities=probabilities)
    assert "undecided" in titles(record, "check")
    assert "decided" not in titles(selected(record, again=probabilities), "check")


def test_held_joints_are_no_ground_to_leave_them_out() -> None:
    said = "The first frame of dropped joints still reached the model."
    held = record_of("coco_17", (0, 1), settings={"fill": "hold"})
    assert said in titles(held, "check")
    assert said not in titles(record_of("coco_17", range(17), settings={"fill": "hold"}), "check")
    assert said not in titles(record_of("coco_17", (0, 1), settings={"fill": "mean"}), "check")


def test_joints_that_stand_for_others_are_said_to_do_so() -> None:
    record = record_of("coco_17", (0, 1))
    said = "The kept joints also stand for the others."
    assert said in titles(replace(record, course={"cover": True}), "note")
    assert said not in titles(replace(record, course={"cover": False}), "note")
    assert said not in titles(record, "note")  # an older run


def test_numbers_of_joints_that_were_never_measured_are_no_answer() -> None:
    record = compared({17: None, 8: None, 2: None}, kept=17)
    assert "No number of joints could be compared" in titles(record, "bad")
    assert "could be compared" not in titles(compared({17: 0.8, 8: None}, kept=17), "bad")
    [doubt] = freeze_doubts(record)
    assert "val_acc was not measured, or was no finite number." in doubt.advice
    [doubt] = freeze_doubts(selected(record, metric=None))
    assert "No validation measured a metric to compare by." in doubt.advice
    several = selected(compared({17: 0.8, 8: 0.7}, kept=17), metric=None)
    [doubt] = freeze_doubts(several)
    assert "The validation logged val_acc, of which none is monitored" in doubt.advice


def of_fewest(
    values: Mapping[int, float], kept: int, mode: str | None = None, **more: Any
) -> PruningRecord:
    record = compared(values, kept, **more)
    budget = dict(record.settings["budget"]["Fewest"], mode=mode)
    return replace(record, settings={"budget": {"Fewest": budget}})


FALLING, RISING = {17: 0.1, 8: 0.12, 2: 0.5}, {17: 0.9, 8: 0.9, 2: 0.5}
MISLED: dict[str, tuple[PruningRecord, str, str, str]] = {
    "lower is better": (
        of_fewest(FALLING, kept=2),
        "bad",
        "val_acc is better with the fewest joints, 2, than with 17.",
        "where higher values count as better. If they are worse, pass `Fewest('val_acc', mode='min",
    ),
    "higher is better": (
        of_fewest(RISING, kept=2, higher_is_better=False),
        "bad",
        "Numbers of joints are compared as if lower values of val_acc were better.",
        "its name says the opposite. Pass `mode='max'` to ModelCheckpoint",
    ),
    "per cent for within": (
        of_fewest(RISING, kept=2, within=2.0),
        "check",
        "Every number of joints is within 2 of the best, so the fewest were taken.",
        "val_acc lies between 0.500 and 0.900, and `within` is in its units. Pass `Fewest(within=0",
    ),
    "a wide within": (
        of_fewest({17: 20.0, 8: 20.0, 2: 15.0}, kept=2, within=6.0),
        "check",
        "Every number of joints is within 6 of the best, so the fewest were taken.",
        "lies between 15.000 and 20.000, and `within` is in its units. Pass `Fewest(within=0.5)`",
    ),
    "per cent for the metric": (
        of_fewest({17: 93.0, 8: 92.0, 2: 50.0}, kept=17),
        "check",
        "val_acc is 93.000 beside within=0.01 of Fewest.",
        "this is 0.01 of a point: pass `Fewest('val_acc', within=1)`.",
    ),
    "one sample": (
        of_fewest({17: 1.0, 8: 1.0, 2: 1.0}, kept=2, samples=1),
        "check",
        "The validation has 1 sample, too few to compare numbers of joints by.",
        "One standard error of a share of them is up to 0.5, and fewer joints",
    ),
}
CLEAR = {
    "it was said that higher is better": of_fewest(FALLING, kept=2, mode="max"),
    "the curve rises": of_fewest(RISING, kept=8),
    "few do best": of_fewest({17: 0.8, 8: 0.93, 2: 0.5}, kept=8),
    "all do as well": of_fewest({17: 0.9, 8: 0.9, 2: 0.895}, kept=2),
    "within is in per cent too": of_fewest({17: 93.0, 8: 92.5, 2: 50.0}, kept=8, within=1.0),
    "a loss": of_fewest({17: 1.3, 8: 1.3, 2: 2.5}, 8, mode="min", higher_is_better=False),
    "enough samples": of_fewest(RISING, kept=8, samples=50),
    "another budget": replace(of_fewest({17: 93.0}, kept=2, samples=1), settings={}),
}
WORDS = (
    "compared as if",
    "better with the fewest",
    "Every number",
    "beside within",
    "too few to compare",
)


@pytest.mark.parametrize("name", MISLED)
def test_a_metric_that_misleads_the_choice_is_a_doubt_with_what_to_type(name: str) -> None:
    record, level, title, advice = MISLED[name]
    said = [doubt for doubt in findings(record) if any(words in doubt.title for words in WORDS)]
    assert [(doubt.level, doubt.title) for doubt in said] == [(level, title)]
    assert advice in said[0].advice
    assert [*early_doubts(record), *freeze_doubts(record)].count(said[0]) == 1  # one warning


@pytest.mark.parametrize("name", CLEAR)
def test_a_metric_that_does_not_mislead_is_no_doubt(name: str) -> None:
    assert not any(words in str(findings(CLEAR[name])) for words in WORDS)


def test_per_cent_are_seen_as_soon_as_a_validation_of_the_warm_up_shows_them() -> None:
    record = selected(of_fewest({}, kept=17), metrics={}, metrics_all_joints={"val_acc": 30.0})
    [doubt] = early_doubts(record)
    assert doubt.title == "val_acc is 30.000 beside within=0.01 of Fewest."


def test_a_metric_that_improves_after_the_comparison_is_a_doubt() -> None:
    words = "val_acc has improved since the numbers of joints were compared."
    assert words in titles(compared({17: 0.8, 8: 0.8, 2: 0.5}, kept=8, last=0.9), "check")
    assert words not in titles(compared({17: 0.8, 8: 0.8, 2: 0.5}, kept=8, last=0.81), "check")


def test_a_floor_that_was_met_and_then_lost_is_a_doubt() -> None:
    record = measured((0.95,), (0.89,), floor=0.9)
    assert "val ended at 89.0 %, below its floor of 90 %." in titles(record, "check")
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


def test_a_metric_that_is_worse_than_without_pruning_is_said() -> None:
    record = replace(record_of("coco_17", (0,)), baseline={"val_acc": 0.95})
    assert "val_acc is 0.087 worse than without pruning." in titles(record, "check")
    assert "It is 0.863 against 0.950." in str(findings(record))
    loss = selected(record, higher_is_better=False)
    assert "val_acc is 0.087 better than without pruning." in titles(loss, "note")
    near = replace(record, baseline={"val_acc": 0.872})
    assert "val_acc is 0.009 worse than without pruning." in titles(near, "note")
    same = replace(record, baseline={"val_acc": 0.863})
    assert "val_acc is the same as without pruning." in titles(same, "note")


@pytest.mark.parametrize(
    ("losses", "overfits"),
    [
        ([(1.0, 0.9), (0.8, 0.7), (0.3, 1.2)], True),
        ([(1.0, 0.9), (0.8, 0.7), (0.3, 0.75)], False),  # the validation's hardly rose
        (
            [(1.0, 0.9), (0.8, 0.7), (0.9, 1.2)],
            False,
        ),  # nor did the training's fall: too few joints
        ([(1.0, -0.9), (0.8, -0.7), (0.3, -0.2)], False),  # of losses below 0 nothing is said
        ([(None, 0.9), (0.8, None), (0.3, 1.2)], False),
        ([], False),
    ],
)
def test_more_joints_are_no_remedy_for_a_model_that_overfits(
    losses: list[tuple[float | None, float | None]], overfits: bool
) -> None:
    base = record_of("coco_17", (0,), baseline={"val_acc": 0.95})
    phases = ("warmup", "final", "final")
    notes = [*zip(phases, losses, strict=False), ("search", (0.01, 0.01))]  # which does not count
    history = tuple(
        snapshot(
            10,
            phase,
            base.selection.keep_probabilities,
            loss=train,
            metrics={"val_acc": 0.8} if val is None else {"val_acc": 0.8, "val_loss": val},
        )
        for phase, (train, val) in notes
    )
    (worse,) = (
        finding
        for finding in findings(replace(base, history=history))
        if finding.title == "val_acc is 0.087 worse than without pruning."
    )
    said = "The training loss fell from 0.800 to 0.300 while val_loss rose from 0.700 to 1.200"
    assert (said in worse.advice) == overfits
    assert ("Keep more joints" in worse.advice) != overfits


def test_without_a_baseline_the_curves_right_end_is_all_joints_as_the_run_trained_them() -> None:
    record = record_of("coco_17", (0, 1))
    few = record.selection

    def beside(value: float, joints: int = 17) -> PruningRecord:
        end = replace(few, indices=tuple(range(joints)), metrics={"val_acc": value})
        return replace(record, rungs=(end, replace(few, metrics={"val_acc": 0.8})))

    worse = "val_acc is worse than with all 17 joints, as this run trained them."
    assert worse in titles(beside(0.9), "check")
    assert "It is 0.800 against 0.900." in str(findings(beside(0.9)))
    assert "worse" not in str(findings(beside(0.81)))  # no run without pruning says how it is
    for known in (beside(0.9), beside(0.81)):
        assert "There is no baseline yet." in titles(known, "note")
        assert "Train once without the callback" in str(findings(known))
        assert "this run" not in str(findings(replace(known, baseline={"val_acc": 0.9})))
    assert "as this run trained" not in str(findings(beside(0.9, joints=12)))
    dropped = replace(beside(0.9, joints=12), settings={"drop": [*range(12, 17)]})
    assert "with all 12 joints, as this run trained" in str(findings(dropped))


def test_a_run_that_knows_nothing_of_all_joints_tells_how_to_get_a_baseline() -> None:
    record = record_of("coco_17", (0, 1))
    assert "There is no baseline yet." in titles(record, "note")
    assert "`callback.baseline(trainer.callback_metrics)`" in str(findings(record))
    unmeasured = selected(record, metrics={})
    assert "baseline" not in str(findings(unmeasured))


def test_a_baseline_that_cannot_be_used_is_a_doubt_and_a_warning() -> None:
    record = record_of("coco_17", (0, 1))
    percent = replace(record, baseline={"val_acc": 93.0})
    assert titles(percent, "check") == "The baseline seems to be in another unit."
    [doubt] = baseline_doubts(percent)
    assert "val_acc is 0.863 in this run and 93 in the baseline" in doubt.warning
    assert 'pass {"val_acc": 0.93} as baseline.' in doubt.warning
    other = replace(record, baseline={"loss": 0.1})
    assert titles(other, "check") == "The baseline has no val_acc."
    assert "There is no baseline" not in str(findings(other))
    assert baseline_doubts(replace(record, baseline={"val_acc": 0.9})) == ()
    assert baseline_doubts(replace(other, phase="search")) == ()


def test_a_missing_metric_is_said() -> None:
    assert "No metric was measured" in titles(unnamed((0.99, 0.01)), "check")
    named = selected(unnamed((0.99, 0.01)), metric="val_acc")
    assert "val_acc was not measured" in titles(named, "check")


def test_the_agreement_of_seeds_is_said_and_what_they_do_not_share() -> None:
    record = unnamed((0.99, 0.98, 0.01, 0.02))
    same = findings(record, [record, record])[-1]
    assert (same.level, same.title) == (
        "good",
        "All 2 kept joints are kept by all 3 seeds, stability 1.00.",
    )
    other = findings(record, [unnamed((0.99, 0.01, 0.98, 0.02))])[-1]
    assert other.level == "check"
    assert other.title.startswith("1 of the 2 kept joints is kept by all 2 seeds, stability 0.")
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
    found = [
        finding for finding in findings(record, (), evaluation) if "Gates drawn" in finding.title
    ]
    assert [finding.level for finding in found] == [level]
    assert f"The difference in accuracy is {soft}." in found[0].advice


def test_an_evaluation_of_costs_alone_says_nothing_of_trust() -> None:
    record = record_of("coco_17", tuple(range(10)))
    assert findings(record, (), evaluated(record)) == findings(record)


def test_the_verdict_is_the_worst_finding() -> None:
    doubts = findings(unnamed((0.99, 0.5, 0.01)))
    said = verdict(doubts)
    assert (said.level, said.title) == ("check", "Read this with care:")
    assert said.advice.startswith("1 of 3 joints is undecided. No metric")


def test_joints_that_are_never_used_do_not_count_as_moved_either() -> None:
    record = replace(unnamed((0.88, 0.0)), settings={"gate": GATE, "drop": [1]})
    assert "hardly moved" in titles(record, "bad")


def test_at_the_freeze_gates_that_hardly_moved_are_said_before_joints_that_are_kept_by_force() -> (
    None
):
    forced = PruningRecord(JointSelection((0, 1), 3, ("a", "b", "c"), (0.95, 0.4, 0.01)))
    low = {"GumbelSigmoid": {"initial_keep_probability": 0.4}}
    stuck = replace(selected(forced, keep_probabilities=(0.41, 0.4, 0.39)), settings={"gate": low})
    [doubt] = freeze_doubts(stuck)
    assert doubt.title.startswith("The gates hardly moved in the search: all are within 0.05")
    [doubt] = freeze_doubts(forced)
    assert doubt in findings(forced)
    assert doubt.warning.startswith("1 of the 2 kept joints has a keep probability of at most 0.5.")
    assert "others may do as well: b (0.40). Either the price is too high" in doubt.warning
    assert freeze_doubts(record_of("coco_17", (0, 1))) == ()
    assert freeze_doubts(record_of("coco_17", (0, 1), phase="search")) == ()


def test_a_floor_that_no_fewer_joints_met_is_said_also_where_joints_are_never_used() -> None:
    record = selected(measured((0.95, 0.85), (0.95,)), floor=0.9)
    assert floor_doubts(record) == ()
    [doubt] = floor_doubts(replace(record, settings={"drop": [1]}))
    assert doubt.level == "bad"
    assert "so all joints are kept" in doubt.warning
    assert floor_doubts(replace(record, settings={"drop": [1]}, phase="search")) == ()


def test_a_value_just_below_its_floor_has_the_digits_to_see_it() -> None:
    record = measured((0.95,), (0.89996,), floor=0.9)
    assert "val ended at 89.996 %, below its floor of 90 %." in titles(record, "check")


def test_joints_are_named_with_their_probabilities_up_to_a_number() -> None:
    record = unnamed((0.6,) * 30)
    assert names_of(record, [2, 5]) == "joint_2 (0.60), joint_5 (0.60)"
    assert names_of(record, range(NAMED + 3)).endswith(f"joint_{NAMED - 1} (0.60) and 3 more")


# --- what reached the gates ----------------------------------------------------------------------


def watched(inputs: dict[int, JointInput], **more: Any) -> tuple[PruningRecord, JointEvaluation]:
    """Return a run that keeps ten of 17 joints, and an evaluation whose inputs differ for some."""
    record = record_of("coco_17", tuple(range(10)))
    names = record.selection.joint_names
    usual = JointInput(1.0, 1.0, 0.0, None)
    seen = {name: inputs.get(number, usual) for number, name in enumerate(names)}
    return record, replace(evaluated(record), inputs=seen, **more)


def test_kept_joints_that_are_seldom_there_are_named() -> None:
    missing = {2: JointInput(1.0, 0.3, 0.0, None), 12: JointInput(1.0, 0.0, 0.0, None)}
    record, evaluation = watched(missing)
    found = {
        finding.level: finding
        for finding in findings(record, (), evaluation)
        if "picture" in finding.title
    }
    assert list(found) == ["check"]
    assert found["check"].title.startswith("1 of the 10 kept joints is undetected")
    assert "right_eye (0.99)." in found["check"].advice  # joint 12 is dropped
    numbered = replace(
        evaluation,
        joint_names=tuple(f"joint_{j}" for j in range(17)),
        inputs={
            f"joint_{j}": statistics for j, statistics in enumerate(evaluation.inputs.values())
        },
        drop={},
    )
    assert "right_eye (0.99)." in str(findings(record, (), numbered))
    record, evaluation = watched({})
    assert "Every kept joint is there to be seen" in str(findings(record, (), evaluation))


@pytest.mark.parametrize(
    ("kind", "words"),
    [("undetected", "were undetected in most"), ("outside", "were outside the picture in most")],
)
def test_kept_joints_that_the_first_batches_do_not_show_are_a_doubt(kind: str, words: str) -> None:
    record = record_of("coco_17", (5, 13, 15), unseen={kind: (13, 14, 15)})
    [doubt] = unseen_at_first(record)
    assert doubt in findings(record)
    assert doubt.level == "check"
    assert doubt.title == f"2 of the 3 kept joints {words} frames of the first batches."
    assert "left_knee (0.99), left_ankle (0.99)." in doubt.advice
    assert "`drop=[13, 15]`" in doubt.advice
    assert list(unseen_at_first(record_of("coco_17", (5,), unseen={kind: (13, 14)}))) == []
    assert doubt not in findings(replace(record, phase="warmup"))


def test_an_evaluation_that_does_not_know_the_picture_leaves_what_the_first_batches_show() -> None:
    record, evaluation = watched({})
    outside = replace(record, unseen={"outside": (3,)})
    said = str(findings(outside, (), evaluation))
    assert "outside the picture" in said
    assert "there to be seen" not in said
    _, missing = watched({2: JointInput(1.0, 0.3, 0.0, 0.9)})
    assert "first batches" not in str(findings(outside, (), missing))


def test_costs_that_go_with_motion_are_said() -> None:
    record, evaluation = watched({j: JointInput(1.0 + j, 1.0, 0.0, None) for j in range(10)})
    found = [
        finding for finding in findings(record, (), evaluation) if "how they move" in finding.title
    ]
    assert [(finding.level, finding.title[-5:]) for finding in found] == [("check", "1.00.")]
    mixed = {j: JointInput((7.0 * j) % 10, 1.0, 0.0, None) for j in range(10)}
    found = [
        finding
        for finding in findings(record, (), watched(mixed)[1])
        if "how they move" in finding.title
    ]
    assert [finding.level for finding in found] == ["note"]
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
    assert [finding.level for finding in normalised(record)] == ["note"]


@pytest.mark.parametrize("found", [{}, {"origin": 99}, {"origin": "nose"}, {"centred": None}])
def test_what_was_not_found_is_not_said(found: dict[str, Any]) -> None:
    assert list(normalised(record_of("coco_17", (5, 7), normalisation=found))) == []


def test_of_numbers_that_were_measured_no_keep_probability_is_a_doubt() -> None:
    record = of_fewest({17: 0.9, 8: 0.9, 2: 0.5}, kept=8)
    unsure = (0.5, *record.selection.keep_probabilities[1:])
    found = selected(record, keep_probabilities=unsure)
    assert "decided" not in titles(found, "check") + titles(found, "good")
    assert "undecided" in titles(replace(found, settings={}), "check")


def test_a_number_within_what_was_asked_for_is_not_worse_than_all_joints() -> None:
    values = {17: 0.96, 8: 0.91, 2: 0.5}
    assert "worse than with all" in titles(of_fewest(values, kept=8, within=0.01), "check")
    assert "worse than with all" not in titles(of_fewest(values, kept=8, within=0.1), "check")


def test_of_a_ladder_no_metric_falls_at_the_freeze() -> None:
    """Before it is the metric of all joints that were left; after it, of the fewest."""
    run = measured((0.9, 0.95), (0.80, 0.81))
    assert "fell at the freeze" in titles(run, "check")
    ladder = replace(run, rungs=(run.selection, run.selection))
    assert "fell at the freeze" not in titles(ladder, "check")
