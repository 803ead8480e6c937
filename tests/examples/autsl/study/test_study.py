"""From a folder of videos to the tables, also over a crash."""

from __future__ import annotations

import csv
import html
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from jsonargparse import auto_cli

import examples
from examples.autsl.check import check
from examples.autsl.data.labels import NUM_SIGNS
from examples.autsl.data.statistics import Comparison, Row, Run, num_signs_of
from examples.autsl.data.synthetic import SyntheticSettings, make_synthetic
from examples.autsl.study.selections import Cell, cells_of, path_of
from examples.autsl.study.study import main as study
from examples.autsl.study.tables import PUBLISHED, write_tables
from examples.autsl_fusion import FusionCLI
from lightning_jointprune.measure.significance import PairedTest
from lightning_jointprune.record.intervals import Estimate
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.skeletons import get_skeleton
from tests.runs import SHORT_RUNS, SMALL_FLAGS

pytestmark = SHORT_RUNS
CONFIGS = Path(examples.__file__).parent / "autsl" / "configs"
ROOT = Path(examples.__file__).parents[1]


VOID = {"meta", "br", "link"}


class Outline(HTMLParser):
    """Sees that every element of a page is closed, and gathers links and what scripts hold."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page.read_text())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert "src" not in dict(attributes)  # nothing is fetched
        places = [value for name, value in attributes if name == "href" and value]
        if tag == "link":
            assert places == ["data:,"]  # an empty icon, so that a browser asks for none
        else:
            self.links += [place for place in places if not place.startswith("#")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)
        else:
            self.text += data

    def curves(self) -> dict[str, dict[str, Any]]:
        """The curves of the frontier, by name."""
        return {curve["name"]: curve for curve in json.loads(self.scripts[0])["data"]}


def flags(folder: Path) -> list[str]:
    return [
        *SMALL_FLAGS,
        f"--data={folder}",
        "--modalities=skeleton",
        "--datamodule.batch_size=4",
        "--trainer.max_epochs=6",
    ]


def write_cell(cell: Cell, folder: Path, *results: dict[str, object]) -> Path:
    """A finished cell; what a result does not say is 0.5 or empty."""
    path = path_of(cell, folder)
    path.parent.mkdir(exist_ok=True)
    empty = {"test_acc": 0.5, "test_top5": 0.5, "test_f1": 0.5, "kept": []}
    empty["test"] = {"clips": [], "signs": [], "answers": []}
    path.write_text(json.dumps({**cell, "results": [{**empty, **result} for result in results]}))
    return path


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
    plan = {"out": str(out), "joints": [5], "encoders": ["gru"], "seeds": [0], "args": args}
    config.write_text(yaml.safe_dump({**plan, "selections": ["matched", "ladder"]}))
    command = [sys.executable, "-m", "examples.autsl.study", "--config", str(config)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert any(line.startswith("Cell 1 of 1: gru_matched_5") for line in run.stdout)
        os.killpg(run.pid, signal.SIGKILL)

    cells = cells_of(["gru"], [5], [0], ["matched", "ladder"], args)
    paths = [path_of(cell, out) for cell in cells]
    assert [path.name for path in (out / "cells").iterdir()] == [paths[0].name]
    assert not (out / "study.csv").exists()
    before = paths[0].stat().st_mtime_ns
    study(out, [5], ["gru"], [0], args, ["matched", "ladder"])
    assert paths[0].stat().st_mtime_ns == before
    assert {path.name for path in (out / "cells").iterdir()} == {path.name for path in paths}

    like, matched = (json.loads(path.read_text())["results"][0] for path in paths)
    part_of = {j: part for part, js in get_skeleton("mediapipe_hands").groups.items() for j in js}
    assert len(matched["kept"]) == 5
    assert Counter(map(part_of.get, matched["kept"])) == Counter(map(part_of.get, like["kept"]))
    assert len(matched["test"]["clips"]) == 8
    assert set(matched["test"]["per_signer"]) == set(matched["test"]["signers"])
    with (out / "study.csv").open(newline="") as file:
        rows = {row["selection"]: float(row["top-1"]) for row in csv.DictReader(file)}
    assert rows == {"ladder": like["test_acc"], "matched": matched["test_acc"]}
    assert (out / "study.tex").is_file()
    (report,) = (out / "runs").glob("*/lightning_logs/*/joint_importance.html")
    page, names = Outline(out / "study.html"), get_skeleton("mediapipe_hands").joints
    assert report.relative_to(out).as_posix() in page.links
    assert f"(report): {', '.join(names[joint] for joint in like['kept'])}\n" in page.text


def test_study_without_a_finished_cell_has_empty_tables(tmp_path: Path) -> None:
    study(tmp_path, [5, 3], ["bert"], [0], [], only=-1)
    assert (tmp_path / "study.csv").read_text().count("\n") == 1
    with pytest.raises(ValueError, match=r"Expected a cell from 0 to 0 but got --only 1"):
        study(tmp_path, [5, 3], ["bert"], [0], [], only=1)


def test_arguments_of_an_encoder_are_those_of_its_finished_cells(tmp_path: Path) -> None:
    config = tmp_path / "study.yaml"
    plan = {"out": str(tmp_path), "joints": [5], "seeds": [0], "selections": ["all"], "only": -1}
    own = {"gru": ["--model.lr=0.1"]}
    plan |= {"encoders": ["bert", "gru"], "args": ["--data=A"], "encoder_args": own}
    config.write_text(yaml.safe_dump(plan))
    for cell in cells_of(["bert", "gru"], [5], [0], ["all"], ["--data=A"], own):
        write_cell(cell, tmp_path, {"joints": 42})
    auto_cli(study, args=[f"--config={config}"], as_positional=False)
    with (tmp_path / "study.csv").open(newline="") as file:
        assert [row["encoder"] for row in csv.DictReader(file)] == ["bert", "gru"]


def test_tables_show_means_and_intervals_and_escape_names(tmp_path: Path) -> None:
    rows = [
        Row("<b>", "openhands_27", 27, 3, (Estimate(0.9, 0.88, 0.92),), (0.5, 0.7, 0.9)),
        Row("gru", "ladder", 5, 1, (Estimate(0.5),)),
    ]
    paired = PairedTest("<i>", "b", Estimate(0.1, 0.0, 0.2), 0.01, 0.02)
    tests = [Comparison("gru", 5, "clips", paired)]
    write_tables(rows, tests, ["top-1"], tmp_path, published=PUBLISHED)
    with (tmp_path / "study.csv").open(newline="") as file:
        assert list(csv.reader(file))[1:] == [
            ["<b>", "openhands_27", "27", "3", "0.9", "0.88", "0.92", "0.5", "0.7", "0.9"],
            ["gru", "ladder", "5", "1", "0.5", "", "", "", "", ""],
        ]
    with (tmp_path / "tests.csv").open(newline="") as file:
        assert list(csv.reader(file))[1] == [
            "gru",
            "<i>",
            "b",
            "clips",
            "0.1",
            "0.0",
            "0.2",
            "0.01",
            "0.02",
        ]
    latex = (tmp_path / "study.tex").read_text()
    assert r"<b> & openhands\_27 & 27 & 3 & 90.0 $\pm$ 2.0 & 50.0--90.0 \\" in latex
    assert r"gru & ladder & 5 & 1 & 50.0 &  \\" in latex
    page = (tmp_path / "study.html").read_text()
    assert "&lt;b&gt;" in page
    assert "&lt;i&gt;" in page
    assert "<b>" not in page
    assert "<i>" not in page
    for shown in ("62.02", "98.42", "98.53", "89.50", "share 42", "0.900 [0.880, 0.920]"):
        assert shown in page


def test_published_figures_stand_apart_with_their_sources(tmp_path: Path) -> None:
    rows = [Row("gru", "ladder", 5, 1, (Estimate(0.5), Estimate(0.6)))]
    write_tables(rows, [], ["top-1", "top-5"], tmp_path, published=PUBLISHED)
    page = Outline(tmp_path / "study.html")
    _, own, published = (tmp_path / "study.tex").read_text().split("\\midrule\n")
    lines = [line for line in published.splitlines() if line.endswith(r"\\")]
    assert own.count(r"\\") == 1
    assert len(lines) == len(PUBLISHED)
    for row, line in zip(PUBLISHED, lines, strict=True):
        assert page.links.count(row.link) == [published.link for published in PUBLISHED].count(
            row.link
        )
        assert row.source in page.text
        shares = [int(found) for found in re.findall(r"multicolumn\{(\d)\}", line)]
        assert sum(shares) + line.replace(r"\&", "").count("&") + 1 - len(shares) == 4 + 2 + 1
        assert f"& {row.joints} & {row.seeds} & {row.value:.2f} &" in line
    assert r"\multicolumn{2}{l}{Sincan \& Keles 2020, arXiv:2008.00932} \\" in lines[0]
    assert r"notes in hatch5o6/asl\_classification on GitHub" in lines[-1]


def test_published_figures_stand_only_beside_runs_of_as_many_signs(tmp_path: Path) -> None:
    def run(signs: int) -> Run:
        return Run("gru", "ladder", 5, 0, False, {"test": {"signs": [*range(signs), 0]}})

    assert num_signs_of([run(226), run(225)]) == NUM_SIGNS
    assert num_signs_of([run(8)]) == 8
    assert num_signs_of([]) == 0
    write_tables([Row("gru", "ladder", 5, 1, (Estimate(0.5),))], [], ["top-1"], tmp_path)
    text, latex = Outline(tmp_path / "study.html").text, (tmp_path / "study.tex").read_text()
    assert not any(word in text + latex for word in ("ublished", "SAM-SLR", "AUTSL"))
    assert latex.count("midrule") == 1


def test_page_says_what_a_ladder_shares_and_that_nothing_is_compared_yet(tmp_path: Path) -> None:
    write_tables([], [], ["top-1"], tmp_path)
    said = " ".join(Outline(tmp_path / "study.html").text.split())
    assert "No encoder has two selections" in said
    assert "share the graph (st-gcn) and the attention (joint-tokens) of its widest rung" in said


def test_page_draws_a_curve_with_intervals_for_each_encoder_and_selection(tmp_path: Path) -> None:
    hostile = "</script><b>"
    rows = [
        Row(encoder, selection, joints, 3, (Estimate(at, at - 0.01, at + 0.02), Estimate(1.0)))
        for encoder, at in (("gru", 0.5), (hostile, 0.6))
        for selection, counts in (("ladder", (24, 5)), ("all", (42,)))
        for joints in counts
    ]
    write_tables(rows, [], ["top-1", "top-5"], tmp_path)
    page = Outline(tmp_path / "study.html")
    curves, safe = page.curves(), html.escape(hostile)
    assert set(curves) == {f"{name}, {s}" for name in ("gru", safe) for s in ("ladder", "all")}
    assert curves["gru, ladder"]["x"] == [5, 24]
    assert curves["gru, ladder"]["y"] == [0.5, 0.5]
    assert curves["gru, ladder"]["error_y"]["array"] == pytest.approx([0.02, 0.02])
    assert curves["gru, ladder"]["error_y"]["arrayminus"] == pytest.approx([0.01, 0.01])
    assert curves["gru, all"]["x"] == [42]
    assert json.loads(page.scripts[0])["layout"]["yaxis"]["title"]["text"] == "top-1"
    assert "function" in page.scripts[1]  # Plotly itself
    assert "<b>" not in (tmp_path / "study.html").read_text()


def test_page_of_one_seed_has_a_curve_without_intervals(tmp_path: Path) -> None:
    rows = [Row("gru", "ladder", joints, 1, (Estimate(0.5),)) for joints in (24, 5)]
    write_tables(rows, [], ["top-1"], tmp_path)
    (curve,) = Outline(tmp_path / "study.html").curves().values()
    assert curve["x"] == [5, 24]
    assert "error_y" not in curve


@pytest.mark.parametrize("rows", [[], [Row("gru", "learned", 5, 3, (Estimate(0.5, 0.4, 0.6),))]])
def test_page_without_two_rows_has_no_figure(rows: list[Row], tmp_path: Path) -> None:
    write_tables(rows, [], ["top-1"], tmp_path)
    page = Outline(tmp_path / "study.html")
    assert page.scripts == []
    assert "The figure of top-1 against joints needs two rows." in page.text


def test_page_with_one_number_of_joints_has_a_point_for_each_selection(tmp_path: Path) -> None:
    rows = [Row("gru", name, 5, 1, (Estimate(0.5),)) for name in ("learned", "random")]
    write_tables(rows, [], ["top-1"], tmp_path)
    curves = Outline(tmp_path / "study.html").curves()
    assert {name: curve["x"] for name, curve in curves.items()} == {
        "gru, learned": [5],
        "gru, random": [5],
    }


def test_page_that_cannot_be_written_costs_a_warning_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = cells_of(["gru"], [5], [0], ["learned"], [])
    write_cell(cell, tmp_path, {"joints": 5})

    def fail(*_: object) -> None:
        raise RuntimeError("no figure today")

    monkeypatch.setattr("examples.autsl.study.tables.plot_frontier", fail)
    with pytest.warns(UserWarning, match=r"study\.html: RuntimeError.*no figure.* --only"):
        study(tmp_path, [5], ["gru"], [0], [], ["learned"], only=-1)
    assert (tmp_path / "study.csv").read_text().count("\n") == 2
    assert (tmp_path / "study.tex").is_file()
    assert not (tmp_path / "study.html").exists()


def test_page_names_the_kept_joints_and_links_the_report_of_each_run(tmp_path: Path) -> None:
    cells = cells_of(["gru"], [3, 2], [0, 1, 2, 3], ["ladder", "random"], [])
    ladders = cells[:4]
    names = ("<wrist>", "thumb", "index", "ring")
    results = [{"joints": 3, "kept": [0, 1, 3]}, {"joints": 2, "kept": [0, 3]}]
    for cell in [*ladders[:3], *cells[4:]]:
        write_cell(cell, tmp_path, *results)
    reports = []
    for cell, version in ((ladders[0], 0), (ladders[0], 1), (ladders[1], 0), (ladders[3], 0)):
        folder = tmp_path / "runs" / path_of(cell, tmp_path).stem / "logs" / f"version {version}"
        folder.mkdir(parents=True)
        JointSelection((0,), 4, names, (1.0,) * 4).to_json(folder / "selection.json")
        reports.append(folder / "joint_importance.html")
        reports[-1].touch()
        os.utime(reports[-1], ns=(version, version))
    (reports[2].parent / "selection.json").write_text("{")  # names are lost, the page is not

    study(tmp_path, [3, 2], ["gru"], [0, 1, 2, 3], [], ["ladder", "random"], only=-1)
    page = Outline(tmp_path / "study.html")
    local = [tmp_path / unquote(link) for link in page.links if not link.startswith("https://")]
    assert local == [*reports[1:3], *reports[1:3], reports[3]]
    assert page.text.count("(report): <wrist>, thumb, ring") == 1
    assert page.text.count("(report): <wrist>, ring") == 1
    assert "seed 1 (report): joint_0, joint_1, joint_3" in page.text
    assert "seed 2: joint_0, joint_3" in page.text
    assert page.text.count("seed 0") == 2  # of the rungs, and of no random joints
    assert f"not finished:\n{path_of(ladders[3], tmp_path).stem}." in page.text


@pytest.mark.parametrize("name", ["bert", "gru", "st-gcn", "joint-tokens"])
def test_configuration_builds_its_encoder(name: str, tmp_path: Path) -> None:
    folder = make_synthetic(
        tmp_path, SyntheticSettings(signs=2, clips=(2, 2, 2), signers=(1, 1, 1), size=16)
    )
    cli = FusionCLI([f"--config={CONFIGS / name}.yaml", *flags(folder)])
    assert cli.config.model.encoder == name
    assert set(cli.model.branches) == {"skeleton"}
