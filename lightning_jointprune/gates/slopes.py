"""Gathers how a loss depends on each gate, sample by sample."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


def gathered(gates: Tensor, moments: Tensor) -> Tensor:
    """Return gates as they are; a backward pass adds the moments of their slopes.

    The slope of a gate is the derivative of a sample's own loss with respect to it, where the loss
    of a batch is the mean over its samples; where it is the sum, slopes are a batch's size as high.

    Args:
        gates: shape `(batch, gates)`.
        moments: a leaf that requires a gradient, shape `(2, gates)`, whose values do not matter. To
            its `grad` are added the mean over samples of the slopes, and that of their squares.

    Returns:
        Shape and values of `gates`.

    >>> gates, moments = torch.ones(2, 1), torch.zeros(2, 1, requires_grad=True)
    >>> loss = gathered(gates, moments) * torch.tensor([[1.0], [3.0]])
    >>> loss.mean().backward()
    >>> moments.grad.flatten()
    tensor([2., 5.])
    """
    return cast("Tensor", _Gathered.apply(gates, moments))  # type: ignore[no-untyped-call]


class _Gathered(torch.autograd.Function):
    """Makes the moments a gradient, so that what repeats, traces or compiles one knows them."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, moments: Tensor) -> Tensor:
        del ctx, moments
        return gates.view_as(gates)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        del ctx
        slopes = grads[0].float()
        return grads[0], torch.stack([slopes.sum(0), len(slopes) * slopes.square().sum(0)])
