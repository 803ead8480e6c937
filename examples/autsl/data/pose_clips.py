"""Reads the joints of clips from `.pose` files, whose headers say their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from examples.autsl.data.labels import SPLITS, SUFFIXES
from examples.autsl.data.orders import ORDERS

ENDING = "_skeleton.pose"
OTHER_ORDERS = {"openpose_137_points": "openpose-137"}  # of skeletons without a known name
BEHIND_HEADER = 10  # bytes of frame rate, frames and people


def skeleton_ending(folder: Path) -> str:
    """Return how the names of a folder's joints end: those of `.pose` files, or of arrays.

    Raises:
        ValueError: it has both.
    """
    there = [e for e in (ENDING, SUFFIXES["skeleton"]) if next(folder.glob(f"*{e}"), None)]
    if len(there) == 2:
        raise ValueError(
            f"Expected .pose files or arrays in {folder} but got both. Leave one kind there."
        )
    return there[0] if there else SUFFIXES["skeleton"]


def header_order(folder: Path) -> str | None:
    """Return the order that the header of a folder's first `.pose` file says; None without one.

    Raises:
        ValueError: no order has such joints.
    """
    for split in SPLITS:
        first = min((folder / split).glob(f"*{ENDING}"), default=None)
        if first is not None:
            return _order_of_file(first)
    return None


def read_pose_clip(path: Path) -> np.ndarray:
    """Read the joints of a `.pose` file, NaN where the confidence is 0.

    Returns:
        Shape `(frames, joints, coordinates)`, float32.

    Raises:
        ValueError: if the file is damaged, or has several people.
        OSError: if it cannot be read.
    """
    from lightning_jointprune.joint_files.format import Opened
    from lightning_jointprune.joint_files.formats.pose import read_pose

    with path.open("rb") as file:
        _, body = read_pose(Opened(file, path))
    people = body.data.shape[1]
    if people != 1:
        raise ValueError(
            f"Expected one person but got {people} in {path}. Leave the signer alone in it."
        )
    found = body.confidence[:, 0, :, None] > 0
    return np.where(found, body.data.data[:, 0], np.nan).astype(np.float32, copy=False)


def pose_problems(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Find what is wrong with a split's `.pose` files: cut off, or other joints than most have."""
    orders: dict[Path, str] = {}
    for path in paths:
        try:
            orders[path] = _order_of_file(path)
            _check_size(path)
        except (OSError, ValueError, NotImplementedError) as error:
            orders.pop(path, None)
            yield path, str(error)
    usual = Counter(orders.values()).most_common(1)
    for path, order in orders.items():
        if order != usual[0][0]:
            yield path, f"Expected the order {usual[0][0]}, as in most clips, but got {order}."


def _order_of_file(path: Path) -> str:
    from lightning_jointprune.skeletons.headers import header_at_start

    with path.open("rb") as file:
        header, _ = header_at_start(file, str(path))
    order = _order_of(header)
    if order is None:
        from lightning_jointprune.skeletons import Skeleton

        raise ValueError(
            f"Expected joints in an order out of {', '.join(ORDERS)} but got "
            f"{Skeleton.from_pose(header).name} in {path}. Leave other points out by `jointprune "
            "select`, or bring them into one of these orders."
        )
    return order


@lru_cache(maxsize=8)
def _order_of(header: Any) -> str | None:
    from lightning_jointprune.skeletons import Skeleton

    skeleton = Skeleton.from_pose(header)
    same = (name for name, order in ORDERS.items() if order.joints == skeleton.joints)
    return next(same, OTHER_ORDERS.get(skeleton.name))


def _check_size(path: Path) -> None:
    """Refuse a file that has not all the bytes that it says."""
    from pose_format import Pose
    from pose_format.pose_body import EmptyPoseBody

    from lightning_jointprune.skeletons.headers import header_at_start

    with path.open("rb") as file:
        _, end = header_at_start(file, str(path))
        file.seek(0)
        body = Pose.read(file, EmptyPoseBody).body
    wanted, there = body.data.size + body.confidence.size, path.stat().st_size
    if there < end + BEHIND_HEADER + 4 * wanted or not body.data.size:
        raise ValueError(
            f"Expected {end + BEHIND_HEADER + 4 * wanted} bytes of {len(body.data)} frames but "
            f"got {there}. Extract it again."
        )
