"""The tables of a study: CSV, LaTeX for a paper, and a page with the frontier and the joints."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import plotly.graph_objects as go

from examples.autsl.data.statistics import Comparison, Row, kept_of, unfinished_of
from examples.autsl.study.selections import Cell
from lightning_jointprune.record.files import write_text
from lightning_jointprune.record.intervals import Estimate
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.report import Point, plot_frontier
from lightning_jointprune.report.page import fill_page


class Published(NamedTuple):
    """Quote what others reached on AUTSL's signer-independent test part.

    Attributes:
        model: what it is, and what it sees.
        joints: how many of them it sees; empty of videos.
        seeds: how many runs the value is the mean of; empty where it is not said.
        value: top-1 in per cent.
        source: who reports it.
        link: where to read it.
    """

    model: str
    joints: str
    seeds: str
    value: float
    source: str
    link: str


BASELINE = ("Sincan & Keles 2020, arXiv:2008.00932", "https://arxiv.org/abs/2008.00932")
SAM_SLR = ("Jiang et al. 2021, arXiv:2103.08833", "https://arxiv.org/abs/2103.08833")
NOTES = "56fbe265496df9500ec76926b3d59a99d0d7aa68/EXPERIMENT_PROVENANCE.md"
RERUN = (
    "public re-run, notes in hatch5o6/asl_classification on GitHub",
    f"https://github.com/hatch5o6/asl_classification/blob/{NOTES}",
)
PUBLISHED = (
    Published("baseline: CNN, FPM, BLSTM, attention; RGB and depth", "", "", 62.02, *BASELINE),
    Published("SAM-SLR; RGB", "", "", 98.42, *SAM_SLR),
    Published("SAM-SLR; RGB and depth", "", "", 98.53, *SAM_SLR),
    Published("2-layer BERT, all joints", "543", "3", 83.40, *RERUN),
    Published("2-layer BERT, hand-picked", "50", "5", 87.04, *RERUN),
    Published("2-layer BERT, learned", "48", "3", 89.50, *RERUN),
    Published("2-layer BERT, learned", "24", "3", 87.97, *RERUN),
    Published("2-layer BERT, learned", "10", "3", 84.47, *RERUN),
)
LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {special: f"\\{special}" for special in "&%$#_{}"}
)
HEAD = ("encoder", "selection", "joints", "seeds")


def write_tables(
    rows: Sequence[Row],
    tests: Sequence[Comparison],
    metrics: Sequence[str],
    folder: Path,
    cells: Sequence[Cell] = (),
    published: Sequence[Published] = (),
) -> None:
    """Write `study.csv`, `tests.csv`, `study.tex` and `study.html`, each whole or not at all.

    A page that cannot be written costs a warning, never the study.

    Args:
        rows: of the tables.
        tests: of the selections.
        metrics: names of the values of a row; the first is that of the frontier.
        folder: of the study.
        cells: those whose joints and reports the page shows.
        published: what others reached on the same data.
    """
    write_text(folder / "study.csv", _rows_csv(rows, metrics))
    write_text(folder / "tests.csv", _tests_csv(tests))
    write_text(folder / "study.tex", _latex(rows, metrics, published))
    try:
        write_text(folder / "study.html", _page(rows, tests, metrics, folder, cells, published))
    except Exception as error:  # the models are trained: no failure here may look like theirs
        warnings.warn(
            f"The page could not be written to {folder / 'study.html'}: {error!r}. The cells and "
            "the other tables are not affected. The same study with --only -1 writes it again.",
            stacklevel=2,
        )


def _page(
    rows: Sequence[Row],
    tests: Sequence[Comparison],
    metrics: Sequence[str],
    folder: Path,
    cells: Sequence[Cell],
    published: Sequence[Published],
) -> str:
    kept = kept_of(cells, folder)
    return fill_page(
        "study.html",
        {"frontier": _frontier(rows, metrics[0])},
        folder=Path(__file__).parent,
        rows=rows,
        tests=tests,
        metrics=metrics,
        published=published,
        kept=[(row, kept[row[:3]]) for row in rows if row[:3] in kept],
        unfinished=unfinished_of(cells, folder),
    )


def _frontier(rows: Sequence[Row], metric: str) -> go.Figure:
    """Return the first metric against joints as a figure; without data below two rows."""
    points = [
        Point(joints, values[0].value, f"{encoder}, {selection}", values[0].low, values[0].high)
        for encoder, selection, joints, _, values, _ in rows
    ]
    # A figure has its metric from a record; this one adds no point.
    named = PruningRecord(JointSelection((), 1, ("joint",), (0.0,), metric=metric))
    figure = plot_frontier({point.label: named for point in points}, points)
    figure.update_layout(height=380 + 12 * len(figure.data))  # its legend is above it
    # 5 and 543 joints in one figure.
    figure.update_xaxes(type="log", tickvals=sorted({point.joints for point in points}))
    return figure


def _csv(lines: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _rows_csv(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    ends = [f"{metric}{end}" for metric in metrics for end in ("", " low", " high")]
    signers = ["worst signer", "mean signer", "best signer"]
    lines: list[Sequence[object]] = [[*HEAD, *ends, *signers]]
    for row in rows:
        values = [end for value in row.values for end in value]
        lines.append([*row[:4], *values, *(row.signers or [""] * 3)])
    return _csv(lines)


def _tests_csv(tests: Sequence[Comparison]) -> str:
    head = ["encoder", "first", "second", "over", "difference", "low", "high", "p", "p Holm"]
    lines: list[Sequence[object]] = [head]
    for test in tests:
        found = test.result
        names = [test.encoder, found.first, found.second, test.over]
        lines.append([*names, *found.difference, found.p, found.p_holm])
    return _csv(lines)


def _latex(rows: Sequence[Row], metrics: Sequence[str], others: Sequence[Published]) -> str:
    """Return a `booktabs` table in per cent; intervals as ±, where there are several seeds.

    The published rows are apart, each with its source in place of the metrics that it lacks.
    """
    lines = [
        rf"\begin{{tabular}}{{llrr{'r' * (len(metrics) + 1)}}}",
        r"\toprule",
        " & ".join([*(name.capitalize() for name in HEAD), *metrics, "Signers"]) + r" \\",
        r"\midrule",
    ]
    for row in rows:
        ends = row.signers and f"{_share(row.signers[0])}--{_share(row.signers[2])}"
        names = [_escaped(row.encoder), _escaped(row.selection), str(row.joints), str(row.seeds)]
        lines.append(" & ".join([*names, *map(_per_cent, row.values), ends or ""]) + r" \\")
    lines += [r"\midrule"] if others else []
    for published in others:
        model = rf"\multicolumn{{2}}{{l}}{{{_escaped(published.model)}}}"
        source = rf"\multicolumn{{{len(metrics)}}}{{l}}{{{_escaped(published.source)}}}"
        cells = [model, published.joints, published.seeds, f"{published.value:.2f}", source]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _escaped(text: str) -> str:
    r"""Return a text whose special characters LaTeX prints.

    >>> print(_escaped(r"openhands_27, 5 % of ~ \data"))
    openhands\_27, 5 \% of \textasciitilde{} \textbackslash{}data
    """
    return text.translate(LATEX)


def _per_cent(value: Estimate) -> str:
    half = "" if value.high is None else rf" $\pm$ {_share(value.high - value.value)}"
    return f"{_share(value.value)}{half}"


def _share(value: float) -> str:
    return f"{100 * value:.1f}"
