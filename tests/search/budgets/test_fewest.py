"""`Fewest`: the ladder that is compared, and what it refuses."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.search.budgets import Price, make_controller
from lightning_jointprune.search.budgets.fewest import Fewest, dense_ladder
from tests.search.test_controller import controller_of


@given(st.integers(1, 600), st.integers(0, 600))
def test_a_ladder_has_every_number_to_12_and_no_gap_above_a_third(joints: int, kept: int) -> None:
    least = max(1, min(kept, joints))
    counts = dense_ladder(least, joints)
    assert (counts[0], counts[-1]) == (joints, least)
    assert {*range(least, min(12, joints) + 1)} <= {*counts}
    for more, fewer in itertools.pairwise(counts):
        assert fewer < more <= max(fewer + 1, 1.35 * fewer)


def test_the_ladder_has_no_joints_that_are_never_used_and_all_that_are_always_kept() -> None:
    controller = controller_of(Fewest(), 10, keep=range(3))
    assert controller.counts == tuple(range(10, 2, -1))


NOTHING_TO_COMPARE: dict[str, dict[str, Any]] = {
    "one joint": {"num_joints": 1},
    "all are kept": {"keep": range(4)},
    "all but one are never used": {"drop": range(3)},
    "one group": {"groups": {"all": range(4)}, "tied": True},
}


@pytest.mark.parametrize("settings", NOTHING_TO_COMPARE.values(), ids=NOTHING_TO_COMPARE)
def test_one_number_of_joints_is_refused_and_left_to_a_price_by_the_automatic_budget(
    settings: dict[str, Any],
) -> None:
    layer = JointPruningLayer(**{"num_joints": 4, **settings})
    with pytest.raises(ValueError, match=r"several numbers of joints .* but got [14] alone, of"):
        make_controller(Fewest(), layer)
    assert make_controller("auto", layer, validated=True).budget == Price()


def test_two_joints_are_two_numbers() -> None:
    assert controller_of(Fewest(), 2).counts == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"within": -0.1}, r"within of at least 0, .*got -0\.1"),
        ({"within": float("nan")}, r"within of at least 0, .*got nan"),
        ({"within": "0.02"}, r"within of at least 0, .*got '0\.02'"),
        ({"metric": 0.02}, r"name of a logged metric but got 0\.02.*Fewest\(within=0\.02\)"),
        ({"metric": "val_acc", "mode": "best"}, 'mode "max" or "min" but got \'best\''),
        ({"mode": "min"}, r"the metric that mode='min' is meant for"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fewest(**arguments)  # type: ignore[arg-type]
