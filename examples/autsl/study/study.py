"""A study of how many joints are needed: encoders × selections × joints × seeds, to a report.

    python -m examples.autsl.study --config examples/autsl/configs/study.yaml
    python -m examples.autsl.study --config ... --engine slurm   an array of all cells; or ray
    python -m examples.autsl.study --config ... --only 3         one cell
    python -m examples.autsl.study --config ... --only -1        the tables of what is finished

A cell is one training run (see `examples.autsl.study.selections`): `ladder` settles every number of
joints in it, other selections one each. A finished cell is a file of its own, written whole or not
at all, and never computed again; a cell with other settings has another file. A cell that was
stopped goes on from its last epoch, with the result that it would have had. After a crash, start
the same command again.

To settle learning rates first, on the validation part alone: `python -m examples.autsl.tune`, for
each encoder. What it finds is a file for that encoder's `encoder_args`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from examples.autsl.data.labels import NUM_SIGNS
from examples.autsl.data.statistics import comparisons_of, num_signs_of, rows_of, runs_of
from examples.autsl.study.cell import METRICS
from examples.autsl.study.engines import run_commands
from examples.autsl.study.selections import LADDER, MATCHED, Cell, cells_of, path_of
from examples.autsl.study.tables import PUBLISHED, write_tables


def main(
    out: Path,
    joints: list[int],
    encoders: list[str],
    seeds: list[int],
    args: list[str],
    selections: list[str] | None = None,
    encoder_args: dict[str, list[str]] | None = None,
    engine: str = "local",
    engine_settings: dict[str, Any] | None = None,
    only: int | None = None,
) -> None:
    """Run the cells that are not finished, and write `study.csv`, `study.tex` and `study.html`.

    Args:
        out: folder of the cells, the runs and the tables.
        joints: numbers of joints; at least two for a ladder.
        encoders: out of bert, gru, st-gcn and joint-tokens.
        seeds: seeds of the training.
        args: arguments of `examples.autsl_fusion` that all cells have.
        selections: how joints are chosen, see `examples.autsl.study.selections`; None is a ladder.
        encoder_args: name of an encoder to further arguments for its cells alone, after `args`.
        engine: local, slurm or ray.
        engine_settings: of the engine, see `examples.autsl.study.engines`.
        only: index of the only cell to run; -1 runs none.
    """
    out, console = out.resolve(), Console()
    cells = cells_of(encoders, joints, seeds, selections or [LADDER], args, encoder_args)
    if only is not None and not -1 <= only < len(cells):
        raise ValueError(f"Expected a cell from 0 to {len(cells) - 1} but got --only {only}.")
    chosen = cells if only is None else cells[only : only + 1] if only >= 0 else []
    try:
        for waits in (False, True):  # a matched cell reads what others have chosen
            ready = [cell for cell in chosen if (cell["selection"] == MATCHED) == waits]
            run_commands(engine, _commands(ready, out), out, engine_settings)
    finally:
        runs = runs_of(cells, out)
        tables = rows_of(runs), comparisons_of(runs), tuple(METRICS.values()), out, cells
        write_tables(*tables, PUBLISHED if num_signs_of(runs) == NUM_SIGNS else ())
        done = sum(path_of(cell, out).is_file() for cell in cells)
        console.print(f"{done} of {len(cells)} cells are finished. Tables: {out / 'study.html'}")


def _commands(cells: Sequence[Cell], out: Path) -> dict[str, list[str]]:
    """Return the commands of the cells that are not finished, by the cells' names.

    Each is a process of its own: what one run leaves behind never reaches the next.
    """
    program = [sys.executable, "-m", "examples.autsl.study.cell", str(out)]
    paths = [(cell, path_of(cell, out)) for cell in cells]
    return {path.stem: [*program, json.dumps(cell)] for cell, path in paths if not path.is_file()}
