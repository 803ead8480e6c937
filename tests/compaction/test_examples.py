"""Test that `compact` and `export_model` take a batch, or arguments, as the forward does."""

from __future__ import annotations

import copy
import pickle
from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from lightning_jointprune import (
    JointPruningCallback,
    JointPruningLayer,
    SelectJoints,
    analyze_pruning,
    compact,
    export_model,
    from_compact,
    save_compact,
)
from lightning_jointprune.attach.hooks import attach, detach
from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.attach.target import Target, part_targets
from tests.runs import QUIET, SHORT_RUNS

J, C, T, B, SIGNS = 7, 2, 5, 3, 4
KEPT = (1, 2, 6)
pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("one_table_of_operations")]


class Encoder(nn.Module):
    """Takes any number of joints, so that the small model can be written by hand."""

    def __init__(self, joints: int = J) -> None:
        super().__init__()
        self.embed = nn.Linear(joints * C, 6)
        self.video = nn.Linear(2, SIGNS)
        self.head = nn.Linear(6, SIGNS)

    def encode(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.embed(x.flatten(2))).mean(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)


class OfBatch(Encoder):
    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.encode(batch["skeleton"]) + self.video(batch["video"])


class OfNestedBatch(Encoder):
    def forward(self, batch: Any) -> Tensor:
        return self.encode(batch["inputs"][0]["skeleton"])


class OfPair(Encoder):
    def forward(self, batch: Any) -> Tensor:
        x, _ = batch
        return self.encode(x)


class OfUnpacked(Encoder):
    def forward(self, **inputs: Tensor) -> Tensor:
        return self.encode(inputs["skeleton"])


class OfArguments(Encoder):
    def forward(self, *inputs: Tensor) -> Tensor:
        return self.encode(inputs[1]) + self.video(inputs[0])


class OfBoth(Encoder):
    def forward(self, video: Tensor, /, batch: dict[str, Tensor], *, scale: Tensor) -> Tensor:
        return self.encode(batch["skeleton"]) * scale[:, None] + self.video(video)


@dataclass(frozen=True, slots=True)
class Clips:
    skeleton: Tensor
    video: Tensor


@dataclass
class Labelled:
    clips: Clips
    sign: Tensor
    name: str = "test"


class Pair(NamedTuple):
    skeleton: Tensor
    sign: Tensor


class OfObject(Encoder):
    def forward(self, batch: Clips) -> Tensor:
        return self.encode(batch.skeleton) + self.video(batch.video)


class OfObjectInObject(Encoder):
    def forward(self, batch: Labelled) -> Tensor:
        return self.encode(batch.clips.skeleton) + self.video(batch.clips.video)


class Slotted:
    __slots__ = ("skeleton", "video")

    def __init__(self, skeleton: Tensor, video: Tensor) -> None:
        self.skeleton, self.video = skeleton, video


class Kept:
    """Keeps its tensors in a store, as graph batches do."""

    def __init__(self, **tensors: Tensor) -> None:
        self.__dict__["_store"] = UserDict(tensors)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_store"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._store[name] = value

    def __copy__(self) -> Kept:
        return type(self)(**self._store)


class OfNamedTuple(Encoder):
    def forward(self, batch: Pair) -> Tensor:
        return self.encode(batch.skeleton)


def video() -> Tensor:
    return torch.linspace(0.5, 1.0, 2 * B).view(B, 2)


