"""Budgets at work: what a joint costs at every step of the search, and the mask to freeze."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from statistics import fmean, median
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from lightning_jointprune.schedules import Budget, MetricFloor, Price, TargetJoints

AUTO_SHARE = 0.3  # the automatic price of all joints together, as a share of the loss removed
FIRST_BATCHES = 10  # batches whose mean loss is where the training began
RECENT = 0.02  # weight of a batch in the mean of the recent losses
LEAST_REMOVED = 0.001  # of the first loss: counts as removed where the loss has not fallen
RAMP = 1 / 3  # share of the search over which the price rises from 0
ASKED = (
    "num_joints",
    "budget",
    "count",
    "rungs",
    "group_costs",
)  # settings of a controller, not its state


class Controller(ABC):
    """Sets the price per joint at every step of the search.

    Args:
        num_joints: J.
    """

    descent = 2.0  # how much of the search is done when joints are to become fewer; 2: never
    count: int | None = None  # how many joints to freeze; None: those with a probability above 0.5
    rungs: tuple[int, ...] = ()  # of a ladder, the numbers of joints before that, the most first
    chosen: list[bool] | None = None  # the mask to freeze, where one was already measured
    group_costs: Mapping[str, float] = MappingProxyType({})  # of open groups, in prices of a joint
    floor: float | None = None  # of the metric, where one was asked for and as soon as it is known
    decided: Tensor | None = None  # whether joints that would be kept earn the price of the others

    def __init__(self, num_joints: int) -> None:
        self.num_joints = num_joints
        self.losses_seen = 0
        self.first_sum: Tensor | float = 0.0
        self.first_count: Tensor | int = 0
        self.first: Tensor | float = 0.0
        self.recent: Tensor | float = 0.0

    def observe_loss(self, loss: Tensor) -> None:
        """Take the loss of a training batch, shape `()`; only finite ones count."""
        loss = loss.detach().float()
        if self.losses_seen < FIRST_BATCHES:
            finite = loss.isfinite()
            self.first_sum = self.first_sum + torch.where(finite, loss, 0.0)
            self.first_count = self.first_count + finite
            self.first = self.recent = self.first_sum / self.first_count
        else:
            step = torch.nan_to_num(loss - self.recent, nan=0.0, posinf=0.0, neginf=0.0)
            self.recent = self.recent + RECENT * step
        self.losses_seen += 1

    def auto_price(self) -> Tensor:
        """0.3 times the loss removed so far, per joint; never quite 0."""
        first = torch.as_tensor(self.first)
        removed = torch.maximum(first - self.recent, LEAST_REMOVED * first.abs())
        return AUTO_SHARE / self.num_joints * removed

    def base_price(self) -> Tensor:
        """The automatic price if all of the loss were removed: the scale to steer from."""
        return AUTO_SHARE / self.num_joints * torch.as_tensor(self.first).abs()

    def checked_price(self) -> float:
        """The scale of the price as a number, read once when the search begins.

        Raises:
            ValueError: if the losses so far give none, or the validations no floor.
        """
        if not self.first_count or not self.first_sum:
            raise ValueError(
                "Expected training_step to return a finite loss, from which the price is set, but "
                f"got {'0' if self.first_count else 'none'}. Return the loss, also with manual "
                "optimization, or pass budget=Price(0.003), say."
            )
        return float(self.base_price())

    def early_doubt(self) -> str | None:
        """What is wrong with the budget when the search begins, if anything."""
        return None

    def doubt(self) -> str | None:
        """What is wrong with the price when the search has ended, if anything."""
        return None

    @abstractmethod
    def price(self, expected: Tensor, done: float) -> Tensor | float:
        """The price of a joint at this step.

        Args:
            expected: expected L0 now, shape `()`.
            done: how much of the search is done, 0 to 1.

        Returns:
            λ in units of the loss; a tensor of shape `()` is not read, so nothing waits for it.
        """

    def reached(self, done: float) -> tuple[int, ...]:
        """The rungs of a ladder that the search has come down to.

        Args:
            done: how much of the search is done, 0 to 1.
        """
        del done
        return ()

    def observe_unpruned(self, metrics: Mapping[str, float]) -> None:
        """Take what a validation of the warm-up measured, with all joints."""
        del metrics

    def observe_metrics(self, metrics: Mapping[str, float], mask: Sequence[bool]) -> None:
        """Take what a validation measured with the joints of `mask`; few budgets need it."""
        del metrics, mask

    def reopened(self, metrics: Mapping[str, float], active: int, left: float) -> int:
        """How many joints to keep in the rest of the final phase.

        Args:
            metrics: what a validation of the final phase measured.
            active: the number of joints it measured with.
            left: how much of the final phase is left, 0 to 1.
        """
        del metrics, left
        return active

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes, as tensors and plain values; not what the user asked for."""
        return {key: value for key, value in vars(self).items() if key not in ASKED}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        vars(self).update(state)


