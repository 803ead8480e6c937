"""Prepare a clip's joints for the model, so that no dropped joint reaches it.

A joint's gaps are filled from itself, its statistics are its own, and a clip is centred and scaled
by *reference* joints alone, which the pruning always keeps: whatever a dropped joint does, the
others stay as they are, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from examples.autsl.data.orders import get_order


def fill_gaps(clip: np.ndarray, longest: int) -> np.ndarray:
    """Fill gaps between two frames in which a joint was found, by a straight line.

    Args:
        clip: shape `(frames, joints, coordinates)`, NaN where a joint was not found.
        longest: frames of the longest gap to fill; longer ones, and those at an end, stay NaN.

    >>> fill_gaps(np.array([0.0, np.nan, 2.0, np.nan]).reshape(4, 1, 1), 1).ravel()
    array([ 0.,  1.,  2., nan])
    """
    found = np.isfinite(clip).all(axis=-1)
    frame = np.arange(len(clip))[:, None]
    before = np.maximum.accumulate(np.where(found, frame, -1), axis=0)
    after = np.minimum.accumulate(np.where(found, frame, len(clip))[::-1], axis=0)[::-1]
    short = ~found & (before >= 0) & (after < len(clip)) & (after - before - 1 <= longest)
    where, joint = np.nonzero(short)
    first, last = before[where, joint], after[where, joint]
    share = ((where - first) / (last - first))[:, None].astype(clip.dtype)
    filled = clip.copy()
    filled[where, joint] = clip[first, joint] * (1 - share) + clip[last, joint] * share
    return filled


def centre(clip: np.ndarray, reference: Sequence[int]) -> np.ndarray:
    """Put the reference joints' mean over the clip at 0 and their spread around it at 1.

    With one reference joint the scale stays. A clip in which they are never found has no place:
    all its joints are marked missing.

    Args:
        clip: shape `(frames, joints, coordinates)`, NaN where a joint was not found.
        reference: indices of the joints to go by; at least one.
    """
    points = clip[:, list(reference)]
    seen = np.isfinite(points).all(axis=(1, 2))  # all of them, so that a gap moves nothing
    if not seen.any():
        return np.full_like(clip, np.nan)
    points = points[seen].astype(np.float64)
    middle = points.mean(axis=(0, 1))
    spread = np.linalg.norm(points - points.mean(axis=1, keepdims=True), axis=-1).mean()
    scale = spread if len(reference) > 1 and spread > 1e-6 else 1.0
    return ((clip - middle) / scale).astype(clip.dtype)


@dataclass(frozen=True)
class Preprocess:
    """From an array on disk to joints that can be standardised.

    Args:
        order: name of the order the joints were saved in (`examples.autsl.data.orders`);
            None leaves it.
        zeros_missing: whether a joint at exactly 0 was not found, as some extractors write it.
        longest_gap: frames of the longest gap to fill; 0 fills none.
        reference: joints to centre and scale by, which have to be kept; none leaves the clip.
        mark: whether a coordinate is added that is 1 where the joint is missing.
        kept: the joints that are read, the reference among them: all others are missing in every
            frame, so that neither statistics nor a model see them. None reads all.
    """

    order: str | None = None
    zeros_missing: bool = False
    longest_gap: int = 0
    reference: tuple[int, ...] = ()
    mark: bool = False
    kept: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.kept is not None and not {*self.reference} <= {*self.kept}:
            raise ValueError(
                f"Expected the reference joints {sorted(self.reference)} to be kept, since they "
                f"move all others, but got {sorted(self.kept)}. Keep them, or name no reference."
            )

    @property
    def frame_by_frame(self) -> bool:
        """Return whether each frame is prepared by itself, so that others need not be read."""
        return not self.longest_gap and not self.reference

    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Map `(frames, joints, coordinates)` to the same shape, NaN where a joint is missing."""
        if self.order is not None:
            clip = get_order(self.order).to_skeleton(clip)
        if self.kept is not None:
            read = np.full_like(clip, np.nan)
            read[:, list(self.kept)] = clip[:, list(self.kept)]
            clip = read
        if self.zeros_missing:
            clip = np.where((clip == 0).all(axis=-1, keepdims=True), np.nan, clip)
        if self.longest_gap:
            clip = fill_gaps(clip, self.longest_gap)
        if self.reference:
            clip = centre(clip, self.reference)
        return clip


@dataclass(frozen=True)
class Standardizer:
    """Mean and spread of every joint's coordinates, so that no joint leaks into another.

    Args:
        mean: shape `(joints, coordinates)`, in the data's units.
        std: the same shape and units, above 0.
    """

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def fit(cls, clips: Iterable[np.ndarray]) -> Standardizer:
        """Fit on training clips of shape `(frames, joints, coordinates)`; NaN is left out.

        A joint that is never seen, or never moves, keeps a spread of 1.
        """
        seen, total, squares = 0.0, 0.0, 0.0
        for clip in clips:
            there = np.isfinite(clip)
            values = np.where(there, clip, 0.0).astype(np.float64)
            seen = seen + there.sum(axis=0)
            total = total + values.sum(axis=0)
            squares = squares + (values**2).sum(axis=0)
        mean = total / np.maximum(seen, 1)
        std = np.sqrt(np.maximum(squares / np.maximum(seen, 1) - mean**2, 0.0))
        return cls(mean.astype(np.float32), np.where(std > 1e-6, std, 1.0).astype(np.float32))

    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Standardise; a missing joint (NaN) becomes its mean over the training clips, 0."""
        moved = (clip - self.mean) / self.std
        return np.where(np.isfinite(moved), moved, np.float32(0))


def with_marks(clip: np.ndarray, standardized: np.ndarray) -> np.ndarray:
    """Add a coordinate that is 1 where the joint is missing; it is gated with its joint.

    Args:
        clip: before it was standardised, NaN where a joint is missing.
        standardized: the same clip afterwards.

    Returns:
        Shape `(frames, joints, coordinates + 1)`.
    """
    missing = ~np.isfinite(clip).all(axis=-1, keepdims=True)
    return np.concatenate([standardized, missing.astype(standardized.dtype)], axis=-1)
