"""Traces a model's forward as a graph of operations, and marks where its skeleton enters.

`torch.export` does the tracing; the marks are calls of an operation of our own.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from lightning_jointprune.attach.hooks import attach, detach
from lightning_jointprune.attach.modules import MISSING, module_at, read
from lightning_jointprune.attach.target import Target

WAY_OUT = (
    "Pass whole=True for a model that takes the kept joints alone, is exact, and leaves the "
    "network as it is; or train a model of that many joints behind SelectJoints."
)

DEEPEST = 4  # objects within objects of an example that are looked into


class CompactionError(ValueError):
    """Is raised where a model cannot be made smaller and stay equal; the message says why."""


# The schema is written out, since PyTorch 2.4 cannot read annotations that are strings.
@torch.library.custom_op(
    "jointprune::entrance",
    mutates_args=(),
    schema="(Tensor x, str axes, SymInt start, SymInt stop) -> Tensor",
)
def entrance(x: Tensor, axes: str, start: int, stop: int) -> Tensor:  # noqa: ARG001
    """Return a skeleton, or its joints from `start` to `stop`, as it enters the model."""
    return x.clone()


@entrance.register_fake
def _(x: Tensor, axes: str, start: int, stop: int) -> Tensor:  # noqa: ARG001
    return torch.empty_like(x)


class Mark:
    """Marks an entrance in the graph, in the place of a `JointPruningLayer`."""

    def __init__(self, num_joints: int) -> None:
        self.num_joints = num_joints

    def __call__(self, x: Tensor, axes: tuple[str, ...], joints: range | None = None) -> Tensor:
        """Return the joints as they are, in float64."""
        joints = range(self.num_joints) if joints is None else joints
        marked: Tensor = entrance(x.double(), " ".join(axes), joints.start, joints.stop)
        return marked


class Opened:
    """Holds an object with tensors in it, such as a dataclass, as a tree of what is in it.

    PyTorch's trees end at such objects. Put together again, the tree is an object of that class.
    """

    def __init__(self, of: Any, fields: Mapping[Any, Any]) -> None:
        self.of = of
        self.fields = fields


def opened(tree: Any, change: Callable[[Tensor], Tensor] = Tensor.cpu) -> Any:
    """Return a tree with its tensors changed, and objects that have tensors in them opened.

    Args:
        tree: containers, and objects in them such as dataclasses.
        change: applied to every tensor.
    """
    return pytree.tree_map(lambda leaf: _opened(leaf, change, 0), tree)


def _opened(leaf: Any, change: Callable[[Tensor], Tensor], depth: int) -> Any:
    if isinstance(leaf, Tensor):
        return change(leaf)
    if depth == DEEPEST or isinstance(leaf, type):
        return leaf
    fields = pytree.tree_map(lambda value: _opened(value, change, depth + 1), _held_by(leaf))
    some = any(isinstance(value, Tensor) for value in pytree.tree_leaves(fields))
    return Opened(leaf, fields) if some else leaf


def _held_by(value: Any) -> dict[Any, Any]:
    """Return the items of a mapping, or the attributes of another object."""
    if isinstance(value, Mapping):  # one that PyTorch's trees do not know
        return dict(value)
    if is_dataclass(value):
        names = [field.name for field in dataclass_fields(value)]
    else:
        slots = [vars(kind).get("__slots__", ()) for kind in type(value).__mro__]
        names = [name for some in slots for name in ([some] if isinstance(some, str) else some)]
    found = {name: read(getattr, value, name) for name in names}
    attributes = read(getattr, value, "__dict__")
    return {
        **{name: held for name, held in found.items() if held is not MISSING},
        **(attributes if isinstance(attributes, dict) else {}),
    }


def _put_together(values: Iterable[Any], context: tuple[Any, tuple[Any, ...]]) -> Any:
    of, names = context
    held = dict(zip(names, values, strict=True))
    if isinstance(of, Mapping) and not isinstance(of, MutableMapping):
        return held
    made = copy.copy(of)
    for name, value in held.items():
        if isinstance(of, Mapping):
            made[name] = value
        else:
            object.__setattr__(made, name, value)  # a dataclass may be frozen
    return made


pytree.register_pytree_node(
    Opened,
    lambda tree: (list(tree.fields.values()), (tree.of, tuple(tree.fields))),
    _put_together,
    flatten_with_keys_fn=lambda tree: (
        [(pytree.MappingKey(name), value) for name, value in tree.fields.items()],
        (tree.of, tuple(tree.fields)),
    ),
)


class Call(NamedTuple):
    """Holds the arguments of a call of a model.

    Attributes:
        args: arguments of a forward by place.
        kwargs: arguments by name.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def readings(cls, example_inputs: Any) -> list[Call]:
        """Return the calls that an example may be of, the likelier first.

        A tuple or list holds arguments, of which the last may be a dict of named ones; a dict holds
        named ones; and anything may be the one argument, such as a batch.
        """
        if isinstance(example_inputs, Call):
            return [example_inputs]
        found = [cls((example_inputs,), {})]
        if isinstance(example_inputs, Mapping) and all(isinstance(k, str) for k in example_inputs):
            found.insert(0, cls((), dict(example_inputs)))
        if type(example_inputs) in (tuple, list):
            *args, last = example_inputs or [None]
            spread = [cls(tuple(example_inputs), {})]
            if isinstance(last, Mapping) and all(isinstance(key, str) for key in last):
                spread.append(cls(tuple(args), dict(last)))
                if len(args) == 1 and isinstance(args[0], tuple):
                    spread.append(cls(args[0], dict(last)))
            found = [*spread, *found] if type(example_inputs) is tuple else [*found, *spread]
        return found

    def opened(self, change: Callable[[Tensor], Tensor]) -> Call:
        """Return the call with its tensors changed, and its objects opened."""
        return Call(*opened((self.args, self.kwargs), change))

    def double(self) -> Call:
        """Return the call in float64, with its objects opened."""
        return self.opened(_doubled)

    def on(self, model: nn.Module) -> list[Tensor]:
        """Return the tensors that a model returns for this call."""
        # A tree that was opened is put together again, and the model may change its containers.
        args, kwargs = pytree.tree_map(lambda leaf: leaf, (self.args, self.kwargs))
        with torch.no_grad():
            returned = model.forward(*args, **kwargs)
        return [leaf for leaf in pytree.tree_leaves(returned) if isinstance(leaf, Tensor)]


