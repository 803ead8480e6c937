"""The callback, asked for a number of joints: one training run for each."""

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