class _Priced(Controller):
    """`Price`: the price rises over the first third of the search and then stays."""

    def __init__(self, num_joints: int, budget: Price) -> None:
        super().__init__(num_joints)
        self.budget, self.group_costs = budget, budget.groups

    def checked_price(self) -> float:
        if not isinstance(self.budget.value, str):
            return self.budget.value
        least = 0.1 * super().checked_price()  # a loss that has hardly fallen yet gives no scale
        return max(least, float(self.auto_price()))

    def doubt(self) -> str | None:
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

    def price(self, expected: Tensor, done: float) -> Tensor | float:  # noqa: ARG002
        value = self.budget.value
        return min(1.0, done / RAMP) * (self.auto_price() if isinstance(value, str) else value)


class _Steered(Controller):
    """A price that steers the expected L0 to a target: a PI controller in log space.

    The price is the base price times `exp(proportional * error + integral)`, the error being
    `log(expected / target)`, at most 1 either way.
    """

    PROPORTIONAL = 2.0
    INTEGRAL = 25.0  # per search, so that the number of steps does not matter
    LIMIT = 12.0

    def __init__(self, num_joints: int) -> None:
        super().__init__(num_joints)
        self.integral: Tensor | float = 0.0
        self.last_done = 0.0

    @abstractmethod
    def target(self, done: float) -> float:
        """The expected L0 to steer to, from 1 to J."""

    def price(self, expected: Tensor, done: float) -> Tensor | float:
        error = (expected / self.target(done)).log().clamp(-1.0, 1.0)
        step = self.INTEGRAL * max(0.0, done - self.last_done) * error
        self.integral = (self.integral + step).clamp(-self.LIMIT, self.LIMIT)
        self.last_done = done
        return self.base_price() * (self.PROPORTIONAL * error + self.integral).exp()


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