def _doubled(x: Tensor) -> Tensor:
    return x.detach().double() if x.is_floating_point() else x


class Called(nn.Module):
    """Wraps a model so that its only arguments are tensors; others become constants.

    Args:
        model: the model.
        called: path of the module in it whose forward is called.
        call: the arguments of the call.

    Attributes:
        tensors: the tensors of the call, in the order of its arguments.
    """

    def __init__(self, model: nn.Module, called: str, call: Call) -> None:
        super().__init__()
        leaves, self.spec = pytree.tree_flatten((call.args, call.kwargs))
        self.model = model
        self.called = called
        self.others = [(isinstance(leaf, Tensor), leaf) for leaf in leaves]
        self.tensors = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        """Return the tensors that the model returns, as a list."""
        rest = iter(tensors)
        leaves = [next(rest) if is_tensor else leaf for is_tensor, leaf in self.others]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        returned = module_at(self.model, self.called).forward(*args, **kwargs)
        return [leaf for leaf in pytree.tree_leaves(returned) if isinstance(leaf, Tensor)]


class Graph(NamedTuple):
    """Holds a traced model.

    Attributes:
        nodes: its operations in order.
        names: node of a parameter or buffer to its name in the model.
        tensors: node that is no operation to its value.
    """

    nodes: list[Node]
    names: dict[Node, str]
    tensors: dict[Node, Tensor]


def trace(
    model: nn.Module, called: str, targets: Sequence[Target], num_joints: int, call: Call
) -> Graph:
    """Trace a model without layers in front.

    Args:
        model: the model in evaluation mode; it stays as it is.
        called: path of the module whose forward is called.
        targets: where the skeleton enters.
        num_joints: J.
        call: the arguments of the call.

    Raises:
        CompactionError: if `torch.export` cannot trace it.
    """
    traced = Called(model, called, call)
    mark = Mark(num_joints)
    try:
        for target in targets:
            attach(model, target, mark)
        with ready_to_trace():
            program = torch.export.export(traced, traced.tensors, strict=False)
    except Exception as error:
        raise CompactionError(
            "Expected a forward that torch.export can trace but got "
            f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]} A forward that "
            f"asks for values (`if x.any():`) cannot be traced. {WAY_OUT}"
        ) from error
    finally:
        for target in targets:
            detach(model, target)
    return _read(program, traced.tensors)


@contextmanager
def ready_to_trace() -> Iterator[None]:
    """Trace without gradients, fused operations and warnings of attributes that a forward sets."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fused operation hides its layers
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _read(program: torch.export.ExportedProgram, inputs: Sequence[Tensor]) -> Graph:
    nodes = list(program.graph.nodes)
    placed = {node.name: node for node in nodes if node.op == "placeholder"}
    given = iter(inputs)
    names, tensors = {}, {}
    for spec in program.graph_signature.input_specs:
        node = placed[spec.arg.name]
        if spec.kind == torch.export.graph_signature.InputKind.USER_INPUT:
            tensors[node] = next(given)
            continue
        name = str(spec.target)
        learned = name in program.state_dict
        tensors[node] = (program.state_dict if learned else program.constants)[name].detach()
        if spec.kind != torch.export.graph_signature.InputKind.CONSTANT_TENSOR:
            names[node] = name.removeprefix("model.")
    return Graph(nodes, names, tensors)


def submodule_of(node: Node) -> str:
    """Return the path of the submodule of an operation; empty for the model itself."""
    return next(reversed(stack_of(node)), "")


def stack_of(node: Node) -> list[str]:
    """Return the paths of the submodules of an operation, outermost first."""
    stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    return [path.removeprefix("model").removeprefix(".") for path in stack if path]


def operation(node: Node) -> str:
    """Return the name of an operation, such as `"linear"`."""
    schema = getattr(node.target, "_schema", None)
    name = schema.name.split("::")[1] if schema else getattr(node.target, "__name__", "")
    return str(name)


def arguments(node: Node) -> dict[str, Any]:
    """Return the arguments of an operation by name, with its defaults."""
    found = {}
    for place, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        given = place < len(node.args) and not argument.kwarg_only
        value = node.args[place] if given else node.kwargs.get(argument.name, MISSING)
        found[argument.name] = argument.default_value if value is MISSING else value
    return found
