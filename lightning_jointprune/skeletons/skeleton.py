"""Loads named skeletons: joint names in tensor order, groups, edges and a drawing.

Each is a file in `data/`, which also says where its names and its order come from. A file holds
its joints, or it puts other files together: `mediapipe_holistic` is a face of its own, the pose,
and the hand twice, once mirrored; `mediapipe_body_face_hands` has its joints in another order.

Groups are sets of joints to prune together, and every joint is in exactly one. In skeletons of
hands alone they are the fingers (the `palm` is the wrist alone). Otherwise they are whole hands,
head and torso (or the trunk that has both), each arm and each leg. In a face they are lips, eyes,
eyebrows, nose, oval and the rest.

Drawings show a person from the front, so that the person's left is at the right of the picture.
Where a skeleton has hands or a face beside a body, these are enlarged and stand apart from it.

Published subsets are joints that others chose, as baselines for a selection. They are in
`data/published_subsets.json`, by name, each with the paper or repository it comes from.
"""

from __future__ import annotations

import json
import numbers
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from itertools import accumulate
from math import isfinite
from typing import Any

from lightning_jointprune.record.files import place
from lightning_jointprune.skeletons.described import Described, of_header, of_keypoints
from lightning_jointprune.skeletons.headers import header_of_file, is_pose_file
from lightning_jointprune.skeletons.spelling import near_names

_SUBSETS = "published_subsets"
_NAMES = (
    "mediapipe_hand",
    "mediapipe_hands",
    "mediapipe_pose",
    "mediapipe_body_hands",
    "mediapipe_holistic",
    "mediapipe_body_face_hands",
    "mediapipe_face_body_hands",
    "coco_17",
    "coco_wholebody_133",
    "ntu_25",
    "kinect_20",
)


