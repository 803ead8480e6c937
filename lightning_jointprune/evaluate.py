"""Measures what each joint is worth to a trained model, by passes with other joints in front."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from lightning_jointprune.agreement import indices_of
from lightning_jointprune.attach import attached_layers, signature_of
from lightning_jointprune.evaluation import Estimate, JointEvaluation, difference, proportion
from lightning_jointprune.layer import JointPruningLayer, own_layer

if TYPE_CHECKING:
    from torchmetrics import Metric

HOW = ("drop", "add", "permute")
LABELS = ("label", "labels", "target", "targets", "y")  # keys of a batch that is a dict
Predict = Callable[[nn.Module, Any], tuple[Tensor, Tensor]]


def evaluate_joints(
    model: nn.Module,
    dataloader: Iterable[Any],
    *,
    metric: Metric | None = None,
    predict: Predict | None = None,
    joint_names: Sequence[str] | None = None,
    how: Sequence[str] = HOW,
    groups: Mapping[str, Sequence[int | str]] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> JointEvaluation:
    """Measure what each joint is worth to a model that has its gates in front.

    The data are read once, and each batch goes through the model once for every change of the
    joints, so that all changes are compared on the same samples. Accuracies have intervals: of
    `kept` that of Wilson (1927), of a change that of Bonett and Price (2012) for paired samples.

    Args:
        model: from `load_pruned`, after a run with the callback, or with a `JointPruningLayer` of
            its own; comes back as it was.
        dataloader: batches, of which `predict` makes logits.
        metric: of torchmetrics, with one value; None takes the accuracy. It gets what `predict`
            returns.
        predict: called as `predict(model, batch)` with the batch on the model's device, as often as
            there are changes; returns logits `(samples, classes)` and labels `(samples,)`, or
            whatever your metric takes. By default a batch is `(*inputs, labels)`, or a dict with
            a key "label", "labels", "target", "targets" or "y".
        joint_names: names of all joints, shape `(J,)`; None numbers them.
        how: `"drop"`, one of the kept joints; `"add"`, one of the dropped; `"permute"`, a kept one
            among the samples of a batch, which keeps its distribution and breaks its information.
            In padded clips its padding moves with it.
        groups: group name to its joints, by index or name; each is dropped as a whole.
        seed: of the permutations.
        progress: whether to show, on stderr, how many passes there are and how far they are.

    Returns:
        The evaluation.

    Raises:
        ValueError: if the model has no gates, the arguments do not fit, or a batch is not
            understood.
        TypeError: if the metric is none of torchmetrics.
    """
    layer = _layer_of(model)
    names = tuple(joint_names or [f"joint_{index}" for index in range(layer.num_joints)])
    if len(names) != layer.num_joints or len(set(names)) < len(names):
        raise ValueError(
            f"Expected {layer.num_joints} different joint names but got {len(names)}. Name every "
            "joint once, dropped ones too."
        )
    if unknown := [word for word in how if word not in HOW]:
        raise ValueError(f"Expected how to be out of {', '.join(HOW)} but got {unknown[0]!r}.")
    kept = layer.current_mask().clone()
    trials = _trials(kept, names, how, indices_of(groups or {}, names))
    seen = _observe(model, dataloader, trials, metric, predict or _predict, seed, progress)
    effects: dict[str, dict[str, Estimate]] = {kind: {} for kind in ("kept", *HOW, "groups")}
    for number, trial in enumerate(trials):
        effects[trial.kind][trial.name] = seen.effect(number, gain=trial.kind == "add")
    labels = sorted(set(seen.labels.tolist()))
    accuracy = [[seen.accuracy(row, label) for label in labels] for row in range(len(seen.right))]
    return JointEvaluation(
        joint_names=names,
        indices=tuple(kept.nonzero().flatten().tolist()),
        metric="accuracy" if metric is None else type(metric).__name__,
        samples=seen.samples,
        kept=seen.kept(),
        **{kind: effects[kind] for kind in (*HOW, "groups")},
        per_class=dict(zip(labels, accuracy[0], strict=True)) if labels else {},
        per_class_drop={
            trial.name: tuple(a - b for a, b in zip(accuracy[0], row, strict=True))
            for trial, row in zip(trials, accuracy, strict=False)
            if trial.kind == "drop"
        },
    )


@contextmanager
def masked(model: nn.Module, mask: Tensor) -> Iterator[JointPruningLayer]:
    """Within the block the model is in evaluation mode and sees exactly these joints.

    Args:
        model: a model with its gates in front, as for `evaluate_joints`.
        mask: shape `(joints,)`, bool.

    Yields:
        The layer, whose `mask` may be set to another one.

    Raises:
        ValueError: if the model has no gates, or the mask another shape.
    """
    layer = _layer_of(model)
    if mask.dtype != torch.bool or mask.shape != (layer.num_joints,):
        raise ValueError(
            f"Expected a mask of {layer.num_joints} bools but got shape {tuple(mask.shape)} of "
            f"{mask.dtype}. Pass one bool per joint."
        )
    training = {module: module.training for module in (*model.modules(), *layer.modules())}
    before = layer.mask, layer.mode, layer.used
    try:
        model.eval()
        layer.to(_device_of(model)).eval()
        layer.mode, layer.mask = "masked", mask.to(layer.joint_logits.device)
        yield layer
    finally:
        layer.mask, layer.mode, layer.used = before
        if layer.mask is not None:
            layer.mask = layer.mask.to(layer.joint_logits.device)
        for module, flag in training.items():
            module.training = flag


# --- the passes through the model -----------------------------------------------------------------


class _Trial(NamedTuple):
    kind: str
    name: str
    mask: Tensor
    permuted: int | None = None


def _trials(
    kept: Tensor, names: Sequence[str], how: Sequence[str], groups: Mapping[str, list[int]]
) -> list[_Trial]:
    trials = [_Trial("kept", "", kept)]
    single = torch.eye(len(kept), dtype=torch.bool, device=kept.device)
    inside, outside = kept.nonzero().flatten().tolist(), (~kept).nonzero().flatten().tolist()
    if "drop" in how:
        trials += [_Trial("drop", names[joint], kept & ~single[joint]) for joint in inside]
    if "add" in how:
        trials += [_Trial("add", names[joint], kept | single[joint]) for joint in outside]
    if "permute" in how:
        trials += [_Trial("permute", names[joint], kept, joint) for joint in inside]
    trials += [
        _Trial("groups", name, kept & ~single[joints].any(0)) for name, joints in groups.items()
    ]
    return trials


class _Permutation:
    """Before the layer: gives every sample the joint of another one."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.joint: int | None = None
        self.orders: dict[int, Tensor] = {}  # by size of the batch; one for all calls of a pass

    def begin(self, joint: int | None) -> None:
        self.joint, self.orders = joint, {}

    def __call__(self, layer: nn.Module, args: Any, kwargs: Any) -> Any:
        if self.joint is None:
            return None
        call = inspect.signature(layer.forward).bind(*args, **kwargs)
        call.apply_defaults()
        x, axes, joints = call.args
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


