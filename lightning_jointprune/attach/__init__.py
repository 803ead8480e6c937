"""Where the skeleton enters a model, and the layer in front of it."""

from __future__ import annotations

from lightning_jointprune.attach.hooks import (
    Layer,
    _Gate,  # named, as the next, by models that were pickled when this was one module
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
