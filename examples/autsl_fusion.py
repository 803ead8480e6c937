"""Isolated sign recognition from skeleton, RGB and depth, and which joints it needs.

    python -m examples.autsl_fusion                                  synthetic data, minutes
    python -m examples.autsl_fusion --data words.npz                 skeletons in an array file
    python -m examples.autsl_fusion --config examples/autsl/configs/full.yaml --data AUTSL

`SignFusion` is a LightningModule as one would write it anyway: nothing in it knows of pruning. The
joints are chosen by `JointPruningCallback`, which `FusionCLI` adds to the Trainer. Every setting is
an argument (`--help`) and can be written in a YAML file (`--config`).
"""

from __future__ import annotations

import examples.autsl  # noqa: F401 -- says what is missing before the rest asks for it

# isort: split
import argparse
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import transformers
from jsonargparse import DefaultHelpFormatter
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from torch import Tensor, nn
from torch.nn import functional

from examples.autsl.data.clips import MODALITIES
from examples.autsl.data.module import SignData
from examples.autsl.data.synthetic import JOINT_NAMES, planted_scores
from examples.autsl.encoders import FollowKept, VideoBranch, build_encoder, video_config
from examples.autsl.metrics import TestDetail, scores, write_results
from examples.programs import one_line
from lightning_jointprune import JointPruningCallback
from lightning_jointprune.skeletons import get_skeleton

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


# --- the model -----------------------------------------------------------------------------------


