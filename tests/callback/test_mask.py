"""The mask goes where the model goes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_jointprune import load_pruned
from tests.runs import SHORT_RUNS, Classifier, clips, fit, pruning, trainer

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


def test_another_copy_of_the_model_is_tested_with_the_mask_that_was_learned() -> None:
    callback = pruning()
    run = fit(Classifier(), callback, ModelCheckpoint("."), enable_checkpointing=True)
    learned = callback.selection
    best = run.checkpoint_callback.best_model_path
    for other in (Classifier.load_from_checkpoint(best), load_pruned(Classifier, best)):
        run.test(other, clips(2), verbose=False)
        assert tuple(other.of("test")[0].kept) == learned.mask
        assert callback.selection == learned


class TimeFirst(Classifier):
    """Reads `(frames, batch, joints, channels)`, as recurrent layers do by default."""

    def step(self, batch: Any, name: str) -> Tensor:
        x, sign = batch
        return super().step((x.transpose(0, 1), sign), name)

    def forward(self, x: Tensor) -> Tensor:
        self.got = x.detach()
        return self.head(self.drop(x.transpose(0, 1).flatten(1)))


@pytest.mark.parametrize("fill", [0.0, "hold"])
def test_the_batch_may_stand_anywhere(fill: Any) -> None:
    callbacks, models_ = [], []
    for model, axes in ((Classifier(), None), (TimeFirst(), "t b j c")):
        torch.manual_seed(1)
        model.head.reset_parameters()
        callback = pruning(axes="b t j c" if axes is None else axes, fill=fill)
        fit(model, callback)
        callbacks.append(callback)
        models_.append(model)
    assert callbacks[0].selection == callbacks[1].selection
    assert torch.equal(models_[0].head.weight, models_[1].head.weight)


def test_a_new_callback_starts_afresh_on_a_model_that_was_pruned_before() -> None:
    model = Classifier()
    fit(model, pruning(2))
    again = pruning(4)
    model.calls.clear()
    with pytest.warns(UserWarning, match="was pruned before, to 2 of 8 joints"):
        fit(model, again)
    assert model.of("train")[0].kind == "open"
    assert model.of("train")[-1].kept.count(True) == 4


@pytest.mark.parametrize("stage", ["validation", "test"])
def test_an_evaluation_that_goes_past_the_gates_is_no_silent_matter(stage: str) -> None:
    class Past(Classifier):
        def step(self, batch: Any, name: str) -> Tensor:
            if name == ("val" if stage == "validation" else "test"):
                return self.head(batch[0].flatten(1)).sum()
            return super().step(batch, name)

    callback = pruning()
    if stage == "validation":
        with pytest.raises(MisconfigurationException, match="went another way, so its metrics"):
            fit(Past(), callback)
        return
    model = Past()
    run = fit(model, callback)
    with pytest.warns(UserWarning, match="went another way, so its metrics"):
        run.test(model, clips(2), verbose=False)


def test_a_checkpoint_without_state_is_tested_with_all_joints_but_not_in_silence() -> None:
    fit(Classifier()).save_checkpoint("plain.ckpt")
    with pytest.warns(UserWarning, match="has no mask, so all joints were used"):
        trainer(pruning()).test(Classifier(), clips(2), "plain.ckpt", verbose=False)


def test_a_mean_per_channel_asks_for_axes_where_channels_could_be_elsewhere() -> None:
    class ChannelsFirst(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            self.got = x.detach()
            return self.head(x.flatten(1))

        def step(self, batch: Any, name: str) -> Tensor:
            return super().step((batch[0].permute(0, 3, 1, 2).contiguous(), batch[1]), name)

    with pytest.raises(MisconfigurationException, match=r"axes for fill=.mean.* 'b c t j'"):
        fit(ChannelsFirst(), pruning(fill="mean"))
    fit(ChannelsFirst(), pruning(fill="mean", axes="b c t j"))
