"""Train three small runs and take the pictures of their reports in docs/gallery.

    python -m benchmarks.gallery                    minutes on one core
    python -m benchmarks.gallery --records FOLDER   trains only what FOLDER does not have yet

The runs: 42 joints of which 8 carry the class, 543 of which 24 do, and a search that is far too
short for the floor it is given. Needs Chromium on the PATH.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple, cast

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.data import Planted, make_planted
from benchmarks.models import GRUClassifier, Recipe, loader, quiet_trainer
from benchmarks.store import HERE
from lightning_jointprune import JointPruningCallback, MetricFloor, PruningRecord
from lightning_jointprune.report import write_report

GALLERY = HERE.parent / "docs" / "gallery"
SECTIONS = {"importance": "#importance", "history": "#history", "trust": "#trust"}
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
    trainer.fit(model, loader(data.train, recipe.batch_size, 1), loader(data.unseen, 256))


def take_pictures(name: str, report: Path) -> list[str]:
    """Pictures of the top of the page at both widths, light and dark; of the demo its sections."""
    from playwright.sync_api import sync_playwright

    taken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for width in (1280, 390):
            for scheme in ("light", "dark"):
                page = browser.new_page(
                    viewport={"width": width, "height": 1000}, color_scheme=cast(Any, scheme)
                )
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
                    for section, inside in SECTIONS.items():
                        taken.append(f"{name}_{section}.png")
                        page.locator(f"section:has({inside})").screenshot(path=GALLERY / taken[-1])
                page.close()
        browser.close()
    return taken


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
            report = write_report(PruningRecord.from_json(folder), folder.resolve())
            pictures = take_pictures(name, report)
            lines += [f"\n## {run.words[0].upper()}{run.words[1:]}\n"]
            lines += [f"![{run.words}: {picture}]({picture})" for picture in pictures]
    (GALLERY / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
