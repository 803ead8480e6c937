"""The logits are trained in the user's optimizer: in every one, beside every scheduler."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
import transformers.optimization as hf
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import Optimizer, lr_scheduler, swa_utils

from lightning_jointprune.search.optimizer import (
    MARK,
    GradientShelter,
    UserGroups,
    add_logits,
    add_penalty_gradient,
    add_to_first,
    gate_rate,
    hide_logits,
    hold_rate,
    logit_group,
    without_logits,
)

STEPS = 30
RATE = 0.05
DATA = torch.randn(STEPS, 8, 6, generator=torch.Generator().manual_seed(5))


class Setup(NamedTuple):
    model: nn.Module
    logits: nn.Parameter
    optimizer: Optimizer
    scheduler: Any


def setup(
    make_optimizer: Callable[..., Optimizer],
    make_scheduler: Callable[[Optimizer], Any] | None = None,
    with_us: bool = True,
) -> Setup:
    """Return a model whose module lists two parameter groups, with our logits in front of it."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))
    groups = [
        {"params": model[0].parameters(), "lr": 0.1},
        {"params": model[2].parameters(), "lr": 0.02},
    ]
    optimizer = make_optimizer(groups)
    scheduler = make_scheduler(optimizer) if make_scheduler else None
    logits = nn.Parameter(torch.full((6,), 2.0))
    if with_us:
        add_logits(optimizer, [logits], RATE)
        hide_logits(scheduler, optimizer)
    return Setup(model, logits, optimizer, scheduler)


def train(it: Setup, steps: range, gated: bool = False) -> list[Any]:
    """Train for some steps; return what schedulers may change in the user's groups, after each."""
    seen = []
    for step in steps:
        it.optimizer.zero_grad()
        gates = torch.sigmoid(it.logits) if gated else 1.0
        loss = it.model(DATA[step] * gates).square().mean()
        loss.backward()
        it.optimizer.step()
        if isinstance(it.scheduler, lr_scheduler.ReduceLROnPlateau | hf.GreedyLR):
            it.scheduler.step(1.0 + 0.1 * math.sin(step))  # a metric on a plateau
        elif it.scheduler is not None:
            it.scheduler.step()
        seen.append([rates(group) for group in it.optimizer.param_groups if MARK not in group])
    return seen


def rates(group: dict[str, Any]) -> dict[str, Any]:
    return {name: group[name] for name in ("lr", "momentum", "betas") if name in group}


# --- schedulers: the user's rates are those of a run without us ----------------------------------

sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
LAMBDAS = [lambda step: 0.9**step, lambda step: 1.0 / (1 + step)]


def warmed(optimizer: Optimizer) -> lr_scheduler.SequentialLR:
    first = lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5)
    return lr_scheduler.SequentialLR(
        optimizer, [first, lr_scheduler.CosineAnnealingLR(optimizer, 10)], [5]
    )


def nested(optimizer: Optimizer) -> lr_scheduler.SequentialLR:
    last = lr_scheduler.ExponentialLR(optimizer, 0.9)
    return lr_scheduler.SequentialLR(optimizer, [warmed(optimizer), last], [20])


def chained(optimizer: Optimizer) -> lr_scheduler.ChainedScheduler:
    first = lr_scheduler.ConstantLR(optimizer, 0.1, total_iters=8)
    return lr_scheduler.ChainedScheduler(
        [first, lr_scheduler.LambdaLR(optimizer, LAMBDAS)], optimizer=optimizer
    )


