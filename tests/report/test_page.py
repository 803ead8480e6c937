"""Test what the page says, and what it leaves out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import plotly.graph_objects as go
import pytest

from lightning_jointprune.record.evaluation import JointEvaluation
from lightning_jointprune.record.intervals import Estimate
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.report import Point, figures, numbers, page, picture, render, write_report
from lightning_jointprune.report.curve import chosen_of, sentence_of
from lightning_jointprune.report.doubts import findings
from lightning_jointprune.report.numbers import importance_numbers, report_numbers
from lightning_jointprune.report.page import _coded, _for_script
from lightning_jointprune.report.usage import callback_code, idle_components, load_code, papers
from tests.records import HOSTILE, compared, evaluated, record_of, unnamed


def test_a_figures_json_cannot_end_the_script_it_is_in() -> None:
    figure = go.Figure(layout_title_text="".join(HOSTILE))
    text = _for_script(figure.to_json())
    assert not {"<", ">", "&"} & set(text)
    assert json.loads(text)["layout"]["title"]["text"] == "".join(HOSTILE)


def text_of(page: str) -> str:
    """Return the words of the page's body."""
    body = page.partition("<body>")[2].partition('<script type="application/json"')[0]
    return " ".join(re.sub(r"<[^>]+>", " ", body).replace("\u00a0", " ").split())


def test_the_answer_is_on_top_with_the_runs_figures() -> None:
    record = replace(record_of("mediapipe_hands", tuple(range(12))), baseline={"val_acc": 0.86})
    page = render(record, "AUTSL")
    text = text_of(page)
    assert "With 12 of 42 joints the model reaches val_acc 0.863 on AUTSL" in text
    assert "0.863 val_acc with the kept joints only, at the end" in text
    assert "warm-up ended" not in text
    assert "Every joint is decided." in text
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings == [
        "The skeleton",
        "Joints by keep probability",
        "How it was found",
        "Can you trust it?",
        "What next",
    ]
    verdict = text.index("This looks sound")
    assert text.index("with 71.4 % of the joints removed") < verdict < text.index("12 / 42")


def test_the_figures_without_pruning_are_beside_those_of_the_kept_joints() -> None:
    record = record_of("mediapipe_hands", tuple(range(12)))
    assert "There is no baseline yet: train once without" in text_of(render(record))
    known = text_of(render(replace(record, baseline={"val_acc": 0.875})))
    assert "0.875 val_acc without pruning; 0.012 less with the kept joints" in known
    assert "There is no baseline" not in known
    better = text_of(render(replace(record, baseline={"val_acc": 0.85})))
    assert "0.850 val_acc without pruning; 0.013 more with the kept joints" in better
    percent = text_of(render(replace(record, baseline={"val_acc": 87.5})))
    assert "without pruning" not in percent
    assert "The baseline seems to be in another unit." in percent


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    record = record_of("coco_17", (1, 2))
    first = write_report(record, tmp_path / "a.html").read_bytes()
    again = PruningRecord.from_json(record.to_json())
    assert write_report(again, tmp_path / "b.html").read_bytes() == first


def test_the_same_record_evaluation_points_and_seeds_give_the_same_bytes(tmp_path: Path) -> None:
    record, points = record_of("coco_17", (1, 2)), [Point(17, 0.9, "all joints", 0.8, 0.95)]
    worth = replace(evaluated(record), soft=Estimate(0.1), per_signer={"b": Estimate(1.0)})
    texts = []
    for _ in range(2):
        again = PruningRecord.from_json(record.to_json())
        same = JointEvaluation.from_json(worth.to_json())
        texts.append(render(again, "x", evaluation=same, points=points, seeds=[again, record]))
    assert texts[0] == texts[1]


