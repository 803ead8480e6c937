"""Finds the doubts that a run's record raises about its answer, and what to do about each.

The callback warns of some in the course of the run; the page and the terminal list all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from lightning_jointprune.measure.baseline import baseline_of, unit_doubt
from lightning_jointprune.record.confounds import confounds
from lightning_jointprune.record.evaluation import JointEvaluation
from lightning_jointprune.record.record import PruningRecord, Snapshot
from lightning_jointprune.record.selection import beside_floor, is_undecided, show
from lightning_jointprune.record.stored import class_of
from lightning_jointprune.record.tables import printable
from lightning_jointprune.report.comparison import compare
from lightning_jointprune.report.curve import (
    chosen_of,
    compared_samples,
    fewest_of,
    given_of,
    number_trained,
)
from lightning_jointprune.search.budgets.fewest import Fewest
from lightning_jointprune.search.budgets.target_joints import TargetJoints
from lightning_jointprune.search.metrics import contradicts

STUCK = 0.05  # keep probability by which a gate has to leave its start
# Smallest fall at the freeze that counts: of a metric in [0, 1], and as a share of any other.
FALL, SHARE = 0.02, 0.05
# Levels of doubts, the worst first, each with the words of a verdict.
LEVELS = {"bad": "Do not rely on this yet", "check": "Read this with care"}
LOSS = 0.01  # largest loss against a baseline that raises no doubt, in the same two units
STABLE = 0.75  # excellent agreement beyond chance, by the scale that Nogueira et al. 2018 use


class Finding(NamedTuple):
    """Says one thing about a run.

    Attributes:
        level: `"good"`, `"note"`, `"check"` (read with care) or `"bad"` (do not rely on it).
        title: the finding, in one sentence.
        advice: its meaning and what to do, with code between backticks.
    """

    level: str
    title: str
    advice: str

    @property
    def warning(self) -> str:
        """Return the finding as one text."""
        return f"{self.title} {self.advice}"


def findings(
    record: PruningRecord,
    seeds: Sequence[PruningRecord] = (),
    evaluation: JointEvaluation | None = None,
) -> tuple[Finding, ...]:
    """Return what speaks for the run's answer and against it, in reading order.

    Args:
        record: the record of the run.
        seeds: the records of other runs that differ in their seed.
        evaluation: what its joints are worth, and what reached their gates.

    Raises:
        ValueError: if seeds or evaluation have other joints.
    """
    checks = [_finished]
    if given_of(record):
        checks += [_given, _held, _measured, _unusable, _beside_all]
    elif record.phase != "warmup":
        checks += [_few, _percent, _mode, _floor, _moved, _untold, _short, _decided]
    if record.phase == "final" and not given_of(record):
        checks += [_number, _cover, _uncompared, _reversed, _alike, _improved, _forced, _denied]
        checks += [_held, _measured, _unusable, _beside_all, _frozen]
    found = [finding for check in checks for finding in check(record)]
    if evaluation is not None:
        found += [*_soft(evaluation), *moving(evaluation)]
    if record.phase != "warmup":
        found += _seen(record, evaluation)
    found += normalised(record)
    if seeds and record.phase != "warmup":
        found.append(_agreement(record, seeds))
    elif record.phase != "warmup" and not given_of(record):
        foretold = record.selection.how_sure()
        found.append(_SEEDS._replace(advice=f"{foretold} {_SEEDS.advice}".lstrip()))
    return tuple(found)


def early_doubts(record: PruningRecord) -> tuple[Finding, ...]:
    """Return the findings to warn of when the search begins."""
    return (*_few(record), *_percent(record), *_mode(record))


def freeze_doubts(record: PruningRecord) -> tuple[Finding, ...]:
    """Return the findings to warn of when the mask was just frozen."""
    choice = (*_uncompared(record), *_reversed(record), *_alike(record))
    gates = tuple(_moved(record)) or tuple(_forced(record))
    return (*_untold(record), *_short(record), *choice, *gates)


def floor_doubts(record: PruningRecord) -> tuple[Finding, ...]:
    """Return the findings to warn of at the end of a run: that a floor was not met."""
    return tuple(_floor(record))


def baseline_doubts(record: PruningRecord) -> tuple[Finding, ...]:
    """Return the findings to warn of at the end of a run: that a baseline cannot be used."""
    return tuple(_unusable(record)) if record.phase == "final" else ()


def verdict(found: Sequence[Finding]) -> Finding:
    """Return one finding for all, at the level of the worst."""
    for level, words in LEVELS.items():
        titles = [finding.title.rstrip(".") for finding in found if finding.level == level]
        if titles:
            more = f" And {len(titles) - 2} more." if len(titles) > 2 else ""
            return Finding(level, f"{words}:", f"{'. '.join(titles[:2])}.{more}")
    if any(finding.title == _UNKNOWN.title for finding in found):
        more = "What the model reaches without pruning is not known yet."
        return Finding("note", "The run's own checks found nothing against it.", more)
    return Finding("good", "This looks sound:", "the run's own checks found nothing against it.")


def in_brief(found: Sequence[Finding]) -> str:
    """Return the verdict, and below it each doubt in a line of its own, for a terminal."""
    said = verdict(found)
    doubts = [finding for level in LEVELS for finding in found if finding.level == level]
    if not doubts:
        return f"{said.title} {said.advice}"
    return "\n".join([said.title, *(f"- {printable(doubt.title)}" for doubt in doubts)])


_SEEDS = Finding(
    "note",
    "One run shows which joints suffice, not which are useless.",
    "Of redundant joints, a few are kept, and which ones may change with the seed. Train with "
    "other seeds, and compare the runs with `jointprune compare RUN RUN`.",
)


def _agreement(record: PruningRecord, seeds: Sequence[PruningRecord]) -> Finding:
    """Return a finding on how far runs with other seeds kept the same joints."""
    numbers = compare({str(place): run for place, run in enumerate([record, *seeds])})
    runs, kept = len(numbers.runs), len(record.selection.indices)
    rows = sorted(numbers.rows, key=lambda row: row.number)
    always = sum(row.votes == runs for row in rows)
    alone = [row.number for row in rows if row.kept[0] and row.votes < runs]
    stable = "" if numbers.stability is None else f", stability {numbers.stability.value:.2f}"
    advice = "The stability is 1 if all runs keep the same joints, 0 if they agree by chance only."
    if alone:
        advice += (
            f" Not kept by all: {names_of(record, alone)}. Do not claim that these are needed."
        )
    return Finding(
        "good" if numbers.stability is None or numbers.stability.value >= STABLE else "check",
        f"{_share_of(always, kept)} kept by all {runs} seeds{stable}.",
        advice,
    )


def _share_of(some: int, kept: int, singular: str = "is", plural: str = "are") -> str:
    """Return the subject and the verb of a sentence about some of the kept joints."""
    if some == kept:
        return f"The one kept joint {singular}" if kept == 1 else f"All {kept} kept joints {plural}"
    return f"{some} of the {kept} kept joints {singular if some == 1 else plural}"


def _soft(evaluation: JointEvaluation) -> Iterator[Finding]:
    """Find whether the hard mask does as well as the gates of the search."""
    soft = evaluation.soft
    if soft is None:
        return
    fell = soft.value > FALL if soft.low is None else soft.low > 0
    words = "better than" if fell else "no better than"
    yield Finding(
        "check" if fell else "good",
        f"Gates drawn as in the search are {words} the hard mask.",
        f"The difference in {evaluation.metric} is {soft}."
        + (" The search had not decided: train for more epochs." if fell else ""),
    )


def _finished(record: PruningRecord) -> Iterator[Finding]:
    trained, kept = number_trained(record), len(record.selection.indices)
    if record.phase == "final" and trained != kept:
        yield Finding(
            "check",
            f"The run chose {trained} joints, and its final phase trained the model for these.",
            f"With these {kept} it was measured when numbers of joints were compared. For a model "
            f"of its own, train with `budget=TargetJoints({kept})`.",
        )
    elif record.phase == "final":
        yield Finding(
            "good",
            "The run reached its final phase.",
            "The joints are frozen, and the model was trained on with exactly these.",
        )
    else:
        phase = {"warmup": "warm-up", "compare": "comparison"}.get(record.phase, record.phase)
        yield Finding(
            "bad",
            "The run has not reached its final phase.",
            f"It was in its {phase} when this was written, so the joints are provisional. Let it "
            "finish, then open this page again; a run that was stopped goes on with "
            "`trainer.fit(model, ckpt_path=...)`.",
        )


def _given(record: PruningRecord) -> Iterator[Finding]:
    yield Finding(
        "note",
        given_of(record) or "",
        "It shows what the model reaches with them, and not whether others do as well: that is a "
        "question to the runs that found them.",
    )


def _floor(record: PruningRecord) -> Iterator[Finding]:
    selection = record.selection
    metric, floor, better = selection.metric, selection.floor, selection.higher_is_better
    if metric is None or floor is None or record.phase != "final":
        return
    limit, past = ("floor", "below") if better else ("ceiling", "above")
    if floor_missed(record):
        drop = class_of(record.settings.get("budget"))[1].get("drop")
        asked = f"{floor:.4g}" + ("" if drop is None else f", for drop={drop:g},")
        yield Finding(
            "bad",
            f"{metric} was not surely at its {limit} of {asked} with fewer joints in the search, "
            "so all joints are kept.",
            f"{_nearest(record, floor)}Nothing was learned about the joints. "
            + (
                f"Set a {limit} that the model reaches with all joints, validate more often, or "
                "train for longer."
                if drop is None
                else "Allow a larger drop, validate more often, or train for longer."
            ),
        )
        return
    value = selection.metrics.get(metric)
    if value is not None and _worse(record, value, floor):
        got, asked = beside_floor(value, floor, better)
        yield Finding(
            "check",
            f"{metric} ended at {got}, {past} its {limit} of {asked}.",
            f"The search met it. Ask for a {limit} with a margin, or leave more of the run to the "
            "final phase (an earlier second value of `phases`).",
        )


def _nearest(record: PruningRecord, floor: float) -> str:
    """Return a sentence on the smallest mask that met a floor once, or else came nearest to it."""
    metric, better = record.selection.metric or "", record.selection.higher_is_better
    usable = record.selection.num_joints - len(_fixed(record, "drop"))
    tried = [
        (floor - note.metrics[metric] if better else note.metrics[metric] - floor, note)
        for note in record.history
        if note.phase == "search" and metric in note.metrics and note.active_joints < usable
    ]
    if not tried:
        return "No validation had fewer joints. "
    missing, note = min(tried, key=lambda pair: (max(0.0, pair[0]), pair[1].active_joints))
    words = "was there once" if missing <= 0.0 else "came nearest"
    joints = f"{note.active_joints} joint{'' if note.active_joints == 1 else 's'}"
    return f"With {joints} it {words}: {show(note.metrics[metric])} at step {note.step}. "


def floor_missed(record: PruningRecord) -> bool:
    """Return whether all joints are kept since no fewer surely met the floor that was asked for."""
    usable = record.selection.num_joints - len(_fixed(record, "drop"))
    asked = record.selection.floor is not None and record.phase == "final"
    return asked and len(record.selection.indices) == usable


def _fixed(record: PruningRecord, setting: str) -> list[int]:
    """Return the joints that `keep` or `drop` names, which are not searched for."""
    named = record.settings.get(setting)
    joints = range(record.selection.num_joints)
    return [joint for joint in joints if joint in named] if isinstance(named, list) else []


def _moved(record: PruningRecord) -> Iterator[Finding]:
    if record.phase == "final" and (start := _stuck_at(record)) is not None:
        yield Finding(
            "bad",
            f"The gates hardly moved in the search: all are within {STUCK:g} of where they "
            f"started, {start:g}.",
            "The selection says little, since the search was too short for the gates' learning "
            "rate. Train for more epochs, or pass a higher `lr` to the callback.",
        )


def _stuck_at(record: PruningRecord) -> float | None:
    """Return the keep probability that all gates started at, if none has left it."""
    _, arguments = class_of(record.settings.get("gate"))
    start = arguments.get("initial_keep_probability")
    if not isinstance(start, float):
        return None
    fixed = {*_fixed(record, "keep"), *_fixed(record, "drop")}
    latest = record.history[-1:] or (record.selection,)  # those of a rung are of an earlier moment
    searched = [p for j, p in enumerate(latest[0].keep_probabilities) if j not in fixed]
    return start if searched and all(abs(p - start) < STUCK for p in searched) else None


def _untold(record: PruningRecord) -> Iterator[Finding]:
    began, learned = record.course.get("began"), record.course.get("learned_at")
    if began is None or record.phase == "search":
        return
    advice = (
        "Train for more epochs, or with another learning rate. A model that was trained before has "
        "little left to learn: pass `phases=(0.0, 0.6)`, and the search begins at once."
    )
    if learned is None:
        yield Finding(
            "bad",
            "The model had not begun to learn when the search ended.",
            "The training loss had fallen by less than a tenth, and a model at chance tells joints "
            f"apart by chance. {advice}",
        )
    elif learned > began:
        yield Finding(
            "check",
            f"The model had hardly begun to learn when the search began, at {began:.0%} of the "
            "run.",
            f"The training loss had fallen by a tenth at {learned:.0%} of it. Until then the gates "
            f"were moved by chance. {advice}",
        )


ENOUGH_STEPS = 400  # of a search, above which its length mattered less in measurements


FEWER = (
    "Where that was measured, runs twice as long kept up to 60 % fewer joints; with more than "
    f"{ENOUGH_STEPS} steps it was up to a third. "
)


def _short(record: PruningRecord) -> Iterator[Finding]:
    steps, began = record.course.get("steps"), record.course.get("began")
    if record.phase == "search" or not steps or steps >= ENOUGH_STEPS or not record.history:
        return
    if began is None:  # begun by an older version, which did not count all steps
        return
    # A moment of the search, so that the freeze and the end of the run give the same advice.
    searched = [moment for moment in record.history if moment.phase == "search"]
    latest = (searched or record.history)[-1]
    done, more = max(latest.progress, began), ENOUGH_STEPS / steps
    epochs = math.ceil(round((latest.epoch + 1) / done, 6) * more)
    yield Finding(
        "check",
        f"The search had {steps} steps, and which joints are kept may depend on that.",
        ("" if _has_numbers(record) else FEWER)
        + f"Pass `Trainer(max_epochs={epochs})`, say, or where steps end the run "
        f"`max_steps={math.ceil(round(latest.step / done, 6) * more)}`.",
    )


def _has_numbers(record: PruningRecord) -> bool:
    """Return whether numbers of joints were asked for, or compared, so that no price decides."""
    budget = record.settings.get("budget")
    named = class_of(budget)[0] in (Fewest.__name__, TargetJoints.__name__)
    return named or isinstance(budget, int | list)


FEW_SAMPLES = 50  # of a validation, with which a share has a standard error of up to 0.07


def _few(record: PruningRecord) -> Iterator[Finding]:
    samples, of_all = compared_samples(record), record.selection.samples
    if fewest_of(record) is None or not samples or not 0 < samples < FEW_SAMPLES:
        return
    noun = "sample" if samples == 1 else "samples"
    more, said = "Validate on more samples.", f"The validation has {samples} {noun}"
    if of_all is not None and samples < of_all:
        more = "A longer run compares them on more."
        said = f"The comparison had {samples} of the validation's {of_all} samples"
    yield Finding(
        "check",
        f"{said}, too few to compare numbers of joints by.",
        f"One standard error of a share of them is up to {0.5 / math.sqrt(samples):.2g}, and "
        f"fewer joints that are worse by as much count as good. {more}",
    )


def _percent(record: PruningRecord) -> Iterator[Finding]:
    arguments, selection = fewest_of(record), record.selection
    known = [point.value for point in record.frontier if point.value is not None]
    known = known or [selection.metrics_all_joints.get(selection.metric or "", -1.0)]
    within = arguments.get("within") if arguments else None
    if not isinstance(within, int | float) or within >= 0.1 or not selection.higher_is_better:
        return
    if min(known) >= 0.0 and 1.0 < max(known) <= 100.0:
        name = repr(selection.metric)
        yield Finding(
            "check",
            f"{selection.metric} is {show(max(known))} beside within={within:g} of Fewest.",
            f"If it is in per cent, this is {within:g} of a point: pass "
            f"`Fewest({name}, within={100 * within or 1.0:g})`. Else pass a `within` in its units.",
        )


def _mode(record: PruningRecord) -> Iterator[Finding]:
    arguments, metric = fewest_of(record), record.selection.metric
    higher = record.selection.higher_is_better
    if not metric or arguments is None or arguments.get("mode") or not contradicts(metric, higher):
        return
    other = "min" if higher else "max"
    yield Finding(
        "bad",
        f"Numbers of joints are compared as if {'higher' if higher else 'lower'} values of "
        f"{metric} were better.",
        f"That is the mode of what monitors it, and its name says the opposite. Pass "
        f"`mode={other!r}` to ModelCheckpoint and EarlyStopping, and `Fewest({metric!r}, "
        f"mode={other!r})` where it is meant.",
    )


def _reversed(record: PruningRecord) -> Iterator[Finding]:
    chosen, arguments, metric = chosen_of(record), fewest_of(record), record.selection.metric
    known = [point for point in record.frontier if point.value is not None]
    if chosen is None or not arguments or arguments.get("mode") or chosen.kept != known[0].joints:
        return
    if any(_mode(record)):
        return  # that says it
    most, higher = known[-1], record.selection.higher_is_better
    if most.value is not None and _fell(record, chosen.value, most.value):
        yield Finding(
            "bad",
            f"{metric} is better with the fewest joints, {chosen.kept}, than with {most.joints}.",
            f"It is {show(chosen.value)} against {show(most.value)}, where "
            f"{'higher' if higher else 'lower'} values count as better. If they are worse, pass "
            f"`Fewest({metric!r}, mode={'min' if higher else 'max'!r})`.",
        )


def _alike(record: PruningRecord) -> Iterator[Finding]:
    chosen = chosen_of(record)
    if chosen is None or chosen.by_error:
        return
    values = [point.value for point in record.frontier if point.value is not None]
    within, (low, high) = chosen.tolerance, (min(values), max(values))
    if high - low <= within and _fell(record, chosen.best_value, chosen.value):
        small = within / 100 if within >= 1.0 >= high else (high - low) / 10
        yield Finding(
            "check",
            f"Every number of joints is within {within:g} of the best, so the fewest were taken.",
            f"{record.selection.metric} lies between {show(low)} and {show(high)}, and `within` is "
            f"in its units. Pass `Fewest(within={small:.2g})`, say.",
        )


def _uncompared(record: PruningRecord) -> Iterator[Finding]:
    metric = record.selection.metric or ""
    if fewest_of(record) is None or not record.rungs:
        return
    if any(metric in rung.metrics for rung in record.rungs):
        return
    logged = next((list(rung.metrics) for rung in record.rungs if rung.metrics), [])
    if metric:
        why = f"{metric} was not measured, or was no finite number. Log one that is, each time"
    elif logged:
        why = (
            f"The validation logged {', '.join(logged)}, of which none is monitored or in the "
            f"progress bar. Pass `Fewest({logged[0]!r})`, say"
        )
    else:
        why = "No validation measured a metric to compare by. Log one in `validation_step`"
    yield Finding("bad", "No number of joints could be compared, so all are kept.", f"{why}.")


def _improved(record: PruningRecord) -> Iterator[Finding]:
    chosen, metric = chosen_of(record), record.selection.metric or ""
    now = record.selection.metrics.get(metric)
    if chosen is not None and now is not None and _fell(record, now, chosen.value):
        yield Finding(
            "check",
            f"{metric} has improved since the numbers of joints were compared.",
            f"With the kept joints it was {show(chosen.value)} then and is {show(now)} now, so the "
            "model had not learned all it could, and other numbers may do better, too. Train for "
            "more epochs.",
        )


def _decided(record: PruningRecord) -> Iterator[Finding]:
    selection = record.selection
    if record.phase == "final" and (_stuck_at(record) is not None or fewest_of(record)):
        return  # another finding says it; a number that was measured does not depend on it
    if record.selection.again:
        return  # a number was asked for, and what another seed would keep is foretold
    unsure = [j for j, p in enumerate(selection.keep_probabilities) if is_undecided(p)]
    if unsure:
        verb = "is" if len(unsure) == 1 else "are"
        yield Finding(
            "check",
            f"{len(unsure)} of {selection.num_joints} joints {verb} undecided.",
            f"Their keep probability is between 0.1 and 0.9: {names_of(record, unsure)}. Another "
            "seed may decide otherwise. Train for more epochs, or with a later end of the search "
            "(the second value of `phases`).",
        )
    else:
        yield Finding(
            "good", "Every joint is decided.", "No keep probability lies between 0.1 and 0.9."
        )


def _number(record: PruningRecord) -> Iterator[Finding]:
    kept, total = len(record.selection.indices), record.selection.num_joints
    if kept == 0:
        yield Finding(
            "bad",
            "No joint is kept.",
            "The price of a joint is above what any of them is worth. Pass a lower `Price`.",
        )
    elif kept == total and not floor_missed(record):
        yield Finding(
            "check",
            "No joint was dropped.",
            "Either the model needs all of them, or the search was too short or the price too low "
            "to tell. Train for more epochs, or pass a higher `Price`.",
        )


def _held(record: PruningRecord) -> Iterator[Finding]:
    if record.settings.get("fill") == "hold" and record.selection.ratio > 0.0:
        yield Finding(
            "check",
            "The first frame of dropped joints still reached the model.",
            'With fill="hold" a run shows that the motion of these joints is not needed, and '
            "nothing on their place. To claim that they can be left out, train again with another "
            "fill.",
        )


def _cover(record: PruningRecord) -> Iterator[Finding]:
    if record.course.get("cover"):
        yield Finding(
            "note",
            "The kept joints also stand for the others.",
            "Joints that nearly are each other are worth about the same to this model. So the set "
            "of joints was chosen that foretells all others best, not the joints that are worth "
            "most one by one.",
        )


def _forced(record: PruningRecord) -> Iterator[Finding]:
    selection = record.selection
    probabilities = selection.keep_probabilities
    forced = [joint for joint in selection.indices if probabilities[joint] <= 0.5]
    if forced and not floor_missed(record) and chosen_of(record) is None:
        yield Finding(
            "check",
            f"{_share_of(len(forced), len(selection.indices), 'has', 'have')} a keep probability "
            "of at most 0.5.",
            f"The search did not choose them, and others may do as well: "
            f"{names_of(record, forced)}. Either the price is too high, the number of joints above "
            "what the model needs, or the search too short.",
        )


def _denied(record: PruningRecord) -> Iterator[Finding]:
    selection = record.selection
    pairs = enumerate(zip(selection.mask, selection.keep_probabilities, strict=True))
    denied = [joint for joint, (kept, p) in pairs if not kept and p > 0.5]
    if denied and chosen_of(record) is None:
        verb = "has" if len(denied) == 1 else "have"
        yield Finding(
            "note",
            f"{len(denied)} dropped joint{'' if len(denied) == 1 else 's'} {verb} a keep "
            "probability above 0.5.",
            f"The budget dropped them, not the search: {names_of(record, denied)}. A larger budget "
            "would keep them first.",
        )


def _measured(record: PruningRecord) -> Iterator[Finding]:
    metric = record.selection.metric
    if record.selection.metrics.get(metric or "") is None:
        missing = f"{metric} was not" if metric else "No metric was"
        yield Finding(
            "check",
            f"{missing} measured with the kept joints.",
            "Log one in `validation_step`, so that the final phase has a figure to judge the "
            "selection by"
            + ("." if metric else ", and monitor it or show it in the progress bar."),
        )


def _unusable(record: PruningRecord) -> Iterator[Finding]:
    metric = record.selection.metric
    if doubt := unit_doubt(record):
        yield Finding("check", "The baseline seems to be in another unit.", doubt)
    elif record.baseline and metric and metric not in record.baseline:
        yield Finding(
            "check",
            f"The baseline has no {metric}.",
            f"It has {', '.join(record.baseline)}. Log {metric} in the run without the callback as "
            "well, and pass its figures again.",
        )


# How to get a baseline, in one line.
NO_BASELINE = (
    "There is no baseline yet: train once without the callback, and pass its figures, by "
    "`callback.baseline(trainer.callback_metrics)` or `jointprune report RUN --baseline FILE`."
)
_UNKNOWN = Finding("note", "There is no baseline yet.", f"T{NO_BASELINE.partition(': t')[2]}")


def _beside_all(record: PruningRecord) -> Iterator[Finding]:
    """Find what the kept joints do beside the baseline, and beside all joints of a curve."""
    alone = record.selection.metrics.get(record.selection.metric or "")
    if alone is None:
        return
    baseline = baseline_of(record)
    if baseline is not None:
        yield _beside_baseline(record, alone, baseline)
        return
    yield from _beside_most(record)
    if not record.baseline:
        yield _UNKNOWN


def _beside_baseline(record: PruningRecord, alone: float, baseline: float) -> Finding:
    """Return a finding on a metric with the kept joints beside that of a run without pruning."""
    metric, higher = record.selection.metric, record.selection.higher_is_better
    lost = baseline - alone if higher else alone - baseline
    fraction = 0 <= baseline <= 1 and 0 <= alone <= 1
    allowed = LOSS if fraction else (LOSS if higher else SHARE) * abs(baseline)
    within = (fewest_of(record) or {}).get("within")
    if isinstance(within, int | float) and within < abs(baseline):
        allowed = max(allowed, within)
    beyond = lost > allowed + 1e-9  # of rounding
    title = f"{metric} is the same as without pruning."
    if lost:
        title = f"{metric} is {show(abs(lost))} {'worse' if lost > 0 else 'better'} than without "
        title += "pruning."
    return Finding(
        "check" if beyond else "note",
        title,
        f"It is {show(alone)} against {show(baseline)}."
        + (f" {_remedy(record)}" if beyond else ""),
    )


def _remedy(record: PruningRecord) -> str:
    """Return what to do where a metric is worse with the kept joints than with all of them."""
    overfitting = _overfitting(record)
    if overfitting or not fewest_of(record):
        return overfitting or "Keep more joints, by a lower price or a larger number."
    return "Pass a smaller `within` to Fewest, or train for more epochs."


GAP = 0.1  # share by which the training loss has fallen and the validation's risen, 0 to 1


def _overfitting(record: PruningRecord) -> str:
    """Return what to say of a model whose training loss fell while the validation's rose, or "".

    The search does not count, since the noise of its gates is in the training loss.
    """
    known, metric = [], ""
    for note in record.history:
        metric = metric or next((name for name in note.metrics if "loss" in name.lower()), "")
        if note.phase in ("warmup", "final") and note.loss is not None and metric in note.metrics:
            known.append((note.metrics[metric], note.loss))
    (best, before), (last, now) = (min(known), known[-1]) if known else ((0.0, 0.0), (0.0, 0.0))
    if min(best, before) <= 0.0 or last < (1.0 + GAP) * best or now > (1.0 - GAP) * before:
        return ""
    return (
        f"The training loss fell from {show(before)} to {show(now)} while {metric} rose from "
        f"{show(best)} to {show(last)}: the model overfits, which more joints would not mend. "
        "Train with more data or more regularization, or for fewer epochs."
    )


def _beside_most(record: PruningRecord) -> Iterator[Finding]:
    """Find whether a curve's chosen number is worse than all joints, as the run trained them."""
    points, kept = record.frontier, len(record.selection.indices)
    most, metric = points[-1], record.selection.metric
    chosen = next((point.value for point in points if point.joints == kept), None)
    usable = record.selection.num_joints - len(_fixed(record, "drop"))
    if most.value is None or chosen is None or not kept < most.joints == usable:
        return
    within = (fewest_of(record) or {}).get("within")
    allowed = within if isinstance(within, int | float) else 0.0
    if _fell(record, most.value, chosen) and abs(most.value - chosen) > allowed + 1e-9:
        yield Finding(
            "check",
            f"{metric} is worse than with all {usable} joints, as this run trained them.",
            f"It is {show(chosen)} against {show(most.value)}. {_remedy(record)}",
        )


