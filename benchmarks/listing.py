"""Measure the time and the memory that the check of a download of AUTSL takes.

    python -m benchmarks.listing

Rows: files, packets. A folder of AUTSL's size is made, 36,302 clips with a colour and a depth video
each, which are links to a few real ones, so that it needs no disk and the files are in the memory
of the system: reading a download from its disk comes on top. `examples.autsl.check` looks at it in
a process of its own, with one worker, and must find nothing wrong. Memory is the most that this
process ever had resident. `python -m benchmarks.report_results` writes the results into RESULTS.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.shared.rows import Figure, Row, at_most, measure, parser, product, results, spread
from benchmarks.shared.store import ROOT, Result, Settings, Store
from examples.autsl.check import PUBLISHED, VIDEOS
from examples.autsl.data.labels import NUM_SIGNS
from examples.autsl.data.synthetic import write_video

FRAMES, SIZE = 60, 512  # as AUTSL's videos have
FILES = 8  # of each kind: a file system may allow 65,000 links to one
SECONDS, MEGABYTES = 60.0, 500.0
# `ru_maxrss` would begin at what this process had when it started the other; VmHWM is its own.
CHECK = """
import json, sys, time
from pathlib import Path
from examples.autsl.check import check
found = check(Path(sys.argv[1]), depth=sys.argv[2])
status = Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
usable = sum(len(rows) for rows in found.usable.values())
print(json.dumps([len(found.problems), found.files, usable, peak, time.process_time()]))
"""


def run(cell: Settings) -> Result:
    """Return the whole process's seconds by the clock and the processor, and its peak of MiB."""
    clips = sum(clips for clips, _ in PUBLISHED.values())
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), np.random.default_rng(cell["seed"]))
        start = time.perf_counter()
        line = [sys.executable, "-c", CHECK, folder, cell["depth"]]
        shown = subprocess.check_output(line, text=True, cwd=ROOT)
        seconds = time.perf_counter() - start
    problems, files, usable, peak, processor = json.loads(shown)
    if (problems, files, usable) != (0, len(VIDEOS) * clips, clips):
        raise ValueError(f"Expected {clips} good clips but got {usable}, and {problems} problems.")
    return {"seconds": seconds, "processor_seconds": processor, "peak_mb": peak}


def _write(root: Path, rng: np.random.Generator) -> None:
    """The published numbers of clips and signers; no signer is in two splits."""
    for number in range(FILES):
        for ending in VIDEOS:
            coarse = rng.integers(0, 255, (FRAMES, 8, 8, 3), np.uint8)
            write_video(
                root / f"{number}{ending}", coarse.repeat(SIZE // 8, 1).repeat(SIZE // 8, 2)
            )
    first = 0
    for split, (clips, signers) in PUBLISHED.items():
        (root / split).mkdir()
        names = [f"signer{first + clip % signers}_sample{clip}" for clip in range(clips)]
        first += signers
        for number, name in enumerate(names):
            for ending in VIDEOS:
                os.link(root / f"{number % FILES}{ending}", root / split / f"{name}{ending}")
        rows = [f"{name},{clip % NUM_SIGNS}\n" for clip, name in enumerate(names)]
        (root / f"{split}_labels.csv").write_text("".join(rows))


def cells(_: Store, seeds: int, depth: str) -> list[Settings]:
    def cell(seed: int) -> Settings:
        return {"script": "listing", "seed": seed, "depth": depth, "pruned": False}

    return product(cell, seeds)


def figures(store: Store, seeds: int, depth: str) -> list[Figure]:
    runs = results(store, cells(store, seeds, depth))
    if not runs:
        return []
    seconds, processor, peaks = (
        [run[key] for run in runs] for key in ("seconds", "processor_seconds", "peak_mb")
    )
    return [
        at_most("seconds", SECONDS, max(seconds), seconds),
        Figure("of them, seconds of the processor", "", spread(processor)),
        at_most("peak resident memory, MiB", MEGABYTES, max(peaks), peaks),
    ]


def _row(depth: str, what: str) -> Row:
    return Row(
        f"the check of AUTSL's size, {what}",
        "`examples/autsl/check.py` with one worker on 36,302 clips, each with two videos of 60 "
        "frames, in the memory of the system. The largest figure of all runs must reach the "
        "target; what else ran on the machine is in the seconds, and not in those of the "
        "processor.",
        3,
        partial(cells, depth=depth),
        partial(figures, depth=depth),
    )


ROWS = {
    "files": _row("files", "names and sizes alone"),
    "packets": _row("packets", "into every video"),
}


def main() -> None:
    args = parser(__doc__, ROWS).parse_args()
    if args.workers != 1:
        raise SystemExit("Expected one worker, since others would take the time of the check.")
    measure("listing", ROWS, run, args)


if __name__ == "__main__":
    main()
