"""A search without Lightning goes through its phases, and freezes the joints that were planted."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.gates.masks import hard_mask
from lightning_jointprune.gates.relaxations import GATES, StochasticGate, make_gate
from lightning_jointprune.search.budgets import Budget, make_controller
from lightning_jointprune.search.budgets.fewest import Fewest
from lightning_jointprune.search.budgets.metric_floor import MetricFloor
from lightning_jointprune.search.budgets.price import Price
from lightning_jointprune.search.budgets.target_joints import TargetJoints
from lightning_jointprune.search.optimizer import add_logits, gate_rate, logit_group
from lightning_jointprune.search.search import JointSearch, indecision_slope

JOINTS, PLANTED = 12, [1, 4, 10]
PHASES = (0.2, 0.7)


def new_search(
    budget: Budget | None = None, phases: tuple[float, float] = PHASES, **settings: Any
) -> JointSearch:
    budget = budget or Price(0.1)
    layer = JointPruningLayer(JOINTS, **settings)
    return JointSearch(layer, make_controller(budget, layer), phases)


class Run(NamedTuple):
    search: JointSearch
    model: nn.Module
    optimizer: torch.optim.Optimizer


def new_run(make_optimizer: Callable[..., torch.optim.Optimizer], search: JointSearch) -> Run:
    torch.manual_seed(3)
    search.to(torch.device("cpu"), seed=7)
    model = nn.Linear(JOINTS, 2)
    optimizer = make_optimizer(model.parameters())
    add_logits(optimizer, search.logits, 0.05)
    return Run(search, model, optimizer)


def batch(number: int, size: int = 64) -> tuple[Tensor, Tensor]:
    """Return skeletons of one frame and coordinate, whose label three planted joints carry."""
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(size, 1, JOINTS, 1, generator=generator)
    return x, (x[:, 0, PLANTED, 0].sum(dim=1) > 0).long()


def train(run: Run, steps: range, total: int) -> list[float]:
    """Run the loop that the callback makes of Lightning's hooks; return the losses."""
    search, losses = run.search, []
    for step in steps:
        if search.advance(step / total) == "search":
            price = float(search.controller.base_price())
            group = logit_group(run.optimizer, search.logits)
            group["lr"] = gate_rate(group, price)
        x, label = batch(step)
        loss = cross_entropy(run.model(search.layer(x).flatten(1)), label)
        run.optimizer.zero_grad()
        loss.backward()
        search.add_penalty()
        run.optimizer.step()
        search.controller.observe_loss(loss)
        losses.append(loss.item())
        if step % 20 == 19:
            accuracy = validate(run)
            if search.phase == "search":
                search.controller.observe_search({"acc": accuracy}, search.mask())
    return losses


def validate(run: Run) -> float:
    run.search.evaluate()
    x, label = batch(-1, 1000)
    with torch.no_grad():
        return float((run.model(run.search.layer(x).flatten(1)).argmax(1) == label).float().mean())


# --- phases --------------------------------------------------------------------------------------


@given(
    st.tuples(st.floats(0, 0.9), st.floats(0.01, 1)).filter(lambda it: it[0] + 1e-3 < it[1]),
    st.integers(1, 60),
)
def test_each_phase_is_announced_once_in_order_with_its_mode_and_temperature(
    phases: tuple[float, float], steps: int
) -> None:
    search = new_search(phases=phases)
    announced = ["warmup"]
    for step in range(steps):
        progress = step / steps
        phase = search.advance(progress)
        announced += [phase] if phase else []
        expected, mode = (
            ("warmup", "open")
            if progress < phases[0]
            else ("search", "sampled")
            if progress < phases[1]
            else ("final", "masked")
        )
        assert (search.phase, search.layer.mode, search.layer.training) == (expected, mode, True)
        done = min(1.0, max(0.0, (progress - phases[0]) / (phases[1] - phases[0])))
        assert float(search.layer.temperature) == pytest.approx(1.0**done * 0.3**done, rel=1e-5)
        assert (search.layer.mask is not None) == (expected == "final")
    order = ["warmup", "search", "final"]
    assert announced == sorted(set(announced), key=order.index)


