"""Optimizers that do not obey a group's rate are made to, or refused before they step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.optim import Optimizer
from transformers.optimization import Adafactor, AdafactorSchedule

from lightning_jointprune import Price
from lightning_jointprune.search.optimizer import add_logits, hold_rate
from tests.runs import INFORMATIVE, SHORT_RUNS, Classifier, fit, pruning

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


class ScheduleFree(Optimizer):
    """Steps as Defazio et al. 2024, arXiv:2405.15682, eq. 3-5, on SGD."""

    def __init__(self, params: Iterable[Any], lr: float = 0.1, beta: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "beta": beta, "k": 0, "train_mode": True})

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        loss = closure() if closure else None
        with torch.no_grad():
            for group in self.param_groups:
                group["k"] += 1
                for y in (it for it in group["params"] if it.grad is not None):
                    state = self.state[y]
                    z = state.setdefault("z", y.clone())
                    x = state.setdefault("x", y.clone())
                    z -= group["lr"] * y.grad
                    x.lerp_(z, 1 / group["k"])
                    y.copy_(torch.lerp(z, x, group["beta"]))
        return loss

    def evaluated(self, begins: bool) -> None:
        """Put the average in the place of what is trained, or take it out again."""
        for group in self.param_groups:
            for y in (it for it in group["params"] if "x" in self.state[it]):
                x, z = self.state[y]["x"], self.state[y]["z"]
                y.data.copy_(x if begins else torch.lerp(z, x, group["beta"]))


class Estimating(Optimizer):
    """Multiplies the rate of every group by an estimate, as Algorithm 1 of two papers does.

    They are Defazio and Mishchenko 2023, arXiv:2301.07733, and Mishchenko and Defazio 2023,
    arXiv:2306.06101, in which the estimate grows with the inner product of gradients and way.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1.0, d0: float = 1e-6) -> None:
        super().__init__(params, {"lr": lr, "d": d0, "numerator": 0.0})

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        loss = closure() if closure else None
        first, total = self.param_groups[0], 0.0
        moved = [it for group in self.param_groups for it in group["params"]]
        with torch.no_grad():
            for it in (it for it in moved if it.grad is not None):
                begin = self.state[it].setdefault("begin", it.clone())
                s = self.state[it].setdefault("s", torch.zeros_like(it))
                s += first["d"] * first["lr"] * it.grad
                first["numerator"] += float((it.grad * (begin - it)).sum()) * first["d"]
                total += float(s.norm())
                it -= first["d"] * first["lr"] * it.grad
            first["d"] = max(first["d"], first["numerator"] / max(total, 1e-30))
        return loss


class Prodigy(Estimating):
    """Is known by this name."""


class DAdaptSGD(Estimating):
    """Is known by this name."""


class DoG(Optimizer):
    """Steps by distance over gradients, Ivgi et al. 2023, arXiv:2302.12022, eq. 1."""

    def __init__(self, params: Iterable[Any], reps_rel: float = 1e-6, lr: float = 1.0) -> None:
        super().__init__(params, {"reps_rel": reps_rel, "lr": lr})


class NoRate(Optimizer):
    """Has no rate at all, such as coin betting."""

    def __init__(self, params: Iterable[Any]) -> None:
        super().__init__(params, {})


RELATIVE: dict[str, Callable[..., Optimizer]] = {
    "transformers Adafactor": Adafactor,
    "transformers Adafactor, warmup_init": partial(Adafactor, warmup_init=True),
    "transformers Adafactor, lr=0.001": partial(Adafactor, lr=1e-3, relative_step=False),
}


