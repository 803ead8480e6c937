"""Finds the layer that a model has, in its own forward or in front of it."""

from __future__ import annotations

from torch import nn

from lightning_jointprune.attach.hooks import attached_here, attached_layers
from lightning_jointprune.gates.layer import JointPruningLayer


def own_layer(model: nn.Module) -> JointPruningLayer | None:
    """Return the layer that a model has in its own forward, or None.

    Raises:
        ValueError: if it has several.
    """
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, JointPruningLayer)
    }
    if len(layers) > 1:
        raise ValueError(
            f"Expected at most one JointPruningLayer in the model but got {len(layers)}, at "
            f"{', '.join(layers)}. Gate the skeleton once."
        )
    return next(iter(layers.values()), None)


def worn_layers(model: nn.Module, parts: bool = False) -> list[JointPruningLayer]:
    """Return the layers of a model whose masks are settled, since it was pruned.

    Args:
        model: any module; its layers are in front of it or in its own forward.
        parts: whether those of models that it holds count, where it has none.
    """
    own = [module for module in model.modules() if isinstance(module, JointPruningLayer)]
    here = attached_here(model)
    front = attached_layers(model) if parts and not here and not own else here
    layers = {id(layer): layer for layer in (*own, *(layer for _, layer in front))}.values()
    return [
        layer for layer in layers if isinstance(layer, JointPruningLayer) and layer.mask is not None
    ]


def layer_of(model: nn.Module, inside: bool = True) -> JointPruningLayer:
    """Return the only layer of a model, in its own forward or in front of one or more inputs.

    Args:
        model: any module.
        inside: whether a layer in its own forward counts.

    Raises:
        ValueError: if there is none, or several.
    """
    layers = [*(model.modules() if inside else ()), *(layer for _, layer in attached_layers(model))]
    found = {id(layer): layer for layer in layers if isinstance(layer, JointPruningLayer)}
    if len(found) != 1:
        raise ValueError(
            f"Expected a model with one JointPruningLayer{'' if inside else ' in front of it'} but "
            f"got {len(found)} for {type(model).__name__}. Pass what load_pruned returns, the "
            "model that was trained with JointPruningCallback, or the submodule that has the layer."
        )
    return next(iter(found.values()))
