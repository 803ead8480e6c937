"""Figures to one HTML page, which needs no network."""

from __future__ import annotations

import json
import re
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from lightning_jointprune.record import PathLike, PruningRecord, write_text
from lightning_jointprune.report.figures import plot_history, plot_importance, plot_skeleton
from lightning_jointprune.report.numbers import importance_numbers, part_numbers

REPORT_FILE = "joint_importance.html"


def write_report(record: PruningRecord, path: PathLike, title: str | None = None) -> Path:
    """Write the report as one HTML file that needs nothing else.

    Args:
        record: what the run learned.
        path: the file, or a folder for `joint_importance.html`.
        title: the data set or task, for the sentence at the top.

    Raises:
        OSError: it cannot be written.
    """
    target = Path(path) / REPORT_FILE if Path(path).is_dir() else Path(path)
    write_text(target, render(record, title))
    return target


def render(record: PruningRecord, title: str | None = None) -> str:
    """The report as HTML: the same record gives the same text."""
    joints = importance_numbers(record)
    plots = {"skeleton": plot_skeleton, "importance": plot_importance, "history": plot_history}
    figures = {name: plot(record) for name, plot in plots.items()}
    loader = PackageLoader("lightning_jointprune.report")
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return pages.get_template("report.html").render(
        record=record,
        selection=record.selection,
        sentence=record.selection.sentence(title),
        joints=joints,
        parts=part_numbers(joints),
        figures={name: _for_script(figure) for name, figure in figures.items() if figure.data},
        plotly=Markup(get_plotlyjs()),
        gate=re.sub(r"\W|_", "", json.dumps(record.settings.get("gate"))).lower(),
        settings={name: json.dumps(value) for name, value in record.settings.items()},
    )


def _for_script(figure: go.Figure) -> Markup:
    """A figure's JSON in which no character can end the script element that it is in."""
    text = figure.to_json(engine="json")
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
