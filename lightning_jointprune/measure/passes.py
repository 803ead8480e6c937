"""Passes the data through a model with other joints in front each time, and reads them once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from lightning_jointprune.attach.layers import layer_of
from lightning_jointprune.gates.layer import JointPruningLayer, LayerCall
from lightning_jointprune.measure.input_statistics import InputStatistics
from lightning_jointprune.measure.predictions import (
    Predict,
    are_classes,
    clones,
    logits_and_labels,
    moved,
    single,
)
from lightning_jointprune.record.intervals import Estimate, difference, proportion

if TYPE_CHECKING:
    from torchmetrics import Metric


class Trial(NamedTuple):
    """Describes one pass: which joints are in front, and how they are changed."""

    kind: str  # a word, for the count of passes
    name: str
    mask: Tensor
    permuted: int | None = None  # a joint to be permuted among the samples of a batch
    soft: bool = False  # sampled gates instead of the mask


class Results(NamedTuple):
    """Holds the results of the passes; the others are compared with the first."""

    samples: int
    right: Tensor  # whether each sample's class was found, (trials, samples); empty if no classes
    labels: Tensor  # of the samples
    values: list[float]  # of the user's metric, one per trial; none without
    sign: int  # 1 where more of it is better

    def kept(self) -> Estimate:
        """Return the metric in the first pass."""
        return Estimate(self.values[0]) if self.values else proportion(self.right[0])

    def effect(self, trial: int, gain: bool) -> Estimate:
        """Return how much worse the metric is in this pass, or how much better as a `gain`."""
        sign = -self.sign if gain else self.sign
        if self.values:
            return Estimate(sign * (self.values[0] - self.values[trial]))
        return difference(self.right[trial if gain else 0], self.right[0 if gain else trial])

    def accuracy(self, trial: int, label: int) -> float:
        """Return the accuracy in this pass on the samples with this label."""
        return self.right[trial, self.labels == label].double().mean().item()


@contextmanager
def masked(model: nn.Module, mask: Tensor) -> Iterator[JointPruningLayer]:
    """Put the model in evaluation mode with exactly these joints, for the block.

    Args:
        model: a model with its gates in front, as for `evaluate_joints`.
        mask: shape `(joints,)`, bool.

    Yields:
        The layer, whose `mask` may be set to another one.

    Raises:
        ValueError: if the model has no gates, or the mask another shape.
    """
    layer = layer_of(model)
    if mask.dtype != torch.bool or mask.shape != (layer.num_joints,):
        raise ValueError(
            f"Expected a mask of {layer.num_joints} bools but got shape {tuple(mask.shape)} of "
            f"{mask.dtype}. Pass one bool per joint."
        )
    training = {module: module.training for module in (*model.modules(), *layer.modules())}
    before = layer.mask, layer.mode, layer.used, layer.generator, layer._drawn
    try:
        model.eval()
        layer.to(_device_of(model)).eval()
        layer.mode, layer.mask = "masked", mask.to(layer.joint_logits.device)
        yield layer
    finally:
        layer.mask, layer.mode, layer.used, layer.generator, layer._drawn = before
        if layer.mask is not None:
            layer.mask = layer.mask.to(layer.joint_logits.device)
        for module, flag in training.items():
            module.training = flag


def observe(
    model: nn.Module,
    dataloader: Iterable[Any],
    trials: list[Trial],
    metric: Metric | None,
    predict: Predict | None,
    seed: int,
    progress: bool,
    inputs: InputStatistics | None = None,
) -> Results:
    """Read the data once, and let each batch through the model once for every trial.

    Args:
        model: with its gates in front; comes back as it was.
        dataloader: batches.
        trials: what to do in each pass; all see the same samples.
        metric: of torchmetrics; None takes which samples are right.
        predict: makes logits and labels of model and batch; None takes the usual forms of a batch.
        seed: of permutations and gates.
        progress: whether to show how many passes there are and how many are done.
        inputs: adds up what reaches the gates in the first trial; None leaves that out.

    Raises:
        ValueError: if there is no batch, or a batch or its prediction is not understood.
        TypeError: if the metric is none of torchmetrics.
    """
    device, permutation, watch = _device_of(model), _Permutation(seed), _Watch()
    metrics = clones(metric, len(trials), device)
    samples, rights, labels = 0, [], []
    with masked(model, trials[0].mask) as layer, torch.no_grad(), _bar(progress) as bar:
        layer.used = False
        layer.generator = torch.Generator(layer.joint_logits.device).manual_seed(seed)
        hooks = [
            layer.register_forward_pre_hook(hook, with_kwargs=True) for hook in (permutation, watch)
        ]
        try:
            task = bar.add_task(_cost(trials), total=_passes(dataloader, len(trials)))
            for batch in dataloader:
                batch = moved(batch, device)
                right = []
                for number, trial in enumerate(trials):
                    layer.mask = trial.mask.to(layer.joint_logits.device)
                    layer.mode = "sampled" if trial.soft else "masked"
                    layer.begin_step()
                    permutation.begin(trial.permuted)
                    watch.calls = [] if inputs is not None and number == 0 else None
                    logits, targets = (predict or logits_and_labels)(model, batch)
                    _check_pass(layer, permutation, first=samples == 0)
                    if inputs is not None and watch.calls:
                        inputs.add(watch.calls)
                    if metrics:
                        metrics[number].update(logits, targets)
                    if are_classes(logits, targets, needed=not metrics):
                        right.append(logits.argmax(1) == targets)
                    bar.advance(task)
                samples += len(targets)
                if right:
                    rights.append(torch.stack(right).cpu())
                    labels.append(targets.cpu())
        finally:
            for hook in hooks:
                hook.remove()
    if samples == 0:
        raise ValueError("Expected at least one batch but got none. Pass data, such as a list.")
    return Results(
        samples,
        torch.cat(rights, 1) if rights else torch.empty(0, 0, dtype=torch.bool),
        torch.cat(labels) if labels else torch.empty(0, dtype=torch.long),
        [single(computed.compute()) for computed in metrics],
        -1 if metric is not None and metric.higher_is_better is False else 1,
    )


# --- details --------------------------------------------------------------------------------------


class _Permutation:
    """Gives every sample the joint of another one, as a hook before the layer."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.joint: int | None = None
        self.orders: dict[int, Tensor] = {}  # orders of a pass, by size of the batch

    def begin(self, joint: int | None) -> None:
        self.joint, self.orders = joint, {}

    def __call__(self, _: nn.Module, args: Any, kwargs: Any) -> Any:
        if self.joint is None:
            return None
        x, axes, joints = LayerCall(*args, **kwargs)
        order = self._order(len(x)).to(x.device)
        at = self.joint - (joints.start if joints is not None else 0)
        dim = axes.index("j")
        if 0 <= at < x.shape[dim]:
            x = x.clone()
            x.select(dim, at).copy_(x.select(dim, at)[order])
        return (x, axes, joints), {}

    def _order(self, size: int) -> Tensor:
        if size not in self.orders:  # a cycle through all samples, so that none keeps its own
            cycle = torch.randperm(size, generator=self.generator)
            self.orders[size] = torch.empty_like(cycle).scatter_(0, cycle, cycle.roll(1))
        return self.orders[size]


