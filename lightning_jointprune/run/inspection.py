"""Shows what a training step would tell the callback, without training or changing the model."""

from __future__ import annotations

import copy
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_jointprune.attach.detect import also_fitting, beside, or_absent, resolve_parts
from lightning_jointprune.attach.hooks import detach
from lightning_jointprune.attach.layout import CHANNELS, composed_axes, exact_axes, usual_axes
from lightning_jointprune.attach.probe import Probe, Seen
from lightning_jointprune.attach.samples import label_counts
from lightning_jointprune.attach.target import written
from lightning_jointprune.run.settings import named_joints
from lightning_jointprune.skeletons import Skeleton


@dataclass(frozen=True, repr=False)
class Preview:
    """Holds what a training step showed; `preview` has printed its `summary`.

    Args:
        seen: every tensor that reached a forward, in the order of the calls.
        notes: for each of them, the axes under which it has the joints, if it has.
        input: where the callback would find the skeleton; None if it would refuse.
        axes: the axes of that.
        advice: the callback to paste, or what it would say when it refuses.
    """

    seen: tuple[Seen, ...]
    notes: tuple[str, ...]
    input: str | None
    axes: str | None
    advice: str

    def __repr__(self) -> str:
        return f"Preview(input={self.input!r}, axes={self.axes!r})"

    def summary(self) -> str:
        """Return the tensors as a table, and what to pass."""
        rows = [[*str(s).split("  "), note] for s, note in zip(self.seen, self.notes, strict=True)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        cells = [map(str.ljust, row, widths) for row in rows]
        table = ["  " + "  ".join(row).rstrip() for row in cells]
        return "\n".join(["A training step passes to forward:", *table, self.advice])


def preview(
    model: nn.Module,
    batch: Any,
    num_joints: int | None = None,
    *,
    skeleton: str | Skeleton | None = None,
    axes: str | None = None,
) -> Preview:
    """Print what a training step on a batch shows, and which input would be pruned.

    The step runs on a copy of the model, up to its first backward. The model, its mode, the random
    numbers and the batch stay as they are, unless the step itself writes into the batch.

    Args:
        model: a LightningModule; attached to a trainer or not.
        batch: as `training_step` gets it, on the model's device.
        num_joints: J; None lists what it could be.
        skeleton: name of a skeleton, or one of your own, which brings J.
        axes: the axes of the skeleton in einops' words; None infers them.

    Returns:
        What was seen; its `summary` is what was printed.

    Raises:
        TypeError: if the model is no LightningModule, or cannot be copied.
        ValueError: if there is no such skeleton.
        RuntimeError: if the model cannot be set up for one batch, as without its data module.
    """
    known = num_joints is not None or skeleton is not None
    joints = len(named_joints(num_joints, skeleton)) if known else None
    seen, absent = _seen_in_a_step(model, batch)
    found: dict[str, Any] = written(())
    if joints is None:
        advice = "Pass num_joints= or skeleton= to see which of them would be pruned."
    else:
        try:
            targets = resolve_parts(seen, joints, None, axes, label_counts(batch))
            found, also = written(targets), also_fitting(seen, targets, joints)
            named = f"skeleton={skeleton!r}" if isinstance(skeleton, str) else "skeleton=skeleton"
            first = f"num_joints={joints}" if skeleton is None else named.replace("'", '"')
            where = f'input="{found["input"]}", axes="{found["axes"]}"'
            advice = f"JointPruningCallback({first}, {where})"
            advice += f"  # {beside(also, joints)}" if also else ""
        except ValueError as error:
            advice = f"{error}{or_absent(seen, absent, joints, axes)}"
    notes = tuple(_note(tensor, joints) + _mark(tensor, found["input"]) for tensor in seen)
    shown = Preview(tuple(seen), notes, found["input"], found["axes"], advice)
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
    return " or ".join(
        f'num_joints={shape[place]}, axes="{usual_axes(shape, place)}"' for place in places
    )


def _mark(tensor: Seen, chosen: str | None) -> str:
    return "  <- the skeleton" if tensor.input == chosen else ""


class _Done(Exception):  # noqa: N818 -- no error: the step has shown what it shows
    """Ends the step."""


def _seen_in_a_step(model: nn.Module, batch: Any) -> tuple[list[Seen], list[str]]:
    """Return what a probe sees up to the first backward of a step on a copy of the model.

    With it, the arguments that were None.
    """
    base = next((kind for kind in type(model).__mro__ if kind.__name__ == "LightningModule"), None)
    if base is None:
        raise TypeError(f"Expected a LightningModule but got {type(model).__name__}. Pass yours.")
    package = base.__module__.partition(".core")[0]  # Lightning comes as two
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        stack.enter_context(_of(package, "utilities.seed").isolate_rng())
        try:
            twin: Any = copy.deepcopy(model)
        except Exception as error:
            raise TypeError(
                f"Expected a model that copy.deepcopy can copy but got {error!r} from "
                f"{type(model).__name__}. Train with fast_dev_run=True to see what is found."
            ) from error
        detach(twin)
        # Functions, as Lightning looks at their code.
        twin.configure_callbacks = lambda: []  # noqa: PIE807
        twin.prepare_data = lambda: None
        twin.transfer_batch_to_device = lambda batch, *_: batch
        twin.configure_optimizers = _any_optimizer(twin)
        probe = Probe(twin)
        try:
            trainer = _trainer(package, twin.device, probe)
            data: Any = [batch]
            trainer.fit(twin, DataLoader(data, batch_size=None, collate_fn=lambda sample: sample))
        except _Done:
            pass
        except Exception as error:
            if probe.started:  # an error of the step is the model's own
                raise
            raise RuntimeError(
                f"Expected a model that can be set up for one batch alone but got {error!r} from "
                f"{type(model).__name__}. Train with fast_dev_run=True to see what is found."
            ) from error
        finally:
            seen = probe.stop()
    return seen, probe.absent


def _any_optimizer(twin: Any) -> Callable[[], Any]:
    """Return the model's own `configure_optimizers`, and one that does where that one fails.

    It may ask the trainer for data or a number of steps that there is none of. The run ends before
    a step is taken.
    """
    own = twin.configure_optimizers

    def configure_optimizers() -> Any:
        try:
            return own()
        except Exception:
            return torch.optim.SGD([*twin.parameters(), torch.zeros(1)], lr=0.0)

    return configure_optimizers


def _of(package: str, module: str) -> Any:
    return importlib.import_module(f"{package}.{module}")


def _trainer(package: str, device: Any, probe: Probe) -> Any:
    """Return a trainer that leaves nothing behind, and ends the run with the first backward."""

    def end(*_: Any) -> None:
        raise _Done

    environment = _of(package, "trainer.connectors.accelerator_connector").LightningEnvironment()
    watch = _of(package, "callbacks").LambdaCallback(
        on_train_batch_start=lambda *_: probe.start(),
        on_before_backward=end,
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
