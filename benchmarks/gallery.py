"""Train three small runs and take the pictures of their reports in docs/gallery.

    python -m benchmarks.gallery                    minutes on one core
    python -m benchmarks.gallery --records FOLDER   trains only what FOLDER does not have yet

The runs: 42 joints of which 8 carry the class, 543 of which 24 do, and a search that is far too
short for the floor it is given. Then it measures how long reports take to write and to open, with
200 moments of made-up histories. Needs Chromium on the PATH.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.shared.data import Planted, make_planted
from benchmarks.shared.models import GRUClassifier, Recipe, loader, quiet_trainer
from benchmarks.shared.store import ROOT
from lightning_jointprune import (
    JointEvaluation,
    JointPruningCallback,
    JointSelection,
    MetricFloor,
    PruningRecord,
    evaluate_joints,
)
from lightning_jointprune.record.evaluation import EVALUATION_FILE
from lightning_jointprune.record.record import Snapshot
from lightning_jointprune.report import write_report
from lightning_jointprune.skeletons import get_skeleton

GALLERY = ROOT / "docs" / "gallery"
SECTIONS = ("importance", "history", "trust", "classes")
MEASURED = (
    "mediapipe_hand",
    "mediapipe_hands",
    "mediapipe_body_hands",
    "coco_wholebody_133",
    "mediapipe_holistic",
)
MOMENTS = 200
PATIENCE = 180_000  # milliseconds that a page has for anything
# Notes when the skeleton can be seen, and when the first figure answers to the mouse.
WATCH = """
const seen = (name) => requestAnimationFrame(() => setTimeout(() => performance.mark(name)));
const wanted = { sketch: '.sketch', figure: '.figure .main-svg' };
new MutationObserver(() => {
  for (const [name, selector] of Object.entries(wanted))
    if (document.querySelector(selector)) { seen(name); delete wanted[name]; }
}).observe(document, { subtree: true, childList: true });
"""
CHOSEN = 2  # rank of the joint that is chosen in the pictures of the sections


class Run(NamedTuple):
    """A run, and what is said under its pictures."""

    data: Planted
    skeleton: str
    epochs: int
    words: str
    callback: dict[str, Any]


SMALL = Planted(joints=42, informative=8, strength=0.22, unseen=400)
RUNS = {
    "demo": Run(
        SMALL, "mediapipe_hands", 20, "42 joints of two hands, of which 8 carry the class", {}
    ),
    "holistic": Run(
        Planted(joints=543, informative=24, strength=0.2, unseen=400),
        "mediapipe_holistic",
        30,
        "543 joints, of which 24 carry the class",
        {},
    ),
    "failed": Run(
        SMALL,
        "mediapipe_hands",
        3,
        "a search that is too short for the floor it was given",
        {"budget": MetricFloor("val_acc", 0.97)},
    ),
}


class Model(GRUClassifier):
    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, y = batch
        scores = self(x)
        hits = (scores.argmax(dim=1) == y).float()
        self.log("val_acc", hits.mean(), prog_bar=True, batch_size=len(y))
        self.log("val_loss", functional.cross_entropy(scores, y), batch_size=len(y))


def train(run: Run, folder: Path) -> None:
    pl.seed_everything(1, verbose=False)
    data, recipe = make_planted(run.data, 1), Recipe()
    model = Model(run.data.joints, run.data.coordinates, run.data.classes, recipe)
    pruning = JointPruningCallback(skeleton=run.skeleton, dirpath=str(folder), **run.callback)
    trainer = quiet_trainer(run.epochs, str(folder), [pruning])
    unseen = loader(data.unseen, 256)
    trainer.fit(model, loader(data.train, recipe.batch_size, 1), unseen)
    names = pruning.selection.joint_names
    if run is RUNS["demo"]:
        how = ("drop", "soft")
        worth = evaluate_joints(model, unseen, joint_names=names, how=how, progress=False)
        worth.to_json(folder)


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path, words = shutil.which("chromium"), ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=path, args=words)
        yield browser
        browser.close()


def take_pictures(name: str, report: Path) -> list[str]:
    """Take pictures of the page's top at both widths, light and dark; of the demo its sections."""
    taken = []
    with chromium() as browser:
        for width in (1280, 390):
            for scheme in ("light", "dark"):
                page = browser.new_page(
                    viewport={"width": width, "height": 1000}, color_scheme=cast(Any, scheme)
                )
                page.set_default_timeout(PATIENCE)
                page.goto(report.as_uri())
                figures = page.locator(".figure").count()
                page.wait_for_selector(f":nth-match(.figure .main-svg:first-child, {figures})")
                taken.append(f"{name}_{width}_{scheme}.png")
                end = page.locator("section").first.bounding_box()
                assert end is not None
                clip: Any = {
                    "x": 0,
                    "y": 0,
                    "width": width,
                    "height": end["y"] + end["height"] + 10,
                }
                page.screenshot(path=GALLERY / taken[-1], full_page=True, clip=clip)
                if (name, width, scheme) == ("demo", 1280, "light"):
                    page.locator("#joints .name button").nth(CHOSEN).click()
                    page.locator("#moment").fill("4")
                    for section in SECTIONS:
                        taken.append(f"{name}_{section}.png")
                        part = page.locator(f"section:has(#{section})")
                        part.screenshot(path=GALLERY / taken[-1])
                page.close()
    return taken


