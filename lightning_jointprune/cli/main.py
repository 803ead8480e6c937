"""Runs the commands on what a run left, on skeletons and on what is installed; see `models`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lightning_jointprune.cli.models import add_commands
from lightning_jointprune.joint_files.extraction import extraction_plan
from lightning_jointprune.measure.baseline import baseline_of, baseline_sentence, read_baseline
from lightning_jointprune.record.evaluation import EVALUATION_FILE, JointEvaluation
from lightning_jointprune.record.files import Place, file_at, place
from lightning_jointprune.record.record import REPORT_FILE, PruningRecord
from lightning_jointprune.record.selection import JointSelection, check_finished, show
from lightning_jointprune.record.stored import RECORD_FILE, SELECTION_FILE
from lightning_jointprune.record.tables import as_text, printable
from lightning_jointprune.report.comparison import Comparison, Consensus, compare, consensus
from lightning_jointprune.report.curve import (
    POINTS_FILE,
    TEST_PART,
    Frontier,
    chosen_of,
    fewest_of,
    frontier_numbers,
    given_of,
    read_points,
    sentence_of,
)
from lightning_jointprune.report.doubts import findings, in_brief, verdict
from lightning_jointprune.report.numbers import costs_of, is_of
from lightning_jointprune.report.plotly_script import PLOTLY
from lightning_jointprune.skeletons import Skeleton, get_skeleton, skeleton_names


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit status.

    Args:
        argv: the words after `jointprune`; by default those of the process.

    Returns:
        0, or 2 after a line on stderr that says what was wrong with the input.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # as in `jointprune show RUN | head`; nobody reads what is left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ImportError, OSError, ValueError) as error:
        print(f"jointprune: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jointprune",
        description="Read what a joint pruning run left, and make its model smaller.",
        epilog="Exit status: 0, or 2 after one line on stderr that says what to do.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run_help = "a run's pruning_record.json, or the folder it is in"

    shown = commands.add_parser("show", help="print the answer and the KEEP / PRUNE table")
    shown.add_argument("record", metavar="RUN", help=run_help)
    shown.add_argument("--title", help="the data set or task, for the sentence")
    shown.add_argument("--joints", type=int, metavar="N", help="of several numbers, the N joints")
    plain = "figures without the callback: a JSON file, a metrics.csv, or the run's folder"
    shown.add_argument("--baseline", metavar="RUN_OR_FILE", help=plain)
    shown.set_defaults(run=_show)

    report = commands.add_parser("report", help="draw the HTML report again")
    report.add_argument("record", metavar="RUN", help=run_help)
    report.add_argument("-o", "--output", metavar="FILE", help="default: beside the record")
    report.add_argument("--joints", type=int, metavar="N", help="of several numbers, the N joints")
    report.add_argument("--title", help="the data set or task, for the sentence")
    where = "where Plotly's script is: in the page (default), on its server, or beside the page"
    report.add_argument("--plotly", choices=PLOTLY, default="inline", help=where)
    worth = "what evaluate_joints measured; default: joint_evaluation.json beside the record"
    report.add_argument("--evaluation", metavar="FILE", help=worth)
    others = "other figures as label,joints,value[,low,high]; default: frontier.csv beside it"
    report.add_argument("--points", metavar="FILE", help=others)
    report.add_argument("--baseline", metavar="RUN_OR_FILE", help=plain)
    report.add_argument("--seeds", metavar="RUN", nargs="+", default=[], help="runs of other seeds")
    report.set_defaults(run=_report)

    compare = commands.add_parser("compare", help="which joints several runs keep")
    compare.add_argument("records", metavar="RUN", nargs="+", help=run_help)
    compare.add_argument("-o", "--output", metavar="FILE", help="write a page with figures, too")
    compare.add_argument("--plotly", choices=PLOTLY, default="inline", help=where)
    compare.add_argument("--baseline", metavar="RUN_OR_FILE", help=plain)
    compare.set_defaults(run=_compare)

    agreed = _add_consensus(commands, run_help)
    select = _add_select(commands)

    skeletons = commands.add_parser("skeletons", help="list the named skeletons, or one's joints")
    name_help = "one of the listed names, or a .pose file"
    skeletons.add_argument("name", metavar="NAME", nargs="?", help=name_help)
    skeletons.set_defaults(run=_skeletons)

    with_models = add_commands(commands)

    doctor = commands.add_parser("doctor", help="print versions and conflicts, for bug reports")
    doctor.set_defaults(run=_doctor)

    for command in (shown, report, compare, agreed, select, skeletons, *with_models, doctor):
        command.add_argument("--json", action="store_true", help="print JSON, for scripts")
    return parser


def _add_consensus(commands: Any, run_help: str) -> argparse.ArgumentParser:
    """Add the command that finds the joints which most runs keep."""
    agreed: argparse.ArgumentParser = commands.add_parser(
        "consensus", help="the joints that most of several runs keep"
    )
    agreed.add_argument("records", metavar="RUN", nargs="+", help=run_help)
    agreed.add_argument("--joints", type=int, metavar="K", help="default: the runs' median number")
    pairs = "the runs are pairs on the two halves of the data: bound the wrongly kept joints"
    agreed.add_argument("--halves", action="store_true", help=pairs)
    budget = "write the selection, which a run takes as its budget"
    agreed.add_argument("-o", "--output", metavar="FILE", help=budget)
    agreed.set_defaults(run=_consensus)
    return agreed


def _add_select(commands: Any) -> argparse.ArgumentParser:
    """Add the command that rewrites files, and return it."""
    select: argparse.ArgumentParser = commands.add_parser(
        "select", help="rewrite files of joints to the kept ones"
    )
    files_help = "one that has all joints, or a folder of such files"
    select.add_argument("files", metavar="FILE", nargs="+", help=files_help)
    of_run = "a run or its selection.json, the joints to keep"
    select.add_argument("--joints", metavar="RUN", required=True, help=of_run)
    select.add_argument("-o", "--output", metavar="FOLDER", required=True, help="for the new files")
    axis_help = "the joints' axis, from 0; default: the only one of their number"
    select.add_argument("--axis", type=int, metavar="N", help=axis_help)
    workers_help = "processes; default: the processors, but fewer for few files"
    select.add_argument("--workers", type=int, metavar="N", help=workers_help)
    select.set_defaults(run=_select)
    return select


def _read(run: str) -> PruningRecord:
    """Return a run's record, or say what to type if it is not there."""
    path = place(run)
    if path.suffix in (".ckpt", ".safetensors"):
        raise ValueError(
            f"Expected a run's folder, or its {RECORD_FILE}, but got a model, {run}. Pass the "
            "folder; `jointprune compact` and `export` are what take models."
        )
    try:
        return PruningRecord.from_json(path)
    except FileNotFoundError as error:
        if not path.is_dir():
            raise ValueError(
                f"Expected a run's folder, or its {RECORD_FILE}, but got {run}, which does not "
                "exist. Pass the folder that the training named, such as lightning_logs/version_0."
            ) from error
        below = [*path.glob(f"*/{RECORD_FILE}"), *path.glob(f"*/*/{RECORD_FILE}")]
        newest = max(below, key=lambda file: file.stat().st_mtime, default=None)
        known = "the folder that the training named" if newest is None else newest.parent
        raise ValueError(
            f"Expected a folder with {RECORD_FILE} but got {run}, which has none. Pass {known}."
        ) from error


