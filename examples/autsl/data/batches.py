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


def collate(items: Sequence[dict[str, Any] | None], skip: bool = True) -> dict[str, Any] | None:
    """Return a batch of the clips that could be read; None, which trainers skip, without any.

    Args:
        items: the clips, None for each that could not be read.
        skip: whether the trainer may; processes that train together all need a batch.

    Raises:
        ValueError: none could be read, and it may not.
    """
    there = [item for item in items if item is not None]
    if not there and not skip:
        raise ValueError(
            f"Expected a readable clip but got none in a batch of {len(items)}; the warnings "
            "above name them. Other processes wait for this one: pass --datamodule.look frames, "
            "which leaves damaged clips out before the training."
        )
    return share_storage(default_collate(there)) if there else None


def share_storage(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Lay a batch's small tensors into one storage, which another process gets at the price of one.

    Those of over 64 KiB stay by themselves: a tensor that is kept keeps its whole storage.

    >>> batch = share_storage({"sign": torch.tensor([3]), "frame_mask": torch.tensor([[True]])})
    >>> batch["frame_mask"]
    tensor([[True]])
    """
    small = [name for name, tensor in batch.items() if tensor.nbytes <= 2**16]
    small.sort(key=lambda name: -batch[name].element_size())  # so that each begins at a multiple
    sizes = [batch[name].nbytes for name in small]
    pieces = torch.empty(sum(sizes), dtype=torch.uint8).split(sizes)
    laid = {}
    for name, piece in zip(small, pieces, strict=True):
        laid[name] = piece.view(batch[name].dtype).view(batch[name].shape).copy_(batch[name])
    return batch | laid
