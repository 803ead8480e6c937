"""The logits join the user's optimizer, and leave its groups as they were."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from lightning_jointprune import JointPruningCallback, Price
from tests.runs import BATCHES, INFORMATIVE, SHORT_RUNS, Classifier, J, fit, pruning

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


class Groupwise(pl.Callback):
    """Notes the parameter groups at the end of every batch."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])


class Scheduled(Classifier):
    """Explicit groups under a schedule that changes with every step."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        ramps = [lambda step: 0.1 + step / 40, lambda step: 0.5 ** (step / 10)]
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, ramps)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


def test_the_logits_are_the_last_group_with_their_own_rate_and_no_decay() -> None:
    model, callback = Classifier(), pruning(lr=0.123)
    run = fit(model, callback)
    *users, ours = run.optimizers[0].param_groups

    assert [len(group["params"]) for group in users] == [1, 1]
    assert all(group["params"][0] is p for group, p in zip(users, model.parameters(), strict=True))
    assert ours["lr"] == 0.123
    assert ours["weight_decay"] == 0.0
    assert [parameter.shape for parameter in ours["params"]] == [(J,)]


def test_the_logits_move_in_the_search_and_only_then() -> None:
    callback = pruning(Price(0.5))
    fit(Scheduled(), callback)
    history = [snapshot.keep_probabilities for snapshot in callback.record.history]

    assert history[0] == pytest.approx([0.9] * J)
    assert all(before != after for before, after in pairwise(history[:3]))
    assert history[2] == history[3] == history[4]


def schedulers() -> list[Any]:
    from torch.optim import lr_scheduler as lrs

    return [
        lambda o: lrs.LambdaLR(o, [lambda s: 1 / (1 + s), lambda s: 0.5**s]),
        lambda o: lrs.OneCycleLR(o, max_lr=[0.1, 0.2], total_steps=40),
        lambda o: lrs.CyclicLR(o, [1e-3, 1e-4], [0.1, 0.2], cycle_momentum=False),
        lambda o: lrs.LinearLR(o, total_iters=20),
        lambda o: lrs.CosineAnnealingWarmRestarts(o, T_0=7),
        lambda o: lrs.SequentialLR(
            o, [lrs.ConstantLR(o, 0.1, 5), lrs.ExponentialLR(o, 0.9)], milestones=[9]
        ),
        lambda o: lrs.ChainedScheduler([lrs.ConstantLR(o, 0.1, 5), lrs.ExponentialLR(o, 0.9)]),
    ]


@pytest.mark.parametrize("make", schedulers())
@pytest.mark.compatibility("Schedulers", "in a Trainer, by step")
def test_the_users_rates_are_those_of_a_run_without_us(make: Any) -> None:
    class Model(Classifier):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            return [optimizer], [{"scheduler": make(optimizer), "interval": "step"}]

    without, within = Groupwise(), Groupwise()
    fit(Model(), without)
    fit(Model(), pruning(), within)

    assert [rates[:-1] for rates in within.rates] == without.rates
    assert {rates[-1] for rates in within.rates[9:]} == {0.5}


@pytest.mark.compatibility("Schedulers", "rates set by hand in `optimizer_step`")
def test_a_user_who_sets_the_rate_of_all_groups_does_not_set_ours() -> None:
    class Model(Classifier):
        def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = self.hparams["lr"]
            super().optimizer_step(*args, **kwargs)

    without, within = pruning(Price(0.1)), pruning(Price(0.1))
    torch.manual_seed(0)
    fit(Classifier(), without)
    torch.manual_seed(0)
    fit(Model(), within)
    assert without.record.history == within.record.history


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_needs_no_argument(momentum: float) -> None:
    class Model(Classifier):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=momentum, weight_decay=0.1)

    callback = JointPruningCallback(num_joints=J)
    model = Model()
    run = fit(model, callback, max_epochs=20)
    group = run.optimizers[0].param_groups[-1]
    faster = (200 / (0.5 * run.max_epochs * BATCHES)) ** 2  # as the search is short
    price = 0.5 * (1 - momentum) / group["lr"] * faster  # when the search began
    first = float(torch.stack(model.losses[:10]).mean())

    assert 0.099 <= price * J / (0.3 * first) <= 1.0
    assert set(INFORMATIVE) <= set(callback.selection.indices)
    assert len(callback.selection.indices) < J


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_short_search_has_a_higher_rate(accumulated: int) -> None:
    callback = JointPruningCallback(num_joints=J, phases=(0.25, 0.75))
    run = fit(Classifier(), callback, max_epochs=24, accumulate_grad_batches=accumulated)
    faster = min(10, (200 / (12 * BATCHES / accumulated)) ** 2)
    assert run.optimizers[0].param_groups[-1]["lr"] == pytest.approx(0.05 * faster)


@pytest.mark.compatibility("Schedulers", "stepped by hand")
def test_a_scheduler_that_is_stepped_by_hand_sees_its_own_groups_alone() -> None:
    class ByHand(Classifier):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            self.plan = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda step: 0.9**step] * 2)
            return optimizer

        def on_train_batch_end(self, *args: Any) -> None:
            self.plan.step()

    fit(ByHand(), pruning())
