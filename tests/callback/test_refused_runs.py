"""Runs that cannot prune are refused, with the reason."""

from __future__ import annotations

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import SingleDeviceStrategy

from lightning_jointprune import MetricFloor
from tests.runs import SHORT_RUNS, Classifier, clips, fit, pruning, trainer

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


def test_a_run_too_short_for_a_search_is_an_error() -> None:
    with pytest.raises(MisconfigurationException, match="search had no step"):
        fit(Classifier(), pruning(phases=(0.1, 0.4)), train=clips(2), max_epochs=1)


@pytest.mark.compatibility("Trainer", "a run without an end", refused=True)
def test_a_run_without_an_end_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match=r"max_epochs=-1 without max_steps"):
        fit(Classifier(), pruning(), max_epochs=-1)


@pytest.mark.compatibility("Trainer", "strategy FSDP", refused=True)
def test_a_strategy_that_cuts_parameters_into_pieces_is_refused() -> None:
    class FSDPStrategy(SingleDeviceStrategy):
        pass

    with pytest.raises(MisconfigurationException, match=r"FSDPStrategy.*strategy=\"ddp\""):
        fit(Classifier(), pruning(), strategy=FSDPStrategy("cpu"), accelerator="auto")


@pytest.mark.compatibility("Callbacks", "JointPruningCallback twice, on one input", refused=True)
def test_two_callbacks_on_one_input_are_refused() -> None:
    with pytest.raises(MisconfigurationException, match="one callback per skeleton input"):
        fit(Classifier(), pruning(), pruning())


def test_two_callbacks_that_find_the_same_input_are_refused() -> None:
    with pytest.raises(MisconfigurationException, match="no layer on input `x`"):
        fit(Classifier(), pruning(), pruning(input="x"))


@pytest.mark.parametrize("sanity", [0, 2])
def test_a_floor_for_a_metric_that_is_never_logged_is_an_error(sanity: int) -> None:
    with pytest.raises(MisconfigurationException, match=r"'val_f1'.*val_loss, val_acc"):
        fit(Classifier(), pruning(MetricFloor("val_f1", 0.9)), num_sanity_val_steps=sanity)


@pytest.mark.compatibility("Trainer", "no validation, with `MetricFloor`", refused=True)
def test_a_floor_without_validation_is_refused() -> None:
    run = trainer(pruning(MetricFloor("val_acc", 0.9)))
    with pytest.raises(MisconfigurationException, match="Expected a validation that logs"):
        run.fit(Classifier(), clips())


@pytest.mark.compatibility("Optimizers", "`configure_optimizers` that returns None", refused=True)
def test_no_optimizer_is_refused() -> None:
    class Fixed(Classifier):
        def configure_optimizers(self) -> None:
            return None

    with pytest.raises(MisconfigurationException, match="Expected an optimizer"):
        fit(Fixed(), pruning())
