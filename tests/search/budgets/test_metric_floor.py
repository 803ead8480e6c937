"""`MetricFloor` asks validations for a number of joints, and chooses a mask by them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from statistics import fmean, median

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.search.budgets.metric_floor import MetricFloor
from lightning_jointprune.search.budgets.price import Price
from lightning_jointprune.search.controller import Controller
from lightning_jointprune.search.metrics import higher_is_better
from tests.search.test_controller import controller_of, goes_on, learned, observing, price_of
from tests.search.test_steering import population


def test_a_metrics_name_tells_which_values_are_better_unless_the_mode_does() -> None:
    for metric in ("val_acc", "val_loss"):
        assert MetricFloor(metric, 0.5).higher_is_better == higher_is_better(metric)
        assert MetricFloor(metric, 0.5, "max").higher_is_better
        assert not MetricFloor(metric, 0.5, "min").higher_is_better


@given(st.floats(-10, 10), st.floats(0, 10))
def test_a_drop_is_to_the_worse_side_of_the_unpruned_level(level: float, drop: float) -> None:
    assert MetricFloor("m", mode="max", drop=drop).floor_below(level) == level - drop
    assert MetricFloor("m", mode="min", drop=drop).floor_below(level) == level + drop
    assert MetricFloor("m", 0.5).floor_below(level) == 0.5


@pytest.mark.parametrize(
    ("budget", "unpruned", "instead"),
    [
        (MetricFloor("val_acc", 90), [0.5, 0.6], "floor=0.9"),
        (MetricFloor("val_acc", 0.85), [50.0, 60.0], "floor=85"),
        (MetricFloor("val_acc", drop=2.0), [0.5, 0.6], "drop=0.02"),
    ],
)
def test_per_cent_beside_a_fraction_is_doubted_with_what_to_pass(
    budget: MetricFloor, unpruned: list[float], instead: str
) -> None:
    assert f"pass MetricFloor('val_acc', {instead})" in (budget.unit_doubt(unpruned) or "")


@pytest.mark.parametrize(
    ("budget", "unpruned"),
    [
        (MetricFloor("val_acc", 0.9), [0.5, 0.6]),
        (MetricFloor("val_acc", 90), [0.7, 60.0]),
        (MetricFloor("val_acc", drop=0.01), [50.0]),
        (MetricFloor("val_acc", drop=0.0), [0.5]),
        (MetricFloor("val_loss", 2.0), [0.5]),
        (MetricFloor("score", 0.5), [-1.0, 3.0]),
        (MetricFloor("val_acc", 90), []),
    ],
)
def test_a_floor_that_can_be_of_the_metrics_unit_is_not_doubted(
    budget: MetricFloor, unpruned: list[float]
) -> None:
    assert budget.unit_doubt(unpruned) is None


def validated(budget: MetricFloor, seen: Sequence[tuple[float, int]], joints: int = 6):
    """Return a controller that has seen these values with these numbers of joints."""
    controller = observing(controller_of(budget, joints), [1.0])
    for value, active in seen:
        mask = [index < active for index in range(joints)]
        controller.observe_search({budget.metric: value, "other": 9.0}, mask)
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
    controller = controller_of(MetricFloor("acc", 0.8), 3)
    controller.observe_search({"acc": 0.9}, [True, False, False])
    controller.observe_search({"acc": 0.9}, [False, True, False])
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
    """Return what so many joints are truly worth: the floor of 0.85 takes eight."""
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
    assert sum(accuracy(count) >= 0.85 for count in kept) >= 95
    assert smallest <= median(kept) <= 1.5 * smallest


def reopened_after(
    controller: Controller, values: Sequence[float], kept: Sequence[int], left: float = 1.0
) -> list[int]:
    """Return how many joints to keep after each validation of the final phase."""
    counts = []
    for value, active in zip(values, kept, strict=True):
        mask = [joint < active for joint in range(40)]
        controller.observe_final({"acc": value}, mask)
        counts.append(controller.final_count(active, left))
    return counts


def test_joints_are_opened_again_where_the_final_mask_is_surely_below_the_floor() -> None:
    def reopened(values: Sequence[float], left: float = 1.0) -> int:
        """After a search with a spread of 0.02 between validations, and a mask of eight."""
        seen = [(0.86, 8), (0.88, 8), (0.86, 8), (0.88, 8)]
        controller = validated(MetricFloor("acc", 0.85), seen, 40)
        return reopened_after(controller, values, [8] * len(values), left)[-1]

    assert reopened([0.7]) == 8  # one may be luck
    assert reopened([0.7, 0.7]) == 11
    assert reopened([0.7, math.nan]) == 8
    assert reopened([0.845, 0.845]) == 8  # within what chance does
    assert reopened([0.9, 0.9]) == 8
    assert reopened([0.7, 0.7], left=0.2) == 8  # too late to train them
    assert reopened_after(controller_of(Price("auto"), 40), [0.0], [8]) == [8]


def test_what_was_opened_again_is_judged_by_itself() -> None:
    controller = validated(MetricFloor("acc", 0.85), [(0.9, 8)] * 4, 10)
    assert reopened_after(controller, [0.7, 0.7, 0.7], [8, 8, 10]) == [8, 10, 10]


def test_a_drop_is_from_the_mean_of_the_warm_up() -> None:
    controller = observing(controller_of(MetricFloor("acc", drop=0.05), 6), [1.0])
    with pytest.raises(ValueError, match=r"a finite 'acc' in the warm-up.*0\.05.*Lengthen.*floor"):
        controller.checked_price()
    for value in (0.88, math.nan, 0.92):
        controller.observe_warmup({"acc": value})
    assert controller.floor == pytest.approx(0.85)
    assert controller.checked_price() == pytest.approx(0.3 / 6)
    for _ in range(2):
        controller.observe_search({"acc": 0.86}, [True] * 4 + [False] * 2)
    assert sum(controller.chosen) == 4
    for _ in range(2):
        controller.observe_search({"acc": 0.84}, [True] * 2 + [False] * 4)
    assert sum(controller.chosen) == 4


def test_a_floor_that_is_given_does_not_follow_the_warm_up() -> None:
    controller = controller_of(MetricFloor("acc", 0.8), 6)
    controller.observe_warmup({"acc": 0.5})
    assert controller.floor == 0.8


@pytest.mark.parametrize("budget", [MetricFloor("a", 0), MetricFloor("a", drop=0.1)])
def test_it_goes_on_where_its_state_was_saved(budget: MetricFloor) -> None:
    goes_on(budget)
