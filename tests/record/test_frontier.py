"""Test that a record gives back its curve: a point for each number, as it was measured."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lightning_jointprune.record.record import CurvePoint, PruningRecord
from tests.record.test_selection import selection_of


def ladder(values: dict[int, float | None], total: int = 8, **more: object) -> PruningRecord:
    """Return a ladder with these values by number of joints, the most joints first."""
    known = {"metric": "val_acc", **more}
    rungs = tuple(
        selection_of(joints, total, metrics={} if value is None else {"val_acc": value}, **known)
        for joints, value in sorted(values.items(), reverse=True)
    )
    return PruningRecord(rungs[-1], rungs=rungs)


def test_there_is_a_point_for_every_rung_the_fewest_joints_first() -> None:
    record = ladder({8: 0.91, 3: 0.87, 1: None})
    assert record.frontier == (
        CurvePoint(1, None, None, None, (0,)),
        CurvePoint(3, 0.87, None, None, (0, 1, 2)),
        CurvePoint(8, 0.91, None, None, tuple(range(8))),
    )


def test_a_share_of_the_samples_has_wilsons_interval() -> None:
    [few, most] = ladder({2: 0.75, 8: 0.9}, samples=20).frontier
    z, n = 1.959964, 20
    for point, share in ((few, 0.75), (most, 0.9)):
        # The ends solve (share - p)^2 = z^2 p (1 - p) / n.
        for end in (point.low, point.high):
            assert end is not None
            assert (share - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / n)
        assert point.low < share < point.high  # type: ignore[operator]


def test_what_is_no_share_of_the_samples_has_no_interval() -> None:
    [few, _] = ladder({2: 0.777, 8: 0.9}, samples=20).frontier
    assert (few.value, few.low, few.high) == (0.777, None, None)
    [few, _] = ladder({2: 0.5, 8: 0.4}, samples=20, higher_is_better=False).frontier
    assert (few.low, few.high) == (None, None)


def test_a_run_that_is_no_ladder_has_the_point_of_its_selection() -> None:
    selection = selection_of(2, 4, metric="val_acc", metrics={"val_acc": 0.8})
    assert PruningRecord(selection).frontier == (CurvePoint(2, 0.8, None, None, (0, 1)),)
    blank = PruningRecord(replace(selection, metric=None, metrics={"val_acc": math.nan}))
    assert blank.frontier == (CurvePoint(2, None, None, None, (0, 1)),)


def test_json_gives_the_same_curve_back() -> None:
    record = ladder({8: 0.9, 2: 0.75, 1: None}, samples=20)
    assert PruningRecord.from_json(record.to_json()).frontier == record.frontier
