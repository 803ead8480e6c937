"""Shows what a training step would tell the callback, without training or changing the model."""

from __future__ import annotations

import copy
import importlib
import logging
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_jointprune.attach.detect import also_fitting, beside, or_absent, resolve_parts
from lightning_jointprune.attach.hooks import attach, detach
from lightning_jointprune.attach.layout import CHANNELS, composed_axes, exact_axes, usual_axes
from lightning_jointprune.attach.probe import Probe, Seen, tensors_in
from lightning_jointprune.attach.samples import label_counts
from lightning_jointprune.attach.target import Target, check_written, written
from lightning_jointprune.run.settings import named_joints
from lightning_jointprune.skeletons import Skeleton, get_skeleton, skeleton_names

SAME = 1e-4  # relative difference up to which a value of a step is the same


@dataclass(frozen=True, repr=False)
class Preview:
    """Holds what a training step showed; `preview` has printed its `summary`.

    Args:
        seen: every tensor that reached a forward, in the order of the calls.
        notes: for each of them, the axes under which it has the joints, if it has.
        input: where the callback would find the skeleton; None if it would refuse.
        axes: the axes of that.
        advice: the callback to paste, or what it would say when it refuses.
        elsewhere: the values of the step that get joints past the gates, such as `"loss"`, each
            with the tensors of the batch that they get them from.
    """

    seen: tuple[Seen, ...]
    notes: tuple[str, ...]
    input: str | None
    axes: str | None
    advice: str
    elsewhere: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Preview(input={self.input!r}, axes={self.axes!r})"

    def summary(self) -> str:
        """Return the tensors as a table, and what to pass."""
        rows = [[*str(s).split("  "), note] for s, note in zip(self.seen, self.notes, strict=True)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        cells = [map(str.ljust, row, widths) for row in rows]
        table = ["  " + "  ".join(row).rstrip() for row in cells]
        remarks = [
            f"Past the gates, {value} gets the joints of {' and '.join(places)}: dropped joints "
            "count there."
            for value, places in self.elsewhere.items()
        ]
        return "\n".join(["A training step passes to forward:", *table, *remarks, self.advice])


def preview(
    model: nn.Module,
    batch: Any,
    num_joints: int | None = None,
    *,
    skeleton: str | Skeleton | None = None,
    input: str | None = None,  # noqa: A002 -- the users' word
    axes: str | None = None,
) -> Preview:
    """Print what a training step on a batch shows, and which input would be pruned.

    The step runs on copies of the model, up to its first backward. The model, its mode, the random
    numbers and the batch stay as they are, unless the step itself writes into the batch.

    Dropped joints may still count elsewhere: in a target, in a score, through another input. To
    find that out the step is repeated with other joints in the batch, and the same at the gates.

    Args:
        model: a LightningModule; attached to a trainer or not.
        batch: as `training_step` gets it, on the model's device.
        num_joints: J; None lists what it could be.
        skeleton: name of a skeleton, or one of your own, which brings J.
        input: the skeleton's name, as for the callback; None infers it.
        axes: the axes of the skeleton in einops' words; None infers them.

    Returns:
        What was seen; its `summary` is what was printed.

    Raises:
        TypeError: if the model is no LightningModule, or cannot be copied.
        ValueError: if there is no such skeleton, or `input` is not written as one.
        RuntimeError: if the model cannot be set up for one batch, as without its data module.
    """
    check_written(input)
    known = num_joints is not None or skeleton is not None
    joints = len(named_joints(num_joints, skeleton)) if known else None
    probed = _Step(model, batch)
    probe = probed.run(Probe)
    seen, absent = probe.stop(), probe.absent
    elsewhere: dict[str, tuple[str, ...]] = {}
    found: dict[str, Any] = written(())
    if joints is None:
        advice = "Pass num_joints= or skeleton= to see which of them would be pruned."
    else:
        try:
            targets = resolve_parts(seen, joints, input, axes, label_counts(batch))
            found, also = written(targets), also_fitting(seen, targets, joints)
            named = f"skeleton={skeleton!r}" if isinstance(skeleton, str) else "skeleton=skeleton"
            first = f"num_joints={joints}" if skeleton is None else named.replace("'", '"')
            where = f'input="{found["input"]}", axes="{found["axes"]}"'
            advice = f"JointPruningCallback({first}, {where})"
            advice += f"  # {beside(also, joints)}" if also else ""
            elsewhere = _past_the_gates(probed, targets, seen, joints)
        except ValueError as error:
            advice = f"{error}{or_absent(seen, absent, batch, joints, axes)}"
    notes = tuple(_note(tensor, joints) + _mark(tensor, found["input"]) for tensor in seen)
    shown = Preview(tuple(seen), notes, found["input"], found["axes"], advice, elsewhere)
    print(shown.summary())  # noqa: T201 -- what it is for
    return shown


def _note(tensor: Seen, joints: int | None) -> str:
    """Return the axes with which a tensor has joints: J of them, or any plausible number."""
    shape = tensor.shape
    if not tensor.floating or not tensor.enters:
        return ""
    if joints is not None:
        both = [*exact_axes(shape, joints), *composed_axes(shape, joints)]
        return " or ".join(f'axes="{axes}"' for axes in both)
    places = [place for place in range(1, len(shape)) if shape[place] > CHANNELS]
    usual = {get_skeleton(name).num_joints for name in skeleton_names()}
    places.sort(key=lambda place: (shape[place] not in usual, place))
    return " or ".join(
        f'num_joints={shape[place]}, axes="{usual_axes(shape, place)}"' for place in places
    )


def _mark(tensor: Seen, chosen: str | None) -> str:
    return "  <- the skeleton" if tensor.input == chosen else ""


class _Watcher(Protocol):
    """Looks at a step of a model."""

    started: bool

    def start(self) -> None:
        """Look from now on."""

    def stop(self) -> Any:
        """Look no longer."""


W = TypeVar("W", bound=_Watcher)


class _Done(Exception):  # noqa: N818 -- no error: the step has shown what it shows
    """Ends the step."""


class _Step:
    """Is a training step of a copy of a model on a batch, up to its first backward.

    Args:
        model: a LightningModule.
        batch: as `training_step` gets it.

    Attributes:
        values: the loss and what the step logged, by name, of the latest run.

    Raises:
        TypeError: if the model is no LightningModule.
    """

    def __init__(self, model: nn.Module, batch: Any) -> None:
        kinds = type(model).__mro__
        base = next((kind for kind in kinds if kind.__name__ == "LightningModule"), None)
        if base is None:
            raise TypeError(
                f"Expected a LightningModule but got {type(model).__name__}. Pass yours."
            )
        self.model, self.batch = model, batch
        self.values: dict[str, float] = {}
        self._failures: list[Exception] = []  # of `configure_optimizers`, which was done without
        self._package = base.__module__.partition(".core")[0]  # Lightning comes as two

    def run(self, watch: Callable[[nn.Module], W], batch: Any = None) -> W:
        """Run the step.

        Args:
            watch: makes what watches the copy; it is started with the step, and stopped after.
            batch: another batch; None takes the step's.

        Returns:
            What watched.

        Raises:
            TypeError: if the model cannot be copied.
            RuntimeError: if the model cannot be set up for one batch.
        """
        name = type(self.model).__name__
        with ExitStack() as stack:
            stack.enter_context(_quiet())
            stack.enter_context(_of(self._package, "utilities.seed").isolate_rng())
            twin = self._copied()
            watcher = watch(twin)
            try:
                trainer = _trainer(self._package, twin.device, watcher, self.values)
                data: Any = [self.batch if batch is None else batch]
                loader = DataLoader(data, batch_size=None, collate_fn=lambda sample: sample)
                trainer.fit(twin, loader)
            except _Done:
                pass
            except Exception as error:
                if watcher.started and not self._failures:  # the step's error is the model's own
                    raise
                cause = next(iter(self._failures), error)
                raise RuntimeError(
                    f"Expected a model that can be set up for one batch alone but got {cause!r} "
                    f"from {name}. Train with fast_dev_run=True to see what is found."
                ) from cause
            finally:
                watcher.stop()
        return watcher

    def _copied(self) -> Any:
        """Return a copy of the model that does with one batch and tells what it logs."""
        self.values.clear()
        self._failures.clear()
        try:
            twin: Any = copy.deepcopy(self.model)
        except Exception as error:
            raise TypeError(
                f"Expected a model that copy.deepcopy can copy but got {error!r} from "
                f"{type(self.model).__name__}. Train with fast_dev_run=True to see what is found."
            ) from error
        detach(twin)
        # Functions, as Lightning looks at their code.
        twin.configure_callbacks = lambda: []  # noqa: PIE807
        twin.prepare_data = lambda: None
        twin.transfer_batch_to_device = lambda batch, *_: batch
        twin.configure_optimizers = _any_optimizer(twin, self._failures)
        twin.log = partial(_note_value, self.values)
        return twin


def _note_value(values: dict[str, float], name: str, value: Any, *_: Any, **__: Any) -> None:
    """Note what a step logs, where it is a number."""
    with suppress(TypeError, ValueError, RuntimeError):
        values[name] = float(value)


class _Tape:
    """Records what reaches the gates in a step, or plays what another step recorded.

    Args:
        targets: where the gates would be.
        joints: J.
        played: what was recorded; what comes after it passes.
        model: the copy that the step is of.
    """

    def __init__(
        self, targets: Sequence[Target], joints: int, played: Sequence[Tensor], model: nn.Module
    ) -> None:
        self.targets, self.num_joints, self.played = targets, joints, played
        self.model = model
        self.started = False
        self.recorded: list[Tensor] = []

    def start(self) -> None:
        """Stand where the gates would."""
        self.started = True
        for target in self.targets:
            attach(self.model, target, self)

    def stop(self) -> None:
        """Do nothing: the copy is not used any more."""

    def __call__(
        self,
        x: Tensor,
        axes: tuple[str, ...],  # noqa: ARG002 -- as every layer is called
        joints: range | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Return what was recorded for this call, or `x`."""
        place = len(self.recorded)
        self.recorded.append(x.detach())
        return self.played[place] if place < len(self.played) else x


def _past_the_gates(
    step: _Step, targets: Sequence[Target], seen: Sequence[Seen], joints: int
) -> dict[str, tuple[str, ...]]:
    """Return the values of a step that get joints past the gates, and where they come from.

    The step is repeated with other joints in the batch and the recorded ones at the gates. Where it
    is not the same twice, or cannot be repeated, nothing is known.
    """
    found: dict[str, list[str]] = {}
    with suppress(Exception):  # it is only looked at
        first = dict(step.values)
        recorded = step.run(partial(_Tape, targets, joints, ())).recorded
        if _changed(first, step.values):
            return {}
        places = {(target.module, target.path) for target in targets}
        gated = [reached.shape for reached in seen if (reached.module, reached.path) in places]
        for path, tensor in tensors_in(step.batch):
            if not _may_be_joints(tensor, gated, joints):
                continue
            batch = copy.deepcopy(step.batch)
            dict(tensors_in(batch))[path].copy_(_moved(tensor))
            step.run(partial(_Tape, targets, joints, recorded), batch)
            for name in _changed(first, step.values):
                found.setdefault(name, []).append(_in_batch(path))
    return {name: tuple(places) for name, places in found.items()}


def _changed(before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """Return the names of the finite values that are no longer what they were."""
    both = {name: (value, now.get(name, math.nan)) for name, value in before.items()}
    return [
        name
        for name, values in both.items()
        if all(map(math.isfinite, values)) and not math.isclose(*values, rel_tol=SAME, abs_tol=SAME)
    ]


def _may_be_joints(tensor: Tensor, gated: Sequence[tuple[int, ...]], joints: int) -> bool:
    """Return whether a tensor of the batch may have joints, as far as its shape tells.

    Args:
        tensor: any.
        gated: shapes of what reached the gates.
        joints: J.
    """
    shape = tuple(tensor.shape)
    return tensor.is_floating_point() and any(
        tensor.numel() == math.prod(of)
        or (
            min(len(of), 3) <= len(shape) <= len(of)
            and shape.count(joints) == of.count(joints) > 0
            and (Counter(shape) - Counter(of)).total() <= 1
        )
        for of in gated
    )


def _moved(joints: Tensor) -> Tensor:
    """Return joints that are elsewhere; what is 0 stays 0, since it may be padding."""
    places = torch.arange(joints.numel(), device=joints.device).view(joints.shape)
    return joints * (1.3 + 0.3 * places.sin()).to(joints.dtype)


def _in_batch(path: Sequence[str]) -> str:
    """Return a place in the batch as code would have it."""
    return "batch" + "".join(f"[{word}]" if word.isdigit() else f"[{word!r}]" for word in path)


def _any_optimizer(twin: Any, failures: list[Exception]) -> Callable[[], Any]:
    """Return the model's own `configure_optimizers`, and one that does where that one fails.

    It may ask the trainer for data or a number of steps that there is none of. The run ends before
    a step is taken.

    Args:
        twin: the model.
        failures: where its error is noted.
    """
    own = twin.configure_optimizers

    def configure_optimizers() -> Any:
        try:
            return own()
        except Exception as error:
            failures.append(error)
            return torch.optim.SGD([*twin.parameters(), torch.zeros(1)], lr=0.0)

    return configure_optimizers


def _of(package: str, module: str) -> Any:
    return importlib.import_module(f"{package}.{module}")


def _trainer(package: str, device: Any, watcher: _Watcher, values: dict[str, float]) -> Any:
    """Return a trainer that leaves nothing behind, and ends the run with the first backward."""

    def measure(_: Any, __: Any, loss: Tensor) -> None:
        _note_value(values, "loss", loss.detach())
        raise _Done

    def end(*_: Any) -> None:
        raise _Done

    environment = _of(package, "trainer.connectors.accelerator_connector").LightningEnvironment()
    watch = _of(package, "callbacks").LambdaCallback(
        on_train_batch_start=lambda *_: watcher.start(),
        on_before_backward=measure,
        on_train_batch_end=end,  # a step that is skipped, or never goes back
    )
    return _of(package, "trainer").Trainer(
        accelerator=device.type,
        devices=1 if device.type == "cpu" else [device.index or 0],
        plugins=[environment],  # one process, whatever the cluster says
        logger=_of(package, "loggers.logger").DummyLogger(),
        callbacks=[watch],
        max_epochs=1,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
