"""A selection as a budget: nothing is searched, and the run trains with its joints alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from lightning_jointprune import (
    GivenJoints,
    JointPruningCallback,
    JointPruningLayer,
    JointSelection,
    Skeleton,
    load_pruned,
)
from lightning_jointprune.cli.main import main
from tests.callback.watched import check_resumed, kinds, masks, same, weights
from tests.runs import SHORT_RUNS, Classifier, J, clips, fit, pruning, trainer

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]

KEPT = (1, 4, 6)
MASK = tuple(joint in KEPT for joint in range(J))


def selection(**more: Any) -> JointSelection:
    names = tuple(f"joint_{joint}" for joint in range(J))
    probabilities = tuple(0.8 if kept else 0.3 for kept in MASK)
    return JointSelection(KEPT, J, names, probabilities, **more)


def given(folder: Path | str = ".", **settings: Any) -> JointPruningCallback:
    file = Path(folder, "consensus.json")
    selection().to_json(file)
    return JointPruningCallback(J, budget=JointSelection.from_json(file), **settings)


class ByHand(Classifier):
    """Masks its input itself, and makes no use of the first batch, which shows the joints."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * torch.tensor(MASK).view(-1, 1))

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if self.trainer.global_step == 0:
            optimizer.zero_grad(set_to_none=False)


class Schedule(Classifier):
    """Lowers its rate as soon as the loss of a validation does not fall."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=3.0, momentum=0.9)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"},
        }


class ScheduleByHand(ByHand, Schedule):
    """The same with the mask of its own."""


@pytest.mark.parametrize(
    ("model", "alone"), [(Classifier, ByHand), (Schedule, ScheduleByHand)], ids=str
)
def test_a_run_is_that_of_a_model_that_masks_its_input_itself(model: Any, alone: Any) -> None:
    """Early stopping and schedulers included, bit for bit."""
    ends = []
    for kind, callbacks in ((model, [given()]), (alone, [])):
        pl.seed_everything(0, verbose=False)
        trained, stop = kind(lr=0.3), EarlyStopping("val_loss", patience=1)
        run = fit(trained, *callbacks, stop, max_epochs=12)
        ends.append((weights(trained), run.current_epoch, stop.wait_count, stop.best_score))
    (ours, *others), (theirs, *expected) = ends
    assert same(ours, theirs)
    assert others == expected
    if model is Schedule:
        assert others[0] < 12  # it did stop


def test_only_the_first_batch_is_seen_with_all_joints() -> None:
    model, callback = Classifier(), given()
    fit(model, callback, num_sanity_val_steps=0)
    assert {step: kind for step, kind in kinds(model, "train").items() if kind != "masked"} == {
        0: "open"
    }
    assert masks(model, "train") == masks(model, "validate") == {MASK}
    assert {note.phase for note in callback.record.history} == {"final"}
    assert callback.selection.indices == KEPT
    assert callback.selection.keep_probabilities == pytest.approx(tuple(map(float, MASK)))


class OwnLayer(Classifier):
    """Has a layer in its own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.pruning = JointPruningLayer(J, fill="mean")

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.pruning(x))


def test_a_layer_of_the_models_own_takes_the_joints_too() -> None:
    model, callback = OwnLayer(), given()
    fit(model, callback, max_epochs=2)
    assert callback.selection.indices == KEPT
    assert model.pruning.get_active_joints() == list(KEPT)
    assert model.pruning.fill_mean is not None


@pytest.mark.parametrize("budget", ["consensus.json", "run", GivenJoints(KEPT), selection()])
def test_a_path_a_folder_and_the_joints_themselves_will_do(budget: Any) -> None:
    selection().to_json("consensus.json")
    Path("run").mkdir()
    selection().to_json("run")
    callback = pruning(budget)
    assert callback.record.settings["budget"]["GivenJoints"]["joints"] == list(KEPT)


@pytest.mark.parametrize(("epoch", "fill"), [(1, "mean"), (2, 0.0)])
def test_a_run_goes_on_as_without_a_break(tmp_path: Path, epoch: int, fill: Any) -> None:
    def make(folder: Path) -> JointPruningCallback:
        return given(tmp_path, fill=fill, dirpath=folder)

    check_resumed(tmp_path, epoch, make, max_epochs=3)


