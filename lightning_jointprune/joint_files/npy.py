"""Reads picked entries of one axis of arrays in npy and npz files, and as little else."""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

PAGE = 4096  # smallest number of bytes that a disk reads; nearer entries are read in one piece
CHUNK = 1 << 22  # largest number of bytes that are read at once
NPY, ZIP, PARQUET = b"\x93NUMPY", b"PK\x03\x04", b"PAR1"
_LOCAL_HEADER = struct.Struct("<26xHH")  # lengths of name and extra in the header of a zip member


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


def kind_of(file: BinaryIO) -> bytes:
    """Return the kind of a file by its first bytes: `NPY`, `ZIP` or `PARQUET`.

    Raises:
        ValueError: if it is none of these.
    """
    file.seek(0)
    head = file.read(len(NPY))
    for kind in (NPY, ZIP, PARQUET):
        if head.startswith(kind):
            return kind
    raise ValueError(
        f"Expected an npy, npz or parquet file but got one that begins with {head!r}. Save the "
        "skeletons by np.save, np.savez or pyarrow.parquet.write_table."
    )


def _runs(picked: Sequence[int]) -> list[tuple[int, int]]:
    """Return ascending places as ranges of places that follow one another."""
    starts = [n for n in range(len(picked)) if n == 0 or picked[n] != picked[n - 1] + 1]
    stops = [*starts[1:], len(picked)]
    return [(picked[a], picked[b - 1] + 1) for a, b in zip(starts, stops, strict=True)]
