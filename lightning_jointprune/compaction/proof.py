"""Compares two models on one example and on random skeletons in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_jointprune.attach.hooks import attach, detach
from lightning_jointprune.attach.modules import module_at
from lightning_jointprune.attach.target import Target
from lightning_jointprune.compaction.tracing import Call

TOLERANCE = 1e-5  # largest difference from the masked model, over its largest output
DRAWS = 3  # number of random skeletons that the models are compared on


class Noisy:
    """Puts a random skeleton in the place of the example's, and a layer behind it.

    Args:
        layer: called as a layer that `attach` puts in front.
        seed: seed of the skeleton; None takes the example's skeleton.
        dtype: type that the skeleton is changed to; None leaves it.
    """

    def __init__(self, layer: Any, seed: int | None, dtype: torch.dtype | None) -> None:
        self.layer, self.seed, self.num_joints = layer, seed, layer.num_joints
        self.dtype = dtype

    def __call__(self, x: Tensor, axes: tuple[str, ...], joints: range | None = None) -> Tensor:
        """Return the layer's output for the skeleton, or for a random one in its place."""
        x = x.to(self.dtype or x.dtype)
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed)
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype) * (1 + self.seed)
            x = torch.where(x == 0, x, noise.to(x.device))  # padding stays padding
        result: Tensor = self.layer(x, axes, joints)
        return result


def seeds() -> list[int | None]:
    """Return the seeds of the random skeletons, after None for the example itself."""
    return [None, *range(DRAWS)]


def outputs(
    model: nn.Module,
    targets: Sequence[Target],
    layer: Any,
    called: str,
    call: Call,
    seed: int | None,
    dtype: torch.dtype | None = torch.float64,
) -> list[Tensor]:
    """Return the tensors that a model returns with a layer in front."""
    for target in targets:
        attach(model, target, Noisy(layer, seed, dtype))
    try:
        return call.on(module_at(model, called))
    finally:
        detach(model)


def relative_difference(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Return the largest difference over the largest value, of outputs that belong together.

    Raises:
        ValueError: if their shapes differ, or a value is not finite.
    """
    shapes = [[tuple(output.shape) for output in some] for some in (before, after)]
    if shapes[0] != shapes[1] or not before:
        raise ValueError(f"Expected outputs of the shapes {shapes[0]} but got {shapes[1]}.")
    worst = 0.0
    for expected, other in zip(before, after, strict=True):
        if not expected.is_floating_point():
            worst = max(worst, float((expected != other).any()))
            continue
        if not (expected.isfinite().all() and other.isfinite().all()):
            raise ValueError("Expected finite outputs but got some that are not.")
        scale = expected.abs().max().clamp(min=1e-30)
        worst = max(worst, float((expected - other).abs().max() / scale))
    return worst
