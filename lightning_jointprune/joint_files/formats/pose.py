"""Reads and rewrites `.pose` files, by pose-format."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_jointprune.joint_files.format import Format, Opened, without_axis
from lightning_jointprune.joint_files.labels import JointLabels
from lightning_jointprune.joint_files.picking import Picking
from lightning_jointprune.record.files import Place, whole_file
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.skeletons import Skeleton
from lightning_jointprune.skeletons.described import of_header
from lightning_jointprune.skeletons.headers import SUFFIX, VERSIONS, header_in


class PoseFile(Format):
    """Is the format of pose-format, whose header names the kept joints.

    The new file has the time of change of the old one, by which a finished one is known.
    """

    suffix = SUFFIX
    nameless = re.compile(b"|".join(re.escape(struct.pack("<f", v)) for v in VERSIONS), re.DOTALL)

    def labels(self, opened: Opened) -> JointLabels | None:  # noqa: ARG002
        """Return None: the header names the joints."""
        return None

    def namings(self, opened: Opened) -> tuple[tuple[str, ...], ...]:
        """Return the names of the header's points, also of a component without its own name."""
        return _namings(header_in(opened.content, opened.name)[0])

    def skeleton(self, opened: Opened) -> Skeleton:
        """Return the skeleton of the header."""
        header, _ = header_in(opened.content, opened.name)
        return replace(Skeleton.from_pose(header), file=str(opened.path or ""))

    def write(
        self,
        opened: Opened,
        target: Place,
        selection: JointSelection,
        labels: JointLabels,
        axis: int | None,
    ) -> None:
        """Write the kept points, the limbs among them, their confidence and all else as it is."""
        without_axis("a .pose file", "whose points are on the third", axis)
        header, body = read_pose(opened)
        body = _kept(body, selection.indices, selection, opened.name)
        small, dimensions = _small_header(header, selection.indices)
        if dimensions < body.data.shape[-1]:
            body.data = body.data[..., :dimensions]
        # Waiting for the disk would take several times as long as all else: see `is_made`.
        with whole_file(target, sync=False) as partial:
            with partial.open("wb") as out:
                out.write(small)
                body.write(header.version, out)
            time = labels.source["mtime_ns"]
            os.utime(partial, ns=(time, time))

    def is_made(
        self,
        opened: Opened,
        source: Opened,
        selection: JointSelection,
        wanted: JointLabels,
    ) -> bool | None:
        """Return whether a new file has the kept points, all its bytes and the old one's time.

        What has other points of the old file is of another selection, and made again.
        """
        header, _ = header_in(source.content, source.name)
        small, _ = _small_header(header, selection.indices)
        if small.startswith(opened.content):  # a power cut has left no more
            return False
        if not opened.content.startswith(small):
            return False if _is_part(opened, header) else None
        try:
            read_pose(opened)
        except ValueError:
            return False
        time, place = wanted.source["mtime_ns"], opened.path
        if place is None or not isinstance(place, Path):  # an address keeps the time of writing
            return place is not None and place.stat().st_mtime_ns >= time
        return place.stat().st_mtime_ns // 1000 == time // 1000  # some disks know no nanoseconds

    def read(
        self,
        opened: Opened,
        picking: Picking,
        selected: bool,
        key: str | None,  # noqa: ARG002
    ) -> NDArray[Any]:
        """Return the kept points; their last coordinate is the confidence."""
        _, body = read_pose(opened)
        kept = picking.selection.indices
        places = range(len(kept)) if selected else kept
        body = _kept(body, places, picking.selection, opened.name)
        x = np.concatenate([body.data.data, body.confidence[..., None]], axis=-1)
        return picking.arranged(x, opened.name)


