"""The callback in front of a model is the gate that one would code into it, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from lightning_jointprune import JointPruningCallback, Price
from tests.runs import QUIET, SHORT_RUNS
from tests.zoo.models import ZOO, CallsItself, J, loader
from tests.zoo.twins import TWINS, ByHand

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("blank_report")]
RATE = 0.5  # of the logits: some joints are to be dropped in so few steps


class Record(pl.Callback):
    """The losses of every step and the groups that the optimizer had in the end."""

    def setup(self, trainer: Any, model: Any, stage: str) -> None:
        self.trained: list[Tensor] = []
        self.validated: list[Tensor] = []

    def on_train_batch_end(self, trainer: Any, model: Any, outputs: Any, *args: Any) -> None:
        self.trained.append(outputs["loss"].detach())

    def on_validation_batch_end(self, trainer: Any, model: Any, outputs: Any, *args: Any) -> None:
        self.validated.append(outputs.detach())

    def on_train_end(self, trainer: Any, model: Any) -> None:
        names = {parameter: name for name, parameter in model.named_parameters()}
        self.groups = [
            {**group, "params": [names.get(parameter, "logits") for parameter in group["params"]]}
            for group in trainer.optimizers[0].param_groups
        ]


def train(model: Any, gates: Any) -> Record:
    """Train for 10 epochs of 4 batches; the noise comes from the seed, too."""
    torch.manual_seed(1)
    train, val = loader(model), loader(model, 2)
    record = Record()
    pl.Trainer(max_epochs=10, callbacks=[gates, record], **QUIET).fit(model, train, val)
    return record


def built(make: Any) -> Any:
    torch.manual_seed(0)
    return make()


def assert_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    differing = [
        step for step, (a, b) in enumerate(zip(ours, theirs, strict=True)) if not torch.equal(a, b)
    ]
    assert not differing


def rows() -> list[Any]:
    """The zoo; each row is a line of docs/compatibility.md, in the words of the module."""
    params = []
    for name, factory, where, axes in ZOO:
        words = (factory.__doc__ or factory().__doc__).splitlines()[0].rstrip(".")
        mark = pytest.mark.compatibility("Models", f"{words}: `{axes}`")
        params.append(pytest.param(name, factory, where, axes, id=name, marks=mark))
    return params


@pytest.mark.parametrize(("name", "factory", "where", "axes"), rows())
def test_a_run_is_that_of_the_hand_written_twin(
    name: str, factory: Any, where: str, axes: str, tmp_path: Path
) -> None:
    assert name in TWINS, f"Expected a twin of {name} but got none. Write it in tests/zoo/twins.py."
    model = built(factory)
    form = (*model.shape,) if hasattr(model, "shape") else ()
    twin = built(lambda: TWINS[name](*form, **({"joints": model.joints} if form else {})))
    twin.rate = RATE
    callback = JointPruningCallback(
        twin.joints, input=where, axes=axes, budget=Price(), lr=RATE, dirpath=tmp_path
    )
    ours, theirs = train(model, callback), train(twin, ByHand())
    assert_equal(ours.trained, theirs.trained)
    assert_equal(ours.validated, theirs.validated)
    assert_equal(model.got, twin.got)
    assert callback.selection.mask == tuple(twin.mask.tolist())
    assert 0 < len(callback.selection.indices) < twin.joints
    *users, logits = ours.groups
    assert logits.pop("joint_pruning")
    assert [*users, logits] == theirs.groups


def test_what_replaces_a_dropped_joint_is_that_of_the_twin_up_to_rounding(tmp_path: Path) -> None:
    model, twin = built(CallsItself), built(TWINS["calls_itself"])
    twin.fill = 2.0
    callback = JointPruningCallback(J, budget=Price(), fill=2.0, lr=0.05, dirpath=tmp_path)
    ours, theirs = train(model, callback), train(twin, ByHand())
    torch.testing.assert_close(ours.trained, theirs.trained)
    torch.testing.assert_close(ours.validated, theirs.validated)
