"""Test that figures show the numbers and build, whatever the names are."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.report import (
    for_paper,
    plot_classes,
    plot_comparison,
    plot_frontier,
    plot_history,
    plot_importance,
    plot_skeleton,
)
from lightning_jointprune.report.figures import REMOVED, _history_rows
from lightning_jointprune.report.numbers import History, history_numbers, importance_numbers
from lightning_jointprune.skeletons import get_skeleton
from tests.records import HOSTILE, compared, evaluated, record_of, unnamed


def hovers_of(figure: go.Figure) -> list[Any]:
    """Return what a figure says of each joint at the pointer."""
    known = (trace.customdata for trace in figure.data if trace.customdata is not None)
    return [row for rows in known for row in rows]


def history_of(record: PruningRecord) -> History | None:
    return history_numbers(record, importance_numbers(record))


def test_metrics_of_different_scales_are_in_different_rows() -> None:
    numbers = history_of(record_of("coco_17", (0,)))
    assert numbers is not None
    assert [list(row) for row in _history_rows(numbers)] == [
        ["expected joints", "active joints"],
        ["val_acc"],
        ["val_loss"],
        ["price"],
        ["temperature"],
    ]


def test_importance_shows_every_joint_once_with_its_value() -> None:
    record = record_of("mediapipe_hands", (3, 30))
    figure = plot_importance(record)
    *bars, values = figure.data
    shown = {point[1]: x for bar in bars for point, x in zip(bar.customdata, bar.x)}  # noqa: B905
    assert shown == dict(enumerate(record.selection.keep_probabilities))
    assert sorted(y for bar in bars for y in bar.y) == list(range(42))
    assert [text.strip() for text in values.text] == ["0.99"] * 2 + ["0.01"] * 40
    assert values.cliponaxis is False


def test_bars_are_of_costs_once_these_were_measured_with_their_intervals() -> None:
    record = record_of("coco_17", (3, 10))
    *bars, values = plot_importance(record, evaluated(record)).data
    shown = {
        point[1]: (x, y)
        for bar in bars
        for point, x, y in zip(bar.customdata, bar.x, bar.y, strict=True)
    }
    assert shown[10] == (pytest.approx(0.2), 0)
    assert shown[3] == (pytest.approx(0.1), 1)
    assert {x for joint, (x, _) in shown.items() if joint not in (3, 10)} == {None}
    whiskers = [bar.error_x for bar in bars if bar.error_x.array is not None]
    assert [end for of in whiskers for end in of.array] == pytest.approx([0.05, 0.05])
    assert [text.strip() for text in values.text] == ["0.200", "0.100"]
    assert list(values.x) == pytest.approx([0.25, 0.15])  # beside the whiskers
    unknown = plot_importance(record, replace(evaluated(record), drop={}, per_class_drop={}))
    assert unknown.layout.xaxis.title.text == "keep probability"


def test_the_cost_of_dropping_a_joint_is_in_its_hover() -> None:
    record = record_of("coco_17", (3, 10))
    names = record.selection.joint_names
    for figure in (
        plot_importance(record, evaluated(record)),
        plot_skeleton(record, evaluated(record)),
    ):
        hovers = {p[0]: p[5] for p in hovers_of(figure)}
        assert hovers[names[3]] == "<br>dropping it costs 0.100 [0.050, 0.150]"
        assert hovers[names[4]] == ""
        assert "%{customdata[5]}" in figure.data[-2].hovertemplate


def test_the_stand_ins_of_a_kept_joint_are_in_its_hover() -> None:
    record = record_of("coco_17", (3, 10), names=(*HOSTILE, *"abcdefghijkl"))
    selection = replace(record.selection, stand_ins={HOSTILE[3]: {HOSTILE[0]: 0.97, "a": 0.6}})
    for plot in (plot_importance, plot_skeleton):
        figure = plot(replace(record, selection=selection))
        said = {p[1]: p[6] for p in hovers_of(figure)}
        assert said[3] == "<br>or &lt;img src=x onerror=alert(1)&gt;: 0.97, a: 0.60"
        assert said[10] == ""
        assert "%{customdata[6]}" in figure.data[-2].hovertemplate


def test_a_training_loss_has_a_row_of_its_own() -> None:
    record = record_of("coco_17", (0,))
    history = tuple(replace(note, loss=1.0) for note in record.history)
    numbers = history_of(replace(record, history=history))
    assert numbers is not None
    assert list(_history_rows(numbers)[3]) == ["training loss"]


def test_the_heat_map_of_classes_has_what_each_loses_without_each_joint() -> None:
    record = record_of("coco_17", (3, 10))
    figure = plot_classes(evaluated(record))
    (heat,) = figure.data
    assert [list(row) for row in heat.z] == [[0.2, 0.1], [0.1333, 0.06667], [0.06667, 0.03333]]
    assert list(figure.layout.yaxis.ticktext) == ["2", "1", "0"]
    assert figure.layout.meta["joints"] == [10, 3]
    assert plot_classes(replace(evaluated(record), per_class={}, per_class_drop={})).data == ()


FIGURES = {  # every kind, and those with nothing to show
    "importance": lambda: plot_importance(record_of("coco_17", (5, 7))),
    "skeleton": lambda: plot_skeleton(record_of("coco_17", (5, 7))),
    "history": lambda: plot_history(record_of("coco_17", (5, 7))),
    "classes": lambda: plot_classes(evaluated(record_of("coco_17", (5, 7)))),
    "comparison": lambda: plot_comparison({n: record_of("coco_17", (5, 7)) for n in "ab"}),
    "frontier": lambda: plot_frontier(compared({2: 0.8, 5: 0.9}, 5)),
    "no skeleton": lambda: plot_skeleton(unnamed((0.9, 0.1))),
    "no history": lambda: plot_history(unnamed((0.9, 0.1))),
    "no frontier": lambda: plot_frontier(unnamed((0.9, 0.1))),
    "for a paper": lambda: for_paper(plot_importance(record_of("coco_17", (5, 7)))),
}


@pytest.mark.parametrize("kind", FIGURES)
def test_no_figure_has_a_button_that_uploads_or_selects(kind: str) -> None:
    assert set(FIGURES[kind]().layout.modebar.remove) == set(REMOVED)


def test_many_classes_fit_a_page() -> None:
    record = record_of("coco_17", (3, 10))
    figure = plot_classes(evaluated(record, classes=226))
    assert figure.layout.height < 900
    assert figure.layout.yaxis.showticklabels is False


@pytest.mark.parametrize("width", [88.0, 180.0])
def test_a_figure_for_a_paper_has_its_columns_width_and_small_text(width: float) -> None:
    record = record_of("mediapipe_holistic", (3, 10))
    screen = plot_importance(record)
    for figure in map(
        for_paper, (screen, plot_skeleton(record), plot_history(record)), [width] * 3
    ):
        assert figure.layout.width == round(width / 25.4 * 96)
        assert figure.layout.height <= 230 / 25.4 * 96
        assert figure.layout.font.size * 0.75 == pytest.approx(7)  # points
        assert {note.font.size for note in figure.layout.annotations} <= {figure.layout.font.size}
    assert screen.layout.width is None


@pytest.mark.browser
def test_a_figure_is_saved_as_a_page_of_its_columns_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if path is None or find_spec("kaleido") is None:
        pytest.skip("needs Kaleido and Chromium: `pip install kaleido`, `apt install chromium`")
    monkeypatch.setenv("BROWSER_PATH", path)
    file = tmp_path / "skeleton.pdf"
    for_paper(plot_skeleton(record_of("coco_17", (3, 10)))).write_image(file)
    width, height = re.findall(rb"/MediaBox ?\[0 0 ([\d.]+) ([\d.]+)\]", file.read_bytes())[0]
    assert float(width) / 72 * 25.4 == pytest.approx(88, abs=0.5)
    assert float(height) / 72 * 25.4 < 230


def test_the_skeleton_fills_kept_joints_and_leaves_dropped_ones_hollow() -> None:
    figure = plot_skeleton(record_of("coco_17", (3, 10)))
    dropped, kept = figure.data[-2:]
    assert [point[1] for point in kept.customdata] == [3, 10]
    assert kept.marker.symbol is None
    assert len(dropped.x) == 15
    assert dropped.marker.symbol == "circle-open"
    assert figure.layout.yaxis.range[0] > max(y for trace in (kept, dropped) for y in trace.y)
    assert figure.layout.yaxis.scaleanchor == "x"


def test_the_figures_of_an_evaluation_show_names_as_plain_text() -> None:
    joints = get_skeleton("coco_17").joints
    record = record_of("coco_17", (0, 1, 2), names=(*HOSTILE, *joints[5:]))
    evaluation = evaluated(record)
    for figure in (plot_classes(evaluation), plot_importance(record, evaluation)):
        text = json.dumps(figure.to_dict(), default=list)
        assert not re.search(r"<(img|script|a |!--)", text)


@pytest.mark.parametrize("plot", [plot_importance, plot_skeleton, plot_history])
@pytest.mark.parametrize("skeleton", ["mediapipe_hand", "mediapipe_holistic"])
def test_figures_build_with_names_as_plain_text(plot: Any, skeleton: str) -> None:
    joints = get_skeleton(skeleton).joints
    figure = plot(record_of(skeleton, (0, 1), names=(*HOSTILE, *joints[5:])))
    assert isinstance(figure, go.Figure)
    text = json.dumps(figure.to_dict(), default=list)  # `to_json` escapes on its own
    assert figure.data
    assert not re.search(r"<(img|script|a |!--)", text)
