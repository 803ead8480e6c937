"""Makes a run's model smaller and exports it, by commands that need the model's class."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lightning_jointprune.attach.hooks import attached_layers, gated_arguments
from lightning_jointprune.attach.modules import module_at
from lightning_jointprune.attach.target import Target
from lightning_jointprune.compaction.compact import compact
from lightning_jointprune.compaction.compact_files import (
    check_compact_files,
    from_compact,
    save_compact,
)
from lightning_jointprune.compaction.export.export import FORMATS, check_format, export_model
from lightning_jointprune.compaction.request import (
    called_by_users,
    compaction_of,
    joints_of_example,
    matching_calls,
)
from lightning_jointprune.compaction.surgery import SelectLayer
from lightning_jointprune.compaction.tracing import Call
from lightning_jointprune.record.files import Place, place
from lightning_jointprune.run.load import analyze_pruning, load_pruned

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}


def add_commands(commands: Any) -> tuple[argparse.ArgumentParser, ...]:
    """Add `compact` and `export` to a parser's commands."""
    smaller = commands.add_parser("compact", help="make a model of the kept joints alone")
    _add_model(smaller, "a checkpoint, or a run's folder with one in it")
    smaller.add_argument("-o", "--output", metavar="FILE", help="default: small.safetensors there")
    smaller.set_defaults(run=_compact)

    export = commands.add_parser("export", help="write that model as ONNX, or for torch.export")
    _add_model(export, "a checkpoint, a run's folder with one in it, or what `compact` wrote")
    export.add_argument("--to", choices=FORMATS, default="onnx", help="default: onnx")
    export.add_argument("-o", "--output", metavar="FILE", help="default: small.onnx or .pt2 there")
    export.add_argument("--fixed", action="store_true", help="let clips be of the example's length")
    export.set_defaults(run=_export)
    return smaller, export


def _add_model(command: argparse.ArgumentParser, where: str) -> None:
    command.add_argument("source", metavar="RUN", help=where)
    named = "the LightningModule's class as package.module:Class, from this folder or installed"
    command.add_argument("--model", metavar="CLASS", required=True, help=named)
    sizes = "shape of an example with all joints, such as 2,16,42,3; default: the model's own "
    command.add_argument("--shape", help=f"{sizes}example_input_array")
    command.add_argument("--joints", type=int, metavar="N", help="of a ladder, the N joints")
    command.add_argument("--all", action="store_true", help="take all joints, and pick them out")
    whole = "leave the network as it is behind the kept joints, where it cannot be smaller"
    command.add_argument("--whole", action="store_true", help=whole)


def _compact(arguments: argparse.Namespace) -> None:
    check_compact_files()
    source = _checkpoint_of(place(arguments.source))
    output = place(arguments.output or source.with_name("small.safetensors"))
    small, _ = _smaller(source, arguments)
    save_compact(small, output)
    done = compaction_of(small)
    assert done is not None  # it was just made
    sizes = {
        name: (shape, tuple(small.state_dict()[name].shape))
        for name, shape in done.cut.items()
        if name in small.state_dict()
    }
    if arguments.json:
        said = {name: {"before": before, "after": after} for name, (before, after) in sizes.items()}
        print(json.dumps({"file": str(output), "error": done.error, "cut": said}, indent=2))
        return
    for name, (before, after) in sizes.items():
        print(f"{name}: {'new' if before is None else list(before)} -> {list(after)}")
    print(f"Equal to the pruned model within {done.error:.1g} of its largest output.\n{output}")


def _export(arguments: argparse.Namespace) -> None:
    check_format(arguments.to)
    source = place(arguments.source)
    given = arguments.output and place(arguments.output)
    if source.suffix == ".safetensors":
        _refuse_options_of_compact(arguments)
        model = from_compact(source, _class_of(arguments.model))
        example = _example(model, arguments.shape)
    else:
        source = _checkpoint_of(source)
        model, example = _smaller(source, arguments)
    done = compaction_of(model)
    assert done is not None  # both are compact
    if done.takes == "kept":
        example = _kept(example, model)
    output = given or source.with_name(f"small{SUFFIXES[arguments.to]}")
    dynamic = ("batch",) if arguments.fixed else ("batch", "time")
    written = export_model(model, output, example, arguments.to, dynamic=dynamic)
    if arguments.json:
        print(json.dumps({**written._asdict(), "path": str(written.path)}, indent=2))
        return
    sizes = " and ".join(written.dynamic) or "the example's size alone"
    print(f"Takes {', '.join(written.inputs)}; any {sizes}; {len(done.selection.indices)} joints.")
    print(f"Equal to the model within {written.error:.1g} of its largest output.\n{output}")


