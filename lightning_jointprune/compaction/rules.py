"""Follows joints through each operation: fewer of them, a correction, or a refusal."""

from __future__ import annotations

import operator as python
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from lightning_jointprune.compaction.follow import (
    CHOICES,
    CONSTANT,
    MOVES,
    POINTWISE,
    Kept,
    Note,
    Refused,
    Rule,
    Shifted,
    Walk,
    shifted,
    size_of,
)
from lightning_jointprune.compaction.products import conv, einsum, linear, matmul, recurrent
from lightning_jointprune.compaction.tracing import arguments, operation

ATTENDED = "kept joints attend to dropped ones, which take part whatever they are"
UNSEEN = -1e4  # largest summand of a score that leaves nothing of it behind a softmax

# --- entries that are moved, or changed each by itself -------------------------------------------


def move(walk: Walk, node: Node) -> Any:
    """Move a mask as the values are moved."""
    noted = dict(walk.noted(node.all_input_nodes))
    if any(isinstance(note, Shifted) for note in noted.values()):
        return _move_shifted(walk, node, noted)
    where = {}
    for source in node.all_input_nodes:
        shape = walk.value[source].shape
        if source in noted:
            where[source] = noted[source].spread(shape)
        else:
            where[source] = torch.ones(shape, dtype=torch.bool)
            if source in walk.fixed and operation(node) in ("cat", "stack"):
                where[source] = _beside_fixed(walk, node, source, next(iter(noted.values())))
    return projected(walk.again(node, where), node)


def _beside_fixed(walk: Walk, node: Node, source: Node, note: Kept) -> Tensor:
    """Cut a fixed value that is stacked beside joints, but not one that is appended to them."""
    shape = walk.value[source].shape
    if operation(node) == "cat" and arguments(node)["dim"] % len(shape) == note.dim:
        return torch.ones(shape, dtype=torch.bool)
    walk.demand(source, note.dim, note.mask, node)
    return note.spread(shape)


def _move_shifted(walk: Walk, node: Node, noted: dict[Node, Any]) -> Note:
    values = {source: walk.value[source] for source in node.all_input_nodes}
    for note in noted.values():
        if isinstance(note, Kept):
            raise Refused(node, "joints meet what dropped joints add a constant to")
    scales = {source: torch.ones_like(value) for source, value in values.items()}
    shifts = {source: torch.zeros_like(value) for source, value in values.items()}
    scales |= {source: note.scale for source, note in noted.items()}
    shifts |= {source: note.shift for source, note in noted.items()}
    return shifted(walk.again(node, scales), walk.again(node, shifts))


def projected(where: Any, node: Node) -> Any:
    """Return the note for a mask of all entries, or a list of notes for masks of several values."""
    if isinstance(where, (tuple, list)):
        notes = [projected(single, node) for single in where]
        return notes if any(notes) else None
    if where.all():
        return None
    for dim in range(where.ndim):
        mask = where.movedim(dim, 0).flatten(1).any(1)
        if torch.equal(Kept(dim, mask).spread(where.shape), where):
            return Kept(dim, mask)
    raise Refused(node, "the joints' axis is divided here")


def choose(walk: Walk, node: Node) -> Any:
    """Follow joints where entries of another axis than theirs are left out."""
    source = node.all_input_nodes[0]
    value, note = walk.value[source], walk.note.get(source)
    given = arguments(node)
    dims = given.get("dim", given.get("dims", 0))
    chosen = [dim % value.ndim for dim in (dims if isinstance(dims, list) else [dims])]
    whole = operation(node) == "slice" and walk.value[node].shape == value.shape
    if isinstance(note, Kept) and note.dim in chosen and not whole:
        raise Refused(node, "joints are picked by number here")
    return move(walk, node)


def look_up(walk: Walk, node: Node) -> Any:
    """Follow joints where entries of another axis than theirs are picked by numbers."""
    given = arguments(node)
    source: Any = given["self"]
    note, numbers = walk.note.get(source), given.get("indices") or ()
    if not isinstance(note, Kept) or any(walk.noted(numbers)) or note.dim < len(numbers):
        raise Refused(node, "joints are picked by number here")
    return projected(walk.again(node, {source: note.spread(walk.value[source].shape)}), node)


def item(walk: Walk, node: Node) -> Any:
    """Return the note of one of several values."""
    notes: Any = walk.note[node.args[0]]  # type: ignore[index]
    return notes[node.args[1]]


