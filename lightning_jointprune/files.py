"""Writes a whole file or none."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PathLike = str | os.PathLike[str]


def write_text(path: PathLike, text: str) -> None:
    """Write a whole file of text or none, see `write_bytes`."""
    write_bytes(path, text.encode("utf-8", "replace"))


def write_bytes(path: PathLike, content: bytes) -> None:
    """Write a whole file or none, see `whole_file`."""
    with whole_file(path) as partial:
        partial.write_bytes(content)


@contextmanager
def whole_file(path: PathLike) -> Iterator[Path]:
    """A file to be written beside another one, whose place it takes at the end.

    If something is raised before, nothing is left of it, and the other one stays as it is.
    """
    target = Path(os.path.realpath(path))  # so that a link stays a link
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield partial
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
