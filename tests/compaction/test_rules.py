"""Test that models that move, combine, reduce and normalise joints stay equal, or are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_jointprune.compaction.compact import compact
from lightning_jointprune.compaction.tracing import CompactionError
from lightning_jointprune.run.load import analyze_pruning
from tests.zoo.skeleton_models import (
    AXES,
    COMPACTED,
    ONLY_WITH_0,
    REFUSED,
    FlatLinear,
    example,
    masked,
    picked,
)

MAKE = {**COMPACTED, **ONLY_WITH_0}


@pytest.mark.parametrize(
    ("name", "fill"),
    [(name, fill) for name in COMPACTED for fill in (0.0, 0.7)]
    + [(name, 0.0) for name in ONLY_WITH_0],
)
def test_is_equal_to_the_masked_model_on_data_it_was_not_compared_on(
    name: str, fill: float
) -> None:
    torch.manual_seed(0)
    axes = AXES.get(name, "b t j c")
    model = masked(MAKE[name](), axes, fill=fill).double()
    small = compact(model, analyze_pruning(model), example(name)).double()
    x = 3 * example(name, batch=5).double()
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(small(picked(x, axes)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_cannot_be_equal_with_the_layer_and_the_reason(name: str) -> None:
    make, reason = REFUSED[name]
    model = masked(make(), AXES.get(name, "b t j c"))
    with pytest.raises(CompactionError, match=reason):
        compact(model, analyze_pruning(model), example(name))


@pytest.mark.parametrize("name", ONLY_WITH_0)
def test_refuses_constants_that_no_bias_can_hold(name: str) -> None:
    model = masked(ONLY_WITH_0[name](), AXES.get(name, "b t j c"), fill=0.7)
    with pytest.raises(CompactionError):
        compact(model, analyze_pruning(model), example(name))


def first(change: Any, fill: float = 0.0) -> Any:
    """Compact a linear layer over flattened joints that have been changed before."""

    class Changed(FlatLinear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(change(x))

    model = masked(Changed(), fill=fill)
    return compact(model, analyze_pruning(model), example("linear"))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x * torch.arange(7)[:, None, None],  # dropped joints stay 0
        lambda x: x.flip(2),
        lambda x: x.masked_fill(x.isnan(), 0.0),
        lambda x: torch.stack([x, -x])[1],
        lambda x: nn.functional.max_pool2d(x.transpose(1, 3), (1, 1)).transpose(1, 3),
        lambda x: x[:, torch.tensor([0, 2, 4])],
        lambda x: x.transpose(1, 2).softmax(-1).transpose(1, 2) - 1 / 3,
        lambda x: torch.where(x > 0, x, 0.1 * x),
        lambda x: x.split(3, dim=1)[0],
        lambda x: nn.functional.layer_norm(x, (3,)),
        lambda x: x - x.mean(3, keepdim=True),
    ],
)
def test_follows_joints_through(change: Any) -> None:
    assert first(change).embed.in_features == 12


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda x: x + x[:, :, :, :1].mean((1, 2, 3), keepdim=True), "add a constant"),
        (lambda x: x.roll(1, 2), "picked by number"),
        (lambda x: x[:, :, torch.arange(9)], "picked by number"),
        (lambda x: x.unflatten(2, (3, 3)).flatten(2, 3), "axis is divided"),
        (lambda x: nn.functional.pad(x, (0, 0, 1, 0))[:, :, 1:], "are padded"),
        (lambda x: nn.functional.avg_pool2d(x, (3, 1), 1, (1, 0)), "pooled with their neighbours"),
        (lambda x: x + x.transpose(2, 3).reshape(x.shape), "divided|another axis"),
        (lambda x: torch.fft.fft(x, dim=2).real, "not known to have an equal"),
        (lambda x: x.cumsum(2), "share in what is computed"),
        (lambda x: x + torch.arange(9.0)[:, None], "numbered here"),
    ],
)
def test_refuses(change: Any, reason: str) -> None:
    with pytest.raises(CompactionError, match=reason):
        first(change)
