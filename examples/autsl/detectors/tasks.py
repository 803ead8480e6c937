"""Finds joints with the Tasks of MediaPipe, whose models are files that the user names.

`HolisticLandmarker` finds all parts; `PoseLandmarker`, `HandLandmarker` and `FaceLandmarker` find
one each, and only those run whose model is named. A model file is a zip archive, in which the names
of the networks say which of these it is for.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from examples.autsl.data.orders import get_order
from examples.autsl.detectors.holistic import FIELDS, read_marks
from examples.autsl.detectors.landmarks import Detect, Landmarks, check_models

MODELS = (
    "holistic_landmarker.task alone, or some of pose_landmarker_full.task (or lite, heavy), "
    "hand_landmarker.task and face_landmarker.task, of MediaPipe's model pages"
)
NETWORKS = {  # a model file has these of the parts that it finds
    "pose": "pose_landmarks_detector.tflite",
    "hand": "hand_landmarks_detector.tflite",
    "face": "face_landmarks_detector.tflite",
}
CLASSES = {  # of MediaPipe, with the options that differ from its own
    "holistic": ("HolisticLandmarker", {}),
    "pose": ("PoseLandmarker", {}),
    "hand": ("HandLandmarker", {"num_hands": 2}),
    "face": ("FaceLandmarker", {}),
}
ORDERS = {  # the smallest order that has the parts; the others are of all
    frozenset({"hand"}): "left-right",
    frozenset({"pose"}): "pose",
    frozenset({"pose", "hand"}): "pose-left-right",
}
ALL = "face-left-pose-right"
FRAME = 100 / 3  # milliseconds, as MediaPipe's legacy solutions count the frames of any video


@dataclass(frozen=True)
class Tasks:
    """MediaPipe's landmarkers, which follow a person from frame to frame, anew in every clip.

    Args:
        models: their files.

    Raises:
        ValueError: a file is missing or of another kind, or two would find the same part.
    """

    models: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        _ = self.kinds

    @cached_property
    def kinds(self) -> dict[str, Path]:
        """Return the model file of each landmarker, out of `CLASSES`."""
        check_models(self.models, MODELS)
        kinds: dict[str, Path] = {}
        for path in self.models:
            kind = kind_of(path)
            if kind in kinds or ("holistic" in {kind, *kinds} and kinds):
                raise ValueError(
                    f"Expected one model for each part but got {path} beside "
                    f"{', '.join(map(str, kinds.values()))}. It takes {MODELS}."
                )
            kinds[kind] = path
        return kinds

    @property
    def name(self) -> str:
        """Return MediaPipe and the names of the model files."""
        return f"MediaPipe {', '.join(self.kinds[kind].name for kind in sorted(self.kinds))}"

    @property
    def order(self) -> str:
        """Return the smallest order that has the parts of the models."""
        return ORDERS.get(frozenset(self.kinds), ALL)

    def load(self) -> Detect:
        """Return the landmarkers at work; those of a clip are made for it, and closed after it."""
        os.environ.setdefault("GLOG_minloglevel", "2")  # else it talks into the progress bar
        try:
            import mediapipe
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "Expected mediapipe but it is not installed: "
                'pip install "lightning-jointprune[tasks]".'
            ) from error
        version, blocks = mediapipe.__version__, get_order(self.order).blocks
        if hasattr(mediapipe, "solutions"):  # its HolisticLandmarker ends the process without hands
            raise ValueError(
                f"Expected MediaPipe 1.0 or newer but got {version}: pip install -U mediapipe, or "
                "pass --detector mediapipe-legacy without --models."
            )
        for kind, path in self.kinds.items():
            try:
                _landmarker(mediapipe, kind, path).close()
            except (OSError, RuntimeError, ValueError) as error:
                said = str(error).partition("\n")[0].rstrip(".")
                raise ValueError(
                    f"Expected a model that MediaPipe {version} can load but got {path}: {said}. "
                    f"It takes {MODELS}."
                ) from error

        def detect(frames: Iterable[np.ndarray]) -> Landmarks:
            with ExitStack() as stack:
                landmarkers = {
                    kind: stack.enter_context(_landmarker(mediapipe, kind, path))
                    for kind, path in self.kinds.items()
                }
                found = (
                    _marks(mediapipe, landmarkers, frame, int(number * FRAME))
                    for number, frame in enumerate(frames)
                )
                return read_marks(found, blocks, f"{self.name} {version}")

        return detect


def kind_of(path: Path) -> str:
    """Return which landmarker a model file is for, out of `CLASSES`.

    Raises:
        ValueError: it is for none of them.
    """
    try:
        with zipfile.ZipFile(path) as file:
            names = set(file.namelist())
    except zipfile.BadZipFile:
        names = set()
    parts = [part for part, network in NETWORKS.items() if network in names]
    if len(parts) == len(NETWORKS):
        return "holistic"
    if len(parts) == 1:
        return parts[0]
    what = f"one with {', '.join(sorted(names)) or 'nothing in it'}" if names else "another file"
    raise ValueError(
        f"Expected a model of a landmarker but got {what} at {path}. It takes {MODELS}."
    )


def _landmarker(mediapipe: Any, kind: str, path: Path) -> Any:
    name, options = CLASSES[kind]
    vision = mediapipe.tasks.vision
    chosen = getattr(vision, f"{name}Options")(
        base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(path)),
        running_mode=vision.RunningMode.VIDEO,
        **options,
    )
    return getattr(vision, name).create_from_options(chosen)


def _marks(
    mediapipe: Any, landmarkers: Mapping[str, Any], frame: np.ndarray, milliseconds: int
) -> dict[str, Sequence[Any]]:
    """Return the marks of each block that is found in a frame."""
    # MediaPipe reads the pixels one after the other, whatever an array's strides are.
    pixels = np.ascontiguousarray(frame)
    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
    marks: dict[str, Sequence[Any]] = {}
    for kind, landmarker in landmarkers.items():
        result = landmarker.detect_for_video(image, milliseconds)
        if kind == "holistic":
            marks |= {block: getattr(result, field) for block, field in FIELDS.items()}
        elif kind == "hand":
            marks |= hands_of(result)
        else:
            people = getattr(result, FIELDS[kind])
            marks |= {kind: people[0]} if people else {}
    return marks


def hands_of(result: Any) -> dict[str, Sequence[Any]]:
    """Return the marks of the left and the right hand out of what `HandLandmarker` found.

    Its sides are the person's own in a picture that is not mirrored; the label map of the legacy
    Hands has them the other way round. A person has one hand on a side: the surer of two is taken.
    """
    hands: dict[str, Sequence[Any]] = {}
    pairs = zip(result.handedness, result.hand_landmarks, strict=True)
    for (side, *_), marks in sorted(pairs, key=lambda pair: -pair[0][0].score):
        left = side.category_name == "Left"
        hands.setdefault("left" if left else "right", marks)
    return hands
