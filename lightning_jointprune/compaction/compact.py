"""Makes a physically smaller model for the kept joints, and proves it equal to the masked one.

`compact` follows the joints through the model (`tracing`, `follow`, `rules`), cuts parameters
(`surgery`), and compares the result with the masked model. Nothing is returned unproved.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lightning_jointprune.attach.hooks import attach, detach, expect
from lightning_jointprune.attach.modules import module_at
from lightning_jointprune.attach.target import Target
from lightning_jointprune.compaction.follow import Plan, Refused, Walk
from lightning_jointprune.compaction.proof import TOLERANCE, outputs, relative_difference, seeds
from lightning_jointprune.compaction.request import (
    Compaction,
    called_by_users,
    check_fill,
    check_layouts,
    check_selection,
    joints_of_compact,
    joints_of_example,
    masked_entrance,
    read_call,
    set_compaction,
    widths_of,
    with_layer_in_front,
)
from lightning_jointprune.compaction.rules import RULES
from lightning_jointprune.compaction.surgery import (
    PutBackLayer,
    SelectLayer,
    fit,
    numbers_of,
    resized,
)
from lightning_jointprune.compaction.tracing import WAY_OUT, Call, CompactionError, trace
from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.record.selection import JointSelection

M = TypeVar("M", bound=nn.Module)


def compact(
    model: M,
    selection: JointSelection,
    example_inputs: Any,
    *,
    takes: str = "kept",
    whole: bool = False,
) -> M:
    """Return a model that has only the kept joints and equals the masked one.

    Args:
        model: a model with a frozen mask in front, as `load_pruned` returns it; it stays as it is.
        selection: its selection, as in `selection.json` or from `analyze_pruning`.
        example_inputs: what the model's forward takes, with all joints: a batch or another single
            argument, a tuple of arguments, a dict of named ones, or a tuple with such a dict at its
            end. Where the model has no forward, those of the submodule that the skeleton enters.
        takes: `"kept"` for a result that takes the kept joints in their order, or `"all"` for one
            that takes all joints and picks them out. A `JointPruningLayer` in the model's own
            forward needs `"all"`, and becomes a layer that picks the joints out.
        whole: whether to leave the network as it is, for models that cannot be smaller. The result
            takes the kept joints and puts the values of dropped ones between them, so it is exact.

    Returns:
        A model of the same class in evaluation mode, with fewer parameters under the same names
        unless it is `whole`. It can be trained, saved by `save_compact` and compacted no further.

    Raises:
        CompactionError: if it cannot be smaller and equal; the message names the layer that needs
            the dropped joints, and the reason.
        ValueError: if the selection is not that of the model, the mask is not frozen, or the
            example is none that forward takes.

    Called with other joints than it takes, the result raises a ValueError.

    Equal means that no output differs by more than 1e-5 of the largest, in float64, on the example
    and on random skeletons. With a `fill` that is not 0, frames of padding are left out of this.
    """
    if takes not in ("kept", "all"):
        raise ValueError(f'Expected takes="kept" or "all" but got {takes!r}.')
    model = with_layer_in_front(model, example_inputs)
    layer, targets = masked_entrance(model)
    check_selection(layer, selection)
    check_layouts(targets)
    check_fill(layer)
    called = _called(model, targets, takes)
    entered = [target for target in targets if target.module == called]
    tried = module_at(_with_layers_off(model), called)
    call = read_call(tried, example_inputs, joints_of_example(entered, layer.num_joints))
    widths = widths_of(model, called, call, targets, layer.num_joints)
    if whole:
        done = Compaction(selection, targets, takes, {}, (), 0.0, widths=widths)
        return _whole(model, layer, done, call)
    call = call.double()
    plain = _in_float64(model)
    walk = Walk(
        trace(plain, called, targets, layer.num_joints, call),
        RULES,
        lambda x, axes, start, stop: _masked(layer, x, axes, range(start, stop)),
    )
    plan = _followed(walk)
    mask = layer.current_mask().cpu()
    changed = resized(plain, plan)
    numbers, error = _proved(layer, plain, changed, mask, targets, called, call)
    result = _with_layers_off(model)
    cut = _shapes(result, changed)
    _shrink(result, resized(result, plan), numbers, int(mask.sum()))
    done = Compaction(selection, targets, takes, cut, numbers, error, widths=widths)
    return finished(result, done)


def finished(model: M, done: Compaction) -> M:
    """Return the compact model with its layers in front."""
    mask = torch.tensor(done.selection.mask)
    for joints in joints_of_compact(done):
        target = joints.target
        expect(model, target, joints)
        if done.fill is not None:
            part = target.joints or range(len(mask))
            attach(model, replace(target, joints=None), _put_back(mask, done.fill, part, target))
        elif done.takes == "all":
            attach(model, target, SelectLayer(mask))
    set_compaction(model, done)
    return model.eval()


# --- the whole network ---------------------------------------------------------------------------


def _whole(model: M, layer: JointPruningLayer, asked: Compaction, call: Call) -> M:
    if asked.takes != "kept":
        raise ValueError(
            f'Expected takes="kept" with whole=True but got takes={asked.takes!r}. The model that '
            "load_pruned returns takes all joints and is exact."
        )
    result, targets = _with_layers_off(model), asked.targets
    called = called_by_users(model, targets)
    fill = layer.fill_mean.tolist() if layer.fill_mean is not None else layer.fill
    both = _SelectedAndPutBack(layer.current_mask().cpu(), fill, targets[0])
    error = max(
        relative_difference(
            outputs(result, targets, layer, called, call, seed, dtype=None),
            outputs(result, targets, both, called, call, seed, dtype=None),
        )
        for seed in seeds()
    )
    if error:
        raise CompactionError(
            "Expected a model that equals the masked one with its kept joints put back but got "
            f"one that differs by {error:.2g} of the largest output. In evaluation a forward may "
            "draw no random numbers."
        )
    return finished(result, replace(asked, fill=fill))


class _SelectedAndPutBack:
    """Picks the kept joints and puts them back for a whole model, in the proof."""

    def __init__(self, mask: Tensor, fill: Any, target: Target) -> None:
        self.mask, self.fill, self.target, self.num_joints = mask, fill, target, len(mask)

    def __call__(self, x: Tensor, axes: tuple[str, ...], joints: range | None = None) -> Tensor:
        part = range(self.num_joints) if joints is None else joints
        back = _put_back(self.mask, self.fill, part, self.target)
        found: Tensor = back(SelectLayer(self.mask)(x, axes, joints), axes)
        return found


def _put_back(mask: Tensor, fill: Any, part: range, target: Target) -> PutBackLayer:
    filled = torch.tensor(fill)
    if filled.ndim:
        filled = filled.narrow(target.layout.words.index("j"), part.start, len(part))
    return PutBackLayer(mask[part.start : part.stop], filled)


# --- what is asked for ---------------------------------------------------------------------------


def _called(model: nn.Module, targets: Sequence[Target], takes: str) -> str:
    """Return the path of the module that the example is for."""
    called = called_by_users(model, targets)
    deeper = [target.module for target in targets if target.module != called]
    if takes == "kept" and deeper:
        raise ValueError(
            f"Expected the skeleton to enter in the model's own forward but got {deeper[0]}, to "
            'which something else passes it. Pass takes="all".'
        )
    return called


def _in_float64(model: M) -> M:
    return _with_layers_off(model).double().eval()


def _with_layers_off(model: M) -> M:
    """Return a copy without layers in front."""
    copied = copy.deepcopy(model)
    detach(copied)
    return copied.eval()


def _masked(layer: JointPruningLayer, x: Tensor, axes: str, joints: range) -> tuple[Tensor, Tensor]:
    words = tuple(axes.split())
    mask = layer.current_mask()[joints.start : joints.stop].cpu()
    masked = layer(x, words, joints)
    dead = masked.index_select(words.index("j"), (~mask).nonzero().flatten())
    others = [dim for dim, word in enumerate(words) if word not in ("j", "c")]
    first = dead
    for dim in others:
        first = first.narrow(dim, 0, 1)
    if not (dead == first).all():
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
            f"Expected a model that needs nothing of dropped joints but got {refused}. {WAY_OUT}"
        ) from refused


# --- the proof -----------------------------------------------------------------------------------


def _proved(
    layer: JointPruningLayer,
    plain: nn.Module,
    changed: dict[str, Tensor],
    mask: Tensor,
    targets: Sequence[Target],
    called: str,
    call: Call,
) -> tuple[tuple[tuple[str, str], ...], float]:
    """Return the attributes to change so that both models are equal, and their largest difference.

    Raises:
        CompactionError: if they are not equal.
    """
    before = [outputs(plain, targets, layer, called, call, seed) for seed in seeds()]
    said = ""
    for numbers in dict.fromkeys([(), tuple(numbers_of(plain, len(mask)))]):
        small = copy.deepcopy(plain)
        _shrink(small, changed, numbers, int(mask.sum()))
        try:
            after = [
                outputs(small, targets, SelectLayer(mask), called, call, seed) for seed in seeds()
            ]
            error = max(map(relative_difference, before, after))
        except (RuntimeError, ValueError, IndexError, AssertionError) as failed:
            said = said or f"it failed with: {str(failed).strip().splitlines()[0][:200]}"
            continue
        if error <= TOLERANCE:
            return numbers, error
        said = f"it differs by {error:.2g} of the largest output"
    raise CompactionError(
        f"Expected a compact model that equals the masked one but got one that does not: {said}. "
        "A size or a number of a joint may be written into the forward; take it from the input's "
        f"shape, or keep the number of joints in an attribute. {WAY_OUT}"
    )


def _shrink(
    model: nn.Module,
    changed: dict[str, Tensor],
    numbers: Sequence[tuple[str, str]],
    kept: int,
) -> None:
    fit(model, changed)
    for path, word in numbers:
        setattr(module_at(model, path), word, kept)


def _shapes(model: nn.Module, changed: dict[str, Tensor]) -> dict[str, tuple[int, ...] | None]:
    before = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        name: tuple(before[name].shape) if name in before else None
        for name, tensor in changed.items()
        if name not in before or before[name].shape != tensor.shape
    }
