"""A mask keeps the likeliest joints, whatever the probabilities."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.gates.masks import hard_mask, hard_mask_of_units


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_kept_are_exactly_those_above_one_half_but_never_none(values: list[float]) -> None:
    probabilities = torch.tensor(values)
    mask = hard_mask(probabilities)
    above = probabilities > 0.5
    if above.any():
        assert torch.equal(mask, above)
    else:
        assert mask.sum() == 1
        assert probabilities[mask].item() == probabilities.max()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.data())
def test_count_keeps_exactly_the_most_probable(values: list[float], data) -> None:
    count = data.draw(st.integers(1, len(values)))
    probabilities = torch.tensor(values)
    mask = hard_mask(probabilities, count)
    assert mask.sum() == count
    if count < len(values):
        assert probabilities[mask].min() >= probabilities[~mask].max()


def test_of_equal_joints_the_first_are_kept() -> None:
    assert hard_mask(torch.full((5,), 0.3), 2).tolist() == [True, True, False, False, False]


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 4)), min_size=1, max_size=7), st.data())
def test_whole_units_add_up_to_the_count_and_the_best_comes_first(units, data) -> None:
    owners = [number for number, (_, size) in enumerate(units) for _ in range(size)]
    probabilities = [units[owner][0] for owner in owners]
    sums = {0}
    for _, size in units:
        sums |= {total + size for total in sums}
    count = data.draw(st.integers(1, len(owners)))
    if count not in sums:
        with pytest.raises(ValueError, match=f"add up to but got {count}"):
            hard_mask_of_units(probabilities, owners, count)
        return
    mask = hard_mask_of_units(probabilities, owners, count)
    assert sum(mask) == count
    for number in set(owners):
        assert len({kept for kept, owner in zip(mask, owners, strict=True) if owner == number}) == 1
    best = max(range(len(units)), key=lambda number: units[number][0])
    others = {0}
    for number, (_, size) in enumerate(units):
        if number != best:
            others |= {total + size for total in others}
    is_unique = sum(p == units[best][0] for p, _ in units) == 1
    if is_unique and count - units[best][1] in others:
        assert mask[owners.index(best)]


def test_units_of_one_joint_give_the_same_mask_as_joints() -> None:
    probabilities = torch.rand(30)
    mask = hard_mask_of_units(probabilities.tolist(), range(30), 11)
    assert mask == hard_mask(probabilities, 11).tolist()
