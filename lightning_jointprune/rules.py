"""What each operation makes of joints: the same with fewer of them, a correction, or a refusal."""

from __future__ import annotations

import operator as python
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from lightning_jointprune.follow import (
    CHOICES,
    MOVES,
    POINTWISE,
    Kept,
    Note,
    Refused,
    Rule,
    Shifted,
    Walk,
)
from lightning_jointprune.tracing import arguments, operation

# --- entries that are moved, or changed one by one -----------------------------------------------


def move(walk: Walk, node: Node) -> Any:
    """Move a mask as the values are moved."""
    noted = dict(walk.noted(node.all_input_nodes))
    if any(isinstance(note, Shifted) for note in noted.values()):
        return _move_shifted(walk, node, noted)
    where = {}
    for one in node.all_input_nodes:
        shape = walk.value[one].shape
        if one in noted:
            where[one] = noted[one].spread(shape)
        else:
            where[one] = torch.ones(shape, dtype=torch.bool)
            if one in walk.fixed and operation(node) in ("cat", "stack"):
                _demand_beside(walk, node, one, noted)
                where[one] = next(iter(noted.values())).spread(shape)
    return projected(walk.again(node, where), node)


def _demand_beside(walk: Walk, node: Node, one: Node, noted: dict[Node, Kept]) -> None:
    """Let a fixed value that stands beside joints have as many."""
    note = next(iter(noted.values()))
    along = arguments(node)["dim"] % walk.value[one].ndim
    if operation(node) == "stack" or along != note.dim:
        walk.demand(one, note.dim, note.mask, node)


def _move_shifted(walk: Walk, node: Node, noted: dict[Node, Any]) -> Note:
    walk_through = {one: walk.value[one] for one in node.all_input_nodes}
    for note in noted.values():
        if isinstance(note, Kept):
            raise Refused(node, "joints meet what is a mean or sum over joints")
    scales = {one: torch.ones_like(value) for one, value in walk_through.items()}
    shifts = {one: torch.zeros_like(value) for one, value in walk_through.items()}
    scales |= {one: note.scale for one, note in noted.items()}
    shifts |= {one: note.shift for one, note in noted.items()}
    return shifted(walk.again(node, scales), walk.again(node, shifts))


def projected(where: Any, node: Node) -> Any:
    """A mask of all entries as one of an axis, or of several values those of each."""
    if isinstance(where, (tuple, list)):
        notes = [projected(one, node) for one in where]
        return notes if any(notes) else None
    if where.all():
        return None
    for dim in range(where.ndim):
        mask = where.movedim(dim, 0).flatten(1).any(1)
        if torch.equal(Kept(dim, mask).spread(where.shape), where):
            return Kept(dim, mask)
    raise Refused(node, "the joints' axis is divided here")


def choose(walk: Walk, node: Node) -> Any:
    """Leave out entries of another axis than the joints'."""
    (one,) = node.all_input_nodes[:1]
    value, note = walk.value[one], walk.note[one]
    given = arguments(node)
    dims = given.get("dim", given.get("dims", 0))
    chosen = [dim % value.ndim for dim in (dims if isinstance(dims, list) else [dims])]
    whole = operation(node) == "slice" and walk.value[node].shape == value.shape
    if isinstance(note, Kept) and note.dim in chosen and not whole:
        raise Refused(node, "joints are picked by number here")
    return move(walk, node)


def item(walk: Walk, node: Node) -> Any:
    """One of several values."""
    notes: Any = walk.note[node.args[0]]  # type: ignore[index]
    return notes[node.args[1]]


def pointwise(walk: Walk, node: Node) -> Note:
    """Change entries one by one: what depends on no input still does not."""
    noted = walk.noted(node.all_input_nodes)
    if any(isinstance(note, Shifted) for _, note in noted):
        return _pointwise_shifted(walk, node, noted)
    ndim = walk.value[node].ndim
    axes = {note.dim - walk.value[one].ndim for one, note in noted}
    first = noted[0][1]
    if len(axes) > 1 or any(not torch.equal(note.mask, first.mask) for _, note in noted):
        raise Refused(node, "joints meet others along another axis or in another order")
    (axis,) = axes
    for other in node.all_input_nodes:
        if other not in dict(noted):
            _beside(walk, node, other, axis, first.mask, [one for one, _ in noted])
    return Kept(ndim + axis, first.mask)


