"""The example from the command line, to the report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from transformers import VideoMAEConfig, VideoMAEModel

import examples
from examples.autsl.data.synthetic import (
    planted_scores,
)
from examples.autsl_fusion import FusionCLI, SignFusion, main
from lightning_jointprune import JointSelection
from tests.examples.autsl.made import DEMO_FLAGS, write_npz
from tests.runs import SHORT_RUNS, SMALL_FLAGS

pytestmark = SHORT_RUNS


FULL_SIZE = Path(examples.__file__).parent / "autsl" / "configs" / "full.yaml"


def test_planted_scores_states_precision_recall_and_f1() -> None:
    selection = JointSelection((0, 1, 3), 4, ("a", "b", "c", "d"), (0.9, 0.8, 0.1, 0.7))
    text = planted_scores(selection, ("a", "b"), ("a", "b", "c", "d"))
    assert "2 joints carry the sign: precision 0.67, recall 1.00, F1 0.80." in text


def test_command_line_and_yaml_set_the_same_things(in_tmp: Path, folder: Path) -> None:
    config = {
        "data": str(folder),
        "modalities": "skeleton,depth",
        "model": {"hidden_size": 32, "num_layers": 1},
        "datamodule": {"num_frames": 4, "image_size": 16},
        "pruning": {"phases": [0.2, 0.5]},
    }
    (in_tmp / "run.yaml").write_text(yaml.safe_dump(config))
    cli = FusionCLI(["--config", "run.yaml", "--trainer.accelerator=cpu"])
    assert set(cli.model.branches) == {"skeleton", "depth"}
    assert cli.model.hparams["num_signs"] == 3
    assert cli.model.hparams["num_frames"] == 4
    assert cli.model.branches["depth"].image_size == (16, 16)
    assert cli.datamodule.title == folder.name
    assert cli.pruning in cli.trainer.callbacks


def test_settings_for_the_real_data_build_a_model(in_tmp: Path, folder: Path) -> None:
    flags = ["--config", str(FULL_SIZE), "--data", str(folder), "--trainer.accelerator=cpu"]
    cli = FusionCLI([*flags, "--datamodule.num_signs=226"])
    assert cli.model.branches["rgb"].image_size == (224, 224)
    assert cli.model.hparams["num_signs"] == 226


def test_rgb_model_is_passed_on(in_tmp: Path, folder: Path) -> None:
    config = VideoMAEConfig(hidden_size=32, num_attention_heads=1, num_hidden_layers=1)
    VideoMAEModel(config).save_pretrained(in_tmp / "mae")
    flags = ["--data", str(folder), "--modalities", "skeleton,rgb", "--rgb-model", "mae"]
    cli = FusionCLI([*flags, "--trainer.accelerator=cpu"])
    assert cli.model.branches["rgb"].backbone.config.num_hidden_layers == 1
    assert cli.model.hparams["rgb_model"] == "mae"


def test_end_to_end_all_modalities_until_the_report(
    in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole demo, small: make data, train with the callback, test, print, write the report."""
    cli = main([*DEMO_FLAGS, "--trainer.max_epochs=5", "--pruning.budget=8"])
    printed = capsys.readouterr().out
    selection = cli.pruning.selection
    assert len(selection.indices) == 8
    assert selection.sentence("synthetic AUTSL") in printed
    assert "KEEP" in printed
    assert "PRUNE" in printed
    assert re.search(
        r"8 joints carry the sign: precision [\d.]+, recall [\d.]+, F1 [\d.]+", printed
    )
    assert f"Report: {cli.pruning.report_path}" in printed
    assert cli.pruning.report_path is not None
    assert cli.pruning.report_path.is_file()
    record = json.loads((cli.pruning.report_path.parent / "pruning_record.json").read_text())
    assert record["skeleton"] == "mediapipe_hands"
    assert {"test_acc", "test_top5", "test_f1"} <= set(cli.trainer.callback_metrics)
    found = json.loads((cli.pruning.report_path.parent / "test_results.json").read_text())
    assert found["clips"] == list(cli.datamodule.labels["test"])
    assert found["signs"] == list(cli.datamodule.labels["test"].values())
    right = [a == b for a, b in zip(found["signs"], found["answers"], strict=True)]
    accuracy = float(cli.trainer.callback_metrics["test_acc"])
    assert accuracy == pytest.approx(sum(right) / len(right))
    assert len(found["per_signer"]) == 2
    checkpoint = cli.trainer.checkpoint_callback.best_model_path
    assert isinstance(SignFusion.load_from_checkpoint(checkpoint, strict=True), SignFusion)


@pytest.mark.filterwarnings("ignore:The loss did not fall")  # three epochs are a trial
def test_end_to_end_npz(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Arrays with joints of their own: no skeleton name, no planted truth."""
    write_npz(in_tmp / "words.npz")
    cli = main(["--data=words.npz", "--trainer.max_epochs=5", *SMALL_FLAGS])
    printed = capsys.readouterr().out
    assert cli.pruning.selection.sentence("words") in printed
    assert "carry the sign" not in printed


def test_help_begins_with_the_flags_that_most_runs_need(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    screen = capsys.readouterr().out.splitlines()[:24]
    assert all(len(line) <= 88 for line in screen)
    shown = [line.split()[:2] for line in screen if line.startswith("  --")]
    assert [flag for flag, _ in shown] == [
        "--data",
        "--config",
        "--modalities",
        "--model.encoder",
        "--pruning.budget",
        "--datamodule.batch_size",
        "--trainer.max_epochs",
        "--trainer.default_root_dir",
        "--seed_everything",
        "--ckpt-path",
    ]

    shown = [[flag, str(FULL_SIZE) if flag == "--config" else value] for flag, value in shown]
    with pytest.raises(SystemExit) as stopped:
        main([word for pair in shown for word in pair] + ["--print_config"])
    assert stopped.value.code == 0
    settings = yaml.safe_load(capsys.readouterr().out)
    assert settings["pruning"]["budget"] == 12
    assert settings["model"]["encoder"] == "gru"
    assert settings["datamodule"]["batch_size"] == 8
