"""Test that modules are found by their paths, and containers copied where they change."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from lightning_jointprune.attach.modules import module_at, replaced


class Point(NamedTuple):
    x: Any
    y: Any


@dataclass
class Plain:
    x: Any
    n: int = field(init=False, default=7)


@dataclass(frozen=True)
class Frozen:
    x: Any
    n: int = field(init=False, default=7)


@dataclass(frozen=True, slots=True)
class Slotted:
    x: Any


class Thing:
    def __init__(self, x: Any) -> None:
        self.x = x


class Store:
    """Keeps attributes in a dict inside, as graph libraries do."""

    def __init__(self, x: Any) -> None:
        self.__dict__["_store"] = {"x": x}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._store:
            raise AttributeError(name)
        return self._store[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self._store[name] = value


class Items:
    """Keeps items in a dict inside, without attributes, and is no Mapping."""

    def __init__(self, x: Any) -> None:
        self._items = {"x": x}

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._items[key] = value


CONTAINERS = [
    ({"x": 1}, "x", lambda c: c["x"]),
    (OrderedDict(x=1), "x", lambda c: c["x"]),
    (UserDict(x=1), "x", lambda c: c["x"]),
    ({3: 1}, "3", lambda c: c[3]),
    ([0, 1], "1", lambda c: c[1]),
    ((0, 1), "1", lambda c: c[1]),
    (Point(1, 2), "x", lambda c: c.x),
    (Point(1, 2), "0", lambda c: c.x),
    (Plain(1), "x", lambda c: c.x),
    (Frozen(1), "x", lambda c: c.x),
    (Slotted(1), "x", lambda c: c.x),
    (Thing(1), "x", lambda c: c.x),
    (Store(1), "x", lambda c: c.x),
    (Items(1), "x", lambda c: c["x"]),
]


@pytest.mark.parametrize(
    ("container", "word", "get"),
    CONTAINERS,
    ids=[f"{type(container).__name__}.{word}" for container, word, _ in CONTAINERS],
)
def test_a_container_is_copied_and_never_changed(container: Any, word: str, get: Any) -> None:
    assert get(container) == 1
    changed = replaced(container, (word,), lambda value: value + 1)
    assert get(changed) == 2
    assert get(container) == 1
    assert type(changed) is type(container)
    nested = {"inside": container}
    assert get(replaced(nested, ("inside", word), lambda value: value + 1)["inside"]) == 2
    assert nested["inside"] is container
    assert get(container) == 1
    assert replaced(container, (word, "nothing"), lambda value: value + 1) is container
    assert replaced(container, ("nothing",), lambda value: value + 1) is container


def test_a_read_only_mapping_becomes_a_dict() -> None:
    proxy = MappingProxyType({"x": 1})
    assert replaced(proxy, ("x",), lambda value: value + 1) == {"x": 2}
    assert proxy["x"] == 1


def test_an_attribute_that_cannot_be_set_is_refused() -> None:
    class Computed:
        x = property(lambda self: 1)

    with pytest.raises(ValueError, match="Expected a container in which `x` can be replaced"):
        replaced(Computed(), ("x",), lambda value: value + 1)


def test_a_module_is_found_by_each_of_its_names() -> None:
    encoder = nn.Linear(2, 2)
    root = nn.Sequential(OrderedDict(first=encoder, again=encoder))
    assert module_at(root, "first") is module_at(root, "again") is encoder


@pytest.mark.filterwarnings("ignore:`?torch.jit.script`? is:DeprecationWarning")
def test_a_module_that_is_compiled_by_torch_jit_is_refused() -> None:
    root = nn.Sequential(OrderedDict(inner=torch.jit.script(nn.Linear(2, 2))))
    with pytest.raises(ValueError, match=r"a Python module but got `inner`, which is compiled by"):
        module_at(root, "inner")


def test_a_method_is_refused_with_what_to_do() -> None:
    class Encoding(nn.Module):
        def encode(self, x: Any) -> Any:
            return x

    with pytest.raises(ValueError, match=r"got `encode`, a method of Encoding, .* nn\.Module"):
        module_at(Encoding(), "encode")


def test_a_name_that_no_module_has_is_refused_with_the_closest() -> None:
    root = nn.Sequential(OrderedDict(encoder=nn.Linear(2, 2)))
    with pytest.raises(ValueError, match=r"got `encodr`; .*Did you mean input=\"encoder:"):
        module_at(root, "encodr")
