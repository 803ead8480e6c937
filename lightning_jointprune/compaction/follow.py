"""Follows the joints through a traced model, operation by operation, with true values beside them.

Every value of the masked model is one of three kinds. It is *whole*: the compact model has the
same. It is `Kept`: the compact model has it with some entries of one axis left out. As long as
those depend on no input, what they add can be computed; later they may not be used. Or it is
`Shifted`: the compact model has it but for a factor and a summand that depend on no input. `rules`
and `products` say what each operation makes of these; here is what they have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from lightning_jointprune.compaction.tracing import (
    CompactionError,
    Graph,
    arguments,
    operation,
    submodule_of,
)


@dataclass(frozen=True)
class Kept:
    """Says that the compact model has some entries of one axis of a value.

    Args:
        dim: the axis.
        mask: which entries it has, shape `(n,)`, bool; at least one is there and one is not.
        known: whether the missing entries depend on no input.
    """

    dim: int
    mask: Tensor
    known: bool = True

    def spread(self, shape: Sequence[int]) -> Tensor:
        """Return the mask along its axis of a tensor of this shape."""
        view = [-1 if dim == self.dim else 1 for dim in range(len(shape))]
        return self.mask.view(view).expand(*shape)


@dataclass(frozen=True)
class Shifted:
    """Says that a value is `scale * compact + shift`.

    Args:
        scale: the factor, in the shape of the value.
        shift: the summand, in the shape of the value.
    """

    scale: Tensor
    shift: Tensor


Note = Kept | Shifted | None  # how the compact model has a value; None if it has the whole value

TAKEN_ON = "dropped joints take on what depends on the input, and are used later"
CONSTANT = "dropped joints add a constant, or a factor, that would have to be put in before this"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Names of operations that change each entry of a tensor by itself, that move entries, that leave
# some out, and that look them up by number.
POINTWISE = _words(
    "abs add alias atan2 bitwise_and bitwise_not bitwise_or ceil celu clamp clamp_max "
    "clamp_min clone contiguous cos detach div dropout elu eq erf exp expm1 feature_dropout "
    "float floor floor_divide ge gelu gt hardsigmoid hardswish hardtanh isfinite isinf isnan "
    "le leaky_relu lift_fresh lift_fresh_copy log log1p log2 log_sigmoid logical_and "
    "logical_not logical_or lt masked_fill maximum minimum mish mul multiply nan_to_num ne "
    "neg pow prelu reciprocal relu relu6 remainder round rsqrt rsub selu sigmoid sign silu "
    "sin softplus softsign sqrt square sub tan tanh to _to_copy type_as where xlogy divide "
    "subtract true_divide"
)
MOVES = _words(
    "broadcast_to cat concat expand expand_as flatten flip fliplr hstack movedim mT moveaxis "
    "numpy_T permute repeat reshape squeeze stack swapaxes t tile transpose unflatten "
    "unsqueeze view view_as vstack _unsafe_view"
)
CHOICES = _words("chunk index_select narrow roll select slice split split_with_sizes unbind")
LOOKUPS = _words("embedding index gather")


@dataclass
class Plan:
    """Lists the changes of a model's tensors.

    Args:
        cuts: name to axis to the entries that are kept, bool.
        scales: name of a weight to the factor of its inputs, shape `(inputs,)`.
        biases: name of a bias to the summand of it, or to its value where there is none yet.
    """

    cuts: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    scales: dict[str, Tensor] = field(default_factory=dict)
    biases: dict[str, Tensor] = field(default_factory=dict)


class Refused(CompactionError):  # noqa: N818 -- it is not raised to the user
    """Says that an operation has no equal with fewer joints.

    Args:
        node: the operation.
        reason: a sentence without its end.
    """

    def __init__(self, node: Node, reason: str) -> None:
        self.node, self.layer, self.reason = node, submodule_of(node), reason
        where = f"layer `{self.layer}`" if self.layer else "the model's own forward"
        super().__init__(f"{where} ({operation(node)}): {reason}")


Rule = Callable[["Walk", Node], Any]
Entrance = Callable[[Tensor, str, int, int], tuple[Tensor, Tensor]]


class Walk:
    """Goes through a graph once.

    Args:
        graph: the traced model.
        rules: name of an operation to the rule for it.
        enter: called with the tensor that enters, its axes and its range of joints; returns the
            tensor with the fill of dropped joints, and which joints are kept.

    Attributes:
        value: every node's value in the masked model.
        note: every node's note, without the nodes whose value is whole.
        fixed: the nodes that depend on parameters and buffers alone.
        plan: the changes of the model's tensors.
    """

    def __init__(self, graph: Graph, rules: Mapping[str, Rule], enter: Entrance) -> None:
        self.graph, self.rules, self.enter = graph, rules, enter
        self.value: dict[Node, Any] = {}
        self.note: dict[Node, Any] = {}
        self.fixed: set[Node] = set()
        self.plan = Plan()
        self._demanded: set[tuple[Node, Node]] = set()

    def run(self) -> Plan:
        """Follow the joints to the end, and return the plan.

        Raises:
            Refused: where an operation has no equal.
        """
        with torch.no_grad():
            for node in self.graph.nodes:
                self._visit(node)
        self._check_shared()
        return self.plan

    def _visit(self, node: Node) -> None:
        if node.op == "placeholder":
            self.value[node] = self.graph.tensors[node]
            if node in self.graph.names:
                self.fixed.add(node)
            return
        if node.op == "output":
            reached = [source for source in node.all_input_nodes if self.note.get(source)]
            if reached:
                by_joint = any(isinstance(self.note[source], Kept) for source in reached)
                says = "the model returns what it makes of each joint, dropped ones too"
                raise Refused(reached[0], says if by_joint else CONSTANT)
            return
        if operation(node) == "entrance":
            self._enter(node)
            return
        self.value[node] = self.again(node, {})
        if _is_new(node) or all(source in self.fixed for source in node.all_input_nodes):
            if not _draws(node):
                self.fixed.add(node)
            return
        if any(self.note.get(source) for source in node.all_input_nodes):
            self._apply(node)

    def _enter(self, node: Node) -> None:
        given = arguments(node)
        x, axes = given["x"], given["axes"]
        if self.note.get(x):
            raise Refused(node, "the skeleton comes through here twice")
        self.value[node], mask = self.enter(self.value[x], axes, given["start"], given["stop"])
        if not mask.all():
            self.note[node] = Kept(axes.split().index("j"), mask)

    def _apply(self, node: Node) -> None:
        name = operation(node)
        rule = self.rules.get(name) or self.rules.get(name.removesuffix("_"))
        if rule is None:
            raise Refused(node, f"what {name} does with joints is not known to have an equal")
        note = rule(self, node)
        if any(isinstance(of, Kept) and not of.known for _, of in self.noted(node.all_input_nodes)):
            note = unknown(note)
        if note is not None:
            self.note[node] = note

    def _check_shared(self) -> None:
        for node, name in self.graph.names.items():
            for user in node.users if name in self.plan.cuts else ():
                if operation(user) == "_assert_tensor_metadata":  # belongs to a change of type
                    continue
                if (node, user) not in self._demanded:
                    raise Refused(user, f"needs all of `{name}`, which elsewhere is cut")

    # --- for the rules -------------------------------------------------------------------------

    def again(self, node: Node, changed: Mapping[Node, Any]) -> Any:
        """Return the value of an operation with other values of some of its inputs."""

        def look(source: Node) -> Any:
            return changed[source].contiguous() if source in changed else self.value[source]

        return node.target(*map_arg(node.args, look), **map_arg(node.kwargs, look))  # type: ignore[operator]

    def noted(self, nodes: Iterable[Any]) -> list[tuple[Node, Any]]:
        """Return the arguments that are not whole, with their notes."""
        return [
            (node, self.note[node])
            for node in nodes
            if isinstance(node, Node) and self.note.get(node)
        ]

    def kept(self, node: Node, nodes: Iterable[Any]) -> list[tuple[Node, Kept]]:
        """Return the arguments that are not whole, and refuse those that are shifted."""
        found = self.noted(nodes)
        if any(isinstance(note, Shifted) for _, note in found):
            raise Refused(node, CONSTANT)
        return found

    def dead(self, node: Node) -> Tensor:
        """Return the entries of a kept value that the compact model lacks.

        Raises:
            Refused: if they depend on the input.
        """
        note: Kept = self.note[node]
        if not note.known:
            raise Refused(node, TAKEN_ON)
        value: Tensor = self.value[node]
        return value.index_select(note.dim, (~note.mask).nonzero().flatten())

    def only_dead(self, node: Node) -> Tensor:
        """Return a kept value with 0 for the entries that the compact model has; see `dead`."""
        value: Tensor = self.value[node]
        if not self.note[node].known:
            raise Refused(node, TAKEN_ON)
        return torch.where(self.note[node].spread(value.shape), value.new_zeros(()), value)

    def demand(self, node: Any, dim: int, mask: Tensor, user: Node) -> None:
        """Cut entries of an axis of a fixed value, back to the parameters that it is made of.

        Args:
            node: the value to be cut.
            dim: the axis.
            mask: which entries are kept.
            user: the operation that needs them.

        Raises:
            Refused: if it depends on inputs, or is cut otherwise elsewhere.
        """
        if node not in self.fixed:
            raise Refused(user, "all joints are needed by something else that enters here")
        self._demanded.add((node, user))
        name = self.graph.names.get(node)
        if name is None:
            self._demand_of(node, dim, mask, user)
            return
        cut = self.plan.cuts.setdefault(name, {}).setdefault(dim, mask)
        if not torch.equal(cut, mask):
            raise Refused(user, f"other joints of `{name}` are needed here than elsewhere")

    def _demand_of(self, node: Node, dim: int, mask: Tensor, user: Node) -> None:
        inputs = node.all_input_nodes
        shape = self.value[node].shape
        if not inputs or _is_new(node):
            if node.op == "placeholder" or not _uniform(self.value[node], dim):
                raise Refused(user, "joints are numbered here by what is no parameter or buffer")
            return
        name = operation(node).removesuffix("_")
        if name in ("zeros_like", "ones_like"):
            return
        if name in LOOKUPS:
            self._demand_looked_up(node, dim, mask)
        elif name in POINTWISE:
            for source in inputs:
                at = dim - len(shape) + self.value[source].ndim
                if at >= 0 and self.value[source].shape[at] != 1:
                    self.demand(source, at, mask, node)
        elif name in MOVES or name in CHOICES:
            for source in inputs:
                self._demand_moved(node, source, Kept(dim, mask).spread(shape), user)
        else:
            raise Refused(node, f"parameters of joints go through {name}, which needs them all")

    def _demand_looked_up(self, node: Node, dim: int, mask: Tensor) -> None:
        """Cut the rows of a table, or the numbers by which they are looked up."""
        table, numbers = node.all_input_nodes[:2]
        if any(root.op == "placeholder" for root in _roots(numbers)):
            self.demand(numbers, dim, mask, node)
            return
        found = self.value[numbers].movedim(dim, -1)
        if not (found == torch.arange(len(mask))).all():
            raise Refused(node, "joints are picked by number here")
        self.demand(table, 0, mask, node)  # the kept rows then have the numbers 0, 1, …

    def _demand_moved(self, node: Node, source: Node, mask: Tensor, user: Node) -> None:
        """Cut an input of an operation that only moves entries."""
        shape = self.value[source].shape
        places = torch.arange(shape.numel()).view(shape)
        others = {
            other: torch.full_like(self.value[other], -1, dtype=torch.int64)
            for other in node.all_input_nodes
            if other is not source
        }
        moved = self.again(node, {source: places, **others})
        kept, dropped = moved[mask].unique(), moved[~mask].unique()
        kept, dropped = kept[kept >= 0], dropped[dropped >= 0]
        if torch.equal(kept, dropped):  # the same for all joints
            self._demanded.add((source, node))
            return
        for dim, size in enumerate(shape):
            stride = shape[dim + 1 :].numel()
            mine, gone = (kept // stride % size).unique(), (dropped // stride % size).unique()
            if not torch.isin(mine, gone).any():
                left = torch.ones(size, dtype=torch.bool)
                left[gone] = False
                self.demand(source, dim, left, node)
                return
        raise Refused(user, "joints are mixed in what enters here")


def _is_new(node: Node) -> bool:
    """Return whether only type and device are taken from an input."""
    return operation(node) in ("new_zeros", "new_ones", "new_full")


def _draws(node: Node) -> bool:
    return operation(node).startswith(("rand", "normal", "bernoulli"))


def _uniform(value: Tensor, dim: int) -> bool:
    """Return whether all entries along an axis are alike."""
    return bool((value == value.narrow(dim, 0, 1)).all())


def _roots(node: Node) -> list[Node]:
    """Return the nodes without inputs that a node is made of."""
    inputs = node.all_input_nodes
    return [root for source in inputs for root in _roots(source)] if inputs else [node]


def unknown(note: Any) -> Any:
    """Return the note, or notes of several values, for entries that may depend on the input."""
    if isinstance(note, (list, tuple)):
        return [unknown(single) for single in note]
    return replace(note, known=False) if isinstance(note, Kept) else note


def shifted(scale: Tensor, shift: Tensor) -> Note:
    """Return a correction, or None where nothing has to be corrected."""
    return Shifted(scale, shift) if (scale != 1).any() or shift.any() else None


def size_of(sizes: Any, place: int) -> int:
    """Return the size of one axis of a window."""
    sizes = [sizes] if isinstance(sizes, int) else sizes
    return int(sizes[place if len(sizes) > 1 else 0])