def way(make: Callable[..., Optimizer], rate: float | None, steps: int = 20) -> tuple[Any, Any]:
    """Return how far logits and a weight go in some steps, the logits under a gradient of 1."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(3))
    begin = weight.detach().clone()
    logits = nn.Parameter(torch.full((5,), 2.0))
    optimizer = make([weight])
    if rate:
        add_logits(optimizer, [logits], rate)
    for _ in range(steps):
        optimizer.zero_grad()
        (weight.square().sum() + logits.sum()).backward()
        hold_rate(optimizer, [logits], rate)
        optimizer.step()
    return 2.0 - logits.detach(), begin - weight.detach()


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.compatibility("Optimizers", name)) for name in RELATIVE],
)
def test_adafactor_moves_logits_by_their_rate_and_weights_by_its_own(name: str) -> None:
    for rate in (0.02, 0.05):
        logits, weight = way(RELATIVE[name], rate)
        assert torch.allclose(logits, torch.full((5,), 20 * rate), rtol=1e-3)
        assert torch.equal(weight, way(RELATIVE[name], None)[1])


@pytest.mark.compatibility("Optimizers", "schedule-free")
def test_a_schedule_free_optimizer_obeys_the_rate() -> None:
    (once, weight), (twice, _) = (way(ScheduleFree, rate) for rate in (0.02, 0.04))
    assert torch.allclose(2 * once, twice, rtol=1e-4)
    assert (once > 0.02 * 20 / 2).all()
    assert torch.equal(weight, way(ScheduleFree, None)[1])


def test_probabilities_of_a_schedule_free_run_are_those_by_which_the_joints_were_chosen() -> None:
    class Free(Classifier):
        def configure_optimizers(self) -> Any:
            return ScheduleFree(self.parameters(), lr=0.1)

        def on_validation_model_eval(self) -> None:
            super().on_validation_model_eval()
            self.trainer.optimizers[0].evaluated(begins=True)

        def on_validation_model_train(self) -> None:
            super().on_validation_model_train()
            self.trainer.optimizers[0].evaluated(begins=False)

    callback = pruning(Price(0.05), lr=0.1)
    fit(Free(), callback)
    probabilities = callback.selection.keep_probabilities
    final = [snapshot for snapshot in callback.record.history if snapshot.phase == "final"]
    assert {snapshot.keep_probabilities for snapshot in final} == {probabilities}
    assert [probability > 0.5 for probability in probabilities] == list(callback.selection.mask)
    assert set(INFORMATIVE) <= set(callback.selection.indices)


def test_the_stand_in_of_an_estimate_does_not_obey() -> None:
    torch.manual_seed(0)
    weight, other = nn.Parameter(torch.randn(3)), nn.Parameter(torch.ones(5))
    optimizer = Estimating([{"params": [weight]}, {"params": [other], "lr": 0.5}])
    (weight.square().sum() + other.sum()).backward()
    optimizer.step()
    assert torch.allclose(other, torch.ones(5), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Prodigy, "scales the rates of all groups by one estimate"),
        (DAdaptSGD, "scales the rates of all groups by one estimate"),
        (DoG, "takes all rates from the distance"),
        (NoRate, "has no learning rate"),
    ],
    ids=["Prodigy", "D-Adaptation", "DoG", "no learning rate"],
)
@pytest.mark.compatibility("Optimizers", "{id}", refused=True)
def test_an_optimizer_without_a_rate_of_a_group_is_refused_before_it_steps(
    kind: Callable[..., Optimizer], why: str
) -> None:
    class Trained(Classifier):
        def configure_optimizers(self) -> Any:
            self.begin = [it.detach().clone() for it in self.parameters()]
            return kind(self.parameters())

    model = Trained()
    name = getattr(kind, "__name__", "")
    with pytest.raises(MisconfigurationException, match=f"but got {name}, which {why}.*Adam"):
        fit(model, pruning(), num_sanity_val_steps=0)
    assert all(map(torch.equal, model.parameters(), model.begin))


def test_a_run_with_relative_steps_finds_the_joints() -> None:
    class Relative(Classifier):
        def configure_optimizers(self) -> Any:
            optimizer = Adafactor(self.parameters(), warmup_init=True)
            return [optimizer], [AdafactorSchedule(optimizer)]

    callback = pruning()
    model = Relative()
    fit(model, callback)
    before = [group["relative_step"] for group in model.trainer.optimizers[0].param_groups]
    assert before == [True, False]
    assert len(callback.selection.indices) == 3
    dropped = set(range(8)) - set(callback.selection.indices)
    kept = callback.selection.keep_probabilities
    assert max(kept[joint] for joint in dropped) < 0.9 < max(kept[joint] for joint in INFORMATIVE)
