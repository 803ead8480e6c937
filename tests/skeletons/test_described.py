"""Test that headers and descriptions of keypoints become the names, parts and edges they mean."""

from __future__ import annotations

from typing import Any

import pytest
from pose_format.pose_header import PoseHeaderComponent

from lightning_jointprune.skeletons.described import of_header, of_keypoints, once, part_name
from tests.poses import COMPONENTS, header_of


def test_a_joint_is_called_by_its_component_and_its_point() -> None:
    names = of_header(header_of("openpose_137")).joints
    assert [names[j] for j in (0, 2, 25, 42, 93, 95, 116)] == [
        *("pose_Nose", "pose_RShoulder", "face_fb_0", "face_feb_17"),
        *("face_fp_68", "hand_left_base", "hand_right_base"),
    ]
    names = of_header(header_of("alphapose_136")).joints
    assert [names[j] for j in (17, 26, 94)] == ["body_head_top", "face_face_0", "left_hand_hand_0"]


@pytest.mark.parametrize("detector", COMPONENTS)
def test_every_limb_is_an_edge_once(detector: str) -> None:
    header = header_of(detector)
    described, limbs, first = of_header(header), set(), 0
    for component in header.components:
        limbs |= {frozenset((first + a, first + b)) for a, b in component.limbs if a != b}
        first += len(component.points)
    assert {frozenset(edge) for edge in described.edges} == limbs
    assert len(described.edges) == len(limbs)


@pytest.mark.parametrize(
    ("detector", "known"),
    [
        ("holistic_576", "mediapipe"),
        ("openpose_137", "openpose"),
        ("alphapose_133", "coco_wholebody"),
        ("mmpose_133", "coco_wholebody"),
        ("alphapose_136", "alphapose"),
    ],
)
def test_the_names_tell_the_detector(detector: str, known: str) -> None:
    assert of_header(header_of(detector)).detector == known


def test_other_points_of_a_body_are_not_taken_for_coco() -> None:
    body = PoseHeaderComponent("BODY", ["nose", "tail"], [], [], "XYC")
    described = of_header(header_of([body]))
    assert described.detector == "pose"
    assert described.joints == ("body_nose", "body_tail")
    assert described.bare == ("nose", "tail")


def parts_of(detector: str) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for joint, part in enumerate(of_header(header_of(detector)).parts):
        groups.setdefault(part, []).append(joint)
    return groups


def test_body_face_and_hands_have_their_usual_parts() -> None:
    parts = parts_of("openpose_137")
    assert parts["pose_torso"] == [1, 2, 5, 8, 9, 12]
    assert parts["pose_right_arm"] == [3, 4]
    assert parts["pose_left_foot"] == [19, 20, 21]
    assert parts["face_lips"] == [*range(25 + 48, 25 + 68)]
    assert parts["face_left_eye"] == [*range(25 + 42, 25 + 48), 25 + 69]
    assert parts["hand_left_palm"] == [95]
    assert parts["hand_left_thumb"] == [96, 97, 98, 99]
    assert parts["hand_right_pinky"] == [133, 134, 135, 136]
    assert sum(map(len, parts.values())) == 137
    parts = parts_of("alphapose_136")
    assert parts["left_hand_ring_finger"] == [94 + 13, 94 + 14, 94 + 15, 94 + 16]
    assert parts["face_oval"] == [*range(26, 43)]


@pytest.mark.parametrize("detector", ["openpose_137", "alphapose_136"])
def test_no_part_is_called_as_a_joint(detector: str) -> None:
    assert not {*parts_of(detector)} & {*of_header(header_of(detector)).joints}


@pytest.mark.parametrize(
    ("component", "part"),
    [
        ("POSE_WORLD_LANDMARKS", "pose_world"),
        ("hand_left_keypoints_2d", "hand_left"),
        ("BODY_135", "body"),
        ("Left Hand", "Left_Hand"),
        ("", "points"),
    ],
)
def test_a_component_loses_what_detectors_put_behind_it(component: str, part: str) -> None:
    assert part_name(component) == part


def test_edges_are_there_once_in_either_direction() -> None:
    assert once([(0, 1), (1, 0), (2, 2), (1, 2)]) == ((1, 0), (1, 2))


CATEGORY = {
    "supercategory": "person",
    "name": "person",
    "keypoints": ["neck", "left_elbow", "r_knee"],
    "skeleton": [[1, 2], [1, 3]],
}


def test_coco_counts_from_one() -> None:
    described = of_keypoints({"images": [], "categories": [{"name": "car"}, CATEGORY]})
    assert described.joints == ("neck", "left_elbow", "r_knee")
    assert described.edges == ((0, 1), (0, 2))
    assert described.parts == ("torso", "left_arm", "right_leg")
    assert of_keypoints({**CATEGORY, "skeleton": [[0, 1]]}).edges == ((0, 1),)
    assert of_keypoints({**CATEGORY, "skeleton": None}).edges == ()


MMPOSE = {
    "dataset_name": "mine",
    "keypoint_info": {
        1: {"name": "tail", "id": 1, "color": [0, 0, 0], "type": "", "swap": ""},
        0: {"name": "nose", "id": 0, "color": [0, 0, 0], "type": "upper", "swap": ""},
    },
    "skeleton_info": {0: {"link": ("tail", "nose"), "id": 0, "color": [0, 0, 0]}},
}


@pytest.mark.parametrize(
    "meta",
    [
        MMPOSE,
        {"dataset_info": MMPOSE},
        {
            "meta_info": {
                "dataset_name": "mine",
                "keypoint_id2name": {"1": "tail", "0": "nose"},
                "skeleton_links": [[1, 0]],
            },
            "instance_info": [],
        },
    ],
    ids=["dataset_info", "config", "result"],
)
def test_mmpose_numbers_its_keypoints(meta: Any) -> None:
    described = of_keypoints(meta)
    assert (described.name, described.joints) == ("mine", ("nose", "tail"))
    assert described.edges == ((1, 0),)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"images": []}, "but got 0 in keys images"),
        ([CATEGORY, CATEGORY], "but got 2 in"),
        ({"keypoints": [1.0, 2.0]}, "but got 0 in keys keypoints"),
        (None, "but got 0 in None"),
    ],
)
def test_what_describes_no_keypoints_or_several_is_refused(meta: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of_keypoints(meta)
