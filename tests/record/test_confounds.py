"""Confounds are found in skeletons that are made to move, vanish and leave the picture."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from lightning_jointprune.record.confounds import JointInput, confounds, rank_correlation

UNSEEN = JointInput(0.1, 0.4, 0.0, 0.0)
SEEN = JointInput(0.1, 1.0, 0.0, 0.0)


# --- what reaches the gates -----------------------------------------------------------------------


# --- rank correlation -----------------------------------------------------------------------------

NUMBERS = st.lists(
    st.tuples(st.integers(-4, 4).map(float), st.integers(-4, 4).map(float)), min_size=3, max_size=20
)


@given(NUMBERS)
def test_rank_correlation_is_spearmans_with_ties(pairs: list[tuple[float, float]]) -> None:
    x, y = zip(*pairs, strict=True)
    found = rank_correlation(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(x, y).statistic)


def test_rank_correlation_of_few_or_unknown_values_is_none() -> None:
    assert rank_correlation([1.0, 2.0], [1.0, 2.0]) is None
    assert rank_correlation([], []) is None
    assert rank_correlation([1.0, 2.0, 3.0], [None, 2.0, 3.0]) is None
    assert rank_correlation([1.0, 2.0, 3.0, None], [9.0, 4.0, 1.0, 100.0]) == -1.0


# --- confounds ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "phantom",
    [
        JointInput(0.1, 0.5, 0.0, None),
        JointInput(0.1, 1.0, 0.5, 0.0),
        JointInput(0.1, 1.0, 0.0, 0.5),
    ],
)
def test_a_phantom_is_a_kept_joint_that_mostly_is_not_seen(phantom: JointInput) -> None:
    inputs = {"hand": SEEN, "knee": phantom, "foot": UNSEEN}
    found = confounds({"hand": 0.5}, inputs, kept=["hand", "knee"])
    assert found.phantoms == ("knee",)
    assert found.phantom_share == 0.5
    nothing = JointInput(None, None, None, None)
    assert confounds({}, {"hand": nothing}, kept=["hand"]).phantoms == ()
