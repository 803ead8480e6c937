"""The public names and arguments are those of public_api.json, as docs/versions.md promises."""

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
        "arguments": {name: arguments(thing) for name, thing in named.items() if callable(thing)},
        "members": {
            name: members(thing) for name, thing in named.items() if inspect.isclass(thing)
        },
        "options": {name: options(parser) for name, parser in commands().items()},
        "--json": json_keys(),
        "logged": [*figures(), loggers.TAG, loggers.IMAGE_TAG],
        "files": [RECORD_FILE, SELECTION_FILE, REPORT_FILE, EVALUATION_FILE],
    }


def arguments(thing: Any) -> str:
    """The arguments with their defaults, in order, without types."""
    signature = inspect.signature(thing)
    plain = [
        parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()
    ]
    return str(signature.replace(parameters=plain, return_annotation=signature.empty))


def members(kind: type) -> list[str]:
    """The methods with their arguments, and the properties, that are a class's own."""
    ours = [base for base in kind.__mro__ if base.__module__.startswith("lightning_jointprune")]
    fields = {*getattr(kind, "__dataclass_fields__", ()), *getattr(kind, "_fields", ())}
    names = sorted({name for base in ours for name in vars(base)} - THEIRS - fields)
    found = {name: getattr(kind, name) for name in names if not name.startswith("_")}
    return [
        f"{name}{arguments(member) if callable(member) else ''}" for name, member in found.items()
    ]


def commands() -> dict[str, argparse.ArgumentParser]:
    return _parser()._subparsers._group_actions[0].choices


def options(parser: argparse.ArgumentParser) -> str:
    """Return a command's options and arguments, in its own words."""
    given = [
        argument for argument in parser._actions if not isinstance(argument, argparse._HelpAction)
    ]
    return " ".join(
        "|".join(argument.option_strings) or str(argument.metavar) for argument in given
    )


def json_keys() -> dict[str, list[str]]:
    """The keys that each command prints, and those of what is written file by file."""
    files = [PACKAGE / "cli" / "main.py", PACKAGE / "cli" / "models.py"]
    parsed = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    functions = [node for code in parsed for node in code.body if isinstance(node, ast.FunctionDef)]
    found = {function.name.strip("_"): printed(function) for function in functions}
    found |= {"export": list(Export._fields), "select: files": list(Rewritten._fields)}
    return {name: keys for name, keys in found.items() if keys}


def printed(function: ast.FunctionDef) -> list[str]:
    """The keys in a function's calls of `_print_json(key=...)` and `json.dumps({"key": ...})`."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    ours = [
        call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "_print_json"
    ]
    keys = [keyword.arg for call in ours for keyword in call.keywords]
    dumped = [call for call in calls if ast.unparse(call.func) == "json.dumps"]
    literal = [call.args[0].keys for call in dumped if isinstance(call.args[0], ast.Dict)]
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
