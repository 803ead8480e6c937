"""Values and joints on the axes of a skeleton tensor."""

from __future__ import annotations

import pytest
import torch

from lightning_jointprune.gates.axes import spread


@pytest.mark.parametrize("axes", ["b t j", "b j t c", "b t c j"])
def test_values_per_joint_are_spread_along_the_joints(axes: str) -> None:
    sizes = {"b": 2, "t": 4, "j": 3, "c": 5}
    words = axes.split()
    x = torch.randn([sizes[word] for word in words])
    for per_sample in (False, True):
        values = torch.rand(2, 3) if per_sample else torch.rand(3)
        wanted = torch.einsum(
            f"{'bj' if per_sample else 'j'},{''.join(words)}->{''.join(words)}",
            values,
            torch.ones_like(x),
        )
        assert torch.equal(spread(values, x, words).expand_as(x), wanted)
