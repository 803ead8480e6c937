"""A record refuses what does not fit, and JSON gives back what went in."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_jointprune.record.record import PruningRecord, Snapshot
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.record.stored import RECORD_FILE, SELECTION_FILE
from tests.record.test_selection import selection_of


def snapshot_of(total: int, **more: Any) -> Snapshot:
    known: dict[str, Any] = {
        "step": 10,
        "epoch": 1,
        "progress": 0.2,
        "phase": "search",
        "temperature": 0.8,
        "price": 0.003,
        "expected_joints": 1.5,
        "active_joints": 1,
        "keep_probabilities": (0.5,) * total,
    }
    return Snapshot(**{**known, **more})


# --- JSON -------------------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
metrics = st.dictionaries(st.text(), finite, max_size=3)
phases = st.sampled_from(["warmup", "search", "final"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def records(draw: st.DrawFn) -> PruningRecord:
    total = draw(st.integers(1, 6))
    joints = st.integers(0, total - 1)
    probabilities = st.lists(st.floats(0, 1), min_size=total, max_size=total).map(tuple)
    metric = draw(st.none() | st.text())
    selection = JointSelection(
        indices=tuple(sorted(draw(st.sets(joints)))),
        num_joints=total,
        joint_names=tuple(draw(st.lists(st.text(), min_size=total, max_size=total, unique=True))),
        keep_probabilities=draw(probabilities),
        metrics=draw(metrics),
        metrics_all_joints=draw(metrics),
        metric=metric,
        floor=None if metric is None else draw(st.none() | finite),
        higher_is_better=draw(st.booleans()),
    )
    snapshots = st.builds(
        Snapshot,
        step=st.integers(0, 10**6),
        epoch=st.integers(0, 1000),
        progress=st.floats(0, 1),
        phase=phases,
        temperature=finite,
        price=finite,
        expected_joints=finite,
        active_joints=st.integers(0, total),
        keep_probabilities=probabilities,
        metrics=metrics,
        loss=st.none() | finite,
    )
    places = st.tuples(finite, finite)
    return PruningRecord(
        selection=selection,
        rungs=tuple([selection] * draw(st.integers(0, 2))),
        history=tuple(draw(st.lists(snapshots, max_size=3))),
        skeleton=draw(st.none() | st.text()),
        edges=tuple(draw(st.lists(st.tuples(joints, joints), max_size=3))),
        settings=draw(st.dictionaries(st.text(), json_values, max_size=3)),
        versions=draw(st.dictionaries(st.text(), st.text(), max_size=3)),
        phase=draw(phases),
        baseline=draw(metrics),
        pose=tuple(draw(st.just([]) | st.lists(places, min_size=total, max_size=total))),
    )


@settings(max_examples=60)
@given(records())
def test_json_gives_back_the_record_and_the_same_bytes(record: PruningRecord) -> None:
    text = record.to_json()
    again = PruningRecord.from_json(text)
    assert again == record
    assert again.to_json() == text
    assert JointSelection.from_json(record.selection.to_json()) == record.selection


@settings(max_examples=60)
@given(records())
def test_every_record_has_a_sentence_and_a_table(record: PruningRecord) -> None:
    assert record.selection.sentence().endswith(".")
    assert record.selection.summary(80).count("PRUNE") >= record.selection.mask.count(False)


def test_json_is_strict_and_says_what_it_is() -> None:
    record = PruningRecord(
        selection_of(1, 2, metrics={"val_loss": math.nan}),
        history=(snapshot_of(2, price=math.nan, metrics={"val_acc": math.inf}),),
        skeleton="coco_17",
        settings={"lr": math.inf},
    )

    def refuse(token: str) -> None:
        pytest.fail(f"{token} is not JSON")

    data = json.loads(record.to_json(), parse_constant=refuse)
    assert (data["schema"], data["kind"], data["skeleton"]) == (1, "pruning_record", "coco_17")
    assert data["settings"] == {"lr": None}
    assert data["history"][0]["price"] is None
    assert math.isnan(PruningRecord.from_json(record.to_json()).history[0].price)


def test_the_order_of_mappings_does_not_change_the_bytes() -> None:
    first = selection_of(1, 2, metrics={"a": 1, "b": 2})
    second = selection_of(1, 2, metrics={"b": 2, "a": 1})
    assert first.to_json() == second.to_json()


def test_settings_that_json_does_not_know_are_kept_as_text() -> None:
    record = PruningRecord(selection_of(1, 2), settings={"dirpath": Path("runs"), "keep": (1,)})
    assert record.settings == {"dirpath": "runs", "keep": [1]}


def test_files_and_folders_are_read_back(tmp_path: Path) -> None:
    record = PruningRecord(selection_of(1, 2), history=(snapshot_of(2),))
    record.to_json(tmp_path / "new" / "run" / "record.json")
    assert PruningRecord.from_json(tmp_path / "new" / "run" / "record.json") == record
    record.to_json(tmp_path)
    record.selection.to_json(tmp_path)
    assert {RECORD_FILE, SELECTION_FILE} <= {path.name for path in tmp_path.iterdir()}
    assert PruningRecord.from_json(str(tmp_path)) == record
    assert JointSelection.from_json(tmp_path) == record.selection


def test_a_record_from_before_there_were_losses_poses_and_rungs_is_read() -> None:
    record = PruningRecord(selection_of(1, 2), history=(snapshot_of(2),))
    data = json.loads(record.to_json())
    for later in ("pose", "rungs"):
        del data[later]
    del data["history"][0]["loss"]
    assert PruningRecord.from_json(json.dumps(data)) == record


def test_an_unknown_key_of_the_same_schema_is_passed_over() -> None:
    data = json.loads(PruningRecord(selection_of(1, 2)).to_json())
    assert PruningRecord.from_json(json.dumps({**data, "later": 1})).selection.indices == (0,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is damaged"),
        (b"\xff\xfe\x00", "it is damaged"),
        (b'{"schema": 1, "kind": "pruning', "it is damaged"),
        (b"[" * 100_000, "it is damaged"),
        (b"[1, 2]", "kind pruning_record .* got list"),
        (b'{"epochs": 3}', "kind pruning_record .* got None"),
        (b'{"schema": 1, "kind": "joint_selection"}', "got joint_selection. Pass pruning_record"),
        (b'{"schema": 2, "kind": "pruning_record"}', "schema 1 .* got schema 2. Read it with"),
        (b'{"schema": 1, "kind": "pruning_record"}', "selection"),
        (b'{"schema": 1, "kind": "pruning_record", "selection": 3}', "JointSelection"),
    ],
)
def test_a_file_that_is_no_record_is_refused_by_name(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        PruningRecord.from_json(path)
    assert "odd.json" in str(caught.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("history", 3),
        ("history", [3]),
        ("history", [{"step": 1}]),
        ("edges", [[0]]),
        ("edges", [[0, 99]]),
        ("phase", "later"),
        ("phase", []),
        ("settings", "text"),
        ("selection", {"indices": None}),
    ],
)
def test_a_record_with_a_wrong_value_is_refused(tmp_path: Path, place: str, value: Any) -> None:
    data = json.loads(PruningRecord(selection_of(1, 2)).to_json())
    path = tmp_path / "odd.json"
    path.write_text(json.dumps({**data, place: value}))
    with pytest.raises(ValueError, match=r"Expected a PruningRecord in .*odd\.json"):
        PruningRecord.from_json(path)


def test_a_missing_file_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=RECORD_FILE):
        PruningRecord.from_json(tmp_path)


def test_snapshots_of_other_joints_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected 2 keep probabilities but got 3"):
        PruningRecord(selection_of(1, 2), history=(snapshot_of(3),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phase": "warm-up"}, "a phase out of warmup, search, compare, final but got 'warm-up'"),
        ({"step": 1.5}, "an integer as step"),
        ({"price": "high"}, "a number as price"),
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        snapshot_of(2, **change)


@pytest.mark.parametrize(
    "pose", [((0.0, 1.0),), ((0.0,), (1.0,)), ((0.0, 1.0), (1.0, 2.0, 3.0)), ((0.0, math.nan),) * 2]
)
def test_a_pose_that_does_not_fit_is_refused(pose: Any) -> None:
    with pytest.raises(ValueError, match="2 or 3 finite coordinates of each of 2 joints"):
        PruningRecord(selection_of(1, 2), pose=pose)


# --- redundancy ---------------------------------------------------------------------------------


def test_a_redundancy_comes_back_from_json_and_gives_a_rung_its_stand_ins() -> None:
    names = tuple(f"joint_{joint}" for joint in range(3))
    both = JointSelection((0, 1), 3, names, (1, 1, 0))
    alone = JointSelection((0,), 3, names, (1, 0, 0))
    rows = ((1.0, 0.97, 0.3), (0.96, 1.0, 0.2), (0.3, 0.2, 1.0))
    record = PruningRecord(both, rungs=(both, alone), redundancy=rows)
    assert PruningRecord.from_json(record.to_json()) == record
    assert record.selection_of(1).stand_ins == {"joint_0": {"joint_1": 0.97}}
    assert record.selection_of(2).stand_ins == {}


@pytest.mark.parametrize("rows", [((1.0,),), ((1.0, 2.0), (0.0, 1.0)), ((1.0, 0.0), (1.0,))])
def test_a_redundancy_of_other_joints_or_units_is_refused(rows: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="redundancy of 2 times 2 values in"):
        PruningRecord(selection_of(1, 2), redundancy=rows)


def test_a_record_of_before_has_no_redundancy() -> None:
    former = json.loads(PruningRecord(selection_of(1, 2)).to_json())
    del former["redundancy"], former["selection"]["stand_ins"]
    record = PruningRecord.from_json(json.dumps(former))
    assert (record.redundancy, record.selection.stand_ins) == ((), {})
