"""Tuning looks at the validation part alone, goes on where it was, and writes what it found."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from examples.autsl import tune as autsl_tune
from examples.autsl.data.synthetic import SyntheticSettings, make_synthetic
from examples.autsl_fusion import FusionCLI
from tests.examples.autsl.study.test_study import flags
from tests.runs import SHORT_RUNS

pytestmark = [
    *SHORT_RUNS,
    pytest.mark.filterwarnings("ignore:.*is experimental"),  # Optuna's journal
]


def test_best_of_the_trials_is_found_and_trials_are_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tried: list[tuple[float, float]] = []

    def scored(args: list[str], settings: dict[str, dict[str, float]], folder: Path) -> float:
        assert args == [
            "--data=A",
            "--model.encoder=gru",
            "--seed_everything=0",
            "--pruning.budget=[5]",
        ]
        assert set(settings["pruning"]) == {"lr"}
        tried.append((1.0 - settings["model"]["lr"], settings["model"]["lr"]))
        return tried[-1][0]

    monkeypatch.setattr(autsl_tune, "validated", scored)
    for trials, total in ((3, 3), (8, 8), (8, 8)):
        autsl_tune.main(tmp_path, ["--data=A"], trials, "gru", [5])
        assert len(set(tried)) == len(tried) == total
        found = yaml.safe_load((tmp_path / "tuned_gru.yaml").read_text())
        assert found["model"]["lr"] == max(tried)[1]
        assert 0.01 <= found["pruning"]["lr"] <= 0.2


@pytest.mark.filterwarnings("ignore:The loss did not fall")  # a trial of two epochs
def test_trial_never_tests_and_what_it_found_is_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    settings = SyntheticSettings(signs=2, clips=(24, 8, 8), signers=(3, 2, 2), size=16)
    folder = make_synthetic(tmp_path, settings)
    args = [*flags(folder), "--trainer.max_epochs=2"]

    def refuse(*_: object) -> None:
        raise AssertionError("the test part was read")

    monkeypatch.setattr("examples.autsl.data.module.SignData.test_dataloader", refuse)
    autsl_tune.main(tmp_path / "out", args, 1, "gru")
    tuned = tmp_path / "out" / "tuned_gru.yaml"
    cli = FusionCLI([*args, f"--config={tuned}"])
    found = yaml.safe_load(tuned.read_text())
    assert cli.model.hparams["lr"] == found["model"]["lr"]
    price = found["pruning"]["budget"]["init_args"]["value"]
    assert cli.config.pruning.budget.value == price
    assert 1e-4 <= price <= 1e-2


def test_tuning_an_encoder_leaves_what_was_found_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    monkeypatch.setattr(autsl_tune, "validated", lambda *_: 0.5)
    autsl_tune.main(tmp_path, [], 1, "gru", [5])
    first = (tmp_path / "tuned_gru.yaml").read_text()
    autsl_tune.main(tmp_path, [], 1, "bert", [5], seed=1)
    second = (tmp_path / "tuned_bert.yaml").read_text()
    assert (tmp_path / "tuned_gru.yaml").read_text() == first
    assert first.startswith("# gru:")
    assert second.startswith("# bert:")


def test_without_optuna_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ValueError, match="pip install optuna"):
        autsl_tune.main(tmp_path, [])
