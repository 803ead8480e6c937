"""When to prune, and how much: progress in [0, 1] to phase and temperature; the budgets.

Progress is the fraction of the run that is done. Nothing here keeps anything between two steps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeGuard

Phase = Literal["warmup", "search", "final"]


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
        if isinstance(self.value, str):
            if self.value != "auto":
                raise ValueError(f'Expected a price or "auto" but got {self.value!r}.')
        elif not (math.isfinite(self.value) and self.value >= 0.0):
            raise ValueError(
                f"Expected a price of at least 0, in units of the loss, but got {self.value}. Pass "
                'Price("auto") or a number such as Price(0.003).'
            )
        wrong = {k: v for k, v in self.groups.items() if not (math.isfinite(v) and v >= 0.0)}
        if wrong:
            raise ValueError(
                f"Expected groups to cost at least 0, in prices of a joint, but got {wrong}."
            )


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
        if (self.floor is None) == (self.drop is None):
            raise ValueError(
                f"Expected one of floor and drop for {self.metric!r} but got floor={self.floor} "
                f"and drop={self.drop}. Pass MetricFloor({self.metric!r}, 0.85), say, or drop=0.01."
            )
        if self.floor is not None and not math.isfinite(self.floor):
            raise ValueError(f"Expected a finite floor for {self.metric!r} but got {self.floor}.")
        if self.drop is not None and not (math.isfinite(self.drop) and self.drop >= 0.0):
            raise ValueError(
                f"Expected a finite drop of {self.metric!r}, at least 0, but got {self.drop}. It "
                "is how much worse than with all joints the metric may be."
            )
        if self.mode not in ("max", "min", None):
            raise ValueError(f'Expected mode "max" or "min" but got {self.mode!r}.')

    @property
    def higher_is_better(self) -> bool:
        """Whether higher values of the metric are better."""
        return self.mode == "max" if self.mode else higher_is_better(self.metric)

    def floor_below(self, unpruned: float) -> float:
        """The floor of a metric that has this value with all joints.

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
        """What looks like per cent beside a fraction, if anything does.

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


Budget = Price | TargetJoints | MetricFloor


def make_budget(budget: Budget | int | Sequence[int]) -> Budget:
    """A budget, also from a bare whole number of joints, or from several.

    Raises:
        ValueError: if it is none of these.
    """
    if isinstance(budget, Price | TargetJoints | MetricFloor):
        return budget
    if _is_whole(budget) or (isinstance(budget, list | tuple) and all(map(_is_whole, budget))):
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
