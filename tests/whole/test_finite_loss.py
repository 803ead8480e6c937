"""A loss that is finite with all joints alone stops the run, and no older metric is quoted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor

from tests.runs import SHORT_RUNS, Classifier, SteppedByHand, fit, pruning

pytestmark = SHORT_RUNS


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class CountsFrames(Classifier):
    """Takes a frame in which any value is 0 for padding, and averages over the others."""

    def forward(self, x: Tensor) -> Tensor:
        self.got = x.detach()
        real = (x != 0).flatten(2).all(2).float()
        mean = (x * real[:, :, None, None]).sum(1, keepdim=True) / real.sum(1)[:, None, None, None]
        return self.head(mean.expand_as(x).flatten(1))


class ByHand(SteppedByHand, CountsFrames):
    """Steps its optimizer itself."""


@pytest.mark.parametrize("model_class", [CountsFrames, ByHand])
def test_the_run_stops_with_the_cause_and_keeps_its_weights(model_class: Any) -> None:
    model = model_class()
    with pytest.raises(
        MisconfigurationException, match=r'finite loss .* got nan after the freeze.*fill="mean"'
    ):
        fit(model, pruning())
    assert all(weight.isfinite().all() for weight in model.parameters())
    fit(model_class(), pruning(fill=0.1))


def test_a_loss_that_was_never_always_finite_is_left_to_its_owner() -> None:
    class TimesNan(CountsFrames):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            return loss * math.nan if batch_idx == 1 else loss

    fit(TimesNan(), pruning())


@pytest.mark.parametrize("finite_epochs", [3, 4], ids=["at the freeze", "later"])
def test_no_older_metric_stands_for_one_that_is_not_finite(finite_epochs: int) -> None:
    class LosesItsMetric(Classifier):
        def validation_step(self, batch: Any, batch_idx: int = 0) -> None:
            self(batch[0])
            finite = self.trainer.current_epoch < finite_epochs
            self.log("val_acc", torch.tensor(0.9 if finite else math.nan))

    callback = pruning()
    fit(LosesItsMetric(), callback)
    assert callback.selection.metrics == {}
