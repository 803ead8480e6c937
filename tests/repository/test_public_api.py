"""What docs/versions.md promises is what public_api.json has, till it is changed there."""

from __future__ import annotations

import argparse
import ast
import difflib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import nn

import lightning_jointprune
from lightning_jointprune import report
from lightning_jointprune.cli.main import _parser
from lightning_jointprune.compaction.export.export import Export
from lightning_jointprune.joint_files.rewrite import Rewritten
from lightning_jointprune.record import EVALUATION_FILE, RECORD_FILE, REPORT_FILE, SELECTION_FILE
from lightning_jointprune.run import loggers
from lightning_jointprune.run.recorder import Recorder

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lightning_jointprune"
THEIRS = {*vars(pl.Callback), *vars(nn.Module)} - {"forward"}  # Lightning's and PyTorch's names


def promised() -> dict[str, Any]:
    """All that is public, as plain data."""
    named = {name: getattr(lightning_jointprune, name) for name in lightning_jointprune.__all__}
    named |= {f"report.{name}": getattr(report, name) for name in report.__all__}
    return {
        "arguments": {name: arguments(one) for name, one in named.items() if callable(one)},
        "members": {name: members(one) for name, one in named.items() if inspect.isclass(one)},
        "options": {name: options(parser) for name, parser in commands().items()},
        "--json": json_keys(),
        "logged": [*figures(), loggers.TAG, loggers.IMAGE_TAG],
        "files": [RECORD_FILE, SELECTION_FILE, REPORT_FILE, EVALUATION_FILE],
    }


def arguments(thing: Any) -> str:
    """The arguments with their defaults, in order, without types."""
    signature = inspect.signature(thing)
    plain = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
    return str(signature.replace(parameters=plain, return_annotation=signature.empty))


def members(kind: type) -> list[str]:
    """The methods with their arguments, and the properties, that are a class's own."""
    ours = [one for one in kind.__mro__ if one.__module__.startswith("lightning_jointprune")]
    fields = {*getattr(kind, "__dataclass_fields__", ()), *getattr(kind, "_fields", ())}
    names = sorted({name for one in ours for name in vars(one)} - THEIRS - fields)
    found = {name: getattr(kind, name) for name in names if not name.startswith("_")}
    return [f"{name}{arguments(one) if callable(one) else ''}" for name, one in found.items()]


def commands() -> dict[str, argparse.ArgumentParser]:
    return _parser()._subparsers._group_actions[0].choices


def options(parser: argparse.ArgumentParser) -> str:
    """What a command takes, in its own words."""
    given = [one for one in parser._actions if not isinstance(one, argparse._HelpAction)]
    return " ".join("|".join(one.option_strings) or str(one.metavar) for one in given)


def json_keys() -> dict[str, list[str]]:
    """The keys that each command prints, and those of what is written file by file."""
    files = [PACKAGE / "cli" / "main.py", PACKAGE / "cli" / "models.py"]
    parsed = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    functions = [one for code in parsed for one in code.body if isinstance(one, ast.FunctionDef)]
    found = {one.name.strip("_"): printed(one) for one in functions}
    found |= {"export": list(Export._fields), "select: files": list(Rewritten._fields)}
    return {name: keys for name, keys in found.items() if keys}


def printed(function: ast.FunctionDef) -> list[str]:
    """The keys in a function's calls of `_print_json(key=...)` and `json.dumps({"key": ...})`."""
    calls = [one for one in ast.walk(function) if isinstance(one, ast.Call)]
    ours = [one for one in calls if isinstance(one.func, ast.Name) and one.func.id == "_print_json"]
    keys = [keyword.arg for one in ours for keyword in one.keywords]
    dumped = [one for one in calls if ast.unparse(one.func) == "json.dumps"]
    literal = [one.args[0].keys for one in dumped if isinstance(one.args[0], ast.Dict)]
    keys += [getattr(key, "value", None) for row in literal for key in row]
    return [key for key in keys if key]


def figures() -> list[str]:
    """The names of what is logged, as the recorder writes them."""
    code = inspect.getsource(Recorder.figures)
    return [f"joint_pruning/{name}" for name in re.findall(r'^ +"(\w+)":', code, re.MULTILINE)]


def test_what_is_public_is_what_was_released() -> None:
    """Who changes it says so in the changelog, and warns for a minor version first."""
    frozen = json.loads((ROOT / "tests/repository/public_api.json").read_text(encoding="utf-8"))
    lines = (json.dumps(content, indent=2).splitlines() for content in (frozen, promised()))
    changed = list(difflib.unified_diff(*lines, "public_api.json", "now", n=0, lineterm=""))
    assert not changed, "\n".join(changed)
