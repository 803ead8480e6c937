"""Writes a compact model to a safetensors file with its selection and sizes, and reads it."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from torch import Tensor, nn

from lightning_jointprune.attach.modules import module_at
from lightning_jointprune.attach.target import read_targets, written
from lightning_jointprune.compaction.compact import finished
from lightning_jointprune.compaction.request import Compaction, compaction_of, take_layers_out
from lightning_jointprune.compaction.surgery import fit
from lightning_jointprune.record.files import PathLike, local_copy, write_bytes
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.record.versions import check_installed

M = TypeVar("M", bound=nn.Module)
KIND, SCHEMA = "compact_model", 1


def save_compact(model: nn.Module, path: PathLike) -> None:
    """Write a compact model into a safetensors file, whole or not at all.

    The tensors have their names of `state_dict`. The file's metadata, under `compact_model`, has
    the selection, the model's hyperparameters and what was cut.

    Args:
        model: a model that `compact` or `from_compact` returned; it may have been trained since.
        path: the file, such as `small.safetensors`.

    Raises:
        ValueError: if the model is not compact.
        ModuleNotFoundError: if safetensors is not installed.
    """
    check_compact_files()
    from safetensors.torch import save

    done = compaction_of(model)
    if done is None:
        raise ValueError(
            f"Expected a compact model but got {type(model).__name__}, which has all its joints. "
            "Pass what compact(model, selection, example_inputs) returns."
        )
    held = {**dict(model.named_buffers()), **model.state_dict()}
    cut = {name: held[name] for name in done.cut}  # also buffers that state_dict leaves out
    tensors = {**model.state_dict(), **cut}
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_bytes(path, save(own, {KIND: json.dumps(_described(model, done))}))


def check_compact_files() -> None:
    """Check that compact models can be written and read.

    Raises:
        ModuleNotFoundError: if safetensors is not installed.
    """
    check_installed("compact", "writes and reads compact models", "safetensors")


def _described(model: nn.Module, done: Compaction) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "selection": json.loads(done.selection.to_json()),
        **written(done.targets),
        "takes": done.takes,
        "cut": done.cut,
        "numbers": done.numbers,
        "error": done.error,
        "fill": done.fill,
        "widths": done.widths,
        "hyperparameters": _storable(dict(getattr(model, "hparams", {}))),
    }


def _storable(values: dict[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters that JSON gives back as they were."""
    plain = {}
    for name, value in values.items():
        try:
            if json.loads(json.dumps(value)) == value:
                plain[name] = value
        except (TypeError, ValueError):
            continue
    return plain


def from_compact(path: PathLike, model_class: type[M], **kwargs: Any) -> M:
    """Return a compact model of its class, which knows nothing of pruning.

    Args:
        path: a file that `save_compact` wrote.
        model_class: the class of the model that was compacted.
        **kwargs: arguments of the class, as of the model with all joints. Hyperparameters that
            Lightning's `save_hyperparameters` knew need not be passed.

    Returns:
        The model, in evaluation mode on the CPU; it can be trained.

    Raises:
        ValueError: if the file holds no compact model, or the class or its arguments are others.
    """
    tensors, said = read_compact(path)
    model = model_class(**{**said["hyperparameters"], **kwargs})
    take_layers_out(model)
    before = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, shape in said["cut"].items():
        found = tuple(before[name].shape) if name in before else None
        if found != (None if shape is None else tuple(shape)):
            raise ValueError(
                f"Expected `{name}` of shape {shape} in {model_class.__name__} but got {found}. "
                f"Pass the class {said['class']} and its arguments for all "
                f"{said['selection']['num_joints']} joints."
            )
    fit(model, {name: tensors[name] for name in said["cut"]})
    for path_, word in said["numbers"]:
        setattr(module_at(model, path_), word, len(said["selection"]["indices"]))
    known = model.state_dict()
    left_out = {name for name in said["cut"] if name not in known}
    _load(model, {name: tensor for name, tensor in tensors.items() if name not in left_out}, said)
    done = Compaction(
        JointSelection.from_json(json.dumps(said["selection"])),
        read_targets(said),
        said["takes"],
        {name: shape and tuple(shape) for name, shape in said["cut"].items()},
        tuple((owner, word) for owner, word in said["numbers"]),
        said["error"],
        said.get("fill"),
        tuple(said.get("widths", ())),
    )
    return finished(model, done)


def _load(model: nn.Module, tensors: dict[str, Tensor], said: dict[str, Any]) -> None:
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"Expected a model of the class {said['class']} but got {type(model).__name__}: "
            f"{' '.join(str(error).split())} Pass that class with the arguments it had."
        ) from error


def read_compact(path: PathLike) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a compact model's file, and their description.

    Raises:
        ValueError: if it holds no compact model, or a newer schema.
    """
    check_compact_files()
    from safetensors import SafetensorError, safe_open

    try:
        with local_copy(path) as local, safe_open(local, framework="pt") as file:
            said = json.loads((file.metadata() or {}).get(KIND, "null"))
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- it is no dict
    except SafetensorError as error:
        raise ValueError(
            f"Expected a safetensors file but got {path}: {error}. Pass one that "
            "save_compact wrote."
        ) from error
    if said is None or said.get("schema") != SCHEMA:
        found = "no compact model" if said is None else f"schema {said.get('schema')}"
        raise ValueError(
            f"Expected a compact model of schema {SCHEMA} in {path} but got {found}. Pass a file "
            "that save_compact wrote, in this version or an older one."
        )
    return tensors, said