TORCH: dict[str, Callable[[Optimizer], Any]] = {
    "LambdaLR": partial(lr_scheduler.LambdaLR, lr_lambda=LAMBDAS),
    "MultiplicativeLR": partial(lr_scheduler.MultiplicativeLR, lr_lambda=[lambda _: 0.9] * 2),
    "StepLR": partial(lr_scheduler.StepLR, step_size=7),
    "MultiStepLR": partial(lr_scheduler.MultiStepLR, milestones=[5, 20]),
    "ConstantLR": partial(lr_scheduler.ConstantLR, factor=0.2, total_iters=9),
    "LinearLR": partial(lr_scheduler.LinearLR, start_factor=0.1, total_iters=12),
    "ExponentialLR": partial(lr_scheduler.ExponentialLR, gamma=0.9),
    "PolynomialLR": partial(lr_scheduler.PolynomialLR, total_iters=25, power=2.0),
    "CosineAnnealingLR": partial(lr_scheduler.CosineAnnealingLR, T_max=11),
    "CosineAnnealingWarmRestarts": partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=8),
    "CyclicLR": partial(lr_scheduler.CyclicLR, base_lr=0.01, max_lr=[0.1, 0.2], step_size_up=6),
    "OneCycleLR": partial(lr_scheduler.OneCycleLR, max_lr=[0.1, 0.02], total_steps=STEPS + 1),
    "ReduceLROnPlateau": partial(lr_scheduler.ReduceLROnPlateau, patience=2, min_lr=[0.01, 0.001]),
    "ChainedScheduler": chained,
    "SequentialLR": warmed,
    "SequentialLR, nested": nested,
    "SWALR": partial(swa_utils.SWALR, swa_lr=[0.05, 0.01], anneal_epochs=12),
}
WARMUP = {"num_warmup_steps": 5}
HUGGING_FACE: dict[str, dict[str, Any]] = {  # what a schedule needs beside its two step counts
    "cosine_with_min_lr": {"min_lr": 0.01},
    "cosine_warmup_with_min_lr": {"min_lr": 0.01},
    "warmup_stable_decay": {"num_decay_steps": 10},
}


def hugging_face(name: str) -> Callable[[Optimizer], Any]:
    return lambda optimizer: hf.get_scheduler(
        name, optimizer, 5, STEPS, scheduler_specific_kwargs=HUGGING_FACE.get(name)
    )


SCHEDULERS = {
    **TORCH,
    **{f"transformers {kind.value}": hugging_face(kind.value) for kind in hf.SchedulerType},
}
each_scheduler = pytest.mark.parametrize("scheduler", SCHEDULERS)


def test_every_scheduler_of_torch_is_among_those_tested() -> None:
    classes = {
        name
        for name, kind in vars(lr_scheduler).items()
        if inspect.isclass(kind) and issubclass(kind, lr_scheduler.LRScheduler)
    }
    assert classes - {"LRScheduler", "_LRScheduler"} <= set(TORCH)


@each_scheduler
@pytest.mark.compatibility("Schedulers", "{scheduler}")
def test_the_users_rates_are_those_of_a_run_without_us_and_ours_is_its_own(scheduler: str) -> None:
    make = SCHEDULERS[scheduler]
    expected = train(setup(sgd, make, with_us=False), range(STEPS))
    it = setup(sgd, make)
    assert train(it, range(STEPS)) == expected
    assert logit_group(it.optimizer, [it.logits])["lr"] == RATE
    assert it.scheduler.get_last_lr() == [group["lr"] for group in expected[-1]]