def test_a_report_ranks_its_joints_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranked = Mock(side_effect=importance_numbers)
    for module in (numbers, figures, page, picture):
        monkeypatch.setattr(module, "importance_numbers", ranked, raising=False)
    record, points = record_of("coco_17", (1, 2)), [Point(17, 0.9, "all joints")]
    worth = replace(evaluated(record), soft=Estimate(0.1))
    write_report(record, tmp_path, evaluation=worth, points=points, seeds=[record, record])
    ranked.assert_called_once_with(record, worth)


def test_a_folder_gets_the_report_under_its_usual_name(tmp_path: Path) -> None:
    path = write_report(unnamed((0.9, 0.1)), tmp_path)
    assert path == tmp_path / "joint_importance.html"
    assert path.stat().st_size < 8e6


def test_sections_without_data_are_absent() -> None:
    page = render(unnamed((0.9, 0.1)))
    text = text_of(page)
    for absent in (
        "The skeleton",
        "How it was found",
        "Settings and versions",
        "body part",
        "switched off",
    ):
        assert absent not in text
    assert "no metric was measured with them" in text
    assert "No metric was measured with the kept joints." in text
    assert 'id="skeleton-data"' not in page
    assert 'id="importance-data"' in page


def test_an_evaluation_and_other_points_bring_their_sections() -> None:
    record = record_of("coco_17", (3, 10))
    page = render(record, evaluation=evaluated(record), points=[Point(17, 0.8, "all joints")])
    text = text_of(page)
    assert "0.900 accuracy on 200 samples, 95&nbsp;% interval 0.850 to" in text
    assert "dropping costs verdict" in text
    assert "0.200 [0.150, 0.250]" in text
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings[3:6] == ["Can you trust it?", "Frontier", "Class by class"]
    name = record.selection.joint_names[10]
    assert "The classes that lose most class accuracy loses most without" in text
    assert f"2 0.700 0.200 {name} 1 0.800 0.133 {name}" in text
    plain = render(record)
    for absent in ("Frontier", "Class by class", "dropping costs", "200 samples"):
        assert absent not in text_of(plain)


def test_a_ladder_has_a_row_for_each_of_its_numbers_and_tells_how_to_load_one() -> None:
    record = record_of("coco_17", (3, 10))
    large = replace(record.selection, indices=(3, 4, 10), metrics={"val_acc": 0.875})
    page = render(replace(record, rungs=(large, record.selection)))
    assert "of joints val_acc this run, chosen 2 0.863 this run 3 0.875" in text_of(page)
    assert 'load_pruned(MyModel, "best.ckpt", joints=3)' in unescape(page)


def test_the_curve_is_the_first_section_where_there_is_one() -> None:
    page = render(compared({2: 0.8, 5: 0.9, 17: 0.905}, 5))
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings[:2] == ["How few will do", "The skeleton"]
    assert "Frontier" not in headings
    text = text_of(page)
    assert "5 of 17 joints are shown, the number that was chosen." in text
    assert "no number of joints did better by more than 0.01 when 3 numbers were compared" in text
    assert text.count("The number was chosen on the validation, so quote a metric of a test") == 1
    plain = render(compared({2: None, 5: 0.9, 17: None}, 5))
    assert "How few will do" not in plain
    assert 'id="rung"' not in plain


def test_stand_ins_have_a_column_if_there_are_any() -> None:
    record = record_of("coco_17", (0,))
    text = render(replace(record, redundancy=[[0.1] * 17] * 17))
    assert "or one of" not in text
    others = {"left_eye": 0.97, "right_eye": 0.9, "left_ear": 0.8, "right_ear": 0.7}
    selection = replace(record.selection, stand_ins={"nose": others})
    text = render(replace(record, selection=selection))
    assert text.count('<td class="instead">') == 17
    words = "left_eye: 0.97, right_eye: 0.90, left_ear: 0.80, and 1 more"
    assert f'<td class="instead">{words}</td>' in text
    assert f'["{words}",[1,2,3]]' in text


