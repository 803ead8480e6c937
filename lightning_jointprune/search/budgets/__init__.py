"""A budget says what limits the joints that are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.search.budgets.fewest import Compared, Fewest, comparable
from lightning_jointprune.search.budgets.given_joints import Given, GivenJoints
from lightning_jointprune.search.budgets.metric_floor import Floored, MetricFloor
from lightning_jointprune.search.budgets.price import Price, Priced
from lightning_jointprune.search.budgets.target_joints import Targeted, TargetJoints, is_whole
from lightning_jointprune.search.controller import Controller

__all__ = ["Price", "TargetJoints", "MetricFloor", "Fewest", "GivenJoints"]

# Of each budget its class, and the controller that is the budget at work.
Budget = Price | TargetJoints | MetricFloor | Fewest | GivenJoints
CONTROLLERS: dict[type[Budget], Callable[[Any, JointPruningLayer], Controller]] = {
    Price: Priced,
    TargetJoints: Targeted,
    MetricFloor: Floored,
    Fewest: Compared,
    GivenJoints: Given,
}


AUTO: Literal["auto"] = "auto"
# Of each budget, a call to type.
CALLS: dict[type[Budget], str] = {
    Price: 'Price("auto")',
    TargetJoints: "TargetJoints(12)",
    MetricFloor: 'MetricFloor("val_acc", 0.85)',
    Fewest: "Fewest()",
    GivenJoints: "GivenJoints([0, 4, 8])",
}


def make_budget(budget: Budget | int | Sequence[int] | str) -> Budget | Literal["auto"]:
    """Return a budget, also of a bare whole number of joints, or of several; `"auto"` as it is.

    Raises:
        ValueError: if it is none of these.
    """
    if isinstance(budget, Budget):
        return budget
    if isinstance(budget, str) and budget == AUTO:
        return AUTO
    if is_whole(budget) or (isinstance(budget, list | tuple) and all(map(is_whole, budget))):
        return TargetJoints(budget)
    raise ValueError(
        f"Expected a budget of {', '.join(kind.__name__ for kind in CONTROLLERS)} or a number of "
        f"joints but got {budget!r}. {_budget_to_pass(budget)}"
    )


def _budget_to_pass(budget: object) -> str:
    """Return what to pass in place of what is no budget."""
    if isinstance(budget, type) and budget in CALLS:
        return f"Pass {CALLS[budget]}."
    if isinstance(budget, str):
        if budget.strip().isdecimal():
            return f"Pass budget={int(budget)}, without quotes."
        return (
            f'The only word is "{AUTO}", and no selection is in a file of this name. Else pass 12, '
            f"{', '.join(CALLS.values())}."
        )
    if isinstance(budget, float) and budget.is_integer():
        return f"Pass budget={int(budget)}."
    if isinstance(budget, float):
        return f"Pass Price({budget:g}) for a price, or a whole number of joints such as 12."
    return f'Pass "{AUTO}", 12, {", ".join(CALLS.values())}.'


def make_controller(
    budget: Budget | Literal["auto"], layer: JointPruningLayer, validated: bool = False
) -> Controller:
    """Return a budget at work.

    Args:
        budget: what the user asks for; `"auto"` is `Fewest()` in a run that is validated, if there
            are several numbers of joints to compare, and else `Price("auto")`.
        layer: the gates of a search that has not begun.
        validated: whether the run is validated.

    Raises:
        ValueError: if the budget does not fit the joints, what is always kept, or the groups.
    """
    if budget == AUTO:
        budget = Fewest() if validated and comparable(layer) else Price()
    made = (make for kind, make in CONTROLLERS.items() if isinstance(budget, kind))
    return next(made)(budget, layer)
