"""What the callback promises, each on a run of a second or less."""

from __future__ import annotations

import csv
import itertools
import json
import logging
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning_utilities.core import rank_zero
from torch import Tensor
from torch.nn.functional import mse_loss, one_hot
from torch.utils.data import DataLoader

from lightning_jointprune import (
    Groups,
    JointPruningCallback,
    JointSelection,
    MetricFloor,
    Price,
    PruningRecord,
    TargetJoints,
    analyze_pruning,
    load_pruned,
)
from lightning_jointprune.attach.layers import worn_layers
from lightning_jointprune.attach.layout import Layout
from tests.runs import (
    BATCHES,
    INFORMATIVE,
    SHORT_RUNS,
    SIGNS,
    Classifier,
    InParts,
    J,
    clips,
    first_joint,
    fit,
    pruning,
    trainer,
)
from tests.zoo import models
from tests.zoo.models import NODES

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


def kinds(model: Classifier, stage: str) -> dict[int, str]:
    """Whether the model saw all joints, noisy ones or masked ones, by optimizer step."""
    return {call.step: call.kind for call in model.of(stage)}


def masks(model: Classifier, stage: str) -> set[tuple[bool, ...]]:
    return {tuple(call.kept) for call in model.of(stage) if call.kind == "masked"}


def weights(model: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


class Stop(pl.Callback):
    """Ends a run at an optimizer step, politely or not."""

    def __init__(self, step: int, error: type[BaseException] | None = None) -> None:
        self.step = step
        self.error = error

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            trainer.should_stop = True
            if self.error:
                raise self.error


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


# --- phases ----------------------------------------------------------------------------------


def test_the_sanity_check_and_the_warmup_see_all_joints() -> None:
    model = Classifier()
    fit(model, pruning())

    assert set(kinds(model, "sanity_check").values()) == {"open"}
    assert [kinds(model, "train")[step] for step in range(BATCHES)] == ["open"] * BATCHES
    assert kinds(model, "validate")[BATCHES] == "open"


def test_the_search_trains_noisy_gates_and_validates_the_hard_mask() -> None:
    model, callback = Classifier(), pruning(Price(1.0))
    fit(model, callback)

    assert [kinds(model, "train")[step] for step in range(8, 24)] == ["sampled"] * 16
    assert kinds(model, "validate")[16] == kinds(model, "validate")[24] == "masked"
    in_search = [call.kept for call in model.of("validate") if call.step == 24]
    assert sum(in_search[0]) == callback.record.history[2].active_joints < J


def test_the_final_phase_trains_and_validates_on_exactly_the_frozen_mask() -> None:
    model, callback = Classifier(), pruning()
    fit(model, callback)

    assert [kinds(model, "train")[step] for step in range(24, 40)] == ["masked"] * 16
    late = {tuple(call.kept) for call in model.of("validate") if call.step > 24}
    assert masks(model, "train") == late == {callback.selection.mask}
    assert sum(callback.selection.mask) == 3


@pytest.mark.parametrize("phases", [(0.0, 0.5), (0.1, 0.9), (0.19, 0.41)])
def test_phases_begin_where_they_were_asked_to(phases: tuple[float, float]) -> None:
    model = Classifier()
    fit(model, pruning(phases=phases))

    seen = [kinds(model, "train")[step] for step in range(40)]
    warm, end = math.ceil(phases[0] * 40 - 1e-9), math.ceil(phases[1] * 40 - 1e-9)
    warm = max(1, warm)  # the first batch shows where the joints are
    assert seen == ["open"] * warm + ["sampled"] * (end - warm) + ["masked"] * (40 - end)


def test_the_informative_joints_are_the_ones_that_are_kept() -> None:
    callback = JointPruningCallback(num_joints=J)
    fit(Classifier(), callback, train=clips(32), max_epochs=15)

    assert callback.selection.indices == INFORMATIVE
    assert callback.selection.metrics["val_acc"] >= callback.selection.metrics_all_joints["val_acc"]


# --- the model afterwards --------------------------------------------------------------------


def test_test_and_predict_see_the_mask() -> None:
    model, callback = Classifier(), pruning()
    one = fit(model, callback)
    one.test(model, clips(2), verbose=False)
    one.predict(model, clips(2))

    assert masks(model, "test") == masks(model, "predict") == {callback.selection.mask}
    assert set(kinds(model, "test").values()) == {"masked"}


def test_the_model_after_fit_is_masked_and_detach_gives_the_original_back() -> None:
    model, plain, callback = Classifier(), Classifier(), pruning()
    fit(plain)
    fit(model, callback)
    x = torch.randn(2, 4, J, 2)
    dropped = [joint for joint in range(J) if joint not in callback.selection.indices]
    changed = x.clone()
    changed[:, :, dropped] = torch.nan
    assert torch.equal(model.eval()(x), model(changed))

    callback.detach()
    assert not torch.equal(model(x), model(changed))
    for (_, one), (_, other) in zip(model.named_modules(), plain.named_modules(), strict=True):
        assert one.__dict__.keys() == other.__dict__.keys()
        assert type(one) is type(other)
    callback.detach()  # may be called twice


def test_the_selection_outlives_detach() -> None:
    callback = pruning()
    assert callback.selection.indices == tuple(range(J))
    fit(Classifier(), callback)
    before = callback.selection
    callback.detach()
    assert callback.selection == before


# --- the optimizer ---------------------------------------------------------------------------


def test_the_logits_are_the_last_group_with_their_own_rate_and_no_decay() -> None:
    model, callback = Classifier(), pruning(lr=0.123)
    one = fit(model, callback)
    *users, ours = one.optimizers[0].param_groups

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

    one, other = pruning(Price(0.1)), pruning(Price(0.1))
    torch.manual_seed(0)
    fit(Classifier(), one)
    torch.manual_seed(0)
    fit(Model(), other)
    assert one.record.history == other.record.history


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_needs_no_argument(momentum: float) -> None:
    class Model(Classifier):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=momentum, weight_decay=0.1)

    callback = JointPruningCallback(num_joints=J)
    model = Model()
    one = fit(model, callback, max_epochs=20)
    group = one.optimizers[0].param_groups[-1]
    faster = (200 / (0.5 * one.max_epochs * BATCHES)) ** 2  # as the search is short
    price = 0.5 * (1 - momentum) / group["lr"] * faster  # when the search began
    first = float(torch.stack(model.losses[:10]).mean())

    assert 0.099 <= price * J / (0.3 * first) <= 1.0
    assert set(INFORMATIVE) <= set(callback.selection.indices)
    assert len(callback.selection.indices) < J


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_short_search_has_a_higher_rate(accumulated: int) -> None:
    callback = JointPruningCallback(num_joints=J, phases=(0.25, 0.75))
    one = fit(Classifier(), callback, max_epochs=24, accumulate_grad_batches=accumulated)
    faster = min(10, (200 / (12 * BATCHES / accumulated)) ** 2)
    assert one.optimizers[0].param_groups[-1]["lr"] == pytest.approx(0.05 * faster)


