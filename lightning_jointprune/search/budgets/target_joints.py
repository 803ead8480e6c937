"""`TargetJoints`: so many joints are kept, or several numbers in one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor

from lightning_jointprune.search.controller import _Steered


class _Targeted(_Steered):
    """`TargetJoints`: J for the first 30 % of the search, K from 60 % of it on.

    What joints say only together has to be learned before any of them goes. When about K are left
    after 60 %, or at 85 % at the latest, the K likeliest joints earn the price that the others pay,
    so that the freeze is no jump: any sooner, gates that have hardly parted would be told apart by
    chance. One price for all cannot tell joints apart that are worth the same, such as the
    worthless ones among K if the model needs fewer: they would share what is left of K, each half
    open. Nor can it be too high any more, as it does not close the K: it is at least the base price
    and no longer falls.
    """

    REACHED = 0.6
    LATEST = 0.85
    NEAR = 1.15  # in K
    descent = 0.3
    count: int

    def __init__(self, num_joints: int, budget: TargetJoints) -> None:
        super().__init__(num_joints)
        self.rungs, self.count = budget.counts[:-1], budget.counts[-1]

    def target(self, done: float) -> float:
        left = min(1.0, max(0.0, (self.REACHED - done) / (self.REACHED - self.descent)))
        return float(self.count * (self.num_joints / self.count) ** left)

    def reached(self, done: float) -> tuple[int, ...]:
        return tuple(rung for rung in self.rungs if self.target(done) <= rung)

    def price(self, expected: Tensor, done: float) -> Tensor | float:
        if done >= self.REACHED:
            near = (expected <= self.NEAR * self.count + 0.5) | (done >= self.LATEST)
            self.decided = near if self.decided is None else self.decided | near
            integral = torch.as_tensor(self.integral)
            self.integral = torch.where(self.decided, integral.clamp(min=0.0), integral)
            expected = torch.where(self.decided, expected.clamp(min=self.count), expected)
        return super().price(expected, done)


@dataclass(frozen=True)
class TargetJoints:
    """Keep exactly this many joints; or, with several numbers, a ladder of masks in one run.

    On its way down the search settles a mask for each number, out of the joints of the one before.
    The last phase trains the network on all of them, a mask drawn for every sample, so that one set
    of weights serves each; at the end of the run every mask is validated.

    Args:
        count: K, from 1 to the number of joints; or several of them, all different. The fewest are
            the ones that the run ends with.

    Raises:
        ValueError: if `count` is not positive whole numbers.

    >>> TargetJoints([8, 24]).counts
    (24, 8)
    """

    count: int | Sequence[int]

    def __post_init__(self) -> None:
        counts = self.counts
        whole = all(_is_whole(one) and one >= 1 for one in counts)
        if not counts or not whole or len(set(counts)) < len(counts):
            raise ValueError(
                f"Expected a number of joints, or different ones, of at least 1 but got "
                f"{self.count!r}. Pass TargetJoints(12), say, or TargetJoints([48, 24, 12])."
            )
        if isinstance(self.count, Sequence):
            object.__setattr__(self, "count", tuple(sorted(counts, reverse=True)))

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of joints, the most first."""
        return tuple(self.count) if isinstance(self.count, Sequence) else (self.count,)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
