"""Losses and inputs of any value, finite or not, do no harm to the gates."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import mse_loss, one_hot

from lightning_jointprune import JointPruningCallback, Price
from tests.callback.watched import Falling, batches, weights
from tests.runs import BATCHES, INFORMATIVE, SHORT_RUNS, SIGNS, Classifier, J, clips, fit, pruning

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


def test_an_empty_batch_later_passes() -> None:
    class Patient(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx).nan_to_num()

    x = torch.randn(4, 4, J, 2)
    data = batches(x, x, torch.randn(0, 4, J, 2), x)
    callback = pruning(Price(0.1))
    fit(Patient(), callback, train=data)
    assert all(math.isfinite(p) for p in callback.selection.keep_probabilities)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_in_a_dropped_joint_does_not_spread(value: float) -> None:
    x = torch.randn(8, 4, J, 2)
    x[:, :, 2] = value
    model, callback = Classifier(), pruning(4, keep=[0, 1, 4, 5])
    with torch.no_grad():
        model.head.weight.view(-1, 4, J, 2)[:, :, 2] = 0.0
    run = fit(model, callback)
    assert not callback.selection.mask[2]

    predictions = run.predict(model, batches(x))[0]
    assert predictions.isfinite().all()
    before = len(model.losses)
    run.fit_loop.max_epochs += 1
    run.fit(model, batches(x, x), batches(x))
    assert all(loss.isfinite() for loss in model.losses[before:])
    assert all(weight.isfinite().all() for weight in weights(model))


def test_a_loss_that_is_not_a_number_does_not_poison_the_gates() -> None:
    class Unlucky(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            return loss * torch.nan if self.trainer.global_step == 12 else loss

        def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            super().optimizer_step(*args, **kwargs)
            for weight in self.parameters():
                weight.data.nan_to_num_()

    callback = pruning()
    fit(Unlucky(), callback)
    assert all(math.isfinite(p) for p in callback.selection.keep_probabilities)
    assert set(INFORMATIVE) <= set(callback.selection.indices)


def test_first_losses_that_are_not_numbers_do_not_poison_the_price() -> None:
    class Unlucky(Falling):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            bad = torch.nan if self.trainer.global_step in (1, 20) else 0.0
            return loss + bad  # the gradient is as ever

    callback = pruning(Price("auto"))
    fit(Unlucky(), callback)
    recent = 2.0 * 0.98 ** (3 * BATCHES - 12)  # one loss is passed over
    assert callback.record.history[2].price == pytest.approx(0.3 * (2.0 - recent) / J)


class Regression(Classifier):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, sign = batch
        return mse_loss(self(x), one_hot(sign, SIGNS).float())


class Offset(Classifier):
    offset = 0.0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) + self.offset


class Negative(Offset):
    offset = -5.0


class Large(Offset):
    offset = 5.0


@pytest.mark.parametrize("model", [Classifier, Regression, Negative, Large])
def test_the_joints_are_found_whatever_the_loss_is(model: type[Classifier]) -> None:
    callback = JointPruningCallback(num_joints=J, lr=0.2)
    torch.manual_seed(0)
    fit(model(), callback, train=clips(32), max_epochs=20)
    assert callback.selection.indices == INFORMATIVE