def test_a_search_that_an_older_version_began_goes_on() -> None:
    search = new_search()
    losing(search, 100, falls_at=10)
    state = search.state_dict()
    for name in ("began", "learned_at", "looks", "waited", "steps"):
        del state[name]
    state.update(phase="search", progress=0.3, learned=True)
    state["layer"]["mask"] = None
    older = new_search()
    older.load_state_dict(state)
    assert older.advance(0.31) is None
    assert (older.phase, older.learned_at) == ("search", PHASES[0])
    older.check_learning("x")


def test_numbers_are_compared_also_where_no_step_falls_in_the_comparison() -> None:
    search = new_search(Fewest())
    said = []
    for progress in (0.0, 0.3, 0.9, 0.95):
        said.append(search.advance(progress))
        search.steps += search.phase == "search"
    assert said == [None, "search", "compare", "final"]


def losing(search: JointSearch, steps: int, falls_at: int) -> list[str]:
    """Return the phase of each step of a run whose loss is 1 at first, and 0 from a step on."""
    phases = []
    for step in range(steps):
        search.advance(step / steps)
        phases.append(search.phase)
        search.controller.observe_loss(torch.tensor(float(step < falls_at)))
        search.layer.joint_logits.grad = torch.zeros(JOINTS) if phases[-1] == "search" else None
        search.add_penalty()
    return phases


@given(st.integers(40, 400), st.floats(0.0, 1.0))
def test_a_search_begins_when_the_model_has_learned_and_at_60_percent_of_it_at_the_latest(
    steps: int, falls: float
) -> None:
    search, falls_at = new_search(), max(10, int(falls * steps))
    phases = losing(search, steps, falls_at)
    begins, first, look = phases.index("search") / steps, *[PHASES[0], 0.5 / 40]
    seen = max(first, falls_at / steps)  # one later loss of twenty is a tenth of the first ones
    latest = first + 0.6 * (PHASES[1] - first)
    if first * steps >= 20:  # else there are too few losses to tell when the search may begin
        grace = look + 45 / steps  # a look, and the losses until a tenth of them is gone
        assert min(seen, latest) <= begins + 1 / steps <= min(seen + grace, latest) + 2 / steps
    assert phases == sorted(phases, key=["warmup", "search", "final"].index)
    assert phases.count("final") == steps - math.ceil(PHASES[1] * steps - 1e-9)
    assert search.course()["steps"] == phases.count("search")


def test_without_a_warm_up_a_search_waits_for_nothing() -> None:
    search = new_search(phases=(0.0, 0.5))
    assert losing(search, 100, falls_at=100)[0] == "search"


@pytest.mark.parametrize(
    ("budget", "kept"), [(Price("auto"), JOINTS), (Price(0.5), 1), (TargetJoints(3), 3)]
)
def test_an_automatic_price_keeps_all_joints_of_a_model_that_learned_nothing(
    budget: Budget, kept: int
) -> None:
    search = new_search(budget)
    losing(search, 100, falls_at=100)
    assert search.course()["learned_at"] is None
    closed = new_search(budget)
    for step in range(100):
        closed.advance(step / 100)
        closed.controller.observe_loss(torch.tensor(1.0))
        closed.layer.joint_logits.data.fill_(-3.0)  # noise has closed all gates
    assert sum(closed.mask()) == kept


def test_a_search_begins_with_all_joints_open_before_any_step() -> None:
    search = new_search()
    x = torch.randn(2, 3, JOINTS, 2)
    assert torch.equal(search.layer(x), x)
    assert search.mask() == [True] * JOINTS


def test_a_frozen_mask_is_never_searched_again() -> None:
    """Progress goes back when a run is made longer."""
    search = new_search()
    search.advance(0.8)
    search.layer.joint_logits.data.fill_(-3.0)
    assert search.advance(0.3) is None
    assert (search.phase, search.layer.mode, sum(search.mask())) == ("final", "masked", JOINTS)


@pytest.mark.parametrize(("progress", "mode"), [(0.0, "open"), (0.3, "masked"), (0.9, "masked")])
def test_evaluation_has_all_joints_in_the_warmup_and_the_hard_mask_after_it(
    progress: float, mode: str
) -> None:
    search = new_search()
    search.advance(progress)
    search.evaluate()
    assert (search.layer.mode, search.layer.training) == (mode, False)
    search.evaluate(all_joints=True)
    assert search.layer.mode == "open"
    search.advance(progress)
    assert search.layer.training


