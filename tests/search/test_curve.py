"""The fewest joints that do as well as the best, read from noisy curves."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.search.curve import choose_rung, rising, spaced, unimodal

CURVES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12)


def squares(fit: list[float], values: list[float]) -> float:
    return sum((a - b) ** 2 for a, b in zip(fit, values, strict=True))


@given(CURVES, st.lists(st.floats(0.0, 1.0), min_size=12, max_size=12))
def test_no_rising_curve_is_nearer_than_the_fit(values: list[float], other: list[float]) -> None:
    fit = rising(values)
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(fit))
    assert squares(fit, values) <= squares(sorted(other[: len(values)]), values) + 1e-9
    assert sum(fit) == pytest.approx(sum(values))


@given(CURVES, st.lists(st.floats(0.0, 1.0), min_size=12, max_size=12), st.integers(0, 12))
def test_no_curve_of_one_top_is_nearer_than_the_fit(
    values: list[float], other: list[float], top: int
) -> None:
    fit = unimodal(values)
    at = fit.index(max(fit))
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(fit[: at + 1]))
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(fit[at:]))
    other = other[: len(values)]
    rival = sorted(other[:top]) + sorted(other[top:], reverse=True)
    assert squares(fit, values) <= squares(rival, values) + 1e-9


def test_the_fewest_within_a_point_of_the_top_are_chosen() -> None:
    curve = [0.5, 0.8, 0.941, 0.949, 0.951, 0.95]
    assert choose_rung(curve, 0.01, samples=1_000_000).rung == 2
    assert choose_rung(curve, 0.001, samples=1_000_000).rung == 4
    assert choose_rung(curve, 0.2, samples=1_000_000).rung == 1


def test_one_standard_error_counts_where_it_is_more() -> None:
    curve = [0.5, 0.85, 0.9, 0.9]
    choice = choose_rung(curve, 0.0, samples=100)
    assert choice.error == pytest.approx(math.sqrt(0.9 * 0.1 / 100))
    assert choice.rung == 2
    assert choose_rung(curve, 0.0, samples=30).rung == 1  # 0.9 less 0.055


def test_a_curve_that_falls_for_many_joints_is_read_at_its_top() -> None:
    curve = [0.6, 0.7, 0.9, 0.89, 0.7, 0.6, 0.5]
    choice = choose_rung(curve, 0.01, samples=1_000_000)
    assert (choice.rung, choice.top) == (2, 0.9)


@given(CURVES, st.floats(0.0, 0.3))
def test_lower_is_better_mirrors_higher_is_better(values: list[float], within: float) -> None:
    mirrored = choose_rung([-value for value in values], within, higher=False)
    assert mirrored.rung == choose_rung(values, within).rung


def test_the_noise_of_a_metric_that_is_no_share_is_that_around_the_smoothed_curve() -> None:
    curve = [10.0, 20.0, 31.0, 29.0, 30.0]
    smoothed = [10.0, 20.0, 31.0, 29.5, 29.5]
    squared = sum((a - b) ** 2 for a, b in zip(curve, smoothed, strict=True)) / 5
    assert choose_rung(curve, 0.0, samples=100).error == pytest.approx(math.sqrt(squared))


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=8))
def test_values_whose_squares_are_no_floats_are_compared_all_the_same(values: list[float]) -> None:
    for higher in (True, False):
        assert choose_rung(values, 0.01, higher=higher).rung in range(len(values))


def test_a_single_sample_tells_nothing_apart() -> None:
    assert choose_rung([0.0, 1.0, 1.0], 0.01, samples=1).error > 0.4


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 30))
def test_spaced_positions_are_different_and_within(first: int, length: int, count: int) -> None:
    positions = spaced(first, first + length, count)
    assert len(set(positions)) == len(positions) == min(count, length + 1)
    assert all(first <= position <= first + length for position in positions)
    if count >= 2 and length >= 1:
        assert (positions[0], positions[-1]) == (first, first + length)
