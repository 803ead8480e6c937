"""Asks a trainer where its run is, what it measured and whether it can prune joints.

Callbacks are recognised by the name of their class, since Lightning comes as two packages.
"""

from __future__ import annotations

import math
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_jointprune.record.files import PathLike, RunFolder
from lightning_jointprune.search.controller import Controller
from lightning_jointprune.search.phases import NO_SEARCH

MANY = 1_000_000  # validations, where the run has no end that could be counted


def writes_files(trainer: Any, alone: bool = False) -> bool:
    """Return whether this run is meant to leave files, which a quick trial is not.

    Args:
        trainer: of the run.
        alone: whether to ask for the one process that writes them, not for the run.
    """
    return not trainer.fast_dev_run and (not alone or trainer.is_global_zero)


def run_folder(trainer: Any, dirpath: PathLike | None, telling: str) -> RunFolder:
    """Return the folder of a run's files: the one that is given, else the logger's."""
    return RunFolder(dirpath or trainer.log_dir or trainer.default_root_dir, telling)


def builds_later(module: Any) -> bool:
    """Return whether a module may make layers after its `__init__`, where Lightning lets it."""
    base = next((kind for kind in type(module).__mro__ if kind.__name__ == "LightningModule"), None)
    hooks = ("setup", "configure_model", "configure_sharded_model")
    own = [getattr(type(module), hook, None) is not getattr(base, hook, None) for hook in hooks]
    return any(own) or not vars(module).keys().isdisjoint(hooks)


def check_alone(trainer: Any, state_key: str) -> None:
    """Make sure that nothing else prunes the same input.

    Raises:
        ValueError: if another callback has the same state key.
    """
    twins = [callback for callback in trainer.callbacks if callback.state_key == state_key]
    if len(twins) > 1:
        raise ValueError(
            f"Expected one callback per skeleton input but got {len(twins)} of {state_key}. Remove "
            "one, or give each its own input=."
        )


def check_run(trainer: Any) -> None:
    """Make sure that the run has an end, of which the phases are fractions, in this process.

    Raises:
        ValueError: if the run has no end, or if the strategy cannot do with the gates in the
            optimizer, or trains in other processes.
    """
    if trainer.max_epochs == -1 and trainer.max_steps == -1 and not trainer.fast_dev_run:
        got = (
            "max_time without max_epochs or"
            if of_kind(trainer, "Timer")
            else "max_epochs=-1 without"
        )
        raise ValueError(
            "Expected a run with an end, since the phases are fractions of it, but got "
            f"{got} max_steps. Pass Trainer(max_epochs=...) or max_steps=..."
        )
    strategy = type(trainer.strategy).__name__
    if any(word in strategy for word in ("FSDP", "DeepSpeed", "ModelParallel")):
        raise ValueError(
            f"Expected a strategy that keeps parameters whole but got {strategy}, whose optimizer "
            'cannot take the gates. Pass Trainer(strategy="ddp").'
        )
    if runs_elsewhere(trainer):
        raise ValueError(
            "Expected a strategy that trains in the process of the script but got "
            f"{_named(trainer)}, which trains copies in processes of their own. Lightning brings "
            "back their weights alone, so the model would be left without its mask, and the "
            'callback without its selection. Pass Trainer(strategy="ddp"), or devices=1 in a '
            "notebook."
        )


def check_validated(trainer: Any, budget: Controller) -> None:
    """Make sure that a run is validated if the budget needs that.

    Raises:
        ValueError: if it is not.
    """
    if (budget.metric is not None or budget.compared) and not trainer.enable_validation:
        raise ValueError(
            f"Expected a validation that logs {budget.metric or 'a metric'!r} for "
            f"{budget.budget_name} but this run has none. Pass validation data, or another budget."
        )


def runs_elsewhere(trainer: Any) -> bool:
    """Return whether the trainer is a copy, in a process that ends when it has done its work.

    Launchers that start the script once more in each process, and none, leave the script its own.
    """
    kinds = [parent.__name__ for parent in type(trainer.strategy.launcher).__mro__]
    return trainer.strategy.launcher is not None and "_SubprocessScriptLauncher" not in kinds


