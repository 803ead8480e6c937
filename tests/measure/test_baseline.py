"""Test that the figures of a run without the callback are read from where they are, or refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from lightning_jointprune.measure.baseline import baseline_of, read_baseline, unit_doubt
from tests.records import record_of, unnamed
from tests.runs import Classifier, fit


def test_a_mapping_gives_its_finite_numbers() -> None:
    figures = {
        "val_acc": torch.tensor(0.75),
        "val_loss": 1,
        "gone": math.nan,
        "per_class": torch.tensor([0.5, 1.0]),
        "name": "plain",
        "done": True,
    }
    assert read_baseline(figures) == {"val_acc": 0.75, "val_loss": 1.0}
    assert read_baseline(figures, "val_acc") == {"val_acc": 0.75, "val_loss": 1.0}


@pytest.mark.parametrize("whole", [True, False])
def test_of_a_csv_the_last_finite_number_of_each_column_counts(tmp_path: Path, whole: bool) -> None:
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,val_acc,loss_step,loss_epoch,lr\n"
        "0,9,,2.5,,0.1\n0,9,0.5,,2.0,\n1,19,0.75,,1.5,\n1,19,nan,,,inf\n1,19,,1.25,,,,\n"
    )
    path = tmp_path if whole else tmp_path / "metrics.csv"
    last = {"val_acc": 0.75, "loss_step": 1.25, "loss_epoch": 1.5, "loss": 1.5, "lr": 0.1}
    assert read_baseline(path) == read_baseline(str(path), "loss") == last


def test_what_lightnings_own_logger_wrote_is_what_the_trainer_measured(tmp_path: Path) -> None:
    done = fit(Classifier(), logger=CSVLogger(tmp_path, name="", version=0))
    read = read_baseline(tmp_path / "version_0", "val_acc")
    measured = read_baseline(done.callback_metrics, "val_acc")
    assert read["val_acc"] == pytest.approx(measured["val_acc"])


def test_json_and_records_give_their_figures(tmp_path: Path) -> None:
    (tmp_path / "plain.json").write_text('{"val_acc": 0.93, "note": "seed 1", "bad": NaN}')
    assert read_baseline(tmp_path / "plain.json") == {"val_acc": 0.93}
    record = record_of("coco_17", tuple(range(17)))
    record.to_json(tmp_path)
    assert read_baseline(tmp_path) == {"val_acc": 0.863}
    pruned = replace(record_of("coco_17", (0,)), baseline={"val_acc": 0.9})
    pruned.to_json(tmp_path)
    assert read_baseline(tmp_path) == {"val_acc": 0.9}


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({}, "Expected figures of the run without the callback but got none that is finite"),
        ({"loss": 1.0, "lr": 0.1}, r"Expected val_acc .* but got loss, lr. Log val_acc in that"),
        ({"val_acc": math.inf}, r'but got val_acc inf. .* its value, such as {"val_acc": 0.93}'),
        ({"val_acc": "0.9"}, "but got val_acc 0.9. Log"),
    ],
)
def test_figures_that_are_none_are_refused(figures: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_baseline(figures, "val_acc" if figures else None)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metrics.csv", "", "metrics.csv but got none that is finite"),
        ("metrics.csv", "epoch,val_acc\n0,\n", "but got none that is finite"),
        ("metrics.csv", "epoch,loss\n0,1.5\n", "Expected val_acc of .* but got loss"),
        ("a.json", "", "Expected figures as JSON in .*a.json but got: Expecting value"),
        ("a.json", "[0.9]", "but got none that is finite"),
        ("a.json", '{"val_acc": 1' + "0" * 400 + "}", "but got val_acc inf"),
        ("a.json", '{"val_acc": {"mean": 0.9}}', r"but got val_acc {'mean': 0.9}"),
        ("events.out", "\x00\x01", "Pass a JSON file such as"),
    ],
)
def test_files_without_the_metric_are_refused(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_baseline(tmp_path / name, "val_acc")


def test_what_is_no_run_is_refused_with_what_to_pass(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match="which is no file and no folder with"):
            read_baseline(path)
    record_of("coco_17", (0, 1)).to_json(tmp_path)
    with pytest.raises(ValueError, match="without pruning but got a run that kept 2 of 17 joints"):
        read_baseline(tmp_path, "val_acc")
    (tmp_path / "pruning_record.json").write_text(json.dumps({"kind": "pruning_record"}))
    with pytest.raises(ValueError, match="Expected schema 1"):
        read_baseline(tmp_path)


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [(0.9, 93.0, "0.93"), (90.0, 0.93, "93"), (0.9, 0.93, None), (90.0, 93.0, None)],
)
def test_per_cent_beside_a_fraction_is_another_unit(
    ours: float, theirs: float, same: str | None
) -> None:
    record = record_of("coco_17", (0, 1))
    record = replace(
        record,
        selection=replace(record.selection, metrics={"val_acc": ours}),
        baseline={"val_acc": theirs},
    )
    doubt = unit_doubt(record)
    assert (doubt is None) == (same is None)
    assert same is None or f'pass {{"val_acc": {same}}}' in str(doubt)
    assert baseline_of(record) == (theirs if same is None else None)
    loss = replace(record, selection=replace(record.selection, higher_is_better=False))
    assert baseline_of(loss) == theirs  # a loss may well go from 1.5 to 0.9


def test_a_run_without_metric_or_baseline_has_none() -> None:
    assert baseline_of(unnamed((0.9, 0.1))) is None
    assert baseline_of(record_of("coco_17", (0,))) is None
