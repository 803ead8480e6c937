"""Measure how much of a training step is spent waiting for clips.

    python -m benchmarks.data_wait

Rows: skeleton. A folder in AUTSL's layout is made, of arrays as `examples.autsl.extract` writes
them, and trained on by Lightning for an epoch, without the callback: `SignData` and `SignFusion`
with their own defaults, more clips than fit into memory, the step on one thread. The wait is what
the trainer's profiler says of the loader, a step lasts from a batch's start to the next one's; the
first steps, in which processes start, are not measured. The files are in the memory of the system.
`python -m benchmarks.report_results` writes the results into RESULTS.md.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from statistics import fmean

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.profilers import SimpleProfiler

from benchmarks.shared.rows import Figure, Row, at_most, measure, parser, product, results, spread
from benchmarks.shared.store import Result, Settings, Store
from examples.autsl.data.labels import SPLITS
from examples.autsl.data.module import SignData
from examples.autsl.data.orders import save_order
from examples.autsl_fusion import SignFusion
from lightning_jointprune.skeletons import get_skeleton

ORDER, FRAMES, SIGNS = "face-left-pose-right", 60, 8  # AUTSL's clips have about 60 frames
CLIPS = {"train": 1760, "val": SIGNS, "test": SIGNS}  # 110 steps; an epoch of AUTSL has 1759
FIRST = 10  # steps that are not measured
FILES = 80  # that the clips of a split share, so that a run needs 32 MB of disk for each
SHARE = 0.1


def run(cell: Settings) -> Result:
    """Return the milliseconds of a step, and of the wait in it, over an epoch."""
    pl.seed_everything(cell["seed"], verbose=False)
    profiler, starts = SimpleProfiler(), BatchStarts()
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), np.random.default_rng(cell["seed"]))
        data = SignData(folder, "skeleton", batch_size=cell["batch"], memory_mb=0)
        data.setup("fit")
        model = SignFusion(
            data.num_signs,
            *data.joint_shape,
            ("skeleton",),
            hidden_size=cell["hidden"],
            num_layers=cell["layers"],
            num_frames=data.num_frames,
        )
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            profiler=profiler,
            callbacks=[starts],
        )
        trainer.fit(model, data)
    waits = profiler.recorded_durations["[_TrainingEpochLoop].train_dataloader_next"]
    steps = np.diff(starts.times)
    return {
        "wait_ms": 1e3 * fmean(waits[FIRST:]),
        "step_ms": 1e3 * fmean(steps[FIRST:]),
        "processes": data.workers,
    }


class BatchStarts(pl.Callback):
    """When each step began, in seconds."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_start(self, *_: object) -> None:
        self.times.append(time.perf_counter())


def _write(folder: Path, rng: np.random.Generator) -> None:
    """People at rest with noise, in the order that the extraction writes."""
    names = get_skeleton("mediapipe_holistic").joints
    rest = np.array([(*_place(name.removeprefix("pose_")), 0.0) for name in names], np.float32)
    for signer, split in enumerate(SPLITS):
        clips = [f"signer{signer}_sample{clip}" for clip in range(CLIPS[split])]
        (folder / split).mkdir()
        for number, name in enumerate(clips):
            path = folder / split / f"{name}_skeleton.npy"
            if number >= FILES:
                os.link(folder / split / f"{clips[number % FILES]}_skeleton.npy", path)
                continue
            clip = rest + rng.normal(0, 0.01, (FRAMES, *rest.shape))
            np.save(path, clip.astype(np.float32))
        rows = [f"{name},{clip % SIGNS}\n" for clip, name in enumerate(clips)]
        (folder / f"{split}_labels.csv").write_text("".join(rows))
    save_order(folder, ORDER)


def _place(name: str) -> tuple[float, float]:
    """Return a joint's place in the picture, as far as the anatomy is checked."""
    side = 1 if name.startswith("left") else -1
    if "_hand_" in name or name.endswith("wrist"):
        return 0.5 + 0.1 * side, 0.8
    part = name.partition("_")[2]
    return {"shoulder": (0.5 + 0.1 * side, 0.4), "elbow": (0.5 + 0.2 * side, 0.6)}.get(
        part, (0.5, 0.2)
    )


def cells(seeds: int) -> list[Settings]:
    def cell(seed: int, size: tuple[int, int]) -> Settings:
        hidden, layers = size
        return {
            "script": "data_wait",
            "seed": seed,
            "batch": 16,
            "hidden": hidden,
            "layers": layers,
            "pruned": False,
        }

    return product(cell, seeds, size=((64, 2), (256, 4)))


def figures(store: Store, seeds: int) -> list[Figure]:
    found = []
    for width in (64, 256):
        of_size = [cell for cell in cells(seeds) if cell["hidden"] == width]
        runs = results(store, of_size)
        if not runs:
            continue
        shares = [run["wait_ms"] / run["step_ms"] for run in runs]
        title = f"{width} units"
        found.append(at_most(f"{title}: share of a step spent waiting", SHARE, max(shares), shares))
        found.append(Figure(f"{title}: step, ms", "", spread([r["step_ms"] for r in runs], 1)))
    return found


ROWS = {
    "skeleton": Row(
        "waiting for clips, 543 joints",
        "`SignFusion` of `examples/autsl_fusion.py` on skeletons alone: batches of 16 clips, 16 of "
        "60 frames, 543 joints; the model at its default size and at that of "
        "`examples/autsl/configs/full.yaml`. The largest share of all runs must reach the target.",
        3,
        lambda _, seeds: cells(seeds),
        figures,
    )
}


def main() -> None:
    args = parser(__doc__, ROWS).parse_args()
    if args.workers != 1:
        raise SystemExit("Expected one worker, since others would take the time of the readers.")
    measure("data_wait", ROWS, run, args)


if __name__ == "__main__":
    main()
