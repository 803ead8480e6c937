"""Checks the callback's arguments, resolves names in them, and makes the layer they describe."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, SupportsFloat

import torch

from lightning_jointprune.attach.layout import Layout, readings
from lightning_jointprune.attach.target import Target, alternatives, check_written
from lightning_jointprune.gates.fills import Fill, check_frames, checked_fill, fill_name
from lightning_jointprune.gates.layer import JointPruningLayer, numbered
from lightning_jointprune.gates.membership import Groups
from lightning_jointprune.gates.relaxations import Gate, make_gate
from lightning_jointprune.record.selection import JointSelection, check_finished
from lightning_jointprune.record.stored import as_argument
from lightning_jointprune.search.budgets import AUTO, Budget, make_budget
from lightning_jointprune.search.budgets.given_joints import GivenJoints
from lightning_jointprune.search.budgets.target_joints import is_whole
from lightning_jointprune.search.phases import check_phases
from lightning_jointprune.skeletons import (
    Skeleton,
    as_skeleton,
    check_apart,
    check_parts,
    near_names,
    resolve_joints,
    skeleton_names,
    skeletons_of,
)

# Axis patterns that are unambiguous: no other usual pattern puts the joints there.
_CERTAIN = ("b t j c", "b j c", "b j")
_OF_LAYER = ("gate", "groups", "tied", "keep", "drop", "fill")  # settings that a layer has too


@dataclass(frozen=True)
class Settings:
    """Holds the callback's arguments with every name resolved; `Settings.checked` makes them.

    Args:
        joint_names: names of all joints, shape `(J,)`.
        skeleton: the skeleton, if it is known.
        input: where the skeleton enters; None finds it.
        axes: its axes in einops' words; None infers them.
        budget: what limits the joints.
        gate: how a gate is relaxed.
        groups: group name to the indices of its joints.
        tied: whether a group has one gate for all its joints.
        keep: indices of joints that are never dropped.
        drop: indices of joints that are never used.
        phases: ends of warm-up and search, as fractions of the run.
        lr: the logits' learning rate; None chooses it.
        fill: what a dropped joint is replaced by.
    """

    joint_names: tuple[str, ...]
    skeleton: Skeleton | None
    input: str | None
    axes: str | None
    budget: Budget | Literal["auto"]
    gate: Gate
    groups: Mapping[str, tuple[int, ...]] | None
    tied: bool
    keep: tuple[int, ...]
    drop: tuple[int, ...]
    phases: tuple[float, float]
    lr: float | None
    fill: Fill

    @classmethod
    def checked(
        cls,
        num_joints: int | None,
        skeleton: str | Skeleton | None,
        *,
        input: str | None,  # noqa: A002 -- the users' word
        axes: str | None,
        budget: Budget | JointSelection | int | Sequence[int] | str,
        gate: Gate | str,
        groups: Groups | Mapping[str, Sequence[int | str]] | str | None,
        keep: Sequence[int | str],
        drop: Sequence[int | str],
        phases: Sequence[float],
        lr: float | None,
        fill: Fill,
    ) -> Settings:
        """Return the callback's arguments, checked one by one and resolved.

        What does not fit together is refused by the layer, and by the budget when it sees it.

        Raises:
            ValueError: if one is out of range, or names what is not there.
        """
        fill = checked_fill(fill)
        _check_rate(lr)
        check_written(input)
        if axes is not None:
            check_frames(fill, Layout.parse(axes).words)
        own = as_skeleton(skeleton)
        if axes is not None:
            check_parts(own, [n for n, _ in Layout.parse(axes).blocks])
        names = named_joints(num_joints, own)
        members, tied = _resolve_groups(groups, own, names)
        parts = {**(own.groups if own else {}), **(members or {})}
        kept, dropped = (_resolved(joints, own, names, parts) for joints in (keep, drop))
        _check_drop(kept, dropped, names)
        if members and tied and own is None:
            names = _names_of_nodes(names, members)
        return cls(
            names,
            own,
            input=input,
            axes=axes,
            budget=make_budget(_given(budget, names, own)),
            gate=make_gate(gate),
            groups=members,
            tied=tied,
            keep=kept,
            drop=dropped,
            phases=check_phases(phases),
            lr=None if lr is None else float(lr),
            fill=fill,
        )

    def with_layer(self, layer: JointPruningLayer | None) -> Settings:
        """Return these settings for a model with a layer of its own, whose settings then count.

        Args:
            layer: the model's; None leaves the settings as they are.

        Raises:
            ValueError: if it is of other joints, or if what it decides was set here as well.
        """
        if layer is None:
            return self
        joints = len(self.joint_names)
        if layer.num_joints != joints:
            raise ValueError(
                f"Expected a JointPruningLayer of {joints} joints in the model but got one of "
                f"{layer.num_joints}. Pass num_joints={layer.num_joints}, or another skeleton."
            )
        usual: dict[str, Any] = {
            "input": None,
            "axes": None,
            "gate": make_gate("gumbel_sigmoid"),
            "groups": None,
            "keep": (),
            "drop": (),
            "fill": 0.0,
        }
        twice = [name for name, value in usual.items() if getattr(self, name) != value]
        if twice:
            raise ValueError(
                f"Expected {' and '.join(twice)} to be left to the model's JointPruningLayer but "
                f"got {', '.join(f'{name}={getattr(self, name)!r}' for name in twice)}. Take "
                "this out of JointPruningCallback; the layer has its own, or its place in forward."
            )
        return self._taking(layer)

    def adopting(self, layer: JointPruningLayer) -> Settings:
        """Return these settings for a layer in front of a model, whose settings then count."""
        return replace(self._taking(layer), joint_names=layer.names)

    def _taking(self, layer: JointPruningLayer) -> Settings:
        return replace(self, **{name: getattr(layer, name) for name in _OF_LAYER})

    def new_layer(self) -> JointPruningLayer:
        """Return a layer with its gates as they are before a search.

        Raises:
            ValueError: if groups, keep and drop do not fit together.
        """
        given = {name: getattr(self, name) for name in _OF_LAYER}
        return JointPruningLayer(len(self.joint_names), self.gate.anneal[0], **given)

    def check_target(self, target: Target, shape: Sequence[int] = ()) -> None:
        """Make sure that what is filled in knows where the channels and the frames are.

        Args:
            target: where the skeleton enters.
            shape: what the first batch had there; empty where that is not known.

        Raises:
            ValueError: if `fill` is not 0 and the axes were inferred, but not for certain, or if
                there are no frames to hold one of.
        """
        if self.fill != 0.0 and self.axes is None and target.axes not in _CERTAIN:
            place = target.layout.words.index("j")
            others = readings(shape, place) if len(shape) == len(target.layout.groups) else ()
            choice = dict.fromkeys([target.axes, *others])
            raise ValueError(
                f"Expected axes for fill={_plain(self.fill)!r}, which has to know the channels and "
                f"the frames, but got none for the input {target.input}, which could be "
                f"{target.axes!r}. Pass {' or '.join(f'axes={axes!r}' for axes in choice)}, say, "
                "with c where the channels are and t where the frames are."
            )
        lengths: Sequence[int] = ()
        if shape:
            joints = len(self.joint_names if target.joints is None else target.joints)
            layout = target.layout.of(target.joints)
            lengths = layout.split(torch.empty(tuple(shape), device="meta"), joints)[0].shape
        check_frames(self.fill, target.layout.words, lengths)

    def named_alike(self) -> str:
        """Return a line that offers the named skeletons of as many joints, where none is known."""
        joints = len(self.joint_names)
        known = alternatives("skeleton", skeletons_of(joints))
        if self.skeleton is not None or not known:
            return ""
        return (
            f"these {joints} joints have no names. Pass {known} if they are in that order: it has "
            "their names, body parts and a drawing."
        )

    def as_plain(self) -> dict[str, Any]:
        """Return the settings as plain values, without what a record says elsewhere."""
        names = {field.name for field in fields(self)} - {"joint_names", "skeleton"}
        return {name: _plain(getattr(self, name)) for name in sorted(names)}


def named_joints(num_joints: int | None, skeleton: str | Skeleton | None) -> tuple[str, ...]:
    """Return the joints' names: the skeleton's, else made up from their number.

    Raises:
        ValueError: if there is no such skeleton, or no such number.
    """
    known = as_skeleton(skeleton)
    if known is not None:
        names = known.joints
        if num_joints not in (None, len(names)):
            others = alternatives("skeleton", skeletons_of(num_joints or 0))
            raise ValueError(
                f"Expected {len(names)} joints (skeleton {known.name!r}) but got "
                f"num_joints={num_joints}. Leave num_joints out"
                f", or {f'pass {others}' if others else 'name another skeleton'}."
            )
        return names
    if not is_whole(num_joints) or num_joints < 1:
        raise ValueError(
            f"Expected the number of joints but got num_joints={num_joints!r}. Pass "
            f"{_joints_to_pass(num_joints)}, say."
        )
    return numbered(int(num_joints))


def _joints_to_pass(num_joints: object) -> str:
    """Return what may have been meant by what is no number of joints."""
    if isinstance(num_joints, str) and (near := near_names(num_joints, skeleton_names())):
        return f'skeleton="{near[0]}"'
    return 'num_joints=42 or skeleton="mediapipe_hands"'


def _check_rate(lr: Any) -> None:
    known = isinstance(lr, SupportsFloat) and math.isfinite(lr) and float(lr) > 0.0
    if lr is not None and not known:
        raise ValueError(
            f"Expected a learning rate above 0 but got lr={lr!r}. Leave lr out to have it chosen, "
            "or pass lr=0.05, say."
        )


def _resolved(
    joints: Any,
    skeleton: Skeleton | None,
    names: Sequence[str],
    parts: Mapping[str, Sequence[int]],
) -> tuple[int, ...]:
    """Return joint indices; refuses names with advice of its own where joints have none."""
    if isinstance(joints, str) or not isinstance(joints, Iterable):
        return resolve_joints(joints, names, parts)  # which says what is wrong with them
    joints = list(joints)
    unknown = [joint for joint in joints if isinstance(joint, str) and joint not in names]
    known_parts = any(part.startswith(unknown[0]) for part in parts) if unknown else True
    if skeleton is None and not known_parts:
        known = alternatives("skeleton", skeletons_of(len(names)))
        raise ValueError(
            f"Expected indices of joints, which have no names without a skeleton, but got "
            f"{unknown[0]!r}. Pass {known or 'skeleton=Skeleton(name, joints)'}, or an index."
        )
    return resolve_joints(joints, names, parts)


def _check_drop(keep: Sequence[int], drop: Sequence[int], names: Sequence[str]) -> None:
    """Make sure that what is never used leaves what is never dropped, and a joint at all."""
    both = [names[joint] for joint in drop if joint in keep]
    if both or len(drop) == len(names):
        got = f"{', '.join(both[:4])} in both of keep and drop" if both else "all of them in drop"
        raise ValueError(
            f"Expected drop to leave a joint, those of keep among them, but got {got}. Shorten "
            f"{'one of them' if both else 'drop'}."
        )


def _given(
    budget: Budget | JointSelection | int | Sequence[int] | str,
    names: Sequence[str],
    skeleton: Skeleton | None,
) -> Budget | int | Sequence[int] | str:
    """Return a budget as it is, but of a selection, or of a file with one, its joints.

    Args:
        budget: as the callback takes it.
        names: of the run's joints, shape `(J,)`.
        skeleton: of the run, if it is known.

    Raises:
        ValueError: if a selection is of other joints or an unfinished run, or a file holds none.
    """
    if isinstance(budget, str):
        budget = _selection_at(budget) or budget
    if not isinstance(budget, JointSelection):
        return budget
    file = budget.source.get("file")
    where, theirs = file or "the selection", budget.source.get("skeleton")
    if budget.joint_names != tuple(names):
        raise ValueError(_other_joints(budget, names, where))
    if theirs and skeleton and theirs != skeleton.name:
        raise ValueError(
            f"Expected joints of the skeleton {skeleton.name!r} in {where} but got those of "
            f"{theirs!r}. Pass skeleton={theirs!r}, or another selection."
        )
    check_finished(budget, where)
    return GivenJoints(budget.indices, file)


def _selection_at(path: str) -> JointSelection | None:
    """Return the selection in a file, or None if there is no such file."""
    try:
        return None if path == AUTO else JointSelection.from_json(path)
    except FileNotFoundError:
        return None


def _other_joints(selection: JointSelection, names: Sequence[str], where: str) -> str:
    """Return the message about a selection of other joints than those of the run."""
    theirs, ours = selection.joint_names, len(names)
    advice = "Pass the num_joints or skeleton of the run that it is from, or another selection."
    if len(theirs) != ours:
        return f"Expected {ours} joints in {where} but got {len(theirs)}. {advice}"
    pairs = enumerate(zip(names, theirs, strict=True))
    joint, (mine, other) = next((j, pair) for j, pair in pairs if pair[0] != pair[1])
    return (
        f"Expected the joints of this run in {where} but got others: joint {joint} is {mine!r} "
        f"here, not {other!r}. {advice}"
    )


def _resolve_groups(
    groups: Groups | Mapping[str, Sequence[int | str]] | str | None,
    skeleton: Skeleton | None,
    names: Sequence[str],
) -> tuple[dict[str, tuple[int, ...]] | None, bool]:
    """Return the groups by index, and whether they are tied."""
    if groups is None:
        return None, False
    if isinstance(groups, str) and groups in ("hierarchical", "tied"):
        groups = Groups(tied=groups == "tied")
    elif isinstance(groups, Mapping):
        groups = Groups(groups)
    if not isinstance(groups, Groups):
        raise ValueError(
            f'Expected groups of "hierarchical", "tied", Groups or a mapping but got {groups!r}. '
            'Pass groups="hierarchical", or groups={"left_hand": range(21)}, say.'
        )
    if groups.members is not None:
        parts = skeleton.groups if skeleton else {}
        members = {
            name: resolve_joints(joints, names, parts) for name, joints in groups.members.items()
        }
        check_apart(members, names)
        return members, groups.tied
    if skeleton is None:
        raise ValueError(
            "Expected a skeleton whose groups to take but got none. Pass skeleton=... or "
            "Groups({'left_hand': range(21), ...})."
        )
    if not skeleton.groups:
        raise ValueError(
            f"Expected a skeleton with groups but got {skeleton.name!r}, which has none. Give it "
            f"some, Skeleton({skeleton.name!r}, joints, groups={{'left_hand': range(21), ...}}), "
            "or pass the mapping as groups=."
        )
    return dict(skeleton.groups), groups.tied


def _names_of_nodes(names: Sequence[str], members: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
    """Return names that come of tied groups: `joint_13` is no joint, but the second node of one."""
    nodes = {joint: f"{name}.{k}" for name, of in members.items() for k, joint in enumerate(of)}
    return tuple(nodes.get(joint, name) for joint, name in enumerate(names))


def _plain(value: Any) -> Any:
    """Return a setting as a record holds it: a function's name, numpy's numbers as Python's."""
    return as_argument(value, lambda other: fill_name(other) if callable(other) else float(other))