def _with_baseline(record: PruningRecord, source: str | None) -> PruningRecord:
    """Return a record with the figures of a run without the callback, if they are named."""
    if not source:
        return record
    return replace(record, baseline=read_baseline(source, record.selection.metric))


def _show(arguments: argparse.Namespace) -> None:
    record, count = _with_baseline(_read(arguments.record), arguments.baseline), arguments.joints
    chosen = len(record.selection.indices)
    if count is not None:
        record = replace(record, selection=record.selection_of(count))
    worth = _fitting(record, file_at(arguments.record, RECORD_FILE).parent / EVALUATION_FILE)
    found, selection = findings(record, (), worth), record.selection
    sentence, plan = sentence_of(record, arguments.title), extraction_plan(selection)
    if arguments.json:
        _print_json(
            sentence=sentence,
            extraction=plan and asdict(plan),
            phase=record.phase,
            given=given_of(record),
            frontier=[point._asdict() for point in record.frontier],
            rungs=[{"indices": rung.indices, "metrics": rung.metrics} for rung in record.rungs],
            num_joints=selection.num_joints,
            indices=selection.indices,
            names=selection.names,
            ratio=selection.ratio,
            undecided=selection.undecided,
            keep_probabilities=selection.keep_probabilities,
            drop_costs=worth.drop if worth else {},
            stand_ins=selection.stand_ins,
            again=selection.again,
            metrics=selection.metrics,
            metrics_all_joints=selection.metrics_all_joints,
            baseline=record.baseline,
            trust=verdict(found).level,
            findings=[finding._asdict() for finding in found],
        )
        return
    asked = TEST_PART if chosen_of(record) else given_of(record) or ""
    ladder = () if count or asked else record.rungs
    said_of = [rung.sentence(arguments.title) for rung in ladder] or [sentence, asked]
    for text in filter(None, (*said_of, baseline_sentence(record))):
        print(printable(text), end="\n\n")
    _print_curve(record, chosen)
    print(in_brief(found), end="\n\n")
    if plan:
        print(plan.sentence(), end="\n\n")
    costs = {joint: cost.value for joint, cost in costs_of(worth).items()} if worth else {}
    print(selection.summary(costs=costs or None))