# --- early stopping and best checkpoints -----------------------------------------------------


class Scored(Classifier):
    """Logs a validation score that only ever gets worse."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("score", float(-self.trainer.current_epoch))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("at_epoch_end", [True, False])
@pytest.mark.parametrize("every", [1.0, 0.5])
@pytest.mark.compatibility("Callbacks", "EarlyStopping, in the final phase")
def test_early_stopping_waits_for_the_final_phase(
    first: bool, at_epoch_end: bool, every: float
) -> None:
    stopper = EarlyStopping("score", mode="max", patience=1, check_on_train_epoch_end=at_epoch_end)
    callbacks = [stopper, pruning()] if first else [pruning(), stopper]
    one = fit(Scored(), *callbacks, max_epochs=10, val_check_interval=every)

    # the search ends with epoch 5; the first check after it is the first score, the next is worse
    assert one.current_epoch == 8 if every == 1.0 or at_epoch_end else 7


@pytest.mark.compatibility("Callbacks", "EarlyStopping, in the final phase")
def test_a_stopping_threshold_counts_in_the_final_phase_only() -> None:
    stopper = EarlyStopping("score", mode="max", patience=99, stopping_threshold=-99.0)
    one = fit(Scored(), pruning(), stopper)

    assert one.current_epoch == 4
    assert stopper.stopping_threshold == -99.0


def test_a_score_of_the_search_is_no_standard_for_the_final_phase() -> None:
    # Validated twice per epoch, with the freeze in between: what came before is another model's.
    class Later(Classifier):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            self.log("score", -float(self.trainer.global_step))

    class Watch(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if callback.record.phase == "final":
                standards.append((trainer.global_step, float(stopper.best_score)))

    standards: list[tuple[int, float]] = []
    stopper = EarlyStopping("score", mode="max", patience=2, check_on_train_epoch_end=False)
    callback = pruning(phases=(0.1, 0.65))
    fit(Later(), callback, stopper, Watch(), max_epochs=10, val_check_interval=0.5)
    assert standards[0] == (56, -56.0)


@pytest.mark.parametrize("top", [1, 2, -1])
@pytest.mark.parametrize("on_epoch", [True, False])
@pytest.mark.compatibility("Callbacks", "ModelCheckpoint with a monitor, of the final phase")
def test_a_best_checkpoint_is_a_pruned_model(top: int, on_epoch: bool) -> None:
    best = ModelCheckpoint(
        ".", monitor="score", mode="max", save_top_k=top, save_on_train_epoch_end=on_epoch
    )
    callback = pruning()
    fit(Scored(), callback, best, enable_checkpointing=True)
    state = torch.load(best.best_model_path, weights_only=True)["callbacks"][callback.state_key]

    assert state["search"]["phase"] == "final"
    assert tuple(state["mask"]) == callback.selection.mask
    assert float(best.best_model_score) == -3.0  # the first epoch of the final phase


# --- the penalty -----------------------------------------------------------------------------


class Indifferent(Classifier):
    """The loss does not care about the joints, so the price alone moves the gates."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return 0.0 * super().training_step(batch, batch_idx) + 1.0

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Falling(Indifferent):
    """A loss of 2 for ten batches, then 0."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return 2.0 * loss if len(self.losses) <= 10 else 0.0 * loss


def probabilities(**settings: Any) -> list[float]:
    callback = pruning(Price(0.3), lr=2.0)
    fit(Indifferent(), callback, **settings)
    assert min(callback.selection.keep_probabilities) < 0.8  # the gates moved
    return list(callback.selection.keep_probabilities)


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
    one = fit(Classifier(), callback, logger=CSVLogger("."), log_every_n_steps=1)
    last = callback.record.history[-1]
    logged = {name: float(value) for name, value in one.callback_metrics.items()}

    assert logged["joint_pruning/active_joints"] == 3.0
    assert logged["joint_pruning/pruning_ratio"] == pytest.approx(5 / 8)
    assert logged["joint_pruning/expected_joints"] == pytest.approx(last.expected_joints)
    assert logged["joint_pruning/gate_temperature"] == pytest.approx(0.3)
    assert logged["joint_pruning/l0_penalty"] == 0.0  # nothing is paid for in the final phase

    header = Path(one.log_dir, "metrics.csv").read_text().splitlines()[0].split(",")
    assert {name for name in logged if name.startswith("joint_pruning/")} <= set(header)
    assert callback.report_path is not None
    assert callback.report_path.parent == Path(one.log_dir)


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


# --- budgets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [1, 5, 8, TargetJoints(2)])
def test_exactly_as_many_joints_are_frozen_as_were_asked_for(budget: Any) -> None:
    model, callback = Classifier(), pruning(budget)
    fit(model, callback)
    count = budget if isinstance(budget, int) else budget.count

    assert len(callback.selection.indices) == count
    assert sum(model.of("train")[-1].kept) == count


class Probabilities(pl.Callback):
    """Remembers the keep probabilities before every training step."""

    def __init__(self, callback: JointPruningCallback) -> None:
        self.callback = callback
        self.seen: list[tuple[str, tuple[float, ...]]] = []

    def on_train_batch_start(self, *args: Any) -> None:
        phase = self.callback.record.phase
        self.seen.append((phase, self.callback.selection.keep_probabilities))


@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_the_joints_of_a_target_are_open_before_they_are_frozen(count: int) -> None:
    """Of eight joints two are worth something: fewer, as many and more."""
    callback = JointPruningCallback(J, budget=count, lr=0.1)
    watch = Probabilities(callback)
    fit(Classifier(), watch, callback, max_epochs=30)
    last = [probabilities for phase, probabilities in watch.seen if phase == "search"][-1]
    kept = callback.selection.indices
    assert len(kept) == count
    assert all(last[joint] > 0.5 for joint in kept)
    assert all(last[joint] < 0.5 for joint in range(J) if joint not in kept)
    assert set(kept) <= set(INFORMATIVE) if count < 2 else set(INFORMATIVE) <= set(kept)


class Needing(Classifier):
    """Logs the fraction of the joints it needs that reached it."""

    needed: tuple[int, ...] = INFORMATIVE

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        kept = self.calls[-1].kept
        self.log("enough", sum(kept[joint] for joint in self.needed) / len(self.needed))


def test_pruning_stops_where_the_floor_is_met() -> None:
    callback = JointPruningCallback(J, budget=MetricFloor("enough", 1.0), lr=0.1)
    fit(Needing(), callback, max_epochs=30)

    assert set(INFORMATIVE) <= set(callback.selection.indices)
    assert len(callback.selection.indices) <= 4
    assert any(snapshot.metrics["enough"] < 1.0 for snapshot in callback.record.history)
    assert callback.selection.metric == "enough"
    assert callback.selection.floor == 1.0
    assert callback.selection.metrics["enough"] == 1.0


def test_a_floor_that_is_never_met_keeps_all_joints_and_says_so() -> None:
    callback = pruning(MetricFloor("enough", 2.0))
    unmet, doubt = "enough was not surely at its floor of 2 with", "one of them in per cent"
    with pytest.warns(UserWarning, match=unmet), pytest.warns(UserWarning, match=doubt):
        fit(Needing(), callback)
    assert len(callback.selection.indices) == J


class ShortOf(Needing):
    """Needs five joints in the final phase, which the search could not know."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        final = self.trainer.current_epoch >= 0.6 * self.trainer.max_epochs
        self.log("reached", min(1.0, sum(self.calls[-1].kept) / 5) if final else 1.0)


