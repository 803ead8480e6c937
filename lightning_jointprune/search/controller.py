"""Budgets at work: what a joint costs at every step of the search, and the mask to freeze."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

AUTO_SHARE = 0.3  # the automatic price of all joints together, as a share of the loss removed
FIRST_BATCHES = 10  # batches whose mean loss is where the training began
RECENT = 0.02  # weight of a batch in the mean of the recent losses
LEAST_REMOVED = 0.001  # of the first loss: counts as removed where the loss has not fallen
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
        self.always_finite: Tensor | bool = True  # of all losses so far

    def observe_loss(self, loss: Tensor) -> None:
        """Take the loss of a training batch, shape `()`; only finite ones count."""
        loss = loss.detach().float()
        self.always_finite = loss.isfinite() & self.always_finite
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