STABILITY = "1 if all runs keep the same joints, 0 by chance (Nogueira et al. 2018)"
PLOT = 28  # width of a curve in the terminal, in characters


def _print_curve(record: PruningRecord, chosen: int) -> None:
    """Print the metric of each number of joints, as a table and drawn with its intervals.

    Args:
        record: of the run.
        chosen: the number of joints to mark.
    """
    known = [point for point in record.frontier if point.value is not None]
    if len(known) < 2:
        return
    ends = [end for p in known for end in (p.low, p.value, p.high) if end is not None]
    least, scale = min(ends), (PLOT - 1) / ((max(ends) - min(ends)) or 1.0)
    rows = []
    for point in known:
        value = point.value or 0.0
        low, high = (value if end is None else end for end in (point.low, point.high))
        first, at, last = (round(scale * (end - least)) for end in (low, value, high))
        line = " " * first + "-" * (at - first) + "o" + "-" * (last - at)
        shown = show(value) if point.low is None else f"{show(value)} [{show(low)}, {show(high)}]"
        mark = "chosen" if point.joints == chosen else ""
        rows.append([f"{point.joints:6}", shown, line.ljust(PLOT), mark])
    span = f"{show(least)} to {show(max(ends))}"
    _print_table(["joints", record.selection.metric or "", span, ""], rows)


def _seed(path: str, count: int | None) -> PruningRecord:
    """Return the record of a run of another seed, with so many joints where its ladder has them."""
    record = _read(path)
    has = any(len(rung.indices) == count for rung in record.rungs)
    return replace(record, selection=record.selection_of(count)) if count and has else record


def _report(arguments: argparse.Namespace) -> None:
    from lightning_jointprune.report import write_report

    record = _with_baseline(_read(arguments.record), arguments.baseline)
    name, first = REPORT_FILE, None
    if (count := arguments.joints) is not None:
        selection = record.selection_of(count)
        if fewest_of(record) and selection.metrics:  # the page of the run shows them
            first = count
        else:
            record = replace(record, selection=selection)
        name = f"{Path(REPORT_FILE).stem}_{count}.html"  # beside that of the run's own joints
    folder = file_at(arguments.record, RECORD_FILE).parent
    output = place(arguments.output) if arguments.output else folder / name
    whole = count is None or first is not None
    evaluation = None if whole else _fitting(record, folder / EVALUATION_FILE)
    if whole or arguments.evaluation:  # what does not fit is refused
        worth = _or_beside(arguments.evaluation, folder / EVALUATION_FILE)
        evaluation = JointEvaluation.from_json(worth) if worth else None
    points = _or_beside(arguments.points, folder / POINTS_FILE)
    written = write_report(
        record,
        output,
        arguments.title,
        arguments.plotly,
        evaluation=evaluation,
        points=read_points(points) if points else (),
        seeds={other: _seed(other, count) for other in arguments.seeds},
        joints=first,
    )
    if arguments.json:
        _print_json(report=str(written), bytes=written.stat().st_size)
    else:
        print(written)


