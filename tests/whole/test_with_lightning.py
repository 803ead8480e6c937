"""The callback works beside all that Lightning can do around a run, a test each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import pytorch_lightning
import torch
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    BatchSizeFinder,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelPruning,
    ModelSummary,
    RichModelSummary,
    RichProgressBar,
    StochasticWeightAveraging,
)
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, IterableDataset

from lightning_jointprune import (
    Fewest,
    GivenJoints,
    Groups,
    HardConcrete,
    JointPruningCallback,
    JointSelection,
    MetricFloor,
    Price,
    PruningRecord,
    Skeleton,
    StochasticGate,
    TargetJoints,
    analyze_pruning,
    load_pruned,
)
from tests.runs import (
    BATCHES,
    INFORMATIVE,
    QUIET,
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

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


def kinds(model: Classifier, stage: str = "train") -> set[str]:
    return {call.kind for call in model.of(stage)}


def final_masks(model: Classifier, stage: str = "train") -> set[tuple[bool, ...]]:
    return {tuple(call.kept) for call in model.of(stage) if call.kind == "masked"}


class Indifferent(Classifier):
    """The loss does not care about the joints, so price and weight decay alone move the gates."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return 0.0 * super().training_step(batch, batch_idx) + 1.0

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, weight_decay=1.0)


# --- what people did, and what happened (design, section 1) ----------------------------------


def test_joints_do_not_compete_as_they_would_in_a_softmax() -> None:
    random = torch.Generator().manual_seed(0)
    sign = torch.randint(2, (64,), generator=random)
    x = torch.randn(64, 4, J, 2, generator=random) + 2.0 * (2 * sign - 1)[:, None, None, None]
    data = DataLoader([(x[i::8], sign[i::8]) for i in range(8)], batch_size=None)
    callback = pruning(Price(1e-4), lr=0.05)
    fit(Classifier(), callback, train=data, val=data)
    assert callback.selection.indices == tuple(range(J))


def test_probabilities_part_instead_of_sinking_together() -> None:
    callback = JointPruningCallback(num_joints=J, lr=0.2)
    fit(Classifier(), callback, train=clips(32), max_epochs=15)
    kept = [p for j, p in enumerate(callback.selection.keep_probabilities) if j in INFORMATIVE]
    dropped = [
        p for j, p in enumerate(callback.selection.keep_probabilities) if j not in INFORMATIVE
    ]
    assert min(kept) > 0.9
    assert max(dropped) < 0.1


def test_a_price_does_not_depend_on_how_many_joints_there_are() -> None:
    class Wide(Indifferent):
        def __init__(self) -> None:
            super().__init__(joints=2 * J)

    wide = DataLoader([(torch.randn(8, 4, 2 * J, 2), torch.ones(8).long())] * 8, batch_size=None)
    narrow = pruning(Price(0.3), lr=2.0)
    other = pruning(Price(0.3), lr=2.0, num_joints=2 * J)
    fit(Indifferent(), narrow)
    fit(Wide(), other, train=wide, val=wide)
    assert narrow.selection.keep_probabilities[0] < 0.8
    assert other.selection.keep_probabilities == pytest.approx(
        [narrow.selection.keep_probabilities[0]] * 2 * J
    )


def test_the_gates_arrive_though_the_network_learns_at_a_rate_of_1e_4() -> None:
    callback = pruning(Price(0.3), lr=None, phases=(0.0, 0.4))  # it hardly learns: no waiting
    run = fit(Classifier(lr=1e-4), callback, max_epochs=20)
    short = 20 * BATCHES * 0.4 / 200  # the search, as a share of one that is long enough
    assert run.optimizers[0].param_groups[-1]["lr"] == pytest.approx(0.05 / short**2)
    assert max(abs(p - 0.9) for p in callback.selection.keep_probabilities) > 0.5


def test_weight_decay_does_not_pull_the_logits() -> None:
    callback = pruning(Price(0.0), lr=1.0)
    fit(Indifferent(), callback)
    assert callback.selection.keep_probabilities == pytest.approx([0.9] * J)


@pytest.mark.parametrize("epochs", [3, 11])
def test_schedules_fit_into_any_run(epochs: int) -> None:
    callback = pruning(Price(0.3))
    fit(Classifier(), callback, max_epochs=epochs, val_check_interval=1)
    history = callback.record.history
    assert max(snapshot.price for snapshot in history) == pytest.approx(0.3)
    assert history[-1].phase == "final"
    assert history[-1].temperature == pytest.approx(0.3)


