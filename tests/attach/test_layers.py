"""Test that a model's layer is found wherever it is, and counted once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_jointprune import JointPruningLayer
from lightning_jointprune.attach.hooks import attach
from lightning_jointprune.attach.layers import layer_of, own_layer, worn_layers
from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.attach.target import Target


def gate(model: nn.Module, layer: nn.Module, where: str = "") -> None:
    attach(model, Target(where, ("input",), Layout.parse("b t j c")), layer)


def test_a_models_own_layer_is_found_and_two_are_refused() -> None:
    layer = JointPruningLayer(3)
    assert own_layer(nn.Linear(2, 2)) is None
    assert own_layer(nn.Sequential(nn.Sequential(layer))) is layer
    with pytest.raises(ValueError, match=r"at most one JointPruningLayer .* got 2, at 0, 1\."):
        own_layer(nn.Sequential(layer, JointPruningLayer(3)))


def test_a_layer_in_two_places_is_one_and_two_layers_are_refused() -> None:
    layer = JointPruningLayer(3)
    model = nn.Sequential(nn.Identity(), layer)
    gate(model, layer, "0")
    assert layer_of(model) is layer
    gate(model, JointPruningLayer(3))
    with pytest.raises(ValueError, match="one JointPruningLayer but got 2"):
        layer_of(model)


def test_where_a_layer_has_to_be_in_front_one_in_the_forward_is_none() -> None:
    model = nn.Sequential(JointPruningLayer(3))
    with pytest.raises(ValueError, match="in front of it but got 0 for Sequential"):
        layer_of(model, inside=False)
    layer = JointPruningLayer(3)
    gate(model, layer)
    assert layer_of(model, inside=False) is layer


def test_a_model_wears_a_layer_whose_mask_is_settled() -> None:
    model, layer = nn.Linear(2, 2), JointPruningLayer(4)
    attach(model, Target.parse("input", "b t j c"), layer)
    assert worn_layers(model) == []
    layer.freeze(torch.tensor([True, False, True, False]))
    assert worn_layers(model) == [layer]


def test_a_model_that_is_held_by_another_was_pruned_itself() -> None:
    teacher, layer = nn.Linear(2, 2), JointPruningLayer(4)
    attach(teacher, Target.parse("input", "b t j c"), layer)
    layer.freeze(torch.tensor([True, False, True, False]))
    student = nn.Sequential(nn.ReLU(), teacher)
    assert worn_layers(student) == []
    assert worn_layers(student, parts=True) == [layer]
    attach(student, Target.parse("input", "b t j c"), JointPruningLayer(4))
    assert worn_layers(student, parts=True) == []


def test_a_model_wears_the_settled_layer_of_its_own_forward() -> None:
    layer = JointPruningLayer(3)
    model = nn.Sequential(layer)
    assert worn_layers(model) == []
    layer.freeze(torch.tensor([True, False, True]))
    assert worn_layers(model) == [layer]
