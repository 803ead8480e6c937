"""From clips to batches: their order in an epoch, and one batch of those that can be read."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any

import torch
from torch.utils.data import RandomSampler, default_collate


class EpochOrder(RandomSampler):
    """A random order that follows from the run's seed and the epoch alone.

    So a run that goes on after a crash sees the batches that it would have seen.

    Args:
        clips: the data.
        epoch: that the run begins with.
    """

    def __init__(self, clips: Sized, epoch: int) -> None:
        super().__init__(clips)
        self.seed = torch.initial_seed()
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Lightning says which epoch begins."""
        self.generator = torch.Generator().manual_seed((self.seed + epoch) % 2**63)


def share_by_name(_process: int) -> None:
    """Let a process that reads clips pass its batches on as named files in shared memory.

    Passing descriptors, as usual on Linux, takes a handshake for each tensor, which is most of what
    a small model waits for its batch. Files of a process that was killed are removed by torch.
    """
    torch.multiprocessing.set_sharing_strategy("file_system")


def collate(items: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """A batch of the clips that could be read.

    Raises:
        ValueError: none of them could.
    """
    there = [item for item in items if item is not None]
    if not there:
        raise ValueError(
            f"Expected a readable clip but got none in a batch of {len(items)}; the warnings "
            "above name them. Is the disk still there?"
        )
    return default_collate(there)