class StepsOfGates(pl.Callback):
    """Keeps how often an optimizer has stepped the logits, after each training step."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        state = trainer.optimizers[-1].state
        ours = trainer.optimizers[-1].param_groups[-1]["params"][0]
        self.steps.append(int(state[ours]["step"]) if state.get(ours) else 0)


@pytest.mark.compatibility("Optimizers", "explicit parameter groups")
def test_logits_are_trained_beside_explicit_parameter_groups() -> None:
    model, callback = Classifier(), pruning(Price(0.1))  # the classifier lists its groups
    seen = StepsOfGates()
    fit(model, callback, seen)
    assert max(seen.steps) == 2 * BATCHES  # those of the search; then they are forgotten
    assert seen.steps[-1] == 0
    assert callback.selection.keep_probabilities != pytest.approx([0.9] * J)


@pytest.mark.compatibility(
    "Checkpoints",
    "`load_from_checkpoint(..., strict=True)` in the plain class, without the callback",
)
def test_a_checkpoint_loads_in_the_plain_class() -> None:
    model, callback = Classifier(), pruning()
    run = fit(model, callback)
    run.save_checkpoint("last.ckpt")
    plain = Classifier.load_from_checkpoint("last.ckpt", strict=True)
    assert list(plain.state_dict()) == ["head.weight", "head.bias"]
    assert torch.equal(plain.head.weight, model.head.weight)

    other = Classifier()
    trainer().validate(other, clips(2), ckpt_path="last.ckpt", verbose=False)
    assert kinds(other, "validate") == {"open"}
    assert torch.equal(other.head.weight, model.head.weight)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.compatibility("Callbacks", "EMAWeightAveraging")
def test_ema_averages_beside_us(first: bool) -> None:
    model, callback = Classifier(), pruning()
    ema = EMAWeightAveraging(decay=0.9)
    fit(model, *([ema, callback] if first else [callback, ema]))
    assert final_masks(model) == {callback.selection.mask}
    assert list(ema._average_model.module.state_dict()) == ["head.weight", "head.bias"]
    assert torch.equal(ema._average_model.module.head.weight, model.head.weight)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.compatibility("Callbacks", "StochasticWeightAveraging")
def test_swa_averages_beside_us(first: bool) -> None:
    model, callback = Classifier(), pruning(Price(0.1))
    swa = StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=2, annealing_epochs=1)
    run = fit(model, *([swa, callback] if first else [callback, swa]))
    *users, ours = run.optimizers[0].param_groups
    assert [group["lr"] for group in users] == pytest.approx([1e-3, 1e-3])
    assert ours["lr"] == 0.5 or callback.record.phase == "final"
    history = callback.record.history
    assert history[1].keep_probabilities != history[2].keep_probabilities
    assert list(model.state_dict()) == ["head.weight", "head.bias"]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", ["plain", "scheduled"])
@pytest.mark.compatibility("Callbacks", "StochasticWeightAveraging with a list of rates")
def test_swa_takes_a_rate_for_each_of_the_users_groups(first: bool, kind: str) -> None:
    def rates(*callbacks: Any) -> Any:
        watch = Watch()
        swa = StochasticWeightAveraging([0.02, 0.05], swa_epoch_start=2, annealing_epochs=2)
        callbacks = (swa, *callbacks) if first else (*callbacks, swa)
        model = Scheduled() if kind == "scheduled" else Classifier()
        fit(model, *callbacks, watch)
        return watch.seen

    callback = pruning(Price(0.1))
    assert rates(callback) == rates()
    assert callback.record.phase == "final"


@pytest.mark.parametrize("step", [8, 16, 24])
def test_a_run_with_swa_resumes(step: int) -> None:
    def beside(ours: Any) -> list[Any]:
        return [ours, StochasticWeightAveraging([0.02, 0.05], 2, annealing_epochs=2)]

    done = run({"budget": 3}, beside=beside)
    assert_equal_runs(run({"budget": 3}, f"end-step={step}.ckpt", beside=beside), done)


@pytest.mark.compatibility("Callbacks", "StochasticWeightAveraging")
def test_swa_leaves_our_rate_alone_in_the_search() -> None:
    def run(*callbacks: Any) -> Any:
        torch.manual_seed(0)
        callback = pruning(Price(0.3), lr=0.5)
        fit(Indifferent(), callback, *callbacks)
        return [snapshot.keep_probabilities for snapshot in callback.record.history]

    assert run() == run(StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=2))


def test_kept_joints_arrive_as_they_are() -> None:
    model, callback = Classifier(), pruning(fill="mean")
    fit(model, callback)
    kept = list(callback.selection.indices)
    for call in [model.of("train")[-1], model.of("validate")[-1]]:
        assert torch.equal(call.got[:, :, kept], call.given[:, :, kept])


# --- around the model ------------------------------------------------------------------------


class Encoded(Classifier):
    """Reads the skeleton in a submodule, which may repeat its forward in the backward pass."""

    def __init__(self, again: bool) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), self.head, nn.Tanh())
        self.again = again

    def forward(self, x: Tensor) -> Tensor:
        self.got = x.detach()
        return checkpoint(self.encoder, x, use_reentrant=False) if self.again else self.encoder(x)


@pytest.mark.compatibility("Trainer", "activation checkpointing")
@pytest.mark.compatibility("Models", "activation checkpointing")
def test_activation_checkpointing_repeats_the_gates_it_had() -> None:
    runs = []
    for again in (False, True):
        pl.seed_everything(5)
        callback, model = pruning(input="encoder:input"), Encoded(again)
        fit(model, callback)
        runs.append((model.losses, callback.selection))
    assert runs[0] == runs[1]


# --- checkpoints -----------------------------------------------------------------------------


class Resumable:
    """A loader that goes on in the middle of an epoch."""

    def __init__(self, loader: Any) -> None:
        self.batches = list(loader)
        self.at = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        self.at %= len(self.batches)
        while self.at < len(self.batches):
            self.at += 1
            yield self.batches[self.at - 1]

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


def run(settings: dict[str, Any], ckpt: str | None = None, **more: Any) -> Any:
    """A run of 5 epochs; without `ckpt` it leaves one checkpoint per step and per epoch."""
    torch.manual_seed(3 if ckpt is None else 4)  # a resumed run must not need its own luck
    model, callback = more.pop("kind", Classifier)(), pruning(**settings)
    savers = [
        ModelCheckpoint(".", "{step}", every_n_train_steps=1, save_top_k=-1),
        ModelCheckpoint(".", "end-{step}", save_top_k=-1, save_on_train_epoch_end=True),
    ]
    accumulated = more.get("accumulate_grad_batches", 1)
    callbacks = more.pop("beside", lambda ours: [ours])(callback)
    run = trainer(*callbacks, *([] if ckpt else savers), enable_checkpointing=ckpt is None, **more)
    run.fit(model, Resumable(clips(BATCHES * accumulated)), clips(2, seed=1), ckpt_path=ckpt)
    return model, callback, run


def assert_equal_runs(resumed: Any, whole: Any, without: int | None = None) -> None:
    """Compare two runs; Lightning skips the validation after the step `without`."""
    (model, callback, ended), (other_model, other, other_one) = resumed, whole
    history = [snapshot for snapshot in other.record.history if snapshot.step != without]
    assert list(callback.record.history) == history
    assert callback.selection.mask == other.selection.mask
    assert callback.selection.keep_probabilities == other.selection.keep_probabilities
    assert callback.selection.metrics == other.selection.metrics
    for p, q in zip(model.parameters(), other_model.parameters(), strict=True):
        assert torch.equal(p, q)
    states = [t.optimizers[0].state_dict() for t in (ended, other_one)]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for p, q in zip(states[0]["state"].values(), states[1]["state"].values(), strict=True):
        assert all(torch.equal(p[name], q[name]) for name in q)


STEPS = {
    3: "in the warm-up",
    8: "at the warm-up's end",
    9: "after the first step of the search",
    12: "in the search, in an epoch",
    16: "in the search, after an epoch",
    24: "at the search's end",
    25: "after the first step of the final phase",
    29: "in the final phase",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An uninterrupted run and the folder with its checkpoints."""
    folder, here = tmp_path_factory.mktemp("whole"), Path.cwd()
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_jointprune.report.write_report", lambda record, path: path)
        done = run({"budget": Price("auto"), "fill": "mean"})
    os.chdir(here)
    return folder, done


@pytest.mark.parametrize("step", STEPS, ids=STEPS.values())
@pytest.mark.compatibility(
    "Checkpoints", "resuming from any step, to the numbers of an uninterrupted run"
)
def test_a_resumed_run_is_the_uninterrupted_one(whole: Any, step: int) -> None:
    folder, done = whole
    resumed = run({"budget": Price("auto"), "fill": "mean"}, str(folder / f"step={step}.ckpt"))
    assert_equal_runs(resumed, done, without=step)


@pytest.mark.parametrize("step", [8, 16, 24, 32])
@pytest.mark.compatibility(
    "Checkpoints", "resuming after an epoch, to the numbers of an uninterrupted run"
)
def test_a_run_resumed_after_an_epoch_is_the_uninterrupted_one(whole: Any, step: int) -> None:
    folder, done = whole
    resumed = run({"budget": Price("auto"), "fill": "mean"}, str(folder / f"end-step={step}.ckpt"))
    assert_equal_runs(resumed, done)


