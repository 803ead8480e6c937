"""Joints that the first batches do not show are found where coordinates are shares of a picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.run.first_batches import Presence
from tests.runs import SHORT_RUNS, Classifier, clips, fit, pruning

pytestmark = SHORT_RUNS
AXES = ("b", "t", "j", "c")


def people() -> Tensor:
    """Return people in shares of a picture, of shape (batch, frames, joints, coordinates).

    Of ten joints, 8 is a heel below the picture, and 9 a hand that is found in every fifth frame.
    """
    torch.manual_seed(0)
    x = torch.rand(8, 10, 10, 3) * 0.8 + 0.1
    x[:, :, 8, 1] += 1.0
    x[:, torch.arange(10) % 5 > 0, 9] = torch.nan
    return x


def found(*calls: tuple[Tensor, range]) -> dict[str, tuple[int, ...]]:
    presence = Presence(10)
    for x, joints in calls:
        presence._add(x, AXES, joints)
    return presence.found()


WHOLE = range(10)
TRUTH = {"undetected": (9,), "outside": (8,)}


def test_a_joint_below_the_picture_and_one_that_is_seldom_found_are_told() -> None:
    assert found((people(), WHOLE)) == TRUTH
    assert Presence(10).found() == {}


def test_parts_padding_and_other_axes_change_nothing() -> None:
    x = people()
    parts = [(x[:, :, of.start : of.stop], of) for of in (range(6), range(6, 10))]
    assert found(*parts) == TRUTH
    padded = torch.cat([x, torch.zeros(8, 30, 10, 3)], dim=1)
    assert found((padded, WHOLE)) == TRUTH
    presence = Presence(10)
    presence._add(x.permute(0, 3, 1, 2), ("b", "c", "t", "j"), WHOLE)
    assert presence.found() == TRUTH


@pytest.mark.parametrize(
    "move",
    [
        pytest.param(lambda x: 1920 * x, id="pixels"),
        pytest.param(lambda x: (x - 0.5) / 0.25, id="standardised"),
        pytest.param(lambda x: x - x[:, :, :1], id="centred on a joint"),
        pytest.param(lambda x: x[..., :1], id="one channel"),
    ],
)
def test_coordinates_that_are_no_shares_of_a_picture_have_no_outside(move: object) -> None:
    assert callable(move)
    assert "outside" not in found((move(people()), WHOLE))


def test_one_joint_that_is_never_there_may_be_the_origin_and_two_are_not() -> None:
    x = people()
    x[:, :, 0] = 0.0
    assert found((x, WHOLE)) == TRUTH
    x[:, :, 1] = 0.0
    assert found((x, WHOLE))["undetected"] == (0, 1, 9)
    assert found((torch.zeros_like(x), WHOLE)) == {}


def test_it_goes_on_where_its_state_was_saved() -> None:
    first, again = Presence(10), Presence(10)
    first._add(people()[:4], AXES, WHOLE)
    again.load_state_dict(first.state_dict())
    for watcher in (first, again):
        watcher._add(people()[4:], AXES, WHOLE)
    assert again.found() == first.found() == TRUTH


def test_the_record_of_a_run_has_it(tmp_path: Path, blank_report: None) -> None:
    x, sign = clips().dataset.tensors
    x = x.sigmoid()
    x[..., 1, 1] += 1.0
    callback = pruning(dirpath=tmp_path)
    fit(Classifier(), callback, train=DataLoader(TensorDataset(x, sign), batch_size=8))
    assert callback.record.unseen == {"outside": (1,)}
    assert PruningRecord.from_json(tmp_path) == callback.record
