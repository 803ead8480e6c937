"""Ways to choose joints: a method takes the data, an encoder, numbers of joints and a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.selectors import ours, penalties, scores
from benchmarks.selectors.training import Choice
from benchmarks.shared.joint_data import JointData

Method = Callable[[JointData, str, Sequence[int], int], Choice]

OURS, *MORE_OF_OURS = ours.METHODS  # one run; then as many as other ways may take
METHODS: dict[str, dict[str, Method]] = {
    "ours": ours.METHODS,
    "penalties": penalties.METHODS,
    "scores": scores.METHODS,
}  # by the module they are in, the "script" of their cells
PEERS = (*penalties.METHODS, *scores.METHODS)
SCRIPT_OF = {method: script for script, methods in METHODS.items() for method in methods}
