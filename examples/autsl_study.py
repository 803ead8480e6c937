"""A study of how many joints are needed: encoders × numbers of joints × seeds, to a table.

    python -m examples.autsl_study --config examples/configs/study.yaml --args '[--data, AUTSL]'
    python -m examples.autsl_study ... --only $SLURM_ARRAY_TASK_ID    one cell of an array job
    python -m examples.autsl_study ... --only -1                      the tables of what is finished

A cell is one training run of one encoder with one seed: a ladder settles every number of joints in
it. A finished cell is a file of its own, written whole or not at all, and never computed again; a
cell with other settings has another file. After a crash, start the same command again.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli
from lightning.pytorch import Trainer
from rich.console import Console

from examples.autsl_fusion import SignFusion
from examples.autsl_fusion import main as train
from examples.autsl_tables import Row, write_tables
from lightning_jointprune import load_pruned
from lightning_jointprune.agreement import mean_of_runs
from lightning_jointprune.files import write_text

METRICS = {"test_acc": "top-1", "test_top5": "top-5", "test_f1": "macro F1"}
Cell = dict[str, Any]


def cells_of(
    encoders: Sequence[str], joints: Sequence[int], seeds: Sequence[int], args: Sequence[str]
) -> list[Cell]:
    """The training runs of a study, in their order; each is plain data."""
    return [
        {"encoder": encoder, "seed": seed, "joints": sorted(joints, reverse=True), "args": [*args]}
        for seed in seeds
        for encoder in encoders
    ]


def path_of(cell: Cell, folder: Path) -> Path:
    """Where a finished cell is; the name changes with every setting."""
    text = json.dumps(cell, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:12]
    return folder / "cells" / f"{cell['encoder']}_seed{cell['seed']}_{key}.json"


def run_cell(cell: Cell, folder: Path) -> None:
    """Train one ladder, test every number of joints of it, and write the cell."""
    target = path_of(cell, folder)
    flags = [
        *cell["args"],
        f"--seed_everything={cell['seed']}",
        f"--model.encoder={cell['encoder']}",
        f"--pruning.budget={json.dumps(cell['joints'])}",
        f"--trainer.default_root_dir={folder / 'runs' / target.stem}",
    ]
    cli = train(flags)
    # A trainer of its own: the pruning of the run has no part in a loaded model.
    tester = Trainer(
        accelerator=cli.config.trainer.accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    checkpoint = cli.trainer.checkpoint_callback.best_model_path
    results = []
    for joints in cell["joints"]:
        model = load_pruned(SignFusion, checkpoint, joints=joints)
        (scores,) = tester.test(model, datamodule=cli.datamodule, verbose=False)
        results.append(
            {
                "joints": joints,
                "kept": list(cli.pruning.record.selection_of(joints).names),
                **{metric: scores[metric] for metric in METRICS},
            }
        )
    write_text(target, json.dumps({**cell, "results": results}, indent=1))


def rows_of(cells: Iterable[Cell], folder: Path) -> list[Row]:
    """Means over seeds of what is finished, with 95 % intervals where there are several."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for cell in cells:
        path = path_of(cell, folder)
        if path.is_file():
            for result in json.loads(path.read_text(encoding="utf-8"))["results"]:
                found.setdefault((cell["encoder"], result["joints"]), []).append(result)
    return [
        Row(
            encoder,
            joints,
            len(runs),
            tuple(mean_of_runs([run[metric] for run in runs]) for metric in METRICS),
        )
        for (encoder, joints), runs in sorted(found.items(), key=lambda x: (x[0][0], -x[0][1]))
    ]


def main(
    out: Path,
    joints: list[int],
    encoders: list[str],
    seeds: list[int],
    args: list[str],
    only: int | None = None,
) -> None:
    """Run the cells that are not finished, and write `study.csv`, `study.tex` and `study.html`.

    Args:
        out: folder of the cells, the runs and the tables.
        joints: numbers of joints, at least two.
        encoders: out of bert, gru, st-gcn and joint-tokens.
        seeds: seeds of the training.
        args: arguments of `examples.autsl_fusion` that all cells have.
        only: index of the only cell to run, as in an array job; -1 runs none.
    """
    out, console = out.resolve(), Console()
    cells = cells_of(encoders, joints, seeds, args)
    if only is not None and not -1 <= only < len(cells):
        raise ValueError(f"Expected a cell from 0 to {len(cells) - 1} but got --only {only}.")
    for number, cell in enumerate(cells):
        if path_of(cell, out).is_file() or only not in (None, number):
            continue
        console.print(f"Cell {number} of {len(cells)}: {cell['encoder']}, seed {cell['seed']}")
        # A process of its own: what one run leaves behind never reaches the next.
        command = [sys.executable, "-m", "examples.autsl_study_cell", str(out), json.dumps(cell)]
        subprocess.run(command, check=True)
    rows = rows_of(cells, out)
    write_tables(rows, tuple(METRICS.values()), out)
    done = sum(path_of(cell, out).is_file() for cell in cells)
    console.print(f"{done} of {len(cells)} cells are finished. Tables: {out / 'study.html'}")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
