"""The mean pose is that of the data, and watching it changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.run.first_batches import MeanPose
from lightning_jointprune.skeletons import Skeleton
from tests.runs import SHORT_RUNS, Classifier, J, clips, fit, pruning

pytestmark = SHORT_RUNS
PLACES = torch.tensor([[0.0, 1.0], [4.0, 5.0], [8.0, 3.0]])


def watched(joints: int = 3) -> tuple[MeanPose, JointPruningLayer]:
    pose, layer = MeanPose(joints), JointPruningLayer(joints)
    layer.mode = "open"
    pose.watch(layer)
    return pose, layer


def batch(noise: float = 0.0) -> Tensor:
    """Return skeletons around `PLACES`, of shape (batch, frames, joints, coordinates)."""
    return PLACES + noise * torch.randn(8, 5, 3, 2)


def test_the_mean_is_that_of_all_frames_of_all_batches() -> None:
    pose, layer = watched()
    batches = [batch(0.5), batch(0.5)]
    for x in batches:
        assert torch.equal(layer(x), x)
    mean = torch.cat(batches).mean((0, 1))
    assert torch.tensor(pose.places()) == pytest.approx(mean, rel=1e-3)


def test_axes_may_be_in_any_order_and_parts_be_put_together() -> None:
    pose, layer = watched()
    x = batch(0.5)
    for joints in (range(2), range(2, 3)):
        part = x[:, :, joints.start : joints.stop].permute(0, 3, 1, 2)
        layer(part, ("b", "c", "t", "j"), joints)
    assert torch.tensor(pose.places()) == pytest.approx(x.mean((0, 1)), rel=1e-3)


def test_padding_missing_joints_and_what_is_not_finite_do_not_count() -> None:
    pose, layer = watched()
    x = batch()
    x[:, 3:] = 0.0  # padding
    x[4:, 0, 1] = 0.0  # found by no detector
    x[:2, 1, 2] = torch.nan
    layer(x)
    assert torch.tensor(pose.places()) == pytest.approx(PLACES)


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(8, 64, 3, 2),  # standardised joint by joint
        torch.randn(8, 5, 3, 4) + 10.0 * torch.arange(3.0).view(3, 1),  # four channels
        torch.full((8, 5, 3, 2), torch.inf),
    ],
)
def test_where_no_pose_can_be_drawn_there_is_none(x: Tensor) -> None:
    pose, layer = watched()
    assert pose.places() == ()
    layer(x)
    assert pose.places() == ()


def test_it_goes_on_where_its_state_was_saved() -> None:
    pose, layer = watched()
    layer(batch(0.5))
    again, resumed = watched()
    again.load_state_dict(pose.state_dict())
    x = batch(0.5)
    layer(x), resumed(x)
    assert again.places() == pose.places() != ()


@pytest.mark.parametrize("drawn", [False, True])
def test_the_record_of_a_run_has_the_datas_pose_if_no_skeleton_has_one(
    drawn: bool, tmp_path: Path, blank_report: None
) -> None:
    offsets = 5.0 * torch.arange(2.0 * J).view(J, 2)
    x, sign = clips().dataset.tensors
    data = DataLoader(TensorDataset(x + offsets, sign), batch_size=8)
    callback = pruning(dirpath=tmp_path)
    places = tuple((j / J, 0.5) for j in range(J))
    names = tuple(f"j{j}" for j in range(J))
    if drawn:
        skeleton = Skeleton("mine", names, {"all": tuple(range(J))}, ((0, 1),), places)
        callback = pruning(num_joints=None, skeleton=skeleton, dirpath=tmp_path)
    fit(Classifier(), callback, train=data)
    record = PruningRecord.from_json(tmp_path)
    assert record.pose == callback.record.pose
    if drawn:
        assert (record.skeleton, record.selection.joint_names) == ("mine", names)
        assert (record.pose, record.edges) == (places, ((0, 1),))
        assert record.parts == {"all": tuple(range(J))}
    else:
        assert torch.tensor(record.pose) == pytest.approx(offsets, abs=1.0)
