"""Finds the 133 joints of COCO-WholeBody with RTMPose, by `rtmlib` and models the user names."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from examples.autsl.data.orders import get_order
from examples.autsl.detectors.landmarks import Detect, Landmarks, check_models

ORDER = "coco-wholebody-133"
JOINTS = get_order(ORDER).num_joints
MODELS = (
    "two ONNX files of MMPose's model zoo: a YOLOX that finds persons, and an RTMPose, RTMW or "
    "DWPose for 133 joints"
)
GPU = "CUDAExecutionProvider"  # name of onnxruntime's
LEAST_SCORE = 0.3  # of a joint that counts as found, as in rtmlib's `format_result`


@dataclass(frozen=True)
class RTMPose:
    """RTMPose of the largest person in each frame, by itself: nothing is smoothed over time.

    Args:
        models: the files of a person detector and of a whole-body model, in any order.
        least_score: a joint below it is NaN, as one that was not found.

    Raises:
        ValueError: there are not two files.
    """

    models: tuple[Path, ...] = ()
    least_score: float = LEAST_SCORE
    order = ORDER

    def __post_init__(self) -> None:
        check_models(self.models, MODELS)
        if len(self.models) != 2:
            raise ValueError(
                f"Expected 2 models but got {len(self.models)}, "
                f"{', '.join(map(str, self.models))}. It takes {MODELS}."
            )

    @property
    def name(self) -> str:
        """Return RTMPose and the names of the model files."""
        return f"RTMPose {', '.join(sorted(path.name for path in self.models))}"

    def load(self) -> Detect:
        """Return the two models at work, on a GPU where onnxruntime can use one."""
        try:
            import onnxruntime
            import rtmlib
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"Expected rtmlib but {error.name} is not installed: "
                'pip install "lightning-jointprune[rtmpose]".'
            ) from error
        found = dict(kind_and_size(onnxruntime, path) for path in self.models)
        if len(found) != 2:
            raise ValueError(
                f"Expected one model of each kind but got two {next(iter(found))} models, "
                f"{' and '.join(map(str, self.models))}. It takes {MODELS}."
            )
        (person_file, person_size), (pose_file, pose_size) = found["person"], found["pose"]
        device = "cuda" if GPU in onnxruntime.get_available_providers() else "cpu"
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it loads
            find_people = rtmlib.YOLOX(str(person_file), person_size, device=device)
            find_joints = rtmlib.RTMPose(str(pose_file), pose_size[::-1], device=device)
        name = f"{self.name}, rtmlib {version('rtmlib')}"

        def detect(frames: Iterable[np.ndarray]) -> Landmarks:
            people = (_largest(find_people, find_joints, frame) for frame in frames)
            return read_people(people, self.least_score, name)

        return detect


def read_people(
    people: Iterable[tuple[np.ndarray, np.ndarray] | None], least_score: float, detector: str
) -> Landmarks:
    """Turn the joints and scores of a person in each frame, where there is one, into arrays."""
    order = get_order(ORDER)
    nobody = np.full((JOINTS, 2), np.nan), np.full(JOINTS, np.nan)
    pairs = [nobody if person is None else person for person in people]
    joints = np.stack([joints for joints, _ in pairs]).astype(np.float32)
    scores = np.stack([scores for _, scores in pairs]).astype(np.float32)
    there = scores >= least_score  # NaN is not
    joints[~there] = np.nan
    found = [there[:, order.start(name) :][:, :size].any(axis=1) for name, size in order.blocks]
    return Landmarks(joints, scores, np.stack(found, axis=1), detector)


def _largest(
    find_people: Any, find_joints: Any, frame: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return places, as shares of the frame, and scores of the largest person's joints."""
    picture = np.ascontiguousarray(frame[..., ::-1])  # rtmlib is made for OpenCV's BGR
    boxes = np.asarray(find_people(picture)).reshape(-1, 4)
    if not len(boxes):  # without a box, rtmlib would look for a person as large as the picture
        return None
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    joints, scores = find_joints(picture, bboxes=boxes[[areas.argmax()]])
    if len(joints[0]) != JOINTS:
        raise ValueError(f"{len(joints[0])} joints in place of {JOINTS}; it takes {MODELS}")
    height, width = frame.shape[:2]
    return joints[0] / (width, height), scores[0]


def kind_and_size(onnxruntime: Any, path: Path) -> tuple[str, tuple[Path, tuple[int, int]]]:
    """Return what a model finds, `person` or `pose`, its file, and height and width of its input.

    Raises:
        ValueError: it is another model, or none.
    """
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # of many classes, which onnxruntime keeps to itself
        said = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"Expected an ONNX model but got {path}: {said}. It takes {MODELS}, unpacked."
        ) from error
    given = [list(tensor.shape) for tensor in session.get_inputs()]
    made = [list(tensor.shape) for tensor in session.get_outputs()]
    height, width = given[0][2:] if len(given[0]) == 4 else (None, None)
    if isinstance(height, int) and isinstance(width, int):
        axes = [len(shape) for shape in made]
        # The joints' places along x and along y, (people, joints, bins) each.
        if axes == [3, 3] and all(_may_be(shape[1], JOINTS) for shape in made):
            return "pose", (path, (height, width))
        # Boxes with a score, (1, boxes, 5), and perhaps their classes, (1, boxes).
        if axes in ([3], [3, 2]) and _may_be(made[0][2], 5):
            return "person", (path, (height, width))
    raise ValueError(
        f"Expected a model that finds persons or {JOINTS} joints but got {path}, which makes "
        f"{made} of {given}. It takes {MODELS}."
    )


def _may_be(size: int | str | None, wanted: int) -> bool:
    """Return whether an axis has a size; in many exports it has a name instead."""
    return size == wanted or not isinstance(size, int)
