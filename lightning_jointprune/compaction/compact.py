"""A physically smaller model for the kept joints, proved equal to the masked one.

`compact` follows the joints through the model (`tracing`, `follow`, `rules`), cuts parameters
(`surgery`), and compares the result with the masked model. Nothing is returned unproved.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lightning_jointprune.attach import attach, attached_layers, detach, module_at
from lightning_jointprune.compaction.follow import Plan, Refused, Walk
from lightning_jointprune.compaction.rules import RULES
from lightning_jointprune.compaction.surgery import SelectLayer, fit, numbers_of, resized
from lightning_jointprune.compaction.tracing import Call, CompactionError, trace
from lightning_jointprune.layer import JointPruningLayer
from lightning_jointprune.layout import Target
from lightning_jointprune.record import JointSelection

M = TypeVar("M", bound=nn.Module)
TOLERANCE = 1e-5  # largest difference to the masked model, over its largest output
DRAWS = 3  # random skeletons that the models are compared on
_COMPACTED = "_joint_compaction"  # in a model's __dict__


@dataclass(frozen=True)
class Compaction:
    """What was done to a model; `compaction_of` gives that of a model.

    Args:
        selection: the joints it is made for.
        targets: where they enter.
        takes: `"kept"`, the kept joints in their order, or `"all"`.
        cut: name of each parameter and buffer that has another shape, with the shape before.
        numbers: paths and names of attributes that were J and are K.
        error: largest difference to the masked model in float64, over its largest output.
    """

    selection: JointSelection
    targets: tuple[Target, ...]
    takes: str
    cut: dict[str, tuple[int, ...] | None]
    numbers: tuple[tuple[str, str], ...]
    error: float


def compaction_of(model: nn.Module) -> Compaction | None:
    """What `compact` did to a model, if it is one of those it returned."""
    found: Compaction | None = model.__dict__.get(_COMPACTED)
    return found


def compact(model: M, selection: JointSelection, example_inputs: Any, *, takes: str = "kept") -> M:
    """Make a model that has the kept joints alone and equals the masked one.

    Args:
        model: a model with a frozen mask in front, as `load_pruned` returns it; it stays as it is.
        selection: its selection, as in `selection.json` or from `analyze_pruning`.
        example_inputs: what the model's forward takes, with all joints: a tuple of arguments, a
            dict of named ones, or one tensor. Where the model has no forward, what the submodule
            takes that the skeleton enters.
        takes: `"kept"`, the result takes the kept joints in their order, or `"all"`, it takes all
            joints and picks them out.

    Returns:
        A model of the same class in evaluation mode, with fewer parameters under the same names.
        It can be trained, saved by `save_compact` and compacted no further.

    Raises:
        CompactionError: if it cannot be smaller and equal; says which layer needs the dropped
            joints, and why.
        ValueError: if the selection is not that of the model, or the mask is not frozen.

    Equal means: in float64, on the example and on random skeletons, no output differs by more than
    1e-5 of the largest. With a `fill` that is not 0 this is said of frames that are no padding.
    """
    if takes not in ("kept", "all"):
        raise ValueError(f'Expected takes="kept" or "all" but got {takes!r}.')
    layer, targets = masked_entrance(model)
    check_selection(layer, selection)
    caller = _caller(model, targets, takes)
    call = Call.of(example_inputs).double()
    plain = _plain(model)
    walk = Walk(
        trace(plain, caller, targets, layer.num_joints, call),
        RULES,
        lambda x, axes, start, stop: _masked(layer, x, axes, range(start, stop)),
    )
    plan = _followed(walk)
    mask = layer.current_mask().cpu()
    changed = resized(plain, plan)
    numbers, error = _proved(model, plain, changed, mask, targets, caller, call)
    result = _with_layers_off(model)
    cut = _shapes(result, changed)
    _shrink(result, resized(result, plan), numbers, int(mask.sum()))
    done = Compaction(selection, targets, takes, cut, numbers, error)
    return finished(result, done)


def finished(model: M, done: Compaction) -> M:
    """The compact model with what stands in front of it."""
    if done.takes == "all":
        for target in done.targets:
            attach(model, target, SelectLayer(torch.tensor(done.selection.mask)))
    model.__dict__[_COMPACTED] = done
    return model.eval()


# --- what is asked for ---------------------------------------------------------------------------


def masked_entrance(model: nn.Module) -> tuple[JointPruningLayer, tuple[Target, ...]]:
    """The layer with the frozen mask in front of a model, and where it stands.

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
    found = [(t, one) for t, one in attached_layers(model) if isinstance(one, JointPruningLayer)]
    layers = {id(one): one for _, one in found}
    if len(layers) != 1:
        inside = any(isinstance(module, JointPruningLayer) for module in model.modules())
        fix = (
            "A layer in the model's own forward cannot be compacted"
            if inside
            else 'Pass load_pruned(MyModel, "best.ckpt")'
        )
        raise ValueError(
            f"Expected a model with a mask in front of it but got {type(model).__name__} with "
            f"{len(layers)}. {fix}."
        )
    (layer,) = layers.values()
    if layer.mask is None or layer.mode not in ("masked", None):
        raise ValueError(
            f"Expected a frozen mask but got gates in the mode {layer.mode!r}, which are still "
            'searched. Finish the run, and pass load_pruned(MyModel, "best.ckpt").'
        )
    if not isinstance(layer.fill, float) and layer.fill != "mean":
        raise CompactionError(
            f"Expected a fill that is the same for every input but got {layer.fill!r}, with which "
            'dropped joints still reach the model. Train with fill=0.0 or fill="mean".'
        )
    return layer, tuple(target for target, _ in found)


