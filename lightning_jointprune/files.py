"""Writes a whole file or none."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

PathLike = str | os.PathLike[str]


def write_text(path: PathLike, text: str) -> None:
    """Write a whole file of text or none, see `write_bytes`."""
    write_bytes(path, text.encode("utf-8", "replace"))


def write_bytes(path: PathLike, content: bytes) -> None:
    """Write a whole file or none: make its folder, write beside it, then take its place."""
    target = Path(os.path.realpath(path))  # so that a link stays a link
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        partial.write_bytes(content)
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
