"""Test that RTMPose's joints are where its models put them, and that other models are named.

The models are ONNX files of a few constants, with the inputs and outputs of MMPose's exports.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from examples.autsl.data.orders import get_order
from examples.autsl.detectors import rtmpose
from examples.autsl.detectors.rtmpose import RTMPose, kind_and_size, read_people

pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

WIDTH, HEIGHT = 24, 32  # of the whole-body model's input
BOX = (10.0, 4.0, 34.0, 44.0)  # of the person in a frame, in pixels


def constant_model(path: Path, size: tuple[int, int], outputs: dict[str, np.ndarray]) -> Path:
    """Write a model of a picture of this height and width that always returns the same."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
        for name, value in outputs.items()
    ]
    graph = helper.make_graph(
        nodes,
        "constants",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, *size])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)
            for name, value in outputs.items()
        ],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def bins(number: int, size: int) -> np.ndarray:
    """Return a row per joint with its score at its bin, two bins a pixel."""
    rows = np.zeros((1, number, 2 * size), np.float32)
    for joint in range(number):
        rows[0, joint, joint % (2 * size)] = 0.2 if joint == 5 else 0.8
    return rows


def person(path: Path, boxes: np.ndarray, size: int = 64) -> Path:
    return constant_model(path, (size, size), {"dets": boxes[None].astype(np.float32)})


def whole_body(path: Path, joints: int = 133) -> Path:
    made = {"simcc_x": bins(joints, WIDTH), "simcc_y": bins(joints, HEIGHT)}
    return constant_model(path, (HEIGHT, WIDTH), made)


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    boxes = np.array([[*BOX, 0.9], [0, 0, 5, 5, 0.95], [0, 0, 63, 63, 0.1]])
    return person(tmp_path / "yolox.onnx", boxes), whole_body(tmp_path / "rtmw.onnx")


def placed() -> np.ndarray:
    """Return where `whole_body` puts the joints of the person in `BOX`, in pixels."""
    x0, y0, x1, y1 = BOX
    width, height = 1.25 * (x1 - x0), 1.25 * (y1 - y0)  # rtmlib's margin
    width, height = max(width, height * WIDTH / HEIGHT), max(height, width * HEIGHT / WIDTH)
    joint = np.arange(133)
    x = joint % (2 * WIDTH) / (2 * WIDTH) * width + (x0 + x1 - width) / 2
    y = joint % (2 * HEIGHT) / (2 * HEIGHT) * height + (y0 + y1 - height) / 2
    return np.stack([x, y], axis=-1)


