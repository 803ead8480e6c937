"""From the warm-up to the frozen mask: phases, budgets, the search. Knows nothing of Lightning."""

from __future__ import annotations

from lightning_jointprune.search.budgets import Budget, make_budget, make_controller
from lightning_jointprune.search.budgets.metric_floor import MetricFloor
from lightning_jointprune.search.budgets.price import Price
from lightning_jointprune.search.budgets.target_joints import TargetJoints
from lightning_jointprune.search.search import JointSearch

__all__ = [
    "Budget",
    "JointSearch",
    "MetricFloor",
    "Price",
    "TargetJoints",
    "make_budget",
    "make_controller",
]
