"""Intervals agree with their formulas, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_jointprune.record.intervals import difference, proportion


def rights(count: int, of: int) -> torch.Tensor:
    return torch.arange(of) < count


def test_wilsons_interval_is_that_of_his_formula() -> None:
    # Worked by hand for 8 of 10: (0.8 + z²/20 ± z √(0.016 + z²/400)) / (1 + z²/10).
    assert proportion(rights(8, 10)) == pytest.approx((0.8, 0.49016, 0.94332), abs=1e-4)


@pytest.mark.parametrize("count", [0, 7])
def test_an_interval_at_the_end_of_the_scale_has_a_width(count: int) -> None:
    value, low, high = proportion(rights(count, 7))
    assert 0.0 <= low <= value <= high <= 1.0
    assert high - low > 0.1
    assert (low == 0.0, high == 1.0) == (count == 0, count == 7)  # not up to rounding


def test_a_paired_difference_has_the_interval_of_bonett_and_price() -> None:
    # 5 of 48 only right before, 1 only right after: p = 6/50, q = 2/50.
    first, second = rights(20, 48), torch.cat([torch.zeros(5), torch.ones(16), torch.zeros(27)])
    half = 1.959964 * math.sqrt((0.12 + 0.04 - 0.08**2) / 50)
    found = difference(first, second.bool())
    assert found == pytest.approx((4 / 48, 0.08 - half, 0.08 + half), abs=1e-6)


def test_no_change_is_known_better_from_more_samples() -> None:
    few, many = (difference(rights(n, n), rights(n, n)) for n in (10, 1000))
    assert few.value == many.value == 0.0
    assert few.low < many.low < 0.0 < many.high < few.high
