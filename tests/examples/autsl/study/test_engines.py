"""The engines of a study run all commands, and say which failed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from examples.autsl.study.engines import run_commands

WRITE = (
    "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('done'); sys.exit(int(sys.argv[2]))"
)
ENGINES = [
    ("local", None, {}),
    ("slurm", "submitit", {"cluster": "local", "timeout_min": 5}),
    pytest.param("ray", "ray", {"num_cpus": 1}, marks=pytest.mark.slow),
]


def commands(folder: Path, codes: list[int]) -> dict[str, list[str]]:
    return {
        f"cell{number}": [sys.executable, "-c", WRITE, str(folder / f"{number}.txt"), str(code)]
        for number, code in enumerate(codes)
    }


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of ray's, for its next version
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # ray leaves files open
@pytest.mark.parametrize(("engine", "package", "settings"), ENGINES)
def test_every_command_runs_and_those_that_fail_are_named(
    tmp_path: Path, engine: str, package: str | None, settings: dict[str, Any]
) -> None:
    if package is not None:
        pytest.importorskip(package)
    with pytest.raises(RuntimeError, match=r"3 cells to finish but 1 failed: cell1\. .* missing"):
        run_commands(engine, commands(tmp_path, [0, 3, 0]), tmp_path, settings)
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == ["0.txt", "1.txt", "2.txt"]


@pytest.mark.parametrize("engine", ["local", "slurm", "ray"])
def test_without_commands_no_engine_starts(tmp_path: Path, engine: str) -> None:
    run_commands(engine, {}, tmp_path, {"no": "setting"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("engine", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_engine_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"Expected {package} .* pip install {package}"):
        run_commands(engine, commands(tmp_path, [0]), tmp_path)


def test_other_engines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="out of local, slurm, ray but got 'cloud'"):
        run_commands("cloud", {}, tmp_path)
