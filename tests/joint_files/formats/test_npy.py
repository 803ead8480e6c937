"""Test that picked entries equal numpy's, and that a disk skips dropped ones where it can."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lightning_jointprune.joint_files.formats import npy as stored_arrays
from lightning_jointprune.joint_files.formats.npy import stored_array
from tests.joint_files.written import PAGE, Counted, noise

DTYPES = ["<f4", ">f8", "<i2", "|u1", "<f2"]


class Raw(io.BytesIO):
    """Is a file in memory that, like a real one, may give less than it is asked for."""

    def readinto(self, buffer: Any) -> int:
        return super().readinto(memoryview(buffer)[:7])


@given(
    x=st.sampled_from(DTYPES).flatmap(
        lambda kind: arrays(kind, array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
    ),
    fortran=st.booleans(),
    page=st.sampled_from([0, 8, 4096]),
    data=st.data(),
)
def test_the_picked_entries_are_those_that_numpy_takes(
    x: Any, fortran: bool, page: int, data: Any
) -> None:
    axis = data.draw(st.integers(0, x.ndim - 1))
    picked = sorted(data.draw(st.sets(st.integers(0, x.shape[axis] - 1)))) if x.shape[axis] else []
    file = Raw()
    np.save(file, np.asfortranarray(x) if fortran else x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_arrays, "PAGE", page)
        patch.setattr(stored_arrays, "CHUNK", 16)
        got = stored_array(file).pick(axis, picked)
    wanted = np.take(x, np.array(picked, dtype=int), axis)
    assert got.dtype == wanted.dtype
    assert got.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("shape", [(60, 4000, 3), (2, 50, 2000, 2)], ids=["j t c", "b j t c"])
def test_where_a_joint_fills_pages_the_bytes_read_are_the_share_of_the_kept_joints(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    axis, joints = len(shape) - 3, shape[len(shape) - 3]
    np.save(tmp_path / "x.npy", noise(*shape))
    kept = [1, 2, 7, 20, 33, 49]
    with Counted(tmp_path / "x.npy") as file:
        stored_array(file).pick(axis, kept)
    share = len(kept) / joints * (tmp_path / "x.npy").stat().st_size
    assert file.bytes <= 1.01 * share
    runs = 5 * shape[0] if axis else 5  # 1 and 2 follow one another
    assert PAGE * len(file.pages) <= share + 2 * PAGE * (runs + 1)  # parts of the outer pages


def test_where_joints_stand_within_a_frame_the_file_is_read_once_and_whole(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", noise(5000, 75, 3))
    with Counted(tmp_path / "x.npy") as file:
        stored_array(file).pick(1, [3, 60])
    assert file.bytes == (tmp_path / "x.npy").stat().st_size


def test_a_large_array_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_arrays, "CHUNK", 1 << 14)
    np.save(tmp_path / "x.npy", noise(3, 100_000))
    with (tmp_path / "x.npy").open("rb", buffering=0) as file:
        sizes = [len(block) for block in stored_array(file).blocks(0, [0, 2])]  # type: ignore[arg-type]
    assert max(sizes) <= 1 << 14
    assert sum(sizes) == 2 * 400_000


def test_python_objects_and_files_that_are_cut_short_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([None, {}]), allow_pickle=True)
    with (tmp_path / "x.npy").open("rb") as file, pytest.raises(ValueError, match="unpickled"):
        stored_array(file).pick(0, [1])
    np.save(tmp_path / "x.npy", noise(4, 5))
    content = (tmp_path / "x.npy").read_bytes()[:-3]
    with pytest.raises(ValueError, match=f"Expected 208 bytes .* but got {len(content)}"):
        stored_array(io.BytesIO(content)).pick(0, [3])


def test_other_versions_are_refused() -> None:
    with pytest.raises(ValueError, match="version 1 or 2"):
        stored_array(io.BytesIO(b"\x93NUMPY\x09\x00"))
