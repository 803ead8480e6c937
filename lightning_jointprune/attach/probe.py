"""Records which tensors reach which module's forward in one training step."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_jointprune.attach.hooks import restore_behind
from lightning_jointprune.attach.modules import (
    MISSING,
    named_modules,
    read,
    restore_forward,
    signature_of,
)
from lightning_jointprune.attach.target import input_string

_NESTING = 4  # largest depth of containers inside containers that a probe looks into
_ITEMS = 500  # largest number of values that a probe looks at in a call


@dataclass(frozen=True)
class Seen:
    """Describes a tensor that reached a module's forward.

    Args:
        module: path of the module; `""` is the root.
        path: the argument, then keys, attributes or indices inside it.
        shape: its shape.
        dtype: its dtype.
        requires_grad: whether it requires gradients.
        depth: number of recorded calls around this one; 0 is outermost.
        trains: whether the module has parameters, so that it is no plain loss or metric.
        downstream: whether the model computed it, or another argument of the call.
    """

    module: str
    path: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype
    requires_grad: bool = False
    depth: int = 0
    trains: bool = True
    downstream: bool = False

    @property
    def input(self) -> str:
        """Return its place, as the `input` argument of the callback says it."""
        return input_string(self.module, self.path)

    @property
    def floating(self) -> bool:
        """Return whether it can be gated."""
        return self.dtype.is_floating_point

    @property
    def enters(self) -> bool:
        """Return whether it comes from outside, so that the model has not computed it."""
        return not self.downstream and (self.depth == 0 or not self.requires_grad)

    def __str__(self) -> str:
        return f"{self.input}  {self.shape}  {str(self.dtype).removeprefix('torch.')}"


class _Recording:
    """Stands for the forward of a module that is watched.

    Args:
        module: the module.
        recorded: calls its own forward, and records what reaches it.

    Attributes:
        before: the module's instance-level forward before, if it had one.
        stopped: whether nothing is recorded any more, where something else stands in front.
    """

    def __init__(self, module: nn.Module, recorded: Callable[..., Any]) -> None:
        self.__wrapped__ = module.forward  # keeps its signature
        self.before = module.__dict__.get("forward")
        self.stopped = False
        # A compiled step runs this forward uncompiled.
        self._recorded = torch.compiler.disable(recorded)  # type: ignore[no-untyped-call]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return (self.__wrapped__ if self.stopped else self._recorded)(*args, **kwargs)

    def stop(self, module: nn.Module) -> None:
        """Record no more, and leave no trace where nothing else has patched the module since."""
        self.stopped = True
        before = self.before
        while isinstance(before, _Recording) and before.stopped:
            before = before.before
        if module.__dict__.get("forward") is self:
            restore_forward(module, before)
        else:  # another probe may be in front of it, or gates
            restore_behind(module, self, before)

    def __reduce__(self) -> Any:  # a module that is copied in the step has its own forward
        return _itself, (self.__wrapped__,)


def _itself(forward: Callable[..., Any]) -> Callable[..., Any]:
    return forward


class Probe:
    """Records which tensors reach which forward, from `start` to `stop`; keeps no tensor alive.

    Args:
        module: the root; its submodules are watched too.

    Attributes:
        absent: arguments of outermost calls that were None, in the words of `input`.
        started: whether `start` was called.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._seen: dict[tuple[str, tuple[str, ...]], Seen] = {}
        self._recordings: list[tuple[nn.Module, _Recording]] = []
        self._owned: set[int] = set()
        self._depth = 0
        self.absent: list[str] = []
        self.started = False

    def start(self) -> None:
        """Patch the forwards, and forget what was seen before."""
        self.stop()
        self.started = True
        self._seen, self.absent = {}, []
        # A graph index or an embedding passed along is not data.
        self._owned = {id(t) for t in [*self._module.parameters(), *self._module.buffers()]}
        for name, module in named_modules(self._module):
            trains = next(module.parameters(), None) is not None
            recorded = partial(self._recorded, name, trains, module.forward, signature_of(module))
            recording = _Recording(module, recorded)
            self._recordings.append((module, recording))
            restore_forward(module, recording)

    def stop(self) -> list[Seen]:
        """Restore every forward; may be called twice.

        Returns:
            What was seen, each argument once, in the order of the calls.
        """
        while self._recordings:
            module, recording = self._recordings.pop()
            recording.stop(module)
        self._depth = 0
        return list(self._seen.values())

    def _recorded(
        self,
        name: str,
        trains: bool,
        forward: Callable[..., Any],
        signature: inspect.Signature | None,
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        named = _bound(signature, args, kwargs)
        found = [(path, x) for path, x in tensors_in(named) if id(x) not in self._owned]
        if self._depth == 0:
            self.absent += [input_string(name, path) for path in _absent(signature, named)]
        downstream = any(tensor.grad_fn is not None for _, tensor in found)
        for path, x in found:
            seen = (tuple(x.shape), x.dtype, x.requires_grad, self._depth, trains, downstream)
            self._seen.setdefault((name, path), Seen(name, path, *seen))
        self._depth += 1
        try:
            return forward(*args, **kwargs)
        finally:
            self._depth -= 1


def _bound(
    signature: inspect.Signature | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a call by name; those in `**kwargs` by their own names."""
    bound = read(signature.bind, *args, **kwargs) if signature else MISSING
    if signature is None or bound is MISSING:  # where the call is wrong, forward says so itself
        return {"args": args, **kwargs}
    named = dict(bound.arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            named |= named.pop(parameter.name, {})
    return named


def _absent(signature: inspect.Signature | None, named: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the arguments that are None, given or by default, and keys in them that are."""
    parameters = signature.parameters.values() if signature else ()
    given = {**{p.name: None for p in parameters if p.default is None}, **named}
    keys = [(name, key) for name, of in given.items() if isinstance(of, Mapping) for key in of]
    paths = [(name,) for name, value in given.items() if value is None]
    return [*paths, *((name, str(key)) for name, key in keys if given[name][key] is None)]


def tensors_in(value: Any) -> list[tuple[tuple[str, ...], Tensor]]:
    """Return the tensors inside a container and their paths, breadth first."""
    found: list[tuple[tuple[str, ...], Tensor]] = []
    queue: list[tuple[tuple[str, ...], Any]] = [((), value)]
    for path, item in queue:  # grows on the way
        if isinstance(item, Tensor):
            found.append((path, item))
        elif len(path) <= _NESTING and len(queue) < _ITEMS:
            inside = read(lambda container: list(_items(container)), item)
            queue += [] if inside is MISSING else [((*path, str(k)), v) for k, v in inside]
    return found


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from zip(getattr(value, "_fields", range(len(value))), value, strict=True)
    elif isinstance(value, (str, bytes, nn.Module, type)):
        return
    elif dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        yield from ((name, read(getattr, value, name)) for name in names)
    elif callable(getattr(type(value), "keys", None)):  # tensordict, torch_geometric
        yield from ((key, value[key]) for key in value.keys())  # noqa: SIM118 -- no Mapping
    elif not callable(value):  # a graph batch can be called, and has keys
        yield from getattr(value, "__dict__", {}).items()
