"""Chooses joints that stand for all others, where near-copies are worth the same."""

from __future__ import annotations

import torch
from torch import Tensor

NEAR_COPY = 0.9  # R² from which on either of two joints nearly is the other
PAIRS = 10  # least number of near-copies that say something
ALIKE = 0.55  # correlation of the worth of near-copies from which on joints stand for others
FLAT = 3.0  # by how much the ranking of a joint has to grow to count e times as much
BELOW = 4.0  # by how much a joint may rank below the last that the ranking would take
EQUAL = 1e-3  # of what a joint counts: what adds no more than that much more adds as much


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
    joint is taken that adds most to the sum of this over the joints (facility location, greedy:
    Cornuejols, Fisher and Nemhauser 1977, doi:10.1287/mnsc.23.8.789). A joint counts the more the
    higher it ranks, and as a part of the joints that foretell it, so that many near-copies count no
    more than one. Of joints that add as much, the one that ranks highest is taken.

    Joints that rank far below those which the ranking alone would take have no part in this: a face
    that the model hardly needs may move by itself. Nor have joints that stand still.

    Args:
        ranked: values to rank joints by, shape `(J,)`: `inf` for those that are always kept, and
            `-inf` for those that are not to be had.
        redundancy: how well joint d foretells joint k, R² of row k and column d, shape `(J, J)`; of
            a joint that stands still, 0 with itself.
        count: the number of joints to take.
    """
    always, result = ranked == torch.inf, ranked.clone()
    free = ranked.isfinite().nonzero().flatten()
    take = min(count - int(always.sum()), len(free))
    if take < 1:
        return result
    values = ranked[free]
    near = free[values >= values.topk(take).values[-1] - BELOW]
    foretold = redundancy.clone().fill_diagonal_(1.0)[near]
    moves = redundancy.diagonal()[near] > 0
    counts = moves * (ranked[near] / FLAT).softmax(0) / foretold[:, near].sum(1)
    stood_for = foretold[:, always].amax(1) if always.any() else torch.zeros_like(counts)
    left = torch.zeros_like(always).index_fill(0, near, True)
    for place in range(take):
        gain = counts @ (foretold - stood_for[:, None]).clamp(min=0.0)
        most = gain.masked_fill(~left, -torch.inf).max()
        equal = left & (gain >= most - EQUAL * counts.max())
        best = ranked.masked_fill(~equal, -torch.inf).argmax()
        left[best] = False
        result[best] = values.max() + take - place
        stood_for = torch.maximum(stood_for, foretold[:, best])
    return result
