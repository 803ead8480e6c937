"""Hear what the callback says, whatever level another test has left Lightning's logger at."""

from __future__ import annotations

import pytest


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the lines that the callback says from now on, in their order."""
    lines: list[str] = []
    monkeypatch.setattr("lightning_jointprune.callback.rank_zero_info", lines.append)
    return lines
