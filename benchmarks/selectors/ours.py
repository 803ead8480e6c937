"""The callback, asked for all numbers of joints: in one run, in a long one, in several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from benchmarks.selectors.training import EPOCHS, RECIPE, RUNS, Choice, steps_of_a_run
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


def long_ladder(data: JointData, encoder: str, counts: Sequence[int], seed: int) -> Choice:
    """Choose by one run of as many epochs as a method may take."""
    return ladder(data, encoder, counts, seed, RUNS * EPOCHS)


def consensus(data: JointData, encoder: str, counts: Sequence[int], seed: int) -> Choice:
    """Choose the joints that most of six runs keep; of equal ones, those of the earliest runs.

    No run is in the consensus of two seeds.
    """
    runs = [ladder(data, encoder, counts, RUNS * seed + number) for number in range(RUNS)]
    joints = {}
    for count in counts:
        votes = Counter(joint for run in runs for joint in run.joints[count])
        joints[count] = sorted(joint for joint, _ in votes.most_common(count))
    return Choice(joints, {}, sum(run.steps for run in runs))


METHODS: dict[str, Callable[..., Choice]] = {
    "TargetJoints": ladder,
    f"TargetJoints, {RUNS * EPOCHS} epochs": long_ladder,
    f"TargetJoints, {RUNS} runs": consensus,
}
