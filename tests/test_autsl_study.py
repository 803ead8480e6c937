"""From a folder of videos to the tables, also over a crash."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import examples
from examples.autsl_check import check
from examples.autsl_fusion import FusionCLI
from examples.autsl_study import cells_of, path_of
from examples.autsl_study import main as study
from examples.autsl_synthetic import SyntheticSettings, make_synthetic
from examples.autsl_tables import Row, write_tables
from lightning_jointprune.intervals import Estimate
from tests.runs import SHORT_RUNS

pytestmark = SHORT_RUNS
CONFIGS = Path(examples.__file__).parent / "configs"
ROOT = Path(examples.__file__).parents[1]


def flags(folder: Path) -> list[str]:
    return [
        f"--data={folder}",
        "--modalities=skeleton",
        "--datamodule.num_frames=8",
        "--datamodule.batch_size=4",
        "--model.hidden_size=32",
        "--model.num_layers=1",
        "--trainer.max_epochs=6",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
    ]


@pytest.mark.slow
def test_forty_videos_become_tables_and_a_killed_study_computes_nothing_twice(
    tmp_path: Path,
) -> None:
    settings = SyntheticSettings(signs=2, clips=(24, 8, 8), signers=(3, 2, 2), size=32)
    folder = make_synthetic(tmp_path, settings)
    found = check(folder, size=32, published=False)
    assert found.problems == []
    assert sum(map(len, found.usable.values())) == 40

    out, args = tmp_path / "study", flags(folder)
    config = tmp_path / "study.yaml"
    plan = {"out": str(out), "joints": [8, 3], "encoders": ["bert", "gru"], "seeds": [0]}
    config.write_text(yaml.safe_dump({**plan, "args": args}))
    command = [sys.executable, "-m", "examples.autsl_study", "--config", str(config)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert any(line.startswith("Cell 1 of 2") for line in run.stdout)
        os.killpg(run.pid, signal.SIGKILL)

    first, second = (path_of(cell, out) for cell in cells_of(["bert", "gru"], [8, 3], [0], args))
    assert [path.name for path in (out / "cells").iterdir()] == [first.name]
    assert not (out / "study.csv").exists()
    before = first.stat().st_mtime_ns
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert first.stat().st_mtime_ns == before
    assert {path.name for path in (out / "cells").iterdir()} == {first.name, second.name}

    for path in (first, second):
        results = json.loads(path.read_text())["results"]
        assert [len(result["kept"]) for result in results] == [8, 3]
        assert set(results[1]["kept"]) < set(results[0]["kept"])
    with (out / "study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["encoder"], row["joints"]) for row in rows] == [
        ("bert", "8"),
        ("bert", "3"),
        ("gru", "8"),
        ("gru", "3"),
    ]
    assert all(0 <= float(row["top-1"]) <= 1 for row in rows)
    assert (out / "study.tex").is_file()
    assert len(list((out / "runs").glob("*/lightning_logs/*/joint_importance.html"))) == 2


def test_cell_of_other_settings_is_another_cell(tmp_path: Path) -> None:
    (cell,) = cells_of(["bert"], [5, 10], [0], ["--data=A"])
    assert cell["joints"] == [10, 5]
    for change in ({"seed": 1}, {"encoder": "gru"}, {"joints": [9, 5]}, {"args": ["--data=B"]}):
        assert path_of({**cell, **change}, tmp_path) != path_of(cell, tmp_path)
    assert path_of(dict(reversed(cell.items())), tmp_path) == path_of(cell, tmp_path)


def test_study_without_a_finished_cell_has_empty_tables(tmp_path: Path) -> None:
    study(tmp_path, [5, 3], ["bert"], [0], [], only=-1)
    assert (tmp_path / "study.csv").read_text().count("\n") == 1
    with pytest.raises(ValueError, match=r"Expected a cell from 0 to 0 but got --only 1"):
        study(tmp_path, [5, 3], ["bert"], [0], [], only=1)


def test_tables_show_means_and_intervals_and_escape_names(tmp_path: Path) -> None:
    rows = [Row("<b>", 5, 3, (Estimate(0.9, 0.88, 0.92),)), Row("gru", 5, 1, (Estimate(0.5),))]
    write_tables(rows, ["top-1"], tmp_path)
    with (tmp_path / "study.csv").open(newline="") as file:
        assert list(csv.reader(file))[1:] == [
            ["<b>", "5", "3", "0.9", "0.88", "0.92"],
            ["gru", "5", "1", "0.5", "", ""],
        ]
    latex = (tmp_path / "study.tex").read_text()
    assert r"<b> & 5 & 3 & 90.0 $\pm$ 2.0 \\" in latex
    assert r"gru & 5 & 1 & 50.0 \\" in latex
    page = (tmp_path / "study.html").read_text()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    for shown in ("62.02", "98.42", "98.53", "89.50", "share 42", "0.900 [0.880, 0.920]"):
        assert shown in page


@pytest.mark.parametrize("name", ["bert", "gru", "st-gcn", "joint-tokens"])
def test_configuration_builds_its_encoder(name: str, tmp_path: Path) -> None:
    folder = make_synthetic(
        tmp_path, SyntheticSettings(signs=2, clips=(2, 2, 2), signers=(1, 1, 1), size=16)
    )
    cli = FusionCLI([f"--config={CONFIGS / name}.yaml", *flags(folder)])
    assert cli.config.model.encoder == name
    assert set(cli.model.branches) == {"skeleton"}