@dataclass(frozen=True)
class Skeleton:
    """Describes the joints of a pose estimator or data set; `get_skeleton` has many.

    Args:
        name: its name.
        joints: joint names in tensor order, all different.
        groups: body parts, each with the indices of its joints; no joint is in two.
        edges: pairs of joint indices to be joined by a line. In `mediapipe_holistic` the points
            between the contours of the face have no edges.
        drawing: a place for each joint, x to the right and y down, both in [0, 1] and in the same
            unit, no two in the same place. If it is empty, the mean pose of the data is drawn.
        source: where names, order, edges and drawing come from.
        file: path of the file that named the joints; empty where none did. It makes no skeleton
            another one.

    Raises:
        ValueError: if names are not different, an index has no joint, a joint is in two groups, or
            the drawing has other joints.

    >>> arm = Skeleton("arm", ("shoulder", "elbow", "wrist"), edges=((0, 1), (1, 2)))
    >>> arm.num_joints
    3
    """

    name: str
    joints: tuple[str, ...]
    groups: dict[str, tuple[int, ...]] = field(hash=False, default_factory=dict)
    edges: tuple[tuple[int, int], ...] = ()
    drawing: tuple[tuple[float, float], ...] = ()
    source: str = ""
    file: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        given: Any = self.joints
        several = isinstance(given, Iterable) and not isinstance(given, str)
        joints = tuple(map(str, given)) if several else ()
        if len(set(joints)) != len(joints) or not joints:
            raise ValueError(
                f"Expected different names of joints for skeleton {self.name!r} but got "
                f"{self.joints!r}. Name every joint once, in the order of the data."
            )
        _check_mapping(self.name, self.groups)
        groups = {part: resolve_joints(members, joints) for part, members in self.groups.items()}
        check_apart(groups, joints)
        edges = [resolve_joints(edge, joints) for edge in self.edges]
        drawing = tuple(tuple(map(float, place)) for place in self.drawing)
        wrong: list[Any] = [edge for edge in edges if len(edge) != 2]
        wrong += [place for place in drawing if len(place) != 2 or not all(map(isfinite, place))]
        if wrong or len(drawing) not in (0, len(joints)):
            raise ValueError(
                f"Expected edges of 2 joints, and a drawing of {len(joints)} joints at 2 finite "
                f"coordinates, for skeleton {self.name!r} but got {(wrong or [len(drawing)])[0]}. "
                "Leave the drawing out to have the mean pose drawn."
            )
        checked = {"joints": joints, "groups": groups, "edges": tuple(edges), "drawing": drawing}
        for name, value in checked.items():  # lists, as from a YAML file, become tuples
            object.__setattr__(self, name, value)

    @property
    def num_joints(self) -> int:
        """Return J, the number of joints."""
        return len(self.joints)

    @property
    def known(self) -> bool:
        """Return whether `get_skeleton` has the same skeleton under this name."""
        return self.name in _NAMES and self == get_skeleton(self.name)

    @classmethod
    def from_pose(cls, source: Any, name: str | None = None) -> Skeleton:
        """Return the skeleton of a `.pose` file: the named one if it is that, else its own.

        A joint is called by its component and its point, such as `left_hand_wrist`. Body parts are
        the components, with the usual parts inside a body, a face and hands; edges are the limbs.

        Args:
            source: path of the file, or a `Pose` or a `PoseHeader` of pose-format.
            name: of a skeleton that has no known name; None makes one up.

        Raises:
            ValueError: if the file is none, or damaged.
            ModuleNotFoundError: if it is a path and pose-format is not installed.
        """
        if isinstance(source, (str, os.PathLike)):
            return _named(of_header(header_of_file(source)), name, str(source))
        return _named(of_header(getattr(source, "header", source)), name)

    @classmethod
    def from_keypoints(cls, meta: Any, name: str | None = None) -> Skeleton:
        """Return the skeleton that MMPose or COCO describes: the named one, or its own.

        Args:
            meta: `dataset_info` or `dataset_meta` of MMPose, a category of COCO with `keypoints`
                and `skeleton`, or the path of a JSON file with one of these in it.
            name: of a skeleton that has no known name; None takes the one that is given there.

        Raises:
            ValueError: if no keypoints are described, or several kinds.
        """
        if isinstance(meta, (str, os.PathLike)):
            content = json.loads(place(meta).read_text(encoding="utf-8"))
            return _named(of_keypoints(content), name, str(meta))
        return _named(of_keypoints(meta), name)

    def check_pose(self, source: Any) -> None:
        """Check that a `.pose` file has these joints in this order.

        Args:
            source: path of the file, or a `Pose` or a `PoseHeader` of pose-format.

        Raises:
            ValueError: if it has others, or these in another order; says what to pass.
        """
        own = Skeleton.from_pose(source)
        check_order(self.joints, own, f"skeleton {self.name!r}", own.file or "the header")


def _check_mapping(skeleton: str, groups: Any) -> None:
    if not isinstance(groups, Mapping):
        raise ValueError(
            f"Expected groups of skeleton {skeleton!r} by their names but got {groups!r}. Pass "
            "groups={'left_hand': (0, 1)}, say."
        )


def as_skeleton(skeleton: str | Skeleton | None) -> Skeleton | None:
    """Return the skeleton of a name or of a `.pose` file, or a skeleton as it is.

    Raises:
        ValueError: if no skeleton has this name, or your own skeleton has the name of a known one.
        ModuleNotFoundError: if it is a `.pose` file and pose-format is not installed.
    """
    if isinstance(skeleton, str) and is_pose_file(skeleton):
        return Skeleton.from_pose(skeleton)
    if isinstance(skeleton, str):
        return get_skeleton(skeleton)
    if skeleton is not None and not isinstance(skeleton, Skeleton):
        raise ValueError(
            f"Expected the name of a skeleton or a Skeleton but got {skeleton!r}. Pass "
            'num_joints=42, or Skeleton("mine", ["nose", "neck"]), say.'
        )
    if skeleton is not None and skeleton.name in _NAMES and not skeleton.known:
        raise ValueError(
            f"Expected a name of its own for the skeleton but got {skeleton.name!r}, which is that "
            f"of another one. Pass skeleton={skeleton.name!r}, or Skeleton(name='mine', ...)."
        )
    return skeleton


