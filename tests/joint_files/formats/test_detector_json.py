"""Test that JSON of detectors keeps what it says of the kept points, and is read as they mean."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pose_format.utils.alphapose import load_alphapose_wholebody_from_json
from pose_format.utils.openpose import load_openpose_directory

from lightning_jointprune.joint_files.labels import KEY, sidecar
from lightning_jointprune.joint_files.rewrite import rewrite
from lightning_jointprune.joint_files.select import SelectJoints
from lightning_jointprune.record import versions
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.skeletons import Skeleton, get_skeleton
from tests.clips import PARTS, alphapose, flat, mmpose, openpose
from tests.joint_files.written import selection_of
from tests.poses import header_of


def described(points: list[dict[str, Any]], names: Any) -> dict[str, Any]:
    """Return a clip of MMPose's demo, which says what its keypoints are."""
    return {
        "meta_info": {
            "dataset_name": "mine",
            "num_keypoints": len(names),
            "keypoint_id2name": {str(n): name for n, name in enumerate(names)},
            "keypoint_name2id": {name: n for n, name in enumerate(names)},
            "skeleton_links": [[0, 1], [1, 3], [2, 3]],
            "flip_indices": [*range(len(names))],
        },
        "instance_info": points,
    }


OPENPOSE = Skeleton.from_pose(header_of("openpose_137")).joints
WHOLEBODY, COCO = get_skeleton("coco_wholebody_133").joints, get_skeleton("coco_17").joints
KINDS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "OpenPose": (openpose(2), OPENPOSE),
    "OpenPose without a face": (
        openpose(without=["face_keypoints_2d"]),
        (*OPENPOSE[:25], *OPENPOSE[95:]),
    ),
    "AlphaPose of 133": (alphapose(133), WHOLEBODY),
    "AlphaPose of 136": (
        {"frames": alphapose(136, people=2), "metadata": {"fps": 25}},
        Skeleton.from_pose(header_of("alphapose_136")).joints,
    ),
    "AlphaPose of 17": (alphapose(17), COCO),
    "MMPose of 133": (mmpose(133), WHOLEBODY),
    "MMPose of 17": (mmpose(17, people=2), COCO),
    "MMPose's demo": (described(mmpose(4), "abcd"), tuple("abcd")),
}


def keeping(names: Any, step: int) -> JointSelection:
    kept = tuple(range(1, len(names), step))
    chances = tuple(0.9 if joint in kept else 0.1 for joint in range(len(names)))
    return JointSelection(kept, len(names), tuple(names), chances)


