"""Looks at the skeletons of a run's first batches, before the gates, and changes nothing there."""

from __future__ import annotations

import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_jointprune.gates.layer import JointPruningLayer

SAMPLES = 8  # of each batch


class FirstBatches(ABC):
    """Is called before a layer in the first training batches of the warm-up.

    Args:
        num_joints: J.

    Attributes:
        limit: how many calls of the layer are looked at.
        calls: how many have been.
    """

    limit: ClassVar[int]

    def __init__(self, num_joints: int) -> None:
        self.num_joints = num_joints
        self.calls = 0

    def watch(self, layer: JointPruningLayer) -> None:
        """Be called before a layer, as long as there is something to look at."""
        self._handle = layer.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, layer: JointPruningLayer, args: Any, kwargs: Any) -> None:
        """Look at a call of the layer, with its arguments."""
        if torch.compiler.is_compiling():  # a number that changes would compile it anew
            return
        if not layer.training:
            return
        if self.calls >= self.limit or layer.mode != "open":
            self._handle.remove()
        else:
            call = inspect.signature(layer.forward).bind(*args, **kwargs)
            call.apply_defaults()
            x, axes, joints = call.args
            self.calls += 1
            if x.numel() > 0:
                self._look(x.detach()[:SAMPLES], axes, joints or range(self.num_joints))

    def _look(self, x: Tensor, axes: Sequence[str], joints: range) -> None:
        try:
            self._add(x.float(), axes, joints)
        except Exception as error:  # what is only looked at may not cost the run
            self._handle.remove()
            if not dist.is_available() or not dist.is_initialized() or dist.get_rank() == 0:
                warnings.warn(f"The first batches could not be looked at: {error!r}", stacklevel=2)

    @abstractmethod
    def _add(self, x: Tensor, axes: Sequence[str], joints: range) -> None:
        """Take in a few samples: one word per axis, and which joints they are of."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What was seen."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