class _Floored(_Steered):
    """`MetricFloor`: fewer joints where the metric is surely above the floor, else more.

    What is sure is told by a one-sided bound on the mean of the latest validations with about as
    many joints; as long as it tells neither, a few more are awaited. The noise of one validation is
    estimated from the differences between neighbours in the order of their numbers of joints; from
    their median, since some are real. The smallest mask with two validations at least and a bound
    that meets the floor is the one to freeze; without any, all joints are kept. If the final phase
    then stays surely below the floor, joints are opened again, as long as there is time to train.
    """

    FEWER = 0.7
    MORE = 1.25
    ALIKE = 0.8  # share of a mask's joints with which another one counts for it; never with more
    LATEST = 4  # validations that count for a mask: the network learns, and earlier ones are worse
    TIME = 1 / 3  # of the final phase that has to be left for joints to be opened again
    SURE = 1.64  # standard errors: 95 % of a normal distribution, on one side
    DEVIATION = 1.05  # of normal noise, in medians of the difference of two draws: 1 / 0.954

    def __init__(self, num_joints: int, budget: MetricFloor) -> None:
        super().__init__(num_joints)
        self.budget = budget
        self.floor = budget.floor
        self.unpruned: list[float] = []
        self.values: list[float] = []
        self.masks: list[list[bool]] = []
        self.missed = False  # whether any validation was not surely at the floor
        self.aim = float(num_joints)
        self.chosen: list[bool] = [True] * num_joints
        self.final_values: list[float] = []  # of the mask that is frozen

    def checked_price(self) -> float:
        if self.floor is None:
            raise ValueError(
                f"Expected a validation with a finite {self.budget.metric!r} in the warm-up, from "
                f"which MetricFloor takes drop={self.budget.drop}, but got none. Lengthen the "
                f"warm-up, phases=(0.3, 0.7), say, or pass floor instead of drop."
            )
        return super().checked_price()

    def early_doubt(self) -> str | None:
        return self.budget.unit_doubt(self.unpruned)

    def target(self, done: float) -> float:  # noqa: ARG002
        return self.aim

    def observe_unpruned(self, metrics: Mapping[str, float]) -> None:
        value = metrics[self.budget.metric]
        if math.isfinite(value):
            self.unpruned = [*self.unpruned, value]
            self.floor = self.budget.floor_below(fmean(self.unpruned))

    def observe_metrics(self, metrics: Mapping[str, float], mask: Sequence[bool]) -> None:
        value, active = metrics[self.budget.metric], sum(mask)
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

    def reopened(self, metrics: Mapping[str, float], active: int, left: float) -> int:
        value = metrics[self.budget.metric]
        if math.isfinite(value):
            self.final_values = [*self.final_values, value]
        latest = self.final_values[-self.LATEST :]
        if left < self.TIME or len(latest) < 2 or self._margin(latest)[1] >= 0.0:
            return active
        self.final_values = []
        return min(self.num_joints, int(active * self.MORE) + 1)

    def _alike(self, active: int) -> list[float]:
        """The latest values with about this many joints, but not more."""
        pairs = zip(self.values, self.masks, strict=True)
        alike = [value for value, mask in pairs if self.ALIKE * active <= sum(mask) <= active]
        return alike[-self.LATEST :]

    def _margins(self, active: int) -> tuple[float, float]:
        """How much better than the floor the metric is with so many joints: at least, at most."""
        return self._margin(self._alike(active))

    def _margin(self, alike: Sequence[float]) -> tuple[float, float]:
        """How much better than the floor the mean of such values is: at least, at most."""
        assert self.floor is not None
        in_order = sorted(zip(map(sum, self.masks), self.values, strict=True), key=itemgetter(0))
        steps = [abs(after - before) for (_, before), (_, after) in pairwise(in_order)]
        noise = self.DEVIATION * median(steps) if steps else 0.0
        margin = (
            fmean(alike) - self.floor if self.budget.higher_is_better else self.floor - fmean(alike)
        )
        error = self.SURE * noise / math.sqrt(len(alike))
        return margin - error, margin + error

    def _smallest_sure(self) -> list[bool]:
        """The latest mask of the smallest size that surely meets the floor; else all joints."""
        masks = {sum(mask): mask for mask in self.masks}
        for active in sorted(masks):
            if len(self._alike(active)) >= 2 and self._margins(active)[0] >= 0.0:
                return masks[active]
        return [True] * self.num_joints


def make_controller(
    budget: Budget, num_joints: int, always_kept: int = 0, dropped: int = 0
) -> Controller:
    """The controller of a budget.

    Args:
        budget: what the user asks for.
        num_joints: J.
        always_kept: how many joints are never dropped.
        dropped: how many joints are never used.

    Raises:
        ValueError: if the budget does not fit the joints.
    """
    if isinstance(budget, MetricFloor):
        return _Floored(num_joints, budget)
    usable = num_joints - dropped
    if isinstance(budget, Price):
        return _Priced(usable, budget)
    for count in budget.counts:
        if not max(1, always_kept) <= count <= usable:
            raise ValueError(
                f"Expected TargetJoints from {max(1, always_kept)} (joints always kept) to "
                f"{usable} (all usable joints) but got {count}. Lower it, or shorten keep or drop."
            )
    return _Targeted(usable, budget)
