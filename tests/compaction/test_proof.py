"""Test that two models are compared by their outputs."""

from __future__ import annotations

import pytest
import torch

from lightning_jointprune.compaction.proof import Noisy, relative_difference


def test_the_difference_is_relative_to_the_largest_output() -> None:
    first, other = torch.tensor([1.0, -4.0]), torch.tensor([1.0, -3.0])
    assert relative_difference([first], [other]) == pytest.approx(0.25)
    assert relative_difference([torch.tensor([1, 2])], [torch.tensor([1, 3])]) == 1.0


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes \[\(2,\)\] but got \[\(3,\)\]"):
        relative_difference([torch.ones(2)], [torch.ones(3)])
    with pytest.raises(ValueError, match="finite outputs"):
        relative_difference([torch.tensor([torch.nan])], [torch.tensor([torch.nan])])


def test_random_skeletons_keep_their_padding() -> None:
    class Same:
        num_joints = 2

        def __call__(self, x: torch.Tensor, axes: object, joints: object) -> torch.Tensor:
            return x

    x = torch.tensor([[1.0, 0.0]])
    found = Noisy(Same(), 1, torch.float64)(x, ("b", "j"))
    assert found[0, 1] == 0
    assert found[0, 0] not in (0, 1)
    assert torch.equal(Noisy(Same(), None, None)(x, ("b", "j")), x)
