"""The moments of the gates' slopes are those of the samples' own losses."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lightning_jointprune import JointPruningLayer
from lightning_jointprune.gates.slopes import gathered


def losses_of(gates: Tensor) -> Tensor:
    """Return a loss for each sample, shape `(batch,)`, in which joints count together."""
    return (gates.pow(3) @ torch.tensor([1.0, -2.0, 0.5])) + gates[:, 0] * gates[:, 1]


def true_moments(gates: Tensor) -> Tensor:
    """Return the mean and the mean square of each sample's own slopes, sample by sample."""
    slopes = []
    for gate in gates:
        leaf = gate[None].detach().requires_grad_()
        losses_of(leaf).sum().backward()
        slopes.append(leaf.grad[0])
    slopes = torch.stack(slopes)
    return torch.stack([slopes.mean(0), slopes.square().mean(0)])


@pytest.fixture
def gates() -> Tensor:
    return torch.rand(5, 3, generator=torch.Generator().manual_seed(0))


def test_the_moments_are_those_of_each_samples_own_loss(gates: Tensor) -> None:
    moments = torch.zeros(2, 3, requires_grad=True)
    losses_of(gathered(gates, moments)).mean().backward()
    torch.testing.assert_close(moments.grad, true_moments(gates))


def test_the_gates_and_their_gradient_stay_as_they_are(gates: Tensor) -> None:
    plain, watched = (gates.clone().requires_grad_() for _ in range(2))
    losses_of(plain).mean().backward()
    losses_of(gathered(watched, torch.zeros(2, 3, requires_grad=True))).mean().backward()
    assert torch.equal(plain.grad, watched.grad)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_forward_that_is_repeated_counts_once(gates: Tensor, reentrant: bool) -> None:
    moments, leaf = torch.zeros(2, 3, requires_grad=True), gates.clone().requires_grad_()
    losses = checkpoint(lambda x: losses_of(gathered(x, moments)), leaf, use_reentrant=reentrant)
    losses.mean().backward()
    torch.testing.assert_close(moments.grad, true_moments(gates))


def test_a_layer_gathers_the_slopes_of_its_joints_gates_and_copies_do_not() -> None:
    layer = JointPruningLayer(num_joints=3, keep=[2]).train()
    layer.gather()
    x = torch.randn(64, 2, 3, 2)
    layer(x).sum(dim=(1, 2, 3)).mean().backward()
    mean, square = layer.moments.grad
    moved = x.sum(dim=(1, 3))  # the slope of a joint's gate is the sum of what it lets through
    torch.testing.assert_close(mean[:2], moved.mean(0)[:2])
    torch.testing.assert_close(square[:2], moved.square().mean(0)[:2])
    assert mean[2] == 0  # the gate of a joint that is always kept does nothing
    assert copy.deepcopy(layer).moments is None
