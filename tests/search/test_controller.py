"""Budgets to prices and masks, against closed forms and a population of gates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from statistics import fmean, median

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_jointprune.gates.masks import hard_mask
from lightning_jointprune.search.budgets import Budget, make_controller
from lightning_jointprune.search.controller import Controller
from lightning_jointprune.search.metric_floor import MetricFloor
from lightning_jointprune.search.price import Price
from lightning_jointprune.search.target_joints import TargetJoints

fractions = st.floats(0, 1)


@given(st.integers(1, 20), st.integers(0, 20), st.integers(1, 25))
def test_a_target_fits_between_the_joints_always_kept_and_all_of_them(
    joints: int, kept: int, count: int
) -> None:
    if max(1, kept) <= count <= joints:
        assert make_controller(TargetJoints(count), joints, kept).count == count
    else:
        with pytest.raises(ValueError, match=rf"from {max(1, kept)} .* to {joints} .*got {count}"):
            make_controller(TargetJoints(count), joints, kept)


# --- prices --------------------------------------------------------------------------------------


def observing(controller: Controller, losses: Sequence[float]) -> Controller:
    for loss in losses:
        controller.observe_loss(torch.tensor(loss))
    return controller


def price_of(controller: Controller, expected: float = 5.0, done: float = 1.0) -> float:
    return float(controller.price(torch.tensor(expected), done))


def learned(budget: Budget, joints: int, removed: float = 1.0) -> Controller:
    """A controller after a training that has removed all of the loss."""
    return observing(make_controller(budget, joints), [removed] * 10 + [0.0] * 600)


losses = st.lists(st.floats(-10, 10), min_size=1, max_size=40)


@given(losses, st.integers(1, 600))
def test_the_automatic_price_is_a_share_of_the_loss_removed_so_far(
    values: list[float], joints: int
) -> None:
    first = sum(values[:10]) / len(values[:10])
    recent = first
    for value in values[10:]:
        recent = 0.98 * recent + 0.02 * value
    removed = max(first - recent, 0.001 * abs(first))
    price = price_of(observing(make_controller(Price("auto"), joints), values))
    assert price == pytest.approx(0.3 * removed / joints, rel=1e-3, abs=1e-6)


@given(st.floats(1e-3, 1e3), st.floats(-50, 50))
def test_neither_scale_nor_offset_of_the_loss_matters_to_the_automatic_price(
    scale: float, offset: float
) -> None:
    fall = [2.0 ** (-step / 20) for step in range(60)]
    price = price_of(observing(make_controller(Price("auto"), 10), fall))
    moved = observing(make_controller(Price("auto"), 10), [scale * (v + offset) for v in fall])
    assert price_of(moved) == pytest.approx(scale * price, rel=1e-3)


def test_a_loss_that_does_not_fall_gives_a_price_of_next_to_nothing_and_a_doubt() -> None:
    rising = observing(make_controller(Price("auto"), 10), [2.0] * 10 + [3.0] * 90)
    assert price_of(rising) == pytest.approx(0.3 * 0.002 / 10)
    assert "from 2 at the start to 2.8" in (rising.doubt() or "")
    assert learned(Price("auto"), 10).doubt() is None
    assert observing(make_controller(Price(0.1), 10), [2.0] * 20).doubt() is None


def test_the_scale_of_a_price_is_at_least_a_tenth_of_the_loss() -> None:
    controller = observing(make_controller(Price("auto"), 10), [-4.0] * 10)
    assert controller.checked_price() == pytest.approx(0.3 * 0.4 / 10)
    assert learned(Price("auto"), 10, 4.0).checked_price() == pytest.approx(0.3 * 4 / 10, rel=1e-3)
    for losses in ([], [math.nan] * 3, [0.0] * 10):
        with pytest.raises(ValueError, match=r"pass budget=Price\(0.003\)"):
            observing(make_controller(Price("auto"), 10), losses).checked_price()


@pytest.mark.parametrize("budget", [Price("auto"), TargetJoints(3), MetricFloor("acc", 0.8)])
@given(values=losses, scale=st.floats(1e-3, 1e3), expected=st.floats(1, 10))
def test_a_price_without_a_number_scales_with_the_loss(
    budget, values: list[float], scale: float, expected: float
) -> None:
    values = [abs(value) + 0.1 for value in values]
    one = observing(make_controller(budget, 10), values)
    other = observing(make_controller(budget, 10), [scale * value for value in values])
    for done in (0.1, 0.5, 1.0):
        got = price_of(other, expected, done)
        assert got == pytest.approx(scale * price_of(one, expected, done), rel=1e-4)


@given(losses, st.integers(0, 9))
def test_a_loss_that_is_not_finite_does_not_count(values: list[float], at: int) -> None:
    values = values[:8]
    clean = observing(make_controller(Price("auto"), 4), values)
    holes = [*values[:at], math.nan, math.inf, *values[at:]]
    assert price_of(observing(make_controller(Price("auto"), 4), holes)) == price_of(clean)


@given(st.floats(0, 10), fractions)
def test_a_price_rises_over_the_first_third_of_the_search_and_stays(value: float, done) -> None:
    got = price_of(make_controller(Price(value), 4), done=done)
    assert got == pytest.approx(value * min(1.0, 3 * done))


# --- steering ------------------------------------------------------------------------------------


def population(
    worth: Tensor,
    controller: Controller,
    steps: int = 600,
    measure: Callable[[list[bool]], float] | None = None,
    noise: float = 0.0,
) -> Tensor:
    """Gates that follow the sign of `worth - price`, as under Adam: logits of a toy search.

    Args:
        measure: a metric of the kept joints, taken twenty times in the search.
        noise: standard deviation of the gradients of the worth, in units of the largest one.
    """
    logits = torch.full_like(worth, 2.2)
    random, largest = torch.Generator().manual_seed(0), float(worth.max())
    for step in range(steps):
        done = step / steps
        if done - 1 / steps < controller.descent <= done:
            logits = logits.clamp(max=2.2)
        p = torch.sigmoid(logits)
        price = controller.price(p.sum(), done)
        if controller.decided is not None:
            earns = controller.decided & hard_mask(p, controller.count)
            price = torch.where(earns, -price, price)
        felt = worth + noise * largest * torch.randn(len(worth), generator=random)
        slope = (price - felt) * p * (1 - p)
        logits = logits - 0.05 * slope / (slope.abs() + 1e-3 * largest)
        if measure and (step + 1) % (steps // 20) == 0:
            mask = hard_mask(torch.sigmoid(logits)).tolist()
            controller.observe_metrics({"acc": measure(mask)}, mask)
    return torch.sigmoid(logits)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("count", [3, 10, 30])
@pytest.mark.parametrize("steps", [300, 2000])
def test_steering_brings_a_population_of_gates_to_its_target(
    count: int, scale: float, steps: int
) -> None:
    """Forty joints, each worth 0.82 times the one before it; the loss is 1 in the same units."""
    worth = scale * 0.1 * 0.82 ** torch.arange(40.0)
    controller = learned(TargetJoints(count), 40, scale)
    p = population(worth, controller, steps)
    assert float(p.sum()) == pytest.approx(count, rel=0.15, abs=0.75)
    assert set(torch.topk(p, count).indices.tolist()) == set(range(count))


def test_a_target_is_approached_geometrically_and_reached_before_the_search_ends() -> None:
    """On its target a controller asks the automatic price: all prices tell where the target is."""
    base = 0.3 / 40
    for done, target in ((0.0, 40.0), (0.3, 40.0), (0.45, 20.0), (0.599999, 10.0)):
        controller = learned(TargetJoints(10), 40)
        assert price_of(controller, target, done) == pytest.approx(base, rel=1e-3)
        assert price_of(controller, target * 1.2, done) > base
        assert price_of(controller, target * 0.8, done) < base


@pytest.mark.parametrize(("needed", "noise"), [(8, 0.0), (8, 0.03), (40, 0.0)])
@pytest.mark.parametrize("count", range(1, 40))
def test_the_joints_that_a_target_keeps_are_open_before_the_freeze(
    count: int, needed: int, noise: float
) -> None:
    """Of forty joints, all or eight are worth something; the others are worth the same: nothing."""
    worth = 0.1 * 0.9 ** torch.arange(40.0) * (torch.arange(40) < needed)
    p = population(worth, learned(TargetJoints(count), 40), noise=noise)
    kept = hard_mask(p, count)
    assert int((p[kept] > 0.5).sum()) >= 0.95 * count
    if count >= needed:  # what is worth much may still be on its way down
        assert not (p[~kept] > 0.5).any()
    if noise == 0.0:
        assert set(range(min(count, needed))) <= set(kept.nonzero().flatten().tolist())


def test_the_price_of_a_reached_target_is_at_least_the_automatic_one_and_does_not_fall() -> None:
    controller = learned(TargetJoints(10), 40)
    base = 0.3 / 40
    assert price_of(controller, 1.0, 0.59) < 0.01 * base
    assert controller.decided is None
    assert price_of(controller, 1.0, 0.6) == pytest.approx(base, rel=1e-4)
    controller = learned(TargetJoints(10), 40)
    high = [price_of(controller, 40.0, done / 100) for done in range(60, 80)]
    assert high[-1] > 3.0 * base
    settled = [price_of(controller, 5.0, done / 100) for done in range(80, 100)]
    assert settled == pytest.approx([settled[0]] * 20)


def test_joints_earn_the_price_only_when_about_as_many_as_asked_for_are_left_or_time_is_short() -> (
    None
):
    controller = learned(TargetJoints(10), 40)
    decided = []
    for done, expected in ((0.55, 10.0), (0.6, 30.0), (0.7, 13.0), (0.71, 11.9), (0.72, 30.0)):
        price_of(controller, expected, done)
        decided.append(bool(controller.decided))
    assert decided == [False, False, False, True, True]
    late = learned(TargetJoints(10), 40)
    assert [bool(price_of(late, 30.0, done) and late.decided) for done in (0.84, 0.85)] == [
        False,
        True,
    ]


@pytest.mark.parametrize("expected", [1e-6, 40.0])
def test_a_price_that_steers_stays_finite_however_long_the_target_is_missed(expected) -> None:
    controller = learned(TargetJoints(10), 40)
    prices = [price_of(controller, expected, done / 5000) for done in range(2500, 5001)]
    bounds = [0.3 / 40 * math.exp(sign * 14.0) for sign in (-1, 1)]
    assert all(0.99 * bounds[0] <= price <= 1.01 * bounds[1] for price in prices)


# --- a floor on a metric -------------------------------------------------------------------------


def validated(budget: MetricFloor, seen: Sequence[tuple[float, int]], joints: int = 6):
    """A controller that has seen these values with these numbers of joints."""
    controller = observing(make_controller(budget, joints), [1.0])
    for value, active in seen:
        mask = [index < active for index in range(joints)]
        controller.observe_metrics({budget.metric: value, "other": 9.0}, mask)
    return controller


def test_the_smallest_mask_that_surely_meets_the_floor_is_chosen() -> None:
    seen = [(0.95, 6), (0.94, 6), (0.91, 4), (0.92, 4), (0.70, 2), (0.71, 2)]
    assert sum(validated(MetricFloor("acc", 0.8), seen).chosen) == 4
    assert sum(validated(MetricFloor("acc", 0.93), seen).chosen) == 6
    assert sum(validated(MetricFloor("acc", 0.6), seen).chosen) == 2


def test_one_validation_chooses_no_mask_and_without_any_choice_all_joints_are_kept() -> None:
    assert sum(validated(MetricFloor("acc", 0.8), []).chosen) == 6
    assert sum(validated(MetricFloor("acc", 0.8), [(0.9, 6), (0.9, 2)]).chosen) == 6
    assert sum(validated(MetricFloor("acc", 0.8), [(0.9, 2), (0.9, 2)]).chosen) == 2
    assert sum(validated(MetricFloor("acc", 0.8), [(0.7, 2), (0.7, 2)]).chosen) == 6


def test_a_mean_above_the_floor_by_less_than_its_noise_is_not_enough_and_more_values_are() -> None:
    """The differences of 0.04 tell noise of 0.042, so the mean of two is sure to 0.049."""
    budget, seen = MetricFloor("acc", 0.8), [(0.82, 3), (0.86, 3)]
    assert sum(validated(budget, seen).chosen) == 6
    assert sum(validated(budget, seen * 2).chosen) == 3


def test_a_validation_counts_for_a_mask_with_a_few_joints_more_but_not_with_fewer() -> None:
    seen = [(0.9, 9), (0.9, 10)]
    assert sum(validated(MetricFloor("acc", 0.8), seen, 20).chosen) == 10
    assert sum(validated(MetricFloor("acc", 0.8), [(0.9, 7), (0.9, 10)], 20).chosen) == 20


def test_only_the_latest_validations_count_as_the_network_learns() -> None:
    seen = [(0.1, 3)] * 5 + [(0.9, 3)] * 4
    assert sum(validated(MetricFloor("acc", 0.8), seen).chosen) == 3


def test_of_masks_of_one_size_that_met_the_floor_the_latest_is_chosen() -> None:
    """The network has had the longest to adapt to it."""
    controller = make_controller(MetricFloor("acc", 0.8), 3)
    controller.observe_metrics({"acc": 0.9}, [True, False, False])
    controller.observe_metrics({"acc": 0.9}, [False, True, False])
    assert controller.chosen == [False, True, False]


def test_a_metric_where_less_is_better_has_a_ceiling() -> None:
    seen = [(0.4, 4), (0.4, 4), (0.6, 2), (0.6, 2), (math.nan, 1), (math.nan, 1)]
    assert sum(validated(MetricFloor("val_loss", 0.5), seen).chosen) == 4


def test_the_price_goes_up_after_a_met_floor_and_down_after_a_missed_one() -> None:
    budget = MetricFloor("acc", 0.8)
    before, after_met, after_missed = (
        price_of(validated(budget, seen, 40), 20.0, 0.0)
        for seen in ([(0.9, 28)], [(0.9, 28), (0.9, 20)], [(0.9, 28), (0.1, 20)])
    )
    assert after_missed < before < after_met


def test_the_price_stays_where_a_few_more_validations_may_tell() -> None:
    base, high, missed = 0.3 / 40, [(0.9, 30)] * 2, [(0.9, 40), (0.9, 40), (0.7, 20)]
    for seen, aim in (
        ([*high, (0.82, 20), (0.79, 20)], 20.0),  # in doubt
        ([*high, *[(0.82, 20), (0.79, 20)] * 2], 26.0),  # for too long
        ([*missed, (0.9, 30)], 30.0),  # surely met, but not twice yet
        ([*missed, *high], 21.0),
    ):
        controller = validated(MetricFloor("acc", 0.8), seen, 40)
        assert price_of(controller, aim, 0.0) == pytest.approx(base, rel=1e-4)


def test_a_floor_is_approached_from_above_in_a_run_that_measures() -> None:
    """Validation is good enough with eight joints or more: the frozen mask has few more."""
    controller = learned(MetricFloor("acc", 0.8), 40)
    worth = 0.1 * 0.82 ** torch.arange(40.0)
    population(worth, controller, 2000, lambda mask: 0.9 if sum(mask) >= 8 else 0.7)
    assert 8 <= sum(controller.chosen) <= 10


def accuracy(kept: int) -> float:
    """What so many joints are truly worth: the floor of 0.85 takes eight."""
    return 0.95 - 0.6 * math.exp(-kept / 4)


def test_the_floor_truly_holds_for_the_mask_that_was_chosen_on_few_noisy_clips() -> None:
    """A hundred runs, each with twenty validations on 200 clips."""
    smallest = next(kept for kept in range(1, 41) if accuracy(kept) >= 0.85)
    worth = 0.1 * 0.82 ** torch.arange(40.0)
    kept = []
    for seed in range(100):
        random, controller = Random(seed), learned(MetricFloor("acc", 0.85), 40)

        def measure(mask: list[bool], random: Random = random) -> float:
            return fmean(random.random() < accuracy(sum(mask)) for _ in range(200))

        population(worth, controller, 400, measure)
        kept.append(sum(controller.chosen))
    assert sum(accuracy(one) >= 0.85 for one in kept) >= 95
    assert smallest <= median(kept) <= 1.5 * smallest


def test_joints_are_opened_again_where_the_final_mask_is_surely_below_the_floor() -> None:
    def reopened(values: Sequence[float], left: float = 1.0) -> int:
        """After a search with a spread of 0.02 between validations, and a mask of eight."""
        seen = [(0.86, 8), (0.88, 8), (0.86, 8), (0.88, 8)]
        controller = validated(MetricFloor("acc", 0.85), seen, 40)
        for value in values:
            count = controller.reopened({"acc": value}, 8, left)
        return count

    assert reopened([0.7]) == 8  # one may be luck
    assert reopened([0.7, 0.7]) == 11
    assert reopened([0.7, math.nan]) == 8
    assert reopened([0.845, 0.845]) == 8  # within what chance does
    assert reopened([0.9, 0.9]) == 8
    assert reopened([0.7, 0.7], left=0.2) == 8  # too late to train them
    assert make_controller(Price("auto"), 40).reopened({"acc": 0.0}, 8, 1.0) == 8


def test_what_was_opened_again_is_judged_by_itself() -> None:
    controller = validated(MetricFloor("acc", 0.85), [(0.9, 8)] * 4, 10)
    counts = [controller.reopened({"acc": v}, n, 1.0) for v, n in ((0.7, 8), (0.7, 8), (0.7, 10))]
    assert counts == [8, 10, 10]


def test_a_drop_is_from_the_mean_of_the_warm_up() -> None:
    controller = observing(make_controller(MetricFloor("acc", drop=0.05), 6), [1.0])
    with pytest.raises(ValueError, match=r"a finite 'acc' in the warm-up.*0\.05.*Lengthen.*floor"):
        controller.checked_price()
    for value in (0.88, math.nan, 0.92):
        controller.observe_unpruned({"acc": value})
    assert controller.floor == pytest.approx(0.85)
    assert controller.checked_price() == pytest.approx(0.3 / 6)
    for _ in range(2):
        controller.observe_metrics({"acc": 0.86}, [True] * 4 + [False] * 2)
    assert sum(controller.chosen) == 4
    for _ in range(2):
        controller.observe_metrics({"acc": 0.84}, [True] * 2 + [False] * 4)
    assert sum(controller.chosen) == 4


def test_a_floor_that_is_given_does_not_follow_the_warm_up() -> None:
    controller = make_controller(MetricFloor("acc", 0.8), 6)
    controller.observe_unpruned({"acc": 0.5})
    assert controller.floor == 0.8


# --- state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "budget",
    [Price("auto"), Price(0.1), TargetJoints(3), MetricFloor("a", 0), MetricFloor("a", drop=0.1)],
)
def test_a_controller_goes_on_where_its_state_was_saved(budget) -> None:
    def drive(controller: Controller, steps: range) -> list[float]:
        prices = []
        for step in steps:
            controller.observe_loss(torch.tensor(1.0 + step))
            prices.append(price_of(controller, 10.0 - step / 3, step / 20))
            controller.observe_unpruned({"a": float(step)})
            controller.observe_metrics({"a": (-1.0) ** step}, [True] * 5 + [False] * 5)
        return prices

    whole, half, other = (make_controller(budget, 10) for _ in range(3))
    expected = drive(whole, range(20))
    drive(half, range(7))
    state = half.state_dict()
    other.load_state_dict(state)
    drive(half, range(7, 12))  # what goes on does not change what was saved
    assert drive(other, range(7, 20)) == expected[7:]
    assert other.chosen == whole.chosen
    plain = (bool, int, float, str, list, Tensor, type(None))
    assert all(isinstance(value, plain) for value in state.values())
