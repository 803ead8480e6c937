"""Finds 543 joints with the Holistic of MediaPipe up to 0.10.21, which brings its models along."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from examples.autsl.data.orders import POSE, get_order
from examples.autsl.detectors.landmarks import Detect, Landmarks

ORDER = "face-left-pose-right"  # of the named skeleton mediapipe_holistic
BLOCKS = get_order(ORDER).blocks
COMPONENTS = tuple(name for name, _ in BLOCKS)
FIELDS = {  # of MediaPipe's results
    "face": "face_landmarks",
    "left": "left_hand_landmarks",
    "pose": "pose_landmarks",
    "right": "right_hand_landmarks",
}


@dataclass(frozen=True)
class Holistic:
    """MediaPipe Holistic, which follows a person from frame to frame, anew in every clip.

    Args:
        models: none, since the package has them.

    Raises:
        ValueError: a model is named.
    """

    models: tuple[Path, ...] = ()
    name = "MediaPipe Holistic"
    order = ORDER

    def __post_init__(self) -> None:
        if self.models:
            raise ValueError(
                f"Expected no model for mediapipe-legacy but got {self.models[0]}. Leave --models "
                "out, or pass --detector mediapipe."
            )

    def load(self) -> Detect:
        """Return Holistic at work."""
        os.environ.setdefault("GLOG_minloglevel", "2")  # else it talks into the progress bar
        try:
            import mediapipe
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "Expected mediapipe but it is not installed: "
                'pip install "lightning-jointprune[extract]". It needs Python below 3.13 and numpy '
                "below 2, so an environment of its own may be best."
            ) from error
        version = mediapipe.__version__
        if not hasattr(mediapipe, "solutions"):
            raise ValueError(
                f"Expected MediaPipe up to 0.10.21, which brings its models, but got {version}. "
                'pip install "lightning-jointprune[extract]", or pass --detector mediapipe with '
                "--models."
            )
        solution = mediapipe.solutions.holistic.Holistic()

        def detect(frames: Iterable[np.ndarray]) -> Landmarks:
            solution.reset()
            return read_results(map(solution.process, frames), f"{self.name} {version}")

        return detect


def read_results(results: Iterable[Any], detector: str) -> Landmarks:
    """Turn Holistic's result of each frame into arrays."""
    frames = (
        {name: getattr(getattr(result, FIELDS[name]), "landmark", None) for name in COMPONENTS}
        for result in results
    )
    return read_marks(frames, BLOCKS, detector)


def read_marks(
    frames: Iterable[Mapping[str, Sequence[Any] | None]],
    blocks: Sequence[tuple[str, int]],
    detector: str,
) -> Landmarks:
    """Turn MediaPipe's marks into arrays.

    Args:
        frames: the marks of each block that was found in a frame; a block that was not found has
            none, or is missing. Marks beyond a block's size, the irises of a face, are left out.
        blocks: name and number of joints of each, in their order.
        detector: what found them, and its version.
    """
    joints, visibility, found = [], [], []
    for marks in frames:
        parts = [
            np.array([(mark.x, mark.y, mark.z) for mark in marks[name][:size]])
            if marks.get(name)
            else np.full((size, 3), np.nan)
            for name, size in blocks
        ]
        joints.append(np.concatenate(parts).astype(np.float32))
        sure = [mark.visibility for mark in marks.get("pose") or ()] or [np.nan] * POSE
        visibility.append(np.array(sure, np.float32))  # NaN where a mark says None
        found.append([bool(marks.get(name)) for name, _ in blocks])
    return Landmarks(np.stack(joints), np.stack(visibility), np.array(found), detector)
