"""Test the report as people open it, in a browser and as a file."""

from __future__ import annotations

import ast
import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from examples.autsl.data.statistics import Row
from examples.autsl.study.tables import write_tables
from lightning_jointprune.record.intervals import Estimate
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.report import (
    Point,
    for_paper,
    plot_classes,
    plot_comparison,
    plot_frontier,
    plot_history,
    plot_importance,
    plot_skeleton,
    write_comparison,
    write_report,
)
from lightning_jointprune.report.plotly_script import script_text
from lightning_jointprune.skeletons import get_skeleton
from tests.records import HOSTILE, compared, evaluated, record_of, unnamed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


PATIENCE = 180_000  # milliseconds that a browser has for anything: a busy machine stalls


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)

    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    path = next(found, None)
    if path is None:
        pytest.skip("needs Chromium on the PATH, as in `apt install chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"], timeout=PATIENCE
        )
        yield browser
        browser.close()


def new_page(browser: Browser, **settings: Any) -> Page:
    """Return an empty page that waits patiently; every page of a test comes from here."""
    page = browser.new_page(**settings)
    page.set_default_timeout(PATIENCE)
    page.set_default_navigation_timeout(PATIENCE)
    return page


def opened(
    browser: Browser,
    record: PruningRecord,
    folder: Path,
    width: int,
    title: str | None = None,
    scheme: Any = "light",
    plotly: str = "inline",
    **more: Any,
) -> tuple[Page, list[str]]:
    """Open the record's page until all figures are drawn, and list requests and errors."""
    from playwright.sync_api import expect

    page = new_page(browser, viewport={"width": width, "height": 900}, color_scheme=scheme)
    wrongs: list[str] = []
    page.on("dialog", lambda dialog: (wrongs.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: wrongs.append(str(error)))
    page.on("console", lambda message: wrongs.append(message.text))
    address = write_report(record, folder, title, plotly, **more).as_uri()
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((folder.as_uri(), "data:", "blob:"))
            else wrongs.append(request.url)
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
    settings = {name: name for name in HOSTILE} | {"groups": {HOSTILE[1]: [0, 1]}}
    record = replace(
        record,
        selection=replace(record.selection, metric=HOSTILE[0], metrics={HOSTILE[0]: 0.9}),
        history=tuple(replace(s, metrics=dict.fromkeys(HOSTILE, 0.5)) for s in record.history),
        settings=settings,
        versions={name: name for name in HOSTILE},
    )
    more = replace(record.selection, indices=(0, 1, 2, 3), metrics={HOSTILE[0]: 0.95})
    record = replace(record, rungs=(more, record.selection))
    for skeleton in ("coco_17", HOSTILE[1]):  # without a skeleton the groups are the body parts
        shown, worth = replace(record, skeleton=skeleton), evaluated(record, len(HOSTILE))
        signers = dict.fromkeys(HOSTILE, Estimate(0.5))
        worth = replace(worth, class_names=HOSTILE, per_signer=signers)
        others = [Point(4, 0.5, name) for name in HOSTILE]
        page, wrongs = opened(
            browser, shown, tmp_path, 1280, HOSTILE[1], evaluation=worth, points=others
        )
        if skeleton == "coco_17":
            page.evaluate("Plotly.Fx.hover('skeleton', [{curveNumber: 3, pointNumber: 2}])")
            hover = page.locator("#skeleton .hoverlayer .hovertext").first
            assert HOSTILE[2][:18] in (hover.text_content() or "")
        page.evaluate("Plotly.Fx.hover('importance', [{curveNumber: 0, pointNumber: 0}])")
        page.evaluate("Plotly.Fx.hover('history', [{xval: 0, yval: 0}], ['xy'])")
        page.evaluate("Plotly.Fx.hover('classes', [{xval: 0, yval: 0}], ['xy'])")
        assert HOSTILE[2][:18] in (
            page.locator("#classes .hoverlayer .hovertext").first.text_content() or ""
        )
        page.evaluate("Plotly.Fx.hover('frontier', [{curveNumber: 1, pointNumber: 0}])")
        for figure in ("importance", "history"):
            hover = page.locator(f"#{figure} .hoverlayer .hovertext").first
            text = hover.text_content() or ""
            assert any(name[:18] in text for name in HOSTILE[:3])
        table = page.locator("#joints").inner_text()
        assert [name for name in HOSTILE if name not in table] == []
        tick = page.locator("#importance .ytick").first.text_content() or ""
        assert HOSTILE[2][:18] in tick
        page.locator("#frontier").press("End")
        assert f"4 of 17 joints are shown, with {HOSTILE[0]} 0.950" in page.inner_text("#rung")
        for button in page.locator("#joints .name button").all()[:5]:
            button.click()
            assert page.locator("#chosen").inner_text().startswith(HOSTILE)
        assert (
            page.locator("main img, main script, aside img, main a:not([href^='#'])").count() == 0
        )
        assert wrongs == []
        page.close()


@pytest.mark.browser
def test_a_chosen_joint_is_marked_in_every_figure_and_in_the_table(
    browser: Browser, tmp_path: Path
) -> None:
    record, skeleton = record_of("coco_17", (5, 7)), get_skeleton("coco_17")
    selection = replace(record.selection, stand_ins={"left_elbow": {"left_wrist": 0.97}})
    page, wrongs = opened(browser, replace(record, selection=selection), tmp_path, 1280)

    def marked() -> dict[str, Any]:
        """Return the places of the marks, by figure, and the names of the table's marked rows."""
        found: dict[str, Any] = page.evaluate("""() => {
            const last = (id, of) => document.getElementById(id)[of].at(-1);
            const box = (id) => {
                const { y0, y1 } = document.getElementById(id).layout.shapes.at(-1);
                return (y0 + y1) / 2;
            };
            return {
                skeleton: [last('skeleton', 'data').x[0], last('skeleton', 'data').y[0]],
                replay: [last('replay', 'data').x[0], last('replay', 'data').y[0]],
                importance: box('importance'),
                history: box('history'),
            };
        }""")
        found["table"] = page.locator("#joints tr[aria-current] .name").all_inner_texts()
        return found

    place = list(skeleton.drawing[7])
    wanted = {"skeleton": place, "replay": place, "importance": 1, "history": 1}
    rank = 1  # after joint 5, which is as sure
    clicks = {
        "skeleton": "{ points: [{ customdata: ['', 7] }] }",
        "importance": "{ points: [{ customdata: ['', 7] }] }",
        "history": f"{{ points: [{{ data: {{ type: 'heatmap' }}, pointNumber: [{rank}, 0] }}] }}",
    }
    for figure, event in clicks.items():
        page.evaluate(f"document.getElementById('{figure}').emit('plotly_click', {event})")
        assert marked() == {**wanted, "table": ["left_elbow"]}
        assert "left_elbow (joint 7, left_arm): KEEP, rank 2 of 17" in page.inner_text("#chosen")
        assert "; or left_wrist: 0.97" in page.inner_text("#chosen")
        (rings,) = page.evaluate("[document.getElementById('skeleton').data.at(-1)]")
        assert (rings["x"][1], rings["y"][1]) == skeleton.drawing[9]  # its stand-in's place
        assert rings["marker"]["opacity"] == [1, 0.4]
        page.keyboard.press("Escape")
        assert marked()["table"] == []
        assert not page.locator("#chosen").is_visible()
    assert page.locator("#joints .name button[tabindex='0']").all_inner_texts() == ["left_shoulder"]
    page.locator("#joints .name button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert marked() == {**wanted, "table": ["left_elbow"]}
    assert wrongs == []
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_the_skeleton_is_seen_before_any_script_runs_and_nothing_moves_when_it_has(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    record = record_of("mediapipe_holistic", (1, 30))
    page, wrongs = opened(browser, record, tmp_path, width)
    drawn = page.locator("#skeleton").bounding_box()
    assert page.locator(".sketch").count() == 0
    page.close()
    viewport = {"width": width, "height": 900}
    still = new_page(browser, java_script_enabled=False, viewport=viewport)
    still.goto((tmp_path / "joint_importance.html").as_uri())
    assert still.locator("#skeleton circle[stroke]").count() == 541
    assert still.locator("#skeleton circle[fill^=rgb]").count() == 2
    sketch = still.locator("#skeleton").bounding_box()
    assert sketch == pytest.approx(drawn, abs=1)
    assert wrongs == []
    still.close()


@pytest.mark.browser
def test_a_joint_of_an_evaluated_run_is_marked_in_the_heat_map_of_classes(
    browser: Browser, tmp_path: Path
) -> None:
    record = record_of("coco_17", (5, 7))
    worth = evaluated(record)
    rounded = {"left_elbow": Estimate(0.2, 0.15, 0.250_06)}  # on the page its end is 0.2501
    worth = replace(worth, drop={**worth.drop, **rounded})
    page, wrongs = opened(browser, record, tmp_path, 1280, evaluation=worth)
    heat = "document.getElementById('classes')"
    page.evaluate(f"{heat}.emit('plotly_click', {{ points: [{{ pointNumber: [0, 1] }}] }})")
    assert "left_shoulder (joint 5, torso): KEEP" in page.inner_text("#chosen")
    assert page.inner_text("#chosen span").endswith("dropping it costs 0.100")
    assert page.evaluate(f"{heat}.layout.shapes.at(-1).x0") == 0.5
    values = page.locator("#importance .textpoint").all_text_contents()
    assert [value.strip() for value in values] == ["0.200", "0.100"]
    page.select_option("#format", "csv")
    with page.expect_download() as download:
        page.click("#download")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    rows = {row["index"]: row["drop_cost"] for row in csv.DictReader(text.splitlines())}
    assert (rows["5"], rows["7"], rows["0"]) == ("0.1", "0.2", "")
    assert wrongs == []
    page.close()


@pytest.mark.browser
def test_every_section_is_linked_from_the_top(browser: Browser, tmp_path: Path) -> None:
    record = record_of("coco_17", (5, 7))
    worth = replace(evaluated(record), per_signer={"ann": Estimate(0.8, 0.7, 0.9)})
    page = new_page(browser, java_script_enabled=False)
    for shown, more in (
        (record, {"evaluation": worth, "points": [Point(17, 0.8, "all joints")]}),
        (compared(CURVE, 5), {}),
    ):
        page.goto(write_report(shown, tmp_path, **more).as_uri())
        links = [link.get_attribute("href") or "" for link in page.locator("nav a").all()]
        titled = [f"#{title.get_attribute('id')}" for title in page.locator("section > h2").all()]
        assert links == titled
    assert links[:2] == ["#frontier-title", "#skeleton-title"]
    page.goto(write_report(unnamed((0.9, 0.1)), tmp_path).as_uri())
    assert page.locator("nav a").all_inner_texts() == ["Joints", "Trust", "Next"]
    page.close()


CURVE = {1: 0.6, 2: 0.84, 5: 0.9, 8: None, 17: 0.905}  # the metric by the number of joints
EDGES = get_skeleton("coco_17").edges


def shown(page: Page) -> dict[str, Any]:
    """Return what the page shows of the joints, in every place where it does."""
    found: dict[str, Any] = page.evaluate("""() => {
        const data = (id) => document.getElementById(id).data;
        const texts = (of) => [...document.querySelectorAll(of)].map((e) => e.textContent);
        const line = document.getElementById('frontier').layout.shapes.at(-1);
        return {
            filled: data('skeleton')[3].customdata.map((row) => row[1]),
            hollow: data('skeleton')[2].customdata.map((row) => row[1]),
            edges: data('skeleton')[1].x.filter((x) => x === null).length,
            bold: document.getElementById('importance').layout.yaxis.ticktext,
            bars: data('importance').map(({ x, y, text, marker }) => [x, y, text, marker?.opacity]),
            verdicts: texts('#joints .mark'),
            ranks: texts('#joints .rank'),
            names: texts('#joints .name'),
            probabilities: texts('#joints .probability'),
            instead: texts('#joints td.instead'),
            parts: texts('[data-part] .count'),
            load: texts('#load')[0],
            pressed: texts('[data-rung][aria-pressed=true]'),
            line: [line.x0, line.x1],
        };
    }""")
    found["said"] = page.inner_text("#rung span")
    return found


@pytest.mark.browser
@pytest.mark.parametrize("width", [390])
def test_another_number_of_joints_is_shown_everywhere_and_the_chosen_one_again(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    rows = [[0.9 * (abs(k - d) == 1) for d in range(17)] for k in range(17)]
    record = replace(compared(CURVE, 5), redundancy=rows)
    record = replace(record, selection=record.selection_of(5))
    page, wrongs = opened(browser, record, tmp_path, width)
    names, start = get_skeleton("coco_17").joints, shown(page)
    assert not page.locator("#rung button").is_visible()

    def shows(kept: range) -> None:
        now, count = shown(page), len(kept)
        others = [joint for joint in range(17) if joint not in kept]
        assert (now["filled"], now["hollow"]) == ([*kept], others)
        assert now["edges"] == sum(a in kept and b in kept for a, b in EDGES)
        assert now["bold"][:count] == [f"<b>{names[joint]}</b>" for joint in kept]
        assert "<b>" not in "".join(now["bold"][count:])
        assert now["verdicts"] == ["KEEP"] * count + ["PRUNE"] * len(others)
        assert now["names"] == [names[joint] for joint in (*kept, *others)]
        assert now["ranks"] == [str(rank) for rank in range(1, 18)]
        assert now["probabilities"] == ["0.990"] * count + ["0.010"] * len(others)
        last = f"{names[count]}: 0.90" if others else ""
        assert now["instead"] == [*[""] * (count - 1), last, *[""] * len(others)]
        head = get_skeleton("coco_17").groups["head"]
        assert now["parts"][:2] == [f"{count}/17", f"{sum(j in kept for j in head)}/{len(head)}"]
        assert (now["pressed"], now["line"]) == ([str(count)], [count, count])
        assert now["said"] == f"{count} of 17 joints are shown, " + (
            "the number that was chosen."
            if count == 5
            else f"with val_acc {CURVE[count]:.3f}. The run chose 5."
        )
        assert (f"TargetJoints(count={count})" in now["load"]) == (count != 5)

    shows(range(5))
    figure = page.locator("#frontier")
    figure.press("ArrowRight")  # past 8, which was not measured
    shows(range(17))
    figure.press("ArrowRight")
    shows(range(17))
    for _ in range(2):
        figure.press("ArrowLeft")
    shows(range(2))
    for form, text in (
        ("py", "kept = [0, 1]  # 2 of 17 joints\n"),
        ("json", '"kept": [\n  0,\n  1\n ]'),
    ):
        page.select_option("#format", form)
        with page.expect_download() as download:
            page.click("#download")
        assert text in Path(download.value.path()).read_text(encoding="utf-8")
    page.locator("#joints .name button").nth(2).click()
    assert page.inner_text("#chosen").startswith(f"{names[2]} (joint 2, head): PRUNE, rank 3")
    page.click("#rung button")
    assert shown(page) == start
    assert page.evaluate("document.activeElement.id") == "frontier"
    assert page.inner_text("#chosen").startswith(f"{names[2]} (joint 2, head): KEEP, rank 3")
    page.click("[data-rung='0']")
    shows(range(1))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert wrongs == []
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("curve", [True, False])
def test_a_run_of_another_seed_is_shown_everywhere_and_this_one_again(
    browser: Browser, tmp_path: Path, curve: bool
) -> None:
    record = compared(CURVE, 5) if curve else record_of("coco_17", range(5))
    other = record_of("coco_17", (3, 4, 9))
    metric = record.selection.metric
    other = replace(other, selection=replace(other.selection, metrics={metric: 0.75}))
    page, wrongs = opened(browser, record, tmp_path, 390, seeds={"run 2": record, "<i>3": other})
    rows = "document.querySelectorAll('#joints tr:not(.dropped) .name')"
    kept = f"[...{rows}].map((element) => element.textContent)"
    names = get_skeleton("coco_17").joints
    start = page.evaluate(kept)
    assert sorted(start) == sorted(names[:5])
    buttons = page.locator("[data-run]")
    assert buttons.nth(2).inner_text() == f"<i>3 3 joints, {metric} 0.750"
    buttons.nth(2).click()
    assert sorted(page.evaluate(kept)) == sorted(names[joint] for joint in (3, 4, 9))
    filled = page.evaluate("document.getElementById('skeleton').data[3].customdata")
    assert [row[1] for row in filled] == [3, 4, 9]
    assert page.inner_text("#rung span") == (
        f"3 of 17 joints are shown, those of <i>3, with {metric} 0.750. "
        "2 of them are among the 5 of this run."
    )
    assert page.locator("[data-run][aria-pressed=true]").count() == 1
    if curve:
        page.locator("#frontier").press("ArrowLeft")  # from the number that this run chose
        assert page.inner_text("#rung").startswith("2 of 17 joints are shown")
    page.click("#rung button")
    assert page.evaluate(kept) == start
    assert buttons.nth(0).get_attribute("aria-pressed") == "true"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert wrongs == []
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280])
def test_a_point_of_the_curve_can_be_pressed(browser: Browser, tmp_path: Path, width: int) -> None:
    page, wrongs = opened(browser, compared(CURVE, 5), tmp_path, width)
    page.locator("#frontier").scroll_into_view_if_needed()
    for place, joints in ((3, 17), (1, 2), (2, 5)):
        points = page.locator("#frontier .scatterlayer .trace").first.locator(".point")
        box = points.nth(place).bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        said = page.locator("#frontier .hoverlayer", has_text=f"{joints} joints:")
        said.wait_for(state="attached")  # a click counts for the point that the page has noticed
        page.mouse.down()
        page.mouse.up()
        page.locator(f"[data-rung='{place}'][aria-pressed=true]").wait_for()
        assert page.inner_text("#rung").startswith(f"{joints} of 17 joints are shown")
    assert wrongs == []
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_axe_finds_no_barrier_while_another_number_is_shown(
    browser: Browser, tmp_path: Path, scheme: str, width: int
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    record = replace(compared(CURVE, 5, samples=200), baseline={"val_acc": 0.91})
    page, wrongs = opened(
        browser, record, tmp_path, width, scheme=scheme, evaluation=evaluated(record)
    )
    page.locator("#frontier").press("Home")
    assert page.locator("#joints .cost").all_inner_texts() == [""] * 17
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []
    assert wrongs == []
    page.close()


@pytest.mark.browser
def test_a_joint_in_the_drawing_can_be_clicked(browser: Browser, tmp_path: Path) -> None:
    page, wrongs = opened(browser, record_of("coco_17", (5, 7)), tmp_path, 1280)
    box = (
        page.locator("#skeleton .scatterlayer .trace")
        .nth(3)
        .locator(".point")
        .nth(1)
        .bounding_box()
    )
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator("#skeleton .hoverlayer .hovertext").wait_for()
    page.mouse.down()
    page.mouse.up()
    page.locator("#chosen").wait_for()
    assert page.inner_text("#chosen").startswith("left_elbow")
    assert wrongs == []
    page.close()


@pytest.mark.browser
def test_the_slider_replays_the_records_history(browser: Browser, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    record = record_of("coco_17", (5, 7), moments=8)
    page, wrongs = opened(browser, record, tmp_path, 1280)
    slider = page.locator("#moment")
    assert slider.input_value() == "7"
    slider.focus()
    for moment in (6, 5, 4, 3):
        page.keyboard.press("ArrowLeft")
        note = record.history[moment]
        shown = page.evaluate("document.getElementById('replay').data.at(-2).marker.color")
        frozen = [float(kept) for kept in record.selection.mask]
        gates = frozen if note.phase == "final" else note.keep_probabilities
        assert shown == pytest.approx(list(gates), abs=0.0005)
        assert f"step {note.step}, epoch {note.epoch}, {note.phase}" in page.inner_text("#when")
        line = page.evaluate("document.getElementById('history').layout.shapes.at(-1).x0")
        assert line == note.step
    page.keyboard.press("Home")
    assert page.inner_text("#when").endswith("warm-up: all joints in use")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.click("#play")  # goes on from where it is
    expect(slider).to_have_value("6")
    expect(slider).to_have_value("7")
    expect(page.locator("#play")).to_have_text("▶ Replay")
    assert wrongs == []
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("skeleton", ["mediapipe_hands", "mediapipe_holistic"])
def test_the_page_fits_its_window_and_so_does_the_skeleton(
    browser: Browser, tmp_path: Path, width: int, skeleton: str
) -> None:
    page, wrongs = opened(browser, record_of(skeleton, (1, 30)), tmp_path, width)
    joints = get_skeleton(skeleton).num_joints
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#importance .barlayer .point").count() == joints
    assert page.locator("#history .heatmaplayer image").count() == 1
    values, cut, chips = page.evaluate("""() => {
        const { left, right } = document.getElementById('importance').getBoundingClientRect();
        const texts = [...document.querySelectorAll('#importance .textpoint text')];
        const boxes = texts.map((text) => text.getBoundingClientRect());
        const parts = document.querySelector('.parts');
        const cut = boxes.filter((box) => box.left < left || box.right > right).length;
        return [texts.length, cut, parts.scrollHeight - parts.clientHeight];
    }""")
    assert (values, cut, chips) == (joints, 0, 0)
    for figure in ("skeleton", "replay"):
        drawing = page.locator(f"#{figure}")
        assert drawing.locator(".scatterlayer .point").count() == joints
        frame = drawing.bounding_box()
        things = [*drawing.locator(".annotation").all(), drawing.locator(".scatterlayer")]
        for thing in things:
            box = thing.bounding_box()
            assert frame is not None
            assert box is not None
            assert frame["x"] <= box["x"]
            assert box["x"] + box["width"] <= frame["x"] + frame["width"]
            assert frame["y"] <= box["y"]
            assert box["y"] + box["height"] <= frame["y"] + frame["height"]
    assert wrongs == []
    page.close()


@pytest.mark.browser
def test_543_joints_and_200_moments_stay_within_a_page_that_can_be_scrolled(
    browser: Browser, tmp_path: Path
) -> None:
    record = record_of("mediapipe_holistic", tuple(range(0, 543, 30)), moments=200)
    page, wrongs = opened(browser, record, tmp_path, 1280)
    assert page.evaluate("document.documentElement.scrollHeight") < 9000
    assert page.locator("#importance .barlayer .point").count() == 543
    assert wrongs == []
    page.close()


@pytest.mark.browser
def test_search_body_part_and_order_act_on_table_and_bars(browser: Browser, tmp_path: Path) -> None:
    page, wrongs = opened(browser, record_of("coco_17", (5, 7)), tmp_path, 1280)
    rows = page.locator("#joints tbody tr:visible .name")
    bars = page.locator("#importance .barlayer .point")
    labels = page.locator("#importance .ytick")
    assert rows.count() == bars.count() == 17
    page.fill("#find", "left keep")
    assert rows.all_inner_texts() == ["left_shoulder", "left_elbow"]
    assert labels.all_text_contents() == ["left_shoulder", "left_elbow"]
    assert page.inner_text("#found") == "2 of 17 joints"
    page.fill("#find", "")
    page.get_by_role("button", name="left arm").click()
    assert rows.all_inner_texts() == ["left_elbow", "left_wrist"]
    assert bars.count() == 2
    page.get_by_role("button", name="all").click()
    page.select_option("#order", "number")
    assert rows.all_inner_texts() == list(get_skeleton("coco_17").joints)
    page.select_option("#order", "part")
    assert rows.all_inner_texts()[5:7] == ["left_shoulder", "right_shoulder"]
    page.fill("#find", "nothing of this name")
    assert rows.count() == bars.count() == 0
    assert wrongs == []
    page.close()


@pytest.mark.browser
def test_the_table_can_be_taken_along(browser: Browser, tmp_path: Path) -> None:
    names = (
        "=cmd|'/c'!A1",
        'say "hi", twice',
        "a_b & {c} 100% ~^\\",
        *(f"j{i}" for i in range(14)),
    )
    page, wrongs = opened(browser, record_of("coco_17", (1, 2), names=names), tmp_path, 1280)

    def taken(form: str) -> str:
        page.select_option("#format", form)
        with page.expect_download() as download:
            page.click("#download")
        assert download.value.suggested_filename == f"joints.{form}"
        return Path(download.value.path()).read_text(encoding="utf-8")

    table = list(csv.DictReader(taken("csv").splitlines()))
    assert [row["joint"] for row in table[:2]] == list(names[1:3])
    assert [(row["index"], row["keep_probability"]) for row in table[:2]] == [
        ("1", "0.99"),
        ("2", "0.99"),
    ]
    assert [row["joint"] for row in table if row["index"] == "0"] == ["'" + names[0]]
    data = json.loads(taken("json"))
    assert data["kept"] == [1, 2]
    assert {joint["name"] for joint in data["joints"]} == set(names)
    assert ast.literal_eval(taken("py").partition("=")[2].partition("#")[0].strip()) == [1, 2]
    rows = taken("tex").splitlines()
    escaped = r"a\_b \& \{c\} 100\% \textasciitilde{}\textasciicircum{}\textbackslash{}"
    assert rows[1] == rf"2 & {escaped} & head & 0.990 & keep \\"
    assert len(rows) == len(table) == 17
    page.select_option("#format", "py")
    page.click("#copy")
    page.locator("#said").filter(has_text="Cop").wait_for()
    if page.locator("#text").is_visible():  # this browser lets no file write to the clipboard
        assert page.input_value("#text") == "kept = [1, 2]  # 2 of 17 joints\n"
    assert wrongs == []
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_axe_finds_no_barrier(browser: Browser, tmp_path: Path, scheme: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    settings = {"budget": {"Price": {"value": "auto"}}, "gate": "gumbel_sigmoid"}
    record = record_of("mediapipe_body_hands", (34, 60), settings=settings, versions={"torch": "2"})
    undecided = (0.6, *record.selection.keep_probabilities[1:])
    record = replace(record, selection=replace(record.selection, keep_probabilities=undecided))
    others = [Point(75, 0.7, "all joints"), Point(21, 0.6, "random", 0.5, 0.7)]
    worth = replace(evaluated(record), per_signer={"ann": Estimate(0.8, 0.7, 0.9)})
    worth = replace(worth, soft=Estimate(0.1, 0.05, 0.15))
    page, wrongs = opened(
        browser, record, tmp_path, width, scheme=scheme, evaluation=worth, points=others
    )
    page.locator("#joints .name button").first.click()
    page.locator("summary").click()
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []
    assert wrongs == []
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_comparison_is_drawn_without_barrier_and_runs_no_names(
    browser: Browser, tmp_path: Path, scheme: Any
) -> None:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect

    names = (*HOSTILE, *get_skeleton("coco_17").joints[5:])
    alike = [[0.9] * 17] * 17
    runs = {
        name: record_of("coco_17", (0, 1, place), names=names, redundancy=alike)
        for place, name in enumerate(HOSTILE[:3], start=2)
    }
    page = new_page(browser, viewport={"width": 390, "height": 900}, color_scheme=scheme)
    wrongs: list[str] = []
    page.on("dialog", lambda dialog: (wrongs.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: wrongs.append(str(error)))
    page.on("console", lambda message: wrongs.append(message.text))
    page.goto(write_comparison(runs, tmp_path / "runs.html").as_uri())
    expect(page.locator(".figure:has(.main-svg)")).to_have_count(2)
    assert "2 joints are kept by all 3 runs, and on 3 they disagree." in page.inner_text("h1")
    table = page.locator("#joints-title ~ .table").inner_text()
    assert [name for name in HOSTILE if name not in table] == []
    assert page.locator("#exchanges-title ~ .table tbody tr").count() == 3
    assert page.locator("main img, main script, main a").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []
    assert wrongs == []
    page.close()


BUTTONS = {"Zoom", "Pan", "Zoom in", "Zoom out", "Autoscale", "Reset axes"}


def pages_with_figures(folder: Path) -> dict[str, int]:
    """Write every kind of page, and all figures as a notebook shows them; count their figures."""
    record = record_of("coco_17", (5, 7))
    runs, worth = {"a": compared(CURVE, 5), "b": record}, evaluated(record)
    write_report(record, folder / "report.html", evaluation=worth, points=[Point(17, 0.8, "all")])
    write_comparison(runs, folder / "comparison.html")
    rows = [Row("gru", "ladder", joints, 1, (Estimate(0.5),)) for joints in (24, 5)]
    write_tables(rows, [], ["top-1"], folder)
    figures = [
        plot_importance(record, worth),
        plot_skeleton(record),
        plot_history(record),
        plot_classes(worth),
        plot_comparison(runs),
        plot_frontier(runs),
        plot_frontier(unnamed((0.9, 0.1))),
    ]
    figures += [for_paper(figure) for figure in figures]
    shown = (figure.to_html(full_html=False, include_plotlyjs=False) for figure in figures)
    text = f"<script>{script_text()}</script>{''.join(shown)}"
    (folder / "notebook.html").write_text(f"<meta charset=utf-8>{text}", encoding="utf-8")
    return {"report": 6, "comparison": 2, "study": 1, "notebook": len(figures)}


@pytest.mark.browser
def test_no_figure_anywhere_can_be_uploaded_or_selected_from(
    browser: Browser, tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    for name, count in pages_with_figures(tmp_path).items():
        page = new_page(browser, viewport={"width": 1280, "height": 900})
        wrongs: list[str] = []
        page.on("console", lambda message, wrongs=wrongs: wrongs.append(message.text))
        page.on("request", lambda request, wrongs=wrongs: wrongs.append(request.url))
        page.goto((tmp_path / f"{name}.html").as_uri())
        expect(page.locator(".js-plotly-plot .modebar")).to_have_count(count)
        titles = page.locator(".modebar-btn").evaluate_all("of => of.map(e => e.dataset.title)")
        more = {title for title in titles if title not in BUTTONS}
        assert all(title.startswith(("Download plot", "Produced with Plotly")) for title in more)
        assert titles.count("Zoom") == count
        assert wrongs[1:] == []  # the first request is the page
        page.close()


@pytest.mark.browser
def test_plotly_from_beside_the_page_is_found(browser: Browser, tmp_path: Path) -> None:
    page, wrongs = opened(browser, record_of("coco_17", (5, 7)), tmp_path, 1280, plotly="directory")
    assert page.locator("#importance .barlayer .point").count() == 17
    assert wrongs == []
    page.close()


@pytest.mark.browser
def test_without_plotly_the_page_says_so_and_its_tables_work(
    browser: Browser, tmp_path: Path
) -> None:
    page = new_page(browser)
    page.route("https://**", lambda route: route.abort())
    page.goto(write_report(compared(CURVE, 5), tmp_path, plotly="cdn").as_uri())
    page.click("[data-rung='1']")
    assert page.locator("#joints .mark").all_inner_texts().count("KEEP") == 2
    page.goto(write_report(record_of("coco_17", (5, 7)), tmp_path, plotly="cdn").as_uri())
    assert "could not be loaded" in page.inner_text("#importance")
    page.fill("#find", "keep")
    assert page.locator("#joints tbody tr:visible").count() == 2
    page.locator("#joints .name button:visible").first.click()
    assert page.inner_text("#chosen").startswith("left_shoulder")
    page.close()


def test_the_gallerys_pictures_are_small_and_shown() -> None:
    gallery = Path(__file__).resolve().parents[2] / "docs" / "gallery"
    pictures = {path.name: path.stat().st_size for path in gallery.glob("*.png")}
    assert {name: size for name, size in pictures.items() if size >= 300_000} == {}
    if pictures:  # they are not in a source distribution
        shown = re.findall(r"\]\(([\w.]+\.png)\)", (gallery / "README.md").read_text("utf-8"))
        assert sorted(shown) == sorted(pictures)
