"""What runs on GitHub names only what is here, and may do no more than it needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
FORMS = [form for form in sorted(GITHUB.glob("ISSUE_TEMPLATE/*.yml")) if form.stem != "config"]
PINNED = re.compile(r"\s+- uses: [\w/-]+@[0-9a-f]{40} # v[\d.]+")

each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
each_form = pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def a_checkout() -> None:
    if not GITHUB.is_dir():
        pytest.skip("a source distribution has no workflows")


def load(path: Path) -> Any:
    """The content of a file, whose `on` stays a word."""
    return yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)


def commands(workflow: Any) -> str:
    """All that a workflow runs in a shell."""
    return "\n".join(
        step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]
    )


@each_workflow
def test_a_workflow_reads_by_default_and_ends(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())


@each_workflow
def test_an_action_is_pinned_to_a_commit(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    assert lines
    assert [line for line in lines if not PINNED.fullmatch(line)] == []


@each_workflow
def test_a_workflow_runs_targets_and_files_that_are_there(path: Path) -> None:
    makefile, run = (ROOT / "Makefile").read_text(encoding="utf-8"), commands(load(path))
    targets = re.findall(r"^make (\w+)", run, re.MULTILINE)
    assert [target for target in targets if f"\n{target}:" not in makefile] == []
    assert [file for file in re.findall(r"\.ci/\w+", run) if not (ROOT / file).exists()] == []


def test_only_the_job_that_publishes_may_say_who_it_is() -> None:
    """A token of PyPI's would have to be kept; trust in this one job has not."""
    trusted = {
        (path.stem, name)
        for path in WORKFLOWS
        for name, job in load(path)["jobs"].items()
        if "id-token" in job.get("permissions", {})
    }
    assert trusted == {("release", "publish")}
    assert "secrets." not in "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)


def test_nothing_is_published_that_was_not_tested_and_built() -> None:
    assert set(load(GITHUB / "workflows" / "release.yml")["jobs"]["publish"]["needs"]) == {
        "build",
        "test",
    }


@each_form
def test_a_form_asks_by_name_and_needs_an_answer(path: Path) -> None:
    asked = [field for field in load(path)["body"] if field["type"] != "markdown"]
    names = [field["id"] for field in asked]
    assert len(set(names)) == len(names)
    assert any(field.get("validations", {}).get("required") == "true" for field in asked)


def test_a_bug_comes_with_what_the_doctor_prints() -> None:
    fields = {one["id"]: one for one in load(GITHUB / "ISSUE_TEMPLATE" / "bug.yml")["body"]}
    assert "jointprune doctor" in fields["doctor"]["attributes"]["label"]
    assert fields["doctor"]["validations"]["required"] == "true"
