"""Rewrites files of skeletons to the kept joints, each whole or not at all."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from lightning_jointprune.joint_files.labels import (
    KEY,
    JointLabels,
    is_selected,
    labels_of,
    sidecar,
)
from lightning_jointprune.joint_files.npy import (
    NPY,
    PARQUET,
    ZIP,
    StoredArray,
    keys_of,
    kind_of,
    member,
    stored_array,
)
from lightning_jointprune.joint_files.parquet import columns_of, parquet_file, write_columns
from lightning_jointprune.record.files import PathLike, Place, place, whole_file, write_text
from lightning_jointprune.record.selection import JointSelection

EPOCH = (1980, 1, 1, 0, 0, 0)  # first date of a zip, so that equal data give equal files


class Rewritten(NamedTuple):
    """Says where a file was rewritten to, and how much smaller it became.

    Attributes:
        path: the new file.
        made: whether it was made now; False if this file, selection and axis had made it before.
        before: bytes of the old file.
        after: bytes of the new file.
    """

    path: Place
    made: bool
    before: int
    after: int

    def __str__(self) -> str:
        there = "" if self.made else ", there already"
        return f"{self.path}: {self.after} of {self.before} bytes{there}"


def outputs_of(paths: Sequence[PathLike], folder: PathLike) -> list[Place]:
    """Return the path of each file in a folder, under its own name.

    Raises:
        ValueError: if two have the same name.
    """
    names = [place(path).name for path in paths]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        both = " and ".join(str(path) for path in paths if place(path).name == twice)
        raise ValueError(
            f"Expected files of different names but got {both}, which would both become "
            f"{place(folder) / twice}. Pass those of one folder at a time, each with its own -o."
        )
    return [place(folder) / name for name in names]


def rewrite(
    path: PathLike, output: PathLike, selection: JointSelection, axis: int | None = None
) -> Rewritten:
    """Write the kept joints of a file to another one of the same kind, in pieces.

    Of an npz file, arrays of at least two axes with one of J are rewritten, and others copied.
    Labels say which joints the new file holds and which file they are from. They stand beside it
    (npy), under the key `jointprune` in it (npz), or in the metadata of its schema (parquet). A new
    file that has the right labels already is left as it is.

    Args:
        path: an npy, npz or parquet file that has all joints.
        output: the new file.
        selection: the joints to keep.
        axis: the axis of the joints, 0 to ndim - 1; None where only one has their number.

    Raises:
        ValueError: if the file has other joints, only the kept ones, or several axes of J; or if
            the output is there and was not written by this, or is the file itself.
    """
    source, target = place(path), place(output)
    _check_place(source, target)
    wanted = JointLabels.of(selection, source, axis)
    with source.open("rb", buffering=0) as opened:
        file: Any = opened
        if is_selected(labels_of(file, source), selection, f"`{source}`"):
            kept = f"{len(selection.indices)} of {selection.num_joints}"
            raise ValueError(
                f"Expected a file with all joints but got {source}, which has the {kept} that the "
                "selection keeps. It needs nothing: read it as it is."
            )
        made = not _is_there(target, wanted)
        if made:
            kind = kind_of(file)
            write = {NPY: _write_npy, ZIP: _write_npz, PARQUET: _write_parquet}[kind]
            write(file, target, selection, wanted, axis)
    return Rewritten(target, made, source.stat().st_size, target.stat().st_size)


def _check_place(source: Place, target: Place) -> None:
    if target.exists() and target.samefile(source):
        raise ValueError(
            f"Expected a place for a new file but got {target}, which is the file itself. Pass -o "
            "another folder."
        )


def _is_there(target: Place, wanted: JointLabels) -> bool:
    """Return whether the output is finished already."""
    if not target.exists():
        return False
    with target.open("rb", buffering=0) as opened:
        file: Any = opened
        found = labels_of(file, target)
    if found is None:
        raise ValueError(
            f"Expected a place for a new file but got {target}, which is there and was not written "
            "by jointprune select. Pass -o another folder."
        )
    return found == wanted


def _write_npy(
    file: BinaryIO, target: Place, selection: JointSelection, wanted: JointLabels, axis: int | None
) -> None:
    array = stored_array(file)
    axis = axis_of(array.shape, selection, axis)
    # The sidecar comes first: wherever this stops, an array and a sidecar belong together.
    target.unlink(missing_ok=True)
    write_text(sidecar(target), wanted.to_json() + "\n")
    with whole_file(target) as partial, partial.open("wb") as out:
        _write_array(array, axis, selection, out)


def _write_array(array: StoredArray, axis: int, selection: JointSelection, out: Any) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": array.fortran,
        "shape": array.shape_of(axis, selection.indices),
    }
    np.lib.format.write_array_header_2_0(out, header)
    for block in array.blocks(axis, selection.indices):
        out.write(block.data)


def _write_npz(
    file: BinaryIO, target: Place, selection: JointSelection, wanted: JointLabels, axis: int | None
) -> None:
    joints, kept = selection.num_joints, 0
    with (
        zipfile.ZipFile(file) as archive,
        whole_file(target) as partial,
        zipfile.ZipFile(partial, "w") as new,
    ):
        for key in keys_of(archive):
            if key == KEY:  # the labels of a file that was rewritten itself
                continue
            array, info = member(archive, file, key), archive.getinfo(f"{key}.npy")
            same = zipfile.ZipInfo(info.filename, EPOCH)
            same.compress_type = info.compress_type
            with new.open(same, "w", force_zip64=True) as out:
                if len(array.shape) < 2 or joints not in array.shape or array.dtype.hasobject:
                    with archive.open(info) as old:
                        shutil.copyfileobj(old, out)
                    continue
                place = axis_of(array.shape, selection, axis, f"array `{key}` of ")
                _write_array(array, place, selection, out)
                kept += 1
        if not kept:
            raise ValueError(
                f"Expected an array with an axis of {joints} joints but got none, of "
                f"{', '.join(keys_of(archive)) or 'no arrays'}. Pass the selection of a run on "
                "these data."
            )
        with new.open(zipfile.ZipInfo(f"{KEY}.npy", EPOCH), "w") as out:
            np.lib.format.write_array(out, np.array(wanted.to_json()))


def _write_parquet(
    file: BinaryIO, target: Place, selection: JointSelection, wanted: JointLabels, axis: int | None
) -> None:
    if axis is not None:
        raise ValueError(
            f"Expected no axis for parquet, whose joints are columns, but got {axis}. Leave it out."
        )
    parquet = parquet_file(file)
    names = parquet.schema_arrow.names
    columns = columns_of(names, selection.joint_names)
    of_joints = {column for some in columns.values() for column in some}
    others = [name for name in names if name not in of_joints]
    kept = [column for joint in selection.names for column in columns[joint]]
    with whole_file(target) as partial:
        write_columns(parquet, [*others, *kept], partial, {KEY: wanted.to_json()})


def axis_of(
    shape: Sequence[int], selection: JointSelection, axis: int | None = None, name: str = ""
) -> int:
    """Return the axis of an array that has its joints.

    Args:
        shape: its shape.
        selection: gives the number of joints.
        axis: the axis that the user named; None where only one axis has their number.
        name: name of the array, for the message.

    Raises:
        ValueError: if there is no such axis, or several.
    """
    joints, kept = selection.num_joints, len(selection.indices)
    places = [place for place, size in enumerate(shape) if size == joints]
    if axis is not None and axis in places:
        return axis
    if axis is None and len(places) == 1:
        return places[0]
    if axis is None and places:
        raise ValueError(
            f"Expected one axis of {joints} joints but got {name}shape {tuple(shape)} with "
            f"{len(places)} of them. Pass --axis {places[0]}, or {places[-1]}."
        )
    where = "an axis" if axis is None else f"axis {axis}"
    hint = " It may have been selected already: then read it as it is." if kept in shape else ""
    flat = next((size for size in shape if size > joints and size % joints == 0), None)
    if flat is not None:
        hint = (
            f" {flat} may be {joints} joints of {flat // joints} coordinates: give them axes of "
            f"their own first, x.reshape(-1, {joints}, {flat // joints}) where a joint's "
            "coordinates are side by side."
        )
    raise ValueError(
        f"Expected {where} of {joints} joints but got {name}shape {tuple(shape)}. Pass a selection "
        f"of a run on these data, or --axis.{hint}"
    )
