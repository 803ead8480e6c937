"""`TargetJoints` keeps so many joints, or several numbers of them in one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TypeGuard

from typing_extensions import override

from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.gates.masks import hard_mask_of_units
from lightning_jointprune.search.controller import usable_joints
from lightning_jointprune.search.steering import Descending


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
        whole = all(is_whole(count) and count >= 1 for count in counts)
        if not counts or not whole or len(set(counts)) < len(counts):
            raise ValueError(
                f"Expected a number of joints, or different ones, of at least 1 but got "
                f"{self.count!r}. Pass TargetJoints(12), say, or TargetJoints([48, 24, 12])."
            )
        several = isinstance(self.count, Sequence)
        ordered = tuple(sorted(map(int, counts), reverse=True))
        object.__setattr__(self, "count", ordered if several else ordered[0])

    @property
    def counts(self) -> tuple[int, ...]:
        """Return the numbers of joints, the most first."""
        return tuple(self.count) if isinstance(self.count, Sequence) else (self.count,)


def is_whole(value: object) -> TypeGuard[int]:
    """Return whether a value is a whole number, also numpy's; True and False are not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


class Targeted(Descending):
    """Comes down to the numbers of joints that are asked for."""

    def __init__(self, budget: TargetJoints, layer: JointPruningLayer) -> None:
        super().__init__(budget, usable_joints(layer), budget.counts)
        _check_counts(budget, layer, self.num_joints)
        if layer.tied:
            _check_units(budget, layer)

    @property
    @override
    def covers(self) -> bool:
        return True


def _check_counts(budget: TargetJoints, layer: JointPruningLayer, usable: int) -> None:
    """Make sure that the numbers are between those of the joints always kept and ever used."""
    least = max(1, int(layer.always.sum()))
    for count in budget.counts:
        if not least <= count <= usable:
            raise ValueError(
                f"Expected TargetJoints from {least} (joints always kept) to {usable} (all usable "
                f"joints) but got {count}. "
                + (f"Raise it to {least}, or keep fewer." if count < least else "")
                + (f"Lower it to {usable}{_or_drop_fewer(layer)}." if count > usable else "")
            )


def _or_drop_fewer(layer: JointPruningLayer) -> str:
    return ", or drop fewer" if layer.never.any() else ""


def _check_units(budget: TargetJoints, layer: JointPruningLayer) -> None:
    """Make sure that whole groups add up to the numbers of joints."""
    always, units = layer.always.tolist(), layer.owner.tolist()
    for count in budget.counts:
        kept = hard_mask_of_units(always, units, count)
        if any(joint and not mask for joint, mask in zip(always, kept, strict=True)):
            raise ValueError(
                f"Expected TargetJoints that the groups of keep and other groups add up to but "
                f"got {count}. Pass another number, or shorten keep."
            )
    if len(budget.counts) > 1 and len(set(Counter(units).values())) > 1:
        raise ValueError(
            "Expected tied groups of one size for TargetJoints with several numbers, since "
            "each has to be made of the groups of the one before, but got groups of "
            f"{sorted(set(Counter(units).values()))} joints. Pass one number, or other groups."
        )
