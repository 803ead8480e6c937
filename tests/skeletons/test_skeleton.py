from __future__ import annotations

import copy
import json
import math
import re
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lightning_jointprune import JointPruningCallback
from lightning_jointprune.skeletons import (
    Skeleton,
    as_skeleton,
    check_parts,
    get_skeleton,
    published_subsets,
    resolve_joints,
    skeleton_names,
    skeleton_parts,
)
from tests.poses import header_of, pose_of, write_pose

COUNTS = {
    "mediapipe_hand": 21,
    "mediapipe_hands": 42,
    "mediapipe_pose": 33,
    "mediapipe_body_hands": 75,
    "mediapipe_holistic": 543,
    "mediapipe_body_face_hands": 543,
    "mediapipe_face_body_hands": 543,
    "coco_17": 17,
    "coco_wholebody_133": 133,
    "ntu_25": 25,
    "kinect_20": 20,
}
NAMES = ("neck", "nose", "left_wrist", "right_wrist", "hip")


@pytest.fixture(params=COUNTS)
def skeleton(request: pytest.FixtureRequest) -> Skeleton:
    return get_skeleton(request.param)


def other_side(name: str) -> str:
    return re.sub("left|right", lambda side: {"left": "right"}.get(side[0], "left"), name)


def pieces(skeleton: Skeleton) -> list[set[int]]:
    """Return the sets of joints that edges hold together."""
    found = {joint: {joint} for joint in range(skeleton.num_joints)}
    for a, b in skeleton.edges:
        if found[a] is not found[b]:
            found[a] |= found[b]
            for joint in found[b]:
                found[joint] = found[a]
    return list({id(piece): piece for piece in found.values()}.values())


# --- all skeletons -------------------------------------------------------------------------------


def test_the_documented_skeletons_are_there() -> None:
    assert skeleton_names() == tuple(COUNTS)


def test_a_skeleton_has_its_number_of_joints(skeleton: Skeleton) -> None:
    assert skeleton.num_joints == COUNTS[skeleton.name]
    assert len(skeleton.joints) == len(skeleton.drawing) == skeleton.num_joints


def test_joint_names_are_unique(skeleton: Skeleton) -> None:
    assert len(set(skeleton.joints)) == skeleton.num_joints
    assert all(re.fullmatch(r"[a-z0-9_-]+", joint) for joint in skeleton.joints)


def test_groups_partition_the_joints(skeleton: Skeleton) -> None:
    members = [joint for group in skeleton.groups.values() for joint in group]
    assert sorted(members) == list(range(skeleton.num_joints))
    assert all(skeleton.groups.values())


def test_a_group_is_not_called_like_a_joint(skeleton: Skeleton) -> None:
    assert not set(skeleton.groups) & set(skeleton.joints)


def test_edges_are_different_pairs_of_different_joints(skeleton: Skeleton) -> None:
    assert all(0 <= joint < skeleton.num_joints for edge in skeleton.edges for joint in edge)
    assert all(a != b for a, b in skeleton.edges)
    assert len({frozenset(edge) for edge in skeleton.edges}) == len(skeleton.edges)


def test_edges_hold_each_skeleton_together(skeleton: Skeleton) -> None:
    parts = pieces(skeleton)
    face = {j for j, joint in enumerate(skeleton.joints) if joint.startswith("face")}
    assert all(part <= face or not part & face for part in parts)
    assert len([part for part in parts if not part <= face]) == (
        2 if skeleton.name == "mediapipe_hands" else 1
    )


@pytest.mark.parametrize("name", COUNTS)
def test_only_points_between_the_contours_of_the_face_have_no_edge(name: str) -> None:
    skeleton = get_skeleton(name)
    joined = {joint for edge in skeleton.edges for joint in edge}
    assert set(range(skeleton.num_joints)) - joined == set(skeleton.groups.get("face_other", ()))


def test_drawing_is_inside_the_unit_square(skeleton: Skeleton) -> None:
    assert all(0 <= value <= 1 for point in skeleton.drawing for value in point)


def test_joints_are_drawn_far_enough_apart_to_point_at_one(skeleton: Skeleton) -> None:
    nearest = min(math.dist(a, b) for a, b in combinations(skeleton.drawing, 2))
    assert nearest > (0.009 if skeleton.num_joints > 100 else 0.02)


