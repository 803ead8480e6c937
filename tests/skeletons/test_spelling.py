"""Unknown names are answered with the known ones that they may stand for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.skeletons import get_skeleton, near_names, skeleton_names

HANDS = get_skeleton("mediapipe_hands").joints


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mediapipe_hand_body", ["mediapipe_body_hands"]),
        ("mediapipe_hands_face_body", ["mediapipe_body_face_hands", "mediapipe_face_body_hands"]),
        ("hands", ["mediapipe_hand", "mediapipe_hands"]),
        ("mediapipe_hnds", ["mediapipe_hands"]),
        ("coco", ["coco_17"]),
        ("openpose_25", []),
        ("", []),
        ("___", []),
    ],
)
def test_a_skeleton_is_found_by_its_words_in_any_order(name: str, near: list[str]) -> None:
    assert near_names(name, skeleton_names()) == near


@given(st.sampled_from(HANDS), st.randoms(use_true_random=False))
def test_the_words_of_a_joint_in_another_order_are_that_joint(name: str, random: object) -> None:
    words = name.split("_")
    random.shuffle(words)  # type: ignore[attr-defined]
    assert near_names("-".join(words).upper(), HANDS) == [name]


@given(st.text(), st.lists(st.text(), max_size=5))
def test_only_known_names_are_proposed_each_once(name: str, known: list[str]) -> None:
    near = near_names(name, known)
    assert set(near) <= set(known)
    assert len(set(near)) == len(near)


def test_a_mirrored_joint_is_proposed_for_both_sides_and_of_many_a_few() -> None:
    assert near_names("wrist", HANDS) == ["left_hand_wrist", "right_hand_wrist"]
    assert near_names("right wrist", HANDS) == ["right_hand_wrist"]
    assert len(near_names("left", HANDS)) == 1  # the wrist, whose name has the fewest other words
    assert len(near_names("finger", HANDS)) == 4