def test_joints_are_opened_again_when_the_final_phase_misses_the_floor() -> None:
    callback, model = JointPruningCallback(J, budget=MetricFloor("reached", 1.0), lr=0.1), ShortOf()
    fit(model, callback, max_epochs=30)
    final = [one.active_joints for one in callback.record.history if one.phase == "final"]
    assert final == sorted(final)
    assert final[0] < 5 <= final[-1] == len(callback.selection.indices)
    assert model.of("train")[-1].kept == list(callback.selection.mask)
    assert callback.selection.metrics["reached"] == 1.0


def test_a_floor_may_be_a_drop_from_what_the_warm_up_measured() -> None:
    callback = JointPruningCallback(J, budget=MetricFloor("enough", drop=0.25), lr=0.1)
    fit(Needing(), callback, max_epochs=30)

    assert callback.selection.floor == 0.75
    assert set(INFORMATIVE) <= set(callback.selection.indices)
    assert len(callback.selection.indices) <= 4
    asked = {"metric": "enough", "floor": None, "mode": None, "drop": 0.25}
    assert callback.record.settings["budget"] == {"MetricFloor": asked}


def test_a_drop_without_a_validation_in_the_warm_up_is_an_error() -> None:
    callback = pruning(MetricFloor("enough", drop=0.25), phases=(0.1, 0.6))
    with pytest.raises(MisconfigurationException, match=r"'enough' in the warm-up.*Lengthen"):
        fit(Needing(), callback)


@pytest.mark.parametrize("keep", [[0, 7], ["joint_0", "joint_7"]])
def test_joints_to_keep_are_kept(keep: Any) -> None:
    callback = pruning(2, keep=keep)
    fit(Classifier(), callback)
    assert callback.selection.indices == (0, 7)