def _frozen(record: PruningRecord) -> Iterator[Finding]:
    metric = record.selection.metric
    search, final = _values(record, "search"), _values(record, "final")
    # The metric of a ladder is of its fewest joints at the end of the search, and of `Fewest` then
    # of all of them, so that the two are of different joints.
    if not search or not final or len(record.rungs) > 1:
        return
    (step, before), (_, after), (_, end) = search[-1], final[0], final[-1]
    figures = (
        f"It was {show(before)} at the last validation of the search (step {step}) and "
        f"{show(after)} at the first after it"
    )
    if not _fell(record, before, after):
        yield Finding("good", f"{metric} held at the freeze.", f"{figures}.")
    elif not _fell(record, before, end):
        yield Finding(
            "note",
            f"{metric} fell at the freeze, and has recovered.",
            f"{figures}; at the end it is {show(end)}.",
        )
    else:
        yield Finding(
            "check",
            f"{metric} fell at the freeze by {show(abs(before - after))}.",
            f"{figures}; at the end it is {show(end)}. Leave more of the run to the final phase "
            "(an earlier second value of `phases`), or train for more epochs.",
        )


def _values(record: PruningRecord, phase: str) -> list[tuple[int, float]]:
    """Return step and value of each validation in a phase that measured the metric."""

    def value(note: Snapshot) -> float | None:
        return note.metrics.get(record.selection.metric or "")

    notes = [note for note in record.history if note.phase == phase]
    return [(note.step, known) for note in notes if (known := value(note)) is not None]