def unlearned(trainer: Any) -> str:
    """Return the warning about an evaluation elsewhere, in which the callback learned the mask."""
    return (
        f"{_named(trainer)} evaluates in other processes. The metrics are those of the kept "
        "joints, but the callback does not bring these back: its selection after this call is the "
        "one of before. Take the mask from analyze_pruning(model) or load_pruned(...), or pass "
        'Trainer(strategy="ddp").'
    )


def _named(trainer: Any) -> str:
    """Return the strategy's name and how it starts processes."""
    launcher = type(trainer.strategy.launcher).__name__.lstrip("_")
    how = getattr(trainer.strategy, "_start_method", None) or launcher
    return f"{type(trainer.strategy).__name__} ({how})"


def check_metric(
    budget: Controller, logged: Mapping[str, float], sanity: bool, seen: bool = False
) -> None:
    """Make sure that a validation logged the metric that the budget needs, if it needs one.

    Args:
        budget: at work.
        logged: what the validation logged.
        sanity: whether it was the sanity check, in which some models log nothing at all.
        seen: whether an earlier validation logged the metric; who compares numbers of joints has
            validations of its own, and needs no other one.

    Raises:
        ValueError: if the metric is not among what was logged.
    """
    metric = budget.metric
    if seen and budget.compared:
        return
    if metric is not None and metric not in logged and (logged or not sanity):
        raise ValueError(
            f"Expected the validation to log {metric!r} for {budget.budget_name} but it logged "
            f"{', '.join(logged) or 'nothing'}. Name one of these, or log the metric with "
            f"self.log({metric!r}, value)."
        )


def check_comparable(budget: Controller, logged: Mapping[str, float], quoted: str | None) -> None:
    """Make sure that numbers of joints can be compared, if the budget compares some.

    Args:
        budget: at work.
        logged: what a validation logged.
        quoted: the metric to go by; None if it is not known.

    Raises:
        ValueError: if nothing says which of the metrics to go by, or if there is none.
    """
    if budget.compared and quoted is None:
        raise ValueError(
            f"Expected the metric to compare numbers of joints by but the validation logged "
            f"{', '.join(logged) or 'nothing'}, of which none is monitored or in the progress bar. "
            f"Pass {budget.budget_name}({next(iter(logged), 'val_acc')!r}), or budget=Price()."
        )


def progress(trainer: Any, batch_idx: int) -> float:
    """Return the fraction of the run that is done before this batch, by epochs or by steps."""
    fractions = [0.0]
    if trainer.max_steps > 0:
        fractions.append(trainer.global_step / trainer.max_steps)
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        batches = trainer.num_training_batches
        in_epoch = batch_idx / batches if batches != math.inf else 0.0
        fractions.append((trainer.current_epoch + in_epoch) / trainer.max_epochs)
    return min(1.0, max(fractions))


def progress_at_end(trainer: Any) -> float:
    """Return the fraction of the run that was done when it ended, also within an epoch."""
    if trainer.num_training_batches == math.inf and trainer.is_last_batch:
        return progress(trainer, 0)  # of a stream, as if its next epoch began
    with in_last_epoch(trainer):
        return progress(trainer, trainer.fit_loop.epoch_loop.batch_progress.current.completed)


def share_of_rest(done: float, start: float) -> float:
    """Return the fraction that is done of what was left of a run, to nine digits.

    Args:
        done: the fraction of the run that is done.
        start: the fraction that was done before what is asked about began, below 1.

    >>> share_of_rest(0.75, start=0.5)
    0.5
    """
    return round((done - start) / (1.0 - start), 9)


def planned_steps(trainer: Any, length: float = 1.0, start: float = 0.0) -> float:
    """Return the optimizer steps of a part of the run; infinite where nobody knows.

    Args:
        trainer: of the run.
        length: the part, as a fraction of what is left from `start` on.
        start: the fraction of the run that was done before.
    """
    limits = [math.inf]
    if trainer.max_steps > 0:
        limits.append(trainer.max_steps)
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        steps = trainer.num_training_batches / trainer.accumulate_grad_batches
        limits.append(trainer.max_epochs * steps)
    return length * (1.0 - start) * min(limits)


