"""Puts a layer in front of a model's skeleton input, and takes it away again.

The model is hooked, not wrapped: a target module gets an instance attribute `forward` that passes
one argument through the layer and then calls the module's own forward. Its parameters, submodules
and `state_dict` stay as they are.

- `copy.deepcopy` gives a copy with the same parameters and `state_dict` as the plain model. Its
  gate is the live layer itself until the mask is frozen, and a layer of its own from then on.
- `pickle` and `torch.save(model)` keep the layer if it can be pickled; detach for a plain model.
- `type(model).forward` and `torch.fx`, which reads it, pass through the gates too: the module's
  class is a subclass of its own, of the same name, until the last layer is taken away.

The hook that Lightning calls when it saves weights alone is the module's, so that is hooked too.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial, wraps
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lightning_jointprune.attach.modules import (
    module_at,
    named_modules,
    read,
    replaced,
    restore_forward,
    signature_of,
)
from lightning_jointprune.attach.target import Target
from lightning_jointprune.gates.axes import is_recorded

_GATES = "_joint_gates"  # key of the gates in a module's __dict__
_PREVIOUS = "_joint_forward"  # key of a former instance-level forward in a module's __dict__
_OWN = "_joint_class"  # key of the original class in a gated class's __dict__
_SAVE = "on_save_checkpoint"  # key of an instance-level hook of Lightning in a module's __dict__


class Layer(Protocol):
    """Is put in front of an input."""

    num_joints: int

    def __call__(self, x: Tensor, axes: tuple[str, ...], joints: range | None = None) -> Tensor:
        """Return `x` gated, in the same shape; it has an axis for each word in `axes`.

        With `joints`, `x` holds only these.
        """
        ...


class _Argument:
    """Changes one argument of a module; its place is worked out once."""

    def __init__(self, target: Target, layer: Any, module: nn.Module) -> None:
        self.target = target
        self.layer = layer
        self.where = target.input
        self.name, self.position, self.rest = _locate(module, target.path)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Argument:
        if getattr(self.layer, "mask", None) is None:
            return self  # a copy made in a search follows it
        other = copy.copy(self)
        other.layer = copy.deepcopy(self.layer, memo)
        return other

    def __call__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        name, position = self.name, self.position
        if name in kwargs:
            return args, {**kwargs, name: replaced(kwargs[name], self.rest, self.gate)}
        if position < len(args):
            gated = replaced(args[position], self.rest, self.gate)
            return (*args[:position], gated, *args[position + 1 :]), kwargs
        return args, kwargs

    def gate(self, x: Any) -> Any:
        raise NotImplementedError


class _GatedArgument(_Argument):
    """Passes one argument of a module through a layer."""

    def gate(self, x: Any) -> Any:
        if x is None:
            return None
        if not (isinstance(x, Tensor) or is_recorded(x)):
            raise ValueError(
                f"Expected a tensor in input `{self.where}` but got {type(x).__name__}. "
                f'Name the tensor inside it, e.g. input="{self.where}.key".'
            )
        joints = self.target.joints
        layout = self.target.layout.of(joints)
        part = () if joints is None else (joints,)
        count = self.layer.num_joints if joints is None else len(joints)
        split, axes = layout.split(x, count, self.where)
        # `torch.fx` can record the layer's forward, but not a call of it, which is no submodule.
        layer: Any = self.layer
        call = layer.forward if is_recorded(x) else layer
        return layout.merge(call(split, axes, *part))


_Gate = _GatedArgument  # name in models that were pickled before


def argument_at(
    module: nn.Module, path: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Return what a target's path leads to in the arguments of a call; None where nothing is."""
    name, position, rest = _locate(module, path)
    if name not in kwargs and position >= len(args):
        return None
    found: list[Any] = []
    replaced(kwargs[name] if name in kwargs else args[position], rest, found.append)
    return found[0] if found else None