def _worse(record: PruningRecord, value: float, than: float) -> bool:
    return value < than if record.selection.higher_is_better else value > than


def _fell(record: PruningRecord, before: float, after: float) -> bool:
    """Return whether the metric got worse by more than validations differ from one another."""
    fraction = 0 <= before <= 1 and 0 <= after <= 1
    enough = abs(before - after) > (FALL if fraction else SHARE * abs(before))
    return enough and _worse(record, after, before)


FEW, ALIKE = 8, 0.7  # smallest number of joints for a rank correlation, and a high value of it


def unseen(record: PruningRecord, evaluation: JointEvaluation) -> Iterator[Finding]:
    """Find kept joints that are seldom detected in the picture."""
    if not evaluation.inputs or not evaluation.indices:
        return
    names = {name: number for number, name in enumerate(evaluation.joint_names)}
    unseen = [names[name] for name in confounds({}, evaluation.inputs, _kept(evaluation)).phantoms]
    if unseen:
        yield Finding(
            "check",
            f"{_share_of(len(unseen), len(evaluation.indices))} undetected, interpolated or out of "
            "the picture in most frames.",
            f"What the model reads there may be the recording and not the movement: "
            f"{names_of(record, unseen)}. Look at such clips, or train without these joints by "
            "`drop=`, and compare.",
        )
    else:
        yield Finding(
            "good",
            "Every kept joint is there to be seen.",
            "None is undetected or interpolated in most frames of the data that were evaluated.",
        )


