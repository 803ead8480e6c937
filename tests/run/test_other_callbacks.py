"""Other callbacks judge the final phase alone, with the real ones of both packages."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import lightning.pytorch
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau
from transformers import optimization

from lightning_jointprune import JointPruningCallback, Price
from lightning_jointprune.run.other_callbacks import (
    Companions,
    forget_best,
    forget_metric,
    metric_schedulers,
    monitored,
)
from tests.run.tiny_fit import before_epochs, each_package, fit


@each_package
def test_the_metrics_that_others_monitor_are_told_with_their_direction(pl: ModuleType) -> None:
    checkpoints = [
        pl.callbacks.ModelCheckpoint(monitor="acc", mode="max"),
        pl.callbacks.ModelCheckpoint(monitor=None, filename="last"),
    ]
    stopper = pl.callbacks.EarlyStopping("val_loss", mode="min")
    trainer = SimpleNamespace(callbacks=[pl.callbacks.LearningRateMonitor(), stopper, *checkpoints])
    assert monitored(trainer) == [("acc", True), ("val_loss", False)]


def started(*callbacks: Any, **module: Any) -> Any:
    """Return a trainer that has begun to fit a module with these attributes."""
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(_results=Results()))
    return SimpleNamespace(
        callbacks=list(callbacks),
        lightning_module=SimpleNamespace(automatic_optimization=True, modules=list, **module),
        lr_scheduler_configs=[],
        fit_loop=loop,
    )


class Results:
    """Stands in for what an epoch has accumulated so far."""

    def reset(self) -> None:
        """Forget it."""


# --- early stopping ------------------------------------------------------------------------------

WORSE = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]


def hold_until(pl: ModuleType, epoch: int) -> Any:
    companions = Companions()

    def act(trainer: Any) -> None:
        companions.hold(trainer, searching=True)
        if trainer.current_epoch == epoch:
            companions.release(trainer)

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
    trainer = started(stopper)
    companions = Companions()
    companions.give_back()
    companions.hold(trainer, searching=False)
    companions.release(trainer)
    stopper.stopping_threshold = 0.7
    stopper.wait_count = 3
    companions.hold(trainer, searching=False)
    companions.release(trainer)
    companions.give_back()
    assert stopper.stopping_threshold == 0.7
    assert stopper.wait_count == 3
    assert before["wait_count"] == 0


@pytest.mark.filterwarnings("ignore:The gates hardly moved")  # in so few steps
@pytest.mark.filterwarnings("ignore:The search had .* steps")
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
        6, input="layer:input", axes="b j", budget=Price(), phases=phases, dirpath=tmp_path
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


# --- schedulers that compare ---------------------------------------------------------------------

MADE = {
    "ReduceLROnPlateau": lambda it: ReduceLROnPlateau(it, patience=1, cooldown=2, factor=0.5),
    "GreedyLR": lambda it: optimization.GreedyLR(
        it, patience=1, cooldown=1, warmup=1, factor=0.5, smooth=True, window_size=2, min_lr=1e-6
    ),
}


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
@given(st.lists(st.floats(0.0, 1.0), max_size=12), st.lists(st.floats(0.0, 9.0), max_size=12))
def test_a_scheduler_that_forgot_is_a_new_one_at_the_rate_of_now(
    made: Any, before: list[float], after: list[float]
) -> None:
    used = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = made(used)
    for value in before:
        scheduler.step(value)
    rate = used.param_groups[0]["lr"]
    forget_metric(scheduler)
    assert used.param_groups[0]["lr"] == rate
    new = SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    other = made(new)
    for value in after:
        scheduler.step(value)
        other.step(value)
        assert used.param_groups == [
            {**new.param_groups[0], "params": used.param_groups[0]["params"]}
        ]
    assert scheduler.best == other.best


class Helper:
    """Steps, and has a best and a mode; what it is for is another question."""

    def __init__(self, best: Any, mode: str = "min") -> None:
        self.best, self.mode = best, mode

    def step(self, metrics: Any) -> None:
        """Take a metric."""


class Annealing(Helper):
    """Takes no metric."""

    def step(self) -> None:  # type: ignore[override]
        """Go on."""


def test_what_compares_a_metric_is_told_by_what_it_has_and_nothing_else_is_touched() -> None:
    found = [Helper(None), Helper(0.5, "max"), Helper(torch.tensor(0.5))]
    others = [Helper({"weights": 1}), Helper("best.ckpt"), Helper(0.5, "cosine"), Annealing(0.5)]
    trainer = started(one=found[0], several=found[1:], named={"it": found[1]}, others=others)
    assert [it for it, _ in metric_schedulers(trainer)] == found
    for helper in found:
        forget_metric(helper)
    assert [helper.best for helper in found] == [torch.inf, -torch.inf, torch.inf]
