"""Follows joints through products with weights, which leave out weights and change the bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx import Node

from lightning_jointprune.compaction.follow import (
    CONSTANT,
    TAKEN_ON,
    Kept,
    Note,
    Refused,
    Walk,
    shifted,
    size_of,
)
from lightning_jointprune.compaction.tracing import arguments, operation


def contract(
    walk: Walk, node: Node, terms: Sequence[str], result: str, operands: Sequence[Node]
) -> Note:
    """Follow joints through a product that sums over axes, in einsum's letters."""
    noted = walk.kept(node, operands)
    letters = {terms[operands.index(operand)][note.dim] for operand, note in noted}
    mask = noted[0][1].mask
    if len(letters) > 1 or any(not torch.equal(note.mask, mask) for _, note in noted):
        raise Refused(node, "joints meet joints along another axis")
    (letter,) = letters
    used = _used(walk, node, letter, mask, terms, result, operands)
    if used is not None:
        return used or None
    free, known = letter in result, True
    for term, other in zip(terms, operands, strict=True):
        dim, shape = term.find(letter), walk.value[other].shape
        if other in dict(noted):
            continue
        if dim >= 0 and shape[dim] != 1:
            walk.demand(other, dim, mask, node)
        elif other not in walk.fixed and any(
            not n.known or walk.dead(operand).any() for operand, n in noted
        ):
            known = False
    if free:
        return Kept(result.index(letter), mask, known)
    if not known:
        raise Refused(node, TAKEN_ON)
    rest = walk.again(node, {noted[0][0]: walk.only_dead(noted[0][0])})
    return shifted(torch.ones_like(rest), rest)


def _used(
    walk: Walk,
    node: Node,
    letter: str,
    mask: Tensor,
    terms: Sequence[str],
    result: str,
    operands: Sequence[Node],
) -> Kept | Literal[False] | None:
    """Return the note of a sum whose fixed weights leave dropped joints out, or None without such.

    These are weights of each joint that are 0 for dropped ones, or a graph in which no kept joint
    has a message from a dropped one. What dropped joints get does not matter then. The note is
    False where the sum has no joints left.
    """
    if letter in result:
        return None
    for term, weights in zip(terms, operands, strict=True):
        if weights not in walk.fixed or letter not in term:
            continue
        value, axis = walk.value[weights].movedim(term.index(letter), -1), term.index(letter)
        if not value[..., ~mask].any():
            walk.demand(weights, axis, mask, node)
            return False
        for other in set(term) & set(result):
            place = term.index(other)
            if walk.value[weights].shape[place] == len(mask) and is_apart(
                walk.value[weights] != 0, place, axis, mask
            ):
                walk.demand(weights, axis, mask, node)
                walk.demand(weights, place, mask, node)
                return Kept(result.index(other), mask, known=False)
    return None


def is_apart(joined: Tensor, to: int, by: int, mask: Tensor) -> bool:
    """Return whether no kept joint has a message from a dropped one.

    Args:
        joined: which joint has a message from which, bool.
        to: axis of the joints that get a message.
        by: axis of the joints that send it.
        mask: which joints are kept, shape `(J,)`, bool.
    """
    return not joined.movedim((to, by), (0, 1))[mask][:, ~mask].any()


def einsum(walk: Walk, node: Node) -> Note:
    """Follow joints through an einsum that is written in letters."""
    equation = str(node.args[0]).replace(" ", "")
    operands: Any = node.args[1]
    if "->" not in equation or "." in equation:
        raise Refused(node, f"the equation {equation!r} is not read; write all letters and ->")
    left, result = equation.split("->")
    return contract(walk, node, left.split(","), result, operands)


def matmul(walk: Walk, node: Node) -> Note:
    """Follow joints through a matrix product, also of batches."""
    x, y = node.args[:2]
    if operation(node) in ("addmm", "baddbmm"):
        raise Refused(node, "write it as a matrix product and a sum")
    sizes = [walk.value[factor].ndim for factor in (x, y)]  # type: ignore[index]
    if min(sizes) < 2:
        raise Refused(node, "a product with a vector is not read; give it two axes")
    batch = "abcdefgh"[: max(sizes) - 2]
    terms = [batch[len(batch) - size + 2 :] for size in sizes]
    operands = [x, y]
    return contract(walk, node, [terms[0] + "xy", terms[1] + "yz"], batch + "xz", operands)  # type: ignore[arg-type]


def linear(walk: Walk, node: Node) -> Note:
    """Follow joints through a linear layer."""
    given = arguments(node)
    x, weight = given["input"], given["weight"]
    if walk.note.get(x) is None:
        raise Refused(node, "its weights depend on joints")
    last = walk.value[x].ndim - 1
    return _weighted(walk, node, last, last, {}, weight)


def conv(walk: Walk, node: Node) -> Note:
    """Follow joints through a convolution that has them as channels, or a window of one or all."""
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
        padded = padding == "same" if isinstance(padding, str) else size_of(padding, place)
        size = shape[note.dim]
        if size == 1 and size_of(given["stride"], place) == 1 and not padded:
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
    """Follow joints through a layer with weights, and put constants into its bias.

    Args:
        walk: the walk through the graph.
        node: the layer.
        inputs: the axis of its input that its weights sum over.
        outputs: the axis of its outputs in the result.
        whole: other axes of the input that the weights sum over, and their axes in the weights.
        weight: the weights, whose axis 1 has the inputs.
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
            raise Refused(node, CONSTANT)
        if (factor != 1).any():
            _scale(walk, node, weight, factor)
    return _fold(walk, rest, outputs, weight, bias)


def _along(value: Tensor, dim: int) -> Tensor | None:
    """Return a value that varies along one axis only, shape `(n,)`; None if it varies otherwise."""
    rows = value.movedim(dim, 0).flatten(1)
    return rows[:, 0] if torch.allclose(rows, rows[:, :1], rtol=1e-12, atol=1e-12) else None


def _scale(walk: Walk, node: Node, weight: Node, factor: Tensor) -> None:
    name = walk.graph.names.get(weight)
    if name is None or len(weight.users) > 1:
        raise Refused(node, "its weights are computed or shared, so no factor can go into them")
    walk.plan.scales[name] = factor


def _fold(walk: Walk, rest: Tensor, outputs: int, weight: Node, bias: Node | None) -> Note:
    """Put the constant that dropped joints add into the bias, or return it as a correction."""
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
    """Follow joints through a GRU, LSTM or RNN, as features of a frame or as a batch."""
    given = arguments(node)
    x, weights = given["input"], given["params"]
    ((_, note),) = walk.kept(node, [x])
    hidden = given["hx"] if isinstance(given["hx"], list) else [given["hx"]]
    if note.dim == (0 if given["batch_first"] else 1):
        for state in hidden:
            walk.demand(state, 1, note.mask, node)
        return [note, *(Kept(1, note.mask) for _ in hidden)]
    if note.dim != 2:
        raise Refused(node, "joints follow one another like frames")
    step = 4 if given["has_biases"] else 2
    for place in range(0, step * (1 + given["bidirectional"]), step):
        weight = weights[place]
        walk.demand(weight, 1, note.mask, node)
        rest = walk.only_dead(x) @ walk.value[weight].T
        bias = weights[place + 2] if given["has_biases"] else None
        if rest.any() and (bias is None or _fold(walk, rest, 2, weight, bias)):
            raise Refused(node, "dropped joints add what changes over time, or there is no bias")
    return None
