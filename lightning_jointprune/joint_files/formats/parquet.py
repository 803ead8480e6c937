"""Reads and writes skeletons in parquet: a row per frame, and columns named by their joints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lightning_jointprune.joint_files.format import Format, Opened, without_axis
from lightning_jointprune.joint_files.labels import KEY, JointLabels
from lightning_jointprune.joint_files.picking import Picking
from lightning_jointprune.record.files import Place, whole_file
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.record.versions import check_installed

BUFFER = 1 << 20  # bytes of a column that are read at once
ROWS, CELLS = 1 << 16, 1 << 22  # largest numbers of rows and of cells that are held at once


def parquet_file(file: BinaryIO) -> Any:
    """Return a `pyarrow.parquet.ParquetFile` that reads only the columns that are asked for.

    Raises:
        ModuleNotFoundError: if pyarrow is not installed.
    """
    check_installed("data", "reads parquet files", "pyarrow", "pyarrow.parquet")
    from pyarrow.parquet import ParquetFile

    # A pre-buffer would join columns that are near each other, with what lies between them.
    return ParquetFile(file, pre_buffer=False, buffer_size=BUFFER)


def columns_of(names: Sequence[str], joint_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the columns of each joint, in the order of the file.

    A column belongs to a joint if its name is the joint's, alone or with `_` or `.` and a
    coordinate. Where several joints fit, such as `left_eye` and `left_eye_inner`, the longest name
    counts.

    Args:
        names: names of all columns.
        joint_names: names of all joints, shape `(J,)`.

    Raises:
        ValueError: if joints have no column, or not all of them the same coordinates.

    >>> columns_of(["frame", "eye_x", "eye_y", "nose_x", "nose_y"], ["nose", "eye"])
    {'nose': ('nose_x', 'nose_y'), 'eye': ('eye_x', 'eye_y')}
    """
    found: dict[str, list[str]] = {joint: [] for joint in joint_names}
    for column in names:
        cuts = (place for place, letter in enumerate(column) if letter in "_.")
        starts = [column, *(column[:place] for place in sorted(cuts, reverse=True))]
        joint = next((start for start in starts if start in found), None)
        if joint is not None:
            found[joint].append(column)
    missing = [joint for joint, columns in found.items() if not columns]
    if missing:
        raise ValueError(
            f"Expected columns of {len(found)} joints but got those of "
            f"{len(found) - len(missing)}; {missing[0]!r} has none. The columns are "
            f"{', '.join(names[:4])}, …. Name them by joint, or by joint and coordinate, such as "
            f"{missing[0]}_x."
        )
    coordinates = {
        joint: tuple(column[len(joint) :] for column in columns) for joint, columns in found.items()
    }
    first, usual = next(iter(coordinates.items()))
    other = next((joint for joint, ends in coordinates.items() if ends != usual), None)
    if other is not None:
        raise ValueError(
            f"Expected the same coordinates of every joint but got {found[first]} of {first!r} and "
            f"{found[other]} of {other!r}. Rename the columns that are no coordinates."
        )
    return {joint: tuple(columns) for joint, columns in found.items()}


def pick_columns(
    parquet: Any, columns: Mapping[str, Sequence[str]], joints: Sequence[str]
) -> NDArray[Any]:
    """Return the picked joints as an array, shape `(rows, K)` or `(rows, K, coordinates)`.

    Args:
        parquet: the file.
        columns: the columns of each joint.
        joints: the joints to read, in the order to have them in.
    """
    wanted = [column for joint in joints for column in columns[joint]]
    table = parquet.read(columns=wanted)
    parts = [_numbers(table.column(column).combine_chunks()) for column in wanted]
    stacked = np.stack(parts, axis=1)
    if len(parts) == len(joints):  # a column per joint, of numbers or of lists of coordinates
        return stacked
    # numpy cannot find out a size of -1 where there are no rows.
    return stacked.reshape(table.num_rows, len(joints), prod(stacked.shape[1:]) // len(joints))


def _numbers(column: Any) -> NDArray[Any]:
    """Return a column as an array, with NaN for what is missing."""
    from pyarrow import compute, types

    kind = column.type
    if not (types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind)):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    sizes = set(compute.list_value_length(column).to_pylist())
    if len(sizes) > 1 or None in sizes:
        raise ValueError(
            f"Expected lists of as many coordinates in every row but got {sizes} of them. Write "
            "the missing ones as NaN."
        )
    none = kind.list_size if types.is_fixed_size_list(kind) else 0  # where there are no rows
    flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False))
    return flat.reshape(len(column), max(sizes, default=none))


