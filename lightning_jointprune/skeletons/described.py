"""Reads names, parts and edges of joints out of what a file or a detector says of them.

A `.pose` file has a header: components, each with the names of its points and with limbs between
them. MMPose and COCO describe the joints of a data set by a mapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

FINGERS = {
    "palm": ("wrist", "base", "root", "palm"),
    "thumb": ("thumb", "t"),
    "index_finger": ("index", "forefinger", "i"),
    "middle_finger": ("middle", "m"),
    "ring_finger": ("ring", "r"),
    "pinky": ("pinky", "little", "p"),
}
# Points of a face of 68, as iBUG numbers them, and the pupils that OpenPose adds.
FACE_68 = {
    "oval": range(17),
    "right_eyebrow": range(17, 22),
    "left_eyebrow": range(22, 27),
    "nose": range(27, 36),
    "right_eye": (*range(36, 42), 68),
    "left_eye": (*range(42, 48), 69),
    "lips": range(48, 68),
}
# Words in the names of a body's points, by the part that they are in.
BODY = {
    "hand": ("thumb", "index", "middle", "ring", "pinky", "finger", "hand"),
    "head": ("nose", "eye", "ear", "head", "mouth", "face", "chin", "lip", "eyebrow", "pupil"),
    "torso": ("neck", "shoulder", "hip", "spine", "pelvis", "chest", "thorax", "torso", "back"),
    "arm": ("elbow", "wrist", "arm"),
    "leg": ("knee", "ankle", "leg"),
    "foot": ("toe", "heel", "foot"),
}
SIDED = ("hand", "arm", "leg", "foot")
COCO_HAND = (
    "hand_root",
    *(f"thumb{n}" for n in range(1, 5)),
    *(f"{finger}{n}" for finger in ("forefinger", "middle_finger") for n in range(1, 5)),
    *(f"{finger}_finger{n}" for finger in ("ring", "pinky") for n in range(1, 5)),
)
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_NUMBER = re.compile(r"\d+$")


class Described(NamedTuple):
    """Holds what is said of joints.

    Attributes:
        name: for a skeleton of theirs.
        detector: whose joints they are, as far as their names tell: `"mediapipe"`,
            `"coco_wholebody"`, `"openpose"`, `"alphapose"`, or another name.
        joints: their names in order.
        bare: the names of the points of the only component; empty where there are several.
        parts: the body part of each joint, shape `(J,)`.
        edges: pairs of joint indices, each pair once.
        said: a sentence on the source, with the unit of the coordinates where that is known.
    """

    name: str
    detector: str
    joints: tuple[str, ...]
    bare: tuple[str, ...]
    parts: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    said: str


def of_header(header: Any) -> Described:
    """Return what the header of a `.pose` file says of its joints.

    A joint's name is that of its component and of its point, such as `left_hand_wrist`. Joints of
    COCO-WholeBody have the names that MMPose gives them.

    Args:
        header: a `PoseHeader` of pose-format.
    """
    components = [(component.name, list(component.points)) for component in header.components]
    detector = _detector_of(components)
    coco = detector == "coco_wholebody"
    joints: list[str] = []
    parts: list[str] = []
    edges: list[tuple[int, int]] = []
    for component, (name, points) in zip(header.components, components, strict=True):
        part, first = part_name(name), len(joints)
        joints += [_COCO[part][p] if coco else f"{part}_{_lower(p)}" for p in points]
        parts += _parts_of(part, points)
        edges += [(first + int(a), first + int(b)) for a, b in component.limbs]
    width, height = header.dimensions.width, header.dimensions.height
    return Described(
        f"{detector}_{len(joints)}_points",
        detector,
        tuple(joints),
        tuple(map(_lower, components[0][1])) if len(components) == 1 else (),
        tuple(parts),
        once(edges),
        f"The header of a .pose file: {', '.join(name for name, _ in components)}. Coordinates are "
        f"in pixels of {width} x {height}, if nobody has normalised them.",
    )


def of_keypoints(meta: Any) -> Described:
    """Return what MMPose or COCO says of a data set's joints.

    Args:
        meta: `dataset_info` or `dataset_meta` of MMPose, a category of COCO with `keypoints`, or a
            mapping or a list with one of these in it, such as a whole file of annotations.

    Raises:
        ValueError: if it is none of these, or has several categories with keypoints.
    """
    found = list(_walk(meta))
    if len(found) != 1:
        raise ValueError(
            "Expected one description of keypoints, with `keypoint_info`, `keypoint_id2name` or "
            f"`keypoints`, but got {len(found)} in {_shown(meta)}. Pass dataset_info of MMPose, or "
            "one category of COCO."
        )
    (data,) = found
    if "keypoint_info" in data:
        ordered = sorted(data["keypoint_info"].values(), key=lambda point: int(point["id"]))
        names = [str(point["name"]) for point in ordered]
        links = [link["link"] for link in data.get("skeleton_info", {}).values()]
        edges = [(names.index(a), names.index(b)) for a, b in links]
    elif "keypoint_id2name" in data:
        by_number = {int(number): str(name) for number, name in data["keypoint_id2name"].items()}
        names = [by_number[number] for number in sorted(by_number)]
        edges = [(int(a), int(b)) for a, b in data.get("skeleton_links", [])]
    else:
        names = list(map(str, data["keypoints"]))
        links = [(int(a), int(b)) for a, b in data.get("skeleton") or []]
        first = (
            0 if any(0 in link for link in links) else 1
        )  # COCO counts from 1, some tools from 0
        edges = [(a - first, b - first) for a, b in links]
    own = str(data.get("dataset_name") or data.get("name") or "keypoints")
    joints = tuple(names)
    parts = tuple(_body_part("", name) or "body" for name in names)
    return Described(own, own, joints, (), parts, once(edges), f"The keypoints of {own}.")


def part_name(component: str) -> str:
    """Return a component's name without what detectors put behind it.

    >>> part_name("LEFT_HAND_LANDMARKS"), part_name("pose_keypoints_2d"), part_name("FACE_133")
    ('left_hand', 'pose', 'face')
    """
    plain = re.sub(r"(?i)(_landmarks|_keypoints(_[23]d)?|_13[356])$", "", component)
    plain = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")
    return _lower(plain) or "points"


def once(edges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return edges without those that are there already, in either direction, or join nothing."""
    return tuple({frozenset(edge): edge for edge in edges if edge[0] != edge[1]}.values())


