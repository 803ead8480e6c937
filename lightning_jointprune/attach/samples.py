"""Checks the axis that is taken for the batch against the number of labels in a batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import nn

from lightning_jointprune.attach.layout import Layout, readings
from lightning_jointprune.attach.probe import tensors_in
from lightning_jointprune.attach.target import alternatives
from lightning_jointprune.gates.layer import LayerCall


def label_counts(batch: Any) -> frozenset[int]:
    """Return how many labels a batch may have: the lengths of its vectors, else of its matrices.

    >>> label_counts([torch.zeros(6, 32, 9, 2), torch.zeros(32)])
    frozenset({32})
    """
    shapes = [tuple(tensor.shape) for _, tensor in tensors_in(batch)]
    for ndim in (1, 2):
        counts = frozenset(shape[0] for shape in shapes if len(shape) == ndim)
        if counts:
            return counts
    return frozenset()


def batch_elsewhere(axes: str, shape: Sequence[int], counts: Collection[int]) -> list[str]:
    """Return the axes with the batch on another axis, if only there samples are as many as labels.

    >>> batch_elsewhere("b t j c", (6, 32, 9, 2), counts={32})
    ['t b j c']

    Args:
        axes: as they are read, the batch first.
        shape: one length per axis.
        counts: how many labels there may be.
    """
    if shape[0] in counts:
        return []
    return _swapped(axes, shape, counts)


def _swapped(axes: str, shape: Sequence[int], counts: Collection[int]) -> list[str]:
    """Return the axes with the batch on another axis where samples are as many as labels."""
    layout, found = Layout.parse(axes), []
    choices = readings(shape, layout.words.index("j")) if layout.plain else []
    for choice in dict.fromkeys([axes, *choices]):
        groups = Layout.parse(choice).groups
        for place, group in enumerate(groups):
            if groups[0] == ("b",) and len(group) == 1 and group[0] not in ("b", "j", "c"):
                words = [*groups]
                words[0], words[place] = group, ("b",)
                found += [Layout(tuple(words)).pattern] if shape[place] in counts else []
    return found


def check_samples(axes: str, shape: Sequence[int], counts: Collection[int], name: str) -> None:
    """Check that the axis that is taken for the batch has as many samples as there are labels.

    Args:
        axes: as they are read, the batch first.
        shape: one length per axis.
        counts: how many labels there may be; without any, every axis passes.
        name: the input, for the message.

    Raises:
        ValueError: if only another axis has as many.
    """
    if elsewhere := batch_elsewhere(axes, shape, counts):
        raise ValueError(
            f"Expected as many samples on axis b of {axes!r} as labels in the batch, "
            f"{' or '.join(map(str, sorted(counts)))}, but got {shape[0]} in input `{name}` of "
            f"shape {tuple(shape)}. Pass {alternatives('axes', [*elsewhere, axes])}."
        )


class SampleCheck:
    """Looks at a layer's training batches until one shows which of two axes is the batch.

    Args:
        name: the input, for the message.

    Attributes:
        counts: how many labels the current batch may have.
        waits: whether nothing is decided yet.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.counts: frozenset[int] = frozenset()
        self.waits = True

    @staticmethod
    def is_needed(axes: str, shape: Sequence[int], counts: Collection[int]) -> bool:
        """Return whether another axis is as long as there are labels."""
        return bool(_swapped(axes, shape, counts))

    def watch(self, layer: nn.Module) -> None:
        """Look at each call of the layer until the batch is decided."""
        self._handle = layer.register_forward_pre_hook(self)

    def __call__(self, layer: nn.Module, args: Any) -> None:
        """Look at a call of the layer."""
        if torch.compiler.is_compiling() or not layer.training or not self.counts:
            return
        x, words, _ = LayerCall(*args)
        axes = " ".join(words)
        check_samples(axes, x.shape, self.counts, self._name)
        if not _swapped(axes, x.shape, self.counts):
            self.waits = False
            self._handle.remove()
