"""The budgets there are, and the controller of each."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_jointprune.search.budgets.metric_floor import MetricFloor, _Floored
from lightning_jointprune.search.budgets.price import Price, _Priced
from lightning_jointprune.search.budgets.target_joints import TargetJoints, _is_whole, _Targeted
from lightning_jointprune.search.controller import Controller


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