def test_a_tied_group_stands_or_falls_together() -> None:
    halves = {"left": [3, 1, 0, 2], "right": range(4, 8)}
    model, callback = Classifier(), pruning(Price(0.5), groups=Groups(halves, tied=True))
    fit(model, callback, max_epochs=10)  # so high a price would drop them all
    assert callback.selection.indices in [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert all(sum(call.kept) in (4, 8) for call in model.of("validate"))


@pytest.mark.parametrize(
    "settings", [{}, {"fill": "mean"}, {"fill": "hold"}, {"groups": {"a": [1, 4]}, "keep": [7]}]
)
def test_a_skeleton_in_parts_is_searched_as_the_whole_one(settings: dict[str, Any]) -> None:
    runs = []
    for kind, where in ((Classifier, "x"), (InParts, "body + hand")):
        torch.manual_seed(0)
        model, callback = kind(), pruning(input=where, **settings)
        fit(model, callback)
        runs.append((callback.selection, model))
    (selection, whole), (in_parts, parts) = runs
    assert in_parts.indices == selection.indices
    assert in_parts.keep_probabilities == pytest.approx(selection.keep_probabilities, abs=1e-4)
    for call, of_whole in zip(parts.calls, whole.calls, strict=True):
        torch.testing.assert_close(call.got, of_whole.got, rtol=1e-3, atol=1e-3)


def test_a_skeleton_in_parts_is_proposed_and_its_sizes_have_to_add_up() -> None:
    with pytest.raises(MisconfigurationException, match=r'pass input="body \+ hand"'):
        fit(InParts(), pruning())
    with pytest.raises(
        MisconfigurationException, match=r"(?s)9 joints together.*hand  \(8, 4, 5, 2"
    ):
        fit(InParts(), pruning(num_joints=9, input="body + hand"))
    with pytest.raises(MisconfigurationException, match=r"start with an argument .* got 'arm'"):
        fit(InParts(), pruning(input="body + arm.0"))


def test_a_joint_with_several_nodes_has_one_gate() -> None:
    random = torch.Generator().manual_seed(0)
    sign = torch.arange(256) % 4
    x = torch.randn(256, 4, 41, 2, generator=random)
    for node, bit in ((16, sign % 2), (37, sign // 2)):  # the bone of part4, the motion of part12
        x[:, :, node] += 2.0 * bit[:, None, None] - 1.0
    data = DataLoader(list(zip(x, sign, strict=True)), batch_size=16)
    nodes = sorted(NODES["part4"] + NODES["part12"])
    model = Classifier(joints=41)
    callback = pruning(len(nodes), num_joints=41, groups=Groups(NODES, tied=True))
    fit(model, callback, train=data, val=data)

    assert callback.selection.indices == tuple(nodes)
    assert set(callback.selection.names) == {
        *(f"part4.{k}" for k in range(3)),
        *(f"part12.{k}" for k in range(4)),
    }
    for call in model.of("train"):
        if call.kind == "sampled":
            gates = (call.got / call.given)[:, 0, :, 0]
            for joint in NODES.values():
                torch.testing.assert_close(
                    gates[:, joint], gates[:, joint[:1]].expand(-1, len(joint))
                )


def test_a_closed_group_closes_its_joints() -> None:
    callback = JointPruningCallback(
        num_joints=J, groups={"signs": [1, 4], "noise": [0, 2, 3, 5, 6, 7]}
    )
    one = fit(Classifier(), callback, train=clips(32), max_epochs=15)

    assert callback.selection.indices == INFORMATIVE
    assert [len(p) for p in one.optimizers[0].param_groups[-1]["params"]] == [J, 2]


def test_a_skeleton_brings_names_and_groups() -> None:
    callback = JointPruningCallback(
        skeleton="mediapipe_hand", groups="tied", keep=["wrist"], budget=Price(0.01)
    )
    fit(Hand(), callback, train=hands(), val=hands())
    assert callback.selection.num_joints == 21
    assert "wrist" in callback.selection.names
    assert callback.record.skeleton == "mediapipe_hand"


class Hand(Classifier):
    def __init__(self) -> None:
        super().__init__(joints=21)


def hands() -> DataLoader[Any]:
    batches = [(torch.randn(4, 4, 21, 2), torch.tensor([0, 1, 0, 1])) for _ in range(4)]
    return DataLoader(batches, batch_size=None)


@pytest.mark.parametrize(
    "gate", ["gumbel_sigmoid", "straight_through", "hard_concrete", "stochastic"]
)
def test_every_gate_finds_the_joints(gate: str) -> None:
    callback = JointPruningCallback(num_joints=J, gate=gate)
    fit(Classifier(), callback, train=clips(32), max_epochs=15)
    assert set(INFORMATIVE) <= set(callback.selection.indices) < set(range(J))


def test_dropped_joints_are_filled_with_a_number() -> None:
    model, callback = Classifier(), pruning(fill=-7.5)
    fit(model, callback)
    got = model.of("train")[-1].got
    filled = (got == -7.5).all(dim=3).all(dim=1).all(dim=0)
    assert tuple((~filled).tolist()) == callback.selection.mask


def test_dropped_joints_are_filled_with_their_mean_in_training() -> None:
    model, callback = Classifier(), pruning(fill="mean")
    fit(model, callback)
    seen = torch.cat([call.given for call in model.of("train") if 0 < call.step < 24])
    dropped = [joint for joint in range(J) if not callback.selection.mask[joint]]
    means = seen.mean(dim=(0, 1))[dropped]

    for stage in ("train", "validate"):
        got = model.of(stage)[-1].got[:, :, dropped]
        assert torch.allclose(got, means.expand_as(got), atol=1e-5)


def test_the_models_random_numbers_are_those_of_a_run_without_us() -> None:
    def losses(*callbacks: Any) -> tuple[list[float], Tensor]:
        torch.manual_seed(1)
        model = Classifier(dropout=0.5)
        fit(model, *callbacks)
        return [float(loss) for loss in model.losses], torch.get_rng_state()

    without, within = losses(), losses(pruning())
    assert without[0][:BATCHES] == within[0][:BATCHES]
    assert without[0][BATCHES:] != within[0][BATCHES:]
    assert torch.equal(without[1], within[1])


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_joints": 0}, "Expected the number of joints"),
        ({"num_joints": None}, "Expected the number of joints"),
        ({"num_joints": 5, "skeleton": "mediapipe_hand"}, "Expected 21 joints"),
        ({"skeleton": "mediapipe_foot"}, "mediapipe_hand"),
        ({"keep": [1, 1]}, "keep|joint"),
        ({"keep": [8]}, "8"),
        ({"keep": ["thumb"]}, "thumb"),
        ({"budget": 9}, "to 8"),
        ({"budget": 1, "keep": [0, 1]}, "from 2"),
        ({"budget": 0}, "at least 1"),
        ({"budget": 0.5}, "Expected a budget"),
        ({"budget": "auto"}, "Expected a budget"),
        ({"gate": "softmax"}, "Expected a gate out of"),
        ({"groups": "hierarchical"}, "Expected a skeleton"),
        ({"groups": "limbs"}, "limbs"),
        ({"groups": {"a": [0, 1], "b": [1]}}, "share no joint"),
        ({"phases": (0.6, 0.1)}, "in order"),
        ({"phases": (0.1, 1.1)}, "in order"),
        ({"phases": (0.5,)}, "in order"),
        ({"lr": 0.0}, "learning rate above 0"),
        ({"fill": "median"}, "fill"),
        ({"axes": "b t c"}, "exactly one axis j"),
    ],
)
def test_bad_arguments_are_refused_at_once(settings: dict[str, Any], message: str) -> None:
    joints = {} if "skeleton" in settings else {"num_joints": J}
    with pytest.raises(MisconfigurationException, match=message):
        JointPruningCallback(**{**joints, **settings})


def test_a_negative_price_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a price of at least 0"):
        Price(-0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_joints": 9}, r"Expected an input with 9 joints.*\n.*x  \(8, 4, 8, 2\)"),
        ({"input": "y"}, "Expected a tensor in input 'y'"),
        ({"input": "head:input", "num_joints": 7}, "7 joints"),
        ({"axes": "b j t c"}, "8 joints"),
        ({"axes": "b t j"}, "axes"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_before_a_weight_changes(
    settings: dict[str, Any], message: str
) -> None:
    model = Classifier()
    before = weights(model)
    with pytest.raises(MisconfigurationException, match=message):
        fit(model, JointPruningCallback(**{"num_joints": J, **settings}))
    assert same(before, weights(model))
    assert "forward" not in model.__dict__


def test_an_unknown_submodule_is_refused_before_any_data() -> None:
    model = Classifier()
    with pytest.raises(MisconfigurationException, match="Expected input to name a submodule"):
        fit(model, pruning(input="encoder:x"))
    assert model.calls == []


def batches(*xs: Tensor) -> DataLoader[Any]:
    return DataLoader([(x, torch.arange(len(x)) % 2) for x in xs], batch_size=None)


def test_another_number_of_joints_at_a_later_batch_is_an_error() -> None:
    data = batches(torch.randn(4, 4, J, 2), torch.randn(4, 4, J - 1, 2))
    with pytest.raises(ValueError, match=r"Expected 8 joints.*but got 7.*\(4, 4, 7, 2\)"):
        fit(Classifier(), pruning(), train=data)


@pytest.mark.compatibility("Models", "skeletons of integers", refused=True)
def test_integers_are_refused() -> None:
    class Casting(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.float())

    with pytest.raises(MisconfigurationException, match=r"torch.int64.*\.float\(\)"):
        fit(Casting(), pruning(), train=batches(torch.ones(4, 4, J, 2, dtype=torch.long)))


def test_an_empty_first_batch_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match="empty batch"):
        fit(Classifier(), pruning(), train=batches(torch.randn(0, 4, J, 2)))


def test_an_empty_batch_later_passes() -> None:
    class Patient(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx).nan_to_num()

    one = torch.randn(4, 4, J, 2)
    data = batches(one, one, torch.randn(0, 4, J, 2), one)
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
    one = fit(model, callback)
    assert not callback.selection.mask[2]

    predictions = one.predict(model, batches(x))[0]
    assert predictions.isfinite().all()
    before = len(model.losses)
    one.fit_loop.max_epochs += 1
    one.fit(model, batches(x, x), batches(x))
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


def test_the_automatic_price_of_a_loss_that_does_not_fall_is_doubted() -> None:
    with pytest.warns(UserWarning, match="did not fall, from 1 at the start to 1 in the search"):
        fit(Indifferent(), pruning(Price("auto")))


def test_a_run_too_short_for_a_search_is_an_error() -> None:
    with pytest.raises(MisconfigurationException, match="search had no step"):
        fit(Classifier(), pruning(phases=(0.1, 0.4)), train=clips(2), max_epochs=1)


@pytest.mark.parametrize("epochs", [5, 20])
@pytest.mark.compatibility(
    "Models", "a skeleton detached before it is used, {epochs} short epochs", refused=True
)
def test_gates_that_the_loss_cannot_reach_are_an_error(epochs: int) -> None:
    class Detached(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.detach())

    # With 2 batches an epoch, 5 epochs have a search of 4 steps.
    with pytest.raises(
        MisconfigurationException, match=r"(10|4) steps no gradient reached.*input="
    ):
        fit(Detached(), pruning(), train=clips(2), max_epochs=epochs)


@pytest.mark.compatibility("Trainer", "a run without an end", refused=True)
def test_a_run_without_an_end_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match=r"max_epochs=-1 without max_steps"):
        fit(Classifier(), pruning(), max_epochs=-1)


@pytest.mark.compatibility("Trainer", "strategy FSDP", refused=True)
def test_a_strategy_that_cuts_parameters_into_pieces_is_refused() -> None:
    class FSDPStrategy(SingleDeviceStrategy):
        pass

    with pytest.raises(MisconfigurationException, match=r"FSDPStrategy.*strategy=\"ddp\""):
        fit(Classifier(), pruning(), strategy=FSDPStrategy("cpu"), accelerator="auto")


@pytest.mark.compatibility("Callbacks", "JointPruningCallback twice, on one input", refused=True)
def test_two_callbacks_on_one_input_are_refused() -> None:
    with pytest.raises(MisconfigurationException, match="one callback per skeleton input"):
        fit(Classifier(), pruning(), pruning())


def test_two_callbacks_that_find_the_same_input_are_refused() -> None:
    with pytest.raises(MisconfigurationException, match="no layer on input `x`"):
        fit(Classifier(), pruning(), pruning(input="x"))


@pytest.mark.parametrize("sanity", [0, 2])
def test_a_floor_for_a_metric_that_is_never_logged_is_an_error(sanity: int) -> None:
    with pytest.raises(MisconfigurationException, match=r"'val_f1'.*val_loss, val_acc"):
        fit(Classifier(), pruning(MetricFloor("val_f1", 0.9)), num_sanity_val_steps=sanity)


@pytest.mark.compatibility("Trainer", "no validation, with `MetricFloor`", refused=True)
def test_a_floor_without_validation_is_refused() -> None:
    one = trainer(pruning(MetricFloor("val_acc", 0.9)))
    with pytest.raises(MisconfigurationException, match="Expected a validation that logs"):
        one.fit(Classifier(), clips())


@pytest.mark.compatibility("Optimizers", "`configure_optimizers` that returns None", refused=True)
def test_no_optimizer_is_refused() -> None:
    class Fixed(Classifier):
        def configure_optimizers(self) -> None:
            return None

    with pytest.raises(MisconfigurationException, match="Expected an optimizer"):
        fit(Fixed(), pruning())


# --- files -----------------------------------------------------------------------------------


def test_the_record_the_selection_and_the_report_are_left(tmp_path: Path) -> None:
    callback = pruning(dirpath=tmp_path / "results")
    fit(Classifier(), callback)

    record = PruningRecord.from_json(tmp_path / "results")
    assert record == callback.record
    assert record.phase == "final"
    assert record.selection.indices == callback.selection.indices
    assert [snapshot.step for snapshot in record.history] == [8, 16, 24, 32, 40]
    assert record.settings["budget"] == {"TargetJoints": {"count": 3}}
    assert "torch" in record.versions
    selection = json.loads((tmp_path / "results" / "selection.json").read_text())
    assert selection["indices"] == list(callback.selection.indices)
    assert callback.report_path == tmp_path / "results" / "joint_importance.html"
    assert callback.report_path.exists()


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    callback = pruning(dirpath=tmp_path / "file")
    with pytest.warns(UserWarning, match=r"could not be written to .*file"):
        fit(Classifier(), callback)
    assert callback.report_path is None
    assert len(callback.selection.indices) == 3


def test_a_report_that_fails_costs_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("no figure")

    monkeypatch.setattr("lightning_jointprune.report.write_report", broken)
    with pytest.warns(UserWarning, match="no figure"):
        fit(Classifier(), pruning())
    assert PruningRecord.from_json(Path()).phase == "final"


@pytest.mark.parametrize(
    ("step", "phase"), [(12, "search"), (20, "search"), (30, "final"), (35, "final")]
)
def test_an_interrupted_run_leaves_what_it_knows(step: int, phase: str) -> None:
    model, callback = Classifier(), pruning()
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        fit(model, callback, Stop(step, KeyboardInterrupt))

    record = PruningRecord.from_json(Path())
    assert record.phase == phase
    assert record.selection == callback.selection
    assert bool(record.selection.metrics) == (phase == "final" and step > 32)
    assert callback.report_path is not None


def test_after_an_error_nothing_is_asked_that_all_processes_have_to_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Alone(Stop):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if trainer.global_step == self.step:
                monkeypatch.setattr(trainer.strategy, "broadcast", None)
                monkeypatch.setattr(trainer.strategy, "reduce", None)
            super().on_train_batch_end(trainer, *args)

    with pytest.raises(RuntimeError):
        fit(Classifier(), pruning(), Alone(20, RuntimeError))
    assert PruningRecord.from_json(Path()).phase == "search"


def test_an_interrupted_warmup_leaves_a_record_with_all_joints() -> None:
    callback = pruning(phases=(0.5, 0.8))
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        fit(Classifier(), callback, Stop(12, KeyboardInterrupt))
    record = PruningRecord.from_json(Path())
    assert record.phase == "warmup"
    assert record.selection.indices == tuple(range(J))


def test_an_error_of_the_users_in_the_first_step_leaves_no_trace() -> None:
    class Broken(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            super().training_step(batch, batch_idx)
            raise RuntimeError("mine")

    model = Broken()
    with pytest.raises(RuntimeError, match="mine"):
        fit(model, pruning())
    assert "forward" not in model.__dict__
    assert not Path("pruning_record.json").exists()


def test_a_run_that_ends_in_the_search_says_that_nothing_was_frozen() -> None:
    callback = pruning()
    with pytest.warns(UserWarning, match=r"ended in its search phase, at \d\d% .* provisional"):
        fit(Classifier(), callback, Stop(16))
    assert PruningRecord.from_json(Path()).phase == "search"


@pytest.mark.parametrize("steps", [True, 10])
@pytest.mark.compatibility("Trainer", "fast_dev_run={steps}")
def test_a_quick_trial_goes_through_and_writes_nothing(steps: Any, tmp_path: Path) -> None:
    callback = pruning()
    fit(Classifier(), callback, fast_dev_run=steps)
    assert list(tmp_path.iterdir()) == []
    assert callback.report_path is None
    assert callback.record.phase == ("warmup" if steps is True else "final")


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), PermissionError("ro")])
def test_a_disk_that_fails_all_along_changes_nothing_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: OSError
) -> None:
    def run() -> tuple[Classifier, JointPruningCallback]:
        torch.manual_seed(1)
        model, callback = Classifier(), pruning(dirpath=tmp_path / "results")
        fit(model, callback)
        return model, callback

    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr("lightning_jointprune.run.recorder.REFRESH_COST", 0.0)
    monkeypatch.setattr("lightning_jointprune.run.recorder.REFRESH_SHARE", 1e9)
    (model, callback) = run()
    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.warns(UserWarning, match=r"could not be written.*The training is not affected"):
        other, again = run()
    assert again.record == callback.record
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_clock_that_goes_back_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(2e9, -86_400.0)
    monkeypatch.setattr("time.time", lambda: next(clock))
    callback = pruning(dirpath=tmp_path)
    fit(Classifier(), callback)
    assert PruningRecord.from_json(tmp_path) == callback.record
    assert callback.record.phase == "final"


