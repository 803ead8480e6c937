"""Test that parameters get other sizes, and that layers know them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_jointprune.compaction.follow import Plan
from lightning_jointprune.compaction.surgery import SelectLayer, fit, numbers_of, resized

KEPT = torch.tensor([True, False, True, False])


def test_layers_know_the_sizes_of_their_weights() -> None:
    model = nn.ModuleDict(
        {
            "linear": nn.Linear(4, 2),
            "conv": nn.Conv2d(4, 2, (1, 4)),
            "norm": nn.BatchNorm1d(4),
            "gru": nn.GRU(4, 3),
            "embedding": nn.Embedding(4, 3),
        }
    )
    cuts = {"linear.weight": {1: KEPT}, "conv.weight": {1: KEPT, 3: KEPT}}
    cuts |= {f"norm.{name}": {0: KEPT} for name in ("weight", "bias", "running_mean")}
    cuts |= {"norm.running_var": {0: KEPT}, "gru.weight_ih_l0": {1: KEPT}}
    cuts |= {"embedding.weight": {0: KEPT}}
    fit(model, resized(model, Plan(cuts)))
    assert model["linear"].in_features == 2
    assert (model["conv"].in_channels, model["conv"].kernel_size) == (2, (1, 2))
    assert model["norm"].num_features == len(model["norm"].running_mean) == 2
    assert model["gru"].input_size == 2
    assert model["gru"](torch.ones(1, 1, 2))[0].shape == (1, 1, 3)
    assert model["embedding"].num_embeddings == 2


def test_shared_parameters_stay_shared_and_frozen_ones_frozen() -> None:
    model = nn.ModuleList([nn.Linear(4, 2), nn.Linear(4, 2)])
    model[1].weight = model[0].weight
    model[0].weight.requires_grad_(False)
    fit(model, resized(model, Plan({"0.weight": {1: KEPT}})))
    assert model[1].weight is model[0].weight
    assert model[1].in_features == 2
    assert not model[0].weight.requires_grad


def test_scales_then_cuts_then_adds() -> None:
    model = nn.Linear(4, 2, bias=False)
    plan = Plan(
        {"weight": {1: KEPT}}, {"weight": torch.arange(4.0)}, {"bias": torch.tensor([1.0, 2.0])}
    )
    changed = resized(model, plan)
    torch.testing.assert_close(changed["weight"], model.weight[:, [0, 2]] * torch.tensor([0.0, 2]))
    assert changed["bias"].tolist() == [1, 2]
    fit(model, changed)
    assert model.bias.requires_grad


def test_refuses_a_model_that_has_no_such_tensor() -> None:
    with pytest.raises(ValueError, match=r"a model with `head.weight` but Linear has none"):
        fit(nn.Linear(4, 2), {"head.weight": torch.ones(1)})


def test_numbers_of_joints_are_those_of_the_users_modules() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.joints, self.frames, self.ready = 4, 8, True
            self.linear = nn.Linear(4, 4)

    assert numbers_of(nn.Sequential(Own()), 4) == [("0", "joints")]


def test_selects_joints_of_a_part() -> None:
    x = torch.arange(2.0)[None]
    assert SelectLayer(KEPT)(x, ("b", "j"), range(2, 4)).tolist() == [[0.0]]
