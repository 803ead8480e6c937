"""Mixes each joint with what replaces it, by its gate."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


def blend(x: Tensor, gates: Tensor, fill: Tensor | None = None) -> Tensor:
    """Mix joints with what replaces them: `fill + gate * (x - fill)`.

    Where a gate is 0 the result is `fill`, whatever `x` is. A value that is not finite passes an
    open gate as it is, and gives that gate no gradient, so one missing joint poisons no logit.

    Args:
        x: joints, any shape, floating.
        gates: in [0, 1], broadcastable to `x`.
        fill: what a closed joint is replaced by, broadcastable to `x`; None is 0.

    Returns:
        Shape of `x`.

    >>> blend(torch.tensor([2.0, 2.0, torch.nan]), torch.tensor([1.0, 0.5, 0.0]))
    tensor([2., 1., 0.])
    """
    return cast("Tensor", _Blend.apply(x, gates, fill))  # type: ignore[no-untyped-call]


BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # integers by their size in bytes


class _Blend(torch.autograd.Function):
    """Computes `blend` in few passes over the joints, since it runs in every training step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gates: Tensor, fill: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, gates, fill)
        mixed = x * gates
        # This writes zeros where a gate is 0, over NaN too, several times as fast as `torch.where`.
        bits = BITS[mixed.element_size()]
        mixed.view(bits).bitwise_and_(-(gates > 0).to(bits))
        return mixed if fill is None else mixed.add_(fill * (1.0 - gates))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, gates, fill = ctx.saved_tensors
        grad_x = grads[0] * gates if ctx.needs_input_grad[0] else None
        grad_fill = None
        if ctx.needs_input_grad[2]:  # the fill is learned, or made from the output of a module
            grad_fill = (grads[0] * (1.0 - gates)).sum_to_size(fill.shape)
        if not ctx.needs_input_grad[1]:
            return grad_x, None, grad_fill
        slope = grads[0] * (x if fill is None else x - fill)
        torch.nan_to_num_(slope, nan=0.0, posinf=0.0, neginf=0.0)
        return grad_x, slope.sum_to_size(gates.shape), grad_fill
