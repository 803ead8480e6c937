"""`GivenJoints` keeps joints that are known before the run, which then searches for none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

from torch import Tensor
from typing_extensions import override

from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.search.controller import Controller, usable_joints


@dataclass(frozen=True)
class GivenJoints:
    """Train with exactly these joints from the first step on; nothing is searched.

    The first batch shows where the joints enter the model, and its gradient is not used. All that
    follows is the final phase. There is no warm-up and no search, so `phases`, `gate` and `lr` have
    no effect. With `fill="mean"` the means are those of the batches so far.

    A `JointSelection`, or the path of its JSON, is a budget too, and becomes this one.

    Args:
        joints: the joints to keep, by index or name, each once.
        source: the file that says so, for the report; None if there is none.

    Raises:
        ValueError: if `joints` is no list of joints, is empty, or has one twice.
    """

    joints: Sequence[int | str]
    source: str | None = None

    def __post_init__(self) -> None:
        given: Any = self.joints
        several = isinstance(given, Iterable) and not isinstance(given, str)
        joints = tuple(map(_index_or_name, given)) if several else ()
        if not joints or None in joints or len(set(joints)) < len(joints):
            raise ValueError(
                f"Expected a list of different joints to keep but got {self.joints!r}. Pass "
                "GivenJoints([0, 4, 8]), say, or their names."
            )
        object.__setattr__(self, "joints", joints)


class Given(Controller):
    """Has the mask from the first step on, and asks no price."""

    budget: GivenJoints

    def __init__(self, budget: GivenJoints, layer: JointPruningLayer) -> None:
        super().__init__(budget, usable_joints(layer))
        kept = _indices(budget, layer.names)
        self.chosen = [joint in kept for joint in range(layer.num_joints)]
        _check_fixed(self.chosen, layer)

    @property
    @override
    def searches(self) -> bool:
        return False

    @override
    def price(self, expected: Tensor, done: float) -> float:
        return 0.0


def _index_or_name(joint: Any) -> int | str | None:
    """Return a joint as a Python int or str; None for what is neither, such as a mask's True."""
    if isinstance(joint, str):
        return joint
    whole = isinstance(joint, SupportsIndex) and not isinstance(joint, bool)
    return int(joint) if whole else None


def _indices(budget: GivenJoints, names: Sequence[str]) -> set[int]:
    """Return the given joints by index.

    Raises:
        ValueError: if there is no such joint, or one is named twice.
    """
    known: dict[int | str, int] = {name: joint for joint, name in enumerate(names)}
    known.update({joint: joint for joint in range(len(names))})
    if unknown := [joint for joint in budget.joints if joint not in known]:
        raise ValueError(
            f"Expected given joints of 0 to {len(names) - 1}, or their names, but got "
            f"{unknown[0]!r}. The names begin with {', '.join(names[:3])}."
        )
    kept = [known[joint] for joint in budget.joints]
    if len(set(kept)) < len(kept):
        twice = next(joint for joint in kept if kept.count(joint) > 1)
        raise ValueError(
            f"Expected different joints to keep but got {names[twice]} by its name and by its "
            f"index, {twice}. Leave one out."
        )
    return set(kept)


def _check_fixed(chosen: Sequence[bool], layer: JointPruningLayer) -> None:
    """Make sure that the given joints are in line with keep, drop and tied groups.

    Raises:
        ValueError: if they are not.
    """
    names, pairs = layer.names, zip(layer.always.tolist(), layer.never.tolist(), strict=True)
    for name, kept, (always, never) in zip(names, chosen, pairs, strict=True):
        if kept and never:
            raise ValueError(
                f"Expected given joints without those of drop but got {name} in both. Take it out "
                "of drop, or out of the given joints."
            )
        if always and not kept:
            raise ValueError(
                f"Expected given joints with those of keep but {name} is not given. Take it out of "
                "keep, or give it too."
            )
    for joint, unit in enumerate(layer.owner.tolist()):
        if chosen[joint] != chosen[unit]:
            raise ValueError(
                f"Expected all or none of a tied group to be given but got one of {names[joint]} "
                f"and {names[unit]} alone. Give both, or leave groups out."
            )
