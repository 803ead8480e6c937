"""Reads and rewrites parquet with a row per landmark, as in Kaggle's competition of signs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_jointprune.joint_files.format import Opened, without_axis
from lightning_jointprune.joint_files.formats.parquet import (
    ParquetFile,
    parquet_of,
    write_rows,
)
from lightning_jointprune.joint_files.labels import KEY, JointLabels
from lightning_jointprune.joint_files.picking import Picking
from lightning_jointprune.record.files import Place, whole_file
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.skeletons import get_skeleton, skeleton_parts

FRAME, KIND, NUMBER = "frame", "type", "landmark_index"  # columns of a row's landmark
COORDINATES = ("x", "y", "z")
SKELETON = "mediapipe_holistic"  # whose parts are the types, each with its landmarks in order


class LongParquetFile(ParquetFile):
    """Is parquet with the columns `frame`, `type`, `landmark_index`, `x`, `y` and `z`.

    The new file has the rows of the kept joints, and every column.
    """

    def fits(self, opened: Opened) -> bool:
        """Return whether it is parquet with these columns."""
        return super().fits(opened) and {FRAME, KIND, NUMBER, *COORDINATES} <= {
            *parquet_of(opened).schema_arrow.names
        }

    def namings(self, opened: Opened) -> tuple[tuple[str, ...], ...]:
        """Return the names of a frame's landmarks, in the order of its rows."""
        return (_frames_of(opened)[1],)

    def write(
        self,
        opened: Opened,
        target: Place,
        selection: JointSelection,
        labels: JointLabels,
        axis: int | None,
    ) -> None:
        """Write the rows of the kept joints."""
        without_axis("parquet", "whose joints are rows", axis)
        frames, names = _frames_of(opened)
        kept = np.tile(np.isin(names, selection.names), frames)
        with whole_file(target) as partial:
            write_rows(parquet_of(opened), kept, partial, {KEY: labels.to_json()})

    def read(
        self,
        opened: Opened,
        picking: Picking,
        selected: bool,
        key: str | None,  # noqa: ARG002
    ) -> NDArray[Any]:
        """Return the kept joints."""
        frames, names = _frames_of(opened)
        table = parquet_of(opened).read(columns=list(COORDINATES))
        columns = [table.column(name).to_numpy() for name in COORDINATES]
        x = np.stack(columns, axis=-1).reshape(frames, 1, len(names), len(COORDINATES))
        return picking.arranged(
            x if selected else x[:, :, list(picking.selection.indices)], opened.name
        )


def _frames_of(opened: Opened) -> tuple[int, tuple[str, ...]]:
    """Return the number of frames, and the names of the landmarks of each.

    Raises:
        ValueError: if frames have other landmarks than the first, or there is none.
    """
    if "frames" in opened.memo:
        found: tuple[int, tuple[str, ...]] = opened.memo["frames"]
        return found
    table = parquet_of(opened).read(columns=[FRAME, KIND, NUMBER])
    frame, number = (table.column(name).to_numpy() for name in (FRAME, NUMBER))
    kind = np.asarray(table.column(KIND).to_pylist())
    if not len(frame):
        raise ValueError(f"Expected a frame or more in {opened.name} but got none. Leave it out.")
    count = int(np.argmax(frame != frame[0])) or len(frame)
    frames = len(frame) // count
    whole = frames * count == len(frame) and all(
        (column.reshape(frames, count) == column[:count]).all() for column in (kind, number)
    )
    if not whole or (frame.reshape(frames, count) != frame[::count, None]).any():
        raise ValueError(
            f"Expected the {count} landmarks of the first frame in every frame of {opened.name} "
            "but got others in some. Sort the rows by frame, and write those that were not found "
            "as NaN."
        )
    parts, joints = skeleton_parts(SKELETON), get_skeleton(SKELETON).joints
    try:
        names = tuple(
            joints[parts[part][place]]
            for part, place in zip(kind[:count].tolist(), number[:count].tolist(), strict=True)
        )
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"Expected the types {', '.join(parts)} of {SKELETON} with their landmarks in "
            f"{opened.name} but got {error}. Leave other rows out."
        ) from error
    opened.memo["frames"] = frames, names
    return frames, names
