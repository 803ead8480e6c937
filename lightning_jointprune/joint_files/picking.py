"""Finds the places of the kept joints on the axes of an array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.record.selection import JointSelection


class Picking(NamedTuple):
    """Says which joints are wanted, and on which axes.

    Attributes:
        selection: the joints.
        layout: the axes of an array.
    """

    selection: JointSelection
    layout: Layout

    def of(self, shape: Sequence[int]) -> tuple[int, list[int]]:
        """Return the axis of the joints in an array of this shape, and the kept places on it.

        Raises:
            ValueError: if it has other axes, or other than J joints.
        """
        self.layout.check(shape, self.selection.num_joints)
        axis = next(place for place, group in enumerate(self.layout.groups) if "j" in group)
        return axis, self._places(self.layout.groups[axis], shape[axis])

    def check_kept(self, shape: Sequence[int]) -> None:
        """Check that an array of this shape has the kept joints alone.

        Raises:
            ValueError: if it has other axes, or other than K joints.
        """
        kept = self.selection.indices
        self.layout.of(kept).check(shape, len(kept))

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

    def arranged(self, x: NDArray[Any], name: str) -> NDArray[Any]:
        """Return a clip's kept joints on the wanted axes.

        Args:
            x: the clip, shape `(t, m, K, c)`: frames, people, joints, coordinates.
            name: of the file, for messages.

        Raises:
            ValueError: if the axes are not of these words, or leave people out who are there.
        """
        words = [word for group in self.layout.groups for word in group]
        if self.layout.blocks or not {*"tjc"} <= {*words} <= {*"tmjc"}:
            raise ValueError(
                f"Expected axes of frames t, joints j, coordinates c and perhaps people m for "
                f'{name} but got {self.layout.pattern!r}. Pass axes="t j c", or "t m j c".'
            )
        if "m" not in words and x.shape[1] != 1:
            raise ValueError(
                f"Expected one person in {name} for the axes {self.layout.pattern!r} but got "
                f'{x.shape[1]}. Pass axes="t m j c", or leave the clip out.'
            )
        there = "tmjc" if "m" in words else "tjc"
        x = x if "m" in words else x[:, 0]
        x = x.transpose([there.index(word) for word in words])
        sizes = iter(x.shape)
        shape = [[next(sizes) for _ in group] for group in self.layout.groups]
        return x.reshape([math.prod(group) for group in shape])
