"""Keeps right what others remember of a run: its best metric so far, and its average weights.

Before the final phase, a metric is that of another model, of all joints or of a mask that still
changes: it is no standard for the final phase. A metric of the training counts from the first step
of that phase, one of a validation from the first validation in it. Callbacks are recognised by the
name of their class, since Lightning comes as two packages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from copy import copy
from functools import partial
from inspect import signature
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from lightning_jointprune.run.trainer import of_kind

Hook = Callable[..., None]

# Callbacks that take all groups of an optimizer for the user's, with the hooks in which they do: to
# match them with the module's parameters, to number them, to give each a rate.
COUNTING = {
    "BaseFinetuning": ("on_fit_start", "on_train_epoch_start"),
    "LearningRateMonitor": ("on_train_start", "on_train_epoch_start", "on_train_batch_start"),
    "StochasticWeightAveraging": ("on_train_epoch_start",),
}
# Callbacks that report a metric to who compares runs, and the hooks in which they do.
REPORTING = {"PyTorchLightningPruningCallback": ("on_validation_end",)}
EXTREMES = {"MaxMetric", "MinMetric"}  # of torchmetrics: the best value so far
COUNTER = re.compile(r"num_\w+_epochs|\w+_counter")  # names of a scheduler's counters of values


def monitored(trainer: Any) -> list[tuple[str, bool]]:
    """Return the metrics that checkpoints and early stopping look at, with "higher is better"."""
    watchers = [*of_kind(trainer, "ModelCheckpoint"), *of_kind(trainer, "EarlyStopping")]
    return [(watcher.monitor, watcher.mode == "max") for watcher in watchers if watcher.monitor]


# --- hooks of other callbacks --------------------------------------------------------------------


def count_apart(trainer: Any, apart: Callable[[], AbstractContextManager[None]]) -> ExitStack:
    """Run the hooks of callbacks that count parameter groups within a context of ours.

    Args:
        trainer: whose callbacks they are.
        apart: makes the context, in which the optimizer has the user's groups alone.

    Returns:
        What gives the callbacks their own hooks back, when it is closed.
    """
    return _around(trainer, COUNTING, partial(_within, apart))


def report_if(trainer: Any, counts: Callable[[], bool]) -> ExitStack:
    """Run the hooks of callbacks that report a metric only when it counts.

    Args:
        trainer: whose callbacks they are.
        counts: tells whether a metric of now counts.

    Returns:
        What gives the callbacks their own hooks back, when it is closed.
    """
    return _around(trainer, REPORTING, partial(_only_if, counts))


def _around(
    trainer: Any, hooks: Mapping[str, Sequence[str]], wrap: Callable[[Hook], Hook]
) -> ExitStack:
    undo = ExitStack()
    for callback in trainer.callbacks:
        kinds = [parent.__name__ for parent in type(callback).__mro__]
        for hook in {hook for kind in kinds for hook in hooks.get(kind, ())}:
            state, own = vars(callback), getattr(callback, hook)
            if hook in state:
                undo.callback(state.__setitem__, hook, own)
            else:
                undo.callback(state.pop, hook, None)
            state[hook] = wrap(own)
    return undo


def _within(context: Callable[[], AbstractContextManager[None]], hook: Hook) -> Hook:
    def within(*args: Any, **kwargs: Any) -> None:
        with context():
            hook(*args, **kwargs)

    return within


def _only_if(condition: Callable[[], bool], hook: Hook) -> Hook:
    def only_if(*args: Any, **kwargs: Any) -> None:
        if condition():
            hook(*args, **kwargs)

    return only_if


# --- what is remembered --------------------------------------------------------------------------


class Companions:
    """Keeps everything that compares metrics from judging by one of before the final phase.

    Attributes:
        released: whether the final phase has begun, so that metrics of the training count.
        validated: whether a validation of the final phase has begun.
        stale: the latest value of each metric that was measured before the final phase alone, in
            units of the metric.
        saved: of checkpoints without a metric, by their state key, the latest file of before and
            the optimizer step of then.
    """

    def __init__(self) -> None:
        self.released = self.validated = False
        self.stale: dict[str, float] = {}
        self.saved: dict[str, tuple[str, int]] = {}
        self._thresholds: list[tuple[Any, float | None]] = []  # of early stopping that is held
        self._schedulers: list[tuple[Any, str | None]] = []

    def counts(self, monitor: str | None) -> bool:
        """Return whether the latest value of a metric is of the final phase alone."""
        return self.released and monitor not in self.stale

    def watch(self, trainer: Any) -> None:
        """Find the schedulers that compare a metric: call when there may be new ones."""
        self._schedulers = metric_schedulers(trainer)

    def hold(self, trainer: Any, searching: bool) -> None:
        """Let nothing count that is not of the final phase: call before anything can judge.

        Args:
            trainer: in a fit.
            searching: whether the mask changes, for which schedulers are held; in the warm-up they
                may compare.
        """
        if self.released and not self.stale:
            return
        for stopper in of_kind(trainer, "EarlyStopping"):
            if not self.counts(stopper.monitor):
                self._hold(stopper)
        for scheduler, monitor in self._schedulers:
            if self._is_held(scheduler, monitor, searching):
                forget_metric(scheduler)

    def release(self, trainer: Any) -> None:
        """Let the final phase begin: what is remembered is forgotten, once."""
        if self.released:
            return
        self.watch(trainer)
        self.hold(trainer, searching=True)
        self.released = True
        forget_means(trainer)
        forget_extremes(trainer.lightning_module)
        restart_averages(trainer)
        forget_best(trainer)
        self.saved = {
            checkpoint.state_key: (checkpoint.best_model_path, trainer.global_step)
            for checkpoint in of_kind(trainer, "ModelCheckpoint")
            if checkpoint.monitor is None
        }
        self.give_back(but=self.stale)

    def expect(self, trainer: Any, searching: bool) -> None:
        """Let what a validation is about to measure count, if it is of the final phase."""
        self.hold(trainer, searching)
        if self.released:
            self.validated = True
            fill_averages(trainer)
            forget_best(trainer, self.stale)
            self.give_back()

    def end_epoch(self, trainer: Any) -> None:
        """Let nothing of before the final phase outlast the run: call when an epoch has ended."""
        if self.released:
            fill_averages(trainer)

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Take what a validation measured."""
        if self.released:
            self.stale = {name: old for name, old in self.stale.items() if name not in metrics}
        else:
            self.stale.update(metrics)

    def give_back(self, but: Container[str] = ()) -> None:
        """Give early stopping the thresholds back that it had.

        Args:
            but: metrics whose early stopping has to wait.
        """
        held = self._thresholds
        self._thresholds = []
        for stopper, threshold in held:
            if stopper.monitor in but:
                self._thresholds.append((stopper, threshold))
            else:
                stopper.stopping_threshold = threshold

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes during the run, as plain values."""
        names = ("released", "validated", "stale", "saved")
        return {name: copy(getattr(self, name)) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.released = state["released"]
        self.validated = state.get("validated", self.released)  # older ones have no more than one
        self.stale, self.saved = dict(state.get("stale", {})), dict(state.get("saved", {}))

    def _hold(self, stopper: Any) -> None:
        if all(stopper is not held for held, _ in self._thresholds):
            self._thresholds.append((stopper, stopper.stopping_threshold))
        stopper.wait_count = 0
        stopper.best_score = torch.tensor(_worst(stopper.mode))
        stopper.stopping_threshold = None

    def _is_held(self, scheduler: Any, monitor: str | None, searching: bool) -> bool:
        """Return whether a scheduler compares with a metric that does not count."""
        if not self.released:
            return searching
        if monitor is not None:
            return monitor in self.stale
        best = scheduler.best  # stepped by hand: by its value alone can be told where it is from
        return best is not None and float(best) in self.stale.values()


def forget_best(trainer: Any, monitors: Container[str] | None = None) -> None:
    """Make every best checkpoint so far the first to be replaced.

    The files stay until a checkpoint of the final phase takes their place, so a run that is cut off
    in between can still be resumed from them.

    Args:
        trainer: whose checkpoints they are.
        monitors: the metrics by which they are the best; None means all.
    """
    for checkpoint in of_kind(trainer, "ModelCheckpoint"):
        if checkpoint.monitor is None or (
            monitors is not None and checkpoint.monitor not in monitors
        ):
            continue
        worst = torch.tensor(_worst(checkpoint.mode))
        checkpoint.best_k_models = dict.fromkeys(checkpoint.best_k_models, worst)
        if checkpoint.best_k_models:
            checkpoint.best_model_score = checkpoint.kth_value = worst


def save_missing(trainer: Any, saved: Mapping[str, tuple[str, int]]) -> list[str]:
    """Save the model for every checkpoint that has none of the final phase but earlier ones.

    Afterwards the best ones are of the final phase alone. Files of before stay.

    Args:
        trainer: at the end of its fit.
        saved: as `Companions.saved`.

    Returns:
        What to say of each that was saved.
    """
    said = []
    for checkpoint in of_kind(trainer, "ModelCheckpoint"):
        metrics = checkpoint._monitor_candidates(trainer)
        measured = checkpoint.monitor is None or checkpoint.monitor in metrics
        if measured and _is_behind(checkpoint, saved):
            checkpoint._save_topk_checkpoint(trainer, metrics)
            checkpoint._save_last_checkpoint(trainer, metrics)
            said.append(
                f"None of the checkpoints with monitor={checkpoint.monitor!r} fell in the final "
                f"phase, so the model at its end was saved as {checkpoint.best_model_path}. For a "
                "choice of several, let ModelCheckpoint save more often."
            )
        best, worst = checkpoint.best_model_path, _worst(checkpoint.mode)
        scores = checkpoint.best_k_models.items()
        checkpoint.best_k_models = {
            path: score for path, score in scores if float(score) != worst or path == best
        }
    return said


def _is_behind(checkpoint: Any, saved: Mapping[str, tuple[str, int]]) -> bool:
    """Return whether all that a checkpoint callback has saved is of before the final phase."""
    if checkpoint.monitor is None:
        path, step = saved.get(checkpoint.state_key, ("", 0))
        if path == "" or checkpoint.best_model_path != path:
            return False
        renamed = "{" in (checkpoint.filename or "{epoch}")  # a name may always be the same
        return renamed or bool(checkpoint._last_global_step_saved <= step)
    scores = checkpoint.best_k_models.values()
    return bool(scores) and all(float(score) == _worst(checkpoint.mode) for score in scores)


def forget_means(trainer: Any) -> None:
    """Let what the training logs as the mean of an epoch begin anew with this step."""
    trainer.fit_loop.epoch_loop._results.reset()


def forget_extremes(module: nn.Module) -> None:
    """Let metrics that are the best value so far begin anew."""
    parts: Iterable[Any] = module.modules()
    for part in parts:
        if EXTREMES.intersection(parent.__name__ for parent in type(part).__mro__):
            part.reset()


def restart_averages(trainer: Any) -> None:
    """Let averages of weights begin anew: those so far were trained with other joints."""
    for _, averaged in _averages(trainer):
        averaged.zero_()
    fill_averages(trainer)


def fill_averages(trainer: Any) -> None:
    """Make every average of no weights the weights of now, which is what it will begin with.

    It may be asked for before: by a validation, a checkpoint, or a run that ends.
    """
    module = trainer.lightning_module
    give_buffers(trainer)
    for average, averaged in _averages(trainer):
        if averaged.item() == 0:
            ours, theirs = (chain(it.parameters(), it.buffers()) for it in (average, module))
            for mine, new in zip(ours, theirs, strict=True):
                mine.data.copy_(new.data)


def give_buffers(trainer: Any) -> None:
    """Give averages the buffers that a layer in the module's own forward has learned since.

    Lightning copies parameters and buffers by their place in a list, which they would shift.
    """
    for average, _ in _averages(trainer):
        known = dict(average.named_buffers())
        for name, buffer in trainer.lightning_module.named_buffers():
            if name not in known or known[name].shape != buffer.shape:  # a rung more
                path, _, last = name.rpartition(".")
                setattr(average.get_submodule(path), last, buffer.clone())


def _averages(trainer: Any) -> Iterator[tuple[nn.Module, Tensor]]:
    """Return the average models of callbacks, each with the number of weights in it."""
    for callback in of_kind(trainer, "WeightAveraging"):
        yield callback._average_model.module, callback._average_model.n_averaged
    for callback in of_kind(trainer, "StochasticWeightAveraging"):
        if callback.n_averaged is not None:  # it has begun
            yield callback._average_model, callback.n_averaged


def forget_metric(scheduler: Any) -> None:
    """Let a scheduler compare as if it were new; the rates stay.

    Args:
        scheduler: one of `metric_schedulers`.
    """
    groups = getattr(getattr(scheduler, "optimizer", None), "param_groups", ())
    rates = [group["lr"] for group in groups]
    if callable(getattr(scheduler, "_reset", None)):
        scheduler._reset()
    else:
        scheduler.best = _worst(scheduler.mode)
        vars(scheduler).update({name: 0 for name in vars(scheduler) if COUNTER.fullmatch(name)})
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate


def metric_schedulers(trainer: Any) -> list[tuple[Any, str | None]]:
    """Find what compares a metric with its best so far, as `ReduceLROnPlateau` does.

    These are the trainer's schedulers and what the module and the callbacks hold, also in a list or
    within another scheduler. They are told by what they have: `best`, `mode` and `step`.

    Args:
        trainer: with its optimizers set up.

    Returns:
        Each with the name of its metric; None where it is stepped by hand.
    """
    module = trainer.lightning_module
    found: dict[int, tuple[Any, str | None]] = {}
    for config in trainer.lr_scheduler_configs:
        monitor = config.monitor if module.automatic_optimization else None
        for scheduler in _comparing([config.scheduler]):
            found.setdefault(id(scheduler), (scheduler, monitor))
    for owner in (module, *trainer.callbacks):
        for scheduler in _comparing(vars(owner).values()):
            found.setdefault(id(scheduler), (scheduler, None))
    return list(found.values())


def _comparing(values: Iterable[Any]) -> Iterator[Any]:
    for value in chain.from_iterable(map(_members, values)):
        step, state = getattr(type(value), "step", None), getattr(value, "__dict__", {})
        if isinstance(value, nn.Module) or not callable(step):
            continue
        known = isinstance(state.get("best", ""), int | float | Tensor | None)
        if known and state.get("mode") in ("min", "max") and len(signature(step).parameters) > 1:
            yield value
        elif "optimizer" in state:  # a scheduler around others
            yield from _comparing(inner for name, inner in state.items() if name != "optimizer")


def _members(value: Any) -> Iterable[Any]:
    """Return what a value holds if it is a plain container, else the value alone."""
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else [value]


def _worst(mode: str) -> float:
    return -torch.inf if mode == "max" else torch.inf
