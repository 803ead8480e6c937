"""Measure a model in a test: scores, classes, signers, confusions and every clip's answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import CatMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
)

from lightning_jointprune.record.files import write_text


def scores(num_signs: int, prefix: str) -> MetricCollection:
    """Return top-1, top-5 and macro F1: what is logged.

    Args:
        num_signs: number of classes.
        prefix: of the names `acc`, `top5` and `f1`.
    """
    return MetricCollection(
        {
            "acc": MulticlassAccuracy(num_signs, average="micro"),
            "top5": MulticlassAccuracy(num_signs, average="micro", top_k=min(5, num_signs)),
            "f1": MulticlassF1Score(num_signs, average="macro"),
        },
        prefix=prefix,
    )


class TestDetail(nn.Module):
    """Collects what no logger can show, over all processes.

    Args:
        num_signs: number of classes.
    """

    __test__ = False  # no test of pytest's

    def __init__(self, num_signs: int) -> None:
        super().__init__()
        self.num_signs = num_signs
        self.clips, self.signs, self.answers = CatMetric(), CatMetric(), CatMetric()

    def update(self, logits: Tensor, signs: Tensor, clips: Tensor) -> None:
        """Add a batch.

        Args:
            logits: shape `(batch, signs)`.
            signs: the true classes, shape `(batch,)`.
            clips: the clips' numbers in the test part, shape `(batch,)`.
        """
        self.clips.update(clips)
        self.signs.update(signs)
        self.answers.update(logits.argmax(dim=1))

    def reset(self) -> None:
        """Forget all batches."""
        for metric in self.children():
            metric.reset()

    def results(self, names: Sequence[str], signers: Sequence[str] | None) -> dict[str, Any]:
        """Return what was collected, as plain data.

        Args:
            names: every clip of the test part, in its order.
            signers: who signs each of them; None where nobody knows.

        Returns:
            `clips`, `signs` and `answers`, one each for every clip that was read; `signers` beside
            them and `per_signer`, the accuracy on each, where they are known; `per_class`, the
            accuracy on each sign that was there; `confusion`, the true sign, the answer and how
            often, where that is not never.
        """
        columns = [metric.compute().long().reshape(-1).tolist() for metric in self.children()]
        # Two processes may both have read a clip, so that each has as many batches.
        rows = sorted(set(zip(*columns, strict=True)))
        signs, answers = (torch.tensor([row[column] for row in rows]) for column in (1, 2))
        counts = multiclass_confusion_matrix(answers, signs, self.num_signs)
        shares = multiclass_accuracy(answers, signs, self.num_signs, average="none").tolist()
        result: dict[str, Any] = {
            "clips": [names[clip] for clip, _, _ in rows],
            "signs": signs.tolist(),
            "answers": answers.tolist(),
            "per_class": {str(sign): shares[sign] for sign in signs.unique().tolist()},
            "confusion": [[*at, int(counts[tuple(at)])] for at in counts.nonzero().tolist()],
        }
        if signers is not None:
            result["signers"] = [signers[clip] for clip, _, _ in rows]
            result["per_signer"] = per_signer(result)
        return result


def per_signer(results: dict[str, Any]) -> dict[str, float]:
    """Return the accuracy on each signer.

    >>> per_signer({"signers": ["a", "a", "b"], "signs": [0, 1, 1], "answers": [0, 0, 1]})
    {'a': 0.5, 'b': 1.0}
    """
    right: dict[str, list[bool]] = {}
    for signer, sign, answer in zip(
        results["signers"], results["signs"], results["answers"], strict=True
    ):
        right.setdefault(signer, []).append(sign == answer)
    return {signer: sum(answers) / len(answers) for signer, answers in sorted(right.items())}


def write_results(results: dict[str, Any], path: Path) -> None:
    """Write them as JSON, the whole file or none."""
    write_text(path, json.dumps(results))
