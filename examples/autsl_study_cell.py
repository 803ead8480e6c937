"""One cell of a study, in a process of its own: `autsl_study` starts it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from examples.autsl_study import run_cell

if __name__ == "__main__":
    run_cell(json.loads(sys.argv[2]), Path(sys.argv[1]))
