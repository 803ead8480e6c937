"""A run writes down what it learns, and what cannot be written never costs the run."""

from __future__ import annotations

import errno
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_jointprune.cli.main import main
from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.record.files import RunFolder
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.record.stored import RECORD_FILE
from lightning_jointprune.report.doubts import floor_doubts
from lightning_jointprune.run.recorder import Recorder
from lightning_jointprune.search.budgets import Budget, make_controller
from lightning_jointprune.search.budgets.metric_floor import MetricFloor
from lightning_jointprune.search.budgets.price import Price
from lightning_jointprune.search.budgets.target_joints import TargetJoints
from lightning_jointprune.search.search import JointSearch
from lightning_jointprune.skeletons import Skeleton, get_skeleton

NAMES = ("wrist", "thumb", "index", "middle")
pytestmark = pytest.mark.usefixtures("blank_report")  # its own tests are elsewhere
PHASES = (0.2, 0.7)
LOGITS = [2.0, -2.0, 0.5, -0.5]


def search_of(budget: Budget, layer: JointPruningLayer) -> JointSearch:
    return JointSearch(layer, make_controller(budget, layer), PHASES)


def new_search(logits: list[float] = LOGITS) -> JointSearch:
    search = search_of(Price(0.1), JointPruningLayer(4))
    search.layer.joint_logits.data = torch.tensor(logits)
    return search


def new_recorder(metric: str | None = None, floor: float | None = None) -> Recorder:
    return Recorder(NAMES, None, {"lr": 0.05, "keep": (1, 2)}, metric, floor)


def own(path: Path) -> RunFolder:
    return RunFolder(path, RECORD_FILE)


@pytest.mark.parametrize("name", ["coco_17", "mine"])
def test_the_record_says_which_file_named_the_joints(name: str) -> None:
    skeleton = replace(Skeleton("mine", NAMES), file="clip.pose")
    if name == "coco_17":
        skeleton = replace(get_skeleton(name), file="clip.pose")
    search = JointSearch(
        JointPruningLayer(skeleton.num_joints),
        make_controller(Price(0.1), JointPruningLayer(skeleton.num_joints)),
        PHASES,
    )
    record = Recorder(skeleton.joints, skeleton, {}, None, None).record(search)
    assert (record.skeleton, record.skeleton_file) == (name, "clip.pose")
    assert PruningRecord.from_json(record.to_json()) == record
    assert new_recorder().record(new_search()).skeleton_file is None


def noted() -> tuple[Recorder, JointSearch]:
    """Return the recorder of a run with a validation in each phase, and the search."""
    search, recorder = new_search(), new_recorder()
    for step, metrics in ((1, {"acc": 0.7}), (4, {"acc": 0.6}), (8, {"acc": 0.8, "loss": 1.0})):
        search.advance(step / 10)
        recorder.note(search, step, step // 2, metrics)
    return recorder, search


# --- history -------------------------------------------------------------------------------------


def test_a_note_says_where_the_search_was() -> None:
    search, recorder = new_search(), new_recorder()
    search.advance(0.45)
    search.layer.joint_logits.grad = torch.zeros(4)
    search.add_penalty()
    recorder.note(search, 45, 4, {"acc": 0.6})
    (snapshot,) = recorder.history
    p = torch.sigmoid(torch.tensor(LOGITS)).tolist()
    assert (snapshot.step, snapshot.epoch, snapshot.progress) == (45, 4, 0.45)
    assert snapshot.phase == "search"
    assert snapshot.temperature == pytest.approx(0.3**0.5)
    assert snapshot.price == pytest.approx(0.1)
    assert snapshot.expected_joints == pytest.approx(sum(p))
    assert snapshot.keep_probabilities == pytest.approx(p)
    assert snapshot.active_joints == 2
    assert snapshot.metrics == {"acc": 0.6}


@pytest.mark.parametrize("budget", [Price("auto"), Price(0.1), TargetJoints(2)])
def test_a_note_has_the_recent_loss(budget: Budget) -> None:
    search = search_of(budget, JointPruningLayer(4))
    recorder = new_recorder()
    recorder.note(search, 0, 0, {})  # before any batch
    for loss in (3.0, 1.0):
        search.controller.observe_loss(torch.tensor(loss))
    for step in (1, 4, 8):
        search.advance(step / 10)
        recorder.note(search, step, 0, {})
    assert [snapshot.loss for snapshot in recorder.history] == [None, 2.0, 2.0, 2.0]


def test_metrics_with_all_joints_are_the_warmups_and_those_with_the_mask_the_last_ones() -> None:
    recorder, search = noted()
    recorder.note(search, 9, 4, {"acc": 0.9})
    recorder.note(search, 10, 5, {})  # an epoch without a validation
    assert recorder.metrics_all_joints == {"acc": 0.7}
    assert recorder.metrics == {"acc": 0.9}
    assert [snapshot.phase for snapshot in recorder.history] == ["warmup", "search"] + ["final"] * 3


def test_what_was_noted_does_not_change_with_the_search_or_the_metrics() -> None:
    search, recorder = new_search(), new_recorder()
    metrics = {"acc": 0.5}
    search.advance(0.8)
    recorder.note(search, 1, 0, metrics)
    metrics["acc"] = 0.1
    search.layer.joint_logits.data.fill_(-9.0)
    (snapshot,) = recorder.history
    assert snapshot.keep_probabilities == pytest.approx(
        torch.sigmoid(torch.tensor(LOGITS)).tolist()
    )
    assert recorder.metrics == snapshot.metrics == {"acc": 0.5}


# --- the metric to quote -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("monitored", "shown", "expected"),
    [
        ([("loss", False), ("acc", True)], ["acc"], ("loss", False)),
        ([("never_logged", True)], ["other", "acc"], ("acc", True)),
        ([], ["loss"], ("loss", False)),
        ([], [], (None, True)),
    ],
)
def test_a_monitored_metric_is_quoted_before_one_that_is_shown(monitored, shown, expected) -> None:
    recorder, _ = noted()
    recorder.quote(["acc", "loss"], monitored, shown)
    assert (recorder.metric, recorder.higher_is_better) == expected


