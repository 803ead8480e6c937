"""Takes inputs and labels from a batch, and logits from a model, for the metric."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from inspect import Signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightning_jointprune.attach.modules import signature_of

if TYPE_CHECKING:
    from torchmetrics import Metric

LABELS = ("label", "labels", "target", "targets", "y")  # keys of a batch that is a dict
Predict = Callable[[nn.Module, Any], tuple[Tensor, Tensor]]


def logits_and_labels(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    """Return logits and labels of a batch `(*inputs, labels)`, or of a dict with a label.

    Raises:
        ValueError: if the batch, or the output of the model, has another form.
    """
    if isinstance(batch, Mapping):
        labels = [key for key in LABELS if key in batch]
        if len(labels) != 1:
            raise ValueError(
                f"Expected one key out of {', '.join(LABELS)} in a batch but got the keys "
                f"{', '.join(map(str, batch))}. Pass predict=, a function of model and batch."
            )
        inputs = {key: value for key, value in batch.items() if key != labels[0]}
        signature = signature_of(model)
        taken = set(signature.parameters if signature else ()) & set(inputs)
        named = {key: inputs[key] for key in inputs if key in taken}
        missing = _missing(signature, taken)
        if missing and (named or len(missing) > 1):  # one argument alone may take the whole batch
            raise ValueError(
                f"Expected a batch with {', '.join(missing)}, which the model's forward takes, but "
                f"got the keys {', '.join(map(str, batch))}. Pass predict=, a function of model "
                "and batch that returns logits and labels."
            )
        return _logits(model(**named) if named else model(inputs)), batch[labels[0]]
    if not isinstance(batch, list | tuple) or len(batch) < 2:
        raise ValueError(
            f"Expected batches of inputs and labels but got {type(batch).__name__}. Pass predict=, "
            "a function of model and batch that returns logits and labels."
        )
    return _logits(model(*batch[:-1])), batch[-1]


def _missing(signature: Signature | None, given: Collection[str]) -> list[str]:
    """Return the arguments that a forward needs and does not get."""
    parameters = signature.parameters.values() if signature else ()
    return [
        parameter.name
        for parameter in parameters
        if parameter.name not in given
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def are_classes(logits: Tensor, targets: Tensor, needed: bool) -> bool:
    """Return whether these are logits `(samples, classes)` and labels `(samples,)`.

    Raises:
        ValueError: if they are not, although they are needed.
    """
    whole = not (targets.is_floating_point() or targets.is_complex())
    found = logits.ndim == 2 and targets.shape == logits.shape[:1] and whole
    if needed and not found:
        raise ValueError(
            "Expected logits (samples, classes) and labels (samples,) for the accuracy but got "
            f"shapes {tuple(logits.shape)} and {tuple(targets.shape)} of {targets.dtype}. Pass a "
            "metric that takes them, or predict= to bring them to this form."
        )
    return found


def moved(batch: Any, device: torch.device) -> Any:
    """Return the batch with its tensors on the device; `predict` has to move anything else."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: moved(value, device) for key, value in batch.items()}
    if type(batch) in (list, tuple):
        return type(batch)(moved(value, device) for value in batch)
    return batch


def clones(metric: Metric | None, count: int, device: torch.device) -> list[Metric]:
    """Return `count` new copies of a metric, on the device; no copies of None.

    Raises:
        TypeError: if it is not a metric of torchmetrics.
    """
    if metric is None:
        return []
    from torchmetrics import Metric

    if not isinstance(metric, Metric):
        raise TypeError(
            f"Expected a torchmetrics.Metric but got {type(metric).__name__}. Pass an object, such "
            "as MulticlassF1Score(num_classes=10)."
        )
    metrics = [metric.clone().to(device) for _ in range(count)]
    for copied in metrics:
        copied.reset()
    return metrics


def single(value: Any) -> float:
    """Return the only value of a metric.

    Raises:
        ValueError: if it has several.
    """
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise ValueError(
            f"Expected a metric with one value but got {value!r}. Average it, such as by "
            'average="macro".'
        )
    return float(value)


def _logits(output: Any) -> Tensor:
    found = output.get("logits") if isinstance(output, Mapping) else output
    if isinstance(found, Tensor):
        return found
    raise ValueError(
        f"Expected logits from the model but got {type(output).__name__}. Pass predict=, a "
        "function of model and batch that returns logits and labels."
    )
