"""Test that every pattern is compacted and equal, or refused, as docs/compaction.md says."""

from __future__ import annotations

import functools
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_jointprune.attach.hooks import attach
from lightning_jointprune.attach.modules import module_at, replaced, signature_of
from lightning_jointprune.attach.target import Target
from lightning_jointprune.compaction.compact import compact
from lightning_jointprune.compaction.export.export import export_model
from lightning_jointprune.compaction.request import called_by_users, compaction_of
from lightning_jointprune.compaction.tracing import Call, CompactionError
from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.run.load import analyze_pruning
from tests.zoo.models import ZOO
from tests.zoo.skeleton_models import (
    AXES,
    COMPACTED,
    KEPT,
    ONLY_WITH_0,
    REFUSED,
    J,
    example,
    masked,
    picked,
)

pytestmark = [
    pytest.mark.compatibility,
    pytest.mark.usefixtures("one_table_of_operations"),
]
EXACT = 1e-12  # largest difference in float64 that counts as exact; larger ones are powers of ten


# --- the parts of a line -------------------------------------------------------------------------


def first_layer(small: nn.Module) -> str:
    """Return the numbers of the first parameter or buffer that met the joints, before and after."""
    before = {name: shape for name, shape in compaction_of(small).cut.items() if shape}
    tensors = {**dict(small.named_parameters()), **dict(small.named_buffers())}
    changed = [
        f"`{name}` {math.prod(before[name])} → {tensor.numel()}"
        for name, tensor in tensors.items()
        if name in before
    ]
    return next(iter(changed), "none")


def within(error: float) -> str:
    assert error <= 1e-5
    return "1e-12" if error < EXACT else f"1e{math.ceil(math.log10(error))}"


def difference(first: list[Tensor], other: list[Tensor]) -> float:
    assert [x.shape for x in first] == [x.shape for x in other]
    return max(
        float((a - b).abs().max() / a.abs().max()) for a, b in zip(first, other, strict=True)
    )


