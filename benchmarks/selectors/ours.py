"""The callback, asked for all numbers of joints: in one run, in a long one, in several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.selectors.training import EPOCHS, RECIPE, RUNS, Choice, steps_of_a_run
from benchmarks.shared.joint_data import JointData
from benchmarks.shared.models import fit_and_score


def ladder(
    data: JointData, encoder: str, counts: Sequence[int], seed: int, epochs: int = EPOCHS
) -> Choice:
    """Choose by `TargetJoints([K, ...])` alone: a run whose final model has the fewest joints."""
    record, accuracy = trained(data, encoder, counts, seed, epochs)
    joints = {count: [*map(int, record.selection_of(count).indices)] for count in counts}
    steps = steps_of_a_run(data.train) * epochs / EPOCHS
    return Choice(joints, {}, steps, {min(counts): accuracy})


def trained(
    data: JointData, encoder: str, counts: Sequence[int], seed: int, epochs: int
) -> tuple[Any, float]:
    """Return the record of a run for all these numbers, and the accuracy of its model."""
    from lightning_jointprune import JointPruningCallback, TargetJoints

    callback = JointPruningCallback(num_joints=data.joints, budget=TargetJoints(list(counts)))
    accuracy = fit_and_score(
        encoder, data.train, data.unseen, data.classes, RECIPE, epochs, seed, callback
    )
    return callback.record, accuracy


def long_ladder(data: JointData, encoder: str, counts: Sequence[int], seed: int) -> Choice:
    """Choose by one run of as many epochs as a method may take."""
    return ladder(data, encoder, counts, seed, RUNS * EPOCHS)


def of_six(data: JointData, encoder: str, counts: Sequence[int], seed: int) -> Choice:
    """Choose by `consensus`, of six runs for each number. No run is in that of two seeds."""
    from lightning_jointprune import consensus

    seeds = range(RUNS * seed, RUNS * (seed + 1))
    records = [trained(data, encoder, counts, each, EPOCHS)[0] for each in seeds]
    joints = {}
    for count in counts:
        rungs = [replace(record, selection=record.selection_of(count)) for record in records]
        joints[count] = [*map(int, consensus(rungs, count).selection.indices)]
    return Choice(joints, {}, RUNS * steps_of_a_run(data.train))


METHODS: dict[str, Callable[..., Choice]] = {
    "TargetJoints": ladder,
    f"TargetJoints, {RUNS * EPOCHS} epochs": long_ladder,
    f"TargetJoints, {RUNS} runs": of_six,
}
