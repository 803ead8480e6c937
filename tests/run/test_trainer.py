"""What is asked of a trainer and told to other callbacks, with the real ones of both packages."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import lightning.pytorch
import pytest
import pytorch_lightning
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from lightning_jointprune import JointPruningCallback
from lightning_jointprune.run.trainer import (
    Companions,
    check_alone,
    check_metric,
    check_run,
    forget_best,
    measured,
    monitored,
    of_kind,
    planned_steps,
    progress,
    validate_again,
    validation_samples,
    writes_files,
)

PACKAGES = [lightning.pytorch, pytorch_lightning]
each_package = pytest.mark.parametrize("pl", PACKAGES, ids=lambda pl: pl.__name__)
BATCHES = 4
PAIRS = torch.randn(7, 6)


class Endless(IterableDataset):
    """Of unknown length, though it ends."""

    def __iter__(self):
        return iter(torch.randn(BATCHES, 2, 6))


def fit(
    pl: ModuleType,
    values: Sequence[float],
    callbacks: Sequence[Any],
    data: Any = None,
    validation: Any = None,
    **settings: Any,
) -> Any:
    """Fit a tiny model whose validations log these values; the trainer afterwards."""

    class Tiny(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(6, 2)
            self.left = list(values)

        def forward(self, x: Any) -> Any:
            return self.layer(x)

        def training_step(self, x: Any) -> Any:
            return self(x).square().mean()

        def validation_step(self, x: Any) -> None:
            self(x)
            self.log("acc", torch.tensor(self.left.pop(0)))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=0.01)

    settings = {"max_epochs": len(values) or None, **settings}
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(type(one).__name__ == "ModelCheckpoint" for one in callbacks),
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        **settings,
    )
    batches = DataLoader(torch.randn(BATCHES, 2, 6), batch_size=None)
    if values and validation is None:
        validation = DataLoader(torch.randn(1, 2, 6), batch_size=None)
    trainer.fit(Tiny(), batches if data is None else data, validation)
    return trainer


def before_epochs(pl: ModuleType, act: Any) -> Any:
    """A callback that acts before every epoch."""

    class BeforeEpochs(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            act(trainer)

    return BeforeEpochs()


# --- progress ------------------------------------------------------------------------------------


@given(st.integers(1, 50), st.integers(1, 50), st.booleans(), st.booleans(), st.integers(1, 4))
def test_progress_is_the_share_of_epochs_or_steps_whichever_ends_first(
    epochs: int, batches: int, limit_epochs: bool, limit_steps: bool, accumulated: int
) -> None:
    steps = max(1, epochs * batches // 2)
    seen = []
    for batch in range(epochs * batches):
        trainer = SimpleNamespace(
            max_epochs=epochs if limit_epochs else None,
            max_steps=steps if limit_steps else -1,
            num_training_batches=batches,
            current_epoch=batch // batches,
            global_step=batch // accumulated,
        )
        seen.append(progress(trainer, batch % batches))
        by_epochs = batch / (epochs * batches) if limit_epochs else 0.0
        by_steps = batch // accumulated / steps if limit_steps else 0.0
        assert seen[-1] == pytest.approx(min(1.0, max(by_epochs, by_steps)))
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"max_epochs": 3}, [batch / 12 for batch in range(12)]),
        ({"max_epochs": -1, "max_steps": 6}, [step / 6 for step in range(6)]),
        ({"max_epochs": 3, "max_steps": 8}, [step / 8 for step in range(8)]),
        ({"max_epochs": 2, "max_steps": 100}, [batch / 8 for batch in range(8)]),
        ({"max_epochs": 2, "limit_train_batches": 2}, [0.0, 0.25, 0.5, 0.75]),
        (
            {"max_steps": 4, "accumulate_grad_batches": 2},
            [0.0, 0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75],
        ),
        ({"max_epochs": 3, "data": DataLoader(Endless(), batch_size=None)}, [0.0, 1 / 3, 2 / 3]),
        ({"max_steps": 5, "data": DataLoader(Endless(), batch_size=None)}, [0, 0.2, 0.4, 0.6, 0.8]),
    ],
)
def test_progress_in_a_real_run_goes_from_zero_to_its_end(settings: dict, expected) -> None:
    seen: list[float] = []

    class Watch(lightning.pytorch.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            seen.append(progress(trainer, batch_idx))

    fit(lightning.pytorch, [], [Watch()], **settings)
    if isinstance(settings.get("data"), DataLoader) and "max_epochs" in settings:
        seen = seen[::BATCHES]  # a length that is not known cannot divide an epoch
    assert seen == pytest.approx(expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_epochs": 3},
        {"max_epochs": 3, "limit_train_batches": 2},
        {"max_epochs": 3, "max_steps": 8},
        {"max_epochs": 2, "max_steps": 100},
        {"max_epochs": 2, "accumulate_grad_batches": 2},
        {"max_epochs": -1, "max_steps": 6},
        {"max_steps": 5, "data": DataLoader(Endless(), batch_size=None)},
    ],
)
def test_the_steps_that_are_planned_are_those_that_are_taken(settings: dict[str, Any]) -> None:
    planned = []

    class Watch(lightning.pytorch.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            planned.append(planned_steps(trainer))

    trainer = fit(lightning.pytorch, [], [Watch()], **settings)
    assert set(planned) == {trainer.global_step}


def test_nobody_knows_the_steps_of_epochs_of_unknown_length() -> None:
    trainer = SimpleNamespace(
        max_steps=-1, max_epochs=3, num_training_batches=float("inf"), accumulate_grad_batches=2
    )
    assert planned_steps(trainer) == float("inf")


# --- checks before a run -------------------------------------------------------------------------


@each_package
def test_a_run_without_an_end_is_refused_with_what_ends_it(pl: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"run with an end.*max_epochs=-1 .*Pass Trainer\(max_ep"):
        check_run(pl.Trainer(max_epochs=-1, logger=False), None)
    for ending in ({"max_epochs": 3}, {"max_steps": 9}, {}, {"fast_dev_run": True}):
        check_run(pl.Trainer(**{"logger": False, "accelerator": "cpu", **ending}), None)


def test_a_floor_needs_a_validation() -> None:
    trainer = SimpleNamespace(
        strategy=None, callbacks=[], max_epochs=3, max_steps=-1, enable_validation=False
    )
    check_run(trainer, None)
    with pytest.raises(ValueError, match="validation that logs 'acc' for MetricFloor but this run"):
        check_run(trainer, "acc")
    trainer.enable_validation = True
    check_run(trainer, "acc")


def test_a_floors_metric_that_was_not_logged_is_refused_with_what_was() -> None:
    with pytest.raises(ValueError, match=r"log 'acc' .* it logged loss, f1\. .*self\.log\('acc'"):
        check_metric("acc", {"loss": 1.0, "f1": 0.5}, sanity=True)
    with pytest.raises(ValueError, match=r"log 'acc' .* it logged nothing"):
        check_metric("acc", {}, sanity=False)
    check_metric("acc", {}, sanity=True)  # some models log nothing in the sanity check
    check_metric("acc", {"acc": 0.5}, sanity=False)


def test_two_callbacks_on_one_input_are_refused_and_on_two_are_not() -> None:
    one, two, other = (JointPruningCallback(6, input=name) for name in ("x", "x", "y"))
    plain = torch.nn.Linear(2, 2)
    check_alone(SimpleNamespace(lightning_module=plain, callbacks=[one, other]), one.state_key)
    both = SimpleNamespace(lightning_module=plain, callbacks=[one, two, other])
    message = r"one callback per skeleton input but got 2 of .*'x'.*own"
    with pytest.raises(ValueError, match=message):
        check_alone(both, one.state_key)


@each_package
def test_a_quick_trial_leaves_no_files(pl: ModuleType) -> None:
    assert writes_files(pl.Trainer(logger=False, accelerator="cpu"))
    assert not writes_files(pl.Trainer(fast_dev_run=True, accelerator="cpu"))


# --- metrics -------------------------------------------------------------------------------------


def test_only_scalars_logged_since_then_were_measured() -> None:
    old, kept = torch.tensor(1.0), torch.tensor(2.0)
    trainer = SimpleNamespace(callback_metrics={"train_loss": kept, "acc": old})
    before = dict(trainer.callback_metrics)
    trainer.callback_metrics |= {
        "acc": torch.tensor(1.0),  # the same value, but measured anew
        "f1": torch.tensor([0.5]),
        "per_class": torch.ones(3),
    }
    assert measured(trainer, before) == {"acc": 1.0, "f1": 0.5}


@each_package
@pytest.mark.parametrize(
    ("validation", "settings", "samples"),
    [
        (DataLoader(torch.randn(7, 6), batch_size=3), {}, 7),
        (DataLoader(torch.randn(7, 6), batch_size=3, drop_last=True), {}, 6),
        (DataLoader(torch.randn(7, 6), batch_size=3), {"limit_val_batches": 2}, 6),
        ([DataLoader(torch.randn(7, 6), batch_size=3)], {}, 7),
        (DataLoader(Endless(), batch_size=3), {}, None),
        (DataLoader(torch.randn(1, 2, 6), batch_size=None), {}, None),
        (DataLoader(PAIRS, sampler=BatchSampler(range(7), 3, False), batch_size=None), {}, 7),
        ([torch.randn(2, 6)], {}, None),
    ],
)
def test_a_validations_samples_are_counted_where_they_can_be(
    pl: ModuleType, validation: Any, settings: dict, samples: int | None
) -> None:
    seen = []

    class Watch(pl.Callback):
        def on_validation_end(self, trainer, pl_module) -> None:
            seen.append(validation_samples(trainer))

    fit(pl, [0.5] * 9, [Watch()], validation=validation, max_epochs=1, **settings)
    assert seen == [samples]


@each_package
def test_what_a_real_validation_logged_is_measured_and_the_rest_is_not(pl: ModuleType) -> None:
    seen = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_: Any) -> None:
            pl_module.log("train_loss", 3.0, on_epoch=True)

        def on_validation_start(self, trainer, pl_module) -> None:
            self.before = dict(trainer.callback_metrics)

        def on_validation_end(self, trainer, pl_module) -> None:
            seen.append(measured(trainer, self.before))

    fit(pl, [0.5, 0.5, 0.25], [Watch()])
    assert seen == [{"acc": 0.5}, {"acc": 0.5}, {"acc": 0.25}]


@each_package
def test_callbacks_are_found_by_their_kind_also_where_a_subclass_is(pl: ModuleType) -> None:
    class Mine(pl.callbacks.ModelCheckpoint):
        pass

    stopper = pl.callbacks.EarlyStopping("val_loss", mode="min")
    checkpoints = [
        Mine(monitor="acc", mode="max"),
        pl.callbacks.ModelCheckpoint(monitor=None, filename="last"),
    ]
    trainer = SimpleNamespace(callbacks=[pl.callbacks.LearningRateMonitor(), stopper, *checkpoints])
    assert of_kind(trainer, "ModelCheckpoint") == checkpoints
    assert of_kind(trainer, "EarlyStopping") == [stopper]
    assert monitored(trainer) == [("acc", True), ("val_loss", False)]


@pytest.mark.parametrize("first", [True, False])
def test_the_first_process_alone_warns_that_a_rung_could_not_be_validated(first: bool) -> None:
    def fail() -> None:
        raise RuntimeError("disk full")

    loop = SimpleNamespace(epoch_loop=SimpleNamespace(val_loop=SimpleNamespace(run=fail)))
    trainer = SimpleNamespace(
        callbacks=["theirs"], loggers=[], callback_metrics={}, fit_loop=loop, is_global_zero=first
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert validate_again(trainer, None) == {}
    assert ["disk full" in str(one.message) for one in told] == [True] * first
    assert trainer.callbacks == ["theirs"]


@each_package
def test_a_bar_with_a_thread_stays_among_the_callbacks_of_a_silent_validation_and_shows_none(
    pl: ModuleType,
) -> None:
    """The thread asserts that it is there, ten times a second."""
    bar, heard = pl.callbacks.RichProgressBar(), []
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(val_loop=SimpleNamespace()))
    theirs = [pl.Callback(), bar]
    trainer = SimpleNamespace(callbacks=theirs, loggers=[], callback_metrics={}, fit_loop=loop)
    loop.epoch_loop.val_loop.run = lambda: heard.append((trainer.callbacks, bar.is_enabled))
    validate_again(trainer, None)
    assert heard == [([bar], False)]
    assert trainer.callbacks == theirs
    assert bar.is_enabled


# --- early stopping ------------------------------------------------------------------------------

WORSE = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]


def hold_until(pl: ModuleType, epoch: int) -> Any:
    companions = Companions()

    def act(trainer: Any) -> None:
        companions.judge(trainer, trainer.current_epoch == epoch)

    return before_epochs(pl, act)


@each_package
@pytest.mark.parametrize("mode", ["max", "min"])
def test_patience_begins_when_early_stopping_is_released(pl: ModuleType, mode: str) -> None:
    values = WORSE if mode == "max" else [-value for value in WORSE]
    alone = fit(pl, values, [pl.callbacks.EarlyStopping("acc", mode=mode, patience=2)])
    assert alone.current_epoch == 3  # the first value and two that are worse
    stopper = pl.callbacks.EarlyStopping("acc", mode=mode, patience=2)
    held = fit(pl, values, [hold_until(pl, 4), stopper])
    assert held.current_epoch == 4 + 3
    assert float(stopper.best_score) == pytest.approx(values[4])


def test_a_metric_that_is_not_a_number_uses_up_no_patience_while_held() -> None:
    stopper = lightning.pytorch.callbacks.EarlyStopping(
        "acc", mode="max", patience=2, check_finite=False
    )
    trainer = fit(
        lightning.pytorch,
        [float("nan")] * 5 + [0.1, 0.2, 0.3],
        [hold_until(lightning.pytorch, 5), stopper],
    )
    assert trainer.current_epoch == 8


@each_package
def test_a_threshold_stops_no_run_that_is_held_and_is_given_back(pl: ModuleType) -> None:
    stopper = pl.callbacks.EarlyStopping("acc", mode="max", patience=99, stopping_threshold=0.05)
    trainer = fit(pl, WORSE, [hold_until(pl, 4), stopper])
    assert trainer.current_epoch == 5  # the first value that counts is above the threshold
    assert stopper.stopping_threshold == 0.05


def test_companions_that_were_released_or_never_held_are_left_alone() -> None:
    stopper = lightning.pytorch.callbacks.EarlyStopping("acc", stopping_threshold=0.5)
    before = stopper.state_dict()
    trainer = SimpleNamespace(callbacks=[stopper])
    companions = Companions()
    companions.give_back()
    companions.hold(trainer)
    companions.release(trainer)
    stopper.stopping_threshold = 0.7
    stopper.wait_count = 3
    companions.hold(trainer)
    companions.release(trainer)
    companions.give_back()
    assert stopper.stopping_threshold == 0.7
    assert stopper.wait_count == 3
    assert before["wait_count"] == 0


@pytest.mark.filterwarnings("ignore:The gates hardly moved")  # in so few steps
@pytest.mark.parametrize("interval", [1.0, 0.5])
def test_the_final_phase_is_judged_by_its_own_validations_alone(
    interval: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validations of the search are better, and with two per epoch the last of them is just over
    when the final phase begins in the middle of an epoch."""
    monkeypatch.setattr("lightning_jointprune.report.write_report", lambda record, path: path)
    per_epoch = round(1 / interval)
    phases = (0.05, 3.5 / 9)
    search = int(3.5 * per_epoch)
    values = [0.9] * search + [0.3 + 0.01 * number for number in range(9 * per_epoch - search)]
    stopper = lightning.pytorch.callbacks.EarlyStopping("acc", mode="max", patience=2)
    callback = JointPruningCallback(
        6, input="layer:input", axes="b j", phases=phases, dirpath=tmp_path
    )
    trainer = fit(
        lightning.pytorch,
        values,
        [callback, stopper],
        max_epochs=9,
        val_check_interval=interval,
    )
    assert trainer.current_epoch == 9
    assert stopper.wait_count == 0


