"""Every code block of the README and of the documentation does what it says."""

from __future__ import annotations

import argparse
import ast
import re
import runpy
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path

import jsonargparse
import lightning.pytorch as pl
import pytest
import yaml
from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

import lightning_jointprune
from lightning_jointprune.cli.main import _parser, main
from lightning_jointprune.joint_files.formats import SUFFIXES
from lightning_jointprune.search import budgets
from tests.clips import write_clips
from tests.runs import SHORT_RUNS
from tests.stand_ins import finished_runs, names_of_pages

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
WITH_COMMANDS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "RESULTS.md"]
REFUSING = [
    f"attach/{name}" for name in ("detect", "entrance", "hooks", "layout", "modules", "target")
]
REFUSING += ["run/inspection"]
EXTRAS = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
pytestmark = SHORT_RUNS


def run_commands(example: Example) -> None:
    """Run the lines that call `jointprune`; of programs in a checkout, see that they are there."""
    for line in example.parsed.replace("\\\n", " ").splitlines():
        program, *words = shlex.split(line, comments=True) or [""]
        if program == "jointprune":
            assert main(words) == 0, line
        elif words[:1] == ["-m"] and words[1].startswith(("examples.", "benchmarks.")):
            configs = [ROOT / word for word in words if word.endswith(".yaml")]
            assert all(file.is_file() for file in (program_of(words[1]), *configs)), line


class Parsing(Exception):  # noqa: N818 -- no error: the program has come to its command line
    """Ends a program with its parser."""


def program_of(module: str) -> Path:
    """The file that `python -m` runs."""
    path = ROOT / module.replace(".", "/")
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def options_of(module: str) -> frozenset[str]:
    """The options of a program of this repository, from the parser that it makes."""

    def shown(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise Parsing(parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(sys, "argv", [module])
        for kind in (argparse.ArgumentParser, jsonargparse.ArgumentParser):
            patch.setattr(kind, "parse_args", shown)
        with pytest.raises(Parsing) as ended:
            runpy.run_path(str(program_of(module)), run_name="__main__")
    return frozenset(ended.value.args[0]._option_string_actions)


def commands_of(text: str) -> list[str]:
    """Return what a page says to type: lines of its shell blocks, and code in its sentences."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [*lines, *re.findall(r"`([^`\n]+)`", text)]


def unknown(command: str) -> list[str]:
    """Return what a command names that is not there: a program, its options, or extras."""
    words = command.partition("#")[0].split()  # code in a sentence need not be a shell's
    given = [word.partition("=")[0] for word in words if re.match("--?[a-z]", word)]
    if words[:1] == ["jointprune"] and words[1:]:
        command_of = _parser()._subparsers._group_actions[0].choices
        return [
            option for option in given if option not in command_of[words[1]]._option_string_actions
        ]
    if words[:2] == ["python", "-m"] and words[2].startswith(("examples.", "benchmarks.")):
        return [option for option in given[1:] if option not in options_of(words[2])]
    if words[:2] == ["pip", "install"]:
        named = re.findall(r"(?:\.|lightning-jointprune)\[([\w,]+)\]", command)
        wanted = [extra for names in named for extra in names.split(",")]
        return [extra for extra in wanted if f"\n{extra} = [\n" not in EXTRAS]
    return []


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
    write_clips(folder)
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


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_command_names_options_and_extras_that_there_are(page: Path) -> None:
    commands = commands_of(page.read_text(encoding="utf-8"))
    assert {command: unknown(command) for command in commands if unknown(command)} == {}


@pytest.mark.parametrize(
    "command",
    [
        "jointprune show RUN --jsn",
        "python -m examples.autsl.check DIR --dept files  # seconds",
        "python -m examples.autsl_fusion --data DIR --datamodule.odrer left",
        "python -m benchmarks.soak --row soak",
        "pip install '.[cli,exprot]'",
    ],
)
def test_an_option_or_extra_that_there_is_not_is_found(command: str) -> None:
    assert len(unknown(command)) == 1
    assert commands_of(f"Type\n```sh\n{command}\n```\nor `{command}`.") == [command] * 2


def messages_of(module: str) -> list[str]:
    """The texts in a module that begin as a refusal does, "…" where something is filled in."""
    code = (ROOT / "lightning_jointprune" / f"{module}.py").read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(code)))
    filled = [node.values for node in nodes if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for values in filled for part in values}
    plain = [[node] for node in nodes if isinstance(node, ast.Constant) and id(node) not in parts]
    said = ["".join(map(_literal, values)) for values in [*filled, *plain]]
    return [text for text in said if text.startswith("Expected ")]


def _literal(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "…"


def quoted(heading: str) -> list[re.Pattern[str]]:
    """Return what a heading quotes of messages; a number, a name or "…" stands for anything."""
    filled = r"\s*(?:\b\d+(?: joints)?|'[^']*'|`[^`]*`|…)\s*"
    texts = re.findall(r'"([^"]+)"', heading)
    return [re.compile(".*".join(map(re.escape, re.split(filled, text)))) for text in texts]


@pytest.mark.parametrize("module", REFUSING)
def test_every_refusal_has_a_heading_that_says_what_to_do(module: str) -> None:
    page = (ROOT / "docs" / "strange.md").read_text(encoding="utf-8")
    headings = re.findall(r"^(?:##+|\|) (.*\"Expected.*)$", page, re.MULTILINE)
    known = [pattern for heading in headings for pattern in quoted(heading)]
    messages = messages_of(module)
    assert messages
    assert [
        message for message in messages if not any(found.match(message) for found in known)
    ] == []


def test_a_heading_quotes_a_message_that_there_is() -> None:
    page = (ROOT / "docs" / "strange.md").read_text(encoding="utf-8")
    package = ROOT / "lightning_jointprune"
    modules = [path.relative_to(package).with_suffix("") for path in package.rglob("*.py")]
    messages = [text for module in modules for text in messages_of(module.as_posix())]
    for heading in re.findall(r"^##+ (.*\"Expected.*)$", page, re.MULTILINE):
        stale = [
            pattern.pattern for pattern in quoted(heading) if not any(map(pattern.match, messages))
        ]
        assert stale == [], heading


def test_every_kind_of_file_has_a_section_with_code() -> None:
    """The code is run with all others of the page."""
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[.*?\]\(#([\w-]+)\)", page, re.MULTILINE)
    sections = {
        re.sub(r"[^\w -]", "", part.partition("\n")[0]).lower().replace(" ", "-"): part
        for part in page.split("\n### ")[1:]
    }
    assert rows == list(sections)
    assert all("```python" in part for part in sections.values())
    table = "".join(line for line in page.splitlines() if line.startswith("| ["))
    assert [s for s in SUFFIXES if s.strip(".") not in table.lower()] == []


def test_the_pages_of_the_site_are_those_of_the_folder() -> None:
    site = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), yaml.BaseLoader)
    listed = set(_leaves(site["nav"]))
    assert listed == {page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:]}


def test_the_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: lightning_jointprune\.(\w+)$", page, re.MULTILINE))
    assert "::: lightning_jointprune.search.budgets\n" in page
    shown |= set(budgets.__all__)
    assert shown == {*lightning_jointprune.__all__, "report"} - {"__version__"}


def _leaves(nav: object) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [leaf for entry in entries for leaf in _leaves(entry)]