class SignFusion(pl.LightningModule):
    """Classify a sign from its skeleton, RGB and depth clips.

    Args:
        num_signs: number of classes.
        num_joints: joints of the skeleton, J.
        num_coordinates: coordinates per joint, C.
        modalities: any of skeleton, rgb and depth; skeleton is always among them.
        encoder: how the skeleton is read: bert, gru, st-gcn or joint-tokens.
        skeleton: name of the skeleton, whose edges `st-gcn` needs.
        freeze: branches that are not trained, such as a pretrained rgb.
        unfreeze_epoch: the first epoch in which they are trained, counted from 0; None never.
        rgb_model: name or folder of a pretrained VideoMAE for the RGB branch; None trains it from
            scratch.
        hidden_size: width of the branches and of the fusion, a multiple of 32.
        num_layers: transformer layers of each branch.
        num_frames: frames per clip, even.
        image_size: width and height of the videos, in pixels.
        patch_size: width and height of VideoMAE's patches, in pixels.
        dropout: dropout rate, 0 to 1.
        lr: highest learning rate of the layers around the branches.
        backbone_lr: highest learning rate of BERT and VideoMAE.
        weight_decay: decay of weight matrices; biases, norms and fusion weights have none.
        warmup: share of the run in which the rates rise, 0 to 1; they fall as a cosine after it.
    """

    def __init__(
        self,
        num_signs: int = 226,
        num_joints: int = 42,
        num_coordinates: int = 3,
        modalities: Sequence[str] = MODALITIES,
        rgb_model: str | None = None,
        hidden_size: int = 64,
        num_layers: int = 2,
        num_frames: int = 16,
        image_size: int = 32,
        patch_size: int = 16,
        dropout: float = 0.1,
        lr: float = 1e-3,
        backbone_lr: float = 5e-4,
        weight_decay: float = 0.05,
        warmup: float = 0.05,
        encoder: str = "bert",
        skeleton: str | None = None,
        freeze: Sequence[str] = (),
        unfreeze_epoch: int | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.joint_shape = (num_joints, num_coordinates)
        self.lr = lr
        self.backbone_lr = backbone_lr
        self.weight_decay = weight_decay
        self.warmup = warmup

        branches: dict[str, nn.Module] = {
            "skeleton": build_encoder(
                encoder,
                num_joints,
                num_coordinates,
                hidden_size,
                num_layers,
                num_frames,
                dropout,
                () if skeleton is None else get_skeleton(skeleton).edges,
            )
        }
        for kind, channels in (("rgb", 3), ("depth", 1)):
            if kind in modalities:
                config = video_config(
                    channels, hidden_size, num_layers, num_frames, image_size, patch_size
                )
                branches[kind] = VideoBranch(config, rgb_model if kind == "rgb" else None)
        self.branches = nn.ModuleDict(branches)
        self.unfreeze_epoch = unfreeze_epoch
        self.frozen = freeze_branches(self.branches, freeze)
        self.project = projections(self.branches, hidden_size)
        self.fusion_logits = nn.Parameter(torch.zeros(len(branches)))
        self.head = classifier(hidden_size, num_signs, dropout)
        self.val_metrics = scores(num_signs, "val_")
        self.test_metrics = scores(num_signs, "test_")
        self.test_detail = TestDetail(num_signs)

    def forward(
        self,
        skeleton_keypoints: Tensor,
        rgb_frames: Tensor | None = None,
        depth_frames: Tensor | None = None,
        frame_mask: Tensor | None = None,
    ) -> Tensor:
        """Score every sign.

        Args:
            skeleton_keypoints: shape `(batch, frames, joints, coordinates)`, standardised.
            rgb_frames: shape `(batch, frames, 3, height, width)`, 0 to 255.
            depth_frames: shape `(batch, frames, 1, height, width)`, 0 to 255.
            frame_mask: shape `(batch, frames)`, False where a skeleton clip is padded.

        Returns:
            Logits, shape `(batch, signs)`.
        """
        if skeleton_keypoints.ndim != 4 or skeleton_keypoints.shape[2:] != self.joint_shape:
            raise ValueError(
                "Expected skeleton_keypoints of shape (batch, frames, "
                f"{', '.join(map(str, self.joint_shape))}) but got "
                f"{tuple(skeleton_keypoints.shape)}. "
                "Set num_joints and num_coordinates to those of the data."
            )
        if frame_mask is None:
            frame_mask = skeleton_keypoints.new_ones(skeleton_keypoints.shape[:2], dtype=torch.bool)
        pose = self.branches["skeleton"](skeleton_keypoints, frame_mask)
        features = [self.project["skeleton"](pose)]
        for kind, video in (("rgb", rgb_frames), ("depth", depth_frames)):
            if kind not in self.branches:
                continue
            if video is None:
                raise ValueError(
                    f"Expected {kind}_frames but got None. Pass them, or build the model with "
                    "modalities that leave them out."
                )
            features.append(self.project[kind](self.branches[kind](video)))
        weights = self.fusion_logits.softmax(dim=0)
        fused = torch.einsum("m,mbd->bd", weights, torch.stack(features))
        return self.head(fused)

    def _score(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        logits = self(
            skeleton_keypoints=batch["skeleton_keypoints"],
            rgb_frames=batch.get("rgb_frames"),
            depth_frames=batch.get("depth_frames"),
            frame_mask=batch.get("frame_mask"),
        )
        return logits, functional.cross_entropy(logits, batch["sign"])

    def on_fit_start(self) -> None:
        if self.unfreeze_epoch is not None and self.trainer.world_size > 1:
            raise ValueError(
                f"Expected one process to unfreeze in but got {self.trainer.world_size}, which "
                "would only average the gradients of what is trained from the start. Pass "
                "--trainer.devices 1, or leave out --model.unfreeze_epoch."
            )

    def on_train_epoch_start(self) -> None:
        if self.unfreeze_epoch is not None and self.current_epoch >= self.unfreeze_epoch:
            for parameter in self.frozen:
                parameter.requires_grad_(True)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        _, loss = self._score(batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["sign"]))
        return loss

    def validation_step(self, batch: dict[str, Tensor] | None, batch_idx: int) -> None:
        if batch is None:  # none of its clips could be read
            return
        logits, loss = self._score(batch)
        self.val_metrics.update(logits, batch["sign"])
        self.log("val_loss", loss, batch_size=len(batch["sign"]))
        self.log_dict(self.val_metrics, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        weights = self.fusion_logits.softmax(dim=0)
        self.log_dict({f"fusion/{kind}": w for kind, w in zip(self.branches, weights, strict=True)})

    def on_test_epoch_start(self) -> None:
        self.test_detail.reset()

    def test_step(self, batch: dict[str, Tensor] | None, batch_idx: int) -> None:
        if batch is None:
            return
        logits, _ = self._score(batch)
        self.test_metrics.update(logits, batch["sign"])
        self.test_detail.update(logits, batch["sign"], batch["clip"])
        self.log_dict(self.test_metrics)

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.parameter_groups())
        total = int(self.trainer.estimated_stepping_batches)
        rise = max(1, round(self.warmup * total))

        def rate(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total - rise))))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return each parameter to be trained once: backbones or not, with decay or without."""
        later = {id(parameter) for parameter in self.frozen if self.unfreeze_epoch is not None}
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad or id(parameter) in later:
                key = (".backbone." in name, parameter.ndim >= 2)
                groups.setdefault(key, []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": self.backbone_lr if backbone else self.lr,
                "weight_decay": self.weight_decay if decayed else 0.0,
            }
            for (backbone, decayed), parameters in groups.items()
        ]


# --- the command line ----------------------------------------------------------------------------

USAGE = "python -m examples.autsl_fusion [--config FILE] [--data DATA] [--NAME VALUE ...]"
HELP = """\
Train a sign classifier, and learn which joints it needs. The flags that most
runs need, each with an example; all others follow.

  --data AUTSL                       a folder in AUTSL's layout, an .npz file, or
                                     synthetic, which is the default
  --config FILE.yaml                 settings in files, such as those in
                                     examples/autsl/configs; later ones win
  --modalities skeleton,rgb          all that the data has, if left out
  --model.encoder gru                or bert, st-gcn, joint-tokens
  --pruning.budget 12                how many joints to keep; a price for each,
                                     if left out
  --datamodule.batch_size 8          clips per step
  --trainer.max_epochs 40            over which the joints are chosen, too
  --trainer.default_root_dir runs    where results and report go
  --seed_everything 1                another run of the same settings
  --ckpt-path last.ckpt              go on with a run that was stopped

