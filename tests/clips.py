"""Make clips in the formats of detectors and data sets, as text, plain data and tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.poses import header_of, pose_of, write_pose

PARTS = {
    component.name: len(component.points) for component in header_of("openpose_137").components
}


def flat(points: int, seed: int) -> list[float]:
    return np.random.default_rng(seed).uniform(0.1, 600, 3 * points).tolist()


def openpose(people: int = 1, seed: int = 0, without: Any = ()) -> dict[str, Any]:
    """Return a frame of OpenPose."""
    return {
        "version": 1.3,
        "people": [
            {
                "person_id": [-1],
                **{
                    name: [] if name in without else flat(size, seed + 10 * person + n)
                    for n, (name, size) in enumerate(PARTS.items())
                },
                **{name.replace("_2d", "_3d"): [] for name in PARTS},
            }
            for person in range(people)
        ],
    }


def alphapose(points: int, frames: int = 3, people: int = 1) -> list[dict[str, Any]]:
    return [
        {
            "image_id": f"clip_{frame}.jpg",
            "category_id": 1,
            "keypoints": flat(points, 100 * frame + person),
            "score": 2.5,
            "box": [1.0, 2.0, 3.0, 4.0],
        }
        for frame in range(frames)
        for person in range(people)
    ]


def mmpose(points: int, frames: int = 3, people: int = 1) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    return [
        {
            "frame_id": frame,
            "instances": [
                {
                    "keypoints": random.uniform(0, 600, (points, 2)).tolist(),
                    "keypoint_scores": random.uniform(0, 1, points).tolist(),
                    "bbox": [[1.0, 2.0, 3.0, 4.0]],
                    "bbox_score": 0.5,
                }
                for _ in range(people)
            ],
        }
        for frame in range(frames)
    ]


BODY = "72057594037931101"  # number of a body in NTU RGB+D
SIZES = {"face": 468, "left_hand": 21, "pose": 33, "right_hand": 21}


def text_of(frames: list[dict[str, Any]]) -> str:
    """Return the text of frames, each with the joints of bodies, shape `(25, 12)`."""
    lines = [str(len(frames))]
    for frame in frames:
        lines.append(str(len(frame)))
        for body, joints in frame.items():
            lines += [f"{body} 0 1 1 1 1 0 0.02764709 0.05745083 2", str(len(joints))]
            lines += [" ".join(map(str, joint)) for joint in joints.tolist()]
    return "\r\n".join(lines) + "\r\n"


def joints(seed: int, count: int = 25) -> Any:
    values = np.random.default_rng(seed).normal(size=(count, 12)).round(7)
    values[:, 11] = seed % 3
    return values


def table_of(x: Any, first: int = 20) -> pa.Table:
    """Return frames of the competition's landmarks, of which NaN were not found."""
    frames = len(x)
    kinds = [kind for kind, size in SIZES.items() for _ in range(size)]
    numbers = [number for size in SIZES.values() for number in range(size)]
    frame = np.repeat(np.arange(first, first + frames, dtype=np.int16), 543)
    rows = zip(frame, kinds * frames, numbers * frames, strict=True)
    return pa.table(
        {
            "frame": frame,
            "row_id": [f"{f}-{kind}-{number}" for f, kind, number in rows],
            "type": kinds * frames,
            "landmark_index": np.array(numbers * frames, np.int16),
            **{name: x[..., n].reshape(-1).astype(np.float64) for n, name in enumerate("xyz")},
        }
    )


def write_clips(folder: Path) -> None:
    """Write a clip in each format, of which the `.pose` files have two hands alone."""
    hands = header_of("holistic_543").components[2:]
    for number, sign in enumerate(("hello", "thanks")):
        pose = pose_of(hands, frames=5 + number, seed=number)
        write_pose(folder / "clips" / f"{sign}.pose", pose)
    for frame in range(4):
        path = folder / "openpose" / "hello" / f"hello_{frame:012}_keypoints.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(openpose(seed=frame)))
    (folder / "alphapose.json").write_text(json.dumps(alphapose(136)))
    (folder / "mmpose.json").write_text(json.dumps(mmpose(133)))
    bodies = [{BODY: joints(1)}, {BODY: joints(2)}]
    (folder / "S001C001P001R001A001.skeleton").write_text(text_of(bodies))
    x = np.random.default_rng(0).normal(size=(3, 543, 3))
    pq.write_table(table_of(x), folder / "1000.parquet")
