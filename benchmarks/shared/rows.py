"""Hold what every script shares: rows of figures, their command line, and their tables."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.shared.store import BENCHMARKS, Result, Settings, Store, run_cells


class Figure(NamedTuple):
    """One measured figure, as text.

    Attributes:
        measured: what was measured.
        target: what it must reach; empty where it is only reported.
        value: mean, spread and number of runs.
        met: whether the target is reached; None without a target.
    """

    measured: str
    target: str
    value: str
    met: bool | None = None

    @property
    def verdict(self) -> str:
        return {None: "", True: "yes", False: "no"}[self.met]


class Row(NamedTuple):
    """A row of the table of figures to reach.

    Attributes:
        title: what it is measured on.
        setting: how, in a sentence or two.
        seeds: how many seeds a full measurement has.
        cells: the cells of so many seeds, as far as the results so far settle them.
        figures: what the results of so many seeds say; nothing without results.
        side_by_side: the same as a table of what was compared, its head first; None without.
    """

    title: str
    setting: str
    seeds: int
    cells: Callable[[Store, int], list[Settings]]
    figures: Callable[[Store, int], list[Figure]]
    side_by_side: Callable[[Store, int], list[list[str]]] | None = None


Rows = Mapping[str, Row]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return the mean, the smallest and largest value, and how many there are."""
    mean, low, high = (f"{value:.{digits}f}" for value in (fmean(values), min(values), max(values)))
    return f"{mean} ({low} … {high}, n = {len(values)})"


def interval(values: Sequence[float]) -> str:
    """Return the mean and the 95 % interval by Student's t."""
    if len(values) < 2:
        return f"{values[0]:+.3f} (n = 1)"
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
    mean = fmean(values)
    return f"{mean:+.3f} ({mean - half:+.3f} … {mean + half:+.3f}, n = {len(values)})"


def at_least(measured: str, target: float, value: float, values: Sequence[float]) -> Figure:
    """Return a figure that must not be below its target; it is compared unrounded."""
    return Figure(measured, f"≥ {target:.3g}", spread(values), value >= target)


def at_most(measured: str, target: float, value: float, values: Sequence[float]) -> Figure:
    """Return a figure that must not be above its target; it is compared unrounded."""
    return Figure(measured, f"≤ {target:.3g}", spread(values), value <= target)


def selected(callback: Any) -> Result:
    """Return what a callback kept, as a result to store."""
    selection = callback.selection
    return {
        "kept": [int(joint) for joint in selection.indices],
        "keep_probabilities": [round(float(p), 5) for p in selection.keep_probabilities],
    }


def f1(kept: Iterable[int], truth: Iterable[int]) -> float:
    """Return the F1 of the kept joints, where `truth` are those that carry something."""
    kept, truth = set(kept), set(truth)
    return 2 * len(kept & truth) / (len(kept) + len(truth))


def results(store: Store, cells: Iterable[Settings]) -> list[Result]:
    return [result for cell in cells if (result := store.result(cell)) is not None]


def pairs(
    store: Store, left: Iterable[Settings], right: Iterable[Settings]
) -> list[tuple[Result, Result]]:
    """Return the results of cells that belong together, where both are there."""
    both = ((store.result(a), store.result(b)) for a, b in zip(left, right, strict=True))
    return [(a, b) for a, b in both if a is not None and b is not None]


# --- the command line ----------------------------------------------------------------------------


def parser(description: str | None, rows: Iterable[str]) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all scripts have."""
    names = list(rows)
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument(
        "--rows", nargs="+", choices=names, default=names, metavar="ROW", help=", ".join(names)
    )
    result.add_argument("--seeds", type=int, help="seeds 0 to SEEDS - 1 (default: the row's own)")
    result.add_argument("--workers", type=int, default=1, help="processes, one thread each")
    result.add_argument("--dry-run", action="store_true", help="only say what there is to run")
    add_store_arguments(result)
    return result


def recordings_parser(
    description: str | None, rows: Iterable[str], required: bool = True
) -> argparse.ArgumentParser:
    """Return a parser that also takes the folder of the recordings, as `--data`."""
    result, words = parser(description, rows), "the folder of the recordings"
    result.add_argument("--data", type=existing, required=required, help=words)
    return result


def existing(text: str) -> Path:
    """Return a path of data, which has to be there: else every cell would fail by itself."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"Expected data but got nothing at {path}. Pass its path.")
    return path


def existing_in(*files: str) -> Callable[[str], Path]:
    """Return a reader of a folder's path, in which files have to be there."""

    def read(text: str) -> Path:
        folder = existing(text)
        for name in files:
            if not (folder / name).is_file():
                raise argparse.ArgumentTypeError(f"Expected {name} in {folder} but got none.")
        return folder

    return read


def add_store_arguments(result: argparse.ArgumentParser) -> None:
    result.add_argument(
        "--cache", type=Path, default=BENCHMARKS / "results", help="folder of the finished cells"
    )
    result.add_argument(
        "--any-code", action="store_true", help="accept results of an earlier state of the code"
    )


def measure(
    script: str, rows: Rows, run: Callable[[Settings], Result], args: argparse.Namespace
) -> None:
    """Run what the chosen rows lack, in turn, and print each row's figures."""
    store = Store(args.cache, script, args.any_code)
    failed = 0
    for name in args.rows:
        row = rows[name]
        seeds = args.seeds or row.seeds
        if args.dry_run:
            cells = row.cells(store, seeds)
            print(f"{name}: {sum(store.find(cell) is None for cell in cells)} of {len(cells)}")
            continue
        known = -1
        while not failed and known != (known := len(row.cells(store, seeds))):
            failed += run_cells(row.cells(store, seeds), run, store, args.workers)
        show(name, row, store, seeds)
    if failed:
        raise SystemExit(f"{failed} runs failed")


def show(name: str, row: Row, store: Store, seeds: int) -> None:
    if row.side_by_side is not None and (lines := row.side_by_side(store, seeds)):
        compared = Table(*lines[0], title=f"{name}: {row.title}")
        for line in lines[1:]:
            compared.add_row(*line)
        Console().print(compared, markup=False)
    figures = row.figures(store, seeds)
    if not figures:
        return
    table = Table("measured", "must reach", "figure", "reached", title=f"{name}: {row.title}")
    for figure in figures:
        table.add_row(figure.measured, figure.target, figure.value, figure.verdict)
    Console().print(table, markup=False)


def product(
    cell: Callable[..., Settings], seeds: int, **choices: Sequence[object]
) -> list[Settings]:
    """Return a cell for each seed and each combination of the choices."""
    return [
        cell(seed=seed, **dict(zip(choices, values, strict=True)))
        for values in itertools.product(*choices.values())
        for seed in range(seeds)
    ]
