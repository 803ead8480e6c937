"""Test what a probe records of a training step, and that it leaves no trace."""

from __future__ import annotations

import copy
import gc
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from lightning_jointprune.attach.detect import check_input, resolve
from lightning_jointprune.attach.hooks import Target
from lightning_jointprune.attach.probe import Probe, Seen
from tests.zoo.models import B, C, J, Stubborn, T, TwoStreams


def seen_in(module: nn.Module, step: Any) -> list[Seen]:
    probe = Probe(module)
    probe.start()
    try:
        step()
    finally:
        seen = probe.stop()
    return seen


def states(module: nn.Module) -> list[dict[str, Any]]:
    return [dict(each.__dict__) for each in module.modules()]


def test_a_probe_leaves_no_trace_when_the_step_raises() -> None:
    model = TwoStreams()
    before = states(model)
    batch = {**model.batch(), "keypoints": torch.ones(B, T, 5, C)}
    probe = Probe(model)
    probe.start()
    with pytest.raises(RuntimeError):
        model.training_step(batch, 0)
    assert [s.input for s in probe.stop()] == [
        "rgb",
        "keypoints",
        "streams.rgb:x",
        "streams.rgb.head:input",
        "streams.pose:x",
        "streams.pose.head:input",
    ]
    assert states(model) == before
    assert len(probe.stop()) == 6  # stopping twice is harmless
    probe.start()
    assert probe.stop() == []


def test_a_probe_keeps_no_tensor_alive() -> None:
    model = TwoStreams()
    batch = model.batch()
    gone = weakref.ref(batch["keypoints"])
    probe = Probe(model)
    probe.start()
    model.training_step(batch, 0)
    model.got.clear()
    del batch
    gc.collect()
    assert gone() is None
    probe.stop()


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(C))
        self.register_buffer("graph", torch.ones(2, J, J))

    def forward(self, x: Tensor, graph: Tensor, w: Tensor | None = None) -> Tensor:
        return x * self.weight


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def forward(self, anything: Any, *more: Any, **named: Any) -> Tensor:
        x = anything["x"]
        y = self.inner(x, self.inner.graph, self.inner.weight)
        return self.inner(y, graph=self.inner.graph)


def test_what_a_probe_records() -> None:
    @dataclass
    class Data:
        points: Any

    class Pair(NamedTuple):
        left: Any
        right: Any

    class Bag:
        def __init__(self, item: Any) -> None:
            self.item = item

    class Keyed:
        def keys(self) -> list[str]:
            return ["pos"]

        def __getitem__(self, key: str) -> Any:
            return {"pos": torch.ones(5)}[key]

    model = Outer()
    x = torch.ones(B, J, C)
    batch = OrderedDict(
        x=x,
        data=Data([torch.ones(1)]),
        pair=Pair(torch.ones(2), None),
        bag=Bag(torch.ones(3)),
        keyed=Keyed(),
        stubborn=Stubborn(),
        text="words",
        module=nn.Linear(1, 1),
    )
    batch["itself"] = batch
    seen = seen_in(model, lambda: model(batch, torch.ones(4, dtype=torch.int32), z=torch.ones(6)))
    by_input = {s.input: s for s in seen if "itself" not in s.input}
    assert {name: s.shape for name, s in by_input.items()} == {
        "anything.x": (B, J, C),
        "anything.data.points.0": (1,),
        "anything.pair.left": (2,),
        "anything.bag.item": (3,),
        "anything.keyed.pos": (5,),
        "more.0": (4,),
        "z": (6,),
        "inner:x": (B, J, C),  # neither the graph nor the weight, which are the model's own
    }
    assert by_input["more.0"].dtype == torch.int32
    assert by_input["inner:x"].depth == 1
    assert not by_input["inner:x"].requires_grad  # the first of two calls is what counts
    assert by_input["inner:x"].trains


def test_scripted_modules_are_left_alone() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scripted = torch.jit.script(nn.Linear(C, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.scripted(x)

    model = Root()
    seen = seen_in(model, lambda: model(torch.ones(B, J, C)))
    assert [s.input for s in seen] == ["x"]
    with pytest.raises(ValueError, match=r"Expected input to name a Python module.*torch\.jit"):
        check_input(model, "scripted:x")


def test_a_compiled_step_is_watched_too() -> None:
    model = nn.Module()
    model.encoder = torch.compile(Inner(), backend="eager")
    graph = torch.ones(2, 5, 5)

    def step(x: Tensor) -> Tensor:
        return model.encoder(x, graph).sum()

    compiled = torch.compile(step, backend="eager")
    x = torch.ones(B, J, C)
    seen = seen_in(model, lambda: compiled(x))
    assert resolve(seen, J) == Target.parse("encoder:x", "b j c")
    assert compiled(x) == step(x)
    check_input(model, "encoder:x")


class Graphs:
    """Is a batch of graphs as in graph libraries, with keys and a `__call__`."""

    def __init__(self, **tensors: Tensor) -> None:
        self._tensors = tensors

    def keys(self) -> list[str]:
        return list(self._tensors)

    def __getitem__(self, key: str) -> Tensor:
        return self._tensors[key]

    def __getattr__(self, key: str) -> Tensor:
        if key.startswith("_"):
            raise AttributeError(key)
        return self._tensors[key]

    def __call__(self, *names: str) -> list[Tensor]:
        return [self._tensors[name] for name in names]


class OnGraphs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(9 * 3, 2)

    def forward(self, batch: Graphs) -> Tensor:
        return self.head(batch.x.reshape(-1, 9 * 3))


def test_a_batch_that_can_be_called_is_looked_into_by_its_keys() -> None:
    model, batch = OnGraphs(), Graphs(x=torch.randn(4 * 9, 3), pos=torch.randn(4, 9, 2))
    seen = seen_in(model, lambda: model(batch))
    assert [s.input for s in seen][:2] == ["batch.x", "batch.pos"]


def test_joints_of_all_samples_on_one_axis_are_offered_and_found() -> None:
    model, batch = OnGraphs(), Graphs(x=torch.randn(4 * 9, 3))
    seen = seen_in(model, lambda: model(batch))
    with pytest.raises(ValueError, match=r'pass axes="\(b j\) c"'):
        resolve(seen, 9)
    assert resolve(seen, 9, axes="(b j) c").input == "batch.x"


@pytest.mark.parametrize("watched", [True, False])
def test_a_copy_that_is_made_in_the_step_is_no_longer_the_module(watched: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    probe = Probe(model)
    if watched:
        probe.start()
    teacher = copy.deepcopy(model)
    assert len(probe.stop()) == 0
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.zero_()
        assert model(torch.ones(1, 2)).abs() > 0
        assert teacher(torch.ones(1, 2)) == 0
    assert copy.deepcopy(teacher)(torch.ones(1, 2)) == 0