def check_selection(layer: JointPruningLayer, selection: JointSelection) -> None:
    """Make sure that a selection is that of a mask.

    Raises:
        ValueError: if it has other joints, another order or number of them, or keeps others.
    """
    names = layer.joint_names or tuple(f"joint_{n}" for n in range(layer.num_joints))
    if selection.num_joints != layer.num_joints:
        raise ValueError(
            f"Expected a selection out of the model's {layer.num_joints} joints but got one out of "
            f"{selection.num_joints}. Pass the selection.json of the model's own run."
        )
    if layer.joint_names and tuple(selection.joint_names) != tuple(names):
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
    """Path of the module that is called: the model, or what the skeleton enters if it cannot be."""
    (entered, *others) = {target.module for target in targets}
    forward = type(model).forward
    own = forward.__name__ != "_forward_unimplemented" and forward.__module__.split(".")[0] not in (
        "lightning",
        "pytorch_lightning",
    )
    return "" if own or others else entered


def _caller(model: nn.Module, targets: Sequence[Target], takes: str) -> str:
    """Path of the module that the example is for."""
    called = called_by_users(model, targets)
    deeper = [target.module for target in targets if target.module != called]
    if takes == "kept" and deeper:
        raise ValueError(
            f"Expected the skeleton to enter in the model's own forward but got {deeper[0]}, to "
            'which something else passes it. Pass takes="all".'
        )
    return called


def _plain(model: M) -> M:
    return _with_layers_off(model).double().eval()


def _with_layers_off(model: M) -> M:
    """A copy with nothing in front."""
    copied = copy.deepcopy(model)
    detach(copied)
    return copied.eval()


def _masked(layer: JointPruningLayer, x: Tensor, axes: str, joints: range) -> tuple[Tensor, Tensor]:
    words = tuple(axes.split())
    mask = layer.current_mask()[joints.start : joints.stop].cpu()
    masked = layer(x, words, joints)
    note_dead = masked.index_select(words.index("j"), (~mask).nonzero().flatten())
    others = [dim for dim, word in enumerate(words) if word not in ("j", "c")]
    first = note_dead
    for dim in others:
        first = first.narrow(dim, 0, 1)
    if not (note_dead == first).all():
        raise CompactionError(
            "Expected an example whose frames are no padding, since this model's dropped joints "
            "become a value that is not 0 and padding does not, but got one with frames of nothing "
            "but 0 or NaN. Cut them off; in padding the compact model is not the masked one."
        )
    return masked, mask


