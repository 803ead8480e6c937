"""Every code block of the README and of the documentation does what it says."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import jsonargparse
import lightning.pytorch as pl
import pytest
import yaml
from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

import lightning_jointprune
from lightning_jointprune.__main__ import main
from tests.runs import SHORT_RUNS
from tests.stand_ins import finished_runs, names_of_pages

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
pytestmark = SHORT_RUNS


def run_commands(example: Example) -> None:
    """Run the lines that call `jointprune`; of programs in a checkout, see that they are there."""
    for line in example.parsed.replace("\\\n", " ").splitlines():
        program, *words = shlex.split(line, comments=True) or [""]
        if program == "jointprune":
            assert main(words) == 0, line
        elif words[:1] == ["-m"] and words[1].startswith(("examples.", "benchmarks.")):
            files = [f"{words[1].replace('.', '/')}.py", *(w for w in words if w.endswith(".yaml"))]
            assert all((ROOT / name).is_file() for name in files), line


def make_callbacks(example: Example) -> None:
    """Make the callbacks of a LightningCLI file."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--callbacks", type=list[pl.Callback])
    content = yaml.safe_load(example.parsed)
    callbacks = parser.parse_object({"callbacks": content["trainer"]["callbacks"]})
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # before 4.49
    assert instantiate(callbacks).callbacks


PARSERS = (
    PythonCodeBlockParser(),
    CodeBlockParser("sh", run_commands),
    CodeBlockParser("yaml", make_callbacks),
    SkipParser(),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    finished_runs(folder)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_code_of_a_page_runs_from_its_first_block_to_its_last(
    page: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    document = Document.parse(str(page), *PARSERS)
    document.namespace.update(names_of_pages(tmp_path))
    for example in document.examples():
        example.evaluate()


def test_the_pages_of_the_site_are_those_of_the_folder() -> None:
    site = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), yaml.BaseLoader)
    listed = set(_leaves(site["nav"]))
    assert listed == {page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:]}


def test_the_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: lightning_jointprune\.(\w+)$", page, re.MULTILINE))
    assert shown == {*lightning_jointprune.__all__, "report"} - {"__version__"}


def _leaves(nav: object) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [leaf for entry in entries for leaf in _leaves(entry)]
