"""Test that the models named decide what is looked for, and that each clip starts anew.

The landmarkers are stand-ins: they take MediaPipe 1.2.3's arguments and return its results' fields.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from examples.autsl.data.orders import get_order
from examples.autsl.detectors.tasks import NETWORKS, Tasks, hands_of, kind_of

SIZES = {"pose": 33, "face": 478, "left": 21, "right": 21}  # of a face, with its irises


def mark(x: float, y: float) -> SimpleNamespace:
    return SimpleNamespace(x=x, y=y, z=-y, visibility=0.25, presence=None, name=None)


def marks(block: str, light: float) -> list[SimpleNamespace]:
    return [mark(light, n) for n in range(SIZES[block])]


def side(name: str, score: float) -> list[SimpleNamespace]:
    return [SimpleNamespace(index=0, score=score, category_name=name, display_name=name)]


class Landmarker:
    """Finds all that it can in a light frame, and nothing in a dark one."""

    made: ClassVar[list[Landmarker]] = []

    def __init__(self, kind: str, options: SimpleNamespace) -> None:
        self.kind, self.options, self.closed = kind, options, False
        self.times: list[int] = []
        Landmarker.made.append(self)

    def detect_for_video(self, image: SimpleNamespace, milliseconds: int) -> SimpleNamespace:
        assert not self.closed
        self.times.append(milliseconds)
        light = float(image.data.mean())
        there = light > 50
        if self.kind == "Holistic":
            names = {"face": "face", "pose": "pose", "left": "left_hand", "right": "right_hand"}
            return SimpleNamespace(
                **{f"{n}_landmarks": marks(b, light) if there else [] for b, n in names.items()}
            )
        if self.kind == "Hand":
            assert self.options.num_hands == 2
            hands = [("Right", "right"), ("Left", "left")] if there else []
            return SimpleNamespace(
                handedness=[side(name, 0.9) for name, _ in hands],
                hand_landmarks=[marks(block, light) for _, block in hands],
            )
        block = self.kind.lower()
        return SimpleNamespace(**{f"{block}_landmarks": [marks(block, light)] if there else []})

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Landmarker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def image(image_format: str, data: np.ndarray) -> SimpleNamespace:
    assert image_format == "SRGB"
    assert data.flags.c_contiguous
    assert data.dtype == np.uint8
    return SimpleNamespace(data=data)


@pytest.fixture(autouse=True)
def mediapipe(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    vision = SimpleNamespace(RunningMode=SimpleNamespace(VIDEO="video"))
    for kind in ("Holistic", "Pose", "Hand", "Face"):

        def create(options: SimpleNamespace, kind: str = kind) -> Landmarker:
            assert options.running_mode == "video"
            assert Path(options.base_options.model_asset_path).is_file()
            return Landmarker(kind, options)

        setattr(vision, f"{kind}LandmarkerOptions", SimpleNamespace)
        setattr(vision, f"{kind}Landmarker", SimpleNamespace(create_from_options=create))
    module = SimpleNamespace(
        __version__="1.2.3",
        Image=image,
        ImageFormat=SimpleNamespace(SRGB="SRGB"),
        tasks=SimpleNamespace(BaseOptions=SimpleNamespace, vision=vision),
    )
    monkeypatch.setitem(sys.modules, "mediapipe", module)
    Landmarker.made = []
    return module


def model(folder: Path, name: str, networks: Sequence[str]) -> Path:
    with zipfile.ZipFile(folder / f"{name}.task", "w") as file:
        for network in networks:
            file.writestr(network, b"")
    return folder / f"{name}.task"


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    made = {
        part: model(tmp_path, part, [network, f"{part}_detector.tflite"])
        for part, network in NETWORKS.items()
    }
    return {**made, "holistic": model(tmp_path, "holistic", [*NETWORKS.values(), "more.tflite"])}


def frames(*lights: int) -> Iterator[np.ndarray]:
    wide = np.array(lights, np.uint8)[:, None, None, None] * np.ones((1, 5, 14, 3), np.uint8)
    return iter(wide[:, :, ::2])  # not contiguous, and of an odd width


WANTED = {
    ("holistic",): "face-left-pose-right",
    ("pose", "hand", "face"): "face-left-pose-right",
    ("hand", "pose"): "pose-left-right",
    ("hand",): "left-right",
    ("pose",): "pose",
    ("face",): "face-left-pose-right",
    ("face", "hand"): "face-left-pose-right",
}


@pytest.mark.parametrize("named", WANTED, ids="+".join)
def test_joints_of_the_named_models_are_in_the_smallest_order_that_has_them(
    named: tuple[str, ...], models: dict[str, Path]
) -> None:
    detector = Tasks(tuple(models[name] for name in named))
    assert detector.order == WANTED[named]
    order = get_order(detector.order)
    found = detector.load()(frames(100, 10, 200))
    assert found.joints.shape == (3, order.num_joints, 3)
    assert found.joints.dtype == np.float32
    assert np.isnan(found.joints[1]).all()
    assert not found.found[1].any()
    looked_for = {"hand": {"left", "right"}, "pose": {"pose"}, "face": {"face"}}
    looked_for["holistic"] = {"left", "right", "pose", "face"}
    there = set().union(*(looked_for[name] for name in named))
    for at, (block, size) in enumerate(order.blocks):
        joints = found.joints[:, order.start(block) :][:, :size]
        assert found.found[0, at] == found.found[2, at] == (block in there)
        if block in there:
            np.testing.assert_array_equal(joints[0, :, 0], np.full(size, 100))
            np.testing.assert_array_equal(joints[2, :, 1], np.arange(size))
        else:
            assert np.isnan(joints).all()
    if "pose" in there:
        np.testing.assert_array_equal(found.visibility[[0, 2]], np.full((2, 33), 0.25))
    assert np.isnan(found.visibility[1]).all()
    assert all(models[name].name in found.detector for name in named)
    assert found.detector.endswith(" 1.2.3")


def test_every_clip_has_landmarkers_of_its_own_at_rising_times(models: dict[str, Path]) -> None:
    detect = Tasks((models["pose"], models["hand"])).load()
    assert all(landmarker.closed for landmarker in Landmarker.made)  # tried, before any clip
    Landmarker.made = []
    detect(frames(100, 100, 100, 100))
    detect(frames(100))
    assert [landmarker.kind for landmarker in Landmarker.made] == ["Pose", "Hand"] * 2
    assert [landmarker.times for landmarker in Landmarker.made[1::2]] == [[0, 33, 66, 100], [0]]
    with pytest.raises(ZeroDivisionError):
        detect(frame for frame in [next(frames(100)), 1 / 0])
    assert all(landmarker.closed for landmarker in Landmarker.made)


def test_of_two_hands_on_one_side_the_surer_is_taken() -> None:
    result: Any = SimpleNamespace(
        handedness=[side("Left", 0.6), side("Left", 0.9)], hand_landmarks=[[1], [2]]
    )
    assert hands_of(result) == {"left": [2]}


def test_models_that_are_missing_or_of_another_kind_are_named(
    models: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"Expected --models but got none\. It takes holistic_la"):
        Tasks()
    with pytest.raises(ValueError, match=r"a model but got no file at .*none\.task\. It takes hol"):
        Tasks((tmp_path / "none.task",))
    text = tmp_path / "page.task"
    text.write_text("<html>")
    with pytest.raises(ValueError, match=r"a landmarker but got another file at .*page\.task"):
        Tasks((text,))
    cut = tmp_path / "cut.task"
    cut.write_bytes(models["holistic"].read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"a landmarker but got another file at .*cut\.task"):
        Tasks((cut,))
    gestures = model(tmp_path, "gesture_recognizer", ["hand_landmarker.task"])
    with pytest.raises(ValueError, match=r"but got one with hand_landmarker\.task at .*gesture"):
        kind_of(gestures)
    for named in (("hand", "hand"), ("holistic", "hand"), ("hand", "holistic")):
        with pytest.raises(ValueError, match=r"one model for each part but got .* beside"):
            Tasks(tuple(models[name] for name in named))


def test_model_that_mediapipe_can_not_load_and_a_missing_package_are_said(
    models: dict[str, Path], mediapipe: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(options: SimpleNamespace) -> None:
        raise FileNotFoundError("Unable to open zip archive.\n=== Source Location Trace")

    detector = Tasks((models["hand"],))
    mediapipe.tasks.vision.HandLandmarker.create_from_options = fail
    with pytest.raises(ValueError, match=r"1\.2\.3 can load but got .*: Unable .* archive\. It ta"):
        detector.load()
    mediapipe.solutions, mediapipe.__version__ = None, "0.10.21"
    with pytest.raises(ValueError, match=r"MediaPipe 1\.0 or newer but got 0\.10\.21: pip install"):
        detector.load()
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ModuleNotFoundError, match=r"Expected mediapipe .* pip install .*\[tasks\]"):
        detector.load()
