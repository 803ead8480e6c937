"""Says what to do with a run's answer: parts to switch off, the call to repeat it, papers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lightning_jointprune.gates.relaxations import GATES, PAPERS, Paper
from lightning_jointprune.joint_files.extraction import extraction_plan
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.record.stored import as_code
from lightning_jointprune.report.curve import fewest_of, given_of, number_trained
from lightning_jointprune.report.numbers import skeleton_of

ARGUMENTS = ("input", "axes", "budget", "gate", "groups", "keep", "drop", "phases", "lr", "fill")


# What measures the costs of joints, with RUN for the folder of the run.
MEASURE_CODE = """from lightning_jointprune import evaluate_joints, load_pruned

model = load_pruned(MyModel, "best.ckpt")
evaluate_joints(model, val_dataloader).to_json("RUN")  # then: jointprune report RUN"""


def papers(record: PruningRecord) -> tuple[Paper, ...]:
    """Return the papers of the gate that was used, or of the default where it is not known.

    A run whose joints were given has used none.
    """
    if given_of(record):
        return ()
    gate = re.sub(r"\W|_", "", json.dumps(record.settings.get("gate"))).lower()
    words = {name.replace("_", ""): name for name in GATES}
    words |= {kind.__name__.lower(): name for name, kind in GATES.items()}
    word = max((word for word in words if word in gate), key=len, default="gumbelsigmoid")
    return PAPERS[words[word]]


def idle_components(record: PruningRecord) -> tuple[str, ...]:
    """Return sentences on parts of MediaPipe that need not run; empty if that is not known."""
    plan = extraction_plan(record.selection) if record.phase == "final" else None
    return () if plan is None else plan.idle_sentences()


def load_code(record: PruningRecord, count: int) -> str:
    """Return Python code that loads the model with so many joints, or trains one for them.

    `Fewest` trains the model on for the number that it chose, so for another number there is no
    model that is as good as the curve says. Other ladders train all their numbers to the end.
    """
    chosen = number_trained(record)
    fewest = fewest_of(record) is not None
    if fewest and count != chosen:
        return _train_code(record, count)
    which, of, others = "", "selection", ""
    if count != chosen:
        which, of = f", joints={count}", f"selection_of({count})"
    elif record.rungs and not fewest:
        most = len(record.rungs[0].indices)
        others = f'model = load_pruned(MyModel, "best.ckpt", joints={most})  # or another rung\'s\n'
    return (
        "from lightning_jointprune import PruningRecord, load_pruned\n\n"
        f'model = load_pruned(MyModel, "best.ckpt"{which})  # sees the kept joints only\n{others}'
        f'kept = PruningRecord.from_json("pruning_record.json").{of}.indices'
    )


def _train_code(record: PruningRecord, count: int) -> str:
    """Return code that trains a model for another number of joints than `Fewest` chose."""
    chosen = number_trained(record)
    kept = list(record.selection_of(count).indices)
    settings = {**record.settings, "budget": {"TargetJoints": {"count": count}}, "keep": kept}
    code = callback_code(replace(record, settings=settings)) or (
        "from lightning_jointprune import JointPruningCallback, TargetJoints\n\n"
        f"JointPruningCallback(\n    num_joints={record.selection.num_joints},\n"
        f"    budget=TargetJoints(count={count}),\n    keep={kept},\n)"
    )
    return (
        f"# The last part of the run trained the model for {chosen} joints alone.\n"
        f"# For these {count}, train it anew with\n{code}"
    )


def callback_code(record: PruningRecord) -> str | None:
    """Return Python code that makes the run's callback; None if a setting is not known."""
    settings, skeleton = dict(record.settings), skeleton_of(record)
    tied = settings.pop("tied", False)
    if not {"budget", "gate"} <= settings.keys() <= set(ARGUMENTS):
        return None
    if settings.get("groups") is not None:
        parts = skeleton.groups if skeleton else record.parts
        settings["groups"] = _groups(settings["groups"], tied, parts)
    given: dict[str, Any] = {"num_joints": record.selection.num_joints}
    if skeleton is not None:
        given = {"skeleton": skeleton.name}
    elif record.skeleton is not None:
        given = {"skeleton": _own_skeleton(record)}
    given |= {name: settings.get(name) for name in ARGUMENTS}
    used: list[str] = []
    lines = [
        f"    {name}={as_code(value, used)},\n"
        for name, value in given.items()
        if value not in (None, [])
    ]
    names = ", ".join(["JointPruningCallback", *sorted(set(used))])
    return f"from lightning_jointprune import {names}\n\nJointPruningCallback(\n{''.join(lines)})"


def _own_skeleton(record: PruningRecord) -> dict[str, Any]:
    """Return code for a skeleton that only this run knows."""
    parts = {name: list(joints) for name, joints in record.parts.items()}
    told = {"name": record.skeleton, "joints": list(record.selection.joint_names)}
    return {"Skeleton": {**told, "groups": parts, "edges": [*map(list, record.edges)] or None}}


def _groups(groups: Any, tied: bool, parts: Mapping[str, tuple[int, ...]]) -> Any:
    """Return groups in the words that the callback knows."""
    if isinstance(groups, Mapping):
        if parts and {name: list(joints) for name, joints in parts.items()} == groups:
            return "tied" if tied else "hierarchical"
        if tied:
            return {"Groups": {"members": groups, "tied": True}}
    return groups