@pytest.mark.parametrize(
    "settings",
    [
        {"budget": 3},
        {"budget": MetricFloor("val_acc", 0.8)},
        {"budget": Price("auto"), "gate": "hard_concrete", "groups": {"a": [0, 1], "b": [2, 4]}},
        {"budget": Price("auto"), "phases": (0.15, 0.45)},
    ],
    ids=["target", "floor", "groups", "phases that end within epochs"],
)
@pytest.mark.parametrize("name", ["step=13", "end-step=16", "step=18"])
@pytest.mark.compatibility("Checkpoints", "resuming with every budget")
def test_every_budget_resumes(settings: dict[str, Any], name: str) -> None:
    done = run(settings)
    assert_equal_runs(run(settings, f"{name}.ckpt"), done)


@pytest.mark.parametrize("name", ["step=13", "end-step=16", "step=30"])
def test_a_run_in_parts_resumes_and_loads(name: str) -> None:
    settings = {"budget": 3, "input": "body + hand"}
    done = run(settings, kind=InParts)
    assert_equal_runs(run(settings, f"{name}.ckpt", kind=InParts), done)
    reworded = run({**settings, "input": "body+hand"}, f"{name}.ckpt", kind=InParts)
    assert reworded[1].selection.mask == done[1].selection.mask
    x = next(iter(clips(1)))[0]
    kept = torch.tensor(done[1].selection.mask)[:, None]
    pruned = load_pruned(InParts, "step=40.ckpt")
    expected = InParts.load_from_checkpoint("step=40.ckpt")(x * kept)
    assert torch.equal(pruned(x), expected)
    assert analyze_pruning(pruned).indices == done[1].selection.indices


@pytest.mark.parametrize("step", [7, 13, 24])
@pytest.mark.compatibility("Checkpoints", "resuming with accumulated gradients")
def test_a_run_with_accumulation_resumes(step: int) -> None:
    settings = {"budget": Price("auto")}
    done = run(settings, accumulate_grad_batches=2)
    assert_equal_runs(run(settings, f"step={step}.ckpt", accumulate_grad_batches=2), done, step)


@pytest.mark.parametrize("step", [6, 12, 16])
def test_the_rate_that_was_chosen_for_sgd_resumes(step: int) -> None:
    class Plain(Classifier):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    settings = {"budget": Price("auto"), "lr": None}
    done = run(settings, kind=Plain)
    assert done[2].optimizers[0].param_groups[-1]["lr"] not in (0.05, 0.5)
    assert_equal_runs(run(settings, f"step={step}.ckpt", kind=Plain), done, without=step)


@pytest.mark.compatibility(
    "Checkpoints", "going back to an earlier checkpoint with the same Trainer"
)
def test_a_trainer_may_go_back_to_a_checkpoint_of_the_search() -> None:
    settings: dict[str, Any] = {"budget": Price("auto")}
    done = run(settings)
    model, callback = Classifier(), pruning(**settings)
    ended = trainer(callback)
    ended.fit(model, Resumable(clips()), clips(2, seed=1))
    ended.should_stop = False
    ended.fit(model, Resumable(clips()), clips(2, seed=1), ckpt_path="end-step=16.ckpt")
    assert_equal_runs((model, callback, ended), done)


@pytest.mark.compatibility(
    "Checkpoints", "going on from a checkpoint of a run without the callback"
)
def test_a_plain_checkpoint_can_be_fitted_with_the_callback() -> None:
    plain = Classifier()
    trainer(max_epochs=1).fit(plain, clips(), clips(2))
    trainer(max_epochs=1).test(plain, clips(2), verbose=False)
    run = trainer(max_epochs=1)
    run.fit(plain, clips(), clips(2))
    run.save_checkpoint("plain.ckpt")

    model, callback = Classifier(), pruning()
    other = trainer(callback, max_epochs=10)
    other.fit(model, clips(), clips(2), ckpt_path="plain.ckpt")
    assert model.of("train")[0].step == BATCHES
    assert kinds(model) == {"open", "sampled", "masked"}
    assert final_masks(model) == {callback.selection.mask}


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
@pytest.mark.compatibility("Checkpoints", "`trainer.{stage}(ckpt_path=...)` alone, with the mask")
def test_evaluation_alone_uses_the_mask_of_the_checkpoint(stage: str) -> None:
    callback = pruning()
    fit(Classifier(), callback).save_checkpoint("last.ckpt")

    model, fresh = Classifier(), pruning()
    getattr(trainer(fresh), stage)(model, clips(2), ckpt_path="last.ckpt")
    assert kinds(model, stage) == {"masked"}
    assert final_masks(model, stage) == {callback.selection.mask}
    assert fresh.selection == callback.selection


def test_an_error_in_evaluation_alone_writes_nothing() -> None:
    class Broken(Classifier):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            raise RuntimeError("mine")

    fit(Classifier(), pruning(dirpath="run")).save_checkpoint("last.ckpt")
    before = sorted(Path().rglob("*"))
    with pytest.raises(RuntimeError, match="mine"):
        trainer(pruning()).test(Broken(), clips(2), ckpt_path="last.ckpt", verbose=False)
    assert sorted(Path().rglob("*")) == before


def test_an_error_before_a_resumed_run_begins_is_the_users_own() -> None:
    class Broken(Classifier):
        def configure_optimizers(self) -> None:
            raise RuntimeError("mine")

    fit(Classifier(), pruning()).save_checkpoint("last.ckpt")
    with pytest.raises(RuntimeError, match="mine"):
        trainer(pruning(), max_epochs=6).fit(Broken(), clips(), ckpt_path="last.ckpt")


@pytest.mark.compatibility("Checkpoints", '`ckpt_path="best"` after fit')
def test_the_best_checkpoint_is_tested_after_fit() -> None:
    model, callback = Classifier(), pruning()
    best = ModelCheckpoint(".", monitor="val_loss")
    run = fit(model, callback, best, enable_checkpointing=True)
    run.test(model, clips(2), ckpt_path="best", verbose=False)
    run.validate(dataloaders=clips(2), ckpt_path="best", verbose=False)
    assert kinds(model, "test") == {"masked"}
    assert final_masks(model, "test") == {callback.selection.mask}


def test_a_checkpoint_of_the_warmup_is_tested_with_all_joints_after_fit() -> None:
    model, callback = Classifier(), pruning()
    first = ModelCheckpoint(".", "{step}", every_n_train_steps=4, save_top_k=-1)
    run = fit(model, callback, first, enable_checkpointing=True)
    run.test(model, clips(2), ckpt_path="step=4.ckpt", verbose=False)
    assert kinds(model, "test") == {"open"}
    run.test(model, clips(2), ckpt_path="step=40.ckpt", verbose=False)
    assert model.of("test")[-1].kind == "masked"


@pytest.mark.compatibility("Checkpoints", "`load_pruned`, without the callback")
def test_load_pruned_gives_the_model_of_the_run() -> None:
    model, callback = Classifier(), pruning(fill="mean")
    fit(model, callback).save_checkpoint("last.ckpt")
    loaded = load_pruned(Classifier, "last.ckpt")
    x = torch.randn(3, 4, J, 2)
    assert torch.equal(loaded(x), model.eval()(x))


