"""Finds where the skeleton enters a model on the first step, and gates it there from then on.

A model may have a `JointPruningLayer` in its own forward. Then the entrance drives that layer, and
puts nothing in front of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from lightning_jointprune.attach.detect import (
    also_fitting,
    beside,
    may_come,
    or_absent,
    resolve_parts,
)
from lightning_jointprune.attach.hooks import (
    attach,
    attached_here,
    attached_layers,
    detach,
    hook_saving,
    unhook_saving,
)
from lightning_jointprune.attach.layers import own_layer
from lightning_jointprune.attach.probe import Probe, Seen
from lightning_jointprune.attach.samples import SampleCheck, label_counts
from lightning_jointprune.attach.target import Target, read_targets, where, written
from lightning_jointprune.gates.layer import JointPruningLayer

PATIENCE = 32  # training steps without a skeleton before it is refused
_APART = (
    "_ddp_params_and_buffers_to_ignore"  # name of the attribute that DistributedDataParallel reads
)


class Entrance:
    """Keeps the place of the gates in one model after another.

    Args:
        save: called with every checkpoint while the gates are in place.

    Attributes:
        module: the model; None while there is none.
        known: whether the gates are in place, or will be once the input is found.
        inside: path of the layer in the model, if it is the model's own.
        beside: inputs that have the joints too, and are not gated.
    """

    def __init__(self, save: Callable[[dict[str, Any]], None]) -> None:
        self.module: nn.Module | None = None
        self.known = False
        self.inside: str | None = None
        self.beside: tuple[str, ...] = ()
        self._save = save
        self._layer: JointPruningLayer | None = None
        self._targets: tuple[Target, ...] = ()  # the gated inputs, one for each part of a skeleton
        self._probe: Probe | None = None
        self._batch: Any = None  # the watched batch, until its step is over
        self._missed: dict[tuple[str, tuple[str, ...]], Seen] = {}  # in steps without it
        self._misses = 0  # number of those steps
        self._refusal = ""  # the error for those steps, should no skeleton come
        self._check: SampleCheck | None = None  # set where two axes may be that of the batch
        self._apart: list[
            str
        ] = []  # the names that the model itself keeps from DistributedDataParallel
        self._passed = False  # whether the step that was watched has yet to be taken

    @property
    def where(self) -> str:
        """Name the place in words; empty while it is not known."""
        return where(self._targets) or self.inside or ""

    @property
    def stands(self) -> bool:
        """Return whether the layer is still in its place, since a model may rebuild parts of it."""
        assert self.module is not None  # it is asked of a model that is gated
        if self.inside is not None:
            return any(part is self._layer for part in self.module.modules())
        worn = [target for target, layer in attached_layers(self.module) if layer is self._layer]
        return len(worn) == len(self._targets)

    def begin(self, module: nn.Module, layer: JointPruningLayer) -> None:
        """Start from nothing with this model, whatever was in front of it."""
        for target, _ in attached_here(module):
            detach(module, target)
        unhook_saving(module)
        self.known, self._targets, self._check = False, (), None
        self._missed, self._misses = {}, 0
        self._enter(module, layer)

    def move(self, module: nn.Module, layer: JointPruningLayer) -> None:
        """Go on with another copy of the model, once the one before was left or settled."""
        targets = self._targets
        self._enter(module, layer)
        if targets:
            self._attach(targets)

    def adopt(self, module: nn.Module, layer: JointPruningLayer) -> None:
        """Take over a layer that is in front of a model already."""
        self._targets = tuple(target for target, worn in attached_layers(module) if worn is layer)
        self._enter(module, layer)
        hook_saving(module, self._save)
        self.known = True

    def meet(self, batch: Any) -> None:
        """Look at the batch that the next training step gets, as long as that matters.

        Args:
            batch: as the step gets it.
        """
        if not self.known:
            self._batch = batch
        elif self._check is not None and self._check.waits:
            self._check.counts = label_counts(batch)

    def watch(self) -> None:
        """Let the next training step pass unchanged and show where the skeleton enters.

        Raises:
            ValueError: if the model made a layer of its own after the run was set up, or if the
                skeleton was missing in too many steps already.
        """
        assert self.module is not None  # `begin` comes first
        if own_layer(self.module) not in (None, self._layer):
            raise ValueError(
                "Expected a JointPruningLayer that is there when the run is set up but got one "
                "that the model made later. Make it in the model's __init__."
            )
        if self.inside is not None:
            self.known = True
            return
        if self._misses == PATIENCE:
            self.give_up()
        self._probe = Probe(self.module)
        self._probe.start()

    def give_up(self) -> None:
        """Refuse to wait any longer for a skeleton that was missing in all steps so far.

        Raises:
            ValueError: if it was missing in any.
        """
        if self._misses and not self.known:
            steps = f"{self._misses} training steps" if self._misses > 1 else "a training step"
            raise ValueError(f"{self._refusal} This is what {steps} showed.")

    def find(
        self,
        joints: int,
        input: str | None,  # noqa: A002 -- the field's word
        axes: str | None,
        check: Callable[[Target, Sequence[int]], None],
        skipped: bool,
    ) -> bool:
        """Find the input in what the step did that was watched, and put the layer in front of it.

        Args:
            joints: J.
            input: the input's name; None finds it.
            axes: its axes; None infers them.
            check: called with the place, and the shape of what was there, before anything is put
                there; raises what is to be raised.
            skipped: whether the step may have done nothing, so that the next has to be watched.

        Returns:
            Whether it was found just now. It may not have been there: then the next step is
            watched, and so on for `PATIENCE` of them.

        Raises:
            ValueError: if there is no such input, or several.
        """
        probe, seen = self._probe, self.stop()
        if probe is None or (skipped and not seen):
            return False
        batch, self._probe, self._batch = self._batch, None, None
        labels = label_counts(batch)
        try:
            targets = resolve_parts(seen, joints, input, axes, labels)
        except ValueError as error:
            if not may_come(seen, probe.absent, batch, joints, input, axes):
                also = or_absent(seen, probe.absent, batch, joints, axes) if input is None else ""
                raise ValueError(f"{error}{also}") from error
            self._miss(seen, partial(resolve_parts, num_joints=joints, input=input, axes=axes))
            return False
        shapes = {(tensor.module, tensor.path): tensor.shape for tensor in seen}
        shape = shapes[targets[0].module, targets[0].path]
        check(targets[0], shape)
        self._attach(targets)
        self.beside = also_fitting(seen, targets, joints)
        if axes is None and SampleCheck.is_needed(targets[0].axes, shape, labels):
            assert self._layer is not None  # it came with the model
            self._check = SampleCheck(targets[0].input)
            self._check.watch(self._layer)
        self._passed = True
        return True

    def _miss(self, seen: list[Seen], resolve: Callable[[list[Seen]], Any]) -> None:
        """Note what was seen in a step without the skeleton."""
        self._missed = {**{(tensor.module, tensor.path): tensor for tensor in seen}, **self._missed}
        self._misses += 1
        try:
            resolve(list(self._missed.values()))
        except ValueError as error:
            self._refusal = str(error)

    def announcement(self, joints: int) -> str:
        """Return where the joints enter, and which other inputs have as many."""
        also = f" {beside(self.beside, joints)}." if self.beside else ""
        return f"{joints} joints enter at {self.where}.{also}"

    def passed_once(self) -> bool:
        """Return whether the step about to be taken is the watched one, made without the gates."""
        passed, self._passed = self._passed, False
        return passed

    def stop(self) -> Any:
        """Watch no longer, and return what was seen so far."""
        return [] if self._probe is None else self._probe.stop()

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the words that `input` and `axes` are written in."""
        place = written(self._targets)
        return {**place, "input": self.inside} if self.inside and self.known else place

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put the gates where they were when `state_dict` was called, if they were anywhere."""
        if state["input"] is None:
            return
        self.known = True
        if self.inside is None:
            self._attach(read_targets(state))

    def settle(self, state: Mapping[str, Any]) -> None:
        """Part from a pruned model, which keeps its mask until its owner takes it away.

        Args:
            state: what each of its checkpoints has among its callbacks' from now on.
        """
        if self.module is not None:
            self._part()
            hook_saving(self.module, partial(_save_as_is, state))
            self.module = None

    def leave(self) -> None:
        """Take the gates away; a layer of the model's own works by itself again."""
        if self.module is None:
            return
        for target in self._targets:
            detach(self.module, target)
        self._part()
        self.module = None

    def _part(self) -> None:
        assert self.module is not None  # whoever parts has come
        self.stop()
        unhook_saving(self.module, self._save)
        if isinstance(self.module.__dict__.get(_APART), _Apart):
            del self.module.__dict__[_APART]
        if self.inside is not None and self._layer is not None:
            self._layer.release()
            self.module.__dict__.pop(_APART, None)
            if self._apart:
                self.module.__dict__[_APART] = self._apart

    def _enter(self, module: nn.Module, layer: JointPruningLayer) -> None:
        self.module, self._layer = module, layer
        self.inside = next((name for name, part in module.named_modules() if part is layer), None)
        if self.inside is not None:
            hook_saving(module, self._save)
            names = _logits(module)
            self._apart = [name for name in module.__dict__.get(_APART, ()) if name not in names]
            module.__dict__[_APART] = [*self._apart, *names]

    def _attach(self, targets: tuple[Target, ...]) -> None:
        assert self.module is not None  # `begin` comes first
        assert self._layer is not None
        for target in self._targets:
            detach(self.module, target)
        for target in targets:
            attach(self.module, target, self._layer)
        hook_saving(self.module, self._save)
        self.known, self._targets = True, targets


def keep_apart(module: nn.Module) -> None:
    """Keep the logits of layers that a model has yet to make from DistributedDataParallel.

    Most steps give them no gradient, for which it would wait.
    """
    if _APART not in module.__dict__:
        module.__dict__[_APART] = _Apart(module)


class _Apart(list[str]):
    """Lists the names of a model's logits, looked up when they are asked for."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = module

    def __iter__(self) -> Iterator[str]:
        return iter(_logits(self._module))


def _logits(module: nn.Module) -> list[str]:
    """Return the names of the parameters of the layers in a model's own forward."""
    return [
        f"{path}.{name}"
        for path, layer in module.named_modules()
        if isinstance(layer, JointPruningLayer)
        for name, _ in layer.named_parameters()
    ]


def _save_as_is(state: Mapping[str, Any], checkpoint: dict[str, Any]) -> None:
    """Put the state of a pruned model into a checkpoint that has none yet."""
    checkpoint["callbacks"] = {**state, **checkpoint.get("callbacks", {})}