@pytest.mark.parametrize("name", [name for name in COUNTS if name != "mediapipe_hand"])
def test_sides_are_mirrored(name: str) -> None:
    skeleton = get_skeleton(name)
    sided = [joint for joint in skeleton.joints if other_side(joint) != joint]
    assert sided
    for joint in sided:
        here = skeleton.drawing[skeleton.joints.index(joint)]
        there = skeleton.drawing[skeleton.joints.index(other_side(joint))]
        assert there == pytest.approx((1 - here[0], here[1]), abs=1e-3)
        if "hand" not in joint:
            assert ("left" in joint) == (here[0] > 0.5)  # seen from the front


@pytest.mark.parametrize("name", [name for name in COUNTS if name != "mediapipe_hand"])
def test_the_whole_drawing_is_its_own_mirror_image(name: str) -> None:
    skeleton = get_skeleton(name)
    mirrored = {}
    for joint, (x, y) in enumerate(skeleton.drawing):
        distances = [math.dist((1 - x, y), point) for point in skeleton.drawing]
        assert min(distances) < 1e-3
        mirrored[joint] = distances.index(min(distances))
    assert {mirrored[mirrored[joint]] == joint for joint in mirrored} == {True}
    edges = {frozenset(edge) for edge in skeleton.edges}
    assert {frozenset(mirrored[joint] for joint in edge) for edge in edges} == edges
    for group, members in skeleton.groups.items():
        assert {mirrored[j] for j in members} == set(skeleton.groups[other_side(group)])


def test_the_source_says_whose_names_they_are(skeleton: Skeleton) -> None:
    assert re.search(r"https://|arXiv:\d{4}\.\d+|SDK", skeleton.source)


# --- single skeletons ----------------------------------------------------------------------------


def test_hand_has_mediapipes_order() -> None:
    hand = get_skeleton("mediapipe_hand")
    picked = [hand.joints[j] for j in (0, 4, 5, 8, 12, 16, 17, 20)]
    assert picked == [
        *("wrist", "thumb_tip", "index_finger_mcp", "index_finger_tip"),
        *("middle_finger_tip", "ring_finger_tip", "pinky_mcp", "pinky_tip"),
    ]
    assert hand.groups["thumb"] == (1, 2, 3, 4)


def test_hands_are_left_then_right() -> None:
    hand, hands = get_skeleton("mediapipe_hand"), get_skeleton("mediapipe_hands")
    assert hands.joints == tuple(
        f"{side}_hand_{joint}" for side in ("left", "right") for joint in hand.joints
    )
    assert len(hands.edges) == 2 * len(hand.edges)
    assert hands.groups["right_hand_pinky"] == (38, 39, 40, 41)


def test_thumbs_point_to_the_middle() -> None:
    hands = get_skeleton("mediapipe_hands")
    x = {joint: place[0] for joint, place in zip(hands.joints, hands.drawing, strict=True)}
    assert x["right_hand_pinky_tip"] < x["right_hand_thumb_tip"] < 0.5
    assert 0.5 < x["left_hand_thumb_tip"] < x["left_hand_pinky_tip"]


def test_body_hands_is_pose_left_hand_right_hand() -> None:
    body = get_skeleton("mediapipe_body_hands")
    pose = tuple(f"pose_{joint}" for joint in get_skeleton("mediapipe_pose").joints)
    assert body.joints == pose + get_skeleton("mediapipe_hands").joints
    picked = [body.joints[j] for j in (0, 11, 16, 32, 33, 38, 54)]
    assert picked == [
        *("pose_nose", "pose_left_shoulder", "pose_right_wrist", "pose_right_foot_index"),
        *("left_hand_wrist", "left_hand_index_finger_mcp", "right_hand_wrist"),
    ]
    assert body.groups["left_hand"] == tuple(range(33, 54))


