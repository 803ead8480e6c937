"""The orders in which landmark arrays are saved, by name, and checks that catch a wrong one.

Two orders can have the same number of joints, so that the shape of an array never says which it is:
the order is named, and the anatomy of a few clips has to agree with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from examples.autsl.data.files import write_whole
from examples.autsl.data.labels import SPLITS

ORDER_FILE = "landmarks.json"
FACE, IRISES, POSE, HAND = 468, 10, 33, 21
# Shoulder, elbow and wrist of the left and the right arm, within the block of the pose.
MEDIAPIPE_ARMS = ((11, 13, 15), (12, 14, 16))
OPENPOSE_ARMS = ((5, 6, 7), (2, 3, 4))  # BODY_25
COCO_ARMS = ((5, 7, 9), (6, 8, 10))


@dataclass(frozen=True)
class Order:
    """The blocks of an array, one after the other.

    Args:
        blocks: name and number of joints of each: pose, face, left (hand), right (hand) and others.
        arms: shoulder, elbow and wrist of the left and the right arm, within the pose.
        skeleton: the named skeleton that `to_skeleton` brings the joints to; None leaves them.
        wanted: the blocks in the order of that skeleton.
    """

    blocks: tuple[tuple[str, int], ...]
    arms: tuple[tuple[int, int, int], tuple[int, int, int]] = MEDIAPIPE_ARMS
    skeleton: str | None = None
    wanted: tuple[str, ...] = ()

    @property
    def num_joints(self) -> int:
        """Joints in an array of this order."""
        return sum(size for _, size in self.blocks)

    def start(self, block: str) -> int:
        """Return the index of the first joint of a block."""
        names = [name for name, _ in self.blocks]
        return sum(size for _, size in self.blocks[: names.index(block)])

    @property
    def joints(self) -> tuple[str, ...]:
        """Return the joints' names, as a `.pose` file gives them; none without a skeleton.

        The irises and the pose in metres are not in the skeleton and have names of their own.
        """
        from lightning_jointprune.skeletons import get_skeleton

        if self.skeleton is None:
            return ()
        left = iter(get_skeleton(self.skeleton).joints)
        sizes = dict(self.blocks)
        names = {block: [*islice(left, sizes[block])] for block in self.wanted or sizes}
        names["irises"] = [f"face_{joint}" for joint in range(FACE, FACE + IRISES)]
        names["world"] = [joint.replace("pose_", "pose_world_") for joint in names.get("pose", [])]
        return tuple(joint for block, _ in self.blocks for joint in names[block])

    def to_skeleton(self, clip: np.ndarray) -> np.ndarray:
        """Return the joints in the named skeleton's order; those it does not have are left out.

        Args:
            clip: shape `(frames, joints, coordinates)` in this order.

        Raises:
            ValueError: another number of joints.
        """
        if clip.shape[1] != self.num_joints:
            raise ValueError(
                f"Expected {self.num_joints} joints but got {clip.shape[1]}. Pass the order that "
                "they were saved in."
            )
        if not self.wanted:
            return clip
        sizes = dict(self.blocks)
        parts = [clip[:, self.start(name) :][:, : sizes[name]] for name in self.wanted]
        return np.concatenate(parts, axis=1)


def _mediapipe(*names: str) -> Order:
    """Return an order of MediaPipe Holistic's blocks, read as the named skeleton that has them."""
    sizes = {"face": FACE, "irises": IRISES, "pose": POSE, "left": HAND, "right": HAND}
    sizes["world"] = POSE
    blocks = tuple((name, sizes[name]) for name in names)
    if "face" in names:
        return Order(
            blocks, MEDIAPIPE_ARMS, "mediapipe_holistic", ("face", "left", "pose", "right")
        )
    return Order(blocks, MEDIAPIPE_ARMS, "mediapipe_body_hands", ("pose", "left", "right"))


ORDERS: Mapping[str, Order] = {
    # 543 joints of MediaPipe Holistic: its own result, Kaggle's GISLR, and what is often written.
    "face-pose-left-right": _mediapipe("face", "pose", "left", "right"),
    "face-left-pose-right": _mediapipe("face", "left", "pose", "right"),
    "pose-face-left-right": _mediapipe("pose", "face", "left", "right"),
    # 553: with refine_face_landmarks; the irises are left out.
    "face-irises-pose-left-right": _mediapipe("face", "irises", "pose", "left", "right"),
    "pose-face-irises-left-right": _mediapipe("pose", "face", "irises", "left", "right"),
    # 576 and 586: the pose in metres comes last, and is left out.
    "pose-face-left-right-world": _mediapipe("pose", "face", "left", "right", "world"),
    "pose-face-irises-left-right-world": _mediapipe(
        "pose", "face", "irises", "left", "right", "world"
    ),
    # 75: without the face.
    "pose-left-right": _mediapipe("pose", "left", "right"),
    # A part by itself, of which no anatomy can be checked without a pose.
    "left-right": Order(
        (("left", HAND), ("right", HAND)), skeleton="mediapipe_hands", wanted=("left", "right")
    ),
    "pose": Order((("pose", POSE),), skeleton="mediapipe_pose", wanted=("pose",)),
    # The keys of OpenPose's JSON, one after the other; BODY_25, 70 of the face.
    "openpose-137": Order(
        (("pose", 25), ("face", 70), ("left", HAND), ("right", HAND)), OPENPOSE_ARMS
    ),
    "coco-wholebody-133": Order(
        (("pose", 17), ("feet", 6), ("face", 68), ("left", HAND), ("right", HAND)),
        COCO_ARMS,
        "coco_wholebody_133",
    ),
}


