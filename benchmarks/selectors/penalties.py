"""Selection by a penalty in training: stochastic gates, hard concrete, group lasso, LassoNet.

The two gates are the published objectives on one gate per joint, re-implemented here: one draw per
batch, the published constants and initial values, weights and gates trained together. As published,
the penalty has to be tuned: each method trains at six penalties, and a number of joints is
answered out of the run that left the fewest open of those that left enough, by its own order of the
joints. No accuracy is looked at for that. The gates learn ten times as fast as the weights: at the
weights' own rate (as published, over many thousands of steps) few would close in so short a run.

LassoNet needs `pip install lassonet`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.selectors.training import (
    EPOCHS,
    RECIPE,
    Choice,
    best,
    fit,
    new_model,
)
from benchmarks.shared.joint_data import JointData

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # of all joints, in units of the loss of a guess
GATE_RATE = 10.0
SHRINKAGES = (
    0.5,
    1.0,
    2.0,
    4.0,
    8.0,
    16.0,
)  # of the norm of a joint's weights, per unit of the rate


class StochasticGates(nn.Module):
    """`min(1, max(0, mu + 0.5 e))`, mu from 0.5; Yamada et al. 2020, arXiv:1810.04247, eq. 4-7."""

    SIGMA = 0.5

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.full((joints,), 0.5))

    def forward(self) -> Tensor:
        return (self.mu + self.SIGMA * torch.randn_like(self.mu)).clamp(0.0, 1.0)

    def expected(self) -> Tensor:
        return torch.special.ndtr(self.mu / self.SIGMA).sum()

    def scores(self) -> Tensor:
        """Return what joints are ranked by: above 0 where the gate is open after training."""
        return self.mu.detach()


class HardConcreteGates(nn.Module):
    """A stretched binary concrete value; Louizos et al. 2018, arXiv:1712.01312, eq. 10-13.

    Drop rate 0.2 at the start, as for the inputs of the paper's multilayer perceptron.
    """

    BETA, LOW, HIGH, DROP = 2 / 3, -0.1, 1.1, 0.2

    def __init__(self, joints: int) -> None:
        super().__init__()
        start = math.log(1 - self.DROP) - math.log(self.DROP)
        self.log_alpha = nn.Parameter(start + 0.01 * torch.randn(joints))

    def forward(self) -> Tensor:
        noise = torch.logit(torch.rand_like(self.log_alpha), eps=1e-6)
        return self._stretched(torch.sigmoid((noise + self.log_alpha) / self.BETA)).clamp(0.0, 1.0)

    def expected(self) -> Tensor:
        return torch.sigmoid(self.log_alpha - self.BETA * math.log(-self.LOW / self.HIGH)).sum()

    def scores(self) -> Tensor:
        """Return what joints are ranked by: above 0 where the gate is open after training."""
        return self._stretched(torch.sigmoid(self.log_alpha.detach()))

    def _stretched(self, value: Tensor) -> Tensor:
        return value * (self.HIGH - self.LOW) + self.LOW


def _gated(
    kind: type[StochasticGates | HardConcreteGates],
    data: JointData,
    encoder: str,
    counts: Sequence[int],
    seed: int,
) -> Choice:
    def run(penalty: float) -> tuple[Tensor, float]:
        model, gates = new_model(data, encoder, seed), kind(data.joints)
        price = penalty * math.log(data.classes) / data.joints
        steps = fit(model, data.train, seed, gates, GATE_RATE, price)
        return gates.scores(), steps

    return swept(map(run, PENALTIES), counts)


def stochastic_gates(data: JointData, encoder: str, counts: Sequence[int], seed: int) -> Choice:
    return _gated(StochasticGates, data, encoder, counts, seed)


def hard_concrete(data: JointData, encoder: str, counts: Sequence[int], seed: int) -> Choice:
    return _gated(HardConcreteGates, data, encoder, counts, seed)


def swept(runs: Iterable[tuple[Tensor, float]], counts: Sequence[int]) -> Choice:
    """Return the choice out of runs at several penalties.

    Args:
        runs: of each, the joints' scores, above 0 for those left open, and the steps.
        counts: numbers of joints.
    """
    scores, steps = zip(*runs, strict=True)
    choice = Choice({}, {}, sum(steps))
    left = [int((ranked > 0).sum()) for ranked in scores]
    for count in counts:
        enough = [(number, run) for run, number in enumerate(left) if number >= count]
        number, run = min(enough) if enough else max(zip(left, range(len(left)), strict=True))
        choice.joints[count] = best(scores[run], count)
        choice.open[count] = number
    return choice


# --- lassos --------------------------------------------------------------------------------------


def group_lasso(data: JointData, encoder: str, counts: Sequence[int], seed: int) -> Choice:
    """Choose by a penalty on the joints' weights in the first layer, with proximal steps."""

    def run(shrinkage: float) -> tuple[Tensor, float]:
        model = new_model(data, encoder, seed)
        weight = first_weight(model)

        @torch.no_grad()
        def shrink(rate: float) -> None:
            grouped = weight.view(len(weight), data.joints, -1)
            norms = grouped.norm(dim=(0, 2))
            factors = (1.0 - rate * shrinkage / norms.clamp(min=1e-12)).clamp(min=0.0)
            grouped.mul_(factors[:, None])

        steps = fit(model, data.train, seed, after_step=shrink)
        grouped = weight.detach().view(len(weight), data.joints, -1)
        return grouped.norm(dim=(0, 2)), steps

    return swept(map(run, SHRINKAGES), counts)