def test_holistic_is_face_left_hand_pose_right_hand() -> None:
    holistic, body = get_skeleton("mediapipe_holistic"), get_skeleton("mediapipe_body_hands")
    assert holistic.joints[:468] == tuple(f"face_{point}" for point in range(468))
    assert holistic.joints[468:489] == body.joints[33:54]
    assert holistic.joints[489:522] == body.joints[:33]
    assert holistic.joints[522:] == body.joints[54:]


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("mediapipe_body_face_hands", {"pose": 0, "face": 33, "left_hand": 501, "right_hand": 522}),
        (
            "mediapipe_face_body_hands",
            {"face": 0, "pose": 468, "left_hand": 501, "right_hand": 522},
        ),
    ],
)
def test_other_orders_of_holistic_are_its_joints_part_by_part(
    name: str, starts: dict[str, int]
) -> None:
    holistic, other = get_skeleton("mediapipe_holistic"), get_skeleton(name)
    for part, start in {**starts, "left_hand": 501, "right_hand": 522}.items():
        own = [joint for joint in holistic.joints if joint.startswith(f"{part}_")]
        assert other.joints[start : start + len(own)] == tuple(own)
    where = dict(zip(holistic.joints, holistic.drawing, strict=True))
    assert other.drawing == tuple(where[joint] for joint in other.joints)

    def named(skeleton: Skeleton) -> tuple[set[frozenset[str]], dict[str, set[str]]]:
        names = skeleton.joints
        groups = {group: {names[j] for j in joints} for group, joints in skeleton.groups.items()}
        return {frozenset(names[j] for j in edge) for edge in skeleton.edges}, groups

    assert named(other) == named(holistic)


@pytest.mark.parametrize("name", COUNTS)
def test_the_parts_of_a_skeleton_follow_each_other_and_cut_no_body_part(name: str) -> None:
    parts = list(skeleton_parts(name).values())
    assert [joint for part in parts for joint in part] == list(range(COUNTS[name]))
    check_parts(get_skeleton(name), [len(part) for part in parts])


def test_parts_have_names() -> None:
    assert list(skeleton_parts("mediapipe_holistic")) == ["face", "left_hand", "pose", "right_hand"]
    assert list(skeleton_parts("coco_wholebody_133")) == [
        *("body", "feet", "face", "left_hand", "right_hand")
    ]


def test_parts_that_cut_a_body_part_in_two_are_in_another_order() -> None:
    with pytest.raises(
        ValueError, match=r"cut its part 'face_.*Pass skeleton=\"mediapipe_body_face_hands\"\."
    ):
        check_parts(get_skeleton("mediapipe_holistic"), [33, 468, 21, 21])
    for name, sizes in (
        ("mediapipe_holistic", [468, 21, 33, 21]),
        ("mediapipe_body_face_hands", [33, 468, 21, 21]),
        ("mediapipe_body_face_hands", [33, 510]),
        ("mediapipe_body_hands", [33, 42]),
    ):
        check_parts(get_skeleton(name), sizes)
    with pytest.raises(ValueError, match="in its order, or a Skeleton of yours"):
        check_parts(get_skeleton("mediapipe_body_hands"), [30, 45])
    check_parts(Skeleton("mine", ("a", "b", "c"), {"part": (0, 1)}), [1, 2])
    check_parts(None, [1, 2])


def test_face_is_a_face() -> None:
    holistic = get_skeleton("mediapipe_holistic")

    def middle(group: str) -> tuple[float, float]:
        places = [holistic.drawing[joint] for joint in holistic.groups[group]]
        return (
            sum(x for x, _ in places) / len(places),
            sum(y for _, y in places) / len(places),
        )

    heights = ["face_left_eyebrow", "face_left_eye", "face_nose", "face_lips", "pose_head"]
    assert sorted(heights, key=lambda group: middle(group)[1]) == heights
    assert middle("face_right_eye")[0] < middle("face_nose")[0] < middle("face_left_eye")[0]
    # Landmarks that MediaPipe's users know by number: chin, forehead, eye corners, mouth corners.
    assert {152, 10} <= set(holistic.groups["face_oval"])
    assert {33, 133} <= set(holistic.groups["face_right_eye"])
    assert {61, 291} <= set(holistic.groups["face_lips"])


def test_parts_stand_apart_in_the_large_drawings() -> None:
    for name in ("mediapipe_body_hands", "mediapipe_holistic", "coco_wholebody_133"):
        skeleton = get_skeleton(name)
        areas: dict[str, list[tuple[float, float]]] = {}
        for group, members in skeleton.groups.items():
            area = "face" if group.startswith("face") else "body"
            area = group if group.endswith("_hand") else area
            areas.setdefault(area, []).extend(skeleton.drawing[joint] for joint in members)
        assert len(areas) >= 3
        for first, two in combinations(areas.values(), 2):
            assert min(math.dist(a, b) for a in first for b in two) > 0.025


