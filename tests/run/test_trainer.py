"""A trainer is asked, with the real ones of both packages."""

from __future__ import annotations

import math
import re
import warnings
from types import ModuleType, SimpleNamespace
from typing import Any

import lightning.pytorch
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from lightning_jointprune import (
    Fewest,
    JointPruningCallback,
    JointPruningLayer,
    MetricFloor,
    Price,
)
from lightning_jointprune.run.trainer import (
    Plan,
    affordable_validations,
    check_alone,
    check_metric,
    check_run,
    check_validated,
    measured,
    of_kind,
    planned,
    planned_steps,
    progress,
    runs_elsewhere,
    search_doubt,
    shorter_validations,
    stream_doubt,
    validate_again,
    validation_doubt,
    validation_samples,
    writes_files,
)
from lightning_jointprune.search.budgets import make_controller
from tests.run.tiny_fit import BATCHES, each_package, fit

PAIRS = torch.randn(7, 6)
PRICE, FLOOR, DROP, CURVE = (
    make_controller(budget, JointPruningLayer(6))
    for budget in (Price(), MetricFloor("acc", 0.8), MetricFloor("acc", drop=0.1), Fewest("acc"))
)


LOADERS = ("data", "validation")


class Endless(IterableDataset):
    """Has no known length, though it ends."""

    def __iter__(self):
        return iter(torch.randn(BATCHES, 2, 6))


@given(st.integers(1, 12), st.floats(0.0, 0.5), st.floats(0.55, 0.9))
def test_a_stream_of_few_epochs_is_a_doubt_with_as_many_as_have_all_phases(
    epochs: int, first: float, last: float
) -> None:
    def has_all(total: int) -> bool:
        shares = [round(epoch / total, 9) for epoch in range(total)]
        phases = {"warmup" if p < first else "search" if p < last else "final" for p in shares}
        return {"search", "final"} <= phases

    def doubt(total: int, **more: Any) -> str | None:
        known = {"max_epochs": total, "max_steps": -1, "num_training_batches": math.inf, **more}
        return stream_doubt(SimpleNamespace(**known), 0.0, (first, last))

    said = doubt(epochs)
    assert (said is None) == has_all(epochs)
    if said is not None:
        (typed,) = map(int, re.findall(r"Trainer\(max_epochs=(\d+)\)", said))
        assert has_all(typed)
        assert not any(has_all(total) for total in range(epochs, typed))
    assert doubt(epochs, num_training_batches=8) is doubt(epochs, max_steps=9) is None


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


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize(
    "stream", [(), ("data",), ("validation",), ("data", "validation")], ids=str
)
def test_validations_that_are_affordable_are_those_of_a_share_of_the_run(
    stream: tuple[str, ...], accumulated: int
) -> None:
    """Of 40 epochs of 4 batches 5 % are 8, or 24 without a backward pass: 6 validations of 4."""
    afforded = []

    class Watch(lightning.pytorch.Callback):
        def on_train_epoch_start(self, trainer, pl_module) -> None:
            if trainer.current_epoch in (1, 20, 39):
                afforded.append(affordable_validations(trainer, 0.05))

    known = {name: DataLoader(torch.randn(BATCHES, 2, 6), batch_size=None) for name in LOADERS}
    data = {**known, **{name: DataLoader(Endless(), batch_size=None) for name in stream}}
    more = {"accumulate_grad_batches": accumulated, "max_epochs": 40}
    fit(lightning.pytorch, [0.5] * 40 * BATCHES, [Watch()], **data, **more)
    assert afforded == pytest.approx([6, 6, 6])


def loop_of(*loaders: Any, latest: int = 0) -> SimpleNamespace:
    """Return what `shorter_validations` needs of a trainer; streams have no length."""
    lengths = [len(x) if hasattr(x.dataset, "__len__") else math.inf for x in loaders]
    loop = SimpleNamespace(
        setup_data=lambda: None,
        _max_batches=lengths,
        _combined_loader=SimpleNamespace(flattened=list(loaders)),
        batch_progress=SimpleNamespace(current=SimpleNamespace(completed=latest)),
    )
    epoch = SimpleNamespace(epoch_loop=SimpleNamespace(val_loop=loop))
    return SimpleNamespace(fit_loop=epoch, strategy=SimpleNamespace(broadcast=lambda x: x))


