"""Test that an exported program equals the model at other sizes, and names its joints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from lightning_jointprune.attach.hooks import attach
from lightning_jointprune.attach.target import Target
from lightning_jointprune.compaction.compact import compact
from lightning_jointprune.compaction.compact_files import from_compact, save_compact
from lightning_jointprune.compaction.export.export import export_model
from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.run.load import analyze_pruning
from tests.zoo.skeleton_models import (
    COMPACTED,
    KEPT,
    REFUSED,
    FlatLinear,
    J,
    example,
    masked,
    picked,
)

pytestmark = pytest.mark.usefixtures("one_table_of_operations")


def small_one(model: nn.Module, **how: Any) -> Any:
    model = masked(model)
    return compact(model, analyze_pruning(model), example("linear"), **how)


def kept(batch: int, frames: int) -> Tensor:
    return torch.randn(batch, frames, len(KEPT), 3)


def onnx_of(path: Path, *tensors: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path)
    given = {taken.name: x.numpy() for taken, x in zip(session.get_inputs(), tensors, strict=True)}
    return torch.from_numpy(session.run(None, given)[0])


@pytest.mark.parametrize("name", ["linear", "number_in_forward", "data_norm_and_gru"])
def test_onnx_equals_the_model_on_other_batches_and_lengths(name: str, tmp_path: Path) -> None:
    small, path = small_one(COMPACTED[name]()), tmp_path / "small.onnx"
    done = export_model(small, path, kept(3, 7))
    assert (done.path, done.inputs, done.dynamic) == (path, ("x",), ("batch", "time"))
    assert done.error <= 1e-4
    for batch, frames in [(1, 7), (2, 40), (5, 2)]:
        x = kept(batch, frames)
        with torch.no_grad():
            torch.testing.assert_close(onnx_of(path, x), small(x), rtol=1e-4, atol=1e-5)
    (taken,) = onnxruntime.InferenceSession(path).get_inputs()
    assert taken.shape == ["batch", "time", 4, 3]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.onnx"]


@pytest.mark.parametrize("name", ["linear", "lstm_both_ways"])
def test_a_torch_program_equals_the_model_without_its_class(name: str, tmp_path: Path) -> None:
    small, path = small_one(COMPACTED[name]()), tmp_path / "small.pt2"
    export_model(small, path, kept(3, 7), to="torch")
    extra = {"joints": ""}
    program = torch.export.load(path, extra_files=extra)
    assert not any("jointprune" in str(node.target) for node in program.graph.nodes)
    assert json.loads(extra["joints"])["names"] == [f"joint_{n}" for n in KEPT]
    x = kept(1, 30)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x)[0], small(x), rtol=1e-4, atol=1e-5)


def test_says_the_joints_that_it_takes_in_their_order(tmp_path: Path) -> None:
    model, path = masked(FlatLinear()), tmp_path / "model.onnx"
    said = {}
    for takes, names in [("kept", KEPT), ("all", range(J))]:
        small = compact(model, analyze_pruning(model), example("linear"), takes=takes)
        export_model(small, path, kept(3, 7) if takes == "kept" else example("linear"))
        meta = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
        said = json.loads(meta["joints"])
        assert said["names"] == [f"joint_{n}" for n in names]
        digest = hashlib.sha256(json.dumps(said["names"]).encode()).hexdigest()
        assert (said["schema"], said["takes"], said["digest"]) == (1, takes, digest)
        assert said["selection"]["indices"] == list(KEPT)
    assert (said["inputs"], said["axes"], said["dynamic"]) == (["x"], "b t j c", ["batch", "time"])


def test_masked_whole_and_loaded_models_are_exported_too(tmp_path: Path) -> None:
    model, x = masked(REFUSED["joint_attention"][0](), fill=0.3), example("joint_attention")
    whole = compact(model, analyze_pruning(model), x, whole=True)
    save_compact(whole, tmp_path / "whole.safetensors")
    again = from_compact(tmp_path / "whole.safetensors", type(model))
    export_model(model, tmp_path / "masked.onnx", x)
    export_model(again, tmp_path / "whole.onnx", picked(x, "b t j c"))
    x = torch.randn(2, 5, J, 3)
    with torch.no_grad():
        expected = model(x)
    torch.testing.assert_close(onnx_of(tmp_path / "masked.onnx", x), expected, rtol=1e-4, atol=1e-5)
    fewer = picked(x, "b t j c")
    torch.testing.assert_close(
        onnx_of(tmp_path / "whole.onnx", fewer), expected, rtol=1e-4, atol=1e-5
    )


class FixedLength(FlatLinear):
    """Weighs each of 7 frames."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.rand(7, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.weights)


