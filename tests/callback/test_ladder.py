"""A ladder ends with a mask and a metric for every number of joints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from lightning_jointprune import PruningRecord, analyze_pruning, load_pruned
from tests.runs import SHORT_RUNS, Classifier, clips, fit, pruning, trainer

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


def test_a_ladder_ends_with_a_mask_and_a_metric_for_every_number(tmp_path: Path) -> None:
    """Each is what the final weights reach with those joints alone."""
    model, callback = Classifier(), pruning([6, 4, 2], dirpath=tmp_path)
    run = fit(model, callback)
    rungs = callback.record.rungs
    assert [len(rung.indices) for rung in rungs] == [6, 4, 2]
    assert set(rungs[2].indices) < set(rungs[1].indices) < set(rungs[0].indices)
    assert callback.selection.indices == rungs[2].indices
    assert PruningRecord.from_json(tmp_path).rungs == rungs
    callback.detach()
    for rung in rungs:
        kept = torch.tensor(rung.mask)[:, None]
        right = [
            (model(torch.where(kept, x, 0.0)).argmax(1) == sign).float().mean()
            for x, sign in clips(2, seed=1)
        ]
        assert rung.metrics["val_acc"] == pytest.approx(float(sum(right) / 2))
    assert float(run.callback_metrics["val_acc"]) == pytest.approx(rungs[2].metrics["val_acc"])


def test_a_search_is_told_once_how_well_joints_foretell_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    monkeypatch.setattr(
        "lightning_jointprune.search.search.copies_are_alike",
        lambda _worth, redundancy, free: seen.append((redundancy, free)),
    )
    loader = clips()
    x, sign = (torch.cat(parts) for parts in zip(*loader, strict=True))
    x[:, :, :4] = 0.1 * x[:, :, :4] + x[:, :, 4:5]  # noisy copies of joint 4: R² of 0.99
    fit(Classifier(), pruning([4, 2], drop=[7]), train=DataLoader(TensorDataset(x, sign), 8))
    ((redundancy, free),) = seen
    assert (redundancy[:5, :5] > 0.95).all()
    assert (redundancy[5:, :5] < 0.2).all()
    assert free.tolist() == [True] * 7 + [False]


def test_a_ladder_is_loaded_with_any_of_its_masks(tmp_path: Path) -> None:
    callback = pruning([6, 4, 2], dirpath=tmp_path)
    run = fit(Classifier(), callback, enable_checkpointing=True, default_root_dir=tmp_path)
    path = run.checkpoint_callback.best_model_path
    plain = Classifier.load_from_checkpoint(path).eval()
    x, _ = next(iter(clips()))
    for rung in callback.record.rungs:
        kept = torch.tensor(rung.mask)[:, None]
        loaded = load_pruned(Classifier, path, joints=len(rung.indices))
        said = analyze_pruning(loaded)
        assert said.indices == rung.indices
        assert said.keep_probabilities == pytest.approx(rung.keep_probabilities)
        torch.testing.assert_close(loaded(x), plain(torch.where(kept, x, 0.0)))
    assert analyze_pruning(load_pruned(Classifier, path)).indices == callback.selection.indices
    with pytest.raises(ValueError, match=r"joints out of 2, 4, 6 but got 5\. .*\[5, 2\]"):
        load_pruned(Classifier, path, joints=5)


def test_other_callbacks_and_loggers_hear_of_no_validation_of_a_rung() -> None:
    class Counts(pl.Callback):
        validations = 0

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            Counts.validations += 1

    fit(Classifier(), Counts(), pruning([6, 2]))
    assert Counts.validations == 1 + 5  # the sanity check, and one for each epoch


def test_a_rung_that_cannot_be_validated_costs_a_warning() -> None:
    class Breaks(Classifier):
        validations = 0

        def on_validation_start(self) -> None:
            self.validations += 1
            if self.validations > 6:  # the sanity check and five epochs
                raise RuntimeError("disk full")

    callback = pruning([6, 2])
    with pytest.warns(UserWarning, match=r"rung .* could not be validated: .*disk full"):
        fit(Breaks(), callback)
    assert [rung.metrics for rung in callback.record.rungs] == [{}, {}]
    assert callback.selection.metrics


def test_a_rung_is_validated_also_where_the_validation_writes_to_its_logger(tmp_path: Path) -> None:
    class Draws(Classifier):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            self.logger.experiment.log_metrics({"figure": 1.0}, step=batch_idx)

    callback = pruning([6, 2])
    fit(Draws(), callback, logger=CSVLogger(tmp_path))
    assert all("val_acc" in rung.metrics for rung in callback.record.rungs)


@pytest.mark.parametrize("epoch", [2, 3, 4])
def test_a_ladder_that_is_resumed_ends_as_without_the_break(epoch: int, tmp_path: Path) -> None:
    def run(folder: Path, **more: Any) -> tuple[Any, Any]:
        pl.seed_everything(0, verbose=False)
        callback, model = pruning([6, 4, 2], dirpath=folder), Classifier()
        save = ModelCheckpoint(folder, "{epoch}", save_top_k=-1, monitor=None)
        run = trainer(callback, save, enable_checkpointing=True)
        run.fit(model, clips(), clips(2, seed=1), **more)
        return callback, model

    whole, model = run(tmp_path / "whole")
    resumed, again = run(
        tmp_path / "resumed", ckpt_path=tmp_path / "whole" / f"epoch={epoch - 1}.ckpt"
    )
    assert resumed.record.to_json() == whole.record.to_json()
    assert torch.equal(again.head.weight, model.head.weight)
