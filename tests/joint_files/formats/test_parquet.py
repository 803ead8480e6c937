"""Test that columns are found by the names of joints, and read without the others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.joint_files.formats.parquet import (
    columns_of,
    parquet_file,
    pick_columns,
    write_columns,
)
from lightning_jointprune.skeletons import get_skeleton, skeleton_names
from tests.joint_files.written import noise, write_parquet

NAMES = ("wrist", "left_eye", "left_eye_inner")


@pytest.mark.parametrize("name", skeleton_names())
@pytest.mark.parametrize("ends", [("",), ("_x", "_y"), (".x", ".y", ".score")], ids=len)
@given(data=st.data())
def test_each_joint_of_each_skeleton_has_its_own_columns(
    name: str, ends: tuple[str, ...], data: Any
) -> None:
    joints = get_skeleton(name).joints[:80]
    order = data.draw(st.permutations(joints))
    found = columns_of(["frame", *(f"{joint}{end}" for joint in order for end in ends)], joints)
    assert found == {joint: tuple(f"{joint}{end}" for end in ends) for joint in joints}
    assert tuple(found) == joints


def test_columns_that_are_not_those_of_the_joints_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 joints but got those of 2; 'wrist' has none.*wrist_x"):
        columns_of(["left_eye_x", "left_eye_inner_x"], NAMES)
    with pytest.raises(ValueError, match=r"got \['a_x', 'a_y'\] of 'a' and \['b_x'\] of 'b'"):
        columns_of(["a_x", "a_y", "b_x"], ["a", "b"])


def test_a_column_may_hold_numbers_or_lists_of_coordinates(tmp_path: Path) -> None:
    x = noise(6, 3, 2)
    kinds = {
        "lists": [pa.array(list(x[:, n])) for n in range(3)],
        "fixed": [pa.FixedSizeListArray.from_arrays(x[:, n].ravel(), 2) for n in range(3)],
        "numbers": [pa.array(x[:, n, 0]) for n in range(3)],
    }
    for kind, columns in kinds.items():
        pq.write_table(pa.table(columns, names=list(NAMES)), tmp_path / f"{kind}.parquet")
        with (tmp_path / f"{kind}.parquet").open("rb") as file:
            parquet = parquet_file(file)
            got = pick_columns(parquet, columns_of(parquet.schema_arrow.names, NAMES), NAMES[1:])
        assert np.array_equal(got, x[:, 1:, 0] if kind == "numbers" else x[:, 1:])


@pytest.mark.parametrize("kind", ["numbers", "coordinates", "lists", "fixed"])
def test_a_clip_without_frames_is_read(kind: str, tmp_path: Path) -> None:
    ends = ("_x", "_y") if kind == "coordinates" else ("",)
    types = {"lists": pa.list_(pa.float32()), "fixed": pa.list_(pa.float32(), 2)}
    empty = pa.array([], types.get(kind, pa.float32()))
    names = [f"{name}{end}" for name in NAMES for end in ends]
    pq.write_table(pa.table([empty] * len(names), names=names), tmp_path / "x.parquet")
    with (tmp_path / "x.parquet").open("rb") as file:
        got = pick_columns(parquet_file(file), columns_of(names, NAMES), NAMES[1:])
    rest = {"numbers": (), "coordinates": (2,), "lists": (0,), "fixed": (2,)}[kind]
    assert got.shape == (0, 2, *rest)


def test_what_is_missing_is_nan_and_lists_of_other_lengths_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.0, None], "b": [[1.0], [2.0, 3.0]]}), tmp_path / "x.parquet")
    with (tmp_path / "x.parquet").open("rb") as file:
        parquet = parquet_file(file)
        assert np.isnan(pick_columns(parquet, {"a": ["a"]}, ["a"])).tolist() == [[False], [True]]
        with pytest.raises(ValueError, match=r"in every row but got \{1, 2\}"):
            pick_columns(parquet, {"b": ["b"]}, ["b"])


@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
def test_columns_are_written_with_their_metadata_and_compression(
    compression: str, tmp_path: Path
) -> None:
    x = noise(3000, 3, 2)
    write_parquet(tmp_path / "x.parquet", x, NAMES, compression=compression)
    with (tmp_path / "x.parquet").open("rb") as file:
        columns = ["frame", "wrist_y", "wrist_x"]
        write_columns(parquet_file(file), columns, tmp_path / "y.parquet", {"key": "value"})
    with (tmp_path / "y.parquet").open("rb") as file:
        written = parquet_file(file)
        assert written.schema_arrow.metadata[b"key"] == b"value"
        codec = written.metadata.row_group(0).column(0).compression
        table = written.read()
    assert codec == {"none": "UNCOMPRESSED"}.get(compression, compression.upper())
    assert table.column_names == columns
    assert np.array_equal(table.column("wrist_y").to_numpy(), x[:, 0, 1])


def test_without_pyarrow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ModuleNotFoundError, match=r"lightning-jointprune\[data\]"):
        parquet_file(None)  # type: ignore[arg-type]
