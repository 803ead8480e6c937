"""`MetricFloor` keeps as few joints as possible while a metric stays at its floor or above."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from statistics import fmean, median
from typing import Literal, SupportsFloat

from torch import Tensor
from typing_extensions import override

from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.search.metrics import higher_is_better
from lightning_jointprune.search.steering import Steered


@dataclass(frozen=True)
class MetricFloor:
    """Keep as few joints as possible while a validation metric stays at its floor or above.

    The metric is the one the model logs in validation, where the dropped joints are gone. It is a
    sample of the metric's true value, so that a mask is only chosen when at least two validations
    with about as many joints say, with their spread, that it is not at the floor by luck.

    Args:
        metric: name of the logged metric, such as `"val_acc"`.
        floor: the lowest value that is accepted, in units of the metric; the highest one if lower
            values are better.
        mode: `"max"` if higher values are better, `"min"` if lower ones are; None takes `"min"` for
            names with loss, error or a known error rate in them.
        drop: instead of `floor`, how much worse than with all joints the metric may be, at least 0,
            in units of the metric. With all joints it is the mean of the warm-up's validations, so
            the warm-up has to be long enough to come near that level.

    Raises:
        ValueError: unless one of `floor` and `drop` is given, if it is not finite, if `drop` is
            negative, or if `mode` is another word.
    """

    metric: str
    floor: float | None = None
    mode: Literal["max", "min"] | None = None
    drop: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str):
            raise ValueError(
                f"Expected the name of a logged metric but got {self.metric!r}. Pass "
                'MetricFloor("val_acc", 0.85), say.'
            )
        if (self.floor is None) == (self.drop is None):
            raise ValueError(
                f"Expected one of floor and drop for {self.metric!r} but got floor={self.floor} "
                f"and drop={self.drop}. Pass MetricFloor({self.metric!r}, 0.85), say, or drop=0.01."
            )
        if self.floor is not None and not _is_finite(self.floor):
            raise ValueError(
                f"Expected a finite floor for {self.metric!r} but got {self.floor!r}. Pass "
                f"MetricFloor({self.metric!r}, 0.85), say, in the metric's own units."
            )
        if self.drop is not None and not (_is_finite(self.drop) and self.drop >= 0.0):
            raise ValueError(
                f"Expected a finite drop of {self.metric!r}, at least 0, but got {self.drop!r}. It "
                "is how much worse than with all joints the metric may be."
            )
        if self.mode not in ("max", "min", None):
            raise ValueError(f'Expected mode "max" or "min" but got {self.mode!r}.')
        for name in ("floor", "drop"):  # of a run's metrics, which are tensors
            value = getattr(self, name)
            if isinstance(value, Tensor):
                object.__setattr__(self, name, float(value))

    @property
    def higher_is_better(self) -> bool:
        """Return whether higher values of the metric are better."""
        return self.mode == "max" if self.mode else higher_is_better(self.metric)

    def floor_below(self, unpruned: float) -> float:
        """Return the floor of a metric that has this value with all joints.

        >>> MetricFloor("val_acc", drop=0.25).floor_below(1.0)
        0.75
        >>> MetricFloor("val_loss", drop=0.25).floor_below(1.0)
        1.25
        """
        if self.drop is None:
            assert self.floor is not None
            return self.floor
        return unpruned - self.drop if self.higher_is_better else unpruned + self.drop

    def unit_doubt(self, unpruned: Sequence[float]) -> str | None:
        """Return a warning where per cent seem to stand beside a fraction, or None.

        Args:
            unpruned: the metric with all joints, as often as it was measured.

        >>> MetricFloor("val_acc", 90).unit_doubt([0.5, 0.6])[:55]
        'val_acc is 0.6 with all joints beside floor=90 of Metri'
        """
        name, asked = ("floor", self.floor) if self.drop is None else ("drop", self.drop)
        if not (self.higher_is_better and unpruned and asked and min(unpruned) >= 0.0):
            return None
        most = max(unpruned)
        if most <= 1.0 <= asked <= 100.0 and asked != 1.0:
            other = asked / 100.0
        elif name == "floor" and 0.0 < asked <= 1.0 < min(unpruned) and most <= 100.0:
            other = asked * 100.0
        else:
            return None
        return (
            f"{self.metric} is {most:.4g} with all joints beside {name}={asked:g} of MetricFloor: "
            "is one of them in per cent and the other a fraction? If so, pass "
            f"MetricFloor({self.metric!r}, {name}={other:.6g})."
        )


def _is_finite(value: object) -> bool:
    return isinstance(value, SupportsFloat) and math.isfinite(value)


class Floored(Steered):
    """Asks for fewer joints where the metric is surely above the floor, else for more.

    What is sure is told by a one-sided bound on the mean of the latest validations with about as
    many joints; as long as it tells neither, a few more are awaited. The noise of one validation is
    estimated from the differences between neighbours in the order of their numbers of joints; from
    their median, since some are real. The smallest mask with two validations at least and a bound
    that meets the floor is the one to freeze; without any, all joints are kept. If the final phase
    then stays surely below the floor, joints are opened again, as long as there is time to train.
    """

    FEWER = 0.7  # share of the joints to aim for where the floor is met
    MORE = 1.25  # the same where it is missed; one joint is added
    ALIKE = 0.8  # share of a mask's joints with which another one counts for it; never with more
    LATEST = 4  # number of validations that count for a mask: earlier ones were of a worse network
    NEEDED = 10  # validations of a search that has time to come down, two for each number of joints
    TIME = 1 / 3  # share of the final phase that has to be left to open joints again
    SURE = 1.64  # standard errors: 95 % of a normal distribution, on one side
    DEVIATION = 1.05  # of normal noise, in medians of the difference of two draws: 1 / 0.954

    budget: MetricFloor
    chosen: list[bool]

    def __init__(self, budget: MetricFloor, layer: JointPruningLayer) -> None:
        super().__init__(budget, layer.num_joints)
        self.floor = budget.floor
        self.unpruned: list[float] = []
        self.values: list[float] = []
        self.masks: list[list[bool]] = []
        self.missed = False  # whether any validation was not surely at the floor
        self.aim = float(self.num_joints)
        self.chosen = [True] * self.num_joints
        self.final_values: list[float] = []  # of the mask that is frozen

    @property
    @override
    def metric(self) -> str:
        return self.budget.metric

    @property
    @override
    def higher_is_better(self) -> bool:
        return self.budget.higher_is_better

    @property
    @override
    def says_direction(self) -> bool:
        return True

    @property
    @override
    def validations(self) -> tuple[int, int]:
        return int(self.budget.drop is not None), self.NEEDED

    @override
    def checked_price(self) -> float:
        if self.floor is None:
            raise ValueError(
                f"Expected a validation with a finite {self.metric!r} in the warm-up, from "
                f"which MetricFloor takes drop={self.budget.drop}, but got none. Lengthen the "
                f"warm-up, phases=(0.3, 0.7), say, or pass floor instead of drop."
            )
        return super().checked_price()

    @override
    def early_doubt(self) -> str | None:
        return self.budget.unit_doubt(self.unpruned)

    @override
    def target(self, done: float) -> float:
        return self.aim

    @override
    def observe_warmup(self, metrics: Mapping[str, float]) -> None:
        value = metrics[self.metric]
        if math.isfinite(value):
            self.unpruned = [*self.unpruned, value]
            self.floor = self.budget.floor_below(fmean(self.unpruned))

    @override
    def observe_search(self, metrics: Mapping[str, float], mask: Sequence[bool]) -> None:
        value, active = metrics[self.metric], sum(mask)
        least = most = -math.inf
        if math.isfinite(value):
            self.values = [*self.values, value]
            self.masks = [*self.masks, list(mask)]
            self.chosen = self._smallest_sure()
            least, most = self._margins(active)
        unsure = all(self.chosen) or len(self._alike(active)) == self.LATEST
        if least >= 0.0 and (sum(self.chosen) <= active or not self.missed):
            self.aim = max(1.0, active * self.FEWER)
        elif most < 0.0 or (least < 0.0 and unsure):
            self.aim = min(float(self.num_joints), active * self.MORE + 1.0)
        else:  # the next validation with as many joints may tell
            self.aim = float(active)
        self.missed = self.missed or least < 0.0

    @override
    def observe_final(self, metrics: Mapping[str, float], mask: Sequence[bool]) -> None:
        value = metrics[self.metric]
        if math.isfinite(value):
            self.final_values = [*self.final_values, value]

    @override
    def final_count(self, active: int, left: float) -> int:
        latest = self.final_values[-self.LATEST :]
        if left < self.TIME or len(latest) < 2 or self._margin(latest)[1] >= 0.0:
            return active
        self.final_values = []
        return min(self.num_joints, int(active * self.MORE) + 1)

    def _alike(self, active: int) -> list[float]:
        """Return the latest values with about this many joints, but not more."""
        pairs = zip(self.values, self.masks, strict=True)
        alike = [value for value, mask in pairs if self.ALIKE * active <= sum(mask) <= active]
        return alike[-self.LATEST :]

    def _margins(self, active: int) -> tuple[float, float]:
        """Return how much better than the floor so many joints are: at least, at most."""
        return self._margin(self._alike(active))

    def _margin(self, alike: Sequence[float]) -> tuple[float, float]:
        """Return how much better than the floor the mean of such values is: at least, at most."""
        assert self.floor is not None
        in_order = sorted(zip(map(sum, self.masks), self.values, strict=True), key=itemgetter(0))
        steps = [abs(after - before) for (_, before), (_, after) in pairwise(in_order)]
        noise = self.DEVIATION * median(steps) if steps else 0.0
        margin = fmean(alike) - self.floor if self.higher_is_better else self.floor - fmean(alike)
        error = self.SURE * noise / math.sqrt(len(alike))
        return margin - error, margin + error

    def _smallest_sure(self) -> list[bool]:
        """Return the latest of the smallest masks that surely meet the floor; else all joints."""
        masks = {sum(mask): mask for mask in self.masks}
        for active in sorted(masks):
            if len(self._alike(active)) >= 2 and self._margins(active)[0] >= 0.0:
                return masks[active]
        return [True] * self.num_joints
