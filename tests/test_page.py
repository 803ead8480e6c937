"""What the page says, and what it leaves out."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from lightning_jointprune.record import PruningRecord
from lightning_jointprune.report import render, write_report
from lightning_jointprune.report.page import _for_script
from tests.records import HOSTILE, record_of, unnamed


def test_a_figures_json_cannot_end_the_script_it_is_in() -> None:
    figure = go.Figure(layout_title_text="".join(HOSTILE))
    text = _for_script(figure)
    assert not {"<", ">", "&"} & set(text)
    assert json.loads(text)["layout"]["title"]["text"] == "".join(HOSTILE)


def text_of(page: str) -> str:
    """The words of the page's body."""
    body = page.partition("<body>")[2].partition('<script type="application/json"')[0]
    return " ".join(re.sub(r"<[^>]+>", " ", body).replace("\u00a0", " ").split())


def test_the_answer_is_on_top_with_the_runs_figures() -> None:
    page = render(record_of("mediapipe_hands", tuple(range(12))), "AUTSL")
    text = text_of(page)
    assert "With 12 of 42 joints the model reaches val_acc 0.863 on AUTSL" in text
    assert "no worse than with all joints at the end of the warm-up (0.863 against 0.851)" in text
    assert text.index("71.4 % reduction") < text.index("The skeleton") < text.index("Importance")
    assert "Every joint is decided." in text


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    record = record_of("coco_17", (1, 2))
    first = write_report(record, tmp_path / "a.html").read_bytes()
    again = PruningRecord.from_json(record.to_json())
    assert write_report(again, tmp_path / "b.html").read_bytes() == first


def test_a_folder_gets_the_report_under_its_usual_name(tmp_path: Path) -> None:
    path = write_report(unnamed((0.9, 0.1)), tmp_path)
    assert path == tmp_path / "joint_importance.html"
    assert path.stat().st_size < 8e6


def test_sections_without_data_are_absent() -> None:
    page = render(unnamed((0.9, 0.1)))
    text = text_of(page)
    for absent in ("The skeleton", "How it was found", "Settings and versions", "body part"):
        assert absent not in text
    assert "no metric was measured with them" in text
    assert "No metric was measured with the kept joints." in text
    assert 'id="skeleton-data"' not in page
    assert 'id="importance-data"' in page


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("warmup", "Nothing is decided yet: the run is in its warm-up, with all 17 joints in use."),
        ("search", "So far 2 of 17 joints would be kept; the search goes on."),
    ],
)
def test_an_unfinished_run_is_not_presented_as_a_result(phase: str, words: str) -> None:
    text = text_of(render(record_of("coco_17", (0, 1), phase=phase)))
    assert words in text
    assert "The run has not reached its final phase." in text
    assert "reaches val_acc" not in text
    assert "load_pruned" not in text


def test_undecided_joints_are_named() -> None:
    text = text_of(render(unnamed((0.99, 0.62, 0.01))))
    assert "1 of 3 joints is undecided" in text
    assert "joint_1 (0.62)" in text


def test_a_worse_metric_is_said() -> None:
    record = record_of("coco_17", (0,))
    worse = replace(record, selection=replace(record.selection, metrics={"val_acc": 0.7}))
    assert "val_acc is worse than with all joints" in text_of(render(worse))


@pytest.mark.parametrize(
    ("gate", "paper"),
    [
        (None, "1611.00712"),
        ({"GumbelSigmoid": {}}, "1611.01144"),
        ("hard_concrete", "1712.01312"),
        ("HardConcrete(beta=0.67)", "1712.01312"),
        ({"StochasticGate": {"sigma": 0.5}}, "1810.04247"),
    ],
)
def test_the_gates_own_paper_is_cited(gate: Any, paper: str) -> None:
    record = replace(unnamed((0.9, 0.1)), settings={"gate": gate})
    cited = re.findall(r"arXiv:(1\d{3}\.\d{5})", text_of(render(record)))
    assert paper in cited
    assert len(cited) == (2 if paper.startswith("1611") else 1)


def test_543_joints_and_200_snapshots_stay_small_and_quick(tmp_path: Path) -> None:
    record = record_of("mediapipe_holistic", tuple(range(24)), moments=200)
    start = time.perf_counter()
    path = write_report(record, tmp_path)
    assert path.stat().st_size < 8e6
    assert time.perf_counter() - start < 20  # 1 s on an idle machine