class _Watch:
    """Keeps the calls that reach the layer while it is asked to, as a hook before the layer."""

    def __init__(self) -> None:
        self.calls: list[LayerCall] | None = None

    def __call__(self, _: nn.Module, args: Any, kwargs: Any) -> None:
        if self.calls is not None:
            self.calls.append(LayerCall(*args, **kwargs))


def _check_pass(layer: JointPruningLayer, permutation: _Permutation, first: bool) -> None:
    if first and not layer.used:
        raise ValueError(
            "Expected the gates to see the batch but they did not. Call the model as in training "
            "in predict=, so that the skeleton passes through its gates."
        )
    if permutation.joint is not None and not permutation.orders:
        raise ValueError(
            "Expected to permute a joint but the hook on the gates was not called, as in a model "
            'that was compiled before. Pass the plain model, or leave "permute" out of how.'
        )
    if first and 1 in permutation.orders:
        raise ValueError(
            "Expected batches of at least two samples to permute a joint among but got one. Pass "
            'larger batches, or leave "permute" out of how.'
        )


def _device_of(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _bar(progress: bool) -> Progress:
    return Progress(console=Console(stderr=True), disable=not progress)


def _cost(trials: list[Trial]) -> str:
    counts = Counter(trial.kind for trial in trials)
    parts = " + ".join(f"{count} {kind}" for kind, count in counts.items())
    return f"{len(trials)} passes over the data ({parts})"


def _passes(dataloader: Iterable[Any], trials: int) -> int | None:
    try:
        return trials * len(dataloader)  # type: ignore[arg-type]
    except TypeError:  # a stream
        return None
