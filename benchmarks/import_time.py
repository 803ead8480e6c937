"""Measure what importing the package adds to importing Lightning.

    python -m benchmarks.import_time      ten pairs, half an hour on a busy machine

Each figure is the processor time of a fresh interpreter that imports Lightning alone, or Lightning
and the package; the two take turns, so what slows the machine down slows both. Which heavy packages
an import must not load is tested in `tests/repository/test_architecture.py`.
`python -m benchmarks.report_results` writes the results into RESULTS.md.
"""

from __future__ import annotations

import subprocess
import sys
from statistics import fmean, median

from benchmarks.shared.rows import Figure, Row, at_most, measure, parser, product, results, spread
from benchmarks.shared.store import Result, Settings, Store

STATEMENTS = {
    "alone": "import lightning.pytorch",
    "both": "import lightning.pytorch, lightning_jointprune",
}


def seconds(statement: str) -> float:
    """Return the processor time that an interpreter takes for a statement."""
    code = f"import time; {statement}; print(time.process_time())"
    return float(subprocess.check_output([sys.executable, "-c", code], text=True))


def run(settings: Settings) -> Result:
    for statement in STATEMENTS.values():
        seconds(statement)  # what is compiled once does not count
    taken: Result = {name: [] for name in STATEMENTS}
    for _ in range(settings["pairs"]):
        for name, statement in STATEMENTS.items():
            taken[name].append(round(seconds(statement), 4))
    return taken


def cell(seed: int) -> Settings:
    return {"script": "import_time", "seed": seed, "pruned": True, "pairs": 10}


def cells(_store: Store, seeds: int) -> list[Settings]:
    return product(cell, seeds)


def figures(store: Store, seeds: int) -> list[Figure]:
    found = results(store, product(cell, seeds))
    if not found:
        return []
    ratios = [
        median(both / alone for both, alone in zip(result["both"], result["alone"], strict=True))
        for result in found
    ]
    return [
        Figure("Lightning alone, s", "", spread([median(result["alone"]) for result in found], 2)),
        at_most("with the package / Lightning alone", 1.05, fmean(ratios), ratios),
    ]


ROWS = {
    "import": Row(
        "the time of an import",
        "Ten pairs of fresh interpreters; a figure is the median of a run's pairs.",
        1,
        cells,
        figures,
    )
}


def main() -> None:
    args = parser(__doc__, ROWS).parse_args()
    measure("import_time", ROWS, run, args)


if __name__ == "__main__":
    main()
