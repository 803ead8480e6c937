"""Writes down what a run learns, and leaves it in files: record, selection, report."""

from __future__ import annotations

import math
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from typing import Any

from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.measure.agreement import kept_again
from lightning_jointprune.measure.baseline import baseline_sentence
from lightning_jointprune.record.files import Place, RunFolder
from lightning_jointprune.record.record import REPORT_FILE, PruningRecord, Snapshot
from lightning_jointprune.record.selection import JointSelection, stand_ins_of
from lightning_jointprune.record.stored import RECORD_FILE, SELECTION_FILE, as_argument
from lightning_jointprune.record.tables import SCREEN
from lightning_jointprune.record.versions import installed
from lightning_jointprune.report.curve import TEST_PART, chosen_of, given_of, sentence_of
from lightning_jointprune.report.doubts import (
    LEVELS,
    baseline_doubts,
    early_doubts,
    findings,
    floor_doubts,
    freeze_doubts,
    in_brief,
    verdict,
)
from lightning_jointprune.run.first_batches import (
    FirstBatches,
    MeanPose,
    Normalisation,
    Order,
    Presence,
    Redundancy,
)
from lightning_jointprune.run.loggers import hand_over
from lightning_jointprune.search.budgets import AUTO
from lightning_jointprune.search.metrics import higher_is_better
from lightning_jointprune.search.search import JointSearch
from lightning_jointprune.skeletons import Skeleton

REFRESH_SHARE = 0.01  # most of a run's time that files in the course of it may cost, 0 to 1
REFRESH_COST = 1.0  # expected cost of the first of them, in seconds
PLAIN = (  # names of attributes that stand in the state as they are
    "settings",
    "metrics",
    "metrics_all_joints",
    "rung_metrics",
    "rung_samples",
    "metric",
    "floor",
    "samples",
    "logged",
)
# Packages whose versions a record has.
PACKAGES = ("lightning-jointprune", "torch", "lightning", "pytorch-lightning", "torchmetrics")


