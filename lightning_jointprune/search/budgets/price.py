"""`Price` keeps the joints that are worth more than they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, SupportsFloat

from torch import Tensor
from typing_extensions import override

from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.search.controller import LEAST_REMOVED, Controller, usable_joints

RAMP = 1 / 3  # share of the search over which the price rises from 0


@dataclass(frozen=True)
class Price:
    """A joint stays if dropping it would raise the loss by more than its price.

    That is what an open joint costs. In the course of the search a gate that is neither open nor
    closed comes to cost more, so that redundant joints do not share one open gate.

    Args:
        value: λ per joint in units of the training loss, at least 0, or `"auto"`: 0.3 times what
            the training has removed of the loss so far (the mean of the first ten batches less that
            of the last fifty or so), divided by the number of joints. So neither the scale of the
            loss nor a constant in it matters.
        groups: what it costs that a group is open, by its name, in prices of a joint: with
            `{"face": 50}` an open face costs as much as 50 joints, beside the joints themselves.
            For what has to be computed as a whole, such as a landmark model of the face.

    Raises:
        ValueError: if `value` is negative, not finite, or another word, or a group's is negative or
            not finite.
    """

    value: float | str = "auto"
    groups: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        groups: Any = self.groups
        if self.value != "auto" and not _is_price(self.value):
            number = " of at least 0, in units of the loss,"
            kind = ' or "auto"' if isinstance(self.value, str) else number
            raise ValueError(
                f"Expected a price{kind} but got {self.value!r}. Pass "
                'Price("auto") or a number such as Price(0.003).'
            )
        costs = groups if isinstance(groups, Mapping) else {}
        wrong = {name: cost for name, cost in costs.items() if not _is_price(cost)}
        if wrong or not isinstance(groups, Mapping):
            raise ValueError(
                "Expected groups to cost at least 0, in prices of a joint, but got "
                f'{wrong or groups!r}. Pass Price(groups={{"face": 50}}), say.'
            )


def _is_price(value: object) -> bool:
    return isinstance(value, SupportsFloat) and math.isfinite(value) and float(value) >= 0.0


class Priced(Controller):
    """Lets the price rise over the first third of the search, and then stay."""

    budget: Price

    def __init__(self, budget: Price, layer: JointPruningLayer) -> None:
        super().__init__(budget, usable_joints(layer))
        for name in budget.groups.keys() - (layer.groups or {}).keys():
            raise ValueError(
                f"Expected prices of groups out of {', '.join(layer.groups or ()) or 'none'} but "
                f"got {name!r}. Pass JointPruningCallback(groups={{{name!r}: [0, 1, 2]}}), say."
            )

    @property
    @override
    def group_costs(self) -> Mapping[str, float]:
        return self.budget.groups

    @property
    @override
    def needs_learning(self) -> bool:
        return isinstance(self.budget.value, str)

    @override
    def checked_price(self) -> float:
        if not isinstance(self.budget.value, str):
            return self.budget.value
        least = 0.1 * super().checked_price()  # a loss that has hardly fallen yet gives no scale
        return max(least, float(self.auto_price()))

    @override
    def late_doubt(self) -> str | None:
        if not isinstance(self.budget.value, str) or not self.first_count:
            return None
        first, last = float(self.first), float(self.recent)
        if first - last > LEAST_REMOVED * abs(first):
            return None
        return (
            f"The loss did not fall, from {first:.3g} at the start to {last:.3g} in the search, so "
            "the automatic price is next to nothing. If the model was trained before, pass "
            "TargetJoints(12), MetricFloor or a Price of your own; else train for longer."
        )

    @override
    def price(self, expected: Tensor, done: float) -> Tensor | float:
        value = self.budget.value
        return min(1.0, done / RAMP) * (self.auto_price() if isinstance(value, str) else value)