def _beside(
    walk: Walk, node: Node, other: Node, axis: int, mask: Tensor, noted: Sequence[Node]
) -> None:
    """What joints are combined with, one by one, has to have as many, or the same for all."""
    value = walk.value[other]
    shape = value.shape if isinstance(value, Tensor) else ()
    alike = len(shape) < -axis or shape[axis] == 1
    if other in walk.fixed:
        if not alike:
            walk.demand(other, len(shape) + axis, mask, node)
    elif not alike:
        raise Refused(node, f"{int(mask.sum())} joints meet all {len(mask)} of them")
    elif not _unmoved(walk, node, noted):
        raise Refused(node, "dropped joints would take on what depends on the input")


def _unmoved(walk: Walk, node: Node, noted: Sequence[Node]) -> bool:
    """Whether dropped joints stay what they are whatever they are combined with."""
    if len(noted) != 1 or node.args[0] is not noted[0] and operation(node) != "mul":
        return False
    dead = walk.dead(noted[0])
    if operation(node) in ("mul", "div", "bitwise_and", "logical_and"):
        return not dead.any()
    return operation(node) == "masked_fill" and bool((dead == node.args[2]).all())  # type: ignore[operator]


def _pointwise_shifted(walk: Walk, node: Node, noted: Sequence[tuple[Node, Any]]) -> Note:
    name, out = operation(node), walk.value[node]
    if len(noted) == 1 and isinstance(noted[0][1], Shifted):
        (one, note), others = noted[0], [o for o in node.all_input_nodes if o is not noted[0][0]]
        if name in ("dropout", "clone", "contiguous", "detach", "alias", "to", "_to_copy"):
            return note
        scale, shift = note.scale.expand_as(out), note.shift.expand_as(out)
        if name == "add" and (scale == 1).all() and arguments(node).get("alpha", 1) == 1:
            return Shifted(scale, shift)
        if name in ("mul", "div") and node.args[0] is one and all(o in walk.fixed for o in others):
            return Shifted(scale, walk.again(node, {one: note.shift}))
    raise Refused(node, "the mean or sum over joints has to be corrected before this")


def shifted(scale: Tensor, shift: Tensor) -> Note:
    """A correction, or none where nothing is to be corrected."""
    return Shifted(scale, shift) if (scale != 1).any() or shift.any() else None


# --- along an axis -------------------------------------------------------------------------------


def along(walk: Walk, node: Node) -> Note:
    """What mixes the entries of an axis, such as softmax: of another axis than the joints'."""
    ((one, note),) = walk.kept(node, node.all_input_nodes)
    value = walk.value[one]
    if arguments(node).get("dim", -1) % value.ndim == note.dim:
        raise Refused(node, "dropped joints have a share in what is computed over all joints")
    return note


def reduce(walk: Walk, node: Node) -> Note:
    """Sums, means and the like."""
    ((one, note),) = walk.noted(node.all_input_nodes)
    value, name, given = walk.value[one], operation(node), arguments(node)
    dims = _dims(given.get("dim"), value.ndim)
    if isinstance(note, Shifted):
        if name not in ("sum", "mean"):
            raise Refused(node, "the mean or sum over joints has to be corrected before this")
        scale = note.scale.amax(dims, keepdim=True)
        if (scale != note.scale).any():
            raise Refused(node, "what is reduced here has to be corrected before")
        kept_dims = scale if given.get("keepdim") else scale.squeeze(dims)
        return shifted(kept_dims, walk.again(node, {one: note.shift}))
    if note.dim not in dims:
        where = note.spread(value.shape).float().amin(dims, keepdim=bool(given.get("keepdim")))
        return projected(where.bool(), node)  # type: ignore[no-any-return]
    if name in ("sum", "mean"):
        share = note.mask.float().mean().item() if name == "mean" else 1.0
        rest = walk.again(node, {one: walk.only_dead(one)})
        return shifted(torch.full_like(rest, share), rest)
    dead = walk.dead(one)
    if (name == "any" and not dead.any()) or (name == "all" and dead.all()):
        return None
    raise Refused(node, f"dropped joints have a share in the {name} over all joints")


def _dims(given: Any, ndim: int) -> tuple[int, ...]:
    dims = [given] if isinstance(given, int) else given or range(ndim)
    return tuple(dim % ndim for dim in dims)


def normalise(walk: Walk, node: Node) -> Note:
    """Batch, layer, group and instance norm, in evaluation mode."""
    given = arguments(node)
    ((one, note),) = walk.kept(node, [given["input"]])
    name, ndim = operation(node), walk.value[one].ndim
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
    return note


