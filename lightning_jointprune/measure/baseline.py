"""Reads the figures of a run without the callback, the baseline of a pruned model."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from numbers import Real
from typing import Any

from torch import Tensor

from lightning_jointprune.record.files import PathLike, Place, file_at
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.record.selection import show
from lightning_jointprune.record.stored import RECORD_FILE

CSV_FILE = "metrics.csv"  # name of the file of Lightning's CSVLogger
COUNTERS = ("epoch", "step")  # columns of that file that are no figures
PER_EPOCH = "_epoch"  # ending of a figure that is also logged at every step


def read_baseline(
    figures: Mapping[str, Any] | PathLike, metric: str | None = None
) -> dict[str, float]:
    """Return the finite figures of a run without the callback, by name.

    Args:
        figures: a mapping from names to numbers, such as `trainer.callback_metrics`; or a file with
            such a mapping as JSON; or the `metrics.csv` of a CSVLogger, of which each column's last
            number counts, or its folder; or a record of a run that kept all joints, or its folder.
        metric: the one that they have to have; None takes any.

    Raises:
        ValueError: if there is no such file, it holds no figures, or not the metric.
    """
    known, source = (figures, "") if isinstance(figures, Mapping) else _read(figures)
    found = {name: value for name, value in _numbers(known).items() if math.isfinite(value)}
    if metric in found or (metric is None and found):
        return found
    name, others = metric or "val_acc", ", ".join(found) or "none that is finite"
    got = f"{name} {known[name]}" if name in known else others
    raise ValueError(
        f"Expected {metric or 'figures'} of the run without the callback{source} but got {got}. "
        f"Log {name} in that run's validation_step, or pass its value, such as "
        f'{{"{name}": 0.93}}.'
    )


def _numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures that are single numbers."""
    return {
        str(name): float(value)
        for name, value in figures.items()
        if (value.numel() == 1 if isinstance(value, Tensor) else _is_number(value))
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _read(path: PathLike) -> tuple[Mapping[str, Any], str]:
    """Return what a file has by name, and the words that say where it is."""
    file = _file_of(path)
    source = f" in {file}"
    if file.suffix == ".csv":
        return _last_of_columns(file.read_bytes().decode("utf-8-sig", "replace")), source
    try:
        data = json.loads(file.read_bytes(), parse_int=float)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"Expected figures as JSON{source} but got: {error}. Pass a JSON file such as "
            f'{{"val_acc": 0.93}}, the {CSV_FILE} of a CSVLogger, or its folder.'
        ) from error
    if isinstance(data, Mapping) and data.get("kind") == "pruning_record":
        return _of_record(PruningRecord.from_json(file), source), source
    return (data if isinstance(data, Mapping) else {}), source


def _file_of(path: PathLike) -> Place:
    """Return the file of figures that is named itself, or by its folder."""
    for name in (RECORD_FILE, CSV_FILE):
        if (file := file_at(path, name)).is_file():
            return file
    raise ValueError(
        f"Expected the figures of a run without the callback but got {path}, which is no file and "
        f"no folder with {CSV_FILE} or {RECORD_FILE}. Pass the {CSV_FILE} of its CSVLogger, or a "
        'JSON file such as {"val_acc": 0.93}.'
    )


def _last_of_columns(text: str) -> dict[str, float]:
    """Return the last finite number of each column."""
    found: dict[str, float] = {}
    for row in csv.DictReader(io.StringIO(text.replace("\0", ""), newline="")):
        for name, cell in row.items():
            with suppress(TypeError, ValueError):  # an empty cell, or more cells than columns
                if math.isfinite(value := float(cell)):
                    found[str(name)] = value
    per_epoch = {n.removesuffix(PER_EPOCH): found[n] for n in found if n.endswith(PER_EPOCH)}
    return {name: value for name, value in {**per_epoch, **found}.items() if name not in COUNTERS}


def _of_record(record: PruningRecord, source: str) -> Mapping[str, float]:
    """Return the figures of a run with the callback, if it says what all joints reach."""
    selection = record.selection
    kept, total = len(selection.indices), selection.num_joints
    if kept < total and not record.baseline:
        raise ValueError(
            f"Expected the figures of a run without pruning but got a run that kept {kept} of "
            f"{total} joints{source}. Pass the {CSV_FILE} of a run without the callback, or a JSON "
            'file such as {"val_acc": 0.93}.'
        )
    return record.baseline or selection.metrics


def baseline_of(record: PruningRecord) -> float | None:
    """Return what the run without the callback reaches; None if not known, or in another unit."""
    return None if unit_doubt(record) else record.baseline.get(record.selection.metric or "")


def baseline_sentence(record: PruningRecord) -> str | None:
    """Return what the run without the callback reaches, as a sentence; None if it is not known."""
    value = baseline_of(record)
    return (
        None if value is None else f"Without pruning, {record.selection.metric} is {show(value)}."
    )


def unit_doubt(record: PruningRecord) -> str | None:
    """Return a doubt about per cent that stand beside a fraction, or None."""
    selection = record.selection
    metric = selection.metric or ""
    value, other = selection.metrics.get(metric), record.baseline.get(metric)
    if value is None or other is None or not selection.higher_is_better:
        return None
    low, high = sorted((value, other))
    if not 0.0 <= low <= 1.0 < high <= 100.0:
        return None
    same = other / 100 if other > 1.0 else other * 100
    return (
        f"{metric} is {value:.4g} in this run and {other:.4g} in the baseline. If one is in per "
        f'cent and the other a fraction, pass {{"{metric}": {same:.6g}}} as baseline.'
    )
