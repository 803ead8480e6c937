"""Test that the gates' place is found on the first step, or in the model's own forward."""

from __future__ import annotations

import copy
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.optim import lr_scheduler

from lightning_jointprune import (
    Groups,
    HardConcrete,
    JointPruningLayer,
    MetricFloor,
    Price,
    PruningRecord,
    analyze_pruning,
    load_pruned,
)
from lightning_jointprune.attach.entrance import Entrance
from lightning_jointprune.attach.layers import own_layer
from lightning_jointprune.attach.target import Target
from tests.runs import BATCHES, SHORT_RUNS, C, Classifier, J, T, clips, fit, pruning, trainer

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


class Own(Classifier):
    """Gates the skeleton in its own forward; all its parameters are in one group."""

    def __init__(
        self, lr: float = 0.01, dropout: float = 0.0, joints: int = J, **settings: Any
    ) -> None:
        super().__init__(lr, dropout, joints)
        self.pruning = JointPruningLayer(J, **settings)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.pruning(x))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.1)


class Plain(Classifier):
    """Is the same without a layer of its own."""

    configure_optimizers = Own.configure_optimizers


def kinds(model: Classifier, stage: str = "train") -> list[str]:
    return [call.kind for call in model.of(stage)]


def masks(model: Classifier, stage: str = "train") -> set[tuple[bool, ...]]:
    return {tuple(call.kept) for call in model.of(stage) if call.kind == "masked"}


# --- the run is that of a layer in front ---------------------------------------------------------


@pytest.mark.parametrize("budget", [3, Price("auto"), MetricFloor("val_acc", 0.4)])
@pytest.mark.parametrize("phases", [(0.2, 0.6), (0.0, 0.6)])
@pytest.mark.compatibility("Models", "a module with a JointPruningLayer of its own")
def test_a_layer_of_the_models_own_is_driven_as_one_in_front_of_it_is(
    budget: Any, phases: Any
) -> None:
    runs = []
    for make in (Plain, Own):
        torch.manual_seed(0)
        model, callback = make(), pruning(budget, phases=phases)
        fit(model, callback)
        runs.append((model, callback))
    (front, expected), (own, callback) = runs
    assert callback.selection == expected.selection
    assert callback.record.history == expected.record.history
    assert kinds(own) == kinds(front)
    assert masks(own) == masks(front)
    assert torch.equal(own.head.weight, front.head.weight)
    assert "forward" not in vars(own)


def test_the_record_shows_the_layers_own_settings() -> None:
    gate, members = HardConcrete(temperature=0.5), {"a": [0, 1], "b": [2, 4]}
    model = Own(gate=gate, groups=members, keep=[5], fill=0.25)
    callback = pruning(Price("auto"))
    fit(model, callback)
    same = pruning(Price("auto"), gate=gate, groups=members, keep=[5], fill=0.25)
    assert callback.record.settings == same.record.settings
    assert json.loads(Path("pruning_record.json").read_text())["settings"]["keep"] == [5]
    assert callback.selection.mask[5]
    assert PruningRecord.from_json(Path()).phase == "final"

    tied = pruning(4)
    fit(Own(groups={"a": [0, 1], "b": [2, 3, 4]}, tied=True), tied)
    same = pruning(4, groups=Groups({"a": [0, 1], "b": [2, 3, 4]}, tied=True))
    assert tied.record.settings == same.record.settings
    assert len(tied.selection.indices) == 4


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_evaluation_uses_the_mask(stage: str) -> None:
    model, callback = Own(), pruning()
    ended = fit(model, callback)
    model.calls.clear()
    getattr(ended, stage)(model, clips(2))
    assert masks(model, stage) == {callback.selection.mask}
    # alone, without any checkpoint, the module brings its mask
    model.calls.clear()
    callback.detach()
    getattr(trainer(pruning()), stage)(model, clips(2))
    assert masks(model, stage) == {callback.selection.mask}


