"""Picks the kept joints alone, as a transform for data or as the first layer of a small model."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Sequence
from typing import Any, BinaryIO

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.joint_files.labels import KEY, is_selected, labels_of
from lightning_jointprune.joint_files.npy import (
    PARQUET,
    ZIP,
    StoredArray,
    keys_of,
    kind_of,
    member,
    stored_array,
)
from lightning_jointprune.joint_files.parquet import columns_of, parquet_file, pick_columns
from lightning_jointprune.record.files import PathLike, Place, place
from lightning_jointprune.record.selection import JointSelection


class SelectJoints(nn.Module):
    """Picks the kept joints out of skeletons, in the order of the data.

    A model behind it sees K joints instead of J. Make one from the pruned model by `compact`, or
    train a new one. `read` takes the joints out of files.

    Args:
        selection: the joints.
        axes: the axes in einops' words, such as `"b t j c"`; without the batch, such as `"t j c"`,
            for one sample of a data set. Joints and coordinates may share an axis, `"b t (j c)"`,
            or be parts with coordinates of their own, `"b t (33*4 + 42*3)"`.
        joint_names: names of the data's joints in their order, shape `(J,)`; None takes them to be
            those of the selection.

    Raises:
        ValueError: if the axes have no joints, or the names are not those of the selection.

    >>> hand = JointSelection((0, 2), 3, ("wrist", "thumb", "index"), (0.9, 0.1, 0.9))
    >>> SelectJoints(hand, "t j c")(torch.zeros(16, 3, 2)).shape
    torch.Size([16, 2, 2])
    """

    def __init__(
        self,
        selection: JointSelection,
        axes: str = "b t j c",
        joint_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        names = selection.joint_names if joint_names is None else tuple(joint_names)
        if names != selection.joint_names:
            pairs = enumerate(zip(names, selection.joint_names, strict=False))
            place = next((i for i, (a, b) in pairs if a != b), min(len(names), len(selection.mask)))
            raise ValueError(
                f"Expected the {selection.num_joints} joints of the selection but got "
                f"{len(names)}, which differ from joint {place} on. Pass data in the order of "
                "selection.joint_names."
            )
        batched = re.search(r"\bb\b", axes) is not None
        layout = Layout.parse(axes if batched else f"b {axes}")
        self.layout = layout if batched else Layout(layout.groups[1:], layout.blocks)
        self.selection = selection

    def forward(self, x: Any) -> Any:
        """Return the kept joints of an array.

        Args:
            x: a tensor, or an array of numpy, with one axis per word of `axes`, or per parenthesis.

        Raises:
            ValueError: if it has other axes, or other than J joints.
        """
        axis, picked = self._picked(x.shape)
        if isinstance(x, Tensor):
            return x.index_select(axis, torch.tensor(picked, device=x.device))
        return x.take(picked, axis)

    def read(self, source: PathLike | BinaryIO, key: str | None = None) -> NDArray[Any]:
        """Return the kept joints of a file, without reading the others where its layout allows.

        Pass it as the transform of a data set of paths. A file of `jointprune select` is read as
        it is. Dropped joints of an array are skipped where they fill 4096 bytes or more in a row,
        which a disk reads at once. In files of `np.savez_compressed` nothing can be skipped.

        Args:
            source: path of an npy, npz or parquet file, or one that is open for reading bytes. In
                parquet a row is a frame. A column has the name of a joint, alone or with a
                coordinate, such as `nose_x`; the array has the axes `"t j"`, or `"t j c"`.
            key: name of the array in an npz file; None where it has only one.

        Returns:
            An array with the axes of `axes` and K joints.

        Raises:
            ValueError: if the file has other joints, or these in another order, or other axes.
            ModuleNotFoundError: if it is parquet and pyarrow is not installed.
        """
        if isinstance(source, (str, os.PathLike)):
            path = place(source)
            with path.open("rb", buffering=0) as file:
                return self._read(file, path, key)
        return self._read(source, None, key)

    def _read(self, file: Any, path: Place | None, key: str | None) -> NDArray[Any]:
        labels = labels_of(file, path)
        selected = is_selected(labels, self.selection, f"`{path or 'the file'}`")
        kind = kind_of(file)
        if kind == PARQUET:
            return self._read_columns(file, selected)
        if kind == ZIP:
            with zipfile.ZipFile(file) as archive:
                return self._read_array(member(archive, file, _key(archive, key)), selected)
        return self._read_array(stored_array(file), selected)

    def _read_array(self, array: StoredArray, selected: bool) -> NDArray[Any]:
        if selected:
            kept = self.selection.indices
            self.layout.of(kept).check(array.shape, len(kept))
            return array.whole()
        return array.pick(*self._picked(array.shape))

    def _read_columns(self, file: Any, selected: bool) -> NDArray[Any]:
        words = self.layout.words
        if words.index("j") != 1 or len(words) > 3 or len(self.layout.groups[0]) > 1:
            raise ValueError(
                f"Expected axes whose words are frames, joints and coordinates, as parquet has "
                f'them, but got {self.layout.pattern!r}. Pass axes="t j c", or "t (j c)".'
            )
        parquet, names = parquet_file(file), self.selection.names
        known = names if selected else self.selection.joint_names
        x = pick_columns(parquet, columns_of(parquet.schema_arrow.names, known), names)
        if x.ndim != len(words):
            raise ValueError(
                f"Expected columns with the axes {self.layout.pattern!r} but got an array of "
                f"frames and joints with {x.ndim} axes. Pass axes={'t j c'[: 2 * x.ndim - 1]!r}."
            )
        return x.reshape([x.shape[0], -1]) if len(self.layout.groups) < x.ndim else x

    def _picked(self, shape: Sequence[int]) -> tuple[int, list[int]]:
        """Return the axis of the joints in an array of this shape, and the kept places on it."""
        self.layout.check(shape, self.selection.num_joints)
        axis = next(place for place, group in enumerate(self.layout.groups) if "j" in group)
        return axis, self._places(self.layout.groups[axis], shape[axis])

    def _places(self, words: tuple[str, ...], size: int) -> list[int]:
        """Return the places of the kept joints on an axis that they may share with another word."""
        if self.layout.blocks:
            return self.layout.places(self.selection.indices)
        joints, others = self.selection.num_joints, range(size // self.selection.num_joints)
        if words[0] == "j":
            return [
                joint * len(others) + other for joint in self.selection.indices for other in others
            ]
        return [other * joints + joint for other in others for joint in self.selection.indices]

    def extra_repr(self) -> str:
        """Return the numbers of kept and of all joints, and the axes."""
        selection = self.selection
        return f"{len(selection.indices)} of {selection.num_joints}, axes={self.layout.pattern!r}"


def _key(archive: zipfile.ZipFile, key: str | None) -> str:
    """Return the key of the array that is meant in an npz file."""
    known = [name for name in keys_of(archive) if name != KEY]
    if key is None and len(known) == 1:
        return known[0]
    if key not in known:
        raise ValueError(
            f"Expected the name of an array in the npz file, out of {', '.join(known)}, but got "
            f"{key!r}. Pass key={known[0] if known else 'keypoints'!r}."
        )
    return str(key)
