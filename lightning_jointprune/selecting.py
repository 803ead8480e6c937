"""Reads the kept joints alone: a transform for data, or the first layer of a model that fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_jointprune.layout import Layout
from lightning_jointprune.record import JointSelection


class SelectJoints(nn.Module):
    """Picks the kept joints out of skeletons, in the order of the data; nothing is computed.

    A model behind it sees K joints instead of J, so it has to be one of that many: `compact` makes
    one that equals the pruned model, or train a new one. An array that is mapped from a file
    (`np.load(path, mmap_mode="r")`) is read no further than what is picked.

    Args:
        selection: the joints.
        axes: the axes in einops' words, such as `"b t j c"`, or without the batch, as of one sample
            of a data set, `"t j c"`; joints and coordinates may share an axis, `"b t (j c)"`.
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
        batched = axes.split()[:1] == ["b"]
        layout = Layout.parse(axes if batched else f"b {axes}")
        self.layout = layout if batched else Layout(layout.groups[1:])
        self.selection = selection

    def forward(self, x: Any) -> Any:
        """The kept joints.

        Args:
            x: a tensor, or an array of numpy, with one axis per word of `axes`, or per parenthesis.

        Raises:
            ValueError: if it has other axes, or other than J joints.
        """
        self.layout.check(x.shape, self.selection.num_joints)
        axis = next(place for place, group in enumerate(self.layout.groups) if "j" in group)
        picked = self._places(self.layout.groups[axis], x.shape[axis])
        if isinstance(x, Tensor):
            return x.index_select(axis, torch.tensor(picked, device=x.device))
        return x.take(picked, axis)

    def _places(self, words: tuple[str, ...], size: int) -> list[int]:
        """Where the kept joints are on an axis that they may share with one other word."""
        joints, others = self.selection.num_joints, range(size // self.selection.num_joints)
        if words[0] == "j":
            return [joint * len(others) + one for joint in self.selection.indices for one in others]
        return [one * joints + joint for one in others for joint in self.selection.indices]

    def extra_repr(self) -> str:
        """How many joints of how many, and the axes."""
        selection = self.selection
        return f"{len(selection.indices)} of {selection.num_joints}, axes={self.layout.pattern!r}"