def pointwise(walk: Walk, node: Node) -> Note:
    """Follow joints where each entry is changed by itself."""
    noted = walk.noted(node.all_input_nodes)
    if any(isinstance(note, Shifted) for _, note in noted):
        return _pointwise_shifted(walk, node, noted)
    ndim = walk.value[node].ndim
    axes = {note.dim - walk.value[source].ndim for source, note in noted}
    first = noted[0][1]
    if len(axes) > 1 or any(not torch.equal(note.mask, first.mask) for _, note in noted):
        raise Refused(node, "joints meet others along another axis or in another order")
    (axis,) = axes
    alone = [source for source, _ in noted]
    others = [other for other in node.all_input_nodes if other not in alone]
    known = [_beside(walk, node, other, axis, first.mask, alone) for other in others]
    return Kept(ndim + axis, first.mask, all(known))


def _beside(
    walk: Walk, node: Node, other: Node, axis: int, mask: Tensor, noted: Sequence[Node]
) -> bool:
    """Cut what joints are combined with, unless it is the same for all of them.

    Returns:
        Whether dropped joints still depend on no input.
    """
    value = walk.value[other]
    shape = value.shape if isinstance(value, Tensor) else ()
    alike = len(shape) < -axis or shape[axis] == 1
    if other in walk.fixed:
        if not alike:
            walk.demand(other, len(shape) + axis, mask, node)
        return True
    if not alike:
        raise Refused(node, f"{int(mask.sum())} joints meet all {len(mask)} of them")
    return _unmoved(walk, node, noted)


def _unmoved(walk: Walk, node: Node, noted: Sequence[Node]) -> bool:
    """Return whether dropped joints keep their value whatever they are combined with."""
    if len(noted) != 1 or (node.args[0] is not noted[0] and operation(node) != "mul"):
        return False
    if not walk.note[noted[0]].known:
        return False
    dead = walk.dead(noted[0])
    if operation(node) in ("mul", "div", "bitwise_and", "logical_and"):
        return not dead.any()
    filled = arguments(node).get("value") if operation(node) == "masked_fill" else None
    return isinstance(filled, (int, float)) and bool((dead == filled).all())


def _pointwise_shifted(walk: Walk, node: Node, noted: Sequence[tuple[Node, Any]]) -> Note:
    name, out = operation(node), walk.value[node]
    if len(noted) == 1 and isinstance(noted[0][1], Shifted):
        source, note = noted[0]
        others = [other for other in node.all_input_nodes if other is not source]
        if name in ("dropout", "clone", "contiguous", "detach", "alias", "to", "_to_copy"):
            return Shifted(note.scale, note.shift)
        scale, shift = note.scale.expand_as(out), note.shift.expand_as(out)
        if name == "add" and (scale == 1).all() and arguments(node).get("alpha", 1) == 1:
            return Shifted(scale, shift)
        if (
            name in ("mul", "div")
            and node.args[0] is source
            and all(o in walk.fixed for o in others)
        ):
            return Shifted(scale, walk.again(node, {source: note.shift}))
    raise Refused(node, CONSTANT)


def pad(walk: Walk, node: Node) -> Note:
    """Follow joints where other axes than theirs are padded."""
    ((_, note),) = walk.kept(node, node.all_input_nodes)
    if walk.value[node].shape[note.dim] != len(note.mask):
        raise Refused(node, "joints are padded")
    return Kept(note.dim, note.mask)


# --- along an axis -------------------------------------------------------------------------------


def along(walk: Walk, node: Node) -> Note:
    """Follow joints where entries of another axis are mixed, as by a softmax."""
    ((source, note),) = walk.kept(node, node.all_input_nodes)
    if arguments(node).get("dim", -1) % walk.value[source].ndim == note.dim:
        raise Refused(node, "dropped joints have a share in what is computed over all joints")
    return Kept(note.dim, note.mask)


def reduce(walk: Walk, node: Node) -> Note:
    """Follow joints through sums, means and other reductions."""
    ((source, note),) = walk.noted(node.all_input_nodes)
    value, name, given = walk.value[source], operation(node), arguments(node)
    dims = _dims(given.get("dim"), value.ndim)
    if isinstance(note, Shifted):
        if name not in ("sum", "mean"):
            raise Refused(node, CONSTANT)
        scale = note.scale.amax(dims, keepdim=True)
        if (scale != note.scale).any():
            raise Refused(node, CONSTANT)
        kept_dims = scale if given.get("keepdim") else scale.squeeze(dims)
        return shifted(kept_dims, walk.again(node, {source: note.shift}))
    if note.dim not in dims:
        where = note.spread(value.shape).float().amin(dims, keepdim=bool(given.get("keepdim")))
        return projected(where.bool(), node)  # type: ignore[no-any-return]
    if name in ("sum", "mean"):
        share = note.mask.double().mean().item() if name == "mean" else 1.0
        rest = walk.again(node, {source: walk.only_dead(source)})
        return shifted(torch.full_like(rest, share), rest)
    dead = walk.dead(source)
    if (name == "any" and not dead.any()) or (name == "all" and dead.all()):
        return None
    raise Refused(node, f"dropped joints have a share in the {name} over all joints")