def sized(samples: int, size: int = 4, sampler: bool = False) -> DataLoader:
    data = torch.zeros(samples, 1)
    if not sampler:
        return DataLoader(data, batch_size=size)
    batches = BatchSampler(SequentialSampler(data), size, drop_last=False)
    return DataLoader(data, sampler=batches, batch_size=None)


@pytest.mark.parametrize(
    ("loaders", "share", "latest", "taken", "of_all"),
    [
        ([sized(16)], 1.0, 0, None, None),
        ([sized(16)], 0.99, 0, [3], 4),
        ([sized(25)], 0.9, 0, [5], 7),  # 6.25 whole batches
        ([sized(25, sampler=True)], 0.9, 0, [5], 7),
        ([sized(16), sized(8)], 0.5, 0, [2, 1], 6),
        ([sized(16)], 0.01, 0, [1], 4),
        ([DataLoader(Endless(), batch_size=None)], 0.5, 8, [4], 8),
        ([sized(16), DataLoader(Endless(), batch_size=None)], 0.5, 12, [2, 4], 12),
    ],
)
def test_a_shorter_validation_has_a_share_of_the_samples_and_is_whole_again_afterwards(
    loaders: list[Any], share: float, latest: int, taken: list[int] | None, of_all: int | None
) -> None:
    trainer = loop_of(*loaders, latest=latest)
    loop = trainer.fit_loop.epoch_loop.val_loop
    before = loop._max_batches
    with shorter_validations(trainer, share) as part:
        assert loop._max_batches == (before if taken is None else taken)
        assert part == (None if taken is None else (sum(taken), of_all))
    assert loop._max_batches is before


# --- validations that are planned ---------------------------------------------------------------


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    epoch, accumulated = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    epochs, steps = draw(st.integers(0, 9)), draw(st.integers(0, 40))
    epochs = epochs if steps else max(epochs, 1)
    every = draw(st.none() | st.integers(1, 10))
    interval = draw(st.integers(1, epoch if every else 60))
    taken = [at for at, _ in enumerate(steps_before(epoch, accumulated, epochs or 41)) if at]
    total = epochs * epoch if epochs else len(taken)
    if steps:
        before = steps_before(epoch, accumulated, epochs or 41)
        total = next((at for at, done in enumerate(before) if done == steps), total)
    return Plan(epoch, total, steps, accumulated, epochs, every, interval)


def steps_before(epoch: int, accumulated: int, epochs: int) -> list[int]:
    """The optimizer steps before each batch and after the last, one after another."""
    done = [0]
    for batch in [batch for _ in range(epochs) for batch in range(epoch)]:
        last = batch + 1 == epoch  # Lightning steps with the last batch of an epoch
        done.append(done[-1] + (last or (batch + 1) % accumulated == 0))
    return done


