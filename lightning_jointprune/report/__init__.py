"""Makes the report of a run: a record to numbers, numbers to Plotly figures, figures to one page.

Names that draw are looked up when they are asked for, so that words about a run load no Plotly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from lightning_jointprune.record.record import REPORT_FILE
from lightning_jointprune.report.curve import Point

if TYPE_CHECKING:
    from lightning_jointprune.report.figures import (
        for_paper,
        plot_classes,
        plot_comparison,
        plot_frontier,
        plot_history,
        plot_importance,
        plot_skeleton,
    )
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

_PAGES = ("write_report", "write_comparison", "render")  # names of `page`; the others of `figures`

if not TYPE_CHECKING:  # a type checker reads the imports above, and so finds a misspelt name

    def __getattr__(name: str) -> object:
        """Return a public name of the modules that draw."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{'page' if name in _PAGES else 'figures'}"), name)

    def __dir__() -> list[str]:
        """Return all names, those that are not loaded yet, too."""
        return sorted({*globals(), *__all__})
