"""Picks the kept joints alone, as a transform for data or as the first layer of a small model."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, BinaryIO

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.joint_files.format import Opened
from lightning_jointprune.joint_files.formats import format_of
from lightning_jointprune.joint_files.formats.detector_json import clip_in
from lightning_jointprune.joint_files.picking import Picking
from lightning_jointprune.record.files import PathLike, place
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
        axis, picked = self._picking.of(x.shape)
        if isinstance(x, Tensor):
            return x.index_select(axis, torch.tensor(picked, device=x.device))
        return x.take(picked, axis)

    def read(self, source: PathLike | BinaryIO, key: str | None = None) -> NDArray[Any]:
        """Return the kept joints of a file, without reading the others where its layout allows.

        Pass it as the transform of a data set of paths. A file of `jointprune select` is read as
        it is. Dropped joints of an array are skipped where they fill 4096 bytes or more in a row,
        which a disk reads at once. In files of `np.savez_compressed` nothing can be skipped.

        Args:
            source: path of a file, or an npy, npz or parquet file that is open for reading. In
                parquet a row is a frame. A column has the name of a joint, alone or with a
                coordinate, such as `nose_x`; the array has the axes `"t j"`, or `"t j c"`. Of
                `.pose` files, of JSON by OpenPose, AlphaPose and MMPose, of NTU's `.skeleton` and
                of parquet with a row per landmark, the axes are any of t, j and c, and m for
                people; the last coordinate is the detector's confidence, where it says one. A
                folder is a clip by OpenPose, with a file for each frame.
            key: name of the array in an npz file; None where it has only one.

        Returns:
            An array with the axes of `axes` and K joints.

        Raises:
            ValueError: if the file has other joints, or these in another order, or other axes.
            ModuleNotFoundError: if a package is not installed that reads it.
        """
        if isinstance(source, (str, os.PathLike)):
            path = place(source)
            if path.is_dir():
                return clip_in(path, self._picking)
            with path.open("rb", buffering=0) as file:
                return self._read(Opened(file, path), key)
        return self._read(Opened(source), key)

    def _read(self, opened: Opened, key: str | None) -> NDArray[Any]:
        format_ = format_of(opened)
        selected = format_.is_selected(opened, self.selection)
        return format_.read(opened, self._picking, selected, key)

    @property
    def _picking(self) -> Picking:
        return Picking(self.selection, self.layout)

    def extra_repr(self) -> str:
        """Return the numbers of kept and of all joints, and the axes."""
        selection = self.selection
        return f"{len(selection.indices)} of {selection.num_joints}, axes={self.layout.pattern!r}"
