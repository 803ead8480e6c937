"""Arguments and inputs that do not fit are refused before a weight changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from lightning_jointprune import JointPruningCallback, Price
from tests.callback.watched import batches, same, weights
from tests.runs import SHORT_RUNS, Classifier, J, fit, pruning

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_joints": 0}, "Expected the number of joints"),
        ({"num_joints": None}, "Expected the number of joints"),
        ({"num_joints": 5, "skeleton": "mediapipe_hand"}, "Expected 21 joints"),
        ({"skeleton": "mediapipe_foot"}, "mediapipe_hand"),
        ({"keep": [1, 1]}, "keep|joint"),
        ({"keep": [8]}, "8"),
        ({"keep": ["thumb"]}, "thumb"),
        ({"budget": 9}, "to 8"),
        ({"budget": 1, "keep": [0, 1]}, "from 2"),
        ({"budget": 0}, "at least 1"),
        ({"budget": 0.5}, "Expected a budget"),
        ({"budget": "automatic"}, "Expected a budget"),
        ({"gate": "softmax"}, "Expected a gate out of"),
        ({"groups": "hierarchical"}, "Expected a skeleton"),
        ({"groups": "limbs"}, "limbs"),
        ({"groups": {"a": [0, 1], "b": [1]}}, "share no joint"),
        ({"phases": (0.6, 0.1)}, "in order"),
        ({"phases": (0.1, 1.1)}, "in order"),
        ({"phases": (0.5,)}, "in order"),
        ({"lr": 0.0}, "learning rate above 0"),
        ({"fill": "median"}, "fill"),
        ({"axes": "b t c"}, "exactly one axis j"),
    ],
)
def test_bad_arguments_are_refused_at_once(settings: dict[str, Any], message: str) -> None:
    joints = {} if "skeleton" in settings else {"num_joints": J}
    with pytest.raises(MisconfigurationException, match=message):
        JointPruningCallback(**{**joints, **settings})


def test_a_negative_price_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a price of at least 0"):
        Price(-0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_joints": 9}, r"Expected an input with 9 joints.*\n.*x  \(8, 4, 8, 2\)"),
        ({"input": "y"}, "Expected a tensor in input 'y'"),
        ({"input": "head:input", "num_joints": 7}, "7 joints"),
        ({"axes": "b j t c"}, "8 joints"),
        ({"axes": "b t j"}, "axes"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_before_a_weight_changes(
    settings: dict[str, Any], message: str
) -> None:
    model = Classifier()
    before = weights(model)
    with pytest.raises(MisconfigurationException, match=message):
        fit(model, JointPruningCallback(**{"num_joints": J, **settings}))
    assert same(before, weights(model))
    assert "forward" not in model.__dict__


def test_an_unknown_submodule_is_refused_before_any_data() -> None:
    model = Classifier()
    with pytest.raises(MisconfigurationException, match="Expected input to name a submodule"):
        fit(model, pruning(input="encoder:x"))
    assert model.calls == []


def test_another_number_of_joints_at_a_later_batch_is_an_error() -> None:
    data = batches(torch.randn(4, 4, J, 2), torch.randn(4, 4, J - 1, 2))
    with pytest.raises(ValueError, match=r"Expected 8 joints.*but got 7.*\(4, 4, 7, 2\)"):
        fit(Classifier(), pruning(), train=data)


@pytest.mark.compatibility("Models", "skeletons of integers", refused=True)
def test_integers_are_refused() -> None:
    class Casting(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.float())

    with pytest.raises(MisconfigurationException, match=r"torch.int64.*\.float\(\)"):
        fit(Casting(), pruning(), train=batches(torch.ones(4, 4, J, 2, dtype=torch.long)))


def test_an_empty_first_batch_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match="empty batch"):
        fit(Classifier(), pruning(), train=batches(torch.randn(0, 4, J, 2)))
