"""A run whose batch is not the first axis is refused, at the first batch that shows it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_jointprune import JointPruningCallback
from tests.runs import SHORT_RUNS, C, Classifier, J, T, clips, fit, pruning

pytestmark = [
    pytest.mark.usefixtures("run_folder"),
    pytest.mark.filterwarnings("ignore:Trying to infer the `batch_size`"),  # of Lightning's log
    *SHORT_RUNS,
]


class FramesFirst(Classifier):
    """The same classifier of `(frames, batch, joints, coordinates)`."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(0, 1))


def given(batches: Any) -> Any:
    return DataLoader(batches, batch_size=None)


def frames_first(size: int, samples: int = 24) -> list[tuple[Tensor, Tensor]]:
    x = torch.cat([x for x, _ in clips(samples // 8)])
    y = torch.cat([y for _, y in clips(samples // 8)])
    return [(x[at : at + size].movedim(0, 1), y[at : at + size]) for at in range(0, samples, size)]


@pytest.mark.compatibility("Models", "frames before the batch, without `axes`", refused=True)
def test_frames_first_are_refused_before_a_weight_is_changed() -> None:
    model = FramesFirst()
    before = model.head.weight.clone()
    with pytest.raises(MisconfigurationException, match=r'Pass axes="t b j c" or axes="b t j c"'):
        fit(model, pruning(), train=given(frames_first(6)), num_sanity_val_steps=0)
    assert torch.equal(model.head.weight, before)
    advice = JointPruningCallback.inspect(model, frames_first(6)[0], num_joints=J).advice
    assert 'Pass axes="t b j c" or axes="b t j c".' in advice


def test_as_many_frames_as_samples_are_refused_where_the_last_batch_shows_it() -> None:
    batches = frames_first(T, samples=16)
    batches[-1] = (batches[-1][0][:, :2], batches[-1][1][:2])
    with pytest.raises(ValueError, match=r"labels in the batch, 2, but got 4 .*t b"):
        fit(FramesFirst(), pruning(), train=given(batches), num_sanity_val_steps=0)
    callback = pruning(axes="t b j c")
    fit(FramesFirst(), callback, train=given(batches), val=given(frames_first(6)))
    assert len(callback.selection.indices) == 3


def test_as_many_samples_as_frames_are_trained_as_ever() -> None:
    batches: Any = [(torch.randn(T, T, J, C), torch.arange(T)) for _ in range(3)]
    batches.append((torch.randn(2, T, J, C), torch.arange(2)))
    callback = pruning()
    fit(Classifier(), callback, train=given(batches))
    assert callback.report_path is not None
