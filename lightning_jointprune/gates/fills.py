"""Replaces a dropped joint by a number, its mean, its first frame, or what a function returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_jointprune.gates.axes import is_recorded

FillFunction = Callable[[Tensor, tuple[str, ...]], Tensor]
Fill = float | Literal["mean", "hold"] | FillFunction


def checked_fill(fill: Any) -> Fill:
    """Return the fill; a number as a float.

    Raises:
        ValueError: if it is none of the kinds of `Fill`.
    """
    if (isinstance(fill, str) and fill in ("mean", "hold")) or callable(fill):
        return fill  # type: ignore[no-any-return]
    if not isinstance(fill, Real) or not math.isfinite(fill):
        raise ValueError(
            'Expected fill to be a finite number, "mean", "hold" or a function of the joints and '
            f"their axes but got {fill!r}. Pass fill=0.0 for zeros."
        )
    return float(fill)


def check_frames(fill: Fill, axes: Sequence[str], shape: Sequence[int] = ()) -> None:
    """Check that `"hold"` finds a first frame to hold, and others that it replaces.

    Args:
        fill: what a dropped joint becomes.
        axes: one word per axis; `"t"` are the frames.
        shape: of the joints, one length per axis; empty where it is not known yet.

    Raises:
        ValueError: if `fill` is `"hold"` and no axis is `t`, or there is one frame alone.
    """
    if fill != "hold":
        return
    if "t" not in axes:
        raise ValueError(
            f'Expected an axis t for fill="hold", whose first frame is held, but got '
            f"{' '.join(axes)!r}. Call the axis of the frames t, or pass another fill."
        )
    if shape and shape[axes.index("t")] == 1:
        raise ValueError(
            f'Expected several frames on axis t for fill="hold", which leaves a first frame as it '
            f"is, but got one in joints of shape {tuple(shape)} ({' '.join(axes)}): nothing would "
            "be pruned. Call the axis of the frames t in axes=, or pass another fill."
        )


def fill_name(fill: FillFunction) -> str:
    """Return the name of a function in records and checkpoints, such as `"train.neutral_pose"`."""
    named: Any = fill if getattr(fill, "__qualname__", None) else type(fill)
    return f"{named.__module__}.{named.__qualname__}"


def restored_fill(saved: float | str, given: FillFunction | None) -> Fill:
    """Return the fill of a run from its checkpoint.

    Args:
        saved: what the checkpoint says: a function's name alone.
        given: that function, once more.

    Raises:
        ValueError: if it is missing, or the run had no such function.
    """
    by_name = isinstance(saved, str) and saved not in ("mean", "hold")
    if by_name and given is None:
        raise ValueError(
            f"Expected the function {saved}, which filled dropped joints in that run, but got "
            "none: a checkpoint holds its name alone. Pass load_pruned(..., fill=function)."
        )
    if given is not None and not by_name:
        raise ValueError(
            f"Expected no function, since that run had fill={saved!r}, but got "
            f"{fill_name(given)}. Leave fill out."
        )
    return checked_fill(given if by_name else saved)


def first_frames(x: Tensor, axes: Sequence[str]) -> Tensor:
    """Return the first frame of every sample, joint and channel, 0 where it is not finite.

    Args:
        x: joints, one axis per word.
        axes: one word per axis; `"t"` are the frames.

    Returns:
        Shape of `x` with one frame.

    >>> import torch
    >>> first_frames(torch.tensor([[[1.0, torch.nan], [2.0, 5.0]]]), ("b", "t", "j"))
    tensor([[[1., 0.]]])
    """
    first = x.narrow(axes.index("t"), 0, 1)
    return first.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def padding(x: Tensor, axes: Sequence[str]) -> Tensor:
    """Return which frames are padding: all joints and channels are 0, or all are NaN.

    A frame is everything but the axes of the joints and the channels.

    Args:
        x: joints, one axis per word.
        axes: one word per axis; `"j"` are the joints, `"c"` the channels, if there are any.

    Returns:
        Bool, shape of `x` with one joint and one channel.

    >>> import torch
    >>> padding(torch.tensor([[[0.0, 0.0], [0.0, 1.0]]]), ("b", "t", "j"))
    tensor([[[ True],
             [False]]])
    """
    dims = [dim for dim, word in enumerate(axes) if word in ("j", "c")]
    empty, missing = x == 0, x.isnan()
    for dim in dims:
        empty, missing = empty.all(dim, keepdim=True), missing.all(dim, keepdim=True)
    return empty | missing


def batch_means(x: Tensor, axes: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return the means of a batch by joint and channel, of finite values outside padding.

    Args:
        x: joints, one axis per word.
        axes: one word per axis; `"j"` are the joints, `"c"` the channels, if there are any.

    Returns:
        The means, 0 where nothing counts, and how many values count. Shape of `x`, with length 1
        for all but joints and channels.

    >>> batch_means(torch.tensor([[1.0, torch.nan], [2.0, 5.0]]), ("b", "j"))
    (tensor([[1.5000, 5.0000]]), tensor([[2., 1.]]))
    """
    dims = [dim for dim, word in enumerate(axes) if word not in ("j", "c")]
    x = x if x.dtype == torch.float64 else x.float()
    counts = x.isfinite() & ~padding(x, axes)
    count = counts.sum(dim=dims, keepdim=True).to(x.dtype)
    return torch.where(counts, x, 0.0).sum(dim=dims, keepdim=True) / count.clamp(min=1.0), count


def filled_by(function: FillFunction, x: Tensor, axes: Sequence[str]) -> Tensor:
    """Return what a function puts in the place of dropped joints.

    Raises:
        ValueError: if it is no tensor that can be broadcast to `x`.
    """
    fill: Any = function(x, tuple(axes))
    if is_recorded(fill):  # it has no shape to be checked
        recorded: Tensor = fill
        return recorded
    if not isinstance(fill, Tensor):
        raise ValueError(
            f"Expected a tensor from fill, {fill_name(function)}, but got {type(fill).__name__}. "
            "Return one of the shape of the joints, or that broadcasts to it."
        )
    over = x.ndim - fill.ndim
    if over < 0 or any(n not in (1, of) for n, of in zip(fill.shape, x.shape[over:], strict=True)):
        raise ValueError(
            f"Expected a tensor from fill, {fill_name(function)}, that broadcasts to the joints' "
            f"shape {tuple(x.shape)} ({' '.join(axes)}) but got shape {tuple(fill.shape)}. Return "
            "one axis for each of the joints', of length 1 where all are alike."
        )
    return fill.to(x)