def pool(walk: Walk, node: Node) -> Note:
    """Pooling: over frames joint by joint, or averages over all joints."""
    ((one, note),) = walk.kept(node, node.all_input_nodes)
    value, out, name = walk.value[one], walk.value[node], operation(node)
    if isinstance(out, tuple):
        raise Refused(node, "pooling with indices is not known to have an equal")
    spatial, given = int(name.removesuffix("_with_indices")[-2]), arguments(node)
    place = note.dim - (value.ndim - spatial)
    if place < 0:
        return note
    if name.startswith("adaptive_avg") and out.shape[note.dim] == 1:
        rest = walk.again(node, {one: walk.only_dead(one)})
        return shifted(torch.full_like(rest, note.mask.float().mean().item()), rest)
    if name.startswith("avg") and _of(given["kernel_size"], place) == len(note.mask):
        rest = walk.again(node, {one: walk.only_dead(one)})
        return shifted(torch.full_like(rest, note.mask.float().mean().item()), rest)
    sizes = [_of(given.get("kernel_size", 0), place), _of(given.get("stride") or 1, place)]
    if sizes == [1, 1] and out.shape[note.dim] == len(note.mask):
        return note
    raise Refused(node, "joints are pooled with their neighbours")


def _of(sizes: Any, place: int) -> int:
    """The size of one axis of a window."""
    sizes = [sizes] if isinstance(sizes, int) else sizes
    return int(sizes[place if len(sizes) > 1 else 0])


# --- products with weights -----------------------------------------------------------------------


def contract(
    walk: Walk, node: Node, terms: Sequence[str], result: str, operands: Sequence[Node]
) -> Note:
    """A product that sums over axes, in einsum's letters."""
    noted = walk.kept(node, operands)
    letters = {terms[operands.index(one)][note.dim] for one, note in noted}
    mask = noted[0][1].mask
    if len(letters) > 1 or any(not torch.equal(note.mask, mask) for _, note in noted):
        raise Refused(node, "joints meet joints along another axis")
    (letter,) = letters
    free = letter in result
    for term, other in zip(terms, operands, strict=True):
        dim, shape = term.find(letter), walk.value[other].shape
        if other in dict(noted):
            continue
        if dim >= 0 and shape[dim] != 1:
            walk.demand(other, dim, mask, node)
        elif other not in walk.fixed and any(walk.dead(one).any() for one, _ in noted):
            raise Refused(node, "dropped joints would take on what depends on the input")
    if free:
        return Kept(result.index(letter), mask)
    rest = walk.again(node, {noted[0][0]: walk.only_dead(noted[0][0])})
    return shifted(torch.ones_like(rest), rest)


def einsum(walk: Walk, node: Node) -> Note:
    """An einsum in letters."""
    equation = str(node.args[0]).replace(" ", "")
    operands: Any = node.args[1]
    if "->" not in equation or "." in equation:
        raise Refused(node, f"the equation {equation!r} is not read; write all letters and ->")
    left, result = equation.split("->")
    return contract(walk, node, left.split(","), result, operands)


def matmul(walk: Walk, node: Node) -> Note:
    """A matrix product, of batches too."""
    x, y = node.args[:2]
    if operation(node) in ("addmm", "baddbmm"):
        raise Refused(node, "write it as a matrix product and a sum")
    sizes = [walk.value[one].ndim for one in (x, y)]  # type: ignore[index]
    if min(sizes) < 2:
        raise Refused(node, "a product with a vector is not read; give it two axes")
    batch = "abcdefgh"[: max(sizes) - 2]
    terms = [batch[len(batch) - size + 2 :] for size in sizes]
    operands = [x, y]
    return contract(walk, node, [terms[0] + "xy", terms[1] + "yz"], batch + "xz", operands)  # type: ignore[arg-type]


def linear(walk: Walk, node: Node) -> Note:
    """A linear layer."""
    given = arguments(node)
    x, weight = given["input"], given["weight"]
    (noted,) = walk.noted([x]) or [(None, None)]
    if noted is None:
        raise Refused(node, "its weights depend on joints")
    return _weighted(walk, node, walk.value[x].ndim - 1, walk.value[x].ndim - 1, {}, weight)


def conv(walk: Walk, node: Node) -> Note:
    """A convolution whose channels are joints, or whose window is one joint or all."""
    given = arguments(node)
    x, weight = given["input"], given["weight"]
    note = walk.note.get(x)
    if note is None:
        raise Refused(node, "its weights depend on joints")
    shape = walk.value[weight].shape
    whole = {}
    if isinstance(note, Kept) and note.dim > 1:
        place = note.dim - 2
        padding = given["padding"]
        padded = padding == "same" if isinstance(padding, str) else _of(padding, place)
        size = shape[note.dim]
        if size == 1 and _of(given["stride"], place) == 1 and not padded:
            return note
        if size != len(note.mask) or padded:
            raise Refused(node, "joints are mixed with their neighbours in the order of the data")
        whole = {note.dim: note.dim}
    if given["groups"] != 1 and not (isinstance(note, Kept) and note.dim == 0):
        raise Refused(node, "channels of several joints are in groups")
    return _weighted(walk, node, 1, 1, whole, weight)


