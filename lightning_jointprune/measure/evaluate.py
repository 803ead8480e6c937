"""Measures what each joint is worth to a trained model, by passes with other joints in front."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from lightning_jointprune.attach.layers import layer_of
from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.measure.agreement import indices_of
from lightning_jointprune.measure.input_statistics import InputStatistics
from lightning_jointprune.measure.passes import Trial, observe
from lightning_jointprune.measure.predictions import Predict
from lightning_jointprune.measure.significance import PairedTest, paired_tests
from lightning_jointprune.record.evaluation import JointEvaluation
from lightning_jointprune.record.intervals import Estimate, proportion
from lightning_jointprune.record.tables import as_text

if TYPE_CHECKING:
    from torchmetrics import Metric

HOW = ("drop", "add", "permute", "soft")


def evaluate_joints(
    model: nn.Module,
    dataloader: Iterable[Any],
    *,
    metric: Metric | None = None,
    predict: Predict | None = None,
    joint_names: Sequence[str] | None = None,
    how: Sequence[str] = HOW[:3],
    groups: Mapping[str, Sequence[int | str]] | None = None,
    frame: tuple[float, float] | None = None,
    class_names: Sequence[str] | None = None,
    signers: Sequence[Hashable] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> JointEvaluation:
    """Measure what each joint is worth to a model that has its gates in front.

    The data are read once, and each batch goes through the model once for every change of the
    joints, so that all changes are compared on the same samples. The accuracy of `kept` has
    Wilson's interval (1927). A change has that of Bonett and Price (2012) for paired samples.

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
        joint_names: names of all joints, shape `(J,)`; None takes those of the run.
        how: the changes to measure. `"drop"` takes away a kept joint. `"add"` adds a dropped
            joint. `"permute"` exchanges a kept joint among the samples of a batch, which keeps its
            distribution and breaks its information; in padded clips its padding moves with it.
            `"soft"` draws the gates as in the search, instead of the hard mask, with the logits and
            the temperature that they still have (of a ladder, at its last rung).
        groups: group name to its joints, by index or name; each is dropped as a whole.
        frame: ends of the picture in the first two channels, `(0, 1)` for MediaPipe's coordinates,
            to find joints outside it; None leaves that out. What reaches the gates has to be in
            these units, which standardised coordinates are not.
        class_names: names of the classes, by label, for those who read the evaluation.
        signers: who made each sample, in the order of the data, which has to be fixed; adds the
            accuracy on each.
        seed: of the permutations and the gates.
        progress: whether to show, on stderr, how many passes there are and how many are done.

    Returns:
        The evaluation.

    Raises:
        ValueError: if the model has no gates, the arguments do not fit, or a batch is not
            understood.
        TypeError: if the metric is none of torchmetrics.
    """
    layer = layer_of(model)
    names = _names(layer, joint_names)
    if isinstance(how, str):
        raise ValueError(
            f"Expected a list of {', '.join(HOW)} as how but got {how!r}. Pass [{how!r}]."
        )
    if unknown := [word for word in how if word not in HOW]:
        raise ValueError(f"Expected how to be out of {', '.join(HOW)} but got {unknown[0]!r}.")
    kept = layer.current_mask().clone()
    trials = _trials(kept, names, how, indices_of(groups or {}, names))
    inputs = InputStatistics(layer.num_joints, frame)
    results = observe(model, dataloader, trials, metric, predict, seed, progress, inputs)
    effects: dict[str, dict[str, Estimate]] = {kind: {} for kind in ("kept", *HOW, "groups")}
    for number, trial in enumerate(trials):
        effects[trial.kind][trial.name] = results.effect(number, gain=trial.kind in ("add", "soft"))
    labels = sorted(set(results.labels.tolist()))
    if class_names is not None and labels and len(class_names) <= labels[-1]:
        raise ValueError(
            f"Expected a name for each label up to {labels[-1]} but got {len(class_names)} names. "
            "Name all classes, those without samples too."
        )
    accuracy = [
        [results.accuracy(row, label) for label in labels] for row in range(len(results.right))
    ]
    return JointEvaluation(
        joint_names=names,
        indices=tuple(kept.nonzero().flatten().tolist()),
        metric="accuracy" if metric is None else type(metric).__name__,
        samples=results.samples,
        kept=results.kept(),
        **{kind: effects[kind] for kind in ("drop", "add", "permute", "groups")},
        soft=effects["soft"].get(""),
        inputs=dict(zip(names, inputs.result(), strict=True)),
        per_class=dict(zip(labels, accuracy[0], strict=True)) if labels else {},
        per_class_drop={
            trial.name: tuple(a - b for a, b in zip(accuracy[0], row, strict=True))
            for trial, row in zip(trials, accuracy, strict=False)
            if trial.kind == "drop"
        },
        class_names=tuple(class_names or ()),
        per_signer={} if signers is None else _per_signer(results.right[:1], signers),
        higher_is_better=results.sign > 0,
    )


class SubsetComparison(NamedTuple):
    """Holds what a model reaches with each of several sets of joints in front.

    Attributes:
        samples: the number of samples that they were measured on.
        joints: the number of joints in each set, by name; `"kept"` are those of the model.
        accuracy: of each set.
        tests: each set against `"kept"`.
        right: whether each sample was right with each set, shape `(samples,)`, for `paired_tests`.
    """

    samples: int
    joints: dict[str, int]
    accuracy: dict[str, Estimate]
    tests: tuple[PairedTest, ...]
    right: dict[str, Tensor]

    def __str__(self) -> str:
        table = Table(box=None, pad_edge=False)
        for title in ("set", "joints", "accuracy", "minus kept", "p (Holm)"):
            table.add_column(title)
        tests = {test.first: test for test in self.tests}
        for name, accuracy in self.accuracy.items():
            test = tests.get(name)
            tested = ("", "") if test is None else (str(test.difference), f"{test.p_holm:.3g}")
            table.add_row(Text(name), str(self.joints[name]), str(accuracy), *tested)
        return as_text(table)


def compare_subsets(
    model: nn.Module,
    dataloader: Iterable[Any],
    subsets: Mapping[str, Sequence[int | str] | Tensor],
    *,
    predict: Predict | None = None,
    joint_names: Sequence[str] | None = None,
    signers: Sequence[Hashable] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> SubsetComparison:
    """Compare the kept joints of a model with other sets, in pairs on the same samples.

    The data are read once, as by `evaluate_joints`. A model is used to its own joints, so this
    shows what they are worth to it. Which set is best to train with is another question: train a
    model on each, compare each with no subsets, `{}`, and give their `right["kept"]` to
    `paired_tests` of `lightning_jointprune.measure.significance`.

    Args:
        model: as for `evaluate_joints`.
        dataloader: as for `evaluate_joints`, in a fixed order if there are `signers`.
        subsets: name to joints, by index or name, or a mask, shape `(J,)`, bool: from
            `published_subsets`, or from `random_masks`.
        predict: as for `evaluate_joints`, with logits and labels.
        joint_names: names of all joints, shape `(J,)`; None takes those of the run.
        signers: who made each sample, in the order of the data; then the tests are over signers.
        seed: of the bootstrap over signers.
        progress: whether to show, on stderr, how many passes there are and how many are done.

    Returns:
        The comparison, whose tests have Holm's correction for their number.

    Raises:
        ValueError: if the model has no gates, the arguments do not fit, or a batch is not
            understood.
    """
    layer = layer_of(model)
    names = _names(layer, joint_names)
    masks = {"kept": layer.current_mask().clone()}
    if "kept" in subsets:
        raise ValueError("Expected another name than 'kept', the model's own joints. Rename it.")
    masks |= {name: _mask(name, joints, names) for name, joints in subsets.items()}
    trials = [Trial("kept" if name == "kept" else "subsets", name, masks[name]) for name in masks]
    results = observe(model, dataloader, trials, None, predict, seed, progress)
    right = dict(zip(masks, results.right, strict=True))
    return SubsetComparison(
        results.samples,
        {name: int(mask.sum()) for name, mask in masks.items()},
        {name: proportion(found) for name, found in right.items()},
        paired_tests(right, reference="kept", signers=signers, seed=seed) if subsets else (),
        right,
    )


def _per_signer(right: Tensor, signers: Sequence[Hashable]) -> dict[str, Estimate]:
    """Return the accuracy on each signer, by name; `right` has shape `(1, samples)` or is empty."""
    if right.shape[1] != len(signers):
        raise ValueError(
            f"Expected a signer for each of {right.shape[1]} samples that have a class but got "
            f"{len(signers)}. Name one per sample, in the order of the data."
        )
    places: dict[Hashable, list[int]] = {}
    for place, signer in enumerate(signers):
        places.setdefault(signer, []).append(place)
    return {str(signer): proportion(right[0, rows]) for signer, rows in places.items()}


def _names(layer: JointPruningLayer, joint_names: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple(joint_names or layer.names)
    if len(names) != layer.num_joints or len(set(names)) < len(names):
        raise ValueError(
            f"Expected {layer.num_joints} different joint names but got {len(names)}. Name every "
            "joint once, dropped ones too."
        )
    return names


def _mask(subset: str, joints: Sequence[int | str] | Tensor, names: Sequence[str]) -> Tensor:
    if not isinstance(joints, Tensor):
        mask = torch.zeros(len(names), dtype=torch.bool)
        mask[indices_of({subset: joints}, names)[subset]] = True
        return mask
    if joints.dtype != torch.bool or joints.shape != (len(names),):
        raise ValueError(
            f"Expected a mask of {len(names)} bools for {subset!r} but got shape "
            f"{tuple(joints.shape)} of {joints.dtype}. Pass one bool per joint, or their names."
        )
    return joints


def _trials(
    kept: Tensor, names: Sequence[str], how: Sequence[str], groups: Mapping[str, list[int]]
) -> list[Trial]:
    trials = [Trial("kept", "", kept)]
    alone = torch.eye(len(kept), dtype=torch.bool, device=kept.device)
    inside, outside = kept.nonzero().flatten().tolist(), (~kept).nonzero().flatten().tolist()
    if "drop" in how:
        trials += [Trial("drop", names[joint], kept & ~alone[joint]) for joint in inside]
    if "add" in how:
        trials += [Trial("add", names[joint], kept | alone[joint]) for joint in outside]
    if "permute" in how:
        trials += [Trial("permute", names[joint], kept, joint) for joint in inside]
    if "soft" in how:
        trials.append(Trial("soft", "", kept, soft=True))
    trials += [
        Trial("groups", name, kept & ~alone[joints].any(0)) for name, joints in groups.items()
    ]
    return trials