def _refuse_options_of_compact(arguments: argparse.Namespace) -> None:
    """Refuse options that were settled when a compact model was made."""
    given = [f"--{name}" for name in ("joints", "all", "whole") if getattr(arguments, name)]
    if given:
        raise ValueError(
            f"Expected a checkpoint for {', '.join(given)} but got {arguments.source}, a model "
            "that is compact already. Pass the checkpoint, or leave it out."
        )


def _smaller(source: Place, arguments: argparse.Namespace) -> tuple[nn.Module, Any]:
    """Return the compact model of a checkpoint, and an example with all joints."""
    model = _loaded(source, arguments)
    example = _example(model, arguments.shape)
    takes = "all" if arguments.all else "kept"
    selection = analyze_pruning(model)
    return compact(model, selection, example, takes=takes, whole=arguments.whole), example


def _loaded(source: Place, arguments: argparse.Namespace) -> nn.Module:
    """Return the pruned model of a checkpoint, or say that its class does not fit."""
    model_class = _class_of(arguments.model)
    try:
        return load_pruned(model_class, source, joints=arguments.joints)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"Expected the class that was trained but got {arguments.model}: {_said(error)}. Pass "
            "that class, whose arguments save_hyperparameters keeps; others can be loaded by "
            "load_pruned(Class, path, **arguments) in Python."
        ) from error


def _said(error: Exception) -> str:
    """Return an error in a line, with its kind where that is not said."""
    text = " ".join(str(error).split())
    known = isinstance(error, (ImportError, AttributeError, ValueError))
    return (text if known else f"{type(error).__name__}: {text}").rstrip(".")


def _kept(example: Any, model: nn.Module) -> Call:
    """Return a compact model's call, of the kept joints of an example with all of them."""
    done = compaction_of(model)
    assert done is not None  # it takes the kept joints
    module = module_at(model, called_by_users(model, done.targets))
    all_joints = joints_of_example(done.targets, done.selection.num_joints)
    call = matching_calls(module, example, all_joints)[0]
    select = SelectLayer(torch.tensor(done.selection.mask))
    for target in done.targets:
        call = Call(*gated_arguments(module, target, select, *call))
    return call


# --- arguments of the command line ---------------------------------------------------------------


def _class_of(name: str) -> type[nn.Module]:
    """Return the class that `package.module:Class` names."""
    module, _, word = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the current folder, as in `python -m`
    try:
        found = getattr(importlib.import_module(module), word) if word else None
    except Exception as error:  # whatever their module raises when it is imported
        raise ValueError(
            f"Expected a class as package.module:Class but got {name}: {_said(error)}. Run the "
            "command where `python -c 'import package.module'` works."
        ) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(
            f"Expected a module's class as package.module:Class but got {name}. Pass, say, "
            "--model signs.models:SignModel."
        )
    return found


def _checkpoint_of(path: Place) -> Place:
    """Return a checkpoint, or the only one in a folder."""
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"Expected a checkpoint or a run's folder but got {path}: no file.")
        return path
    found: list[Place] = sorted(path.glob("**/*.ckpt"), key=str)
    if len(found) != 1:
        names = ", ".join(map(str, found[:5])) or "none"
        raise ValueError(
            f"Expected a folder with one checkpoint but got {path} with {len(found)}: {names}. "
            "Pass the checkpoint itself."
        )
    return found[0]


def _example(model: nn.Module, shape: str | None) -> Any:
    """Return what the model takes, with all joints: its own example, or a random skeleton."""
    done = compaction_of(model)
    targets = [target for target, _ in attached_layers(model)] if done is None else done.targets
    if shape is not None:
        return _random_example(model, targets, shape)
    example = getattr(model, "example_input_array", None)
    if example is None:
        raise ValueError(
            f"Expected --shape, since {type(model).__name__} has no example_input_array. Pass the "
            f"sizes of a batch with all joints ({targets[0].axes}), at least 2 of each."
        )
    return example


def _random_example(model: nn.Module, targets: Sequence[Target], shape: str) -> Any:
    """Return a random skeleton where the model takes it, in a batch with nothing else."""
    path, called = targets[0].path, module_at(model, called_by_users(model, targets))
    needed = [
        parameter.name
        for parameter in inspect.signature(called.forward).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if {*needed} - {path[0]} or len(targets) > 1:
        parts = [target.input for target in targets] if len(targets) > 1 else needed
        raise ValueError(
            f"Expected a model whose forward takes a skeleton alone but that of "
            f"{type(model).__name__} takes {', '.join(parts)}. Do it from Python: "
            "compact(model, selection, example_inputs), then save_compact or export_model; or give "
            "the model an example_input_array, which is taken without --shape."
        )
    try:
        example: Any = torch.randn(*(int(size) for size in shape.split(",")))
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"Expected a shape of whole numbers such as 2,16,42,3 but got {shape}."
        ) from error
    for word in reversed(path[1:]):
        example = (*[None] * int(word), example) if word.isdigit() else {word: example}
    return example
