"""Test paired tests by closed forms, by all ways to swap, by a reference and by their errors."""

from __future__ import annotations

import math
from itertools import combinations, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from lightning_jointprune.measure.significance import PairedTest, holm, paired_tests, swap_test
from lightning_jointprune.record.intervals import difference

P_VALUES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12)


def rights(text: str) -> torch.Tensor:
    return torch.tensor([letter == "+" for letter in text])


# --- the test -------------------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5))
def test_over_clips_it_is_mcnemars_exact_test(won: int, lost: int, same: int) -> None:
    expected = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert swap_test([1] * won + [0] * same + [-1] * lost) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=9))
def test_over_signers_it_counts_all_ways_to_swap_the_two(differences: list[int]) -> None:
    sums = [
        sum(sign * move for sign, move in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    extreme = sum(abs(total) >= abs(sum(differences)) for total in sums)
    assert swap_test(differences) == pytest.approx(extreme / len(sums))


def test_many_samples_do_not_underflow() -> None:
    p = swap_test([1] * 2000 + [-1] * 1000)
    assert p == pytest.approx(binomtest(1000, 3000).pvalue, rel=1e-6)
    assert 0.0 < p < 1e-70


def test_if_the_two_are_alike_it_finds_a_difference_as_rarely_as_it_says() -> None:
    # Each of 12 signers favours one of the two sets, so that the clips of a signer agree.
    generator = torch.Generator().manual_seed(0)
    signers = [signer for signer in range(12) for _ in range(20)]
    by_clips, by_signers, runs = 0, 0, 300
    for _ in range(runs):
        taste = torch.rand(12, generator=generator).repeat_interleave(20)
        first, second = (torch.rand(240, generator=generator) < t for t in (taste, 1 - taste))
        right = {"a": first, "b": second}
        by_clips += paired_tests(right)[0].p < 0.05
        by_signers += paired_tests(right, signers=signers)[0].p < 0.05
    assert by_signers / runs < 0.08
    assert by_clips / runs > 0.3  # errs too often without signers


# --- Holm's correction ----------------------------------------------------------------------------


def test_holms_correction_of_a_textbook_case() -> None:
    # 4 * 0.01, 3 * 0.0125, raised to the one before it, 2 * 0.02, and 0.04 itself.
    assert holm([0.02, 0.01, 0.04, 0.0125]) == pytest.approx([0.04, 0.04, 0.04, 0.04])
    assert holm([0.001, 0.5, 0.02]) == pytest.approx([0.003, 0.5, 0.04])
    assert holm([]) == []


@given(P_VALUES)
def test_holms_correction_keeps_the_order_and_is_between_none_and_bonferronis(
    values: list[float],
) -> None:
    found = holm(values)
    for p, corrected in zip(values, found, strict=True):
        assert p <= corrected <= min(1.0, len(values) * p)
    assert min(found) == min(1.0, len(values) * min(values))
    for (p, adjusted), (q, other) in combinations(zip(values, found, strict=True), 2):
        assert (adjusted <= other) if p <= q else (adjusted >= other)


@given(P_VALUES, st.floats(0.001, 0.2))
def test_what_is_significant_after_it_is_what_holms_procedure_rejects(
    values: list[float], alpha: float
) -> None:
    rejected = 0
    for rank, p in enumerate(sorted(values)):
        if (len(values) - rank) * p > alpha:
            break
        rejected += 1
    assert sum(p <= alpha for p in holm(values)) == rejected


# --- comparing sets -------------------------------------------------------------------------------


def test_sets_are_compared_in_pairs_or_with_a_reference() -> None:
    right = {"a": rights("++++++--"), "b": rights("+-------"), "c": rights("++++++-+")}
    pairs = [(test.first, test.second) for test in paired_tests(right)]
    assert pairs == [("a", "b"), ("a", "c"), ("b", "c")]
    found = paired_tests(right, reference="c")
    assert [(test.first, test.second) for test in found] == [("a", "c"), ("b", "c")]
    assert [test.p_holm for test in found] == holm([test.p for test in found])
    assert found[1] == PairedTest(
        "b", "c", difference(right["b"], right["c"]), 2 / 2**6, 2 * 2 / 2**6
    )


def test_over_signers_the_difference_is_that_of_all_samples() -> None:
    # Signer a loses 1 sample; b, c and d win 2, 1 and 3.
    right = {
        "one": rights("-+" + "+++" + "++" + "++++"),
        "other": rights("++" + "+--" + "+-" + "---+"),
    }
    found = paired_tests(right, signers=list("aabbbccdddd"))[0]
    assert found.difference.value == pytest.approx((-1 + 2 + 1 + 3) / 11)
    assert found.p == swap_test([-1, 2, 1, 3])
    assert found.difference.low < found.difference.value < found.difference.high
    assert found == paired_tests(right, signers=list("aabbbccdddd"))[0]


def test_the_bootstrap_draws_signers() -> None:
    # Two signers of one sample each: all draws are lost-lost, won-lost or won-won, 1 : 2 : 1.
    right = {"one": rights("+-"), "other": rights("-+")}
    assert paired_tests(right, signers=["a", "b"])[0].difference == (0.0, -1.0, 1.0)
    # Of many signers of one sample the interval is about that of independent samples.
    generator = torch.Generator().manual_seed(1)
    right = {name: torch.rand(400, generator=generator) < 0.5 for name in ("one", "other")}
    drawn = paired_tests(right, signers=range(400))[0].difference
    closed = paired_tests(right)[0].difference
    assert drawn.value == closed.value
    assert math.dist(drawn, closed) < 0.01


def test_the_bootstrap_leaves_torchs_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    right = {"one": rights("+-+"), "other": rights("--+")}
    paired_tests(right, signers=[1, 2, 2])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("right", "settings", "message"),
    [
        ({"a": [True]}, {}, "at least two sets to compare but got 1"),
        ({"a": [True], "b": [True, False]}, {}, "same samples in every set but got shapes"),
        ({"a": [], "b": []}, {}, "same samples in every set"),
        ({"a": [True], "b": [True]}, {"reference": "c"}, "one of a, b but got reference='c'"),
        ({"a": [True], "b": [True]}, {"signers": ["x", "y"]}, "each of 1 samples"),
        (
            {"a": [True] * 2, "b": [True] * 2},
            {"signers": [1, 1]},
            "at least two signers, but got 2",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(
    right: dict[str, list[bool]], settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        paired_tests(right, **settings)
