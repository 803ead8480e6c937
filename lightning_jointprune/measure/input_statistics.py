"""Adds up how the joints that enter a model move, and how often they were detected."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_jointprune.gates.axes import frames_of, is_there
from lightning_jointprune.record.confounds import JointInput

TOLERANCE = 2.0**-18  # largest deviation from a straight line, as a share of the coordinate


class InputStatistics:
    """Adds up what reaches the gates, batch by batch, and keeps no batch.

    Args:
        num_joints: J.
        frame: the ends of the picture in the first two channels, such as (0, 1) for coordinates in
            shares of width and height; None leaves out how many joints are outside.

    Raises:
        ValueError: if the ends are not in order.
    """

    def __init__(self, num_joints: int, frame: tuple[float, float] | None = None) -> None:
        if frame is not None and not frame[0] < frame[1]:
            raise ValueError(
                f"Expected frame to be the two ends of the picture but got {frame}. Pass the lower "
                "one first, such as (0, 1)."
            )
        self.frame = frame
        self.sums = torch.zeros(len(JointInput._fields), num_joints, dtype=torch.float64)
        self.counts = torch.zeros_like(self.sums)

    def add(self, calls: Sequence[tuple[Tensor, Sequence[str], range | None]]) -> None:
        """Add one pass of a batch.

        Args:
            calls: the calls of the gates, as tensor, words of its axes, and which joints it has; a
                skeleton in several parts comes in several calls.
        """
        pieces: list[tuple[Tensor, range]] = []
        for tensor, axes, part in calls:
            x = frames_of(tensor, axes)
            joints = range(x.shape[2]) if part is None else part
            if pieces and not _belongs(x, joints, pieces):
                self._add(pieces)
                pieces = []
            pieces.append((x, joints))
        if pieces:
            self._add(pieces)

    def result(self) -> list[JointInput]:
        """Return the statistics of each joint."""
        means = (self.sums / self.counts).tolist()
        known = (self.counts > 0).tolist()
        return [
            JointInput(
                *(value if is_known else None for value, is_known in zip(*joint, strict=True))
            )
            for joint in zip(zip(*means, strict=True), zip(*known, strict=True), strict=True)
        ]

    def _add(self, pieces: Sequence[tuple[Tensor, range]]) -> None:
        there = [is_there(x) for x, _ in pieces]
        straight = [_straight(x, seen) for (x, _), seen in zip(pieces, there, strict=True)]
        real = torch.cat(there, -1).any(-1, keepdim=True)
        bent = (_thrice(torch.cat(there, -1)) & ~torch.cat(straight, -1)).any(-1, keepdim=True)
        for (x, joints), seen, on_line in zip(pieces, there, straight, strict=True):
            moving = seen[:, 1:] & seen[:, :-1]
            moved = x.diff(dim=1).abs().mean(-1).where(moving, 0.0)
            self._count("motion", joints, moved, moving)
            self._count("detected", joints, seen, real.expand_as(seen))
            self._count("interpolated", joints, on_line & bent, _thrice(seen) & bent)
            if self.frame is not None:
                low, high = self.frame
                outside = ((x[..., :2] < low) | (x[..., :2] > high)).any(-1)
                self._count("out_of_frame", joints, outside & seen, seen)

    def _count(self, name: str, joints: range, values: Tensor, counted: Tensor) -> None:
        row, within = JointInput._fields.index(name), slice(joints.start, joints.stop)
        self.sums[row, within] += values.cpu().double().sum((0, 1))  # some devices have no double
        self.counts[row, within] += counted.sum((0, 1)).cpu()


def _belongs(x: Tensor, joints: range, pieces: Sequence[tuple[Tensor, range]]) -> bool:
    """Return whether these joints belong to the same frames as the calls before."""
    before = {joint for _, others in pieces for joint in others}
    return x.shape[:2] == pieces[0][0].shape[:2] and before.isdisjoint(joints)


def _thrice(seen: Tensor) -> Tensor:
    """Return whether a joint is there in a frame and the two after it, for all but two frames."""
    return seen[:, :-2] & seen[:, 1:-1] & seen[:, 2:]


def _straight(x: Tensor, seen: Tensor) -> Tensor:
    """Return whether a joint is on a straight line in these three frames, in all channels."""
    x = x.where(seen.unsqueeze(-1), 0.0)
    limit = TOLERANCE * x.abs().amax((1, 2, 3), keepdim=True)
    bend = x[:, :-2] - 2 * x[:, 1:-1] + x[:, 2:]
    return (bend.abs() <= limit).all(-1) & _thrice(seen)
