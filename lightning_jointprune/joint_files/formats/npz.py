"""Reads and rewrites npz files, whose arrays with joints are rewritten and whose others stay."""

from __future__ import annotations

import shutil
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lightning_jointprune.joint_files.format import Format, Opened
from lightning_jointprune.joint_files.formats.npy import (
    StoredArray,
    axis_of,
    read_array,
    stored_array,
    write_array,
)
from lightning_jointprune.joint_files.labels import KEY, JointLabels
from lightning_jointprune.joint_files.picking import Picking
from lightning_jointprune.record.files import Place, whole_file
from lightning_jointprune.record.selection import JointSelection

EPOCH = (1980, 1, 1, 0, 0, 0)  # first date of a zip, so that equal data give equal files
_LOCAL_HEADER = struct.Struct("<26xHH")  # lengths of name and extra in the header of a zip member


class NpzFile(Format):
    """Is the format of `np.savez` and `np.savez_compressed`; its labels are an array more."""

    suffix = ".npz"
    magic = b"PK\x03\x04"

    def labels(self, opened: Opened) -> JointLabels | None:
        """Return the labels under the key `jointprune`."""
        with zipfile.ZipFile(opened.file) as archive:
            if KEY not in keys_of(archive):
                return None
            return JointLabels.from_json(str(member(archive, opened.file, KEY).whole()))

    def write(
        self,
        opened: Opened,
        target: Place,
        selection: JointSelection,
        labels: JointLabels,
        axis: int | None,
    ) -> None:
        """Write the kept joints of each array that has all of them, in pieces."""
        joints, kept = selection.num_joints, 0
        with (
            zipfile.ZipFile(opened.file) as archive,
            whole_file(target) as partial,
            zipfile.ZipFile(partial, "w") as new,
        ):
            for key in keys_of(archive):
                if key == KEY:  # the labels of a file that was rewritten itself
                    continue
                array, info = member(archive, opened.file, key), archive.getinfo(f"{key}.npy")
                same = zipfile.ZipInfo(info.filename, EPOCH)
                same.compress_type = info.compress_type
                with new.open(same, "w", force_zip64=True) as out:
                    if len(array.shape) < 2 or joints not in array.shape or array.dtype.hasobject:
                        with archive.open(info) as old:
                            shutil.copyfileobj(old, out)
                        continue
                    place = axis_of(array.shape, selection, axis, f"array `{key}` of ")
                    write_array(array, place, selection, out)
                    kept += 1
            if not kept:
                raise ValueError(
                    f"Expected an array with an axis of {joints} joints but got none, of "
                    f"{', '.join(keys_of(archive)) or 'no arrays'}. Pass the selection of a run on "
                    "these data."
                )
            _write_labels(new, labels)

    def read(
        self, opened: Opened, picking: Picking, selected: bool, key: str | None
    ) -> NDArray[Any]:
        """Return the kept joints of an array."""
        with zipfile.ZipFile(opened.file) as archive:
            array = member(archive, opened.file, _key(archive, key))
            return read_array(array, picking, selected)


def write_arrays(target: Place, arrays: Mapping[str, NDArray[Any]], labels: JointLabels) -> None:
    """Write arrays of kept joints, and their labels, to an npz file."""
    with whole_file(target) as partial, zipfile.ZipFile(partial, "w") as new:
        for key, array in arrays.items():
            with new.open(zipfile.ZipInfo(f"{key}.npy", EPOCH), "w", force_zip64=True) as out:
                np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
        _write_labels(new, labels)


def _write_labels(new: zipfile.ZipFile, labels: JointLabels) -> None:
    with new.open(zipfile.ZipInfo(f"{KEY}.npy", EPOCH), "w") as out:
        np.lib.format.write_array(out, np.array(labels.to_json()))


def member(archive: zipfile.ZipFile, file: BinaryIO, key: str) -> StoredArray:
    """Return an array of an npz file.

    What `np.savez` stored is read in place. What `np.savez_compressed` made has to be decompressed
    from its first byte on, whichever entries are picked.

    Args:
        archive: the npz file.
        file: the same file, opened by itself.
        key: name of the array.
    """
    info = archive.getinfo(f"{key}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        return stored_array(archive.open(info))  # type: ignore[arg-type]
    file.seek(info.header_offset)
    name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    return stored_array(file, info.header_offset + _LOCAL_HEADER.size + name + extra)


def keys_of(archive: zipfile.ZipFile) -> list[str]:
    """Return the names of the arrays of an npz file, in its order."""
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _key(archive: zipfile.ZipFile, key: str | None) -> str:
    """Return the key of the array that is meant in an npz file."""
    known = [name for name in keys_of(archive) if name != KEY]
    if key is None and len(known) == 1:
        return known[0]
    if key not in known:
        raise ValueError(
            f"Expected the name of an array in the npz file, out of {', '.join(known)}, but got "
            f"{key!r}. Pass key={known[0] if known else 'keypoints'!r}."
        )
    return str(key)
