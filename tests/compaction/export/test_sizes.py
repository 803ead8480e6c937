"""Test the names of a call's tensors, and which of their axes may be of any size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_jointprune.attach.target import Target
from lightning_jointprune.compaction.export.sizes import read_inputs
from lightning_jointprune.compaction.tracing import Call


class Takes(nn.Module):
    def forward(self, x: Tensor, *more: Tensor, **named: Tensor) -> Tensor:
        return x


def inputs(axes: str, *args: Any, **kwargs: Any) -> Any:
    return read_inputs(Takes(), "", [Target.parse("x", axes)], Call(args, kwargs))


def test_names_arguments_by_the_signature_and_axes_by_the_skeleton() -> None:
    x, rgb, padded = torch.rand(3, 2, 7, 9), torch.rand(3, 7, 5), torch.rand(7, 3)
    found = inputs("b c t j", x, rgb, padded=padded, meta=torch.tensor(1))
    assert [taken.name for taken in found] == ["x", "more.0", "padded", "meta"]
    assert [dict(taken.words) for taken in found] == [{0: "b", 2: "t"}, {0: "b", 1: "t"}, {}, {}]


def test_frames_that_share_an_axis_with_joints_are_as_in_the_example() -> None:
    (found,) = inputs("b (t j) c", torch.rand(3, 18, 2))
    assert dict(found.words) == {0: "b"}


def test_the_same_example_is_made_of_other_sizes() -> None:
    (found,) = inputs("b t j c", torch.arange(12.0).view(2, 3, 2, 1))
    assert found.resized({"b": 3}).shape == (3, 3, 2, 1)
    longer = found.resized({"t": 5, "b": 1})
    assert longer[0, :, 0, 0].tolist() == [0.0, 2.0, 4.0, 0.0, 2.0]


def test_refuses_sizes_of_one_and_calls_without_a_tensor() -> None:
    with pytest.raises(ValueError, match=r"size 1 time.*torch.cat"):
        inputs("b t j c", torch.rand(3, 1, 9, 2))
    with pytest.raises(ValueError, match=r"without a tensor in it.*as attributes"):
        inputs("b t j c", object())
