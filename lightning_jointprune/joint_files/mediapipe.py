"""Finds the parts of MediaPipe that a selection still needs, and what that saves per frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from lightning_jointprune.record.selection import JointSelection

# MediaPipe's solution for each part by itself; Holistic finds all of them.
SOLUTION_OF = {"pose": "pose", "left_hand": "hands", "right_hand": "hands", "face": "face"}
NAMES = {"pose": "Pose", "hands": "Hands", "face": "Face Mesh", "holistic": "Holistic"}
COSTS = "extraction_costs.json"  # file of processor times, from benchmarks/extraction.py


@dataclass(frozen=True)
class ExtractionPlan:
    """Holds the parts of MediaPipe that kept joints need; `extraction_plan` makes it.

    Args:
        components: of each part that the skeleton has, `pose`, `left_hand`, `right_hand` or `face`,
            how many of its joints are kept.
        solutions: what to run, out of `pose`, `hands` and `face`, or `holistic` alone.
        share: processor time per frame over that of Holistic, in (0, 1]. It is an upper bound:
            Holistic saw no hands when it was measured, and takes longer where it follows some.
        measured: the version of MediaPipe, the processor and the date of the measurement.
    """

    components: Mapping[str, int]
    solutions: tuple[str, ...]
    share: float
    measured: str

    @property
    def needed(self) -> tuple[str, ...]:
        """Return the parts with joints that are kept."""
        return tuple(part for part, kept in self.components.items() if kept)

    @property
    def idle(self) -> tuple[str, ...]:
        """Return the parts without a joint that is kept."""
        return tuple(part for part, kept in self.components.items() if not kept)

    @property
    def saving(self) -> float:
        """Return the least that is saved of Holistic's processor time per frame, in [0, 1)."""
        return 1 - self.share

    def sentence(self) -> str:
        """Return a text that says what to run, and what to expect of it."""
        counts = ", ".join(
            f"{part.replace('_', ' ')} {kept}" for part, kept in self.components.items()
        )
        run = " and ".join(NAMES[solution] for solution in self.solutions)
        told = (
            "Nothing is saved."
            if self.solutions == ("holistic",)
            else f"That is at most {100 * self.share:.0f} % of Holistic's time per frame "
            f"({self.measured})."
        )
        return f"Kept joints by part: {counts}. To extract them, run MediaPipe's {run}. {told}"

    def idle_sentences(self) -> tuple[str, ...]:
        """Return a sentence for each landmarker that need not run, or whose joints nobody reads."""
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
    """Return the parts of MediaPipe to run for the kept joints, where all joints are its own.

    Parts are known by how names begin: `pose_`, `left_hand_`, `right_hand_`, `face_`, as in the
    skeletons `mediapipe_holistic`, `mediapipe_body_hands` and `mediapipe_hands`. Each part's own
    solution is proposed, or Holistic where these cost as much together. Their landmarks differ a
    little from Holistic's, so train on what is extracted in the same way.

    Args:
        selection: the kept joints.

    Returns:
        The plan; None where joints have other names, or none is kept.

    >>> hands = JointSelection((1,), 2, ("pose_nose", "left_hand_wrist"), (0.1, 0.9))
    >>> extraction_plan(hands).solutions
    ('hands',)
    """
    parts = {name: _part_of(name) for name in selection.joint_names}
    if None in parts.values() or not selection.indices:
        return None
    kept = [parts[name] for name in selection.names]
    components = {part: kept.count(part) for part in SOLUTION_OF if part in parts.values()}
    needed = dict.fromkeys(SOLUTION_OF[part] for part, count in components.items() if count)
    costs = _costs()
    share = sum(costs["of_holistic"][solution]["median"] for solution in needed)
    measured = f"MediaPipe {costs['mediapipe']}, {costs['cpu']}, {costs['date']}"
    if share >= 1:
        return ExtractionPlan(components, ("holistic",), 1.0, measured)
    return ExtractionPlan(components, tuple(needed), share, measured)


def _part_of(name: str) -> str | None:
    return next((part for part in SOLUTION_OF if name.startswith(f"{part}_")), None)


@cache
def _costs() -> dict[str, Any]:
    file = resources.files("lightning_jointprune") / "data" / COSTS
    costs: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return costs
