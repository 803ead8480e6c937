"""Test that parquet with a row per landmark is read and rewritten by the names of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lightning_jointprune.joint_files.formats import parquet
from lightning_jointprune.joint_files.labels import KEY, JointLabels
from lightning_jointprune.joint_files.rewrite import rewrite
from lightning_jointprune.joint_files.select import SelectJoints
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.skeletons import get_skeleton
from tests.clips import table_of
from tests.joint_files.written import noise

NAMES = get_skeleton("mediapipe_holistic").joints
KEPT = (0, 467, 468, 500, 542)
SELECTION = JointSelection(KEPT, 543, NAMES, tuple(0.9 if j in KEPT else 0.1 for j in range(543)))


@pytest.fixture
def x() -> Any:
    x = noise(4, 543, 3)
    x[2, 468:489] = np.nan
    return x


def test_the_rows_of_the_kept_joints_are_left_with_every_column(
    x: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROWS", 700)  # batches do not end with frames
    path, table = tmp_path / "1000.parquet", table_of(x)
    pq.write_table(table, path, compression="zstd")
    target = rewrite(path, tmp_path / "small" / "1000.parquet", SELECTION).path
    small = pq.read_table(target)
    rows = [543 * frame + joint for frame in range(4) for joint in KEPT]
    assert small.schema.remove_metadata() == table.schema
    assert repr(small.to_pylist()) == repr(table.take(rows).to_pylist())  # a NaN equals no other
    labels = JointLabels.from_json(small.schema.metadata[KEY.encode()])
    assert labels.joints == SELECTION.names
    assert pq.ParquetFile(target).metadata.row_group(0).column(0).compression == "ZSTD"
    assert not rewrite(path, target, SELECTION).made
    pick = SelectJoints(SELECTION, "t j c")
    wanted = x[:, KEPT].astype(np.float64)
    assert np.array_equal(pick.read(path), wanted, equal_nan=True)
    assert np.array_equal(pick.read(target), wanted, equal_nan=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.slice(0, 1000), "the 543 landmarks of the first frame in every frame"),
        (
            lambda table: table.sort_by([("type", "ascending"), ("frame", "ascending")]),
            "landmarks of the first frame in every frame",
        ),
        (lambda table: table.slice(0, 0), "Expected a frame or more in"),
        (lambda table: table.slice(543, 400), "other joints, without"),
        (
            lambda table: table.set_column(2, "type", pa.array(["iris"] * table.num_rows)),
            "Expected the types face, left_hand, pose, right_hand .* but got 'iris'",
        ),
    ],
    ids=["cut short", "not sorted", "no frames", "points missing", "another type"],
)
def test_a_bad_file_has_an_error_of_its_own_and_leaves_nothing(
    change: Any, message: str, x: Any, tmp_path: Path
) -> None:
    path = tmp_path / "1000.parquet"
    pq.write_table(change(table_of(x)), path)
    with pytest.raises(ValueError, match=message):
        rewrite(path, tmp_path / "small" / "1000.parquet", SELECTION)
    assert not (tmp_path / "small").exists()


def test_a_selection_of_another_order_is_refused_with_the_skeleton_to_paste(
    x: Any, tmp_path: Path
) -> None:
    pq.write_table(table_of(x), tmp_path / "a.parquet")
    names = get_skeleton("mediapipe_body_face_hands").joints
    selection = JointSelection((0,), 543, names, (0.9, *[0.1] * 542))
    with pytest.raises(ValueError, match=r'another order: .* skeleton="mediapipe_holistic"'):
        SelectJoints(selection, "t j c").read(tmp_path / "a.parquet")


def test_an_axis_is_refused(x: Any, tmp_path: Path) -> None:
    pq.write_table(table_of(x), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="no axis for parquet, whose joints are rows, but got 1"):
        rewrite(tmp_path / "a.parquet", tmp_path / "b.parquet", SELECTION, axis=1)
