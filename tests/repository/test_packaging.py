"""The wheel has the package and no more, and works without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from lightning_jointprune import __version__

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "lightning_jointprune"
INFO = f"{PACKAGE}-{__version__}.dist-info"
# What a run needs besides Python's modules, named here so that it cannot go missing everywhere.
DATA = {
    "py.typed",
    "data/coco_17.json",
    "data/mediapipe_holistic.json",
    "data/published_subsets.json",
    "report/templates/report.html",
    "report/templates/comparison.html",
    "report/templates/report.css",
    "report/templates/report.js",
}
IN_SDIST = {"benchmarks", "docs", "examples", PACKAGE, "tests", "mkdocs.yml", "pyproject.toml"}
IN_SDIST |= {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "PKG-INFO", "README.md"}
IN_SDIST |= {"Makefile", "SECURITY.md", ".gitignore", "constraints.txt", "constraints-oldest.txt"}
SCRIPT = """
import sys, lightning_jointprune
from lightning_jointprune import JointSelection, PruningRecord
from lightning_jointprune.cli.main import main
from lightning_jointprune.report import write_report
print(lightning_jointprune.__file__)
PruningRecord(JointSelection((0, 2), 3, ("a", "b", "c"), (0.9, 0.1, 0.8))).to_json("record.json")
sys.exit(main(["skeletons"]) or main(["show", "record.json"]) or main(["report", "record.json"]))
"""


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Return what a command prints, which has to end well."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(source: Path, folder: Path) -> tuple[Path, Path]:
    """The wheel and the sdist, made by the backend itself: nothing is fetched."""
    run("-m", "hatchling", "build", "--directory", str(folder), cwd=source)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


def test_a_wheel_has_every_file_of_the_package_and_no_other(built: tuple[Path, Path]) -> None:
    names = set(content(built[0]))
    files = (path for path in (ROOT / PACKAGE).rglob("*") if path.is_file())
    ours = {
        path.relative_to(ROOT).as_posix() for path in files if path.parent.name != "__pycache__"
    }
    meta = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    assert names == ours | {f"{INFO}/{name}" for name in meta}
    assert {f"{PACKAGE}/{name}" for name in DATA} <= names


def test_a_wheel_says_what_it_is(built: tuple[Path, Path]) -> None:
    files = content(built[0])
    said = Parser().parsestr(files[f"{INFO}/METADATA"].decode())
    assert (said["Name"], said["Version"]) == ("lightning-jointprune", __version__)
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Description-Content-Type"] == "text/markdown"
    assert files[f"{INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert b"jointprune = lightning_jointprune.cli.main:main" in files[f"{INFO}/entry_points.txt"]


def test_the_oldest_releases_that_ci_tries_are_the_lower_bounds(built: tuple[Path, Path]) -> None:
    said = Parser().parsestr(content(built[0])[f"{INFO}/METADATA"].decode())
    needed = [
        requirement
        for requirement in map(Requirement, said.get_all("Requires-Dist"))
        if requirement.marker is None or requirement.marker.evaluate({"extra": "compact"})
    ]
    lines = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    oldest = [Requirement(line) for line in lines if not line.startswith("#")]
    assert bounds(needed, ">=") == bounds(oldest, "==")


def bounds(requirements: list[Requirement], operator: str) -> dict[str, Version]:
    """The release that each names with the operator, and with no other."""
    found = {}
    for requirement in requirements:
        (bound,) = requirement.specifier
        assert bound.operator == operator, f"Expected {operator} but got {requirement}"
        found[requirement.name] = Version(bound.version)
    return found


def test_an_sdist_has_what_is_named_and_nothing_that_was_made(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as file:
        names = [name.split("/", 1)[1] for name in file.getnames()]
    assert {name.split("/")[0] for name in names} == IN_SDIST
    made = (".pyc", ".ckpt", ".whl", ".tmp")
    assert not [name for name in names if name.endswith(made) or "__pycache__" in name]


def test_a_wheel_from_the_sdist_is_that_from_the_checkout(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    with tarfile.open(built[1]) as file:
        # The first releases of 3.10 and 3.11 know no filters.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        file.extractall(tmp_path, **safely)
    (source,) = tmp_path.iterdir()
    wheel, _ = build(source, tmp_path / "dist")
    assert content(wheel) == content(built[0])


def test_a_wheel_alone_shows_and_reports(built: tuple[Path, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(built[0]) as file:
        file.extractall(tmp_path / "site")
    printed = run("-c", SCRIPT, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert printed.startswith(str(tmp_path / "site"))
    assert "mediapipe_holistic" in printed
    (page,) = tmp_path.glob("*.html")
    assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")
