"""Summarise a study's finished cells: means, signers, kept joints, the better selection."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from examples.autsl.study.cell import METRICS
from examples.autsl.study.selections import CHOSEN, Cell, path_of
from lightning_jointprune.measure.agreement import mean_of_runs
from lightning_jointprune.measure.significance import PairedTest, holm, paired_tests
from lightning_jointprune.record.intervals import Estimate
from lightning_jointprune.record.record import REPORT_FILE
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.record.stored import SELECTION_FILE


class Run(NamedTuple):
    """A tested model.

    Attributes:
        encoder: its name.
        selection: how its joints were chosen.
        joints: how many it sees.
        seed: of its training.
        own: whether the selection has a number of joints of its own.
        result: what the cell holds of it, see `TestDetail.results` for `test`.
    """

    encoder: str
    selection: str
    joints: int
    seed: int
    own: bool
    result: dict[str, Any]


class Row(NamedTuple):
    """One encoder with one selection of so many joints.

    Attributes:
        encoder: its name.
        selection: how the joints were chosen.
        joints: number of kept joints.
        seeds: how many runs.
        values: the mean of each metric over the seeds, a share from 0 to 1.
        signers: the lowest, the mean and the highest accuracy on a signer, each signer's the mean
            over the seeds; None where nobody knows the signers.
    """

    encoder: str
    selection: str
    joints: int
    seeds: int
    values: tuple[Estimate, ...]
    signers: tuple[float, float, float] | None = None


class Comparison(NamedTuple):
    """Two selections compared in pairs, on the same clips and with the same seeds.

    Attributes:
        encoder: of both.
        joints: of the first; the second has as many, or its own.
        over: what is exchanged for the test: whole `clips`, or whole `signers`.
        result: the test; its correction is for all tests of the study over the same.
    """

    encoder: str
    joints: int
    over: str
    result: PairedTest


class Kept(NamedTuple):
    """Hold what a run of the callback kept.

    Attributes:
        seed: of the run.
        names: of the kept joints, in their order; `joint_` and the index where nobody knows them.
        report: address of the run's own report, from the study's folder; None without one.
    """

    seed: int
    names: tuple[str, ...]
    report: str | None


def runs_of(cells: Iterable[Cell], folder: Path) -> list[Run]:
    """Return the tested models of the finished cells."""
    found = []
    for cell in cells:
        path = path_of(cell, folder)
        if path.is_file():
            for result in json.loads(path.read_text(encoding="utf-8"))["results"]:
                at = (cell["encoder"], cell["selection"], result["joints"], cell["seed"])
                found.append(Run(*at, not cell["joints"], result))
    return found


def num_signs_of(runs: Iterable[Run]) -> int:
    """Return how many signs the runs were tested on; 0 without a run."""
    return max((len({*run.result["test"]["signs"]}) for run in runs), default=0)


def rows_of(runs: Iterable[Run]) -> list[Row]:
    """Return means over seeds, with 95 % intervals where several; the most joints first."""

    def group(run: Run) -> tuple[str, str, int]:
        return run.encoder, run.selection, -run.joints

    rows = []
    for (encoder, selection, joints), same in groupby(sorted(runs, key=group), key=group):
        found = [run.result for run in same]
        values = tuple(mean_of_runs([result[metric] for result in found]) for metric in METRICS)
        rows.append(Row(encoder, selection, -joints, len(found), values, _signers(found)))
    return rows


def _signers(results: Sequence[dict[str, Any]]) -> tuple[float, float, float] | None:
    known = [result["test"].get("per_signer") for result in results]
    if not all(known):
        return None
    means = [mean_of_runs([signers[signer] for signers in known]).value for signer in known[0]]
    return min(means), mean_of_runs(means).value, max(means)


def kept_of(cells: Iterable[Cell], folder: Path) -> dict[tuple[str, str, int], list[Kept]]:
    """Return what finished runs kept, by encoder, selection and number of joints."""
    found: dict[tuple[str, str, int], list[Kept]] = {}
    for cell in cells:
        if cell["selection"] not in CHOSEN:
            continue
        report = _report(cell, folder)
        names = _names(report)
        for run in runs_of([cell], folder):
            joints = tuple(names.get(joint, f"joint_{joint}") for joint in run.result["kept"])
            found.setdefault(run[:3], []).append(Kept(run.seed, joints, _address(report, folder)))
    return found


def unfinished_of(cells: Iterable[Cell], folder: Path) -> dict[str, str]:
    """Map the names of the callback's unfinished cells to their reports."""
    paths = {path_of(cell, folder): cell for cell in cells if cell["selection"] in CHOSEN}
    reports = {
        path.stem: _address(_report(cell, folder), folder)
        for path, cell in paths.items()
        if not path.is_file()
    }
    return {name: report for name, report in reports.items() if report}


