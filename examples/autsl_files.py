"""What is wrong with a video file; arrays that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Literal

import av
import numpy as np

Depth = Literal["files", "packets", "frames"]


def video_problem(path: Path, size: int | None, depth: Depth) -> tuple[str, str] | None:
    """Kind and text of what is wrong with a video; None where nothing is.

    Args:
        path: a file that is there and not empty.
        size: width and height that it must have, in pixels; None for any.
        depth: `packets` reads the file without decoding it, which finds what was cut off;
            `frames` decodes it too, which also finds what was damaged; `files` opens nothing.
    """
    if depth == "files":
        return None
    try:
        with av.open(str(path)) as container:
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
        found = sum(
            1 for packet in container.demux(stream) if packet.size and not packet.is_corrupt
        )
    if found == 0:
        return "zero-frame", "Expected at least one frame but got none. Extract it again."
    if found < promised:
        return "truncated", f"Expected {promised} frames but got {found}. Extract it again."
    if size is not None and (width, height) != (size, size):
        return "wrong-size", f"Expected {size} x {size} pixels but got {width} x {height}."
    return None


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a whole `.npy` file or none, also where several processes write the same one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with partial.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
