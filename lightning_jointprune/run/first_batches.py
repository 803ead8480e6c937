"""Looks at the skeletons of first batches or a warm-up, before the gates, and changes nothing."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_jointprune.gates.axes import frames_of, is_there
from lightning_jointprune.gates.layer import JointPruningLayer, LayerCall
from lightning_jointprune.measure.anatomy import Doubt, order_doubt
from lightning_jointprune.measure.redundancy import redundancy
from lightning_jointprune.record.confounds import MOSTLY
from lightning_jointprune.skeletons import Skeleton

SAMPLES = 8  # of each batch that are looked at


class FirstBatches(ABC):
    """Looks at calls of a layer in the first training batches of the warm-up.

    Args:
        num_joints: J.

    Attributes:
        limit: number of calls of the layer to look at.
        calls: number of those that have been looked at.
        over: whether there is nothing more to look at.
    """

    limit: ClassVar[int]

    def __init__(self, num_joints: int) -> None:
        self.num_joints = num_joints
        self.calls = 0
        self.over = False

    def watch(self, layer: JointPruningLayer) -> None:
        """Begin to look at a layer's calls, as long as there is something to see."""
        self._handle = layer.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, layer: JointPruningLayer, args: Any, kwargs: Any) -> None:
        """Look at a call of the layer, with its arguments."""
        if torch.compiler.is_compiling():  # a counter would have it compiled anew at every call
            return
        if not layer.training:
            return
        if self._has_seen_enough(layer):
            self.over = True
            self._handle.remove()
        else:
            x, axes, joints = LayerCall(*args, **kwargs)
            self.calls += 1
            if x.numel() > 0:
                self._look(x.detach(), axes, joints or range(self.num_joints))

    def _has_seen_enough(self, layer: JointPruningLayer) -> bool:
        return self.calls >= self.limit or layer.mode not in ("open", "given")

    def _look(self, x: Tensor, axes: Sequence[str], joints: range) -> None:
        self._try(lambda: self._add(x[:SAMPLES].float(), axes, joints))

    def _try(self, look: Callable[[], None]) -> None:
        try:
            look()
        except Exception as error:  # what is only looked at may not cost the run
            self._handle.remove()
            if not dist.is_available() or not dist.is_initialized() or dist.get_rank() == 0:
                warnings.warn(f"The first batches could not be looked at: {error!r}", stacklevel=2)

    @abstractmethod
    def _add(self, x: Tensor, axes: Sequence[str], joints: range) -> None:
        """Take in a few samples: one word per axis, and which joints they are of."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what was seen."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""


FRAMES = 16  # of each call, at most, in which a skeleton's anatomy is looked at


class Order(FirstBatches):
    """Gathers some frames, to hold the joints against the anatomy of a named skeleton.

    Args:
        skeleton: whose joints they are said to be; one of its own names alone is known.
    """

    limit = 6

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__(skeleton.num_joints)
        self.skeleton = skeleton
        self._frames: dict[int, list[Tensor]] = {}  # by the first joint of a part

    def _add(self, x: Tensor, axes: Sequence[str], joints: range) -> None:
        if "c" in axes and x.shape[list(axes).index("c")] > 1:
            frames = frames_of(x, axes)[..., :2].flatten(0, 1)
            step = max(1, len(frames) // FRAMES)
            self._frames.setdefault(joints.start, []).append(frames[::step][:FRAMES].clone())

    def doubt(self) -> Doubt | None:
        """Return a doubt about the order, once, when there is nothing more to look at."""
        gathered, self._frames = (self._frames, {}) if self.over else ({}, self._frames)
        parts = [torch.cat(gathered[start]).cpu() for start in sorted(gathered)]
        if len({len(part) for part in parts}) != 1:
            return None
        places = torch.cat(parts, dim=1)
        if places.shape[1] != self.num_joints:
            return None
        there = is_there(places)
        never = ~there.any(0)
        if int(never.sum()) == 1:  # the one that the others are centred on
            there = there | never
        return order_doubt(torch.where(there.unsqueeze(-1), places, torch.nan), self.skeleton)

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: who goes on looks again."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over nothing."""


APART = 0.2  # least distance of the joints' places, in standard deviations of their coordinates


