"""Joints that are kept, tied, grouped, in parts or dropped from the start stay so."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader

from lightning_jointprune import Groups, JointPruningCallback, Price
from tests.runs import INFORMATIVE, SHORT_RUNS, Classifier, InParts, J, clips, fit, pruning
from tests.zoo.models import NODES

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


@pytest.mark.parametrize("keep", [[0, 7], ["joint_0", "joint_7"]])
def test_joints_to_keep_are_kept(keep: Any) -> None:
    callback = pruning(2, keep=keep)
    fit(Classifier(), callback)
    assert callback.selection.indices == (0, 7)


def test_a_tied_group_stands_or_falls_together() -> None:
    halves = {"left": [3, 1, 0, 2], "right": range(4, 8)}
    model, callback = Classifier(), pruning(Price(0.5), groups=Groups(halves, tied=True))
    fit(model, callback, max_epochs=10)  # so high a price would drop them all
    assert callback.selection.indices in [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert all(sum(call.kept) in (4, 8) for call in model.of("validate"))


@pytest.mark.parametrize(
    "settings", [{}, {"fill": "mean"}, {"fill": "hold"}, {"groups": {"a": [1, 4]}, "keep": [7]}]
)
def test_a_skeleton_in_parts_is_searched_as_the_whole_one(settings: dict[str, Any]) -> None:
    runs = []
    for kind, where in ((Classifier, "x"), (InParts, "body + hand")):
        torch.manual_seed(0)
        model, callback = kind(), pruning(input=where, **settings)
        fit(model, callback)
        runs.append((callback.selection, model))
    (selection, whole), (in_parts, parts) = runs
    assert in_parts.indices == selection.indices
    assert in_parts.keep_probabilities == pytest.approx(selection.keep_probabilities, abs=1e-4)
    for call, of_whole in zip(parts.calls, whole.calls, strict=True):
        torch.testing.assert_close(call.got, of_whole.got, rtol=1e-3, atol=1e-3)


def test_a_skeleton_in_parts_is_proposed_and_its_sizes_have_to_add_up() -> None:
    with pytest.raises(MisconfigurationException, match=r'pass input="body \+ hand"'):
        fit(InParts(), pruning())
    with pytest.raises(
        MisconfigurationException, match=r"(?s)9 joints together.*hand  \(8, 4, 5, 2"
    ):
        fit(InParts(), pruning(num_joints=9, input="body + hand"))
    with pytest.raises(MisconfigurationException, match=r"start with an argument .* got 'arm'"):
        fit(InParts(), pruning(input="body + arm.0"))


def test_a_joint_with_several_nodes_has_one_gate() -> None:
    random = torch.Generator().manual_seed(0)
    sign = torch.arange(256) % 4
    x = torch.randn(256, 4, 41, 2, generator=random)
    for node, bit in ((16, sign % 2), (37, sign // 2)):  # the bone of part4, the motion of part12
        x[:, :, node] += 2.0 * bit[:, None, None] - 1.0
    data = DataLoader(list(zip(x, sign, strict=True)), batch_size=16)
    nodes = sorted(NODES["part4"] + NODES["part12"])
    model = Classifier(joints=41)
    callback = pruning(len(nodes), num_joints=41, groups=Groups(NODES, tied=True))
    fit(model, callback, train=data, val=data)

    assert callback.selection.indices == tuple(nodes)
    assert set(callback.selection.names) == {
        *(f"part4.{k}" for k in range(3)),
        *(f"part12.{k}" for k in range(4)),
    }
    for call in model.of("train"):
        if call.kind == "sampled":
            gates = (call.got / call.given)[:, 0, :, 0]
            for joint in NODES.values():
                torch.testing.assert_close(
                    gates[:, joint], gates[:, joint[:1]].expand(-1, len(joint))
                )


def test_a_closed_group_closes_its_joints() -> None:
    callback = JointPruningCallback(
        num_joints=J, groups={"signs": [1, 4], "noise": [0, 2, 3, 5, 6, 7]}
    )
    run = fit(Classifier(), callback, train=clips(32), max_epochs=15)

    assert callback.selection.indices == INFORMATIVE
    assert [len(p) for p in run.optimizers[0].param_groups[-1]["params"]] == [J, 2]


def test_a_skeleton_brings_names_and_groups() -> None:
    callback = JointPruningCallback(
        skeleton="mediapipe_hand", groups="tied", keep=["wrist"], budget=Price(0.01)
    )
    fit(Hand(), callback, train=hands(), val=hands())
    assert callback.selection.num_joints == 21
    assert "wrist" in callback.selection.names
    assert callback.record.skeleton == "mediapipe_hand"


class Hand(Classifier):
    def __init__(self) -> None:
        super().__init__(joints=21)


def hands() -> DataLoader[Any]:
    batches = [(torch.randn(4, 4, 21, 2), torch.tensor([0, 1, 0, 1])) for _ in range(4)]
    return DataLoader(batches, batch_size=None)


def test_joints_of_drop_reach_the_model_in_no_phase(tmp_path: Path) -> None:
    model = Classifier()
    callback = pruning(2, drop=[0, "joint_7"], dirpath=tmp_path)
    fit(model, callback)
    seen = [*model.of("train")[1:], *model.of("validate")]  # the first one shows where they enter
    assert not any(call.kept[joint] for call in seen for joint in (0, 7))
    assert not {0, 7} & set(callback.selection.indices)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_joints_of_drop_may_be_missing_also_in_the_first_batch(accumulated: int) -> None:
    train, val = clips(), clips(2, seed=1)
    for loader in (train, val):
        loader.dataset.tensors[0][:, :, 0] = torch.nan
    model, callback = Classifier(), pruning(2, drop=[0])
    run = fit(model, callback, train=train, val=val, accumulate_grad_batches=accumulated)
    assert model.head.weight.isfinite().all()
    assert math.isfinite(run.callback_metrics["val_loss"])