def test_a_run_goes_on_with_a_file_that_was_moved_but_not_with_other_joints(
    tmp_path: Path,
) -> None:
    first = fit(Classifier(), given(), max_epochs=1, enable_checkpointing=True)
    first.save_checkpoint("one.ckpt")
    (tmp_path / "elsewhere").mkdir()
    again = given("elsewhere")
    trainer(again, max_epochs=2).fit(Classifier(), clips(), clips(2), ckpt_path="one.ckpt")
    assert again.selection.indices == KEPT
    other = JointPruningCallback(J, budget=GivenJoints([0]))
    with pytest.raises(MisconfigurationException, match=r"'joints': \[0\].*'joints': \[1, 4, 6\]"):
        trainer(other).fit(Classifier(), clips(), clips(2), ckpt_path="one.ckpt")


def test_terminal_record_show_and_code_say_that_the_joints_were_given(
    said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    callback = given()
    fit(Classifier(), callback, max_epochs=1)
    assert "Joint pruning: 3 of 8 joints are given; the run trains with these." in said
    sentence = "The joints were given, by consensus.json: this run searched for none."
    assert any(sentence in line for line in said)
    assert callback.record.settings["budget"] == {
        "GivenJoints": {"joints": list(KEPT), "source": "consensus.json"}
    }
    assert main(["show", "."]) == 0
    shown = capsys.readouterr().out
    assert sentence in shown
    assert "undecided, 62.5 % removed" in shown
    main(["show", ".", "--json"])
    assert json.loads(capsys.readouterr().out)["given"] == sentence


def test_the_checkpoint_brings_the_mask() -> None:
    run = fit(Classifier(), given(), max_epochs=1)
    run.save_checkpoint("end.ckpt")
    model = load_pruned(Classifier, "end.ckpt")
    x = next(iter(clips(1)))[0]
    model(x)
    assert model.got.ne(0).any(dim=3).any(dim=1).any(dim=0).tolist() == list(MASK)


@pytest.mark.filterwarnings("error:The model was pruned before")
def test_a_model_that_was_pruned_before_is_trained_on_with_the_given_joints() -> None:
    """No search begins anew with all joints, of which a warning would be."""
    run = fit(Classifier(), pruning(GivenJoints([0])), max_epochs=1)
    run.save_checkpoint("end.ckpt")
    model, callback = load_pruned(Classifier, "end.ckpt").train(), given()
    fit(model, callback, max_epochs=1)
    assert callback.selection.indices == KEPT
    assert masks(model, "train") == {MASK}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_joints": 9}, "Expected 9 joints in .*consensus.json but got 8. Pass the num_joints"),
        (
            {"num_joints": None, "skeleton": "face"},
            "joint 0 is 'a' here, not 'joint_0'. Pass the num_joints or skeleton",
        ),
        ({"keep": [0]}, "with those of keep but joint_0 is not given"),
        ({"drop": [4]}, "without those of drop but got joint_4 in both"),
    ],
)
def test_a_selection_that_disagrees_with_the_run_is_refused(settings: Any, message: str) -> None:
    if "skeleton" in settings:
        settings = {**settings, "skeleton": Skeleton("mine", tuple("abcdefgh"))}
    selection().to_json("consensus.json")
    budget = JointSelection.from_json("consensus.json")
    with pytest.raises(MisconfigurationException, match=message):
        JointPruningCallback(**{"num_joints": J, "budget": budget, **settings})


def test_a_selection_of_another_skeleton_with_the_same_names_is_refused() -> None:
    names = selection().joint_names
    budget = selection(source={"skeleton": "theirs"})
    with pytest.raises(MisconfigurationException, match="skeleton 'mine' in the selection but got"):
        JointPruningCallback(skeleton=Skeleton("mine", names), budget=budget)
    JointPruningCallback(skeleton=Skeleton("theirs", names), budget=budget)


@pytest.mark.parametrize("budget", ["missing.json", "aut"])
def test_a_path_of_nothing_is_refused_with_what_a_budget_can_be(budget: str) -> None:
    with pytest.raises(MisconfigurationException, match=f"a budget of Price.*but got '{budget}'"):
        JointPruningCallback(J, budget=budget)


def test_a_selection_of_no_joint_is_refused() -> None:
    none = replace(selection(), indices=())
    with pytest.raises(MisconfigurationException, match="joints to keep but got"):
        JointPruningCallback(J, budget=none)


class Interrupted(pl.Callback):
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.should_stop = True


@pytest.mark.filterwarnings("ignore:.*ended in its search phase")
def test_the_joints_of_a_run_that_was_not_finished_are_refused() -> None:
    first = pruning(3, phases=(0.0, 0.9))
    fit(Classifier(), first, Interrupted())
    assert first.record.phase == "search"
    for budget in (first.selection, str(Path(first.report_path or "").parent)):
        with pytest.raises(MisconfigurationException, match=r"but got .* from the search phase"):
            JointPruningCallback(J, budget=budget)