def noise_seed(trainer: Any) -> int:
    """Return a seed for this process's noise, other than the one of the user's random numbers."""
    return int((torch.initial_seed() + 1 + trainer.global_rank) % 2**63)


def affordable_validations(trainer: Any, share: float) -> float:
    """Return how many whole validations cost no more than a share of the run's training.

    A sample that is validated counts as a third of one that is trained on: it has no backward pass.

    Of epochs of unknown length those so far count, and of such a validation the latest one.

    Args:
        trainer: in training, after its first epoch and its first validation.
        share: 0 to 1.
    """
    steps, batches = planned_steps(trainer), sum(trainer.num_val_batches)
    if math.isinf(steps):
        steps = trainer.global_step / progress(trainer, 0)
    if math.isinf(batches):
        batches = trainer.fit_loop.epoch_loop.val_loop.batch_progress.current.completed
    training = steps * trainer.accumulate_grad_batches
    affordable = share * 3.0 * training / max(1.0, batches * _relative_batch_size(trainer))
    return float(min(affordable, MANY))


@contextmanager
def shorter_validations(trainer: Any, share: float) -> Iterator[tuple[int, int] | None]:
    """Take a part of the batches in validations, the first ones, at least one of each loader.

    Of a stream, whose end is not known, the batches of the latest validation are counted.

    Args:
        trainer: in training, after its first validation.
        share: of the samples, 0 to 1.

    Yields:
        How many batches are taken, and of how many; None where all are.
    """
    if share >= 1.0:
        yield None
        return
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.setup_data()  # data that are due to be loaded anew are loaded now, and not in a validation
    kept, known = loop._max_batches, _batches_of(loop)
    loaders = loop._combined_loader.flattened
    fewer = [
        max(1, math.floor(share * _whole_batches(loader, batches)))
        for loader, batches in zip(loaders, known, strict=True)
    ]
    loop._max_batches = trainer.strategy.broadcast(fewer)  # each process counts a stream
    try:
        yield sum(loop._max_batches), sum(known)
    finally:
        loop._max_batches = kept