def _followed(walk: Walk) -> Plan:
    try:
        return walk.run()
    except RuntimeError as failed:
        raise CompactionError(
            "Expected a model that runs in float64 but got: "
            f"{str(failed).strip().splitlines()[0][:200]}. Take types from the input's dtype."
        ) from failed
    except Refused as refused:
        raise CompactionError(
            f"Expected a model that needs nothing of dropped joints but got {refused}. Keep the "
            "model as load_pruned returns it, or read the kept joints alone with SelectJoints and "
            "train a model of that many joints."
        ) from refused


# --- the proof -----------------------------------------------------------------------------------


class _Noisy:
    """Puts a random skeleton in the place of the example's, and a layer behind it."""

    def __init__(self, layer: Any, seed: int | None) -> None:
        self.layer, self.seed, self.num_joints = layer, seed, layer.num_joints

    def __call__(self, x: Tensor, axes: tuple[str, ...], joints: range | None = None) -> Tensor:
        x = x.double()
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed)
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype) * (1 + self.seed)
            x = torch.where(x == 0, x, noise.to(x.device))  # padding stays padding
        result: Tensor = self.layer(x, axes, joints)
        return result


def _proved(
    model: nn.Module,
    plain: nn.Module,
    changed: dict[str, Tensor],
    mask: Tensor,
    targets: Sequence[Target],
    caller: str,
    call: Call,
) -> tuple[tuple[tuple[str, str], ...], float]:
    """The attributes to change so that the compact model equals the masked one, and how far.

    Raises:
        CompactionError: if it does not.
    """
    layer, _ = masked_entrance(model)
    before = [_outputs(plain, targets, layer, caller, call, seed) for seed in _seeds()]
    said = ""
    for numbers in dict.fromkeys([(), tuple(numbers_of(plain, len(mask)))]):
        small = copy.deepcopy(plain)
        _shrink(small, changed, numbers, int(mask.sum()))
        try:
            after = [
                _outputs(small, targets, SelectLayer(mask), caller, call, seed) for seed in _seeds()
            ]
            error = max(map(difference, before, after))
        except (RuntimeError, ValueError, IndexError, AssertionError) as failed:
            said = said or f"it failed with: {str(failed).strip().splitlines()[0][:200]}"
            continue
        if error <= TOLERANCE:
            return numbers, error
        said = f"it differs by {error:.2g} of the largest output"
    raise CompactionError(
        f"Expected a compact model that equals the masked one but got one that does not: {said}. "
        "A size or a number of a joint may be written into the forward; take it from the input's "
        "shape, or keep the number of joints in an attribute."
    )


def _seeds() -> list[int | None]:
    return [None, *range(DRAWS)]


def _shrink(
    model: nn.Module,
    changed: dict[str, Tensor],
    numbers: Sequence[tuple[str, str]],
    kept: int,
) -> None:
    fit(model, changed)
    for path, word in numbers:
        setattr(module_at(model, path), word, kept)


def _outputs(
    model: nn.Module,
    targets: Sequence[Target],
    layer: Any,
    caller: str,
    call: Call,
    seed: int | None,
) -> list[Tensor]:
    """The tensors that a model returns with a layer in front."""
    for target in targets:
        attach(model, target, _Noisy(layer, seed))
    try:
        return call.on(module_at(model, caller))
    finally:
        detach(model)


def difference(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Largest difference over the largest value, of outputs that belong together.

    Raises:
        ValueError: if they have other shapes, or one is not finite.
    """
    shapes = [[tuple(one.shape) for one in some] for some in (before, after)]
    if shapes[0] != shapes[1] or not before:
        raise ValueError(f"Expected outputs of the shapes {shapes[0]} but got {shapes[1]}.")
    worst = 0.0
    for one, other in zip(before, after, strict=True):
        if not one.is_floating_point():
            worst = max(worst, float((one != other).any()))
            continue
        if not (one.isfinite().all() and other.isfinite().all()):
            raise ValueError("Expected finite outputs but got some that are not.")
        scale = one.abs().max().clamp(min=1e-30)
        worst = max(worst, float((one - other).abs().max() / scale))
    return worst


def _shapes(model: nn.Module, changed: dict[str, Tensor]) -> dict[str, tuple[int, ...] | None]:
    before = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        name: tuple(before[name].shape) if name in before else None
        for name, tensor in changed.items()
        if name not in before or before[name].shape != tensor.shape
    }
