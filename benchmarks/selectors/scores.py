"""Selection by what joints are worth to one model that was trained on all of them.

The model is trained on four fifths of the training part and asked on the rest, or 256 sequences of
it. Permutation importance, gradient x input and Shapley values are captum's, of the logarithm of
the probability of the true class: `pip install captum`. Backward elimination replaces a joint by
its mean (0, as the data is standardised), drops the tenth of the joints whose loss costs least, and
asks again. None of them trains the model again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.selectors.training import Choice, best, fit, forward_steps, new_model, ranked
from benchmarks.shared.joint_data import JointData, held_out

MEASURED = 256  # sequences at most
PERMUTATIONS = 5
SHAPLEY_ORDERS = 10
AT_ONCE = 0.1  # share of the joints that backward elimination drops before it asks again


class Asked:
    """A model trained on all joints, and what it is asked on.

    Attributes:
        x: sequences, shape `(N, T, J, C)`.
        y: their classes.
        steps: what the training cost.
    """

    def __init__(self, data: JointData, encoder: str, seed: int) -> None:
        train, measure = held_out(data.train, 0.2, seed)
        self.model: nn.Module = new_model(data, encoder, seed)
        self.steps = fit(self.model, train, seed)
        self.x, self.y = (tensor[:MEASURED] for tensor in measure.tensors)
        joints = torch.arange(data.joints)[None, None, :, None]
        self.features = joints.expand(1, *self.x.shape[1:]).contiguous()

    def log_probability(self, x: Tensor) -> Tensor:
        """Return that of the true class, shape `(N,)`, for the sequences in some other form."""
        return -functional.cross_entropy(self.model(x), self.y, reduction="none")

    def per_joint(self, attributions: Tensor) -> Tensor:
        """Return a value for each joint: Captum repeats it in all the joint's features."""
        return attributions[:, 0, :, 0].mean(0)


def permutation(data: JointData, encoder: str, counts: Sequence[int], seed: int) -> Choice:
    from captum.attr import FeaturePermutation

    asked = Asked(data, encoder, seed)
    method = FeaturePermutation(asked.log_probability)
    with torch.no_grad():
        drawn = [
            asked.per_joint(method.attribute(asked.x, feature_mask=asked.features))
            for _ in range(PERMUTATIONS)
        ]
    passes = PERMUTATIONS * (data.joints + 1)
    return ranked(sum(drawn), counts, asked.steps + forward_steps(passes * len(asked.x)))


def gradient(data: JointData, encoder: str, counts: Sequence[int], seed: int) -> Choice:
    from captum.attr import InputXGradient

    asked = Asked(data, encoder, seed)
    method = InputXGradient(asked.log_probability)
    values = method.attribute(asked.x.clone().requires_grad_()).detach()
    steps = asked.steps + 3 * forward_steps(len(asked.x))
    return ranked(values.abs().sum(dim=(0, 1, 3)), counts, steps)


def shapley(data: JointData, encoder: str, counts: Sequence[int], seed: int) -> Choice:
    from captum.attr import ShapleyValueSampling

    asked = Asked(data, encoder, seed)
    method = ShapleyValueSampling(asked.log_probability)
    with torch.no_grad():
        values = method.attribute(
            asked.x, baselines=0.0, feature_mask=asked.features, n_samples=SHAPLEY_ORDERS
        )
    passes = SHAPLEY_ORDERS * (data.joints + 1)
    steps = asked.steps + forward_steps(passes * len(asked.x))
    return ranked(asked.per_joint(values), counts, steps)


def elimination(data: JointData, encoder: str, counts: Sequence[int], seed: int) -> Choice:
    asked = Asked(data, encoder, seed)
    mask = torch.ones(data.joints)
    choice = Choice({}, {}, asked.steps)
    for count in sorted(counts, reverse=True):
        while (left := int(mask.sum())) > count:
            kept = mask.nonzero().flatten()
            without = mask.repeat(left, 1)
            without[torch.arange(left), kept] = 0.0
            with torch.no_grad():
                likely = [asked.log_probability(asked.x * m[:, None]).mean() for m in without]
            drop = min(left - count, max(1, int(AT_ONCE * left)))
            mask[kept[torch.stack(likely).topk(drop).indices]] = 0.0
            choice.steps += forward_steps(left * len(asked.x))
        choice.joints[count] = best(mask, count)
    return choice


METHODS: dict[str, Callable[[JointData, str, Sequence[int], int], Choice]] = {
    "permutation importance": permutation,
    "gradient x input": gradient,
    "Shapley sampling": shapley,
    "backward elimination": elimination,
}