def exported(small: nn.Module, inputs: Any, path: Path, **how: Any) -> str:
    """Return which sizes of the ONNX file may be any, after export compared it with the model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = export_model(small.float(), path / "small.onnx", inputs, **how)
    assert done.error <= 1e-4
    return f"any {' and '.join(done.dynamic)}" if done.dynamic else "as the example"


# --- encoders ------------------------------------------------------------------------------------


def words(model: nn.Module, name: str) -> str:
    doc = type(model).__dict__.get("__doc__")
    said = f": {doc.splitlines()[0].rstrip('.')}" if doc else ""
    return f"`{name}`{said}"


@pytest.mark.parametrize("name", {**COMPACTED, **ONLY_WITH_0})
def test_an_encoder_is_smaller_equal_and_exported(
    name: str, tmp_path: Path, record_property: Any
) -> None:
    model, axes = {**COMPACTED, **ONLY_WITH_0}[name](), AXES.get(name, "b t j c")
    feature = words(model, name)
    model = masked(model, axes).double()
    small = compact(model, analyze_pruning(model), example(name))
    x = 3 * example(name, batch=5).double()
    with torch.no_grad():
        error = difference([model(x)], [small(picked(x, axes))])
    onnx = exported(small, picked(example(name), axes), tmp_path)
    assert onnx.startswith("any batch")
    cells = ("compacted", first_layer(small), within(error), onnx)
    record_property("compatibility", ("Encoders", feature, cells))


@pytest.mark.parametrize("name", REFUSED)
def test_an_encoder_is_refused_with_its_layer_and_reason(name: str, record_property: Any) -> None:
    make, reason = REFUSED[name]
    model = masked(make(), AXES.get(name, "b t j c"))
    with pytest.raises(CompactionError, match=reason) as refused:
        compact(model, analyze_pruning(model), example(name))
    said = " ".join(str(refused.value).split()).partition(" Pass whole=True")[0]
    feature = words(make(), name) + (" (with batch norm over them)" if name == "persons" else "")
    record_property("compatibility", ("Encoders", feature, ("refused", "", said, "")))


@pytest.mark.parametrize("name", ["linear", "channels_then_joints", "data_norm_and_gru", "conv1d"])
def test_the_first_layer_has_exactly_its_share_where_joints_are_flattened(name: str) -> None:
    model = masked(COMPACTED[name](), AXES.get(name, "b t j c"))
    small = compact(model, analyze_pruning(model), example(name))
    sizes = {key: p.numel() for key, p in small.named_parameters()}
    first = next(name for name, shape in compaction_of(small).cut.items() if len(shape or ()) > 1)
    assert sizes[first] * J == dict(model.named_parameters())[first].numel() * len(KEPT)


# --- modules that take their skeleton in one way each --------------------------------------------


def inputs_of(model: Any, called: str) -> Any:
    """Return the arguments of the module in a training step, as `compact` takes them."""
    module, seen = module_at(model, called), []

    def record(*args: Any, **kwargs: Any) -> Any:
        seen.append((args, kwargs))
        return type(module).forward(module, *args, **kwargs)

    module.__dict__["forward"] = record
    try:
        model.step(model.batch())
    finally:
        del module.__dict__["forward"]
    args, kwargs = seen[0]
    kinds = {p.kind.name for p in signature_of(module).parameters.values()}
    if kinds & {"VAR_POSITIONAL", "VAR_KEYWORD"}:
        return kwargs or args
    return dict(signature_of(module).bind(*args, **kwargs).arguments)


def changed(inputs: Any, target: Target, change: Any) -> Any:
    """Return the inputs with another skeleton."""
    path = target.path[1:] if isinstance(inputs, tuple) else target.path
    return replaced(inputs, path, change)


def zoo() -> list[Any]:
    return [pytest.param(*row, id=row[0]) for row in ZOO]


@pytest.mark.parametrize(("name", "factory", "where", "axes"), zoo())
def test_a_module_is_smaller_and_equal_or_refused(
    name: str, factory: Any, where: str, axes: str, tmp_path: Path, record_property: Any
) -> None:
    model, target = factory().eval(), Target.parse(where, axes)
    feature = f"{(factory.__doc__ or model.__doc__).splitlines()[0].rstrip('.')}: `{axes}`"
    joints = model.joints
    kept = [joint for joint in range(joints) if joint % 3 == 1]
    called = called_by_users(model, [target])
    inputs, others = inputs_of(model, called), inputs_of(model, called)
    layer = JointPruningLayer(joints)
    layer.freeze(torch.tensor([joint in kept for joint in range(joints)]))
    attach(model, target, layer)
    takes = "kept" if target.module == called else "all"
    line = functools.partial(record_property, "compatibility")
    try:
        small = compact(model, analyze_pruning(model), inputs, takes=takes)
    except CompactionError as refused:
        said = " ".join(str(refused).split()).partition(" Pass whole=True")[0]
        line(("Ways to take a skeleton", feature, ("refused", "", said, "")))
        return
    first, shape = next(iter(compaction_of(small).cut.items()))
    assert small.get_parameter(first).numel() * joints == math.prod(shape) * len(kept)

    def pick(x: Tensor) -> Tensor:
        split, axes = target.layout.split(x, joints)
        chosen = split.index_select(axes.index("j"), torch.tensor(kept))
        return target.layout.merge(chosen)

    if takes == "kept":
        others = changed(others, target, Tensor.double)
    expected = Call.readings(others)[0].double().on(module_at(model.double(), called))
    fewer = changed(others, target, pick) if takes == "kept" else others
    got = Call.readings(fewer)[0].double().on(module_at(small.double(), called))
    inputs = changed(inputs, target, pick) if takes == "kept" else inputs
    cells = (
        "compacted",
        first_layer(small),
        within(difference(expected, got)),
        exported(small, inputs, tmp_path, dynamic=("batch",)),
    )
    line(("Ways to take a skeleton", feature, cells))