@pytest.mark.compatibility("Checkpoints", "`torch.load(..., weights_only=True)`")
def test_a_checkpoint_is_read_with_weights_only_and_saving_changes_nothing() -> None:
    class Saver(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            trainer.save_checkpoint("now.ckpt")
            torch.load("now.ckpt", weights_only=True)

    def history(*callbacks: Any) -> Any:
        torch.manual_seed(0)
        callback = pruning(Price("auto"), fill="mean")
        fit(Classifier(), callback, *callbacks)
        return callback.record.history

    assert history(Saver()) == history()


class Signed(Classifier):
    """Writes something of its own into every checkpoint."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["signed"] = len(self.calls)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.compatibility("Checkpoints", "the mask in a checkpoint of `save_weights_only=True`")
def test_a_checkpoint_of_weights_alone_keeps_the_mask(first: bool) -> None:
    model, callback = Signed(), pruning(fill="mean")
    saver = ModelCheckpoint(".", "weights", save_weights_only=True)
    beside = EMAWeightAveraging(decay=0.9)  # copies the model with its hook
    callbacks = [callback, beside, saver] if first else [saver, beside, callback]
    run = fit(model, *callbacks, enable_checkpointing=True)
    run.save_checkpoint("full.ckpt")

    weights, full = (torch.load(f"{n}.ckpt", weights_only=True) for n in ("weights", "full"))
    assert "optimizer_states" not in weights
    assert weights["signed"] > 0
    state, whole = (checkpoint["callbacks"][callback.state_key] for checkpoint in (weights, full))
    assert state["journal"]["history"] == []
    assert len(whole["journal"]["history"]) == 5

    loaded = load_pruned(Signed, "weights.ckpt")
    x = torch.randn(3, 4, J, 2)
    dropped = [not kept for kept in callback.selection.mask]
    changed = x.clone()
    changed[:, :, dropped] = torch.nan
    assert torch.equal(loaded(x), loaded(changed))
    plain = Signed.load_from_checkpoint("weights.ckpt", strict=True)
    assert not torch.isfinite(plain(changed)).all()


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_an_evaluation_of_weights_alone_uses_their_mask(stage: str) -> None:
    callback = pruning()
    fit(Classifier(), callback).save_checkpoint("weights.ckpt", weights_only=True)
    model, fresh = Classifier(), pruning()
    getattr(trainer(fresh), stage)(model, clips(2), ckpt_path="weights.ckpt")
    assert final_masks(model, stage) == {callback.selection.mask}
    assert fresh.selection == callback.selection


@pytest.mark.compatibility("Checkpoints", "a checkpoint of other joints", refused=True)
def test_a_checkpoint_of_other_joints_is_refused() -> None:
    fit(Classifier(), pruning()).save_checkpoint("last.ckpt")
    with pytest.raises(MisconfigurationException, match=r"of 9 joints .* one of 8"):
        trainer(pruning(num_joints=9)).fit(Classifier(), clips(), ckpt_path="last.ckpt")


# --- optimization ----------------------------------------------------------------------------


class Manual(Classifier):
    """Manual optimization that returns its loss, or not."""

    def __init__(self, returns: bool = True) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.returns = returns

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        optimizer.step()
        return loss if self.returns else None


@pytest.mark.compatibility("Trainer", "manual optimization")
def test_manual_optimization_is_the_same_run() -> None:
    by_hand, other = pruning(Price("auto")), pruning(Price("auto"))
    torch.manual_seed(0)
    fit(Manual(), by_hand)
    torch.manual_seed(0)
    fit(Classifier(), other)
    assert by_hand.record.history == other.record.history


@pytest.mark.compatibility(
    "Trainer", '`training_step` that returns no loss, with `Price("auto")`', refused=True
)
def test_manual_optimization_without_a_loss_needs_a_price() -> None:
    callback = pruning(Price(0.02))
    fit(Manual(returns=False), callback)
    assert callback.record.history[2].price == 0.02
    with pytest.raises(MisconfigurationException, match=r"Return the loss.*Price\(0.003\)"):
        fit(Manual(returns=False), pruning(Price("auto")))


@pytest.mark.compatibility("Optimizers", "named parameters")
def test_an_optimizer_of_named_parameters_is_welcome() -> None:
    class Named(Classifier):
        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.named_parameters(), lr=0.01)

    model, callback = Named(), pruning()
    run = fit(model, callback)
    assert run.optimizers[0].param_groups[0]["param_names"] == ["head.weight", "head.bias"]
    assert final_masks(model) == {callback.selection.mask}


def test_a_step_without_manual_backward_is_watched_before_it_changes_a_weight() -> None:
    class Own(Manual):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            Classifier.training_step(self, batch, batch_idx).backward()
            optimizer.step()

    model = Own()
    before = model.head.weight.detach().clone()
    with pytest.raises(MisconfigurationException, match="Expected an input with 9 joints"):
        fit(model, pruning(num_joints=9))
    assert torch.equal(model.head.weight, before)


@pytest.mark.compatibility(
    "Trainer", "manual optimization with `optimizers(use_pl_optimizer=False)`", refused=True
)
def test_manual_optimization_past_lightning_is_an_error() -> None:
    class Raw(Manual):
        def optimizers(self, use_pl_optimizer: bool = True) -> Any:
            return super().optimizers(use_pl_optimizer=False)

    with pytest.raises(MisconfigurationException, match=r"no step.*self\.optimizers\(\)"):
        fit(Raw(), pruning())


@pytest.mark.compatibility("Optimizers", "two optimizers, by manual optimization")
def test_two_optimizers_train_the_gates_once() -> None:
    class Two(Manual):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                loss = Classifier.training_step(self, batch, batch_idx)
                self.manual_backward(loss)
                optimizer.step()
            return loss

        def configure_optimizers(self) -> Any:
            return [
                torch.optim.SGD([self.head.weight], lr=0.1),
                torch.optim.SGD([self.head.bias], lr=0.1),
            ]

    model, callback = Two(), pruning()
    run = fit(model, callback)
    ours = [[g.get("joint_pruning", False) for g in o.param_groups] for o in run.optimizers]
    assert ours == [[False, True], [False]]
    assert kinds(model) == {"open", "sampled", "masked"}
    assert final_masks(model) == {callback.selection.mask}


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has no Muon yet")
@pytest.mark.parametrize("lr", [None, 0.5])
def test_the_first_optimizer_that_can_takes_the_gates(lr: float | None) -> None:
    class Two(Manual):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            muon, adamw = self.optimizers()
            muon.zero_grad()
            adamw.zero_grad()
            loss = Classifier.training_step(self, batch, batch_idx)
            self.manual_backward(loss)
            muon.step()
            adamw.step()
            return loss

        def configure_optimizers(self) -> Any:
            muon = torch.optim.Muon([self.head.weight], lr=0.01)
            return [muon, torch.optim.AdamW([self.head.bias], lr=0.01)]

    model, callback, seen = Two(), pruning(lr=lr), StepsOfGates()
    muon, adamw = fit(model, callback, seen).optimizers
    assert len(muon.param_groups) == 1
    ours = adamw.param_groups[-1]
    assert ours["joint_pruning"]
    assert ours["lr"] == (lr or 10 * 0.05)  # as the search is very short
    # both optimizers' steps call our hook, and the gates were trained in the search's steps alone
    assert max(seen.steps) == 2 * BATCHES
    assert final_masks(model) == {callback.selection.mask}


@pytest.mark.parametrize("how", ["norm", "value"])
@pytest.mark.compatibility("Trainer", "gradient_clip_val, by {how}")
def test_gradient_clipping_does_not_stop_the_search(how: str) -> None:
    callback = pruning(Price("auto"), lr=0.2)
    fit(
        Classifier(),
        callback,
        max_epochs=20,
        gradient_clip_val=0.01,
        gradient_clip_algorithm=how,
    )
    assert callback.selection.indices == INFORMATIVE


@pytest.mark.compatibility("Trainer", "gradient_clip_val, by norm")
def test_our_gradient_does_not_eat_the_models_clip_budget() -> None:
    class Model(Classifier):
        norms: list[Tensor]

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=1.0)

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            self.before = [p.detach().clone() for p in self.parameters()]

        def on_train_batch_end(self, *args: Any) -> None:
            moved = [p.detach() - b for p, b in zip(self.parameters(), self.before, strict=True)]
            self.norms.append(torch.cat([m.flatten() for m in moved]).norm())

    model = Model()
    model.norms = []
    fit(model, pruning(Price(5.0), lr=0.1), gradient_clip_val=1e-3)
    assert torch.stack(model.norms) == pytest.approx([1e-3] * 40, rel=1e-2)


# --- callbacks beside ours -------------------------------------------------------------------


class Scheduled(Classifier):
    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        ramps = [lambda step: 0.1 + step / 40, lambda step: 0.5 ** (step / 10)]
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, ramps)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


@pytest.mark.compatibility("Callbacks", "LearningRateMonitor")
def test_one_parameter_group_keeps_its_name() -> None:
    class One(Classifier):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters())
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    monitor = LearningRateMonitor("epoch")
    fit(One(), pruning(), monitor, logger=CSVLogger("."), log_every_n_steps=1)
    assert list(monitor.lrs) == ["lr-AdamW"]


class OneGroup(Classifier):
    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", [Classifier, Scheduled, OneGroup])
@pytest.mark.compatibility("Callbacks", "LearningRateMonitor")
def test_what_the_learning_rate_monitor_logs_stays(kind: Any, first: bool) -> None:
    def monitored(*callbacks: Any) -> dict[str, list[float]]:
        monitor = LearningRateMonitor()
        callbacks = (monitor, *callbacks) if first else (*callbacks, monitor)
        fit(kind(), *callbacks, logger=CSVLogger("."), log_every_n_steps=1)
        return monitor.lrs

    assert monitored(pruning()) == monitored()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.compatibility("Callbacks", "LearningRateFinder")
def test_the_learning_rate_finder_leaves_the_search_as_it_was(first: bool) -> None:
    class Model(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.lr = 0.01

    model, callback = Model(), pruning(Price(0.3))
    finder = LearningRateFinder(num_training_steps=20)
    fit(model, *([finder, callback] if first else [callback, finder]))
    late = model.of("train")[-40:]
    assert [call.kind for call in late] == ["open"] * 8 + ["sampled"] * 16 + ["masked"] * 16
    history = callback.record.history
    assert [snapshot.step for snapshot in history] == [8, 16, 24, 32, 40]
    assert history[1].keep_probabilities != history[2].keep_probabilities


BESIDE: dict[str, Callable[[], pl.Callback]] = {
    "ModelSummary": lambda: ModelSummary(max_depth=-1),
    "RichProgressBar": RichProgressBar,
    "RichModelSummary": RichModelSummary,
    "ModelPruning": lambda: ModelPruning("l1_unstructured", amount=0.1),
    "BatchSizeFinder": lambda: BatchSizeFinder(max_trials=1, init_val=16),
}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.compatibility("Callbacks", "{name}")
def test_callbacks_of_lightning_work_beside_us(name: str, first: bool) -> None:
    class Sized(Classifier):
        batch_size = 8

        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(clips().dataset, self.batch_size)

        def val_dataloader(self) -> DataLoader[Any]:
            return clips(2)

    model, callback = Sized(), pruning()
    theirs = BESIDE[name]()
    settings: dict[str, Any] = {
        "enable_progress_bar": "ProgressBar" in name,
        "enable_model_summary": "Summary" in name,
    }
    run = trainer(*([theirs, callback] if first else [callback, theirs]), **settings)
    run.fit(model)
    late = [call.kind for call in model.of("train")]
    batches = 64 // model.batch_size
    assert late[-5 * batches :] == ["open"] * batches + ["sampled"] * 2 * batches + (
        ["masked"] * 2 * batches
    )
    assert final_masks(model) == {callback.selection.mask}
    assert len(callback.record.history) == 5
    if name == "BatchSizeFinder":
        assert model.batch_size != 8
    if name == "ModelPruning":
        assert (model.head.weight == 0).float().mean() > 0.1


class Layered(Classifier):
    """A backbone and a head; what is frozen at first is not in the optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(4 * J * 2, 6), nn.Tanh())
        self.head = nn.Linear(6, SIGNS)

    def forward(self, x: Tensor) -> Tensor:
        self.got = x.detach()
        return self.head(self.backbone(x))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=0.01)


