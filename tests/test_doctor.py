"""What is installed and what does not go together, against a list made by hand."""

from __future__ import annotations

import json

import pytest
from packaging.requirements import Requirement

from lightning_jointprune.__main__ import main
from lightning_jointprune.doctor import conflicts, installed, requirements, surroundings

TORCH = Requirement("torch>=2.4")
EXTRA = Requirement('kaleido>=1.0; extra == "report"')


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
    assert {"torch", "lightning", "plotly"} <= {one.name for one in required}
    assert conflicts(installed(one.name for one in required), required) == []


def test_doctor_prints_every_version_and_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert all(f"{name} {version}\n" in out for name, version in surroundings().items())
    assert out.endswith("No known conflict.\n")
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"versions": surroundings(), "conflicts": []}