def test_two_runs_at_once_with_one_dirpath_do_not_mix_their_files(tmp_path: Path) -> None:
    class Between(pl.Callback):
        """A whole run while the other one is in its search."""

        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
            if trainer.current_epoch == 2:
                fit(Classifier(), inner)

    inner, outer = (pruning(count, dirpath=tmp_path) for count in (2, 5))
    with pytest.warns(UserWarning, match="Give each run a dirpath of its own"):
        fit(Classifier(), outer, Between())
    assert outer.report_path == tmp_path / "run_2" / "joint_importance.html"
    for one, folder in ((inner, tmp_path), (outer, tmp_path / "run_2")):
        assert PruningRecord.from_json(folder) == one.record
        assert JointSelection.from_json(folder / "selection.json") == one.selection


def test_a_run_killed_before_it_left_its_files_leaves_them_when_resumed(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True)
    whole = pruning(dirpath=tmp_path / "whole")
    fit(Classifier(), whole, saver, enable_checkpointing=True)

    resumed = pruning(dirpath=tmp_path / "resumed")
    one = trainer(resumed)
    one.fit(Classifier(), clips(), clips(2, seed=1), ckpt_path=saver.best_model_path)
    assert resumed.report_path == tmp_path / "resumed" / "joint_importance.html"
    assert PruningRecord.from_json(tmp_path / "resumed") == whole.record