class MeanPose(FirstBatches):
    """Sums up where the joints are.

    What is not finite does not count, nor a joint whose coordinates are all 0, as in padding and
    where a detector found none.

    Args:
        num_joints: J.

    Attributes:
        sums: number of places, their sum and their sum of squares, shape `(3, J, channels)`; None
            before the first batch, and where there are other than 2 or 3 channels.
    """

    limit = 24

    def __init__(self, num_joints: int) -> None:
        super().__init__(num_joints)
        self.sums: Tensor | None = None

    def _add(self, x: Tensor, axes: Sequence[str], joints: range) -> None:
        if "c" not in axes or x.shape[list(axes).index("c")] not in (2, 3):
            return
        x = x.movedim((axes.index("j"), axes.index("c")), (-2, -1)).flatten(0, -3)
        found = is_there(x).unsqueeze(-1)
        x = torch.where(found, x, 0.0)
        sums = torch.stack([found.expand_as(x).float().sum(0), x.sum(0), x.square().sum(0)])
        if self.sums is None:
            self.sums = sums.new_zeros(3, self.num_joints, sums.shape[-1])
        if self.sums.shape[-1] == sums.shape[-1]:
            self.sums = self.sums.to(x.device)
            self.sums[:, joints.start : joints.stop] += sums

    def places(self) -> tuple[tuple[float, ...], ...]:
        """Return the mean place of each joint, shape `(J, channels)`, to four digits.

        It is empty where nothing is known, and where the joints are all at about the same place:
        of data that are standardised joint by joint no pose is left.
        """
        if self.sums is None:
            return ()
        count, total, squares = self.sums.double()
        mean = total / count.clamp(min=1)
        deviation = (squares / count.clamp(min=1) - mean.square()).clamp(min=0).mean().sqrt()
        apart = mean.std(0).max() if len(mean) > 1 else mean.new_zeros(())
        if not (mean.isfinite().all() and apart > APART * deviation):
            return ()
        return tuple(tuple(float(f"{value:.4g}") for value in place) for place in mean.tolist())

    def state_dict(self) -> dict[str, Any]:
        """Return what was counted."""
        sums = None if self.sums is None else self.sums.cpu().clone()
        return {"calls": self.calls, "sums": sums}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.calls, self.sums = state["calls"], state["sums"]


class Presence(FirstBatches):
    """Adds up the shares of frames in which each joint is there, and outside the picture.

    The picture goes from 0 to 1 in both channels, as shares of its width and height do.

    Args:
        num_joints: J.

    Attributes:
        shares: of the frames of each batch those with the joint, and those with it outside, added
            up, shape `(2, J)`, in half precision; None before the first batch.
    """

    limit = 24

    def __init__(self, num_joints: int) -> None:
        super().__init__(num_joints)
        self.shares: Tensor | None = None

    def _add(self, x: Tensor, axes: Sequence[str], joints: range) -> None:
        x = frames_of(x, axes)
        there = is_there(x)
        outside = ((x[..., :2] < 0) | (x[..., :2] > 1)).any(-1) & there
        if x.shape[-1] < 2:  # no places
            outside = torch.zeros_like(outside)
        shares = torch.stack([there.float().mean((0, 1)), outside.float().mean((0, 1))]).half()
        if self.shares is None:
            self.shares = shares.new_zeros(2, self.num_joints)
        self.shares = self.shares.to(x.device)
        self.shares[:, joints.start : joints.stop] += shares

    def found(self) -> dict[str, tuple[int, ...]]:
        """Return the joints that were seldom seen, and nothing where nothing was.

        Returns:
            `"undetected"`: those missing in most of the frames that had any joint, but for one that
            was never there, on which others may be centred; `"outside"`: those that were mostly
            outside, where most places of all joints are in the picture, as no other units have it.
        """
        if self.shares is None:
            return {}
        there, outside = self.shares.float().cpu()
        missing = there <= (1 - MOSTLY) * there.max()
        if int((there == 0).sum()) == 1:
            missing &= there > 0
        off = (there > 0) & (outside >= MOSTLY * there)
        if outside.sum() >= MOSTLY * there.sum():
            off = torch.zeros_like(off)
        kinds = {"undetected": missing, "outside": off}
        found = {kind: tuple(of.nonzero().flatten().tolist()) for kind, of in kinds.items()}
        return {kind: joints for kind, joints in found.items() if joints and there.max() > 0}

    def state_dict(self) -> dict[str, Any]:
        """Return what was counted."""
        shares = None if self.shares is None else self.shares.cpu().clone()
        return {"calls": self.calls, "shares": shares}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.calls, self.shares = state["calls"], state["shares"]


EXACT = 1e-3  # most that is left of a centre or a scale that was taken out, in skeleton sizes


USUAL = 0.1  # most that standardised coordinates are off mean 0 and deviation 1 in few batches


UNITS = {"frame": (0, 1), "sequence": (1, 2)}  # axes to flatten so that each unit is a row


FEWEST = 8  # least number of frames, or sequences, that anything can be said of


