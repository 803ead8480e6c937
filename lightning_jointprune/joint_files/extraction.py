"""Finds the models of a detector that a selection still needs, and what that saves per frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.skeletons import get_skeleton

# MediaPipe's solution for each part by itself; Holistic finds all of them.
SOLUTION_OF = {"pose": "pose", "left_hand": "hands", "right_hand": "hands", "face": "face"}
NAMES = {"pose": "Pose", "hands": "Hands", "face": "Face Mesh", "holistic": "Holistic"}
TASKS = {  # model files of the landmarkers that MediaPipe has had since, for the same
    "pose": "pose_landmarker_full.task",
    "hands": "hand_landmarker.task",
    "face": "face_landmarker.task",
    "holistic": "holistic_landmarker.task",
}
COSTS = "extraction_costs.json"  # file of processor times, from benchmarks/extraction.py
# Parts of COCO-WholeBody in their order, with the number of joints of each.
WHOLE_BODY = {"body": 17, "feet": 6, "face": 68, "left_hand": 21, "right_hand": 21}
RTMPOSE = {  # models of RTMPose by the parts that they find, smaller ones first
    ("body",): "RTMPose for 17 joints of the body",
    ("body", "feet"): "RTMPose for 26 joints of body and feet",
    tuple(WHOLE_BODY): "RTMPose for 133 joints of the whole body",
}


@dataclass(frozen=True)
class ExtractionPlan:
    """Holds the models that kept joints need; `extraction_plan` makes it.

    Args:
        components: of each part that the skeleton has, such as `pose`, `left_hand`, `right_hand` or
            `face`, how many of its joints are kept.
        solutions: of MediaPipe up to 0.10.21, what to run, out of `pose`, `hands` and `face`, or
            `holistic` alone; empty where the joints are not MediaPipe's.
        share: processor time per frame over that of Holistic, in (0, 1]. It is an upper bound:
            Holistic saw no hands when it was measured, and takes longer where it follows some.
            None where nothing was measured.
        measured: the version of MediaPipe, the processor and the date of the measurement.
        models: what each detector that finds these joints needs, by its name in
            `examples.autsl.extract`.
    """

    components: Mapping[str, int]
    solutions: tuple[str, ...]
    share: float | None
    measured: str
    models: Mapping[str, tuple[str, ...]]

    @property
    def needed(self) -> tuple[str, ...]:
        """Return the parts with joints that are kept."""
        return tuple(part for part, kept in self.components.items() if kept)

    @property
    def idle(self) -> tuple[str, ...]:
        """Return the parts without a joint that is kept."""
        return tuple(part for part, kept in self.components.items() if not kept)

    @property
    def saving(self) -> float | None:
        """Return the least that is saved of Holistic's time per frame, in [0, 1), if measured."""
        return None if self.share is None else 1 - self.share

    def sentence(self) -> str:
        """Return a text that says what to run, and what to expect of it."""
        counts = ", ".join(
            f"{part.replace('_', ' ')} {kept}" for part, kept in self.components.items()
        )
        return f"Kept joints by part: {counts}. To extract them, run {self._run()}"

    def _run(self) -> str:
        if self.share is None:
            models = self.models["rtmpose"]
            whole = models[-1] == RTMPOSE[tuple(WHOLE_BODY)]
            told = "It finds all parts at once." if whole else "What that saves was not measured."
            return f"{' and '.join(models)}. {told}"
        run = " and ".join(NAMES[solution] for solution in self.solutions)
        told = (
            "Nothing is saved."
            if self.solutions == ("holistic",)
            else f"That is at most {100 * self.share:.0f} % of Holistic's time per frame "
            f"({self.measured})."
        )
        files = " and ".join(self.models["mediapipe"])
        return f"MediaPipe's {run}. {told} MediaPipe 1.x takes {files}, which was not measured."

    def idle_sentences(self) -> tuple[str, ...]:
        """Return a sentence for each landmarker that need not run, or whose joints nobody reads."""
        if not self.solutions:
            return ()
        said = []
        if "face" in self.idle:
            said.append(
                "No joint of the face is kept: the Face Landmarker (Face Mesh) need not run."
            )
        if {"left_hand", "right_hand"} <= {*self.idle}:
            said.append("No joint of either hand is kept: the Hand Landmarker need not run.")
        else:
            said += [
                f"No joint of the {side} hand is kept: its landmarks need not be stored or read."
                for side in ("left", "right")
                if f"{side}_hand" in self.idle
            ]
        if "pose" in self.idle:
            said.append(
                "No joint of the pose is kept: the Pose Landmarker need not run. (MediaPipe "
                "Holistic itself needs it to find the hands and the face; the Hand and Face "
                "Landmarkers do not.)"
            )
        return tuple(said)