# --- the penalty ---------------------------------------------------------------------------------


def penalised(search: JointSearch, progress: float, task: Tensor) -> Tensor:
    """Return the logits' gradient after the penalty, where the task's is this."""
    search.advance(progress)
    search.layer.joint_logits.grad = task.clone() if search.phase == "search" else None
    search.add_penalty()
    return search.layer.joint_logits.grad


@pytest.mark.parametrize("done", [0.38, 0.7, 0.99])  # the price does not rise any more
def test_the_penalty_has_its_closed_form_in_the_search(done: float) -> None:
    """With p = sigmoid(a), that of `price * (p + done * (2 sqrt(p) - p))` by a."""
    search = new_search(Price(0.25))
    search.layer.joint_logits.data = torch.linspace(-4, 4, JOINTS)
    task = torch.randn(JOINTS)
    got = penalised(search, PHASES[0] + done * (PHASES[1] - PHASES[0]), task)
    p = 1 / (1 + torch.exp(-torch.linspace(-4, 4, JOINTS)))
    slope = 0.25 * (1 + done * (p**-0.5 - 1)) * p * (1 - p)
    torch.testing.assert_close(got, task + slope)
    assert search.price == 0.25


def test_a_joint_in_a_group_is_priced_by_both_its_gates() -> None:
    search = new_search(Price(0.5), groups={"a": [0, 1]})
    for logits in search.logits:
        logits.data.fill_(0.0)
        logits.grad = torch.zeros_like(logits)
    search.advance(PHASES[0] + 0.4 * (PHASES[1] - PHASES[0]))
    search.add_penalty()
    joints, groups = search.logits
    alone, both = (0.5 * (1 + 0.4 * (p**-0.5 - 1)) for p in (0.5, 0.25))  # by p, the probability
    expected = torch.full((JOINTS,), alone * 0.25)
    expected[:2] = both * 0.5 * 0.25
    torch.testing.assert_close(joints.grad, expected)
    torch.testing.assert_close(groups.grad, torch.tensor([2 * both * 0.5 * 0.25]))


def test_an_open_joint_costs_its_price_and_an_unlikely_one_many_times_that() -> None:
    search = new_search(Price(0.25), phases=(0.0, 0.5))
    logits = torch.full((JOINTS,), math.log(0.01 / 0.99))
    logits[0] = 12.0
    search.layer.joint_logits.data = logits.clone()
    got = penalised(search, 0.4999999, torch.zeros(JOINTS))
    p = torch.sigmoid(logits.double())
    price = got.double() / (p * (1 - p))  # by p, the probability
    torch.testing.assert_close(price[0], torch.tensor(0.25).double(), rtol=1e-2, atol=0)
    torch.testing.assert_close(price[1], torch.tensor(2.5).double(), rtol=1e-2, atol=0)


@given(st.floats(1e-5, 1.0))
def test_the_slope_of_indecision_is_that_of_its_closed_form(probability: float) -> None:
    p = torch.tensor(probability, dtype=torch.float64, requires_grad=True)
    (2.0 * p.sqrt() - p).backward()
    torch.testing.assert_close(indecision_slope(p.detach()), p.grad)


@pytest.mark.parametrize("gate", list(GATES))
def test_a_gate_that_closed_for_good_has_a_finite_slope(gate: str) -> None:
    """The slope of a root is unbounded at 0."""
    search = new_search(gate=make_gate(gate))
    search.layer.joint_logits.data.fill_(-200.0)
    got = penalised(search, 0.39, torch.zeros(JOINTS))
    assert torch.isfinite(got).all()