# --- more than one run -----------------------------------------------------------------------


def test_a_second_model_starts_from_nothing_and_the_first_keeps_its_mask() -> None:
    callback, model = pruning(), Classifier()
    first = Classifier()
    fit(first, callback)
    fit(model, callback)

    assert len(worn_layers(first)) == 1
    assert callback._search.layer not in worn_layers(first)
    callback.detach(first)
    assert "forward" not in first.__dict__  # it has its own forward back
    assert kinds(model, "train")[0] == "open"
    assert [snapshot.step for snapshot in callback.record.history] == [8, 16, 24, 32, 40]
    assert masks(model, "train") == {callback.selection.mask}


def test_the_same_model_in_a_new_trainer_starts_from_nothing() -> None:
    callback, model = pruning(), Classifier()
    fit(model, callback)
    model.calls.clear()
    fit(model, callback)
    assert [kinds(model, "train")[step] for step in (0, 8, 24)] == ["open", "sampled", "masked"]


def test_a_continued_run_keeps_its_mask() -> None:
    callback, model = pruning(), Classifier()
    one = fit(model, callback)
    mask = callback.selection.mask
    model.calls.clear()
    one.fit_loop.max_epochs += 2
    one.fit(model, clips(), clips(2))

    assert set(kinds(model, "sanity_check").values()) == {"open"}
    assert set(kinds(model, "train").values()) == {"masked"}
    assert masks(model, "train") == {mask} == {callback.selection.mask}
    assert [snapshot.step for snapshot in callback.record.history][-2:] == [48, 56]


