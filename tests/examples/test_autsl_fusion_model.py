"""The example's model: its scores, its branches, its parameters and their rates."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from transformers import VideoMAEConfig, VideoMAEModel

from examples.autsl.data.module import SignData
from examples.autsl_fusion import SignFusion
from tests.examples.autsl.made import write_npz
from tests.runs import SHORT_RUNS

pytestmark = SHORT_RUNS


def small_model(**settings: object) -> SignFusion:
    return SignFusion(**{"num_signs": 5, "num_frames": 8, "hidden_size": 32, **settings})


def test_forward_scores_every_sign() -> None:
    model = small_model().eval()
    keypoints = torch.randn(2, 8, 42, 3)
    rgb = torch.randint(0, 256, (2, 8, 3, 32, 32), dtype=torch.uint8)
    logits = model(keypoints, rgb, rgb[:, :, :1])
    assert logits.shape == (2, 5)
    named = model(skeleton_keypoints=keypoints, rgb_frames=rgb, depth_frames=rgb[:, :, :1])
    torch.testing.assert_close(logits, named)


def test_forward_with_skeleton_alone() -> None:
    model = small_model(modalities=["skeleton"], num_joints=75)
    assert set(model.branches) == {"skeleton"}
    assert model(torch.randn(2, 6, 75, 3)).shape == (2, 5)


def test_226_signs_by_default() -> None:
    assert SignFusion(modalities=["skeleton"])(torch.randn(1, 4, 42, 3)).shape == (1, 226)


def test_padded_frames_do_not_change_the_scores() -> None:
    model = small_model(modalities=["skeleton"]).eval()
    keypoints = torch.randn(2, 8, 42, 3)
    mask = torch.arange(8) < 5
    keypoints[:, 5:] = 1e3
    torch.testing.assert_close(
        model(keypoints, frame_mask=mask.expand(2, 8)), model(keypoints[:, :5]), atol=1e-5, rtol=0
    )


def test_videos_are_brought_to_the_size_the_network_knows() -> None:
    model = small_model(modalities=["skeleton", "rgb"])
    video = torch.randint(0, 256, (2, 11, 3, 48, 40), dtype=torch.uint8)
    assert model(torch.randn(2, 8, 42, 3), video).shape == (2, 5)


def test_wrong_joints_and_missing_video_are_named() -> None:
    model = small_model(modalities=["skeleton", "rgb"])
    with pytest.raises(ValueError, match=r"\(batch, frames, 42, 3\) but got \(2, 8, 21, 3\)"):
        model(torch.randn(2, 8, 21, 3))
    with pytest.raises(ValueError, match="Expected rgb_frames but got None"):
        model(torch.randn(2, 8, 42, 3))


def test_rgb_branch_loads_a_local_pretrained_model(tmp_path: Path) -> None:
    config = VideoMAEConfig(
        image_size=16,
        patch_size=8,
        num_frames=4,
        hidden_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    pretrained = VideoMAEModel(config)
    pretrained.save_pretrained(tmp_path)
    model = small_model(modalities=["skeleton", "rgb", "depth"], rgb_model=str(tmp_path))
    loaded = model.branches["rgb"].backbone.state_dict()
    for name, value in pretrained.state_dict().items():
        torch.testing.assert_close(loaded[name], value)
    video = torch.randint(0, 256, (2, 8, 3, 32, 32), dtype=torch.uint8)
    assert model(torch.randn(2, 8, 42, 3), video, video[:, :, :1]).shape == (2, 5)


def test_every_trainable_parameter_is_in_one_group() -> None:
    model = small_model()
    groups = model.parameter_groups()
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    trainable = [id(p) for p in model.parameters() if p.requires_grad]
    assert sorted(grouped) == sorted(trainable)
    assert {(group["lr"], group["weight_decay"]) for group in groups} == {
        (model.lr, model.weight_decay),
        (model.lr, 0.0),
        (model.backbone_lr, model.weight_decay),
        (model.backbone_lr, 0.0),
    }
    no_decay = {id(p) for g in groups if g["weight_decay"] == 0 for p in g["params"]}
    assert id(model.fusion_logits) in no_decay


def test_every_trainable_parameter_gets_a_gradient() -> None:
    model = small_model()
    video = torch.randint(0, 256, (2, 8, 3, 32, 32), dtype=torch.uint8)
    model(torch.randn(2, 8, 42, 3), video, video[:, :, :1]).square().sum().backward()
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []


class Rates(pl.Callback):
    """Writes down the first group's learning rate at every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_warm_up_raises_the_rate_at_every_step(tmp_path: Path) -> None:
    data = SignData(str(write_npz(tmp_path / "a.npz")), batch_size=4, num_frames=7)
    model = small_model(
        modalities=["skeleton"], num_joints=5, num_coordinates=2, num_frames=7, warmup=0.5
    )
    rates = Rates()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[rates],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model, datamodule=data)
    steps = len(rates.seen)
    peak = max(rates.seen)
    rise = rates.seen.index(peak)
    assert peak == model.lr
    assert abs(rise + 1 - steps / 2) <= 1
    assert rates.seen[: rise + 1] == pytest.approx(
        [peak * (k + 1) / (rise + 1) for k in range(rise + 1)]
    )
    assert all(a > b for a, b in zip(rates.seen[rise + 1 :], rates.seen[rise + 2 :], strict=False))
    assert {"val_acc", "val_top5", "val_loss", "train_loss", "fusion/skeleton"} <= set(
        trainer.callback_metrics
    )