def skeleton_names() -> tuple[str, ...]:
    """Return the names that `get_skeleton` knows."""
    return _NAMES


def skeletons_of(num_joints: int) -> tuple[str, ...]:
    """Return the names of the skeletons that have so many joints.

    >>> skeletons_of(75), skeletons_of(7)
    (('mediapipe_body_hands',), ())
    """
    return tuple(name for name in _NAMES if get_skeleton(name).num_joints == num_joints)


@cache
def get_skeleton(name: str) -> Skeleton:
    """Return the skeleton of this name, the same object every time.

    Args:
        name: one of `skeleton_names()`.

    Raises:
        ValueError: no skeleton has this name.

    >>> hands = get_skeleton("mediapipe_hands")
    >>> hands.num_joints, hands.joints[0], hands.groups["right_hand_thumb"]
    (42, 'left_hand_wrist', (22, 23, 24, 25))
    """
    if name not in _NAMES:
        raise ValueError(
            f"Expected one of {', '.join(_NAMES)} but got {name!r}.{_did_you_mean(name, _NAMES)}"
        )
    data = _assemble(_read(name))
    return Skeleton(
        name=name,
        joints=tuple(data["joints"]),
        groups={group: tuple(members) for group, members in data["groups"].items()},
        edges=tuple((first, second) for first, second in data["edges"]),
        drawing=tuple((x, y) for x, y in data["drawing"]),
        source=data["source"],
    )


@cache
def skeleton_parts(name: str) -> dict[str, range]:
    """Return the joints of the parts that a named skeleton is put together from.

    Args:
        name: one of `skeleton_names()`.

    >>> skeleton_parts("mediapipe_body_hands")
    {'pose': range(0, 33), 'left_hand': range(33, 54), 'right_hand': range(54, 75)}
    """
    data = _read(name)
    if "of" in data:
        known = skeleton_parts(data["of"])
        sizes = {part.strip("_"): len(known[part.strip("_")]) for part in data["order"]}
    elif "parts" in data:
        pieces = [{**_read(p["skeleton"]), **p} if "skeleton" in p else p for p in data["parts"]]
        sizes = {_part_name(piece): len(_assemble(piece)["joints"]) for piece in pieces}
    else:
        sizes = {name: len(get_skeleton(name).joints)}
    ends = accumulate(sizes.values())
    return {part: range(end - sizes[part], end) for part, end in zip(sizes, ends, strict=True)}


def _part_name(piece: Mapping[str, Any]) -> str:
    return str(piece.get("part") or piece.get("group") or piece["prefix"].strip("_"))


def check_parts(skeleton: Skeleton | None, sizes: Sequence[int]) -> None:
    """Make sure that parts of these sizes cut no body part of a named skeleton in two.

    Args:
        skeleton: the skeleton; of one's own, or None, nothing is known.
        sizes: numbers of joints that follow each other in the data.

    Raises:
        ValueError: if they do; proposes a skeleton of these joints in another order.
    """
    if skeleton is None or not skeleton.known or not (cut := _cut_group(skeleton, sizes)):
        return
    others = [
        name
        for name in _NAMES
        if set(get_skeleton(name).joints) == set(skeleton.joints)
        and not _cut_group(get_skeleton(name), sizes)
    ]
    advice = " or ".join(f'skeleton="{name}"' for name in others)
    raise ValueError(
        f"Expected parts of {', '.join(map(str, sizes))} joints in the order of skeleton "
        f"{skeleton.name!r} but they cut its part {cut!r} in two: the data are in another order. "
        + (f"Pass {advice}." if advice else "Pass the parts in its order, or a Skeleton of yours.")
    )


def _cut_group(skeleton: Skeleton, sizes: Sequence[int]) -> str | None:
    """Return a body part of which only some joints are in one of the parts, if there is any."""
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    for start, size in zip(starts, sizes, strict=True):
        for group, members in skeleton.groups.items():
            inside = sum(start <= member < start + size for member in members)
            if 0 < inside < len(members):
                return group
    return None