def test_a_metric_that_is_already_quoted_stays() -> None:
    recorder = new_recorder(metric="f1", floor=0.8)
    recorder.quote(["acc"], [("acc", True)], ["acc"])
    assert recorder.metric == "f1"


def test_a_metric_of_the_sanity_check_gives_way_to_the_monitored_one_once() -> None:
    recorder, _ = noted()
    monitored = [("acc", True)]
    recorder.quote(["loss"], monitored, [], settled=False)
    assert (recorder.metric, recorder.higher_is_better) == ("loss", False)
    recorder.quote(["loss", "acc"], monitored, [])
    assert (recorder.metric, recorder.higher_is_better) == ("acc", True)
    recorder.quote(["loss", "acc"], [("loss", False)], [])
    assert recorder.metric == "acc"


@pytest.mark.parametrize(("told", "expected"), [(True, True), (False, False)])
def test_a_metric_that_is_named_without_a_mode_has_that_of_its_monitor(
    told: bool, expected: bool
) -> None:
    recorder = Recorder(NAMES, None, {}, "wrong", higher_is_better=True, told=told)
    recorder.quote(["wrong", "acc"], [("acc", True)], [])
    assert recorder.higher_is_better
    recorder.quote(["wrong", "acc"], [("acc", True), ("wrong", False)], [])
    assert (recorder.metric, recorder.higher_is_better) == ("wrong", expected)


@pytest.mark.parametrize(
    ("last", "doubt"),
    [(0.9, None), (0.8, None), (0.7, r"acc ended at 70\.0 %, below its floor of 80 %")],
)
def test_a_floor_that_the_final_mask_misses_is_in_doubt(last: float, doubt: str | None) -> None:
    search = search_of(MetricFloor("acc", 0.8), JointPruningLayer(4))
    recorder = new_recorder(metric="acc")
    search.advance(0.4)
    for _ in range(2):
        search.controller.observe_search({"acc": 0.9}, [True, False, True, False])
    search.advance(0.8)
    recorder.note(search, 8, 4, {"acc": last})
    assert recorder.selection(search).floor == 0.8
    got = [found.warning for found in floor_doubts(recorder.record(search))]
    assert got == [] if doubt is None else re.match(doubt, got[0])
    other = new_recorder()
    other.load_state_dict(recorder.state_dict())
    assert other.floor == 0.8


def test_a_floor_that_no_mask_meets_is_in_doubt_also_where_joints_are_never_used() -> None:
    layer = JointPruningLayer(4, drop=[1])
    search = search_of(MetricFloor("acc", 0.8), layer)
    recorder = new_recorder(metric="acc", floor=0.8)
    recorder.settings = {"drop": [1]}
    search.advance(0.8)
    recorder.note(search, 8, 4, {"acc": 0.7})
    [doubt] = floor_doubts(recorder.record(search))
    assert "so all joints are kept" in doubt.warning


