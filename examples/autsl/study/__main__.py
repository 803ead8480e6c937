"""`python -m examples.autsl.study` runs the study."""

from __future__ import annotations

from jsonargparse import auto_cli

from examples.autsl.study.study import main
from examples.programs import one_line

if __name__ == "__main__":
    with one_line():
        auto_cli(main, as_positional=False)