def extraction_plan(selection: JointSelection) -> ExtractionPlan | None:
    """Return the models to run for the kept joints, where all joints are a known detector's.

    Parts of MediaPipe are known by how names begin: `pose_`, `left_hand_`, `right_hand_`, `face_`,
    as in the skeletons `mediapipe_holistic`, `mediapipe_body_hands` and `mediapipe_hands`. Each
    part's own solution is proposed, or Holistic where these cost as much together. Their landmarks
    differ a little from Holistic's, so train on what is extracted in the same way. RTMPose's joints
    are those of `coco_wholebody_133`.

    Args:
        selection: the kept joints.

    Returns:
        The plan; None where joints have other names, or none is kept.

    >>> hands = JointSelection((1,), 2, ("pose_nose", "left_hand_wrist"), (0.1, 0.9))
    >>> extraction_plan(hands).solutions
    ('hands',)
    >>> extraction_plan(hands).models["mediapipe"]
    ('hand_landmarker.task',)
    """
    if not selection.indices:
        return None
    if {*selection.joint_names} == {*get_skeleton("coco_wholebody_133").joints}:
        return _of_rtmpose(selection)
    parts = {name: _part_of(name) for name in selection.joint_names}
    return None if None in parts.values() else _of_mediapipe(selection, parts)


def _of_mediapipe(selection: JointSelection, parts: Mapping[str, str | None]) -> ExtractionPlan:
    kept = [parts[name] for name in selection.names]
    components = {part: kept.count(part) for part in SOLUTION_OF if part in parts.values()}
    needed = dict.fromkeys(SOLUTION_OF[part] for part, count in components.items() if count)
    costs = _costs()
    share = sum(costs["of_holistic"][solution]["median"] for solution in needed)
    solutions = tuple(needed) if share < 1 else ("holistic",)
    # Of the landmarkers no cost is known, so all three parts are left to the one that has them.
    tasks = needed if len(needed) < len(TASKS) - 1 else ("holistic",)
    models = {
        "mediapipe-legacy": tuple(NAMES[solution] for solution in solutions),
        "mediapipe": tuple(TASKS[solution] for solution in tasks),
    }
    measured = f"MediaPipe {costs['mediapipe']}, {costs['cpu']}, {costs['date']}"
    return ExtractionPlan(components, solutions, min(share, 1.0), measured, models)


def _of_rtmpose(selection: JointSelection) -> ExtractionPlan:
    of_part = [part for part, size in WHOLE_BODY.items() for _ in range(size)]
    part_of = dict(zip(get_skeleton("coco_wholebody_133").joints, of_part, strict=True))
    kept = [part_of[name] for name in selection.names]
    components = {part: kept.count(part) for part in WHOLE_BODY}
    smallest = next(model for parts, model in RTMPOSE.items() if {*kept} <= {*parts})
    models = {"rtmpose": ("a person detector", smallest)}
    return ExtractionPlan(components, (), None, "", models)


def _part_of(name: str) -> str | None:
    return next((part for part in SOLUTION_OF if name.startswith(f"{part}_")), None)


@cache
def _costs() -> dict[str, Any]:
    file = resources.files("lightning_jointprune") / "data" / COSTS
    costs: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return costs