def check_order(wanted: Sequence[str], own: Skeleton, asked: str, found: str) -> None:
    """Check that a file has the wanted joints in their order.

    Args:
        wanted: names of the joints that are expected, in order.
        own: the file's own skeleton.
        asked: what wants them, for the message.
        found: what has its own, for the message.

    Raises:
        ValueError: if it has others, or these in another order; says what to pass.
    """
    if own.joints == tuple(wanted):
        return
    pairs = enumerate(zip(wanted, own.joints, strict=False))
    at = next((n for n, (a, b) in pairs if a != b), min(len(wanted), own.num_joints))
    missing = [joint for joint in wanted if joint not in own.joints]
    more = [joint for joint in own.joints if joint not in wanted]
    what = "the same joints in another order"
    if missing or more:
        lists = [f"without {_some(missing)}"] * bool(missing) + [f"with {_some(more)}"] * bool(more)
        what = f"other joints, {' and '.join(lists)}"
    here = f"{own.joints[at]!r} and not " if at < own.num_joints else "not there and should be "
    there = repr(wanted[at]) if at < len(wanted) else "absent"
    raise ValueError(
        f"Expected the {len(wanted)} joints of {asked} in their order but got {found} with {what}: "
        f"joint {at} of {own.num_joints} is {here}{there}. Pass its own skeleton, {paste(own)}, in "
        "the training on these data."
    )


def paste(skeleton: Skeleton) -> str:
    """Return an argument that gives a skeleton, to be pasted, or words where none does."""
    if skeleton.known or skeleton.file:
        return f"skeleton={json.dumps(skeleton.name if skeleton.known else skeleton.file)}"
    return "a Skeleton of its joints"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@dataclass(frozen=True)
class PublishedSubset:
    """Holds joints that were chosen by hand, and their source.

    Args:
        name: its name in `published_subsets`, which ends with the number of its joints.
        joints: their names, all different.
        skeleton: the skeleton that it was chosen from.
        source: the paper or the repository that it is from.
    """

    name: str
    joints: tuple[str, ...]
    skeleton: str
    source: str


def published_subsets(skeleton: str | None = None) -> dict[str, PublishedSubset]:
    """Return published choices of joints, by name.

    Args:
        skeleton: a skeleton that has all joints of the returned subsets; None returns all subsets.

    Raises:
        ValueError: no skeleton has this name.

    >>> list(published_subsets("coco_wholebody_133"))
    ['sl_gcn_27', 'sl_gcn_31', 'sl_gcn_59']
    """
    known = set() if skeleton is None else set(get_skeleton(skeleton).joints)
    subsets = {name: _subset(name, **data) for name, data in _read(_SUBSETS).items()}
    return {
        name: subset
        for name, subset in subsets.items()
        if skeleton is None or known.issuperset(subset.joints)
    }


def _subset(name: str, joints: Sequence[str], skeleton: str, source: str) -> PublishedSubset:
    """Return a subset of the file, with a group replaced by its joints."""
    whole = get_skeleton(skeleton)
    named = {group: [whole.joints[j] for j in members] for group, members in whole.groups.items()}
    found = tuple(joint for word in joints for joint in named.get(word, [word]))
    return PublishedSubset(name, found, skeleton, source)


