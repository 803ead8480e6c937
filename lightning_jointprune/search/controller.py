"""Sets, for a budget, the price of a joint at every step of the search, and the mask to freeze."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from lightning_jointprune.gates.layer import JointPruningLayer

AUTO_SHARE = 0.3  # the automatic price of all joints together, as a share of the loss removed
FIRST_BATCHES = 10  # batches whose mean loss is where the training began
RECENT = 0.02  # weight of a batch in the running mean of the losses, 0 to 1
LEAST_REMOVED = 0.001  # least share of the first loss that counts as removed
ENOUGH_REMOVED = 0.1  # share of it with which a model has begun to learn
ASKED = ("budget", "num_joints", "counts")  # attributes that are no state
LOSSES = ("losses_seen", "first_sum", "first_count", "first", "recent", "always_finite")


class Controller(ABC):
    """Sets the price per joint at every step of a search, and decides what is frozen after it.

    The methods stand in the order of a run, in which a `JointSearch` calls them. They answer for a
    budget that looks at the training loss alone and freezes the joints with a keep probability
    above 0.5; a budget's own controller overrides what differs.

    Args:
        budget: what the user asks for, a frozen dataclass.
        num_joints: number of joints that can be kept.
        counts: the numbers of joints to settle, the most first, of which the last is frozen;
            several are a ladder, and none freezes the joints with a keep probability above 0.5.

    Attributes:
        floor: of the metric, where one was asked for and as soon as it is known.
        decided: from when on the joints that would be kept earn the price that the others pay:
            None never, else a tensor of shape `()`, bool.
        chosen: the mask to freeze where it was already measured or given, shape `(J,)`; None takes
            `counts`.
    """

    def __init__(self, budget: Any, num_joints: int, counts: tuple[int, ...] = ()) -> None:
        self.budget = budget
        self.num_joints = num_joints
        self.counts = counts
        self.floor: float | None = None
        self.decided: Tensor | None = None
        self.chosen: list[bool] | None = None
        self.losses_seen = 0
        self.first_sum: Tensor | float = 0.0
        self.first_count: Tensor | int = 0
        self.first: Tensor | float = 0.0  # mean loss of the first batches
        self.recent: Tensor | float = 0.0  # mean loss of the latest batches
        self.always_finite: Tensor | bool = True  # of all losses so far

    # --- what is asked for ---------------------------------------------------------------------

    @property
    def budget_name(self) -> str:
        """Return the name of the budget's class, for messages."""
        return type(self.budget).__name__

    @property
    def searches(self) -> bool:
        """Return whether joints are searched for; else `chosen` is the mask from the first step."""
        return True

    @property
    def metric(self) -> str | None:
        """Return the metric that every validation has to log; None if none is needed."""
        return None

    @property
    def higher_is_better(self) -> bool:
        """Return whether higher values of the metric are better."""
        return True

    @property
    def says_direction(self) -> bool:
        """Return whether the user said so, so that the mode of a monitor does not count."""
        return False

    @property
    def validations(self) -> tuple[int, int]:
        """Return how many validations the warm-up and the search need at least."""
        return 0, 0

    @property
    def count(self) -> int | None:
        """Return how many joints to freeze; None freezes those with a probability above 0.5."""
        return self.counts[-1] if self.counts else None

    @property
    def needs_learning(self) -> bool:
        """Return whether all joints are to be kept where the model has not learned anything."""
        return False

    @property
    def by_evidence(self) -> bool:
        """Return whether joints are ranked by `Evidence` besides their keep probabilities."""
        return False

    @property
    def covers(self) -> bool:
        """Return whether joints may be taken for how well they stand for others (`cover_first`)."""
        return False

    @property
    def group_costs(self) -> Mapping[str, float]:
        """Return what an open group costs beside its joints, in prices of a joint, by its name."""
        return MappingProxyType({})

    # --- the whole run -------------------------------------------------------------------------

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

    def follow(self, other: Controller) -> None:
        """Take over the losses that another budget has seen in this run."""
        vars(self).update({name: vars(other)[name] for name in LOSSES})

    def has_learned(self) -> bool:
        """Return whether the training has removed a tenth of the loss, as far as it can be told.

        A search needs that: a network at chance tells joints apart by chance. The mean loss since
        the first ten batches is the running one without the first in it, whose weight is known.
        With less than ten since then the answer is yes. The losses are read from the device.
        """
        later = self.losses_seen - FIRST_BATCHES
        if later < FIRST_BATCHES:
            return True
        kept = (1.0 - RECENT) ** later  # weight of the first batches
        first = torch.as_tensor(self.first)
        removed = (first - self.recent) / (1.0 - kept)
        return bool(removed >= ENOUGH_REMOVED * first.abs())

    # --- the warm-up ---------------------------------------------------------------------------

    def observe_warmup(self, metrics: Mapping[str, float]) -> None:
        """Take what a validation of the warm-up measured, with all joints."""
        del metrics

    # --- the search ----------------------------------------------------------------------------

    def checked_price(self) -> float:
        """Return the scale of the price as a number, read once when the search begins.

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
        """Return a warning about the budget at the start of the search, or None."""
        return None

    @abstractmethod
    def price(self, expected: Tensor, done: float) -> Tensor | float:
        """Return the price of a joint at this step.

        Args:
            expected: expected L0 now, shape `()`.
            done: how much of the search is done, 0 to 1.

        Returns:
            λ in units of the loss; a tensor of shape `()` is not read, so nothing waits for it.
        """

    def begins_descent(self, before: float, done: float) -> bool:
        """Return whether joints are to become fewer from this step on.

        Args:
            before: how much of the search was done at the step before, 0 to 1.
            done: how much of it is done now.
        """
        del before, done
        return False

    def ends_descent(self, before: float, done: float) -> bool:
        """Return whether the last number of joints is due from this step on; see begins_descent."""
        del before, done
        return False

    def reached(self, done: float) -> tuple[int, ...]:
        """Return which of `counts` but the last one the search has come down to.

        Args:
            done: how much of the search is done, 0 to 1.
        """
        del done
        return ()

    def observe_search(self, metrics: Mapping[str, float], mask: Sequence[bool]) -> None:
        """Take what a validation of the search measured with the joints of `mask`."""
        del metrics, mask

    def late_doubt(self) -> str | None:
        """Return a warning about the price at the end of the search, or None."""
        return None

    # --- after the search ----------------------------------------------------------------------

    @property
    def compared(self) -> float:
        """Return the share of what follows the search in which all `counts` are trained, 0 to 1.

        One of them is chosen at its end, and trained alone. With 0 a ladder is trained to the end.
        """
        return 0.0

    def choose(
        self, values: Sequence[float], *, higher: bool, samples: int | None, learned: bool
    ) -> int:
        """Return the position of the number of joints to keep.

        Args:
            values: the metric with each number of joints that was measured, the most first.
            higher: whether higher values are better.
            samples: of the validation; None if not known.
            learned: whether the model has learned anything.
        """
        del higher, samples, learned
        return len(values) - 1

    # --- the final phase -----------------------------------------------------------------------

    def observe_final(self, metrics: Mapping[str, float], mask: Sequence[bool]) -> None:
        """Take what a validation of the final phase measured with the joints of `mask`."""
        del metrics, mask

    def final_count(self, active: int, left: float) -> int:
        """Return how many joints to keep from now on.

        Args:
            active: the number of joints that are kept now.
            left: how much of the final phase is left, 0 to 1.
        """
        del left
        return active

    # --- the price of a loss -------------------------------------------------------------------

    def auto_price(self) -> Tensor:
        """Return 0.3 times the loss removed so far, per joint; never quite 0."""
        first = torch.as_tensor(self.first)
        removed = torch.maximum(first - self.recent, LEAST_REMOVED * first.abs())
        return AUTO_SHARE / self.num_joints * removed

    def base_price(self) -> Tensor:
        """Return the automatic price if all of the loss were removed: the scale to steer from."""
        return AUTO_SHARE / self.num_joints * torch.as_tensor(self.first).abs()

    # --- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes, as tensors and plain values."""
        return {key: value for key, value in vars(self).items() if key not in ASKED}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        vars(self).update(state)


def usable_joints(layer: JointPruningLayer) -> int:
    """Return the number of joints that are not left out from the start."""
    return layer.num_joints - int(layer.never.sum())
