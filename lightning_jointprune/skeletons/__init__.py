"""Names joints: named skeletons, those of your own, and those that a file names."""

from __future__ import annotations

from lightning_jointprune.skeletons.skeleton import (
    PublishedSubset,
    Skeleton,
    as_skeleton,
    check_apart,
    check_order,
    check_parts,
    get_skeleton,
    published_subsets,
    resolve_joints,
    skeleton_names,
    skeleton_parts,
    skeletons_of,
)
from lightning_jointprune.skeletons.spelling import near_names

__all__ = [
    "PublishedSubset",
    "Skeleton",
    "as_skeleton",
    "check_apart",
    "check_order",
    "check_parts",
    "get_skeleton",
    "near_names",
    "published_subsets",
    "resolve_joints",
    "skeleton_names",
    "skeleton_parts",
    "skeletons_of",
]