# --- what is left behind -------------------------------------------------------------------------


def test_what_was_measured_with_each_rung_is_in_the_state() -> None:
    recorder, other = new_recorder(), new_recorder()
    recorder.rung_metrics = [{"acc": 0.9}, {"acc": 0.8}]
    recorder.samples, recorder.rung_samples = 40, 16
    state = recorder.state_dict()
    other.load_state_dict(state)
    assert (other.rung_metrics, other.rung_samples) == (recorder.rung_metrics, 16)
    older = new_recorder()
    older.load_state_dict({name: state[name] for name in state if name != "rung_samples"})
    assert older.rung_samples == 40  # an older run compared them on all samples


def test_the_selection_is_all_joints_in_the_warmup_and_the_mask_after_it() -> None:
    search, recorder = new_search(), new_recorder(metric="acc", floor=0.75)
    assert recorder.selection(search).indices == (0, 1, 2, 3)
    search.advance(0.4)
    assert recorder.selection(search).names == ("wrist", "index")
    search.advance(0.8)
    recorder.note(search, 8, 4, {"acc": 0.8})
    selection = recorder.selection(search)
    assert selection.indices == (0, 2)
    assert selection.keep_probabilities == pytest.approx(
        torch.sigmoid(torch.tensor(LOGITS)).tolist()
    )
    assert (selection.metric, selection.floor, selection.metrics) == ("acc", 0.75, {"acc": 0.8})


@pytest.mark.parametrize(("joints", "table"), [(48, True), (49, False)])
def test_a_table_that_fits_no_screen_is_where_the_last_words_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], joints: int, table: bool
) -> None:
    search = search_of(Price(0.1), JointPruningLayer(joints))
    recorder = Recorder([f"joint_{joint}" for joint in range(joints)], None, {})
    search.advance(0.8)
    recorder.note(search, 8, 4, {})
    said: list[str] = []
    report = recorder.write(search, own(tmp_path / "my run"), say=said.append)
    assert ("KEEP" in said[0]) == table
    shown = [line.split("jointprune ")[1] for line in said[0].splitlines() if " show " in line]
    assert len(shown) == (not table)
    for command in shown:
        assert main(shlex.split(command)) == 0
        assert capsys.readouterr().out.count("KEEP") == joints
    assert said[0].endswith(f"The report is {report}")
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="could not be written"):
        recorder.write(search, own(tmp_path / "file"), say=said.append)
    assert "jointprune show" not in said[1]  # nothing is there


def test_files_read_back_are_what_the_run_learned(tmp_path: Path) -> None:
    recorder, search = noted()
    folder = tmp_path / "not" / "there" / "yet"
    report = recorder.write(search, own(folder))
    assert report is not None
    assert report.parent == folder
    record = PruningRecord.from_json(folder / "pruning_record.json")
    assert record == recorder.record(search)
    assert record.history == tuple(recorder.history)
    assert (record.phase, record.settings) == ("final", {"keep": [1, 2], "lr": 0.05})
    assert torch.__version__.startswith(record.versions["torch"])
    assert JointSelection.from_json(folder / "selection.json") == record.selection


class TensorBoardLogger:
    """Asks for all that a logger can get."""

    def __init__(self) -> None:
        self.experiment = self
        self.given: list[str] = []

    def add_text(self, *_: object) -> None:
        self.given.append("text")

    def add_image(self, *_: object, **__: object) -> None:
        self.given.append("image")


def test_a_write_and_a_refresh_build_the_record_and_its_selection_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, search = noted()
    built: list[str] = []
    for kind in (PruningRecord, JointSelection):

        def build(*args: Any, kind: Any = kind, **kwargs: Any) -> Any:
            built.append(kind.__name__)
            return kind(*args, **kwargs)

        monkeypatch.setattr(f"lightning_jointprune.run.recorder.{kind.__name__}", build)
    logger, said = TensorBoardLogger(), []
    recorder.write(search, own(tmp_path), [logger], said.append)
    assert (logger.given[0], len(said)) == ("text", 1)
    assert sorted(built) == ["JointSelection", "PruningRecord"]
    recorder.refresh(search, own(tmp_path), iter([0.0, 1e6, 1e6]).__next__)
    recorder.refresh(search, own(tmp_path), iter([1e6, 1e6]).__next__)
    assert len(built) == 4


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    recorder, search = noted()
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match=r"could not be written to .*file.* training is not aff"):
        assert recorder.write(search, own(tmp_path / "file")) is None


