"""Measure what each part of MediaPipe costs per frame.

    pip install "mediapipe==0.10.21" "numpy<2" scikit-image rich    in an environment of its own
    python -m benchmarks.extraction                                 about two minutes

Measures MediaPipe's own solutions, whose models come with it, on one picture as a video: a person
to the waist, scikit-image's `astronaut`, shifted a little from frame to frame so that tracking has
something to do. The solutions answer the same frames in turn, so that what slows the machine down
slows all of them. A figure is processor time, of all threads; the first frames, which load the
models, do not count. The figures are written to
`lightning_jointprune/data/extraction_costs.json`, where `extraction_plan` reads them, and
`python -m benchmarks.report_results` writes them into RESULTS.md. This needs no torch.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.shared.machine import cpu

COSTS = Path(__file__).resolve().parents[1] / "lightning_jointprune/data/extraction_costs.json"
SETTING = (
    "Medians, with the quartiles; *of Holistic* is the median of the ratios frame by frame. The "
    "person in the picture is seen to the waist, without hands, so Hands is asked to follow two "
    "whatever they are (confidences of 0): it costs what it costs on hands. Holistic follows none "
    "here, and would take longer on a picture with hands, so the share of Hands is an upper bound."
)
WARM_UP = 5
SHIFT = 6  # pixels that the picture moves by
FOUND = {
    "pose": ("pose_landmarks",),
    "face": ("multi_face_landmarks",),
    "hands": ("multi_hand_landmarks",),
    "holistic": (
        "pose_landmarks",
        "face_landmarks",
        "left_hand_landmarks",
        "right_hand_landmarks",
    ),
}


def solutions() -> dict[str, Any]:
    """Return the solutions by name, each as on a video; Hands follows what may be no hands."""
    from mediapipe import solutions as known

    return {
        "pose": known.pose.Pose(),
        "face": known.face_mesh.FaceMesh(max_num_faces=1),
        "hands": known.hands.Hands(
            max_num_hands=2, min_detection_confidence=0.0, min_tracking_confidence=0.0
        ),
        "holistic": known.holistic.Holistic(),
    }


def frames(count: int) -> list[Any]:
    """Return the picture as a video, RGB, shape `(512, 512, 3)` each."""
    import numpy as np
    from skimage import data

    picture = data.astronaut()
    return [np.roll(picture, SHIFT * (n % 3 - 1), axis=1).copy() for n in range(count)]


def measure(count: int) -> tuple[dict[str, list[float]], dict[str, dict[str, float]]]:
    """Return each frame's milliseconds of processor time, and in what share parts were found."""
    running = solutions()
    times: dict[str, list[float]] = {name: [] for name in running}
    seen: dict[str, dict[str, float]] = {name: dict.fromkeys(FOUND[name], 0.0) for name in running}
    for number, frame in enumerate(frames(count + WARM_UP)):
        for name, solution in running.items():
            start = time.process_time()
            found = solution.process(frame)
            if number < WARM_UP:
                continue
            times[name].append(1000 * (time.process_time() - start))
            for landmarks in FOUND[name]:
                seen[name][landmarks] += (getattr(found, landmarks) is not None) / count
    return times, seen


def record(
    times: Mapping[str, list[float]], seen: Mapping[str, Mapping[str, float]], version: str
) -> dict[str, Any]:
    """Return what is written down of a measurement."""

    def spread(of: Callable[[int], float]) -> dict[str, float]:
        ratios = [of(n) for n in range(len(times["holistic"]))]
        low, _, high = quantiles(ratios, n=4)
        return {"median": round(median(ratios), 4), "low": round(low, 4), "high": round(high, 4)}

    return {
        "milliseconds": {name: spread(lambda n, name=name: times[name][n]) for name in times},
        "of_holistic": {
            name: spread(lambda n, name=name: times[name][n] / times["holistic"][n])
            for name in times
        },
        "found": {
            name: {key: round(share, 2) for key, share in of.items()} for name, of in seen.items()
        },
        "frames": len(times["holistic"]),
        "mediapipe": version,
        "cpu": cpu(),
        "date": time.strftime("%Y-%m-%d"),
    }


def section(path: Path = COSTS) -> str:
    """Return the part of RESULTS.md, from its title on; empty before anything was measured."""
    if not path.is_file():
        return ""
    found = json.loads(path.read_text("utf-8"))
    lines = [
        "| solution | ms of processor time a frame | of Holistic | found |",
        "|---|---|---|---|",
    ]
    for name, cost in found["milliseconds"].items():
        share = found["of_holistic"][name]
        there = ", ".join(f"{key} {100 * part:.0f} %" for key, part in found["found"][name].items())
        spread = [
            f"{figure['median']:.3g} ({figure['low']:.3g} … {figure['high']:.3g})"
            for figure in (cost, share)
        ]
        lines.append(f"| {name} | {spread[0]} | {spread[1]} | {there} |")
    where = f"{found['frames']} frames of 512 × 512 on {found['date']}; {found['cpu']}"
    table = "\n".join(lines)
    return f"""extraction: what each part of MediaPipe costs per frame

`python -m benchmarks.extraction`

{SETTING}

{table}

{where}; mediapipe {found["mediapipe"]}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=60, help="frames that count (default: 60)")
    parser.add_argument("--write", type=Path, default=COSTS, help="where to")
    args = parser.parse_args()
    try:
        import mediapipe
    except ModuleNotFoundError:
        sys.exit("Expected MediaPipe but it is not installed; the first lines of --help say how.")
    found = record(*measure(args.frames), mediapipe.__version__)
    args.write.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
