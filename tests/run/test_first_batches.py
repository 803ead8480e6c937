"""Watching a layer sees the first batches of the warm-up, and changes nothing."""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import pytest
import torch
import torch.distributed as dist

from lightning_jointprune.run.first_batches import MeanPose
from tests.run.test_mean_pose import PLACES, batch, watched


def test_only_the_warm_ups_first_training_batches_count() -> None:
    pose, layer = watched()
    for mode in ("open", "masked"):
        layer.mode = mode
        layer.eval()(batch())
    assert pose.calls == 0
    layer.train()
    layer.mode = "open"
    for _ in range(MeanPose.limit):
        layer(batch())
    assert layer._forward_pre_hooks
    layer(batch() + 100.0)
    assert torch.tensor(pose.places()) == pytest.approx(PLACES)
    assert not layer._forward_pre_hooks
    for mode in ("sampled", "masked"):
        pose, layer = watched()
        layer.mode = mode
        layer(batch())
        assert (pose.calls, len(layer._forward_pre_hooks)) == (0, 0)


def test_a_layer_that_is_watched_can_be_copied_and_saved() -> None:
    pose, layer = watched()
    layer(batch())
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        other(batch())
    assert pose.calls == 1


@pytest.mark.parametrize(("rank", "warned"), [(None, 1), (0, 1), (1, 0)])
def test_what_cannot_be_looked_at_costs_the_first_process_a_warning_and_no_other(
    rank: int | None, warned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no joints there")

    pose, layer = watched()
    monkeypatch.setattr(pose, "_add", fail)
    if rank is not None:
        monkeypatch.setattr(dist, "is_initialized", lambda: True)
        monkeypatch.setattr(dist, "get_rank", lambda: rank)
    x = batch()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert torch.equal(layer(x), x)
    assert len([warning for warning in told if "no joints there" in str(warning.message)]) == warned
    assert not layer._forward_pre_hooks
