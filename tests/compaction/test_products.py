"""Test that products put a constant of dropped joints into the bias, in closed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lightning_jointprune.compaction.compact import compact
from lightning_jointprune.compaction.tracing import CompactionError
from lightning_jointprune.run.load import analyze_pruning
from tests.zoo.skeleton_models import (
    C,
    FlatLinear,
    GraphConvolution,
    J,
    MeanOfTokens,
    example,
    masked,
)

KEPT, DROPPED = [1, 3, 4, 8], [0, 2, 5, 6, 7]
FILL = 0.7


def columns(weight: torch.Tensor, joints: list[int]) -> torch.Tensor:
    """Return the weights of some joints in a layer over (joint, channel)."""
    return weight.detach().unflatten(1, (J, C))[:, joints].flatten(1)


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_has_the_kept_columns_and_the_sum_of_the_others_in_its_bias(
    bias: bool,
) -> None:
    model = masked(FlatLinear(bias), fill=FILL)
    embed = compact(model, analyze_pruning(model), example("linear")).embed
    before = model.embed.bias.detach() if bias else torch.zeros(8)
    torch.testing.assert_close(embed.weight.detach(), columns(model.embed.weight, KEPT))
    expected = before + FILL * columns(model.embed.weight, DROPPED).sum(1)
    torch.testing.assert_close(embed.bias.detach(), expected)


def test_a_layer_without_bias_gets_none_where_it_would_be_0() -> None:
    model = masked(FlatLinear(bias=False))
    assert compact(model, analyze_pruning(model), example("linear")).embed.bias is None


def test_a_mean_over_joints_puts_its_factor_and_its_constant_into_the_next_layer() -> None:
    model = masked(MeanOfTokens(), fill=FILL)
    small = compact(model, analyze_pruning(model), example("mean_of_tokens"))
    constant = torch.relu(model.embed(torch.full((5, C), FILL)) + model.which[DROPPED])
    torch.testing.assert_close(small.head.weight, model.head.weight * len(KEPT) / J)
    expected = model.head.bias + model.head.weight @ constant.sum(0) / J
    torch.testing.assert_close(small.head.bias, expected)
    assert torch.equal(small.which, model.which[KEPT])


def test_a_graph_convolution_has_edges_from_kept_joints_to_all() -> None:
    model = masked(GraphConvolution(), "b c t j")
    small = compact(model, analyze_pruning(model), example("gcn_without_bias"))
    for name in ("adjacency", "importance", "added"):
        assert torch.equal(getattr(small, name), getattr(model, name)[:, KEPT])


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(J * C, J, 3, groups=J)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x.flatten(2).transpose(1, 2)).mean(1)


class Hyper(nn.Module):
    """Makes its weights from the joints."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x.new_ones(1, 27), x[0].flatten(1))


@pytest.mark.parametrize(
    ("make", "reason"),
    [(Grouped, r"layer `conv`.*in groups"), (Hyper, "weights depend on joints")],
)
def test_refuses(make: Any, reason: str) -> None:
    model = masked(make())
    with pytest.raises(CompactionError, match=reason):
        compact(model, analyze_pruning(model), example("linear"))