class Gradual(BaseFinetuning):
    """A user's own, which thaws what is due in every epoch, also after a restart."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.backbone)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if epoch == 2:
            self.unfreeze_and_add_param_group(pl_module.backbone, optimizer, lr=0.02)
        if epoch > 2:
            self.make_trainable(pl_module.backbone)
            optimizer.param_groups[-1]["lr"] *= 0.5  # the user's last one


class Watch(pl.Callback):
    """Notes the user's groups by name, their rates, and what is frozen, after every step."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        names = {parameter: name for name, parameter in pl_module.named_parameters()}
        (optimizer,) = trainer.optimizers
        groups = [group for group in optimizer.param_groups if "joint_pruning" not in group]
        assert optimizer.param_groups[: len(groups)] == groups
        named = [([names[p] for p in group["params"]], group["lr"]) for group in groups]
        frozen = [name for p, name in names.items() if not p.requires_grad]
        self.seen.append((trainer.global_step, named, frozen))


ORDERS = {"ours first": lambda ours, theirs: [ours, theirs], "last": lambda o, t: [t, o]}
each_order = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
each_finetuning = pytest.mark.parametrize("kind", [partial(BackboneFinetuning, 2), Gradual])


@each_order
@each_finetuning
@pytest.mark.compatibility("Callbacks", "BackboneFinetuning and other BaseFinetuning")
def test_finetuning_thaws_beside_us_as_it_does_alone(kind: Any, order: Any) -> None:
    model, callback, theirs = Layered(), pruning(Price(0.3)), kind()
    without, within = Watch(), Watch()
    fit(Layered(), kind(), without)
    run = fit(model, *order(callback, theirs), within)

    assert within.seen == without.seen
    assert [len(groups) for _, groups, _ in within.seen] == [1] * 16 + [2] * 24
    history = [snapshot.keep_probabilities for snapshot in callback.record.history]
    assert history[0] != history[1] != history[2] == history[4]
    assert "joint_pruning" in run.optimizers[0].param_groups[-1]
    assert final_masks(model) == {callback.selection.mask}
    assert not {"on_fit_start", "on_train_epoch_start"} & vars(theirs).keys()