class Recorder:
    """Gathers the history of a search, at the ends of epochs, and writes it to files.

    Args:
        joint_names: names of all joints, shape `(J,)`.
        skeleton: the skeleton, if it is known.
        settings: the callback's arguments, as plain values.
        metric: the metric to quote; None chooses one when it is known what is measured.
        floor: of the metric, in its units, if one was asked for and is known.
        higher_is_better: whether higher values of the metric are better.
        told: whether the user said so, so that the mode of a monitor does not count.
    """

    def __init__(
        self,
        joint_names: Sequence[str],
        skeleton: Skeleton | None,
        settings: Mapping[str, Any],
        metric: str | None = None,
        floor: float | None = None,
        higher_is_better: bool = True,
        told: bool = False,
    ) -> None:
        self.joint_names = tuple(joint_names)
        self.skeleton = skeleton
        self.settings = dict(settings)
        self.metric = metric
        self.floor = floor
        self.higher_is_better, self.told = higher_is_better, told
        self._settled = metric is not None  # whether the metric to quote no longer changes
        self._monitored = True  # whether a callback looks at one that was logged; see `quote`
        self.history: list[Snapshot] = []
        self.metrics: dict[str, float] = {}
        self.metrics_all_joints: dict[str, float] = {}
        self.rung_metrics: list[dict[str, float]] = []  # of a ladder, at the end of the run
        self.rung_samples: int | None = None  # of a validation that compares rungs
        self.samples: int | None = None  # of a validation
        self.baseline: dict[str, float] = {}  # figures of a run without the callback
        self.logged: list[str] | None = None  # names that a validation logged; None before any
        self.pose = MeanPose(len(self.joint_names))
        self.normalisation = Normalisation(len(self.joint_names))
        self.redundancy = Redundancy(len(self.joint_names))
        self.presence = Presence(len(self.joint_names))
        self.order = None if skeleton is None or not skeleton.known else Order(skeleton)
        self._written: int | None = None  # the last step that is in the files
        self._refreshed_since: float | None = None
        self._refresh_spent, self._refresh_cost = 0.0, REFRESH_COST

    def watch(self, layer: JointPruningLayer) -> None:
        """Watch how the joints reach the layer, and where they are if no skeleton says it."""
        self.normalisation.watch(layer)
        self.redundancy.watch(layer)
        self.presence.watch(layer)
        if self.order is not None:
            self.order.watch(layer)
        if self.skeleton is None or not self.skeleton.drawing:
            self.pose.watch(layer)

    def quote(
        self,
        logged: Iterable[str],
        monitored: Sequence[tuple[str, bool]],
        shown: Sequence[str],
        settled: bool = True,
    ) -> None:
        """Choose the metric to quote: one that is monitored, the only one, else one that is shown.

        Args:
            logged: names of the metrics of a validation.
            monitored: metrics that other callbacks look at, and whether higher is better.
            shown: names of the metrics in the progress bar.
            settled: whether the choice is for good; a sanity check may not log all metrics.
        """
        self.logged = list(logged)
        self._monitored = any(name in self.logged for name, _ in monitored)
        if self._settled:
            modes = [] if self.told else [mode for name, mode in monitored if name == self.metric]
            self.higher_is_better = next(iter(modes), self.higher_is_better)
            return
        only = self.logged if len(self.logged) == 1 else ()
        candidates = [*monitored, *((name, higher_is_better(name)) for name in (*only, *shown))]
        for name, higher in candidates:
            if name in self.logged:
                self.metric, self.higher_is_better = name, higher
                break
        self._settled = settled and self.metric is not None

    @property
    def comparable(self) -> bool:
        """Return whether numbers of joints can be compared, as far as the validations show."""
        return self.metric is not None or self.logged is None

    def automatic(self, search: JointSearch) -> str:
        """Return which budget `"auto"` is in this run, and for which reason."""
        if search.controller.compared:
            reason = f"since the run is validated{f' by {self.metric}' if self.metric else ''}."
            if self.metric and not self._monitored and len(self.logged or ()) > 1:
                others = [name for name in self.logged or () if name != self.metric]
                reason += (
                    f" Nothing is monitored, and {self.metric} is the first in the progress bar. "
                    f"For {' or '.join(others[:3])}, pass budget=Fewest({others[0]!r})."
                )
        elif self.comparable:
            reason = "since no validation can compare numbers of joints."
        else:
            logged = ", ".join(self.logged or ()) or "nothing"
            reason = (
                f"since the validation logged {logged}, of which none is monitored or in the "
                "progress bar. To compare numbers of joints by one, pass "
                f"budget=Fewest({next(iter(self.logged or ()), 'val_acc')!r})."
            )
        return f'budget="auto" is {search.controller.budget_name} here, {reason}'

    def note(
        self, search: JointSearch, step: int, epoch: int, metrics: Mapping[str, float]
    ) -> None:
        """Write down where the search is, with what a validation just measured (or nothing)."""
        probabilities = search.layer.keep_probabilities().detach()
        if search.controller.floor is not None:
            self.floor = search.controller.floor
        self.history.append(
            Snapshot(
                step=step,
                epoch=epoch,
                progress=search.progress,
                phase=search.phase,
                temperature=float(search.layer.temperature),
                price=float(search.price),
                expected_joints=float(probabilities.sum()),
                active_joints=sum(search.mask()),
                keep_probabilities=tuple(probabilities.tolist()),
                metrics=dict(metrics),
                loss=_recent_loss(search),
            )
        )
        if metrics and search.phase == "warmup":
            self.metrics_all_joints = dict(metrics)
        if metrics and search.phase == "final":
            self.metrics = dict(metrics)

    @property
    def last_step(self) -> int | None:
        """Return the optimizer step of the last note, if there is one."""
        return self.history[-1].step if self.history else None

    @property
    def unwritten(self) -> bool:
        """Return whether there is something that `write` has not tried to write."""
        return self.last_step != self._written

    def phase_doubts(self, search: JointSearch) -> list[str]:
        """Return what there is to warn of where the search or the final phase has just begun."""
        find = {"search": early_doubts, "final": freeze_doubts}.get(search.phase)
        if find is None or (search.phase == "final" and not search.steps):
            return []
        record = self._record_for(search)
        return [] if record is None else [doubt.warning for doubt in find(record)]

    def figures(self) -> dict[str, float]:
        """Return the last note's figures as loggers get them."""
        now = self.history[-1]
        figures = {
            "pruning_ratio": 1.0 - now.active_joints / len(self.joint_names),
            "active_joints": float(now.active_joints),
            "expected_joints": now.expected_joints,
            "l0_penalty": now.price * now.expected_joints,
            "gate_temperature": now.temperature,
        }
        return {f"joint_pruning/{name}": value for name, value in figures.items()}

    def selection(self, search: JointSearch) -> JointSelection:
        """Return the joints kept so far."""
        kept = self._selected(search, search.mask(), search.probabilities(), self.metrics)
        return replace(kept, stand_ins=stand_ins_of(kept, self._redundancy(search)))

    def _redundancy(self, search: JointSearch) -> tuple[tuple[float, ...], ...]:
        """Return the R² of all pairs of joints; empty in the warm-up, and where it is not known."""
        percent = None if search.phase == "warmup" else self.redundancy.percent()
        rows = [] if percent is None else percent.tolist()
        return tuple(tuple(r2 / 100 for r2 in row) for row in rows)

    def rungs(self, search: JointSearch) -> tuple[JointSelection, ...]:
        """Return the joints of every rung of a ladder that was reached so far, the most first."""
        masks = search.rungs()
        metrics = self.rung_metrics or [{} for _ in masks]
        samples = self.rung_samples if search.controller.compared else self.samples
        return tuple(
            replace(self._selected(search, *rung), samples=samples)
            for rung in zip(masks, search.settled, metrics, strict=True)
        )

    def _selected(
        self,
        search: JointSearch,
        mask: Sequence[bool],
        probabilities: Sequence[float],
        metrics: Mapping[str, float],
    ) -> JointSelection:
        return JointSelection(
            indices=tuple(index for index, kept in enumerate(mask) if kept),
            num_joints=len(mask),
            joint_names=self.joint_names,
            keep_probabilities=tuple(probabilities),
            metrics=metrics,
            metrics_all_joints=self.metrics_all_joints,
            metric=self.metric,
            floor=self.floor,
            higher_is_better=self.higher_is_better,
            samples=self.samples,
            again=kept_again(mask, probabilities, search.fixed) if search.foretells else (),
            source={} if search.phase == "final" else {"phase": search.phase},
        )

    def record(self, search: JointSearch) -> PruningRecord:
        """Return everything the run learned so far."""
        own = self.skeleton if self.skeleton and not self.skeleton.known else None
        return PruningRecord(
            selection=self.selection(search),
            rungs=self.rungs(search),
            history=tuple(self.history),
            skeleton=self.skeleton.name if self.skeleton else None,
            skeleton_file=(self.skeleton.file if self.skeleton else "") or None,
            edges=own.edges if own else (),
            parts=own.groups if own else {},
            settings=self._settings_of(search),
            course=search.course(),
            versions=dict(_versions()),
            phase=search.phase,
            pose=(own.drawing if own else ()) or self.pose.places(),
            normalisation=self.normalisation.found(),
            unseen=self.presence.found(),
            baseline=self.baseline,
            redundancy=self._redundancy(search),
        )

    def _settings_of(self, search: JointSearch) -> dict[str, Any]:
        """Return the settings, with the budget that was taken where it was left to the run."""
        if self.settings.get("budget") != AUTO:
            return self.settings
        return {**self.settings, "budget": as_argument(search.controller.budget, float)}

    def write(
        self,
        search: JointSearch,
        folder: RunFolder,
        loggers: Iterable[Any] = (),
        say: Callable[[str], None] | None = None,
    ) -> Place | None:
        """Write the record, the selection and the report, and hand that to the loggers.

        What cannot be written costs a warning, never the run.

        Args:
            search: what was learned.
            folder: of the files.
            loggers: of the run.
            say: takes what there is to read at the end of a finished run.

        Returns:
            Where the report is; None if it could not be written.
        """
        self._written = self.last_step
        record = self._record_for(search)
        if record is None:
            return None
        for doubt in (*floor_doubts(record), *baseline_doubts(record)):
            warnings.warn(doubt.warning, stacklevel=2)
        report = _write_files(record, folder)
        if report is not None:
            from lightning_jointprune.report.picture import skeleton_picture

            draw = partial(skeleton_picture, record)
            hand_over(loggers, report, record.selection, self.last_step or 0, draw)
        if say is not None and record.phase == "final":
            say(_closing(record, report))
        return report

    def refresh(
        self, search: JointSearch, folder: RunFolder, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Write the files in the course of the run, so that it can be watched.

        It is left out while all such writing would take more than `REFRESH_SHARE` of the time since
        the first call. After one that failed, which costs a warning, there is no other.
        """
        now = clock()
        if self._refreshed_since is None:
            self._refreshed_since = now
        allowed = REFRESH_SHARE * (now - self._refreshed_since)
        if self._refresh_spent + self._refresh_cost > allowed:
            return
        record = self._record_for(search)
        written = None if record is None else _write_files(record, folder)
        self._refresh_cost = clock() - now if written else math.inf
        self._refresh_spent += self._refresh_cost

    def _record_for(self, search: JointSearch) -> PruningRecord | None:
        """Return the record; None, with a warning, if there can be none."""
        try:
            return self.record(search)
        except Exception as error:  # no failure here may cost the run
            warnings.warn(f"There is no record: {error!r}. The training goes on.", stacklevel=3)
            return None

    def state_dict(self, goes_on: bool = True) -> dict[str, Any]:
        """Return everything that changes during the run, as plain values.

        Args:
            goes_on: whether a run can go on from there, for which the history is kept.
        """
        return {
            **{name: getattr(self, name) for name in PLAIN},
            "baseline": self.baseline,
            "more_is_better": self.higher_is_better,
            "history": [asdict(snapshot) for snapshot in self.history if goes_on],
            "pose": self.pose.state_dict(),
            "normalisation": self.normalisation.state_dict(),
            "redundancy": self.redundancy.state_dict(goes_on),
            "presence": self.presence.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        vars(self).update({name: state[name] for name in PLAIN if name in state})
        self.rung_samples = state.get("rung_samples", self.samples)  # older ones took all samples
        self.baseline = self.baseline or state.get("baseline", {})  # one that is given anew wins
        self.higher_is_better = state["more_is_better"]
        self._settled = self.metric is not None
        self.history = [Snapshot(**snapshot) for snapshot in state["history"]]
        for name in ("pose", "normalisation", "redundancy", "presence"):
            watcher: FirstBatches = getattr(self, name)
            if name in state:  # older ones have none
                watcher.load_state_dict(state[name])


@cache  # a record is made many times in a run, and each reading opens many files
def _versions() -> tuple[tuple[str, str], ...]:
    """Return the versions of Python and of the packages that matter, by name."""
    return ("python", platform.python_version()), *installed(PACKAGES).items()


def _recent_loss(search: JointSearch) -> float | None:
    """Return the mean training loss of the latest batches, if training_step returns it."""
    return float(search.controller.recent) if search.controller.losses_seen else None


def _closing(record: PruningRecord, report: Place | None) -> str:
    """Return what is read at the end of a run: sentence, doubts, table and where the report is.

    Instead of the table of more joints than a screen has lines, it says what shows it.
    """
    selection, found = record.selection, findings(record)
    said = [f"Joint pruning: {sentence_of(record)}"]
    if chosen_of(record):
        said.append(TEST_PART)
    if given := given_of(record):
        said.append(given)
    if beside := baseline_sentence(record):
        said.append(beside)
    said.append(in_brief(found))
    if report is not None and verdict(found).level in LEVELS:
        said.append("The report says what to do about each.")
    if selection.num_joints <= SCREEN:
        said.append(selection.summary())
    elif report is not None:
        said.append(f'The table is shown by: jointprune show "{report.parent}"')
    if report is not None:
        said.append(f"The report is {report}")
    return "\n".join(said)


def _write_files(record: PruningRecord, folder: RunFolder) -> Place | None:
    """Write the files and return where the report is; None if one could not be written."""
    try:
        with folder.writing() as path:
            record.to_json(path / RECORD_FILE)
            record.selection.to_json(path / SELECTION_FILE)
            from lightning_jointprune.report import write_report

            return write_report(record, path / REPORT_FILE)
    except Exception as error:  # the model is trained: no failure here may lose it
        warnings.warn(
            f"The record and the report could not be written to {folder.path}: {error!r}. The "
            "training is not affected. callback.record.to_json(PATH) writes them elsewhere, "
            "and `jointprune report PATH` draws the report.",
            stacklevel=3,
        )
        return None