def test_wholebody_is_coco_feet_face_left_hand_right_hand() -> None:
    whole, coco = get_skeleton("coco_wholebody_133"), get_skeleton("coco_17")
    assert whole.joints[:17] == coco.joints
    picked = [whole.joints[j] for j in (17, 22, 23, 90, 91, 95, 111, 112, 132)]
    assert picked == [
        *("left_big_toe", "right_heel", "face-0", "face-67", "left_hand_root", "left_thumb4"),
        *("left_pinky_finger4", "right_hand_root", "right_pinky_finger4"),
    ]


def test_kinect_skeletons_number_the_limbs_alike() -> None:
    ntu, kinect = get_skeleton("ntu_25"), get_skeleton("kinect_20")
    assert ntu.joints[3:20] == kinect.joints[3:20]
    assert ntu.joints[:3] == ("spine_base", "spine_mid", "neck")
    assert kinect.joints[:3] == ("hip_center", "spine", "shoulder_center")
    assert ntu.joints[20:] == (
        *("spine_shoulder", "hand_tip_left", "thumb_left", "hand_tip_right", "thumb_right"),
    )


# --- getting one ---------------------------------------------------------------------------------


def test_the_data_files_are_the_skeletons_and_what_belongs_to_them() -> None:
    files = resources.files("lightning_jointprune").joinpath("data").iterdir()
    names = {file.name.removesuffix(".json") for file in files if file.name.endswith(".json")}
    assert names == {*skeleton_names(), "published_subsets", "extraction_costs"}


def test_a_skeleton_is_read_once_and_can_be_a_key(skeleton: Skeleton) -> None:
    assert get_skeleton(skeleton.name) is skeleton
    assert {skeleton: 1}[copy.deepcopy(skeleton)] == 1


def test_unknown_skeleton_is_named_with_the_nearest() -> None:
    message = r"Expected one of mediapipe_hand, .* but got 'mediapipe_hnds'\. Did you mean 'media"
    with pytest.raises(ValueError, match=message):
        get_skeleton("mediapipe_hnds")
    with pytest.raises(ValueError, match=r"kinect_20 but got 'qqq'\.$"):
        get_skeleton("qqq")


# --- published subsets ---------------------------------------------------------------------------

# As the sources number them, each in the order of its own skeleton.
HAND_10 = (0, 4, 5, 8, 9, 12, 13, 16, 17, 20)  # wrist, tip of the thumb, ends of the fingers
LIPS = {
    *(61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 146, 91, 181, 84, 17, 314, 405, 321, 375),
    *(78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
}
RIGHT_EYE = {33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173}
LEFT_EYE = {263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398}
BOTH_HANDS = {*range(468, 489), *range(522, 543)}
SUBSETS = {
    "sl_gcn_27": {0, *range(5, 11), *(91 + j for j in HAND_10), *(112 + j for j in HAND_10)},
    "sl_gcn_31": {*range(11), *(91 + j for j in HAND_10), *(112 + j for j in HAND_10)},
    "sl_gcn_59": {*range(17), *range(91, 133)},
    "openhands_27": {
        *(0, 2, 5, 11, 12, 13, 14, 33, 37, 38, 41, 42, 45, 46, 49, 50, 53),
        *(54, 58, 59, 62, 63, 66, 67, 70, 71, 74),
    },
    "openhands_59": {*range(15), 23, 24, *range(33, 75)},
    "gislr_118": {1, 2, 98, 327} | LIPS | RIGHT_EYE | LEFT_EYE | BOTH_HANDS,
    "hands_42": set(range(33, 75)),
    "hands_upper_body_50": {*range(11, 17), 23, 24, *range(33, 75)},
    "lips_40": LIPS,
}


def test_the_published_subsets_are_there() -> None:
    assert list(published_subsets()) == list(SUBSETS)


@pytest.mark.parametrize("name", SUBSETS)
def test_a_published_subset_has_the_joints_that_its_source_numbers(name: str) -> None:
    subset = published_subsets()[name]
    indices = resolve_joints(subset.joints, get_skeleton(subset.skeleton).joints)
    assert set(indices) == SUBSETS[name]
    assert len(indices) == int(name.rpartition("_")[2])
    assert "https://github.com/" in subset.source or "https://www.kaggle.com/" in subset.source


def test_a_published_subset_is_for_every_skeleton_that_has_its_joints() -> None:
    mediapipe = list(SUBSETS)[3:]
    assert list(published_subsets("mediapipe_holistic")) == mediapipe
    assert set(mediapipe) - set(published_subsets("mediapipe_body_hands")) == {
        "gislr_118",
        "lips_40",
    }
    assert list(published_subsets("mediapipe_hands")) == ["hands_42"]
    assert not published_subsets("kinect_20")
    with pytest.raises(ValueError, match="Did you mean 'mediapipe_hands'"):
        published_subsets("mediapipe_hnds")


# --- resolving joints ----------------------------------------------------------------------------


@given(st.data())
def test_names_and_indices_mean_the_same_joints(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.text(), min_size=1, max_size=30, unique=True))
    chosen = data.draw(st.lists(st.integers(0, len(names) - 1), unique=True))
    by_name = data.draw(st.lists(st.booleans(), min_size=len(chosen), max_size=len(chosen)))
    joints = [names[j] if named else j for j, named in zip(chosen, by_name, strict=True)]
    assert resolve_joints(joints, names) == tuple(chosen)