def _batches_of(loop: Any) -> list[int]:
    """Return the batches of each loader; of a stream those of the latest validation."""
    ends = [batches for batches in loop._max_batches if not math.isinf(batches)]
    streams = len(loop._max_batches) - len(ends)
    left = loop.batch_progress.current.completed - sum(ends)
    of_stream = max(1, left // streams) if streams else 0
    return [of_stream if math.isinf(batches) else batches for batches in loop._max_batches]


def _whole_batches(loader: Any, batches: int) -> float:
    """Return a loader's samples in batches of the full size, since the last may be smaller."""
    try:
        size = loader.batch_size or loader.sampler.batch_size
        return float(min(batches, len(loader.dataset) / size))
    except (AttributeError, TypeError, ZeroDivisionError):  # of a loader that we do not know
        return float(batches)


def _relative_batch_size(trainer: Any) -> float:
    """Return how many training batches a validation batch is worth; 1 if it cannot be told."""
    loaders = trainer.val_dataloaders
    loader = loaders[0] if isinstance(loaders, list | tuple) and loaders else loaders
    try:
        return _batch_size(loader) / _batch_size(trainer.train_dataloader)
    except (AttributeError, TypeError, ZeroDivisionError):  # of loaders that we do not know
        return 1.0


def _batch_size(loader: Any) -> float:
    """Return the samples in a batch; in the mean, where the data set makes the batches."""
    size = loader.batch_size
    return float(size) if size is not None else len(loader.dataset) / len(loader)


def batch_loss(trainer: Any, outputs: Any, alone: bool = False) -> Tensor | None:
    """Return the loss that a training step returned, if it did, as it was before Lightning's part.

    Args:
        trainer: in training.
        outputs: what Lightning passes on.
        alone: whether to take this process's loss, not the mean over all.
    """
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    if not isinstance(loss, Tensor):
        return None
    batches = trainer.accumulate_grad_batches  # by which Lightning has divided it
    loss = loss * batches if batches > 1 else loss
    return loss if alone else trainer.strategy.reduce(loss, reduce_op="mean")


def scales_loss(trainer: Any) -> bool:
    """Return whether the loss is scaled before its gradients are computed, as in 16-bit floats."""
    return getattr(trainer.precision_plugin, "scaler", None) is not None


def loss_scale(trainer: Any, optimizer: Any) -> Callable[[Tensor], Tensor]:
    """Return how a loss was scaled whose gradients are scaled still when an optimizer steps.

    Fused optimizers undo the scaling of 16-bit mixed precision within their step; for all others it
    has been undone before.
    """
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
        scale: Callable[[Tensor], Tensor] = scaler.scale
        return scale
    return lambda loss: loss


def average_gradients(trainer: Any, tensors: Iterable[Tensor]) -> None:
    """Average over the processes the gradients of gates, which the strategy does not reduce."""
    for tensor in tensors if trainer.world_size > 1 else ():
        if tensor.grad is not None:
            tensor.grad = trainer.strategy.reduce(tensor.grad, reduce_op="mean")


def measured(trainer: Any, before: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the scalar metrics logged since `before`, a copy of the trainer's metrics."""
    return {
        name: float(value)
        for name, value in trainer.callback_metrics.items()
        if value.numel() == 1 and value is not before.get(name)
    }


def validation_samples(trainer: Any) -> int | None:
    """Return the number of samples of a validation; None if it cannot be told, as of a stream."""
    loaders, batches = trainer.val_dataloaders, trainer.num_val_batches
    loader = loaders[0] if isinstance(loaders, list) and len(loaders) == 1 else loaders
    try:
        if loader.batch_size is None:  # the data set or its sampler makes the batches
            whole = int(batches[0]) == len(loader) < len(loader.dataset)
            return len(loader.dataset) if whole else None
        most = int(loader.batch_size) * int(batches[0])
        return min(len(loader.sampler), most) * int(getattr(loader.sampler, "num_replicas", 1))
    except Exception:  # of a loader that we do not know; what cannot be counted costs no run
        return None


def validate_again(trainer: Any, silent: Any) -> dict[str, float]:
    """Validate once more in a fit; no other callback and no logger hears of it.

    What it measures must not cost the run, so an error is only a warning. Callbacks that put
    averaged weights into the model for a validation, and for good when the fit ends, take part.

    Args:
        trainer: in a fit, between two training steps or at the end.
        silent: a logger that writes nothing, for a validation step that asks for its logger.

    Returns:
        The scalar metrics, the same in all processes.
    """
    callbacks, loggers, connector = trainer.callbacks, trainer.loggers, trainer._logger_connector
    kept = (trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics)
    before, is_first = [dict(metrics) for metrics in kept], connector._first_loop_iter
    bars = of_kind(trainer, "RichProgressBar")  # their thread fails if they are not in the list
    enabled = [bar for bar in bars if bar.is_enabled]
    for bar in enabled:
        bar.disable()
    trainer.callbacks = [*bars, *of_kind(trainer, "WeightAveraging")]
    trainer.validating = True
    trainer.loggers = [silent for _ in loggers]
    found: dict[str, float] = {}
    try:
        trainer.fit_loop.epoch_loop.val_loop.run()
        found = measured(trainer, before[0])
    except Exception as error:
        if trainer.is_global_zero:  # the other processes would warn of the same
            warnings.warn(f"A rung of the ladder could not be validated: {error!r}", stacklevel=2)
    finally:
        trainer.callbacks, trainer.loggers, trainer.training = callbacks, loggers, True
        connector._first_loop_iter = is_first
        for metrics, values in zip(kept, before, strict=True):  # of the model with its own mask
            metrics.clear()
            metrics.update(values)
        for bar in enabled:
            bar.enable()
    alike: dict[str, float] = trainer.strategy.broadcast(found)
    return alike


# --- a validation in the final phase -------------------------------------------------------------


class Plan(NamedTuple):
    """Holds the batches of a run, numbered from 0, and the validations between them.

    Attributes:
        epoch: batches in an epoch.
        total: batches in the run.
        steps: optimizer steps in the run; 0 where they do not end it.
        accumulated: batches to a step.
        epochs: epochs after which the run ends at the latest; 0 where they do not end it.
        every: epochs from one with validations to the next; None counts batches over epochs.
        interval: batches from one validation to the next.
    """

    epoch: int
    total: int
    steps: int
    accumulated: int
    epochs: int
    every: int | None
    interval: int

    def progress(self, batch: int) -> float:
        """Return the fraction of the run that is done before a batch, as `progress` does."""
        fractions = [0.0]
        if self.steps:
            whole, rest = divmod(batch, self.epoch)
            steps = whole * -(-self.epoch // self.accumulated) + rest // self.accumulated
            fractions.append(steps / self.steps)
        if self.epochs:
            fractions.append(batch / (self.epochs * self.epoch))
        return min(1.0, max(fractions))

    def validated(self) -> Iterator[int]:
        """Yield the batches that a validation follows."""
        if self.every is None:
            yield from range(self.interval - 1, self.total, self.interval)
            return
        for start in range((self.every - 1) * self.epoch, self.total, self.every * self.epoch):
            yield from range(
                start + self.interval - 1, min(start + self.epoch, self.total), self.interval
            )

    def last_validated(self) -> int:
        """Return the last batch that a validation follows; -1 if there is none."""
        return max(self.validated(), default=-1)

    def closer(self, first: int) -> str:
        """Return arguments of a trainer with which a validation follows a batch from here on.

        Args:
            first: a batch.
        """
        epochs = self.total // self.epoch - -(-(first + 1) // self.epoch) + 1
        if self.every is not None and self.interval == self.epoch and epochs > 0:
            return f"check_val_every_n_epoch={epochs}"
        return f"val_check_interval={self.total - first}, check_val_every_n_epoch=None"


def planned(trainer: Any) -> Plan | None:
    """Return what is planned; None if it cannot be told, as with epochs of unknown length."""
    epoch, interval = trainer.num_training_batches, trainer.val_check_batch
    steps, epochs = max(trainer.max_steps, 0), max(trainer.max_epochs or 0, 0)
    if interval is None or (steps and not trainer.lightning_module.automatic_optimization):
        return None
    if math.inf in (epoch, interval):
        if steps or epoch != interval:
            return None
        epoch = interval = 1  # a validation at the end of each
    accumulated = trainer.accumulate_grad_batches
    totals = [epochs * epoch] if epochs else []
    if steps:
        whole, rest = divmod(steps, -(-epoch // accumulated))
        totals.append(whole * epoch + rest * accumulated)
    every = trainer.check_val_every_n_epoch
    return Plan(epoch, min(totals), steps, accumulated, epochs, every, interval)


def validation_doubt(trainer: Any, start: float, end: float) -> str | None:
    """Return what to say of a run in whose final phase no validation falls, as far as is known.

    Args:
        trainer: at the first step of a fit.
        start: the fraction of the run that is done, 0 to 1.
        end: the fraction of what is left at which the final phase begins, 0 to 1.
    """
    plan = planned(trainer) if trainer.enable_validation else None
    if plan is None or start >= 1.0:
        return None

    def final(batch: int) -> bool:
        return share_of_rest(plan.progress(batch), start) >= end

    first, last = bisect_left(range(plan.total), True, key=final), plan.last_validated()
    if last >= first or first == plan.total:
        return None
    when = f"the last one follows batch {last + 1}" if last >= 0 else "there is none"
    return (
        f"No validation falls in the final phase, from batch {first + 1} to {plan.total}: with "
        f"check_val_every_n_epoch={trainer.check_val_every_n_epoch} and val_check_interval="
        f"{trainer.val_check_interval} {when}. The run is validated once more at its end, so best "
        "checkpoints and early stopping have one value to go by. For more of them, pass "
        f"Trainer({plan.closer(first)})."
    )


def search_doubt(
    trainer: Any, start: float, phases: tuple[float, float], budget: Controller
) -> str | None:
    """Return what to say of a run with fewer validations than its budget needs, as far as is known.

    Args:
        trainer: at the first step of a fit.
        start: the fraction of the run that is done, 0 to 1.
        phases: ends of warm-up and search, as fractions of what is left.
        budget: at work.
    """
    plan, needed = planned(trainer), budget.validations
    if plan is None or not any(needed) or start >= 1.0:
        return None
    done = [share_of_rest(plan.progress(batch), start) for batch in plan.validated()]
    warmup = sum(share < phases[0] for share in done)
    search = sum(phases[0] <= share < phases[1] for share in done)
    if warmup >= needed[0] and search >= needed[1]:
        return None
    batches = (1.0 - start) * plan.total
    spans = zip((phases[0], phases[1] - phases[0]), needed, strict=True)
    interval = max(1, int(min(share * batches / wanted for share, wanted in spans if wanted)))
    least = f"{needed[0]} in the warm-up and " if needed[0] else ""
    planned_ones = f"{warmup} and {search}" if needed[0] else f"{search}"
    return (
        f"{budget.budget_name} needs validations, at least {least}{needed[1]} in the search, but "
        f"this run plans {planned_ones}. So it may find no smaller mask that is surely good "
        f"enough, and keep all joints. Pass Trainer(val_check_interval={interval}, "
        "check_val_every_n_epoch=None), or train for more epochs."
    )


def stream_doubt(trainer: Any, start: float, phases: tuple[float, float]) -> str | None:
    """Return what to say of a run with too few epochs of unknown length for its phases.

    Args:
        trainer: at the first step of a fit.
        start: the fraction of the run that is done, 0 to 1.
        phases: ends of warm-up and search, as fractions of what is left.
    """
    epochs = trainer.max_epochs or 0
    if trainer.num_training_batches != math.inf or trainer.max_steps > 0 or epochs <= 0:
        return None

    def enough(total: int) -> bool:
        shares = [share_of_rest(epoch / total, start) for epoch in range(total)]
        searched = any(phases[0] <= share < phases[1] for share in shares)
        return (searched or phases == NO_SEARCH) and shares[-1] >= phases[1]

    if start >= 1.0 or enough(epochs):
        return None
    more = next(total for total in count(epochs + 1) if enough(total))
    return (
        "The length of an epoch is not known, so a phase can only begin with one, and of "
        f"max_epochs={epochs} none falls in the search or none after it. Pass "
        f"Trainer(max_epochs={more}), or max_steps=."
    )


def ends_here(trainer: Any) -> bool:
    """Return whether the run ends with the batch that was just trained, as far as is known."""
    if trainer.should_stop or 0 < trainer.max_steps <= trainer.global_step:
        return True
    epochs = trainer.max_epochs or -1
    return bool(trainer.is_last_batch and 0 < epochs <= trainer.current_epoch + 1)


def validate_next(trainer: Any) -> ExitStack:
    """Let a validation follow the batch that was just trained, whatever was planned.

    Returns:
        What brings the plan back, when it is closed.
    """
    state, undo = vars(trainer), ExitStack()
    new = {"check_val_every_n_epoch": None, "val_check_batch": 1, "_val_check_time_interval": None}
    new = {name: value for name, value in new.items() if name in state}
    undo.callback(state.update, {name: state[name] for name in new})
    state.update(new)
    return undo


def validate_now(trainer: Any) -> None:
    """Validate at the end of a fit, for all callbacks and loggers to hear of it."""
    trainer.validating = True
    try:
        trainer.fit_loop.epoch_loop.val_loop.run()
    finally:
        trainer.training = True


@contextmanager
def in_last_epoch(trainer: Any) -> Iterator[None]:
    """Count the epoch that has just ended as the current one, as all but the last hooks do."""
    progress = trainer.fit_loop.epoch_progress.current
    progress.completed -= 1
    try:
        yield
    finally:
        progress.completed += 1


# --- callbacks and schedulers --------------------------------------------------------------------


def of_kind(trainer: Any, kind: str) -> list[Any]:
    """Return the callbacks whose class, or one it derives from, has this name."""
    return [
        callback
        for callback in trainer.callbacks
        if any(parent.__name__ == kind for parent in type(callback).__mro__)
    ]


def schedulers(trainer: Any) -> list[Any]:
    """Return the trainer's schedulers, and what its module holds: some are stepped by hand."""
    managed = [config.scheduler for config in trainer.lr_scheduler_configs]
    return [*managed, *vars(trainer.lightning_module).values()]
