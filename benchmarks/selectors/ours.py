"""The callback, asked for all numbers of joints in one run."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.selectors.training import EPOCHS, RECIPE, Choice, steps_of_a_run
from benchmarks.shared.joint_data import JointData
from benchmarks.shared.models import fit_and_score


def ladder(
    data: JointData, encoder: str, counts: Sequence[int], seed: int, epochs: int = EPOCHS
) -> Choice:
    """Choose by `TargetJoints([K, ...])` alone: a run whose final model has the fewest joints."""
    from lightning_jointprune import JointPruningCallback, TargetJoints

    callback = JointPruningCallback(num_joints=data.joints, budget=TargetJoints(list(counts)))
    accuracy = fit_and_score(
        encoder, data.train, data.unseen, data.classes, RECIPE, epochs, seed, callback
    )
    record = callback.record
    selections = {len(rung.indices): rung for rung in record.rungs or (record.selection,)}
    return Choice(
        {count: [int(joint) for joint in selections[count].indices] for count in counts},
        {},
        steps_of_a_run(data.train) * epochs / EPOCHS,
        {min(counts): accuracy},
    )
