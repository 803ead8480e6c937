"""A model that was pruned wears its mask until its owner takes it off, wherever it goes."""

from __future__ import annotations

import copy
import pickle
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningCLI
from torch import Tensor, nn

from lightning_jointprune import (
    JointPruningCallback,
    JointPruningLayer,
    analyze_pruning,
    load_pruned,
)
from lightning_jointprune.attach import attached_layers
from lightning_jointprune.attach.layers import own_layer
from tests.runs import QUIET, SHORT_RUNS, Classifier, J, clips, pruning, trainer

pytestmark = [
    *SHORT_RUNS,
    pytest.mark.usefixtures("run_folder"),
    pytest.mark.filterwarnings("ignore:The model was pruned before"),
]


class Own(Classifier):
    """Gates the skeleton in its own forward."""

    def __init__(self, lr: float = 0.01, dropout: float = 0.0, joints: int = J) -> None:
        super().__init__(lr, dropout, joints)
        self.pruning = JointPruningLayer(J)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.pruning(x))


class Holder(Classifier):
    """Holds a model and answers with it."""

    def __init__(self, held: Classifier) -> None:
        super().__init__()
        self.held = held
        self.held.calls.clear()

    def forward(self, x: Tensor) -> Tensor:
        self.got = x.detach()
        logits: Tensor = self.held(x)
        return logits


def reaching(model: nn.Module) -> tuple[int, ...]:
    """The joints that the output depends on."""
    x = next(iter(clips(1, seed=7)))[0]
    with torch.no_grad():
        plain = model.eval()(x)
        return tuple(
            joint
            for joint in range(J)
            if not torch.allclose(model(x.index_fill(2, torch.tensor(joint), 3.0)), plain)
        )


def has_layer(model: nn.Module) -> bool:
    """Return whether a model is gated."""
    return bool(attached_layers(model)) or own_layer(model) is not None


def pruned(model: Classifier, callback: JointPruningCallback, *others: Any) -> tuple[int, ...]:
    """The selection of a run with this callback."""
    trainer(callback, *others, max_epochs=3).fit(model, clips(2), clips(1, seed=1))
    return callback.selection.indices


@cache
def saved(kind: type[Classifier], path: Path) -> tuple[int, ...]:
    """The selection of a run that is in a checkpoint: one joint more than in other runs."""
    callback = pruning(4)
    run = trainer(callback, max_epochs=3)
    run.fit(kind(), clips(2, seed=5), clips(1, seed=1))
    run.save_checkpoint(path)
    return callback.selection.indices


Worn = list[tuple[Classifier, tuple[int, ...]]]  # models and the joints that each is to keep
FUNCTIONS = ["test", "validate", "predict"]
OPERATIONS = [
    "fit a new model",
    "fit a new model with a fresh callback",
    "fit again",
    "fit again with a fresh callback",
    "callback from now on",
    *FUNCTIONS,
    *(f"{name} with a fresh callback" for name in FUNCTIONS),
    "test without one",
    "train on without one",
    "deepcopy",
    "pickle",
    "hold in another model",
    "test the checkpoint in it",
    "test the checkpoint in it with a fresh callback",
    "test the checkpoint in a plain model",
]
CHOSEN = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 3)), max_size=6)


class Owner:
    """Does with pruned models what owners do, and writes down the joints that each is to keep."""

    def __init__(self, kind: type[Classifier], checkpoint: Path, of: tuple[int, ...]) -> None:
        self.kind, self.checkpoint, self.of = kind, checkpoint, of
        self.callback = pruning()
        self.worn: Worn = []
        self.do("fit a new model", 0)

    def do(self, operation: str, place: int) -> None:
        """Do one operation with one of the models."""
        callback = pruning() if "fresh" in operation else self.callback
        if operation.startswith("fit a new model"):
            model = self.kind()
            self.worn.append((model, pruned(model, callback)))
            return
        place %= len(self.worn)
        model, kept = self.worn[place]
        model.calls.clear()
        if operation.startswith("fit again"):
            if not isinstance(model, Holder):
                self.worn[place] = model, pruned(model, callback)
        elif operation == "callback from now on":
            self.callback = pruning()
        elif operation == "test without one":
            trainer().test(model, clips(1, seed=place))
        elif operation == "train on without one":
            trainer(max_epochs=1).fit(model, clips(1, seed=place))
        elif operation.startswith("test the checkpoint"):
            if isinstance(model, Holder):
                return
            other = self.kind() if "plain" in operation else model
            if other is model:
                self.worn.pop(place)
            self.worn.append((other, self.of))
            where = {"ckpt_path": self.checkpoint, "weights_only": False}
            trainer(callback).test(other, clips(1), **where)
        elif operation == "hold in another model":
            self.worn.append((Holder(copy.deepcopy(model)), kept))
        elif operation in ("deepcopy", "pickle"):
            copied = operation == "deepcopy"
            other = copy.deepcopy(model) if copied else pickle.loads(pickle.dumps(model))
            self.worn.append((other, kept))
        else:
            getattr(trainer(callback), operation.split(maxsplit=1)[0])(model, clips(1, seed=place))