def resolve_joints(
    joints: Sequence[int | str],
    names: Sequence[str],
    parts: Mapping[str, Sequence[int]] | None = None,
) -> tuple[int, ...]:
    """Return joint indices from indices, names, or a mixture of both, in the given order.

    Args:
        joints: indices, 0 … J - 1, or names.
        names: the J joint names in tensor order, all different.
        parts: body parts that may be named too, name to joint indices. `face` also means all parts
            whose names begin with `face_`. A joint of the same name comes first.

    Raises:
        ValueError: if a name is unknown, an index is no integer or not in 0 … J - 1, or a joint is
            there twice.

    >>> resolve_joints(["nose", 2], names=["neck", "nose", "wrist"])
    (1, 2)
    >>> resolve_joints(["arm"], names=["neck", "elbow", "wrist"], parts={"arm_left": (1, 2)})
    (1, 2)
    """
    if isinstance(joints, str | numbers.Integral):
        raise ValueError(f"Expected a list of joints but got {joints!r}. Pass [{joints!r}].")
    if not isinstance(joints, Iterable):
        raise ValueError(f"Expected a list of joints but got {joints!r}. Pass [0, 1], say.")
    known = tuple(names)
    found: dict[int, int | str] = {}
    for joint in joints:
        for index in _resolve(joint, known, parts or {}):
            if index in found:
                raise ValueError(
                    f"Expected each joint once but got {found[index]!r} and {joint!r}, which are "
                    f"both joint {index}. Leave one out."
                )
            found[index] = joint
    return tuple(found)


def check_apart(groups: Mapping[str, Sequence[int]], names: Sequence[str]) -> None:
    """Make sure that no joint is in two groups.

    Args:
        groups: group name to the indices of its joints.
        names: the names of all joints.

    Raises:
        ValueError: if one is; names both groups.
    """
    group_of: dict[int, str] = {}
    for group, members in groups.items():
        if twice := [joint for joint in members if joint in group_of]:
            first, shared = group_of[twice[0]], ", ".join(repr(names[joint]) for joint in twice)
            raise ValueError(
                f"Expected groups that share no joint but got {first!r} and {group!r}, which both "
                f"have {shared}. Take it out of one."
            )
        group_of.update(dict.fromkeys(members, group))


def _resolve(
    joint: object, names: tuple[str, ...], parts: Mapping[str, Sequence[int]]
) -> Sequence[int]:
    """Return the indices of a joint, given by index or name, or of a body part."""
    if isinstance(joint, str):
        if joint in names:
            return [names.index(joint)]
        inside = [part for part in parts if f"{part}_".startswith(f"{joint}_")]
        if not inside:
            known = [*names, *parts]
            what = f"{len(names)} joints{' or of a body part' if parts else ''}"
            raise ValueError(
                f"Expected the name of one of the {what} but got {joint!r}."
                + (
                    _did_you_mean(joint, known)
                    or f" Pass a name such as {known[0]!r}, or an index."
                )
            )
        return [index for part in inside for index in parts[part]]
    if isinstance(joint, bool) or not isinstance(joint, numbers.Integral):
        raise ValueError(
            f"Expected a joint's index or name but got {joint!r}, a {type(joint).__name__}. "
            "Pass an int or a str."
        )
    index = int(joint)
    if not 0 <= index < len(names):
        raise ValueError(
            f"Expected the index of a joint, 0 to {len(names) - 1}, but got {index}. "
            "Count from 0, and not from the end."
        )
    return [index]


# Skeletons that say the parts and the places of a detector's joints, also of some of them.
_OF_DETECTOR = {"mediapipe": "mediapipe_holistic", "coco_wholebody": "coco_wholebody_133"}
_WORLD = "pose_world_"  # prefix of MediaPipe's pose in metres, whose joints are those of its pose


def _named(described: Described, name: str | None, file: str = "") -> Skeleton:
    """Return the skeleton that has the described joints: a named one, or one of its own."""
    for known in map(get_skeleton, _NAMES):
        if known.joints in (described.joints, described.bare):
            return replace(known, file=file)
    joints, usual = described.joints, _OF_DETECTOR.get(described.detector)
    parts, places = _of_detector(get_skeleton(usual)) if usual else ({}, {})
    groups: dict[str, list[int]] = {}
    for index, (joint, part) in enumerate(zip(joints, described.parts, strict=True)):
        groups.setdefault(parts.get(joint, part), []).append(index)
    drawn = [places[joint] for joint in joints if joint in places]
    return Skeleton(
        name or described.name,
        joints,
        {part: tuple(members) for part, members in groups.items()},
        described.edges,
        _in_square(drawn) if len(drawn) == len(joints) else (),
        described.said,
        file,
    )


