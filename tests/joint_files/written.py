"""Writes skeletons as files, and counts what is read of a file."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lightning_jointprune.record.selection import JointSelection

PAGE = 4096


def selection_of(kept: Any, joints: int, prefix: str = "joint") -> JointSelection:
    kept = tuple(sorted(kept))
    names = tuple(f"{prefix}{n}" for n in range(joints))
    return JointSelection(
        kept, joints, names, tuple(0.9 if n in kept else 0.1 for n in range(joints))
    )


class Counted(io.FileIO):
    """Counts the bytes that are asked of a file, and the pages that a disk reads for it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self.bytes = 0
        self.pages: set[int] = set()

    def _note(self, start: int, count: int) -> None:
        self.bytes += count
        self.pages.update(range(start // PAGE, math.ceil((start + count) / PAGE)))

    def read(self, size: Any = -1) -> Any:
        start = self.tell()
        content = super().read(size)
        self._note(start, len(content or b""))
        return content

    def readinto(self, buffer: Any) -> Any:
        start = self.tell()
        count = super().readinto(buffer)
        self._note(start, count or 0)
        return count

    def readall(self) -> Any:
        return self.read(-1)


def write_parquet(path: Path, x: Any, names: Any, **more: Any) -> None:
    """Write an array `(frames, joints, coordinates)` as a column per joint and coordinate."""
    columns = {
        f"{name}_{'xyzw'[c]}": pa.array(x[:, n, c])
        for n, name in enumerate(names)
        for c in range(x.shape[2])
    }
    pq.write_table(pa.table({"frame": pa.array(range(len(x))), **columns}), path, **more)


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
