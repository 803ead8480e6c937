"""Chooses joints that stand for all others, where near-copies are worth the same."""

from __future__ import annotations

import torch
from torch import Tensor

NEAR_COPY = 0.9  # R² from which on either of two joints nearly is the other
PAIRS = 10  # least number of near-copies that say something
ALIKE = 0.55  # correlation of the worth of near-copies from which on joints stand for others
FLAT = 3.0  # by how much the ranking of a joint has to grow to count e times as much


def copies_are_alike(worth: Tensor, redundancy: Tensor, free: Tensor) -> bool:
    """Return whether joints that nearly are each other are also worth about the same.

    Where the model needs what such joints have in common, as of an arm, their worth is alike. Where
    it needs what they differ in, as fingertips, each is worth something of its own, and none can
    stand for another. The correlation is that of all pairs of near-copies, in both orders: the
    intraclass correlation of pairs (Fisher 1925, Statistical Methods for Research Workers, § 38).

    Args:
        worth: of the joints' gates, shape `(J,)`.
        redundancy: how well joint d foretells joint k, R² of row k and column d, shape `(J, J)`.
        free: the joints that count, shape `(J,)`, bool.
    """
    both = torch.minimum(redundancy, redundancy.T)
    near = (both >= NEAR_COPY) & free & free[:, None]
    first, second = near.fill_diagonal_(False).nonzero().T
    if len(first) < 2 * PAIRS:
        return False
    pairs = torch.stack([worth[first], worth[second]])
    return bool(pairs.corrcoef()[0, 1] > ALIKE)  # not a number, where all are worth the same


def cover_first(ranked: Tensor, redundancy: Tensor, count: int) -> Tensor:
    """Return values to rank joints by, in which those come first that stand best for all others.

    A set of joints stands for joint k as far as its best one foretells k. One after another, the
    joint is taken that adds most to the sum of this over all joints (facility location, greedy:
    Cornuejols, Fisher and Nemhauser 1977, doi:10.1287/mnsc.23.8.789). A joint counts the more the
    higher it ranks, and as a part of the joints that foretell it, so that many near-copies count no
    more than one.

    Args:
        ranked: values to rank joints by, shape `(J,)`: `inf` for those that are always kept, and
            `-inf` for those that are not to be had.
        redundancy: how well joint d foretells joint k, R² of row k and column d, shape `(J, J)`.
        count: the number of joints to take.
    """
    free = ranked.isfinite().nonzero().flatten()
    foretold = redundancy.clone().fill_diagonal_(1.0)[free]
    counts = (ranked[free] / FLAT).softmax(0) / foretold[:, free].sum(1)
    always = (ranked == torch.inf).nonzero().flatten()
    stood_for = foretold[:, always].amax(1) if len(always) else torch.zeros_like(counts)
    left, result, most = ranked.isfinite(), ranked.clone(), ranked[free].max()
    for place in range(min(count - len(always), len(free))):
        gain = counts @ (foretold - stood_for[:, None]).clamp(min=0.0)
        best = gain.masked_fill(~left, -torch.inf).argmax()
        left[best] = False
        result[best] = most + count - place
        stood_for = torch.maximum(stood_for, foretold[:, best])
    return result