def get_order(name: str) -> Order:
    """Return the order of this name.

    Raises:
        ValueError: no order has this name.

    >>> get_order("pose-left-right").num_joints
    75
    """
    if name not in ORDERS:
        raise ValueError(f"Expected an order out of {', '.join(ORDERS)} but got {name!r}.")
    return ORDERS[name]


def save_order(folder: Path, name: str, detector: str | None = None) -> None:
    """Write beside the data in which order its joints are, and what found them where it is known.

    `saved_order` and `saved_detector` read it.
    """
    said = {"order": name, "blocks": get_order(name).blocks, "detector": detector}
    text = json.dumps(said, indent=1)
    write_whole(folder / ORDER_FILE, lambda file: file.write(text.encode()))


def saved_detector(folder: Path) -> str | None:
    """Return what found the joints of a folder; None where nothing says it."""
    path = folder / ORDER_FILE
    return json.loads(path.read_text("utf-8")).get("detector") if path.is_file() else None


def saved_order(folder: Path) -> str | None:
    """Return the order that a folder or a split in it names; None where none does.

    Raises:
        ValueError: no order has the name that it says, or two splits say different ones.
    """
    paths = [place / ORDER_FILE for place in (folder, *(folder / split for split in SPLITS))]
    said = {path: json.loads(path.read_text("utf-8"))["order"] for path in paths if path.is_file()}
    for name in said.values():
        get_order(name)
    if len({*said.values()}) > 1:
        raise ValueError(
            f"Expected one order in all of {folder} but got "
            f"{', '.join(f'{name} in {path}' for path, name in said.items())}. Extract it again."
        )
    return next(iter(said.values()), None)


def own_order(skeleton: str | None) -> str | None:
    """Return a named skeleton's order of joints; None where no order is known for it.

    >>> own_order("mediapipe_holistic")
    'face-left-pose-right'
    """
    for name, order in ORDERS.items():
        blocks = tuple(block for block, _ in order.blocks)
        if skeleton is not None and order.skeleton == skeleton and order.wanted in ((), blocks):
            return name
    return None


def check_anatomy(clips: Iterable[np.ndarray], name: str) -> None:
    """Refuse an order that the bodies in some clips disagree with.

    Args:
        clips: arrays of shape `(frames, joints, coordinates)`, NaN or 0 where nothing was found;
            a few dozen, so that both hands are seen.
        name: the order they are said to be in.

    Raises:
        ValueError: another number of joints, or an order that puts a hand away from its wrist,
            a face away from the shoulders, or makes two arms of different lengths.
    """
    order, several = get_order(name), list(clips)
    shapes = {clip.shape[1] for clip in several}
    if shapes != {order.num_joints}:
        raise ValueError(
            f"Expected {order.num_joints} joints of the order {name} but got "
            f"{', '.join(map(str, sorted(shapes)))}. Name the order that they were saved in."
        )
    frames = np.concatenate([clip[..., :2] for clip in several]).astype(np.float64)
    frames[(frames == 0).all(axis=-1)] = np.nan
    reasons = _disagreements(frames, order)
    if reasons:
        alike = [
            other
            for other, candidate in ORDERS.items()
            if candidate.num_joints == order.num_joints and not _disagreements(frames, candidate)
        ]
        advice = f"Is it {' or '.join(alike)}?" if alike else "Name the order they were saved in."
        raise ValueError(f"Expected joints in the order {name} but {'; '.join(reasons)}. {advice}")


def order_doubt(clips: Sequence[np.ndarray], skeleton: str | None) -> str | None:
    """Return why joints of which nobody named the order can not be in their skeleton's own.

    Args:
        clips: as in `check_anatomy`.
        skeleton: name of the skeleton that they are read as.
    """
    own = own_order(skeleton)
    if own is None:
        return None
    try:
        check_anatomy(clips, own)
    except ValueError as error:
        return f"{error} Pass --datamodule.order with its name."
    return None


def _disagreements(frames: np.ndarray, order: Order) -> list[str]:
    """Return what speaks against an order; nothing does where it has no pose."""
    sizes = dict(order.blocks)
    if "pose" not in sizes:
        return []
    import torch  # here, since extracting the joints needs neither of them

    from lightning_jointprune.measure.anatomy import Anatomy, disagreements

    pose = order.start("pose")
    left, right = ((pose + a, pose + b, pose + c) for a, b, c in order.arms)
    hands = (order.start("left"), order.start("right")) if "left" in sizes else None
    face = order.start("face") if "face" in sizes else None
    block = None if face is None else range(face, face + sizes["face"])
    return disagreements(torch.from_numpy(frames), Anatomy((left, right), hands, block))
