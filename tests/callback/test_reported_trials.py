"""A trial of a study is compared by values of its final phase alone."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest

from tests.callback.test_early_stopping import Scored
from tests.runs import SHORT_RUNS, fit, pruning

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


class PyTorchLightningPruningCallback(pl.Callback):
    """Reports and judges as the callback of this name in optuna_integration does."""

    def __init__(self, trial: Any, monitor: str) -> None:
        self.trial, self.monitor = trial, monitor

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        import optuna

        if trainer.sanity_checking:
            return
        value = float(trainer.callback_metrics[self.monitor])
        self.trial.report(value, step=trainer.current_epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


class Named(PyTorchLightningPruningCallback):
    """One of the user's own."""


@pytest.mark.parametrize("kind", [PyTorchLightningPruningCallback, Named])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.compatibility("Callbacks", "Optuna's PyTorchLightningPruningCallback")
def test_a_trial_reports_its_final_phase(kind: Any, first: bool) -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def run(trial: Any) -> float:
        reporting = kind(trial, "score")
        callbacks = [reporting, pruning()] if first else [pruning(), reporting]
        fitted = fit(Scored(), *callbacks)
        assert "on_validation_end" not in vars(reporting)
        return float(fitted.callback_metrics["score"])

    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
    study.optimize(run, n_trials=1)
    assert study.trials[0].intermediate_values == {3: -3.0, 4: -4.0}  # the search ends with epoch 2


def test_a_trial_is_pruned_by_others_values_of_the_same_phase() -> None:
    """Its best value so far, in the warm-up, is above the others' median to the end."""
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=1)
    )
    study.add_trial(
        optuna.trial.create_trial(value=-2.0, intermediate_values=dict.fromkeys(range(5), -2.0))
    )
    trial = study.ask()
    with pytest.raises(optuna.TrialPruned):
        fit(Scored(), pruning(), PyTorchLightningPruningCallback(trial, "score"))
    assert trial.study.get_trials()[-1].intermediate_values == {3: -3.0}