def _seen(record: PruningRecord, evaluation: JointEvaluation | None) -> list[Finding]:
    """Return findings on kept joints that are not seen, by the evaluation or the first batches."""
    first = [*unseen_at_first(record)]
    now = [] if evaluation is None else [*unseen(record, evaluation)]
    return first if first and all(finding.level == "good" for finding in now) else now


UNSEEN = {"undetected": "undetected", "outside": "outside the picture"}


def unseen_at_first(record: PruningRecord) -> Iterator[Finding]:
    """Find kept joints that were not there, or not in the picture, in the first batches."""
    for kind, words in UNSEEN.items():
        joints = [joint for joint in record.unseen.get(kind, ()) if record.selection.mask[joint]]
        if not joints:
            continue
        said = _share_of(len(joints), len(record.selection.indices), "was", "were")
        yield Finding(
            "check",
            f"{said} {words} in most frames of the first batches.",
            "What the model reads there may be a detector's guess and not the movement: "
            f"{names_of(record, joints)}. Look at such clips, or train without these joints by "
            f"`drop={joints}`, and compare.",
        )


def moving(evaluation: JointEvaluation) -> Iterator[Finding]:
    """Find whether the joints that cost most are those that move most."""
    costs = evaluation.drop or evaluation.permute
    if not evaluation.inputs or len(costs) < FEW:
        return
    motion = evaluation.confounds().motion
    if motion is not None:
        yield Finding(
            "check" if abs(motion) >= ALIKE else "note",
            f"The rank correlation of what joints cost with how they move is {motion:.2f}.",
            f"It is over {len(costs)} kept joints, too few for an interval."
            + (
                " The joints may be kept since they move, not for what they show: look at which "
                "classes need them."
                if abs(motion) >= ALIKE
                else ""
            ),
        )


