"""Ways to choose joints: a method takes the data, an encoder, numbers of joints and a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.selectors import ours, penalties, scores
from benchmarks.selectors.training import Choice
from benchmarks.shared.joint_data import JointData

Method = Callable[[JointData, str, Sequence[int], int], Choice]

OURS = "TargetJoints"
METHODS: dict[str, dict[str, Method]] = {
    "ours": {OURS: ours.ladder},
    "penalties": penalties.METHODS,
    "scores": scores.METHODS,
}  # by the module they are in, the "script" of their cells
SCRIPT_OF = {method: script for script, methods in METHODS.items() for method in methods}
