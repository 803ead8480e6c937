"""Test what is installed and what conflicts, against a list made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from lightning_jointprune.cli.doctor import conflicts, known_conflicts, requirements, surroundings
from lightning_jointprune.cli.main import main
from lightning_jointprune.record.versions import installed

TORCH = Requirement("torch>=2.4")
EXTRA = Requirement('kaleido>=1.0; extra == "report"')


def install(folder: Path, name: str, version: str, *asks: str) -> None:
    """Write the files that pip leaves of an installed package."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {asked}" for asked in asks)]
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose packages come before the installed ones."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"torch": "2.3.1"}, "Expected torch>=2.4 but got 2.3.1. Run `pip install 'torch>=2.4'`."),
        ({}, "Expected torch>=2.4 but got none."),
        ({"torch": "2.4", "kaleido": "0.2.1"}, "Expected kaleido>=1.0 but got 0.2.1."),
        (
            {"torch": "2.4", "lightning": "2.6", "pytorch-lightning": "2.5"},
            "Run `pip install pytorch-lightning==2.6`, or remove it.",
        ),
    ],
)
def test_what_does_not_go_together_is_named_with_what_to_type(
    versions: dict[str, str], message: str
) -> None:
    (found,) = conflicts(versions, [TORCH, EXTRA])
    assert message in found


@pytest.mark.parametrize("torch", ["2.4", "2.13.0+cpu", "2.14.0.dev20260101", "2.14.0rc1"])
def test_builds_and_releases_to_come_are_no_conflict(torch: str) -> None:
    assert conflicts({"torch": torch}, [TORCH, EXTRA]) == []


def test_the_environment_of_the_tests_has_no_conflict() -> None:
    required = requirements()
    assert {"torch", "lightning", "plotly"} <= {requirement.name for requirement in required}
    assert conflicts(installed(requirement.name for requirement in required), required) == []
    assert known_conflicts() == []


@pytest.mark.parametrize("name", ["captum", "mkdocs", "pytest"])
def test_old_tools_of_who_works_on_the_package_are_no_conflict(site: Path, name: str) -> None:
    install(site, name, "0.0.1")
    assert installed([name]) == {name: "0.0.1"}
    assert known_conflicts() == []


def test_a_conflict_with_several_extras_is_told_once(site: Path) -> None:
    install(site, "transformers", "4.0")  # for the examples, and for two extras that hold them
    (found,) = known_conflicts()
    assert found.startswith("Expected transformers>=4.48 but got 4.0.")


@pytest.mark.parametrize(("version", "told"), [("0.10.21", 0), ("1.2.3", 0), ("0.10.5", 2)])
def test_extras_for_two_releases_of_a_package_accept_either(version: str, told: int) -> None:
    required = [
        Requirement("mediapipe>=0.10.14,<=0.10.21; python_version > '3'"),
        Requirement("mediapipe>=1.0; python_version > '3'"),
        Requirement("numpy>=1.26"),
    ]
    assert len(conflicts({"mediapipe": version, "numpy": "2.0"}, required)) == told
    (needed,) = conflicts({"mediapipe": "1.2.3"}, required)
    assert needed.startswith("Expected numpy>=1.26 but got none.")


@pytest.mark.parametrize(
    ("asked", "numpy", "told"),
    [
        ("numpy<2", "2.4.6", True),
        ("numpy<2", "1.26.4", False),
        ("numpy", "2.4.6", False),
        ('numpy<2; python_version < "3"', "2.4.6", False),
    ],
)
def test_mediapipe_with_a_numpy_that_it_does_not_allow_is_a_conflict(
    site: Path, asked: str, numpy: str, told: bool
) -> None:
    install(site, "mediapipe", "0.10.14", "absl-py", asked)
    install(site, "numpy", numpy)
    expected = "Expected numpy<2 for mediapipe 0.10.14 but got 2.4.6. Run `pip install 'numpy<2'`."
    assert known_conflicts() == [expected] * told


def test_what_users_install_with_extras_is_listed(site: Path) -> None:
    names = ("onnx", "onnxruntime", "onnxscript", "safetensors", "pyarrow", "av", "tensorboard")
    for name in names:
        install(site, name, "99.9")
    assert {name: surroundings().get(name) for name in names} == dict.fromkeys(names, "99.9")
    assert "ruff" not in surroundings()


def test_doctor_prints_every_version_and_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert all(f"{name} {version}\n" in out for name, version in surroundings().items())
    assert out.endswith("No known conflict.\n")
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"versions": surroundings(), "conflicts": []}
