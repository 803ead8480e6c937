"""Says how well each joint's coordinates are foretold from those of each other joint."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_jointprune.gates.axes import is_there

RIDGE = 1e-3  # penalty of the regression, as a share of the mean variance of the channels
FEWEST = 32  # least number of frames that both joints have to be in
STILL = 1e-10  # largest variance of a joint that stands still, as a share of its mean square
CHUNK = 512  # number of frames that are turned into double precision at a time


class _Moments(NamedTuple):
    """Holds sums over frames; `u` is a pattern, the frames that some joints are in.

    Attributes:
        pattern: pattern of each joint, shape `(J,)`.
        counts: frames of the pattern with the joint, shape `(u, J)`.
        sums: of the joint's coordinates, shape `(u, J, C)`.
        products: of pairs of its coordinates, shape `(u, J, C, C)`.
        cross: of the coordinates of two joints, shape `(J, C, J, C)`.
        variance: of all its coordinates together, 0 where it stands still, shape `(J,)`.
    """

    pattern: Tensor
    counts: Tensor
    sums: Tensor
    products: Tensor
    cross: Tensor
    variance: Tensor


def redundancy(frames: Tensor) -> Tensor:
    """Return how well joint d foretells joint k: the R² of a ridge regression, for all pairs.

    It is `1 - sum |x_k - m_k - B'(x_d - m_d)|² / sum |x_k - m_k|²`, over the frames in which both
    joints are there, with their means `m` there, all channels together, and
    `B = (S_dd + r I)⁻¹ S_dk` (Hoerl and Kennard 1970, Technometrics 12:55, eq. 2.1). S are the
    covariances, and r is `RIDGE` times the mean variance of d's channels.

    Args:
        frames: joints, shape `(frames, J, C)`; see `is_there` for those that are missing.

    Returns:
        R², shape `(J, J)`, in [0, 1], double: row k, column d. It is 0 where a joint stands still,
        and where fewer than `FEWEST` frames have both.

    >>> x = torch.randn(99, 1, 2, generator=torch.Generator().manual_seed(0))
    >>> redundancy(torch.cat([x, 3 * x.flip(-1) + 5, 0 * x], 1)).round(decimals=2)
    tensor([[1., 1., 0.],
            [1., 1., 0.],
            [0., 0., 0.]], dtype=torch.float64)
    """
    moments = _moments_of(frames)
    return torch.stack([_foretold(joint, moments) for joint in range(frames.shape[1])])


def _moments_of(frames: Tensor) -> _Moments:
    joints, channels = frames.shape[1:]
    there = is_there(frames)
    known = there.sum(0).clamp(min=1).double().unsqueeze(-1)
    x = frames.where(there.unsqueeze(-1), 0.0)
    mean = x.sum(0, dtype=torch.float64) / known
    # Few patterns, since detectors find or miss whole parts.
    patterns, pattern = there.unique(dim=1, return_inverse=True)  # type: ignore[no-untyped-call]
    count = patterns.shape[1]
    counts = torch.zeros(count, joints, dtype=torch.float64)
    sums = torch.zeros(count, joints * channels, dtype=torch.float64)
    products = torch.zeros(count, joints, channels, channels, dtype=torch.float64)
    cross = torch.zeros(joints * channels, joints * channels, dtype=torch.float64)
    square = torch.zeros(joints, dtype=torch.float64)
    for first in range(0, len(frames), CHUNK):
        rows = slice(first, first + CHUNK)
        seen, kinds = there[rows], patterns[rows].double()
        square += x[rows].double().square().sum((0, 2))
        centred = (x[rows] - mean).where(seen.unsqueeze(-1), 0.0)
        single = centred.float().flatten(1)  # exact enough, and four times as fast
        cross += single.T @ single
        counts += kinds.T @ seen.double()
        sums += kinds.T @ centred.flatten(1)
        for channel in range(channels):
            with_others = (centred * centred[..., channel, None]).flatten(1)
            products[:, :, channel] += (kinds.T @ with_others).view(count, joints, channels)
    variance = _diagonal(products)[pattern, torch.arange(joints)].sum(-1)
    variance = variance.where(variance > STILL * square, 0.0) / known.squeeze(-1)
    return _Moments(
        pattern,
        counts,
        sums.view(count, joints, channels),
        products,
        cross.view(joints, channels, joints, channels),
        variance,
    )


def _foretold(joint: int, moments: _Moments) -> Tensor:
    """Return the R² with which each joint foretells this one, shape `(J,)`."""
    pattern, variance = moments.pattern, moments.variance
    count = moments.counts[pattern[joint]]
    frames = count.clamp(min=1)[:, None]
    theirs = moments.sums[pattern[joint]] / frames  # means of the others, where this one is there
    ours = moments.sums[pattern, joint] / frames  # means of this one, where the others are there
    inner = moments.products[pattern[joint]] / frames[..., None] - _outer(theirs, theirs)
    outer = moments.cross[:, :, joint] / frames[..., None] - _outer(theirs, ours)
    total = (_diagonal(moments.products[pattern, joint]) / frames - ours.square()).sum(-1)
    spread = _diagonal(inner).sum(-1)
    usable = (count >= FEWEST) & (variance > 0) & (variance[joint] > 0)
    usable &= (spread > STILL * variance) & (total > STILL * variance[joint])
    unit = torch.eye(inner.shape[-1], dtype=torch.float64)
    ridge = RIDGE * spread[:, None, None] / len(unit) * unit
    slope = torch.linalg.solve(torch.where(usable[:, None, None], inner + ridge, unit), outer)
    explained: Tensor = (slope * (2 * outer - inner @ slope)).sum((-2, -1))
    return (explained / total).clamp(0, 1).where(usable, 0.0).nan_to_num(0.0)  # of huge numbers


def _diagonal(x: Tensor) -> Tensor:
    return x.diagonal(dim1=-2, dim2=-1)


def _outer(first: Tensor, second: Tensor) -> Tensor:
    return first[:, :, None] * second[:, None, :]