@each_order
@pytest.mark.parametrize("step", [8, 16, 24, 32])
def test_a_finetuned_run_resumed_is_the_uninterrupted_one(order: Any, step: int) -> None:
    settings: dict[str, Any] = {"budget": Price("auto")}
    more = {"kind": Layered, "beside": lambda ours: order(ours, Gradual())}
    done = run(settings, **more)
    assert_equal_runs(run(settings, f"end-step={step}.ckpt", **more), done)


@each_order
@pytest.mark.parametrize("step", [16, 24])
def test_backbone_finetuning_resumes_beside_us_as_it_does_alone(order: Any, step: int) -> None:
    def resumed(callbacks: Any) -> Any:
        saver = ModelCheckpoint(".", "end-{step}", save_top_k=-1, save_on_train_epoch_end=True)
        fit(Layered(), *callbacks(), saver, enable_checkpointing=True)
        watch = Watch()
        again = trainer(*callbacks(), watch)
        again.fit(Layered(), clips(), clips(2), ckpt_path=f"end-step={step}.ckpt")
        return watch.seen

    alone = resumed(lambda: [BackboneFinetuning(2)])
    assert resumed(lambda: order(pruning(), BackboneFinetuning(2))) == alone


def test_a_run_that_fails_leaves_finetuning_as_it_was() -> None:
    class Broken(Layered):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            raise RuntimeError("mine")

    theirs = Gradual()
    theirs.on_fit_start = own = lambda *args: None  # type: ignore[method-assign]
    before = vars(theirs).keys()
    with pytest.raises(RuntimeError, match="mine"):
        fit(Broken(), pruning(), theirs)
    assert vars(theirs).keys() == before
    assert theirs.on_fit_start is own


@pytest.mark.compatibility("Callbacks", "GradientAccumulationScheduler")
def test_accumulation_may_change_on_the_way() -> None:
    callback = pruning()
    fit(Classifier(), callback, GradientAccumulationScheduler({0: 1, 2: 2}))
    assert len(callback.selection.indices) == 3


# --- data and trainers -----------------------------------------------------------------------


class Stream(IterableDataset[Any]):
    """Batches without a length."""

    def __init__(self, batches: int = BATCHES) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(clips(self.batches))


def stream(batches: int = BATCHES) -> DataLoader[Any]:
    return DataLoader(Stream(batches), batch_size=None)


@pytest.mark.compatibility("Trainer", "data without a length, max_epochs=-1, max_steps=20")
def test_a_stream_of_max_steps() -> None:
    model, callback = Classifier(), pruning()
    trainer(callback, max_epochs=-1, max_steps=20).fit(model, stream(100), clips(2))
    assert [call.kind for call in model.of("train")] == (
        ["open"] * 4 + ["sampled"] * 8 + ["masked"] * 8
    )


@pytest.mark.compatibility("Trainer", "data without a length")
def test_a_stream_without_length_has_phases_of_whole_epochs() -> None:
    model, callback = Classifier(), pruning()
    trainer(callback).fit(model, stream(), clips(2))
    seen = [call.kind for call in model.of("train")]
    assert seen == ["open"] * 8 + ["sampled"] * 16 + ["masked"] * 16


@pytest.mark.compatibility("Trainer", "max_epochs=100, max_steps=20")
def test_a_run_of_max_steps_within_max_epochs() -> None:
    model, callback = Classifier(), pruning()
    trainer(callback, max_epochs=100, max_steps=20).fit(model, clips(), clips(2))
    assert [call.kind for call in model.of("train")] == (
        ["open"] * 4 + ["sampled"] * 8 + ["masked"] * 8
    )


@pytest.mark.parametrize(
    ("settings", "epoch"),
    [
        ({"limit_train_batches": 4}, 4),
        ({"limit_train_batches": 0.5}, 4),
        ({"val_check_interval": 0.5}, 8),
        ({"check_val_every_n_epoch": 2}, 8),
        ({"reload_dataloaders_every_n_epochs": 1}, 8),
        ({"overfit_batches": 2}, 2),
        ({"num_sanity_val_steps": 0}, 8),
        ({"limit_val_batches": 0}, 8),
        ({"max_steps": 40}, 8),
        ({"max_time": "00:01:00:00"}, 8),
    ],
)
@pytest.mark.compatibility("Trainer", "{settings}")
def test_phases_are_fractions_whatever_an_epoch_is(settings: dict[str, Any], epoch: int) -> None:
    model, callback = Classifier(), pruning()
    fit(model, callback, **settings)
    seen = [call.kind for call in model.of("train")]
    assert seen == ["open"] * epoch + ["sampled"] * 2 * epoch + ["masked"] * 2 * epoch
    assert final_masks(model) == {callback.selection.mask}


@pytest.mark.compatibility("Trainer", "max_time alone", refused=True)
def test_time_is_no_end_that_phases_could_be_fractions_of() -> None:
    with pytest.raises(MisconfigurationException, match=r"run with an end.*Pass Trainer\(max_ep"):
        fit(Classifier(), pruning(), max_epochs=None, max_time="00:01:00:00")


@pytest.mark.compatibility("Trainer", "val_check_interval=0.5")
def test_validation_twice_an_epoch_is_in_the_history() -> None:
    callback = pruning()
    fit(Classifier(), callback, val_check_interval=0.5)
    assert [snapshot.step for snapshot in callback.record.history] == list(range(4, 44, 4))
    assert all(snapshot.metrics for snapshot in callback.record.history)


@pytest.mark.compatibility("Trainer", "no validation")
def test_a_run_without_validation_has_a_history() -> None:
    class Trained(Classifier):
        validation_step = None  # type: ignore[assignment]

    callback = pruning()
    trainer(callback).fit(Trained(), clips())
    assert [snapshot.step for snapshot in callback.record.history] == [8, 16, 24, 32, 40]
    assert callback.selection.metrics == {}
    assert len(callback.selection.indices) == 3


