"""A folder of `.pose` files is read in the order of their headers, and checked as arrays are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody

from examples.autsl.check import check, endings_of
from examples.autsl.data.labels import SPLITS
from examples.autsl.data.module import SignData
from examples.autsl.data.orders import get_order, save_order
from examples.autsl.data.pose_clips import header_order, read_pose_clip, skeleton_ending
from examples.autsl.data.synthetic import SyntheticSettings, make_synthetic
from examples.autsl.data.usable import BrokenClipWarning
from lightning_jointprune.skeletons import Skeleton, get_skeleton
from tests.people import person
from tests.poses import header_of, pose_of, write_pose

ORDER = "pose-left-right"
PARTS = [header_of("holistic_543").components[place] for place in (0, 2, 3)]


def clip_of(number: int) -> Any:
    """Return a clip of a person, of which one joint was not found in one frame."""
    data = person(ORDER).astype(np.float32)[:, None] * [640, 360, 1]
    data += np.float32(number)
    confidence = np.ones(data.shape[:3], np.float32)
    confidence[3, 0, 40] = 0
    return Pose(header_of(PARTS), NumPyPoseBody(25, data.astype(np.float32), confidence))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SyntheticSettings(signs=2, clips=(6, 2, 2), signers=(2, 1, 1), size=32)
    return make_synthetic(tmp_path_factory.mktemp("videos"), settings)


@pytest.fixture
def poses(folder: Path, tmp_path: Path) -> Path:
    for split in SPLITS:
        for number, path in enumerate(sorted((folder / split).glob("*_skeleton.npy"))):
            write_pose(tmp_path / "poses" / split / f"{path.stem}.pose", clip_of(number))
    return tmp_path / "poses"


def data_of(folder: Path, poses: Path, **more: Any) -> SignData:
    data = SignData(str(folder), "skeleton", skeletons=str(poses), num_workers=0, **more)
    data.setup("fit")
    return data


def test_the_header_says_the_order_and_the_confidence_what_was_not_found(
    folder: Path, poses: Path
) -> None:
    data = data_of(folder, poses, num_frames=8)
    assert (data.order, data.skeleton) == (ORDER, "mediapipe_body_hands")
    assert data.joint_shape == (75, 3)
    path = min((poses / "train").iterdir())
    clip, pose = read_pose_clip(path), clip_of(0)
    assert np.isnan(clip[3, 40]).all()
    assert np.isnan(clip).sum() == 3
    found = pose.body.confidence[:, 0] > 0
    assert np.array_equal(clip[found], pose.body.data.data[:, 0][found])
    batch = next(iter(data.train_dataloader()))
    assert batch["skeleton_keypoints"].shape[1:] == (8, 75, 3)


@pytest.mark.parametrize(
    ("detector", "order"),
    [
        ("holistic_543", "pose-face-left-right"),
        ("holistic_576", "pose-face-left-right-world"),
        ("holistic_586", "pose-face-irises-left-right-world"),
        ("openpose_137", "openpose-137"),
        ("alphapose_133", "coco-wholebody-133"),
        ("mmpose_133", "coco-wholebody-133"),
    ],
)
def test_files_of_every_detector_are_read_as_the_skeleton_of_their_order(
    detector: str, order: str, tmp_path: Path
) -> None:
    path = write_pose(tmp_path / "train" / "signer0_sample1_skeleton.pose", pose_of(detector))
    assert header_order(tmp_path) == order
    names, known = Skeleton.from_pose(path).joints, get_order(order)
    clip = read_pose_clip(path)
    read = known.to_skeleton(clip)
    wanted = get_skeleton(known.skeleton).joints if known.skeleton else names
    np.testing.assert_array_equal(read, clip[:, [names.index(name) for name in wanted]])


def test_another_order_than_the_header_says_is_refused(folder: Path, poses: Path) -> None:
    with pytest.raises(ValueError, match=f"order openpose-137 but .* in the order {ORDER}"):
        data_of(folder, poses, order="openpose-137")
    save_order(poses, "face-left-pose-right")
    with pytest.raises(ValueError, match=f"order face-left-pose-right but .* in the order {ORDER}"):
        data_of(folder, poses)


def test_a_header_that_the_bodies_disagree_with_is_refused(folder: Path, poses: Path) -> None:
    for path in poses.rglob("*.pose"):
        pose = Pose.read(path.read_bytes())
        data = np.concatenate([pose.body.data.data[:, :, 33:], pose.body.data.data[:, :, :33]], 2)
        write_pose(path, Pose(pose.header, NumPyPoseBody(25, data, np.ones(data.shape[:3], "f4"))))
    with pytest.raises(ValueError, match=f"Expected joints in the order {ORDER} but"):
        data_of(folder, poses)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-90]), "bytes of 8 frames but got"),
        (lambda path: path.write_bytes(b"nothing of it"), "a .pose file of version"),
        (lambda path: write_pose(path, pose_of("mmpose_133")), "got coco-wholebody-133"),
        (lambda path: write_pose(path, pose_of("alphapose_136")), "got alphapose_136_points in"),
        (lambda path: write_pose(path, pose_of(PARTS, frames=0)), "bytes of 0 frames but got"),
    ],
    ids=["cut short", "no pose file", "another detector", "unknown points", "no frames"],
)
def test_a_bad_clip_is_named_and_left_out(
    bad: Any, message: str, folder: Path, poses: Path
) -> None:
    path = sorted((poses / "train").iterdir())[2]
    bad(path)
    name = re.escape(path.name)
    with pytest.warns(BrokenClipWarning, match=f"Left 1 of 6 clips out .*{name}: .*{message}"):
        data = data_of(folder, poses)
    assert len(data.clip_names("train")) == 5


def test_the_check_looks_into_pose_files(poses: Path) -> None:
    (poses / "val" / "signer9_sample9_skeleton.pose").write_bytes(b"nothing of it")
    for split in SPLITS:
        names = [path.stem.removesuffix("_skeleton") for path in (poses / split).iterdir()]
        (poses / f"{split}_labels.csv").write_text("".join(f"{name},0\n" for name in names))
    checked = check(poses, published=False, endings=endings_of("skeleton"))
    assert [(problem.kind, Path(problem.where).name) for problem in checked.problems] == [
        ("array", "signer9_sample9_skeleton.pose")
    ]


def test_two_people_are_named_when_the_clip_is_read(folder: Path, poses: Path) -> None:
    path = sorted((poses / "train").iterdir())[2]
    write_pose(path, pose_of(PARTS, people=2))
    with pytest.raises(ValueError, match="one person but got 2 in"):
        read_pose_clip(path)


def test_arrays_and_pose_files_are_not_mixed(folder: Path, poses: Path) -> None:
    assert skeleton_ending(folder / "train") == "_skeleton.npy"
    assert header_order(folder) is None
    np.save(poses / "train" / "signer0_sample9_skeleton.npy", np.zeros((2, 75, 3)))
    with pytest.raises(ValueError, match="but got both"):
        skeleton_ending(poses / "train")
