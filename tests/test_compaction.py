"""A smaller model equals the masked one, or says which layer stands in the way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lightning_jointprune.attach import attach
from lightning_jointprune.compaction import compact
from lightning_jointprune.layer import JointPruningLayer
from lightning_jointprune.layout import Layout, Target
from lightning_jointprune.pruned import analyze_pruning
from lightning_jointprune.tracing import CompactionError
from tests.skeleton_models import AXES, COMPACTED, ONLY_WITH_0, REFUSED, J, example

KEPT = (1, 3, 4, 8)


def masked(
    model: nn.Module, axes: str = "b t j c", kept: Any = KEPT, fill: Any = 0.0, joints: int = J
) -> Any:
    """The model as it is after a run that kept these joints, with statistics that are not trivial."""
    layer = JointPruningLayer(joints, fill=fill)
    if fill == "mean":
        layer.fill_mean = torch.randn(1, 1, joints, 3)
    layer.freeze(torch.tensor([joint in kept for joint in range(joints)]))
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    attach(model.eval(), Target.parse("x", axes), layer)
    return model


def picked(x: torch.Tensor, axes: str, kept: Any = KEPT) -> torch.Tensor:
    """The kept joints of a skeleton."""
    layout = Layout.parse(axes)
    split, words = layout.split(x, J)
    return layout.merge(split.index_select(words.index("j"), torch.tensor(kept)))


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
    model = masked({**COMPACTED, **ONLY_WITH_0}[name](), axes, fill=fill)
    small = compact(model, analyze_pruning(model), example(name))
    x = 3 * example(name, batch=5)
    before = sum(p.numel() for p in model.parameters())
    assert (
        sum(p.numel() for p in small.parameters()) < before or "pooled" in name or "frames" in name
    )
    with torch.no_grad():
        torch.testing.assert_close(small(picked(x, axes)), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_cannot_be_equal_with_the_layer_and_the_reason(name: str) -> None:
    make, reason = REFUSED[name]
    model = masked(make(), AXES.get(name, "b t j c"))
    with pytest.raises(CompactionError, match=reason):
        compact(model, analyze_pruning(model), example(name))
