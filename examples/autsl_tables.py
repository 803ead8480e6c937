"""The tables of a study: CSV, LaTeX for a paper, HTML beside the published figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment

from lightning_jointprune.files import write_text
from lightning_jointprune.intervals import Estimate

# What others reached on AUTSL, signer-independent test, top-1 in per cent.
PUBLISHED = (
    ("baseline: CNN, FPM, BLSTM, attention; RGB and depth", "", 62.02, "Sincan & Keles 2020"),
    ("SAM-SLR; RGB", "", 98.42, "Jiang et al. 2021, arXiv:2103.08833"),
    ("SAM-SLR; RGB and depth", "", 98.53, "Jiang et al. 2021, arXiv:2103.08833"),
    ("2-layer BERT, all joints", "543", 83.40, "public re-run"),
    ("2-layer BERT, hand-picked", "50", 87.04, "public re-run"),
    ("2-layer BERT, learned", "48", 89.50, "public re-run"),
    ("2-layer BERT, learned", "24", 87.97, "public re-run"),
    ("2-layer BERT, learned", "10", 84.47, "public re-run"),
)
CONCLUSION = (
    "The learned 48 joints share 42 with the hand-picked set, so that row does not show that 48 "
    "joints are not needed; that rests on the rows with 24 and 10 joints. A kept joint is one that "
    "this model needs on this data: of several that say the same, a few are kept."
)
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Joints that are needed on AUTSL</title>
<style>body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}
td,th{padding:.3rem .8rem;text-align:right;border-bottom:1px solid #ccc}
td:first-child,th:first-child{text-align:left}</style>
<h1>How many joints are needed</h1>
<p>Means over seeds on the test part, with 95 % intervals where there are two seeds or more.</p>
<table><tr><th>encoder<th>joints<th>seeds{% for m in metrics %}<th>{{ m }}{% endfor %}</tr>
{% for row in rows %}<tr><td>{{ row.encoder }}<td>{{ row.joints }}<td>{{ row.seeds }}
{%- for value in row.values %}<td>{{ value }}{% endfor %}</tr>
{% endfor %}</table>
<h2>Published on AUTSL</h2>
<table><tr><th>model<th>joints<th>top-1, %<th>source</tr>
{% for model, joints, value, source in published %}<tr><td>{{ model }}<td>{{ joints }}
<td>{{ '%.2f' % value }}<td>{{ source }}</tr>
{% endfor %}</table>
<p>{{ conclusion }}</p></html>
"""


class Row(NamedTuple):
    """One encoder with one number of joints.

    Args:
        encoder: its name.
        joints: number of kept joints.
        seeds: how many runs.
        values: the mean of each metric, a share from 0 to 1.
    """

    encoder: str
    joints: int
    seeds: int
    values: tuple[Estimate, ...]


def write_tables(rows: Sequence[Row], metrics: Sequence[str], folder: Path) -> None:
    """Write `study.csv`, `study.tex` and `study.html`, each whole or not at all."""
    write_text(folder / "study.csv", _csv(rows, metrics))
    write_text(folder / "study.tex", _latex(rows, metrics))
    page = Environment(autoescape=True).from_string(PAGE)
    html = page.render(rows=rows, metrics=metrics, published=PUBLISHED, conclusion=CONCLUSION)
    write_text(folder / "study.html", html)


def _csv(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = [f"{metric}{end}" for metric in metrics for end in ("", " low", " high")]
    writer.writerow(["encoder", "joints", "seeds", *ends])
    for row in rows:
        writer.writerow([row.encoder, row.joints, row.seeds, *(x for v in row.values for x in v)])
    return text.getvalue()


def _latex(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """A `booktabs` table in per cent; intervals as ±, where there are several seeds."""
    lines = [
        rf"\begin{{tabular}}{{lrr{'r' * len(metrics)}}}",
        r"\toprule",
        " & ".join(["Encoder", "Joints", "Seeds", *metrics]) + r" \\",
        r"\midrule",
    ]
    for row in rows:
        cells = [row.encoder, str(row.joints), str(row.seeds), *map(_per_cent, row.values)]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _per_cent(value: Estimate) -> str:
    half = "" if value.high is None else rf" $\pm$ {100 * (value.high - value.value):.1f}"
    return f"{100 * value.value:.1f}{half}"
