"""Losses of several families for one classifier, to see that no argument depends on the loss.

Each takes outputs of shape `(batch, classes)` and classes of shape `(batch,)`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, mse_loss, normalize

Loss = Callable[[Tensor, Tensor], Tensor]


def shifted(offset: float, outputs: Tensor, classes: Tensor) -> Tensor:
    """Return the cross-entropy plus a constant, as a likelihood without its normalisation has."""
    return cross_entropy(outputs, classes) + offset


def targets(outputs: Tensor, classes: Tensor) -> Tensor:
    """Return a point of unit variance for each class, the same in every run."""
    size = outputs.shape[1]
    points = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    return points.to(outputs)[classes]


def regression(outputs: Tensor, classes: Tensor) -> Tensor:
    return mse_loss(outputs, targets(outputs, classes))


def likelihood(outputs: Tensor, classes: Tensor) -> Tensor:
    """Return a Gaussian's, of deviation 0.1: it begins near 50 and goes below 0."""
    deviation = torch.tensor(0.1)
    return 0.5 * regression(outputs, classes) / deviation**2 + deviation.log()


def contrastive(outputs: Tensor, classes: Tensor) -> Tensor:
    """Return the supervised contrastive loss at 0.2 (Khosla et al. 2020, arXiv:2004.11362)."""
    points = normalize(outputs, dim=1)
    itself = torch.eye(len(classes), dtype=torch.bool, device=outputs.device)
    likelihoods = log_softmax((points @ points.T / 0.2).masked_fill(itself, -1e9), dim=1)
    alike = (classes[:, None] == classes) & ~itself
    per_anchor = (likelihoods * alike).sum(dim=1) / alike.sum(dim=1).clamp(min=1)
    return -per_anchor.mean()


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "label smoothing 0.2": partial(cross_entropy, label_smoothing=0.2),
    "cross-entropy + 20": partial(shifted, 20.0),
    "cross-entropy - 20": partial(shifted, -20.0),
    "summed over the batch": partial(cross_entropy, reduction="sum"),
    "regression": regression,
    "Gaussian likelihood": likelihood,
    "contrastive": contrastive,
}