def made_up(skeleton: str) -> PruningRecord:
    """Return a record with as many moments as a long run has, and every probability another."""
    numbers, names = random.Random(0), get_skeleton(skeleton).joints
    history = [
        Snapshot(
            step=100 * moment,
            epoch=moment,
            progress=moment / MOMENTS,
            phase="search" if moment < MOMENTS / 2 else "final",
            temperature=0.5,
            price=0.003,
            expected_joints=12.0,
            active_joints=12,
            keep_probabilities=tuple(numbers.random() for _ in names),
            metrics={"val_acc": numbers.random(), "val_loss": numbers.random()},
        )
        for moment in range(MOMENTS)
    ]
    probabilities = history[-1].keep_probabilities
    kept = tuple(joint for joint, p in enumerate(probabilities) if p > 0.5)
    selection = JointSelection(kept, len(names), names, probabilities, {"val_acc": 0.9})
    return PruningRecord(selection, tuple(history), skeleton)


def measure(folder: Path) -> list[str]:
    """Return a table's rows: what a report takes to write and to open, the best of three each."""
    rows = []
    with chromium() as browser:
        for skeleton in MEASURED:
            record, path = made_up(skeleton), folder / f"{skeleton}.html"
            written, opened = [], []
            for _ in range(3):
                start = time.perf_counter()
                write_report(record, path)
                written.append(time.perf_counter() - start)
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.set_default_timeout(PATIENCE)
                page.add_init_script(WATCH)
                page.goto(path.as_uri())
                page.wait_for_function("performance.getEntriesByName('figure').length")
                times = ["performance.getEntriesByName('sketch')[0].startTime"]
                times += [times[0].replace("sketch", "figure")]
                opened.append([page.evaluate(moment) / 1000 for moment in times])
                page.close()
            small = write_report(record, folder / "cdn.html", plotly="cdn").stat().st_size / 1e6
            seen, answers = (min(column) for column in zip(*opened, strict=True))
            rows.append(
                f"| {record.selection.num_joints} | {min(written):.2f} s "
                f"| {path.stat().st_size / 1e6:.1f} MB | {small:.2f} MB | {seen:.2f} s "
                f"| {answers:.2f} s |"
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=Path, help="where the runs' records are kept")
    records = parser.parse_args().records
    torch.set_num_threads(1)
    GALLERY.mkdir(parents=True, exist_ok=True)
    lines = ["# The report, in pictures\n", "Made by `python -m benchmarks.gallery`."]
    with tempfile.TemporaryDirectory() as temporary:
        for name, run in RUNS.items():
            folder = (records or Path(temporary)) / name
            if not (folder / "pruning_record.json").is_file():
                train(run, folder)
            worth = None
            if (folder / EVALUATION_FILE).is_file():
                worth = JointEvaluation.from_json(folder)
            record = PruningRecord.from_json(folder)
            report = write_report(record, folder.resolve(), evaluation=worth)
            pictures = take_pictures(name, report)
            lines += [f"\n## {run.words[0].upper()}{run.words[1:]}\n"]
            lines += [f"![{run.words}: {picture}]({picture})" for picture in pictures]
        rows = measure(Path(temporary))
    lines += [
        f"\n## What a report of {MOMENTS} moments takes\n",
        "On the machine that took the pictures, the best of three. With `cdn`, Plotly's script is",
        "not in the file. The skeleton is seen before that script runs, and answers to the mouse",
        "after it.\n",
        "| joints | written in | file | with `cdn` | skeleton seen after | answers after |",
        "|---:|---:|---:|---:|---:|---:|",
        *rows,
    ]
    (GALLERY / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
