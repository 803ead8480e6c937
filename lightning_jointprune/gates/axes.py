"""Arranges values and joints by the axes of a skeleton tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx


def spread(values: Tensor, x: Tensor, axes: Sequence[str]) -> Tensor:
    """Bring a value per joint, or per sample and joint, to the axes of `x`, to be broadcast.

    Axes after the joints' are written out: a broadcast along the last few elements is slow.

    Args:
        values: shape `(joints,)` or `(batch, joints)`.
        x: joints, one axis per word.
        axes: one word per axis; the first is the batch, `"j"` the joints.
    """
    joints = axes.index("j")
    batch = [x.shape[0]] if values.ndim == 2 else [1]
    between = [1] * (joints - 1)
    after = x.shape[joints + 1 :]
    values = values.view([*batch, *between, values.shape[-1], *[1] * len(after)])
    return values.expand(*values.shape[: joints + 1], *after).contiguous()


def frames_of(x: Tensor, axes: Sequence[str]) -> Tensor:
    """Bring joints to the axes `(sequences, frames, joints, channels)`.

    Args:
        x: joints, one axis per word.
        axes: one word per axis; where there are no frames or no channels, there is one of them.

    >>> frames_of(torch.zeros(2, 5, 3), ("b", "j", "c")).shape
    torch.Size([2, 1, 5, 3])
    """
    rest = [word for word in axes if word not in ("t", "j", "c")]
    x = x.permute([axes.index(word) for word in (*rest, "t", "j", "c") if word in axes])
    x = x if "c" in axes else x.unsqueeze(-1)
    x = x if "t" in axes else x.unsqueeze(-3)
    x = x if x.dtype == torch.float64 else x.float()
    return x.reshape(-1, *x.shape[-3:])


def is_there(x: Tensor) -> Tensor:
    """Return whether each joint is there: finite, and not 0 in all channels.

    Padding is 0 or NaN, and so is a joint that a detector did not find.

    Args:
        x: joints, shape `(..., channels)`.

    Returns:
        Bool, shape `(...)`.

    >>> is_there(torch.tensor([[0.0, 1.0], [0.0, 0.0], [torch.nan, 1.0]]))
    tensor([ True, False, False])
    """
    return x.isfinite().all(-1) & (x != 0).any(-1)


def is_recorded(x: object) -> bool:
    """Return whether `x` stands in for a tensor, without a shape, while `torch.fx` records."""
    return isinstance(x, fx.Proxy)