def first_weight(model: nn.Module) -> Tensor:
    """Return the weights that the flattened joints meet first, `(units, joints * coordinates)`."""
    first = next(module for module in model.modules() if isinstance(module, nn.GRU | nn.Linear))
    weight = first.weight_ih_l0 if isinstance(first, nn.GRU) else first.weight
    assert isinstance(weight, Tensor)
    return weight


COARSE = tuple(10 * 2.0**n for n in range(16))  # penalties to find where LassoNet's path is
FINE = 28  # penalties on it


def lassonet(data: JointData, _encoder: str, counts: Sequence[int], seed: int) -> Choice:
    """Choose by the package's classifier on the flattened sequence, in groups, one for each joint.

    Its own network, a perceptron with a skip layer, whatever the encoder; 128 units, the package's
    optimizers and M = 10. A coarse path finds between which penalties the joints leave, a fine one
    ranks them by the penalty at which they do. An epoch at each penalty.
    """
    import lassonet.model
    from lassonet import LassoNetClassifier

    x, y = (tensor.numpy() for tensor in data.train.tensors)
    frames, joints, coordinates = x.shape[1:]
    features = torch.arange(frames * joints * coordinates).view(frames, joints, coordinates)
    lassonet.model.inplace_group_prox = group_prox

    def path(penalties: Sequence[float]) -> tuple[Tensor, float]:
        """Return the norm of each joint's skip weights at each penalty, and the steps."""
        classifier = LassoNetClassifier(
            hidden_dims=(128,),
            groups=[features[:, joint].flatten().tolist() for joint in range(joints)],
            lambda_seq=penalties,
            batch_size=RECIPE.batch_size,
            n_iters=(EPOCHS, 1),
            patience=None,
            val_size=0,
            verbose=0,
            torch_seed=seed,
            device=torch.device("cpu"),
        )
        items = classifier.path(
            x.reshape(len(x), -1), y, return_state_dicts=True, disable_lambda_warning=True
        )
        skips = torch.stack([item.state_dict["skip.weight"] for item in items])
        squares = skips.view(len(items), -1, frames, joints, coordinates).square()
        epochs = sum(item.n_iters for item in items)
        return squares.sum(dim=(1, 2, 4)).sqrt(), float(epochs * (len(x) // RECIPE.batch_size))

    norms, first_steps = path(COARSE)
    complete = (norms[1:] > 0).all(1).tolist().count(True)
    low, high = COARSE[max(0, complete - 1)], 2 * COARSE[len(norms) - 2]
    norms, steps = path([low * (high / low) ** (n / (FINE - 1)) for n in range(FINE)])
    left = (norms > 0).sum(1).tolist()
    scores = (norms > 0).sum(0) + 0.5 * norms.mean(0) / norms.mean(0).max()  # of equals, the larger
    choice = Choice({}, {}, first_steps + steps)
    for count in counts:
        choice.joints[count] = best(scores, count)
        choice.open[count] = min(left, key=lambda number, count=count: abs(number - count))
    return choice


def group_prox(
    groups: Sequence[Sequence[int]],
    beta: nn.Linear,
    theta: nn.Linear,
    lambda_: float,
    lambda_bar: float,
    M: float,  # noqa: N803 -- the package's name
) -> None:
    """Do what `lassonet.prox.inplace_group_prox` does, for groups of the same size at once."""
    from lassonet.prox import prox

    order = torch.tensor(groups)
    layers = (beta, theta)
    grouped = [
        layer.weight.data[:, order].transpose(1, 2).reshape(-1, len(order)) for layer in layers
    ]
    moved = prox(*grouped, lambda_=lambda_, lambda_bar=lambda_bar, M=M)
    for layer, values in zip(layers, moved, strict=True):
        layer.weight.data[:, order] = values.view(len(layer.weight), -1, len(order)).transpose(1, 2)


METHODS: dict[str, Callable[[JointData, str, Sequence[int], int], Choice]] = {
    "stochastic gates": stochastic_gates,
    "hard concrete": hard_concrete,
    "group lasso": group_lasso,
    "LassoNet": lassonet,
}