def _dims(given: Any, ndim: int) -> tuple[int, ...]:
    dims = [given] if isinstance(given, int) else given or range(ndim)
    return tuple(dim % ndim for dim in dims)


def normalise(walk: Walk, node: Node) -> Note:
    """Follow joints through batch, layer, group and instance norm, in evaluation mode."""
    given = arguments(node)
    ((_, note),) = walk.kept(node, [given["input"]])
    name, ndim = operation(node), walk.value[node].ndim
    if name in ("layer_norm", "rms_norm"):
        over = note.dim >= ndim - len(given["normalized_shape"])
    else:
        over = note.dim > 0 if name == "group_norm" else name == "instance_norm" and note.dim > 1
    if over:
        raise Refused(node, "its mean and variance are those of all joints, dropped ones too")
    if note.dim == 1 and name in ("batch_norm", "instance_norm"):
        for of in ("weight", "bias", "running_mean", "running_var"):
            if given[of] is not None:
                walk.demand(given[of], 0, note.mask, node)
    return Kept(note.dim, note.mask)


def pool(walk: Walk, node: Node) -> Note:
    """Follow joints through pooling over frames, or through averages over all joints."""
    ((source, note),) = walk.kept(node, node.all_input_nodes)
    value, out, name = walk.value[source], walk.value[node], operation(node)
    if isinstance(out, tuple):
        raise Refused(node, "pooling with indices is not known to have an equal")
    spatial, given = int(name.removesuffix("_with_indices")[-2]), arguments(node)
    place = note.dim - (value.ndim - spatial)
    if place < 0:
        return note
    if name.startswith("adaptive_avg") and out.shape[note.dim] == 1:
        rest = walk.again(node, {source: walk.only_dead(source)})
        return shifted(torch.full_like(rest, note.mask.double().mean().item()), rest)
    if name.startswith("avg") and size_of(given["kernel_size"], place) == len(note.mask):
        rest = walk.again(node, {source: walk.only_dead(source)})
        return shifted(torch.full_like(rest, note.mask.double().mean().item()), rest)
    sizes = [size_of(given.get("kernel_size", 0), place), size_of(given.get("stride") or 1, place)]
    if sizes == [1, 1] and out.shape[note.dim] == len(note.mask):
        return note
    raise Refused(node, "joints are pooled with their neighbours")


def attention(walk: Walk, node: Node) -> Note:
    """Follow joints through attention over other axes, or without messages from dropped joints."""
    noted = dict(walk.kept(node, node.all_input_nodes))
    axes = {note.dim - walk.value[source].ndim for source, note in noted.items()}
    if not axes & {-1, -2}:
        return pointwise(walk, node)
    given, mask = arguments(node), next(iter(noted.values())).mask
    query, key, allowed = given["query"], given["key"], given["attn_mask"]
    alike = axes == {-2} and all(torch.equal(note.mask, mask) for note in noted.values())
    if not alike or not {key, given["value"]} <= set(noted) or allowed not in walk.fixed:
        raise Refused(node, ATTENDED)
    value = walk.value[allowed]
    seen = value if value.dtype == torch.bool else value > UNSEEN
    among = query in noted and seen.shape[-2] == len(mask)
    asking = seen[..., mask, :] if among else seen
    if asking[..., ~mask].any():
        raise Refused(node, ATTENDED)
    for axis in (-1, -2) if among else (-1,):
        walk.demand(allowed, value.ndim + axis, mask, node)
    return Kept(walk.value[node].ndim - 2, mask, known=False) if query in noted else None


def constant_shape(walk: Walk, node: Node) -> Note:
    """Return the note of zeros or ones in the shape of joints."""
    return walk.note[node.args[0]]  # type: ignore[index, no-any-return]


def _all(names: Iterable[str] | str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split() if isinstance(names, str) else names, rule)


RULES: dict[str, Rule] = {
    **_all(POINTWISE, pointwise),
    **_all(MOVES, move),
    **_all(CHOICES, choose),
    **_all("softmax log_softmax cumsum sort argsort cumprod glu softmin", along),
    **_all("sum mean any all amax amin prod max min std var norm logsumexp argmax argmin", reduce),
    **_all("linalg_vector_norm", reduce),
    **_all("batch_norm layer_norm group_norm instance_norm rms_norm", normalise),
    **_all("avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d", pool),
    **_all("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d", pool),
    **_all("matmul bmm mm addmm baddbmm", matmul),
    **_all("conv1d conv2d conv3d", conv),
    **_all("gru lstm rnn_tanh rnn_relu", recurrent),
    **_all("zeros_like ones_like", constant_shape),
    **_all("pad constant_pad_nd", pad),
    "index": look_up,
    "einsum": einsum,
    "linear": linear,
    "scaled_dot_product_attention": attention,
    python.getitem.__name__: item,
}
