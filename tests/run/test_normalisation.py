"""A normalisation of the coordinates is found, and nothing is where there was none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.run.first_batches import Normalisation
from tests.runs import SHORT_RUNS, Classifier, J, clips, fit, pruning

pytestmark = SHORT_RUNS
AXES = (-2, -1)  # of joints and coordinates


def raw(channels: int = 2, seed: int = 0) -> Tensor:
    """Return sixteen clips in pixels, of shape (batch, frames, joints, coordinates)."""
    generator = torch.Generator().manual_seed(seed)
    x = 40 * torch.randn(16, 6, 5, channels, generator=generator)
    return x + 300 + 100 * torch.randn(16, 6, 1, channels, generator=generator)


def found(*batches: Tensor, axes: str = "b t j c", joints: range | None = None) -> dict[str, Any]:
    words = tuple(axes.split())
    size = batches[0].shape[words.index("j")] if joints is None else 9
    watcher, layer = Normalisation(size), JointPruningLayer(size)
    layer.mode = "open"
    watcher.watch(layer)
    for x in batches:
        assert torch.allclose(layer(x, words, joints), x, atol=0, rtol=0, equal_nan=True)
    return watcher.found()


def centred(x: Tensor, over: tuple[int, ...]) -> Tensor:
    return x - x.mean(over, keepdim=True)


def size(x: Tensor, over: tuple[int, ...]) -> Tensor:
    return centred(x, over[:-1]).square().mean(over, keepdim=True).sqrt()


FRAME, SEQUENCE = (2, 3), (1, 2, 3)
HIGH = raw().amax(2, keepdim=True)
LOW = raw().amin(2, keepdim=True)
CASES = [
    (raw(), {}),
    (raw(3), {}),
    (centred(raw(), FRAME[:-1]), {"centred": "frame"}),
    (centred(raw(), SEQUENCE[:-1]), {"centred": "sequence"}),
    (raw() / size(raw(), FRAME), {"scaled": "frame"}),
    (raw() / size(raw(), SEQUENCE), {"scaled": "sequence"}),
    ((raw() - LOW) / (HIGH - LOW), {"scaled": "frame"}),  # the box around the joints
    ((raw() - LOW) / (HIGH - LOW).amax(-1, keepdim=True), {"scaled": "frame"}),
    (centred(raw(3), FRAME[:-1]) / size(raw(3), FRAME), {"centred": "frame", "scaled": "frame"}),
    (raw() - raw()[:, :, 3:4], {"origin": 3}),
    ((raw() - raw().mean()) / raw().std(), {"standardised": True}),
    ((raw() - raw().mean((0, 1))) / raw().std((0, 1)), {"standardised": True}),
]


@pytest.mark.parametrize("missing", [0.0, 0.3])  # coordinates of a joint that is not visible
def test_a_visibility_from_0_to_1_is_no_scale(missing: float) -> None:
    generator = torch.Generator().manual_seed(1)
    places = torch.rand(16, 6, 9, 2, generator=generator) * 0.6 + 0.2
    visible = torch.rand(16, 6, 9, 1, generator=generator).gt(0.5).float()
    visible[..., 0, :], visible[..., 1, :] = 0.0, 1.0  # both kinds in every frame
    x = torch.cat([places.where(visible > 0, missing), visible], -1)
    assert "scaled" not in found(x[:8], x[8:])


@pytest.mark.parametrize(("x", "wanted"), CASES)
def test_what_is_the_same_in_all_units_is_found(x: Tensor, wanted: dict[str, Any]) -> None:
    got = found(x[:8], x[8:])
    if "standardised" not in wanted:
        got.pop("standardised", None)  # what is centred and scaled may look so as well
    assert got == wanted


@pytest.mark.parametrize("axes", ["b c t j", "t j b c", "b t c j"])
def test_the_order_of_the_axes_does_not_matter(axes: str) -> None:
    x = centred(raw(), FRAME[:-1])
    order = [["b", "t", "j", "c"].index(word) for word in axes.split()]
    got = found(x.permute(order).contiguous(), axes=axes)
    assert got.get("centred") == "frame"


def test_padding_and_joints_that_are_missing_do_not_hide_it() -> None:
    x = centred(raw(), FRAME[:-1])
    x[:, 4:] = 0.0
    assert found(x)["centred"] == "frame"
    x[0, 0] = torch.nan
    assert found(x)["centred"] == "frame"


def test_a_visibility_behind_the_coordinates_is_no_coordinate() -> None:
    x = torch.cat([centred(raw(), FRAME[:-1]), torch.rand(16, 6, 5, 1)], -1)
    assert found(x)["centred"] == "frame"


@pytest.mark.parametrize(
    ("x", "joints"),
    [
        (raw()[:1, :1], None),  # one frame is always of its own size
        (raw()[..., :1], None),  # no plane
        (torch.zeros(16, 6, 5, 2), None),
        (centred(raw(), FRAME[:-1]), range(5)),  # a part of the skeleton
    ],
)
def test_where_nothing_can_be_said_nothing_is(x: Tensor, joints: range | None) -> None:
    assert found(x, joints=joints) == {}


def test_joints_that_were_never_detected_are_no_origin() -> None:
    x = raw()
    x[:, :, 1:3] = 0.0
    assert "origin" not in found(x)


def test_it_goes_on_where_its_state_was_saved() -> None:
    x = centred(raw(), FRAME[:-1])
    first, again = Normalisation(5), Normalisation(5)
    first._add(x[:8], ("b", "t", "j", "c"), range(5))
    again.load_state_dict(first.state_dict())
    for watcher in (first, again):
        watcher._add(x[8:] + 1e3, ("b", "t", "j", "c"), range(5))
    assert again.found() == first.found() == {}


def test_the_record_of_a_run_has_it(tmp_path: Path, blank_report: None) -> None:
    x, sign = clips().dataset.tensors
    data = DataLoader(TensorDataset(centred(x, FRAME[:-1]), sign), batch_size=8)
    callback = pruning(dirpath=tmp_path)
    fit(Classifier(), callback, train=data)
    assert callback.record.normalisation["centred"] == "frame"
    assert PruningRecord.from_json(tmp_path) == callback.record
    assert callback.record.selection.num_joints == J
