"""Loads a pruned model with its mask in front, and reads its KEEP / PRUNE table."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lightning_jointprune.attach.hooks import attach
from lightning_jointprune.attach.layers import layer_of, own_layer
from lightning_jointprune.attach.target import read_targets
from lightning_jointprune.gates.fills import FillFunction, restored_fill
from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.record.files import PathLike, place
from lightning_jointprune.record.record import other_rungs
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.run.checkpoint import STATE_KEY, find_state
from lightning_jointprune.search.budgets.fewest import Fewest

M = TypeVar("M", bound=nn.Module)


def load_pruned(
    model_class: type[M],
    path: PathLike,
    *,
    joints: int | None = None,
    fill: FillFunction | None = None,
    **kwargs: Any,
) -> M:
    """Load a checkpoint with the hard mask of its kept joints in front of the model.

    Args:
        model_class: the LightningModule's class, which knows nothing of pruning.
        path: a checkpoint that was saved in a run with `JointPruningCallback`, or its address.
        joints: of a ladder, `TargetJoints([48, 24, 12])`, the number of joints to load; None takes
            the fewest.
        fill: the function that filled dropped joints in that run, if one did.
        **kwargs: passed on to `model_class.load_from_checkpoint`, such as `map_location`, or
            `weights_only=False` for a checkpoint you trust whose hyperparameters are objects.

    Returns:
        The model, in evaluation mode.

    Warns:
        UserWarning: if the checkpoint is of before the final phase, so that its joints are no
            result, or if the final phase trained with another number of joints alone.

    Raises:
        ValueError: if the path is of no checkpoint, or of one that holds no mask, or several, or
            none of so many joints, or if a function is missing.
    """
    _check_class(model_class)
    checkpoint = _read(path, kwargs.get("map_location", "cpu"), kwargs.get("weights_only", True))
    state = find_state(checkpoint, STATE_KEY)
    if state is None or state["input"] is None:
        raise ValueError(
            f"Expected a checkpoint with a mask but got {path}, which has none. Pass one that was "
            "saved while training with JointPruningCallback."
        )
    filled = restored_fill(state["journal"]["settings"]["fill"], fill)
    model: M = model_class.load_from_checkpoint(str(path), **kwargs)  # type: ignore[attr-defined]
    layer = own_layer(model)
    mask, probabilities = _rung_of(state, joints)
    if layer is None:
        layer = JointPruningLayer(len(state["joint_names"]), fill=filled)
        layer.joint_logits.data = torch.tensor(probabilities).logit()
        layer.fill_mean = state["search"]["layer"]["fill_mean"]
        for target in read_targets(state):
            attach(model, target, layer)
    layer.joint_names = tuple(state["joint_names"])
    layer.temperature = layer.gate.anneal[1]  # where the search ended, for sampled gates
    layer.rungs = None
    layer.freeze(mask)
    layer.mode = "masked"
    layer.to(next(model.parameters()).device)
    return model.eval()


def _check_class(model_class: object) -> None:
    """Make sure that a class was given, before anything is read."""
    if not (isinstance(model_class, type) and issubclass(model_class, nn.Module)):
        kind = type(model_class).__name__
        name = kind if isinstance(model_class, nn.Module) else "MyModel"
        got = f"an object of {kind}" if name == kind else repr(model_class)
        raise ValueError(
            f"Expected the LightningModule's class but got {got}. Pass "
            f'load_pruned({name}, "best.ckpt"), the class first.'
        )


def _read(path: PathLike, device: Any, safe: bool) -> Mapping[str, Any]:
    """Return a checkpoint.

    Args:
        path: its file.
        device: as of `torch.load`.
        safe: whether to read tensors and plain values alone; False also reads pickled objects.

    Raises:
        ValueError: if it is a folder, or no checkpoint.
    """
    file = place(path)
    if file.is_dir():
        found = next((str(file) for file in sorted(file.glob("**/*.ckpt"), key=str)), "best.ckpt")
        raise ValueError(f"Expected a checkpoint but got the folder {path}. Pass {found!r}, say.")
    with file.open("rb") as opened:
        try:
            checkpoint: Mapping[str, Any] = torch.load(
                opened, map_location=device, weights_only=safe
            )
        except (EOFError, UnpicklingError, RuntimeError) as error:
            if zipfile.is_zipfile(opened):
                raise
            raise ValueError(
                f"Expected a checkpoint but got {path}, which is none, or cut off. Pass what "
                "Lightning saved, such as best.ckpt; from_compact reads what save_compact wrote."
            ) from error
    return checkpoint


def _rung_of(state: Mapping[str, Any], joints: int | None) -> tuple[Tensor, list[float]]:
    """Return the mask of so many joints and their keep probabilities when it was settled."""
    last = torch.tensor(state["mask"]), state["keep_probabilities"]
    masks = state["search"]["layer"]["rungs"]
    settled = zip(() if masks is None else masks, state["search"]["settled"], strict=True)
    known = {int(mask.sum()): (mask, probabilities) for mask, probabilities in (last, *settled)}
    if joints is not None and joints not in known:
        raise ValueError(
            f"Expected joints out of {', '.join(map(str, sorted(known)))} but got {joints}."
            + other_rungs(joints, min(known), len(state["mask"]))
        )
    trained, search = int(last[0].sum()), state["search"]
    if search["phase"] != "final":
        warnings.warn(
            f"Expected a checkpoint of the final phase but got one of the {search['phase']} phase: "
            "its joints are no result yet, and the model was not trained on them alone. Load one "
            "that was saved later in the run.",
            stacklevel=3,
        )
    elif search.get("budget") == Fewest.__name__ and joints not in (None, trained):
        warnings.warn(
            f"Expected {trained} joints, with which alone the final phase of this run trained, but "
            f"got {joints}: the model may do worse with them than the curve says. Train with them: "
            f"`budget={joints}`, or GivenJoints with those of `selection_of({joints})`.",
            stacklevel=3,
        )
    return last if joints is None else known[joints]


def analyze_pruning(model: nn.Module, joint_names: Sequence[str] | None = None) -> JointSelection:
    """Return the joints that a model's gates keep; printed, it is the KEEP / PRUNE table.

    Args:
        model: a model with a `JointPruningLayer` in it, or one that `JointPruningCallback` or
            `load_pruned` has put one in front of.
        joint_names: names of all joints, shape `(joints,)`; None takes those of the run.

    Returns:
        The selection.

    Raises:
        ValueError: if the model has no such layer, or several, or the names do not fit.
    """
    layer = layer_of(model)
    return JointSelection(
        indices=tuple(layer.get_active_joints()),
        num_joints=layer.num_joints,
        joint_names=tuple(joint_names or layer.names),
        keep_probabilities=tuple(layer.keep_probabilities().tolist()),
    )