def test_validation_alone_before_any_training_sees_all_joints() -> None:
    model = Classifier()
    trainer(pruning()).validate(model, clips(2), verbose=False)
    assert set(kinds(model, "validate").values()) == {"open"}


# --- the mask goes where the model goes ----------------------------------------------------------


def test_another_copy_of_the_model_is_tested_with_the_mask_that_was_learned() -> None:
    callback = pruning()
    one = fit(Classifier(), callback, ModelCheckpoint("."), enable_checkpointing=True)
    learned = callback.selection
    best = one.checkpoint_callback.best_model_path
    for other in (Classifier.load_from_checkpoint(best), load_pruned(Classifier, best)):
        one.test(other, clips(2), verbose=False)
        assert tuple(other.of("test")[0].kept) == learned.mask
        assert callback.selection == learned


class TimeFirst(Classifier):
    """Reads `(frames, batch, joints, channels)`, as recurrent layers do by default."""

    def step(self, batch: Any, name: str) -> Tensor:
        x, sign = batch
        return super().step((x.transpose(0, 1), sign), name)

    def forward(self, x: Tensor) -> Tensor:
        self.got = x.detach()
        return self.head(self.drop(x.transpose(0, 1).flatten(1)))


@pytest.mark.parametrize("fill", [0.0, "hold"])
def test_the_batch_may_stand_anywhere(fill: Any) -> None:
    callbacks, models_ = [], []
    for model, axes in ((Classifier(), None), (TimeFirst(), "t b j c")):
        torch.manual_seed(1)
        model.head.reset_parameters()
        callback = pruning(axes="b t j c" if axes is None else axes, fill=fill)
        fit(model, callback)
        callbacks.append(callback)
        models_.append(model)
    assert callbacks[0].selection == callbacks[1].selection
    assert torch.equal(models_[0].head.weight, models_[1].head.weight)


def test_a_new_callback_starts_afresh_on_a_model_that_was_pruned_before() -> None:
    model = Classifier()
    fit(model, pruning(2))
    again = pruning(4)
    model.calls.clear()
    with pytest.warns(UserWarning, match="was pruned before, to 2 of 8 joints"):
        fit(model, again)
    assert model.of("train")[0].kind == "open"
    assert model.of("train")[-1].kept.count(True) == 4


@pytest.mark.parametrize("stage", ["validation", "test"])
def test_an_evaluation_that_goes_past_the_gates_is_no_silent_matter(stage: str) -> None:
    class Past(Classifier):
        def step(self, batch: Any, name: str) -> Tensor:
            if name == ("val" if stage == "validation" else "test"):
                return self.head(batch[0].flatten(1)).sum()
            return super().step(batch, name)

    callback = pruning()
    if stage == "validation":
        with pytest.raises(MisconfigurationException, match="went another way, so its metrics"):
            fit(Past(), callback)
        return
    model = Past()
    one = fit(model, callback)
    with pytest.warns(UserWarning, match="went another way, so its metrics"):
        one.test(model, clips(2), verbose=False)


def test_a_checkpoint_without_state_is_tested_with_all_joints_but_not_in_silence() -> None:
    fit(Classifier()).save_checkpoint("plain.ckpt")
    with pytest.warns(UserWarning, match="has no mask, so all joints were used"):
        trainer(pruning()).test(Classifier(), clips(2), "plain.ckpt", verbose=False)


