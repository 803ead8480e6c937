"""Steers the expected L0 by the price: to a target, or down to a number of joints."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_jointprune.search.controller import Controller


class Steered(Controller):
    """Steers the expected L0 to a target by the price: a PI controller in log space.

    The price is the base price times `exp(proportional * error + integral)`, the error being
    `log(expected / target)`, at most 1 either way.
    """

    PROPORTIONAL = 2.0  # gain
    INTEGRAL = 25.0  # gain per search, so that the number of steps does not matter
    LIMIT = 12.0  # of the integral, either way

    def __init__(self, budget: Any, num_joints: int, counts: tuple[int, ...] = ()) -> None:
        super().__init__(budget, num_joints, counts)
        self.integral: Tensor | float = 0.0
        self.last_done = 0.0

    @abstractmethod
    def target(self, done: float) -> float:
        """Return the expected L0 to steer to, from 1 to J."""

    @override
    def price(self, expected: Tensor, done: float) -> Tensor | float:
        error = (expected / self.target(done)).log().clamp(-1.0, 1.0)
        step = self.INTEGRAL * max(0.0, done - self.last_done) * error
        self.integral = (self.integral + step).clamp(-self.LIMIT, self.LIMIT)
        self.last_done = done
        return self.base_price() * (self.PROPORTIONAL * error + self.integral).exp()


class Descending(Steered):
    """Comes down to the last of `counts`, K: J for 15 % of the search, K from 62 % of it on.

    Interactions between joints have to be learned before any of them goes. When about K are left
    after 62 %, or at 85 % at the latest, the best K joints earn the price that the others pay, so
    that the freeze is no jump: any sooner, gates that have hardly parted would be told apart by
    chance. One price for all cannot tell joints apart that are worth the same, such as the
    worthless ones among K if the model needs fewer: they would share what is left of K, each half
    open. Nor can it be too high any more, as it does not close the K: it is at least the base price
    and no longer falls.
    """

    DESCENT = 0.15  # share of the search after which the joints become fewer
    REACHED = 0.62  # share of it after which there are to be K
    LATEST = 0.85  # share of it after which the best K earn the price, however many are left
    NEAR = 1.15  # expected L0 that is about K, in K

    @property
    @override
    def by_evidence(self) -> bool:
        return True

    @property
    def fewest(self) -> int:
        """Return K."""
        return self.counts[-1]

    @override
    def target(self, done: float) -> float:
        left = min(1.0, max(0.0, (self.REACHED - done) / (self.REACHED - self.DESCENT)))
        return float(self.fewest * (self.num_joints / self.fewest) ** left)

    @override
    def begins_descent(self, before: float, done: float) -> bool:
        return before < self.DESCENT <= done

    @override
    def ends_descent(self, before: float, done: float) -> bool:
        return before < self.REACHED <= done

    @override
    def reached(self, done: float) -> tuple[int, ...]:
        return tuple(rung for rung in self.counts[:-1] if self.target(done) <= rung)

    @override
    def price(self, expected: Tensor, done: float) -> Tensor | float:
        if done >= self.REACHED:
            near = (expected <= self.NEAR * self.fewest + 0.5) | (done >= self.LATEST)
            self.decided = near if self.decided is None else self.decided | near
            integral = torch.as_tensor(self.integral)
            self.integral = torch.where(self.decided, integral.clamp(min=0.0), integral)
            expected = torch.where(self.decided, expected.clamp(min=self.fewest), expected)
        return super().price(expected, done)
