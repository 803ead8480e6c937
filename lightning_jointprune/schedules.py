"""When and how hard to prune: progress in [0, 1] to phase and temperature; budgets to prices.

Progress is the fraction of the run that is done. Numbers in, numbers out: only a budget's
controller keeps anything from one step to the next.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import torch
from torch import Tensor

Phase = Literal["warmup", "search", "final"]
AUTO_SHARE = 0.3  # the automatic price of all joints together, as a share of the loss
REFERENCE_BATCHES = 10  # batches whose mean loss the automatic price is set from
RAMP = 1 / 3  # share of the search over which the price rises from 0


# --- progress ------------------------------------------------------------------------------------


def check_phases(phases: Sequence[float]) -> tuple[float, float]:
    """The ends of warm-up and search, checked.

    Raises:
        ValueError: unless they are two fractions in order.
    """
    if len(phases) != 2 or not 0.0 <= phases[0] < phases[1] < 1.0:
        raise ValueError(
            f"Expected phases as two fractions of the run in order, 0 <= warm-up's end < search's "
            f"end < 1, but got {tuple(phases)}. The default is (0.1, 0.6)."
        )
    return float(phases[0]), float(phases[1])


def phase_at(progress: float, phases: tuple[float, float]) -> Phase:
    """The phase of the run.

    >>> [phase_at(p, (0.1, 0.6)) for p in (0.0, 0.1, 0.6)]
    ['warmup', 'search', 'final']
    """
    warmup_end, search_end = phases
    if progress < warmup_end:
        return "warmup"
    return "search" if progress < search_end else "final"


def search_progress(progress: float, phases: tuple[float, float]) -> float:
    """How much of the search is done, 0 before and 1 after it.

    >>> search_progress(0.5, (0.25, 0.75))
    0.5
    """
    warmup_end, search_end = phases
    return min(1.0, max(0.0, (progress - warmup_end) / (search_end - warmup_end)))


def temperature_at(done: float, ends: tuple[float, float]) -> float:
    """The temperature at a point of the search: from the first to the second, geometrically.

    >>> round(temperature_at(0.5, (1.0, 0.25)), 6)
    0.5
    """
    start, end = ends
    return float(start * (end / start) ** done)


# --- budgets: what the user asks for -------------------------------------------------------------


@dataclass(frozen=True)
class Price:
    """A joint stays if dropping it would raise the loss by more than its price.

    That is what an open joint costs. In the course of the search a gate that is neither open nor
    closed comes to cost more, so that joints that say the same do not share one open gate.

    Args:
        value: λ per joint in units of the training loss, at least 0, or `"auto"`: 0.3 times the
            mean loss of the first batches, divided by the number of joints.

    Raises:
        ValueError: if `value` is negative, not finite, or another word.
    """

    value: float | str = "auto"

    def __post_init__(self) -> None:
        if isinstance(self.value, str):
            if self.value != "auto":
                raise ValueError(f'Expected a price or "auto" but got {self.value!r}.')
        elif not (math.isfinite(self.value) and self.value >= 0.0):
            raise ValueError(
                f"Expected a price of at least 0, in units of the loss, but got {self.value}. Pass "
                'Price("auto") or a number such as Price(0.003).'
            )


@dataclass(frozen=True)
class TargetJoints:
    """Keep exactly this many joints.

    Args:
        count: K, from 1 to the number of joints.

    Raises:
        ValueError: if `count` is not a positive whole number.
    """

    count: int

    def __post_init__(self) -> None:
        if not _is_whole(self.count) or self.count < 1:
            raise ValueError(
                f"Expected a number of joints of at least 1 but got {self.count!r}. Pass "
                "TargetJoints(12), say."
            )


@dataclass(frozen=True)
class MetricFloor:
    """Keep as few joints as possible while a validation metric stays at its floor or above.

    The metric is the one the model logs in validation, where the dropped joints are gone.

    Args:
        metric: name of the logged metric, such as `"val_acc"`.
        floor: the lowest value that is accepted, in units of the metric; the highest one if lower
            values are better.
        mode: `"max"` if higher values are better, `"min"` if lower ones are; None takes `"min"` for
            names with loss, error or a known error rate in them.

    Raises:
        ValueError: if `floor` is not finite or `mode` another word.
    """

    metric: str
    floor: float
    mode: Literal["max", "min"] | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.floor):
            raise ValueError(f"Expected a finite floor for {self.metric!r} but got {self.floor}.")
        if self.mode not in ("max", "min", None):
            raise ValueError(f'Expected mode "max" or "min" but got {self.mode!r}.')

    @property
    def higher_is_better(self) -> bool:
        """Whether higher values of the metric are better."""
        return self.mode == "max" if self.mode else higher_is_better(self.metric)

    def met(self, value: float) -> bool:
        """Whether a value of the metric is good enough; one that is not a number never is."""
        return value >= self.floor if self.higher_is_better else value <= self.floor


Budget = Price | TargetJoints | MetricFloor


def make_budget(budget: Budget | int | float) -> Budget:
    """A budget, also from a bare number: a whole one is a number of joints.

    Raises:
        ValueError: if it is none of these.
    """
    if isinstance(budget, Price | TargetJoints | MetricFloor):
        return budget
    if _is_whole(budget):
        return TargetJoints(budget)
    raise ValueError(
        "Expected a budget of Price, TargetJoints, MetricFloor or a number of joints but got "
        f"{budget!r}. Pass Price(0.003), TargetJoints(12) or 12."
    )


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def higher_is_better(metric: str) -> bool:
    """Whether higher values of a metric of this name are better, as far as the name tells.

    >>> higher_is_better("val_acc"), higher_is_better("val_loss")
    (True, False)
    """
    name = metric.lower()
    anywhere = ("loss", "error", "mse", "mae", "mpjpe", "perplexity", "nll")
    alone = {"wer", "cer"}  # also parts of words such as answer and certainty
    return not any(part in name for part in anywhere) and alone.isdisjoint(re.split(r"\W|_", name))


# --- controllers: a budget at work ---------------------------------------------------------------


ASKED = ("num_joints", "budget", "count")  # settings of a controller, not its state


class Controller(ABC):
    """Sets the price per joint at every step of the search.

    Args:
        num_joints: J.
    """

    count: int | None = None  # how many joints to freeze; None: those with a probability above 0.5
    chosen: list[bool] | None = None  # the mask to freeze, where one was already measured

    def __init__(self, num_joints: int) -> None:
        self.num_joints = num_joints
        self.losses_seen = 0
        self.loss_sum: Tensor | float = 0.0
        self.loss_count: Tensor | int = 0

    @property
    def needs_losses(self) -> bool:
        """Whether `observe_loss` still has a use for losses."""
        return self.losses_seen < REFERENCE_BATCHES

    def observe_loss(self, loss: Tensor) -> None:
        """Take the loss of a training batch, shape `()`; only the first finite ones count."""
        if self.needs_losses:
            finite = loss.detach().isfinite()
            self.loss_sum = self.loss_sum + torch.where(finite, loss.detach().float(), 0.0)
            self.loss_count = self.loss_count + finite
            self.losses_seen += 1

    def base_price(self) -> Tensor | float:
        """The automatic price: 0.3 times the mean loss of the first batches, per joint."""
        return AUTO_SHARE * self.loss_sum / self.loss_count / self.num_joints

    def checked_price(self) -> float:
        """The base price as a number, read once when the search begins.

        Raises:
            ValueError: if the losses so far give none.
        """
        if not self.loss_count or not self.loss_sum > 0.0:
            found = (
                f"a mean of {self.loss_sum / self.loss_count:.3g}" if self.loss_count else "none"
            )
            raise ValueError(
                "Expected training_step to return a finite loss above 0, from which the price is "
                f"set, but got {found}. Return the loss, also with manual optimization, or pass "
                "budget=Price(0.003), say."
            )
        return float(self.base_price())

    @abstractmethod
    def price(self, expected: Tensor, done: float) -> Tensor | float:
        """The price of a joint at this step.

        Args:
            expected: expected L0 now, shape `()`.
            done: how much of the search is done, 0 to 1.

        Returns:
            λ in units of the loss; a tensor of shape `()` is not read, so nothing waits for it.
        """

    def observe_metrics(self, metrics: Mapping[str, float], mask: Sequence[bool]) -> None:
        """Take what a validation measured with the joints of `mask`; few budgets need it."""
        del metrics, mask

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
        self.budget = budget

    def base_price(self) -> Tensor | float:
        value = self.budget.value
        return super().base_price() if isinstance(value, str) else value

    def checked_price(self) -> float:
        value = self.budget.value
        return super().checked_price() if isinstance(value, str) else value

    def price(self, expected: Tensor, done: float) -> Tensor | float:  # noqa: ARG002
        return self.base_price() * min(1.0, done / RAMP)


class _Steered(Controller):
    """A price that steers the expected L0 to a target: a PI controller in log space.

    The price is the automatic one times `exp(proportional * error + integral)`, the error being
    `log(expected / target)`, at most 1 either way.
    """

    PROPORTIONAL = 2.0
    INTEGRAL = 25.0  # per search, so that the number of steps does not matter
    LIMIT = 8.0

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
    """`TargetJoints`: from J to K over the first 60 % of the search, then K."""

    REACHED = 0.6

    def __init__(self, num_joints: int, budget: TargetJoints) -> None:
        super().__init__(num_joints)
        self.count = budget.count

    def target(self, done: float) -> float:
        assert self.count is not None
        left = max(0.0, 1.0 - done / self.REACHED)
        return float(self.count * (self.num_joints / self.count) ** left)


class _Floored(_Steered):
    """`MetricFloor`: fewer joints after a validation above the floor, more after one below it.

    The smallest mask that met the floor is the one to freeze; without any, all joints are kept.
    """

    FEWER = 0.7
    MORE = 1.25

    def __init__(self, num_joints: int, budget: MetricFloor) -> None:
        super().__init__(num_joints)
        self.budget = budget
        self.aim = float(num_joints)
        self.chosen = [True] * num_joints

    def target(self, done: float) -> float:  # noqa: ARG002
        return self.aim

    def observe_metrics(self, metrics: Mapping[str, float], mask: Sequence[bool]) -> None:
        value, active = metrics[self.budget.metric], sum(mask)
        assert self.chosen is not None
        if self.budget.met(value):
            if active <= sum(self.chosen):
                self.chosen = list(mask)
            self.aim = max(1.0, active * self.FEWER)
        else:
            self.aim = min(float(self.num_joints), active * self.MORE + 1.0)


def make_controller(budget: Budget, num_joints: int, always_kept: int = 0) -> Controller:
    """The controller of a budget.

    Args:
        budget: what the user asks for.
        num_joints: J.
        always_kept: how many joints are never dropped.

    Raises:
        ValueError: if the budget does not fit the joints.
    """
    if isinstance(budget, Price):
        return _Priced(num_joints, budget)
    if isinstance(budget, MetricFloor):
        return _Floored(num_joints, budget)
    if not max(1, always_kept) <= budget.count <= num_joints:
        raise ValueError(
            f"Expected TargetJoints from {max(1, always_kept)} (joints always kept) to "
            f"{num_joints} (all joints) but got {budget.count}. Lower it, or shorten keep."
        )
    return _Targeted(num_joints, budget)
