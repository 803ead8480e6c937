"""Measure how fast `.pose` files are rewritten to the kept joints, beside pose-format itself.

    python -m benchmarks.pose_files

Rows: select. Clips of MediaPipe Holistic are made, 60 frames of 543 points, which are links to a
few real ones, so that they are in the memory of the system. In a process of its own and on one
core, pose-format reads and writes a hundred whole clips, reads a hundred and writes their kept
points, and `jointprune select` rewrites these hundred, in turn until all clips are done. What
pose-format wrote is deleted after each turn, for the disk's sake. Memory is the most that the
process ever had resident, with all that the package imports.
`python -m benchmarks.report_results` writes the results into RESULTS.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shared.rows import (
    Figure,
    Row,
    at_least,
    at_most,
    measure,
    parser,
    product,
    results,
    spread,
)
from benchmarks.shared.store import ROOT, Result, Settings, Store
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.skeletons import get_skeleton, published_subsets, resolve_joints

CLIPS, FRAMES, TURN = 10_000, 60, 100
FILES = 20  # that the clips share
SKELETON, SUBSET = "mediapipe_body_face_hands", "gislr_118"
SHARE, MEGABYTES = 0.8, 500.0


def run(cell: Settings) -> Result:
    """Return the seconds of each way, and the peak of MiB, of a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), cell)
        line = [sys.executable, "-m", "benchmarks.pose_files", "--in", folder]
        shown = subprocess.check_output(line, text=True, cwd=ROOT)
    found: Result = json.loads(shown)
    return found


def _write(folder: Path, cell: Settings) -> None:
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody

    rng = np.random.default_rng(cell["seed"])
    (folder / "clips").mkdir()
    for number in range(cell["clips"]):
        path = folder / "clips" / f"{number}.pose"
        if number >= FILES:
            os.link(folder / "clips" / f"{number % FILES}.pose", path)
            continue
        data = rng.normal(300, 80, (FRAMES, 1, 543, 3)).astype(np.float32)
        confidence = rng.uniform(size=(FRAMES, 1, 543)).astype(np.float32)
        with path.open("wb") as file:
            Pose(_header(), NumPyPoseBody(25, data, confidence)).write(file)
    names = get_skeleton(SKELETON).joints
    kept = tuple(sorted(resolve_joints(published_subsets()[SUBSET].joints, names)))
    chances = tuple(0.9 if joint in kept else 0.1 for joint in range(len(names)))
    JointSelection(kept, len(names), names, chances).to_json(folder)


def _header() -> Any:
    """Return the header that `pose_format.utils.holistic` makes, which needs MediaPipe."""
    from pose_format import PoseHeader
    from pose_format.pose_header import PoseHeaderComponent, PoseHeaderDimensions

    skeleton, components, first = get_skeleton(SKELETON), [], 0
    for part, size in (("pose", 33), ("face", 468), ("left_hand", 21), ("right_hand", 21)):
        inside = range(first, first + size)
        limbs = [(a - first, b - first) for a, b in skeleton.edges if {a, b} <= {*inside}]
        points = [skeleton.joints[joint].removeprefix(f"{part}_").upper() for joint in inside]
        name = f"{part.upper()}_LANDMARKS"
        components.append(PoseHeaderComponent(name, points, limbs, [(255, 0, 0)], "XYZC"))
        first += size
    return PoseHeader(0.2, PoseHeaderDimensions(640, 360, 100), components)


def take_turns(folder: Path) -> Result:
    """Return the seconds that each way takes for the clips of a folder, and the peak of MiB."""
    from lightning_jointprune.joint_files.rewrite import outputs_of, rewrite_all

    clips = sorted((folder / "clips").iterdir())
    selection = JointSelection.from_json(folder)
    points = _points(selection)

    def select(some: list[Path]) -> None:
        for result in rewrite_all(outputs_of(some, folder / "selected"), selection, workers=1):
            if not getattr(result, "made", False):
                raise ValueError(f"Expected a new file but got {result}.")

    ways: dict[str, Callable[[list[Path]], None]] = {
        "whole": lambda some: _by_pose_format(some, folder / "whole", None),
        "kept": lambda some: _by_pose_format(some, folder / "kept", points),
        "select": select,
    }
    for way in ways.values():
        way(clips[:2])  # what is loaded once does not count
    seconds, processor = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
    for first in range(2, len(clips), TURN):
        for name, way in ways.items():
            start, busy = time.perf_counter(), time.process_time()
            way(clips[first : first + TURN])
            seconds[name] += time.perf_counter() - start
            processor[name] += time.process_time() - busy
        for name in ("whole", "kept"):
            shutil.rmtree(folder / name)
    status = Path("/proc/self/status").read_text("utf-8")
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return {"seconds": seconds, "processor": processor, "clips": len(clips) - 2, "peak_mb": peak}


def _points(selection: JointSelection) -> dict[str, list[str]]:
    """Return the kept points as `Pose.get_components` wants them."""
    found: dict[str, list[str]] = {}
    for name in selection.names:
        part = next(part for part in ("pose", "face", "left_hand", "right_hand") if part in name)
        point = name.removeprefix(f"{part}_").upper()
        found.setdefault(f"{part.upper()}_LANDMARKS", []).append(point)
    return found


def _by_pose_format(clips: list[Path], folder: Path, points: dict[str, list[str]] | None) -> None:
    """Read clips by pose-format and write them, or some of their points."""
    from pose_format import Pose

    folder.mkdir(exist_ok=True)
    for clip in clips:
        with clip.open("rb") as file:
            pose = Pose.read(file)
        if points is not None:
            pose = pose.get_components(list(points), points)
        with (folder / clip.name).open("wb") as file:
            pose.write(file)


def cells(_store: Store, seeds: int) -> list[Settings]:
    def cell(seed: int) -> Settings:
        return {"script": "pose_files", "seed": seed, "clips": CLIPS, "pruned": False}

    return product(cell, seeds)


def figures(store: Store, seeds: int) -> list[Figure]:
    runs = results(store, cells(store, seeds))
    if not runs:
        return []
    whole, kept = (
        [run["seconds"][way] / run["seconds"]["select"] for run in runs]
        for way in ("whole", "kept")
    )
    busy = [run["processor"]["kept"] / run["processor"]["select"] for run in runs]
    selecting = [run["seconds"]["select"] for run in runs]
    peaks = [run["peak_mb"] for run in runs]
    return [
        at_least(
            "speed / pose-format's, which reads and writes whole clips", SHARE, min(whole), whole
        ),
        Figure("speed / pose-format's, the kept points written", "", spread(kept)),
        Figure("the same by the processor", "", spread(busy)),
        Figure("all clips, s", "", spread(selecting, 0)),
        at_most("peak resident memory, MiB", MEGABYTES, max(peaks), peaks),
    ]


ROWS = {
    "select": Row(
        "`.pose` files to the kept joints",
        f"{CLIPS:,} clips of {FRAMES} frames and 543 points, of which `{SUBSET}` are kept, on one "
        "core. pose-format and `jointprune select` take turns of a hundred clips. What else ran on "
        "the machine is in the seconds. The worst of all runs must reach the target.",
        2,
        cells,
        figures,
    )
}


def main() -> None:
    if sys.argv[1:2] == ["--in"]:
        print(json.dumps(take_turns(Path(sys.argv[2]))))
        return
    args = parser(__doc__, ROWS).parse_args()
    if args.workers != 1:
        raise SystemExit("Expected one worker, since others would take the time of this one.")
    measure("pose_files", ROWS, run, args)


if __name__ == "__main__":
    main()
