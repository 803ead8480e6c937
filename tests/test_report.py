"""The report: its numbers are the record's, its figures build, its page is safe to open."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
import pytest

from lightning_jointprune.record import JointSelection, PruningRecord, Snapshot
from lightning_jointprune.report import (
    _for_script,
    _history_numbers,
    _history_rows,
    _importance_numbers,
    _part_numbers,
    _skeleton_numbers,
    plot_history,
    plot_importance,
    plot_skeleton,
    render,
    write_report,
)
from lightning_jointprune.skeletons import get_skeleton

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    '<a href="javascript:alert(3)">click</a>',
    "{{ 7 * 7 }} {% raw %} ${7*7} %{x}",
    "<b>bold</b> &lt;i&gt; \\u003cscript\\u003e \" ' ` <!--",
)


def snapshot(step: int, phase: str, probabilities: tuple[float, ...], **more: Any) -> Snapshot:
    known: dict[str, Any] = {
        "step": step,
        "epoch": step // 10,
        "progress": step / 100,
        "phase": phase,
        "temperature": 0.5,
        "price": 0.003,
        "expected_joints": sum(probabilities),
        "active_joints": sum(p > 0.5 for p in probabilities),
        "keep_probabilities": probabilities,
    }
    return Snapshot(**{**known, **more})


def record_of(skeleton: str, kept: tuple[int, ...], moments: int = 4, **more: Any) -> PruningRecord:
    names = more.pop("names", get_skeleton(skeleton).joints)
    final = tuple(0.99 if joint in kept else 0.01 for joint in range(len(names)))
    history = [
        snapshot(
            10 * moment,
            "warmup" if moment < moments / 4 else "search" if moment < moments / 2 else "final",
            tuple(0.9 + (p - 0.9) * moment / max(moments - 1, 1) for p in final),
            metrics={"val_acc": 0.5 + 0.3 * moment / moments, "val_loss": 2.0 - moment / moments},
        )
        for moment in range(moments)
    ]
    selection = JointSelection(
        kept,
        len(names),
        names,
        final,
        metrics={"val_acc": 0.863},
        metrics_all_joints={"val_acc": 0.851},
        metric="val_acc",
    )
    return PruningRecord(selection, tuple(history), skeleton, **more)


def unnamed(probabilities: tuple[float, ...], history: tuple[Snapshot, ...] = ()) -> PruningRecord:
    names = tuple(f"joint_{joint}" for joint in range(len(probabilities)))
    kept = tuple(joint for joint, p in enumerate(probabilities) if p > 0.5)
    return PruningRecord(JointSelection(kept, len(names), names, probabilities), history)


# --- numbers ----------------------------------------------------------------------------------


def test_joints_are_ranked_by_keep_probability() -> None:
    joints = _importance_numbers(unnamed((0.2, 0.99, 0.6)))
    assert [joint.number for joint in joints] == [1, 2, 0]
    assert [joint.probability for joint in joints] == [0.99, 0.6, 0.2]
    assert [joint.kept for joint in joints] == [True, True, False]


def test_near_ties_are_ranked_by_the_mean_over_the_search() -> None:
    history = (
        snapshot(0, "warmup", (0.9, 0.1, 0.9)),  # does not count
        snapshot(10, "search", (0.5, 0.8, 0.4)),
        snapshot(20, "search", (0.7, 0.8, 0.4)),
        snapshot(30, "final", (0.9, 0.1, 0.9)),  # nor does this
    )
    joints = _importance_numbers(unnamed((0.991, 0.989, 0.02), history))
    assert [joint.number for joint in joints] == [1, 0, 2]
    assert [joint.mean for joint in joints] == pytest.approx([0.8, 0.6, 0.4])


def test_body_parts_are_the_skeletons_and_count_kept_joints() -> None:
    parts = _part_numbers(_importance_numbers(record_of("coco_17", (0, 5, 6))))
    counts = {part.name: (part.kept, part.total) for part in parts}
    groups = get_skeleton("coco_17").groups
    assert {name: total for name, (_, total) in counts.items()} == {
        name: len(members) for name, members in groups.items()
    }
    assert (counts["head"], counts["torso"], counts["left_leg"]) == ((1, 5), (2, 4), (0, 2))


def test_body_parts_of_an_unnamed_skeleton_are_the_callbacks_groups() -> None:
    record = replace(unnamed((0.9, 0.1, 0.1)), settings={"groups": {"hand": [0, 1]}})
    parts = _part_numbers(_importance_numbers(record))
    assert [(part.name, part.kept, part.total) for part in parts] == [
        ("hand", 1, 2),
        ("other", 0, 1),
    ]


@pytest.mark.parametrize("groups", [None, "tied", {"a": 3}, {"a": ["x", 99, -1, None]}])
def test_groups_that_are_no_indices_are_no_body_parts(groups: Any) -> None:
    record = replace(unnamed((0.9, 0.1)), settings={"groups": groups})
    assert [part.name for part in _part_numbers(_importance_numbers(record))] == [""]


def test_body_parts_look_different() -> None:
    record = record_of("coco_wholebody_133", (0,))
    parts = _part_numbers(_importance_numbers(record))
    assert len({(part.colour, part.pattern) for part in parts}) == len(parts) == 17


def test_the_drawing_is_the_skeletons_and_tells_kept_edges() -> None:
    skeleton = get_skeleton("coco_17")
    drawing = _skeleton_numbers(record_of("coco_17", skeleton.edges[0]))
    assert drawing is not None
    assert tuple(zip(drawing.x, drawing.y, strict=True)) == skeleton.drawing
    assert drawing.kept_edges == skeleton.edges[:1]
    assert drawing.other_edges == skeleton.edges[1:]
    assert [joint.number for joint in drawing.joints] == list(range(17))


@pytest.mark.parametrize("name", [None, "of_a_later_version", "coco_17"])
def test_without_a_skeleton_that_fits_there_is_no_drawing(name: str | None) -> None:
    record = replace(unnamed((0.9, 0.1)), skeleton=name)
    assert _skeleton_numbers(record) is None
    assert plot_skeleton(record).data == ()


def test_history_is_ordered_by_rank_and_knows_its_phases() -> None:
    history = (
        snapshot(0, "warmup", (0.9, 0.9), metrics={"val_acc": 0.5, "joint_pruning/ratio": 0.1}),
        snapshot(10, "search", (0.12345, 0.9), price=float("nan")),
        snapshot(30, "final", (0.1, 0.95)),
        snapshot(40, "final", (0.1, 0.95), metrics={"val_acc": 0.123456}),
    )
    numbers = _history_numbers(unnamed((0.1, 0.95), history))
    assert numbers is not None
    assert numbers.heat == [[0.9, 0.9, 0.95, 0.95], [0.9, 0.123, 0.1, 0.1]]
    assert numbers.steps == (0, 10, 30, 40)
    assert numbers.active == [2, 1, 1, 1]
    assert numbers.price == [0.003, None, 0.003, 0.003]
    assert numbers.metrics == {"val_acc": [0.5, None, None, 0.1235]}
    assert numbers.phases == (("warmup", 0, 5), ("search", 5, 20), ("final", 20, 40))


def test_metrics_of_different_scales_are_in_different_rows() -> None:
    numbers = _history_numbers(record_of("coco_17", (0,)))
    assert numbers is not None
    assert [list(row) for row in _history_rows(numbers)] == [
        ["expected joints", "active joints"],
        ["val_acc"],
        ["val_loss"],
        ["price"],
        ["temperature"],
    ]


def test_a_figures_json_cannot_end_the_script_it_is_in() -> None:
    figure = go.Figure(layout_title_text="".join(HOSTILE))
    text = _for_script(figure)
    assert not {"<", ">", "&"} & set(text)
    assert json.loads(text)["layout"]["title"]["text"] == "".join(HOSTILE)


@pytest.mark.parametrize("moments", [0, 1])
def test_there_is_no_history_of_one_moment(moments: int) -> None:
    record = record_of("coco_17", (0,), moments)
    assert _history_numbers(record) is None
    assert plot_history(record).data == ()


# --- figures ----------------------------------------------------------------------------------


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
    assert figure.layout.yaxis.autorange == "reversed"
    assert figure.layout.yaxis.scaleanchor == "x"


@pytest.mark.parametrize("plot", [plot_importance, plot_skeleton, plot_history])
@pytest.mark.parametrize("skeleton", ["mediapipe_hand", "mediapipe_holistic"])
def test_figures_build_with_names_as_plain_text(plot: Any, skeleton: str) -> None:
    joints = get_skeleton(skeleton).joints
    figure = plot(record_of(skeleton, (0, 1), names=(*HOSTILE, *joints[5:])))
    assert isinstance(figure, go.Figure)
    text = figure.to_json()
    assert figure.data
    assert not re.search(r"<(img|script|a |!--)", text)


# --- page -------------------------------------------------------------------------------------


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


# --- in a browser -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    path = next(found, None)
    if path is None:
        pytest.skip("needs Chromium on the PATH, as in `apt install chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


def opened(
    browser: Browser, record: PruningRecord, folder: Path, width: int
) -> tuple[Page, list[str]]:
    """The record's page when all its figures are drawn, and what it must not have done."""
    from playwright.sync_api import expect

    page = browser.new_page(viewport={"width": width, "height": 900})
    wrongs: list[str] = []
    page.on("dialog", lambda dialog: (wrongs.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: wrongs.append(str(error)))
    page.on("console", lambda message: wrongs.append(message.text))
    address = write_report(record, folder).as_uri()
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith((address, "data:")) else wrongs.append(request.url)
        ),
    )
    page.goto(address)
    figures = page.locator(".figure").count()
    expect(page.locator(".figure:has(.main-svg)")).to_have_count(figures)
    return page, wrongs


