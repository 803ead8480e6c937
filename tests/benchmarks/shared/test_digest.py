"""benchmarks/shared/digest.py: a move leaves the digest as it is, a change of logic does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.shared.digest import digest
from benchmarks.shared.store import ROOT, SCRIPTS, code_state

CODE = '''"""A module."""

import math

from torch import nn

LIMIT = 3  # joints


def area(radius: float) -> float:
    """The area of a circle."""
    from math import pi

    return pi * radius**2


class Layer(nn.Module):
    """A layer."""

    def forward(self, x):
        return x * LIMIT
'''


def written(folder: Path, **files: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{name}.py" for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.write_text(text)
    return paths


@pytest.fixture
def before(tmp_path: Path) -> str:
    return digest(written(tmp_path / "before", circles=CODE))


def test_a_digest_is_that_of_the_same_code_in_other_files(tmp_path: Path, before: str) -> None:
    top, layer = CODE.split("class Layer")
    moved = written(
        tmp_path / "after",
        shapes=f"from room.other import Layer\n\n{top}",
        layers=f"from torch import nn\nfrom room.shapes import LIMIT\n\n\nclass Layer{layer}",
    )
    assert digest(moved) == before


def test_a_digest_does_not_see_comments_docstrings_and_imports(tmp_path: Path, before: str) -> None:
    text = CODE.replace("  # joints", "").replace('"""The area of a circle."""', '"""Its area."""')
    text = text.replace(
        "import math\n", "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import os\n"
    )
    assert digest(written(tmp_path / "after", circles=text)) == before


@pytest.mark.parametrize(
    ("old", "new"), [("LIMIT = 3", "LIMIT = 4"), ("radius**2", "radius**3"), ("x * LIMIT", "x")]
)
def test_a_digest_sees_a_change_of_logic(tmp_path: Path, before: str, old: str, new: str) -> None:
    assert digest(written(tmp_path / "after", circles=CODE.replace(old, new))) != before


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_file_that_a_script_comes_from_is_there(script: str) -> None:
    for pattern in SCRIPTS[script]:
        assert list(ROOT.glob(pattern)), pattern
    assert code_state({"script": script, "pruned": True})
