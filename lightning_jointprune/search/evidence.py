"""Says which joints to keep, from how the loss depended on their gates for a while."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

MEMORY = 0.25  # share of the search over which the evidence of a step fades to 1/e
LOGITS = 2.0  # weight of the logits in a ranking, where the evidence has 1


class Evidence:
    """Holds running means of each gate's slope, the derivative of the loss with respect to it.

    A gate is worth the root of its mean squared slope, less its mean slope. The mean is the first
    order of what opening the gate changes (Molchanov et al. 2017, arXiv:1611.06440, eq. 7). Of
    joints that count only together it is near 0, since each changes the loss one way in one sample
    and the other way in the next; these have large squares (Molchanov et al. 2019,
    arXiv:1906.10771, eq. 8).

    A logit gathers slopes too, but among joints of like worth its order depends on the noise of the
    gates. Averages of gradients find the same support where last iterates do not (Xiao 2010, JMLR
    11, section 4). Each step counts alike, however large its loss, or the scale of it, is.
    """

    def __init__(self) -> None:
        self.done = 0.0  # share of the search that was done at the latest step
        self.weight: Tensor | float = 0.0  # of all steps; the latest one has 1
        self.mean: Tensor | float = 0.0  # sums over steps, by their weights
        self.square: Tensor | float = 0.0

    def add(self, moments: Tensor, batches: int, done: float) -> None:
        """Take the slopes of an optimizer step; one whose slopes are not finite does not count.

        Args:
            moments: mean slopes and mean squared slopes, shape `(2, gates)`: a sum over batches,
                the loss of each divided by their number.
            batches: their number.
            done: how much of the search is done, 0 to 1.
        """
        mean, square = moments[0], batches * moments[1]
        size = square.mean().sqrt()
        counts = size.isfinite() & (size > 0.0)
        left = math.exp(-max(0.0, done - self.done) / MEMORY)
        self.done = done
        self.weight = left * self.weight + counts
        self.mean = left * self.mean + torch.where(counts, mean / size, 0.0)
        self.square = left * self.square + torch.where(counts, square / size.square(), 0.0)

    def worth(self) -> Tensor | None:
        """Return what each gate is worth, shape `(gates,)`; None before the first step."""
        if not isinstance(self.weight, Tensor):
            return None
        weight = self.weight.clamp(min=torch.finfo(self.weight.dtype).tiny)
        return torch.as_tensor(self.square / weight).sqrt() - self.mean / weight

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes, as tensors and plain values."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        vars(self).update(state)


def ranking(worth: Tensor, logits: Tensor, free: Tensor) -> Tensor:
    """Return values to rank joints by: their worth and their logits, both standardised.

    In a short search the weights of a useless joint have not faded, and its slopes are as large as
    those of others; its logit tells them apart. Among joints of like logits, the worth decides.

    Args:
        worth: of the joints' gates, shape `(J,)`.
        logits: of their keep probabilities, shape `(J,)`.
        free: the joints that can be kept or dropped, shape `(J,)`, bool; those that count.
    """
    return _standardised(worth, free) + LOGITS * _standardised(logits, free)


def _standardised(values: Tensor, free: Tensor) -> Tensor:
    count = free.sum().clamp(min=1)
    away = values - values.where(free, 0.0).sum() / count
    spread = (away.where(free, 0.0).square().sum() / count).sqrt()
    return away / spread.clamp(min=torch.finfo(values.dtype).tiny)
