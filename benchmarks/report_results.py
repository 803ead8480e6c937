"""Write RESULTS.md from the finished cells; no figure in it comes from anywhere else.

    python -m benchmarks.report_results

A row without a result keeps the section that the page has of it, or has none.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from statistics import fmean

from benchmarks import (
    another_seed,
    asl_study,
    asl_words,
    compaction,
    data_wait,
    demo,
    extraction,
    how_few,
    import_time,
    last_phase,
    listing,
    overhead,
    planted,
    pose_files,
    run_cost,
    selection,
    soak,
)
from benchmarks.shared.rows import Figure, Row, add_store_arguments
from benchmarks.shared.store import BENCHMARKS, Record, Store, code_state

SCRIPTS = {
    "planted": (planted.ROWS, ""),
    "asl_words": (asl_words.ROWS, " --data asl_words.npz"),
    "asl_study": (asl_study.ROWS, " --data FOLDER"),
    "demo": (demo.ROWS, ""),
    "overhead": (overhead.ROWS, ""),
    "run_cost": (run_cost.ROWS, ""),
    "compaction": (compaction.ROWS, ""),
    "data_wait": (data_wait.ROWS, ""),
    "listing": (listing.ROWS, ""),
    "import_time": (import_time.ROWS, ""),
    "pose_files": (pose_files.ROWS, ""),
    "soak": (soak.ROWS, ""),
    "selection": (selection.ROWS, " --data FOLDER"),
    "another_seed": (another_seed.ROWS, " --data FOLDER"),
    "last_phase": (last_phase.ROWS, " --data FOLDER"),
    "how_few": (how_few.ROWS, " --data FOLDER"),
}
MOST_SEEDS = 50  # whatever was run is shown
MARK = "## "  # before the title of a section
HEAD = """# Results

Written by `python -m benchmarks.report_results` from the results of the scripts in this folder.
A figure is the mean, with the smallest and the largest of n runs. Accuracies are fractions, of
sequences that no run was trained on or chosen by.
"""


def section(script: str, flags: str, name: str, row: Row, store: Store) -> str:
    """Return a row's part of the page, from its title on; empty without results."""
    records = finished(row, store, MOST_SEEDS)
    if not records:
        return ""
    # A row may have choices of more seeds than models.
    seeds = next(n for n in count(1) if len(finished(row, store, n)) == len(records))
    more = "" if seeds == row.seeds else f" --seeds {seeds}"
    parts = [
        row.title,
        f"`python -m benchmarks.{script}{flags} --rows {name}{more}`",
        row.setting,
        side_by_side(row.side_by_side(store, MOST_SEEDS)) if row.side_by_side else "",
        table(row.figures(store, MOST_SEEDS)),
        provenance(records),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def finished(row: Row, store: Store, seeds: int) -> list[Record]:
    """Return the finished cells of a row."""
    return [record for cell in row.cells(store, seeds) if (record := store.find(cell)) is not None]


def side_by_side(lines: Sequence[Sequence[str]]) -> str:
    if not lines:  # of a row of which too little is finished
        return ""
    head, *rest = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, "|---" * len(lines[0]) + "|", *rest])


def table(figures: Sequence[Figure]) -> str:
    lines = ["| measured | must reach | figure | reached |", "|---|---|---|---|"]
    lines += [f"| {f.measured} | {f.target} | {f.value} | {f.verdict} |" for f in figures]
    return "\n".join(lines)


def provenance(records: Sequence[Record]) -> str:
    """Return when, on what and with which versions cells were run."""
    dates = sorted({record["date"] for record in records})
    seconds = [record["seconds"] for record in records]
    names = {name for record in records for name in record["versions"]}
    used = {
        name: sorted({record["versions"].get(name, "") for record in records} - {""})
        for name in sorted(names)
    }
    versions = ", ".join(f"{name} {' and '.join(found)}" for name, found in used.items())
    text = (
        f"{len(records)} runs on {' to '.join(dict.fromkeys((dates[0], dates[-1])))}, "
        f"{fmean(seconds):.0f} s each ({min(seconds):.0f} … {max(seconds):.0f}) on one thread of "
        f"{' and '.join(sorted({record['cpu'] for record in records}))}; {versions}."
    )
    if old := sum(record["code"] != code_state(record["settings"]) for record in records):
        text += f" **{old} of the runs were made with an earlier state of the code.**"
    return text


def page(folder: Path, any_code: bool, before: str = "") -> str:
    """Return the whole page.

    Args:
        folder: where the finished cells are.
        any_code: whether results of earlier states of the code count.
        before: the page as it is, from which a row without results has its section.
    """
    old = {part.partition("\n")[0]: part for part in before.split(MARK)[1:]}
    sections = [
        section(script, flags, name, row, store) or old.get(row.title, "")
        for script, (rows, flags) in SCRIPTS.items()
        for store in [Store(folder, script, any_code)]
        for name, row in rows.items()
    ]
    sections.append(extraction.section())
    parts = [part.rstrip("\n") + "\n" for part in sections if part]
    return "\n".join([HEAD, *(MARK + part for part in parts)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_store_arguments(parser)
    parser.add_argument("--write", type=Path, default=BENCHMARKS / "RESULTS.md", help="where to")
    args = parser.parse_args()
    before = args.write.read_text("utf-8") if args.write.is_file() else ""
    args.write.write_text(page(args.cache, args.any_code, before), encoding="utf-8")
    print(args.write)


if __name__ == "__main__":
    main()
