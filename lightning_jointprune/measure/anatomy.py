"""Holds the places of joints against the anatomy that their names stand for.

Two orders can have the same number of joints, so a shape never says which it is; a body does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import isfinite, isnan, nan

import torch
from torch import Tensor

from lightning_jointprune.skeletons import (
    Skeleton,
    get_skeleton,
    skeleton_names,
    skeleton_parts,
)

HAND = 21  # joints of a hand, of which the first is its root
FEWEST = 12  # least number of frames with a body of which something can be said
SHORTER = 1.25  # least ratio of edges under a wrong order of parts to those under the right one
ALIKE = 1.1  # ratio of edges up to which orders of parts cannot be told apart
STRUCTURED = 1.8  # least distance of any two joints, in edges of the shortest tree of all
SCATTERED = 0.75  # where edges are between those of the shortest tree, 0, and of any two joints, 1


@dataclass(frozen=True)
class Anatomy:
    """Names the joints by which an order can be told, by index.

    Args:
        arms: shoulder, elbow and wrist of the left and the right arm.
        hands: the first joint, at the wrist, of the left and the right hand; None where there are
            none.
        face: the joints of a face; None where there is none.
    """

    arms: tuple[tuple[int, int, int], tuple[int, int, int]]
    hands: tuple[int, int] | None = None
    face: range | None = None


def anatomy_of(joints: Sequence[str]) -> Anatomy | None:
    """Return the anatomy of joints by their names, or None where these have no arms.

    >>> anatomy_of(get_skeleton("mediapipe_body_hands").joints)
    Anatomy(arms=((11, 13, 15), (12, 14, 16)), hands=(33, 54), face=None)
    """
    places = {name.removeprefix("pose_"): place for place, name in enumerate(joints)}
    arms = [
        [
            places.get(f"{side}_{joint}", places.get(f"{joint}_{side}"))
            for joint in ("shoulder", "elbow", "wrist")
        ]
        for side in ("left", "right")
    ]
    (a, b, c), (d, e, f) = arms
    if a is None or b is None or c is None or d is None or e is None or f is None:
        return None
    roots = [
        next(
            (
                places[name]
                for name in (f"{side}_hand_wrist", f"{side}_hand_root")
                if name in places
            ),
            None,
        )
        for side in ("left", "right")
    ]
    face = [place for place, name in enumerate(joints) if name.startswith("face")]
    hands = None if roots[0] is None or roots[1] is None else (roots[0], roots[1])
    return Anatomy(((a, b, c), (d, e, f)), hands, range(face[0], face[-1] + 1) if face else None)


def disagreements(places: Tensor, anatomy: Anatomy) -> list[str]:
    """Return what speaks against an anatomy; lengths are medians, in shoulder widths.

    A hand or a face that is never seen says nothing.

    Args:
        places: shape `(frames, joints, 2)`, NaN where nothing was found.
        anatomy: of these joints.
    """
    (ls, le, lw), (rs, re, rw) = anatomy.arms
    unit = _length(places, ls, rs)
    if not unit > 0:
        return ["no frame has both shoulders"]
    reasons = []
    if anatomy.hands is not None:
        left, right = anatomy.hands
        for side, wrist, own, other in (("left", lw, left, right), ("right", rw, right, left)):
            near, far = _length(places, wrist, own), _length(places, wrist, other)
            if near > 0.5 * unit or near > far:
                reasons.append(f"the {side} wrist is not where the {side} hand begins")
            if _hand_size(places, own) > 1.5 * unit:
                reasons.append(f"the {side} hand is larger than the shoulders are wide")
    for limb, one_side, other_side in (
        ("upper arms", (ls, le), (rs, re)),
        ("forearms", (le, lw), (re, rw)),
    ):
        lengths = sorted((_length(places, *one_side), _length(places, *other_side)))
        if lengths[1] > 3 * lengths[0]:
            reasons.append(f"the {limb} differ in length")
    if anatomy.face is not None:
        face = places[:, anatomy.face.start : anatomy.face.stop]
        spread = (face - face.nanmean(1, keepdim=True)).square().nanmean(1).sqrt().nanmedian()
        if float(spread) > 0.5 * unit:
            reasons.append("the face is wider than the shoulders")
    return reasons


@dataclass(frozen=True)
class Doubt:
    """Says why joints are hardly those of a named skeleton.

    Args:
        text: what was measured, and what to do.
        clear: whether they are surely in another order.
    """

    text: str
    clear: bool


def order_doubt(places: Tensor, skeleton: Skeleton) -> Doubt | None:
    """Return a doubt that joints are in the order of a skeleton, or None.

    It is clear where the joints that edges join are nearer to each other with the skeleton's parts
    in another order, or where each wrist is at the other hand. It is weak where they are hardly
    nearer than any two joints. Data that were centred, scaled or standardised by part or by joint,
    velocities and noise give no doubt.

    Args:
        places: shape `(frames, joints, 2)`, NaN where nothing was found.
        skeleton: a named one, whose joints they are said to be.
    """
    seen = places[places.isfinite().all(-1).sum(1) > 1]
    if len(seen) < FEWEST:
        return None
    distances = mean_distances(seen)
    edges = torch.tensor(skeleton.edges).T
    length, count = _edges(distances, edges)
    found = [(_edges(distances, torch.tensor(of)[edges]), o) for o, of in _orders(skeleton)]
    shorter = [(other, order) for (other, known), order in found if known >= 0.9 * count]
    nearest = min((other for other, _ in shorter), default=nan)
    if SHORTER * nearest < length:
        alike = [order for other, order in shorter if other <= ALIKE * nearest]
        order = next((order for order in alike if _named(skeleton, order)), alike[0])
        measured = (
            f"joints that an edge joins are {length / nearest:.1f} times as far apart as with"
        )
        return Doubt(_another_order(skeleton, order, measured), clear=True)
    if exchanged := _exchanged_hands(seen, skeleton):
        return Doubt(_another_order(skeleton, *exchanged), clear=True)
    joined = [joint for joint in range(len(distances)) if distances[joint].isfinite().sum() > 1]
    among = distances[joined][:, joined]
    tree, apart = shortest_tree(among), float(among[~torch.eye(len(joined)).bool()].nanmean())
    share = (length - tree) / (apart - tree) if apart > STRUCTURED * tree > 0 else 0.0
    return Doubt(_scattered(skeleton, length / apart), clear=False) if share > SCATTERED else None


def _exchanged_hands(places: Tensor, skeleton: Skeleton) -> tuple[tuple[str, ...], str] | None:
    """Return the order in which each wrist is at its hand, and what it is now, if there is one."""
    anatomy = anatomy_of(skeleton.joints)
    if anatomy is None or anatomy.hands is None:
        return None
    reasons = disagreements(places, anatomy)
    for order, index in _orders(skeleton) if reasons else ():
        if _is_exchange(order, skeleton) and not disagreements(places[:, index], anatomy):
            return order, f"{' and '.join(reasons)}, as with"
    return None


def mean_distances(places: Tensor) -> Tensor:
    """Return the mean distance of any two joints where both are seen, shape `(joints, joints)`."""
    return torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist").nanmean(0)


def shortest_tree(distances: Tensor) -> float:
    """Return the mean length of the edges of the shortest tree that joins all joints.

    Args:
        distances: of any two joints, shape `(joints, joints)`, NaN where they are not known.
    """
    distances = distances.nan_to_num(nan=torch.inf)
    outside = torch.ones(len(distances), dtype=torch.bool)
    nearest, lengths, joint = distances[0].clone(), [], 0
    for _ in range(len(distances) - 1):
        outside[joint] = False
        nearest = torch.minimum(nearest, distances[joint])
        joint = int(torch.where(outside, nearest, torch.inf).argmin())
        lengths.append(float(nearest[joint]))
    lengths = [length for length in lengths if isfinite(length)]
    return sum(lengths) / len(lengths) if lengths else nan


def _orders(skeleton: Skeleton) -> Iterator[tuple[tuple[str, ...], list[int]]]:
    """Yield other orders of a skeleton's parts, and where its joints are in them."""
    parts = skeleton_parts(skeleton.name)
    for order in permutations(parts):
        if order == tuple(parts):
            continue
        starts, start = {}, 0
        for part in order:
            starts[part] = start
            start += len(parts[part])
        yield order, [starts[part] + k for part, of in parts.items() for k in range(len(of))]


