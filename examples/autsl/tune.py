"""Settle the settings that matter before a study, on the validation part alone, with Optuna.

    python -m examples.autsl.tune --config examples/autsl/configs/tune.yaml --encoder gru
    python -m examples.autsl.study --config ...    with what was found, as in its encoder_args
                                                   `gru: ["--config=study/tuned_gru.yaml"]`

Tuned are the learning rate of the model, that of the gates, and, where no number of joints is asked
for, the price of a joint. A trial is a whole training run; its score is the validation's top-1 at
the end, under the hard mask (of a ladder, that of the fewest joints). The test part is never
scored. Every trial is kept in `tune_<encoder>.log`, so that the same command goes on where it was
stopped; the best is written to `tuned_<encoder>.yaml`. Needs `pip install '.[study]'`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import auto_cli

from examples.autsl_fusion import FusionCLI
from examples.programs import one_line
from lightning_jointprune.record.files import write_text

LR, GATE_LR, PRICE = (1e-4, 1e-2), (0.01, 0.2), (1e-4, 1e-2)  # lowest and highest


def main(
    out: Path,
    args: list[str],
    trials: int = 30,
    encoder: str = "bert",
    joints: list[int] | None = None,
    seed: int = 0,
) -> None:
    """Tune, and write `tuned_<encoder>.yaml`.

    Args:
        out: folder of the trials and of what was found.
        args: arguments of `examples.autsl_fusion` that all trials have.
        trials: number of finished trials to reach, those of earlier commands included.
        encoder: bert, gru, st-gcn or joint-tokens.
        joints: number of joints, or those of a ladder; None tunes a price instead.
        seed: of the training and of Optuna's proposals.
    """
    optuna = _optuna()
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    log = optuna.storages.journal.JournalFileBackend(str(out / f"tune_{encoder}.log"))
    study = optuna.create_study(
        study_name=json.dumps([encoder, joints, seed, args]),  # of other settings, another study
        storage=optuna.storages.JournalStorage(log),
        direction="maximize",
        load_if_exists=True,
    )

    finished = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    # Else it would propose again what it proposed before it was stopped.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))

    def score(trial: Any) -> float:
        budget = [] if joints is None else [f"--pruning.budget={json.dumps(joints)}"]
        flags = [*args, f"--model.encoder={encoder}", f"--seed_everything={seed}", *budget]
        return validated(flags, _proposed(trial, joints is None), out / "trials")

    study.optimize(score, max(0, trials - len(finished)))
    best = _proposed(optuna.trial.FixedTrial(study.best_params), joints is None)
    done = max(trials, len(finished))
    head = f"# {encoder}: validation top-1 {study.best_value:.4f}, best of {done} trials\n"
    write_text(out / f"tuned_{encoder}.yaml", head + yaml.safe_dump(best))


def _proposed(trial: Any, priced: bool) -> dict[str, dict[str, Any]]:
    """Return the settings of a trial, as in a file for `--config`."""
    rate, gates = (
        trial.suggest_float(name, *ends, log=True)
        for name, ends in (("lr", LR), ("gate_lr", GATE_LR))
    )
    pruning: dict[str, Any] = {"lr": gates}
    if priced:
        price = trial.suggest_float("price", *PRICE, log=True)
        pruning["budget"] = {
            "class_path": "lightning_jointprune.Price",
            "init_args": {"value": price},
        }
    return {"model": {"lr": rate}, "pruning": pruning}


def validated(args: Sequence[str], settings: dict[str, Any], folder: Path) -> float:
    """Train with these settings, and return the top-1 accuracy of the last validation."""
    flags = [
        f"--{part}.{name}={json.dumps(value)}"
        for part, values in settings.items()
        for name, value in values.items()
    ]
    quiet = [f"--trainer.default_root_dir={folder}", "--trainer.enable_checkpointing=false"]
    cli = FusionCLI([*args, *quiet, *flags])
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    return float(cli.trainer.callback_metrics["val_acc"])


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ValueError(
            "Expected optuna but it is not installed: pip install optuna, or study without tuning."
        ) from error
    return optuna


if __name__ == "__main__":
    with one_line():
        auto_cli(main, as_positional=False)
