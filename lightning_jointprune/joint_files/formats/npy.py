"""Reads picked entries of one axis of an array in an npy file, and as little else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lightning_jointprune.joint_files.format import Format, Opened, write_sidecar
from lightning_jointprune.joint_files.labels import JointLabels
from lightning_jointprune.joint_files.picking import Picking
from lightning_jointprune.record.files import Place, whole_file
from lightning_jointprune.record.selection import JointSelection

PAGE = 4096  # smallest number of bytes that a disk reads; nearer entries are read in one piece
CHUNK = 1 << 22  # largest number of bytes that are read at once


@dataclass(frozen=True)
class StoredArray:
    """Describes an array in a file, whose header `np.lib.format` wrote.

    Args:
        file: the file, which is only read forwards from `start`.
        start: the first byte of its entries.
        shape: its shape.
        dtype: its type; Python objects are not read, since they would have to be unpickled.
        fortran: whether the first axis runs fastest in the file.
    """

    file: BinaryIO
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    def shape_of(self, axis: int, picked: Sequence[int]) -> tuple[int, ...]:
        """Return its shape with only the picked entries of an axis."""
        return (*self.shape[:axis], len(picked), *self.shape[axis + 1 :])

    def blocks(self, axis: int, picked: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Yield the bytes of the picked entries in the file's order, in pieces of at most `CHUNK`.

        Entries are skipped where they fill `PAGE` bytes or more. Where they fill less, a disk would
        read them all the same, so rows are read whole.

        Args:
            axis: the axis, 0 to ndim - 1.
            picked: ascending places on it.
        """
        if not picked:
            return
        shape = self.shape[::-1] if self.fortran else self.shape
        axis = len(shape) - 1 - axis if self.fortran else axis
        rows, size = math.prod(shape[:axis]), shape[axis]
        inner = math.prod(shape[axis + 1 :]) * self.dtype.itemsize
        runs = _runs(picked)
        gaps = [start - stop for (_, stop), (start, _) in pairwise(runs)]
        around = size - runs[-1][1] + runs[0][0]
        if max([*gaps, around if rows > 1 else 0]) * inner < PAGE and size * inner <= CHUNK:
            yield from self._whole_rows(rows, size, inner, picked)
            return
        for row in range(rows):
            for first, stop in runs:
                at, end = (row * size + first) * inner, (row * size + stop) * inner
                for place in range(at, end, CHUNK):
                    yield self._read(place, min(CHUNK, end - place))

    def _whole_rows(
        self, rows: int, size: int, inner: int, picked: Sequence[int]
    ) -> Iterator[NDArray[np.uint8]]:
        if not size * inner:
            return
        many = max(1, CHUNK // (size * inner))
        for row in range(0, rows, many):
            count = min(many, rows - row)
            block = self._read(row * size * inner, count * size * inner)
            yield block.reshape(count, size, inner)[:, picked].reshape(-1)

    def _read(self, at: int, count: int) -> NDArray[np.uint8]:
        if self.dtype.hasobject:
            raise ValueError(
                f"Expected numbers but got an array of Python objects of shape {self.shape}, which "
                "would have to be unpickled. Save it with a number type, such as float32."
            )
        block = np.empty(count, np.uint8)
        view, done = block.data, 0
        self.file.seek(self.start + at)
        while done < count:
            got = self.file.readinto(view[done:])  # type: ignore[attr-defined]
            if not got:
                raise ValueError(
                    f"Expected {self.start + at + count} bytes of an array of shape {self.shape} "
                    f"but got {self.start + at + done}. The file is cut short: make it again."
                )
            done += got
        return block

    def pick(self, axis: int, picked: Sequence[int]) -> NDArray[Any]:
        """Return the picked entries of an axis, as `np.take` would give them."""
        shape = self.shape_of(axis, picked)
        entries, done = np.empty(math.prod(shape) * self.dtype.itemsize, np.uint8), 0
        for block in self.blocks(axis, picked):
            entries[done : done + len(block)] = block
            done += len(block)
        return self._as_array(entries, shape)

    def whole(self) -> NDArray[Any]:
        """Return all entries."""
        entries = self._read(0, math.prod(self.shape) * self.dtype.itemsize)
        return self._as_array(entries, self.shape)

    def _as_array(self, entries: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[Any]:
        return entries.view(self.dtype).reshape(shape, order="F" if self.fortran else "C")


def stored_array(file: BinaryIO, start: int = 0) -> StoredArray:
    """Return the array whose npy header begins at `start`.

    Raises:
        ValueError: if there is none, or the version of the format is not known.
    """
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    file.seek(start)
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"Expected an npy file of version 1 or 2 but got {version}. Save it anew.")
    shape, fortran, dtype = readers[version](file)
    return StoredArray(file, file.tell(), tuple(shape), dtype, fortran)


def _runs(picked: Sequence[int]) -> list[tuple[int, int]]:
    """Return ascending places as ranges of places that follow one another."""
    starts = [n for n in range(len(picked)) if n == 0 or picked[n] != picked[n - 1] + 1]
    stops = [*starts[1:], len(picked)]
    return [(picked[a], picked[b - 1] + 1) for a, b in zip(starts, stops, strict=True)]


class NpyFile(Format):
    """Is the format of `np.save`; its labels stand beside the file."""

    suffix = ".npy"
    magic = b"\x93NUMPY"

    def write(
        self,
        opened: Opened,
        target: Place,
        selection: JointSelection,
        labels: JointLabels,
        axis: int | None,
    ) -> None:
        """Write the kept joints, in pieces."""
        array = stored_array(opened.file)
        axis = axis_of(array.shape, selection, axis)
        write_sidecar(target, labels)
        with whole_file(target) as partial, partial.open("wb") as out:
            write_array(array, axis, selection, out)

    def read(
        self,
        opened: Opened,
        picking: Picking,
        selected: bool,
        key: str | None,  # noqa: ARG002
    ) -> NDArray[Any]:
        """Return the kept joints, of which the others are skipped where that is possible."""
        return read_array(stored_array(opened.file), picking, selected)


def read_array(array: StoredArray, picking: Picking, selected: bool) -> NDArray[Any]:
    """Return the kept joints of an array, which may hold them alone."""
    if selected:
        picking.check_kept(array.shape)
        return array.whole()
    return array.pick(*picking.of(array.shape))


def write_array(array: StoredArray, axis: int, selection: JointSelection, out: Any) -> None:
    """Write the kept joints of an array as an npy file.

    Args:
        array: the array.
        axis: the axis of its joints.
        selection: the joints to keep.
        out: takes the bytes.
    """
    header = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": array.fortran,
        "shape": array.shape_of(axis, selection.indices),
    }
    np.lib.format.write_array_header_2_0(out, header)
    for block in array.blocks(axis, selection.indices):
        out.write(block.data)


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
