"""`JointPruningCallback`: Lightning's hooks in the order of a run, each a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from lightning_jointprune import companions
from lightning_jointprune.arguments import as_plain, joint_names, resolve_groups
from lightning_jointprune.attach import Target, attach, detach
from lightning_jointprune.detect import Probe, check_input, resolve
from lightning_jointprune.gates import Gate, Groups, GumbelSigmoid, make_gate
from lightning_jointprune.journal import Journal
from lightning_jointprune.layer import JointPruningLayer
from lightning_jointprune.layout import Layout
from lightning_jointprune.optim import add_logits, gate_rate, hide_logits, logit_group
from lightning_jointprune.record import JointSelection, PruningRecord
from lightning_jointprune.schedules import (
    MetricFloor,
    Price,
    TargetJoints,
    check_phases,
    make_budget,
    make_controller,
)
from lightning_jointprune.search import JointSearch, make_generator
from lightning_jointprune.skeletons import resolve_joints

PATIENCE = 10  # optimizer steps of the search without any gradient before it is an error


class JointPruningCallback(pl.Callback):
    """Learns in one training run which skeleton joints a model needs, and trains it on them.

    A gate per joint is put in front of the model's skeleton input. After a warm-up with all joints
    the gates are trained with the model under a price per open gate; then the kept joints are
    frozen as a hard mask and the model is trained on exactly those. Validation, test and prediction
    use the hard mask, except in the warm-up. Nothing in the model changes.

    Args:
        num_joints: J, number of joints; not needed with a named skeleton.
        skeleton: name of a skeleton, such as `"mediapipe_hands"`, which brings J, the joints'
            names, groups and a drawing.
        input: where the skeleton enters the model: None finds it on the first batch,
            `"skeleton_keypoints"` is an argument of the module's `forward`, `"batch.keypoints"` a
            key or attribute in one, `"encoder.stgcn:x"` an argument of a submodule.
        axes: the axes of that tensor in einops' words, such as `"b t j c"`, `"b c t j m"` or
            `"b t (j c)"`; None infers them and refuses when they are ambiguous.
        budget: what limits the joints: `Price`, `TargetJoints` (or a whole number) or
            `MetricFloor`.
        gate: how a gate is relaxed while it is learned, an object or a name: `gumbel_sigmoid`,
            `straight_through`, `hard_concrete` or `stochastic`.
        groups: gates above the joints: `Groups`, a mapping from a group's name to its joints, or
            for the skeleton's own body parts `"hierarchical"` or `"tied"`.
        keep: joints that are never dropped, by index or name.
        phases: fractions of the run at which the warm-up and the search end, 0 to 1; what follows
            is the training under the frozen mask.
        lr: the logits' own learning rate, above 0; None chooses it for the optimizer: 0.05 for Adam
            and its kin, `0.5 (1 - momentum) / price` for SGD. Their weight decay is 0.
        fill: what a dropped joint is replaced by: a number in units of the input, or `"mean"`, the
            mean of the joint and channel over the training data.
        dirpath: folder for the record, the selection and the report; None takes the logger's.

    Raises:
        MisconfigurationException: if an argument is out of range, or does not fit the others, the
            model or the trainer; before a weight is changed.
    """

    def __init__(
        self,
        num_joints: int | None = None,
        *,
        skeleton: str | None = None,
        input: str | None = None,  # noqa: A002 -- the field's word
        axes: str | None = None,
        budget: Price | TargetJoints | MetricFloor | int = Price("auto"),  # noqa: B008 -- frozen
        gate: Gate | str = GumbelSigmoid(),  # noqa: B008 -- frozen
        groups: Groups | Mapping[str, Sequence[int | str]] | str | None = None,
        keep: Sequence[int | str] = (),
        phases: tuple[float, float] = (0.1, 0.6),
        lr: float | None = None,
        fill: float | str = 0.0,
        dirpath: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.input = input
        self.axes = axes
        self.lr = lr
        self.fill = fill
        self.dirpath = dirpath
        self.skeleton = skeleton
        self.report_path: Path | None = None
        with _misconfigured():
            if lr is not None and not lr > 0.0:
                raise ValueError(f"Expected a learning rate above 0 but got lr={lr}.")
            if axes is not None:
                Layout.parse(axes)
            self.joint_names = joint_names(num_joints, skeleton)
            self.num_joints = len(self.joint_names)
            self.budget = make_budget(budget)
            self.gate = make_gate(gate)
            self.phases = check_phases(phases)
            self.keep = resolve_joints(keep, self.joint_names)
            self.groups, self.tied = resolve_groups(groups, skeleton, self.joint_names)
            self._search = self._new_search()
        self._journal = self._new_journal()
        self._module: pl.LightningModule | None = None
        self._target: Target | None = None
        self._probe: Probe | None = None
        self._rate: float | None = None
        self._hold = companions.EarlyStoppingHold()
        self._metrics_before: dict[str, Tensor] = {}

    # --- what a run learned --------------------------------------------------------------------

    @property
    def selection(self) -> JointSelection:
        """The kept joints; before the search begins, all of them."""
        return self._journal.selection(self._search)

    @property
    def record(self) -> PruningRecord:
        """Everything the run learned so far."""
        return self._journal.record(self._search)

    def detach(self) -> None:
        """Take the gates away again: the model is exactly the one that was given to the trainer."""
        if self._probe is not None:
            self._probe.stop()
            self._probe = None
        if self._module is not None and self._target is not None:
            detach(self._module, self._target)
        self._module = None

    # --- Lightning's hooks, in the order of a run ----------------------------------------------

    @property
    @override
    def state_key(self) -> str:
        return self._generate_state_key(input=self.input)

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        with _misconfigured():
            self._check(trainer, pl_module, stage)
        if self._module is not pl_module or (stage == "fit" and trainer.global_step == 0):
            self._begin(trainer, pl_module)

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        with _misconfigured():
            _check_state(state_dict, self.joint_names)
        self._search.load_state_dict(state_dict["search"])
        self._journal.load_state_dict(state_dict["journal"])
        self._rate = state_dict["rate"]
        if state_dict["input"] is not None:
            self._attach(Target.parse(state_dict["input"], state_dict["axes"]))

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.optimizers:
            raise MisconfigurationException(
                "Expected an optimizer to train the gates with but configure_optimizers returned "
                "none. Return one, such as torch.optim.AdamW(self.parameters())."
            )
        optimizer = trainer.optimizers[0]
        with _misconfigured():
            add_logits(optimizer, self._search.logits, self._rate or 0.05)
        for config in trainer.lr_scheduler_configs:
            hide_logits(config.scheduler, optimizer)

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._hold_companions(trainer)

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._target is None:  # the first batch passes unchanged and shows where the joints are
            self._probe = self._probe or Probe(pl_module)
            self._probe.start()
            return
        phase = self._search.advance(_progress(trainer, batch_idx))
        if phase == "search":
            self._begin_search(trainer)
        elif phase == "final":
            self._begin_final(trainer)

    @override
    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        self._resolve()

    @override
    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        group = logit_group(optimizer)
        if group is None:
            return
        if self._rate is not None:
            group["lr"] = self._rate  # whoever sets the rates of all groups does not mean ours
        if trainer.world_size > 1:  # the logits are not among what the strategy reduces
            for logits in self._search.logits:
                if logits.grad is not None:
                    logits.grad = trainer.strategy.reduce(logits.grad, reduce_op="mean")
        self._search.add_penalty()
        if self._search.steps_without_gradient >= PATIENCE:
            raise MisconfigurationException(
                f"Expected the loss to depend on the gates in front of {self._where} but in "
                f"{PATIENCE} steps no gradient reached them: the input is detached, or read under "
                'no_grad, before it is used. Pass another input=, such as "encoder:x".'
            )

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._resolve()
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):  # Lightning has divided it by the accumulated batches
            self._search.controller.observe_loss(loss * trainer.accumulate_grad_batches)

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._search.evaluate(all_joints=trainer.sanity_checking)
        self._metrics_before = dict(trainer.callback_metrics)
        if trainer.state.fn == "fit":
            self._hold_companions(trainer)

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit":
            return
        measured = self._measured(trainer)
        if isinstance(self.budget, MetricFloor):
            self._check_metric(self.budget.metric, measured, trainer.sanity_checking)
        if trainer.sanity_checking:
            return
        self._journal.note(self._search, trainer.global_step, trainer.current_epoch, measured)
        self._journal.quote(
            companions.monitored(trainer.callbacks), list(trainer.progress_bar_metrics)
        )
        if self._search.phase == "search":
            self._search.controller.observe_metrics(measured, self._search.mask())

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        history = self._journal.history
        if not history or history[-1].step != trainer.global_step:
            self._journal.note(self._search, trainer.global_step, trainer.current_epoch, {})
        now = history[-1]
        values = {
            "pruning_ratio": 1.0 - now.active_joints / self.num_joints,
            "active_joints": float(now.active_joints),
            "expected_joints": now.expected_joints,
            "l0_penalty": now.price * now.expected_joints,
            "gate_temperature": now.temperature,
        }
        pl_module.log_dict({f"joint_pruning/{name}": value for name, value in values.items()})

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._search.phase != "final" and not trainer.fast_dev_run:
            rank_zero_warn(
                f"The run ended in its {self._search.phase} phase, at {self._search.progress:.0%} "
                "of its planned length, so no mask was frozen and the kept joints are provisional. "
                "Train to the end, or plan for fewer epochs."
            )
        self._finish(trainer)

    @override
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        if self._probe is not None:
            self._probe.stop()
            self._probe = None
        if self._journal.history:  # else nothing was learned yet
            self._finish(trainer)

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._search.evaluate()

    @override
    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._search.evaluate()

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "joint_names": list(self.joint_names),
            "input": None if self._target is None else self._target.input,
            "axes": None if self._target is None else self._target.axes,
            "mask": self._search.mask(),
            "keep_probabilities": self._search.layer.keep_probabilities().tolist(),
            "fill": self.fill,
            "rate": self._rate,
            "search": self._search.state_dict(),
            "journal": self._journal.state_dict(),
        }

    # --- details -------------------------------------------------------------------------------

    def _new_search(self) -> JointSearch:
        layer = JointPruningLayer(
            self.num_joints,
            self.gate.anneal[0],
            gate=self.gate,
            groups=self.groups,
            tied=self.tied,
            keep=self.keep,
            fill=self.fill,
        )
        controller = make_controller(self.budget, self.num_joints, len(self.keep))
        return JointSearch(layer, controller, self.phases)

    def _new_journal(self) -> Journal:
        names = (
            "input",
            "axes",
            "budget",
            "gate",
            "groups",
            "tied",
            "keep",
            "phases",
            "lr",
            "fill",
        )
        settings = {name: as_plain(getattr(self, name)) for name in names}
        journal = Journal(self.joint_names, self.skeleton, settings)
        if isinstance(self.budget, MetricFloor):
            journal.metric, journal.floor = self.budget.metric, self.budget.floor
            journal.more_is_better = self.budget.higher_is_better
        return journal

    def _begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start from nothing with this module."""
        self.detach()
        self._module = pl_module
        self._target = None
        self._rate = self.lr
        self._search = self._new_search()
        self._journal = self._new_journal()
        device = trainer.strategy.root_device
        self._search.to(device)
        seed = (torch.initial_seed() + 1 + trainer.global_rank) % 2**63
        self._search.layer.generator = make_generator(device, seed)

    def _check(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        twins = [
            one
            for one in trainer.callbacks
            if isinstance(one, JointPruningCallback) and one.input == self.input
        ]
        if len(twins) > 1:
            raise ValueError(
                f"Expected one JointPruningCallback per input but got {len(twins)} with "
                f"input={self.input!r}. Remove one, or give each its own input=."
            )
        if self.input is not None:
            check_input(pl_module, self.input)
        if stage != "fit":
            return
        if trainer.max_epochs == -1 and trainer.max_steps == -1 and not trainer.fast_dev_run:
            raise ValueError(
                "Expected a run with an end, since the phases are fractions of it, but got "
                "max_epochs=-1 without max_steps. Pass Trainer(max_epochs=...) or max_steps=..."
            )
        if isinstance(self.budget, MetricFloor) and not trainer.enable_validation:
            raise ValueError(
                f"Expected a validation that logs {self.budget.metric!r} for MetricFloor but this "
                "run has none. Pass validation data, or another budget."
            )

    def _attach(self, target: Target) -> None:
        assert self._module is not None  # `setup` comes first
        attach(self._module, target, self._search.layer)
        self._target = target

    def _resolve(self) -> None:
        """Find the input in what the first training step did, before a weight is changed."""
        if self._probe is None:
            return
        seen, self._probe = self._probe.stop(), None
        with _misconfigured():
            self._attach(resolve(seen, self.num_joints, self.input, self.axes))
        rank_zero_info(f"Joint pruning: {self.num_joints} joints enter at {self._where}.")

    @property
    def _where(self) -> str:
        return "" if self._target is None else f"{self._target.input} ({self._target.axes})"

    def _begin_search(self, trainer: pl.Trainer) -> None:
        """Set the logits' rate, which for some optimizers depends on the price."""
        group = logit_group(trainer.optimizers[0])
        controller = self._search.controller
        needs_loss = self.budget == Price("auto") or not isinstance(self.budget, Price)
        if needs_loss and not float(controller.loss_count):
            raise MisconfigurationException(
                "Expected training_step to return a finite loss, from which the price is set, but "
                "got none. Return the loss, also with manual optimization, or pass "
                "budget=Price(0.003), say."
            )
        if group is not None and self._rate is None:
            self._rate = gate_rate(group, float(controller.base_price()))

    def _begin_final(self, trainer: pl.Trainer) -> None:
        self._hold.release()
        companions.forget_best(trainer.callbacks)

    def _hold_companions(self, trainer: pl.Trainer) -> None:
        if self._search.phase != "final":
            self._hold.apply(trainer.callbacks)

    def _measured(self, trainer: pl.Trainer) -> dict[str, float]:
        """The scalar metrics that the validation logged that has just ended."""
        return {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if value.numel() == 1 and value is not self._metrics_before.get(name)
        }

    def _check_metric(self, metric: str, measured: Mapping[str, float], sanity: bool) -> None:
        if metric not in measured and (measured or not sanity):
            raise MisconfigurationException(
                f"Expected the validation to log {metric!r} for MetricFloor but it logged "
                f"{', '.join(measured) or 'nothing'}. Name one of these, or log the metric with "
                f"self.log({metric!r}, value)."
            )

    def _finish(self, trainer: pl.Trainer) -> None:
        """Leave the model with its mask, and write what was learned."""
        self._search.evaluate()
        self._hold.release()
        folder = Path(self.dirpath or trainer.log_dir or trainer.default_root_dir)
        if trainer.is_global_zero and not trainer.fast_dev_run:
            self.report_path = self._journal.write(self._search, folder)


@contextmanager
def _misconfigured() -> Iterator[None]:
    """Turn what the pure modules raise into what users of Lightning expect."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise MisconfigurationException(str(error)) from error


def _check_state(state: Mapping[str, Any], names: Sequence[str]) -> None:
    saved = state["joint_names"]
    if list(saved) != list(names):
        raise ValueError(
            f"Expected a checkpoint of {len(names)} joints ({names[0]} ... {names[-1]}) but got one "
            f"of {len(saved)} ({saved[0]} ... {saved[-1]}). Pass the num_joints or skeleton that "
            "it was trained with."
        )


def _progress(trainer: pl.Trainer, batch_idx: int) -> float:
    """The fraction of the run that is done before this batch, by epochs or steps."""
    fractions = [0.0]
    if trainer.max_steps > 0:
        fractions.append(trainer.global_step / trainer.max_steps)
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        batches = trainer.num_training_batches
        in_epoch = batch_idx / batches if batches != float("inf") else 0.0
        fractions.append((trainer.current_epoch + in_epoch) / trainer.max_epochs)
    return min(1.0, max(fractions))
