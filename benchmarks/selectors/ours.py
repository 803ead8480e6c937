"""The callback, asked for a number of joints in a run for each, or for all of them in one run."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.joint_data import JointData
from benchmarks.models import fit_and_score
from benchmarks.selectors.training import EPOCHS, RECIPE, Choice, steps_of_a_run


def target_joints(data: JointData, encoder: str, counts: Sequence[int], seed: int) -> Choice:
    """`TargetJoints(K)`, no other argument; the final model is scored, too, once it is trained."""
    from lightning_jointprune import JointPruningCallback, TargetJoints

    choice = Choice({}, {}, 0.0)
    for count in counts:
        callback = JointPruningCallback(num_joints=data.joints, budget=TargetJoints(count))
        accuracy = fit_and_score(
            encoder, data.train, data.unseen, data.classes, RECIPE, EPOCHS, seed, callback
        )
        selection = callback.selection
        choice.joints[count] = [int(joint) for joint in selection.indices]
        choice.open[count] = sum(p > 0.5 for p in selection.keep_probabilities)
        choice.final[count] = accuracy
        choice.steps += steps_of_a_run(data.train)
    return choice


def ladder(data: JointData, encoder: str, counts: Sequence[int], seed: int) -> Choice:
    """`TargetJoints([K, ...])`, no other argument: one run, whose final model has the fewest."""
    from lightning_jointprune import JointPruningCallback, TargetJoints

    callback = JointPruningCallback(num_joints=data.joints, budget=TargetJoints(list(counts)))
    accuracy = fit_and_score(
        encoder, data.train, data.unseen, data.classes, RECIPE, EPOCHS, seed, callback
    )
    record = callback.record
    selections = {len(rung.indices): rung for rung in record.rungs or (record.selection,)}
    return Choice(
        {count: [int(joint) for joint in selections[count].indices] for count in counts},
        {},
        steps_of_a_run(data.train),
        {min(counts): accuracy},
    )