# --- best checkpoints ----------------------------------------------------------------------------


def forget_at(pl: ModuleType, epoch: int) -> Any:
    return before_epochs(pl, lambda it: forget_best(it) if it.current_epoch == epoch else None)


def files(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.ckpt")}


@each_package
@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize(
    ("top", "left"),
    [(1, {"3"}), (2, {"2", "3"}), (3, {"2", "3", "4"}), (-1, {"0", "1", "2", "3", "4"})],
)
def test_after_forgetting_the_next_checkpoints_replace_the_best_so_far(
    pl: ModuleType, mode: str, top: int, left: set[str], tmp_path: Path
) -> None:
    values = [0.8, 0.9, 0.3, 0.5, 0.2]
    values = values if mode == "max" else [-value for value in values]
    checkpoint = pl.callbacks.ModelCheckpoint(
        tmp_path, "{epoch}", monitor="acc", mode=mode, save_top_k=top, auto_insert_metric_name=False
    )
    fit(pl, values, [checkpoint, forget_at(pl, 2)])
    assert files(tmp_path) == left
    assert Path(checkpoint.best_model_path).stem == "3"
    assert float(checkpoint.best_model_score) == pytest.approx(values[3])


@each_package
def test_forgotten_files_stay_until_they_are_replaced(pl: ModuleType, tmp_path: Path) -> None:
    checkpoint = pl.callbacks.ModelCheckpoint(
        tmp_path, "{epoch}", monitor="acc", mode="max", auto_insert_metric_name=False
    )
    seen = []

    def act(trainer: Any) -> None:
        if trainer.current_epoch == 2:
            forget_best(trainer)
        seen.append(files(tmp_path))

    fit(pl, [0.8, 0.9, 0.3], [checkpoint, before_epochs(pl, act)])
    assert seen == [set(), {"0"}, {"1"}]
    assert files(tmp_path) == {"2"}


@each_package
def test_checkpoints_without_a_metric_or_without_a_file_yet_are_left_alone(
    pl: ModuleType, tmp_path: Path
) -> None:
    last = pl.callbacks.ModelCheckpoint(tmp_path, "{epoch}", auto_insert_metric_name=False)
    fit(pl, [0.9, 0.8, 0.3], [last, forget_at(pl, 2)])
    assert Path(last.best_model_path).stem == "2"
    fresh = pl.callbacks.ModelCheckpoint(tmp_path, monitor="acc", mode="max")
    before = fresh.state_dict()
    forget_best(SimpleNamespace(callbacks=[fresh]))
    assert fresh.state_dict() == before