class _Seen(NamedTuple):
    """What the passes gave."""

    samples: int
    right: Tensor  # whether each sample's class was found, (trials, samples); empty if no classes
    labels: Tensor  # of the samples
    values: list[float]  # of the user's metric, one per trial; none without
    sign: int  # 1 where more of it is better

    def kept(self) -> Estimate:
        return Estimate(self.values[0]) if self.values else proportion(self.right[0])

    def effect(self, trial: int, gain: bool) -> Estimate:
        sign = -self.sign if gain else self.sign
        if self.values:
            return Estimate(sign * (self.values[0] - self.values[trial]))
        return difference(self.right[trial if gain else 0], self.right[0 if gain else trial])

    def accuracy(self, trial: int, label: int) -> float:
        return self.right[trial, self.labels == label].double().mean().item()


def _observe(
    model: nn.Module,
    dataloader: Iterable[Any],
    trials: list[_Trial],
    metric: Metric | None,
    predict: Predict,
    seed: int,
    progress: bool,
) -> _Seen:
    device, permutation = _device_of(model), _Permutation(seed)
    metrics = _metrics(metric, len(trials), device)
    samples, rights, labels = 0, [], []
    with masked(model, trials[0].mask) as layer, torch.no_grad(), _bar(progress) as bar:
        layer.used = False
        hook = layer.register_forward_pre_hook(permutation, with_kwargs=True)
        try:
            task = bar.add_task(_cost(trials), total=_passes(dataloader, len(trials)))
            for batch in dataloader:
                batch = _moved(batch, device)
                right = []
                for number, trial in enumerate(trials):
                    layer.mask = trial.mask.to(layer.joint_logits.device)
                    permutation.begin(trial.permuted)
                    logits, targets = predict(model, batch)
                    _check_pass(layer, permutation, first=samples == 0)
                    if metrics:
                        metrics[number].update(logits, targets)
                    if _are_classes(logits, targets, needed=not metrics):
                        right.append(logits.argmax(1) == targets)
                    bar.advance(task)
                samples += len(targets)
                if right:
                    rights.append(torch.stack(right).cpu())
                    labels.append(targets.cpu())
        finally:
            hook.remove()
    if samples == 0:
        raise ValueError("Expected at least one batch but got none. Pass data, such as a list.")
    return _Seen(
        samples,
        torch.cat(rights, 1) if rights else torch.empty(0, 0, dtype=torch.bool),
        torch.cat(labels) if labels else torch.empty(0, dtype=torch.long),
        [_single(one.compute()) for one in metrics],
        -1 if metric is not None and metric.higher_is_better is False else 1,
    )


