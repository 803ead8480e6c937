"""`Fewest` measures accuracy against number of joints in a run, and keeps the fewest that do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal

from typing_extensions import override

from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.search.controller import usable_joints
from lightning_jointprune.search.curve import choose_rung
from lightning_jointprune.search.metrics import higher_is_better
from lightning_jointprune.search.steering import Descending

DENSE = 12  # numbers of joints up to which a ladder has every one
RATIO = 1.3  # of neighbouring rungs above that


@dataclass(frozen=True)
class Fewest:
    """Keep the fewest joints with which the model does as well as with any other number.

    The search settles a mask for every number of joints up to 12 and for numbers 1.3 times apart
    above that, each out of the one before. Then the network is trained on all of them, a mask drawn
    for every sample, and each is validated. The rest of the run trains the mask that is chosen from
    this curve: the fewest joints whose metric is no worse than the top of the curve by more than
    `within`, or one standard error where this is more (the one-standard-error rule of Breiman et
    al. 1984; Hastie et al. 2009, section 7.10).

    Args:
        metric: name of the logged metric, such as `"val_acc"`; None takes the one that early
            stopping or a checkpoint monitors, else the only one that is logged, else the one in the
            progress bar.
        within: how much worse than the best number of joints is as good, in units of the metric, at
            least 0.
        mode: `"max"` if higher values of `metric` are better, `"min"` if lower ones are; None takes
            that of the monitor, else `"min"` for names with loss, error or a known error rate in
            them.

    Raises:
        ValueError: if `metric` is no name, `within` is no number or negative or not finite, or
            `mode` is another word or without a metric.
    """

    metric: str | None = None
    within: float = 0.01
    mode: Literal["max", "min"] | None = None

    def __post_init__(self) -> None:
        if not (self.metric is None or isinstance(self.metric, str)):
            raise ValueError(
                f"Expected the name of a logged metric but got {self.metric!r}. Pass "
                'Fewest("val_acc"), say, and how much worse is as good as Fewest(within=0.02).'
            )
        number = isinstance(self.within, Real)
        if not (number and math.isfinite(self.within) and self.within >= 0.0):
            raise ValueError(
                f"Expected within of at least 0, in units of the metric, but got {self.within!r}. "
                "Pass Fewest(within=0.01) for one point of an accuracy between 0 and 1, say."
            )
        if self.mode not in (None, "max", "min"):
            raise ValueError(f'Expected mode "max" or "min" but got {self.mode!r}.')
        if self.mode is not None and self.metric is None:
            raise ValueError(
                f"Expected the metric that mode={self.mode!r} is meant for but got none. Pass "
                f'Fewest("val_acc", mode={self.mode!r}), say.'
            )


class Compared(Descending):
    """Comes down a dense ladder, lets all its rungs be trained together, and chooses one."""

    COMPARED = 0.5  # share of what follows the search in which the rungs are trained together
    budget: Fewest

    def __init__(self, budget: Fewest, layer: JointPruningLayer) -> None:
        super().__init__(budget, usable_joints(layer), _counts(layer))

    @property
    @override
    def metric(self) -> str | None:
        return self.budget.metric

    @property
    @override
    def higher_is_better(self) -> bool:
        if self.budget.mode is not None or self.metric is None:
            return self.budget.mode != "min"
        return higher_is_better(self.metric)

    @property
    @override
    def says_direction(self) -> bool:
        return self.budget.mode is not None

    @property
    @override
    def compared(self) -> float:
        return self.COMPARED

    @override
    def choose(
        self, values: Sequence[float], *, higher: bool, samples: int | None, learned: bool
    ) -> int:
        fewest_first = values[::-1]
        choice = choose_rung(fewest_first, self.budget.within, higher=higher, samples=samples)
        if choice.rung == 0 and not learned:  # at chance any number of joints does as well
            return 0
        return len(values) - 1 - choice.rung


def _counts(layer: JointPruningLayer) -> tuple[int, ...]:
    """Return the numbers of joints to compare, the most first; whole groups of tied ones."""
    sizes = _sizes(layer)
    if len(sizes) > 1:
        raise ValueError(
            "Expected tied groups of one size for Fewest, whose masks are each made of the groups "
            f'of the one before, but got groups of {sorted(sizes)} joints. Pass Price("auto"), or '
            "other groups."
        )
    counts = _ladder(layer)
    if len(counts) == 1:
        raise ValueError(
            f"Expected several numbers of joints for Fewest to compare but got {counts[0]} alone, "
            f"of {layer.num_joints} joints with their keep, drop and groups. Pass other ones, or "
            'budget=Price("auto").'
        )
    return counts


def comparable(layer: JointPruningLayer) -> bool:
    """Return whether there are several numbers of joints, each made of the groups of the next."""
    return len(_sizes(layer)) == 1 and len(_ladder(layer)) > 1


def _ladder(layer: JointPruningLayer) -> tuple[int, ...]:
    """Return numbers of joints that gates of one size can keep, the most first."""
    least, usable, size = max(1, int(layer.always.sum())), usable_joints(layer), max(_sizes(layer))
    return tuple(size * count for count in dense_ladder(math.ceil(least / size), usable // size))


def _sizes(layer: JointPruningLayer) -> set[int]:
    """Return the numbers of joints that a gate has."""
    return set(Counter(layer.owner.tolist()).values()) if layer.tied else {1}


def dense_ladder(least: int, most: int) -> tuple[int, ...]:
    """Return the numbers of joints to compare, the most first.

    >>> dense_ladder(1, 21)
    (21, 20, 16, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)
    """
    counts = {*range(least, min(DENSE, most) + 1), least, most}
    size = float(DENSE)
    while size * RATIO < most:
        size *= RATIO
        counts.add(round(size))
    return tuple(sorted((count for count in counts if least <= count <= most), reverse=True))
