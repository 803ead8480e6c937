"""Decides which joints are kept; nothing else does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor


def hard_mask(keep_probabilities: Tensor, count: int | None = None) -> Tensor:
    """Decide which joints are kept.

    A joint is kept when its keep probability is above 0.5; with a `count`, the most probable are.
    At least one is kept: the most probable. Of equal ones the first is preferred.

    Args:
        keep_probabilities: shape `(joints,)`, in [0, 1].
        count: how many to keep, 1 to joints; None keeps those above 0.5.

    Returns:
        The mask, shape `(joints,)`, bool.

    >>> hard_mask(torch.tensor([0.9, 0.2, 0.6]))
    tensor([ True, False,  True])
    >>> hard_mask(torch.tensor([0.9, 0.2, 0.6]), count=1)
    tensor([ True, False, False])
    """
    order = torch.argsort(keep_probabilities, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    if count is not None:
        return rank < count
    return (keep_probabilities > 0.5) | (rank < 1)


def hard_mask_of_units(
    probabilities: Sequence[float], units: Sequence[int], count: int
) -> list[bool]:
    """Keep exactly `count` joints, but whole units of joints that share a gate.

    Units are taken in the order of their probability; one is passed over when without it alone the
    rest can still add up to `count`.

    Args:
        probabilities: keep probability of every joint, shape `(joints,)`, equal within a unit.
        units: the unit of every joint, shape `(joints,)`, any numbers.
        count: how many joints to keep.

    Returns:
        The mask, shape `(joints,)`.

    Raises:
        ValueError: if no choice of units has `count` joints.

    >>> hard_mask_of_units([0.9, 0.9, 0.8, 0.7], [0, 0, 1, 2], count=2)
    [True, True, False, False]
    >>> hard_mask_of_units([0.9, 0.9, 0.8, 0.7], [0, 0, 1, 2], count=1)
    [False, False, True, False]
    """
    sizes = Counter(units)
    probability = dict(zip(units, probabilities, strict=True))
    order = sorted(sizes, key=lambda unit: -probability[unit])
    sums = [{0}]  # sums[k]: sizes that some of the last k units add up to
    for unit in reversed(order):
        sums.append(sums[-1] | {total + sizes[unit] for total in sums[-1]})
    if count not in sums[-1]:
        raise ValueError(
            f"Expected a number of joints that whole groups add up to but got {count}, with groups "
            f"of {sorted(sizes.values())} joints. Pass another number, or groups that are not tied."
        )
    kept, missing = set(), count
    for unit, rest in zip(order, reversed(sums[:-1]), strict=True):
        if missing - sizes[unit] in rest:
            kept.add(unit)
            missing -= sizes[unit]
    return [unit in kept for unit in units]
