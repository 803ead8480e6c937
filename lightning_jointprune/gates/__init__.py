"""Leads from a logit to gated joints: gates, groups, masks, fills of dropped joints, the layer."""

from __future__ import annotations

from lightning_jointprune.gates.axes import spread
from lightning_jointprune.gates.blend import blend
from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.gates.masks import hard_mask
from lightning_jointprune.gates.membership import Groups
from lightning_jointprune.gates.relaxations import (
    GATES,
    Gate,
    GumbelSigmoid,
    HardConcrete,
    StochasticGate,
    StraightThroughGumbelSigmoid,
    clipped_gaussian,
    gumbel_sigmoid,
    hard_concrete,
    make_gate,
)

__all__ = [
    "GATES",
    "Gate",
    "Groups",
    "GumbelSigmoid",
    "HardConcrete",
    "JointPruningLayer",
    "StochasticGate",
    "StraightThroughGumbelSigmoid",
    "blend",
    "clipped_gaussian",
    "gumbel_sigmoid",
    "hard_concrete",
    "hard_mask",
    "make_gate",
    "spread",
]
