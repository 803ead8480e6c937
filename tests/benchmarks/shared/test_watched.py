"""benchmarks/shared/watched.py: a model counts what it is trained and validated on."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import TensorDataset

from benchmarks.shared.held_out import Parts
from benchmarks.shared.models import Recipe
from benchmarks.shared.watched import IDLE, Watched, in_steps, spent, train
from benchmarks.shared.ways import defaults_or_price

JOINTS, CLASSES, EPOCHS = 6, 2, 10


@pytest.fixture
def data() -> Parts:
    chance = torch.Generator().manual_seed(0)
    x = torch.randn(96, 2, JOINTS, 2, generator=chance)
    y = (x[:, 0, 1, 0] > 0).long()
    parts = (TensorDataset(x[rows], y[rows]) for rows in torch.arange(96).split(32))
    return Parts(*parts, CLASSES)


RECIPE = Recipe(batch_size=16)


def test_steps_validations_and_all_of_the_time_are_counted(data: Parts) -> None:
    result = train(data, RECIPE, EPOCHS, seed=0)
    assert result["steps"] == {"training": 2 * EPOCHS}
    assert result["validated"] == 32 * EPOCHS
    assert {*result["seconds"]} == {"before", "validation", "after", *map(str, range(10))}
    assert spent(result) > 0


@pytest.mark.parametrize("way", ["default", "price"])
def test_validations_that_no_callback_hears_of_are_counted(data: Parts, way: str) -> None:
    pruning = defaults_or_price(JOINTS, way)
    result = train(data, RECIPE, EPOCHS, seed=0, pruning=pruning)
    assert sum(result["steps"].values()) == 2 * EPOCHS
    assert {"warmup", "search", "final"} <= {*result["steps"]}
    rungs = [rung for rung in pruning.record.rungs if rung.metrics]
    each = 16 if way == "default" else 0  # a batch of two, since five validations are affordable
    assert result["validated"] == 32 * EPOCHS + each * len(rungs)


def test_a_late_learner_begins_late_with_the_usual_rates() -> None:
    def rates(late: float, steps: int) -> list[float]:
        model = Watched(JOINTS, 2, CLASSES, RECIPE, late)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        schedule = model._scheduler(optimizer, steps)
        found = []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return found

    assert rates(0.6, 50) == pytest.approx([0.5 * IDLE] * 30 + rates(0.0, 20))


def test_three_sequences_to_validate_cost_as_much_as_one_to_train_on() -> None:
    plain = {"steps": {"training": 100}, "validated": 300}
    ours = {"steps": {"search": 60, "final": 40}, "validated": 1260}
    assert in_steps(ours, plain, batch_size=64) == pytest.approx(1.05)
    assert in_steps(plain, plain, batch_size=64) == 1.0
