"""Holds what a run or an evaluation left: plain data, JSON in and out."""

from __future__ import annotations

from lightning_jointprune.record.evaluation import EVALUATION_FILE, JointEvaluation
from lightning_jointprune.record.record import REPORT_FILE, CurvePoint, PruningRecord, Snapshot
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.record.stored import RECORD_FILE, SELECTION_FILE

__all__ = [
    "EVALUATION_FILE",
    "RECORD_FILE",
    "REPORT_FILE",
    "SELECTION_FILE",
    "CurvePoint",
    "JointEvaluation",
    "JointSelection",
    "PruningRecord",
    "Snapshot",
]
