"""Test which joints each pass shows the model, and that nothing is left behind after it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_jointprune import JointPruningLayer
from lightning_jointprune.attach.hooks import attach, attached_layers
from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.attach.target import Target
from lightning_jointprune.measure.passes import Trial, masked, observe

KEPT = torch.tensor([True, False, True])


class Sees(nn.Module):
    """Returns its input as logits of three classes."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, :, 0]


@pytest.fixture
def model() -> nn.Module:
    model, layer = Sees(), JointPruningLayer(3)
    layer.freeze(KEPT)
    attach(model, Target("", ("x",), Layout.parse("b t j c")), layer)
    return model.eval()


def clips(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows)[:, None, :, None]


def test_masked_shows_the_model_exactly_these_joints(model: nn.Module) -> None:
    x = clips([[1.0, 2.0, 3.0]])
    with masked(model, torch.tensor([False, True, True])) as layer:
        assert model(x).tolist() == [[0.0, 2.0, 3.0]]
        layer.mask = ~KEPT
        assert model(x).tolist() == [[0.0, 2.0, 0.0]]
    assert model(x).tolist() == [[1.0, 0.0, 3.0]]
    assert torch.equal(attached_layers(model)[0][1].mask, KEPT)


def test_a_mask_has_to_fit(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="Expected a mask of 3 bools"), masked(model, KEPT[:2]):
        pass


def test_each_trial_has_its_own_joints_and_all_the_same_samples(model: nn.Module) -> None:
    x, labels = clips([[1.0, 2.0, 3.0], [5.0, 2.0, 3.0]]), torch.tensor([2, 0])
    trials = [
        Trial("kept", "", KEPT),
        Trial("drop", "last", torch.tensor([True, False, False])),
        Trial("permute", "first", KEPT, permuted=0),
    ]
    results = observe(model, [(x, labels)] * 2, trials, None, None, seed=0, progress=False)
    assert results.samples == 4
    assert results.labels.tolist() == [2, 0, 2, 0]
    assert results.right.tolist() == [[True] * 4, [False, True] * 2, [False, False] * 2]
    assert results.effect(1, gain=False).value == 0.5
    assert results.effect(2, gain=True).value == -1.0
    assert results.accuracy(1, label=0) == 1.0
