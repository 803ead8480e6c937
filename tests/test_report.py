"""The report as people open it: in a browser, and as a file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lightning_jointprune.record import PruningRecord
from lightning_jointprune.report import write_report
from lightning_jointprune.skeletons import get_skeleton
from tests.records import HOSTILE, record_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


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
