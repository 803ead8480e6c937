"""Test that a file's labels tell its joints from others, and from these in another order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.joint_files.labels import JointLabels, digest_of, is_selected
from tests.joint_files.written import selection_of

WHOLE = selection_of((0, 1, 2, 3), 4)


@given(kept=st.sets(st.integers(0, 5), min_size=1), size=st.integers(0, 2**60))
def test_labels_come_back_from_json(kept: set[int], size: int) -> None:
    labels = replace(JointLabels.of(selection_of(kept, 6)), source={"size": size, "mtime_ns": 1})
    assert JointLabels.from_json(labels.to_json()) == labels
    assert "\n" not in labels.to_json()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1, "kind": "else"}', b"\xff"])
def test_what_is_no_label_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="Run jointprune select again"):
        JointLabels.from_json(text)


def test_a_digest_is_that_of_the_names_in_their_order() -> None:
    assert digest_of(["a", "b"]) == digest_of(("a", "b"))
    assert len({digest_of(names) for names in (["a", "b"], ["b", "a"], ["ab"], ["a,b"])}) == 4


def test_a_file_has_all_joints_or_those_that_are_kept() -> None:
    selection = selection_of((1, 3), 4)
    assert not is_selected(None, selection, "x")
    assert not is_selected(JointLabels.of(WHOLE), selection, "x")
    assert is_selected(JointLabels.of(selection), selection, "x")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (JointLabels.of(selection_of((0, 3), 4)), r"2 that were picked out of 4, joint0, joint3, "),
        (JointLabels.of(selection_of((1, 3), 5)), r"2 that were picked out of 5, joint1, joint3, "),
        (JointLabels.of(selection_of(range(5), 5)), r"4 joints .* 5, which differ from joint 4 on"),
        (
            replace(JointLabels.of(WHOLE), joints=("joint0", "joint2", "joint1", "joint3")),
            r"differ from joint 1 on: joint2, joint1, joint3 there, joint1, joint2, joint3 in the",
        ),
    ],
    ids=["others", "of another skeleton", "more", "another order"],
)
def test_a_file_of_other_joints_is_refused_with_both_sides_named(
    labels: JointLabels, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        is_selected(labels, selection_of((1, 3), 4), "`x.npy`")
