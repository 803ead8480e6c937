"""A pruned model is loaded from a real checkpoint, and shown as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from lightning_jointprune import (
    Groups,
    JointPruningCallback,
    JointPruningLayer,
    PruningRecord,
    evaluate_joints,
    load_pruned,
)
from lightning_jointprune.attach.hooks import attached_layers, detach
from lightning_jointprune.measure.evaluate import HOW
from lightning_jointprune.run.load import analyze_pruning
from tests.runs import SHORT_RUNS

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("blank_report")]

JOINTS, PLANTED = 6, [0, 3]
X = torch.randn(96, 3, JOINTS, 2, generator=torch.Generator().manual_seed(4)) + 1.0
LABEL = (X[:, :, PLANTED].mean(dim=(1, 2, 3)) > 1.0).long()


class Classifier(pl.LightningModule):
    """Knows nothing of pruning. It does without a default, as a checkpoint has it."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(3 * JOINTS * 2, hidden), nn.Tanh(), nn.Linear(hidden, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.flatten(1))

    def training_step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.02)


class ChannelsFirst(Classifier):
    """Takes `b c t j`."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1))

    def training_step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch[0].permute(0, 3, 1, 2)), batch[1])


def fit(model: pl.LightningModule, folder: Path, *callbacks: Any, epochs: int = 4) -> Path:
    """Train for some epochs; return the last checkpoint."""
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, ModelCheckpoint(folder, "last")],
    )
    batches = [(X[start : start + 16], LABEL[start : start + 16]) for start in range(0, 96, 16)]
    trainer.fit(model, DataLoader(batches, batch_size=None))
    return folder / "last.ckpt"


def pruning(folder: Path, **settings: Any) -> JointPruningCallback:
    settings = {"budget": 2, "input": "x", "axes": "b t j c", "lr": 0.5, **settings}
    return JointPruningCallback(JOINTS, dirpath=folder, **settings)


# --- load_pruned ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model_class", "settings"),
    [
        (Classifier, {}),
        (Classifier, {"fill": -2.5, "groups": {"a": [0, 1]}}),
        (Classifier, {"fill": "mean", "gate": "stochastic"}),
        (ChannelsFirst, {"fill": "mean", "axes": "b c t j"}),
        (Classifier, {"fill": "hold"}),
        (ChannelsFirst, {"input": None, "axes": None, "keep": [5]}),
    ],
)
def test_a_loaded_model_is_the_plain_one_fed_the_kept_joints_alone(
    model_class: type[Classifier], settings: dict[str, Any], tmp_path: Path
) -> None:
    callback = pruning(tmp_path, **settings)
    path = fit(model_class(5), tmp_path, callback)
    plain = model_class.load_from_checkpoint(path).eval()
    fill = settings.get("fill", 0.0)
    if fill == "mean":  # of each joint and coordinate, over the batches until the freeze
        seen = range(1, 15)  # of 4 epochs of 6 batches; the first one passes to find the input
        fill = torch.stack([X.view(6, 16, 3, JOINTS, 2)[batch % 6] for batch in seen])
        fill = fill.mean(dim=(0, 1, 2))
    elif fill == "hold":
        fill = X[:, :1]
    kept = torch.tensor(callback.selection.mask)[:, None]
    masked = torch.where(kept, X, fill)
    x = X
    if model_class is ChannelsFirst:
        masked, x = masked.permute(0, 3, 1, 2), X.permute(0, 3, 1, 2)
    x = x.clone()

    pruned = load_pruned(model_class, path)
    assert not pruned.training
    assert kept.sum() == 2
    torch.testing.assert_close(pruned(x), plain(masked))
    assert not torch.allclose(pruned(x), plain(x))
    assert pruned.state_dict().keys() == plain.state_dict().keys()
    detach(pruned)
    assert torch.equal(pruned(x), plain(x))


def test_what_is_not_finite_in_a_dropped_joint_does_not_reach_a_loaded_model(tmp_path) -> None:
    callback = pruning(tmp_path)
    pruned = load_pruned(Classifier, fit(Classifier(5), tmp_path, callback))
    broken = X.clone()
    broken[:, :, [joint not in callback.selection.indices for joint in range(JOINTS)]] = torch.nan
    assert torch.equal(pruned(broken), pruned(X))


def test_a_function_that_filled_is_passed_again(tmp_path: Path) -> None:
    def last_frame(x: Tensor, axes: tuple[str, ...]) -> Tensor:
        return x.narrow(axes.index("t"), 2, 1)

    callback = pruning(tmp_path, fill=last_frame)
    path = fit(Classifier(5), tmp_path, callback)
    kept = torch.tensor(callback.selection.mask)[:, None]
    expected = Classifier.load_from_checkpoint(path)(torch.where(kept, X, X[:, 2:]))
    assert torch.equal(load_pruned(Classifier, path, fill=last_frame)(X), expected)
    with pytest.raises(ValueError, match=r"Expected the function .*last_frame.*fill=function"):
        load_pruned(Classifier, path)
    saved = PruningRecord.from_json(tmp_path).settings["fill"]
    assert saved.endswith("last_frame")


def test_a_function_is_refused_where_none_filled(tmp_path: Path) -> None:
    path = fit(Classifier(5), tmp_path, pruning(tmp_path))
    with pytest.raises(ValueError, match=r"Expected no function, since .* fill=0\.0"):
        load_pruned(Classifier, path, fill=torch.zeros_like)


def test_a_loaded_model_tells_the_selection_of_its_run(tmp_path: Path) -> None:
    callback = pruning(tmp_path, gate="hard_concrete")
    pruned = load_pruned(Classifier, fit(Classifier(5), tmp_path, callback), map_location="cpu")
    selection = analyze_pruning(pruned)
    assert selection.indices == callback.selection.indices
    expected = callback.selection.keep_probabilities
    assert selection.keep_probabilities == pytest.approx(expected, abs=1e-5)


def test_a_loaded_model_knows_the_names_of_its_joints(tmp_path: Path) -> None:
    groups = Groups({"hand": [0, 1], "arm": [2, 3]}, tied=True)
    callback = pruning(tmp_path, groups=groups)
    pruned = load_pruned(Classifier, fit(Classifier(5), tmp_path, callback))
    named = callback.selection.joint_names
    assert named[:2] == ("hand.0", "hand.1")
    assert analyze_pruning(pruned).joint_names == named
    worth = evaluate_joints(pruned, [(X, LABEL)], how=(), progress=False)
    assert worth.joint_names == named


def test_arguments_that_a_checkpoint_lacks_are_passed_on(tmp_path: Path) -> None:
    path = fit(Classifier(5), tmp_path, pruning(tmp_path))
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["hyper_parameters"]
    torch.save(checkpoint, path)
    assert load_pruned(Classifier, str(path), hidden=5).net[0].out_features == 5
    with pytest.raises(TypeError, match="hidden"):
        load_pruned(Classifier, path)


def test_a_checkpoint_of_the_warmup_has_all_joints(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="ended in its warmup phase"):
        path = fit(Classifier(5), tmp_path, pruning(tmp_path, phases=(0.98, 0.99)))
    plain = Classifier.load_from_checkpoint(path).eval()
    with pytest.warns(UserWarning, match=r"one of the warmup phase: its joints are no result yet"):
        loaded = load_pruned(Classifier, path)
    assert torch.equal(loaded(X), plain(X))


def test_a_checkpoint_without_a_mask_is_refused(tmp_path: Path) -> None:
    path = fit(Classifier(5), tmp_path, epochs=1)
    with pytest.raises(
        ValueError, match=r"with a mask but got .*last\.ckpt, which has none.*Joint"
    ):
        load_pruned(Classifier, path)


def test_a_checkpoint_with_two_masks_is_refused(tmp_path: Path) -> None:
    path = fit(Classifier(5), tmp_path, pruning(tmp_path))
    checkpoint = torch.load(path, weights_only=True)
    (state,) = (state for key, state in checkpoint["callbacks"].items() if "Joint" in key)
    checkpoint["callbacks"]["JointPruningCallback{input='other'}"] = state
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=r"Expected a state of .* got .*'x'.*'other'"):
        load_pruned(Classifier, path)


def test_a_loaded_model_and_the_one_that_was_trained_say_the_same_of_their_joints(
    tmp_path: Path,
) -> None:
    model, callback = Classifier(hidden=8), pruning(tmp_path)
    path = fit(model, tmp_path, callback)
    loaded = load_pruned(Classifier, path)
    found = evaluate_joints(loaded, [(X, LABEL)], progress=False, how=HOW)
    assert found == evaluate_joints(model, [(X, LABEL)], progress=False, how=HOW)
    temperatures = [attached_layers(net)[0][1].temperature for net in (model, loaded)]
    assert temperatures[0] == temperatures[1]
    assert found.indices == callback.selection.indices
    assert len(found.drop) == 2
    assert all(cost.value > 0.0 for cost in found.drop.values())


# --- analyze_pruning -----------------------------------------------------------------------------


class OwnLayer(nn.Module):
    """Has the gate written into its `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = JointPruningLayer(3)
        self.gates.joint_logits.data = torch.tensor([3.0, -3.0, 0.1])


def rows(table: str) -> dict[str, tuple[int, str]]:
    """Return the table as joint -> (index, verdict)."""
    cells = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    return {row[2]: (int(row[0]), row[3]) for row in cells if len(row) == 4 and row[0].isdigit()}


def test_a_layer_inside_a_model_is_shown_as_a_table() -> None:
    selection = analyze_pruning(OwnLayer(), ["wrist", "thumb", "index"])
    assert selection.indices == (0, 2)
    assert selection.keep_probabilities == pytest.approx([0.9526, 0.0474, 0.525], abs=1e-4)
    table = str(selection)
    assert rows(table) == {"wrist": (0, "KEEP"), "thumb": (1, "PRUNE"), "index": (2, "KEEP")}
    assert "2 of 3 joints kept" in table


def test_a_layer_in_front_of_a_model_is_shown_as_a_table_too(tmp_path: Path) -> None:
    model, callback = Classifier(5), pruning(tmp_path)
    fit(model, tmp_path, callback)
    verdicts = {
        f"joint_{joint}": (joint, "KEEP" if kept else "PRUNE")
        for joint, kept in enumerate(callback.selection.mask)
    }
    assert len(attached_layers(model)) == 1
    assert rows(str(analyze_pruning(model))) == verdicts


def test_analysing_changes_neither_the_mode_nor_the_logits() -> None:
    model = OwnLayer().train()
    before = model.gates.joint_logits.detach().clone()
    analyze_pruning(model)
    assert model.gates.training
    assert model.gates.joint_logits.requires_grad
    assert torch.equal(model.gates.joint_logits, before)


@pytest.mark.parametrize(
    ("model", "count"), [(nn.Linear(2, 2), 0), (nn.ModuleList([OwnLayer(), OwnLayer()]), 2)]
)
def test_a_model_with_no_layer_or_with_two_is_refused(model: nn.Module, count: int) -> None:
    with pytest.raises(ValueError, match=f"one JointPruningLayer but got {count}.*the submodule"):
        analyze_pruning(model)


@pytest.mark.parametrize("names", [["wrist", "thumb"], ["wrist", "thumb", "thumb"]])
def test_names_that_do_not_fit_the_joints_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="3 different joint names but got"):
        analyze_pruning(OwnLayer(), names)
