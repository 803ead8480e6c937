"""Defines keep/drop gates: pure functions of logits and noise, then the gate classes.

A *gate* is a value in [0, 1] that multiplies a joint: 1 is open, 0 closed. Every joint has a
gate of its own. A softmax over joints would be one categorical choice of a single joint instead.
"""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

NOISE_EPS = 1e-6  # least distance of uniform noise from 0 and 1, so that its logit is finite


# --- the maths -----------------------------------------------------------------------------------


def gumbel_sigmoid(logits: Tensor, noise: Tensor, temperature: Tensor | float) -> Tensor:
    """Sample binary concrete gates: `sigmoid((logit + logit(u)) / temperature)`.

    Maddison et al. 2017, arXiv:1611.00712, eq. 8 (appendix B); a two-class Gumbel-softmax (Jang et
    al. 2017, arXiv:1611.01144, eq. 2) per joint, not to be confused with one over the joints.

    Args:
        logits: gate logits, shape `(joints,)`, any real.
        noise: uniform noise in (0, 1), shape `(batch, joints)` or `(joints,)`.
        temperature: above 0; the lower, the nearer to 0 and 1 are the gates.

    Returns:
        Gates in (0, 1), shape of `noise`.

    >>> gumbel_sigmoid(torch.tensor([0.0, 2.0]), torch.tensor([0.5, 0.5]), 1.0)
    tensor([0.5000, 0.8808])
    """
    return torch.sigmoid((logits + torch.logit(noise, eps=NOISE_EPS)) / temperature)


def hard_concrete(
    logits: Tensor, noise: Tensor, temperature: Tensor | float, low: float, high: float
) -> Tensor:
    """Sample hard concrete gates: a binary concrete value stretched to (low, high) and clipped.

    Louizos et al. 2018, arXiv:1712.01312, eq. 10-11.

    Args:
        logits: `log alpha` of each gate, shape `(joints,)`, any real.
        noise: uniform noise in (0, 1), shape `(batch, joints)` or `(joints,)`.
        temperature: β in the paper, above 0.
        low: γ in the paper, below 0.
        high: ζ in the paper, above 1.

    Returns:
        Gates in [0, 1], shape of `noise`, with mass at exactly 0 and 1.

    >>> hard_concrete(torch.tensor([-9.0, 0.0, 9.0]), torch.full((3,), 0.5), 2 / 3, -0.1, 1.1)
    tensor([0.0000, 0.5000, 1.0000])
    """
    stretched = low + (high - low) * gumbel_sigmoid(logits, noise, temperature)
    return stretched.clamp(0.0, 1.0)


