"""Reads and rewrites the JSON of OpenPose, AlphaPose and MMPose.

pose-format names the points. Its own loaders read the first two as well, but put points in the
wrong places where a face or hands were not looked for, and take several people for frames. They
cannot know of points that were left out, so the new files say which are left.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.joint_files.format import Format, Opened, without_axis, write_sidecar
from lightning_jointprune.joint_files.labels import KEY, JointLabels
from lightning_jointprune.joint_files.picking import Picking
from lightning_jointprune.record.files import Place, write_text
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.record.versions import check_installed
from lightning_jointprune.skeletons import Skeleton, get_skeleton

OF_FRAME = "_keypoints.json"  # end of the name of a frame by OpenPose, after its number
CHANNELS = 3  # x, y and confidence
Points = list[float]  # x, y and confidence of each point, one after the other


class Result(ABC):
    """Holds what a detector wrote of a clip or of a frame.

    Args:
        data: the content of the JSON file.
    """

    detector: ClassVar[str]

    def __init__(self, data: Any) -> None:
        self.data = data

    @abstractmethod
    def frames(self) -> list[list[dict[str, Any]]]:
        """Return the people of each frame, as they are in the data."""

    @abstractmethod
    def skeleton(self) -> Skeleton | None:
        """Return the skeleton of the points; None where nobody was found, or nobody names them."""

    @abstractmethod
    def points(self, person: dict[str, Any]) -> NDArray[np.float32]:
        """Return a person's points, shape `(points, 3)`: x, y and confidence."""

    @abstractmethod
    def keep(self, person: dict[str, Any], kept: Sequence[int]) -> None:
        """Leave a person some points."""

    def keep_all(self, kept: Sequence[int]) -> None:
        """Leave everybody some points."""
        for people in self.frames():
            for person in people:
                self.keep(person, kept)


class OpenPose(Result):
    """Holds a frame of OpenPose: BODY_25, and the face and hands where they were looked for."""

    detector = "OpenPose"

    def frames(self) -> list[list[dict[str, Any]]]:
        """Return the people of the only frame."""
        return [self.data["people"]]

    @cached_property
    def parts(self) -> list[Any]:
        """Return the components that were looked for, with the names of all their points."""
        from pose_format.utils.openpose import OpenPose_Components

        people = self.data["people"]
        there = [c for c in OpenPose_Components if any(person.get(c.name) for person in people)]
        for component in [] if KEY in self.data else there:
            sizes = {len(person.get(component.name) or ()) for person in people}
            if sizes != {3 * len(component.points)}:
                raise ValueError(
                    f"Expected {len(component.points)} points of {component.name} of each person "
                    f"but got {', '.join(f'{size / 3:g}' for size in sorted(sizes))}. Run OpenPose "
                    "with BODY_25, or pass the files with all points."
                )
        return there

    def skeleton(self) -> Skeleton | None:
        """Return the skeleton of the components that were looked for."""
        return _skeleton_of(self.parts) if self.parts else None

    def points(self, person: dict[str, Any]) -> NDArray[np.float32]:
        """Return a person's points, component by component."""
        flat = [number for part in self.parts for number in person[part.name]]
        return np.array(flat, np.float32).reshape(-1, 3)

    def keep(self, person: dict[str, Any], kept: Sequence[int]) -> None:
        """Leave a person some points, in two dimensions and in three."""
        first = 0
        for part in self.parts:
            inside = [j - first for j in kept if first <= j < first + len(part.points)]
            for name, size in ((part.name, 3), (part.name.replace("_2d", "_3d"), 4)):
                if person.get(name):
                    person[name] = _strided(person[name], inside, size)
            first += len(part.points)


