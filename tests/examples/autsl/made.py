"""Make small data in the layouts that the example reads."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from examples.autsl.data.module import SignData
from examples.autsl.data.synthetic import (
    SyntheticSettings,
)
from tests.runs import SMALL_FLAGS

SMALL = SyntheticSettings(signs=3, clips=(12, 6, 6), signers=(2, 1, 1), frames=(5, 8), size=32)


DEMO_FLAGS = [
    *SMALL_FLAGS,
    "--datamodule.synthetic.signs=3",
    "--datamodule.synthetic.clips=[48,12,12]",
    "--datamodule.synthetic.signers=[3,2,2]",
    "--datamodule.synthetic.frames=[5,8]",
    "--datamodule.synthetic.size=32",
]


def data_of(folder: Path, **settings: object) -> SignData:
    data = SignData(str(folder), num_frames=6, batch_size=4, **settings)
    data.prepare_data()
    data.setup("fit")
    return data


def write_npz(path: Path, **changes: np.ndarray | None) -> Path:
    rng = np.random.default_rng(0)
    content = {
        "x": rng.normal(size=(40, 7, 5, 2)).astype(np.float16),
        "y": np.arange(40) % 4,
        "test": np.arange(40) >= 30,
        "joint_names": np.array(["a", "b", "c", "d", "e"]),
    }
    content.update({key: value for key, value in changes.items() if value is not None})
    for key in [key for key, value in changes.items() if value is None]:
        del content[key]
    np.savez(path, **content)
    return path


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))