def _report(cell: Cell, folder: Path) -> Path | None:
    """Return the report of the last start of a cell's run."""
    found = (folder / "runs" / path_of(cell, folder).stem).rglob(REPORT_FILE)
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def _names(report: Path | None) -> dict[int, str]:
    """Return the names of all joints, by their index, as the selection beside a report has them."""
    if report is None:
        return {}
    try:
        selection = JointSelection.from_json(report.with_name(SELECTION_FILE))
    except (OSError, ValueError):  # joints can be told by their numbers
        return {}
    return dict(enumerate(selection.joint_names))


def _address(report: Path | None, folder: Path) -> str | None:
    return None if report is None else quote(report.relative_to(folder).as_posix())


def comparisons_of(runs: Sequence[Run]) -> list[Comparison]:
    """Compare each chosen set with its encoder's others of as many joints, or of their own.

    What is right is counted over all seeds that both have. A clip's answers of several seeds are
    exchanged together, as they are no independent samples; with one seed the test over clips is
    McNemar's.
    """
    found = []
    for over in ("clips", "signers"):
        tests = [test for pair in _pairs(runs) if (test := _test(*pair, over))]
        corrected = holm([test.result.p for test in tests])
        found += [
            test._replace(result=test.result._replace(p_holm=p))
            for test, p in zip(tests, corrected, strict=True)
        ]
    return found


def _pairs(runs: Sequence[Run]) -> list[tuple[list[Run], list[Run]]]:
    """Return what is compared: runs of a selection by the callback, and of another one."""
    groups: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        groups.setdefault(run[:3], []).append(run)
    pairs = []
    for (encoder, selection, joints), first in groups.items():
        for (other_encoder, other, others), second in groups.items():
            both = selection in CHOSEN and other in CHOSEN
            if other_encoder != encoder or other == selection or (both and other < selection):
                continue
            # All joints and published sets have a number of their own.
            if selection in CHOSEN and (others == joints or second[0].own):
                pairs.append((first, second))
    return pairs


def _test(first: Sequence[Run], second: Sequence[Run], over: str) -> Comparison | None:
    """Return the test over all seeds that both have; None without two clips or signers."""
    units: list[str] = []
    right: tuple[list[bool], list[bool]] = ([], [])
    others = {run.seed: run.result["test"] for run in second}
    for run in first:
        ours, other = run.result["test"], others.get(run.seed)
        if other is None or over not in ours:
            continue
        answers = dict(zip(other["clips"], other["answers"], strict=True))
        unit = dict(zip(ours["clips"], ours[over], strict=True))
        for clip, sign, answer in zip(ours["clips"], ours["signs"], ours["answers"], strict=True):
            if clip in answers:
                units.append(unit[clip])
                right[0].append(sign == answer)
                right[1].append(sign == answers[clip])
    if len(set(units)) < 2:
        return None
    names = _name(first[0]), _name(second[0])
    (result,) = paired_tests(dict(zip(names, right, strict=True)), signers=units)
    return Comparison(first[0].encoder, first[0].joints, over, result)


def _name(run: Run) -> str:
    return f"{run.selection}, {run.joints}"
