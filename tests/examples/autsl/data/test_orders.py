"""Landmarks are read in the order that is named, and a wrong name is caught by the anatomy."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from examples.autsl.data.module import SignData
from examples.autsl.data.orders import (
    ORDERS,
    check_anatomy,
    get_order,
    own_order,
    save_order,
    saved_order,
)
from lightning_jointprune.skeletons import get_skeleton
from tests.people import person

PARTS = {"left-right", "pose"}  # orders of a part alone, without both the pose and the hands
WHOLE = [name for name in ORDERS if name not in PARTS]


@pytest.mark.parametrize("order", WHOLE)
def test_right_order_is_accepted_also_with_a_hand_that_is_never_seen(order: str) -> None:
    clip = person(order)
    check_anatomy([clip, clip], order)
    start = get_order(order).start("left")
    for missing in (np.nan, 0.0):
        clip[:, start : start + 21] = missing
        check_anatomy([clip], order)


ALIKE = [
    (a, b)
    for a, b in itertools.permutations(ORDERS, 2)
    if ORDERS[a].num_joints == ORDERS[b].num_joints
]


@pytest.mark.parametrize(("saved", "named"), ALIKE)
def test_wrong_order_of_the_same_size_is_caught_and_the_right_one_proposed(
    saved: str, named: str
) -> None:
    with pytest.raises(ValueError, match=rf"in the order {named} but .* Is it {saved}\?"):
        check_anatomy([person(saved)], named)


@pytest.mark.parametrize("order", sorted(PARTS))
def test_parts_alone_are_in_the_order_of_their_skeleton(order: str) -> None:
    known, clip = get_order(order), person(order)
    check_anatomy([clip], order)
    assert own_order(known.skeleton) == order
    np.testing.assert_array_equal(known.to_skeleton(clip), clip)
    joints = get_skeleton(known.skeleton).joints
    assert len(joints) == known.num_joints
    if order == "left-right":
        assert joints[known.start("right")] == "right_hand_wrist"


def test_arms_are_checked_in_a_pose_alone() -> None:
    clip = person("pose")
    clip[:, 13, :2] = clip[:, 11, :2] + 0.01
    with pytest.raises(ValueError, match="the upper arms differ in length"):
        check_anatomy([clip], "pose")


@pytest.mark.parametrize("order", WHOLE)
def test_exchanged_hands_are_caught(order: str) -> None:
    clip = person(order)
    left, right = (get_order(order).start(side) for side in ("left", "right"))
    clip[:, [*range(left, left + 21), *range(right, right + 21)]] = clip[
        :, [*range(right, right + 21), *range(left, left + 21)]
    ]
    with pytest.raises(ValueError, match="the left wrist is not where the left hand begins"):
        check_anatomy([clip], order)


def test_arms_of_different_lengths_are_caught() -> None:
    clip = person("pose-left-right")
    clip[:, 13, :2] = clip[:, 11, :2] + 0.01
    with pytest.raises(ValueError, match="the upper arms differ in length"):
        check_anatomy([clip], "pose-left-right")


def test_other_number_of_joints_and_unknown_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected 543 joints .* but got 75"):
        check_anatomy([person("pose-left-right")], "face-pose-left-right")
    with pytest.raises(ValueError, match=r"Expected an order out of .* but got '75'"):
        get_order("75")
    with pytest.raises(ValueError, match="no frame has both shoulders"):
        check_anatomy([np.zeros((3, 75, 3))], "pose-left-right")


@pytest.mark.parametrize("order", [name for name in WHOLE if ORDERS[name].skeleton])
def test_joints_arrive_in_the_order_of_the_named_skeleton(order: str) -> None:
    known = get_order(order)
    skeleton = get_skeleton(known.skeleton)
    clip = known.to_skeleton(person(order))
    assert clip.shape[1] == skeleton.num_joints
    wrist = next(n for n in ("pose_left_wrist", "left_wrist") if n in skeleton.joints)
    root = next(n for n in ("left_hand_wrist", "left_hand_root") if n in skeleton.joints)
    for name, place in ((wrist, (0.62, 0.78)), (root, (0.625, 0.785))):
        found = clip[:, skeleton.joints.index(name), :2].mean(axis=0)
        np.testing.assert_allclose(found, place, atol=0.01)


def test_order_is_read_where_a_split_was_extracted_by_itself(tmp_path: Path) -> None:
    assert saved_order(tmp_path) is None
    (tmp_path / "train").mkdir()
    save_order(tmp_path / "train", "pose-left-right")
    assert saved_order(tmp_path) == "pose-left-right"
    (tmp_path / "val").mkdir()
    save_order(tmp_path / "val", "face-left-pose-right")
    with pytest.raises(ValueError, match=r"one order in all of .* pose-left-right in .*train"):
        saved_order(tmp_path)


def test_own_order_leaves_the_joints_where_they_are() -> None:
    for skeleton in ("mediapipe_holistic", "mediapipe_body_hands", "coco_wholebody_133"):
        clip = person(own_order(skeleton))
        assert np.array_equal(get_order(own_order(skeleton)).to_skeleton(clip), clip)
    assert own_order("mediapipe_hand") is None
    assert own_order(None) is None


@pytest.mark.parametrize("order", ["face-left-pose-right", "face-pose-left-right"])
def test_arrays_that_are_not_in_their_skeletons_order_are_doubted(
    tmp_path: Path, order: str, recwarn: pytest.WarningsRecorder
) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        np.save(tmp_path / split / "signer0_sample1_skeleton.npy", person(order))
        (tmp_path / f"{split}_labels.csv").write_text("signer0_sample1,0\n")
    SignData(str(tmp_path), "skeleton", "mediapipe_holistic").setup("fit")
    doubts = [str(warning.message) for warning in recwarn if "in the order" in str(warning.message)]
    if order == own_order("mediapipe_holistic"):
        assert doubts == []
    else:
        (doubt,) = doubts
        assert f"Is it {order}" in doubt
        assert "Pass --datamodule.order" in doubt
