"""`Fewest`: the ladder that is compared, and what it refuses."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"within": -0.1}, r"within of at least 0, .*got -0\.1"),
        ({"within": float("nan")}, r"within of at least 0, .*got nan"),
        ({"metric": "val_acc", "mode": "best"}, 'mode "max" or "min" but got \'best\''),
        ({"mode": "min"}, r"the metric that mode='min' is meant for"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fewest(**arguments)  # type: ignore[arg-type]
