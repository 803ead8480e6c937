"""Every model of the zoo is pruned."""

from __future__ import annotations

from typing import Any

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_jointprune import JointPruningCallback
from lightning_jointprune.attach.layout import Layout
from tests.callback.watched import same, weights
from tests.runs import SHORT_RUNS, first_joint, fit, pruning
from tests.zoo import models

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


TOLD = {row[0] for row in models.ZOO if "(" in row[3]} | {"streams", "several_skeletons"}


def fit_zoo(model: Any, **settings: Any) -> JointPruningCallback:
    """Train on a few batches of the model's own, to keep 5 joints."""
    callback = pruning(**{"budget": 5, "num_joints": model.joints, **settings})
    data = models.loader(model)
    fit(model, callback, train=data, val=data, max_epochs=5)
    return callback


@pytest.mark.parametrize(
    ("name", "factory", "where", "axes"), models.ZOO, ids=[row[0] for row in models.ZOO]
)
def test_every_model_of_the_zoo_is_pruned_and_left_as_it_was(
    name: str, factory: Any, where: str, axes: str
) -> None:
    model = factory()
    keys = list(model.state_dict())
    callback = fit_zoo(model, **({"input": where, "axes": axes} if name in TOLD else {}))
    got = model.got[-1]  # in the last validation
    words = Layout.parse("b j c") if name == "padded" else Layout.parse(axes)
    split, axes_of = words.split(got, model.joints)
    reached = split.abs().sum([at for at, word in enumerate(axes_of) if word != "j"]) > 0
    assert tuple(reached.tolist()) == callback.selection.mask
    assert len(callback.selection.indices) == 5
    callback.detach()
    assert list(model.state_dict()) == keys
    assert not any("forward" in module.__dict__ for module in model.modules())


@pytest.mark.parametrize("fill", [0.0, -3.0, "mean", "hold", first_joint])
def test_a_model_that_looks_for_padding_finds_it_whatever_the_fill(fill: Any) -> None:
    fit_zoo(models.Padded(), fill=fill)  # which asserts that its mask is where x != 0


def test_a_model_with_nothing_to_prune_is_refused_before_a_weight_changes() -> None:
    for settings in ({}, {"axes": "b t j c"}):
        model = models.NoSkeleton()
        before = weights(model)
        with pytest.raises(
            MisconfigurationException, match=r"(?s)21 joints.* but got none.*images"
        ):
            fit_zoo(model, **settings)
        assert same(before, weights(model))
