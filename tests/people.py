"""People who face the camera, in any order of landmarks, and a detector that sees only them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

import numpy as np

from examples.autsl.data.orders import get_order
from examples.autsl.detectors.holistic import ORDER
from examples.autsl.detectors.landmarks import Landmarks

ARMS = {"shoulder": (0.62, 0.4), "elbow": (0.70, 0.6), "wrist": (0.62, 0.78)}


def block(name: str, size: int, arms: tuple) -> np.ndarray:
    """One block of a person who faces the camera; the left side is at the right."""
    rng = np.random.default_rng(size)
    if name in ("left", "right"):
        points = np.array([0.62, 0.78]) + rng.uniform(-0.04, 0.04, (size, 2))
        points[0] = (0.625, 0.785)
        return points if name == "left" else points * [-1, 1] + [1, 0]
    if name != "pose":
        return np.array([0.5, 0.2]) + rng.uniform(-0.05, 0.05, (size, 2))
    points = np.array([0.5, 0.2]) + rng.uniform(-0.05, 0.05, (size, 2))
    for side, joints in enumerate(arms):
        for joint, (x, y) in zip(joints, ARMS.values(), strict=True):
            points[joint] = (x if side == 0 else 1 - x, y)
    return points


def person(order: str) -> np.ndarray:
    """A clip of a person, shape `(8, joints, 3)`, in this order."""
    known = get_order(order)
    pose = np.concatenate([block(name, size, known.arms) for name, size in known.blocks])
    clip = np.zeros((8, len(pose), 3))
    clip[..., :2] = pose + np.random.default_rng(0).normal(0, 0.003, (8, len(pose), 2))
    return clip


class StandIn:
    """Finds a person whose depth is the frame's brightness, without a left hand in odd frames."""

    clips = 0  # number that this process has seen
    name = "stand-in"
    order = ORDER

    def load(self) -> StandIn:
        return type(self)()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def __call__(self, frames: Iterable[np.ndarray]) -> Landmarks:
        StandIn.clips += 1
        light = np.array([frame.mean() for frame in frames], np.float32)
        joints = np.repeat(person(ORDER)[:1].astype(np.float32), len(light), axis=0)
        joints[..., 2] = light[:, None]
        joints[..., :2] += np.random.default_rng(0).normal(0, 0.003, joints[..., :2].shape)
        found = np.ones((len(light), 4), bool)
        found[1::2, 1] = False
        joints[1::2, 468:489] = np.nan
        return Landmarks(joints, np.full((len(light), 33), 0.5, np.float32), found, "stand-in")


class Killer(StandIn):
    """Kills the process that has started its own, at the second clip."""

    def __call__(self, frames: Iterable[np.ndarray]) -> Landmarks:
        if StandIn.clips:
            os.kill(os.getppid(), signal.SIGKILL)
        return super().__call__(frames)