def test_a_length_that_the_forward_fixes_is_said_and_held(tmp_path: Path) -> None:
    small, path = small_one(FixedLength()), tmp_path / "small.onnx"
    with pytest.warns(UserWarning, match=r"takes exactly 7 frames.*forward fixes.*\('batch',\)"):
        assert export_model(small, path, kept(3, 7)).dynamic == ("batch",)
    assert export_model(small, path, kept(3, 7), dynamic=("batch",)).dynamic == ("batch",)
    assert onnxruntime.InferenceSession(path).get_inputs()[0].shape == ["batch", 7, 4, 3]
    with pytest.raises(Exception, match="Got: 8 Expected: 7"):
        onnx_of(path, kept(3, 8))


class Positions(FlatLinear):
    """Has positions of 8 frames at most, and returns what is no tensor, too."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Embedding(8, 3)

    def forward(self, x: Tensor) -> Any:
        places = self.positions(torch.arange(x.shape[1]))
        return super().forward(x + places[:, None]), None, 8


@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_a_model_that_takes_no_longer_clips_is_compared_on_shorter_ones(
    to: str, tmp_path: Path
) -> None:
    model, path = masked(Positions()), tmp_path / ("small.onnx" if to == "onnx" else "small.pt2")
    assert export_model(model, path, example("linear"), to).dynamic == ("batch", "time")
    x = torch.randn(2, 4, J, 3)
    with torch.no_grad():
        expected = model(x)[0]
        got = onnx_of(path, x) if to == "onnx" else torch.export.load(path).module()(x)[0]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


class Streams(FlatLinear):
    """Takes a second input, whose first axis is the batch."""

    def forward(self, batch: dict[str, Tensor], scale: float, mask: Tensor) -> dict[str, Tensor]:
        seen = super().forward(batch["pose"] * mask[..., None, None])
        return {"signs": scale * seen, "rgb": batch["rgb"] + 1}


def test_containers_become_named_inputs_and_numbers_part_of_the_program(tmp_path: Path) -> None:
    model, layer = Streams().eval(), JointPruningLayer(J)
    layer.freeze(torch.tensor([joint in KEPT for joint in range(J)]))
    attach(model, Target.parse("batch.pose", "b t j c"), layer)
    call = ({"pose": example("linear"), "rgb": torch.rand(3, 5)}, 2.0, torch.ones(3, 7))
    small = compact(model, analyze_pruning(model), call)
    call[0]["pose"] = picked(call[0]["pose"], "b t j c")
    done = export_model(small, tmp_path / "small.onnx", call)
    assert done.inputs == ("batch.pose", "batch.rgb", "mask")
    taken = {
        taken.name: taken.shape
        for taken in onnxruntime.InferenceSession(tmp_path / "small.onnx").get_inputs()
    }
    assert taken == {
        "batch.pose": ["batch", "time", 4, 3],
        "batch.rgb": ["batch", 5],
        "mask": ["batch", "time"],
    }


# --- refused -------------------------------------------------------------------------------------


def test_refuses_what_it_cannot_export(tmp_path: Path) -> None:
    small, path = small_one(FlatLinear()), tmp_path / "small.onnx"
    with pytest.raises(ValueError, match='to="onnx" or "torch" but got \'tflite\''):
        export_model(small, path, kept(3, 7), to="tflite")
    with pytest.raises(ValueError, match=r"choice of \(.batch., .time.\) but got \('length',\)"):
        export_model(small, path, kept(3, 7), dynamic=("length",))
    with pytest.raises(ValueError, match="says which joints it takes but got FlatLinear"):
        export_model(FlatLinear(), path, example("linear"))
    with pytest.raises(ValueError, match="2 clips of 2 frames but got one of size 1 batch"):
        export_model(small, path, kept(1, 7))
    asks = masked(REFUSED["asks_for_values"][0]())
    with pytest.raises(ValueError, match=r"torch.export can trace but got .*cannot be traced"):
        export_model(asks, path, example("linear"))
    assert not list(tmp_path.iterdir())


class Exotic(FlatLinear):
    """Uses an operation that ONNX does not have."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j1(super().forward(x))


def test_a_format_that_lacks_an_operation_is_refused_with_the_other(tmp_path: Path) -> None:
    model = masked(Exotic())
    said = r"can be written for 'onnx' but got ConversionError: .* Pass to='torch', or dynamic="
    with pytest.raises(ValueError, match=said):
        export_model(model, tmp_path / "small.onnx", example("linear"))
    assert not list(tmp_path.iterdir())
    assert export_model(model, tmp_path / "small.pt2", example("linear"), "torch").error < 1e-5


class Counting(FlatLinear):
    """Multiplies by how often it was called, which a program does not know."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        Counting.calls += 1
        return super().forward(x) * Counting.calls


def test_a_program_that_is_not_the_model_is_not_written(tmp_path: Path) -> None:
    model = masked(Counting())
    with pytest.raises(ValueError, match=r"equals the model but got one .*differs by.*not written"):
        export_model(model, tmp_path / "small.onnx", example("linear"))
    assert not list(tmp_path.iterdir())