def test_the_page_of_given_joints_says_so_and_cites_no_gate() -> None:
    budget = {"GivenJoints": {"joints": [0, 1], "source": "<b>consensus.json"}}
    record = record_of("coco_17", (0, 1), settings={"budget": budget, "gate": {}})
    page = render(record, plotly="cdn")
    said = "The joints were given, by &lt;b&gt;consensus.json: this run searched for none."
    assert page.count(said) == 2  # on top, and among the findings
    assert "How to cite" not in page


def test_each_signer_has_a_row_if_they_are_known() -> None:
    record = record_of("coco_17", (3, 10))
    signers = {"ann": Estimate(0.9, 0.8, 0.95), "<b>": Estimate(0.5)}
    text = text_of(render(record, evaluation=replace(evaluated(record), per_signer=signers)))
    assert "Signer by signer" in text
    assert "ann 0.900 [0.800, 0.950] &lt;b&gt; 0.500" in text
    assert "Signer by signer" not in text_of(render(record, evaluation=evaluated(record)))


def test_an_unnamed_skeleton_is_drawn_and_said_to_be_the_mean_pose() -> None:
    record = replace(unnamed((0.9, 0.1)), pose=((0.0, 1.0), (2.0, 3.0)))
    text = text_of(render(record))
    assert "Each is at its mean place in the first training batches" in text
    assert "the person's left" not in text
    own = replace(record, skeleton="mine", edges=((0, 1),), parts={"arm": (0, 1)})
    text = text_of(render(own))
    assert "Each is where the drawing of this skeleton has it" in text
    assert "arm 1/2" in text  # the body part, with how many of its joints are kept


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("warmup", "Nothing is decided yet: the run is in its warm-up, with all 17 joints in use."),
        ("search", "So far 2 of 17 joints would be kept; the search goes on."),
    ],
)
def test_an_unfinished_run_is_not_presented_as_a_result(phase: str, words: str) -> None:
    text = text_of(render(record_of("coco_17", (0, 1), phase=phase)))
    assert words in text
    assert "The run has not reached its final phase." in text
    assert "reaches val_acc" not in text
    assert "load_pruned" not in text


def test_the_verdict_is_beside_the_answer_and_its_reasons_are_linked() -> None:
    page = render(unnamed((0.99, 0.62, 0.01)))
    text = text_of(page)
    assert text.index("Read this with care: 1 of 3 joints is undecided") < text.index("Joints by")
    assert 'href="#trust"' in page
    assert 'id="trust"' in page


def test_code_in_advice_is_code_and_a_name_with_a_backtick_is_a_name() -> None:
    assert _coded("pass `lr` <now>") == "pass <code>lr</code> &lt;now&gt;"
    assert _coded("a`<b>") == "a`&lt;b&gt;"


def test_until_joints_are_measured_the_page_says_what_to_type_and_claims_no_importance() -> None:
    record = record_of("coco_17", (3, 10))
    text = text_of(unescape(render(record)))
    assert "evaluate_joints(model, val_dataloader)" in text
    assert "Joints by keep probability" in text
    assert "important" not in text.lower()
    page = render(record, evaluation=evaluated(record))
    measured = text_of(unescape(page))
    assert "evaluate_joints(" not in measured
    assert "What each joint is worth" in measured
    assert re.findall(r'rank">\d+</td><td class="number">(\d+)', page)[:3] == ["10", "3", "0"]
    assert '<option value="rank">by cost</option>' in page
    assert '<option value="rank">by keep probability</option>' in render(record)
    assert "evaluate_joints(" not in text_of(render(record_of("coco_17", (3,), phase="search")))


def test_the_page_tells_how_to_go_on() -> None:
    settings = {"budget": {"Price": {"value": "auto"}}, "gate": "gumbel_sigmoid"}
    text = text_of(render(record_of("mediapipe_holistic", (500,), settings=settings)))
    assert "the Face Landmarker (Face Mesh) need not run" in text
    assert "load_pruned(MyModel" in text
    assert "budget=Price(value=&#34;auto&#34;)" in text
    assert "arXiv:1611.01144" in text