@pytest.mark.filterwarnings("ignore:The model was pruned before, to 2 of 8 joints")
def test_a_second_run_starts_from_nothing_and_a_detached_layer_works_by_itself() -> None:
    model = Own()
    for budget in (2, 4):
        model.calls.clear()
        callback = pruning(budget)
        fit(model, callback)
        assert kinds(model)[0] == "open"
        assert kinds(model)[BATCHES] == "sampled"
        assert masks(model) == {callback.selection.mask}
        assert len(callback.selection.indices) == budget
    callback.detach()
    before = vars(Own()).keys()
    assert vars(model).keys() - {"got", "_current_fx_name"} <= before | {
        "_trainer",
        "_metric_attributes",
    }
    assert model.pruning.mode is None
    assert analyze_pruning(model).mask == callback.selection.mask


def test_another_copy_of_the_model_is_tested_with_the_mask_that_was_learned() -> None:
    callback = pruning()
    ended = fit(Own(), callback)
    learned, other = callback.selection, Own()
    ended.test(other, clips(2), verbose=False)
    assert masks(other, "test") == {learned.mask}
    assert callback.selection == learned


def test_copies_by_weight_averaging_change_nothing() -> None:
    callback, model = pruning(), Own()
    fit(model, EMAWeightAveraging(decay=0.9), callback)
    assert masks(model) == {callback.selection.mask}
    other = Own()
    fit(other, pruning(), StochasticWeightAveraging(0.01, 2))
    assert kinds(other) == ["open"] * 8 + ["sampled"] * 16 + ["masked"] * 16