def batches_of(parquet: Any, columns: Sequence[str]) -> Iterator[Any]:
    """Yield some columns of a file as record batches of a bounded size."""
    rows = min(ROWS, max(1024, CELLS // max(len(columns), 1)))
    yield from parquet.iter_batches(batch_size=rows, columns=list(columns))


def write_columns(
    parquet: Any, columns: Sequence[str], path: Any, label: Mapping[str, str]
) -> None:
    """Write some columns of a file to another one.

    Args:
        parquet: the file.
        columns: names of the columns, in the order to have them in.
        path: the new file.
        label: keys and values to add to the metadata of its schema.
    """
    with _writer(parquet, columns, path, label) as writer:
        for batch in batches_of(parquet, columns):
            writer.write_batch(batch.select(list(columns)))


def write_rows(parquet: Any, kept: NDArray[np.bool_], path: Any, label: Mapping[str, str]) -> None:
    """Write some rows of a file to another one.

    Args:
        parquet: the file.
        kept: which rows to write, shape `(rows,)`.
        path: the new file.
        label: keys and values to add to the metadata of its schema.
    """
    columns, first = parquet.schema_arrow.names, 0
    with _writer(parquet, columns, path, label) as writer:
        for batch in batches_of(parquet, columns):
            writer.write_batch(batch.filter(kept[first : first + batch.num_rows]))
            first += batch.num_rows


def _writer(parquet: Any, columns: Sequence[str], path: Any, label: Mapping[str, str]) -> Any:
    """Return what writes some columns in the way in which a file is written."""
    from pyarrow import schema
    from pyarrow.parquet import ParquetWriter

    old, groups = parquet.schema_arrow, parquet.metadata
    codec = "none"
    if groups.num_row_groups and groups.num_columns:
        codec = groups.row_group(0).column(0).compression.lower()
    new = {key.encode(): text.encode() for key, text in label.items()}  # bytes, as in pyarrow
    metadata = {**(old.metadata or {}), **new}
    fields = schema([old.field(column) for column in columns], metadata=metadata)
    codec = "none" if codec == "uncompressed" else codec
    return ParquetWriter(path, fields, compression=codec)


def parquet_of(opened: Opened) -> Any:
    """Return an open file as a `ParquetFile`, whose footer is read once."""
    if "parquet" not in opened.memo:
        opened.memo["parquet"] = parquet_file(opened.file)
    return opened.memo["parquet"]


class ParquetFile(Format):
    """Is parquet with a row per frame; its labels are in the metadata of its schema."""

    suffix = ".parquet"
    magic = b"PAR1"

    def labels(self, opened: Opened) -> JointLabels | None:
        """Return the labels in the metadata of the schema."""
        return labels_in(parquet_of(opened))

    def write(
        self,
        opened: Opened,
        target: Place,
        selection: JointSelection,
        labels: JointLabels,
        axis: int | None,
    ) -> None:
        """Write the columns of the kept joints, and those of no joint."""
        without_axis("parquet", "whose joints are columns", axis)
        parquet = parquet_of(opened)
        names = parquet.schema_arrow.names
        columns = columns_of(names, selection.joint_names)
        of_joints = {column for some in columns.values() for column in some}
        others = [name for name in names if name not in of_joints]
        kept = [column for joint in selection.names for column in columns[joint]]
        with whole_file(target) as partial:
            write_columns(parquet, [*others, *kept], partial, {KEY: labels.to_json()})

    def read(
        self,
        opened: Opened,
        picking: Picking,
        selected: bool,
        key: str | None,  # noqa: ARG002
    ) -> NDArray[Any]:
        """Return the kept joints, of which only the columns are read."""
        layout = picking.layout
        words = layout.words
        if words.index("j") != 1 or len(words) > 3 or len(layout.groups[0]) > 1:
            raise ValueError(
                f"Expected axes whose words are frames, joints and coordinates, as parquet has "
                f'them, but got {layout.pattern!r}. Pass axes="t j c", or "t (j c)".'
            )
        parquet, names = parquet_of(opened), picking.selection.names
        known = names if selected else picking.selection.joint_names
        x = pick_columns(parquet, columns_of(parquet.schema_arrow.names, known), names)
        if x.ndim != len(words):
            raise ValueError(
                f"Expected columns with the axes {layout.pattern!r} but got an array of "
                f"frames and joints with {x.ndim} axes. Pass axes={'t j c'[: 2 * x.ndim - 1]!r}."
            )
        return x.reshape([x.shape[0], -1]) if len(layout.groups) < x.ndim else x


def labels_in(parquet: Any) -> JointLabels | None:
    """Return the labels in the metadata of a file's schema, if there are some."""
    text = (parquet.schema_arrow.metadata or {}).get(KEY.encode())
    return None if text is None else JointLabels.from_json(text)
