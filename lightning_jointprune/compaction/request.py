"""Checks what `compact` is asked for, and holds what it did, as plain data."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lightning_jointprune.attach.hooks import argument_at, attach, attached_layers
from lightning_jointprune.attach.layers import layer_of, own_layer
from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.attach.modules import module_at, signature_of
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
        widths: for each target, the entries that a joint has on the joints' axis, 1 where no other
            word shares it; empty or None where nobody knows.
    """

    selection: JointSelection
    targets: tuple[Target, ...]
    takes: str
    cut: dict[str, tuple[int, ...] | None]
    numbers: tuple[tuple[str, str], ...]
    error: float
    fill: Any = None
    widths: tuple[int | None, ...] = ()


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


def check_layouts(targets: Sequence[Target]) -> None:
    """Check that joints have the same channels, since which values to cut is counted in joints.

    Raises:
        CompactionError: if parts have channels of their own.
    """
    for target in targets:
        if target.layout.blocks:
            raise CompactionError(
                f"Expected joints of one number of channels for a smaller model but got the axes "
                f"{target.axes!r}. Write the masked model with export_model, or train a new one on "
                f"the kept joints, out of SelectJoints(selection, {target.axes!r})."
            )


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


# --- the example ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Joints:
    """Checks that an input has the joints that a model takes there.

    Args:
        target: the input.
        count: number of joints that it takes.
        width: entries of a joint on the joints' axis; None where nobody knows.
        fix: what to pass instead of other joints.
    """

    target: Target
    count: int
    width: int | None
    fix: str

    def __call__(self, x: Tensor) -> None:
        """Check the joints of a tensor.

        Raises:
            ValueError: if their number or their axes are others.
        """
        layout, shape = self.target.layout.of(self.target.joints), tuple(x.shape)
        axis = joint_axis(layout)
        width = self.width if len(layout.groups[axis]) > 1 else 1
        if len(shape) != len(layout.groups):
            found = f"{len(shape)} axes"
        elif width is None:
            if layout.fits(shape, self.count):
                return
            found = f"an axis of {shape[axis]}"
        else:
            if shape[axis] == width * self.count:
                return
            found = f"{shape[axis] / width:g}"
        raise ValueError(
            f"Expected {self.count} joint{'s' * (self.count != 1)} in input `{self.target.input}` "
            f"({layout.pattern}) but got {found}, in the shape {shape}. {self.fix}"
        )


def joint_axis(layout: Layout) -> int:
    """Return the axis that joints are on, maybe with another word."""
    return next(axis for axis, group in enumerate(layout.groups) if "j" in group)


