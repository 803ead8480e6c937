"""Joints and what replaces them are mixed exactly, with gradients, past values not finite."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_jointprune.gates.blend import blend


def test_blend_is_the_convex_mix_and_exact_at_both_ends() -> None:
    x, fill = torch.randn(100), torch.tensor(0.3)
    gates = torch.rand(100)
    torch.testing.assert_close(blend(x, gates, fill), gates * x + (1 - gates) * fill)
    assert torch.equal(blend(x, torch.ones(100), fill), x)
    assert torch.equal(blend(x, torch.zeros(100), fill), fill.expand(100))


@pytest.mark.parametrize(
    "learned", [("x",), ("gates",), ("fill",), ("x", "gates"), ("x", "gates", "fill")], ids="+".join
)
@pytest.mark.parametrize("shape", [(), (3,), (4, 1), (4, 3)], ids=str)
def test_blend_has_the_gradients_of_its_formula(
    learned: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    """Autograd asks for x alone after the freeze, and for gates alone at the model's input."""
    values = {"x": torch.randn(4, 3), "gates": torch.rand(3), "fill": torch.randn(shape)}
    for name in learned:
        values[name].requires_grad_()
    wanted = values["gates"] * values["x"] + (1 - values["gates"]) * values["fill"]
    of = [values[name] for name in learned]
    weights = torch.randn(4, 3)
    found = torch.autograd.grad((weights * blend(**values)).sum(), of)
    for got, expected in zip(found, torch.autograd.grad((weights * wanted).sum(), of), strict=True):
        torch.testing.assert_close(got, expected)


def test_blend_without_a_fill_has_the_gradients_of_a_product() -> None:
    x, gates = torch.randn(4, 3, requires_grad=True), torch.rand(3, requires_grad=True)
    found = torch.autograd.grad(blend(x, gates).square().sum(), (x, gates))
    wanted = torch.autograd.grad((x * gates).square().sum(), (x, gates))
    for got, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_closed_gate_lets_nothing_through_and_an_open_one_changes_nothing(bad: float) -> None:
    x = torch.tensor([bad, 1.0, bad])
    out = blend(x, torch.tensor([0.0, 0.0, 1.0]), torch.tensor(0.0))
    assert out[:2].tolist() == [0.0, 0.0]
    torch.testing.assert_close(out[2], x[2], equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_closed_gate_is_exactly_zero_in_every_precision(dtype: torch.dtype) -> None:
    x = torch.tensor([math.nan, math.inf, 2.0, -2.0], dtype=dtype)
    out = blend(x, torch.tensor([0.0, 0.0, 0.5, 1.0], dtype=dtype))
    assert (out.dtype, out.tolist()) == (dtype, [0.0, 0.0, 1.0, -2.0])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_not_finite_gives_no_gate_a_gradient_that_is_not(bad: float) -> None:
    x = torch.tensor([[bad, 2.0], [1.0, 3.0]], requires_grad=True)
    gates = torch.full((2, 2), 0.5, requires_grad=True)
    out = blend(x, gates, torch.tensor(0.0))
    torch.nan_to_num(out, posinf=0.0).sum().backward()  # a model that copes with missing values
    assert gates.grad.tolist() == [[0.0, 2.0], [1.0, 3.0]]
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_reaches_a_value_that_is_not_finite_ends_there(bad: float) -> None:
    gates = torch.full((2,), 0.5, requires_grad=True)
    blend(torch.tensor([bad, 3.0]), gates).sum().backward()
    assert gates.grad.tolist() == [0.0, 3.0]
