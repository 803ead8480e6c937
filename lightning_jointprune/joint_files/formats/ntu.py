"""Reads the `.skeleton` files of NTU RGB+D, and rewrites them to npz."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_jointprune.joint_files.format import Format, Opened, without_axis
from lightning_jointprune.joint_files.formats.npz import write_arrays
from lightning_jointprune.joint_files.labels import JointLabels
from lightning_jointprune.joint_files.picking import Picking
from lightning_jointprune.record.files import Place
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.skeletons import Skeleton, get_skeleton

SKELETON = "ntu_25"
OF_BODY, OF_JOINT = 10, 12  # numbers that the file has of a body, and of a joint
PLACES = (0, 1, 2, 11)  # among those of a joint: x, y and z in metres, and the tracking state
ARRAY = "skeleton"  # name of the array in the npz file


class NtuFile(Format):
    """Is the text that Kinect's recordings of NTU RGB+D come in.

    A body has a place among the people by its number, in the order in which they come. Joints of
    a body that is not in a frame are 0. The last coordinate is the tracking state: 2 is tracked,
    1 inferred, 0 not tracked.
    """

    suffix = ".skeleton"
    nameless = re.compile(rb"\d+\s*\n")  # the number of frames

    def new_name(self, name: str) -> str:
        """Return the name of the npz file that takes the kept joints."""
        return f"{name.removesuffix(self.suffix)}.npz"

    def namings(self, opened: Opened) -> tuple[tuple[str, ...], ...]:  # noqa: ARG002
        """Return the names of the joints, which are the same in each such file."""
        return (get_skeleton(SKELETON).joints,)

    def skeleton(self, opened: Opened) -> Skeleton:  # noqa: ARG002
        """Return the skeleton of NTU RGB+D."""
        return get_skeleton(SKELETON)

    def write(
        self,
        opened: Opened,
        target: Place,
        selection: JointSelection,
        labels: JointLabels,
        axis: int | None,
    ) -> None:
        """Write the kept joints to an npz file, as an array of the axes `"t m j c"`."""
        without_axis("a .skeleton file", "whose joints are lines", axis)
        clip = clip_of(opened)[:, :, list(selection.indices)]
        write_arrays(target, {ARRAY: clip}, labels)

    def read(
        self,
        opened: Opened,
        picking: Picking,
        selected: bool,  # noqa: ARG002
        key: str | None,  # noqa: ARG002
    ) -> NDArray[Any]:
        """Return the kept joints."""
        clip = clip_of(opened)[:, :, list(picking.selection.indices)]
        return picking.arranged(clip, opened.name)


def clip_of(opened: Opened) -> NDArray[np.float32]:
    """Return all joints of a file, shape `(frames, bodies, 25, 4)`.

    Raises:
        ValueError: if the file is cut short, or none of NTU RGB+D, or nobody is in it.
    """
    joints = len(get_skeleton(SKELETON).joints)
    try:
        words = iter(opened.content.decode("ascii").split())
        frames = [_bodies(words, joints) for _ in range(int(_next(words)))]
        left = next(words, None)
    except ValueError as error:
        raise ValueError(
            f"Expected frames of NTU RGB+D in {opened.name} but it is cut short or damaged: "
            f"{error}. Get it again."
        ) from error
    if left is not None:
        raise ValueError(
            f"Expected {len(frames)} frames in {opened.name}, as its first line says, but got more "
            f"behind them, {left!r}. Get it again."
        )
    people = list(dict.fromkeys(body for frame in frames for body in frame))
    if not people:
        raise ValueError(
            f"Expected a body in {opened.name} but got none in {len(frames)} frames. Leave it out: "
            "NTU RGB+D lists such clips."
        )
    clip = np.zeros((len(frames), len(people), joints, len(PLACES)), np.float32)
    for index, frame in enumerate(frames):
        for body, values in frame.items():
            clip[index, people.index(body)] = values
    return clip


def _bodies(words: Iterator[str], joints: int) -> dict[str, NDArray[np.float32]]:
    """Return the bodies of the next frame, by their numbers."""
    found = {}
    for _ in range(int(_next(words))):
        body, *_ = _take(words, OF_BODY)
        count = int(_next(words))
        if count != joints:
            raise ValueError(f"a body has {count} joints and not {joints}")
        values = np.array(_take(words, count * OF_JOINT), np.float32)
        found[body] = values.reshape(count, OF_JOINT)[:, PLACES]
    return found


def _next(words: Iterator[str]) -> str:
    return _take(words, 1)[0]


def _take(words: Iterator[str], count: int) -> list[str]:
    found = list(islice(words, count))
    if len(found) < count:
        raise ValueError(f"{count - len(found)} numbers are missing at its end")
    return found
