"""Test that rewritten files have the kept joints, are whole or absent, and are made once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import tracemalloc
import zipfile
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.joint_files import rewrite as rewriting
from lightning_jointprune.joint_files.formats import npy as stored_arrays
from lightning_jointprune.joint_files.formats.npy import axis_of
from lightning_jointprune.joint_files.labels import KEY, JointLabels, sidecar
from lightning_jointprune.joint_files.rewrite import (
    Rewritten,
    Skipped,
    outputs_of,
    rewrite,
    rewrite_all,
)
from lightning_jointprune.record.selection import JointSelection
from tests.joint_files.written import noise, selection_of, write_parquet

KEPT = (1, 2, 5)
SELECTION = selection_of(KEPT, 7)
FILES = ("x.npy", "x.npz", "x.parquet")


@pytest.fixture
def data(tmp_path: Path) -> Any:
    """Write the same skeletons in files of each kind, and return them."""
    x = noise(6, 7, 3)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x, sign=np.array(["A", "B"], dtype=object))
    write_parquet(tmp_path / "x.parquet", x, SELECTION.joint_names)
    return x


def contents(path: Path) -> Any:
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".npz":
        return np.load(path)["x"]
    table = pq.read_table(path).drop_columns(["frame"])
    return np.stack([column.to_numpy() for column in table.columns], 1).reshape(len(table), -1, 3)


def labels(path: Path) -> JointLabels:
    """Return the labels of a new file, read as any other program would."""
    if path.suffix == ".npy":
        return JointLabels.from_json(sidecar(path).read_text())
    if path.suffix == ".npz":
        return JointLabels.from_json(str(np.load(path)[KEY]))
    return JointLabels.from_json(pq.read_schema(path).metadata[KEY.encode()])


@pytest.mark.parametrize("name", FILES)
def test_a_file_gets_the_kept_joints_and_says_which(name: str, data: Any, tmp_path: Path) -> None:
    done = rewrite(tmp_path / name, tmp_path / "small" / name, SELECTION)
    assert np.array_equal(contents(done.path), data[:, KEPT])
    assert labels(done.path).joints == ("joint1", "joint2", "joint5")
    assert labels(done.path).num_joints == 7
    assert done.made
    assert (done.before, done.after) == (
        (tmp_path / name).stat().st_size,
        done.path.stat().st_size,
    )


def test_what_has_no_joints_is_copied(data: Any, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=data, frames=np.arange(7), y=data[:, :, 0])
    rewrite(tmp_path / "x.npz", tmp_path / "small.npz", SELECTION)
    small = np.load(tmp_path / "small.npz")
    assert small.files == ["x", "frames", "y", KEY]
    assert np.array_equal(small["frames"], np.arange(7))
    assert np.array_equal(small["y"], data[:, KEPT, 0])
    rewrite(tmp_path / "x.parquet", tmp_path / "small.parquet", SELECTION)
    assert pq.read_table(tmp_path / "small.parquet")["frame"].to_pylist() == list(range(6))


@given(
    shape=st.permutations([4, 7, 2]).flatmap(st.permutations),
    fortran=st.booleans(),
    kept=st.sets(st.integers(0, 6), min_size=1),
)
def test_the_joints_may_be_on_any_axis(
    shape: list[int], fortran: bool, kept: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, x = tmp_path_factory.getbasetemp() / "any", noise(*shape)
    folder.mkdir(exist_ok=True)
    np.save(folder / "x.npy", np.asfortranarray(x) if fortran else x)
    rewrite(folder / "x.npy", folder / "y.npy", selection_of(kept, 7))
    small = np.load(folder / "y.npy")
    assert np.array_equal(small, np.take(x, sorted(kept), shape.index(7)))


@pytest.mark.parametrize("name", FILES)
def test_a_finished_file_is_not_made_again_unless_input_or_selection_changed(
    name: str, data: Any, tmp_path: Path
) -> None:
    source, target = tmp_path / name, tmp_path / "small" / name
    rewrite(source, target, SELECTION)
    first = target.stat().st_mtime_ns  # not all of stat: reading changes the time of access
    assert not rewrite(source, target, SELECTION).made
    assert target.stat().st_mtime_ns == first
    assert rewrite(source, target, selection_of((0, 6), 7)).made
    assert np.array_equal(contents(target), data[:, [0, 6]])
    os.utime(source, ns=(0, 1))
    assert rewrite(source, target, selection_of((0, 6), 7)).made


@pytest.mark.parametrize("name", FILES)
def test_what_is_selected_already_is_refused(name: str, data: Any, tmp_path: Path) -> None:
    small, target = tmp_path / "small" / name, tmp_path / "again" / name
    rewrite(tmp_path / name, small, SELECTION)
    with pytest.raises(ValueError, match=r"all joints but got .* 3 of 7 that the selection keeps"):
        rewrite(small, target, SELECTION)
    with pytest.raises(ValueError, match="picked out of 7, joint1, joint2, joint5, where it keeps"):
        rewrite(small, target, selection_of((0,), 7))
    assert not target.exists()


def test_a_file_that_select_did_not_write_is_not_replaced(data: Any, tmp_path: Path) -> None:
    for name in FILES:
        other = tmp_path / "others" / name
        other.parent.mkdir(exist_ok=True)
        shutil.copy(tmp_path / name, other)
        with pytest.raises(
            ValueError, match=r"Expected a place for a new file but got .* is there"
        ):
            rewrite(tmp_path / name, other, SELECTION)
        assert np.array_equal(contents(other), data)


@pytest.mark.parametrize("name", FILES)
def test_fewer_joints_of_a_rewritten_file_are_written_beside_it_and_never_over_it(
    name: str, data: Any, tmp_path: Path
) -> None:
    first, second = tmp_path / "small" / name, tmp_path / "smaller" / name
    rewrite(tmp_path / name, first, SELECTION)
    fewer = JointSelection((0, 2), 3, SELECTION.names, (0.9, 0.1, 0.9))
    axis = None if name == "x.parquet" else 1  # the last axis has three entries too
    with pytest.raises(ValueError, match=r"which is the file itself\. Pass -o another folder"):
        rewrite(first, first, fewer, axis)
    assert np.array_equal(contents(first), data[:, KEPT])
    assert rewrite(first, second, fewer, axis).made
    assert np.array_equal(contents(second), data[:, [1, 5]])
    assert labels(second).joints == ("joint1", "joint5")
    if name == "x.npz":
        assert zipfile.ZipFile(second).namelist() == ["x.npy", "sign.npy", f"{KEY}.npy"]
    assert not rewrite(first, second, fewer, axis).made


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_file_of_another_axis_is_made_again(name: str, tmp_path: Path) -> None:
    x = noise(7, 7, 3)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    source, target = tmp_path / name, tmp_path / "small" / name
    rewrite(source, target, SELECTION, axis=0)
    assert rewrite(source, target, SELECTION, axis=1).made
    assert np.array_equal(contents(target), x[:, KEPT])
    assert not rewrite(source, target, SELECTION, axis=1).made


@pytest.mark.parametrize(
    ("shape", "axis", "message"),
    [
        ((7, 7, 2), None, r"one axis of 7 joints but got shape \(7, 7, 2\) with 2 .* --axis 0, or"),
        ((5, 4, 2), None, r"an axis of 7 joints but got shape \(5, 4, 2\)"),
        ((5, 7, 2), 0, r"axis 0 of 7 joints but got shape \(5, 7, 2\)"),
        ((5, 3, 2), None, r"It may have been selected already"),
        ((5, 14), 1, r"14 may be 7 joints of 2 coordinates: .* x.reshape\(-1, 7, 2\)"),
    ],
)
def test_an_axis_that_is_not_clear_is_refused(shape: Any, axis: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        axis_of(shape, SELECTION, axis)
    assert axis_of((7, 7, 2), SELECTION, 1) == 1
    assert axis_of((5, 2, 7), SELECTION) == 2


def test_other_joints_are_refused(data: Any, tmp_path: Path) -> None:
    other = selection_of((0, 1), 9)
    for name, message in zip(
        FILES,
        ("an axis of 9 joints", "an array with an axis of 9", "9 joints but got those of 7"),
        strict=True,
    ):
        with pytest.raises(ValueError, match=message):
            rewrite(tmp_path / name, tmp_path / "small" / name, other)
        assert not (tmp_path / "small" / name).exists()
    with pytest.raises(ValueError, match="no axis for parquet"):
        rewrite(tmp_path / "x.parquet", tmp_path / "y.parquet", SELECTION, axis=1)


def test_files_of_the_same_name_are_refused() -> None:
    outputs = outputs_of(["a/x.npy", "b/y.npy"], "out")
    assert [*outputs.values()] == [Path("out/x.npy"), Path("out/y.npy")]
    with pytest.raises(ValueError, match=r"a/x.npy and b/x.npy, which would both become"):
        outputs_of(["a/x.npy", "b/x.npy"], "out")


def test_of_a_folder_all_files_of_a_known_kind_are_rewritten_in_their_places(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train" / "a").mkdir(parents=True)
    for name in FILES:
        shutil.copy(tmp_path / name, tmp_path / "train" / name)
    shutil.copy(tmp_path / "x.npy", tmp_path / "train" / "a" / "x.npy")
    (tmp_path / "train" / "readme.txt").write_text("no joints")
    small = tmp_path / "train" / "small"  # in the folder itself
    for made in (True, False):
        outputs = outputs_of([tmp_path / "train"], small)
        assert {str(new.relative_to(small)) for new in outputs.values()} == {*FILES, "a/x.npy"}
        done = [*rewrite_all(outputs, SELECTION)]
        assert [result.made for result in done if isinstance(result, Rewritten)] == [made] * 4
    monkeypatch.chdir(tmp_path / "train")
    outputs = outputs_of(["."], "small")
    assert {*outputs.values()} == {Path("small", name) for name in (*FILES, "a/x.npy")}
    assert all(path.is_file() for path in outputs)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"Expected files of \.npy, .* in .*empty but got none"):
        outputs_of([tmp_path / "empty"], small)


@pytest.mark.parametrize("workers", [None, 2])
def test_a_bad_file_is_left_out_by_name_and_the_others_are_written(
    workers: int | None, data: Any, tmp_path: Path
) -> None:
    (tmp_path / "b.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:100])
    np.save(tmp_path / "c.npy", data[:, :6])
    names = ["x.npy", "b.npz", "c.npy", "none.npy", "x.npz"]
    outputs = outputs_of([tmp_path / name for name in names], tmp_path / "small")
    done = [*rewrite_all(outputs, SELECTION, workers=workers)]
    left = {result.path.name: result.why for result in done if isinstance(result, Skipped)}
    assert [*left] == ["b.npz", "c.npy", "none.npy"]
    assert "an axis of 7 joints" in left["c.npy"]
    assert {path.name for path in (tmp_path / "small").iterdir()} == {
        *("x.npy", "x.npy.joints.json", "x.npz")
    }
    assert "c.npy: left out. Expected" in str(done[2])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed], ids=lambda f: f.__name__)
def test_memory_does_not_grow_with_the_file(
    save: Any, axis: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_arrays, "CHUNK", 1 << 18)
    x = np.zeros((240_000, 7, 8) if axis else (7, 240_000, 8), np.float32)  # 54 MB
    path = tmp_path / f"x.np{'y' if save is np.save else 'z'}"
    save(path, x)
    tracemalloc.start()
    rewrite(path, tmp_path / "small" / path.name, SELECTION)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    skips = save is np.savez_compressed and axis == 0  # zipfile holds 16 MB of them, twice
    assert most < (34 if skips else 3) << 20


def _dies_within(source: Path, target: Path) -> None:
    """Rewrite a file in a process that is killed when it reads the fifth block."""
    read, blocks = stored_arrays.StoredArray._read, []

    def dying(array: Any, at: int, count: int) -> Any:
        blocks.append(at)
        if len(blocks) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(array, at, count)

    stored_arrays.CHUNK = 4096
    stored_arrays.StoredArray._read = dying  # type: ignore[method-assign]
    rewrite(source, target, SELECTION)


@pytest.mark.skipif(os.name != "posix", reason="signals and forks are those of POSIX")
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_what_is_killed_leaves_nothing_half_written_and_is_made_by_the_next_run(
    name: str, tmp_path: Path
) -> None:
    x, target = noise(4000, 7, 3), tmp_path / "small" / name
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    rewrite(tmp_path / name, target, selection_of((0,), 7))  # an older one, of other joints
    process = get_context("fork").Process(target=_dies_within, args=(tmp_path / name, target))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    if target.exists():
        assert np.array_equal(contents(target), x[:, [0]])
        assert labels(target).joints == ("joint0",)
    assert rewrite(tmp_path / name, target, SELECTION).made
    assert np.array_equal(contents(target), x[:, KEPT])
    assert labels(target).joints == SELECTION.names


def _rewrites_slowly(outputs: Any, pids: Path) -> None:
    """Rewrite files in two processes, which write down their numbers and then wait."""

    def slow(*_: Any) -> None:
        (pids / str(os.getpid())).touch()
        time.sleep(60)

    rewriting.rewrite = slow  # type: ignore[assignment]
    list(rewrite_all(outputs, SELECTION, workers=2))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc and forks are those of Linux")
def test_the_processes_of_a_killed_run_end_with_it(tmp_path: Path) -> None:
    outputs = {tmp_path / f"{n}.npy": tmp_path / "small" / f"{n}.npy" for n in range(40)}
    (tmp_path / "pids").mkdir()
    arguments = (outputs, tmp_path / "pids")
    process = get_context("fork").Process(target=_rewrites_slowly, args=arguments)
    process.start()
    until = time.monotonic() + 30

    def running() -> list[str]:
        stats = [Path("/proc", pid.name, "stat") for pid in (tmp_path / "pids").iterdir()]
        return [path for path in stats if path.exists() and ") Z " not in path.read_text()]

    while len(running()) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(running()) == 2
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    while running() and time.monotonic() < until:
        time.sleep(0.01)
    assert running() == []


def test_equal_files_are_rewritten_to_equal_bytes(data: Any, tmp_path: Path) -> None:
    for name in FILES:
        once, again = (
            rewrite(tmp_path / name, tmp_path / folder / name, SELECTION).path for folder in "ab"
        )
        assert once.read_bytes() == again.read_bytes()
    assert json.loads(sidecar(tmp_path / "a" / "x.npy").read_text())["kind"] == "joint_labels"
