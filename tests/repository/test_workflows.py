"""Workflows name only files and extras that are here, and may do no more than they need."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ("Name: it\n\n[how](https://x.y/docs/faq.md)\n", "Expected [project.urls] but got none."),
        ("Project-URL: Source, https://x.y\n\n[how](docs/faq.md)\n", "Expected addresses"),
        ("Project-URL: Source, https://x.y\n\n[how](https://x.y/docs/faq.md)\n", ""),
    ],
)
def test_nothing_is_published_whose_links_lead_nowhere(
    metadata: str, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "dist").mkdir()
    with zipfile.ZipFile(tmp_path / "dist" / "it-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("it-1.dist-info/METADATA", metadata)
    steps = load(GITHUB / "workflows" / "release.yml")["jobs"]["build"]["steps"]
    (script,) = (step["run"] for step in steps if "project.urls" in step.get("run", ""))
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=tmp_path,
        env={"PATH": path},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, problem in done.stdout) == (int(bool(problem)), True), done.stderr


def test_the_checks_install_chromium_before_they_test_where_there_is_none(tmp_path: Path) -> None:
    for tool in ("bash", "dirname", "sleep"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    for tool in ("apt-get", "make"):
        (tmp_path / tool).write_text(f'#!{tmp_path}/bash\necho "{tool} $*" >> {tmp_path}/called\n')
        (tmp_path / tool).chmod(0o755)
    subprocess.run(["bash", ROOT / ".ci" / "run"], env={"PATH": str(tmp_path)}, check=True)
    called = (tmp_path / "called").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("apt-get install") and "chromium" in line for line in called)
    assert called[-1] == "make test"


def test_every_release_of_the_constraints_is_audited() -> None:
    jobs = load(GITHUB / "workflows" / "audit.yml")["jobs"]
    audited = jobs["audit"]["strategy"]["matrix"]["python-version"]
    supported = load(GITHUB / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert releases_for(audited) == releases_for(supported["python-version"])


def releases_for(pythons: list[str]) -> set[str]:
    """The releases in constraints.txt that are for any of these Pythons, at their last patch."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    places = [
        {"python_version": python, "python_full_version": f"{python}.99"} for python in pythons
    ]
    return {
        f"{pin.name}{pin.specifier}"
        for pin in pins
        if pin.marker is None or any(map(pin.marker.evaluate, places))
    }


@each_form
def test_a_form_asks_by_name_and_needs_an_answer(path: Path) -> None:
    asked = [field for field in load(path)["body"] if field["type"] != "markdown"]
    names = [field["id"] for field in asked]
    assert len(set(names)) == len(names)
    assert any(field.get("validations", {}).get("required") == "true" for field in asked)


def test_a_bug_comes_with_what_the_doctor_prints() -> None:
    fields = {field["id"]: field for field in load(GITHUB / "ISSUE_TEMPLATE" / "bug.yml")["body"]}
    assert "jointprune doctor" in fields["doctor"]["attributes"]["label"]
    assert fields["doctor"]["validations"]["required"] == "true"
