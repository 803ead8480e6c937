"""Checks what `compact` is asked for, and holds what it did, as plain data."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lightning_jointprune.attach.hooks import attach, attached_layers
from lightning_jointprune.attach.layers import layer_of, own_layer
from lightning_jointprune.attach.target import Target
from lightning_jointprune.compaction.tracing import Call, CompactionError
from lightning_jointprune.gates.layer import JointPruningLayer, LayerCall
from lightning_jointprune.record.selection import JointSelection

M = TypeVar("M", bound=nn.Module)
_COMPACTED = "_joint_compaction"  # key in a model's __dict__


@dataclass(frozen=True)
class Compaction:
    """Holds what was done to a model; `compaction_of` returns it.

    Args:
        selection: the joints that the model is made for.
        targets: where they enter.
        takes: `"kept"` for the kept joints in their order, or `"all"`.
        cut: name of each parameter and buffer that has another shape, with the shape before.
        numbers: paths and names of attributes that were J and are K.
        error: largest difference from the masked model in float64, over its largest output.
        fill: with `whole=True`, the value of dropped joints: a number, or nested lists of numbers
            that broadcast to the skeleton with an axis for each word. None where they are gone.
    """

    selection: JointSelection
    targets: tuple[Target, ...]
    takes: str
    cut: dict[str, tuple[int, ...] | None]
    numbers: tuple[tuple[str, str], ...]
    error: float
    fill: Any = None


def compaction_of(model: nn.Module) -> Compaction | None:
    """Return what `compact` did to a model, or None if it did not make it."""
    found: Compaction | None = model.__dict__.get(_COMPACTED)
    return found


def set_compaction(model: nn.Module, done: Compaction) -> None:
    """Store in a model what was done to it."""
    model.__dict__[_COMPACTED] = done


def masked_entrance(model: nn.Module) -> tuple[JointPruningLayer, tuple[Target, ...]]:
    """Return the layer with the frozen mask in front of a model, and its places.

    Raises:
        ValueError: if there is none, or the mask is not frozen, or the model is compact already.
    """
    done = compaction_of(model)
    if done is not None:
        kept = len(done.selection.indices)
        raise ValueError(
            f"Expected a model of all {done.selection.num_joints} joints but got one that is "
            f"compacted to {kept}. Pass the model that load_pruned returns."
        )
    layer = layer_of(model, inside=False)
    if layer.mask is None or layer.mode not in ("masked", None):
        raise ValueError(
            f"Expected a frozen mask but got gates in the mode {layer.mode!r}, which are still "
            'searched. Finish the run, and pass load_pruned(MyModel, "best.ckpt"); gates that you '
            "trained yourself are frozen by layer.freeze(layer.current_mask())."
        )
    return layer, tuple(target for target, attached in attached_layers(model) if attached is layer)


def check_fill(layer: JointPruningLayer) -> None:
    """Check that dropped joints have the same value for every input.

    Raises:
        CompactionError: if their value depends on the input, so that they cannot be left out.
    """
    if not isinstance(layer.fill, float) and layer.fill != "mean":
        raise CompactionError(
            f"Expected a fill that is the same for every input but got {layer.fill!r}, with which "
            'dropped joints still reach the model. Train with fill=0.0 or fill="mean".'
        )


def check_selection(layer: JointPruningLayer, selection: JointSelection) -> None:
    """Check that a selection is that of a mask.

    Raises:
        ValueError: if its joints, their order or number, or its kept joints are others.
    """
    names = layer.joint_names
    if selection.num_joints != layer.num_joints:
        raise ValueError(
            f"Expected a selection out of the model's {layer.num_joints} joints but got one out of "
            f"{selection.num_joints}. Pass the selection.json of the model's own run."
        )
    if names and tuple(selection.joint_names) != tuple(names):
        place = next(n for n, name in enumerate(names) if name != selection.joint_names[n])
        raise ValueError(
            f"Expected the model's joints in their order, with {names[place]!r} as joint {place}, "
            f"but got {selection.joint_names[place]!r}. Pass the selection.json of its own run."
        )
    kept = tuple(layer.get_active_joints())
    if tuple(selection.indices) != kept:
        raise ValueError(
            f"Expected a selection of the joints that the mask keeps, {list(kept)}, but got "
            f"{list(selection.indices)}. Pass analyze_pruning(model), or load the rung with "
            "load_pruned(..., joints=)."
        )


def called_by_users(model: nn.Module, targets: Sequence[Target]) -> str:
    """Return the path of the module that is called: the model, or else what the skeleton enters."""
    (entered, *others) = {target.module for target in targets}
    forward = type(model).forward
    own = forward.__name__ != "_forward_unimplemented" and forward.__module__.split(".")[0] not in (
        "lightning",
        "pytorch_lightning",
    )
    return "" if own or others else entered


# --- a layer in the model's own forward ----------------------------------------------------------


class Open(nn.Module):
    """Stands where a model had a `JointPruningLayer` of its own, and lets joints pass."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return `x` as it is."""
        return x

    def expected_l0(self) -> Tensor:
        """Return 0, since there are no gates to pay a price for."""
        return torch.zeros(())


def take_layers_out(model: nn.Module) -> None:
    """Take the layers of a model's own forward out of it."""
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, JointPruningLayer):
            owner, _, name = path.rpartition(".")
            setattr(model.get_submodule(owner), name, Open())


def with_layer_in_front(model: M, call: Call) -> M:
    """Return a model whose own layer stands in front of its former place; others stay unchanged.

    Args:
        model: the model; it stays as it is.
        call: the arguments of its forward, to see on which axes it calls the layer.

    Raises:
        ValueError: if its forward does not call the layer, or on parts or several kinds of axes.
    """
    own = own_layer(model)
    if own is None or own is model or attached_layers(model):
        return model
    path = next(path for path, module in model.named_modules() if module is own)
    seen: set[tuple[tuple[str, ...], range | None]] = set()

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = LayerCall(*args, **kwargs)
        seen.add((tuple(given.axes), given.joints))

    hook = own.register_forward_pre_hook(note, with_kwargs=True)
    try:
        call.on(model)
    finally:
        hook.remove()
    if len(seen) != 1 or next(iter(seen))[1] is not None:
        raise ValueError(
            f"Expected a forward that calls `{path}` on one kind of axes but got "
            f"{sorted(map(str, seen)) or 'one that does not call it'}. Call it once, as layer(x), "
            "on all joints."
        )
    ((axes, _),) = seen
    copied = copy.deepcopy(model)
    layer = copied.get_submodule(path)
    take_layers_out(copied)
    attach(copied, Target.parse(f"{path}:x", " ".join(axes)), layer)  # type: ignore[arg-type]
    return copied
