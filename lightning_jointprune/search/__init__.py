"""Searches for the joints, from the warm-up to the frozen mask; knows nothing of Lightning."""

from __future__ import annotations

from lightning_jointprune.search.budgets import Budget, make_budget, make_controller
from lightning_jointprune.search.search import JointSearch

__all__ = ["Budget", "JointSearch", "make_budget", "make_controller"]
