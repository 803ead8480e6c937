"""Test that a model is traced with its entrance marked, and stays as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_jointprune.attach.hooks import attached_layers
from lightning_jointprune.attach.target import Target
from lightning_jointprune.compaction.tracing import (
    Call,
    CompactionError,
    arguments,
    opened,
    operation,
    submodule_of,
    trace,
)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(2), nn.Linear(6, 2))

    def forward(self, batch: Any, scale: float = 1.0) -> Tensor:
        return self.net(batch["x"]) * scale


def graph(model: nn.Module, call: Call, target: str = "batch.x") -> Any:
    return trace(model, "", [Target.parse(target, "b t j c")], 3, call)


def test_marks_the_entrance_and_names_layers_and_parameters() -> None:
    model = Small().double().eval()
    found = graph(model, Call(({"x": torch.rand(2, 4, 3, 2)}, 2.0), {}).double())
    nodes = {operation(node): node for node in found.nodes if node.op == "call_function"}
    assert arguments(nodes["entrance"])["axes"] == "b t j c"
    assert submodule_of(nodes["linear"]) == "net.1"
    assert submodule_of(nodes["mul"]) == ""
    assert set(found.names.values()) == {"net.1.weight", "net.1.bias"}
    assert arguments(nodes["flatten"]) == {
        "self": nodes["entrance"],
        "start_dim": 2,
        "end_dim": -1,
    }


def test_leaves_the_model_and_the_fast_path_as_they_were() -> None:
    model, before = Small().double().eval(), torch.backends.mha.get_fastpath_enabled()
    state = dict(vars(model))
    graph(model, Call(({"x": torch.rand(2, 4, 3, 2)},), {}).double())
    assert vars(model) == state
    assert attached_layers(model) == []
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_says_that_it_cannot_be_traced() -> None:
    class Asks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(CompactionError, match=r"torch.export can trace but got .*cannot be traced"):
        graph(Asks(), Call((torch.rand(2, 4, 3, 2),), {}), "x")


def test_an_example_is_read_in_all_ways_it_may_be_meant() -> None:
    x = torch.ones(1)
    assert Call.readings(x) == [Call((x,), {})]
    assert Call.readings((x, 2)) == [Call((x, 2), {}), Call(((x, 2),), {})]
    assert Call.readings([x, 2]) == [Call(([x, 2],), {}), Call((x, 2), {})]
    assert Call.readings({"x": x}) == [Call((), {"x": x}), Call(({"x": x},), {})]
    assert Call.readings({1: x}) == [Call(({1: x},), {})]
    assert Call((), {"x": x}) in Call.readings(({"x": x},))
    assert Call((x,), {"n": 2}) in Call.readings((x, {"n": 2}))
    assert Call((x,), {"n": 2}) in Call.readings(((x,), {"n": 2}))
    assert Call.readings(()) == [Call((), {}), Call(((),), {})]
    assert Call.readings(Call((x,), {})) == [Call((x,), {})]
    assert Call(([x],), {}).double().args[0][0].dtype == torch.float64


@dataclass(frozen=True, slots=True)
class Slots:
    x: Tensor
    name: str


class Plain:
    def __init__(self, x: Tensor, name: str) -> None:
        self.x, self.name = x, name


@pytest.mark.parametrize("kind", [Slots, Plain])
def test_an_object_with_tensors_is_a_tree_that_becomes_an_object_again(kind: Any) -> None:
    batch = [kind(torch.ones(2), "a"), "b"]
    tree = opened(batch)
    leaves = pytree.tree_leaves(tree)
    assert [leaf for leaf in leaves if isinstance(leaf, str)] == ["a", "b"]
    first, last = pytree.tree_map_only(Tensor, lambda x: x + 1, tree)
    assert (type(first), first.name, last) == (kind, "a", "b")
    assert torch.equal(first.x, torch.full((2,), 2.0))
    assert torch.equal(batch[0].x, torch.ones(2))