@given(st.integers(max_value=-1) | st.integers(min_value=len(NAMES)))
@example(-1)
@example(len(NAMES))
def test_index_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match=rf"joint, 0 to 4, but got {index}\. Count from 0"):
        resolve_joints([0, index], NAMES)


def test_numpy_integers_are_indices() -> None:
    joints = resolve_joints([np.int64(3), np.str_("nose")], NAMES)
    assert joints == (3, 1)
    assert [type(joint) for joint in joints] == [int, int]


def test_unknown_joint_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"one of the 5 joints but got 'left_wris'\. Did you mean"):
        resolve_joints(["left_wris"], NAMES)
    with pytest.raises(ValueError, match=r"but got 'qqq'\. Pass a name such as 'neck', or an"):
        resolve_joints(["qqq"], NAMES)


@pytest.mark.parametrize("joint", [True, False, 1.0, np.float32(2), np.bool_(True), None])
def test_what_is_neither_index_nor_name_is_refused(joint: object) -> None:
    kind = type(joint).__name__
    with pytest.raises(ValueError, match=rf"index or name but got .*, a {kind}\. Pass an int"):
        resolve_joints([joint], NAMES)


@pytest.mark.parametrize("joints", [[1, 1], ["nose", "nose"], [1, "nose"], ["nose", 1]])
def test_a_joint_that_is_there_twice_is_refused(joints: list[int | str]) -> None:
    first, second = (re.escape(repr(joint)) for joint in joints)
    message = rf"each joint once but got {first} and {second}, which are both joint 1\. Leave"
    with pytest.raises(ValueError, match=message):
        resolve_joints(joints, NAMES)


def test_a_bare_name_is_not_a_list_of_letters() -> None:
    with pytest.raises(ValueError, match=r"a list of joints but got 'nose'\. Pass \['nose'\]\."):
        resolve_joints("nose", NAMES)


