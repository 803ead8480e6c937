"""From the warm-up to the frozen mask: phases, budgets, the search. Knows nothing of Lightning."""

from __future__ import annotations

from lightning_jointprune.search.budgets import Budget, make_budget, make_controller
from lightning_jointprune.search.metric_floor import MetricFloor
from lightning_jointprune.search.price import Price
from lightning_jointprune.search.search import JointSearch
from lightning_jointprune.search.target_joints import TargetJoints

__all__ = [
    "Budget",
    "JointSearch",
    "MetricFloor",
    "Price",
    "TargetJoints",
    "make_budget",
    "make_controller",
]
