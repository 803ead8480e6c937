"""Averages of weights, and metrics that are the best so far, are of the final phase alone."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    StochasticWeightAveraging,
    WeightAveraging,
)
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn
from torchmetrics import MaxMetric, MinMetric

from tests.runs import SHORT_RUNS, Classifier, clips, fit, pruning

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


class Normed(Classifier):
    """Has buffers that are averaged too."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(64)

    def forward(self, x: Tensor) -> Tensor:
        self.got = x.detach()
        return self.head(self.norm(x.flatten(1)))


class Reference(pl.Callback):
    """A new average from the first step of the final phase on, and the weights of epochs."""

    def __init__(self, callback: Any, **settings: Any) -> None:
        self.callback, self.settings, self.average = callback, settings, None
        self.weights: list[dict[str, Tensor]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if self.average is None and self.callback.record.phase == "final":
            self.average = AveragedModel(parts(pl_module), **self.settings)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if self.average is not None:
            self.average.update_parameters(parts(pl_module))

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.weights.append(deepcopy(pl_module.head.state_dict()))


def parts(module: Any) -> nn.Module:
    return nn.ModuleDict(dict(module.named_children()))


def assert_equal(module: nn.Module, other: nn.Module) -> None:
    for value, true in zip(module.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(value, true)


KINDS = {
    "EMAWeightAveraging": (
        lambda: EMAWeightAveraging(decay=0.9),
        {"use_buffers": True, "avg_fn": get_ema_avg_fn(0.9)},
    ),
    "WeightAveraging": (WeightAveraging, {"use_buffers": True}),
}


@pytest.mark.parametrize(("kind", "settings"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("end", [0.6, 0.55], ids=["after an epoch", "within an epoch"])
@pytest.mark.compatibility("Callbacks", "EMAWeightAveraging, over the final phase alone")
def test_an_average_is_of_the_final_phase(
    kind: Any, settings: Any, first: bool, end: float
) -> None:
    callback = pruning(phases=(0.2, end))
    average, reference = kind(), Reference(callback, **settings)
    model = Normed()
    fit(model, *([average, callback] if first else [callback, average]), reference)
    assert_equal(parts(model), reference.average.module)


@pytest.mark.parametrize("first", [True, False])
def test_an_average_of_no_weights_yet_is_the_model_of_now(first: bool) -> None:
    """It averages in the search, and then not before the run ends."""

    class Seldom(WeightAveraging):
        def should_update(self, step_idx: Any = None, epoch_idx: Any = None) -> bool:
            return step_idx is not None and step_idx < 12

    class Last(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            self.weights = deepcopy(parts(pl_module))

    class Validated(Normed):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            if callback.record.phase == "final":
                assert_equal(parts(self), last.weights)

    callback, last = pruning(), Last()
    model = Validated()
    fit(model, *([Seldom(), callback] if first else [callback, Seldom()]), last)
    assert_equal(parts(model), last.weights)


def test_swa_of_no_weights_yet_is_the_model_of_now() -> None:
    """The final phase begins in the last epoch, after the last weights that are averaged."""

    class Last(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            self.weights = deepcopy(parts(pl_module))

    model, last = Classifier(), Last()
    swa = StochasticWeightAveraging(1e-3, swa_epoch_start=2)
    fit(model, pruning(phases=(0.2, 0.9)), swa, last)
    assert_equal(parts(model), last.weights)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.compatibility("Callbacks", "StochasticWeightAveraging, over the final phase alone")
def test_swa_averages_the_final_phase(first: bool) -> None:
    callback, model = pruning(), Classifier()
    swa, reference = StochasticWeightAveraging(1e-3, swa_epoch_start=2), Reference(callback)
    fit(model, reference, *([swa, callback] if first else [callback, swa]), max_epochs=10)
    seen = reference.weights[7:]  # the freeze is after six epochs, and updates begin epochs
    for name, value in model.head.state_dict().items():
        expected = torch.stack([weights[name] for weights in seen]).mean(0)
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("first", [True, False])
def test_the_rungs_of_a_ladder_are_measured_with_averaged_weights(first: bool) -> None:
    average, callback = EMAWeightAveraging(decay=0.9), pruning([5, 3])
    callbacks = [average, callback] if first else [callback, average]
    model = Classifier()
    fitted = fit(model, *callbacks)
    (found,) = fitted.validate(model, clips(2, seed=1), verbose=False)
    assert callback.record.rungs[-1].metrics == pytest.approx(found)


# --- metrics that are the best value so far ------------------------------------------------------


class Best(Classifier):
    """Logs the best value so far, as many templates do."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, float]] = []
        self.best, self.least = MaxMetric(), MinMetric()

    def on_validation_epoch_end(self) -> None:
        if self.trainer.sanity_checking:
            return
        value = -float(self.trainer.global_step)
        self.seen.append((pruned(self.trainer).record.phase, value))
        self.best.update(value)
        self.least.update(-value)
        self.log("best", self.best.compute())
        self.log("least", self.least.compute())


def pruned(trainer: Any) -> Any:
    return next(it for it in trainer.callbacks if "JointPruning" in type(it).__name__)


@pytest.mark.parametrize("end", [0.6, 0.55], ids=["after an epoch", "within an epoch"])
@pytest.mark.compatibility("Callbacks", "MaxMetric and MinMetric of torchmetrics")
def test_the_best_value_so_far_is_of_the_final_phase(end: float) -> None:
    model = Best()
    fitted = fit(model, pruning(phases=(0.2, end)))
    expected = max(value for phase, value in model.seen if phase == "final")
    assert fitted.callback_metrics["best"] == -fitted.callback_metrics["least"] == expected
