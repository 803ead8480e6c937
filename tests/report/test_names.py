"""Test that the names of `lightning_jointprune.report` are there before Plotly is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lightning_jointprune import report
from lightning_jointprune.report import figures, page


def test_every_name_is_found_and_listed() -> None:
    assert {name for name in report.__all__ if hasattr(report, name)} == set(report.__all__)
    assert set(report.__all__) <= set(dir(report))
    assert report.plot_history is figures.plot_history
    assert report.write_report is page.write_report


def test_another_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match=r"lightning_jointprune.report.* no .*'plot_nothing'"):
        _ = report.plot_nothing


def test_plotly_is_loaded_with_the_first_name_that_draws() -> None:
    code = (
        "import sys\n"
        "from lightning_jointprune import report\n"
        "print('plotly' in sys.modules)\n"
        "report.plot_history\n"
        "print('plotly' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
