"""The terminal, the progress bar and the loggers hear of each phase once."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning_utilities.core import rank_zero
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lightning_jointprune import JointPruningCallback
from lightning_jointprune.report.doubts import findings
from tests.runs import SHORT_RUNS, C, Classifier, T, clips, fit, pruning

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


def test_each_phase_is_one_line_and_the_end_is_the_answer(said: list[str]) -> None:
    callback = pruning()
    fit(Classifier(), callback)
    entered, search, final, closing = said
    assert entered.startswith("Joint pruning: 8 joints enter at x")
    assert search == "Joint pruning: the search begins, with 8 of 8 joints."
    assert final == "Joint pruning: frozen at 3 of 8 joints; the final phase begins."
    assert callback.selection.sentence() in closing
    assert closing.count("KEEP") == 3
    assert closing.endswith(f"The report is {callback.report_path}")


def test_the_end_has_the_verdict_and_every_doubt_below_the_sentence(said: list[str]) -> None:
    callback = pruning()
    fit(Classifier(), callback)
    *before, rest = said[-1].partition("Read this with care:\n")
    assert callback.selection.sentence() in before[0]
    doubts, _, after = rest.partition("\nThe report says what to do about each.\n")
    found = [finding for finding in findings(callback.record) if finding.level == "check"]
    assert doubts.splitlines() == [f"- {finding.title}" for finding in found]
    assert "- The search had 16 steps, and which joints are kept may depend on that." in doubts
    assert after.startswith("3 of 8 joints kept")


def test_joints_without_names_are_offered_the_skeletons_of_as_many(said: list[str]) -> None:
    data = DataLoader(TensorDataset(torch.randn(8, T, 21, C), torch.zeros(8).long()), batch_size=4)
    for arguments in ({"num_joints": 21}, {"skeleton": "mediapipe_hand"}):
        fit(
            Classifier(joints=21),
            JointPruningCallback(**arguments),
            train=data,
            val=data,
            fast_dev_run=1,
        )
    (offered,) = (line for line in said if "no names" in line)
    assert offered == (
        'Joint pruning: these 21 joints have no names. Pass skeleton="mediapipe_hand" if they are '
        "in that order: it has their names, body parts and a drawing."
    )


@pytest.mark.parametrize(("level", "lines"), [(logging.INFO, 4), (logging.ERROR, 0)])
def test_what_is_said_is_as_loud_as_lightning(level: int, lines: int) -> None:
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger = rank_zero.log  # of the Lightning package that was imported last
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        fit(Classifier(), pruning())
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
    assert len([line for line in said if line.startswith("Joint pruning: ")]) == lines


def test_every_progress_bar_has_the_active_joints_and_no_logger_has_them_twice() -> None:
    bars: list[float] = []

    class Bar(pl.callbacks.ProgressBar):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            bars.append(self.get_metrics(trainer, pl_module)["active_joints"])

    run = fit(Classifier(), pruning(), Bar(), enable_progress_bar=True)
    assert (bars[0], bars[-1]) == (8.0, 3.0)
    assert "active_joints" not in run.logged_metrics
    assert run.logged_metrics["joint_pruning/active_joints"] == 3.0


def test_within_an_epoch_the_progress_bar_has_the_active_joints_of_the_last_validation() -> None:
    bars: list[float | None] = []

    class Bar(pl.callbacks.ProgressBar):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            bars.append(self.get_metrics(trainer, pl_module).get("active_joints"))

    class Model(Classifier):
        def log(self, name: str, value: Any, **how: Any) -> None:
            if name == "active_joints":  # a number would go to the device, where bars wait for it
                assert isinstance(value, Tensor)
                assert value.device.type == "cpu"
            super().log(name, value, **how)

    callback = pruning()
    within = {"max_epochs": 1, "train": clips(60), "val_check_interval": 10}
    # First in the list: it is asked before the callback's own hooks after a batch.
    run = fit(Model(), Bar(), callback, enable_progress_bar=True, **within)
    noted = {note.step: float(note.active_joints) for note in callback.record.history}
    assert list(noted) == [10, 20, 30, 40, 50, 60]
    assert noted[10] == 8.0 > noted[20]
    assert bars[0] is None  # the batch that shows where the joints are
    assert bars[1:12] == [8.0] * 11
    for step in (20, 30, 40, 50):
        assert bars[step] == (3.0 if step >= 36 else noted[step])
    assert bars[36:] == [3.0] * 24  # from the first batch of the final phase on
    assert run.progress_bar_metrics["active_joints"] == 3.0
    assert "active_joints" not in run.logged_metrics


@pytest.mark.parametrize("often", [1.0, 0.25])
def test_loggers_get_the_active_joints_once_an_epoch_however_often_is_validated(
    often: float,
) -> None:
    callback = pruning()
    fit(
        Classifier(), callback, logger=CSVLogger("."), log_every_n_steps=1, val_check_interval=often
    )
    assert callback.report_path is not None
    with Path(callback.report_path.parent, "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    name = "joint_pruning/active_joints"
    at_the_ends = {note.epoch: note for note in callback.record.history}.values()
    assert [(int(row["step"]), float(row[name])) for row in rows if row[name]] == [
        (note.step - 1, note.active_joints) for note in at_the_ends
    ]
    assert "active_joints" not in rows[0]
