"""Writes joints as a `.pose` file, by pose-format and with the names that its converters give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from examples.autsl.data.orders import Order, get_order
from examples.autsl.detectors.landmarks import Landmarks

# Blocks of MediaPipe in pose-format's order, with the names of its components, and how the names of
# a skeleton's joints begin, which its points' names do not.
MEDIAPIPE = {
    "pose": ("POSE_LANDMARKS", "pose_"),
    "face": ("FACE_LANDMARKS", "face_"),
    "left": ("LEFT_HAND_LANDMARKS", "left_hand_"),
    "right": ("RIGHT_HAND_LANDMARKS", "right_hand_"),
}
COLOR = (255, 0, 0)  # of the limbs, where pose-format draws them


class Shot(NamedTuple):
    """Hold what a `.pose` file says of the video: width and height in pixels, frames per second."""

    width: int
    height: int
    fps: float


class PoseFile(NamedTuple):
    """Hold what all `.pose` files of a folder have in common; `pose_file` makes it.

    Args:
        order: the order of the joints in the files, a name out of `examples.autsl.data.orders`.
        places: of each joint in a file, its place in what the detector finds.
        components: the components of pose-format's header.
    """

    order: str
    places: np.ndarray
    components: list[Any]

    def write(self, file: BinaryIO, marks: Landmarks, sure: np.ndarray, shot: Shot) -> None:
        """Write a clip: places in pixels, 0 and without confidence where nothing was found.

        Args:
            file: where to.
            marks: what was found.
            sure: confidence of each joint, shape `(frames, joints)`, 0 where it was not found.
            shot: the video's size and speed.
        """
        from pose_format import Pose
        from pose_format.numpy import NumPyPoseBody
        from pose_format.pose_header import PoseHeader, PoseHeaderDimensions

        joints = np.nan_to_num(marks.joints[:, self.places])
        joints[..., :2] *= np.array([shot.width, shot.height], np.float32)
        body = NumPyPoseBody(shot.fps, joints[:, None], sure[:, None, self.places])
        size = PoseHeaderDimensions(shot.width, shot.height)
        Pose(PoseHeader(0.2, size, self.components), body).write(file)


def pose_file(order: str) -> PoseFile:
    """Return the `.pose` file for joints that are found in an order.

    Raises:
        ModuleNotFoundError: pose-format is not installed.
    """
    try:
        from pose_format.utils.cocowholebody133_header import cocowholebody_components
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Expected pose-format but {error.name} is not installed: "
            'pip install "lightning-jointprune[pose]".'
        ) from error
    known = get_order(order)
    if order == "coco-wholebody-133":
        return PoseFile(order, np.arange(known.num_joints), cocowholebody_components())
    sizes = dict(known.blocks)
    blocks = [block for block in MEDIAPIPE if block in sizes]
    places = [range(known.start(block), known.start(block) + sizes[block]) for block in blocks]
    return PoseFile(
        "pose-face-left-right" if "face" in sizes else order,
        np.concatenate(places),
        [_component(known, block, span) for block, span in zip(blocks, places, strict=True)],
    )


def confidence(marks: Landmarks, order: str) -> np.ndarray:
    """Return how surely each joint was found, shape `(frames, joints)`.

    It is 0 where a joint was not found, and 1 where the detector does not tell.
    """
    sure = np.isfinite(marks.joints[..., 0]).astype(np.float32)
    told = marks.visibility
    if told.shape != sure.shape:
        blocks = [name for name, _ in get_order(order).blocks]
        if "pose" not in blocks:
            return sure
        start = get_order(order).start("pose")
        told = np.full(sure.shape, np.nan, np.float32)
        told[:, start : start + marks.visibility.shape[1]] = marks.visibility
    return np.where(np.isnan(told), sure, sure * told)


def _component(order: Order, block: str, span: Sequence[int]) -> Any:
    """Return a component of pose-format's header, with the edges of the named skeleton as limbs."""
    from pose_format.pose_header import PoseHeaderComponent

    from lightning_jointprune.skeletons import get_skeleton  # here, since it loads torch

    skeleton = get_skeleton(order.skeleton or "")
    name, prefix = MEDIAPIPE[block]
    points = [skeleton.joints[place].removeprefix(prefix).upper() for place in span]
    start = span[0]
    limbs = [(a - start, b - start) for a, b in skeleton.edges if a in span and b in span]
    return PoseHeaderComponent(name, points, limbs, [COLOR] * len(limbs), "XYZC")
