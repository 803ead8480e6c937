"""What the callback's arguments mean: checked, resolved by name, written as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from lightning_jointprune.gates import Groups
from lightning_jointprune.skeletons import get_skeleton, resolve_joints


def joint_names(num_joints: int | None, skeleton: str | None) -> tuple[str, ...]:
    """The joints' names: the skeleton's, else made up from their number."""
    if skeleton is not None:
        names = get_skeleton(skeleton).joints
        if num_joints not in (None, len(names)):
            raise ValueError(
                f"Expected {len(names)} joints (skeleton {skeleton!r}) but got "
                f"num_joints={num_joints}. Leave num_joints out, or name another skeleton."
            )
        return names
    if isinstance(num_joints, bool) or not isinstance(num_joints, int) or num_joints < 1:
        raise ValueError(
            f"Expected the number of joints but got num_joints={num_joints!r}. Pass num_joints=42 "
            'or skeleton="mediapipe_hands", say.'
        )
    return tuple(f"joint_{index}" for index in range(num_joints))


def resolve_groups(
    groups: Groups | Mapping[str, Sequence[int | str]] | str | None,
    skeleton: str | None,
    names: Sequence[str],
) -> tuple[dict[str, tuple[int, ...]] | None, bool]:
    """The groups by index, and whether they are tied."""
    if groups is None:
        return None, False
    if isinstance(groups, str):
        if groups not in ("hierarchical", "tied"):
            raise ValueError(
                'Expected groups of "hierarchical", "tied", Groups or a mapping but got '
                f"{groups!r}."
            )
        groups = Groups(tied=groups == "tied")
    elif isinstance(groups, Mapping):
        groups = Groups(groups)
    if groups.members is not None:
        members = {name: resolve_joints(joints, names) for name, joints in groups.members.items()}
        return members, groups.tied
    if skeleton is None:
        raise ValueError(
            "Expected a named skeleton whose groups to take but got none. Pass skeleton=... or "
            "Groups({'left_hand': range(21), ...})."
        )
    return dict(get_skeleton(skeleton).groups), groups.tied


def as_plain(value: Any) -> Any:
    """A setting as a plain value, for the record."""
    if is_dataclass(value) and not isinstance(value, type):
        return {type(value).__name__: asdict(value)}
    return value
