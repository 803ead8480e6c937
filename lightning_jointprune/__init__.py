"""Learns in one training run which skeleton joints a model needs, as a Lightning callback."""

from __future__ import annotations

import sys

from lightning_jointprune import attach as _attach
from lightning_jointprune.callback import JointPruningCallback
from lightning_jointprune.compaction.compact import compact
from lightning_jointprune.compaction.compact_files import from_compact, save_compact
from lightning_jointprune.compaction.export.export import export_model
from lightning_jointprune.gates import layer as _layer
from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.gates.membership import Groups
from lightning_jointprune.gates.relaxations import (
    GumbelSigmoid,
    HardConcrete,
    StochasticGate,
    StraightThroughGumbelSigmoid,
)
from lightning_jointprune.joint_files import select as _select
from lightning_jointprune.joint_files.extraction import extraction_plan
from lightning_jointprune.joint_files.select import SelectJoints
from lightning_jointprune.measure.agreement import frontier, random_masks, stability
from lightning_jointprune.measure.evaluate import compare_subsets, evaluate_joints
from lightning_jointprune.record.evaluation import JointEvaluation
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.report.comparison import consensus
from lightning_jointprune.run.load import analyze_pruning, load_pruned
from lightning_jointprune.search.budgets.fewest import Fewest
from lightning_jointprune.search.budgets.given_joints import GivenJoints
from lightning_jointprune.search.budgets.metric_floor import MetricFloor
from lightning_jointprune.search.budgets.price import Price
from lightning_jointprune.search.budgets.target_joints import TargetJoints
from lightning_jointprune.skeletons import Skeleton

__version__ = "0.1.0"

# Models that were pickled before these modules stood in rooms name them by their former places.
sys.modules[f"{__name__}.layer"] = _layer
sys.modules[f"{__name__}.layout"] = _attach
sys.modules[f"{__name__}.selecting"] = _select

__all__ = [
    "JointPruningCallback",
    "Price",
    "TargetJoints",
    "MetricFloor",
    "Fewest",
    "GivenJoints",
    "GumbelSigmoid",
    "StraightThroughGumbelSigmoid",
    "HardConcrete",
    "StochasticGate",
    "Groups",
    "Skeleton",
    "JointSelection",
    "PruningRecord",
    "load_pruned",
    "compact",
    "save_compact",
    "from_compact",
    "export_model",
    "SelectJoints",
    "extraction_plan",
    "JointPruningLayer",
    "analyze_pruning",
    "evaluate_joints",
    "JointEvaluation",
    "compare_subsets",
    "stability",
    "consensus",
    "frontier",
    "random_masks",
    "__version__",
]
