"""Records to read: of any skeleton, of unnamed joints, and names that want to run scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lightning_jointprune.record.evaluation import JointEvaluation
from lightning_jointprune.record.intervals import Estimate
from lightning_jointprune.record.record import PruningRecord, Snapshot
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.skeletons import get_skeleton

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    '<a href="javascript:alert(3)">click</a>',
    "{{ 7 * 7 }} {% raw %} ${7*7} %{x}",
    "<b>bold</b> &lt;i&gt; \\u003cscript\\u003e \" ' ` <!--",
)


def snapshot(step: int, phase: str, probabilities: tuple[float, ...], **more: Any) -> Snapshot:
    known: dict[str, Any] = {
        "step": step,
        "epoch": step // 10,
        "progress": step / 100,
        "phase": phase,
        "temperature": 0.5,
        "price": 0.003,
        "expected_joints": sum(probabilities),
        "active_joints": sum(p > 0.5 for p in probabilities),
        "keep_probabilities": probabilities,
    }
    return Snapshot(**{**known, **more})


def record_of(skeleton: str, kept: tuple[int, ...], moments: int = 4, **more: Any) -> PruningRecord:
    names = more.pop("names", get_skeleton(skeleton).joints)
    final = tuple(0.99 if joint in kept else 0.01 for joint in range(len(names)))
    history = [
        snapshot(
            10 * moment,
            "warmup" if moment < moments / 4 else "search" if moment < moments / 2 else "final",
            tuple(0.9 + (p - 0.9) * moment / max(moments - 1, 1) for p in final),
            metrics={"val_acc": 0.5 + 0.3 * moment / moments, "val_loss": 2.0 - moment / moments},
        )
        for moment in range(moments)
    ]
    selection = JointSelection(
        kept,
        len(names),
        names,
        final,
        metrics={"val_acc": 0.863},
        metrics_all_joints={"val_acc": 0.851},
        metric="val_acc",
    )
    return PruningRecord(selection, tuple(history), skeleton, **more)


def unnamed(probabilities: tuple[float, ...], history: tuple[Snapshot, ...] = ()) -> PruningRecord:
    names = tuple(f"joint_{joint}" for joint in range(len(probabilities)))
    kept = tuple(joint for joint, p in enumerate(probabilities) if p > 0.5)
    return PruningRecord(JointSelection(kept, len(names), names, probabilities), history)


def evaluated(record: PruningRecord, classes: int = 3) -> JointEvaluation:
    """An evaluation of a record's joints: the later one is kept, the more it costs."""
    selection = record.selection
    costs = {name: 0.1 * (place + 1) for place, name in enumerate(selection.names)}
    return JointEvaluation(
        joint_names=selection.joint_names,
        indices=selection.indices,
        metric="accuracy",
        samples=200,
        kept=Estimate(0.9, 0.85, 0.93),
        drop={name: Estimate(cost, cost - 0.05, cost + 0.05) for name, cost in costs.items()},
        per_class={label: 0.9 - 0.1 * label for label in range(classes)},
        per_class_drop={
            name: tuple(cost * (label + 1) / classes for label in range(classes))
            for name, cost in costs.items()
        },
    )


def compared(
    values: Mapping[int, float | None], kept: int, last: float = 0.863, **more: Any
) -> PruningRecord:
    """Return a run of `Fewest` with these values by number of joints, of which one was chosen."""
    base = record_of("coco_17", tuple(range(kept)))
    samples, higher = more.pop("samples", None), more.pop("higher_is_better", True)

    def rung(joints: int, value: float | None) -> JointSelection:
        return replace(
            record_of("coco_17", tuple(range(joints))).selection,
            metrics={} if value is None else {"val_acc": value},
            samples=samples,
            higher_is_better=higher,
        )

    rungs = tuple(rung(joints, values[joints]) for joints in sorted(values, reverse=True))
    settings = {"budget": {"Fewest": {"metric": None, "within": more.pop("within", 0.01)}}}
    return replace(base, selection=rung(kept, last), rungs=rungs, settings=settings, **more)