def clipped_gaussian(logits: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
    """Sample stochastic gates: `min(1, max(0, mu + sigma * e))` with `mu = sigma * logit`.

    Yamada et al. 2020, arXiv:1810.04247, eq. 4. The paper learns `mu`; in units of `sigma` it moves
    at the same learning rate as the logits of the other gates.

    Args:
        logits: `mu / sigma` of each gate, shape `(joints,)`, any real.
        noise: standard normal noise, shape `(batch, joints)` or `(joints,)`.
        sigma: standard deviation of the noise on a gate, above 0.

    Returns:
        Gates in [0, 1], shape of `noise`.

    >>> clipped_gaussian(torch.tensor([-1.0, 1.0, 3.0]), torch.zeros(3), 0.5)
    tensor([0.0000, 0.5000, 1.0000])
    """
    return (sigma * (logits + noise)).clamp(0.0, 1.0)


class _Threshold(torch.autograd.Function):
    """Rounds a gate to 1 above 0.5, else to 0; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor) -> Tensor:  # noqa: ARG004 -- autograd's signature
        return (gates > 0.5).to(gates.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ARG004
        return grads[0]


# --- the gates -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gate(ABC):
    """Relaxes a gate to values between 0 and 1, so that it can be learned."""

    initial_keep_probability: float = 0.9

    def __post_init__(self) -> None:
        if not 0.0 < self.initial_keep_probability < 1.0:
            raise ValueError(
                "Expected initial_keep_probability between 0 and 1 but got "
                f"{self.initial_keep_probability}. Pass a number such as 0.9."
            )
        if not min(self.anneal) > 0.0:
            raise ValueError(
                f"Expected {type(self).__name__} with a temperature above 0 but got "
                f"{min(self.anneal)}."
            )

    @property
    @abstractmethod
    def anneal(self) -> tuple[float, float]:
        """Return the temperature at the start and at the end of the search."""

    @abstractmethod
    def sample(self, logits: Tensor, noise: Tensor, temperature: Tensor | float) -> Tensor:
        """Return gates in [0, 1] from logits `(joints,)` and noise `(batch, joints)`."""

    @abstractmethod
    def keep_probability(self, logits: Tensor) -> Tensor:
        """Return P(gate open), shape of `logits`."""

    @abstractmethod
    def logit_of(self, probability: float) -> float:
        """Return the logit whose `keep_probability` is `probability`."""

    def draw_noise(
        self, shape: tuple[int, ...], device: torch.device, generator: torch.Generator | None
    ) -> Tensor:
        """Draw noise for `sample`: uniform in (0, 1) unless a gate says otherwise."""
        return torch.rand(shape, device=device, generator=generator)


@dataclass(frozen=True)
class GumbelSigmoid(Gate):
    """Draws binary concrete gates (Maddison et al. 2017; Jang et al. 2017): the default.

    `z = sigmoid((logit + logistic noise) / temperature)`, keep probability `sigmoid(logit)`
    (arXiv:1611.00712, eq. 8).

    Args:
        initial_keep_probability: keep probability at the start, between 0 and 1.
        temperature: at the start and at the end of the search, above 0.
    """

    temperature: tuple[float, float] = (1.0, 0.3)

    @property
    def anneal(self) -> tuple[float, float]:
        """Return the temperature at the start and at the end of the search."""
        return self.temperature

    def sample(self, logits: Tensor, noise: Tensor, temperature: Tensor | float) -> Tensor:
        """Return gates in (0, 1), see `gumbel_sigmoid`."""
        return gumbel_sigmoid(logits, noise, temperature)

    def keep_probability(self, logits: Tensor) -> Tensor:
        """Return `sigmoid(logit)`: P(the gate rounds to 1), at any temperature."""
        return torch.sigmoid(logits)

    def logit_of(self, probability: float) -> float:
        """Return `log(p / (1 - p))`."""
        return math.log(probability / (1.0 - probability))


@dataclass(frozen=True)
class StraightThroughGumbelSigmoid(GumbelSigmoid):
    """Rounds binary concrete gates to 0 or 1 on the way forward; they stay soft on the way back.

    The straight-through estimator of Bengio et al. 2013 (arXiv:1308.3432) on the gates of
    `GumbelSigmoid`, as in Jang et al. 2017, section 2.2.

    The estimator is biased: it takes the slope of the loss at a gate of 0 or 1 for what opening or
    closing the gate would change.

    Args:
        initial_keep_probability: keep probability at the start, between 0 and 1.
        temperature: of the backward pass, at the start and at the end of the search, above 0.
    """

    def sample(self, logits: Tensor, noise: Tensor, temperature: Tensor | float) -> Tensor:
        """Return gates that are exactly 0 or 1."""
        soft = super().sample(logits, noise, temperature)
        return cast("Tensor", _Threshold.apply(soft))  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class HardConcrete(Gate):
    """Draws hard concrete gates (Louizos et al. 2018): stretched, clipped, with mass at 0 and 1.

    Keep probability `P(z > 0) = sigmoid(log alpha - beta * log(-gamma / zeta))` (arXiv:1712.01312,
    eq. 12).

    Args:
        initial_keep_probability: keep probability at the start, between 0 and 1.
        temperature: β, constant over the search, above 0; the paper's 2/3 by default.
        low: γ, below 0.
        high: ζ, above 1.
    """

    temperature: float = 2 / 3
    low: float = -0.1
    high: float = 1.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.low < 0.0 and self.high > 1.0):
            raise ValueError(
                f"Expected HardConcrete with low < 0 and high > 1 but got low={self.low} and "
                f"high={self.high}. The paper's values are -0.1 and 1.1."
            )

    @property
    def anneal(self) -> tuple[float, float]:
        """Return β twice; it does not change, since the keep probability depends on it."""
        return (self.temperature, self.temperature)

    def sample(self, logits: Tensor, noise: Tensor, temperature: Tensor | float) -> Tensor:
        """Return gates in [0, 1], see `hard_concrete`."""
        return hard_concrete(logits, noise, temperature, self.low, self.high)

    def keep_probability(self, logits: Tensor) -> Tensor:
        """Return P(z > 0)."""
        return torch.sigmoid(logits - self._shift)

    def logit_of(self, probability: float) -> float:
        """Return `log(p / (1 - p)) + beta * log(-gamma / zeta)`."""
        return math.log(probability / (1.0 - probability)) + self._shift

    @property
    def _shift(self) -> float:
        return self.temperature * math.log(-self.low / self.high)


@dataclass(frozen=True)
class StochasticGate(Gate):
    """Draws stochastic gates (Yamada et al. 2020): a Gaussian clipped to [0, 1].

    Keep probability `P(z > 0) = Phi(mu / sigma)` (arXiv:1810.04247, section 3); the logit is
    `mu / sigma`.

    More often than the other gates it keeps joints too many, up to four of 42 on the planted data
    (`benchmarks/RESULTS.md`): far from `mu = 0` the price hardly pulls, since the slope of `Phi`
    falls off faster than that of a sigmoid, and a gate clipped at 1 passes no gradient of the loss,
    so a joint that was opened by chance stays open.

    Args:
        initial_keep_probability: keep probability at the start, between 0 and 1.
        sigma: standard deviation of the noise, above 0; the paper's 0.5 by default.
    """

    sigma: float = 0.5

    @property
    def anneal(self) -> tuple[float, float]:
        """Return sigma twice; it is the nearest to a temperature that this gate has."""
        return (self.sigma, self.sigma)

    def sample(self, logits: Tensor, noise: Tensor, temperature: Tensor | float) -> Tensor:
        """Return gates in [0, 1], see `clipped_gaussian`."""
        return clipped_gaussian(logits, noise, temperature)

    def keep_probability(self, logits: Tensor) -> Tensor:
        """Return P(z > 0)."""
        return cast("Tensor", torch.special.ndtr(logits))

    def logit_of(self, probability: float) -> float:
        """Return the normal quantile of `probability`."""
        return statistics.NormalDist().inv_cdf(probability)

    def draw_noise(
        self, shape: tuple[int, ...], device: torch.device, generator: torch.Generator | None
    ) -> Tensor:
        """Draw standard normal noise."""
        return torch.randn(shape, device=device, generator=generator)


GATES: dict[str, type[Gate]] = {
    "gumbel_sigmoid": GumbelSigmoid,
    "straight_through": StraightThroughGumbelSigmoid,
    "hard_concrete": HardConcrete,
    "stochastic": StochasticGate,
}


class Paper(NamedTuple):
    """Describes a paper to cite."""

    authors: str
    title: str
    where: str


_CONCRETE = (
    Paper(
        "C. J. Maddison, A. Mnih and Y. W. Teh",
        "The Concrete Distribution: A Continuous Relaxation of Discrete Random Variables",
        "ICLR 2017. arXiv:1611.00712",
    ),
    Paper(
        "E. Jang, S. Gu and B. Poole",
        "Categorical Reparameterization with Gumbel-Softmax",
        "ICLR 2017. arXiv:1611.01144",
    ),
)
PAPERS: dict[str, tuple[Paper, ...]] = {  # papers of each gate, by its name in GATES
    "gumbel_sigmoid": _CONCRETE,
    "straight_through": _CONCRETE,
    "hard_concrete": (
        Paper(
            "C. Louizos, M. Welling and D. P. Kingma",
            "Learning Sparse Neural Networks through L0 Regularization",
            "ICLR 2018. arXiv:1712.01312",
        ),
    ),
    "stochastic": (
        Paper(
            "Y. Yamada, O. Lindenbaum, S. Negahban and Y. Kluger",
            "Feature Selection using Stochastic Gates",
            "ICML 2020. arXiv:1810.04247",
        ),
    ),
}


def make_gate(gate: Any) -> Gate:
    """Return the gate itself, or the gate of that name with its defaults.

    Raises:
        ValueError: if no gate has that name.
    """
    if isinstance(gate, Gate):
        return gate
    if isinstance(gate, str) and gate in GATES:
        return GATES[gate]()
    named = {kind: f"{kind.__name__}()" for kind in GATES.values()}
    fix = named.get(gate) if isinstance(gate, type) else None
    raise ValueError(
        f"Expected a gate out of {', '.join(GATES)} but got {gate!r}. Pass "
        f"{fix or 'one of these names, or an object such as HardConcrete()'}."
    )
