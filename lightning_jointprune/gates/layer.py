"""Holds the layer in front of a model: gates, the mask, and what a dropped joint becomes.

`JointPruningCallback` puts this layer in front of a model; it can also be written into a `forward`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lightning_jointprune.gates.axes import is_recorded, spread
from lightning_jointprune.gates.blend import blend
from lightning_jointprune.gates.fills import (
    Fill,
    batch_means,
    check_frames,
    checked_fill,
    filled_by,
    first_frames,
    padding,
)
from lightning_jointprune.gates.masks import hard_mask
from lightning_jointprune.gates.membership import memberships
from lightning_jointprune.gates.relaxations import Gate, make_gate
from lightning_jointprune.gates.slopes import gathered

AXES = ("b", "t", "j", "c")  # words of the axes, unless others are named
SETTLED = ("mask", "rungs", "fill_mean", "fill_count")  # what is learned besides the logits


class LayerCall(NamedTuple):
    """Binds the arguments of a layer's `forward`, as in `LayerCall(*args, **kwargs)`.

    Attributes:
        x: skeletons.
        axes: one word per axis of `x`.
        joints: the joints in `x`; None: all.
    """

    x: Tensor
    axes: Sequence[str] = AXES
    joints: range | None = None


class JointPruningLayer(nn.Module):
    """Puts a learnable keep/drop gate in front of each joint.

    In training every sample draws noisy gates, which blend each joint with what replaces it; in
    evaluation the hard mask is applied. Add `price * layer.expected_l0()` to your loss, and give
    `layer.parameters()` a learning rate of their own (0.05 under Adam) without weight decay.
    `JointPruningCallback` does all this.

    Args:
        num_joints: J, number of joints.
        temperature: of the gates, above 0; lower it while training, to 0.3 or so.
        hard: whether gates are exactly 0 or 1 on the way forward (straight-through).
        gate: the relaxation; None takes Gumbel-sigmoid gates, straight-through ones if `hard`.
        groups: group name to the indices of its joints; a joint is open when its group's gate and
            its own are. No joint is in two groups.
        tied: whether a group has one gate for all its joints instead.
        keep: indices of joints whose gates are always open.
        drop: indices of joints that are never used, not even where all joints are; of a tied group
            all or none.
        fill: what a dropped joint is replaced by: a number in units of the input; `"mean"`, the
            mean of the joint and channel over the training batches seen until the mask is frozen
            (of joints that are given, over all so far);
            `"hold"`, the joint's own first frame, 0 where that is not finite; or a function of the
            joints and their axes, a tuple of words, whose result broadcasts to the joints. Frames
            of nothing but 0 or nothing but NaN are padding: they stay as they are if `fill` is not
            0, and no mean counts them.

    Raises:
        ValueError: if an argument is out of range.

    >>> layer = JointPruningLayer(num_joints=3, keep=[2]).eval()
    >>> layer.joint_logits.data = torch.tensor([3.0, -3.0, -3.0])
    >>> layer(torch.ones(1, 1, 3, 1)).flatten()
    tensor([1., 0., 1.])
    >>> layer.get_active_joints(), round(layer.get_pruning_ratio(), 2)
    ([0, 2], 0.33)
    """

    fill: Fill
    mask: Tensor | None
    rungs: Tensor | None
    _temperature: Tensor
    always: Tensor
    never: Tensor
    owner: Tensor
    group_of: Tensor
    fill_mean: Tensor | None
    fill_count: Tensor | None

    def __init__(
        self,
        num_joints: int,
        temperature: float = 1.0,
        hard: bool = False,
        *,
        gate: Gate | None = None,
        groups: Mapping[str, Sequence[int]] | None = None,
        tied: bool = False,
        keep: Sequence[int] = (),
        drop: Sequence[int] = (),
        fill: Fill = 0.0,
    ) -> None:
        super().__init__()
        if num_joints < 1:
            raise ValueError(f"Expected num_joints of at least 1 but got {num_joints}.")
        if not temperature > 0.0:
            raise ValueError(f"Expected a temperature above 0 but got {temperature}.")
        self.num_joints = num_joints
        self.gate = gate or make_gate("straight_through" if hard else "gumbel_sigmoid")
        vars(self)["fill"] = checked_fill(fill)  # set so, a module does not become a submodule
        self.groups = {name: tuple(joints) for name, joints in groups.items()} if groups else None
        self.tied = tied
        self.keep, self.drop = tuple(keep), tuple(drop)
        self.joint_names: tuple[str, ...] | None = None  # set by what drives the layer
        self.mode: Mode | None = None  # None: sampled in training, masked in evaluation
        self.used = False  # whether `forward` was called since this was reset
        self.generator: torch.Generator | None = None  # None: torch's own
        self.moments: Tensor | None = None  # see `gather`
        self._drawn: dict[tuple[int, int], Tensor] | None = None  # see `begin_step`

        self.start = start = self.gate.logit_of(self.gate.initial_keep_probability)
        belongs = memberships(num_joints, groups or {}, tied, keep, drop)
        self.joint_logits = nn.Parameter(torch.full((num_joints,), start))
        self.group_logits = (
            nn.Parameter(torch.full((len(groups),), start)) if groups and not tied else None
        )
        for name, value in belongs._asdict().items():
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("_temperature", torch.tensor(float(temperature)), persistent=False)
        for name in SETTLED:
            self.register_buffer(name, None, persistent=False)

    @property
    def temperature(self) -> Tensor:
        """Return the temperature of the gates, shape `()`."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        self._temperature.fill_(value)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all joints, shape `(joints,)`: `joint_names`, or made up."""
        return self.joint_names or numbered(self.num_joints)

    # --- values of the gates -------------------------------------------------------------------

    @property
    def closed(self) -> Tensor:
        """Return the joints that are out for good, shape `(joints,)`, bool."""
        return self.never if self.rungs is None else ~self.rungs[-1]

    def keep_probabilities(self) -> Tensor:
        """Return P(gate open) of every joint, shape `(joints,)`; 1 for those always kept."""
        logits = self.joint_logits[self.owner] if self.tied else self.joint_logits
        probabilities = self.gate.keep_probability(logits)
        if self.group_logits is not None:
            probabilities = probabilities * self._of_groups(self.group_probabilities())
        return self._with_fixed(probabilities)

    def group_probabilities(self) -> Tensor:
        """Return P(group open) of every group, in the order of `groups`, shape `(groups,)`."""
        if self.group_logits is not None:
            return self.gate.keep_probability(self.group_logits)
        return self.keep_probabilities()[[members[0] for members in (self.groups or {}).values()]]

    def expected_l0(self) -> Tensor:
        """Return the expected number of open gates, the sum of keep probabilities, shape `()`."""
        return self.keep_probabilities().sum()

    def current_mask(self) -> Tensor:
        """Return the kept joints, shape `(joints,)`, bool: the frozen mask if there is one."""
        if self.mask is not None:
            return self.mask
        return hard_mask(self.keep_probabilities().detach())[self.owner]

    def get_active_joints(self, threshold: float = 0.5) -> list[int]:
        """Return the kept joints; with another `threshold`, those with a higher probability."""
        if threshold == 0.5:
            return self.current_mask().nonzero().flatten().tolist()
        return (self.keep_probabilities() > threshold).nonzero().flatten().tolist()

    def get_pruning_ratio(self) -> float:
        """Return the fraction of the joints that is dropped, 0 to 1."""
        return 1.0 - len(self.get_active_joints()) / self.num_joints

    # --- the gates at work ---------------------------------------------------------------------

    def sample_gates(self, batch: int) -> Tensor:
        """Return noisy gates, one draw per sample, shape `(batch, joints)`, in [0, 1]."""
        gates = self._sample(self.joint_logits, batch)
        if self.moments is not None:
            gates = gathered(gates, self.moments)
        if self.tied:
            gates = gates[:, self.owner]
        if self.group_logits is not None:
            gates = gates * self._of_groups(self._sample(self.group_logits, batch))
        return self._with_fixed(gates)

    def gather(self) -> None:
        """Gather the moments of the joint gates' slopes from now on, in `moments.grad`.

        See `gathered`; shape `(2, joints)`. Of a tied group, its gate is that of its first joint.
        """
        logits = self.joint_logits
        self.moments = logits.new_zeros((2, len(logits)), requires_grad=True)

    def begin_step(self) -> None:
        """Give batches of one size the same noise, until it is called again.

        A forward that is repeated in the backward pass (activation checkpointing) then has the
        gates it had, and a model that reads the skeleton twice in a step sees one set of joints.
        """
        self._drawn = {}

    def forward(self, x: Tensor, axes: Sequence[str] = AXES, joints: range | None = None) -> Tensor:
        """Gate the joints of `x`.

        Args:
            x: skeletons, floating, by default of shape `(batch, frames, joints, coordinates)`.
            axes: one word per axis of `x`; the first is the batch, `"j"` the joints, `"c"` the
                channels that have a mean of their own with `fill="mean"`.
            joints: the joints in `x`, where it is a part of the skeleton; None: all.

        Returns:
            Shape of `x`.

        Raises:
            ValueError: if `x` has another number of joints or axes, or is not floating.
        """
        joints = range(self.num_joints) if joints is None else joints
        if is_recorded(x):
            recorded: Tensor = self._recorded(x, axes, joints)
            return recorded
        self._check(x, axes, len(joints))
        if not self.used:
            self.used = True
        if self.joint_logits.device != x.device:  # `model.to` does not move a hooked layer
            self.to(x.device)
            if self.moments is not None:
                self.gather()
        mode = self.mode or ("sampled" if self.training and self.mask is None else "masked")
        if mode in _GATHERING and self.fill == "mean" and self.training:
            self._observe(x.detach(), axes, joints)
        if mode == "open" and not self.drop:
            return x
        fill = None if self.fill == 0.0 else self._fill_for(x, axes, joints)
        within = slice(joints.start, joints.stop)
        if mode == "sampled":
            gates = self.sample_gates(x.shape[0])[:, within]
            return blend(x, spread(gates, x, axes).to(x.dtype), fill)
        mask = self._draw_rungs(x.shape[0]) if mode == "rungs" else self.current_mask()
        mask = ~self.never if mode == "open" else mask
        return torch.where(spread(mask[..., within], x, axes), x, 0.0 if fill is None else fill)

    def _recorded(self, x: Any, axes: Sequence[str], joints: range) -> Any:
        """Gate what `torch.fx` records in place of a tensor; the mask becomes a constant."""
        if self.mode in ("sampled", "rungs") or (self.mode is None and self.training):
            raise ValueError(
                "Expected a mask that stands still for torch.fx but got gates that are still drawn "
                "anew in each step. Call model.eval() after the run, and trace then."
            )
        mask = ~self.never if self.mode == "open" else self.current_mask()
        shape = [-1 if word == "j" else 1 for word in axes]
        fill = 0.0 if self.fill == 0.0 else self._fill_for(x, axes, joints)
        return torch.where(mask[joints.start : joints.stop].view(shape), x, fill)

    def narrow(self, mask: Tensor) -> None:
        """Settle a rung of a ladder: gates of other joints are closed from now on.

        Args:
            mask: shape `(joints,)`, bool; joints out of the rung before.
        """
        rung = mask.detach().clone()[None]
        self.rungs = rung if self.rungs is None else torch.cat([self.rungs, rung])

    def freeze(self, mask: Tensor) -> None:
        """Keep exactly these joints from now on; the logits are not trained any more.

        Args:
            mask: shape `(joints,)`, bool; of a ladder, the last rung.
        """
        self.mask = mask.detach().clone()
        if self.rungs is not None:
            self.narrow(self.mask)
        for parameter in self.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None

    def reset(self) -> None:
        """Forget what was learned, and learn again."""
        for parameter in self.parameters():
            parameter.data.fill_(self.start)
            parameter.requires_grad_(True)
        self.mask = self.rungs = self.fill_mean = self.fill_count = None

    def release(self) -> None:
        """Work as without a callback: sampled gates in training, the mask in evaluation."""
        self.mode = self.generator = self.moments = self._drawn = None

    # --- state ---------------------------------------------------------------------------------

    def export_state(self) -> dict[str, Any]:
        """Return everything that was learned, as tensors and plain values."""
        learned = {name: getattr(self, name) for name in ("joint_logits", "group_logits", *SETTLED)}
        state: dict[str, Any] = {
            name: None if value is None else value.detach().cpu().clone()
            for name, value in learned.items()
        }
        state["generator"] = None if self.generator is None else self.generator.get_state()
        return state

    def import_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `export_state` returned."""
        device = self.joint_logits.device
        for name, value in state.items():
            if name == "generator":
                if value is not None and self.generator is not None:
                    self.generator.set_state(value)
            elif isinstance(parameter := getattr(self, name), nn.Parameter):
                parameter.data.copy_(value)
            else:
                setattr(self, name, None if value is None else value.to(device))
        self.requires_grad_(self.mask is None)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy or a pickle, which works as without a callback.

        A generator could not be sent to another process either.
        """
        return {**self.__dict__, "mode": None, "generator": None, "moments": None, "_drawn": None}

    def get_extra_state(self) -> dict[str, Tensor | None]:
        """Return what `state_dict` holds besides the logits; called by PyTorch."""
        return {name: getattr(self, name) for name in SETTLED}

    def set_extra_state(self, state: dict[str, Tensor | None]) -> None:
        """Take over what `get_extra_state` returned; called by PyTorch."""
        self.import_state(state)

    # --- details -------------------------------------------------------------------------------

    def _sample(self, logits: Tensor, batch: int) -> Tensor:
        def draw() -> Tensor:
            return self.gate.draw_noise((batch, len(logits)), logits.device, self.generator)

        return self.gate.sample(logits, self._once(id(logits), batch, draw), self.temperature)

    def _draw_rungs(self, batch: int) -> Tensor:
        """Return the mask of a rung for every sample, shape `(batch, joints)`."""
        rungs = self.rungs
        assert rungs is not None  # the mode "rungs" begins with the first rung

        def draw() -> Tensor:
            return torch.randint(
                len(rungs), (batch,), device=rungs.device, generator=self.generator
            )

        return rungs[self._once(id(self), batch, draw)]

    def _once(self, of: int, batch: int, draw: Callable[[], Tensor]) -> Tensor:
        """Return what is drawn once in a step for batches of a size."""
        drawn = {} if self._drawn is None else self._drawn
        if (of, batch) not in drawn:
            drawn[of, batch] = draw()
        return drawn[of, batch]

    def _with_fixed(self, values: Tensor) -> Tensor:
        """Return every joint's value, but 1 for those always kept and 0 for those that are out."""
        if self.keep:
            values = torch.where(self.always, 1.0, values)
        if self.drop or self.rungs is not None:
            values = torch.where(self.closed, 0.0, values)
        return values

    def _of_groups(self, values: Tensor) -> Tensor:
        """Return the value of every joint's group, shape `(..., joints)`; 1 for joints in none."""
        ones = values.new_ones((*values.shape[:-1], 1))
        return torch.cat([values, ones], dim=-1)[..., self.group_of]

    def _check(self, x: Tensor, axes: Sequence[str], count: int) -> None:
        if x.ndim != len(axes) or x.shape[axes.index("j")] != count:
            raise ValueError(
                f"Expected {count} joints in an input with the axes {' '.join(axes)} but "
                f"got shape {tuple(x.shape)}. Build JointPruningLayer with the num_joints of the "
                "data, or say where they are, such as layer(x, axes=('b', 'c', 't', 'j'))."
            )
        check_frames(self.fill, axes, x.shape)
        if not x.is_floating_point():
            raise ValueError(
                f"Expected a floating tensor but got {x.dtype}. Convert the skeleton with .float()."
            )

    def _observe(self, x: Tensor, axes: Sequence[str], joints: range) -> None:
        """Add a batch to the means of joint and channel."""
        at = axes.index("j")
        mean, count = batch_means(x, axes)
        if self.fill_mean is None or self.fill_count is None:
            shape = [self.num_joints if dim == at else n for dim, n in enumerate(mean.shape)]
            self.fill_mean, self.fill_count = mean.new_zeros(shape), mean.new_zeros(shape)
        before = self.fill_mean.narrow(at, joints.start, len(joints))
        if before.shape != mean.shape:
            raise ValueError(
                f'Expected one kind of channels for fill="mean" but got means of shape '
                f"{tuple(mean.shape)} after {tuple(before.shape)}. Pass another fill."
            )
        total = self.fill_count.narrow(at, joints.start, len(joints)) + count
        mean = torch.lerp(before, mean, count / total.clamp(min=1.0))
        within = (at, joints.start, joints.stop)  # not in place: a backward may need the old means
        self.fill_mean = torch.slice_scatter(self.fill_mean, mean, *within)
        self.fill_count = torch.slice_scatter(self.fill_count, total, *within)

    def _fill_for(self, x: Tensor, axes: Sequence[str], joints: range) -> Tensor:
        if isinstance(self.fill, float):
            fill = x.new_full((), self.fill)
        elif self.fill == "mean":
            if self.fill_mean is None and self.mode == "open":  # a validation before training
                return torch.zeros_like(x)
            if self.fill_mean is None:
                raise ValueError(
                    f'Expected a mean for fill="mean" in {" ".join(axes)} but no training '
                    "batch was seen. Train first, or pass a number as fill."
                )
            fill = self.fill_mean.narrow(axes.index("j"), joints.start, len(joints)).to(x.dtype)
        elif self.fill == "hold":
            fill = first_frames(x, axes)
        else:
            fill = filled_by(self.fill, x, axes)
        # Models find padding by `x != 0`. With a fill of 0, it stays 0.
        return torch.where(padding(x, axes), x, fill)


def numbered(num_joints: int) -> tuple[str, ...]:
    """Return names for joints that have none."""
    return tuple(f"joint_{joint}" for joint in range(num_joints))


Mode = Literal["open", "sampled", "masked", "rungs", "given"]  # given: masked, gathering means
_GATHERING: tuple[Mode, ...] = ("open", "sampled", "given")  # modes in which means are gathered
