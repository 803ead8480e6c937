"""What the data that reach the gates say against a run's answer."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_jointprune.record.confounds import confounds
from lightning_jointprune.record.evaluation import JointEvaluation
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.report.finding import Finding, names_of

FEW, ALIKE = 8, 0.7  # joints of which a rank correlation is told, and one that is high


def unseen(record: PruningRecord, evaluation: JointEvaluation) -> Iterator[Finding]:
    """Kept joints of which there is seldom anything to see."""
    if not evaluation.inputs or not evaluation.indices:
        return
    names = {name: number for number, name in enumerate(evaluation.joint_names)}
    unseen = [names[name] for name in confounds({}, evaluation.inputs, _kept(evaluation)).phantoms]
    if unseen:
        verb = "is" if len(unseen) == 1 else "are"
        yield Finding(
            "check",
            f"{len(unseen)} of the {len(evaluation.indices)} kept joints {verb} undetected, "
            "interpolated or out of the picture in most frames.",
            f"What the model reads there may be the recording and not the movement: "
            f"{names_of(record, unseen)}. Look at such clips, or train without these joints by "
            "`drop=`, and compare.",
        )
    else:
        yield Finding(
            "good",
            "Every kept joint is there to be seen.",
            "None is undetected or interpolated in most frames of the data that were evaluated.",
        )


def moving(evaluation: JointEvaluation) -> Iterator[Finding]:
    """Whether the joints that cost most are those that move most."""
    costs = evaluation.drop or evaluation.permute
    if not evaluation.inputs or len(costs) < FEW:
        return
    motion = evaluation.confounds().motion
    if motion is not None:
        yield Finding(
            "check" if abs(motion) >= ALIKE else "note",
            f"The rank correlation of what joints cost with how they move is {motion:.2f}.",
            f"It is over {len(costs)} kept joints, too few for an interval."
            + (
                " The joints may be kept since they move, not for what they show: look at which "
                "classes need them."
                if abs(motion) >= ALIKE
                else ""
            ),
        )


def _kept(evaluation: JointEvaluation) -> list[str]:
    return [evaluation.joint_names[index] for index in evaluation.indices]


def normalised(record: PruningRecord) -> Iterator[Finding]:
    """Whether dropped joints speak through the kept ones, by a normalisation before the gates."""
    found, dropped = record.normalisation, not all(record.selection.mask)
    level = "check" if dropped and record.phase == "final" else "note"
    done = [word for word in ("centred", "scaled") if found.get(word)]
    if done:
        unit = found[done[0]]
        what = " and ".join(done)
        yield Finding(
            level,
            f"The coordinates are {what} by all joints of each {unit}, before the gates.",
            "So where the dropped joints are still moves the kept ones, and whoever reads the kept "
            "joints alone cannot compute them as here. Before you write that the others are not "
            f"needed, have the data {what} by joints that are kept, train again, and compare.",
        )
    origin = found.get("origin")
    if isinstance(origin, int) and 0 <= origin < record.selection.num_joints:
        name = record.selection.joint_names[origin]
        yield Finding(
            "note" if record.selection.mask[origin] else level,
            f"{name} is at 0 in every frame.",
            "If the other joints are measured from it, it says nothing by itself and is dropped, "
            "yet where it is has to be known: count it as needed. If it was never detected, there "
            "is nothing to count.",
        )
    if found.get("standardised"):
        yield Finding(
            "note",
            "The coordinates look standardised, all joints together.",
            "A model that is fed the kept joints alone needs the same mean and deviation, those of "
            "all joints: fitted on the kept ones, they would shift what it sees. Store them with "
            "the model.",
        )
