"""Gates agree with their closed forms, with sampling, and with finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from torch import Tensor
from torch.nn import functional

from lightning_jointprune.gates.masks import hard_mask
from lightning_jointprune.gates.relaxations import (
    GATES,
    PAPERS,
    Gate,
    GumbelSigmoid,
    HardConcrete,
    StochasticGate,
    StraightThroughGumbelSigmoid,
    clipped_gaussian,
    gumbel_sigmoid,
    hard_concrete,
    make_gate,
)

DRAWS = 100_000
TOLERANCE = 5 * 0.5 / math.sqrt(DRAWS)  # five standard errors of a frequency, at most
LOGITS = torch.tensor([-4.0, -1.0, -0.2, 0.0, 0.7, 2.0, 5.0])
ALL = [kind() for kind in GATES.values()]
each_gate = pytest.mark.parametrize("gate", ALL, ids=lambda gate: type(gate).__name__)
logits_lists = st.lists(st.floats(-20, 20), min_size=1, max_size=6)


def sampled(gate: Gate, logits: Tensor, draws: int = DRAWS) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    noise = gate.draw_noise((draws, len(logits)), logits.device, generator)
    return gate.sample(logits, noise, gate.anneal[0])


# --- closed forms, written out independently of the package's own functions ----------------------


def test_gumbel_sigmoid_is_a_two_class_gumbel_softmax() -> None:
    """Compute eq. 2 of Jang et al. 2017 of the scores (logit, 0) and two Gumbel noises."""
    generator = torch.Generator().manual_seed(0)
    gumbel = -(-torch.rand((2, 5000, 1), generator=generator, dtype=torch.float64).log()).log()
    logits = torch.tensor([0.3], dtype=torch.float64)
    scores = torch.stack([logits + gumbel[0], gumbel[1]])
    expected = functional.softmax(scores / 0.4, dim=0)[0]
    uniform = torch.sigmoid(gumbel[0] - gumbel[1])  # a difference of Gumbels is logistic
    torch.testing.assert_close(gumbel_sigmoid(logits, uniform, 0.4), expected, atol=1e-4, rtol=0)


@given(st.floats(-8, 8), st.floats(0.001, 0.999), st.floats(0.1, 2))
def test_gumbel_sigmoid_matches_its_formula(logit: float, u: float, temperature: float) -> None:
    expected = 1 / (1 + math.exp(-(logit + math.log(u) - math.log(1 - u)) / temperature))
    got = gumbel_sigmoid(torch.tensor([logit]), torch.tensor([u]), temperature)
    assert got.item() == pytest.approx(expected, abs=1e-5)


@given(st.floats(-8, 8), st.floats(0.001, 0.999))
def test_hard_concrete_matches_its_formula(log_alpha: float, u: float) -> None:
    beta, gamma, zeta = 2 / 3, -0.1, 1.1
    s = 1 / (1 + math.exp(-(math.log(u) - math.log(1 - u) + log_alpha) / beta))
    expected = min(1.0, max(0.0, s * (zeta - gamma) + gamma))
    got = hard_concrete(torch.tensor([log_alpha]), torch.tensor([u]), beta, gamma, zeta)
    assert got.item() == pytest.approx(expected, abs=1e-5)


@given(st.floats(-5, 5), st.floats(-4, 4))
def test_stochastic_gate_matches_its_formula(mu: float, e: float) -> None:
    expected = min(1.0, max(0.0, mu + 0.5 * e))
    got = clipped_gaussian(torch.tensor([mu / 0.5]), torch.tensor([e]), 0.5)
    assert got.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (GumbelSigmoid(), lambda a: 1 / (1 + math.exp(-a))),
        (StraightThroughGumbelSigmoid(), lambda a: 1 / (1 + math.exp(-a))),
        (HardConcrete(), lambda a: 1 / (1 + math.exp(-(a - 2 / 3 * math.log(0.1 / 1.1))))),
        (StochasticGate(), lambda a: float(norm.cdf(a))),
    ],
)
def test_keep_probability_has_its_closed_form(gate: Gate, expected) -> None:
    got = gate.keep_probability(LOGITS)
    torch.testing.assert_close(got, torch.tensor([expected(a) for a in LOGITS.tolist()]))


@each_gate
@given(probability=st.floats(0.01, 0.99))
def test_initial_keep_probability_is_inverted_through_the_gate(
    gate: Gate, probability: float
) -> None:
    logit = torch.tensor([gate.logit_of(probability)], dtype=torch.float64)
    assert gate.keep_probability(logit).item() == pytest.approx(probability, abs=1e-6)


# --- sampling ------------------------------------------------------------------------------------


@each_gate
def test_share_of_open_draws_is_the_keep_probability(gate: Gate) -> None:
    gates = sampled(gate, LOGITS)
    has_mass_at_zero = isinstance(gate, HardConcrete | StochasticGate)
    is_open = gates > 0.0 if has_mass_at_zero else gates > 0.5
    share = is_open.double().mean(dim=0)
    expected = gate.keep_probability(LOGITS).double()
    torch.testing.assert_close(share, expected, atol=TOLERANCE, rtol=0)


@each_gate
def test_draws_are_in_the_unit_interval_and_independent_across_joints(gate: Gate) -> None:
    gates = sampled(gate, torch.zeros(4))
    assert gates.min() >= 0.0
    assert gates.max() <= 1.0
    correlation = torch.corrcoef(gates.T) - torch.eye(4)
    assert correlation.abs().max() < 5 / math.sqrt(DRAWS)


def test_straight_through_is_binary_forward_and_soft_backward() -> None:
    noise = torch.tensor([[0.2, 0.7, 0.9]])
    hard_logits = torch.zeros(3, requires_grad=True)
    soft_logits = torch.zeros(3, requires_grad=True)
    hard = StraightThroughGumbelSigmoid().sample(hard_logits, noise, 0.5)
    soft = GumbelSigmoid().sample(soft_logits, noise, 0.5)
    assert hard.tolist() == [[0.0, 1.0, 1.0]]
    hard.sum().backward()
    soft.sum().backward()
    torch.testing.assert_close(hard_logits.grad, soft_logits.grad)


def test_softmax_over_joints_would_drop_every_joint_where_gates_keep_all() -> None:
    """A softmax gives each of 42 equal joints 1/42, while a gate lets each be open."""
    logits = torch.full((42,), 4.0)
    softmax = functional.gumbel_softmax(logits.expand(1000, -1), dim=-1)
    assert not (softmax.mean(dim=0) > 0.5).any()
    assert hard_mask(GumbelSigmoid().keep_probability(logits)).all()
    assert (sampled(GumbelSigmoid(), logits, 1000).mean(dim=0) > 0.9).all()


# --- the penalty ---------------------------------------------------------------------------------


@each_gate
def test_gradient_of_the_expected_l0_matches_finite_differences(gate: Gate) -> None:
    logits = LOGITS.double().requires_grad_()
    gate.keep_probability(logits).sum().backward()
    step = 1e-5
    for index in range(len(LOGITS)):
        shift = torch.zeros_like(logits)
        shift[index] = step
        up = gate.keep_probability(logits.detach() + shift).sum()
        down = gate.keep_probability(logits.detach() - shift).sum()
        assert logits.grad[index].item() == pytest.approx(float(up - down) / (2 * step), abs=1e-8)


@each_gate
def test_gradient_of_the_expected_l0_matches_that_of_sampled_counts(gate: Gate) -> None:
    """Return a difference of the number of open gates by Monte Carlo with common noise."""
    logits = torch.tensor([-0.5, 0.4, 1.0], requires_grad=True)
    gate.keep_probability(logits).sum().backward()
    step = 0.5
    has_mass_at_zero = isinstance(gate, HardConcrete | StochasticGate)
    threshold = 0.0 if has_mass_at_zero else 0.5
    up = (sampled(gate, logits.detach() + step) > threshold).double().mean(dim=0)
    down = (sampled(gate, logits.detach() - step) > threshold).double().mean(dim=0)
    slope = (up - down) / (2 * step)
    torch.testing.assert_close(logits.grad.double(), slope, atol=0.02, rtol=0)


# --- blending ------------------------------------------------------------------------------------


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GATES)
def test_a_gate_is_found_by_its_name(name: str) -> None:
    assert make_gate(name) == GATES[name]()


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"Expected a gate out of gumbel_sigmoid.* but got 'soft'"):
        make_gate("soft")
    with pytest.raises(ValueError, match=r"between 0 and 1 but got 1\.0"):
        GumbelSigmoid(initial_keep_probability=1.0)
    with pytest.raises(ValueError, match=r"temperature above 0 but got 0\.0"):
        GumbelSigmoid(temperature=(1.0, 0.0))
    with pytest.raises(ValueError, match="low < 0 and high > 1"):
        HardConcrete(low=0.1)


def test_every_gate_has_a_paper_to_cite() -> None:
    assert set(PAPERS) == set(GATES)
    assert all(paper.where for papers in PAPERS.values() for paper in papers)