@pytest.mark.compatibility("Trainer", "`training_step` that returns None for some batches")
def test_a_step_that_is_skipped_does_no_harm() -> None:
    class Skipping(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx % 3 == 0:
                return None
            return super().training_step(batch, batch_idx)

    model, callback = Skipping(), pruning()
    fit(model, callback)
    assert kinds(model) == {"open", "sampled", "masked"}


def test_train_called_inside_validation_leaves_the_hard_mask() -> None:
    class Dropout(Classifier):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.train()
            super().validation_step(batch, batch_idx)

    model = Dropout()
    fit(model, pruning())
    assert {call.kind for call in model.of("validate") if call.step > 16} == {"masked"}


@pytest.mark.compatibility("Trainer", "`training_step` without batch_idx")
def test_a_training_step_needs_no_batch_idx() -> None:
    class Short(Classifier):
        def training_step(self, batch: Any) -> Tensor:  # type: ignore[override]
            return super().training_step(batch, 0)

    model = Short()
    fit(model, pruning())
    assert kinds(model) == {"open", "sampled", "masked"}


def test_a_batch_stays_as_it_is() -> None:
    data = [(x.clone(), sign) for x, sign in clips()]
    before = [x.clone() for x, _ in data]
    fit(Classifier(), pruning(), train=DataLoader(data, batch_size=None))
    assert all(torch.equal(x, was) for (x, _), was in zip(data, before, strict=True))


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
@pytest.mark.compatibility("Trainer", "precision={precision!r}")
def test_every_precision_of_a_cpu(precision: Any) -> None:
    model, callback = Classifier(), pruning()
    fit(model, callback, precision=precision)
    assert kinds(model) == {"open", "sampled", "masked"}
    assert len(callback.selection.indices) == 3


@pytest.mark.parametrize("fused", [True, False])
def test_the_price_is_not_scaled_with_the_loss(fused: bool) -> None:
    """A fused optimizer undoes the scaling within its step, others before our hook."""

    class Stepping(Indifferent):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1, fused=fused)

    def history(**settings: Any) -> Any:
        callback = pruning(Price(0.3), lr=2.0)
        fit(Stepping(), callback, **settings)
        return callback.record.history[-1].keep_probabilities

    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)  # type: ignore[attr-defined]
    scaled = history(plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    assert scaled == pytest.approx(history(), abs=1e-5)
    assert max(scaled) < 0.8


class OldClassifier(pytorch_lightning.LightningModule):
    """The same for those who import Lightning under its old name."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4 * J * 2, SIGNS)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach())
        return self.head(x.flatten(1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, sign = batch
        return cross_entropy(self(x), sign)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


@pytest.mark.compatibility("Trainer", "`import pytorch_lightning`")
def test_pytorch_lightning_is_lightning_too() -> None:
    model, callback = OldClassifier(), pruning()
    stopper = pytorch_lightning.callbacks.EarlyStopping("val_loss", patience=1, mode="max")
    best = pytorch_lightning.callbacks.ModelCheckpoint(".", monitor="val_loss", mode="max")
    settings = {**QUIET, "enable_checkpointing": True}
    run = pytorch_lightning.Trainer(max_epochs=10, callbacks=[stopper, callback, best], **settings)
    run.fit(model, clips(), clips(2))

    assert callback.record.phase == "final"
    assert run.current_epoch < 10
    got = (model.seen[-1] != 0).any(dim=3).any(dim=1).any(dim=0)
    assert tuple(got.tolist()) == callback.selection.mask
    state = torch.load(best.best_model_path, weights_only=True)["callbacks"][callback.state_key]
    assert state["search"]["phase"] == "final"
    loaded = load_pruned(OldClassifier, best.best_model_path)
    loaded(torch.ones(1, 4, J, 2))
    assert int((loaded.seen[-1][0, 0, :, 0] != 0).sum()) == 3


def test_pytorch_lightning_errors_are_those_its_users_catch() -> None:
    run = pytorch_lightning.Trainer(max_epochs=-1, callbacks=[pruning()], **QUIET)
    with pytest.raises(Exception, match="max_epochs=-1 without max_steps"):
        run.fit(OldClassifier(), clips())


@pytest.mark.parametrize("what", ["module", "submodule"])
@pytest.mark.compatibility("Trainer", "`torch.compile` of the {what}")
def test_a_compiled_model(what: str) -> None:
    class Deep(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(4 * J * 2, SIGNS))

        def forward(self, x: Tensor) -> Tensor:
            return self.encoder(x)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, sign = batch
            return cross_entropy(self(x), sign)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.training_step(batch, batch_idx)

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=0.01)

    def probabilities(compiled: bool) -> Any:
        torch.manual_seed(0)
        model, callback = Deep(), pruning(Price("auto"))
        whole: Any = model
        if compiled and what == "module":
            whole = torch.compile(model, backend="eager")
        elif compiled:
            model.encoder = torch.compile(model.encoder, backend="eager")
        run = trainer(callback)
        run.fit(whole, clips(), clips(2))
        x = torch.randn(2, 4, J, 2)
        changed = x.clone()
        changed[:, :, [not kept for kept in callback.selection.mask]] = torch.nan
        assert torch.equal(model.eval()(x), model(changed))
        return callback.selection.keep_probabilities

    assert probabilities(True) == pytest.approx(probabilities(False), abs=1e-4)


# --- the command line ------------------------------------------------------------------------

PACKAGE = "lightning_jointprune"
EVERY_ARGUMENT: dict[str, Any] = {
    "skeleton": "mediapipe_hand",
    "num_joints": 21,
    "input": "x",
    "axes": "b t j c",
    "budget": 5,
    "gate": "hard_concrete",
    "groups": "hierarchical",
    "keep": ["wrist", 4],
    "drop": [20],
    "phases": [0.25, 0.5],
    "lr": 0.1,
    "fill": "mean",
    "dirpath": "results",
}


def from_yaml(arguments: dict[str, Any]) -> Any:
    callbacks = [{"class_path": f"{PACKAGE}.JointPruningCallback", "init_args": arguments}]
    config = {"trainer": {**QUIET, "max_epochs": 5, "callbacks": callbacks}}
    Path("config.yaml").write_text(yaml.safe_dump(config))
    cli = LightningCLI(
        Classifier, args=["--config=config.yaml"], run=False, save_config_callback=None
    )
    text = cli.parser.dump(cli.config, skip_none=False)
    Path("config.yaml").write_text(text)
    again = LightningCLI(
        Classifier, args=["--config=config.yaml"], run=False, save_config_callback=None
    )
    assert again.parser.dump(again.config, skip_none=False) == text
    callbacks = again.trainer.callbacks
    return next(found for found in callbacks if isinstance(found, JointPruningCallback))


@pytest.mark.compatibility("Trainer", "LightningCLI, every argument in YAML")
def test_every_argument_can_be_written_in_yaml() -> None:
    callback = from_yaml(EVERY_ARGUMENT)
    same = JointPruningCallback(**{**EVERY_ARGUMENT, "phases": tuple(EVERY_ARGUMENT["phases"])})
    assert callback.record.settings == same.record.settings
    assert str(callback.dirpath) == "results"
    assert set(EVERY_ARGUMENT) == set(
        JointPruningCallback.__init__.__kwdefaults__  # type: ignore[misc]
    ) | {"num_joints"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"budget": 3}, {"budget": TargetJoints(3)}),
        ({"budget": "auto"}, {}),
        ({"budget": "given.json"}, {"budget": GivenJoints([1, 4], "given.json")}),
        (
            {
                "budget": {
                    "class_path": f"{PACKAGE}.JointSelection.from_json",
                    "init_args": {"path_or_text": "given.json"},
                }
            },
            {"budget": GivenJoints([1, 4], "given.json")},
        ),
        (
            {"budget": {"class_path": f"{PACKAGE}.GivenJoints", "init_args": {"joints": [4]}}},
            {"budget": GivenJoints([4])},
        ),
        (
            {"budget": {"class_path": f"{PACKAGE}.Fewest", "init_args": {"within": 0.02}}},
            {"budget": Fewest(within=0.02)},
        ),
        (
            {
                "budget": {
                    "class_path": f"{PACKAGE}.Fewest",
                    "init_args": {"metric": "val_wrong", "mode": "min"},
                }
            },
            {"budget": Fewest("val_wrong", mode="min")},
        ),
        ({"budget": {"class_path": f"{PACKAGE}.Price"}}, {"budget": Price("auto")}),
        (
            {"budget": {"class_path": f"{PACKAGE}.Price", "init_args": {"value": 0.003}}},
            {"budget": Price(0.003)},
        ),
        (
            {"budget": {"class_path": f"{PACKAGE}.TargetJoints", "init_args": {"count": 4}}},
            {"budget": TargetJoints(4)},
        ),
        (
            {
                "budget": {
                    "class_path": f"{PACKAGE}.MetricFloor",
                    "init_args": {"metric": "val_acc", "floor": 0.85},
                }
            },
            {"budget": MetricFloor("val_acc", 0.85)},
        ),
        (
            {"num_joints": None, "skeleton": {"name": "own", "joints": ["a", "b"]}},
            {"num_joints": None, "skeleton": Skeleton("own", ("a", "b"))},
        ),
        ({"gate": "stochastic"}, {"gate": StochasticGate()}),
        (
            {"gate": {"class_path": f"{PACKAGE}.HardConcrete", "init_args": {"temperature": 0.5}}},
            {"gate": HardConcrete(temperature=0.5)},
        ),
        (
            {
                "gate": {
                    "class_path": f"{PACKAGE}.GumbelSigmoid",
                    "init_args": {"temperature": [2.0, 0.5]},
                }
            },
            {"gate": __import__(PACKAGE).GumbelSigmoid(temperature=(2.0, 0.5))},
        ),
        ({"groups": {"a": [0, 1], "b": [2]}}, {"groups": {"a": [0, 1], "b": [2]}}),
        (
            {
                "groups": {
                    "class_path": f"{PACKAGE}.Groups",
                    "init_args": {"members": {"a": [0, 1]}, "tied": True},
                }
            },
            {"groups": Groups({"a": [0, 1]}, tied=True)},
        ),
        ({"keep": ["joint_3"]}, {"keep": ["joint_3"]}),
        ({"fill": -1.0}, {"fill": -1.0}),
        ({"fill": "hold"}, {"fill": "hold"}),
        ({"fill": "tests.runs.first_joint"}, {"fill": first_joint}),
    ],
)
def test_every_form_of_an_argument_can_be_written_in_yaml(
    written: dict[str, Any], meant: dict[str, Any]
) -> None:
    names = tuple(f"joint_{joint}" for joint in range(J))
    JointSelection((1, 4), J, names, (0.5,) * J).to_json("given.json")
    callback = from_yaml({"num_joints": J, **written})
    same = JointPruningCallback(**{"num_joints": J, **meant})
    assert callback.record.settings == same.record.settings
    assert callback.selection.joint_names == same.selection.joint_names


@pytest.mark.compatibility("Trainer", "LightningCLI, every argument in YAML")
def test_a_run_from_the_command_line() -> None:
    Path("config.yaml").write_text(
        yaml.safe_dump(
            {
                "trainer": {
                    **QUIET,
                    "max_epochs": 5,
                    "callbacks": [
                        {
                            "class_path": f"{PACKAGE}.JointPruningCallback",
                            "init_args": {"num_joints": J, "budget": 3, "phases": [0.2, 0.6]},
                        }
                    ],
                }
            }
        )
    )
    cli = LightningCLI(
        Classifier, args=["--config=config.yaml"], run=False, save_config_callback=None
    )
    cli.trainer.fit(cli.model, clips(), clips(2))
    assert len(PruningRecord.from_json(Path()).selection.indices) == 3


# --- several processes -----------------------------------------------------------------------

SCRIPT = """
import json, sys
import torch
sys.path.insert(0, {root!r})
from lightning_jointprune import *
from lightning_jointprune.run import trainer as trainers
from tests.runs import *

trainers.affordable_validations = lambda *_: 3.4  # five numbers, on 68 % of the batches

class Own(Classifier):
    def __init__(self, lr):
        super().__init__(lr)
        self.pruning = JointPruningLayer(J, fill="mean")

    def forward(self, x):
        return super().forward(self.pruning(x))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.05)