SIGN = torch.arange(B)
SCALE = torch.linspace(1.0, 2.0, B)
EXAMPLES: dict[str, tuple[type[Encoder], str, Callable[[Tensor], Any]]] = {
    "one tensor": (Encoder, "x", lambda x: x),
    "a tuple of arguments": (Encoder, "x", lambda x: (x,)),
    "a dict of named arguments": (Encoder, "x", lambda x: {"x": x}),
    "a dict batch": (
        OfBatch,
        "batch.skeleton",
        lambda x: {"skeleton": x, "video": video(), "sign": SIGN, "names": ["a", "b", "c"]},
    ),
    "a dict batch in a tuple of arguments": (
        OfBatch,
        "batch.skeleton",
        lambda x: ({"skeleton": x, "video": video()},),
    ),
    "a dict batch by its argument's name": (
        OfBatch,
        "batch.skeleton",
        lambda x: {"batch": {"skeleton": x, "video": video()}},
    ),
    "a nested batch": (
        OfNestedBatch,
        "batch.inputs.0.skeleton",
        lambda x: {"inputs": [{"skeleton": x}], "sign": SIGN},
    ),
    "a tuple batch": (OfPair, "batch.0", lambda x: (x, SIGN)),
    "a list batch": (OfPair, "batch.0", lambda x: [x, SIGN]),
    "a dict that is unpacked": (OfUnpacked, "skeleton", lambda x: {"skeleton": x, "sign": SIGN}),
    "a tuple that is unpacked": (OfArguments, "inputs.1", lambda x: (video(), x)),
    "a list that is unpacked": (OfArguments, "inputs.1", lambda x: [video(), x]),
    "arguments by place and by name": (
        OfBoth,
        "batch.skeleton",
        lambda x: (video(), {"batch": {"skeleton": x}, "scale": SCALE}),
    ),
    "a tuple of arguments and a dict of named ones": (
        OfBoth,
        "batch.skeleton",
        lambda x: ((video(), {"skeleton": x}), {"scale": SCALE}),
    ),
    "a dataclass": (OfObject, "batch.skeleton", lambda x: Clips(x, video())),
    "a dataclass in a dataclass": (
        OfObjectInObject,
        "batch.clips.skeleton",
        lambda x: Labelled(Clips(x, video()), SIGN),
    ),
    "an object with slots": (OfObject, "batch.skeleton", lambda x: Slotted(x, video())),
    "an object with a store of its own": (
        OfObject,
        "batch.skeleton",
        lambda x: Kept(skeleton=x, video=video()),
    ),
    "a mapping of another class": (
        OfBatch,
        "batch.skeleton",
        lambda x: UserDict({"skeleton": x, "video": video()}),
    ),
    "a mapping that is read only": (
        OfBatch,
        "batch.skeleton",
        lambda x: MappingProxyType({"skeleton": x, "video": video()}),
    ),
    "a named tuple": (OfNamedTuple, "batch.skeleton", lambda x: Pair(x, SIGN)),
}


def pruned(of: type[Encoder], where: str, axes: str = "b t j c") -> Encoder:
    model = of().eval()
    layer = JointPruningLayer(J)
    layer.freeze(torch.tensor([joint in KEPT for joint in range(J)]))
    attach(model, Target.parse(where, axes), layer)
    return model


def by_hand(model: Encoder) -> Encoder:
    """Return a model of the kept joints, with the same weights."""
    small = type(model)(len(KEPT)).eval()
    state = dict(model.state_dict())
    columns = [joint * C + channel for joint in KEPT for channel in range(C)]
    state["embed.weight"] = state["embed.weight"][:, columns]
    small.load_state_dict(state)
    return small


def clips() -> Tensor:
    return torch.randn(B, T, J, C, generator=torch.Generator().manual_seed(2))


@pytest.mark.compatibility("Examples for `compact` and `export_model`", "{name}")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_what_forward_takes(name: str, tmp_path: Path) -> None:
    of, where, example = EXAMPLES[name]
    model, x = pruned(of, where), clips()
    small = compact(model, analyze_pruning(model), example(x))
    whole = compact(model, analyze_pruning(model), example(x), whole=True)
    hand, fewer = by_hand(model), x[:, :, list(KEPT)]
    for got, other in zip(small.parameters(), hand.parameters(), strict=True):
        assert torch.equal(got, other)
    call = calling(name, example)
    with torch.no_grad():
        expected = call(hand, fewer)
        assert torch.equal(call(small, fewer), expected)
        assert torch.equal(call(whole, fewer), call(model, x))
        torch.testing.assert_close(expected, call(model, x))
    written = export_model(small, tmp_path / "small.onnx", example(fewer))
    assert written.dynamic == ("batch", "time")
    assert where in written.inputs
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx")
    names = [entry.name for entry in session.get_inputs()]
    given = {name: tensor_of(name, where, fewer) for name in names}
    (found,) = session.run(None, given)
    torch.testing.assert_close(torch.from_numpy(found), expected)


def calling(name: str, example: Callable[[Tensor], Any]) -> Callable[[nn.Module, Tensor], Tensor]:
    """Return a function that calls the model as users do."""

    def call(model: nn.Module, x: Tensor) -> Tensor:
        given = example(x)
        if name in ("a dict of named arguments", "a dict that is unpacked") or "'s name" in name:
            return model(**given)
        if name == "arguments by place and by name":
            return model(given[0], **given[1])
        if name == "a tuple of arguments and a dict of named ones":
            return model(*given[0], **given[1])
        if "unpacked" in name or "tuple of arguments" in name:
            return model(*given)
        return model(given)

    return call