@pytest.mark.browser
def test_hostile_names_are_shown_and_run_nothing(browser: Browser, tmp_path: Path) -> None:
    joints = get_skeleton("coco_17").joints
    record = record_of("coco_17", (0, 1, 2), names=(*HOSTILE, *joints[5:]))
    record = replace(
        record,
        selection=replace(record.selection, metric=HOSTILE[0], metrics={HOSTILE[0]: 0.9}),
        history=tuple(replace(s, metrics=dict.fromkeys(HOSTILE, 0.5)) for s in record.history),
        settings={name: name for name in HOSTILE},
        versions={name: name for name in HOSTILE},
    )
    page, wrongs = opened(browser, record, tmp_path, 1280)
    page.evaluate("Plotly.Fx.hover('skeleton', [{curveNumber: 3, pointNumber: 2}])")
    page.evaluate("Plotly.Fx.hover('importance', [{curveNumber: 0, pointNumber: 0}])")
    page.evaluate("Plotly.Fx.hover('history', [{xval: 0, yval: 0}], ['xy'])")
    for figure, name in (("skeleton", 2), ("importance", 0), ("history", 0)):
        hover = page.locator(f"#{figure} .hoverlayer .hovertext").first
        assert HOSTILE[name][:18] in (hover.text_content() or "")
    table = page.locator("#joints").inner_text()
    assert [name for name in HOSTILE if name not in table] == []
    assert HOSTILE[0] in page.locator("#importance .ytick").first.text_content()
    assert page.locator("main img, main script, main a").count() == 0
    assert wrongs == []
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window_and_all_figures_are_drawn(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    page, wrongs = opened(browser, record_of("mediapipe_hands", (1, 30)), tmp_path, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#skeleton .scatterlayer .point").count() == 42
    assert page.locator("#importance .barlayer .point").count() == 42
    assert page.locator("#history .heatmaplayer image").count() == 1
    assert wrongs == []
    page.close()


@pytest.mark.browser
def test_543_joints_stay_within_a_page_that_can_be_scrolled(
    browser: Browser, tmp_path: Path
) -> None:
    record = record_of("mediapipe_holistic", tuple(range(0, 543, 30)), moments=20)
    page, wrongs = opened(browser, record, tmp_path, 1280)
    assert page.evaluate("document.documentElement.scrollHeight") < 8000
    assert page.locator("#importance .barlayer .point").count() == 543
    assert wrongs == []
    page.close()


@pytest.mark.browser
def test_the_table_can_be_searched_and_body_parts_hidden(browser: Browser, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    page, wrongs = opened(browser, record_of("coco_17", (5, 7)), tmp_path, 1280)
    rows = page.locator("#joints tbody tr:visible")
    assert rows.count() == 17
    page.fill("#find", "left keep")
    assert rows.all_inner_texts()[0].split()[1:3] == ["5", "left_shoulder"]
    assert rows.count() == 2
    page.click("[data-trace='0']")
    expect(page.locator("#importance .barlayer .point")).to_have_count(12)
    page.click("#copy")
    expect(page.locator("#said")).not_to_be_empty()
    assert json.loads(page.locator("#indices").text_content() or "") == [5, 7]
    assert wrongs == []
    page.close()
