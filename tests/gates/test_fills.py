"""A dropped joint becomes its fill; padding stays padding, whatever the fill."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_jointprune import JointPruningLayer
from lightning_jointprune.gates.fills import (
    check_frames,
    checked_fill,
    fill_name,
    filled_by,
    first_frames,
    padding,
    restored_fill,
)

SIZES = {"b": 3, "t": 5, "j": 4, "c": 2, "m": 2}
AXES = ["b t j c", "b c t j", "b c t j m", "b t j", "b j t c"]


def ones_of(x: Tensor, axes: tuple[str, ...]) -> Tensor:
    """Fill with 1 for the first joint, 2 for the second and so on."""
    shape = [-1 if word == "j" else 1 for word in axes]
    return torch.arange(1.0, x.shape[axes.index("j")] + 1.0).view(shape)


def with_padding(axes: str, seed: int, empty: float) -> tuple[Tensor, Tensor]:
    """Return joints of which some frames are padding, and which: written without the package."""
    random = torch.Generator().manual_seed(seed)
    words = axes.split()
    frames = [word for word in words if word not in "jc"]
    x = torch.randn([SIZES[word] for word in words], generator=random)
    padded = torch.rand([SIZES[word] for word in frames], generator=random) < 0.4
    for at, word in enumerate(words):
        padded = padded.unsqueeze(at) if word in "jc" else padded
    padded = padded.expand_as(x)
    x.narrow(words.index("j"), 2, 1).zero_()  # a joint that is missing everywhere
    return torch.where(padded, empty, x), padded


@given(
    st.sampled_from(AXES),
    st.sampled_from([-1.5, "mean", "hold", ones_of]),
    st.sampled_from(["masked", "sampled"]),
    st.sampled_from([0.0, math.nan]),
    st.integers(0, 10_000),
)
def test_padding_stays_padding_whatever_fills_dropped_joints(
    axes: str, fill: Any, mode: Any, empty: float, seed: int
) -> None:
    x, padded = with_padding(axes, seed, empty)
    layer = JointPruningLayer(4, fill=fill)
    layer.mode = "open"
    layer(torch.randn_like(x), axes.split())  # for the mean
    layer.freeze(torch.tensor([True, False, False, True]))
    layer.mode = mode
    out = layer.eval()(x, axes.split())
    torch.testing.assert_close(out[padded], x[padded], rtol=0, atol=0, equal_nan=True)
    assert out[~padded].isfinite().all()


@given(st.sampled_from(AXES), st.sampled_from([0.0, math.nan]), st.integers(0, 10_000))
def test_no_mean_counts_padding(axes: str, empty: float, seed: int) -> None:
    x, padded = with_padding(axes, seed, empty)
    layer = JointPruningLayer(4, fill="mean")
    layer.mode = "open"
    layer(x, axes.split())
    dims = [dim for dim, word in enumerate(axes.split()) if word not in "jc"]
    expected = torch.where(padded, math.nan, x).nanmean(dims, keepdim=True).nan_to_num()
    torch.testing.assert_close(layer.fill_mean, expected)


def test_a_frame_with_one_value_is_no_padding() -> None:
    x = torch.zeros(1, 4, 3, 2)
    x[0, 1, 2, 1] = 1e-30
    x[0, 2] = math.nan
    x[0, 3, 0] = math.nan
    found = padding(x, ("b", "t", "j", "c")).flatten().tolist()
    assert found == [True, False, True, False]


def test_a_held_joint_is_its_own_first_frame() -> None:
    x = torch.randn(2, 5, 4, 3)
    layer = JointPruningLayer(4, fill="hold")
    layer.freeze(torch.tensor([True, False, False, True]))
    expected = x.clone()
    for joint in (1, 2):
        for sample in range(2):
            expected[sample, :, joint] = x[sample, 0, joint]
    assert torch.equal(layer(x), expected)
    assert torch.equal(layer(x.movedim(3, 1), ("b", "c", "t", "j")), expected.movedim(3, 1))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_in_a_held_joint_does_not_spread(bad: float) -> None:
    x = torch.ones(2, 5, 4, 3)
    x[:, :, 1] = bad
    x[:, 0, 2, 1] = bad
    layer = JointPruningLayer(4, fill="hold")
    layer.freeze(torch.tensor([True, False, False, True]))
    out = layer(x)
    assert torch.equal(out[:, :, 1], torch.zeros(2, 5, 3))
    assert torch.equal(out[:, :, 2], torch.tensor([1.0, 0.0, 1.0]).expand(2, 5, 3))
    sampled = JointPruningLayer(4, fill="hold", keep=[0, 3])
    sampled.joint_logits.data.fill_(-200.0)
    out = sampled(x)
    out.sum().backward()
    assert out.isfinite().all()
    assert sampled.joint_logits.grad.isfinite().all()


def test_a_held_joint_needs_frames() -> None:
    layer = JointPruningLayer(4, fill="hold")
    with pytest.raises(ValueError, match=r"Expected an axis t for fill=\"hold\".* got 'b j c'"):
        layer(torch.ones(2, 4, 3), ("b", "j", "c"))
    with pytest.raises(ValueError, match=r"Expected several frames .* got one in .*nothing would"):
        layer(torch.ones(2, 1, 4, 3))
    check_frames("mean", ("b", "j", "c"))
    check_frames("mean", ("b", "t", "j"), (2, 1, 4))
    assert torch.equal(first_frames(torch.tensor([[1.0, 2.0]]), ("j", "t")), torch.tensor([[1.0]]))


def test_a_function_is_asked_with_the_joints_and_their_axes() -> None:
    asked = []

    def fill(x: Tensor, axes: tuple[str, ...]) -> Tensor:
        asked.append((x, axes))
        return ones_of(x, axes).double()

    layer = JointPruningLayer(4, fill=fill)
    layer.freeze(torch.tensor([True, False, False, True]))
    x = torch.randn(2, 3, 5, 4)
    out = layer(x, ["b", "c", "t", "j"])
    assert asked[0][0] is x
    assert asked[0][1] == ("b", "c", "t", "j")
    assert torch.equal(out, torch.where(layer.mask, x, torch.arange(1.0, 5.0)))


def test_a_module_that_fills_is_no_part_of_the_gates() -> None:
    class Pose(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pose = nn.Parameter(torch.ones(4, 1))

        def forward(self, x: Tensor, axes: tuple[str, ...]) -> Tensor:
            return self.pose

    layer = JointPruningLayer(4, fill=Pose())
    assert [name for name, _ in layer.named_parameters()] == ["joint_logits"]
    assert layer(torch.randn(2, 3, 4, 2)).shape == (2, 3, 4, 2)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (0.5, r"Expected a tensor from fill, .*, but got float"),
        (torch.ones(5, 1), r"shape \(2, 3, 4, 2\) \(b t j c\) but got shape \(5, 1\)"),
        (torch.ones(1, 1, 1, 1, 1), r"but got shape \(1, 1, 1, 1, 1\)"),
    ],
)
def test_what_a_function_returns_has_to_fit(returned: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        filled_by(lambda x, axes: returned, torch.ones(2, 3, 4, 2), tuple("btjc"))


def test_a_function_has_a_name_to_write_down() -> None:
    assert fill_name(math.dist) == "math.dist"
    assert fill_name(ones_of).endswith("test_fills.ones_of")
    assert fill_name(functools.partial(ones_of)) == "functools.partial"


def test_a_fill_is_restored_from_what_a_checkpoint_says() -> None:
    assert restored_fill(-1.0, None) == -1.0
    assert restored_fill("hold", None) == "hold"
    assert restored_fill("train.pose", ones_of) is ones_of
    with pytest.raises(ValueError, match=r"Expected the function train\.pose, .*fill=function"):
        restored_fill("train.pose", None)
    with pytest.raises(ValueError, match=r"Expected no function, .* fill='mean', but got .*ones_"):
        restored_fill("mean", ones_of)


@pytest.mark.parametrize("fill", [None, "median", math.nan, math.inf, [0.0]])
def test_what_is_no_fill_is_refused(fill: Any) -> None:
    with pytest.raises(ValueError, match=r'finite number, "mean", "hold" or a function .* but got'):
        checked_fill(fill)
