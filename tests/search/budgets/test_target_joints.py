"""`TargetJoints` comes down to K joints, which are open at the freeze."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.gates.masks import hard_mask
from lightning_jointprune.search.budgets.target_joints import TargetJoints
from tests.search.test_controller import controller_of, goes_on, learned, price_of
from tests.search.test_steering import population


@given(st.integers(1, 20), st.integers(0, 20), st.integers(1, 25))
def test_a_target_fits_between_the_joints_always_kept_and_all_of_them(
    joints: int, kept: int, count: int
) -> None:
    kept = min(kept, joints)
    if max(1, kept) <= count <= joints:
        assert controller_of(TargetJoints(count), joints, range(kept)).count == count
    else:
        with pytest.raises(ValueError, match=rf"from {max(1, kept)} .* to {joints} .*got {count}"):
            controller_of(TargetJoints(count), joints, range(kept))


def test_a_target_is_approached_geometrically_and_reached_before_the_search_ends() -> None:
    """On its target a controller asks the automatic price: all prices tell where the target is."""
    base = 0.3 / 40
    for done, target in ((0.0, 40.0), (0.15, 40.0), (0.385, 20.0), (0.619999, 10.0)):
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
    assert price_of(controller, 1.0, 0.61) < 0.01 * base
    assert controller.decided is None
    assert price_of(controller, 1.0, 0.62) == pytest.approx(base, rel=1e-4)
    controller = learned(TargetJoints(10), 40)
    high = [price_of(controller, 40.0, done / 100) for done in range(62, 80)]
    assert high[-1] > 3.0 * base
    settled = [price_of(controller, 5.0, done / 100) for done in range(80, 100)]
    assert settled == pytest.approx([settled[0]] * 20)


def test_joints_earn_the_price_only_when_about_as_many_as_asked_for_are_left_or_time_is_short() -> (
    None
):
    controller = learned(TargetJoints(10), 40)
    decided = []
    for done, expected in ((0.55, 10.0), (0.62, 30.0), (0.7, 13.0), (0.71, 11.9), (0.72, 30.0)):
        price_of(controller, expected, done)
        decided.append(bool(controller.decided))
    assert decided == [False, False, False, True, True]
    late = learned(TargetJoints(10), 40)
    assert [bool(price_of(late, 30.0, done) and late.decided) for done in (0.84, 0.85)] == [
        False,
        True,
    ]


def test_it_goes_on_where_its_state_was_saved() -> None:
    goes_on(TargetJoints(3))
