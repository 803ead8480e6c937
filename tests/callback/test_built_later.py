"""Layers that a model makes in `setup` or `configure_model`, its own JointPruningLayer too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from lightning_jointprune import JointPruningLayer, analyze_pruning, load_pruned
from tests.runs import (
    INFORMATIVE,
    SHORT_RUNS,
    SIGNS,
    C,
    Classifier,
    J,
    T,
    clips,
    fit,
    pruning,
    trainer,
)

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


class AtOnce(Classifier):
    """Has its layers from the beginning, from a seed of their own."""

    own_layer = False

    def __init__(self) -> None:
        super().__init__()
        del self.head
        self.begin()

    def begin(self) -> None:
        self.build()

    def build(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.head = nn.Linear(T * J * C, SIGNS)
        self.enter = nn.Identity()
        if self.own_layer:
            self.pruning = JointPruningLayer(J)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.pruning(x) if self.own_layer else self.enter(x))


class InSetup(AtOnce):
    def begin(self) -> None:
        pass

    def setup(self, stage: str) -> None:
        if not hasattr(self, "head"):
            self.build()


class InConfigureModel(InSetup):
    def setup(self, stage: str) -> None:
        pass

    def configure_model(self) -> None:
        if not hasattr(self, "head"):
            self.build()


class Anew(InSetup):
    """Makes its layers anew in every stage, as `setup` without a condition does."""

    def setup(self, stage: str) -> None:
        self.build()


def own(kind: type[AtOnce]) -> type[AtOnce]:
    return type(f"Own{kind.__name__}", (kind,), {"own_layer": True})


def trained(kind: type[AtOnce], **settings: Any) -> tuple[AtOnce, Any, Any]:
    torch.manual_seed(0)
    model, callback = kind(), pruning(budget=2, **settings)
    return model, callback, fit(model, callback, enable_checkpointing=True)


WHERE = pytest.mark.parametrize("kind", [InSetup, InConfigureModel])
WHOSE = pytest.mark.parametrize("whose", ["the callback's layer", "a layer of its own"])


@pytest.mark.compatibility("Models", "layers made in `setup` or `configure_model`")
@pytest.mark.compatibility("Models", "a JointPruningLayer made in `setup` or `configure_model`")
@WHERE
@WHOSE
def test_a_run_is_that_of_a_model_that_had_its_layers_at_once(
    kind: type[AtOnce], whose: str
) -> None:
    kinds = [AtOnce, kind] if whose == "the callback's layer" else [own(AtOnce), own(kind)]
    (first, expected, _), (second, callback, _) = map(trained, kinds)
    assert torch.equal(torch.stack(first.losses), torch.stack(second.losses))
    assert callback.selection == expected.selection
    assert callback.selection.indices == INFORMATIVE
    callback.detach()
    assert "_ddp_params_and_buffers_to_ignore" not in vars(second)
    assert "forward" not in vars(second)


@WHERE
def test_an_input_of_a_layer_that_is_made_later_can_be_named(kind: type[AtOnce]) -> None:
    _, callback, _ = trained(kind, input="enter:input")
    assert callback.selection.indices == INFORMATIVE


@WHERE
@WHOSE
def test_a_new_model_that_is_not_built_yet_is_tested_with_the_mask(
    kind: type[AtOnce], whose: str
) -> None:
    kind = kind if whose == "the callback's layer" else own(kind)
    _, callback, run = trained(kind)
    path = run.checkpoint_callback.best_model_path
    before = run.callback_metrics["val_loss"]
    for tested in (callback, pruning(budget=2)):
        model = kind()
        (metrics,) = trainer(tested).validate(model, clips(2, seed=1), ckpt_path=path)
        assert metrics["val_loss"] == pytest.approx(float(before))
        assert model.of("validate")[-1].kept == [joint in INFORMATIVE for joint in range(J)]


@WHERE
@WHOSE
def test_a_model_that_is_not_built_yet_goes_on_where_a_run_was_cut_off(
    kind: type[AtOnce], whose: str, tmp_path: Path
) -> None:
    kind = kind if whose == "the callback's layer" else own(kind)
    saves = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    whole, resumed = pruning(budget=2), pruning(budget=2)
    fit(kind(), whole, saves, enable_checkpointing=True)
    path = tmp_path / "epoch=2.ckpt"
    trainer(resumed).fit(kind(), clips(), clips(2, seed=1), ckpt_path=path)
    assert resumed.selection.keep_probabilities == whole.selection.keep_probabilities


def test_a_checkpoint_of_a_model_that_is_made_in_configure_model_is_loaded() -> None:
    for kind in (InConfigureModel, own(InConfigureModel)):
        _, _, run = trained(kind)
        model = load_pruned(kind, run.checkpoint_callback.best_model_path)
        assert analyze_pruning(model).indices == INFORMATIVE


def test_layers_that_are_made_anew_for_a_test_are_gated_again() -> None:
    model, callback, run = trained(Anew)
    path = run.checkpoint_callback.best_model_path
    trainer(callback).validate(model, clips(2, seed=1), ckpt_path=path)
    assert model.of("validate")[-1].kept == [joint in INFORMATIVE for joint in range(J)]


@pytest.mark.filterwarnings("ignore:It is recommended to use `self.log")
def test_logits_that_are_made_later_are_kept_from_distributed_data_parallel() -> None:
    ignored: set[str] = set()

    class Looks(DDPStrategy):
        def configure_ddp(self) -> None:
            super().configure_ddp()
            ignored.update(self.model.parameters_to_ignore)

    model = own(InConfigureModel)()
    try:
        fit(model, pruning(), strategy=Looks(process_group_backend="gloo"), devices=1)
    finally:
        torch.distributed.destroy_process_group()
    assert ignored == {"pruning.joint_logits"}