def _of_detector(usual: Skeleton) -> tuple[dict[str, str], dict[str, tuple[float, float]]]:
    """Return the parts and places of all joints that a detector finds, by name.

    MediaPipe's pose in metres stands at the right of the others.
    """
    parts = {usual.joints[joint]: part for part, of in usual.groups.items() for joint in of}
    places = dict(zip(usual.joints, usual.drawing, strict=True))
    if usual.name == "mediapipe_holistic":
        pose = get_skeleton("mediapipe_pose")
        for joint, (x, y) in zip(pose.joints, pose.drawing, strict=True):
            parts[_WORLD + joint] = parts[f"pose_{joint}"].replace("pose_", _WORLD)
            places[_WORLD + joint] = (1.05 + 0.4 * x, 0.3 + 0.4 * y)
    return parts, places


def _in_square(places: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return places with x and y in [0, 1], of which x may go up to 1.5."""
    if all(x <= 1 for x, _ in places):
        return tuple(places)
    return tuple((round(x / 1.5, 4), round((y + 0.25) / 1.5, 4)) for x, y in places)


def _did_you_mean(name: object, known: Sequence[str]) -> str:
    """Return a sentence that proposes the nearest known names, or an empty one if none is near."""
    near = near_names(str(name), known)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def _read(name: str) -> dict[str, Any]:
    """Return the content of a file in `data/`."""
    file = resources.files("lightning_jointprune") / "data" / f"{name}.json"
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _reordered(data: dict[str, Any], prefixes: Sequence[str]) -> dict[str, Any]:
    """Return a skeleton's content with its joints in another order, part by part."""
    joints: list[str] = data["joints"]
    old = [j for prefix in prefixes for j, name in enumerate(joints) if name.startswith(prefix)]
    new = {joint: place for place, joint in enumerate(old)}
    groups = {group: [new[joint] for joint in of] for group, of in data["groups"].items()}
    return {
        "joints": [joints[joint] for joint in old],
        "groups": {group: sorted(of) for group, of in groups.items()},
        "edges": tuple([new[first], new[second]] for first, second in data["edges"]),
        "drawing": [data["drawing"][joint] for joint in old],
    }


def _assemble(data: dict[str, Any]) -> dict[str, Any]:
    """Return a file's content, with its parts put together into one skeleton.

    A part is in the file or, by its key `skeleton`, in another one, of which it may replace keys.
    `prefix` goes before the names of its joints and groups. `group` makes it one group. `part` is
    its name where it has neither. `at` is the square (x, y, size) that it is drawn in. `mirror`
    swaps the sides of its drawing. `links` are edges between parts, by name. Joints without names
    are numbered. A file of the key `of` has the joints of another one in the `order` of prefixes.
    """
    if "of" in data:
        return {**_reordered(_assemble(_read(data["of"])), data["order"]), **data}
    if "parts" not in data:
        return {"joints": [str(index) for index in range(len(data["drawing"]))], **data}
    joints: list[str] = []
    groups: dict[str, list[int]] = {}
    edges: list[list[int]] = []
    drawing: list[list[float]] = []
    for part in data["parts"]:
        piece = _assemble({**_read(part["skeleton"]), **part} if "skeleton" in part else part)
        first, prefix = len(joints), part.get("prefix", "")
        joints += [prefix + joint for joint in piece["joints"]]
        for group, members in piece["groups"].items():
            group = part.get("group", prefix + group)
            groups[group] = groups.get(group, []) + [first + member for member in members]
        edges += [[first + a, first + b] for a, b in piece["edges"]]
        left, top, size = part["at"]
        for x, y in piece["drawing"]:
            across = 1 - x if part.get("mirror") else x
            drawing.append([round(left + size * across, 4), round(top + size * y, 4)])
    edges += [[joints.index(a), joints.index(b)] for a, b in data.get("links", [])]
    return {**data, "joints": joints, "groups": groups, "edges": tuple(edges), "drawing": drawing}
