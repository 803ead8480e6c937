"""Runs `jointprune` as `python -m lightning_jointprune`."""

from __future__ import annotations

import sys

from lightning_jointprune.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