torch.manual_seed(0)
torch.set_num_threads(1)
model, more = (Own(lr=0.05), {{}}) if {own} else (Classifier(lr=0.05), {{"fill": "mean"}})
callback = pruning({budget}, lr=0.2, phases=(0.1, 0.6), **more)
noise = []
class Note(pl.Callback):
    def on_train_start(self, *args):
        noise.append(callback._search.layer.generator.initial_seed())
monitor = pl.callbacks.EarlyStopping("val_acc", mode="max", patience=99)
settings = dict(max_epochs=15, devices=2, strategy="ddp", num_sanity_val_steps=0)
one = trainer(callback, Note(), monitor, **settings)
one.fit(model, clips(16), clips(8, seed=1))
layer = callback._search.layer
result = dict(
    indices=callback.selection.indices,
    probabilities=callback.selection.keep_probabilities,
    mean=layer.fill_mean.flatten().tolist(),
    weights=model.head.weight.flatten().tolist(),
    noise=noise,
    budget=list(callback.record.settings["budget"]),
    frontier=callback.frontier,
    samples=[rung.samples for rung in callback.record.rungs if rung.metrics],
    course=callback.record.course,
)
open(f"rank{{one.global_rank}}.json", "w").write(json.dumps(result))
"""


@pytest.mark.parametrize(
    ("budget", "own"),
    [
        ("MetricFloor('val_acc', 0.7)", False),  # one of the two joints reaches 0.5
        ("'auto'", True),
    ],
)
@pytest.mark.compatibility("Trainer", 'strategy="ddp", two processes')
def test_two_processes_agree(budget: str, own: bool, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    Path("script.py").write_text(SCRIPT.format(root=root, budget=budget, own=own))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "script.py"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, other = (json.loads(Path(f"rank{rank}.json").read_text()) for rank in range(2))
    assert first["noise"] != other["noise"]
    for name in ("indices", "probabilities", "mean", "weights", "frontier", "samples", "course"):
        assert first[name] == other[name], name
    if budget == "'auto'":
        assert first["budget"] == ["Fewest"]
        assert first["samples"] == [2 * 2 * 8] * 5  # of each process two batches of its four
        assert any(value is not None for _, value, *_ in first["frontier"])
    assert set(INFORMATIVE) <= set(first["indices"]) < set(range(J))