class AlphaPose(Result):
    """Holds a clip of AlphaPose: a list of people, each with the name of its image."""

    detector = "AlphaPose"

    def _people(self) -> list[dict[str, Any]]:
        people: list[dict[str, Any]] = (
            self.data["frames"] if isinstance(self.data, dict) else self.data
        )
        return people

    def frames(self) -> list[list[dict[str, Any]]]:
        """Return the people of each image, in the order of the numbers in their names."""
        images: dict[str, list[dict[str, Any]]] = {}
        for person in sorted(self._people(), key=lambda person: _number_in(person["image_id"])):
            images.setdefault(str(person["image_id"]), []).append(person)
        return list(images.values())

    def skeleton(self) -> Skeleton | None:
        """Return the skeleton of 133 or 136 points, or of COCO's 17."""
        return _by_number(len(self._people()[0]["keypoints"]) // 3) if self._people() else None

    def points(self, person: dict[str, Any]) -> NDArray[np.float32]:
        """Return a person's points."""
        return np.array(person["keypoints"], np.float32).reshape(-1, 3)

    def keep(self, person: dict[str, Any], kept: Sequence[int]) -> None:
        """Leave a person some points."""
        person["keypoints"] = _strided(person["keypoints"], kept, 3)


class MMPose(Result):
    """Holds a clip of MMPose: a list of frames with instances, and perhaps what it says of them."""

    detector = "MMPose"

    def _frames(self) -> list[dict[str, Any]]:
        frames: list[dict[str, Any]] = (
            self.data["instance_info"] if isinstance(self.data, dict) else self.data
        )
        return frames

    def frames(self) -> list[list[dict[str, Any]]]:
        """Return the people of each frame."""
        return [frame["instances"] for frame in self._frames()]

    def skeleton(self) -> Skeleton | None:
        """Return the skeleton that the file describes, else that of 133 points or of COCO's 17."""
        if isinstance(self.data, dict) and "keypoint_id2name" in self.data.get("meta_info", {}):
            return Skeleton.from_keypoints(self.data["meta_info"])
        first = next((person for people in self.frames() for person in people), None)
        return None if first is None else _by_number(len(first["keypoints"]))

    def points(self, person: dict[str, Any]) -> NDArray[np.float32]:
        """Return a person's points."""
        places = np.array(person["keypoints"], np.float32)
        return np.column_stack([places, np.array(person["keypoint_scores"], np.float32)])

    def keep(self, person: dict[str, Any], kept: Sequence[int]) -> None:
        """Leave a person some points, and all that is said of each."""
        count = len(person["keypoints"])
        for name, values in person.items():
            if name.startswith("keypoint") and isinstance(values, list) and len(values) == count:
                person[name] = [values[joint] for joint in kept]

    def keep_all(self, kept: Sequence[int]) -> None:
        """Leave everybody some points, and what the file says of these alone."""
        super().keep_all(kept)
        if isinstance(self.data, dict) and "keypoint_id2name" in self.data.get("meta_info", {}):
            self.data["meta_info"] = _small_meta(self.data["meta_info"], kept)


class DetectorJson(Format):
    """Is the JSON of a detector. Its labels are in it, or beside it where it is a list."""

    suffix = ".json"
    nameless = re.compile(rb"(\xef\xbb\xbf)?\s*[{\[]")  # also after the mark of UTF-8

    def labels(self, opened: Opened) -> JointLabels | None:
        """Return the labels under the key `jointprune`, or those beside the file."""
        data = _result_of(opened).data
        if isinstance(data, dict):
            return JointLabels.from_json(data[KEY]) if KEY in data else None
        return super().labels(opened)

    def namings(self, opened: Opened) -> tuple[tuple[str, ...], ...]:
        """Return the names of the points; none where nobody was found, or nobody names them."""
        skeleton = _result_of(opened).skeleton()
        return () if skeleton is None else (skeleton.joints,)

    def skeleton(self, opened: Opened) -> Skeleton:
        """Return the skeleton of the points."""
        return _result_of(opened).skeleton() or super().skeleton(opened)

    def write(
        self,
        opened: Opened,
        target: Place,
        selection: JointSelection,
        labels: JointLabels,
        axis: int | None,
    ) -> None:
        """Write the kept points of everybody, and all else as it is."""
        without_axis("JSON of a detector", "whose points are in a known place", axis)
        result = _result_of(opened)
        _check_counts(result, selection.num_joints, opened.name)
        result.keep_all(selection.indices)
        del opened.memo["result"]  # it has changed
        if isinstance(result.data, dict):
            result.data[KEY] = labels.to_json()
        else:
            write_sidecar(target, labels)
        write_text(target, json.dumps(result.data, ensure_ascii=False) + "\n")

    def read(
        self,
        opened: Opened,
        picking: Picking,
        selected: bool,
        key: str | None,  # noqa: ARG002
    ) -> NDArray[Any]:
        """Return the kept points; their last coordinate is the confidence."""
        selection, result = picking.selection, _result_of(opened)
        count = len(selection.indices) if selected else selection.num_joints
        _check_counts(result, count, opened.name)
        clip = _clip_of(result, count)
        return picking.arranged(
            clip if selected else clip[:, :, list(selection.indices)], opened.name
        )


def _result_of(opened: Opened) -> Result:
    """Return what a detector wrote.

    Raises:
        ValueError: if it is no JSON, or of no detector that is known.
        ModuleNotFoundError: if pose-format is not installed.
    """
    if "result" in opened.memo:
        found: Result = opened.memo["result"]
        return found
    check_installed("pose", "names the points of a detector", "pose_format")
    try:
        data = json.loads(opened.content)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"Expected JSON in {opened.name} but it is cut short or damaged: {error}. Make it "
            "again."
        ) from error
    opened.memo["result"] = result = _kind_of(data, opened.name)(data)
    return result


def _kind_of(data: Any, name: str) -> type[Result]:
    items = data
    if isinstance(data, dict):
        if isinstance(data.get("people"), list):
            return OpenPose
        items = data.get("frames", data.get("instance_info"))
    keys = {key for item in items for key in item} if _are_mappings(items) else set()
    if keys >= {"image_id", "keypoints"}:
        return AlphaPose
    if "instances" in keys:
        return MMPose
    raise ValueError(
        f"Expected the JSON of OpenPose, AlphaPose or MMPose but got {name}, with neither people, "
        "nor keypoints of images, nor instances of frames. Leave it out."
    )


