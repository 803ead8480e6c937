"""Folders of small synthetic data."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.autsl.data.synthetic import (
    SyntheticSettings,
    make_synthetic,
)
from tests.examples.autsl.made import SMALL


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic data set; tests only read it."""
    return make_synthetic(tmp_path_factory.mktemp("synthetic"), SMALL)


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """A smaller one that a test may damage."""
    return make_synthetic(
        tmp_path, SyntheticSettings(signs=2, clips=(4, 2, 2), signers=(2, 1, 1), size=32)
    )
