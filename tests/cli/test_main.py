"""Test what the command line prints and writes, and how it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_jointprune.callback import JointPruningCallback
from lightning_jointprune.cli.main import main
from lightning_jointprune.record.intervals import wilson
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.report import write_report
from lightning_jointprune.report.numbers import importance_numbers
from lightning_jointprune.skeletons import get_skeleton, skeleton_names
from tests.poses import pose_of, write_pose
from tests.records import compared, evaluated, record_of


def selection_of(kept: tuple[int, ...], **more: Any) -> JointSelection:
    names = get_skeleton("coco_17").joints
    probabilities = tuple(0.99 if joint in kept else 0.01 for joint in range(17))
    return JointSelection(kept, 17, names, probabilities, **more)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "first"
    selection = selection_of((0, 1, 2), metrics={"val_acc": 0.9}, metric="val_acc")
    PruningRecord(selection, skeleton="coco_17").to_json(folder / "pruning_record.json")
    return folder


@pytest.fixture
def other(tmp_path: Path) -> Path:
    folder = tmp_path / "second"
    PruningRecord(selection_of((1, 2, 3))).to_json(folder / "pruning_record.json")
    return folder


def test_show_prints_the_sentence_and_the_table(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(run), "--title", "AUTSL"]) == 0
    out = capsys.readouterr().out
    assert "With 3 of 17 joints the model reaches val_acc 0.900 on AUTSL" in out
    assert out.count("KEEP") == 3
    assert out.count("PRUNE") == 14


def test_show_lists_every_doubt_in_a_line_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PruningRecord(JointSelection((0,), 2, ("a", "b"), (0.6, 0.1))).to_json(tmp_path)
    assert main(["show", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("Read this with care:")
    assert "- No metric was measured with the kept joints." in lines


def test_show_tells_every_rung_of_a_ladder_or_the_one_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rungs = (selection_of((0, 1, 2)), selection_of((1,)))
    PruningRecord(rungs[1], rungs=rungs).to_json(tmp_path)
    assert main(["show", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.index("3 of 17 joints are kept") < out.index("1 of 17 joints is kept")
    assert out.count("KEEP") == 1
    assert main(["show", str(tmp_path), "--joints", "3", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["indices"] == [0, 1, 2]
    assert [rung["indices"] for rung in shown["rungs"]] == [[0, 1, 2], [1]]
    assert main(["show", str(tmp_path), "--joints", "2"]) == 2
    assert "joints that the run has, 1, 3, but got 2" in capsys.readouterr().err


def test_report_of_another_number_of_joints_stands_beside_that_of_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rungs = (selection_of((0, 1, 2)), selection_of((1,)))
    PruningRecord(rungs[1], rungs=rungs).to_json(tmp_path)
    assert main(["report", str(tmp_path), "--joints", "3"]) == 0
    written = Path(capsys.readouterr().out.strip())
    assert written == tmp_path / "joint_importance_3.html"
    assert "3 of 17 joints are kept" in written.read_text(encoding="utf-8")
    assert not (tmp_path / "joint_importance.html").exists()
    for count, end in (
        ("2", "Train with budget=TargetJoints([2, 1]) for others.\n"),
        ("99", "got 99.\n"),
    ):
        assert main(["report", str(tmp_path), "--joints", count]) == 2
        said = capsys.readouterr().err
        assert f"joints that the run has, 1, 3, but got {count}" in said
        assert said.endswith(end)


def test_points_that_are_no_text_are_said_in_a_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "points.csv").write_bytes(b"label,joints,value\n\xff,1,0.5\n")
    assert main(["report", str(run), "--points", str(tmp_path / "points.csv")]) == 2
    assert "but got the byte 0xff. Save it as CSV in UTF-8." in capsys.readouterr().err


def test_show_draws_the_curve_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {1: 0.5, 2: 0.75, 3: None, 8: 0.99, 17: 1.0}
    compared(values, 8, samples=100).to_json(tmp_path)
    assert main(["show", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "when 4 numbers were compared (0.990 with 8, 1.000 with 17)" in out
    assert "quote a metric of a test part" in out
    head, *rows = out.partition("joints  ")[2].splitlines()[:5]
    least, most = wilson(0.5, 100).low, wilson(1.0, 100).high
    assert head.split() == ["val_acc", f"{least:.3f}", "to", f"{most:.3f}"]
    assert [row.split()[0] for row in rows] == ["1", "2", "8", "17"]
    assert [row.endswith("chosen") for row in rows] == [False, False, True, False]
    at = [row.index("o") - row.index("]") - 3 for row in rows]  # columns after the interval
    scale = 27 / (most - least)
    assert at == [round(scale * (value - least)) for value in (0.5, 0.75, 0.99, 1.0)]
    assert "0.750 [0.657, 0.825]" in rows[1]
    main(["show", str(tmp_path), "--json"])
    frontier = json.loads(capsys.readouterr().out)["frontier"]
    assert [(point["joints"], point["value"]) for point in frontier] == [*values.items()]
    main(["show", str(tmp_path), "--joints", "2"])
    out = capsys.readouterr().out
    assert out.startswith("With 2 of 17 joints the model reaches val_acc 0.750")
    assert "were compared" not in out
    assert next(row for row in out.splitlines() if row.endswith("chosen")).split()[0] == "8"


def test_a_run_of_one_point_has_no_curve(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["show", str(run)])
    assert "joints  val_acc" not in capsys.readouterr().out


def test_a_run_is_its_folder_or_its_file(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["show", str(run)])
    folder = capsys.readouterr().out
    main(["show", str(run / "pruning_record.json")])
    assert capsys.readouterr().out == folder


def test_show_says_that_an_unfinished_run_is_no_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    selection = replace(selection_of((0,)), source={"phase": "search"})
    PruningRecord(selection, phase="search").to_json(tmp_path)
    assert main(["show", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("Not a result yet")


def test_show_as_json_has_the_records_values(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["indices"] == [0, 1, 2]
    assert shown["names"] == list(get_skeleton("coco_17").joints[:3])
    assert (shown["phase"], shown["metrics"]) == ("final", {"val_acc": 0.9})
    assert shown["trust"] == "note"  # there is no baseline
    assert [finding["level"] for finding in shown["findings"]] == ["good", "good", "note", "note"]


def test_show_ranks_by_cost_once_that_was_measured_as_the_report_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = compared({2: 0.8, 5: 0.9}, 5)
    worth = evaluated(record)  # the later a joint, the more it costs
    record.to_json(tmp_path)
    worth.to_json(tmp_path)
    main(["show", str(tmp_path)])
    head, _, *rows = capsys.readouterr().out.split("% removed\n")[1].splitlines()
    assert head.split() == ["index", "|", "drop", "costs", "|", "keep", "prob.", "|", "joint", "|"]
    order = [joint.number for joint in importance_numbers(record, worth)]
    assert [int(row.split("|")[0]) for row in rows] == order == [4, 3, 2, 1, 0, *range(5, 17)]
    assert [row.split("|")[1].strip() for row in rows[4:6]] == ["0.100", ""]
    main(["show", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out)["drop_costs"]["nose"] == pytest.approx(
        [0.1, 0.05, 0.15]
    )
    for command in ("show", "report"):  # the costs are not those of two joints
        assert main([command, str(tmp_path), "--joints", "2"]) == 0
        assert "drop costs" not in capsys.readouterr().out


def test_show_names_stand_ins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    selection = selection_of((0,), stand_ins={"nose": {"left_eye": 0.97}})
    PruningRecord(selection).to_json(tmp_path)
    assert main(["show", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("explains (R²)\nnose  or left_eye: 0.97\n")
    main(["show", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out)["stand_ins"] == {"nose": {"left_eye": 0.97}}


def test_of_a_run_that_chose_a_number_another_one_is_shown_first_and_not_called_its_choice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = compared({1: 0.5, 2: 0.75, 3: 0.9}, 3)
    last = replace(record.history[-1], active_joints=3)
    replace(record, history=(*record.history[:-1], last)).to_json(tmp_path)
    assert main(["report", str(tmp_path), "--joints", "2"]) == 0
    page = (tmp_path / "joint_importance_2.html").read_text(encoding="utf-8")
    assert "With 3 of 17 joints the model reaches" in page
    assert '"first":1' in page
    assert main(["show", str(tmp_path), "--joints", "2"]) == 0
    said = capsys.readouterr().out
    assert "The run chose 3 joints, and its final phase trained the model for these." in said
    with pytest.raises(ValueError, match=r"was measured, 1, 2, 3, but got 4"):
        write_report(record, tmp_path, joints=4)


def test_show_takes_figures_without_the_callback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record_of("coco_17", (0, 1)).to_json(tmp_path)
    (tmp_path / "plain.json").write_text('{"val_acc": 0.8}')
    assert main(["show", str(tmp_path)]) == 0
    assert "What the model reaches without pruning is not known yet" in capsys.readouterr().out
    assert main(["show", str(tmp_path), "--baseline", str(tmp_path / "plain.json")]) == 0
    assert "Without pruning, val_acc is 0.800." in capsys.readouterr().out
    main(["show", str(tmp_path), "--baseline", str(tmp_path / "plain.json"), "--json"])
    assert json.loads(capsys.readouterr().out)["baseline"] == {"val_acc": 0.8}


def test_compare_names_joints_that_are_kept_in_place_of_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [[float(k == d) for d in range(17)] for k in range(17)]
    rows[0][1], rows[1][0] = 0.97, 0.96
    for name, kept in (("a", (0, 5)), ("b", (1, 5))):
        record = PruningRecord(selection_of(kept), redundancy=rows)
        record.to_json(tmp_path / name / "pruning_record.json")
    runs = [str(tmp_path / name) for name in "ab"]
    assert main(["compare", *runs, "-o", str(tmp_path / "page.html")]) == 0
    said = capsys.readouterr().out
    assert "Stability 0.977 if a joint and its stand-in count as agreement" in said
    assert "in place of each other (1): by how many runs" in said
    assert "nose   1     left_eye  1     0     0.96" in said
    assert "In place of each other" in (tmp_path / "page.html").read_text(encoding="utf-8")
    main(["compare", *runs, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["effective_stability"] == pytest.approx(0.98, abs=0.005)
    pair = {"joints": ["nose", "left_eye"], "similarity": 0.96, "kept": [1, 1], "both": 0}
    assert found["exchanges"] == [pair]


def test_report_is_written_beside_the_record_or_where_it_is_asked_for(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "joint_importance.html")
    assert main(["report", str(run / "pruning_record.json"), "-o", str(tmp_path / "x.html")]) == 0
    assert (tmp_path / "x.html").read_bytes() == (run / "joint_importance.html").read_bytes()


def test_report_as_json_says_where_it_is(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--json", "--plotly", "cdn"]) == 0
    path = run / "joint_importance.html"
    assert json.loads(capsys.readouterr().out) == {
        "report": str(path),
        "bytes": path.stat().st_size,
    }
    assert path.stat().st_size < 1e6


def test_report_takes_what_lies_beside_the_record_or_is_named(
    run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["report", str(run)])
    alone = (run / "joint_importance.html").read_text()
    evaluated(PruningRecord.from_json(run)).to_json(run)
    (run / "frontier.csv").write_text("label,joints,value\nall joints,17,0.8\n")
    main(["report", str(run)])
    beside = (run / "joint_importance.html").read_text()
    for words in ("Class by class", "Frontier"):
        assert (words in beside, words in alone) == (True, False)
    for file in ("joint_evaluation.json", "frontier.csv"):
        (run / file).rename(tmp_path / file)
    named = ["--evaluation", str(tmp_path / "joint_evaluation.json")]
    named += ["--points", str(tmp_path / "frontier.csv")]
    main(["report", str(run), *named])
    assert (run / "joint_importance.html").read_text() == beside
    main(["report", str(run), "--seeds", str(other)])
    assert "are kept by all 2 seeds" in (run / "joint_importance.html").read_text()


def test_report_and_compare_show_the_baseline(
    run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "metrics.csv").write_text("epoch,val_acc\n0,0.5\n1,0.925\n")
    assert main(["report", str(run), "--baseline", str(tmp_path / "plain")]) == 0
    page = (run / "joint_importance.html").read_text()
    assert "<b>0.925</b>val_acc without pruning; 0.025 less with the kept joints" in page
    capsys.readouterr()
    assert main(["report", str(run), "--baseline", str(other)]) == 2
    assert "a run that kept 3 of 17 joints" in capsys.readouterr().err
    main(["compare", str(run), str(other)])
    assert "without pruning" not in capsys.readouterr().out
    main(["compare", str(run), str(other), "--baseline", str(tmp_path / "plain")])
    assert capsys.readouterr().out.splitlines()[1].split()[-2:] == ["0.9", "0.925"]
    known = replace(PruningRecord.from_json(run), baseline={"val_acc": 0.925})
    known.to_json(run)
    main(["compare", str(run), str(other), "-o", str(tmp_path / "both.html")])
    head, first, second = capsys.readouterr().out.splitlines()[:3]
    assert head.split()[-2:] == ["without", "pruning"]
    assert first.split()[-2:] == ["0.9", "0.925"]
    assert second.split()[-2:] == ["not", "measured"]
    assert '<td class="number">0.925</td>' in (tmp_path / "both.html").read_text()
    main(["compare", str(run), str(other), "--json"])
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [shown["baseline"] for shown in runs] == [{"val_acc": 0.925}, {}]


def test_a_folder_above_the_runs_is_answered_with_the_newest_run(
    run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.utime(other / "pruning_record.json", (1, 1))
    assert main(["show", str(tmp_path)]) == 2
    assert f"Expected a folder with pruning_record.json but got {tmp_path}" in (
        said := capsys.readouterr().err
    )
    assert said.rstrip().endswith(f"Pass {run}.")
    os.utime(run / "pruning_record.json", (0, 0))
    assert main(["show", str(tmp_path)]) == 2
    assert capsys.readouterr().err.rstrip().endswith(f"Pass {other}.")


def test_a_record_of_another_schema_is_refused_with_its_version(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "pruning_record.json"
    data = {
        **json.loads(path.read_text()),
        "schema": 7,
        "versions": {"lightning-jointprune": "9.1"},
    }
    path.write_text(json.dumps(data))
    for command in ("show", "report"):
        assert main([command, str(run)]) == 2
        said = capsys.readouterr().err
        assert "Expected schema 1" in said
        assert "got schema 7. Read it with lightning-jointprune 9.1, or a newer one." in said


def test_compare_counts_overlaps_and_votes(
    run: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(run), str(other)]) == 0
    out = capsys.readouterr().out
    assert "0.50" in out
    rows = {line.split()[1]: line.split()[2:] for line in out.splitlines() if "KEEP" in line}
    assert rows["left_eye"] == ["2", "KEEP", "0.99", "KEEP", "0.99"]
    assert rows["nose"] == ["1", "KEEP", "0.99", "0.01"]
    assert len(rows) == 4
    assert "2 that the runs disagree on, 2 that all keep (13 that no run keeps are left out)" in out
    assert "Stability 0.595" in out
    assert "the 2 joints that they disagree on are what another seed changes" in out


@pytest.fixture
def third(tmp_path: Path) -> Path:
    folder = tmp_path / "third"
    selection = selection_of((1, 2, 5), metrics={"val_acc": 0.8}, metric="val_acc")
    PruningRecord(selection, skeleton="coco_17").to_json(folder / "pruning_record.json")
    return folder


def test_a_consensus_is_printed_written_and_read_as_a_budget(
    run: Path, third: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "consensus.json"
    assert main(["consensus", str(run), str(third), "--joints", "2", "-o", str(output)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("2 of 17 joints, the most often kept in 2 runs:")
    rows = {line.split()[1]: line.split()[2:] for line in out.splitlines() if "[0." in line}
    low = wilson(1.0, 2).low
    assert rows["left_eye"] == ["2", "1.00", f"[{low:.2f},", "1.00]", "0.99", "KEEP"]
    assert rows["nose"][0] == "1"
    assert "KEEP" not in rows["nose"]
    assert "13 joints that no run keeps are left out" in out
    assert "Stability 0.595: " in out
    assert "is not bounded" in out
    assert f"Train with these joints by budget={str(output)!r}." in out
    written = JointSelection.from_json(output)
    assert written.names == ("left_eye", "right_eye")
    assert written.source["runs"] == [str(run), str(third)]
    callback = JointPruningCallback(skeleton="coco_17", budget=str(output))
    assert callback.record.settings["budget"]["GivenJoints"]["joints"] == [1, 2]


def test_a_consensus_as_json_and_of_halves(
    run: Path, third: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["consensus", str(run), str(third), "--halves", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["indices"] == [0, 1, 2]
    assert found["kept_by"]["left_eye"] == 2
    assert found["stability"]["value"] == pytest.approx(0.595, abs=1e-3)
    assert found["bounds"][1]["joints"] == [1, 2]
    assert found["bounds"][1]["wrong"] == pytest.approx(9 / (0.5 * 17))
    assert main(["consensus", str(run), str(third), "--halves"]) == 0
    assert "at least 75 % of the runs kept, at most 1.1 are expected to be wrong." in (
        capsys.readouterr().out
    )


def test_compare_writes_a_page_with_what_it_prints(
    run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "both.html"
    assert main(["compare", str(run), str(other), "-o", str(page), "--plotly", "cdn"]) == 0
    assert "Stability 0.595" in capsys.readouterr().out
    text = page.read_text("utf-8")
    assert "2 joints are kept by all 2 runs, and on 2 they disagree." in text
    assert "The stability is 0.595" in text


def test_compare_as_json(run: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(run), str(other), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [run["run"] for run in shown["runs"]] == ["first", "second"]
    assert shown["jaccard"] == [{"runs": [0, 1], "overlap": 0.5}]
    assert (shown["kept_by"]["left_eye"], shown["kept_by"]["nose"]) == (2, 1)
    assert [row["number"] for row in shown["disputed"]] == [0, 3]
    assert (shown["settings"], shown["beyond_seeds"]) == ([0, 0], [])
    assert shown["stability"]["value"] == pytest.approx(1 - (2 * 0.5 / 17) / (3 / 17 * 14 / 17))


def test_compare_puts_the_frontiers_of_ladders_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"metric": "val_acc"}
    for name, values in (("a", (0.9, 0.8)), ("b", (0.7, 0.6))):
        kept = ((0, 1, 2), (1,)) if name == "a" else ((0, 1), (1,))
        rungs = tuple(
            selection_of(joints, metrics={"val_acc": value}, **known)
            for joints, value in zip(kept, values, strict=True)
        )
        PruningRecord(rungs[1], rungs=rungs).to_json(tmp_path / name / "pruning_record.json")
    runs = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(["compare", *runs]) == 0
    out = capsys.readouterr().out
    table = out.partition("val_acc by the number of joints\n")[2].splitlines()[:4]
    assert [row.split() for row in table] == [
        ["joints", "1", "2"],
        ["3", "0.9"],
        ["2", "0.7"],
        ["1", "0.8", "0.6"],
    ]
    main(["compare", *runs, "--json"])
    frontier = json.loads(capsys.readouterr().out)["frontier"]
    assert frontier == {"a": [[1, 0.8], [3, 0.9]], "b": [[1, 0.6], [2, 0.7]]}


def test_runs_in_folders_of_one_name_are_told_apart_by_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [tmp_path / seed / "version_0" for seed in ("a", "b")]
    for folder in runs:
        PruningRecord(selection_of((0,))).to_json(folder / "pruning_record.json")
    main(["compare", *map(str, runs), "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert [run["run"] for run in shown["runs"]] == [str(folder) for folder in runs]


def test_skeletons_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["skeletons"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in skeleton_names())
    assert main(["skeletons", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["coco_17"] == 17


def test_a_skeletons_joints_are_listed_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["skeletons", "coco_17"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["0", "nose", "head"]
    assert main(["skeletons", "coco_17", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["joints"] == list(get_skeleton("coco_17").joints)


def test_the_joints_of_a_pose_file_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_pose(tmp_path / "clip.pose", pose_of("openpose_137"))
    assert main(["skeletons", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["0", "pose_Nose", "pose_head"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "{tmp}/nowhere"], "which does not exist. Pass the folder"),
        (["show", "{tmp}"], "which has none. Pass"),
        (["show", "{tmp}/last.ckpt"], "but got a model"),
        (["report", "{tmp}/broken.json"], "it is damaged"),
        (["report", "{tmp}/first", "-o", "{tmp}/broken.json/x.html"], "broken.json"),
        (["report", "{tmp}/first", "--evaluation", "{tmp}/none.json"], "none.json"),
        (["report", "{tmp}/three", "--evaluation", "{tmp}/worth.json"], "the 1 of 3 joints"),
        (["report", "{tmp}/first", "--points", "{tmp}/broken.json"], "but got no label"),
        (["report", "{tmp}/first", "--seeds", "{tmp}/three"], "Expected the 17 joints"),
        (["compare", "{tmp}/first"], "at least 2 runs"),
        (["compare", "{tmp}/first", "{tmp}/first"], "at least 2 runs to compare but got 1"),
        (["compare", "{tmp}/first", "{tmp}/three"], "Expected the 17 joints of first but got 3"),
        (["compare", "{tmp}/three", "{tmp}/named"], "joint 1 is 'b', not 'x', in named"),
        (["consensus", "{tmp}/first", "{tmp}/first"], "first twice. Name it once"),
        (["consensus", "{tmp}/first", "{tmp}/first/"], "are the same to the last digit"),
        (["consensus", "{tmp}/three", "{tmp}/named"], "joint 1 is 'b', not 'x', in"),
        (["consensus", "{tmp}/three", "{tmp}/three/", "-o", "{tmp}/first"], "no run has written"),
        (["skeletons", "coco_71"], "Did you mean 'coco_17'"),
    ],
)
def test_bad_input_costs_one_line_and_status_2(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    (tmp_path / "broken.json").write_text('{"kind": ')
    evaluated(PruningRecord.from_json(run)).to_json(tmp_path / "worth.json")
    small = JointSelection((0,), 3, ("a", "b", "c"), (1.0, 0.0, 0.0))
    PruningRecord(small).to_json(tmp_path / "three" / "pruning_record.json")
    named = JointSelection((0,), 3, ("a", "x", "c"), (1.0, 0.0, 0.0))
    PruningRecord(named).to_json(tmp_path / "named" / "pruning_record.json")
    assert main([word.format(tmp=tmp_path) for word in words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("jointprune: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["unknown"], ["show"], ["compare"]])
def test_a_command_line_that_is_none_ends_with_status_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: jointprune" in capsys.readouterr().err


def test_names_cannot_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    selection = JointSelection((0,), 2, ("\x1b[31mred", "b\nc"), (1.0, 0.0), metric="\x1b[2J")
    for folder in ("a", "b"):
        PruningRecord(selection).to_json(tmp_path / folder / "pruning_record.json")
    main(["show", str(tmp_path / "a")])
    main(["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("variable", ["NO_COLOR", "FORCE_COLOR", None])
def test_what_is_printed_has_no_colours_whatever_a_terminal_asks_for(
    run: Path,
    other: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    if variable is not None:
        monkeypatch.setenv(variable, "1")
    for words in (["show", str(run)], ["compare", str(run), str(other)], ["skeletons"], ["doctor"]):
        assert main(words) == 0
        out = capsys.readouterr().out
        assert out
        assert "\x1b" not in out


def test_a_reader_that_stops_early_is_no_error(run: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lightning_jointprune", "show", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
    process.stderr.close()


def test_show_says_which_parts_of_mediapipe_are_still_needed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = get_skeleton("mediapipe_body_hands").joints
    kept = (0, names.index("left_hand_wrist"))
    probabilities = tuple(float(joint in kept) for joint in range(75))
    PruningRecord(JointSelection(kept, 75, names, probabilities)).to_json(tmp_path)
    assert main(["show", str(tmp_path)]) == 0
    said = (
        "Kept joints by part: pose 1, left hand 1, right hand 0. To extract them, run MediaPipe's"
    )
    assert said in capsys.readouterr().out
    assert main(["show", str(tmp_path), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["extraction"]
    assert plan["components"] == {"pose": 1, "left_hand": 1, "right_hand": 0}
    assert main(["show", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["extraction"] is None


def test_select_rewrites_files_to_the_kept_joints_once(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.arange(5 * 17 * 2.0).reshape(5, 17, 2)
    files = [str(tmp_path / f"{name}.npy") for name in "ab"]
    for file in files:
        np.save(file, x)
    command = ["select", *files, "--joints", str(run), "-o", str(tmp_path / "small")]
    assert main(command) == 0
    small = tmp_path / "small" / "a.npy"
    assert np.array_equal(np.load(small), x[:, :3])
    said = f"{small}: {small.stat().st_size} of {Path(files[0]).stat().st_size} bytes"
    assert capsys.readouterr().out.splitlines()[0] == said
    assert main([*command, "--json"]) == 0
    done = json.loads(capsys.readouterr().out)["files"]
    assert [Path(file["path"]).name for file in done] == ["a.npy", "b.npy"]
    assert not any(file["made"] for file in done)
    assert main(["select", *files, "--joints", str(run), "-o", str(tmp_path)]) == 2
    assert "which is the file itself" in capsys.readouterr().err


def test_select_names_what_it_leaves_out_and_does_the_rest(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, small = tmp_path / "clips", tmp_path / "small"
    folder.mkdir()
    for name, joints in (("a", 17), ("b", 16), ("c", 17)):
        np.save(folder / f"{name}.npy", np.zeros((5, joints, 3)))
    command = ["select", str(folder), "--joints", str(run), "-o", str(small), "--workers", "2"]
    assert main(command) == 2
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2
    left, summary = said.err.splitlines()
    assert f"{folder / 'b.npy'}: left out. Expected an axis of 17 joints" in left
    assert "Expected 3 files with the joints of the selection but left out 1, which" in summary
    assert main([*command, "--json"]) == 2
    printed = json.loads(capsys.readouterr().out)
    assert [file["path"] for file in printed["skipped"]] == [str(folder / "b.npy")]
    assert [file["made"] for file in printed["files"]] == [False, False]
    (folder / "b.npy").unlink()
    assert main(command) == 0


def test_select_shows_a_bar_in_a_terminal(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(tmp_path / f"{name}.npy") for name in "ab"]
    for file in files:
        np.save(file, np.zeros((5, 17, 3)))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["select", *files, "--joints", str(run), "-o", str(tmp_path / "small")]) == 0
    assert "2 of 2 files" in capsys.readouterr().err


def test_select_refuses_the_joints_of_a_run_that_was_not_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(selection_of((0,)), source={"phase": "search"}).to_json(tmp_path)
    command = ["select", "x.npy", "--joints", str(tmp_path), "-o", str(tmp_path / "small")]
    assert main(command) == 2
    assert "a finished run but got" in capsys.readouterr().err


def test_select_takes_a_selection_and_an_axis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    selection_of((3, 4)).to_json(tmp_path / "mine.json")
    x = np.arange(17 * 17.0).reshape(17, 17)
    np.save(tmp_path / "x.npy", x)
    command = ["select", str(tmp_path / "x.npy"), "--joints", str(tmp_path / "mine.json")]
    command += ["-o", str(tmp_path / "small")]
    assert main(command) == 2
    assert "Pass --axis 0, or 1" in capsys.readouterr().err
    assert main([*command, "--axis", "1"]) == 0
    assert np.array_equal(np.load(tmp_path / "small" / "x.npy"), x[:, [3, 4]])
    assert main([*command[:2], "--joints", str(tmp_path / "none"), "-o", "small"]) == 2
    assert "which does not exist" in capsys.readouterr().err


def test_what_draws_nothing_loads_no_plotly(run: Path, other: Path, third: Path) -> None:
    commands = [["show", str(run)], ["compare", str(run), str(other)], ["report", "--help"]]
    commands.append(["consensus", str(run), str(third)])
    code = (
        "import contextlib, sys\n"
        "from lightning_jointprune.cli.main import main\n"
        f"for words in {commands}:\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main(words)\n"
        "    print('loaded', 'plotly' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("loaded False") == len(commands)