def points_in(data: Any) -> list[Any]:
    """Return all points of all people, written out apart from the package."""
    if isinstance(data, dict) and "people" in data:
        rows = [[n for name in PARTS for n in person[name]] for person in data["people"]]
        return [np.reshape(row, (-1, 3)) for row in rows]
    items = data.get("frames", data.get("instance_info")) if isinstance(data, dict) else data
    if "keypoints" in items[0]:
        return [np.reshape(item["keypoints"], (-1, 3)) for item in items]
    return [
        np.column_stack([person["keypoints"], person["keypoint_scores"]])
        for item in items
        for person in item["instances"]
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_kept_points_are_left_bit_for_bit_and_all_else_as_it_is(
    kind: str, tmp_path: Path
) -> None:
    data, names = KINDS[kind]
    selection = keeping(names, 2)
    source, target = tmp_path / "a_000_keypoints.json", tmp_path / "b" / "a_000_keypoints.json"
    source.write_text(json.dumps(data))
    assert rewrite(source, target, selection).made
    assert not rewrite(source, target, selection).made
    small = json.loads(target.read_text())
    for before, after in zip(points_in(data), points_in(small), strict=True):
        assert np.array_equal(before[list(selection.indices)], after)
    assert sidecar(target).is_file() == isinstance(data, list)
    assert isinstance(data, list) or json.loads(small[KEY])["joints"] == list(selection.names)
    pick = SelectJoints(selection, "t m j c")
    assert np.array_equal(pick.read(source), pick.read(target))
    assert pick.read(target).shape[2:] == (len(selection.indices), 3)
    with pytest.raises(ValueError, match="that the selection keeps"):
        rewrite(target, tmp_path / "c.json", selection)


def test_other_values_of_a_person_stay(tmp_path: Path) -> None:
    data = mmpose(17, frames=1)
    data[0]["instances"][0]["keypoints_visible"] = [*range(17)]
    (tmp_path / "a.json").write_text(json.dumps(data))
    path = rewrite(tmp_path / "a.json", tmp_path / "b" / "a.json", keeping(COCO, 4)).path
    (person,) = json.loads(path.read_text())[0]["instances"]
    assert person["keypoints_visible"] == [1, 5, 9, 13]
    assert (person["bbox"], person["bbox_score"]) == ([[1.0, 2.0, 3.0, 4.0]], 0.5)


def test_what_mmpose_says_of_its_keypoints_is_what_is_left_of_it(tmp_path: Path) -> None:
    data, names = KINDS["MMPose's demo"]
    (tmp_path / "a.json").write_text(json.dumps(data))
    path = rewrite(tmp_path / "a.json", tmp_path / "b" / "a.json", keeping(names, 2)).path
    meta = json.loads(path.read_text())["meta_info"]
    assert meta == {
        "dataset_name": "mine",
        "num_keypoints": 2,
        "keypoint_id2name": {"0": "b", "1": "d"},
        "keypoint_name2id": {"b": 0, "d": 1},
        "skeleton_links": [[0, 1]],
    }


def test_openpose_is_read_as_by_pose_format(tmp_path: Path) -> None:
    for number in (0, 1, 3):
        path = tmp_path / "clip" / f"clip_{number:012}_keypoints.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(openpose(1 + (number == 1), seed=number)))
    theirs = load_openpose_directory(str(tmp_path / "clip"))
    selection = keeping(OPENPOSE, 3)
    kept = list(selection.indices)
    x = SelectJoints(selection, "t m j c").read(tmp_path / "clip")
    assert x.shape == (4, 2, len(kept), 3)
    assert np.array_equal(x[..., :2], theirs.body.data.data[:, :, kept])
    assert np.array_equal(x[..., 2], theirs.body.confidence[:, :, kept])
    for path in sorted((tmp_path / "clip").iterdir()):
        rewrite(path, tmp_path / "small" / path.name, selection)
    assert np.array_equal(SelectJoints(selection, "t m j c").read(tmp_path / "small"), x)
    with pytest.raises(ValueError, match=r"with files \*_keypoints\.json, but got the folder"):
        SelectJoints(selection, "t m j c").read(tmp_path)


@pytest.mark.parametrize("points", [133, 136])
def test_alphapose_is_read_as_by_pose_format(points: int, tmp_path: Path) -> None:
    data = alphapose(points, frames=12)  # of which the tenth comes after the second, as text
    path = tmp_path / "clip.json"
    path.write_text(json.dumps(sorted(data, key=lambda person: person["image_id"])))
    theirs = load_alphapose_wholebody_from_json(str(path))
    selection = keeping(Skeleton.from_pose(theirs).joints, 5)
    x, kept = SelectJoints(selection, "t j c").read(path), list(selection.indices)
    assert np.array_equal(x[..., :2], theirs.body.data.data[:, 0, kept].astype(np.float32))
    assert np.array_equal(x[..., 2], theirs.body.confidence[:, 0, kept].astype(np.float32))


def test_people_of_a_frame_are_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "clip.json"
    path.write_text(json.dumps(alphapose(17, people=2)))
    assert SelectJoints(keeping(COCO, 3), "t m j c").read(path).shape == (3, 2, 6, 3)
    with pytest.raises(ValueError, match=r'got 2\. Pass axes="t m j c"'):
        SelectJoints(keeping(COCO, 3), "t j c").read(path)


def test_a_frame_with_nobody_is_of_any_skeleton(tmp_path: Path) -> None:
    path = tmp_path / "clip_000_keypoints.json"
    path.write_text(json.dumps(openpose(people=0)))
    selection = keeping(OPENPOSE, 3)
    small = rewrite(path, tmp_path / "b" / path.name, selection).path
    assert json.loads(small.read_text())["people"] == []
    x = SelectJoints(selection, "t j c").read(small)
    assert (x.shape, x.any()) == ((1, len(selection.indices), 3), False)


def test_a_detector_that_names_no_points_is_known_by_their_number(tmp_path: Path) -> None:
    path = tmp_path / "clip.json"
    path.write_text(json.dumps(alphapose(26)))
    x = SelectJoints(selection_of((1, 5), 26), "t j c").read(path)
    assert np.array_equal(x, np.stack(points_in(alphapose(26)))[:, [1, 5]].astype(np.float32))
    with pytest.raises(ValueError, match=r"27 points of each person .* got 26 in frame 0, by"):
        SelectJoints(selection_of((1, 5), 27), "t j c").read(path)


def changed(data: Any, change: Any) -> Any:
    data = copy.deepcopy(data)
    change(data)
    return data


BAD = {
    "of another detector": (mmpose(17), "Expected the 133 joints of the selection"),
    "no JSON": ('[{"image_id": "0.jpg", "keyp', "JSON in .* but it is cut short or damaged"),
    "no detector's": ({"images": [], "annotations": []}, "JSON of OpenPose, AlphaPose or MMPose"),
    "empty": ([], "JSON of OpenPose, AlphaPose or MMPose"),
    "of two detectors": (alphapose(133) + alphapose(136), "133 points of each .* 136 in frame 0"),
    "COCO_18 of OpenPose": (
        changed(openpose(), lambda d: d["people"][0].update(pose_keypoints_2d=flat(18, 0))),
        "Expected 25 points of pose_keypoints_2d of each person but got 18",
    ),
    "hands of one of two": (
        changed(openpose(2), lambda d: d["people"][1].update(hand_left_keypoints_2d=[])),
        "Expected 21 points of hand_left_keypoints_2d of each person but got 0, 21",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_has_an_error_of_its_own_and_leaves_nothing(kind: str, tmp_path: Path) -> None:
    data, message = BAD[kind]
    path = tmp_path / "clip.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    with pytest.raises(ValueError, match=message):
        rewrite(path, tmp_path / "small" / "clip.json", keeping(WHOLEBODY, 2))
    assert not (tmp_path / "small").exists()


def test_without_pose_format_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text("[]")
    monkeypatch.setattr(versions, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lightning-jointprune\[pose\]'"):
        SelectJoints(keeping(COCO, 2), "t j c").read(tmp_path / "a.json")
