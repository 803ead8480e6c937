"""Says what a kind of file has to do, to be read and rewritten to the kept joints."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar

from numpy.typing import NDArray

from lightning_jointprune.joint_files.labels import JointLabels, is_selected, sidecar
from lightning_jointprune.joint_files.picking import Picking
from lightning_jointprune.record.files import Place, write_text
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.skeletons import (
    Skeleton,
    check_order,
    get_skeleton,
    skeleton_names,
)

HEAD = 8  # bytes by which a kind of file is known


class Opened:
    """Holds a file that is open for reading bytes.

    Args:
        file: the file.
        path: its path, if it has a name.
    """

    def __init__(self, file: Any, path: Place | None = None) -> None:
        self.file = file
        self.path = path
        self.memo: dict[str, Any] = {}  # what a format has read of it, so that it reads it once

    @property
    def name(self) -> str:
        """Return its name, for messages."""
        return f"`{self.path or 'the file'}`"

    @cached_property
    def head(self) -> bytes:
        """Return its first bytes."""
        self.file.seek(0)
        head: bytes = self.file.read(HEAD)
        return head

    @cached_property
    def content(self) -> bytes:
        """Return all its bytes, which are read once."""
        self.file.seek(0)
        content: bytes = self.file.read()
        return content


class Format(ABC):
    """Reads and writes one kind of file. `formats` has a module for each, and their list."""

    suffix: ClassVar[str]  # what the names of such files end with
    magic: ClassVar[bytes] = b""  # what such files begin with; empty where the suffix tells them
    nameless: ClassVar[re.Pattern[bytes]] = re.compile(rb"(?!)")  # that of one without a suffix

    def fits(self, opened: Opened) -> bool:
        """Return whether a file is of this kind."""
        if self.magic:
            return opened.head.startswith(self.magic)
        if opened.path is None:
            return self.nameless.match(opened.head) is not None
        return str(opened.path).endswith(self.suffix)

    def labels(self, opened: Opened) -> JointLabels | None:
        """Return a file's labels: those beside it, where it has no place for them."""
        if opened.path is None or not sidecar(opened.path).is_file():
            return None
        return JointLabels.from_json(sidecar(opened.path).read_bytes())

    def namings(self, opened: Opened) -> tuple[tuple[str, ...], ...]:  # noqa: ARG002
        """Return the names that the file itself gives its joints; several where some are usual."""
        return ()

    def skeleton(self, opened: Opened) -> Skeleton:
        """Return the skeleton of a file that names its joints: a named one if it is that."""
        joints = self.namings(opened)[0]
        named = (known for known in map(get_skeleton, skeleton_names()) if known.joints == joints)
        return next(named, Skeleton(opened.name, joints))

    def is_selected(self, opened: Opened, selection: JointSelection) -> bool:
        """Return whether a file holds only the kept joints of a selection, and not all of them.

        Raises:
            ValueError: if it holds others, or these in another order.
        """
        labels = self.labels(opened)
        namings = self.namings(opened) if labels is None else ()
        if not namings:
            return is_selected(labels, selection, opened.name)
        if selection.joint_names in namings:
            return False
        if selection.names in namings:
            return True
        check_order(selection.joint_names, self.skeleton(opened), "the selection", opened.name)
        return False

    def is_made(
        self,
        opened: Opened,
        source: Opened,  # noqa: ARG002
        selection: JointSelection,  # noqa: ARG002
        wanted: JointLabels,
    ) -> bool | None:
        """Return whether a new file is finished; None where `write` has not written it.

        Args:
            opened: the new file.
            source: the file whose joints it is to have.
            selection: the joints to keep.
            wanted: the labels that it is to have.
        """
        found = self.labels(opened)
        return None if found is None else found == wanted

    def new_name(self, name: str) -> str:
        """Return the name of the file with the kept joints."""
        return name

    @abstractmethod
    def write(
        self,
        opened: Opened,
        target: Place,
        selection: JointSelection,
        labels: JointLabels,
        axis: int | None,
    ) -> None:
        """Write the kept joints of a file that has all of them to another one, whole or not at all.

        Args:
            opened: the file.
            target: the new one.
            selection: the joints to keep.
            labels: of the new file.
            axis: the axis that the user named.
        """

    @abstractmethod
    def read(
        self, opened: Opened, picking: Picking, selected: bool, key: str | None
    ) -> NDArray[Any]:
        """Return the kept joints of a file as an array.

        Args:
            opened: the file.
            picking: the joints, and the axes to have them on.
            selected: whether the file holds the kept joints alone.
            key: the name that the user gave of an array in it.
        """


def write_sidecar(target: Place, labels: JointLabels) -> None:
    """Write the labels beside a file that is yet to be written.

    Wherever this stops, a file and its labels belong together.
    """
    target.unlink(missing_ok=True)
    write_text(sidecar(target), labels.to_json() + "\n")


def without_axis(kind: str, why: str, axis: int | None) -> None:
    """Refuse an axis for a kind of file that has its joints in a known place."""
    if axis is not None:
        raise ValueError(f"Expected no axis for {kind}, {why}, but got {axis}. Leave it out.")
