"""Figures show the numbers and build, whatever the names are."""

from __future__ import annotations

import json
import re
from typing import Any

import plotly.graph_objects as go
import pytest

from lightning_jointprune.report import plot_history, plot_importance, plot_skeleton
from lightning_jointprune.report.figures import _history_rows
from lightning_jointprune.report.numbers import history_numbers
from lightning_jointprune.skeletons import get_skeleton
from tests.records import HOSTILE, record_of


def test_metrics_of_different_scales_are_in_different_rows() -> None:
    numbers = history_numbers(record_of("coco_17", (0,)))
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
    shown = {point[1]: x for bar in figure.data for point, x in zip(bar.customdata, bar.x)}  # noqa: B905
    assert shown == dict(enumerate(record.selection.keep_probabilities))
    assert sorted(y for bar in figure.data for y in bar.y) == list(range(42))


def test_the_skeleton_fills_kept_joints_and_leaves_dropped_ones_hollow() -> None:
    figure = plot_skeleton(record_of("coco_17", (3, 10)))
    dropped, kept = figure.data[-2:]
    assert [point[1] for point in kept.customdata] == [3, 10]
    assert kept.marker.symbol is None
    assert len(dropped.x) == 15
    assert dropped.marker.symbol == "circle-open"
    assert figure.layout.yaxis.range[0] > max(y for trace in (kept, dropped) for y in trace.y)
    assert figure.layout.yaxis.scaleanchor == "x"


@pytest.mark.parametrize("plot", [plot_importance, plot_skeleton, plot_history])
@pytest.mark.parametrize("skeleton", ["mediapipe_hand", "mediapipe_holistic"])
def test_figures_build_with_names_as_plain_text(plot: Any, skeleton: str) -> None:
    joints = get_skeleton(skeleton).joints
    figure = plot(record_of(skeleton, (0, 1), names=(*HOSTILE, *joints[5:])))
    assert isinstance(figure, go.Figure)
    text = json.dumps(figure.to_dict(), default=list)  # `to_json` escapes on its own
    assert figure.data
    assert not re.search(r"<(img|script|a |!--)", text)