With --print_config, print all settings as a file for --config, and stop.
"""


def projections(branches: nn.ModuleDict, width: int) -> nn.ModuleDict:
    """Return what brings the features of each branch to the same width and scale."""
    return nn.ModuleDict(
        {
            name: nn.Sequential(nn.Linear(branch.width, width), nn.LayerNorm(width))
            for name, branch in branches.items()
        }
    )


def classifier(width: int, num_signs: int, dropout: float) -> nn.Sequential:
    """Return what tells the signs apart by the fused features."""
    return nn.Sequential(
        nn.Linear(width, width),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(width, num_signs),
    )


def freeze_branches(branches: nn.ModuleDict, names: Sequence[str]) -> list[nn.Parameter]:
    """Freeze branches, and return the parameters that were trained before.

    BERT's word table is frozen by itself, and stays so.

    Raises:
        ValueError: there is no branch of such a name.
    """
    for name in names:
        if name not in branches:
            raise ValueError(
                f"Expected branches out of {', '.join(branches)} to freeze but got {name!r}."
            )
    parameters = (parameter for name in names for parameter in branches[name].parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    return trained


class Help(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Print the description as it stands above the list of all arguments."""


class FusionCLI(LightningCLI):
    """LightningCLI with `--data`, `--modalities` and `--rgb-model` at the top level.

    The model learns its sizes from the data, and so does the callback.
    """

    datamodule: SignData
    pruning: JointPruningCallback

    def __init__(self, args: Sequence[str] | None = None) -> None:
        super().__init__(
            SignFusion,
            args=None if args is None else list(args),
            run=False,
            seed_everything_default=7,
            trainer_defaults={"max_epochs": 24, "accelerator": "auto", "log_every_n_steps": 10},
            parser_kwargs={"usage": USAGE, "description": HELP, "formatter_class": Help},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # `save_hyperparameters` sees to that
            save_config_kwargs={"overwrite": True},
        )

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Name the data module's settings `--datamodule.*`, which leaves `--data` to us."""
        parser.add_argument(
            "--data", default="synthetic", help="synthetic, a folder in AUTSL's layout, or an .npz"
        )
        parser.add_argument(
            "--modalities",
            type=str | None,
            help="out of skeleton,rgb,depth; all that the data has if left out",
        )
        parser.add_argument(
            "--rgb-model", type=str | None, help="pretrained VideoMAE: name on a hub, or folder"
        )
        parser.add_argument(
            "--ckpt-path", type=str | None, help="checkpoint of a run to go on with, to its end"
        )
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        parser.set_defaults({f"trainer.{key}": v for key, v in self.trainer_defaults.items()})
        parser.add_lightning_class_args(SignFusion, "model")
        parser.add_lightning_class_args(SignData, "datamodule")
        parser.add_lightning_class_args(JointPruningCallback, "pruning")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("data", "datamodule.source")
        parser.link_arguments("modalities", "datamodule.modalities")
        parser.link_arguments("rgb_model", "model.rgb_model")
        for size in ("num_frames", "image_size"):
            parser.link_arguments(f"datamodule.{size}", f"model.{size}")
        for fact in ("modalities", "num_signs", "num_joints", "num_coordinates", "skeleton"):
            parser.link_arguments(f"datamodule.{fact}", f"model.{fact}", apply_on="instantiate")
        for fact in ("num_joints", "skeleton"):
            parser.link_arguments(f"datamodule.{fact}", f"pruning.{fact}", apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        """Have the pruning keep what the clips are centred by: it reaches every other joint."""
        config = self.config
        keep = list(config.pruning.keep or ())
        keep += [joint for joint in config.datamodule.reference or () if joint not in keep]
        config.pruning.keep = keep

    def test_results(self, model: SignFusion) -> dict[str, Any]:
        """Return what a model's last test found (`TestDetail.results`); every process must ask."""
        data = self.datamodule
        return model.test_detail.results(data.clip_names("test"), data.signers("test"))

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        self.datamodule = self.config_init.datamodule
        self.pruning = self.config_init.pruning
        self.trainer.callbacks.append(FollowKept(self.pruning))


def main(args: Sequence[str] | None = None) -> FusionCLI:
    """Train, test, and print which joints the model needs."""
    # Lightning calls what PyTorch has deprecated, which would stand among what a run says.
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
    cli = FusionCLI(args)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.config.ckpt_path)
    cli.trainer.test(cli.model, datamodule=cli.datamodule)
    results, folder = cli.test_results(cli.model), Path(cli.trainer.log_dir or ".")
    if cli.trainer.is_global_zero:
        write_results(results, folder / "test_results.json")
        selection = cli.pruning.selection
        print(selection.summary())
        print(selection.sentence(cli.datamodule.title))
        if cli.datamodule.planted:
            print(planted_scores(selection, cli.datamodule.planted, JOINT_NAMES))
        print(f"Report: {cli.pruning.report_path}")
    return cli


if __name__ == "__main__":
    with one_line():
        main()