def _is_exchange(order: tuple[str, ...], skeleton: Skeleton) -> bool:
    """Return whether an order differs in the sides of its hands alone."""
    sides = {"left_hand": "right_hand", "right_hand": "left_hand"}
    return tuple(sides.get(part, part) for part in order) == tuple(skeleton_parts(skeleton.name))


def _edges(distances: Tensor, edges: Tensor) -> tuple[float, int]:
    """Return the mean length of edges, shape `(2, edges)`, and how many of them are known."""
    lengths = distances[edges[0], edges[1]]
    return float(lengths.nanmean()), int(lengths.isfinite().sum())


def _another_order(skeleton: Skeleton, order: tuple[str, ...], measured: str) -> str:
    name = _named(skeleton, order)
    advice = f'Pass skeleton="{name}"' if name else "Bring the joints into the skeleton's order"
    parts = ", ".join(skeleton_parts(skeleton.name))
    return (
        f"Expected joints in the order of skeleton {skeleton.name!r}, {parts}, but in "
        f"the first batches {measured} the order {', '.join(order)}. {advice}; a Skeleton of your "
        "own is held against nothing."
    )


def _named(skeleton: Skeleton, order: tuple[str, ...]) -> str | None:
    """Return the name of the skeleton that has these parts in this order, if there is one."""
    parts = skeleton_parts(skeleton.name)
    joints = tuple(skeleton.joints[joint] for part in order for joint in parts[part])
    return next((name for name in skeleton_names() if get_skeleton(name).joints == joints), None)


def _scattered(skeleton: Skeleton, share: float) -> str:
    return (
        f"Joints that an edge of skeleton {skeleton.name!r} joins are {share:.0%} as far apart in "
        "the first batches as any two joints, so its names are hardly those of the data. Compare "
        f"the order with `jointprune skeletons {skeleton.name}`, or pass a Skeleton of your own."
    )


def _length(places: Tensor, first: int, second: int) -> float:
    """Return the median distance of two joints over the frames that have both; NaN without any."""
    return float((places[:, first] - places[:, second]).norm(dim=-1).nanmedian())


def _hand_size(places: Tensor, root: int) -> float:
    """Return the longest median distance of a hand's joints from its root; NaN if never seen."""
    sizes = [_length(places, root, root + joint) for joint in range(1, HAND)]
    return max((size for size in sizes if not isnan(size)), default=nan)