def _lower(name: str) -> str:
    """Return a constant's name in lower case, and others as they are."""
    return name.lower() if name.isupper() else name


def _detector_of(components: Sequence[tuple[str, Sequence[str]]]) -> str:
    names = [name for name, _ in components]
    if all(name.endswith("_LANDMARKS") for name in names):
        return "mediapipe"
    if all(name.endswith("_keypoints_2d") for name in names) or names == ["BODY_135"]:
        return "openpose"
    if all(_is_coco(name, points) for name, points in components):
        return "coco_wholebody"
    return "alphapose" if all(name.endswith("_136") for name in names) else "pose"


_COCO_BODY = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle", "left_big_toe", "left_small_toe"),
    *("left_heel", "right_big_toe", "right_small_toe", "right_heel"),
)
# Points of COCO-WholeBody as pose-format names them, by the component.
_COCO = {
    "body": {name: name for name in _COCO_BODY},
    "face": {f"face-{n}": f"face-{n}" for n in range(68)},
    "left_hand": {f"hand_{n}": f"left_{name}" for n, name in enumerate(COCO_HAND)},
    "right_hand": {f"hand_{n}": f"right_{name}" for n, name in enumerate(COCO_HAND)},
}


def _is_coco(component: str, points: Sequence[str]) -> bool:
    part = part_name(component)
    usual = component.upper() in (part.upper(), f"{part.upper()}_133")
    return usual and part in _COCO and {*points} <= {*_COCO[part]}


def _parts_of(component: str, points: Sequence[str]) -> list[str]:
    """Return the body part of each point of a component."""
    if "face" in component:
        numbers = [_NUMBER.search(point) for point in points]
        small = [number and int(number.group()) for number in numbers]
        known = {point: name for name, of in FACE_68.items() for point in of}
        if all(number is not None and number in known for number in small):
            return [f"{component}_{known[number or 0]}" for number in small]
        return [component] * len(points)
    if "hand" in component:
        fingers = [_finger_of(point) for point in points]
        return [f"{component}_{finger}" if finger else component for finger in fingers]
    parts = [_body_part(component, point) for point in points]
    return [part or component for part in parts]


def _finger_of(point: str) -> str | None:
    first, *others = _words(point) or [""]
    if first == "hand" and others and others[0].isdigit():  # AlphaPose's hand_0 … hand_20
        return list(FINGERS)[(int(others[0]) + 3) // 4] if int(others[0]) < 21 else None
    return next((finger for finger, known in FINGERS.items() if first in known), None)


def _body_part(component: str, point: str) -> str | None:
    """Return the part of a body that a point's name tells, such as `pose_left_arm`."""
    words = _words(point)
    side = next((_SIDES[word] for word in words if word in _SIDES), None)
    stems = [word for word in words if word not in _SIDES]
    for part, known in BODY.items():
        if any(stem.startswith(word) for stem in stems for word in known):
            if part in SIDED and side is None:
                return None
            name = f"{side}_{part}" if part in SIDED else part
            return f"{component}_{name}" if component else name
    return None


_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}


def _words(name: str) -> list[str]:
    """Return the words of a name in lower case.

    >>> _words("LThumb1CMC"), _words("left_big_toe")
    (['l', 'thumb', '1', 'cmc'], ['left', 'big', 'toe'])
    """
    return [word.lower() for word in _WORD.findall(name)]


def _walk(meta: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the descriptions of keypoints that are in plain data."""
    if isinstance(meta, Mapping):
        if {"keypoint_info", "keypoint_id2name"} & {*meta} or _are_names(meta.get("keypoints")):
            yield meta
            return
        for key in ("dataset_info", "meta_info", "dataset_meta", "categories"):
            yield from _walk(meta.get(key))
    elif isinstance(meta, list | tuple):
        for item in meta:
            yield from _walk(item)


def _are_names(keypoints: Any) -> bool:
    return isinstance(keypoints, list | tuple) and all(isinstance(name, str) for name in keypoints)


def _shown(meta: Any) -> str:
    return (
        f"keys {', '.join(map(str, meta))[:80]}" if isinstance(meta, Mapping) else repr(meta)[:80]
    )