def test_a_skeleton_of_ones_own_takes_lists_and_keeps_tuples() -> None:
    mine = Skeleton("mine", ["a", "b"], {"all": [0, 1]}, [[0, 1]], [[0, 0], [1, 1]])  # type: ignore[arg-type,list-item]
    same = Skeleton("mine", ("a", "b"), {"all": (0, 1)}, ((0, 1),), ((0.0, 0.0), (1.0, 1.0)))
    assert mine == same
    assert hash(mine) == hash(same)
    assert as_skeleton(mine) is mine
    assert not mine.known
    assert get_skeleton("coco_17").known


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints": ("a", "a")}, r"different names of joints for skeleton 'mine'"),
        ({"joints": ()}, r"different names of joints"),
        ({"groups": {"x": (0, 2)}}, r"index of a joint, 0 to 1, but got 2"),
        ({"groups": {"x": (0,), "y": (0,)}}, r"got 'x' and 'y', which both have 'a'\. Take it out"),
        ({"groups": {"x": (0, 0)}}, r"each joint once but got 0 and 0"),
        ({"edges": ((0, 5),)}, r"index of a joint, 0 to 1, but got 5"),
        ({"joints": "ab"}, r"different names of joints .* but got 'ab'"),
        ({"edges": ((0, 1, 0),)}, r"each joint once"),
        ({"edges": ((0,),)}, r"edges of 2 joints, .* but got \(0,\)"),
        ({"drawing": ((0.0, 0.0),)}, r"a drawing of 2 joints .* but got 1"),
        ({"drawing": ((0.0, 0.0), (0.0, math.nan))}, r"finite coordinates.* but got \(0.0, nan\)"),
        ({"drawing": ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0))}, r"at 2 finite coordinates"),
    ],
)
def test_a_skeleton_that_does_not_fit_itself_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Skeleton(**{"name": "mine", "joints": ("a", "b"), **changes})


def test_a_skeleton_of_ones_own_has_a_name_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"a name of its own .* but got 'coco_17'"):
        as_skeleton(Skeleton("coco_17", ("a", "b")))
    assert as_skeleton(get_skeleton("coco_17")) is get_skeleton("coco_17")
    assert as_skeleton(None) is None
    with pytest.raises(ValueError, match=r"a skeleton or a Skeleton but got \{'name': 'x'\}"):
        as_skeleton({"name": "x"})  # type: ignore[arg-type]


PARTS = {"arm_left": (3, 4), "arm_right": (2,), "nose": (0,)}


@pytest.mark.parametrize(
    ("joints", "indices"),
    [
        (["arm"], (3, 4, 2)),
        (["arm_left"], (3, 4)),
        (["nose"], (1,)),
        (["neck", "arm_right"], (0, 2)),
    ],
)
def test_a_body_part_is_all_its_joints_and_a_joint_of_its_name_comes_first(
    joints: list[str], indices: tuple[int, ...]
) -> None:
    assert resolve_joints(joints, NAMES, PARTS) == indices


def test_an_unknown_part_is_named_with_the_nearest_of_joints_and_parts() -> None:
    with pytest.raises(
        ValueError, match=r"or of a body part but got 'arm_lefd'\. Did you mean 'arm_"
    ):
        resolve_joints(["arm_lefd"], NAMES, PARTS)


def test_a_joint_and_its_part_are_the_joint_twice() -> None:
    with pytest.raises(ValueError, match="got 'arm' and 3, which are both joint 3"):
        resolve_joints(["arm", 3], NAMES, PARTS)


# --- from files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detector", "name"),
    [
        ("holistic_543", "mediapipe_body_face_hands"),
        ("alphapose_133", "coco_wholebody_133"),
        ("mmpose_133", "coco_wholebody_133"),
    ],
)
def test_a_header_of_a_named_skeleton_gives_that(detector: str, name: str) -> None:
    skeleton = Skeleton.from_pose(header_of(detector))
    assert skeleton == get_skeleton(name)
    assert skeleton.known


def some_of(detector: str, *components: int) -> Any:
    return header_of([header_of(detector).components[n] for n in components])


@pytest.mark.parametrize(
    ("components", "name"),
    [
        ((0, 2, 3), "mediapipe_body_hands"),
        ((1, 2, 0, 3), "mediapipe_holistic"),
        ((1, 0, 2, 3), "mediapipe_face_body_hands"),
        ((2, 3), "mediapipe_hands"),
        ((0,), "mediapipe_pose"),
        ((2,), "mediapipe_hand"),
    ],
)
def test_components_in_any_order_give_the_skeleton_of_that_order(
    components: tuple[int, ...], name: str
) -> None:
    assert Skeleton.from_pose(some_of("holistic_543", *components)) == get_skeleton(name)


