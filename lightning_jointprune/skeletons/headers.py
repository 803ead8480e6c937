"""Reads the header of a `.pose` file, by pose-format."""

from __future__ import annotations

import struct
from copy import deepcopy
from typing import Any, BinaryIO

from lightning_jointprune.record.files import PathLike, place
from lightning_jointprune.record.versions import check_installed

SUFFIX = ".pose"
VERSIONS = (0.0, 0.1, 0.2)
_LAST: list[tuple[bytes, Any]] = []  # the header that was read last, after its bytes
HEADER_BYTES = 1 << 16  # first bytes to read for a header: that of 576 points has 40,000


def is_pose_file(name: object) -> bool:
    """Return whether a text is the path of a `.pose` file."""
    return isinstance(name, str) and name.endswith(SUFFIX)


def header_of_file(path: PathLike) -> Any:
    """Return the `PoseHeader` of a `.pose` file, of which nothing else is read.

    Raises:
        ValueError: if it is none, or cut short.
        ModuleNotFoundError: if pose-format is not installed.
    """
    try:
        with place(path).open("rb") as file:
            return deepcopy(header_at_start(file, str(path))[0])
    except FileNotFoundError as error:
        raise ValueError(
            f"Expected a .pose file but got {path}, which does not exist. Pass the path of a clip."
        ) from error


def header_at_start(file: BinaryIO, name: str) -> tuple[Any, int]:
    """Return the `PoseHeader` that a file begins with, see `header_in`; little else is read."""
    content = file.read(HEADER_BYTES)
    try:
        return header_in(content, name)
    except ValueError:
        return header_in(content + file.read(), name)


def header_in(content: bytes, name: str) -> tuple[Any, int]:
    """Return the `PoseHeader` that bytes begin with, which nobody may change, and its length.

    The last one is remembered, since most clips of a folder have the same.

    Args:
        content: the bytes of a `.pose` file, or its first ones.
        name: of the file, for messages.
    """
    check_installed("pose", "reads .pose files", "pose_format")
    from pose_format import PoseHeader
    from pose_format.pose_header import PoseHeaderCache
    from pose_format.utils.reader import BufferReader

    for known, header in _LAST:
        if content.startswith(known):
            return header, len(known)
    check_version(content, name)
    PoseHeaderCache.clear_cache()  # it would hold the changes that somebody made to a header
    reader = BufferReader(content)
    try:
        header = PoseHeader.read(reader)
    except (struct.error, ValueError, TypeError) as error:
        raise ValueError(
            f"Expected a .pose file but the header of {name} is cut short or damaged: {error}. "
            "Make it again."
        ) from error
    if not header.total_points():
        raise ValueError(f"Expected points in the header of {name} but got none. Make it again.")
    _LAST[:] = [(content[: reader.read_offset], header)]
    return header, reader.read_offset


def check_version(content: bytes, name: str) -> None:
    """Refuse bytes that do not begin as a `.pose` file of a known version."""
    version = round(struct.unpack("<f", content[:4])[0], 3) if len(content) >= 4 else None
    if version not in VERSIONS:
        found = f"{len(content)} bytes" if version is None else f"version {version:g}"
        raise ValueError(
            f"Expected a .pose file of version {', '.join(map(str, VERSIONS))} but got {found} in "
            f"{name}. Convert it with the pose-format that wrote it, or a newer one."
        )
