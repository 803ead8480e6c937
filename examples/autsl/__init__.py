"""AUTSL: its data, encoders and study. `examples/autsl_fusion.py` is the program that trains."""

from __future__ import annotations

from examples.programs import check_installed

check_installed("examples", "av", "filelock", "jsonargparse", "transformers")
