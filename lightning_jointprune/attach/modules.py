"""Walks trees of modules, and containers of tensors."""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

import torch
from torch import nn

_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


MISSING: Any = object()  # stands for nothing, where None is a value


def restore_forward(module: nn.Module, forward: Any) -> None:
    """Set an instance-level forward, or remove it (`None`), whatever the module's `__setattr__`."""
    if forward is None:
        module.__dict__.pop("forward", None)
    else:
        module.__dict__["forward"] = forward


def named_modules(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield paths and modules whose forward can be patched, those inside compiled modules too."""
    for name, module in root.named_modules():
        if not isinstance(module, torch.jit.ScriptModule) and "_orig_mod" not in module._modules:
            words = [word for word in name.split(".") if word != "_orig_mod"]
            yield ".".join(words), module


def module_at(root: nn.Module, path: str) -> nn.Module:
    """Return the submodule at a path.

    Raises:
        ValueError: if there is none; the message names close ones.
    """
    modules = dict(named_modules(root))
    if path in modules:
        return modules[path]
    try:
        found: nn.Module = root.get_submodule(path)
    except AttributeError:
        if callable(getattr(root, path, None)):
            raise ValueError(
                f"Expected input to name a submodule but got `{path}`, a method of "
                f"{type(root).__name__}, in front of which nothing can be put. Move it into the "
                "forward of an nn.Module, or put a JointPruningLayer into it."
            ) from None
        close = get_close_matches(path, modules, n=1, cutoff=0.5)
        known = ", ".join(f"`{name}`" for name in list(modules)[1:9]) or "no submodules"
        fix = f'Did you mean input="{close[0]}:…"?' if close else "Name one of them before the `:`."
        raise ValueError(
            f"Expected input to name a submodule but got `{path}`; {type(root).__name__} has "
            f"{known}. {fix}"
        ) from None
    if isinstance(found, torch.jit.ScriptModule):
        raise ValueError(
            f"Expected input to name a Python module but got `{path}`, which is compiled by "
            "torch.jit. Name a module that calls it."
        )
    return found._modules.get("_orig_mod") or found  # a second name of a shared module


def signature_of(module: nn.Module) -> inspect.Signature | None:
    """Return the signature of a module's forward, or None where it has none.

    A patched forward with `(*args, **kwargs)` alone has the signature of the class.
    """
    signature = None
    for forward in (module.forward, partial(type(module).forward, module)):
        found = read(inspect.signature, forward)
        signature = signature if found is MISSING else found
        if signature and any(p.kind not in _VARIABLE for p in signature.parameters.values()):
            break
    return signature


def replaced(value: Any, path: tuple[str, ...], change: Callable[[Any], Any]) -> Any:
    """Return a copy of a container with the value at `path` changed; the container stays.

    Args:
        value: a tensor, or mappings, sequences, dataclasses and objects down to one.
        path: keys, indices or attribute names; where one is missing, `value` itself is returned.
        change: called with the value there.
    """
    if not path:
        return change(value)
    key, child = _child(value, path[0])
    if child is MISSING or child is None:
        return value
    new = replaced(child, path[1:], change)
    return value if new is child else _with_child(value, key, new)


def read(how: Callable[..., Any], /, *of: Any, **named: Any) -> Any:
    """Return what `how` returns, or `MISSING` where a foreign object raises anything."""
    try:
        return how(*of, **named)
    except Exception:
        return MISSING


def _child(value: Any, word: str) -> tuple[Any, Any]:
    """Return the real key for a word of a path, and the value there."""
    if isinstance(value, Mapping):
        key = word if word in value else next((k for k in value if str(k) == word), MISSING)
        return key, MISSING if key is MISSING else value[key]
    if isinstance(value, (list, tuple)) and word.isdigit():
        return int(word), value[int(word)] if int(word) < len(value) else MISSING
    found = read(getattr, value, word)
    return word, read(operator.getitem, value, word) if found is MISSING else found


def _with_child(value: Any, key: Any, new: Any) -> Any:
    if type(value) is dict:
        return {**value, key: new}
    if isinstance(value, tuple):
        names: tuple[str, ...] = getattr(value, "_fields", ())
        items = list(value)
        items[names.index(key) if isinstance(key, str) else key] = new
        return type(value)(*items) if names else type(value)(items)
    copied = read(_shallow_copy, value)
    by_item = isinstance(value, (Mapping, list)) or read(getattr, value, key) is MISSING
    for write in (operator.setitem,) if by_item else (setattr, object.__setattr__):  # if frozen
        if copied is not MISSING and read(write, copied, key, new) is not MISSING:
            return copied
    if isinstance(value, Mapping):  # a read-only mapping
        return {**value, key: new}
    raise ValueError(
        f"Expected a container in which `{key}` can be replaced but got {type(value).__name__}. "
        "Pass the skeleton to forward by itself or in a dict."
    )


def _shallow_copy(value: Any) -> Any:
    copied = copy.copy(value)
    if not hasattr(type(value), "__copy__"):
        for name, held in getattr(copied, "__dict__", {}).items():
            if type(held) in (dict, list):  # an object may keep its items there
                copied.__dict__[name] = copy.copy(held)
    return copied