def test_world_landmarks_are_joints_with_parts_and_places_of_their_own() -> None:
    skeleton = Skeleton.from_pose(header_of("holistic_576"))
    named = get_skeleton("mediapipe_body_face_hands")
    assert skeleton.name == "mediapipe_576_points"
    assert skeleton.joints[:543] == named.joints
    assert skeleton.joints[543] == "pose_world_nose"
    assert {part: of for part, of in skeleton.groups.items() if "world" not in part} == named.groups
    arm = {skeleton.joints[j] for j in skeleton.groups["pose_world_left_arm"]}
    assert arm == {f"pose_world_left_{j}" for j in ("elbow", "wrist", "pinky", "index", "thumb")}
    assert len({*skeleton.drawing}) == 576
    assert all(0 <= value <= 1 for place in skeleton.drawing for value in place)
    assert min(x for x, _ in skeleton.drawing[543:]) > max(x for x, _ in skeleton.drawing[:543])


def test_a_header_of_kept_joints_has_their_names_parts_and_places() -> None:
    header = header_of("holistic_543")
    header.components[0].points = [*header.components[0].points][11:17]
    header.components[0].limbs = [(0, 1)]
    some = Skeleton.from_pose(header_of([header.components[0], header.components[2]]))
    whole = get_skeleton("mediapipe_body_hands")
    assert some.joints == (*whole.joints[11:17], *whole.joints[33:54])
    assert some.groups["pose_torso"] == (0, 1)
    assert some.groups["left_hand"] == tuple(range(6, 27))
    assert some.drawing[:6] == tuple(
        get_skeleton("mediapipe_holistic").drawing[
            get_skeleton("mediapipe_holistic").joints.index(joint)
        ]
        for joint in whole.joints[11:17]
    )


def test_another_detectors_header_gives_a_skeleton_of_its_own() -> None:
    skeleton = Skeleton.from_pose(header_of("openpose_137"))
    assert (skeleton.name, skeleton.num_joints) == ("openpose_137_points", 137)
    assert not skeleton.drawing
    assert sorted(j for of in skeleton.groups.values() for j in of) == list(range(137))
    assert "640 x 360" in skeleton.source
    assert as_skeleton(Skeleton.from_pose(header_of("openpose_137"), "mine")).name == "mine"


def test_a_path_in_place_of_a_name_is_read(tmp_path: Path) -> None:
    path = str(write_pose(tmp_path / "clip.pose", pose_of("openpose_137")))
    skeleton = as_skeleton(path)
    assert skeleton == Skeleton.from_pose(header_of("openpose_137"))
    assert skeleton.file == path
    callback = JointPruningCallback(skeleton=path)
    assert callback._settings.joint_names == skeleton.joints


def test_keypoints_of_a_named_skeleton_give_that(tmp_path: Path) -> None:
    coco = get_skeleton("coco_17")
    links = [[a + 1, b + 1] for a, b in coco.edges]
    meta = {"categories": [{"name": "person", "keypoints": [*coco.joints], "skeleton": links}]}
    assert Skeleton.from_keypoints(meta) == coco
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(meta))
    assert Skeleton.from_keypoints(path) == coco
    assert Skeleton.from_keypoints(path).file == str(path)
    dog = {"dataset_name": "dog", "keypoint_id2name": {0: "nose", 1: "tail"}}
    own = Skeleton.from_keypoints(dog)
    assert (own.name, own.joints, own.file) == ("dog", ("nose", "tail"), "")


def test_a_header_of_another_order_is_refused_with_its_own_skeleton_to_paste(
    tmp_path: Path,
) -> None:
    path = write_pose(tmp_path / "clip.pose", pose_of("holistic_543"))
    get_skeleton("mediapipe_body_face_hands").check_pose(path)
    with pytest.raises(
        ValueError, match="the same joints in another order: joint 0 of 543"
    ) as told:
        get_skeleton("mediapipe_holistic").check_pose(path)
    assert 'Pass its own skeleton, skeleton="mediapipe_body_face_hands"' in str(told.value)
    with pytest.raises(
        ValueError, match=r"other joints, without face_0, .* and 540 more and with pose_Nose"
    ):
        get_skeleton("mediapipe_holistic").check_pose(header_of("openpose_137"))
    world = write_pose(tmp_path / "world.pose", pose_of("holistic_576"))
    with pytest.raises(ValueError, match="with pose_world_nose") as told:
        get_skeleton("mediapipe_body_face_hands").check_pose(world)
    assert f'skeleton="{world}"' in str(told.value)
    assert as_skeleton(str(world)).num_joints == 576