class Normalisation(FirstBatches):
    """Notes what the first channels have in common in every frame, or in every sequence.

    Those are two or three coordinates; a third channel may also be a visibility.

    Args:
        num_joints: J.

    Attributes:
        seen: by `"frame"` and `"sequence"` and how many channels count: how many had joints, the
            most that their centre was away from 0, in sizes of the skeleton, and the least and the
            largest deviation and extent of their joints, shape `(6,)`. By `"moments"` the number,
            the sum and the sum of squares of the coordinates; by `"joints"` the largest coordinate
            of each joint, in sizes of the skeleton, shape `(J,)`.
    """

    limit = 4

    def __init__(self, num_joints: int) -> None:
        super().__init__(num_joints)
        self.seen: dict[str, Tensor] = {}

    def _add(self, x: Tensor, axes: Sequence[str], joints: range) -> None:
        if "c" not in axes or len(joints) != self.num_joints or self.num_joints < 3:
            return
        x = frames_of(x, axes)[..., :3]
        there = is_there(x).unsqueeze(-1)
        x = torch.where(there, x, 0.0)
        for channels in range(2, x.shape[-1] + 1):
            part = x[..., :channels]
            for unit, (first, last) in UNITS.items():
                flat = (values.flatten(first, last) for values in (part, there))
                self._keep(f"{unit} {channels}", _constants(*flat), _widest)
        plane = x[..., :2]
        largest = plane.abs().amax((0, 1, 3)) / plane.square().mean().sqrt().clamp(min=1e-30)
        count = plane.shape[-1] * there.sum()
        self._keep("joints", largest, torch.maximum)
        self._keep("moments", torch.stack([count, plane.sum(), plane.square().sum()]), torch.add)

    def _keep(self, name: str, value: Tensor, both: Any) -> None:
        known = self.seen.get(name)
        self.seen[name] = value if known is None else both(known.to(value.device), value)

    def found(self) -> dict[str, Any]:
        """Return what was found, and nothing where nothing was.

        Returns:
            `"centred"` and `"scaled"` by all joints: of each `"frame"` or each `"sequence"`;
            `"origin"`: the one joint that is at 0 in every frame; `"standardised"`: True if the
            coordinates of all joints together have about mean 0 and deviation 1.
        """
        if not self.seen:
            return {}
        found: dict[str, Any] = {}
        for name, value in self.seen.items():
            unit, (count, away, *ends) = name.partition(" ")[0], value.tolist()
            if unit not in UNITS or count < FEWEST:
                continue
            if away < EXACT:
                found.setdefault("centred", unit)
            if any(0 < high <= low * (1 + EXACT) for low, high in (ends[:2], ends[2:])):
                found.setdefault("scaled", unit)
        still = (self.seen["joints"] < EXACT).nonzero().flatten().tolist()
        if len(still) == 1:  # several are more likely joints that were never detected
            found["origin"] = still[0]
        count, total, squares = self.seen["moments"].tolist()
        mean = total / max(count, 1)
        deviation = max(squares / max(count, 1) - mean**2, 0.0) ** 0.5
        if abs(mean) < USUAL and abs(deviation - 1) < USUAL:
            found["standardised"] = True
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return what was noted."""
        seen = {name: value.cpu().clone() for name, value in self.seen.items()}
        return {"calls": self.calls, "seen": seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.calls, self.seen = state["calls"], dict(state["seen"])


def _constants(x: Tensor, there: Tensor) -> Tensor:
    """Return what `seen` has of a unit; `x` is of shape `(units, points, channels)`."""
    count = there.sum(1).clamp(min=1)
    centre = x.sum(1) / count
    apart = torch.where(there, x - centre.unsqueeze(1), 0.0)
    size = (apart.square().sum((1, 2)) / count.squeeze(1)).sqrt()
    box = x[..., :2]  # a third channel may be a visibility, which goes from 0 to 1 in every frame
    extent = (box.amax(1) - box.amin(1)).amax(1)  # in a box from 0 to 1, a joint at 0 is there
    real = (there.sum(1).squeeze(1) > 2) & (size > 0)
    away = centre.abs().amax(1) / size.clamp(min=1e-30)
    lengths = [length for known in (size, extent) for length in _ends(known, real)]
    return torch.stack([real.sum().float(), away.where(real, 0.0).amax(), *lengths])


def _ends(lengths: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the largest of those lengths that are real."""
    return lengths.where(real, torch.inf).amin(), lengths.where(real, -torch.inf).amax()


def _widest(first: Tensor, second: Tensor) -> Tensor:
    """Return both together: numbers are added, and the ends are the outer ones."""
    least, most = torch.minimum(first, second), torch.maximum(first, second)
    return torch.stack([first[0] + second[0], most[1], least[2], most[3], least[4], most[5]])


ROWS = 128  # frames of a step, at most, that `Redundancy` keeps
KEPT_FRAMES = 4096  # frames of a run, at most


