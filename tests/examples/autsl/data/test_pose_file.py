"""Test that `.pose` files hold what was found, with the names of pose-format's converters."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from examples.autsl.data.orders import get_order, saved_order
from examples.autsl.data.pose_file import Shot, confidence, pose_file
from examples.autsl.data.synthetic import write_video
from examples.autsl.detectors.landmarks import Landmarks
from examples.autsl.extract import extract
from lightning_jointprune.skeletons import Skeleton, get_skeleton
from tests.people import StandIn

pytest.importorskip("pose_format", reason="the extra `pose` is not installed")

from pose_format import Pose
from pose_format.utils.cocowholebody133_header import cocowholebody_components
from pose_format.utils.generic import detect_known_pose_format


def read(path: Path) -> Pose:
    return Pose.read(path.read_bytes())


def written(order: str, marks: Landmarks, path: Path) -> Pose:
    with path.open("wb") as file:
        pose_file(order).write(file, marks, confidence(marks, order), Shot(640, 480, 29.97))
    return read(path)


def test_holistic_becomes_what_pose_formats_own_converter_calls_it(tmp_path: Path) -> None:
    light = np.full((3, 32, 48, 3), 99, np.uint8)
    write_video(tmp_path / "a_color.mp4", light)
    extract(tmp_path, tmp_path / "npy", detector=StandIn())
    extract(tmp_path, tmp_path / "pose", detector=StandIn(), suffix="pose")
    assert saved_order(tmp_path / "pose") == "pose-face-left-right"
    path = tmp_path / "pose" / "a_skeleton.pose"
    assert [file.name for file in sorted(path.parent.iterdir())] == [path.name, "landmarks.json"]
    pose, joints = read(path), np.load(tmp_path / "npy" / "a_skeleton.npy")
    assert detect_known_pose_format(pose) == "holistic"
    assert {part.name: len(part.points) for part in pose.header.components} == {
        "POSE_LANDMARKS": 33,
        "FACE_LANDMARKS": 468,
        "LEFT_HAND_LANDMARKS": 21,
        "RIGHT_HAND_LANDMARKS": 21,
    }
    assert pose.body.data.shape == (3, 1, 543, 3)
    assert (pose.header.dimensions.width, pose.header.dimensions.height) == (48, 32)
    assert pose.body.fps == pytest.approx(30, abs=6)
    start = get_order(StandIn.order).start
    for component, point, place in (
        ("POSE_LANDMARKS", "LEFT_SHOULDER", start("pose") + 11),
        ("FACE_LANDMARKS", "467", 467),
        ("LEFT_HAND_LANDMARKS", "WRIST", start("left")),
        ("RIGHT_HAND_LANDMARKS", "INDEX_FINGER_TIP", start("right") + 8),
    ):
        at = pose.header.get_point_index(component, point)
        expected = joints[:, place] * np.array([48, 32, 1], np.float32)
        there = np.isfinite(expected[:, 0])
        np.testing.assert_array_equal(pose.body.confidence[:, 0, at] > 0, there)
        np.testing.assert_array_equal(pose.body.data[there, 0, at], expected[there])
        assert np.ma.getmaskarray(pose.body.data)[~there, 0, at].all()
    assert {*pose.body.confidence[:, 0, :33].ravel()} == {0.5}  # the pose's visibility
    assert extract(tmp_path, tmp_path / "pose", detector=StandIn(), suffix="pose").finished == 1
    with pytest.raises(
        ValueError, match=r"order face-left-pose-right at .* but got pose-face-left"
    ):
        extract(tmp_path, tmp_path / "pose", detector=StandIn())


NAMED = {
    "face-left-pose-right": "mediapipe_body_face_hands",
    "pose-left-right": "mediapipe_body_hands",
    "left-right": "mediapipe_hands",
    "coco-wholebody-133": "coco_wholebody_133",
}


@pytest.mark.parametrize("order", NAMED)
def test_joints_are_named_as_in_the_named_skeleton(order: str, tmp_path: Path) -> None:
    joints = np.random.default_rng(0).random((2, get_order(order).num_joints, 3), np.float32)
    joints = joints[..., : 2 if order.startswith("coco") else 3]
    found = np.ones((2, len(get_order(order).blocks)), bool)
    path = tmp_path / "a.pose"
    written(order, Landmarks(joints, np.full((2, 33), np.nan), found, "x"), path)
    assert Skeleton.from_pose(path).joints == get_skeleton(NAMED[order]).joints


def test_rtmposes_joints_have_their_scores_and_the_header_of_coco_wholebody(tmp_path: Path) -> None:
    joints = np.random.default_rng(0).random((2, 133, 2), np.float32)
    scores = np.random.default_rng(1).random((2, 133), np.float32)
    joints[0, 100:], scores[1], joints[1] = np.nan, np.nan, np.nan
    marks = Landmarks(joints, scores, np.ones((2, 5), bool), "x")
    pose = written("coco-wholebody-133", marks, tmp_path / "a.pose")
    assert detect_known_pose_format(pose) == "coco_wholebody_133"
    for mine, theirs in zip(pose.header.components, cocowholebody_components(), strict=True):
        assert (mine.name, mine.points, mine.format) == (theirs.name, theirs.points, "XYC")
    np.testing.assert_array_equal(pose.body.confidence[0, 0, :100], scores[0, :100])
    assert not pose.body.confidence[0, 0, 100:].any()
    assert not pose.body.confidence[1].any()
    scale = np.array([640, 480], np.float32)
    np.testing.assert_array_equal(pose.body.data[0, 0, :100], joints[0, :100] * scale)
    assert pose.body.fps == pytest.approx(29.97)


def test_joints_of_which_nothing_is_told_are_sure_where_they_were_found() -> None:
    joints = np.zeros((1, 42, 3), np.float32)
    joints[0, 21:] = np.nan
    marks = Landmarks(joints, np.full((1, 33), np.nan, np.float32), np.ones((1, 2), bool), "x")
    np.testing.assert_array_equal(confidence(marks, "left-right"), [[1.0] * 21 + [0.0] * 21])


def test_missing_pose_format_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("pose_format")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pose_format", None)
    with pytest.raises(ModuleNotFoundError, match=r"Expected pose-format .*jointprune\[pose\]"):
        pose_file("left-right")
