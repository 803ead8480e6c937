"""Find what is wrong with a video or an array, and write files whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import av
import numpy as np

# Opening a video decodes its first frames to guess what an mp4's header says: six times as slow.
HEADER_ALONE = {
    "skip_frame": "all",
    "fflags": "nofillin+noparse",
    "probesize": "32",
    "fpsprobesize": "0",
    "analyzeduration": "0",
}
Depth = Literal["files", "packets", "frames"]
PARTIAL = ".tmp"  # how the name of a file ends that is not finished


def video_problem(path: Path, size: int | None, depth: Depth) -> tuple[str, str] | None:
    """Return kind and text of what is wrong with a video; None where nothing is.

    Args:
        path: a file that is there and not empty.
        size: width and height that it must have, in pixels; None for any.
        depth: `packets` reads the index at a video's start or end, which finds what was cut off;
            `frames` decodes every frame, which also finds what was damaged; `files` opens nothing.
    """
    if depth == "files":
        return None
    try:
        with av.open(str(path), options={} if depth == "frames" else HEADER_ALONE) as container:
            if not container.streams.video:
                return _without_video(container)
            return _stream_problem(container, size, depth)
    except (av.FFmpegError, OSError) as error:
        return "truncated", f"Expected a readable video but got {error}. Extract it again."


def _without_video(container: av.container.InputContainer) -> tuple[str, str]:
    if container.streams.audio:
        return "audio-only", "Expected a video but got sound alone. Extract it again."
    return "zero-frame", "Expected at least one frame but got none. Extract it again."


def _stream_problem(
    container: av.container.InputContainer, size: int | None, depth: Depth
) -> tuple[str, str] | None:
    stream = container.streams.video[0]
    promised, width, height = stream.frames, stream.width, stream.height
    if depth == "frames":
        found = sum(1 for _ in container.decode(stream))
    else:
        found = _packets(container, stream)
    if found == 0:
        return "zero-frame", "Expected at least one frame but got none. Extract it again."
    if found < promised:
        return "truncated", f"Expected {promised} frames but got {found}. Extract it again."
    if size is not None and (width, height) != (size, size):
        return "wrong-size", (
            f"Expected {size} x {size} pixels but got {width} x {height}. Extract it again; for "
            "data of other sizes, which the training scales itself, pass --size null."
        )
    return None


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> int:
    """Count the packets: by the index if there is one, so that the file need not be read."""
    end = container.size
    if len(stream.index_entries):
        return sum(entry.pos + entry.size <= end for entry in stream.index_entries)
    return sum(1 for packet in container.demux(stream) if packet.size and not packet.is_corrupt)


def array_problems(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Find what is wrong with a split's arrays: cut off, no clip, or other joints than most have.

    Args:
        paths: `.npy` files that should hold `(frames, joints, coordinates)`, floating point.
    """
    shapes: dict[Path, tuple[int, ...]] = {}
    for path in paths:
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            yield path, f"Expected a skeleton array but got {error}."
            continue
        if array.ndim == 3 and len(array) and np.issubdtype(array.dtype, np.floating):
            shapes[path] = array.shape
        else:
            found = f"{array.dtype} of shape {array.shape}"
            yield path, f"Expected floating-point (frames, joints, coordinates) but got {found}."
    usual = Counter(shape[1:] for shape in shapes.values()).most_common(1)
    for path, shape in shapes.items():
        if shape[1:] != usual[0][0]:
            expected = f"Expected (frames, {', '.join(map(str, usual[0][0]))}) as in most clips"
            yield path, f"{expected} but got shape {shape}."


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have `write` fill a file: whole or not at all, also where several processes do the same."""
    # Not the package's `whole_file`: it would load torch in every process that extracts.
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{secrets.token_hex(8)}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            write(file)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a whole `.npy` file or none."""
    write_whole(path, lambda file: np.save(file, array, allow_pickle=False))