def test_a_mean_per_channel_asks_for_axes_where_channels_could_be_elsewhere() -> None:
    class ChannelsFirst(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            self.got = x.detach()
            return self.head(x.flatten(1))

        def step(self, batch: Any, name: str) -> Tensor:
            return super().step((batch[0].permute(0, 3, 1, 2).contiguous(), batch[1]), name)

    with pytest.raises(MisconfigurationException, match=r"axes for fill=.mean.* 'b c t j'"):
        fit(ChannelsFirst(), pruning(fill="mean"))
    fit(ChannelsFirst(), pruning(fill="mean", axes="b c t j"))


# --- the run ------------------------------------------------------------------------------------


def test_phases_share_what_a_resumed_plain_checkpoint_has_left() -> None:
    one = trainer(max_epochs=5)
    one.fit(Classifier(), clips(), clips(2))
    one.save_checkpoint("plain.ckpt")
    model, callback = Classifier(), pruning()
    trainer(callback, max_epochs=10).fit(model, clips(), clips(2), ckpt_path="plain.ckpt")
    epochs = [call.kind for call in model.of("train")[::BATCHES]]
    assert epochs == ["open", "sampled", "sampled", "masked", "masked"]


def test_gates_that_hardly_moved_are_doubted() -> None:
    with pytest.warns(UserWarning, match="hardly moved in the search"):
        fit(Classifier(), pruning(Price(1e-6), lr=1e-6))


def test_joints_that_are_kept_by_force_are_doubted() -> None:
    with pytest.warns(UserWarning, match=r"1 of the 1 kept joints .* the price is too high"):
        fit(Classifier(), pruning(Price(100.0)))


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


@pytest.mark.compatibility("Checkpoints", "arguments of numpy's numbers")
def test_settings_from_numpy_leave_a_checkpoint_that_loads() -> None:
    callback = pruning(Price(np.float64(0.01)), lr=np.float64(0.5), fill=np.float32(0.25))
    fit(Classifier(), callback).save_checkpoint("last.ckpt")
    assert load_pruned(Classifier, "last.ckpt")


# --- any model ----------------------------------------------------------------------------------

TOLD = {row[0] for row in models.ZOO if "(" in row[3]} | {"streams", "several_skeletons"}


def fit_zoo(model: Any, **settings: Any) -> JointPruningCallback:
    """Train on a few batches of the model's own, to keep 5 joints."""
    callback = pruning(**{"budget": 5, "num_joints": model.joints, **settings})
    data = models.loader(model)
    fit(model, callback, train=data, val=data, max_epochs=5)
    return callback


@pytest.mark.parametrize(
    ("name", "factory", "where", "axes"), models.ZOO, ids=[row[0] for row in models.ZOO]
)
def test_every_model_of_the_zoo_is_pruned_and_left_as_it_was(
    name: str, factory: Any, where: str, axes: str
) -> None:
    model = factory()
    keys = list(model.state_dict())
    callback = fit_zoo(model, **({"input": where, "axes": axes} if name in TOLD else {}))
    got = model.got[-1]  # in the last validation
    words = Layout.parse("b j c") if name == "padded" else Layout.parse(axes)
    split, axes_of = words.split(got, model.joints)
    reached = split.abs().sum([at for at, word in enumerate(axes_of) if word != "j"]) > 0
    assert tuple(reached.tolist()) == callback.selection.mask
    assert len(callback.selection.indices) == 5
    callback.detach()
    assert list(model.state_dict()) == keys
    assert not any("forward" in module.__dict__ for module in model.modules())


@pytest.mark.parametrize("fill", [0.0, -3.0, "mean", "hold", first_joint])
def test_a_model_that_looks_for_padding_finds_it_whatever_the_fill(fill: Any) -> None:
    fit_zoo(models.Padded(), fill=fill)  # which asserts that its mask is where x != 0


def test_a_model_with_nothing_to_prune_is_refused_before_a_weight_changes() -> None:
    for settings in ({}, {"axes": "b t j c"}):
        model = models.NoSkeleton()
        before = weights(model)
        with pytest.raises(
            MisconfigurationException, match=r"(?s)21 joints.* but got none.*images"
        ):
            fit_zoo(model, **settings)
        assert same(before, weights(model))


# --- a ladder ------------------------------------------------------------------------------------


def test_a_ladder_ends_with_a_mask_and_a_metric_for_every_number(tmp_path: Path) -> None:
    """Each is what the final weights reach with those joints alone."""
    model, callback = Classifier(), pruning([6, 4, 2], dirpath=tmp_path)
    one = fit(model, callback)
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
    assert float(one.callback_metrics["val_acc"]) == pytest.approx(rungs[2].metrics["val_acc"])


def test_a_ladder_is_loaded_with_any_of_its_masks(tmp_path: Path) -> None:
    callback = pruning([6, 4, 2], dirpath=tmp_path)
    one = fit(Classifier(), callback, enable_checkpointing=True, default_root_dir=tmp_path)
    path = one.checkpoint_callback.best_model_path
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
        one = trainer(callback, save, enable_checkpointing=True)
        one.fit(model, clips(), clips(2, seed=1), **more)
        return callback, model

    whole, model = run(tmp_path / "whole")
    resumed, again = run(
        tmp_path / "resumed", ckpt_path=tmp_path / "whole" / f"epoch={epoch - 1}.ckpt"
    )
    assert resumed.record.to_json() == whole.record.to_json()
    assert torch.equal(again.head.weight, model.head.weight)


def test_joints_of_drop_reach_the_model_in_no_phase(tmp_path: Path) -> None:
    model = Classifier()
    callback = pruning(2, drop=[0, "joint_7"], dirpath=tmp_path)
    fit(model, callback)
    seen = [*model.of("train")[1:], *model.of("validate")]  # the first one shows where they enter
    assert not any(call.kept[joint] for call in seen for joint in (0, 7))
    assert not {0, 7} & set(callback.selection.indices)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_joints_of_drop_may_be_missing_also_in_the_first_batch(accumulated: int) -> None:
    train, val = clips(), clips(2, seed=1)
    for loader in (train, val):
        loader.dataset.tensors[0][:, :, 0] = torch.nan
    model, callback = Classifier(), pruning(2, drop=[0])
    one = fit(model, callback, train=train, val=val, accumulate_grad_batches=accumulated)
    assert model.head.weight.isfinite().all()
    assert math.isfinite(one.callback_metrics["val_loss"])


# --- the terminal --------------------------------------------------------------------------------


def test_each_phase_is_one_line_and_the_end_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("lightning_jointprune.callback.rank_zero_info", said.append)
    callback = pruning()
    fit(Classifier(), callback)
    entered, search, final, closing = said
    assert entered.startswith("Joint pruning: 8 joints enter at x")
    assert search == "Joint pruning: the search begins, with 8 of 8 joints."
    assert final == "Joint pruning: frozen at 3 of 8 joints; the final phase begins."
    assert callback.selection.sentence() in closing
    assert closing.count("KEEP") == 3
    assert closing.endswith(f"The report is {callback.report_path}")


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
    assert len([one for one in said if one.startswith("Joint pruning: ")]) == lines


def test_every_progress_bar_has_the_active_joints_and_no_logger_has_them_twice() -> None:
    bars: list[float] = []

    class Bar(pl.callbacks.ProgressBar):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            bars.append(self.get_metrics(trainer, pl_module)["active_joints"])

    one = fit(Classifier(), pruning(), Bar(), enable_progress_bar=True)
    assert (bars[0], bars[-1]) == (8.0, 3.0)
    assert "active_joints" not in one.logged_metrics
    assert one.logged_metrics["joint_pruning/active_joints"] == 3.0


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
    one = fit(Model(), Bar(), callback, enable_progress_bar=True, **within)
    noted = {note.step: float(note.active_joints) for note in callback.record.history}
    assert list(noted) == [10, 20, 30, 40, 50, 60]
    assert noted[10] == 8.0 > noted[20]
    assert bars[0] is None  # the batch that shows where the joints are
    assert bars[1:12] == [8.0] * 11
    for step in (20, 30, 40, 50):
        assert bars[step] == (3.0 if step >= 36 else noted[step])
    assert bars[36:] == [3.0] * 24  # from the first batch of the final phase on
    assert one.progress_bar_metrics["active_joints"] == 3.0
    assert "active_joints" not in one.logged_metrics


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


def test_a_floor_in_another_unit_is_doubted_when_the_search_begins() -> None:
    with pytest.warns(UserWarning, match=r"pass MetricFloor\('val_acc', floor=0.9\)"):
        fit(Classifier(), pruning(MetricFloor("val_acc", 90.0)))
