"""Test comparisons of several runs by hand, by limits and by a reference, and random joints."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import t as student
from torch import Tensor

from lightning_jointprune import (
    JointEvaluation,
    JointSelection,
    frontier,
    random_masks,
    stability,
)
from lightning_jointprune.measure.agreement import (
    AGAIN,
    Exchange,
    FrontierPoint,
    effective_stability,
    exchanges,
    jaccard,
    kept_again,
    mean_of_runs,
    seed_agreement,
    similarity_of,
)
from lightning_jointprune.record.intervals import Estimate

NAMES = ("nose", "wrist", "thumb", "index", "ring", "little")


def selection(*indices: int, names: tuple[str, ...] = NAMES) -> JointSelection:
    return JointSelection(indices, len(names), names, (0.5,) * len(names))


# --- stability ------------------------------------------------------------------------------------


def test_equal_selections_agree_wholly_and_have_no_interval() -> None:
    assert stability([selection(0, 3)] * 4) == (1.0, None, None)


def test_two_runs_that_share_no_joint_of_half_disagree_wholly() -> None:
    assert stability([selection(0, 1, 2), selection(3, 4, 5)]).value == pytest.approx(-1.0)


@pytest.mark.parametrize("second", [selection(0, 3), selection(0, 2), selection(0, 2, 3)])
def test_two_runs_have_no_interval_since_their_spread_is_not_known(second: JointSelection) -> None:
    found = stability([selection(0, 3), second])
    assert (found.low, found.high) == (None, None)


def test_a_small_case_by_hand() -> None:
    # Frequencies 1, 2/3, 1/3 and thrice 0: mean s² = (3/2)(2/9 + 2/9)/6 = 1/9; k/J = 1/3, so
    # chance is 2/9 and the stability 1 - (1/9)/(2/9).
    found = stability([selection(0, 1), selection(0, 1), selection(0, 2)])
    assert found.value == pytest.approx(1 / 2)
    # Influences: (mean(z p) - 1/9 + (1/4)(2/9 - 1/3 - 1/3 + 1)) / (2/9); mean(z p) is 5/18, 5/18
    # and 4/18, so they differ by (1/18)/(2/9) = 1/4, the squares about their mean sum to 1/24.
    half = 1.959964 * 2 / 3 * math.sqrt(1 / 24)
    assert (found.low, found.high) == pytest.approx((1 / 2 - half, 1 / 2 + half), abs=1e-6)


def test_of_one_size_it_is_the_mean_of_kunchevas_index_over_pairs() -> None:
    # Nogueira et al. 2018, section 4: (|A ∩ B| - k²/J) / (k - k²/J).
    sets = [(0, 1, 2), (0, 1, 4), (1, 2, 5), (0, 3, 5)]
    chance = 3 * 3 / 6
    pairs = [(len({*a} & {*b}) - chance) / (3 - chance) for a, b in combinations(sets, 2)]
    assert stability([selection(*joints) for joints in sets]).value == pytest.approx(sum(pairs) / 6)


def test_the_interval_is_that_of_the_delta_method_when_sizes_differ() -> None:
    # The gradient in the weights of the runs, by automatic differentiation.
    likely = torch.tensor([0.95, 0.9, 0.9, 0.5, 0.5, 0.2, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0])
    z = torch.rand(30, 12, generator=torch.Generator().manual_seed(1)).lt(likely).double()
    weights = torch.full((30,), 1 / 30, dtype=torch.float64, requires_grad=True)
    share = weights / weights.sum()
    frequency = share @ z
    mean = frequency.mean()
    value = 1 - 30 / 29 * (frequency * (1 - frequency)).mean() / (mean * (1 - mean))
    value.backward()
    expected = 1.959964 * (weights.grad / 30).square().sum().sqrt().item()
    found = stability(z.bool())
    assert found.value == pytest.approx(value.item())
    # 30/29, the factor of the unbiased variance, is not in the formula of the paper.
    assert found.high - found.value == pytest.approx(expected, rel=0.04)


def test_random_selections_agree_as_by_chance() -> None:
    masks = random_masks(selection(0, 2), n=400, seed=3)
    found = stability(masks)
    assert abs(found.value) < 0.01
    assert found.low < 0.0 < found.high


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=2, max_size=8))
def test_it_is_within_its_bounds_and_its_interval(rows: list[list[bool]]) -> None:
    masks = torch.tensor(rows)
    assume(masks.any() and not masks.all())
    value, low, high = stability(masks)
    assert -1 / (len(rows) - 1) - 1e-9 <= value <= 1 + 1e-9
    if low is None or high is None:
        assert low is high
    else:
        assert low < value < high
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    assert stability(masks[order]).value == pytest.approx(value)
    if value > 1 - 1e-9:
        assert (masks == masks[0]).all()


@pytest.mark.parametrize(
    ("selections", "message"),
    [
        ([selection(1)], "at least two runs"),
        ([selection(1), selection(1, names=tuple("abcdef"))], "of the same joints"),
        ([selection(*range(6))] * 2, "drop some joints and keep some"),
        ([selection()] * 2, "drop some joints and keep some"),
    ],
)
def test_where_it_is_not_defined_it_is_refused(
    selections: list[JointSelection], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        stability(selections)


# --- stability with stand-ins ---------------------------------------------------------------------


def alike(*pairs: tuple[int, int, float], joints: int = 6) -> Tensor:
    """Return the unit matrix with these similarities in it."""
    similarity = torch.eye(joints, dtype=torch.float64)
    for first, second, value in pairs:
        similarity[first, second] = similarity[second, first] = value
    return similarity


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=2, max_size=8))
def test_without_stand_ins_it_is_the_plain_stability(rows: list[list[bool]]) -> None:
    masks = torch.tensor(rows)
    assume(masks.any() and not masks.all())
    found = effective_stability(masks, alike(joints=5))
    assert found == pytest.approx(stability(masks).value, abs=1e-9)


def test_the_effective_stability_of_a_small_case_by_hand() -> None:
    # Two of six joints in each run; joint 0 always, and 1, 1, 2. Variances 0, 1/3 and 1/3, their
    # covariance -1/3: tr(C S) = 2/3 - 2/3 c. By chance 6 (1/3)(2/3) = 4/3 on the diagonal, and
    # beside it 2/30 - 1/9 = -2/45: tr(C S0) = 4/3 - 4/45 c.
    runs = [selection(0, 1), selection(0, 1), selection(0, 2)]
    for c in (0.0, 0.5, 0.97, 1.0):
        expected = 1 - (2 / 3 - 2 / 3 * c) / (4 / 3 - 4 / 45 * c)
        assert effective_stability(runs, alike((1, 2, c))) == pytest.approx(expected)
    assert effective_stability(runs, alike((1, 2, 1.0))) == pytest.approx(1.0)
    assert stability(runs).value == pytest.approx(0.5)


def test_the_effective_stability_of_other_sizes_by_hand() -> None:
    # Sets of 1 and 3 of four joints, {0} and {1, 2, 3}; 0 and 1 are alike. Variances 1/2 each,
    # covariance of 0 and 1 -1/2: tr(C S) = 2 - c. Mean size 2, so 1/4 each by chance; pairs
    # ((0 + 6)/2)/12 - 1/4 = 0: tr(C S0) = 1.
    masks = torch.tensor([[True, False, False, False], [False, True, True, True]])
    assert effective_stability(masks, alike((0, 1, 0.8), joints=4)) == pytest.approx(1 - 1.2)


def test_random_sets_have_an_effective_stability_of_0_in_the_mean_of_all_pairs_of_them() -> None:
    sets = list(combinations(range(5), 2))
    masks = [torch.tensor([joint in kept for joint in range(5)]) for kept in sets]
    similarity = alike((0, 1, 0.9), (1, 2, 0.7), (3, 4, 0.6), joints=5)
    found = [effective_stability(torch.stack([a, b]), similarity) for a in masks for b in masks]
    assert sum(found) / len(found) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("similarity", "message"),
    [
        (alike(joints=5), "of 6 joints"),
        (alike((0, 1, 1.2)), r"in \[0, 1\]"),
        (torch.eye(6) + torch.eye(6).roll(1, 0) / 2, "symmetric"),
        (torch.zeros(6, 6), "ones on its diagonal"),
        (torch.ones(6, 6), "any set is as good as another"),
    ],
)
def test_a_similarity_that_does_not_fit_is_refused(similarity: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        effective_stability([selection(0, 1), selection(0, 2)], similarity)


def test_the_similarity_is_the_lower_r2_of_both_ways_in_the_mean_of_the_runs() -> None:
    first = [[1.0, 0.9, 0.4], [0.8, 1.0, 0.0], [0.9, 0.0, 0.0]]
    second = [[1.0, 0.7, 0.4], [0.8, 1.0, 0.0], [0.9, 0.0, 0.0]]
    assert torch.allclose(similarity_of([first, second]), alike((0, 1, 0.8), joints=3))


def test_exchanges_count_which_of_two_redundant_joints_runs_keep() -> None:
    runs = [selection(0, 2), selection(0, 2, 5), selection(1, 2), selection(0, 1, 3, 5)]
    similarity = alike((0, 1, 0.9), (2, 3, 0.6), (2, 5, 0.8), (1, 4, 1.0))
    assert exchanges(runs, similarity) == (
        Exchange((0, 1), 0.9, (2, 1), 1),
        Exchange((2, 5), 0.8, (2, 1), 1),
        Exchange((2, 3), 0.6, (3, 1), 0),
    )
    assert exchanges(runs, alike()) == ()


# --- agreement of seeds ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [((0, 1), (0, 1), 1.0), ((0, 1), (2,), 0.0), ((0, 1, 2), (1, 2, 3), 0.5), ((), (), 1.0)],
)
def test_overlap_is_the_intersection_over_the_union(
    first: tuple[int, ...], second: tuple[int, ...], overlap: float
) -> None:
    assert jaccard(first, second) == overlap


def test_other_seeds_are_compared_with_the_same() -> None:
    runs = [selection(0, 1), selection(0, 1), selection(0, 2), selection(0, 1, 2)]
    found = seed_agreement(runs, seeds=[1, 1, 2, 2])
    assert found.same_seed == pytest.approx((1 + 2 / 3) / 2)
    assert found.across == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert seed_agreement(runs[1:3], seeds=["a", "b"]) == (1 / 3, None)


def test_runs_that_keep_nothing_are_alike() -> None:
    assert seed_agreement([selection(), selection()], seeds=[1, 2]).across == 1.0


@pytest.mark.parametrize("seeds", [[1], [1, 1], [1, 2, 3]])
def test_each_run_has_a_seed_and_not_all_the_same(seeds: list[int]) -> None:
    with pytest.raises(ValueError, match="seeds of 2 runs, at least two different, but got"):
        seed_agreement([selection(1), selection(2)], seeds)


def test_seeds_are_compared_on_the_same_joints() -> None:
    others = selection(1, names=tuple("abcdef"))
    with pytest.raises(ValueError, match="of the same joints"):
        seed_agreement([selection(1), others], seeds=[1, 2])


# --- frontier -------------------------------------------------------------------------------------


def reached(joints: int, value: float, **metrics: float) -> JointSelection:
    probabilities = (0.5,) * len(NAMES)
    metrics = {"val_acc": value, **metrics}
    return JointSelection(
        tuple(range(joints)), len(NAMES), NAMES, probabilities, metrics, metric="val_acc"
    )


def evaluated(joints: int, value: float, metric: str = "accuracy") -> JointEvaluation:
    return JointEvaluation(NAMES, tuple(range(joints)), metric, 10, Estimate(value, 0.0, 1.0))


def test_the_frontier_is_the_mean_over_seeds_by_the_number_of_joints() -> None:
    runs = [reached(4, 0.95), reached(2, 0.8), reached(4, 0.97), reached(4, 0.93)]
    half = student.ppf(0.975, 2) * 0.02 / math.sqrt(3)
    few, many = frontier(runs)
    assert few == FrontierPoint(2, 1, Estimate(0.8))
    assert (many.joints, many.runs) == (4, 3)
    assert many.value == pytest.approx((0.95, 0.95 - half, 0.95 + half))
    assert frontier([]) == ()


def test_the_frontier_is_of_evaluations_or_of_another_metric_too() -> None:
    assert frontier([evaluated(1, 0.5)]) == (FrontierPoint(1, 1, Estimate(0.5)),)
    found = frontier([reached(3, 0.9, val_f1=0.7)], metric="val_f1")
    assert found == (FrontierPoint(3, 1, Estimate(0.7)),)


def test_the_frontier_has_one_metric() -> None:
    with pytest.raises(ValueError, match="a value of 'val_f1' but got val_acc"):
        frontier([reached(3, 0.9)], metric="val_f1")
    with pytest.raises(ValueError, match="a value of None but got None"):
        frontier([selection(1)])
    with pytest.raises(ValueError, match="one metric but got accuracy, val_acc"):
        frontier([reached(3, 0.9), evaluated(3, 0.9)])


@given(st.lists(st.floats(-10.0, 10.0), min_size=2, max_size=40))
def test_a_mean_of_runs_has_students_interval(values: list[float]) -> None:
    found = mean_of_runs(values)
    spread = torch.tensor(values, dtype=torch.float64).std().item() / math.sqrt(len(values))
    half = student.ppf(0.975, len(values) - 1) * spread
    assert found.value == pytest.approx(sum(values) / len(values), abs=1e-9)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=1e-9, abs=1e-9)


# --- random masks ---------------------------------------------------------------------------------


def test_random_masks_have_the_size_of_the_selection_and_every_joint_its_turn() -> None:
    masks = random_masks(selection(0, 5), n=3000, seed=1)
    assert (masks.sum(1) == 2).all()
    assert torch.allclose(masks.double().mean(0), torch.tensor(1 / 3).double(), atol=0.03)
    assert torch.equal(masks, random_masks(selection(0, 5), n=3000, seed=1))
    assert not torch.equal(masks, random_masks(selection(0, 5), n=3000, seed=2))


def test_random_masks_can_have_as_many_joints_of_each_part() -> None:
    parts = {"hand": ["wrist", "thumb", 3], "none of it": [4]}
    masks = random_masks(selection(1, 2, 5), n=200, seed=1, groups=parts)
    assert (masks[:, 1:4].sum(1) == 2).all()
    assert not masks[:, 4].any()
    assert (masks[:, [0, 5]].sum(1) == 1).all()  # the joints that are in no part
    assert masks[:, [0, 1, 2, 3, 5]].any(0).all()


def test_parts_share_no_joint_and_know_their_joints() -> None:
    with pytest.raises(ValueError, match="share no joint"):
        random_masks(selection(1), 1, 0, groups={"a": [1], "b": ["wrist"]})
    with pytest.raises(ValueError, match="in group 'a' but got 6"):
        random_masks(selection(1), 1, 0, groups={"a": [6]})


# --- from one run ---------------------------------------------------------------------------------


def test_the_chance_that_another_seed_keeps_a_joint_is_that_of_the_formula() -> None:
    chances = kept_again([True, False, True, False, False], [0.9, 0.3, 0.8, 0.2, 0.2])
    a, b, c, d = AGAIN
    places = (1, 3, 2, 4.5, 4.5)  # of equal keep probabilities the middle
    for kept, place, chance in zip((1, 0, 1, 0, 0), places, chances, strict=True):
        logit = a + b * kept + c * math.log(2.5 / place) + d * math.log(2 / 3)
        assert chance == pytest.approx(1 / (1 + math.exp(-logit)))


def test_joints_that_are_not_searched_for_are_certain_and_do_not_count() -> None:
    alone = kept_again([True, False, False], [0.9, 0.3, 0.2])
    fixed = kept_again([True, True, False, False, False], [1.0, 0.9, 0.3, 0.2, 0.0], [0, 4])
    assert fixed == (1.0, *alone, 0.0)
    assert kept_again([True, False], [0.9, 0.1], [0]) == ()
    assert kept_again([True, True], [0.9, 0.8]) == ()


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.data())
def test_of_two_joints_the_likelier_is_no_less_surely_kept_again(
    probabilities: list[float], data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(probabilities) - 1))
    order = sorted(range(len(probabilities)), key=lambda joint: -probabilities[joint])
    mask = [joint in order[:count] for joint in range(len(probabilities))]
    chances = kept_again(mask, probabilities)
    assert [chances[joint] for joint in order] == sorted(chances, reverse=True)
