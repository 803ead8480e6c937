"""One cell of a study, in a process of its own: train, test, and write the cell.

    python -m examples.autsl.study.cell FOLDER CELL

CELL is JSON. A cell that was stopped goes on from its last epoch, with the result that it would
have had: the order of the clips and all random numbers of an epoch follow from seed and epoch.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from filelock import FileLock, Timeout
from lightning.pytorch.callbacks import ModelCheckpoint

from examples.autsl.data.module import SignData
from examples.autsl.encoders import FOLLOWERS, FollowKept
from examples.autsl.study.selections import CHOSEN, LADDER, Cell, joints_of, path_of
from examples.autsl_fusion import FusionCLI, SignFusion
from lightning_jointprune import analyze_pruning, load_pruned
from lightning_jointprune.record.files import write_text

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


def see_only(model: SignFusion, data: SignData, joints: Sequence[int]) -> None:
    """Have a model see these joints alone, from the first step on; others are at their mean.

    Args:
        model: its graph and attention become those of the joints.
        data: no longer reads any other joint.
        joints: their indices; what the clips are centred by is among them.
    """
    data.keep_only(joints)
    encoder = model.branches["skeleton"]
    if isinstance(encoder, FOLLOWERS):
        kept = torch.zeros(data.num_joints, dtype=torch.bool)
        kept[list(joints)] = True
        encoder.follow(kept)


def run_cell(cell: Cell, folder: Path) -> None:
    """Train a cell's model, test it with every number of joints, and write the cell."""
    target = path_of(cell, folder)
    run = folder / "runs" / target.stem
    run.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run / "running.lock", timeout=0):  # let go of when this process ends
            if not target.is_file():
                write_text(target, json.dumps({**cell, "results": _results(cell, folder, run)}))
    except Timeout:
        raise SystemExit(
            f"Expected {target.stem} to wait for its turn but another process runs it. Wait for "
            "that one, or cancel its job."
        ) from None


def _results(cell: Cell, folder: Path, run: Path) -> list[dict[str, Any]]:
    cli = FusionCLI(_flags(cell, run))
    last = ModelCheckpoint(run, filename="last", enable_version_counter=False)
    callbacks = [
        callback for callback in cli.trainer.callbacks if not isinstance(callback, ModelCheckpoint)
    ]
    data, joints = cli.datamodule, None
    if cell["selection"] not in CHOSEN:
        callbacks = [
            callback
            for callback in callbacks
            if callback not in (cli.pruning, *_followers(callbacks))
        ]
        always = data.preprocess.reference
        joints = joints_of(cell, folder, data.num_joints, data.skeleton, always)
        see_only(cli.model, data, joints)
    cli.trainer.callbacks = [SeedEpochs(cell["seed"]), *callbacks, last]
    path = run / "last.ckpt"
    cli.trainer.fit(cli.model, datamodule=data, ckpt_path=_begun(path))
    if joints is None:
        return _chosen_results(cli, cell, path)
    (scores,) = cli.trainer.test(cli.model, datamodule=data, verbose=False)
    return [_result(cli, cli.model, scores, joints)]


def _begun(path: Path) -> str | None:
    """Return the checkpoint to go on from; none where it was cut off, as by a full disk."""
    if path.is_file() and not zipfile.is_zipfile(path):  # its index is at the end
        print(f"{path} is cut off; the run begins anew.", file=sys.stderr)
        return None
    return str(path) if path.is_file() else None


def _flags(cell: Cell, run: Path) -> list[str]:
    flags = [
        "--trainer.devices=1",  # a cell is one process: others would not know what to run
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
    return [callback for callback in callbacks if isinstance(callback, FollowKept)]


def _chosen_results(cli: FusionCLI, cell: Cell, checkpoint: Path) -> list[dict[str, Any]]:
    # A trainer of its own: the pruning of the run has no part in a loaded model.
    tester = pl.Trainer(
        accelerator=cli.config.trainer.accelerator,
        devices=1,
        precision=cli.config.trainer.precision,
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
    """Return what the study reads of a tested model."""
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
