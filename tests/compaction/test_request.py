"""Test which module is called, and that a model's own gates can stand in front instead."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_jointprune.attach.hooks import attached_layers
from lightning_jointprune.attach.target import Target
from lightning_jointprune.compaction.request import (
    called_by_users,
    take_layers_out,
    with_layer_in_front,
)
from lightning_jointprune.gates.layer import JointPruningLayer
from tests.zoo.models import NoForward


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([JointPruningLayer(3)])

    def forward(self, x: Tensor) -> Tensor:
        return self.parts[0](x, ("b", "c", "t", "j"))


def test_a_module_without_a_forward_is_called_where_the_skeleton_enters() -> None:
    assert called_by_users(NoForward(), [Target.parse("encoder:x", "b t j c")]) == "encoder"
    assert called_by_users(Gated(), [Target.parse("parts.0:x", "b t j c")]) == ""


def test_a_layer_of_ones_own_stands_in_front_on_the_axes_it_is_called_on() -> None:
    model = Gated().eval()
    model.parts[0].freeze(torch.tensor([True, False, True]))
    x = torch.rand(2, 3, 4, 3)
    moved = with_layer_in_front(model, x)
    ((target, layer),) = attached_layers(moved)
    assert (target.input, target.axes, layer.num_joints) == ("parts.0:x", "b c t j", 3)
    assert torch.equal(moved(x), model(x))
    assert isinstance(model.parts[0], JointPruningLayer)
    assert with_layer_in_front(moved, x) is moved


def test_an_opened_model_passes_its_joints_and_has_no_price() -> None:
    model, x = Gated(), torch.rand(2, 3, 4, 3)
    take_layers_out(model)
    assert torch.equal(model(x), x)
    assert model.parts[0].expected_l0() == 0
    assert not model.state_dict()
