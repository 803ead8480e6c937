"""Joints are taken that stand for all others, where near-copies are worth the same."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.gates.masks import hard_mask
from lightning_jointprune.search.budgets import make_controller
from lightning_jointprune.search.budgets.fewest import Fewest
from lightning_jointprune.search.budgets.price import Price
from lightning_jointprune.search.budgets.target_joints import TargetJoints
from lightning_jointprune.search.cover import BELOW, FLAT, PAIRS, copies_are_alike, cover_first
from lightning_jointprune.search.search import JointSearch


def clusters(*sizes: int, r2: float = 0.95) -> Tensor:
    """The R² of joints of which those of a cluster foretell each other."""
    blocks = [torch.full((size, size), r2) for size in sizes]
    whole: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return whole.fill_diagonal_(1.0)


def taken(ranked: Tensor, redundancy: Tensor, count: int) -> list[int]:
    """The joints that come first, in their order."""
    return cover_first(ranked, redundancy, count).argsort(descending=True)[:count].tolist()


# --- the joints that stand for all others --------------------------------------------------------


@given(st.lists(st.integers(-9, 9), min_size=3, max_size=9, unique=True), st.integers(1, 9))
def test_without_redundant_joints_it_is_the_order_that_there_is(
    values: list[int], count: int
) -> None:
    ranked, count = torch.tensor(values, dtype=torch.float64), min(count, len(values))
    found = taken(ranked, torch.eye(len(values), dtype=torch.float64), count)
    assert found == ranked.argsort(descending=True)[:count].tolist()


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_what_is_taken_stands_for_the_others_nearly_as_well_as_the_best_set(
    seed: int, count: int
) -> None:
    """Greedy reaches 1 - 1/e of the optimum (Nemhauser, Wolsey and Fisher 1978, theorem 4.1)."""
    generator = torch.Generator().manual_seed(seed)
    ranked = BELOW * torch.rand(7, generator=generator, dtype=torch.float64)
    redundancy = torch.rand(7, 7, generator=generator, dtype=torch.float64).fill_diagonal_(1.0)
    counts = (ranked / FLAT).exp() / redundancy.sum(1)

    def stands_for(joints: Any) -> float:
        return float((counts * redundancy[:, list(joints)].amax(1)).sum())

    best = max(map(stands_for, combinations(range(7), count)))
    found = taken(ranked, redundancy, count)
    assert stands_for(found) >= (1 - 1 / math.e - 0.01) * best
    first = max(stands_for([joint]) for joint in range(7))
    assert stands_for(found[:1]) == pytest.approx(first, rel=0.01)


def test_one_of_each_cluster_comes_before_the_second_of_any() -> None:
    ranked = torch.tensor([3.0, 2.9, 2.8, 1.0, 0.9, 0.8, 0.0])
    assert {*taken(ranked, clusters(3, 3, 1), 3)} == {0, 3, 6}


def test_many_near_copies_count_no_more_than_one_joint() -> None:
    ranked = torch.tensor([1.0] * 8 + [2.0, 0.0])
    assert taken(ranked, clusters(8, 1, 1, r2=1.0), 3) == [8, 0, 9]


@given(st.integers(0, 10_000), st.integers(2, 12))
def test_of_near_copies_that_foretell_each_other_fully_those_that_rank_highest_are_taken(
    seed: int, count: int
) -> None:
    ranked = torch.randn(12, generator=torch.Generator().manual_seed(seed))
    first, *others = taken(ranked, clusters(6, 6, r2=1.0), count)
    of_both = {int(ranked[:6].argmax()), 6 + int(ranked[6:].argmax())}
    assert {first, others[0]} == of_both
    left = [joint for joint in ranked.argsort(descending=True).tolist() if joint not in of_both]
    assert others[1:] == left[: count - 2]


def test_joints_that_rank_far_below_those_to_be_taken_take_no_place_of_theirs() -> None:
    """A hand that carries the class, beside a face and a hand that do not, each a rigid cluster."""
    ranked = torch.cat([torch.full((30,), -1.9), torch.full((21,), -1.8), torch.linspace(4, 9, 21)])
    for count in (1, 3, 8, 21):
        assert min(taken(ranked, clusters(30, 21, 21), count)) >= 51
    assert sum(joint >= 51 for joint in taken(ranked, clusters(30, 21, 21), 24)) >= 20


@given(st.integers(0, 10_000), st.integers(1, 8))
def test_joints_that_stand_still_stand_for_nothing(seed: int, count: int) -> None:
    ranked = torch.rand(12, generator=torch.Generator().manual_seed(seed))
    redundancy = clusters(4, 4, 1, 1, 1, 1)
    redundancy[8:, 8:] = 0.0
    assert max(taken(ranked, redundancy, count)) < 8


def test_joints_always_kept_stand_for_their_copies_and_closed_ones_are_not_taken() -> None:
    ranked = torch.tensor([torch.inf, 3.0, 2.0, 1.0, -torch.inf, 0.5])
    result = cover_first(ranked, clusters(2, 1, 2, 1), 3)
    assert hard_mask(result, 3).nonzero().flatten().tolist() == [0, 2, 3]
    assert [result[0].item(), result[4].item()] == [math.inf, -math.inf]
    assert result[1] == ranked[1]  # what is left keeps its order


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_the_values_are_those_of_a_mask_of_that_many_joints(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ranked = torch.randn(6, generator=generator)
    redundancy = torch.rand(6, 6, generator=generator)
    result = cover_first(ranked, redundancy, count)
    assert int(hard_mask(result, count).sum()) == count
    assert (result[hard_mask(result, count)] > ranked.max()).all()
    order = torch.randperm(6, generator=generator)
    moved = cover_first(ranked[order], redundancy[order][:, order], count)
    torch.testing.assert_close(moved, result[order])


# --- whether near-copies are worth the same ------------------------------------------------------


def paired(own: float, pairs: int = 400) -> Tensor:
    """The worth of pairs of near-copies: what both share, of variance 1, and what is their own."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(pairs, 1, generator=generator)
    return (shared + own * torch.randn(pairs, 2, generator=generator)).flatten()


