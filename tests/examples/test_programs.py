"""A program ends with one line that says what is wrong with its input, or what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.programs import check_installed, one_line

ROOT = Path(__file__).resolve().parents[2]
# Runs a program as `python -m` does, without some packages.
WITHOUT = """
import runpy, sys
for name in {missing!r}:
    sys.modules[name] = None
sys.argv = ["-m", *{words!r}[1:]]
runpy.run_module({words!r}[0], run_name="__main__", alter_sys=True)
"""


def run(words: list[str], folder: Path, missing: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """Return a program's exit status, and the lines of what it says is wrong."""
    code = WITHOUT.format(words=words, missing=missing)
    started = ["-c", code] if missing else ["-m", *words]
    done = subprocess.run(
        [sys.executable, *started],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr.strip().splitlines()


@pytest.fixture
def header(tmp_path: Path) -> Path:
    """A folder of data whose label files have a header."""
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / f"{split}_labels.csv").write_text("clip,label\nsigner0_sample1,4\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["examples.autsl_fusion", "--data", "nowhere"], "an .npz file but got nothing at nowhere"),
        (["examples.autsl_fusion", "--data", "."], "like signer0_sample1,41 but got 'clip,label'."),
        (["examples.autsl.check", "nowhere"], "AUTSL's folder but got nothing at nowhere. Pass"),
        (["examples.autsl.extract", "nowhere"], "with videos but got nothing at nowhere. Pass its"),
    ],
)
def test_wrong_data_are_said_in_a_line(words: list[str], said: str, header: Path) -> None:
    status, lines = run(words, header)
    assert status == 2
    assert said in lines[-1]
    assert lines[-1].startswith("Expected ")
    assert not any("Traceback" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "missing", "extra"),
    [
        (["examples.autsl_fusion"], "jsonargparse", "examples"),
        (["examples.autsl_fusion"], "transformers", "examples"),
        (["examples.autsl.check", "."], "av", "examples"),
        (["examples.autsl.study"], "filelock", "examples"),
        (["examples.autsl.tune", "--out", "o", "--args", "[]"], "optuna", "optuna"),
        (["examples.autsl.extract", "."], "mediapipe", "extract"),
    ],
)
def test_a_missing_extra_is_said_in_a_line(
    words: list[str], missing: str, extra: str, header: Path
) -> None:
    (header / "a_color.mp4").touch()
    status, lines = run(words, header, (missing,))
    assert status == 2
    assert lines[-1].startswith(f"Expected {missing} ")
    assert "pip install" in lines[-1]
    assert extra in lines[-1]
    assert not any("Traceback" in line for line in lines)


def test_who_imports_the_examples_gets_an_error() -> None:
    check_installed("examples", "json")
    with pytest.raises(ModuleNotFoundError, match=r"no_such, nor_this but got .*\[extract\]'"):
        check_installed("extract", "json", "no_such", "nor_this")


def test_an_error_that_is_no_ones_input_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ValueError, match="a bug"), one_line():
        raise ValueError("a bug")
    with pytest.raises(SystemExit) as ended, one_line():
        raise ValueError("Expected a folder\nbut got none.")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "Expected a folder but got none.\n"
