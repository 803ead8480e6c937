"""The mean pose of the data, to draw a skeleton that has no name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_jointprune.layer import JointPruningLayer

CALLS, SAMPLES = 24, 8  # calls of the layer that are looked at, and samples in each
APART = 0.2  # least distance of the joints' places, in standard deviations of their coordinates


class MeanPose:
    """Sums up where the joints are, in the first batches of the warm-up.

    It is called before the layer, which it changes in nothing. What is not finite does not count,
    nor a joint whose coordinates are all 0, as in padding and where a detector found none.

    Args:
        num_joints: J.

    Attributes:
        calls: how many calls have been counted.
        sums: number of places, their sum and their sum of squares, shape `(3, J, channels)`; None
            before the first batch, and where there are other than 2 or 3 channels.
    """

    def __init__(self, num_joints: int) -> None:
        self.num_joints = num_joints
        self.calls = 0
        self.sums: Tensor | None = None

    def watch(self, layer: JointPruningLayer) -> None:
        """Be called before a layer, as long as there is something to count."""
        self._handle = layer.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, layer: JointPruningLayer, args: Any, kwargs: Any) -> None:
        """Count a call of the layer, with its arguments."""
        if torch.compiler.is_compiling():  # a number that changes would compile it anew
            return
        if not layer.training:
            return
        if self.calls >= CALLS or layer.mode != "open":
            self._handle.remove()
        else:
            call = inspect.signature(layer.forward).bind(*args, **kwargs)
            call.apply_defaults()
            x, axes, joints = call.args
            self.calls += 1
            if "c" in axes and x.shape[list(axes).index("c")] in (2, 3):
                self._add(x.detach()[:SAMPLES], axes, joints or range(self.num_joints))

    def _add(self, x: Tensor, axes: Sequence[str], joints: range) -> None:
        x = x.float().movedim((axes.index("j"), axes.index("c")), (-2, -1)).flatten(0, -3)
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