@pytest.mark.parametrize(("own", "alike"), [(0.0, True), (0.7, True), (1.2, False), (9.0, False)])
def test_they_are_alike_if_more_than_055_of_the_variance_is_shared(own: float, alike: bool) -> None:
    """The share is 1 / (1 + own²): 1, 0.67, 0.41 and 0.01."""
    worth = paired(own)
    free = torch.ones(len(worth), dtype=torch.bool)
    assert copies_are_alike(worth, clusters(*[2] * 400), free) is alike


def test_what_other_joints_are_worth_does_not_matter() -> None:
    worth, redundancy = paired(0.0), clusters(*[2] * 400, r2=0.89)
    assert not copies_are_alike(worth, redundancy, torch.ones(800, dtype=torch.bool))
    redundancy = clusters(*[2] * 400)
    redundancy[::2, 1::2] *= 0.9  # either has to foretell the other
    assert not copies_are_alike(worth, redundancy, torch.ones(800, dtype=torch.bool))


@pytest.mark.parametrize("pairs", [0, 1, PAIRS - 1, PAIRS])
def test_a_few_pairs_say_nothing(pairs: int) -> None:
    worth, redundancy = paired(0.0, pairs + 5), clusters(*[2] * (pairs + 5))
    free = torch.arange(2 * pairs + 10) < 2 * pairs
    assert copies_are_alike(worth, redundancy, free) is (pairs >= PAIRS)


def test_joints_that_are_all_worth_the_same_are_left_in_their_order() -> None:
    free = torch.ones(800, dtype=torch.bool)
    assert not copies_are_alike(torch.ones(800), clusters(*[2] * 400), free)


# --- in a search ---------------------------------------------------------------------------------

WORTH = torch.tensor([4.0, 3.9, 4.1, 3.8, 4.2, 4.0, 2.0, 1.9, 2.1, 1.8, 2.2, 2.0])
PERCENT = (100 * clusters(6, 6)).round().to(torch.uint8)


def searched(
    percent: Tensor | None, worth: Tensor = WORTH, budget: Any = None, **settings: Any
) -> JointSearch:
    """A search of twelve joints after 16 % of its steps, whose gates are worth this."""
    layer = JointPruningLayer(12, **settings)
    controller = make_controller(budget or TargetJoints(2), layer)
    search = JointSearch(layer, controller, (0.0, 1.0 - 1e-9))
    search.to(torch.device("cpu"), seed=0)
    search.advance(0.1)
    if search.evidence is not None:
        search.evidence.add(torch.stack([torch.zeros_like(worth), worth.square()]), 1, 0.1)
    search.advance(0.16, lambda: percent)
    return search


def kept(search: JointSearch) -> list[int]:
    search.advance(1.0)
    return [joint for joint, is_kept in enumerate(search.mask()) if is_kept]


def test_where_copies_are_alike_a_mask_has_one_joint_of_each_cluster() -> None:
    search = searched(PERCENT)
    first, second = kept(search)
    assert first < 6 <= second
    assert search.course()["cover"]


@pytest.mark.parametrize(
    ("percent", "worth"),
    [(None, WORTH), (PERCENT, WORTH[[0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]])],
    ids=["no redundancy is known", "copies are worth something of their own"],
)
def test_elsewhere_it_has_the_joints_that_are_worth_most(
    percent: Tensor | None, worth: Tensor
) -> None:
    search = searched(percent, worth)
    assert kept(search) == sorted(worth.topk(2).indices.tolist())
    assert not search.course()["cover"]


def test_the_joints_to_be_kept_have_the_highest_logits_before_the_freeze() -> None:
    """They earn the price from then on, so that the freeze changes nothing."""
    search = searched(PERCENT)
    search.advance(0.61)
    before = search.layer.joint_logits.clone()
    search.layer.joint_logits.data += torch.linspace(0.0, 1.0, 12)
    search.advance(0.63)
    best = search.layer.joint_logits.topk(2).indices.sort().values.tolist()
    assert best[0] < 6 <= best[1]
    assert not torch.equal(before, search.layer.joint_logits)
    assert kept(search) == best


def test_a_kept_joint_has_no_lower_keep_probability_than_a_dropped_one() -> None:
    search = searched(PERCENT)
    joints = kept(search)
    probabilities = torch.tensor(search.probabilities())
    mask = torch.zeros(12, dtype=torch.bool)
    mask[joints] = True
    assert probabilities[mask].min() >= probabilities[~mask].max()


def test_a_search_that_goes_on_from_a_checkpoint_takes_the_same_joints() -> None:
    search = searched(PERCENT)
    state = search.state_dict()
    other = searched(None)
    other.load_state_dict(state)
    assert kept(other) == kept(search)


@pytest.mark.parametrize(
    ("budget", "settings"),
    [(Price(0.1), {}), (Fewest(), {}), (None, {"groups": {"arm": [0, 1, 2]}})],
)
def test_a_price_fewest_joints_and_groups_do_without(budget: Any, settings: dict[str, Any]) -> None:
    assert searched(PERCENT, budget=budget, **settings).copies is None