def _fitting(record: PruningRecord, path: Place) -> JointEvaluation | None:
    """Return the evaluation beside a record, if there is one and it is of the record's joints."""
    if not path.is_file():
        return None
    evaluation = JointEvaluation.from_json(path)
    return evaluation if is_of(record, evaluation) else None


def _or_beside(given: str | None, usual: Place) -> Place | None:
    """Return the file that was named, or the usual one if it exists."""
    if given:
        return place(given)
    return usual if usual.is_file() else None


def _compare(arguments: argparse.Namespace) -> None:
    labels = _labels(arguments.records)
    records = [_with_baseline(_read(run), arguments.baseline) for run in arguments.records]
    named = dict(zip(labels, records, strict=True))
    found, frontier = compare(named), frontier_numbers(named)
    if arguments.output:
        from lightning_jointprune.report import write_comparison

        write_comparison(named, arguments.output, arguments.plotly)
    names = records[0].selection.joint_names
    if arguments.json:
        _print_json(
            runs=[
                {
                    "run": run,
                    "indices": record.selection.indices,
                    "metrics": record.selection.metrics,
                    "baseline": record.baseline,
                }
                for run, record in zip(found.runs, records, strict=True)
            ],
            jaccard=[{"runs": pair, "overlap": share} for pair, share in found.jaccard.items()],
            stability=found.stability and found.stability._asdict(),
            effective_stability=found.effective,
            exchanges=[
                {**pair._asdict(), "joints": [names[joint] for joint in pair.joints]}
                for pair in found.exchanges
            ],
            kept_by={row.name: row.votes for row in sorted(found.rows, key=lambda r: r.number)},
            disputed=[row._asdict() for row in found.disputed],
            settings=found.settings,
            beyond_seeds=[row.name for row in found.beyond_seeds],
            frontier={
                run: [[point.joints, point.value] for point in line]
                for run, line in (frontier.lines if frontier else {}).items()
            },
        )
        return
    _print_counts(found.runs, records)
    if frontier and any(record.rungs for record in records):
        _print_frontier(found.runs, frontier)
    _print_overlaps(found)
    _print_exchanges(found, records[0].selection.joint_names)
    _print_votes(found)
    print(printable(found.words()))


