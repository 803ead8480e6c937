"""benchmarks/run_cost.py: the cost of runs that take turns, in steps and in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.run_cost import ROWS, cell, first_times, times
from benchmarks.shared.store import Result, Store, code_state


def of_run(seconds: float, validated: int) -> dict[str, Any]:
    parts = {"0": 0.25 * seconds, "validation": 0.75 * seconds}
    return {"steps": {"search": 60, "final": 40}, "validated": validated, "seconds": parts}


@pytest.fixture
def result() -> Result:
    return {
        "without": [of_run(2.0, 300), of_run(1.0, 300), of_run(1.0, 300)],
        "default": [of_run(6.0, 1260), of_run(1.5, 1260), of_run(1.7, 1260)],
        "price": [of_run(2.0, 300), of_run(1.0, 300), of_run(1.2, 300)],
    }


def test_the_first_turn_stands_apart(result: Result) -> None:
    assert times(result, "default") == pytest.approx(1.6)
    assert first_times(result, "default") == pytest.approx(3.0)


def test_the_table_says_where_the_time_goes(result: Result, tmp_path: Path) -> None:
    store = Store(tmp_path, "run_cost")
    settings = cell("short", 0)
    assert ROWS["short"].figures(store, 1) == []
    store.add({"settings": settings, "result": result, "code": code_state(settings)})
    table = ROWS["short"].side_by_side
    assert table is not None
    lines = {line[0]: line[1:] for line in table(store, 1)}
    assert lines["first tenth"] == ["0.25", "0.40", "0.28"]
    assert lines["validations"] == ["0.75", "1.20", "0.82"]
    assert ROWS["short"].figures(store, 1)[0].met is True
