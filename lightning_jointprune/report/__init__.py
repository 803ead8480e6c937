"""The report of a run: a record to numbers, numbers to Plotly figures, figures to one page."""

from __future__ import annotations

from lightning_jointprune.record.record import REPORT_FILE
from lightning_jointprune.report.figures import (
    for_paper,
    plot_classes,
    plot_comparison,
    plot_frontier,
    plot_history,
    plot_importance,
    plot_skeleton,
)
from lightning_jointprune.report.frontier import Point
from lightning_jointprune.report.page import render, write_comparison, write_report

__all__ = [
    "plot_importance",
    "plot_skeleton",
    "plot_history",
    "plot_frontier",
    "Point",
    "plot_classes",
    "plot_comparison",
    "for_paper",
    "write_report",
    "write_comparison",
    "render",
    "REPORT_FILE",
]