def test_an_unknown_place_of_plotly_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected plotly to be one of inline, cdn, directory"):
        render(unnamed((0.9, 0.1)), plotly="web")


def test_with_plotly_from_elsewhere_the_page_is_small(tmp_path: Path) -> None:
    record = record_of("mediapipe_holistic", tuple(range(24)), moments=200)
    page = write_report(record, tmp_path / "cdn.html", plotly="cdn")
    assert page.stat().st_size < 1e6
    assert re.search(
        r'<script src="https://cdn.plot.ly/plotly-[\d.]+.min.js" integrity="sha256-',
        page.read_text(),
    )
    assert [path.name for path in tmp_path.iterdir()] == ["cdn.html"]
    page = write_report(record, tmp_path / "beside.html", plotly="directory")
    assert page.stat().st_size < 1e6
    assert (tmp_path / "plotly.min.js").stat().st_size > 1e6


def test_543_joints_and_200_snapshots_stay_small(tmp_path: Path) -> None:
    record = record_of("mediapipe_holistic", tuple(range(24)), moments=200)
    path = write_report(record, tmp_path, evaluation=evaluated(record, classes=226))
    assert path.stat().st_size < 8e6


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to each value in nested dictionaries and lists."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in pairs:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from leaves(item, (*path, key))


JUNK = [None, True, -1, 10**400, 1e308, float("nan"), "x", [], {}, [None], {"a": {"b": [1]}}]


FLOOR = {"MetricFloor": {"metric": "val_acc", "floor": 0.9, "mode": None}}
FEWEST = {"Fewest": {"metric": None, "within": 0.01, "mode": None}}


@pytest.mark.parametrize("budget", [FLOOR, FEWEST])
def test_a_record_that_is_wrong_anywhere_is_refused_or_drawn_and_never_a_traceback(
    budget: dict[str, Any],
) -> None:
    settings = {
        "budget": budget,
        "gate": {"GumbelSigmoid": {"initial_keep_probability": 0.9, "temperature": [1.0, 0.3]}},
        "groups": {"arm": [5, 7]},
        "keep": [0],
        "tied": True,
    }
    record = record_of("coco_17", (0, 1), settings=settings, versions={"torch": "2"})
    if budget is FEWEST:
        ladder = compared({2: 0.86, 5: 0.865, 17: 0.85}, 2)
        record = replace(record, rungs=ladder.rungs, baseline={"val_acc": 0.87})
        assert chosen_of(record) is not None
    text = record.to_json()
    # Of each list the first item is enough.
    paths = [path for path in leaves(json.loads(text)) if path[-1] == 0 or type(path[-1]) is str]
    drawn = 0
    for number, path in enumerate(paths):
        data = json.loads(text)
        place = data
        for key in path[:-1]:
            place = place[key]
        for junk in JUNK if len(path) < 4 else JUNK[number % 3 :: 3]:
            place[path[-1]] = junk
            try:
                odd = PruningRecord.from_json(json.dumps(data))
            except ValueError:
                continue
            drawn += 1
            findings(odd), callback_code(odd), papers(odd), idle_components(odd)
            shown = report_numbers(odd)
            sentence_of(odd), [load_code(odd, rung.kept) for rung in shown.rungs]
    assert drawn > 100


def test_runs_that_are_not_finished_have_no_joints_to_show() -> None:
    record = record_of("coco_17", (0, 1))
    going = replace(record, phase="search")
    assert 'data-run="' in render(record, seeds=[record])
    assert 'data-run="' not in render(record, seeds=[going])
    assert 'data-run="' not in render(going, seeds=[record])


def test_the_code_to_load_a_run_of_another_seed_names_its_folder() -> None:
    record = record_of("coco_17", (0, 1))
    assert "# in the folder of runs/7\\n" in render(record, seeds={"runs/7": record})