class Normalised(Own):
    """Has buffers after those of the layer."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.drop = nn.BatchNorm1d(T * J * C)


@pytest.mark.parametrize("fill", [0.0, "mean"])
@pytest.mark.parametrize("budget", [2, [5, 2]])
def test_an_average_of_a_model_with_buffers_has_what_the_layer_learned(
    fill: Any, budget: Any
) -> None:
    callback, model = pruning(budget), Normalised(fill=fill)
    averaging = EMAWeightAveraging(decay=0.9)
    fit(model, averaging, callback)
    average = averaging._average_model.module
    names = [[name for name, _ in part.named_buffers()] for part in (average, model)]
    assert names[0] == names[1]
    assert torch.equal(average.pruning.mask, model.pruning.mask)
    assert analyze_pruning(model).mask == callback.selection.mask


# --- the optimizer -------------------------------------------------------------------------------


class Grouped(Own):
    """Has the logits in the group that the class attribute names."""

    where = "alone"

    def configure_optimizers(self) -> Any:
        logits = list(self.pruning.parameters())
        weight, bias = [self.head.weight], [self.head.bias]
        groups = {
            "alone": [(logits, 0.05), (weight, 0.01), (bias, 0.02)],
            "mixed": [([*weight, *logits], 0.01), (bias, 0.02)],
            "none": [(weight, 0.01), (bias, 0.02)],
        }[self.where]
        optimizer = torch.optim.AdamW([{"params": p, "lr": lr} for p, lr in groups])
        ramps = [lambda step, it=it: 0.9 ** (step * (it + 1)) for it in range(len(groups))]
        scheduler = lr_scheduler.LambdaLR(optimizer, ramps)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


@pytest.mark.parametrize("where", ["alone", "mixed", "none"])
def test_the_logits_leave_the_users_group_for_their_own(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Grouped, "where", where)
    model, callback = Grouped(groups={"a": [0, 1]}), pruning(Price(0.3), lr=0.25)
    monitor = LearningRateMonitor("step")
    settings: dict[str, Any] = {"logger": CSVLogger("."), "log_every_n_steps": 1}
    ended = fit(model, callback, monitor, **settings)
    alone = LearningRateMonitor("step")
    fit(Grouped(groups={"a": [0, 1]}), alone, **settings)
    assert monitor.lrs == alone.lrs

    *users, ours = ended.optimizers[0].param_groups
    assert ours["joint_pruning"]
    assert (ours["lr"], ours["weight_decay"]) == (0.25, 0.0)
    assert [id(p) for p in ours["params"]] == [id(p) for p in model.pruning.parameters()]
    left = [id(p) for group in users for p in group["params"]]
    assert left == [id(model.head.weight), id(model.head.bias)]
    history = [snapshot.keep_probabilities for snapshot in callback.record.history]
    assert history[0] == pytest.approx([0.81] * 2 + [0.9] * 6)
    assert history[0] != history[1] != history[2] == history[4]


def test_the_logits_stay_in_the_optimizer_they_are_in() -> None:
    class Two(Own):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
            loss = super().training_step(batch, batch_idx)
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()
            return loss

        def configure_optimizers(self) -> Any:
            head = torch.optim.AdamW(self.head.parameters(), lr=0.01)
            return [head, torch.optim.SGD(self.pruning.parameters(), lr=0.1, momentum=0.9)]

    model, callback = Two(), pruning(lr=None)
    head, gates = fit(model, callback).optimizers
    assert len(head.param_groups) == 1
    assert [len(group["params"]) for group in gates.param_groups] == [0, 1]
    assert masks(model) == {callback.selection.mask}


# --- checkpoints ---------------------------------------------------------------------------------


def run(kind: type[Own], ckpt: str | None = None) -> Any:
    torch.manual_seed(3 if ckpt is None else 4)  # a resumed run must not need the same seed
    model, callback = kind(fill="mean"), pruning(Price("auto"))
    saver = ModelCheckpoint(".", "end-{step}", save_top_k=-1, save_on_train_epoch_end=True)
    training = trainer(callback, *([] if ckpt else [saver]), enable_checkpointing=ckpt is None)
    training.fit(model, clips(), clips(2, seed=1), ckpt_path=ckpt)
    return model, callback, training


@pytest.mark.parametrize("kind", [Own, Grouped])
def test_a_resumed_run_is_the_uninterrupted_one(kind: type[Own]) -> None:
    model, callback, whole = run(kind)
    for step in (8, 16, 24, 32):
        other, again, resumed = run(kind, f"end-step={step}.ckpt")
        assert again.record.history == callback.record.history
        assert again.selection == callback.selection
        for p, q in zip(other.parameters(), model.parameters(), strict=True):
            assert torch.equal(p, q)
        states = [it.optimizers[0].state_dict()["param_groups"] for it in (whole, resumed)]
        assert states[0] == states[1]


@pytest.mark.parametrize("weights_only", [True, False])
def test_a_checkpoint_loads_in_the_class_with_and_without_its_mask(weights_only: bool) -> None:
    model, callback = Own(fill="mean"), pruning()
    fit(model, callback).save_checkpoint("last.ckpt", weights_only=weights_only)
    x = torch.randn(3, 4, J, 2)
    changed = x.clone()
    changed[:, :, [not kept for kept in callback.selection.mask]] = torch.nan
    for loaded in (
        load_pruned(Own, "last.ckpt"),
        Own.load_from_checkpoint("last.ckpt", strict=True, weights_only=True).eval(),
    ):
        assert torch.equal(loaded(x), model.eval()(x))
        assert torch.equal(loaded(x), loaded(changed))
        assert analyze_pruning(loaded).indices == callback.selection.indices
        assert "forward" not in vars(loaded)

    other, fresh = Own(fill="mean"), pruning()
    trainer(fresh).test(other, clips(2), ckpt_path="last.ckpt", verbose=False)
    assert {tuple(call.kept) for call in other.of("test")} == {(True,) * J}  # by their means
    assert fresh.selection == callback.selection


def test_a_checkpoint_of_the_search_is_loaded_with_the_mask_it_would_be_tested_with() -> None:
    _, callback, _ = run(Own)
    with pytest.warns(UserWarning, match="one of the search phase"):
        model = load_pruned(Own, "end-step=16.ckpt")
    state = torch.load("end-step=16.ckpt", weights_only=True)["callbacks"][callback.state_key]
    assert list(analyze_pruning(model).mask) == state["mask"]


@pytest.mark.parametrize("where", ["alone", "mixed", "none"])
def test_a_checkpoint_of_a_run_without_the_callback_can_be_fitted_with_it(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Grouped, "where", where)
    first = Grouped()
    before = trainer(max_epochs=1)
    before.fit(first, clips(), clips(2))
    first.pruning.freeze(first.pruning.current_mask())
    before.save_checkpoint("plain.ckpt")

    model, callback = Grouped(), pruning()
    again = trainer(callback, max_epochs=6)
    again.fit(model, clips(), clips(2), ckpt_path="plain.ckpt")
    assert kinds(model) == ["open"] * 8 + ["sampled"] * 16 + ["masked"] * 16
    assert masks(model) == {callback.selection.mask}
    state = again.optimizers[0].state
    assert state[model.head.bias]["step"] == 6 * BATCHES


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gate": "hard_concrete"}, r"Expected gate to be left .*gate=HardConcrete.*Take this out"),
        ({"groups": {"a": [0]}}, r"Expected groups to be left"),
        ({"keep": [1], "fill": 2.0}, r"Expected keep and fill to be left .*keep=\(1,\), fill=2\.0"),
        ({"fill": "mean"}, r"Expected fill to be left .*fill='mean'"),
        ({"axes": "b t j c"}, r"Expected axes to be left .*axes='b t j c'"),
        ({"input": "x"}, r"Expected input to be left .*input='x'"),
        ({"num_joints": 9}, r"a JointPruningLayer of 9 joints .* one of 8\. Pass num_joints=8"),
    ],
)
def test_what_the_layer_decides_is_not_to_be_set_twice(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        fit(Own(), pruning(**settings))


def test_two_layers_are_refused() -> None:
    model = Own()
    model.second = nn.Sequential(JointPruningLayer(J))
    with pytest.raises(MisconfigurationException, match=r"at most one .* got 2, at pruning, sec"):
        fit(model, pruning())


@pytest.mark.parametrize("phases", [(0.2, 0.6), (0.0, 0.6)])
def test_a_price_that_is_paid_twice_is_refused_before_a_weight_changes(phases: Any) -> None:
    class Paying(Own):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) + 0.01 * self.pruning.expected_l0()

    model = Paying()
    before = model.head.weight.detach().clone()
    with pytest.raises(MisconfigurationException, match=r"without a price.*expected_l0\(\) out"):
        fit(model, pruning(phases=phases))
    assert torch.equal(model.head.weight, before)


def test_a_price_that_is_only_logged_is_welcome() -> None:
    class Logging(Own):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.log("l0", self.pruning.expected_l0())
            return super().training_step(batch, batch_idx)

    fit(Logging(), pruning())


def test_a_layer_that_is_made_after_setup_is_refused() -> None:
    class Late(Classifier):
        def on_train_start(self) -> None:
            self.pruning = JointPruningLayer(J)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.pruning(x) if hasattr(self, "pruning") else x)

    with pytest.raises(MisconfigurationException, match=r"made later\. Make it in .*__init__"):
        fit(Late(), pruning())


# --- by itself -----------------------------------------------------------------------------------


def test_the_names_of_the_logits_are_left_out_of_data_parallel_and_given_back() -> None:
    class Model(nn.Sequential):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            pass

    model = Model(nn.Linear(2, 2), JointPruningLayer(4, groups={"a": [0]}))
    attribute = "_ddp_params_and_buffers_to_ignore"
    setattr(model, attribute, ["0.bias"])
    before = dict(vars(model))
    entrance = Entrance(lambda checkpoint: None)
    entrance.begin(model, own_layer(model))
    assert getattr(model, attribute) == ["0.bias", "1.joint_logits", "1.group_logits"]
    assert (entrance.inside, entrance.where, entrance.known) == ("1", "1", False)
    entrance.leave()
    entrance.leave()
    assert vars(model) == before


def test_the_place_is_checked_before_anything_is_put_there() -> None:
    class Model(nn.Sequential):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            pass

    def refuse(target: Target, shape: object) -> None:
        raise ValueError(f"not {target.axes}")

    for check, found in ((refuse, False), (lambda target, shape: None, True)):
        model, entrance = Model(nn.Flatten(), nn.LazyLinear(1)), Entrance(lambda checkpoint: None)
        entrance.begin(model, JointPruningLayer(J))
        entrance.watch()
        model(torch.zeros(3, 4, J, 2))
        refused = nullcontext() if found else pytest.raises(ValueError, match="not b t j c")
        with refused:
            assert entrance.find(J, "input", None, check, skipped=False)
        assert entrance.known is found
        assert not entrance.find(J, "input", None, check, skipped=False)  # it was watched once


def test_a_copy_of_a_driven_layer_is_one_of_its_own() -> None:
    model, callback = Own(), pruning()
    fit(model, callback)
    other = copy.deepcopy(model)
    x = torch.randn(2, 4, J, 2)
    assert torch.equal(other.eval()(x), model.eval()(x))
    assert other.pruning.joint_logits is not model.pruning.joint_logits