def widths_of(
    model: nn.Module, called: str, call: Call, targets: Sequence[Target], joints: int
) -> tuple[int | None, ...]:
    """Return the entries of a joint on the joints' axis of each target; None further inside."""
    widths: list[int | None] = []
    for target in targets:
        inside = target.module != called
        x = None if inside else _skeleton_in(module_at(model, called), call, target)
        part = len(target.joints or range(joints))
        widths.append(None if x is None else x.shape[joint_axis(target.layout)] // part)
    return tuple(widths)


def joints_of_example(targets: Sequence[Target], joints: int) -> list[Joints]:
    """Return what the example of a model that is not compact has to hold.

    Args:
        targets: where the skeleton enters.
        joints: J.
    """
    fix = "Pass an example with all joints, as the model had them in training."
    return [Joints(target, len(target.joints or range(joints)), None, fix) for target in targets]


def joints_of_compact(done: Compaction) -> list[Joints]:
    """Return what a compact model takes."""
    mask, fix = done.selection.mask, "Pass all joints; the model picks the kept ones out itself."
    if done.takes == "kept":
        fix = (
            f"Pass the kept joints alone, out of SelectJoints(selection, {done.targets[0].axes!r}) "
            "or files of `jointprune select`."
        )
    parts = [target.joints or range(len(mask)) for target in done.targets]
    counts = [sum(mask[j] for j in part) if done.takes == "kept" else len(part) for part in parts]
    widths = done.widths or [None] * len(parts)
    return [Joints(*found, fix) for found in zip(done.targets, counts, widths, strict=True)]


def read_call(module: nn.Module, example_inputs: Any, expected: Sequence[Joints] = ()) -> Call:
    """Return the call that an example is of.

    Args:
        module: what is called; a copy of what has to stay as it is, since it is run.
        example_inputs: a batch or another single argument, a tuple of arguments, a dict of named
            ones, or a tuple of arguments of which the last is such a dict.
        expected: what the skeletons in it have to be.

    Raises:
        ValueError: if `forward` does not take such arguments, a skeleton is missing or has other
            joints, or `forward` fails.
    """
    calls = matching_calls(module, example_inputs, expected)
    errors = [_error_of(module, call) for call in calls]
    if None in errors:
        return calls[errors.index(None)]
    raise ValueError(
        f"Expected an example that {type(module).__name__}.forward runs on but it raised "
        f"{type(errors[0]).__name__}: {' '.join(str(errors[0]).split())[:200]}. Pass what it takes "
        "in training, such as a batch of its data loader; on the command line, leave --shape out "
        "and give the model such a batch as its example_input_array."
    ) from errors[0]


def matching_calls(
    module: nn.Module, example_inputs: Any, expected: Sequence[Joints]
) -> list[Call]:
    """Return the calls that an example may be of, the likelier first; as in `read_call`.

    Raises:
        ValueError: if there is none, or a skeleton in the first has other joints.
    """
    calls = [call for call in Call.readings(example_inputs) if _has(module, call, expected)]
    if not calls:
        raise ValueError(_unlike(module, example_inputs, expected))
    for joints in expected:
        joints(_skeleton_in(module, calls[0], joints.target))
    return calls


def _error_of(module: nn.Module, call: Call) -> Exception | None:
    """Return what a call raises, if it does so in float64 too, in which models are compared."""
    device = next(module.parameters(), torch.zeros(())).device
    call = call.opened(lambda x: x.to(device))
    try:
        call.on(module)
    except Exception as error:
        try:
            call.double().on(copy.deepcopy(module).double())
        except Exception:
            return error
    return None


def _has(module: nn.Module, call: Call, expected: Sequence[Joints]) -> bool:
    """Return whether forward takes a call in which every skeleton is a tensor."""
    signature = signature_of(module)
    try:
        if signature is not None:
            signature.bind(*call.args, **call.kwargs)
    except TypeError:
        return False
    skeletons = [_skeleton_in(module, call, joints.target) for joints in expected]
    return all(isinstance(x, Tensor) for x in skeletons)


def _skeleton_in(module: nn.Module, call: Call, target: Target) -> Any:
    return argument_at(module, target.path, call.args, call.kwargs)


def _unlike(module: nn.Module, example_inputs: Any, expected: Sequence[Joints]) -> str:
    """Say what an example should have been."""
    signature = signature_of(module)
    takes = ", ".join(map(str, signature.parameters)) if signature else "..."
    inputs = " and ".join(f"`{joints.target.input}`" for joints in expected)
    return (
        f"Expected an example for {type(module).__name__}.forward({takes})"
        f"{f' with a tensor in {inputs}' if inputs else ''} but got {_shown(example_inputs)}. Pass "
        "what forward takes: a batch or another single argument, a tuple of arguments, a dict of "
        "named ones, or a tuple of arguments and, at its end, such a dict."
    )


def _shown(value: Any) -> str:
    """Say what a value is, in a few words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} of {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, (list, tuple)):
        held = ", ".join(type(item).__name__ for item in value)
        return f"a {type(value).__name__} of {held or 'nothing'}"
    return f"a {type(value).__name__}"


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


def with_layer_in_front(model: M, example_inputs: Any) -> M:
    """Return a model whose own layer stands in front of its former place; others stay unchanged.

    Args:
        model: the model; it stays as it is.
        example_inputs: what its forward takes, to see on which axes it calls the layer.

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

    tried = copy.deepcopy(model).eval()
    call = read_call(tried, example_inputs)
    tried.get_submodule(path).register_forward_pre_hook(note, with_kwargs=True)
    call.on(tried)
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