def _labels(paths: Sequence[str]) -> list[str]:
    """Return short names of the runs: their folders, or paths where the folders are alike."""
    names = [file_at(path, RECORD_FILE).parent.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else list(paths)


def _print_counts(runs: Sequence[str], records: Sequence[PruningRecord]) -> None:
    rows, baselines = [], [baseline_of(record) for record in records]
    for number, (run, record) in enumerate(zip(runs, records, strict=True), start=1):
        selection = record.selection
        value = selection.metrics.get(selection.metric or "")
        measured = "not measured" if value is None else f"{selection.metric} {value:.4g}"
        kept = f"{len(selection.indices)} of {selection.num_joints}"
        rows.append([str(number), run, kept, f"{selection.undecided}", measured])
    titles = ["", "run", "joints kept", "undecided", "with them"]
    if any(value is not None for value in baselines):
        titles.append("without pruning")
        for row, value in zip(rows, baselines, strict=True):
            row.append("" if value is None else f"{value:.4g}")
    _print_table(titles, rows)


def _print_frontier(runs: Sequence[str], frontier: Frontier) -> None:
    values = {
        (point.joints, run): f"{point.value:.4g}"
        for run, line in frontier.lines.items()
        for point in line
    }
    counts = sorted({joints for joints, _ in values}, reverse=True)
    print(f"{printable(frontier.metric)} by the number of joints")
    numbers = [str(number + 1) for number in range(len(runs))]
    rows = [[str(count), *(values.get((count, run), "") for run in runs)] for count in counts]
    _print_table(["joints", *numbers], rows)


def _print_overlaps(found: Comparison) -> None:
    numbers = range(len(found.runs))
    shared = {
        pair: f"{share:.2f} ({found.overlaps[pair]})" for pair, share in found.jaccard.items()
    }
    rows = [
        [str(row + 1), *(shared[row, other] if row < other else "" for other in numbers)]
        for row in numbers
    ]
    print("Overlap (Jaccard: joints that both keep, over joints that either keeps; how many both)")
    _print_table(["", *(str(number + 1) for number in numbers)], rows)
    if found.stability is not None:
        print(f"Stability {found.stability}: {STABILITY}\n")
    if found.effective is not None:
        print(
            f"Stability {found.effective:.3f} if a joint and its stand-in count as agreement "
            "(Sechidis et al. 2019)\n"
        )


EXCHANGES = 10  # largest number of pairs of redundant joints that are printed


def _print_exchanges(found: Comparison, names: Sequence[str]) -> None:
    if not found.exchanges:
        return
    shown = found.exchanges[:EXCHANGES]
    rows = []
    for (first, second), similarity, (alone, other), both in shown:
        pair = [names[first], str(alone), names[second], str(other)]
        rows.append([*pair, str(both), f"{similarity:.2f}"])
    of = f"the first {len(shown)} of " if len(shown) < len(found.exchanges) else ""
    print(
        f"Redundant joints that are kept in place of each other ({of}{len(found.exchanges)}): by "
        "how many runs without the other, and R²"
    )
    _print_table(["joint", "runs", "or", "runs", "both", "R²"], rows)


def _print_votes(found: Comparison) -> None:
    rows = [
        [str(row.number), row.name, str(row.votes)]
        + [
            f"KEEP {p:.2f}" if k else f"{p:.2f}"
            for k, p in zip(row.kept, row.probabilities, strict=True)
        ]
        for row in found.rows
        if row.votes
    ]
    print(
        f"Joint by joint, with keep probabilities: {len(found.disputed)} that the runs disagree "
        f"on, {sum(row.votes == len(found.runs) for row in found.rows)} that all keep "
        f"({len(found.rows) - len(rows)} that no run keeps are left out)"
    )
    numbers = [str(number + 1) for number in range(len(found.runs))]
    _print_table(["index", "joint", "kept by", *numbers], rows)


def _consensus(arguments: argparse.Namespace) -> None:
    runs = arguments.records
    if twice := [run for run in runs if runs.count(run) > 1]:
        raise ValueError(f"Expected different runs but got {twice[0]} twice. Name it once.")
    output = None if arguments.output is None else _file_apart(arguments.output)
    named = {run: _read(run) for run in runs}
    found = consensus(named, arguments.joints, halves=arguments.halves)
    if output is not None:
        found.selection.to_json(output)
    if arguments.json:
        rows = zip(found.selection.joint_names, found.votes, found.shares, strict=True)
        _print_json(
            runs=runs,
            num_joints=found.selection.num_joints,
            indices=found.selection.indices,
            names=found.selection.names,
            kept_by={name: votes for name, votes, _ in rows},
            shares=[share._asdict() for share in found.shares],
            keep_probabilities=found.selection.keep_probabilities,
            stability=found.stability and found.stability._asdict(),
            bounds=[bound._asdict() for bound in found.bounds],
            by_ladder=[bound._asdict() for bound in found.by_ladder],
            covers=found.covers,
        )
        return
    _print_consensus(found, len(runs))
    if output is not None:
        print(f"\nWritten to {output}. Train with these joints by budget={str(output)!r}.")


def _file_apart(path: str) -> Place:
    """Return the file to write, which may not be that of a run's own joints."""
    found = file_at(path, SELECTION_FILE)
    if (found.parent / RECORD_FILE).is_file() and found.name in (SELECTION_FILE, RECORD_FILE):
        raise ValueError(
            f"Expected a file that no run has written but got {found}. Pass -o consensus.json, say."
        )
    return found


def _print_consensus(found: Consensus, runs: int) -> None:
    selection = found.selection
    kept = f"{len(selection.indices)} of {selection.num_joints} joints"
    print(f"{kept}, the most often kept in {runs} runs:\n")
    order = sorted(
        range(selection.num_joints),
        key=lambda joint: (-found.votes[joint], -selection.keep_probabilities[joint], joint),
    )
    rows = [
        [
            str(joint),
            selection.joint_names[joint],
            str(found.votes[joint]),
            "{:.2f} [{:.2f}, {:.2f}]".format(*found.shares[joint]),
            f"{selection.keep_probabilities[joint]:.2f}",
            "KEEP" if selection.mask[joint] else "",
        ]
        for joint in order
        if found.votes[joint] or selection.mask[joint]
    ]
    titles = ["index", "joint", "kept by", "share [95 %]", "mean prob.", ""]
    _print_table(titles, rows)
    if len(rows) < selection.num_joints:
        print(f"{selection.num_joints - len(rows)} joints that no run keeps are left out.\n")
    if found.stability is not None:
        print(f"Stability {found.stability}: {STABILITY}\n")
    print(found.words())


def _select(arguments: argparse.Namespace) -> None:
    from lightning_jointprune.joint_files.rewrite import Skipped, outputs_of, rewrite_all

    selection = _selection(arguments.joints)
    check_finished(selection, arguments.joints)
    outputs = outputs_of(arguments.files, arguments.output)
    attempts = rewrite_all(outputs, selection, arguments.axis, arguments.workers)
    results = _watched(attempts, len(outputs))
    skipped = [result for result in results if isinstance(result, Skipped)]
    if skipped and len(outputs) == 1:
        raise ValueError(skipped[0].why)
    done = [result for result in results if result not in skipped]
    if arguments.json:
        files, left = (
            [{**result._asdict(), "path": str(result.path)} for result in some]
            for some in (done, skipped)
        )
        _print_json(files=files, skipped=left)
    else:
        print("\n".join(printable(str(file)) for file in done))
    if skipped:
        for result in skipped:
            print(printable(str(result)), file=sys.stderr)
        raise ValueError(
            f"Expected {len(outputs)} files with the joints of the selection but left out "
            f"{len(skipped)}, which are named above. Mend them, or leave them out, and type this "
            "again: what is finished is not made again."
        )


def _watched(results: Iterable[Any], total: int) -> list[Any]:
    """Return all results; a terminal shows a bar meanwhile."""
    columns = (TextColumn("{task.completed} of {task.total} files"), BarColumn())
    # It draws when a file is done: a thread of its own would be in the way of a fork.
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
        disable=total < 2 or not sys.stderr.isatty(),
    ) as bar:
        task, done = bar.add_task("", total=total), []
        for result in results:
            done.append(result)
            bar.advance(task)
            if len(done) % max(1, total // 200) == 0:
                bar.refresh()
    return done


def _selection(run: str) -> JointSelection:
    """Return the selection of a run, or of a file."""
    try:
        return JointSelection.from_json(place(run))
    except (FileNotFoundError, ValueError):
        return _read(run).selection


def _skeletons(arguments: argparse.Namespace) -> None:
    if arguments.name is None:
        known = [get_skeleton(name) for name in skeleton_names()]
        if arguments.json:
            _print_json(**{skeleton.name: len(skeleton.joints) for skeleton in known})
            return
        rows = [
            [skeleton.name, str(len(skeleton.joints)), str(len(skeleton.groups))]
            for skeleton in known
        ]
        _print_table(["name", "joints", "body parts"], rows)
        return
    of_file = arguments.name.endswith(".pose")
    skeleton = Skeleton.from_pose(arguments.name) if of_file else get_skeleton(arguments.name)
    if arguments.json:
        _print_json(
            name=skeleton.name,
            joints=skeleton.joints,
            groups=skeleton.groups,
            edges=skeleton.edges,
            source=skeleton.source,
        )
        return
    parts = {joint: part for part, joints in skeleton.groups.items() for joint in joints}
    rows = [[str(i), name, parts.get(i, "")] for i, name in enumerate(skeleton.joints)]
    _print_table(["index", "joint", "body part"], rows)
    print(skeleton.source)


def _doctor(arguments: argparse.Namespace) -> None:
    from lightning_jointprune.cli.doctor import known_conflicts, surroundings

    around, found = surroundings(), known_conflicts()
    if arguments.json:
        _print_json(versions=around, conflicts=found)
        return
    for name, version in around.items():
        print(f"{name} {version}")
    print("\n" + ("\n".join(found) or "No known conflict."))


def _print_json(**values: Any) -> None:
    print(json.dumps(values, indent=2, allow_nan=False))


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    print(as_text(table), end="\n\n")