class StandIns:
    """Have the arguments and the results of rtmlib 0.0.16, which is not installed everywhere."""

    def __init__(self, boxes: Callable[[np.ndarray], np.ndarray]) -> None:
        self.boxes, self.asked = boxes, []
        self.YOLOX, self.RTMPose = self.load_people, self.load_joints

    def load_people(self, onnx_model: str, model_input_size: tuple, *, device: str) -> Any:
        assert (Path(onnx_model).name, model_input_size, device) == ("yolox.onnx", (64, 64), "cpu")
        sys.stdout.write("load yolox.onnx with onnxruntime backend\n")
        return self.boxes

    def load_joints(self, onnx_model: str, model_input_size: tuple, *, device: str) -> Any:
        assert (Path(onnx_model).name, model_input_size) == ("rtmw.onnx", (WIDTH, HEIGHT))

        def find(image: np.ndarray, bboxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            self.asked.append((image, bboxes))
            return placed()[None], np.full((1, 133), 0.5)

        return find


@pytest.fixture
def rtmlib(monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """Finds two people where a frame is light, and none where it is dark."""

    def boxes(image: np.ndarray) -> np.ndarray:
        return np.array([[0, 0, 5, 5], BOX]) if image.mean() > 50 else np.array([])

    made = StandIns(boxes)
    monkeypatch.setitem(sys.modules, "rtmlib", made)
    monkeypatch.setattr(rtmpose, "version", lambda package: "0.0.16")
    return made


def test_joints_of_the_largest_person_are_shares_of_the_picture(
    models: tuple[Path, Path], rtmlib: StandIns, capsys: pytest.CaptureFixture[str]
) -> None:
    detect = RTMPose(models[::-1]).load()
    assert capsys.readouterr().out == ""
    light = np.zeros((60, 80, 3), np.uint8) + np.array([200, 100, 0], np.uint8)
    found = detect(iter([light, light // 10, light]))
    assert (found.joints.shape, found.joints.dtype) == ((3, 133, 2), np.float32)
    np.testing.assert_allclose(found.joints[0], placed() / (80, 60), rtol=1e-6)
    assert np.isnan(found.joints[1]).all()
    assert np.isnan(found.visibility[1]).all()
    assert len(rtmlib.asked) == 2  # nobody is looked for where nobody is
    image, boxes = rtmlib.asked[0]
    np.testing.assert_array_equal(boxes, [BOX])
    np.testing.assert_array_equal(image[0, 0], [0, 100, 200])  # BGR, as OpenCV reads a file
    assert image.flags.c_contiguous
    assert found.found.tolist() == [[True] * 5, [False] * 5, [True] * 5]
    assert found.detector == "RTMPose rtmw.onnx, yolox.onnx, rtmlib 0.0.16"


def test_joint_below_the_least_score_is_missing_and_its_score_is_kept() -> None:
    scores = np.full(133, 0.9)
    left = get_order("coco-wholebody-133").start("left")
    scores[left : left + 21] = 0.1
    found = read_people([(np.zeros((133, 2)), scores)], 0.3, "x")
    assert np.isnan(found.joints[0, left : left + 21]).all()
    assert np.isfinite(found.joints[0, left + 21 :]).all()
    assert found.found.tolist() == [[True, True, True, False, True]]
    np.testing.assert_allclose(found.visibility[0], scores)


def test_rtmlib_itself_finds_what_the_models_say(models: tuple[Path, Path]) -> None:
    pytest.importorskip("rtmlib", reason="rtmlib is not installed")
    found = RTMPose(models).load()(iter(np.full((2, 64, 64, 3), 90, np.uint8)))
    expected = placed() / 64
    expected[5] = np.nan  # its score is 0.2
    np.testing.assert_allclose(found.joints, [expected] * 2, atol=1e-5)
    nobody = person(models[0], np.zeros((1, 5)))
    assert not RTMPose((nobody, models[1])).load()([np.zeros((50, 70, 3), np.uint8)]).found.any()


def test_models_that_are_missing_or_of_another_kind_are_named(
    models: tuple[Path, Path], rtmlib: StandIns, tmp_path: Path
) -> None:
    with pytest.raises(
        ValueError, match=r"Expected --models but got none\. It takes two ONNX file"
    ):
        RTMPose()
    with pytest.raises(ValueError, match=r"but got no file at .*none\.onnx\. It takes two ONNX"):
        RTMPose((models[0], tmp_path / "none.onnx"))
    with pytest.raises(ValueError, match=r"Expected 2 models but got 1, .*yolox\.onnx\. It takes"):
        RTMPose(models[:1])
    archive = tmp_path / "rtmw.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(
        ValueError, match=r"an ONNX model but got .*rtmw\.zip: .* It takes .* unpack"
    ):
        RTMPose((models[0], archive)).load()
    body = whole_body(tmp_path / "body.onnx", joints=17)
    with pytest.raises(
        ValueError, match=r"persons or 133 joints but got .*body\.onnx, which makes"
    ):
        RTMPose((models[0], body)).load()
    things = constant_model(tmp_path / "coco.onnx", (64, 64), {"out": np.zeros((1, 9, 85), "f")})
    with pytest.raises(ValueError, match=r"but got .*coco\.onnx, which makes \[\[1, 9, 85\]\] of"):
        RTMPose((things, models[1])).load()
    with pytest.raises(ValueError, match=r"one model of each kind but got two pose models, .* and"):
        RTMPose((models[1], models[1])).load()


def session(inputs: list[Any], outputs: list[list[Any]]) -> SimpleNamespace:
    return SimpleNamespace(
        get_inputs=lambda: [SimpleNamespace(shape=inputs)],
        get_outputs=lambda: [SimpleNamespace(shape=shape) for shape in outputs],
    )


@pytest.mark.parametrize(
    ("outputs", "kind"),
    [
        ([["batch", 133, 384], ["batch", 133, 512]], "pose"),
        ([["a", "b", "c"], ["d", "e", "f"]], "pose"),  # in many exports, axes have names alone
        ([["batch", "num_dets", 5], ["batch", "num_dets"]], "person"),
        ([["batch", "num_dets", "c"], ["batch", "num_dets"]], "person"),
        ([[1, 100, 5]], "person"),
        ([["a", 133, "c"], ["a", 133, "c"], ["a", 133, "c"]], None),  # in three dimensions
        ([["batch", "num_dets", 5], ["batch", "num_dets", 17, 3]], None),  # RTMO
        ([[1, 8400, 85]], None),
    ],
)
def test_kind_of_a_model_is_told_by_its_outputs(
    outputs: list[list[Any]], kind: str | None, tmp_path: Path
) -> None:
    made = session(["batch", 3, 256, 192], outputs)
    onnxruntime = SimpleNamespace(InferenceSession=lambda path, providers: made)
    if kind is None:
        with pytest.raises(ValueError, match="Expected a model that finds persons or 133 joints"):
            kind_and_size(onnxruntime, tmp_path)
    else:
        assert kind_and_size(onnxruntime, tmp_path) == (kind, (tmp_path, (256, 192)))


def test_other_number_of_joints_is_found_out_in_the_first_frame(
    models: tuple[Path, Path], rtmlib: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = np.zeros((1, 17, 2)), np.ones((1, 17))
    monkeypatch.setattr(rtmlib, "RTMPose", lambda *_, **__: lambda image, bboxes: body)
    with pytest.raises(ValueError, match=r"17 joints in place of 133; it takes two ONNX files"):
        RTMPose(models).load()([np.full((60, 80, 3), 200, np.uint8)])


def test_missing_package_is_said(
    models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rtmlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"rtmlib is not installed: pip .*\[rtmpose\]"):
        RTMPose(models).load()
