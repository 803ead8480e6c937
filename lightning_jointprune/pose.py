"""The mean pose of the data, to draw a skeleton that has no name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_jointprune.first_batches import FirstBatches

APART = 0.2  # least distance of the joints' places, in standard deviations of their coordinates


class MeanPose(FirstBatches):
    """Sums up where the joints are.

    What is not finite does not count, nor a joint whose coordinates are all 0, as in padding and
    where a detector found none.

    Args:
        num_joints: J.

    Attributes:
        sums: number of places, their sum and their sum of squares, shape `(3, J, channels)`; None
            before the first batch, and where there are other than 2 or 3 channels.
    """

    limit = 24

    def __init__(self, num_joints: int) -> None:
        super().__init__(num_joints)
        self.sums: Tensor | None = None

    def _add(self, x: Tensor, axes: Sequence[str], joints: range) -> None:
        if "c" not in axes or x.shape[list(axes).index("c")] not in (2, 3):
            return
        x = x.movedim((axes.index("j"), axes.index("c")), (-2, -1)).flatten(0, -3)
        found = x.isfinite().all(-1, keepdim=True) & (x != 0).any(-1, keepdim=True)
        x = torch.where(found, x, 0.0)
        sums = torch.stack([found.expand_as(x).float().sum(0), x.sum(0), x.square().sum(0)])
        if self.sums is None:
            self.sums = sums.new_zeros(3, self.num_joints, sums.shape[-1])
        if self.sums.shape[-1] == sums.shape[-1]:
            self.sums = self.sums.to(x.device)
            self.sums[:, joints.start : joints.stop] += sums

    def places(self) -> tuple[tuple[float, ...], ...]:
        """Mean place of each joint, shape `(J, channels)`, to four digits.

        It is empty where nothing is known, and where the joints are all at about the same place:
        of data that are standardised joint by joint no pose is left.
        """
        if self.sums is None:
            return ()
        count, total, squares = self.sums.double()
        mean = total / count.clamp(min=1)
        deviation = (squares / count.clamp(min=1) - mean.square()).clamp(min=0).mean().sqrt()
        apart = mean.std(0).max() if len(mean) > 1 else mean.new_zeros(())
        if not (mean.isfinite().all() and apart > APART * deviation):
            return ()
        return tuple(tuple(float(f"{one:.4g}") for one in place) for place in mean.tolist())

    def state_dict(self) -> dict[str, Any]:
        """What was counted."""
        sums = None if self.sums is None else self.sums.cpu().clone()
        return {"calls": self.calls, "sums": sums}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.calls, self.sums = state["calls"], state["sums"]
