"""Values and joints stand on the axes of a skeleton tensor as einsum and indexing put them."""

from __future__ import annotations

import pytest
import torch

from lightning_jointprune.gates.axes import frames_of, is_there, spread


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


@pytest.mark.parametrize("axes", ["b t j c", "b c j t", "j b c", "b t j", "b p t j c"])
def test_joints_are_brought_to_sequences_frames_joints_and_channels(axes: str) -> None:
    sizes = {"b": 2, "p": 3, "t": 4, "j": 5, "c": 6}
    words = axes.split()
    x = torch.randn([sizes[word] for word in words])
    found = frames_of(x, words)
    people = sizes["p"] if "p" in words else 1
    assert found.shape == (2 * people, 4 if "t" in words else 1, 5, 6 if "c" in words else 1)
    at = {"b": 1, "p": 2, "t": 3, "j": 4, "c": 5}
    place = tuple(at[word] for word in words)
    sequence = 1 * people + (2 if "p" in words else 0)
    assert found[sequence, 3 * ("t" in words), 4, 5 * ("c" in words)] == x[place]


@pytest.mark.parametrize(
    ("channels", "there"),
    [
        ([0.0, 0.0, 0.0], False),
        ([0.0, 0.0, 1e-30], True),
        ([0.5, float("nan"), 1.0], False),
        ([float("-inf"), 1.0, 1.0], False),
        ([float("nan")] * 3, False),
        ([-1.0, 0.0, 0.0], True),
    ],
)
def test_a_joint_is_there_if_it_is_finite_and_not_all_zero(
    channels: list[float], there: bool
) -> None:
    x = torch.ones(2, 3, 3)
    x[1, 2] = torch.tensor(channels)
    expected = torch.ones(2, 3, dtype=torch.bool)
    expected[1, 2] = there
    assert torch.equal(is_there(x), expected)