def test_of_redundant_joints_the_likeliest_stays_and_the_others_close() -> None:
    """The task rewards their sum, less and less; without the root they all share it."""
    torch.manual_seed(0)
    search = new_search(Price(0.05), phases=(0.0, 0.5))
    search.layer.joint_logits.data = torch.randn(JOINTS)
    optimizer = torch.optim.Adam(search.logits, lr=0.05)
    for step in range(600):
        search.advance(0.5 * step / 600)
        optimizer.zero_grad()
        torch.exp(-3.0 * search.layer.expected_l0()).backward()
        search.add_penalty()
        optimizer.step()
    probabilities = search.layer.keep_probabilities()
    assert (probabilities > 0.9).sum() == 1
    assert (probabilities < 0.1).sum() == JOINTS - 1


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("cost", "stays"), [(1.0, True), (8.0, False)])
def test_a_group_closes_when_its_joints_together_are_not_worth_what_it_costs(
    tied: bool, cost: float, stays: bool
) -> None:
    """Every joint is worth twice its price, so four of them gain four prices."""
    groups = {"face": [0, 1, 2, 3]}
    search = new_search(Price(0.1, groups={"face": cost}), (0.0, 0.5), groups=groups, tied=tied)
    optimizer = torch.optim.Adam(search.logits, lr=0.05)
    for step in range(600):
        search.advance(0.5 * step / 600)
        optimizer.zero_grad()
        (-0.2 * search.layer.keep_probabilities()).sum().backward()
        search.add_penalty()
        optimizer.step()
    search.advance(0.5)
    assert search.mask() == [stays] * 4 + [True] * (JOINTS - 4)


def test_the_slope_of_a_groups_price_is_that_of_its_closed_form() -> None:
    search = new_search(
        Price(0.5, groups={"pair": 3.0}), phases=(0.0, 0.5), groups={"pair": [0, 1]}
    )
    for logits in search.logits:
        logits.data.fill_(0.0)
        logits.grad = torch.zeros_like(logits)
    search.advance(0.2)
    search.add_penalty()
    _, groups = search.logits
    own, both = (1 + 0.4 * (p**-0.5 - 1) for p in (0.5, 0.25))
    torch.testing.assert_close(groups.grad, torch.tensor([0.5 * (3.0 * own + both) * 0.25]))


def test_no_gate_is_surer_than_at_the_start_when_the_joints_are_to_become_fewer() -> None:
    search = new_search(TargetJoints(2), phases=(0.0, 1.0 - 1e-9))
    start = search.layer.joint_logits.detach().clone()
    search.advance(0.1)
    with torch.no_grad():
        search.layer.joint_logits[0] += 3.0
        search.layer.joint_logits[1] -= 1.0
    search.advance(0.14)
    assert search.layer.joint_logits[0] > start[0]
    search.advance(0.16)
    torch.testing.assert_close(search.layer.joint_logits[0], start[0])
    torch.testing.assert_close(search.layer.joint_logits[1], start[1] - 1.0)
    with torch.no_grad():
        search.layer.joint_logits[2] += 3.0
    search.advance(0.3)
    assert search.layer.joint_logits[2] > start[2]


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16, torch.float64])
def test_gates_of_any_precision_keep_the_joints_that_are_worth_most(precision: torch.dtype) -> None:
    layer = JointPruningLayer(12).to(precision)
    search = JointSearch(layer, make_controller(TargetJoints(4), layer), (0.0, 0.9))
    search.to(torch.device("cpu"), seed=0)
    search.advance(0.1)
    worth = torch.arange(1.0, 13.0, dtype=precision)
    search.evidence.add(torch.stack([torch.zeros_like(worth), worth.square()]), 1, 0.1)
    layer.joint_logits.data.fill_(9.0)  # in half precision the probability of such a logit is 1
    layer.joint_logits.data[:3] = -3.0
    search.advance(0.95)
    assert search.mask() == [False] * 8 + [True] * 4


def test_a_ladder_settles_a_mask_for_each_number_out_of_the_one_before() -> None:
    """Worth falls from joint to joint, so the first ones are the best of any number."""
    search = new_search(TargetJoints([4, 2, 1]), phases=(0.0, 0.8))
    worth = torch.linspace(1.0, 0.1, JOINTS)
    optimizer = torch.optim.Adam(search.logits, lr=0.05)
    for _ in range(10):
        search.controller.observe_loss(torch.tensor(1.0))
    for step in range(600):
        if step == 300:  # in the middle, with some of the rungs reached
            half = new_search(TargetJoints([4, 2, 1]), phases=(0.0, 0.8))
            half.load_state_dict(search.state_dict())
            assert half.rungs() == search.rungs() != []
        search.advance(0.8 * step / 600)
        optimizer.zero_grad()
        (-worth * search.layer.keep_probabilities()).sum().backward()
        search.add_penalty()
        optimizer.step()
    search.advance(0.8)
    assert search.rungs() == [[joint < count for joint in range(JOINTS)] for count in (4, 2, 1)]
    assert search.layer.mode == "rungs"
    assert search.mask() == search.rungs()[-1]
    assert [sum(p > 0.0 for p in settled) for settled in search.settled] == [JOINTS, 4, 2]