def _kept(evaluation: JointEvaluation) -> list[str]:
    return [evaluation.joint_names[index] for index in evaluation.indices]


def normalised(record: PruningRecord) -> Iterator[Finding]:
    """Find a normalisation before the gates that lets dropped joints change the kept ones."""
    found, dropped = record.normalisation, not all(record.selection.mask)
    level = "check" if dropped and record.phase == "final" else "note"
    done = [word for word in ("centred", "scaled") if found.get(word)]
    if done:
        unit = found[done[0]]
        what = " and ".join(done)
        yield Finding(
            level,
            f"The coordinates are {what} by all joints of each {unit}, before the gates.",
            "So where the dropped joints are still moves the kept ones, and whoever reads the kept "
            "joints alone cannot compute them as here. Before you write that the others are not "
            f"needed, have the data {what} by joints that are kept, train again, and compare.",
        )
    origin = found.get("origin")
    if isinstance(origin, int) and 0 <= origin < record.selection.num_joints:
        name = record.selection.joint_names[origin]
        yield Finding(
            "note" if record.selection.mask[origin] else level,
            f"{name} is at 0 in every frame.",
            "If the other joints are measured from it, it says nothing by itself and is dropped, "
            "yet where it is has to be known: count it as needed. If it was never detected, there "
            "is nothing to count.",
        )
    if found.get("standardised"):
        yield Finding(
            "note",
            "The coordinates look standardised, all joints together.",
            "A model that is fed the kept joints alone needs the same mean and deviation, those of "
            "all joints: fitted on the kept ones, they would shift what it sees. Store them with "
            "the model.",
        )


NAMED = 8  # largest number of joints that a finding names


def names_of(record: PruningRecord, joints: Iterable[int]) -> str:
    """Return the names of the first joints, with their keep probabilities."""
    selection, numbers = record.selection, list(joints)
    named = [
        f"{selection.joint_names[j]} ({selection.keep_probabilities[j]:.2f})"
        for j in numbers[:NAMED]
    ]
    return ", ".join(named) + (f" and {len(numbers) - NAMED} more" * (len(numbers) > NAMED))