def _metrics(metric: Metric | None, count: int, device: torch.device) -> list[Metric]:
    if metric is None:
        return []
    from torchmetrics import Metric

    if not isinstance(metric, Metric):
        raise TypeError(
            f"Expected a torchmetrics.Metric but got {type(metric).__name__}. Pass an object, such "
            "as MulticlassF1Score(num_classes=10)."
        )
    metrics = [metric.clone().to(device) for _ in range(count)]
    for one in metrics:
        one.reset()
    return metrics


def _predict(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
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
        return _logits(model(**named) if named else model(inputs)), batch[labels[0]]
    if not isinstance(batch, list | tuple) or len(batch) < 2:
        raise ValueError(
            f"Expected batches of inputs and labels but got {type(batch).__name__}. Pass predict=, "
            "a function of model and batch that returns logits and labels."
        )
    return _logits(model(*batch[:-1])), batch[-1]


def _logits(output: Any) -> Tensor:
    found = output.get("logits") if isinstance(output, Mapping) else output
    if isinstance(found, Tensor):
        return found
    raise ValueError(
        f"Expected logits from the model but got {type(output).__name__}. Pass predict=, a "
        "function of model and batch that returns logits and labels."
    )


def _are_classes(logits: Tensor, targets: Tensor, needed: bool) -> bool:
    whole = not (targets.is_floating_point() or targets.is_complex())
    found = logits.ndim == 2 and targets.shape == logits.shape[:1] and whole
    if needed and not found:
        raise ValueError(
            "Expected logits (samples, classes) and labels (samples,) for the accuracy but got "
            f"shapes {tuple(logits.shape)} and {tuple(targets.shape)} of {targets.dtype}. Pass a "
            "metric that takes them, or predict= to bring them to this form."
        )
    return found


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


def _layer_of(model: nn.Module) -> JointPruningLayer:
    layers = [own_layer(model), *(layer for _, layer in attached_layers(model))]
    found = {id(one): one for one in layers if isinstance(one, JointPruningLayer)}
    if len(found) != 1:
        raise ValueError(
            f"Expected a model with one JointPruningLayer but got {len(found)}. Pass the model "
            "that was trained with JointPruningCallback, or load it with load_pruned."
        )
    return next(iter(found.values()))


def _device_of(model: nn.Module) -> torch.device:
    return next((one.device for one in model.parameters()), torch.device("cpu"))


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: _moved(value, device) for key, value in batch.items()}
    if type(batch) in (list, tuple):
        return type(batch)(_moved(value, device) for value in batch)
    return batch  # what is none of these, predict has to move


def _bar(progress: bool) -> Progress:
    return Progress(console=Console(stderr=True), disable=not progress)


def _cost(trials: list[_Trial]) -> str:
    counts = {kind: sum(one.kind == kind for one in trials) for kind in ("kept", *HOW, "groups")}
    parts = " + ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    return f"{len(trials)} passes over the data ({parts})"


def _passes(dataloader: Iterable[Any], trials: int) -> int | None:
    try:
        return trials * len(dataloader)  # type: ignore[arg-type]
    except TypeError:  # a stream
        return None


def _single(value: Any) -> float:
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise ValueError(
            f"Expected a metric with one value but got {value!r}. Average it, such as by "
            'average="macro".'
        )
    return float(value)