def tensor_of(name: str, where: str, x: Tensor) -> Any:
    """Return the tensor for an input of a program, by its name."""
    if name == where:
        return x.numpy()
    known = {"video": video(), "0": video(), "sign": SIGN, "1": SIGN, "scale": SCALE}
    return known[name.rsplit(".", maxsplit=1)[-1]].numpy()


@pytest.mark.parametrize("name", ["a dict batch", "a dataclass", "a tuple batch"])
def test_masked_and_whole_models_are_exported_from_their_example(name: str, tmp_path: Path) -> None:
    of, where, example = EXAMPLES[name]
    model, x = pruned(of, where), clips()
    whole = compact(model, analyze_pruning(model), example(x), whole=True)
    for exported, inputs in ((model, x), (whole, x[:, :, list(KEPT)])):
        written = export_model(exported, tmp_path / "small.pt2", example(inputs), "torch")
        assert written.dynamic == ("batch", "time")
        assert where in written.inputs


class InParts(Encoder):
    def forward(self, body: Tensor, hand: Tensor) -> Tensor:
        return self.encode(torch.cat([body, hand], dim=2))


@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_parts_that_are_views_of_one_tensor_are_exported(to: str, tmp_path: Path) -> None:
    model, layer = InParts().eval(), JointPruningLayer(J)
    layer.freeze(torch.tensor([joint in KEPT for joint in range(J)]))
    for target in part_targets([("", ("body",)), ("", ("hand",))], Layout.parse("b t j c"), [3, 4]):
        attach(model, target, layer)
    x = clips()
    written = export_model(model, tmp_path / "parts", (x[:, :, :3], x[:, :, 3:]), to)
    assert (written.inputs, written.dynamic) == (("body", "hand"), ("batch", "time"))


