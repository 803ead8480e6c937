"""Make the callbacks that are compared: with the defaults, and with what was the default."""

from __future__ import annotations

from typing import Any


def defaults_or_price(joints: int, way: str) -> Any:
    """Return the callback with `num_joints` alone, `default`, or with `Price("auto")`, `price`."""
    from lightning_jointprune import JointPruningCallback, Price

    budgets = {"default": {}, "price": {"budget": Price("auto")}}
    return JointPruningCallback(num_joints=joints, **budgets[way])
