"""Two callbacks prune two inputs of one model, each found on the first batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_jointprune import JointPruningCallback
from lightning_jointprune.attach.hooks import attached_layers
from tests.runs import SHORT_RUNS, InParts, clips, fit, trainer

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("blank_report")]


def callbacks(folder: Path) -> tuple[JointPruningCallback, JointPruningCallback]:
    how: dict[str, Any] = {"axes": "b t j c", "lr": 0.5, "phases": (0.2, 0.6)}
    body = JointPruningCallback(3, input="body", budget=1, dirpath=folder / "body", **how)
    return body, JointPruningCallback(5, input="hand", budget=2, dirpath=folder / "hand", **how)


@pytest.mark.compatibility("Callbacks", "JointPruningCallback twice, on two inputs")
def test_each_of_two_callbacks_masks_its_own_input(tmp_path: Path) -> None:
    model, (body, hand) = InParts(), callbacks(tmp_path)
    before = dict(vars(model))
    fit(model, body, hand)
    kept = [*body.selection.mask, *hand.selection.mask]
    assert (sum(kept[:3]), sum(kept[3:])) == (1, 2)
    assert model.of("validate")[-1].kept == kept
    assert {call.kind for call in model.of("train")} == {"open", "sampled", "masked"}
    for callback, name in ((body, "body"), (hand, "hand")):
        assert callback.report_path == tmp_path / name / "joint_importance.html"
    for callback, left in ((body, ["hand"]), (hand, [])):
        callback.detach()
        assert [target.input for target, _ in attached_layers(model)] == left
    for name in ("forward", "_joint_forward", "_joint_gates"):
        assert name not in vars(model)
    assert type(model) is InParts
    assert before.keys() <= vars(model).keys()


def test_a_checkpoint_has_the_masks_of_both(tmp_path: Path) -> None:
    model, (body, hand) = InParts(), callbacks(tmp_path)
    fit(model, body, hand).save_checkpoint(tmp_path / "last.ckpt")
    other, fresh = InParts(), callbacks(tmp_path)
    trainer(*fresh).test(other, clips(1), ckpt_path=str(tmp_path / "last.ckpt"), verbose=False)
    for callback, loaded in zip((body, hand), fresh, strict=True):
        assert loaded.selection.indices == callback.selection.indices
    assert other.of("test")[-1].kept == [*body.selection.mask, *hand.selection.mask]
    assert torch.equal(other.head.weight, model.head.weight)