def validated(plan: Plan) -> list[int]:
    """The batches that a validation follows, as Lightning decides after each."""
    found = []
    for batch in range(plan.total):
        number = batch if plan.every is None else batch % plan.epoch
        due = plan.every is None or (batch // plan.epoch + 1) % plan.every == 0
        if due and (number + 1) % plan.interval == 0:
            found.append(batch)
    return found


@given(plans(), st.floats(0.0, 0.99), st.floats(0.01, 0.99))
def test_the_doubt_about_validations_is_that_of_counting_them(
    plan: Plan, start: float, end: float
) -> None:
    steps = steps_before(plan.epoch, plan.accumulated, plan.epochs or 41)
    shares = []
    for batch in range(plan.total):
        by_steps = steps[batch] / plan.steps if plan.steps else 0.0
        by_epochs = batch / (plan.epochs * plan.epoch) if plan.epochs else 0.0
        shares.append(max(by_steps, by_epochs))
    assert [plan.progress(batch) for batch in range(plan.total)] == pytest.approx(shares)
    assert list(plan.validated()) == validated(plan)
    assert plan.last_validated() == max(validated(plan), default=-1)
    trainer = SimpleNamespace(
        num_training_batches=plan.epoch,
        val_check_batch=plan.interval,
        val_check_interval=plan.interval,
        check_val_every_n_epoch=plan.every,
        max_steps=plan.steps or -1,
        max_epochs=plan.epochs or -1,
        accumulate_grad_batches=plan.accumulated,
        lightning_module=SimpleNamespace(automatic_optimization=True),
        enable_validation=True,
        fast_dev_run=False,
    )
    assert planned(trainer) == plan
    shares = [round((share - start) / (1.0 - start), 9) for share in shares]
    final = [batch for batch in range(plan.total) if shares[batch] >= end]
    doubt = validation_doubt(trainer, start, end)
    assert (doubt is None) == (not final or bool({*final} & {*validated(plan)}))
    if doubt is not None:
        typed = dict(re.findall(r"(\w+)=(\w+)", doubt[doubt.index("pass Trainer(") :]))
        every = typed["check_val_every_n_epoch"]
        new = {"every": None if every == "None" else int(every)}
        if "val_check_interval" in typed:
            new["interval"] = int(typed["val_check_interval"])
        assert {*final} & {*validated(plan._replace(**new))}
    warmup, search = (
        sum(low <= shares[batch] < high for batch in validated(plan))
        for low, high in ((-math.inf, end / 2), (end / 2, end))
    )
    for asked, needed in ((FLOOR, 0), (DROP, 1), (PRICE, 0)):
        doubt = search_doubt(trainer, start, (end / 2, end), asked)
        assert (doubt is None) == (asked is PRICE or (warmup >= needed and search >= 10))
        if doubt is not None:
            assert f"plans {f'{warmup} and ' * needed}{search}." in doubt


def test_the_interval_to_type_gives_a_floor_its_validations() -> None:
    plan = {"num_training_batches": 100, "max_epochs": 10, "max_steps": -1}
    trainer = SimpleNamespace(
        **plan,
        val_check_batch=100,
        check_val_every_n_epoch=1,
        accumulate_grad_batches=1,
        lightning_module=SimpleNamespace(automatic_optimization=True),
    )
    doubt = search_doubt(trainer, 0.0, (0.1, 0.6), FLOOR)
    assert doubt is not None
    assert "at least 10 in the search, but this run plans 5." in doubt
    interval = int(re.findall(r"val_check_interval=(\d+)", doubt)[0])
    assert interval == 50
    assert "val_check_interval=60," in str(search_doubt(trainer, 0.0, (0.0, 0.6), FLOOR))
    assert "val_check_interval=20," in str(search_doubt(trainer, 0.0, (0.02, 0.6), DROP))
    trainer.val_check_batch, trainer.check_val_every_n_epoch = interval, None
    assert search_doubt(trainer, 0.0, (0.1, 0.6), FLOOR) is None


# --- checks before a run -------------------------------------------------------------------------


@each_package
def test_a_run_without_an_end_is_refused_with_what_ends_it(pl: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"run with an end.*max_epochs=-1 .*Pass Trainer\(max_ep"):
        check_run(pl.Trainer(max_epochs=-1, logger=False))
    for ending in ({"max_epochs": 3}, {"max_steps": 9}, {}, {"fast_dev_run": True}):
        check_run(pl.Trainer(**{"logger": False, "accelerator": "cpu", **ending}))


@each_package
@pytest.mark.parametrize(
    ("strategy", "elsewhere"),
    [("auto", False), ("ddp", False), ("ddp_fork", True), ("ddp_spawn", True)],
)
def test_a_launcher_that_starts_copies_is_told_from_one_that_starts_the_script(
    pl: ModuleType, strategy: str, elsewhere: bool
) -> None:
    trainer = pl.Trainer(accelerator="cpu", strategy=strategy, devices=1, logger=False)
    assert runs_elsewhere(trainer) is elsewhere


def test_a_launcher_of_another_package_starts_copies_too() -> None:
    launcher = type("_RayLauncher", (), {})()
    assert runs_elsewhere(SimpleNamespace(strategy=SimpleNamespace(launcher=launcher)))


def test_a_floor_needs_a_validation() -> None:
    trainer = SimpleNamespace(enable_validation=False)
    check_validated(trainer, PRICE)
    with pytest.raises(ValueError, match="validation that logs 'acc' for MetricFloor but this run"):
        check_validated(trainer, FLOOR)
    trainer.enable_validation = True
    check_validated(trainer, FLOOR)


def test_a_floors_metric_that_was_not_logged_is_refused_with_what_was() -> None:
    with pytest.raises(ValueError, match=r"log 'acc' .* it logged loss, f1\. .*self\.log\('acc'"):
        check_metric(FLOOR, {"loss": 1.0, "f1": 0.5}, sanity=True)
    with pytest.raises(ValueError, match=r"log 'acc' .* it logged nothing"):
        check_metric(FLOOR, {}, sanity=False)
    check_metric(FLOOR, {}, sanity=True)  # some models log nothing in the sanity check
    check_metric(FLOOR, {"acc": 0.5}, sanity=False)
    with pytest.raises(ValueError, match="log 'acc' for MetricFloor but it logged loss"):
        check_metric(FLOOR, {"loss": 1.0}, sanity=False, seen=True)
    with pytest.raises(ValueError, match="log 'acc' for Fewest but it logged loss"):
        check_metric(CURVE, {"loss": 1.0}, sanity=False)
    check_metric(CURVE, {"loss": 1.0}, sanity=False, seen=True)  # it is measured when it is needed


def test_two_callbacks_on_one_input_are_refused_and_on_two_are_not() -> None:
    first, second, other = (JointPruningCallback(6, input=name) for name in ("x", "x", "y"))
    plain = torch.nn.Linear(2, 2)
    check_alone(SimpleNamespace(lightning_module=plain, callbacks=[first, other]), first.state_key)
    both = SimpleNamespace(lightning_module=plain, callbacks=[first, second, other])
    message = r"one callback per skeleton input but got 2 of .*'x'.*own"
    with pytest.raises(ValueError, match=message):
        check_alone(both, first.state_key)


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


def in_fit(**given: Any) -> SimpleNamespace:
    metrics = ("callback_metrics", "logged_metrics", "progress_bar_metrics")
    return SimpleNamespace(
        **{name: {} for name in metrics},
        loggers=[],
        strategy=SimpleNamespace(broadcast=lambda value: value),
        _logger_connector=SimpleNamespace(_first_loop_iter=True),
        **given,
    )


@pytest.mark.parametrize("first", [True, False])
def test_the_first_process_alone_warns_that_a_rung_could_not_be_validated(first: bool) -> None:
    def fail() -> None:
        raise RuntimeError("disk full")

    loop = SimpleNamespace(epoch_loop=SimpleNamespace(val_loop=SimpleNamespace(run=fail)))
    trainer = in_fit(callbacks=["theirs"], fit_loop=loop, is_global_zero=first)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert validate_again(trainer, None) == {}
    assert ["disk full" in str(warning.message) for warning in told] == [True] * first
    assert trainer.callbacks == ["theirs"]


@each_package
def test_a_bar_with_a_thread_stays_among_the_callbacks_of_a_silent_validation_and_shows_none(
    pl: ModuleType,
) -> None:
    """The thread asserts that it is there, ten times a second."""
    bar, heard = pl.callbacks.RichProgressBar(), []
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(val_loop=SimpleNamespace()))
    theirs = [pl.Callback(), bar]
    trainer = in_fit(callbacks=theirs, fit_loop=loop)
    loop.epoch_loop.val_loop.run = lambda: heard.append((trainer.callbacks, bar.is_enabled))
    validate_again(trainer, None)
    assert heard == [([bar], False)]
    assert trainer.callbacks == theirs
    assert bar.is_enabled
