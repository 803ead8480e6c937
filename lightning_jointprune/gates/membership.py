"""Gives a joint its gates: its own, its group's, or one that is always open or closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Membership(NamedTuple):
    """Holds the gates and the group of each joint.

    Attributes:
        owner: the joint whose logit each joint uses, shape `(joints,)`; of tied ones the first.
        group_of: the number of each joint's group, shape `(joints,)`; of none, the number of
            groups.
        always: the joints whose gates are always open, shape `(joints,)`, bool.
        never: the joints that are never used, shape `(joints,)`, bool.
    """

    owner: Tensor
    group_of: Tensor
    always: Tensor
    never: Tensor


def memberships(
    num_joints: int,
    groups: Mapping[str, Sequence[int]],
    tied: bool,
    keep: Sequence[int],
    drop: Sequence[int],
) -> Membership:
    """Return the gates and the group of each joint.

    Args:
        num_joints: J.
        groups: group name to the indices of its joints.
        tied: whether a group has one gate for all its joints; with one that is kept, all are.
        keep: indices of joints that are never dropped.
        drop: indices of joints that are never used; of a tied group all or none.

    Raises:
        ValueError: if an index is out of range or twice there, or if the arguments contradict one
            another.
    """
    owner = torch.arange(num_joints)
    group_of = torch.full((num_joints,), len(groups))
    for number, (name, joints) in enumerate(groups.items()):
        members = _checked(joints, num_joints)
        _check_free(name, members, group_of, tuple(groups))
        group_of[members] = number
        if tied:
            owner[members] = min(members)  # `hard_mask` prefers the first of equal joints
    always, never = torch.zeros(2, num_joints, dtype=torch.bool)
    always[_checked(keep, num_joints)] = True
    never[_checked(drop, num_joints)] = True
    always = torch.isin(owner, owner[always])
    if (never & always).any() or never.all() or (never != never[owner]).any():
        raise ValueError(
            "Expected drop to leave a joint, those of keep among them, and all or none of a tied "
            f"group, but got drop={list(drop)} with keep={list(keep)}. Shorten one of them."
        )
    return Membership(owner, group_of, always, never)


def _check_free(name: str, members: Sequence[int], group_of: Tensor, names: Sequence[str]) -> None:
    """Make sure that a group has joints, and none of another group's.

    Args:
        name: of the group.
        members: its joints.
        group_of: the number of each joint's group so far; of none, the number of groups.
        names: of all groups.
    """
    if not members:
        raise ValueError(
            f"Expected groups that are not empty but got {name!r} without a joint. Leave it out."
        )
    others = [joint for joint in members if int(group_of[joint]) < len(names)]
    if others:
        raise ValueError(
            f"Expected groups that share no joint but got {names[int(group_of[others[0]])]!r} and "
            f"{name!r}, which both have {others}. Leave out what is in two groups."
        )


def _checked(joints: Sequence[int], num_joints: int) -> list[int]:
    """Return the joints as a list, or raise ValueError if one is twice there or out of range."""
    wrong = [joint for joint in joints if not 0 <= joint < num_joints]
    if wrong or len(set(joints)) < len(joints):
        raise ValueError(
            f"Expected different joints from 0 to {num_joints - 1} but got {list(joints)}."
        )
    return list(joints)


@dataclass(frozen=True)
class Groups:
    """Puts gates above those of the joints.

    A joint is open when its group's gate and its own are open. A group that is *tied* has one gate
    for all its joints: they stand or fall together. A joint in no group has only its own gate.

    Args:
        members: group name to its joints, by index, name or body part; None takes the named
            skeleton's body parts. No joint is in two groups. Without a named skeleton, the joints
            of a tied group are its nodes and named so: `"wrist.0"`, `"wrist.1"`.
        tied: whether each group has a single gate.
    """

    members: Mapping[str, Sequence[int | str]] | None = None
    tied: bool = False
