"""Searches for the joints: warm-up, noisy gates under a price, the frozen mask.

It knows nothing of Lightning; whoever trains tells it where in the run it is, what the loss was,
and when the optimizer is about to step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_jointprune.gates.fills import fill_name
from lightning_jointprune.gates.layer import JointPruningLayer, Mode
from lightning_jointprune.gates.masks import hard_mask, hard_mask_of_units
from lightning_jointprune.search.controller import Controller
from lightning_jointprune.search.cover import copies_are_alike, cover_first
from lightning_jointprune.search.curve import spaced
from lightning_jointprune.search.evidence import Evidence, ranking
from lightning_jointprune.search.optimizer import add_penalty_gradient
from lightning_jointprune.search.phases import (
    NO_SEARCH,
    Phase,
    final_start,
    phase_at,
    search_progress,
    temperature_at,
)

LEAST_COMPARED = 5  # rungs of a ladder, whatever a validation costs
COARSE = 0.6  # share of the validations that is spread over the whole ladder
PATIENCE = 10  # optimizer steps of the search without any gradient before it is an error
LOOKS = 40  # of a search at the losses, each of which waits for the device
LATEST = 0.6  # share of the search that it waits at most for a model that has not learned
SURE = 40.0  # logit of a gate that is open to the last digit, of every relaxation
LOOKED_AT = 10  # batches after the freeze whose loss is read, each of which waits for the device


class JointSearch:
    """Drives the layer in front of a model from the first to the last step of a run.

    Args:
        layer: the gates.
        controller: the budget at work.
        phases: fractions of the run at which the search may begin, and at which it ends. It waits
            until the model has learned something, but no longer than for 60 % of that time. Where
            the joints are given, the whole run is its final phase.

    Attributes:
        logits: the trained parameters of the gates.
        began: fraction of the run at which the search began; None before.
        learned_at: fraction of the run at which the model was first seen to have learned, or None.
    """

    def __init__(
        self, layer: JointPruningLayer, controller: Controller, phases: tuple[float, float]
    ) -> None:
        self.layer = layer
        self.controller = controller
        self.phases = phases if controller.searches else NO_SEARCH
        self.phase: Phase = "warmup"
        self.progress = 0.0
        self.price: Tensor | float = 0.0
        self.began: float | None = None
        self.learned_at: float | None = None
        self.looks = 0  # number of the last look at the losses
        self.waited = False  # whether the model had not learned when the search could have begun
        self.steps = 0  # of the search, in which the gates were trained
        self.steps_without_gradient = 0
        self.batches = 0  # since the optimizer stepped
        self.evidence = Evidence() if controller.by_evidence else None
        self.to_look_at = 0  # batches whose loss has yet to be seen to be finite
        self.copies: Tensor | None = None  # R² of all pairs, in per cent, if they count
        self.settled: list[list[float]] = []  # the keep probabilities when a rung was reached
        self.logits = list(layer.parameters())
        costs = [controller.group_costs.get(name, 0.0) for name in layer.groups or ()]
        self.group_costs = torch.tensor(costs) if any(costs) else None
        layer.mode = "open"

    def turn_to(self, controller: Controller) -> None:
        """Search by another budget from now on, before a gate is trained.

        What the one before began in the search's first step is undone: a rung with all joints would
        make a ladder of any budget, and the final phase would go on training with all of them.
        """
        controller.follow(self.controller)
        self.controller = controller
        self.evidence = Evidence() if controller.by_evidence else None
        self.settled, self.copies = [], None
        self.layer.rungs = self.layer.moments = None

    @property
    def gradients(self) -> list[Tensor]:
        """Return the tensors whose gradients are of the gates, and alike in all processes."""
        return [*self.logits, *([] if self.layer.moments is None else [self.layer.moments])]

    @property
    def length(self) -> float:
        """Return how much of the run the search takes, 0 to 1."""
        return self.span[1] - self.span[0]

    @property
    def span(self) -> tuple[float, float]:
        """Return the fractions of the run at which the search begins, or may begin, and ends."""
        return self.phases[0] if self.began is None else self.began, self.phases[1]

    @property
    def settles(self) -> float:
        """Return the fraction of the run at which the final phase begins, 0 to 1."""
        return final_start(self.phases, self.controller.compared)

    @property
    def fixed(self) -> list[int]:
        """Return the joints that are not searched for: those always kept, and those never used."""
        fixed: list[int] = (self.layer.always | self.layer.never).nonzero().flatten().tolist()
        return fixed

    @property
    def foretells(self) -> bool:
        """Return whether the order of the joints says what another run would keep.

        That was measured of searches by evidence that reached their number, without groups.
        """
        return self.controller.by_evidence and self.frozen and self.layer.groups is None

    @property
    def changes(self) -> bool:
        """Return whether the mask of a step may be another than that of the one before."""
        return self.phase in ("search", "compare")

    @property
    def gathers(self) -> bool:
        """Return whether the step gathered means of the joints, which differ between processes."""
        return self.layer.mode == "given" and self.layer.fill == "mean"

    @property
    def frozen(self) -> bool:
        """Return whether the gates are no longer trained."""
        return self.phase in ("compare", "final")

    @property
    def done(self) -> float:
        """Return how much of the search is done, 0 to 1."""
        return search_progress(self.progress, self.span)

    def advance(
        self, progress: float, redundancy: Callable[[], Tensor | None] = lambda: None
    ) -> Phase | None:
        """Prepare a training step.

        Args:
            progress: fraction of the run that is done.
            redundancy: returns the R² of all pairs of joints, in per cent, shape `(J, J)`, the same
                in all processes; None where nothing is known.

        Returns:
            The phase, if it begins with this step; else None.
        """
        before, done, was_frozen = self.phase, self.done, self.frozen
        self.layer.train()
        self.layer.begin_step()
        self.progress = progress
        if self.phase != "final":
            self._look()
            self.phase = self._next_phase()
        if self.phase == "search":
            if self.evidence is not None and self.layer.moments is None:
                self.layer.gather()
                self.batches = 0
            self.batches += 1
            if self.controller.begins_descent(done, self.done):
                for logits in self.logits:  # none surer than at the start: all come down in time
                    logits.data.clamp_(max=self.layer.start)
                if self.controller.covers and self.layer.groups is None:
                    self._find_copies(redundancy())
            for count in self.controller.reached(self.done)[len(self.settled) :]:
                self._settle(count)
            last = self.controller.count
            if self.copies is not None and last and self.controller.ends_descent(done, self.done):
                _agree(self.layer, self._ordered(last))  # so that the freeze is no jump
        if self.frozen and not was_frozen:
            self.freeze()
        self.layer.temperature = temperature_at(self.done, self.layer.gate.anneal)
        modes: dict[Phase, Mode] = {
            "warmup": "open",
            "search": "sampled",
            "compare": "rungs",
            "final": self._final_mode(),
        }
        self.layer.mode = modes[self.phase]
        return self.phase if self.phase != before else None

    def evaluate(self, all_joints: bool = False) -> None:
        """Prepare an evaluation: the hard mask, or in the warm-up (or on demand) all joints."""
        self.layer.eval()
        self.layer.used = False
        self.layer.mode = "open" if all_joints or self.phase == "warmup" else "masked"

    def add_penalty(self, scale: Callable[[Tensor], Tensor] = lambda loss: loss) -> None:
        """Add the penalty's gradient to the logits', right before the optimizer steps.

        Args:
            scale: how the loss was scaled, if the optimizer is to undo that within its step.

        Raises:
            ValueError: if the loss depends on the gates while all joints are open.
        """
        if self.phase == "warmup" and self.layer.joint_logits.grad is not None:
            raise ValueError(
                "Expected a loss without a price for the gates, which is added to it already, but "
                "got one that depends on them while all are open. Take expected_l0() out of it."
            )
        if self.phase != "search":
            return
        if self.layer.joint_logits.grad is None:
            self.steps_without_gradient += 1
            return
        self.steps_without_gradient = 0
        self.steps += 1
        self._weigh_evidence()
        with torch.enable_grad():
            probabilities = self.layer.keep_probabilities()
        now = probabilities.detach()
        self.price = self.controller.price(now.sum(), self.done)
        slope = self.price * (1.0 + self.done * indecision_slope(now))
        if self.controller.decided is not None:
            earns = self.controller.decided & self._best()
            slope = torch.where(earns, -slope, slope)
        if self.group_costs is not None:
            with torch.enable_grad():
                groups = self.layer.group_probabilities()
                probabilities = torch.cat([probabilities, groups])
            step = 1.0 + self.done * indecision_slope(groups.detach())
            costs = self.group_costs.to(step.device)  # the model may have been moved
            slope = torch.cat([slope, self.price * costs * step])
        add_penalty_gradient(self.logits, probabilities, scale(slope))

    def _weigh_evidence(self) -> None:
        """Take the slopes of the batches since the optimizer stepped last."""
        moments, batches = self.layer.moments, self.batches
        self.batches = 0
        if self.evidence is not None and moments is not None and moments.grad is not None:
            self.evidence.add(moments.grad, batches, self.done)
            moments.grad = None

    def observe_metrics(self, metrics: Mapping[str, float]) -> None:
        """Take what a validation measured with the joints of now."""
        mask = self.mask()
        if self.phase == "warmup":
            self.controller.observe_warmup(metrics)
        elif self.phase == "search":
            self.controller.observe_search(metrics, mask)
        else:
            self.controller.observe_final(metrics, mask)
            active, left = sum(mask), (1.0 - self.progress) / (1.0 - self.settles)
            count = self.controller.final_count(active, left)
            if count > active:  # the likeliest of the others are added
                kept = hard_mask(self._ranked() + 2.0 * self.layer.current_mask(), count)
                self.layer.freeze(kept[self.layer.owner] & ~self.layer.closed)

    def check_learning(self, where: str) -> None:
        """Make sure that the gates of a search are trained: after a step, or at the freeze.

        Args:
            where: the place they are at, for the message.

        Raises:
            ValueError: if no gradient reached them for long, or in no step of the search.
        """
        if not self.controller.searches:
            return
        if self.steps_without_gradient >= PATIENCE or (
            self.frozen and not self.steps and self.steps_without_gradient
        ):
            raise ValueError(
                f"Expected the loss to depend on the gates at {where} but in "
                f"{self.steps_without_gradient} steps no gradient reached them: the input is "
                "detached, or read under no_grad, before it is used. Gate an input that the loss "
                'depends on, such as input="encoder:x".'
            )
        if self.frozen and not self.steps:
            raise ValueError(
                "Expected optimizer steps between the two phases but the search had no step. Train "
                "for more steps, or move phases apart; with manual optimization, step the "
                "optimizers that self.optimizers() returns."
            )

    def evaluation_doubt(self, where: str) -> str | None:
        """Return a warning about the evaluation that has just ended, or None.

        Args:
            where: the place that the layer is at; empty if it is at none.
        """
        if self.layer.used or not where:
            return None
        return (
            f"Expected the evaluation to read the skeleton through {where} but it went another "
            "way, so its metrics are those of all joints. Gate an input that training and "
            'evaluation have in common, such as input="encoder:x".'
        )

    def unfinished(self) -> str:
        """Return the warning about a run that ended before its final phase."""
        return (
            f"The run ended in its {self.phase} phase, at {self.progress:.0%} of its planned "
            "length, so no mask was frozen and the kept joints are provisional. Train to the end, "
            "or plan for fewer epochs."
        )

    def announcement(self) -> str:
        """Return the line that announces the phase which has just begun."""
        kept, joints = sum(self.mask()), self.layer.num_joints
        if self.phase == "search":
            return f"Joint pruning: the search begins, with {kept} of {joints} joints."
        if self.phase == "compare":
            counts = [sum(rung) for rung in self.rungs()]
            span = f"{counts[-1]} to {counts[0]}"
            return f"Joint pruning: {len(counts)} numbers of joints, {span}, are trained together."
        if not self.controller.searches:
            return f"Joint pruning: {kept} of {joints} joints are given; the run trains with these."
        if self.controller.compared:
            return f"Joint pruning: {kept} of {joints} joints are chosen; the final phase begins."
        rungs = "".join(f"{sum(rung)}, " for rung in self.rungs()[:-1])
        return f"Joint pruning: frozen at {rungs}{kept} of {joints} joints; the final phase begins."

    def doubts(self) -> list[str]:
        """Return what is wrong with the budget as the search begins or the mask was just frozen."""
        early = self.phase == "search"
        doubt = self.controller.early_doubt() if early else self.controller.late_doubt()
        return [doubt] if doubt else []

    def check_loss(self, loss: Tensor, scaled: bool = False) -> None:
        """Make sure that a model can do with the kept joints alone, before it is trained on them.

        Args:
            loss: of the batch at hand, shape `()`.
            scaled: whether it may be infinite for its scale alone.

        Raises:
            ValueError: if it is not finite, though it always was with the other joints.
        """
        if not self.to_look_at:
            return
        self.to_look_at -= 1
        loss = loss.detach()
        if (not loss.isnan() if scaled else loss.isfinite()) or not self.controller.always_finite:
            return
        name = fill_name(self.layer.fill) if callable(self.layer.fill) else repr(self.layer.fill)
        raise ValueError(
            f"Expected a finite loss with the kept joints alone but got {float(loss)} after the "
            f"freeze, where it was finite with all of them. Dropped joints are replaced by "
            f"fill={name}: a model that takes a joint at 0 for padding finds nothing but padding, "
            'and one that divides by a distance divides by 0. Pass fill="mean", "hold" or another '
            "number, or find padding in another way."
        )

    def freeze(self) -> None:
        """Decide which joints are kept, for good."""
        self.to_look_at = LOOKED_AT
        chosen, count = self.controller.chosen, self.controller.count
        for rung in self.controller.counts[:-1][len(self.settled) :]:
            self._settle(rung)
        if self.settled:
            self.settled.append(self.layer.keep_probabilities().tolist())
        if chosen is not None:
            mask = torch.tensor(chosen, device=self.layer.joint_logits.device) & ~self.layer.closed
        elif self.learned_at is None and self.controller.needs_learning:
            mask = ~self.layer.closed
        else:
            mask = self._best() if count is None else self._exactly(count)
        if not self.controller.searches:
            _decide(self.layer, mask)
        self.layer.freeze(mask)
        self.layer.moments = None
        self.price = 0.0
        if self.controller.compared and self.layer.rungs is not None:  # none is chosen yet
            self.layer.mask = self.layer.rungs[0]

    def _final_mode(self) -> Mode:
        """Return the layer's mode in the steps of the final phase."""
        if not self.controller.searches:
            return "given"
        ladder = self.layer.rungs is not None and not self.controller.compared
        return "rungs" if ladder else "masked"

    def _phase_at(self, progress: float) -> Phase:
        return phase_at(progress, self.phases, self.controller.compared)

    def _look(self) -> None:
        """Look now and then, until it is so, whether the model has learned something."""
        if not self.controller.searches:
            return
        looks = 1 + int(LOOKS * search_progress(self.progress, self.phases))
        if self.learned_at is not None or self.progress < self.phases[0] or looks == self.looks:
            return
        self.looks = looks
        if self.controller.has_learned():
            self.learned_at = self.progress if self.waited else self.phases[0]

    def _next_phase(self) -> Phase:
        """Return the phase of now: the search waits for a model that has not learned."""
        phase, (first, last) = self._phase_at(self.progress), self.phases
        if phase == "search" and self.phase == "warmup":
            if self.learned_at is None and self.progress < first + LATEST * (last - first):
                self.waited = True
                return "warmup"
            self.began = self.progress if self.waited else first
        skipped = phase == "final" and self.controller.compared and self.phase != "compare"
        return "compare" if skipped else phase  # in a run of few steps, for one of them

    def is_to_choose(self, progress: float) -> bool:
        """Return whether the numbers of joints were compared long enough.

        Args:
            progress: fraction of the run that is done before the step that comes.
        """
        return self.phase == "compare" and self._phase_at(progress) == "final"

    def _find_copies(self, percent: Tensor | None) -> None:
        """Find out whether some joints can stand for others, before the first of them goes."""
        worth = None if self.evidence is None else self.evidence.worth()
        if percent is None or worth is None:
            return
        free = ~self.layer.always & ~self.layer.closed
        if copies_are_alike(worth.float().cpu(), percent.cpu() / 100, free.cpu()):
            self.copies = percent.cpu()

    def _settle(self, count: int) -> None:
        """Write down the mask of a rung; the joints outside are closed from now on."""
        self.settled.append(self.layer.keep_probabilities().tolist())
        self.layer.narrow(self._exactly(count))

    def _exactly(self, count: int) -> Tensor:
        """Return the mask of so many joints, shape `(J,)`, and let their gates agree with it."""
        ranked = self._ordered(count)
        if self.evidence is not None and self.layer.groups is None:
            _agree(self.layer, ranked)
        if not self.layer.tied:
            return hard_mask(ranked, count)
        chosen = hard_mask_of_units(ranked.tolist(), self.layer.owner.tolist(), count)
        return torch.tensor(chosen, device=ranked.device)

    def _ordered(self, count: int) -> Tensor:
        """Return values to rank joints by where so many are kept, shape `(J,)`."""
        ranked = self._ranked()
        if self.copies is None:
            return ranked
        return cover_first(ranked.cpu(), self.copies / 100, count).to(ranked.device)

    def _ranked(self) -> Tensor:
        """Return values to rank joints by, shape `(J,)`: those always kept first, closed ones last.

        Keep probabilities alone would not do: those of others may be 1, or 0, to the last digit.
        """
        always, closed = self.layer.always, self.layer.closed
        ranked = self.layer.keep_probabilities().detach().float()  # in half precision 1 - eps is 1
        worth = None if self.evidence is None else self.evidence.worth()
        if worth is not None:
            ranked = ranking(
                worth.float()[self.layer.owner], ranked.logit(eps=1e-6), ~always & ~closed
            )
        return ranked.masked_fill(always, torch.inf).masked_fill(closed, -torch.inf)

    def _best(self) -> Tensor:
        """Return the joints that would be kept now, shape `(J,)`; of tied ones, a few more."""
        return hard_mask(self._ranked(), self.controller.count)[self.layer.owner]

    def moved_to(self, layer: JointPruningLayer) -> JointSearch:
        """Return the same search for another copy of the model, which has a layer of its own."""
        search = JointSearch(layer, self.controller, self.phases)
        search.load_state_dict(self.state_dict())
        return search

    def share(self, broadcast: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Take the first process's layer in all: their means of the joints differ, and may round.

        Each process goes on with noise of its own: its samples are others.

        Args:
            broadcast: returns in every process what the first one passes.
        """
        self.layer.import_state({**broadcast(self.layer.export_state()), "generator": None})

    def mask(self) -> list[bool]:
        """Return the kept joints: the frozen mask, or what the gates say; all in the warm-up."""
        mask = ~self.layer.never if self.phase == "warmup" else self.layer.current_mask()
        kept: list[bool] = mask.tolist()
        return kept

    def probabilities(self) -> list[float]:
        """Return the keep probabilities: those when the mask was settled, or what they are now."""
        rungs, mask = self.rungs(), self.layer.mask
        kept = None if mask is None else mask.tolist()
        if self.controller.compared and kept in rungs:  # an adopted mask is of another search
            return self.settled[rungs.index(kept)]
        with torch.no_grad():
            now: list[float] = self.layer.keep_probabilities().tolist()
        return now

    def rungs(self) -> list[list[bool]]:
        """Return the masks of a ladder that this search has settled, the most joints first."""
        rungs = self.layer.rungs  # a model's own layer may have those of an earlier run
        return [] if rungs is None else rungs.tolist()[: len(self.settled)]

    def measure_rungs(
        self, measure: Callable[[], dict[str, float]], which: Collection[int] | None = None
    ) -> list[dict[str, float]]:
        """Return what is measured with each rung of a ladder, the most joints first.

        Args:
            measure: measures with the mask of now.
            which: positions of the rungs to measure; None measures all.

        Returns:
            One for each rung, empty for those that were not measured.
        """
        rungs, kept = self.layer.rungs, self.layer.mask
        measured: list[dict[str, float]] = []
        try:
            for position, rung in enumerate(() if rungs is None or not self.frozen else rungs):
                if which is not None and position not in which:
                    measured.append({})
                    continue
                self.layer.mask = rung
                self.evaluate()
                measured.append(measure())
        finally:  # also after an interruption: the joints that the run ends with
            self.layer.mask = kept
        return measured

    def compare(
        self,
        measure: Callable[[], dict[str, float]],
        most: int,
        metric: str | None,
        *,
        higher: bool,
        samples: int | None,
    ) -> list[dict[str, float]]:
        """Measure the rungs of a ladder, and keep the joints of one of them from now on.

        If not all can be measured, some over the whole ladder are first, and then some between the
        chosen one and the next that has fewer joints. If nothing is measured, all joints are kept.

        Args:
            measure: measures with the mask of now.
            most: how many rungs may be measured; five are at least.
            metric: the one to choose by; None if it is not known.
            higher: whether higher values of it are better.
            samples: of a validation; None if not known.

        Returns:
            The metrics of each rung, the most joints first; empty for those that were not measured.
        """
        assert self.layer.rungs is not None  # they were settled when the search ended
        if self.learned_at is None and self.controller.has_learned():
            self.learned_at = self.progress
        choose = partial(self._chosen, metric=metric, higher=higher, samples=samples)
        count, most = len(self.layer.rungs), max(LEAST_COMPARED, most)
        first = spaced(0, count - 1, count if most >= count else math.ceil(COARSE * most))
        measured = self.measure_rungs(measure, first)
        chosen = choose(measured)
        fewer = [position for position in first if position > chosen]
        if fewer and most < count:
            between = spaced(chosen + 1, fewer[0] - 1, most - len(first))
            more = self.measure_rungs(measure, between)
            measured = [old or new for old, new in zip(measured, more, strict=True)]
            chosen = choose(measured)
        self.layer.mask = self.layer.rungs[chosen].clone()
        return measured

    def _chosen(
        self,
        measured: Sequence[Mapping[str, float]],
        metric: str | None,
        higher: bool,
        samples: int | None,
    ) -> int:
        """Return the position of the rung to keep."""
        values = {
            position: metrics[metric]
            for position, metrics in enumerate(measured)
            if metric is not None and math.isfinite(metrics.get(metric, math.nan))
        }
        if not values:
            return 0
        known = list(values.values())
        chosen = self.controller.choose(
            known, higher=higher, samples=samples, learned=self.learned_at is not None
        )
        return list(values)[chosen]

    def course(self) -> dict[str, float | None]:
        """Return where in the run the search began and the model had learned, and what it did."""
        return {
            "began": self.began,
            "learned_at": self.learned_at,
            "steps": self.steps,
            "cover": self.copies is not None,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes during the run, as tensors and plain values."""
        return {
            "budget": self.controller.budget_name,
            "phase": self.phase,
            "progress": self.progress,
            "price": _detached(self.price),
            "steps": self.steps,
            "began": self.began,
            "learned_at": self.learned_at,
            "looks": self.looks,
            "waited": self.waited,
            "copies": self.copies,
            "settled": self.settled,
            "evidence": self.evidence and _detached(self.evidence.state_dict()),
            "layer": self.layer.export_state(),
            "controller": _detached(self.controller.state_dict()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        device = self.layer.joint_logits.device
        self.phase = state["phase"]
        self.progress = state["progress"]
        self.price = _moved(state["price"], device)
        self.steps = state.get("steps", int(state.get("learned", False)))  # as older ones have it
        for name in ("began", "learned_at", "looks", "waited", "copies"):
            setattr(self, name, state.get(name, getattr(self, name)))
        self.settled = list(state["settled"])
        self.layer.import_state(state["layer"])
        self.layer.moments = None
        for logits in self.logits:  # what is left of a step that is no part of this run
            logits.grad = None
        self.controller.load_state_dict(_moved(state["controller"], device))
        if self.evidence is not None and state.get("evidence"):
            self.evidence.load_state_dict(_moved(state["evidence"], device))
        self.layer.temperature = temperature_at(self.done, self.layer.gate.anneal)
        self.evaluate()

    def to(self, device: torch.device, seed: int) -> None:
        """Move everything to a device.

        Args:
            device: where the model is.
            seed: of the gates' noise, which has random numbers of its own: the model's are as they
                would be without.
        """
        self.layer.to(device)
        self.layer.generator = torch.Generator(device=device).manual_seed(seed)
        self.controller.load_state_dict(_moved(self.controller.state_dict(), device))
        if self.evidence is not None:
            self.evidence.load_state_dict(_moved(self.evidence.state_dict(), device))
        self.price = _moved(self.price, device)


def indecision_slope(probabilities: Tensor) -> Tensor:
    """Return the slope of `2 sqrt(p) - p`: what a gate costs that is neither open nor closed.

    It is `1 / sqrt(p) - 1`, in prices: 0 at an open gate, 1 at `p = 1/4`, 9 at `p = 1/100`. With
    the price of a joint alone, many redundant joints would share one open gate among them, each
    with a small probability, and the hard mask would drop them all. Under a concave penalty
    the likeliest of them is the cheapest, and the others close. The root is that of L1/2
    regularization (Xu et al. 2012, doi:10.1109/TNNLS.2012.2197412).

    Args:
        probabilities: keep probabilities, in [0, 1].

    Returns:
        Shape of `probabilities`; below `p = 1e-6` it no longer grows.

    >>> indecision_slope(torch.tensor([0.04, 0.25, 1.0]))
    tensor([4., 1., 0.])
    """
    return probabilities.clamp(min=1e-6).rsqrt() - 1.0


def _decide(layer: JointPruningLayer, mask: Tensor) -> None:
    """Open the gates of these joints to the last digit, and close the others.

    Args:
        layer: the gates; a group is open with any of its joints.
        mask: shape `(J,)`, bool.
    """
    layer.joint_logits.data.copy_(torch.where(mask, SURE, -SURE))
    if layer.group_logits is not None:
        kept = torch.stack([mask[list(of)].any() for of in (layer.groups or {}).values()])
        layer.group_logits.data.copy_(torch.where(kept, SURE, -SURE))


def _agree(layer: JointPruningLayer, ranked: Tensor) -> None:
    """Exchange the logits of joints until the best joint has the highest one, and so on.

    Otherwise a joint that its gate's noise has opened would be dropped with a keep probability
    above that of a better one which is kept.

    Args:
        layer: the gates, one for each joint.
        ranked: values to rank joints by, shape `(J,)`.
    """
    free = (~layer.always & ~layer.closed).nonzero().flatten()
    best_first = free[ranked[free].argsort(descending=True, stable=True)]
    logits = layer.joint_logits.data
    logits[best_first] = logits[free].sort(descending=True).values


def _detached(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _detached(item) for key, item in value.items()}
    if isinstance(value, float):  # also one of numpy's, which a checkpoint should not hold
        return float(value)
    return value.detach().cpu().clone() if isinstance(value, Tensor) else value


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value
