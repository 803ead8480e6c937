"""Measure what a whole run with the callback costs, against one without it.

    python -m benchmarks.run_cost                        both rows, a few minutes
    python -m benchmarks.run_cost --rows short --seeds 1

Rows: short, usual. In each cell runs without the callback, with its defaults and with
`Price("auto")` take turns in one process, each time in another order. A figure is the processor's
time from the making of the model to the end of `fit`: batches, ends of epochs, validations, files.
The first turn also imports what only files need, so it stands apart.
`benchmarks/overhead.py` measures single training steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import Any

from benchmarks.planted import SMALL
from benchmarks.shared.data import Planted
from benchmarks.shared.held_out import planted_parts
from benchmarks.shared.models import Recipe
from benchmarks.shared.rows import (
    Figure,
    Row,
    at_most,
    measure,
    parser,
    product,
    results,
    spread,
)
from benchmarks.shared.store import Result, Settings, Store
from benchmarks.shared.watched import in_steps, spent, train
from benchmarks.shared.ways import defaults_or_price

WAYS = ("without", "default", "price")
SHORT = SMALL._replace(train=1600)  # 25 steps an epoch
LENGTHS = {"short": (SHORT, 6, 5), "usual": (SMALL, 30, 3)}  # data, epochs, turns
DEARER = 1.05
PARTS = {
    "before the first step": ("before",),
    "first tenth": ("0",),
    "to 60 %": tuple("12345"),
    "to 80 %": ("6", "7"),
    "to the end": ("8", "9"),
    "validations": ("validation",),
    "after the last step": ("after",),
}  # to parts of a run as `Watched` has them


def run(settings: Settings) -> Result:
    data = planted_parts(Planted(**settings["planted"]), settings["seed"])
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for turn in range(settings["turns"]):
        for place in range(len(WAYS)):
            way = WAYS[(turn + place) % len(WAYS)]
            pruning = None if way == "without" else defaults_or_price(data.joints, way)
            runs[way].append(train(data, Recipe(), settings["epochs"], settings["seed"], pruning))
    return runs


def cell(length: str, seed: int) -> Settings:
    data, epochs, turns = LENGTHS[length]
    return {
        "script": "run_cost",
        "planted": data.changed(),
        "epochs": epochs,
        "turns": turns,
        "seed": seed,
        "pruned": True,
    }


# --- figures -------------------------------------------------------------------------------------


def times(result: Result, way: str) -> float:
    """Return the processor's time of a way's runs, in those without the callback."""
    ours, theirs = (sum(map(spent, result[name][1:])) for name in (way, "without"))
    return ours / theirs


def first_times(result: Result, way: str) -> float:
    return spent(result[way][0]) / spent(result["without"][0])


def figures(length: str, store: Store, seeds: int) -> list[Figure]:
    found = results(store, product(partial(cell, length), seeds))
    if not found:
        return []
    counts = {sum(run["steps"].values()) for r in found for way in WAYS for run in r[way]}
    steps = ", ".join(map(str, sorted(counts)))
    made = [Figure("training steps of every run", "one number", steps, len(counts) == 1)]
    for way, name in (("default", "default"), ("price", '`Price("auto")`')):
        cost = [in_steps(r[way][0], r["without"][0], Recipe().batch_size) for r in found]
        label = f"{name} / without"
        made += [
            at_most(f"steps and validations, {label}", DEARER, fmean(cost), cost),
            Figure(f"processor time, {label}", "", spread([times(r, way) for r in found])),
            Figure(
                f"processor time, first in its process, {label}",
                "",
                spread([first_times(r, way) for r in found]),
            ),
        ]
    return made


def side_by_side(length: str, store: Store, seeds: int) -> list[list[str]]:
    """Return where the time goes: the seconds of each part of a run, but for the first ones."""
    found = results(store, product(partial(cell, length), seeds))
    if not found:
        return []
    lines = [["processor seconds", *WAYS]]
    for name, parts in PARTS.items():
        lines.append([name, *(f"{fmean(parts_of(found, way, parts)):.2f}" for way in WAYS)])
    return lines


def parts_of(found: Sequence[Result], way: str, parts: Sequence[str]) -> list[float]:
    """Return the seconds of some parts, of every run but a cell's first."""
    runs = [run["seconds"] for result in found for run in result[way][1:]]
    return [sum(seconds.get(part, 0.0) for part in parts) for seconds in runs]


def make_row(length: str) -> Row:
    data, epochs, turns = LENGTHS[length]
    return Row(
        f"what a whole run costs: {length}, {epochs} epochs",
        f"The GRU and the data of row planted42 with {data.train:,} sequences to train on and 500 "
        "to validate on after each epoch, on one thread. "
        f"{turns} runs of each way take turns in one process.",
        2,
        lambda _, seeds: product(partial(cell, length), seeds),
        partial(figures, length),
        partial(side_by_side, length),
    )


ROWS = {length: make_row(length) for length in LENGTHS}


def main() -> None:
    args = parser(__doc__, ROWS).parse_args()
    if args.workers != 1:
        raise SystemExit("Expected one worker, since others would disturb the clock.")
    measure("run_cost", ROWS, run, args)


if __name__ == "__main__":
    main()
