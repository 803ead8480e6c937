"""Test that kept joints are picked out of every layout as by einops, and others are refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.joint_files.rewrite import rewrite
from lightning_jointprune.joint_files.select import SelectJoints
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.skeletons import Skeleton, get_skeleton
from tests.clips import BODY, joints, mmpose, text_of
from tests.joint_files import written
from tests.joint_files.written import PAGE, Counted, noise, write_parquet
from tests.poses import header_of, pose_of, write_pose

NAMES = ("wrist", "thumb", "index", "ring")
SIZES = {"b": 2, "t": 3, "j": 4, "c": 2, "m": 1, "s": 2}
LAYOUTS = ["b t j c", "b c t j", "b c t j m", "b t s j c", "b t (j c)", "b (c j)", "b (t j) c"]
LAYOUTS += ["b j c", "b (j t) c", "t j c", "t (j c)", "c t j"]


def selection_of(*kept: int) -> JointSelection:
    return JointSelection(kept, 4, NAMES, tuple(0.9 if j in kept else 0.1 for j in range(4)))


@pytest.mark.parametrize("axes", LAYOUTS)
@pytest.mark.parametrize("array", [False, True])
@given(kept=st.sets(st.integers(0, 3), min_size=1))
def test_the_kept_joints_are_picked(axes: str, array: bool, kept: set[int]) -> None:
    words = axes.replace("(", "").replace(")", "").split()
    x = torch.arange(np.prod([SIZES[word] for word in words])).view(*(SIZES[w] for w in words))
    indices = sorted(kept)
    wanted = rearrange(
        x.index_select(words.index("j"), torch.tensor(indices)), f"{' '.join(words)} -> {axes}"
    )
    whole: Any = rearrange(x, f"{' '.join(words)} -> {axes}")
    got = SelectJoints(selection_of(*indices), axes)(whole.numpy() if array else whole)
    assert isinstance(got, np.ndarray) == array
    assert torch.equal(torch.as_tensor(got), wanted)


@pytest.mark.parametrize("axes", [axes for axes in LAYOUTS if not axes.startswith("b")])
@given(kept=st.sets(st.integers(0, 3), min_size=1))
def test_of_files_is_read_what_is_picked_of_the_array(axes: str, kept: set[int]) -> None:
    x = rearrange(np.arange(24.0).reshape(3, 4, 2), f"t j c -> {axes}")
    pick = SelectJoints(selection_of(*sorted(kept)), axes)
    plain, packed, both = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(plain, x)
    np.savez_compressed(packed, x=x)
    np.savez(both, sign=np.array(3), x=x)
    for file, key in ((plain, None), (packed, None), (both, "x")):
        assert np.array_equal(pick.read(file, key), pick(x))


CLIPS: dict[str, tuple[str, tuple[str, ...], Callable[[Path], Any]]] = {
    "pose": (
        "t m j c",
        Skeleton.from_pose(header_of("mmpose_133")).joints,
        lambda path: write_pose(path, pose_of("mmpose_133")),
    ),
    "json": (
        "t m j c",
        get_skeleton("coco_wholebody_133").joints,
        lambda path: path.write_text(json.dumps(mmpose(133))),
    ),
    "skeleton": (
        "t m j c",
        get_skeleton("ntu_25").joints,
        lambda path: path.write_text(text_of([{BODY: joints(1)}, {BODY: joints(2)}])),
    ),
}


@pytest.mark.parametrize("kind", CLIPS)
def test_a_clip_is_read_without_the_name_of_its_file(kind: str, tmp_path: Path) -> None:
    axes, names, write = CLIPS[kind]
    path = tmp_path / f"clip.{kind}"
    write(path)
    kept = (0, 2, len(names) - 1)
    chances = tuple(0.9 if joint in kept else 0.1 for joint in range(len(names)))
    pick = SelectJoints(JointSelection(kept, len(names), names, chances), axes)
    read = pick.read(path)
    assert read.shape[2] == 3
    np.testing.assert_array_equal(pick.read(io.BytesIO(path.read_bytes())), read)


def test_it_is_the_transform_of_a_data_set_of_paths(tmp_path: Path) -> None:
    x = noise(5, 4, 2)
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", x)
    pick = SelectJoints(selection_of(1, 3), "t j c")
    read = [pick.read(str(path)) for path in sorted(tmp_path.glob("*.npy"))]
    assert all(np.array_equal(picked, x[:, [1, 3]]) for picked in read)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert np.array_equal(pick(mapped), x[:, [1, 3]])


@pytest.mark.parametrize(("axes", "shape"), [("t j c", (7, 2, 3)), ("t (j c)", (7, 6))])
def test_of_parquet_columns_of_the_kept_joints_are_read(
    axes: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    x = noise(7, 4, 3)
    write_parquet(tmp_path / "x.parquet", x, NAMES)
    got = SelectJoints(selection_of(0, 3), axes).read(tmp_path / "x.parquet")
    assert got.dtype == np.float32
    assert np.array_equal(got, x[:, [0, 3]].reshape(shape))


@pytest.mark.parametrize("kept", [6, 15, 40])
@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_the_bytes_read_are_at_most_1_1_of_the_share_of_the_kept_joints(
    kind: str, kept: int, tmp_path: Path
) -> None:
    selection = written.selection_of(range(3, 3 + kept), 60)
    x, path = noise(20_000, 60, 3), tmp_path / f"x.{kind}"
    if kind == "npy":
        np.save(path, np.ascontiguousarray(x.transpose(1, 0, 2)))  # joint after joint
    else:
        write_parquet(path, x, selection.joint_names)
    with Counted(path) as file:
        got = SelectJoints(selection, "j t c" if kind == "npy" else "t j c").read(file)
    wanted = x[:, 3 : 3 + kept]
    assert np.array_equal(got, wanted.transpose(1, 0, 2) if kind == "npy" else wanted)
    assert file.bytes <= 1.1 * kept / 60 * path.stat().st_size
    assert PAGE * len(file.pages) <= 1.1 * kept / 60 * path.stat().st_size


def test_a_rewritten_file_is_read_as_it_is_and_one_of_others_is_refused(tmp_path: Path) -> None:
    x, selection = noise(5, 4, 2), selection_of(1, 3)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    write_parquet(tmp_path / "x.parquet", x, NAMES)
    for name in ("x.npy", "x.npz", "x.parquet"):
        rewrite(tmp_path / name, tmp_path / "small" / name, selection)
        read = SelectJoints(selection, "t j c").read(tmp_path / "small" / name)
        assert np.array_equal(read, x[:, [1, 3]])
        with pytest.raises(ValueError, match=r"picked out of 4, thumb, ring, where it keeps wrist"):
            SelectJoints(selection_of(0, 3), "t j c").read(tmp_path / "small" / name)


def test_what_cannot_be_read_says_what_to_pass(tmp_path: Path) -> None:
    pick, x = SelectJoints(selection_of(1), "t j c"), noise(5, 4, 2)
    np.savez(tmp_path / "x.npz", a=x, b=x)
    with pytest.raises(ValueError, match=r"out of a, b, but got None\. Pass key='a'"):
        pick.read(tmp_path / "x.npz")
    np.save(tmp_path / "x.npy", x[:, :3])
    with pytest.raises(ValueError, match="Expected 4 joints on axis j of 't j c' but got 3"):
        pick.read(tmp_path / "x.npy")
    write_parquet(tmp_path / "x.parquet", x, NAMES)
    with pytest.raises(ValueError, match="as parquet has them, but got 'c t j'"):
        SelectJoints(selection_of(1), "c t j").read(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"as parquet has them, but got '\(t j\) c'"):
        SelectJoints(selection_of(1), "(t j) c").read(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"with 3 axes\. Pass axes='t j c'"):
        SelectJoints(selection_of(1), "t j").read(tmp_path / "x.parquet")


def test_it_is_a_layer_in_front_of_a_model_of_so_many_joints() -> None:
    model = torch.nn.Sequential(SelectJoints(selection_of(0, 2), "b (j c)"), torch.nn.Linear(4, 1))
    x = torch.randn(3, 8)
    assert torch.equal(model(x), model[1](x[:, [0, 1, 4, 5]]))
    assert "2 of 4, axes='b (j c)'" in repr(model)
    assert list(model.state_dict()) == ["1.weight", "1.bias"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("wrist", "index", "thumb", "ring"), r"the 4 joints .* got 4, which differ from joint 1"),
        (NAMES[:3], r"the 4 joints of the selection but got 3, which differ from joint 3 on"),
    ],
)
def test_data_of_other_joints_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SelectJoints(selection_of(0), joint_names=names)
    SelectJoints(selection_of(0), joint_names=list(NAMES))


def test_a_shape_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected 4 joints on axis j of 't j c' but got 5"):
        SelectJoints(selection_of(0), "t j c")(torch.zeros(3, 5, 2))
    with pytest.raises(ValueError, match="Expected 3 axes 't j c' but got 2"):
        SelectJoints(selection_of(0), "t j c")(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="axes"):
        SelectJoints(selection_of(0), "b t c")
