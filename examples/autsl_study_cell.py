"""One cell of a study, in a process of its own: train, test, and write the cell.

    python -m examples.autsl_study_cell FOLDER CELL

CELL is JSON. A cell that was stopped goes on from its last epoch, with the result that it would
have had: the order of the clips and all random numbers of an epoch follow from seed and epoch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from examples.autsl_encoders import STGCN, FollowKept
from examples.autsl_fusion import FusionCLI, SignFusion
from examples.autsl_selections import CHOSEN, LADDER, Cell, joints_of, path_of
from lightning_jointprune import analyze_pruning, load_pruned
from lightning_jointprune.files import write_text

METRICS = {"test_acc": "top-1", "test_top5": "top-5", "test_f1": "macro F1"}


class SeedEpochs(pl.Callback):
    """Gives every epoch random numbers of its own, so that it can be the first of a run.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Not before: the data's iterator draws a number, before the epoch or after it has begun.
        if batch_idx == 0:
            torch.manual_seed(1_000_003 * (self.seed + 1) + trainer.current_epoch)


class KeepOnly(pl.Callback):
    """Lets a model see these joints alone, from the first step on; others are at their mean.

    Args:
        joints: their indices.
        num_joints: J.
    """

    def __init__(self, joints: Sequence[int], num_joints: int) -> None:
        self.kept = torch.zeros(num_joints, dtype=torch.bool)
        self.kept[list(joints)] = True

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        encoder = pl_module.branches["skeleton"]
        if isinstance(encoder, STGCN):
            encoder.follow(self.kept)
        self.handle = encoder.register_forward_pre_hook(self._mask)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.handle.remove()

    def _mask(self, module: nn.Module, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        keypoints, frames = inputs
        return keypoints.where(self.kept.to(keypoints.device)[:, None], 0.0), frames


def run_cell(cell: Cell, folder: Path) -> None:
    """Train a cell's model, test it with every number of joints, and write the cell."""
    target = path_of(cell, folder)
    run = folder / "runs" / target.stem
    cli = FusionCLI(_flags(cell, run))
    last = ModelCheckpoint(run, filename="last", enable_version_counter=False)
    callbacks = [one for one in cli.trainer.callbacks if not isinstance(one, ModelCheckpoint)]
    joints: list[int] = []
    if cell["selection"] not in CHOSEN:
        callbacks = [one for one in callbacks if one not in (cli.pruning, *_followers(callbacks))]
        num_joints = cli.datamodule.num_joints
        joints = joints_of(cell, folder, num_joints, cli.datamodule.skeleton)
        callbacks.append(KeepOnly(joints, num_joints))
    cli.trainer.callbacks = [SeedEpochs(cell["seed"]), *callbacks, last]
    path = run / "last.ckpt"
    begun = str(path) if path.is_file() else None
    cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=begun)
    if cell["selection"] in CHOSEN:
        results = _chosen_results(cli, cell, path)
    else:
        (scores,) = cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
        results = [_result(cli, cli.model, scores, joints)]
    write_text(target, json.dumps({**cell, "results": results}))


def _flags(cell: Cell, run: Path) -> list[str]:
    flags = [
        *cell["args"],
        f"--seed_everything={cell['seed']}",
        f"--model.encoder={cell['encoder']}",
        f"--trainer.default_root_dir={run}",
    ]
    if cell["selection"] in CHOSEN:
        counts = cell["joints"] if cell["selection"] == LADDER else cell["joints"][0]
        flags.append(f"--pruning.budget={json.dumps(counts)}")
    return flags


def _followers(callbacks: Sequence[pl.Callback]) -> list[pl.Callback]:
    return [one for one in callbacks if isinstance(one, FollowKept)]


def _chosen_results(cli: FusionCLI, cell: Cell, checkpoint: Path) -> list[dict[str, Any]]:
    # A trainer of its own: the pruning of the run has no part in a loaded model.
    tester = pl.Trainer(
        accelerator=cli.config.trainer.accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    results = []
    for count in cell["joints"]:
        model = load_pruned(SignFusion, checkpoint, joints=count)
        (scores,) = tester.test(model, datamodule=cli.datamodule, verbose=False)
        results.append(_result(cli, model, scores, analyze_pruning(model).indices))
    return results


def _result(
    cli: FusionCLI, model: SignFusion, scores: dict[str, float], kept: Sequence[int]
) -> dict[str, Any]:
    """What the study reads of a tested model."""
    return {
        "joints": len(kept),
        "kept": [int(joint) for joint in kept],
        **{metric: scores[metric] for metric in METRICS},
        "test": cli.test_results(model),
    }


if __name__ == "__main__":
    arguments = sys.argv[1:]
    del sys.argv[1:]  # none of the training's
    run_cell(json.loads(arguments[1]), Path(arguments[0]))
