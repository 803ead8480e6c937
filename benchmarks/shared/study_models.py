"""The encoders of the example as classifiers of arrays, trained with the callback or without."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from benchmarks.shared.data import Words
from benchmarks.shared.models import Classifier, Part, Recipe, loader, quiet_trainer
from benchmarks.shared.store import Result
from examples.autsl.encoders import FollowKept, build_encoder
from lightning_jointprune import JointPruningCallback, TargetJoints, load_pruned
from lightning_jointprune.skeletons import get_skeleton

SKELETON = "mediapipe_body_hands"
WIDTH, LAYERS, DROPOUT = 32, 2, 0.1
EVERY = 2  # every second frame: half the cost of the graph convolutions
RECIPE = Recipe("adamw", lr=4e-3, schedule="onecycle")


class EncoderClassifier(Classifier):
    """An encoder of `examples/autsl/encoders.py`, dropout, linear head."""

    def __init__(self, encoder: str, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__(RECIPE)
        frames, joints, coordinates = shape
        edges = get_skeleton(SKELETON).edges
        self.encoder = build_encoder(
            encoder, joints, coordinates, WIDTH, LAYERS, frames, DROPOUT, edges
        )
        self.head = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(WIDTH, classes))

    def forward(self, keypoints: Tensor) -> Tensor:
        frames = torch.ones(keypoints.shape[:2], dtype=torch.bool, device=keypoints.device)
        return self.head(self.encoder(keypoints, frames))


def thinned(part: Part) -> Part:
    """Return the same sequences with every second frame."""
    x, y = part.tensors
    return Part(x[:, ::EVERY].contiguous(), y)


def train_and_score(
    encoder: str, words: Words, counts: Sequence[int], epochs: int, seed: int
) -> Result:
    """Train one model on the training part, and score it once with each number of joints.

    Args:
        encoder: its name.
        words: the data.
        counts: numbers of joints for the callback; several are a ladder, none is no callback.
        epochs: of the run.
        seed: of weights and batches, with the callback or without.

    Returns:
        `accuracy`, and with the callback `kept`, both by the number of joints as text.
    """
    pl.seed_everything(seed, verbose=False)
    train, unseen = thinned(words.train), thinned(words.unseen)
    shape = tuple(train.tensors[0].shape[1:])
    joints = shape[1]
    sizes: dict[str, Any] = {"encoder": encoder, "shape": shape, "classes": words.classes}
    model = EncoderClassifier(**sizes)
    pruning = JointPruningCallback(skeleton=SKELETON, budget=TargetJoints(counts or [joints]))
    callbacks = [pruning, FollowKept(pruning)] if counts else []
    with tempfile.TemporaryDirectory() as folder:
        trainer = quiet_trainer(epochs, folder, callbacks)
        trainer.fit(model, loader(train, RECIPE.batch_size, seed))
        if not counts:
            return {"accuracy": {str(joints): score(model, unseen)}}
        path = Path(folder) / "last.ckpt"
        trainer.save_checkpoint(path)
        models = {
            count: load_pruned(EncoderClassifier, path, joints=count, **sizes) for count in counts
        }
    record = pruning.record
    rungs = record.rungs or (record.selection,)
    return {
        "accuracy": {str(count): score(model, unseen) for count, model in models.items()},
        "kept": {str(len(rung.indices)): [int(j) for j in rung.indices] for rung in rungs},
    }


def score(model: nn.Module, unseen: Part) -> float:
    """Return the accuracy on the unseen part."""
    model.eval()
    right = 0
    with torch.inference_mode():
        for x, y in loader(unseen, 256):
            right += int((model(x).argmax(dim=1) == y).sum())
    return right / len(unseen)
