"""Name the processor that a measurement was made on; needs no torch."""

from __future__ import annotations

import contextlib
import os
import platform
from functools import cache
from pathlib import Path


@cache
def cpu() -> str:
    """Return the processor's name, and how many cores there are."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
        return f"{name}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