class Redundancy(FirstBatches):
    """Keeps some frames, to say how well each joint foretells each other.

    They are of steps that are spread evenly over the warm-up: of all of them at first, and whenever
    that is too many frames, of half as many. A run with a short warm-up goes on until it has half
    of the frames. In a step, they are spread evenly over samples and time. No random number is
    drawn, and nothing waits for the device before the end. Each process looks at its own batches.

    Args:
        num_joints: J.

    Attributes:
        step: the training step at hand, from 0; -1 before the first.
        stride: number of steps from one whose frames are kept to the next.
        frames: of each of these steps, shape `(rows, J, channels)`; a joint that was in no call of
            the layer is NaN. Empty once there are enough.
    """

    def __init__(self, num_joints: int) -> None:
        super().__init__(num_joints)
        self.step, self.stride = -1, 1
        self.frames: list[Tensor] = []
        self._parts: dict[int, Tensor] = {}  # frames of a step, by the first joint of a part
        self._percent: Tensor | None = None  # what `percent` returns, as long as it holds

    def begin_step(self, warm: bool) -> None:
        """Begin a training step.

        Args:
            warm: whether it is one of the warm-up.
        """
        if self.over:
            return
        self._try(self._gather)
        self.step += 1
        if not warm and 2 * sum(map(len, self.frames)) >= KEPT_FRAMES:
            self.over = True
            self.percent()

    def percent(self) -> Tensor | None:
        """Return the R² of all pairs of joints, in per cent; None where nothing is known.

        Returns:
            See `redundancy`, shape `(J, J)`, uint8.
        """
        if self._percent is None and self.frames:
            self._try(self._measure)
            self.over = self.over or self._percent is None  # it would fail again
        if self.over:
            self.frames = []
        return self._percent

    def _measure(self) -> None:
        frames = torch.cat([frames.cpu() for frames in self.frames])
        self._percent = (100 * redundancy(frames)).round().to(torch.uint8)

    def _has_seen_enough(self, layer: JointPruningLayer) -> bool:  # noqa: ARG002 -- of any mode
        return self.over

    def _look(self, x: Tensor, axes: Sequence[str], joints: range) -> None:
        if self.step % self.stride == 0 and joints.start not in self._parts:
            self._try(lambda: self._add(x, axes, joints))

    def _add(self, x: Tensor, axes: Sequence[str], joints: range) -> None:
        frames = frames_of(x, axes).flatten(0, 1)
        rows = _spread(len(frames), ROWS, self.step // self.stride, x.device)
        self._parts[joints.start] = frames[rows].float()

    def _gather(self) -> None:
        """Put the parts of the step before together, if their frames belong to each other."""
        parts, self._parts = self._parts, {}
        if len({len(part) for part in parts.values()}) != 1:
            return
        first = next(iter(parts.values()))
        channels = max(part.shape[2] for part in parts.values())
        whole = first.new_full((len(first), self.num_joints, channels), torch.nan)
        for start, part in parts.items():  # channels that a part lacks are constant
            within = whole[:, start : start + part.shape[1]].zero_()
            within[..., : part.shape[2]] = part
        if self.frames and self.frames[0].device != whole.device:  # those of a checkpoint
            self.frames = [frames.to(whole.device) for frames in self.frames]
        if self.frames and self.frames[0].shape[1:] != whole.shape[1:]:
            return
        self.frames.append(whole)
        self._percent = None
        if sum(map(len, self.frames)) > KEPT_FRAMES:
            self.frames, self.stride = self.frames[::2], 2 * self.stride

    def state_dict(self, goes_on: bool = True) -> dict[str, Any]:
        """Return what was kept, the frames only as long as they are needed.

        Args:
            goes_on: whether a run can go on from there.
        """
        if not self.over:
            self._try(self._gather)
        return {
            "step": self.step,
            "stride": self.stride,
            "over": self.over,
            "frames": [frames.cpu() for frames in self.frames] if goes_on else [],
            "percent": self._percent,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.step, self.stride, self.over = state["step"], state["stride"], state["over"]
        self.frames, self._percent = list(state["frames"]), state["percent"]


def _spread(count: int, most: int, turn: int, device: torch.device) -> Tensor:
    """Return `most` of `count` places, or all, spread evenly and each time others.

    They are multiples of the golden section of `count`, so that a period, such as the frames of a
    sample, does not lead to the same frame of each.

    >>> _spread(10, 4, 0, torch.device("cpu")).tolist()
    [0, 7, 4, 1]
    """
    step = round(0.618034 * count)
    while math.gcd(step, count) > 1:
        step += 1
    first = turn * most if count > most else 0
    return (torch.arange(min(most, count), device=device) + first) * step % count
