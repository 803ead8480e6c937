"""Joints belong where groups, keep and drop put them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.gates.membership import memberships


@given(st.data(), st.integers(1, 8), st.booleans())
def test_every_joint_belongs_where_it_was_put(data: st.DataObject, joints: int, tied: bool) -> None:
    of = [data.draw(st.sampled_from([None, "a", "b"])) for _ in range(joints)]
    groups = {name: [j for j in range(joints) if of[j] == name] for name in ("a", "b")}
    groups = {name: members for name, members in groups.items() if members}
    keep = data.draw(st.sets(st.integers(0, joints - 1)))
    belongs = memberships(joints, groups, tied, sorted(keep), [])
    names = [*groups, None]
    assert [names[number] for number in belongs.group_of.tolist()] == of
    first = [of.index(name) if tied and name else j for j, name in enumerate(of)]
    assert belongs.owner.tolist() == first
    kept = {first[joint] for joint in keep}
    assert belongs.always.tolist() == [first[joint] in kept for joint in range(joints)]
    assert not belongs.never.any()


def test_joints_that_are_never_used_are_marked() -> None:
    belongs = memberships(4, {"a": [1, 2]}, True, [0], [1, 2])
    assert torch.equal(belongs.never, torch.tensor([False, True, True, False]))


@pytest.mark.parametrize(
    ("groups", "keep", "drop", "message"),
    [
        ({"a": []}, [], [], "not empty but got 'a'"),
        ({"a": [0, 1], "b": [1]}, [], [], "but got 'a' and 'b', which both have"),
        ({"a": [4]}, [], [], "0 to 3 but got"),
        ({}, [0, 0], [], "different joints"),
        ({}, [], [-1], "0 to 3 but got"),
        ({"a": [0, 1]}, [], [0], "all or none of a tied"),
        ({"a": [0, 1]}, [0], [0, 1], r"keep=\[0\]"),
        ({}, [], [0, 1, 2, 3], "leave a joint"),
    ],
)
def test_what_does_not_fit_is_refused(groups, keep, drop, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        memberships(4, groups, True, keep, drop)