@each_scheduler
@pytest.mark.compatibility("Schedulers", "{scheduler}")
def test_saved_and_loaded_halfway_the_run_goes_on_exactly(scheduler: str) -> None:
    whole = setup(sgd, SCHEDULERS[scheduler])
    expected = train(whole, range(STEPS), gated=True)
    half = setup(sgd, SCHEDULERS[scheduler])
    train(half, range(STEPS // 2), gated=True)
    resumed = setup(sgd, SCHEDULERS[scheduler])
    resumed.model.load_state_dict(half.model.state_dict())
    resumed.logits.data.copy_(half.logits.data)
    resumed.optimizer.load_state_dict(copy.deepcopy(half.optimizer.state_dict()))
    resumed.scheduler.load_state_dict(copy.deepcopy(half.scheduler.state_dict()))
    rest = train(resumed, range(STEPS // 2, STEPS), gated=True)
    assert rest == expected[STEPS // 2 :]
    assert torch.equal(resumed.logits, whole.logits)
    assert logit_group(resumed.optimizer, [resumed.logits])["lr"] == RATE
    for got, wanted in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(got, wanted)


def test_a_scheduler_of_another_optimizer_is_left_alone() -> None:
    ours, theirs = setup(sgd), setup(sgd, TORCH["StepLR"], with_us=False)
    hide_logits(theirs.scheduler, ours.optimizer)
    assert theirs.scheduler.optimizer is theirs.optimizer


def test_what_a_scheduler_sees_passes_for_the_optimizer_itself() -> None:
    it = setup(sgd, TORCH["StepLR"])
    seen = it.scheduler.optimizer
    assert isinstance(seen, torch.optim.SGD)
    assert seen.state is it.optimizer.state
    assert seen == it.optimizer  # whoever looks for a scheduler of this optimizer finds it
    assert seen != torch.optim.SGD(it.model.parameters(), lr=0.1)
    assert len(seen.param_groups) == 2
    assert seen.param_groups[0] is it.optimizer.param_groups[0]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_scheduler_can_be_copied_with_its_optimizer(copied) -> None:
    it = setup(sgd, TORCH["StepLR"])
    optimizer, scheduler = copied((it.optimizer, it.scheduler))
    assert isinstance(scheduler.optimizer, UserGroups)
    assert scheduler.optimizer.param_groups[0] is optimizer.param_groups[0]
    assert len(scheduler.optimizer.param_groups) == 2


# --- optimizers ----------------------------------------------------------------------------------

OPTIMIZERS = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, Optimizer) and kind is not Optimizer
}
REFUSED = {"LBFGS": "one group", "Muon": "2-D", "SparseAdam": "sparse"}
VARIANTS = [
    pytest.param(
        partial(kind, lr=0.1, **settings),
        id=" ".join([name, *settings]),
        marks=pytest.mark.compatibility("Optimizers", name),
    )
    for name, kind in OPTIMIZERS.items()
    if name not in REFUSED
    for settings in ({}, {"foreach": True}, {"fused": True}, {"momentum": 0.9})
    if all(setting in inspect.signature(kind).parameters for setting in settings)
]


@pytest.mark.parametrize("optimizer", VARIANTS)
def test_logits_follow_their_gradient_and_the_users_weights_do_not_notice(optimizer) -> None:
    """A gradient of -1 everywhere moves logits up; the model's own losses stay what they were."""
    plain, it = setup(optimizer, with_us=False), setup(optimizer)
    for step in range(5):
        train(plain, range(step, step + 1))
        it.optimizer.zero_grad()
        (it.model(DATA[step]).square().mean() - it.logits.sum()).backward()
        it.optimizer.step()
    assert (it.logits > 2.0).all()
    for got, wanted in zip(it.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize(
    "optimizer",
    [it for it in VARIANTS if "weight_decay" in inspect.signature(it.values[0]).parameters],
)
def test_logits_without_a_gradient_stay_where_the_users_weight_decay_would_move_them(
    optimizer,
) -> None:
    it = setup(partial(optimizer, weight_decay=0.5))
    before = it.model[0].weight.detach().clone()
    for parameter in (*it.model.parameters(), it.logits):
        parameter.grad = torch.zeros_like(parameter)
    it.optimizer.step()
    assert (it.model[0].weight - before).abs().max() > 1e-4
    torch.testing.assert_close(it.logits.data, torch.full((6,), 2.0), rtol=1e-5, atol=0)


@pytest.mark.parametrize("optimizer", VARIANTS)
def test_logits_that_leave_the_users_groups_are_trained_in_their_own_alone(optimizer) -> None:
    """Those of a model's own: in a group by themselves, which is left empty, and in a mixed one."""
    alone, mixed, other = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    it = optimizer([{"params": [alone]}, {"params": [other, mixed]}])
    plain = copy.deepcopy(it)
    add_logits(it, [mixed, alone], RATE)
    *users, ours = it.param_groups
    assert [group["params"] for group in users] == [[], [other]]
    assert ours["params"][0] is mixed
    for parameter in (alone, mixed, other):
        parameter.grad = torch.full((2,), -1.0)
    it.step()
    assert all((parameter > 0).all() for parameter in (alone, mixed, other))
    assert torch.equal(alone, mixed)

    (theirs, (kept, moved)) = (group["params"] for group in plain.param_groups)
    for number, parameter in enumerate((*theirs, kept, moved)):
        parameter.grad = torch.full((2,), float(number + 1))
    plain.step()
    it.load_state_dict(plain.state_dict())
    for now, was in ((alone, theirs[0]), (mixed, moved), (other, kept)):
        assert it.state[now].keys() == plain.state[was].keys()
        assert all(
            torch.equal(torch.as_tensor(v), torch.as_tensor(plain.state[was][k]))
            for k, v in it.state[now].items()
            if v is not None
        )
    assert it.param_groups[-1]["lr"] == RATE


def test_logits_leave_every_optimizer_for_the_first_that_holds_them() -> None:
    logits, weight = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))
    free = torch.optim.SGD([nn.Parameter(torch.ones(1))])
    named = torch.optim.AdamW([("weight", weight), ("logits", logits)])
    second = torch.optim.SGD([logits])
    assert add_to_first([free, named, second], [logits], RATE) is named
    assert [group["params"] for group in second.param_groups] == [[]]
    assert named.param_groups[0]["param_names"] == ["weight"]
    with pytest.raises(ValueError, match="but got LBFGS"):
        add_to_first([free, torch.optim.LBFGS([logits])], [logits], RATE)


@pytest.mark.parametrize("name", sorted(set(REFUSED) & set(OPTIMIZERS)))
@pytest.mark.compatibility("Optimizers", "{name}", refused=True)
def test_an_optimizer_that_cannot_train_logits_is_refused_before_it_steps(name: str) -> None:
    optimizer = OPTIMIZERS[name]([nn.Parameter(torch.ones(2, 2))])
    with pytest.raises(ValueError, match=f"but got {name}, .*{REFUSED[name]}.* Adam, AdamW or SGD"):
        add_logits(optimizer, [nn.Parameter(torch.ones(3))], RATE)
    assert len(optimizer.param_groups) == 1


def test_the_logits_go_to_the_first_optimizer_that_can_train_them() -> None:
    def some() -> list[nn.Parameter]:
        return [nn.Parameter(torch.ones(2, 2))]

    logits = [nn.Parameter(torch.ones(3))]
    sparse, up = torch.optim.SparseAdam(some()), torch.optim.SGD(some(), maximize=True)
    first, second = torch.optim.SGD(some()), torch.optim.AdamW(some())
    assert add_to_first([sparse, up, first, second], logits, RATE) is first
    assert [len(it.param_groups) for it in (sparse, up, first, second)] == [1, 1, 2, 1]
    with pytest.raises(ValueError, match="but got SparseAdam"):
        add_to_first([sparse, up], logits, RATE)
    with pytest.raises(ValueError, match="configure_optimizers returned none"):
        add_to_first([], logits, RATE)


def test_for_a_while_an_optimizer_is_the_users_alone() -> None:
    it = setup(sgd)
    groups = it.optimizer.param_groups
    *users, ours = groups
    late: list[Any] = []
    with without_logits(it.optimizer, lambda: late):
        assert it.optimizer.param_groups == users
        it.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
        late.append(lr_scheduler.LambdaLR(it.optimizer, [lambda _: 0.5] * 3))
    assert it.optimizer.param_groups is groups
    assert groups[-1] is ours
    assert len(groups) == 4
    assert len(late[0].optimizer.param_groups) == 3
    with pytest.raises(KeyError), without_logits(it.optimizer, list):
        raise KeyError
    assert groups[-1] is ours


@pytest.mark.compatibility("Optimizers", "maximize=True", refused=True)
def test_an_optimizer_that_maximizes_is_refused_since_it_would_maximize_the_price() -> None:
    with pytest.raises(ValueError, match=r"that minimizes.* but got maximize=True.*the negative"):
        setup(partial(torch.optim.Adam, maximize=True))


def test_a_state_saved_with_the_logits_continues_their_moments() -> None:
    whole, half, resumed = (setup(torch.optim.AdamW) for _ in range(3))
    train(whole, range(10), gated=True)
    train(half, range(5), gated=True)
    resumed.model.load_state_dict(half.model.state_dict())
    resumed.logits.data.copy_(half.logits.data)
    resumed.optimizer.load_state_dict(half.optimizer.state_dict())
    train(resumed, range(5, 10), gated=True)
    assert torch.equal(resumed.logits, whole.logits)


def test_a_state_saved_without_the_logits_loads_and_they_start_afresh() -> None:
    plain = setup(torch.optim.AdamW, with_us=False)
    train(plain, range(5))
    it = setup(torch.optim.AdamW)
    it.model.load_state_dict(plain.model.state_dict())
    it.optimizer.load_state_dict(copy.deepcopy(plain.optimizer.state_dict()))
    group = logit_group(it.optimizer, [it.logits])
    assert (group["lr"], group["weight_decay"]) == (RATE, 0.0)
    assert group["params"] == [it.logits]
    train(plain, range(5, 10))
    train(it, range(5, 10))
    assert torch.equal(it.model[0].weight, plain.model[0].weight)


def test_a_state_of_other_groups_is_still_refused() -> None:
    it = setup(torch.optim.AdamW)
    other = torch.optim.AdamW([nn.Parameter(torch.ones(1))])
    with pytest.raises(ValueError, match="different number of parameter groups"):
        it.optimizer.load_state_dict(other.state_dict())


def test_an_optimizer_without_our_group_says_so() -> None:
    it = setup(sgd, with_us=False)
    assert logit_group(it.optimizer, [it.logits]) is None
    assert not hold_rate(it.optimizer, [it.logits], 0.3)
    assert all(group["lr"] != 0.3 for group in it.optimizer.param_groups)


def test_the_logits_get_their_rate_again_and_no_other_group_does() -> None:
    it = setup(sgd)
    others = [group["lr"] for group in it.optimizer.param_groups[:-1]]
    for rate, held in ((0.3, 0.3), (None, 0.3), (0.4, 0.4)):
        assert hold_rate(it.optimizer, [it.logits], rate)
        assert logit_group(it.optimizer, [it.logits])["lr"] == held
    assert [group["lr"] for group in it.optimizer.param_groups[:-1]] == others


def test_the_gates_of_two_inputs_have_groups_of_their_own() -> None:
    plain, it = setup(sgd, TORCH["LambdaLR"], with_us=False), setup(sgd, TORCH["LambdaLR"])
    second = nn.Parameter(torch.zeros(3))
    add_logits(it.optimizer, [second], 0.2)
    hide_logits(it.scheduler, it.optimizer)
    assert logit_group(it.optimizer, [it.logits])["lr"] == RATE
    assert logit_group(it.optimizer, [second])["lr"] == 0.2
    assert train(it, range(5)) == train(plain, range(5))
    it.optimizer.load_state_dict(copy.deepcopy(plain.optimizer.state_dict()))
    assert logit_group(it.optimizer, [second])["params"] == [second]


# --- the logits' rate ----------------------------------------------------------------------------


@given(st.floats(1e-6, 10), st.floats(0, 0.99))
def test_under_sgd_the_price_alone_moves_a_logit_by_half_p_one_minus_p(
    price: float, momentum: float
) -> None:
    """Momentum adds up to 1 / (1 - momentum) steps."""
    rate = gate_rate({"momentum": momentum}, price)
    p = 0.7
    step = rate / (1 - momentum) * price * p * (1 - p)
    assert step == pytest.approx(0.5 * p * (1 - p))


@pytest.mark.parametrize("name", ["Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Rprop"])
@pytest.mark.parametrize("price", [1e-6, 0.0, 10.0])
def test_an_optimizer_that_divides_by_the_gradient_has_one_rate_for_all_prices(
    name: str, price: float
) -> None:
    optimizer = OPTIMIZERS[name]([nn.Parameter(torch.ones(1))])
    assert gate_rate(optimizer.param_groups[0], price) == 0.05


def test_an_optimizer_that_slows_down_begins_faster() -> None:
    """Adagrad's steps fall with their number, and Adadelta's begin a thousandth as large."""
    rates = [
        gate_rate(OPTIMIZERS[name]([nn.Parameter(torch.ones(1))]).param_groups[0], 0.01)
        for name in ("Adam", "Adagrad", "Adadelta")
    ]
    assert rates == [0.05, 0.3, 30.0]


@given(st.integers(1, 10_000), st.sampled_from(["Adam", "SGD", "Adagrad", "Adadelta"]))
def test_in_a_short_search_a_logit_still_comes_from_open_to_closed(steps: int, name: str) -> None:
    """Adam moves it by the rate per step, and in 30 % of the search it has to move by 3."""
    group = OPTIMIZERS[name]([nn.Parameter(torch.ones(1))]).param_groups[0]
    rate = gate_rate(group, 0.01, steps)
    assert rate >= gate_rate(group, 0.01)
    assert rate <= 10 * gate_rate(group, 0.01)
    if name == "Adam" and steps >= 20:
        assert rate * 0.3 * steps >= 3 - 1e-9
    if steps >= 200:
        assert rate == gate_rate(group, 0.01)


def test_sgd_without_a_price_has_the_usual_rate() -> None:
    assert gate_rate({"momentum": 0.9}, 0.0) == 0.05


# --- the penalty ---------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.floats(-9, 9), st.floats(-5, 5)), min_size=1, max_size=6),
    st.floats(0, 100),
)
def test_the_penalty_adds_price_times_p_one_minus_p(
    joints: list[tuple[float, float]], price: float
) -> None:
    logits = nn.Parameter(torch.tensor([a for a, _ in joints], dtype=torch.float64))
    logits.grad = torch.tensor([grad for _, grad in joints], dtype=torch.float64)
    p = torch.sigmoid(logits)
    add_penalty_gradient([logits], p, torch.full_like(p, price))
    for (a, task), got in zip(joints, logits.grad.tolist(), strict=True):
        p = 1 / (1 + math.exp(-a))
        assert got == pytest.approx(task + price * p * (1 - p), abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_counts_as_none(bad: float) -> None:
    logits = nn.Parameter(torch.zeros(2))
    logits.grad = torch.tensor([bad, 1.0])
    add_penalty_gradient([logits], torch.sigmoid(logits), torch.full((2,), 0.4))
    torch.testing.assert_close(logits.grad, torch.tensor([0.1, 1.1]))


def test_logits_without_a_gradient_are_passed_over_and_the_others_priced() -> None:
    joints, groups = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    joints.grad = torch.zeros(2)
    both = joints.sigmoid() * groups.sigmoid()
    add_penalty_gradient([joints, groups], both, torch.full((2,), 0.8))
    assert groups.grad is None
    torch.testing.assert_close(joints.grad, torch.full((2,), 0.8 * 0.25 * 0.5))


def test_the_penalty_reaches_nothing_but_the_logits() -> None:
    logits, other = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    logits.grad = torch.zeros(2)
    add_penalty_gradient([logits], torch.sigmoid(logits + other), torch.ones(2))
    assert other.grad is None


# --- clipping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("closure", ["none", "positional", "keyword"])
def test_sheltered_gradients_are_away_until_the_step_and_used_in_it(closure: str) -> None:
    weights, logits = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weights], lr=1.0)
    add_logits(optimizer, [logits], 0.5)
    shelter = GradientShelter(optimizer, [logits])

    def backward() -> float:
        for parameter in (weights, logits):
            parameter.grad = torch.ones_like(parameter)
        shelter.hide()
        assert logits.grad is None
        return 7.0

    if closure == "none":
        backward()
        optimizer.step()
    else:
        given = ((backward,), {}) if closure == "positional" else ((), {"closure": backward})
        assert optimizer.step(*given[0], **given[1]) == 7.0
    assert (weights.tolist(), logits.tolist()) == ([0.0, 0.0], [0.5, 0.5, 0.5])
    optimizer.zero_grad()
    optimizer.step()  # nothing is hidden, and nothing comes back
    assert logits.tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("scheduled", [False, True])
def test_the_logits_have_a_first_rate_where_the_other_groups_have_one(scheduled: bool) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=1.0)
    if scheduled:
        lr_scheduler.StepLR(optimizer, 1)
    add_logits(optimizer, [nn.Parameter(torch.ones(3))], 0.5)
    assert optimizer.param_groups[-1].get("initial_lr") == (0.5 if scheduled else None)
