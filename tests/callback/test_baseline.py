"""A run takes the figures of one without the callback, and keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_jointprune import PruningRecord
from tests.runs import SHORT_RUNS, Classifier, clips, fit, pruning, trainer

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]
KNOWN = {"val_acc": 0.5}


class Shown(Classifier):
    """Shows its accuracy in the progress bar, so that the run quotes it."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, sign = batch
        self.log("val_acc", (self(x).argmax(1) == sign).float().mean(), prog_bar=True)


def test_figures_that_are_given_before_the_training_are_in_its_files(tmp_path: Path) -> None:
    plain = fit(Shown())
    callback = pruning(dirpath=tmp_path)
    callback.baseline(plain.callback_metrics)
    fit(Shown(), callback)
    measured = float(plain.callback_metrics["val_acc"])
    for record in (callback.record, PruningRecord.from_json(tmp_path)):
        assert record.baseline["val_acc"] == pytest.approx(measured)


def test_figures_that_are_given_afterwards_are_written_to_the_files(tmp_path: Path) -> None:
    callback = pruning(dirpath=tmp_path)
    fit(Shown(), callback)
    before = PruningRecord.from_json(tmp_path)
    callback.baseline(KNOWN)
    after = PruningRecord.from_json(tmp_path)
    assert (before.baseline, after.baseline) == ({}, KNOWN)
    assert after.selection == before.selection


def test_a_resumed_run_keeps_them_unless_it_is_given_others(tmp_path: Path) -> None:
    callback = pruning()
    callback.baseline(KNOWN)
    save = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, monitor=None)
    fit(Shown(), callback, save, enable_checkpointing=True)
    for given, expected in ((None, KNOWN), ({"val_acc": 0.25}, {"val_acc": 0.25})):
        resumed = pruning()
        if given is not None:
            resumed.baseline(given)
        path = tmp_path / "epoch=1.ckpt"
        trainer(resumed).fit(Shown(), clips(), clips(2, seed=1), ckpt_path=path)
        assert resumed.record.baseline == expected


def test_figures_without_the_metric_are_refused_once_it_is_known(tmp_path: Path) -> None:
    callback = pruning()
    with pytest.raises(MisconfigurationException, match="but got none that is finite"):
        callback.baseline({})
    with pytest.raises(MisconfigurationException, match="which is no file and no folder with"):
        callback.baseline(tmp_path)
    fit(Shown(), callback)
    with pytest.raises(MisconfigurationException, match=r"Expected val_acc of .* but got loss"):
        callback.baseline({"loss": 1.0})


def test_figures_in_another_unit_are_in_doubt_at_the_end(tmp_path: Path) -> None:
    callback = pruning(dirpath=tmp_path)
    callback.baseline({"val_acc": 93.0})
    with pytest.warns(UserWarning, match="The baseline seems to be in another unit"):
        fit(Shown(), callback)
