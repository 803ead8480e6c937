"""Make `.pose` files of the detectors that people use, by pose-format itself."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from pose_format import Pose, PoseHeader
from pose_format.numpy import NumPyPoseBody
from pose_format.pose_header import PoseHeaderComponent, PoseHeaderDimensions
from pose_format.utils.alphapose import get_alphapose_components
from pose_format.utils.alphapose_133 import get_alphapose_133_components
from pose_format.utils.cocowholebody133_header import cocowholebody_components
from pose_format.utils.openpose import OpenPose_Components

from lightning_jointprune.skeletons import get_skeleton


def _mediapipe(world: bool, face_points: int = 468) -> list[Any]:
    """Return the components of `pose_format.utils.holistic`, which needs MediaPipe itself."""
    pose, hand = get_skeleton("mediapipe_pose"), get_skeleton("mediapipe_hand")
    holistic = get_skeleton("mediapipe_holistic")
    face = [edge for edge in holistic.edges if max(edge) < 468]

    def component(name: str, points: Sequence[str], limbs: Any) -> Any:
        both = [limb for edge in limbs for limb in (edge, edge[::-1])]  # as MediaPipe has them
        colors = [(n % 256, 1, 2) for n in range(len(both))]
        return PoseHeaderComponent(name, [p.upper() for p in points], both, colors, "XYZC")

    return [
        component("POSE_LANDMARKS", pose.joints, pose.edges),
        component("FACE_LANDMARKS", [str(n) for n in range(face_points)], face),
        component("LEFT_HAND_LANDMARKS", hand.joints, hand.edges),
        component("RIGHT_HAND_LANDMARKS", hand.joints, hand.edges),
        *([component("POSE_WORLD_LANDMARKS", pose.joints, pose.edges)] if world else []),
    ]


COMPONENTS = {
    "holistic_576": _mediapipe(world=True),
    "holistic_543": _mediapipe(world=False),
    "holistic_586": _mediapipe(world=True, face_points=478),
    "openpose_137": OpenPose_Components,
    "alphapose_133": get_alphapose_133_components(),
    "alphapose_136": get_alphapose_components(),
    "mmpose_133": cocowholebody_components(),
}


def header_of(components: Any, width: int = 640, height: int = 360) -> Any:
    """Return a header, also of the name of a detector."""
    parts = COMPONENTS[components] if isinstance(components, str) else components
    return PoseHeader(0.2, PoseHeaderDimensions(width, height, 100), deepcopy(list(parts)))


def pose_of(components: Any, frames: int = 5, people: int = 1, seed: int = 0) -> Any:
    """Return a clip of random points, of which every seventh was not found."""
    header, random = header_of(components), np.random.default_rng(seed)
    shape = (frames, people, header.total_points())
    data = random.normal(300, 80, (*shape, header.num_dims())).astype(np.float32)
    confidence = random.uniform(0.1, 1, shape).astype(np.float32)
    confidence.reshape(-1)[::7] = 0
    return Pose(header, NumPyPoseBody(29.97, data, confidence))


def write_pose(path: Path, pose: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        pose.write(file)
    return path


def read_pose(path: Path) -> Any:
    return Pose.read(path.read_bytes())