def _weighted(
    walk: Walk, node: Node, inputs: int, outputs: int, whole: dict[int, int], weight: Node
) -> Note:
    """What a layer with weights makes of its input; constants go into its bias.

    Args:
        walk: where it happens.
        node: the layer.
        inputs: the axis of its input that its weights sum over.
        outputs: the axis of its outputs in the result.
        whole: other axes that they sum over, with those of the weights.
        weight: the weights, whose axis 1 are the inputs.
    """
    given = arguments(node)
    x, bias = given["input"], given["bias"]
    note, zero = walk.note[x], {} if bias is None else {bias: torch.zeros_like(walk.value[bias])}
    if isinstance(note, Kept):
        if note.dim != inputs and note.dim not in whole:
            return note
        walk.demand(weight, whole.get(note.dim, 1), note.mask, node)
        rest = walk.again(node, {x: walk.only_dead(x), **zero})
    else:
        rest = walk.again(node, {x: note.shift, **zero})
        factor = _along(note.scale, inputs)
        if factor is None:
            raise Refused(node, "the mean or sum over joints has to be corrected before this")
        if (factor != 1).any():
            _scale(walk, node, weight, factor)
    return _fold(walk, node, rest, outputs, weight, bias)


def _along(value: Tensor, dim: int) -> Tensor | None:
    """A value that is the same but along one axis, shape `(n,)`; None where it is not."""
    rows = value.movedim(dim, 0).flatten(1)
    return rows[:, 0] if torch.allclose(rows, rows[:, :1], rtol=1e-12, atol=1e-12) else None


def _scale(walk: Walk, node: Node, weight: Node, factor: Tensor) -> None:
    name = walk.graph.names.get(weight)
    if name is None or len(weight.users) > 1:
        raise Refused(node, "its weights are computed or shared, so no factor can go into them")
    walk.plan.scales[name] = factor


def _fold(
    walk: Walk, node: Node, rest: Tensor, outputs: int, weight: Node, bias: Node | None
) -> Note:
    """Let what dropped joints add become part of the bias, or else be a correction."""
    if not rest.any():
        return None
    names = walk.graph.names
    added, name = _along(rest, outputs), names.get(weight if bias is None else bias, "")
    single = len((bias or weight).users) == 1
    if added is None or not single or (bias is None and not name.endswith("weight")):
        return shifted(torch.ones_like(rest), rest)
    name = name if bias is not None else f"{name.removesuffix('weight')}bias"
    walk.plan.biases[name] = added
    return None


def recurrent(walk: Walk, node: Node) -> Any:
    """GRU, LSTM and RNN: joints among the features of a frame, or one by one as a batch."""
    given = arguments(node)
    x, weights = given["input"], given["params"]
    ((_, note),) = walk.kept(node, [x])
    hidden = given["hx"] if isinstance(given["hx"], list) else [given["hx"]]
    if note.dim == (0 if given["batch_first"] else 1):
        for one in hidden:
            walk.demand(one, 1, note.mask, node)
        return [note, *(Kept(1, note.mask) for _ in hidden)]
    if note.dim != 2:
        raise Refused(node, "joints follow one another like frames")
    step = 4 if given["has_biases"] else 2
    for place in range(0, step * (1 + given["bidirectional"]), step):
        weight = weights[place]
        walk.demand(weight, 1, note.mask, node)
        rest = walk.only_dead(x) @ walk.value[weight].T
        bias = weights[place + 2] if given["has_biases"] else None
        if rest.any() and (bias is None or _fold(walk, node, rest, 2, weight, bias)):
            raise Refused(node, "dropped joints add what changes over time, or there is no bias")
    return None


def attention(walk: Walk, node: Node) -> Note:
    """Scaled dot products over other axes than the joints'."""
    noted = walk.kept(node, node.all_input_nodes)
    axes = {note.dim - walk.value[one].ndim for one, note in noted}
    if axes & {-1, -2}:
        raise Refused(node, "kept joints attend to dropped ones, which take part whatever they are")
    return pointwise(walk, node)


def constant_shape(walk: Walk, node: Node) -> Note:
    """Zeros or ones in the shape of joints."""
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
    "einsum": einsum,
    "linear": linear,
    "scaled_dot_product_attention": attention,
    python.getitem.__name__: item,
}
assert prod  # noqa
