"""Every gate finds the joints, every fill fills them, and random numbers are the user's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from lightning_jointprune import JointPruningCallback
from lightning_jointprune.gates.relaxations import GATES
from tests.runs import BATCHES, INFORMATIVE, SHORT_RUNS, Classifier, J, clips, fit, pruning

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


@pytest.mark.parametrize("gate", GATES)
def test_every_gate_finds_the_joints(gate: str) -> None:
    callback = JointPruningCallback(num_joints=J, gate=gate)
    fit(Classifier(), callback, train=clips(32), max_epochs=15)
    assert set(INFORMATIVE) <= set(callback.selection.indices) < set(range(J))


def test_dropped_joints_are_filled_with_a_number() -> None:
    model, callback = Classifier(), pruning(fill=-7.5)
    fit(model, callback)
    got = model.of("train")[-1].got
    filled = (got == -7.5).all(dim=3).all(dim=1).all(dim=0)
    assert tuple((~filled).tolist()) == callback.selection.mask


def test_dropped_joints_are_filled_with_their_mean_in_training() -> None:
    model, callback = Classifier(), pruning(fill="mean")
    fit(model, callback)
    seen = torch.cat([call.given for call in model.of("train") if 0 < call.step < 24])
    dropped = [joint for joint in range(J) if not callback.selection.mask[joint]]
    means = seen.mean(dim=(0, 1))[dropped]

    for stage in ("train", "validate"):
        got = model.of(stage)[-1].got[:, :, dropped]
        assert torch.allclose(got, means.expand_as(got), atol=1e-5)


def test_the_models_random_numbers_are_those_of_a_run_without_us() -> None:
    def losses(*callbacks: Any) -> tuple[list[float], Tensor]:
        torch.manual_seed(1)
        model = Classifier(dropout=0.5)
        fit(model, *callbacks)
        return [float(loss) for loss in model.losses], torch.get_rng_state()

    without, within = losses(), losses(pruning())
    assert without[0][:BATCHES] == within[0][:BATCHES]
    assert without[0][BATCHES:] != within[0][BATCHES:]
    assert torch.equal(without[1], within[1])


@pytest.mark.parametrize("epochs", [5, 20])
@pytest.mark.compatibility(
    "Models", "a skeleton detached before it is used, {epochs} short epochs", refused=True
)
def test_gates_that_the_loss_cannot_reach_are_an_error(epochs: int) -> None:
    class Detached(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.detach())

    # With 2 batches an epoch, 5 epochs have a search of 4 steps.
    with pytest.raises(
        MisconfigurationException, match=r"(10|4) steps no gradient reached.*input="
    ):
        fit(Detached(), pruning(), train=clips(2), max_epochs=epochs)
