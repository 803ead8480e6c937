"""Test that every usual form of a batch gives the same logits and labels."""

from __future__ import annotations

from collections import UserDict
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MeanSquaredError
from torchmetrics.classification import MulticlassAccuracy

from lightning_jointprune.measure.predictions import (
    are_classes,
    clones,
    logits_and_labels,
    moved,
    single,
)

X, MASK, Y = torch.eye(3), torch.tensor([1.0, 0.0, 1.0]), torch.tensor([2, 1, 0])


class Scales(nn.Module):
    def forward(self, pose: Tensor, mask: Tensor) -> Tensor:
        return pose * mask[:, None]


class OfADict(nn.Module):
    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": torch.zeros(()), "logits": batch["pose"] * batch["mask"][:, None]}


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (Scales(), (X, MASK, Y)),
        (Scales(), [X, MASK, Y]),
        (Scales(), {"pose": X, "mask": MASK, "label": Y, "signer": ["ann", "bob", "cyd"]}),
        (Scales(), UserDict({"mask": MASK, "y": Y, "pose": X})),
        (OfADict(), {"pose": X, "mask": MASK, "targets": Y}),
    ],
)
def test_usual_batches_give_logits_and_labels(model: nn.Module, batch: Any) -> None:
    logits, labels = logits_and_labels(model, batch)
    assert torch.equal(logits, X * MASK[:, None])
    assert torch.equal(labels, Y)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (X, "Expected batches of inputs and labels but got Tensor"),
        ((X,), "Expected batches of inputs and labels but got tuple"),
        ({"pose": X}, "one key out of label, .* but got the keys pose"),
        ({"pose": X, "label": Y}, "a batch with mask, .* the keys pose, label. Pass predict="),
        ({"x": X, "z": X, "label": Y}, "a batch with pose, mask, .* the keys x, z, label. Pass"),
        ({"pose": X, "label": Y, "y": Y}, "one key out of label, .* but got the keys pose, label"),
    ],
)
def test_other_batches_are_refused(batch: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        logits_and_labels(Scales(), batch)


def test_a_model_has_to_return_logits() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    with pytest.raises(ValueError, match="Expected logits from the model but got tuple"):
        logits_and_labels(Pair(), (X, Y))


@pytest.mark.parametrize("targets", [Y.float(), Y[:2], X.long(), Y.to(torch.complex64)])
def test_an_accuracy_needs_a_class_for_each_sample(targets: Tensor) -> None:
    assert are_classes(X, Y, needed=True)
    assert not are_classes(X, targets, needed=False)
    with pytest.raises(ValueError, match=r"Expected logits \(samples, classes\) and labels"):
        are_classes(X, targets, needed=True)


def test_a_batch_is_moved_as_deep_as_it_is_a_list_tuple_or_dict() -> None:
    class Clip(NamedTuple):
        x: Tensor

    clip = Clip(X)
    batch = {"a": [X, (Y, "ann")], "b": clip, "c": 3}
    found = moved(batch, torch.device("meta"))
    assert found["a"][0].is_meta
    assert found["a"][1][0].is_meta
    assert found["a"][1][1] == "ann"
    assert type(found["a"][1]) is tuple
    assert found["b"] is clip
    assert found["c"] == 3


def test_clones_of_a_metric_begin_anew() -> None:
    metric = MeanSquaredError()
    metric.update(X, X + 1)
    first, second = clones(metric, 2, torch.device("cpu"))
    first.update(X, X + 2)
    second.update(X, X + 3)
    assert [single(found.compute()) for found in (metric, first, second)] == [1.0, 4.0, 9.0]
    assert clones(None, 2, torch.device("cpu")) == []
    with pytest.raises(TypeError, match=r"Expected a torchmetrics\.Metric but got str"):
        clones("accuracy", 1, torch.device("cpu"))  # type: ignore[arg-type]


def test_a_metric_has_one_value() -> None:
    metric = MulticlassAccuracy(num_classes=3, average=None)
    metric.update(X, Y)
    with pytest.raises(ValueError, match="Expected a metric with one value but got tensor"):
        single(metric.compute())