def test_a_report_that_fails_is_a_warning_and_leaves_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(record: PruningRecord, path: Path) -> Path:
        raise ZeroDivisionError("no figure")

    monkeypatch.setattr("lightning_jointprune.report.write_report", fail)
    recorder, search = noted()
    with pytest.warns(UserWarning, match=r"no figure.*`jointprune report PATH` draws the report"):
        assert recorder.write(search, own(tmp_path)) is None
    assert PruningRecord.from_json(tmp_path) == recorder.record(search)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("written", [0, 1])
def test_a_disk_that_fails_costs_a_warning_and_leaves_whole_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, written: int
) -> None:
    recorder, search = noted()
    calls = iter(range(10))

    def fail(handle: int) -> None:
        if next(calls) >= written:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fail)  # a network's disk says it is full when it has to write
    with pytest.warns(UserWarning, match=re.escape(os.strerror(number))):
        assert recorder.write(search, own(tmp_path)) is None
    files = {"pruning_record.json"} if written else set()
    assert {path.name for path in tmp_path.iterdir()} == files
    if written:
        assert PruningRecord.from_json(tmp_path) == recorder.record(search)


class Clock:
    """Is a clock that is set by hand, and that a report moves on by its cost."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cost: float, fails: bool = False) -> None:
        self.now, self.cost, self.fails, self.reports = 1000.0, cost, fails, 0
        monkeypatch.setattr("lightning_jointprune.report.write_report", self.write_report)
        monkeypatch.setattr("os.fsync", lambda handle: None)  # a thousand would take a while

    def __call__(self) -> float:
        return self.now

    def write_report(self, record: PruningRecord, path: Path) -> Path:
        self.reports += 1
        self.now += self.cost
        if self.fails:
            raise ZeroDivisionError("no figure")
        return path


@pytest.mark.parametrize("cost", [0.5, 1.0, 30.0])
def test_refreshing_takes_at_most_a_hundredth_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cost: float
) -> None:
    recorder, search = noted()
    clock, folder = Clock(monkeypatch, cost), own(tmp_path)
    for _ in range(1_000):  # a validation every ten seconds
        recorder.refresh(search, folder, clock)
        clock.now += 10
        before = clock.reports * cost
        # The first one's cost is not known before.
        assert before <= 0.01 * (clock.now - 1000) or clock.reports == 1
    assert clock.reports * cost > 0.008 * (clock.now - 1000)
    assert PruningRecord.from_json(tmp_path) == recorder.record(search)


def test_a_short_run_is_not_refreshed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, search = noted()
    clock = Clock(monkeypatch, 0.01)
    for _ in range(90):
        recorder.refresh(search, own(tmp_path), clock)
        clock.now += 1
    assert (clock.reports, list(tmp_path.iterdir())) == (0, [])


def test_a_clock_that_goes_back_delays_a_refresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, search = noted()
    clock, folder = Clock(monkeypatch, 1.0), own(tmp_path)
    for moved, reports in ((0, 0), (-1e6, 0), (1e6 + 99, 0), (2, 1), (-1e6, 1), (1e6, 1), (200, 2)):
        clock.now += moved
        recorder.refresh(search, folder, clock)
        assert clock.reports == reports


def test_a_refresh_that_fails_warns_once_and_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, search = noted()
    clock = Clock(monkeypatch, 0.1, fails=True)
    recorder.refresh(search, own(tmp_path), clock)
    clock.now += 200
    with pytest.warns(UserWarning, match="could not be written"):
        recorder.refresh(search, own(tmp_path), clock)
    clock.now += 1e9
    recorder.refresh(search, own(tmp_path), clock)
    assert clock.reports == 1


# --- state ---------------------------------------------------------------------------------------


def test_a_recorder_goes_on_where_its_state_was_saved(tmp_path: Path) -> None:
    recorder, search = noted()
    recorder.quote(["acc", "loss"], [("loss", False)], [])
    torch.save(recorder.state_dict(), tmp_path / "state")
    recorder.note(search, 9, 4, {"acc": 0.9, "loss": 0.5})

    resumed = new_recorder()
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert len(resumed.history) == 3
    resumed.note(search, 9, 4, {"acc": 0.9, "loss": 0.5})
    resumed.quote(["acc", "loss"], [("acc", True)], [])
    assert resumed.record(search) == recorder.record(search)


def test_a_state_from_before_there_were_poses_is_read() -> None:
    recorder, search = noted()
    state = recorder.state_dict()
    del state["pose"]
    resumed = new_recorder()
    resumed.load_state_dict(state)
    assert resumed.record(search) == recorder.record(search)