class Uneven(InParts):
    """Takes parts whose joints have channels of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * 2 + 4 * 3, 6)

    def encode(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x).mean(1))


def test_parts_with_channels_of_their_own_are_exported(tmp_path: Path) -> None:
    model, layer = Uneven().eval(), JointPruningLayer(J)
    layer.freeze(torch.tensor([joint in KEPT for joint in range(J)]))
    layout = Layout.parse("b t (3*2 + 4*3)")
    for target in part_targets([("", ("body",)), ("", ("hand",))], layout, [3, 4]):
        attach(model, target, layer)
    x = torch.randn(B, T, 18)
    written = export_model(model, tmp_path / "parts.onnx", (x[..., :6], x[..., 6:]))
    assert written.inputs == ("body", "hand")
    with pytest.raises(
        ValueError, match=r"3 joints in input `body` \(b t \(3\*2\)\) but got an axis"
    ):
        export_model(model, tmp_path / "parts.onnx", (x[..., :5], x[..., 6:]))


@pytest.mark.parametrize("kind", ["copied", "pickled", "loaded", "detached"])
def test_a_compact_model_says_that_it_got_all_joints(kind: str, tmp_path: Path) -> None:
    of, where, example = EXAMPLES["a dict batch"]
    model, x = pruned(of, where), clips()
    selection = analyze_pruning(model)
    small = compact(model, selection, example(x))
    save_compact(small, tmp_path / "small.safetensors")
    other = {
        "copied": copy.deepcopy,
        "pickled": lambda model: pickle.loads(pickle.dumps(model)),
        "loaded": lambda _: from_compact(tmp_path / "small.safetensors", OfBatch),
        "detached": lambda model: (detach(model), model)[1],
    }[kind](small)
    said = r"Expected 3 joints in input `batch.skeleton` \(b t j c\) but got 7, .*SelectJoints"
    for call in (other, other.forward):
        with pytest.raises(ValueError, match=said):
            call(example(x))
    with torch.no_grad():
        assert torch.equal(
            other(example(SelectJoints(selection)(x))), small(example(x[:, :, list(KEPT)]))
        )


class Flat(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x).mean(1))


def test_joints_that_share_an_axis_are_counted_by_their_channels(tmp_path: Path) -> None:
    model, x = pruned(Flat, "x", "b t (j c)"), torch.randn(B, T, J * C)
    small = compact(model, analyze_pruning(model), x)
    save_compact(small, tmp_path / "small.safetensors")
    for loaded in (small, from_compact(tmp_path / "small.safetensors", Flat)):
        assert loaded(x[..., : 3 * C]).shape == (B, SIGNS)
        for size, found in ((J * C, "7"), (3 * 4, "6"), (5, "2.5")):
            with pytest.raises(ValueError, match=rf"3 joints in input `x` .* but got {found}, in"):
                loaded(torch.zeros(B, T, size))


def test_who_takes_all_joints_says_that_it_got_the_kept_ones() -> None:
    model, x = pruned(Encoder, "x"), clips()
    small = compact(model, analyze_pruning(model), x, takes="all")
    with pytest.raises(ValueError, match=r"7 joints in input `x` .* got 3, .*Pass all joints; the"):
        small(x[:, :, list(KEPT)])
    whole = compact(model, analyze_pruning(model), x, whole=True)
    with pytest.raises(ValueError, match=r"3 joints in input `x` .* got 7, .*Pass the kept joints"):
        whole(x)


@pytest.mark.filterwarnings("ignore:`?torch.jit.(script|trace)`? is:DeprecationWarning")
def test_a_compact_model_is_still_scripted_traced_and_compiled() -> None:
    model, x = pruned(Encoder, "x"), clips()
    small, fewer = compact(model, analyze_pruning(model), x), x[:, :, list(KEPT)]
    expected = small(fewer)
    for root in (small, nn.Sequential(small)):
        assert torch.equal(torch.jit.script(root)(fewer), expected)
    assert torch.equal(torch.jit.trace(small, fewer)(fewer), expected)
    assert torch.equal(torch.fx.symbolic_trace(small)(fewer), expected)
    assert torch.equal(torch.compile(small, backend="eager")(fewer), expected)
    with pytest.raises(ValueError, match="3 joints in input `x`"):
        small(x)


# --- what does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "example", "said"),
    [
        ("a dict batch", {"pose": SIGN}, r"OfBatch.forward\(batch\) with a tensor in `batch.skel"),
        (
            "a dict batch",
            {"pose": SIGN},
            r"but got a dict of pose\. Pass what forward takes: a bat",
        ),
        ("a dict batch", (), r"but got a tuple of nothing\. Pass"),
        ("a dict batch", clips(), r"but got a tensor of shape \(3, 5, 7, 2\)\. Pass"),
        ("a dict batch", {"skeleton": clips()}, r"forward runs on but it raised KeyError: 'video'"),
        ("a dataclass", SIGN, "with a tensor in `batch.skeleton` but got a tensor"),
        ("a tuple batch", [SIGN], "Expected 7 joints in input `batch.0` .* but got 1 axes"),
        ("one tensor", clips()[:, :, :3], "Expected 7 joints in input `x` .* but got 3, in the sh"),
        ("one tensor", clips()[:, :, :3], "Pass an example with all joints, as the model had them"),
        ("arguments by place and by name", (video(), clips()), r"forward\(video, batch, scale\) w"),
    ],
)
def test_an_example_that_does_not_fit_is_refused(name: str, example: Any, said: str) -> None:
    of, where, _ = EXAMPLES[name]
    model = pruned(of, where)
    for way in ({}, {"whole": True}):
        with pytest.raises(ValueError, match=said):
            compact(model, analyze_pruning(model), example, **way)
    with pytest.raises(ValueError, match=said):
        export_model(model, "never.onnx", example)


def test_an_export_of_a_compact_model_takes_the_kept_joints(tmp_path: Path) -> None:
    model, x = pruned(Encoder, "x"), clips()
    small = compact(model, analyze_pruning(model), x)
    with pytest.raises(ValueError, match=r"Expected 3 joints in input `x` .* but got 7, .*Select"):
        export_model(small, tmp_path / "small.onnx", x)


@pytest.mark.usefixtures("run_folder")
def test_a_compact_model_can_be_pruned_again() -> None:
    import lightning.pytorch as pl
    from torch.utils.data import DataLoader

    class Learner(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(J * C, SIGNS)

        def forward(self, x: Tensor) -> Tensor:
            return self.embed(x.flatten(2)).mean(1)

        def training_step(self, batch: Any) -> Tensor:
            return nn.functional.cross_entropy(self(batch), SIGN)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters())

    model, x = pruned(Learner, "x"), clips()
    small = compact(model, analyze_pruning(model), x)
    callback = JointPruningCallback(3, budget=1, input="x", axes="b t j c", lr=0.5)
    trainer = pl.Trainer(max_epochs=5, callbacks=[callback], **QUIET)
    batches = [x[:, :, list(KEPT)]] * 8
    trainer.fit(small, DataLoader(batches, batch_size=None))
    assert len(callback.selection.indices) == 1
    callback.detach()
    with pytest.raises(ValueError, match="3 joints in input `x`"):
        small(x)
