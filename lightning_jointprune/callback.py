"""Lightning calls the hooks of `JointPruningCallback`, which stand in the order of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from lightning_jointprune.attach.detect import check_input
from lightning_jointprune.attach.entrance import Entrance, keep_apart
from lightning_jointprune.attach.hooks import detach, unhook_saving
from lightning_jointprune.attach.layers import own_layer, worn_layers
from lightning_jointprune.gates.fills import Fill
from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.gates.membership import Groups
from lightning_jointprune.gates.relaxations import Gate, GumbelSigmoid
from lightning_jointprune.measure.baseline import read_baseline
from lightning_jointprune.record.files import Place, RunFolder
from lightning_jointprune.record.record import CurvePoint, PruningRecord
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.record.stored import RECORD_FILE
from lightning_jointprune.run import other_callbacks
from lightning_jointprune.run import trainer as trainers
from lightning_jointprune.run.checkpoint import STATE_KEY, check_state, find_state, make_state
from lightning_jointprune.run.inspection import preview
from lightning_jointprune.run.recorder import Recorder
from lightning_jointprune.run.settings import Settings
from lightning_jointprune.search import optimizer as optim
from lightning_jointprune.search.budgets import AUTO, Budget, make_controller
from lightning_jointprune.search.phases import Phase
from lightning_jointprune.search.search import LEAST_COMPARED, JointSearch
from lightning_jointprune.skeletons import Skeleton

COMPARED_COST = 0.05  # of the run: what the validations of compared numbers of joints may cost


class JointPruningCallback(pl.Callback):
    """Learns in one training run which skeleton joints a model needs, and trains it on them.

    A gate per joint is put in front of the model's skeleton input. After a warm-up with all joints
    the gates are trained with the model under a price per open gate; then the kept joints are
    frozen as a hard mask and the model is trained on exactly those. Validation, test and prediction
    use the hard mask, except in the warm-up. Nothing in the model changes.

    Args:
        num_joints: J, number of joints; not needed with a named skeleton.
        skeleton: name of a skeleton, such as `"mediapipe_hands"`, the path of a `.pose` file, or a
            `Skeleton` of your own: it brings J, the joints' names, groups and a drawing.
        input: where the skeleton enters the model: None finds it on the first batch, `"keypoints"`
            is an argument of the module's `forward`, `"batch.keypoints"` a key or attribute in one,
            `"encoder:x"` an argument of a submodule, `"body + left_hand"` are parts of it.
        axes: the axes of that tensor in einops' words, such as `"b t j c"`, `"b c t j m"` or
            `"b t (j c)"`; `"b t (33*4 + 42*3)"` are 33 joints of 4 channels and 42 of 3. None
            infers them and refuses when they are ambiguous.
        budget: what limits the joints: an object such as `Price(0.003)` or `MetricFloor`, or just
            a whole number of joints, or several. `"auto"` is `Fewest()` where the run has a
            validation to compare numbers of joints by, and else `Price("auto")`. A
            `JointSelection`, or the path of one, is trained with from the first step on: nothing is
            searched then.
        gate: how a gate is relaxed while it is learned: an object such as `HardConcrete()`, or its
            name, `"hard_concrete"`.
        groups: gates above the joints: `Groups`, a mapping from a group's name to its joints, or
            for the skeleton's own body parts `"hierarchical"` or `"tied"`.
        keep: joints that are never dropped, by index or name, or body parts such as `"left_hand"`.
        drop: joints that are never used, not even in the warm-up, likewise.
        phases: fractions of the run at which the search may begin and at which it ends, 0 to 1. It
            waits for a model that has not begun to learn, with 0 for none. What follows is the
            training under the frozen mask.
        lr: the logits' own learning rate, above 0; None chooses it for the optimizer: 0.05 for Adam
            and its kin, `0.5 (1 - momentum) / price` for SGD; more in a search of under 200 steps.
        fill: what a dropped joint is replaced by: a number in units of the input, `"mean"`, the
            joint's and channel's over the training data, `"hold"`, its first frame, or a function.
        dirpath: folder for the record, the selection and the report, or an address such as
            `s3://bucket/run`; None takes the logger's.

    Raises:
        MisconfigurationException: if an argument is out of range, or does not fit the others, the
            model or the trainer; before a weight is changed.
    """

    def __init__(
        self,
        num_joints: int | None = None,
        *,
        skeleton: str | Skeleton | None = None,
        input: str | None = None,  # noqa: A002 -- the field's word
        axes: str | None = None,
        budget: Budget | JointSelection | int | Sequence[int] | str = AUTO,
        gate: Gate | str = GumbelSigmoid(),  # noqa: B008 -- frozen
        groups: Groups | Mapping[str, Sequence[int | str]] | str | None = None,
        keep: Sequence[int | str] = (),
        drop: Sequence[int | str] = (),
        phases: tuple[float, float] = (0.1, 0.6),
        lr: float | None = None,
        fill: Fill = 0.0,
        dirpath: str | Path | None = None,
    ) -> None:
        self._baseline: dict[str, float] = {}  # figures of a run without the callback, if known
        self._validated = False  # whether the run is validated: asked for in `setup`
        # The arguments: every run begins with them.
        with _misconfigured():
            self._given = Settings.checked(
                num_joints,
                skeleton,
                input=input,
                axes=axes,
                budget=budget,
                gate=gate,
                groups=groups,
                keep=keep,
                drop=drop,
                phases=phases,
                lr=lr,
                fill=fill,
            )
            self._settings = self._given  # those of the model at hand: its own layer brings some
            # The search and what is written down of it: anew with every run, kept when one goes on.
            self._search, self._recorder = self._new_search(self._given.new_layer())
        self.dirpath = dirpath
        # Where the layer is: in front of no model before the first `setup`.
        self._entrance = Entrance(self._save)
        self._guest = False  # whether the model of an evaluation wears another mask than ours

        # These last as long as a run, and are in its checkpoints.
        self._start: float | None = None  # progress of the run when the callback came in, 0 to 1
        self._rate: float | None = None  # the logits' learning rate, chosen when the search begins
        self._companions = other_callbacks.Companions()  # keeps others from judging too early

        # These last as long as a fit.
        self._arrival: Callable[[], None] | None = None  # due once the model is built
        self._folder: RunFolder | None = None  # of the files; asked for in `setup`
        self._replaced: list[JointPruningLayer] = []  # layers of an earlier run, taken away
        self._counting = ExitStack()  # closed, it ends what `on_fit_start` did to other callbacks
        self._shelter = optim.GradientShelter()  # of the optimizer that `on_fit_start` finds
        self.report_path: Place | None = None  # None till there is a report

        # These last from one hook to a later one.
        self._plan = ExitStack()  # closed, it brings the trainer's plan of validations back
        self._unshown: int | None = None  # number of joints that the progress bar has yet to show
        self._metrics_before: dict[str, Tensor] = {}  # the trainer's when a validation begins

    # --- what a run learned --------------------------------------------------------------------

    @property
    def selection(self) -> JointSelection:
        """Return the kept joints; before the search begins, all of them."""
        return self._recorder.selection(self._search)

    @property
    def record(self) -> PruningRecord:
        """Return everything the run learned so far."""
        return self._recorder.record(self._search)

    @property
    def frontier(self) -> tuple[CurvePoint, ...]:
        """Return the metric of each number of joints of the run, the fewest joints first."""
        return self.record.frontier

    def baseline(self, figures: Mapping[str, Any] | str | Path) -> None:
        """Take the figures of a run without the callback, for the record and the report.

        Call it before the training, or after it: then the files of the run are written anew.

        Args:
            figures: `trainer.callback_metrics` of that run, or another mapping from names to
                numbers; or a JSON file with one; or the `metrics.csv` of its CSVLogger, of which
                each column's last number counts, or its folder.

        Raises:
            MisconfigurationException: if there is no such file, it holds no figures, or not the
                metric of this run.
        """
        with _misconfigured():
            self._baseline = read_baseline(figures, self._recorder.metric)
        self._recorder.baseline = self._baseline
        if self.report_path is not None and self._folder is not None:
            self._recorder.write(self._search, self._folder)

    def detach(self, module: nn.Module | None = None) -> None:
        """Take the gates away again: the model is exactly the one that was given to the trainer.

        A model that was pruned keeps its mask until then, whatever the callback does next.

        Args:
            module: a model that was pruned earlier; None takes the model of the latest run.
        """
        if module in (None, self._entrance.module):
            self._entrance.leave()
        else:
            unhook_saving(module)
            detach(module)

    inspect = staticmethod(preview)

    # --- Lightning's hooks, in the order of a run ----------------------------------------------

    @property
    @override
    def state_key(self) -> str:
        return f"{STATE_KEY}{{input={self._settings.input!r}}}"

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        with _misconfigured():
            trainers.check_alone(trainer, self.state_key)
            if stage == "fit":
                trainers.check_run(trainer)
                if self._settings.budget != AUTO:
                    trainers.check_validated(trainer, self._search.controller)
                self._validated = trainer.enable_validation
                # Asked now: all processes have to answer together, which none does after an error.
                self._folder = trainers.run_folder(trainer, self.dirpath, RECORD_FILE)
        self._arrival = partial(self._arrive, trainer, pl_module, stage)
        if not trainers.builds_later(pl_module):
            self._come()
        elif stage == "fit":
            keep_apart(pl_module)  # before the strategy wraps what is built by then

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._come()
        with _misconfigured():
            state = find_state(checkpoint, self.state_key)
            if state is None:  # a checkpoint of a run without the callback
                return
            resumed = self._settings.as_plain() if trainer.state.fn == "fit" else None
            check_state(state, self._settings.joint_names, resumed)
            # The mask goes with the weights that it brings, and with no other model's.
            if self._guest or self._search.layer.mask is not None:
                self._guest = False
                self._begin(trainer, pl_module)
            self._settle_budget(state["search"].get("budget") == "Fewest")
            self._search.load_state_dict(state["search"])
            self._recorder.load_state_dict(state["journal"])
            self._rate, self._start = state["rate"], state["start"]
            self._companions.load_state_dict(state)
            self._entrance.load_state_dict(state)
        if trainers.runs_elsewhere(trainer):
            rank_zero_warn(trainers.unlearned(trainer))

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._come()
        logits = self._search.logits
        if self._start is None:  # no checkpoint is resumed
            for layer in self._replaced if self._search.controller.searches else ():
                rank_zero_warn(_ANEW.format(len(layer.get_active_joints()), layer.num_joints))
            if self._entrance.inside:  # nor does this one know anything yet
                self._search.layer.reset()
        with _misconfigured():
            optimizer = optim.add_to_first(trainer.optimizers, logits, self._rate or 0.05)
        self._shelter = optim.GradientShelter(optimizer, logits)
        apart = partial(optim.without_logits, optimizer, partial(trainers.schedulers, trainer))
        with apart():
            self._counting = other_callbacks.count_apart(trainer, apart)
        reports = other_callbacks.report_if(trainer, lambda: self._search.phase == "final")
        self._counting.enter_context(reports)
        self._companions.watch(trainer)
        self._unshown = sum(self._search.mask())

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._companions.watch(trainer)
        self._companions.hold(trainer, self._search.changes)

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        done = trainers.progress(trainer, batch_idx)
        if self._start is None:  # a plain checkpoint may be resumed: the phases share what is left
            self._start = done
            for doubt in self._plan_doubts(trainer, done):
                rank_zero_warn(doubt)
        self._entrance.meet(batch)
        if not self._entrance.known:  # the first batch passes unchanged, to show where joints are
            with _misconfigured():
                if trainer.world_size > 1 and done >= self._settings.phases[0]:
                    self._entrance.give_up()  # from here on all processes have to go together
                self._entrance.watch()
            return
        self._check_order()
        self._move_on(trainer, done)
        self._companions.hold(trainer, self._search.changes)
        if self._unshown is not None:
            self._show(pl_module, self._unshown)

    @override
    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        self._resolve()
        with _misconfigured():
            self._search.check_loss(loss, scaled=trainers.scales_loss(trainer))

    @override
    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        self._resolve(skipped=True)  # with manual optimization there may be no hook before
        if self._entrance.inside:
            other_callbacks.give_buffers(trainer)
        hides = self._settings.drop or not self._search.controller.searches
        if self._entrance.passed_once() and hides:  # joints that are never used were seen
            optimizer.zero_grad(set_to_none=False)
        if not optim.hold_rate(optimizer, self._search.logits, self._rate):
            return
        trainers.average_gradients(trainer, self._search.gradients)
        with _misconfigured():
            self._search.add_penalty(trainers.loss_scale(trainer, optimizer))
            self._search.check_learning(self._entrance.where)
        self._shelter.hide()

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        loss = trainers.batch_loss(trainer, outputs, alone=self._search.phase == "final")
        self._resolve(skipped=loss is None)
        if loss is not None:
            self._search.controller.observe_loss(loss)
        if self._owes_validation(trainer) and trainers.ends_here(trainer):
            self._plan = trainers.validate_next(trainer)

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._metrics_before = dict(trainer.callback_metrics)
        if trainer.state.fn != "fit":
            self.on_test_start(trainer, pl_module)
            return
        if self._search.gathers:
            self._search.share(trainer.strategy.broadcast)
        self._search.evaluate(all_joints=trainer.sanity_checking)
        self._companions.expect(trainer, self._search.changes)

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit":
            self.on_test_end(trainer, pl_module)
            return
        if doubt := self._search.evaluation_doubt(self._entrance.where):
            raise MisconfigurationException(doubt)
        metrics = trainer.strategy.broadcast(trainers.measured(trainer, self._metrics_before))
        budget = self._search.controller
        seen = any(budget.metric in note.metrics for note in self._recorder.history)
        with _misconfigured():
            trainers.check_metric(budget, metrics, trainer.sanity_checking, seen)
        if metrics or not trainer.sanity_checking:
            shown, settled = list(trainer.progress_bar_metrics), not trainer.sanity_checking
            self._recorder.quote(metrics, other_callbacks.monitored(trainer), shown, settled)
        self._recorder.samples = trainers.validation_samples(trainer)
        if trainer.sanity_checking:
            return
        self._plan.close()
        self._search.observe_metrics(metrics)
        self._companions.observe(metrics)
        self._recorder.note(self._search, trainer.global_step, trainer.current_epoch, metrics)
        if self._settings.budget != AUTO or self._search.phase != "warmup":
            with _misconfigured():
                trainers.check_comparable(self._search.controller, metrics, self._recorder.metric)
        if self._folder is not None and trainers.writes_files(trainer, alone=True):
            self._recorder.refresh(self._search, self._folder)
        self._unshown = sum(self._search.mask())  # asked now: no step waits for the device

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._recorder.last_step != trainer.global_step:  # else a validation has noted it
            self._recorder.note(self._search, trainer.global_step, trainer.current_epoch, {})
        self._companions.end_epoch(trainer)
        pl_module.log_dict(self._recorder.figures())
        self._show(pl_module, sum(self._search.mask()))

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Not in `state_dict`: Lightning would refuse two callbacks of a key before we can say why.
        self._save(checkpoint)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        with _misconfigured():
            self._entrance.give_up()
        if self._search.phase == "compare":  # a short run may have no step left to choose in
            self._move_on(trainer, trainers.progress_at_end(trainer))
        if self._search.phase != "final" and trainers.writes_files(trainer):
            rank_zero_warn(self._search.unfinished())
        elif trainers.writes_files(trainer):
            self._complete(trainer)
        self._finish(trainer)

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._start is None:
            rank_zero_warn(_NOTHING.format(trainer.current_epoch))
        if self._recorder.unwritten:  # killed after its last step; Lightning trains no further
            self._finish(trainer)

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._come()
        if self._guest:
            return
        self._search.evaluate()
        if self._entrance.inside and not self._entrance.known:  # the model's own, as it came
            self._search.layer.mode = None

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.ckpt_path and not (self._entrance.known or self._entrance.inside):
            rank_zero_warn(f"{trainer.ckpt_path} has no mask, so all joints were used.")
        if self._guest:
            return
        if doubt := self._search.evaluation_doubt(self._entrance.where):
            rank_zero_warn(doubt)

    on_predict_start = on_test_start
    on_predict_end = on_test_end

    @override
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._entrance.stop()
        self._counting.close()
        self._plan.close()
        learned = self._entrance.known and self._recorder.history
        if trainer.state.fn == "fit" and learned:
            self._finish(trainer)

    # --- details -------------------------------------------------------------------------------

    def _new_search(self, layer: JointPruningLayer) -> tuple[JointSearch, Recorder]:
        """Return a search with this layer that has not begun, and what writes it down."""
        asked = self._settings
        layer.joint_names = asked.joint_names
        budget = make_controller(asked.budget, layer, self._validated)
        recorder = Recorder(
            asked.joint_names,
            asked.skeleton,
            asked.as_plain(),
            budget.metric,
            budget.floor,
            budget.higher_is_better,
            budget.says_direction,
        )
        recorder.baseline = self._baseline
        return JointSearch(layer, budget, asked.phases), recorder

    def _settle_budget(self, comparable: bool) -> bool:
        """Return whether the budget was left to the run, which now turns to the one that fits.

        Args:
            comparable: whether numbers of joints can be compared.
        """
        if self._settings.budget != AUTO:
            return False
        controller = make_controller(AUTO, self._search.layer, comparable)
        if controller.budget != self._search.controller.budget:
            self._search.turn_to(controller)
        return True

    def _come(self) -> None:
        """Come to the model of this run, once its own `setup` and `configure_model` are over."""
        arrive, self._arrival = self._arrival, None
        if arrive is not None:
            with _misconfigured():
                arrive()

    def _arrive(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Enter a model, or leave it the mask of another run in an evaluation."""
        self._guest = False
        check_input(pl_module, self._settings.input)
        new = self._entrance.module is not pl_module
        worn = worn_layers(pl_module, parts=stage != "fit") if new else []
        if worn and stage != "fit":
            self._meet(trainer, pl_module, worn)
            return
        self._replaced = worn
        self._enter(trainer, pl_module, fits=stage == "fit")

    def _enter(self, trainer: pl.Trainer, pl_module: pl.LightningModule, fits: bool) -> None:
        """Begin anew with a model, or go on with the one of before or another copy of it."""
        new = self._entrance.module is not pl_module
        if not self._entrance.known or (fits and (new or trainer.global_step == 0)):
            self._begin(trainer, pl_module)
            return
        if new:  # what was learned is applied to another copy of the model
            self._part()
        if new or not self._entrance.stands:  # or to layers that were built anew
            layer = own_layer(pl_module) or self._settings.new_layer()
            self._search = self._search.moved_to(layer)
            self._entrance.move(pl_module, self._search.layer)

    def _begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start from nothing with this module, whatever was in front of it."""
        self._part()
        layer = own_layer(pl_module)
        self._settings = self._given.with_layer(layer)  # a layer of the model's own brings some
        self._search, self._recorder = self._new_search(layer or self._settings.new_layer())
        self._recorder.watch(self._search.layer)
        self._entrance.begin(pl_module, self._search.layer)
        self._start, self._rate = None, self._settings.lr
        self._companions.give_back()
        self._companions = other_callbacks.Companions()
        self._search.to(trainer.strategy.root_device, trainers.noise_seed(trainer))

    def _part(self) -> None:
        """Part from the model of before, which keeps its mask if it was pruned."""
        if self._search.phase == "final" and self._entrance.known:
            saved: dict[str, Any] = {}
            self._save(saved)
            self._entrance.settle(saved["callbacks"])
        else:
            self._entrance.leave()

    def _meet(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        worn: Sequence[JointPruningLayer],
    ) -> None:
        """Leave a pruned model its mask in an evaluation, or adopt it if nothing is known yet."""
        joints = len(self._given.joint_names)
        fits = [layer.num_joints for layer in worn] == [joints]
        self._guest = self._entrance.known or not fits
        if self._guest:
            return
        own = own_layer(pl_module)
        given = self._given
        self._settings = given.with_layer(own) if own else given.adopting(worn[0])
        self._search, self._recorder = self._new_search(worn[0])
        self._search.phase = "final"
        self._entrance.adopt(pl_module, worn[0])
        if trainers.runs_elsewhere(trainer):
            rank_zero_warn(trainers.unlearned(trainer))

    def _save(self, checkpoint: dict[str, Any]) -> None:
        states = checkpoint.setdefault("callbacks", {})
        if self.state_key in states:
            return
        states[self.state_key] = make_state(
            self._settings.joint_names,
            self._search.mask(),
            self._search.layer.keep_probabilities().tolist(),
            search=self._search.state_dict(),
            journal=self._recorder.state_dict(goes_on="optimizer_states" in checkpoint),
            rate=self._rate,
            start=self._start,
            **self._companions.state_dict(),
            **self._entrance.state_dict(),
        )

    def _check_order(self) -> None:
        """Hold the first batches against the anatomy of a named skeleton."""
        doubt = self._recorder.order.doubt() if self._recorder.order is not None else None
        if doubt is not None and doubt.clear:
            raise MisconfigurationException(doubt.text)
        if doubt is not None:
            rank_zero_warn(doubt.text)

    def _show(self, pl_module: pl.LightningModule, joints: int) -> None:
        """Give the progress bar the number of joints: on the host, as it asks at every step."""
        pl_module.log("active_joints", torch.tensor(joints).float(), prog_bar=True, logger=False)
        self._unshown = None

    def _resolve(self, skipped: bool = False) -> None:
        """Find the input in what the first training step did, before a weight is changed."""
        asked = self._settings
        joints = len(asked.joint_names)
        with _misconfigured():
            found = self._entrance.find(
                joints, asked.input, asked.axes, asked.check_target, skipped
            )
        if found:
            rank_zero_info(f"Joint pruning: {self._entrance.announcement(joints)}")
            if named := asked.named_alike():
                rank_zero_info(f"Joint pruning: {named}")

    def _move_on(self, trainer: pl.Trainer, done: float) -> None:
        """Prepare a training step, and the phase that begins with it.

        Args:
            trainer: in a fit.
            done: the fraction of the run that is done, 0 to 1.
        """
        assert self._start is not None  # known since the first step
        progress = trainers.share_of_rest(done, self._start)
        if self._search.is_to_choose(progress):
            self._choose(trainer)
        broadcast = trainer.strategy.broadcast
        phase = self._search.advance(
            progress, lambda: broadcast(self._recorder.redundancy.percent())
        )
        self._recorder.redundancy.begin_step(warm=self._search.phase == "warmup")
        if phase is not None:
            self._begin_phase(trainer, phase)

    def _plan_doubts(self, trainer: pl.Trainer, done: float) -> list[str]:
        """Return what is wrong with a run as it is planned, of which a quick trial has no plan."""
        search = self._search
        doubts = (
            trainers.validation_doubt(trainer, done, search.settles),
            trainers.search_doubt(trainer, done, search.phases, search.controller),
            trainers.stream_doubt(trainer, done, search.phases),
        )
        return [doubt for doubt in doubts if doubt and trainers.writes_files(trainer)]

    def _begin_phase(self, trainer: pl.Trainer, phase: Phase) -> None:
        """Set up a phase that has just begun, and say so."""
        (self._begin_search if phase == "search" else self._begin_final)(trainer)
        for doubt in [*self._search.doubts(), *self._recorder.phase_doubts(self._search)]:
            rank_zero_warn(doubt)
        rank_zero_info(self._search.announcement())
        if phase == "search" and any(trainers.of_kind(trainer, "EarlyStopping")):
            rank_zero_info("Joint pruning: early stopping waits for the final phase.")
        self._unshown = sum(self._search.mask())

    def _begin_search(self, trainer: pl.Trainer) -> None:
        """Set the logits' rate, which depends on the steps and, for some, the price."""
        if self._settle_budget(self._validated and self._recorder.comparable):
            rank_zero_info(f"Joint pruning: {self._recorder.automatic(self._search)}")
        with _misconfigured():
            price = self._search.controller.checked_price()
        steps = trainers.planned_steps(trainer, self._search.length, self._start or 0.0)
        how = self._search.logits, price, steps
        self._rate = self._rate or optim.rate_in(trainer.optimizers, *how)

    def _choose(self, trainer: pl.Trainer) -> None:
        """Measure the rungs that are compared, and keep the joints of one of them."""
        recorder = self._recorder
        measure = partial(trainers.validate_again, trainer, DummyLogger())
        if recorder.logged is None:  # the first validation of the run
            self._search.evaluate()
            recorder.quote(measure(), other_callbacks.monitored(trainer), ())
            recorder.samples = trainers.validation_samples(trainer)
        affordable = trainers.affordable_validations(trainer, COMPARED_COST)
        affordable = trainer.strategy.broadcast(affordable)  # each process counts a stream
        numbers = len(self._search.rungs())
        share = min(1.0, affordable / min(LEAST_COMPARED, numbers))  # of each validation
        with trainers.shorter_validations(trainer, share) as part:
            recorder.rung_samples = trainers.validation_samples(trainer)
            if recorder.rung_samples is None and part and recorder.samples:
                recorder.rung_samples = round(recorder.samples * part[0] / part[1])  # about
            recorder.rung_metrics = self._search.compare(
                measure,
                int(affordable),
                recorder.metric,
                higher=recorder.higher_is_better,
                samples=recorder.rung_samples,
            )
        measured = sum(map(bool, recorder.rung_metrics))
        if measured < numbers or part:
            batches = ", each on the first {} of {} batches".format(*part) if part else ""
            rank_zero_info(_FEWER.format(measured, numbers, batches, COMPARED_COST))

    def _begin_final(self, trainer: pl.Trainer) -> None:
        """Make sure that something was learned."""
        if trainers.writes_files(trainer):  # a quick trial may be too short for a search
            with _misconfigured():
                self._search.check_learning(self._entrance.where)
        self._search.share(trainer.strategy.broadcast)
        optim.forget(trainer.optimizers, self._search.logits)
        if self._search.phase == "final":
            self._companions.release(trainer)

    def _owes_validation(self, trainer: pl.Trainer) -> bool:
        """Return whether the final phase has begun and is yet to be validated."""
        final = self._search.phase == "final" and not self._companions.validated
        return final and trainer.enable_validation

    def _complete(self, trainer: pl.Trainer) -> None:
        """Validate and save what the final phase has gone without."""
        with trainers.in_last_epoch(trainer):
            if self._owes_validation(trainer):
                trainers.validate_now(trainer)
            if trainer.enable_validation and not self._search.controller.compared:
                measure = partial(trainers.validate_again, trainer, DummyLogger())
                self._recorder.rung_metrics = self._search.measure_rungs(measure)
            saved = other_callbacks.save_missing(trainer, self._companions.saved)
        for message in saved:
            rank_zero_warn(message)

    def _finish(self, trainer: pl.Trainer) -> None:
        """Leave the model with its mask, and write what was learned."""
        self._search.evaluate()
        self._companions.give_back()
        self._counting.close()
        if self._folder is not None and trainers.writes_files(trainer, alone=True):
            write = partial(self._recorder.write, self._search, self._folder, trainer.loggers)
            self.report_path = write(say=rank_zero_info)


_FEWER = (
    "Joint pruning: {} of the {} numbers of joints were validated{}, since more would cost over "
    "{:.0%} of the run. Longer runs validate more."
)
_ANEW = (
    "The model was pruned before, to {} of {} joints. The search begins anew with all of them, and "
    "that mask is taken away. To keep it, train without JointPruningCallback."
)
_NOTHING = (
    "The trainer had no training step left at epoch {}, so the model was not pruned. Make a new "
    "Trainer for each model."
)


@contextmanager
def _misconfigured() -> Iterator[None]:
    """Turn what the pure modules raise into what users of Lightning expect."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise MisconfigurationException(str(error)) from error