def _are_mappings(items: Any) -> bool:
    return isinstance(items, list) and bool(items) and all(isinstance(i, dict) for i in items)


def _skeleton_of(components: Iterable[Any]) -> Skeleton:
    """Return the skeleton of some of pose-format's components."""
    from pose_format import PoseHeader
    from pose_format.pose_header import PoseHeaderDimensions

    return Skeleton.from_pose(PoseHeader(0.2, PoseHeaderDimensions(0, 0), list(components)))


def _by_number(points: int) -> Skeleton | None:
    """Return the skeleton that a detector of whole bodies or of COCO's has of so many points."""
    from pose_format.utils.alphapose import get_alphapose_components

    if points == 136:
        return _skeleton_of(get_alphapose_components())
    known = {133: "coco_wholebody_133", 17: "coco_17"}
    return get_skeleton(known[points]) if points in known else None


def _check_counts(result: Result, count: int, name: str) -> None:
    """Refuse a clip in which somebody has another number of points."""
    for frame, people in enumerate(result.frames()):
        for person in people:
            points = len(result.points(person))
            if points != count:
                raise ValueError(
                    f"Expected {count} points of each person in {name} but got {points} in frame "
                    f"{frame}, by {result.detector}. Pass a clip that one detector made, and a "
                    "selection of a run on such clips."
                )


def _clip_of(result: Result, count: int) -> NDArray[np.float32]:
    """Return the points of a clip, shape `(frames, people, points, 3)`, 0 where nobody is."""
    frames = result.frames()
    found = {
        (frame, place): result.points(person)
        for frame, people in enumerate(frames)
        for place, person in enumerate(people)
    }
    width = max([CHANNELS, *(points.shape[1] for points in found.values())])
    clip = np.zeros((len(frames), max([1, *map(len, frames)]), count, width), np.float32)
    for place, points in found.items():
        clip[place] = points
    return clip


def _strided(flat: Points, kept: Iterable[int], size: int) -> Points:
    return [number for joint in kept for number in flat[size * joint : size * (joint + 1)]]


def _number_in(image: object) -> int:
    """Return the last number in the name of an image, as pose-format does."""
    found = re.findall(r"\d+", str(image))
    return int(found[-1]) if found else -1


# What MMPose says of all keypoints by their numbers, besides names and links.
_NUMBERED = {
    *("upper_body_ids", "lower_body_ids", "flip_indices", "flip_pairs", "keypoint_colors"),
    *("skeleton_link_colors", "dataset_keypoint_weights", "sigmas"),
}


def _small_meta(meta: dict[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """Return what MMPose says of some keypoints: their names and the links among them."""
    new = {old: place for place, old in enumerate(kept)}
    names = {int(number): name for number, name in meta["keypoint_id2name"].items()}
    links = [link for link in meta.get("skeleton_links", []) if {*link} <= {*new}]
    return {
        **{key: value for key, value in meta.items() if key not in _NUMBERED},
        "num_keypoints": len(new),
        "keypoint_id2name": {str(place): names[old] for old, place in new.items()},
        "keypoint_name2id": {names[old]: place for old, place in new.items()},
        "skeleton_links": [[new[a], new[b]] for a, b in links],
    }


def clip_in(folder: Place, picking: Picking) -> NDArray[Any]:
    """Return the kept points of a clip by OpenPose, which writes a file for each frame.

    Args:
        folder: has the files, whose names end with the number of the frame and `_keypoints.json`.
            A number that is not there is a frame in which nobody was found.
        picking: the joints, and the axes to have them on.

    Raises:
        ValueError: if there are no such files, or one is bad.
    """
    kind, axes = DetectorJson(), Layout((("t",), ("m",), ("j",), ("c",)))
    frames: dict[int, NDArray[Any]] = {}
    for path in folder.glob(f"*{OF_FRAME}"):
        with path.open("rb") as file:
            opened = Opened(file, path)
            selected = kind.is_selected(opened, picking.selection)
            number = _number_in(path.name.removesuffix(OF_FRAME))
            frames[number] = kind.read(opened, Picking(picking.selection, axes), selected, None)[0]
    if not frames:
        raise ValueError(
            f"Expected a file or a clip of OpenPose, with files *{OF_FRAME}, but got the folder "
            f"{folder}. Pass the files in it one by one."
        )
    first, people = min(frames), max(len(frame) for frame in frames.values())
    shape = (max(frames) - first + 1, people, len(picking.selection.indices), CHANNELS)
    clip = np.zeros(shape, np.float32)
    for number, frame in frames.items():
        clip[number - first, : len(frame)] = frame
    return picking.arranged(clip, str(folder))
