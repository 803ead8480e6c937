"""Finds where the skeleton enters a model, and puts a layer in front of it."""

from __future__ import annotations

from lightning_jointprune.attach.hooks import (
    Layer,
    _Gate,  # a former place that pickled models name, as the next
    _gated_forward,
    attach,
    attached_layers,
    detach,
)
from lightning_jointprune.attach.layers import layer_of, own_layer
from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.attach.target import Target

__all__ = [
    "Layer",
    "Layout",
    "Target",
    "_Gate",
    "_gated_forward",
    "attach",
    "attached_layers",
    "detach",
    "layer_of",
    "own_layer",
]