@pytest.mark.parametrize("kind", [Classifier, Own])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=CHOSEN)
def test_the_output_depends_on_the_models_own_selection_whatever_happens(
    kind: type[Classifier],
    operations: list[tuple[str, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    checkpoint = tmp_path_factory.getbasetemp() / f"{kind.__name__}.ckpt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        owner = Owner(kind, checkpoint, saved(kind, checkpoint))
        for operation, place in operations:
            owner.do(operation, place)
            for model, kept in owner.worn:
                assert reaching(model) == kept
                assert analyze_pruning(model).indices == kept


def test_a_fresh_callback_adopts_what_a_model_wears() -> None:
    model = Classifier()
    kept = pruned(model, pruning())
    fresh = JointPruningCallback(num_joints=J)
    trainer(fresh).test(model, clips(1))
    assert fresh.selection.indices == kept
    fresh.detach()
    assert not attached_layers(model)
    assert type(model) is Classifier


@pytest.mark.compatibility("Trainer", "one Trainer that fits two models")
def test_one_trainer_prunes_two_models() -> None:
    callback = pruning()
    both = trainer(callback, max_epochs=3)
    first, second = Classifier(), Classifier()
    both.fit(first, clips(2), clips(1, seed=1))
    kept = callback.selection.indices
    both.fit_loop.max_epochs = 6
    both.fit(second, clips(2, seed=3), clips(1, seed=1))
    assert reaching(first) == kept
    assert reaching(second) == callback.selection.indices
    assert len(callback.selection.indices) == 3


def test_a_trainer_with_nothing_left_to_train_says_that_the_second_model_is_not_pruned() -> None:
    callback = pruning()
    both = trainer(callback, max_epochs=3)
    first = Classifier()
    both.fit(first, clips(2), clips(1, seed=1))
    kept = callback.selection.indices
    with pytest.warns(UserWarning, match="no training step left at epoch 3, so the model was not"):
        both.fit(Classifier(), clips(2), clips(1, seed=1))
    assert reaching(first) == kept


@pytest.mark.compatibility("Trainer", "`configure_callbacks` that returns a JointPruningCallback")
def test_a_model_that_makes_its_own_callback_keeps_its_mask_in_a_test_and_its_checkpoint(
    tmp_path: Path,
) -> None:
    class Makes(Classifier):
        def configure_callbacks(self) -> list[JointPruningCallback]:
            self.made = pruning()
            return [self.made]

    model = Makes()
    run = trainer(max_epochs=3)
    run.fit(model, clips(2), clips(1, seed=1))
    kept = model.made.selection.indices
    assert len(kept) == 3
    for name in FUNCTIONS:
        getattr(run, name)(model, clips(1))
        assert model.made.selection.indices == kept
        assert reaching(model) == kept
    run.save_checkpoint(tmp_path / "made.ckpt")
    other = Makes()
    trainer().test(other, clips(1), ckpt_path=tmp_path / "made.ckpt", weights_only=False)
    assert reaching(other) == other.made.selection.indices == kept


@pytest.mark.parametrize("one_callback", [True, False])
def test_a_model_that_is_pruned_again_for_every_seed_wears_the_last_mask(
    one_callback: bool,
) -> None:
    model, callback = Classifier(), pruning()
    begin = copy.deepcopy(model.state_dict())
    copies = []
    for seed in range(2):
        torch.manual_seed(seed)
        model.load_state_dict(begin)
        callback = callback if one_callback else pruning()
        kept = pruned(model, callback)
        assert reaching(model) == kept
        copies.append((copy.deepcopy(model), kept))
    assert [reaching(copied) for copied, _ in copies] == [kept for _, kept in copies]


@pytest.mark.compatibility("Pruned models", "as a teacher of a model that is pruned")
def test_a_teacher_keeps_its_mask_while_its_student_is_pruned() -> None:
    class Student(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            with torch.no_grad():
                wanted = self.teacher(batch[0])
            loss = super().training_step(batch, batch_idx)
            return loss + (self(batch[0]) - wanted).square().mean()

    teacher = Classifier()
    kept = pruned(teacher, pruning(4))
    student, callback = Student(), pruning(input="x")
    student.teacher = teacher.requires_grad_(False)
    chosen = pruned(student, callback)
    assert (len(chosen), len(kept)) == (3, 4)
    assert reaching(teacher) == kept
    assert reaching(student) == chosen
    trainer(JointPruningCallback(num_joints=J)).test(student, clips(1))
    callback.detach()
    assert reaching(student) == tuple(range(J))
    assert reaching(teacher) == kept


@pytest.mark.parametrize("shared", [True, False])
def test_command_lines_that_share_a_callback_or_make_one_each_prune_a_model_each(
    shared: bool,
) -> None:
    callback = pruning()
    made = {
        "class_path": "lightning_jointprune.JointPruningCallback",
        "init_args": {"num_joints": J, "budget": 3, "phases": [0.2, 0.6], "lr": 0.5},
    }
    worn = []
    for seed in range(2):
        command = LightningCLI(
            Classifier,
            args={"trainer": {**QUIET, "max_epochs": 3, "callbacks": None if shared else [made]}},
            trainer_defaults={"callbacks": [callback]} if shared else None,
            seed_everything_default=seed,
            run=False,
            save_config_callback=None,
        )
        command.trainer.fit(command.model, clips(2, seed=seed), clips(1, seed=1))
        callbacks = command.trainer.callbacks
        ours = next(it for it in callbacks if isinstance(it, JointPruningCallback))
        assert (ours is callback) is shared
        worn.append((command.trainer, command.model, ours.selection.indices))
        for run, model, kept in worn:
            run.test(model, clips(1))
            assert reaching(model) == kept
            assert len(kept) == 3


@pytest.mark.parametrize("kind", [Classifier, Own])
@pytest.mark.parametrize("one_callback", [True, False])
@pytest.mark.compatibility("Pruned models", "in an ensemble")
def test_the_models_of_all_folds_wear_their_masks_in_an_ensemble(
    kind: type[Classifier], one_callback: bool
) -> None:
    class Ensemble(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            self.got = x
            return torch.stack([member(x) for member in self.members]).mean(0)

    callback = pruning(2)
    ensemble, masks = Ensemble(), []
    ensemble.members = nn.ModuleList()
    for fold in range(3):
        callback = callback if one_callback else pruning(2 + fold)
        model = kind()
        masks.append(pruned(model, callback))
        ensemble.members.append(model)
        trainer(callback).predict(ensemble.members[0], clips(1))
    runs = [trainer(), trainer(callback)]
    if kind is Classifier:  # a fresh callback cannot tell which of several own layers is meant
        runs.append(trainer(pruning()))
    for run in runs:
        for name in FUNCTIONS:
            getattr(run, name)(ensemble, clips(1))
        assert [reaching(member) for member in ensemble.members] == masks
        assert reaching(ensemble) == tuple(sorted({joint for kept in masks for joint in kept}))


@pytest.mark.compatibility("Pruned models", "`copy.deepcopy` and `pickle`, at every step of a run")
def test_copies_of_every_stage_use_the_joints_that_they_say() -> None:
    class Copies(Callback):
        def __init__(self) -> None:
            self.deep: list[Classifier] = []
            self.pickled: list[Classifier] = []

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            self.keep(pl_module)

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.keep(pl_module)

        def keep(self, model: Any) -> None:
            model.calls.clear()
            model.losses.clear()
            self.deep.append(copy.deepcopy(model))
            model.trainer, running = None, model.trainer
            self.pickled.append(pickle.loads(pickle.dumps(model)))
            model.trainer = running

    for kind in (Classifier, Own):
        copies = Copies()
        kept = pruned(kind(), pruning(), copies)
        gated = [model for model in copies.deep + copies.pickled if has_layer(model)]
        assert len(gated) > len(copies.deep)
        for model in gated:
            assert reaching(model) == reaching(model) == analyze_pruning(model).indices
        assert reaching(copies.deep[-1]) == reaching(copies.pickled[-1]) == kept
        assert all(reaching(model) == kept for model in copies.deep[-3:])


def test_a_checkpoint_of_a_model_of_before_has_its_mask_though_another_was_trained(
    tmp_path: Any,
) -> None:
    callback, model = pruning(), Classifier()
    kept = pruned(model, callback)
    pruned(Classifier(), callback)
    without = trainer(max_epochs=1)
    without.fit(model, clips(1))
    without.save_checkpoint(tmp_path / "on.ckpt")
    assert analyze_pruning(load_pruned(Classifier, tmp_path / "on.ckpt")).indices == kept


def test_a_new_search_on_a_pruned_model_says_that_its_mask_goes() -> None:
    model = Classifier()
    pruned(model, pruning())
    with pytest.warns(UserWarning, match="was pruned before, to 3 of 8 joints. The search begins"):
        pruned(model, pruning())


def test_a_callback_of_other_joints_takes_no_mask_away_in_a_test() -> None:
    model = Classifier()
    kept = pruned(model, pruning())
    trainer(JointPruningCallback(num_joints=5)).test(model, clips(1))
    assert reaching(model) == kept
