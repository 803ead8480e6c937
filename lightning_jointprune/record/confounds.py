"""Compares the importance of joints with their motion and their detection."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch

MOSTLY = 0.5  # smallest share of frames that counts as most


class JointInput(NamedTuple):
    """Describes what reached the gate of one joint; None where it could not be measured.

    Frames in which no joint is there do not count, since they are padding.

    Attributes:
        motion: mean absolute difference between a frame and the next, in units of the input.
        detected: share of the frames in which the joint is there: finite, and not all 0.
        interpolated: share of the frames in which it is just where a straight line between the
            frames before and after it is, while other joints are not. A joint that stands still in
            rounded coordinates looks the same.
        out_of_frame: share of the frames in which it is there, but outside the picture.
    """

    motion: float | None
    detected: float | None
    interpolated: float | None
    out_of_frame: float | None


class Confounds(NamedTuple):
    """Tells how far importance goes with how joints move and how often they are detected.

    Correlations are Spearman's, in [-1, 1], with ties at their mean rank; None of fewer than three
    joints, or where all are alike. They have no interval, since joints are no independent sample:
    those of one finger move together.

    Attributes:
        joints: how many joints have an importance.
        motion: rank correlation of importance with motion.
        detected: rank correlation of importance with the share of frames with a detection.
        phantoms: kept joints that are undetected, interpolated or out of frame in most frames, such
            as the legs of somebody who sits behind a desk.
        phantom_share: how many of the kept joints these are, in [0, 1].
    """

    joints: int
    motion: float | None
    detected: float | None
    phantoms: tuple[str, ...]
    phantom_share: float


def confounds(
    importance: Mapping[str, float], inputs: Mapping[str, JointInput], kept: Collection[str]
) -> Confounds:
    """Compare the importance of joints with what reached their gates.

    Args:
        importance: by name, of some or all of the joints.
        inputs: by name, of all joints.
        kept: names of the kept joints, at least one.
    """
    seen = [inputs[name] for name in importance]
    phantoms = tuple(name for name in inputs if name in kept and _is_phantom(inputs[name]))
    return Confounds(
        len(importance),
        rank_correlation(list(importance.values()), [joint.motion for joint in seen]),
        rank_correlation(list(importance.values()), [joint.detected for joint in seen]),
        phantoms,
        len(phantoms) / len(kept),
    )


def rank_correlation(x: Sequence[float | None], y: Sequence[float | None]) -> float | None:
    """Return Spearman's rank correlation of what is known in both, with ties at their mean rank.

    >>> rank_correlation([1.0, 2.0, 3.0, 4.0], [1.0, 9.0, None, 81.0])
    1.0
    """
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
    values = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2)
    below = (values[:, None] > values).sum(1)
    ranks = below + (values[:, None] == values).sum(1) / 2  # less 1/2, which changes no correlation
    away = ranks - ranks.mean(0)
    spread = away.square().sum(0).prod()
    if len(pairs) < 3 or spread == 0:
        return None
    return (away.prod(1).sum() / spread.sqrt()).clamp(-1.0, 1.0).item()


def _is_phantom(joint: JointInput) -> bool:
    missing = None if joint.detected is None else 1 - joint.detected
    shares = (missing, joint.interpolated, joint.out_of_frame)
    return any((share or 0.0) >= MOSTLY for share in shares)
