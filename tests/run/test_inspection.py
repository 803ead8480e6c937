"""A preview shows what a training step would tell the callback, and leaves no trace."""

from __future__ import annotations

import copy
import random
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import pytorch_lightning
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR

from lightning_jointprune import JointPruningCallback
from lightning_jointprune.attach.hooks import Target, attach, attached_layers
from lightning_jointprune.run.inspection import preview
from tests.attach.test_probe import states
from tests.zoo import models
from tests.zoo.models import ZOO, B, C, J, Model, T, signs, skeletons

AXES_NEEDED = {row[0] for row in ZOO if "(" in row[3]} | {"streams"}
ASKS = AXES_NEEDED | {"several_skeletons"}
ELSEWHERE = {  # models whose loss compares with joints of the batch
    "lifting": {"loss": ("batch[1]",)},
    "reconstruction": {"loss": ("batch['skeleton']",)},
    "autoencoder": {"loss": ("batch['skeleton']",)},
    "diffusion": {"loss": ("batch['skeleton']",)},
}
TOLD = [row for row in ZOO if row[0] not in ASKS]


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """No look may leave a file."""
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "factory", "where", "axes"), TOLD, ids=[row[0] for row in TOLD])
def test_the_skeleton_of_every_model_is_named(
    name: str, factory: Any, where: str, axes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = factory()
    shown = preview(model, model.batch(), model.joints)
    assert (shown.input, shown.axes) == (where, axes)
    line = f'JointPruningCallback(num_joints={model.joints}, input="{where}", axes="{axes}")'
    assert capsys.readouterr().out.splitlines()[-1] == line == shown.advice
    assert (name, shown.elsewhere) == (name, ELSEWHERE.get(name, {}))


class Demanding(Model):
    """Uses all that a LightningModule has in its step, and steps by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.dropout = nn.Dropout()

    def setup(self, stage: str) -> None:
        self.steps = self.trainer.estimated_stepping_batches

    def training_step(self, batch: Any, batch_idx: int) -> None:
        assert self.dropout.training == self.training
        optimizer = self.optimizers()
        loss = cross_entropy(self.dropout(self(batch["skeleton"])), batch["sign"])
        self.log("loss", loss, prog_bar=True, on_epoch=True)
        self.log_dict({"a": loss, "b": loss})
        self.logger.experiment.add_scalar("loss", loss, self.trainer.global_step)
        optimizer.zero_grad()
        self.manual_backward(loss)
        raise AssertionError("The step goes on.")

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        total = self.trainer.estimated_stepping_batches
        return [optimizer], [torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total + 1)]

    def configure_callbacks(self) -> Any:
        return [pl.callbacks.ModelCheckpoint("elsewhere")]

    def prepare_data(self) -> None:
        Path("downloaded").touch()


@pytest.mark.parametrize("mode", [True, False])
def test_a_look_changes_nothing(
    mode: bool, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    model = Demanding().train(mode)
    batch = model.batch()
    held = dict(batch)
    before, weights = states(model), copy.deepcopy(model.state_dict())
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002 -- the state of which is not to move
    expected = [torch.rand(()), random.random(), np.random.rand()]  # noqa: NPY002
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    caplog.set_level("INFO")

    shown = JointPruningCallback.inspect(model, batch, J)

    assert [torch.rand(()), random.random(), np.random.rand()] == expected  # noqa: NPY002
    assert shown.input == "x"
    assert states(model) == before
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.got == []
    assert all(batch[name] is value for name, value in held.items())
    assert caplog.records == []
    assert recwarn.list == []


def test_gates_that_are_in_front_are_left_there_and_not_used() -> None:
    class Never:
        num_joints = J

        def __call__(self, x: Tensor, axes: tuple[str, ...]) -> Tensor:
            raise AssertionError("The gates were used.")

    model = models.CallsItself()
    target = Target.parse("x", "b t j c")
    attach(model, target, Never())
    assert preview(model, model.batch(), J).input == "x"
    assert [found for found, _ in attached_layers(model)] == [target]


def test_a_model_of_the_other_lightning_is_run_by_its_own_trainer() -> None:
    class Other(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = models.Encoder()

        def forward(self, x: Tensor) -> Tensor:
            return self.encoder(x)

        def training_step(self, batch: Any) -> Tensor:
            assert isinstance(self.trainer, pytorch_lightning.Trainer)
            return cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    assert preview(Other(), (skeletons(B, T, J, C), signs()), J).input == "x"


def test_where_two_could_be_meant_it_says_what_the_callback_would() -> None:
    model = models.SeveralSkeletons()
    shown = preview(model, model.batch(), skeleton="mediapipe_hand")
    assert (shown.input, shown.axes) == (None, None)
    assert shown.advice.endswith('Pass input="batch.skeleton" or input="batch.bones".')
    notes = dict(zip((tensor.input for tensor in shown.seen), shown.notes, strict=True))
    assert notes["batch.skeleton"] == notes["batch.bones"] == 'axes="b t j c"'
    assert notes["batch.sign"] == ""
    told = preview(model, model.batch(), skeleton="mediapipe_hand", input="batch.bones")
    assert told.input == "batch.bones"
    unseen = preview(model, model.batch(), skeleton="mediapipe_hand", input="batch.bone")
    assert unseen.input is None
    assert "'batch.bone' in a training step but got none" in unseen.advice


def test_parts_and_shared_axes_are_proposed() -> None:
    flat = models.Shaped(B, T, J * C)
    shown = preview(flat, flat.batch(), J)
    assert shown.notes[0] == 'axes="b t (j c)" or axes="b t (c j)"'
    assert 'pass axes="b t (j c)" or axes="b t (c j)"' in shown.advice
    told = preview(flat, flat.batch(), J, axes="b t (j c)")
    assert told.advice == 'JointPruningCallback(num_joints=21, input="x", axes="b t (j c)")'


def test_without_a_number_every_plausible_axis_is_listed() -> None:
    model = models.TwoStreams()
    shown = preview(model, model.batch())
    assert shown.input is None
    assert 'num_joints=42, axes="b t j c"' in shown.notes[1]
    assert "num_joints=3," not in shown.summary()
    assert shown.advice.startswith("Pass num_joints= or skeleton=")
    rgb, keypoints = shown.summary().splitlines()[1:3]
    assert rgb == '  rgb                      (4, 8, 4, 4)   float32  num_joints=8, axes="b j t c"'
    start = "  keypoints                (4, 8, 42, 3)  float32  num_joints=42, "  # of two hands
    assert keypoints.startswith(start)


SHOWN = [lambda shown: None, print, lambda shown: sys.stdout.write(repr(shown))]


@pytest.mark.parametrize("show", SHOWN, ids=["statement", "printed", "last in a cell"])
def test_the_table_is_seen_once_in_a_script_when_printed_and_in_a_notebook(
    show: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = models.CallsItself()
    shown = JointPruningCallback.inspect(model, model.batch(), J)
    show(shown)
    out = capsys.readouterr().out
    assert out.startswith(shown.summary())
    assert out.removeprefix(shown.summary()).strip() in ("", repr(shown))
    assert "\n" not in repr(shown)


def test_a_named_skeleton_is_what_is_to_be_pasted() -> None:
    model = models.CallsItself()
    shown = preview(model, model.batch(), skeleton="mediapipe_hand")
    assert shown.advice.startswith('JointPruningCallback(skeleton="mediapipe_hand", input="x", ')
    with pytest.raises(ValueError, match=r"Expected 21 joints .* got num_joints=42"):
        preview(model, model.batch(), 42, skeleton="mediapipe_hand")


def test_an_error_of_the_step_is_the_models_own() -> None:
    with pytest.raises(KeyError, match="skeleton"):
        preview(models.CallsItself(), {"pose": skeletons(B, T, J, C)}, J)


def steps_of(trainer: Any) -> int:
    return int(trainer.estimated_stepping_batches) - 1  # none is left to be decayed in


@pytest.mark.parametrize(
    "steps",
    [
        steps_of,
        lambda trainer: len(trainer.datamodule.train_dataloader()),
        lambda trainer: int(trainer.num_training_batches),
        lambda trainer: len(trainer.train_dataloader),
    ],
    ids=["estimated_stepping_batches", "datamodule", "num_training_batches", "train_dataloader"],
)
@pytest.mark.parametrize("automatic", [True, False])
def test_an_optimizer_that_needs_the_length_of_the_data_is_done_without(
    steps: Any, automatic: bool
) -> None:
    class Scheduled(models.CallsItself):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=1 / steps(self.trainer))
            return {"optimizer": optimizer, "lr_scheduler": OneCycleLR(optimizer, 1.0, 10)}

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            if not automatic:
                self.optimizers().zero_grad()
                self.manual_backward(loss)
                self.optimizers().step()
            return loss

    model = Scheduled()
    model.automatic_optimization = automatic
    assert preview(model, model.batch(), J).input == "x"


def test_a_model_that_needs_its_data_module_is_referred_to_a_run_of_one_batch() -> None:
    class Asks(models.CallsItself):
        def setup(self, stage: str) -> None:
            self.signs = self.trainer.datamodule.signs

    model = Asks()
    with pytest.raises(RuntimeError, match=r"'NoneType'.* from Asks\. Train with fast_dev_run=Tr"):
        preview(model, model.batch(), J)


def test_a_step_of_several_optimizers_that_cannot_be_made_is_not_blamed_on_the_model() -> None:
    class Asks(models.CallsItself):
        def configure_optimizers(self) -> Any:
            rate = 1 / len(self.trainer.datamodule.train_dataloader())
            return [torch.optim.SGD(self.parameters(), rate) for _ in range(2)]

        def training_step(self, batch: Any, batch_idx: int) -> None:
            first, _ = self.optimizers()
            self.manual_backward(super().training_step(batch, batch_idx))
            first.step()

    model = Asks()
    model.automatic_optimization = False
    with pytest.raises(RuntimeError, match=r"'NoneType' .*train_dataloader.* from Asks\. Train"):
        preview(model, model.batch(), J)


def test_what_cannot_be_looked_at_is_refused() -> None:
    with pytest.raises(TypeError, match="Expected a LightningModule but got Linear"):
        preview(nn.Linear(2, 2), None)
    model = models.CallsItself()
    model.held = models.Stubborn()
    with pytest.raises(TypeError, match=r"copy\.deepcopy can copy but got .*no copy.* CallsItself"):
        preview(model, model.batch(), J)


# --- joints past the gates -----------------------------------------------------------------------


class Scored(Model):
    """Predicts the skeleton, and logs how far from it that is; the loss knows classes alone."""

    def step(self, batch: Any) -> Tensor:
        x, sign = batch["skeleton"], batch["sign"]
        scores = self(x)
        self.log("train_error", (x.mean() - scores.mean()).abs())
        self.log_dict({"train_mean": scores.mean(), "train_flag": True})
        return cross_entropy(scores, sign)


class Distilled(Model):
    """A teacher without gradients sees all joints."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = models.Encoder()

    def step(self, batch: Any) -> Tensor:
        with torch.no_grad():
            wanted = self.teacher.head(batch["skeleton"].flatten(1).repeat(1, 1))
        return (self(batch["skeleton"]) - wanted).square().mean()


class Bones(Model):
    """Adds bones, which it computes of the joints outside of a forward."""

    def step(self, batch: Any) -> Tensor:
        bones = batch["skeleton"].diff(dim=2).mean()
        return cross_entropy(self(batch["skeleton"]) * bones, batch["sign"])


class Noisy(Model):
    """Is not the same twice."""

    count = 0

    def step(self, batch: Any) -> Tensor:
        Noisy.count += 1
        return cross_entropy(self(batch["skeleton"]), batch["sign"]) * Noisy.count


class OtherInputs(Model):
    """Has a video as long as a skeleton has joints, and floating labels of as many classes."""

    def batch(self) -> Any:
        video = torch.rand(B, J, 3, 4, 4)
        return {**super().batch(), "video": video, "classes": torch.rand(B, J)}

    def step(self, batch: Any) -> Tensor:
        other = batch["video"].mean() + batch["classes"].square().mean()
        return cross_entropy(self(batch["skeleton"]), batch["sign"]) * other


@pytest.mark.parametrize(
    ("factory", "elsewhere"),
    [
        (Scored, {"train_error": ("batch['skeleton']",)}),
        (Distilled, {"loss": ("batch['skeleton']",)}),
        (Bones, {"loss": ("batch['skeleton']",)}),
        (Noisy, {}),
        (OtherInputs, {}),
    ],
)
def test_values_that_get_joints_past_the_gates_are_named(
    factory: Any, elsewhere: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = factory()
    batch = model.batch()
    before = copy.deepcopy(batch)
    shown = preview(model, batch, J)
    assert shown.elsewhere == elsewhere
    for value in elsewhere:
        remark = f"Past the gates, {value} gets the joints of batch['skeleton']: dropped joints "
        assert remark in capsys.readouterr().out
    assert all(torch.equal(batch[name], before[name]) for name in before)


def test_joints_that_are_added_up_in_front_of_the_gates_are_no_way_past_them() -> None:
    class Centred(Model):
        def step(self, batch: Any) -> Tensor:
            x = batch["skeleton"]
            return cross_entropy(self(x - x.mean(2, keepdim=True)), batch["sign"])

    model = Centred()
    assert preview(model, model.batch(), J).elsewhere == {}
