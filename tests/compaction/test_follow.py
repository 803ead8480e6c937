"""Test that cuts of a value go back to the parameters that it is made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_jointprune.compaction.compact import compact
from lightning_jointprune.compaction.follow import Kept, Shifted, shifted
from lightning_jointprune.compaction.request import compaction_of
from lightning_jointprune.compaction.tracing import CompactionError
from lightning_jointprune.run.load import analyze_pruning
from tests.zoo.skeleton_models import C, FlatLinear, J, example, masked


class Weighted(FlatLinear):
    """Multiplies joints with the result of `weights` on a parameter."""

    def __init__(self, shape: tuple[int, ...], weights: Any) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.rand(shape))
        self.register_buffer("order", torch.arange(J))
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.weights(self, x))


@pytest.mark.parametrize(
    ("shape", "weights", "cut"),
    [
        ((J, 1), lambda self, x: self.share, (4, 1)),
        ((1, J), lambda self, x: self.share.T, (1, 4)),
        ((2, J, C), lambda self, x: self.share[0].relu() + self.share[1], (2, 4, C)),
        ((J * C,), lambda self, x: (2 * self.share).view(-1, C), (4 * C,)),
        ((C, J), lambda self, x: self.share.softmax(0).t(), None),
        ((C,), lambda self, x: self.share.expand(x.shape[2], C), ()),
        ((J, C), lambda self, x: self.share[torch.arange(x.shape[2])], (4, C)),
        ((J, C), lambda self, x: self.share[self.order], "order"),
        ((J, 1), lambda self, x: self.share + torch.zeros(x.shape[2], 1), (4, 1)),
    ],
)
def test_parameters_are_cut_where_they_meet_joints(shape: Any, weights: Any, cut: Any) -> None:
    model = masked(Weighted(shape, weights), fill=0.5)
    if cut is None:
        with pytest.raises(CompactionError, match="go through softmax, which needs them all"):
            compact(model, analyze_pruning(model), example("linear"))
        return
    small = compact(model, analyze_pruning(model), example("linear"))
    name = "order" if cut == "order" else "share"
    found = tuple(getattr(small, name).shape)
    assert found == ((4,) if cut == "order" else cut or shape)
    assert (name in compaction_of(small).cut) == bool(cut)


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (lambda self, x: self.share * self.share.mean(), "needs all of `share`"),
        (lambda self, x: self.share.flip(0) * self.share, "other joints of `share` are needed"),
        (lambda self, x: self.share[torch.arange(J).flip(0)], "picked by number"),
        (lambda self, x: self.share * torch.arange(J)[:, None], "numbered here"),
    ],
)
def test_refuses_parameters_that_are_needed_otherwise(weights: Any, reason: str) -> None:
    model = masked(Weighted((J, 1), weights), fill=0.5)
    with pytest.raises(CompactionError, match=reason):
        compact(model, analyze_pruning(model), example("linear"))


def test_a_mask_is_spread_along_its_axis() -> None:
    spread = Kept(1, torch.tensor([True, False])).spread((3, 2, 4))
    assert spread.shape == (3, 2, 4)
    assert spread[:, 0].all()
    assert not spread[:, 1].any()


def test_nothing_is_corrected_where_there_is_nothing_to_correct() -> None:
    ones, zero = torch.ones(2), torch.zeros(2)
    assert shifted(ones, zero) is None
    assert isinstance(shifted(ones, ones), Shifted)
    assert isinstance(shifted(2 * ones, zero), Shifted)
