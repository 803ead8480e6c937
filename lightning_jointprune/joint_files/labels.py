"""Labels a file of skeletons with the names of its joints, and with how many there were."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from lightning_jointprune.record.files import PathLike, Place, place
from lightning_jointprune.record.selection import JointSelection

SIDECAR = ".joints.json"  # end of the name of a file with labels, after that of the labelled one
SCHEMA, KIND = 1, "joint_labels"
KEY = "jointprune"  # key in an npz file, and in the metadata of a parquet file's schema


@dataclass(frozen=True)
class JointLabels:
    """Holds the joints of a file, as `jointprune select` writes them beside or into it.

    Args:
        joints: their names in the order of the file.
        num_joints: J, the number of joints they were picked from.
        digest: SHA-256 of the names of those J joints in order, see `digest_of`.
        source: size in bytes and time of change, in ns, of the file they were picked from.
        axis: the axis that the user named; None where it was found.

    >>> hand = JointSelection((0, 2), 3, ("wrist", "thumb", "index"), (0.9, 0.1, 0.9))
    >>> JointLabels.of(hand).joints
    ('wrist', 'index')
    """

    joints: tuple[str, ...]
    num_joints: int
    digest: str
    source: Mapping[str, int] = field(default_factory=dict)
    axis: int | None = None

    @classmethod
    def of(
        cls, selection: JointSelection, source: Place | None = None, axis: int | None = None
    ) -> JointLabels:
        """Return the labels of a file with the kept joints of `source`."""
        state = source.stat() if source else None
        known = {"size": state.st_size, "mtime_ns": state.st_mtime_ns} if state else {}
        digest = digest_of(selection.joint_names)
        return cls(selection.names, selection.num_joints, digest, known, axis)

    def to_json(self) -> str:
        """Return the labels as JSON, on one line."""
        return json.dumps({"schema": SCHEMA, "kind": KIND, **vars(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> JointLabels:
        """Read what `to_json` wrote.

        Raises:
            ValueError: if it is something else.
        """
        try:
            data: Any = json.loads(text)
            if (data.pop("schema"), data.pop("kind")) != (SCHEMA, KIND):
                raise ValueError("it is of another kind or schema")
            return cls(**{**data, "joints": tuple(data["joints"])})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"Expected the labels of joints, as jointprune select writes them, but got "
                f"{text[:80]!r}: {error}. Run jointprune select again."
            ) from error


def digest_of(joint_names: Sequence[str]) -> str:
    """Return the SHA-256 of joint names in their order."""
    return _digest(tuple(joint_names))


@lru_cache(maxsize=8)
def _digest(joint_names: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps(list(joint_names)).encode()).hexdigest()


def sidecar(path: PathLike) -> Place:
    """Return the path of the file beside a file that names its joints."""
    path = place(path)
    return path.with_name(f"{path.name}{SIDECAR}")


def is_sidecar(path: Place) -> bool:
    """Return whether a file is one that `sidecar` names."""
    return path.name.endswith(SIDECAR)


def is_selected(labels: JointLabels | None, selection: JointSelection, name: str) -> bool:
    """Return whether a file holds only the kept joints of a selection, and not all of its joints.

    Args:
        labels: the labels of the file; None means that it holds all joints of the selection.
        selection: the wanted joints.
        name: name of the file, for the message.

    Raises:
        ValueError: if it holds others, or these in another order.
    """
    if labels is None or labels.joints == selection.joint_names:
        return False
    kept, total = len(selection.indices), selection.num_joints
    here = labels.digest == digest_of(selection.joint_names)
    if here and labels.joints == selection.names:
        return True
    wanted = selection.joint_names
    if len(labels.joints) < labels.num_joints:
        raise ValueError(
            f"Expected all {total} joints of the selection, or the {kept} that it keeps, but got "
            f"{name} with {len(labels.joints)} that were picked out of {labels.num_joints}, "
            f"{_some(labels.joints)}, where it keeps {_some(selection.names)}. Pass the file they "
            "were picked from."
        )
    pairs = enumerate(zip(labels.joints, wanted, strict=False))
    place = next((n for n, (a, b) in pairs if a != b), min(len(labels.joints), total))
    raise ValueError(
        f"Expected the {total} joints of the selection in their order but got {name} with "
        f"{len(labels.joints)}, which differ from joint {place} on: "
        f"{_some(labels.joints[place:])} there, {_some(wanted[place:])} in the selection. Pass a "
        "selection of that skeleton."
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "") if names else "none"
