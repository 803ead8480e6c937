"""The price of a joint is the same under every Trainer, and is logged by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from lightning_jointprune import Price
from tests.callback.watched import Falling, probabilities
from tests.runs import BATCHES, SHORT_RUNS, Classifier, J, clips, fit, pruning

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


@pytest.mark.parametrize(
    "settings",
    [
        {"train": clips(BATCHES, 2)},
        {"train": clips(2 * BATCHES), "accumulate_grad_batches": 2},
        {"precision": "bf16-mixed"},
    ],
    ids=["batch size", "accumulation", "AMP"],
)
@pytest.mark.compatibility("Trainer", "{id}, at the same price of a joint")
def test_the_price_of_a_joint_does_not_depend_on(settings: dict[str, Any]) -> None:
    # The end of an accumulated step is half a step later on the ramp of the price.
    tolerance = 0.02 if "accumulate_grad_batches" in settings else 1e-6
    assert probabilities(**settings) == pytest.approx(probabilities(), abs=tolerance)


def test_the_automatic_price_does_not_depend_on_accumulation() -> None:
    def price(**settings: Any) -> float:
        callback = pruning(Price("auto"))
        fit(Falling(), callback, **settings)
        return callback.record.history[2].price

    recent = 2.0 * 0.98 ** (3 * BATCHES - 11)  # before the last loss of the search
    assert price() == pytest.approx(0.3 * (2.0 - recent) / J)
    steps = {"accumulate_grad_batches": 2, "train": clips(2 * BATCHES)}
    recent = 2.0 * 0.98 ** (6 * BATCHES - 11)
    assert price(**steps) == pytest.approx(0.3 * (2.0 - recent) / J)


def test_the_penalty_is_not_in_the_logged_loss() -> None:
    class Model(Classifier):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            assert torch.equal(outputs["loss"], self.losses[-1])
            assert torch.equal(self.trainer.callback_metrics["train_loss"], self.losses[-1])

    fit(Model(), pruning(Price(10.0)))


def test_metrics_are_logged_for_every_logger() -> None:
    callback = pruning()
    run = fit(Classifier(), callback, logger=CSVLogger("."), log_every_n_steps=1)
    last = callback.record.history[-1]
    logged = {name: float(value) for name, value in run.callback_metrics.items()}

    assert logged["joint_pruning/active_joints"] == 3.0
    assert logged["joint_pruning/pruning_ratio"] == pytest.approx(5 / 8)
    assert logged["joint_pruning/expected_joints"] == pytest.approx(last.expected_joints)
    assert logged["joint_pruning/gate_temperature"] == pytest.approx(0.3)
    assert logged["joint_pruning/l0_penalty"] == 0.0  # nothing is paid for in the final phase

    header = Path(run.log_dir, "metrics.csv").read_text().splitlines()[0].split(",")
    assert {name for name in logged if name.startswith("joint_pruning/")} <= set(header)
    assert callback.report_path is not None
    assert callback.report_path.parent == Path(run.log_dir)


def test_the_penalty_that_is_logged_is_price_times_expected_joints() -> None:
    callback, seen = pruning(Price(0.25)), []

    class Watch(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, *args: Any) -> None:
            seen.append({k: float(v) for k, v in trainer.callback_metrics.items()})

    fit(Classifier(), callback, Watch())
    assert seen[1]["joint_pruning/l0_penalty"] == 0.0
    now = callback.record.history[2]
    assert now.price == 0.25
    assert seen[3]["joint_pruning/l0_penalty"] == pytest.approx(0.25 * now.expected_joints)
