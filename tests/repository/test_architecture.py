"""The house rules that a tool can check: directions, sizes, names, what an import costs."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from importlinter.api import read_configuration
from importlinter.cli import lint_imports

import lightning_jointprune

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lightning_jointprune"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
ROOMS = sorted({module.parent for module in MODULES} - {PACKAGE})
FROZEN = json.loads((ROOT / "tests" / "repository" / "public_api.json").read_text(encoding="utf-8"))
PUBLIC = {name for name in FROZEN["arguments"] if "." not in name} | {"__version__"}


@cache
def modules_brought(first: str, then: str) -> frozenset[str]:
    """The top-level modules that a statement loads in a fresh interpreter, after another one."""
    code = (
        f"import json, sys; {first}; before = set(sys.modules); {then}; "
        "print(json.dumps([n.split('.')[0] for n in set(sys.modules) - before]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return frozenset(json.loads(done.stdout.splitlines()[-1]))


def name_of(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


def test_imports_go_in_the_directions_of_the_contracts(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == 0, capsys.readouterr().out


def contracts() -> list[dict[str, Any]]:
    """Return the import contracts of pyproject.toml."""
    settings = read_configuration(str(ROOT / "pyproject.toml"))
    found: list[dict[str, Any]] = settings["contracts_options"]
    return found


def dotted(module: Path) -> str:
    return ".".join(module.relative_to(ROOT).with_suffix("").parts)


def test_no_import_contract_has_exceptions() -> None:
    assert [item["name"] for item in contracts() if "ignore_imports" in item] == []


@pytest.mark.parametrize("room", [PACKAGE, *ROOMS], ids=dotted)
def test_a_room_has_a_contract_for_all_its_modules(room: Path) -> None:
    ordered = [item for item in contracts() if dotted(room) in item.get("containers", [])]
    apart = [item for item in contracts() if item.get("modules") == [f"{dotted(room)}.*"]]
    assert apart or any(item["exhaustive"] == "True" for item in ordered)


@pytest.mark.parametrize(
    ("library", "knowing"),
    [
        ("fsspec", {"record.files"}),
        ("lightning", {"callback"}),
        ("plotly", {"report.figures", "report.picture", "report.plotly_script"}),
    ],
)
def test_a_library_is_forbidden_in_all_modules_but_few(library: str, knowing: set[str]) -> None:
    """A module or a room that is added has to be named in the contract."""
    (contract,) = [item for item in contracts() if library in item.get("forbidden_modules", [])]
    forbidden = tuple(f"{name}." for name in contract["source_modules"])
    free = {dotted(module) for module in MODULES if not f"{dotted(module)}.".startswith(forbidden)}
    assert free == {f"lightning_jointprune.{name}" for name in knowing}


def test_the_package_has_modules_to_check() -> None:
    assert {"gates/layer.py", "callback.py", "record/record.py"} <= {
        name_of(module) for module in MODULES
    }


HEAVY = {
    "plotly",
    "transformers",
    "av",
    "jsonargparse",
    "mediapipe",
    "pandas",
    "scipy",
    "pyarrow",
    "pose_format",
    "onnx",
    "onnxruntime",
    "onnxscript",
}


def test_importing_the_package_loads_nothing_heavy() -> None:
    # Only what the package itself adds counts: Lightning may load some of these on its own.
    brought = modules_brought("import lightning.pytorch", then="import lightning_jointprune")
    assert brought & HEAVY == set()


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_has_a_test_file_of_its_name_or_a_folder_of_them(module: Path) -> None:
    expected, folder = f"test_{module.stem.strip('_')}.py", ROOT / "tests" / module.stem
    found = [*(ROOT / "tests").rglob(expected), *folder.glob("test_*.py")]
    assert found, f"Expected tests/{expected}."


def functions_of(module: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    return [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function, clean=False) is None:
        return lines
    docstring = function.body[0]
    assert docstring.end_lineno is not None
    return lines - (docstring.end_lineno - docstring.lineno + 1)


PROGRAMS = sorted(
    path for name in ("examples", "benchmarks") for path in (ROOT / name).rglob("*.py")
)


@pytest.mark.parametrize("module", [*MODULES, *PROGRAMS], ids=dotted)
def test_a_function_has_at_most_60_lines(module: Path) -> None:
    lengths = [(function.name, length_of(function)) for function in functions_of(module)]
    long = [(name, lines) for name, lines in lengths if lines > 60]  # a name may come twice
    assert not long, f"Split by function over data: {long}."


@pytest.mark.parametrize("room", ROOMS, ids=name_of)
def test_a_room_has_at_most_nine_modules(room: Path) -> None:
    assert len([module for module in MODULES if module.parent == room]) <= 9


def test_the_top_has_at_most_fourteen_entries_and_four_modules() -> None:
    modules, rooms = list(PACKAGE.glob("*.py")), [room for room in ROOMS if room.parent == PACKAGE]
    assert len(modules) <= 4
    assert len(modules) + len(rooms) <= 14


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_says_what_it_is_for(module: Path) -> None:
    assert module.read_text(encoding="utf-8").startswith('"""')


FOLDERS = ["lightning_jointprune", "examples", "benchmarks", "tests"]
RIDDLES = ("What", "Whether", "How", "Where", "Which")


def nodes_of(folder: str) -> Iterator[tuple[str, ast.AST]]:
    """Yield all nodes of a folder's files, each with the name of its file."""
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            yield file.relative_to(ROOT).as_posix(), node


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_docstring_begins_with_what_is_done_or_returned(folder: str) -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    lines = [
        (file, (ast.get_docstring(node) or "").partition("\n")[0])
        for file, node in nodes_of(folder)
        if isinstance(node, documented)
    ]
    found = [(file, line) for file, line in lines if line.split(" ")[0] in RIDDLES]
    assert not found, f"Begin with a verb, such as Return: {found}."


def bound_by(node: ast.AST) -> str | None:
    """Return the name that a node binds, if it binds one."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.alias):
        return node.asname
    return node.arg if isinstance(node, ast.arg) else None


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_variable_is_named_after_the_thing(folder: str) -> None:
    found = [
        f"{file}:{getattr(node, 'lineno', 0)}"
        for file, node in nodes_of(folder)
        if bound_by(node) == "one"
    ]
    assert not found, f"Name what it is: {found}."


def test_the_public_names_are_the_documented_ones() -> None:
    assert set(lightning_jointprune.__all__) == PUBLIC
    assert len(lightning_jointprune.__all__) == len(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_a_public_name_is_documented(name: str) -> None:
    # `inspect.getdoc` would also find a base class's docstring.
    assert (getattr(lightning_jointprune, name).__doc__ or "").strip()


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_every_argument_of_a_public_name_is_documented(name: str) -> None:
    thing = getattr(lightning_jointprune, name)
    docstring = inspect.getdoc(thing) or ""
    missing = [
        argument
        for argument in inspect.signature(thing).parameters
        if f"{argument}:" not in docstring and f"{argument} (" not in docstring
    ]
    assert not missing, f"{name} does not say what {', '.join(missing)} means."


def test_the_version_is_the_installed_one() -> None:
    try:
        installed = version("lightning-jointprune")
    except PackageNotFoundError:
        pytest.skip("the package is imported from a checkout that is not installed")
    assert lightning_jointprune.__version__ == installed


def test_the_type_marker_is_there() -> None:
    assert (PACKAGE / "py.typed").exists()