def test_each_rung_is_measured_with_its_own_mask_and_the_last_one_stays() -> None:
    search = new_search(TargetJoints([3, 1]), phases=(0.0, 0.5))
    search.advance(0.5)

    def measure() -> dict[str, float]:
        return {"joints": float((search.layer(torch.ones(1, 1, JOINTS, 1)) != 0).sum())}

    assert search.measure_rungs(measure) == [{"joints": 3.0}, {"joints": 1.0}]
    assert sum(search.mask()) == 1


def test_the_rungs_are_measured_on_the_device_of_the_layer() -> None:
    search = new_search(TargetJoints([3, 1]), phases=(0.0, 0.5))
    search.advance(0.5)

    def measure() -> dict[str, float]:
        assert search.layer.mask is not None
        assert search.layer.mask.device == search.layer.joint_logits.device
        return {}

    with torch.device("meta"):  # any but the layer's
        search.measure_rungs(measure)
    assert search.layer.mask is not None
    assert search.layer.mask.device == search.layer.joint_logits.device


def test_the_last_rung_stays_when_the_measurement_is_interrupted() -> None:
    search = new_search(TargetJoints([3, 1]), phases=(0.0, 0.5))
    search.advance(0.5)

    def interrupted() -> dict[str, float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search.measure_rungs(interrupted)
    assert sum(search.mask()) == 1


def test_processes_share_the_mask_but_each_draws_rungs_of_its_own() -> None:
    searches = [new_search(TargetJoints([6, 1]), phases=(0.0, 0.5)) for _ in range(2)]
    with torch.no_grad():
        searches[1].layer.joint_logits += torch.arange(JOINTS) / 10  # as rounding may do
    for seed, search in enumerate(searches):
        search.to(torch.device("cpu"), seed)
        search.advance(0.5)
        search.share(lambda _: searches[0].layer.export_state())
    first, second = (search.layer(torch.ones(64, 1, JOINTS, 1)) != 0 for search in searches)
    assert searches[0].rungs() == searches[1].rungs()
    assert not torch.equal(first, second)


def test_joints_that_are_kept_stay_when_others_are_opened_again() -> None:
    search = new_search(MetricFloor("acc", 0.8), phases=(0.0, 0.1))
    with torch.no_grad():  # the mask that was measured is not what the gates say by now
        search.layer.joint_logits[:] = 200.0
        search.layer.joint_logits[-1] = -200.0
    for _ in range(2):
        search.controller.observe_search({"acc": 0.9}, [*[False] * (JOINTS - 1), True])
    search.advance(0.1)
    for _ in range(2):
        search.observe_metrics({"acc": 0.5})
    assert sum(search.mask()) == 2
    assert search.mask()[-1]


def test_nothing_is_charged_in_the_warmup_nor_after_the_freeze() -> None:
    task = torch.randn(JOINTS)
    assert penalised(new_search(), 0.1, task) is None
    final = new_search()
    assert penalised(final, 0.9, task) is None
    assert not any(logits.requires_grad for logits in final.logits)
    assert final.price == 0.0


def test_a_loss_that_pays_for_the_gates_in_the_warmup_is_refused() -> None:
    search = new_search()
    search.layer.joint_logits.grad = torch.zeros(JOINTS)
    with pytest.raises(ValueError, match=r"without a price .* added .* already.*expected_l0\(\)"):
        search.add_penalty()


def test_the_penalty_is_added_under_no_grad_too() -> None:
    """Lightning's hooks may be called so."""
    with torch.no_grad():
        got = penalised(new_search(Price(0.25)), 0.39, torch.zeros(JOINTS))
    assert (got > 0).all()


def test_steps_of_the_search_without_a_gradient_are_counted_in_a_row() -> None:
    search = new_search()
    search.advance(0.1)
    search.add_penalty()
    assert search.steps_without_gradient == 0
    search.advance(0.3)
    search.add_penalty()
    search.add_penalty()
    assert search.steps_without_gradient == 2
    penalised(search, 0.3, torch.zeros(JOINTS))
    assert search.steps_without_gradient == 0


# --- freezing ------------------------------------------------------------------------------------

logit_lists = st.lists(st.floats(-60, 60), min_size=JOINTS, max_size=JOINTS)
keeps = st.sets(st.integers(0, JOINTS - 1), max_size=4).map(sorted)


@pytest.mark.parametrize("gate", GATES)
@given(values=logit_lists, keep=keeps)
def test_freezing_keeps_what_the_hard_mask_says(gate: str, values, keep: Sequence[int]) -> None:
    search = new_search(gate=GATES[gate](), keep=keep)
    search.layer.joint_logits.data = torch.tensor(values)
    expected = hard_mask(search.layer.keep_probabilities().detach()).tolist()
    search.advance(PHASES[1])
    assert search.mask() == expected
    assert all(expected[joint] for joint in keep)


@given(values=logit_lists, keep=keeps, count=st.integers(1, JOINTS))
def test_a_target_freezes_exactly_that_many_with_those_always_kept_and_the_most_probable(
    values: list[float], keep: Sequence[int], count: int
) -> None:
    """Also where a probability is 1 to the last digit, like that of a joint always kept."""
    count = max(count, len(keep))
    search = new_search(TargetJoints(count), keep=keep)
    search.layer.joint_logits.data = torch.tensor(values)
    search.advance(PHASES[1])
    mask = search.mask()
    assert sum(mask) == count
    assert all(mask[joint] for joint in keep)
    p = torch.sigmoid(torch.tensor(values))
    chosen = [float(p[joint]) for joint in range(JOINTS) if mask[joint] and joint not in keep]
    dropped = [float(p[joint]) for joint in range(JOINTS) if not mask[joint]]
    assert min(chosen, default=1.0) >= max(dropped, default=0.0)


@given(values=logit_lists, groups=st.tuples(st.floats(-5, 5), st.floats(-5, 5)), tied=st.booleans())
def test_a_target_is_exact_with_groups_too(values: list[float], groups, tied: bool) -> None:
    members = {"left": [0, 1, 2], "right": [3, 4, 5, 6]}
    search = new_search(TargetJoints(5), groups=members, tied=tied, keep=[11])
    search.layer.joint_logits.data = torch.tensor(values)
    if search.layer.group_logits is not None:
        search.layer.group_logits.data = torch.tensor(groups)
    search.advance(PHASES[1])
    assert sum(search.mask()) == 5
    assert search.mask()[11]


def test_a_floor_freezes_the_mask_that_was_measured_whatever_the_gates_say_by_then() -> None:
    search = new_search(MetricFloor("acc", 0.8))
    measured = [joint < 5 for joint in range(JOINTS)]
    for _ in range(2):
        search.controller.observe_search({"acc": 0.85}, measured)
    search.advance(PHASES[1])
    assert search.mask() == measured


def test_a_floor_that_was_never_met_keeps_all_joints() -> None:
    search = new_search(MetricFloor("acc", 0.8))
    search.layer.joint_logits.data.fill_(-3.0)
    search.controller.observe_search({"acc": 0.7}, [True] + [False] * (JOINTS - 1))
    search.advance(PHASES[1])
    assert all(search.mask())


# --- interrupted and resumed ---------------------------------------------------------------------

TOTAL = 40
SETTINGS: dict[str, tuple[Budget, dict[str, Any]]] = {
    "price": (Price("auto"), {}),
    "target": (TargetJoints(4), {"fill": "mean", "keep": [3]}),
    "floor": (MetricFloor("acc", 0.8), {"groups": {"a": [0, 1, 2], "b": [4, 5]}}),
    "tied": (Price(0.02), {"groups": {"a": [0, 1, 2]}, "tied": True, "gate": StochasticGate()}),
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("cut", [1, 7, 8, 9, 20, 27, 28, 29, 39])
def test_interrupted_in_any_phase_a_run_goes_on_bitwise(settings: str, cut: int) -> None:
    def begin() -> Run:
        budget, others = SETTINGS[settings]
        return new_run(torch.optim.AdamW, new_search(budget, **others))

    whole = begin()
    expected = train(whole, range(TOTAL), TOTAL)

    half, saved = begin(), io.BytesIO()
    train(half, range(cut), TOTAL)
    parts = [half.search, half.model, half.optimizer]
    torch.save([part.state_dict() for part in parts], saved)
    rest = train(half, range(cut, TOTAL), TOTAL)
    assert rest == expected[cut:], "saving had a side effect"

    saved.seek(0)
    search, model, optimizer = torch.load(saved, weights_only=True)
    resumed = begin()
    resumed.search.load_state_dict(search)
    resumed.model.load_state_dict(model)
    resumed.optimizer.load_state_dict(optimizer)
    assert train(resumed, range(cut, TOTAL), TOTAL) == expected[cut:]
    assert resumed.search.mask() == whole.search.mask()
    for got, wanted in zip(resumed.search.logits, whole.search.logits, strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("progress", [0.1, 0.4, 0.9])
def test_a_loaded_search_is_ready_to_evaluate_as_the_saved_one_was(progress: float) -> None:
    saved, loaded = new_search(), new_search()
    saved.layer.joint_logits.data = torch.linspace(-2, 2, JOINTS)
    penalised(saved, progress, torch.zeros(JOINTS))
    saved.evaluate()
    loaded.load_state_dict(saved.state_dict())
    x = torch.randn(2, 3, JOINTS, 2)
    assert torch.equal(loaded.layer(x), saved.layer(x))
    assert loaded.mask() == saved.mask()
    assert loaded.layer.temperature == saved.layer.temperature
    assert loaded.price == saved.price


# --- a planted truth -----------------------------------------------------------------------------


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.02)


@pytest.mark.parametrize("make_optimizer", [adamw, sgd])
@pytest.mark.parametrize(
    "budget", [Price("auto"), Price(0.02), TargetJoints(3), MetricFloor("acc", 0.9)], ids=str
)
def test_planted_joints_are_found(budget: Budget, make_optimizer) -> None:
    total = 500
    run = new_run(make_optimizer, new_search(budget, (0.1, 0.7)))
    train(run, range(total), total)
    kept = [joint for joint, open_ in enumerate(run.search.mask()) if open_]
    assert kept == PLANTED
    assert validate(run) > 0.95


def test_noise_of_its_own_generator_leaves_torchs_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    search = new_search()
    search.to(torch.device("cpu"), seed=5)
    search.advance(0.4)
    gated = search.layer(torch.ones(2, 1, JOINTS, 1))
    assert torch.equal(torch.get_rng_state(), before)
    search.to(torch.device("cpu"), seed=5)
    assert torch.equal(search.layer(torch.ones(2, 1, JOINTS, 1)), gated)


# --- numbers of joints that are compared ---------------------------------------------------------


@pytest.mark.parametrize("most", [0, 7, 10, 100])
def test_as_many_numbers_are_measured_as_can_be_afforded_the_ends_among_them(most: int) -> None:
    """The metric rises with every joint up to five, so five is right where it was measured."""
    search = new_search(Fewest("val_acc"), (0.2, 0.6))
    for progress in (0.3, 0.59, 0.6):
        search.advance(progress)
    asked: list[int] = []

    def measure() -> dict[str, float]:
        asked.append(sum(search.mask()))
        return {"val_acc": float(min(asked[-1], 5))}

    measured = search.compare(measure, most, "val_acc", higher=True, samples=None)
    assert {JOINTS, 1} <= {*asked}
    assert len(asked) == len({*asked}) <= max(5, most)
    had = [count for count, got in zip(range(JOINTS, 0, -1), measured, strict=True) if got]
    assert had == sorted(asked, reverse=True)
    assert sum(search.mask()) == min(count for count in asked if count >= 5)
    if most >= JOINTS:
        assert sum(search.mask()) == 5