def read_pose(opened: Opened) -> tuple[Any, Any]:
    """Return header and body of a `.pose` file.

    Raises:
        ValueError: if it is cut short, longer than it says, or without frames or people.
    """
    header, end = header_in(opened.content, opened.name)
    from pose_format.utils.reader import BufferReader

    reader = BufferReader(opened.content)
    reader.read_offset = end
    try:
        body = _unmasked().read(header, reader)
    except (struct.error, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(
            f"Expected the frames that the header of {opened.name} is followed by but it is cut "
            f"short or damaged: {error}. Make it again."
        ) from error
    if reader.read_offset != len(opened.content):
        raise ValueError(
            f"Expected {reader.read_offset} bytes of {len(body.data)} frames in {opened.name} but "
            f"got {len(opened.content)}: it is cut short, or two were written into one. Make it "
            "again."
        )
    if 0 in body.data.shape[:2]:
        frames, people = body.data.shape[:2]
        raise ValueError(
            f"Expected frames with at least one person in {opened.name} but got {frames} frames "
            f"with {people}. Leave the clip out, or extract it again."
        )
    return header, body


def _is_part(opened: Opened, header: Any) -> bool:
    """Return whether a file has some points of a header, and not all."""
    try:
        small, _ = header_in(opened.content, opened.name)
    except ValueError:
        return False
    if small.total_points() >= header.total_points():
        return False
    points = iter([(part.name, point) for part in header.components for point in part.points])
    return all((part.name, point) in points for part in small.components for point in part.points)


@cache
def _unmasked() -> Any:
    """Return pose-format's body of arrays, without the mask, of which nothing is written."""
    from numpy import ma
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_body import PoseBody

    class Unmasked(NumPyPoseBody):  # type: ignore[misc]
        def __init__(self, fps: float, data: Any, confidence: Any) -> None:
            PoseBody.__init__(self, fps, ma.masked_array(data), np.asarray(confidence))

    return Unmasked


@lru_cache(maxsize=8)
def _namings(header: Any) -> tuple[tuple[str, ...], ...]:
    return Skeleton.from_pose(header).joints, of_header(header).joints


def _kept(body: Any, places: Sequence[int], selection: JointSelection, name: str) -> Any:
    """Return the body of some points.

    Raises:
        ValueError: if a point that was found has coordinates that are no numbers.
    """
    from numpy import ma

    data, confidence = body.data.data.take(places, 2), body.confidence.take(places, 2)
    if not np.isfinite(data).all():
        wrong = ~np.isfinite(data).all(axis=-1) & ~(confidence == 0)
        if wrong.any():
            frame, _, joint = np.argwhere(wrong)[0]
            raise ValueError(
                f"Expected numbers for every point that was found in {name} but got NaN or "
                f"infinity for {selection.names[joint]!r} in frame {frame}, of confidence "
                f"{confidence[wrong][0]:g}. Give points that were not found the confidence 0, or "
                "extract the clip again."
            )
    return type(body)(body.fps, ma.masked_array(data), confidence)


@lru_cache(maxsize=8)
def _small_header(header: Any, kept: tuple[int, ...]) -> tuple[bytes, int]:
    """Return a header of the kept points, as it is written, and the number of its dimensions.

    It has the limbs among these points, with their colours where each limb has its own.
    """
    from pose_format import PoseHeader
    from pose_format.pose_header import PoseHeaderComponent

    components = []
    ends = accumulate(len(component.points) for component in header.components)
    for component, end in zip(header.components, ends, strict=True):
        first = end - len(component.points)
        new = {old - first: place for place, old in enumerate(k for k in kept if first <= k < end)}
        limbs = [n for n, limb in enumerate(component.limbs) if {*limb} <= {*new}]
        colors = list(component.colors)
        if len(colors) == len(component.limbs):
            colors = [colors[n] for n in limbs]
        if new:
            components.append(
                PoseHeaderComponent(
                    component.name,
                    [component.points[old] for old in new],
                    [(new[component.limbs[n][0]], new[component.limbs[n][1]]) for n in limbs],
                    colors,
                    component.format,
                )
            )
    small, written = PoseHeader(header.version, header.dimensions, components), BytesIO()
    small.write(written)
    return written.getvalue(), small.num_dims()