def gated_arguments(
    module: nn.Module, target: Target, layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call after a layer, which the module does not get."""
    return _GatedArgument(target, layer, module)(args, kwargs)


class _CheckedArgument(_Argument):
    """Shows one argument of a module to a function, and passes it as it is."""

    def gate(self, x: Any) -> Any:
        recorded = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        if isinstance(x, Tensor) and not recorded:  # a recorded shape is not known
            self.layer(x)
        return x


def _locate(module: nn.Module, path: tuple[str, ...]) -> tuple[str, int, tuple[str, ...]]:
    """Return the argument's name, its place among positions, and the path inside it."""
    name, rest = path[0], path[1:]
    signature = signature_of(module)
    for place, parameter in enumerate(signature.parameters.values() if signature else ()):
        if parameter.name != name:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL and rest and rest[0].isdigit():
            return "", place + int(rest[0]), rest[1:]
        if parameter.kind is parameter.POSITIONAL_ONLY:
            return "", place, rest
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            return name, place, rest
    return name, sys.maxsize, rest  # a keyword-only argument, or one in **kwargs


def _gated_forward(module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
    for gate in module.__dict__[_GATES]:
        args, kwargs = gate(args, kwargs)
    previous = module.__dict__.get(_PREVIOUS)
    if previous is None:
        return _own_class(module).forward(module, *args, **kwargs)
    return previous(*args, **kwargs)


class _Unregistered:
    """Keeps `__init_subclass__` of a user's class, such as a registry, from a gated class."""

    def __init_subclass__(cls) -> None:
        """Do nothing."""


@cache
def _gated_class(kind: Any) -> type[nn.Module]:
    """Return a class that is `kind` but for its forward, which passes through the gates."""

    @wraps(kind.forward)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        for gate in self.__dict__.get(_GATES, ()):
            args, kwargs = gate(args, kwargs)
        return kind.forward(self, *args, **kwargs)

    def __reduce_ex__(self: nn.Module, protocol: Any) -> Any:  # noqa: N807 -- pickle finds no class
        reduced: Any = kind.__reduce_ex__(self, protocol)
        make, of, *state = reduced
        return (
            _gated_again,
            (make, *(kind if value is type(self) else value for value in of)),
            *state,
        )

    def __prepare_scriptable__(self: nn.Module) -> Any:  # noqa: N807 -- PyTorch's name
        if not attached_layers(self):  # a check is Python code, too, and changes nothing
            copied = copy.deepcopy(self)
            for _, module in named_modules(copied):
                if _GATES in module.__dict__:
                    _clear(module)
            return copied
        where = ", ".join(f"`{target.input}`" for target, _ in attached_layers(self))
        raise ValueError(
            f"Expected a model without gates for TorchScript but got {kind.__name__}, whose input "
            f"{where} is gated by Python code. Write it with export_model(model, example_inputs, "
            "path), as ONNX or .pt2, or take the gates away with detach() and lose the mask."
        )

    methods = (forward, __reduce_ex__, __prepare_scriptable__)
    named = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    body = {method.__name__: method for method in methods} | named | {_OWN: kind}
    metaclass: Any = type(kind)
    made: type[nn.Module] = metaclass(kind.__name__, (_Unregistered, kind), body)
    return made


def _gated_again(make: Callable[..., Any], *of: Any) -> Any:
    """Make a module anew for pickle and copy, gated as the one it was made from."""
    module = make(*of)
    module.__class__ = _gated_class(_own_class(module))
    return module


def _own_class(module: nn.Module) -> Any:
    """Return the class that a module was made of, gated or not."""
    return type(module).__dict__.get(_OWN, type(module))


def _is_ours(forward: Any) -> bool:
    return isinstance(forward, partial) and forward.func is _gated_forward


def attach(module: nn.Module, target: Target, layer: Layer) -> None:
    """Put a layer in front of an input, for every call of that module's forward.

    The layer is not moved, trained or saved with the module. An input that is missing or None in a
    call passes unchanged, and containers are copied, so the caller's batch stays as it is.

    Args:
        module: the root that `target.module` starts from.
        target: the input, see `resolve`.
        layer: called as `layer(x, axes)` with one axis of x per word, or for a part of a skeleton
            as `layer(x, axes, joints)`; knows its `num_joints`.

    Raises:
        ValueError: there is a layer on this input already, or no such module.
    """
    owner = module_at(module, target.module)
    gates = [gate for gate in owner.__dict__.get(_GATES, ()) if isinstance(gate, _GatedArgument)]
    if any(gate.target.path == target.path for gate in gates):
        raise ValueError(
            f"Expected no layer on input `{target.input}` but got a second one. "
            "Detach the first, or use one callback per input."
        )
    _put_in_front(owner, _GatedArgument(target, layer, owner))


def expect(module: nn.Module, target: Target, check: Callable[[Tensor], None]) -> None:
    """Show an input to a function that may refuse it, whatever layers are attached and detached.

    Args:
        module: the root that `target.module` starts from.
        target: the input.
        check: called with its tensor in every call of that module's forward; it returns nothing.
    """
    owner = module_at(module, target.module)
    _put_in_front(owner, _CheckedArgument(target, check, owner))


def _put_in_front(owner: nn.Module, gate: _Argument) -> None:
    state = owner.__dict__
    if _GATES not in state or "forward" not in state:
        forward = partial(_gated_forward, owner)
        forward.__wrapped__ = owner.forward  # type: ignore[attr-defined] # keeps its signature
        if "forward" in state:
            state[_PREVIOUS] = state["forward"]
        state["forward"] = forward
    state[_GATES] = (*state.get(_GATES, ()), gate)
    owner.__class__ = _gated_class(_own_class(owner))


def detach(module: nn.Module, target: Target | None = None) -> None:
    """Take layers away again; a module without any gets back exactly the `__dict__` it had.

    Args:
        module: the root they were attached to.
        target: the input to free; `None` frees all inputs of all submodules.
    """
    owners = [m for _, m in named_modules(module)]
    for owner in owners if target is None else [module_at(module, target.module)]:
        state = owner.__dict__
        if _GATES not in state:
            continue
        state[_GATES] = tuple(
            gate
            for gate in state[_GATES]
            if isinstance(gate, _CheckedArgument) or (target and gate.target.path != target.path)
        )
        if not state[_GATES]:
            _clear(owner)


def _clear(owner: nn.Module) -> None:
    """Give a module its own class and forward back."""
    state = owner.__dict__
    state[_GATES] = ()
    owner.__class__ = _own_class(owner)
    # Code that patched `forward` after us still calls ours, so ours stays, without gates.
    if _is_ours(state.get("forward")):
        restore_forward(owner, state.pop(_PREVIOUS, None))
        del state[_GATES]


def restore_behind(module: nn.Module, forward: Any, before: Any) -> None:
    """Take an instance-level forward away that gates were put in front of; any other stays.

    Args:
        module: the gated module.
        forward: what to take away.
        before: the forward that was there before it; None for that of the class.
    """
    if module.__dict__.get(_PREVIOUS) is forward:
        module.__dict__.pop(_PREVIOUS)
        if before is not None:
            module.__dict__[_PREVIOUS] = before


def attached_layers(module: nn.Module) -> list[tuple[Target, Any]]:
    """Return the targets and layers of a module and its submodules, as `named_modules()` orders."""
    return [
        (replace(gate.target, module=name), gate.layer)
        for name, owner in named_modules(module)
        for gate in owner.__dict__.get(_GATES, ())
        if isinstance(gate, _GatedArgument)
    ]


def attached_here(module: nn.Module) -> list[tuple[Target, Any]]:
    """Return what `attached_layers` does of the layers that were attached to this very module.

    Those of a model that it holds, such as a teacher, were attached to that one.
    """
    return [
        (gate.target, gate.layer)
        for _, owner in named_modules(module)
        for gate in owner.__dict__.get(_GATES, ())
        if read(module_at, module, gate.target.module) is owner
    ]


class _Saving:
    """Calls further functions before a module's own hook for checkpoints."""

    def __init__(self, module: nn.Module) -> None:
        self.own: Callable[[dict[str, Any]], None] = getattr(module, _SAVE)
        self.before = module.__dict__.get(_SAVE)
        self.saves: list[Callable[[dict[str, Any]], None]] = []

    def __call__(self, checkpoint: dict[str, Any]) -> None:
        for save in self.saves:
            save(checkpoint)
        self.own(checkpoint)

    def __reduce__(self) -> Any:  # a copied or pickled model has only its own hook
        return _itself, (self.own,)


def _itself(value: Any) -> Any:
    return value


def hook_saving(module: nn.Module, save: Callable[[dict[str, Any]], None]) -> None:
    """Call a function with every checkpoint of a LightningModule, also of weights alone.

    Args:
        module: the module whose `on_save_checkpoint` is hooked.
        save: called with the checkpoint, before the module's own hook.
    """
    hook = module.__dict__.get(_SAVE)
    if not isinstance(hook, _Saving):
        hook = module.__dict__[_SAVE] = _Saving(module)
    if save not in hook.saves:
        hook.saves.append(save)


def unhook_saving(module: nn.Module, save: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Take `save`, or everything (`None`), out of a module's hook; the last leaves no trace."""
    hook = module.__dict__.get(_SAVE)
    if not isinstance(hook, _Saving):
        return
    hook.saves = [hooked for hooked in hook.saves if save is not None and hooked != save]
    if not hook.saves:
        del module.__dict__[_SAVE]
        if hook.before is not None:
            module.__dict__[_SAVE] = hook.before
