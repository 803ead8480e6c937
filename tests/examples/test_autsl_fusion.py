"""The example's training: what is frozen and when, precisions, settings, going on with a run."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
import yaml
from torch import Tensor
from transformers import VideoMAEConfig, VideoMAEModel

import examples
from examples.autsl.data.module import SignData
from examples.autsl.data.synthetic import SyntheticSettings, make_synthetic
from examples.autsl.encoders import VideoBranch
from examples.autsl_fusion import FusionCLI, SignFusion, main
from tests.runs import SHORT_RUNS, SMALL_FLAGS

pytestmark = SHORT_RUNS
CONFIGS = Path(examples.__file__).parent / "autsl" / "configs"
STUDIES = ("study", "tune")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SyntheticSettings(signs=2, clips=(12, 4, 4), signers=(2, 1, 1), size=16)
    return make_synthetic(tmp_path_factory.mktemp("synthetic"), settings)


class Watch(pl.Callback):
    """Keeps a copy of a branch's parameters before every epoch, and after the last."""

    def __init__(self) -> None:
        self.seen: list[list[Tensor]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: SignFusion) -> None:
        self.seen.append(
            [parameter.detach().clone() for parameter in pl_module.branches["depth"].parameters()]
        )

    on_train_end = on_train_epoch_start


def trained(folder: Path, root: Path, unfreeze_epoch: int | None) -> list[bool]:
    """Return whether the frozen branch was another after each of three epochs."""
    data = SignData(str(folder), "skeleton,depth", num_frames=4, image_size=16, batch_size=6)
    data.setup("fit")
    sizes = {"hidden_size": 32, "num_layers": 1, "num_frames": 4, "image_size": 16}
    model = SignFusion(
        2,
        modalities=("skeleton", "depth"),
        freeze=["depth"],
        unfreeze_epoch=unfreeze_epoch,
        warmup=0.0,
        **sizes,
    )
    watch = Watch()
    pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[watch],
        default_root_dir=root,
    ).fit(model, data)
    pairs = zip(watch.seen, watch.seen[1:], strict=False)
    return [any(not torch.equal(*two) for two in zip(*pair, strict=True)) for pair in pairs]


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(None, [False, False, False]), (1, [False, True, True]), (0, [True, True, True])],
)
def test_frozen_branch_is_trained_from_the_epoch_that_is_asked_for(
    folder: Path, tmp_path: Path, epoch: int | None, expected: list[bool]
) -> None:
    assert trained(folder, tmp_path, epoch) == expected


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(3, [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]), (1, [1.0])],
)
def test_colour_and_depth_are_normalised_each_in_its_own_way(
    channels: int, expected: list[float]
) -> None:
    """Colour by ImageNet's mean and deviation of each channel, depth to -1 to 1."""
    config = VideoMAEConfig(
        image_size=16,
        num_channels=channels,
        num_frames=4,
        hidden_size=32,
        num_attention_heads=1,
        num_hidden_layers=1,
    )
    branch, seen = VideoBranch(config), []
    branch.backbone.register_forward_pre_hook(
        lambda _, args, given: seen.append(given["pixel_values"]), with_kwargs=True
    )
    branch(torch.full((2, 4, channels, 16, 16), 255, dtype=torch.uint8))
    branch(torch.zeros((2, 4, channels, 16, 16), dtype=torch.uint8))
    white, black = (pixels.mean(dim=(0, 1, 3, 4)) for pixels in seen)
    torch.testing.assert_close(white, torch.tensor(expected))
    assert (black < white).all()


def test_words_that_bert_never_reads_stay_frozen() -> None:
    model = SignFusion(2, modalities=("skeleton",), freeze=["skeleton"], unfreeze_epoch=0)
    words = model.branches["skeleton"].backbone.get_input_embeddings().weight
    groups = [parameter for group in model.parameter_groups() for parameter in group["params"]]
    assert not any(parameter is words for parameter in groups)


def test_unfreezing_in_several_processes_is_refused() -> None:
    """Their replicas would drift apart."""
    model = SignFusion(2, modalities=("skeleton",), freeze=["skeleton"], unfreeze_epoch=1)
    model.trainer = pl.Trainer(accelerator="cpu", devices=2, logger=False)
    with pytest.raises(ValueError, match=r"one process to unfreeze in but got 2.*devices 1"):
        model.on_fit_start()


@pytest.mark.parametrize("encoder", ["bert", "gru", "st-gcn", "joint-tokens"])
def test_every_encoder_is_pruned_in_mixed_precision(
    in_tmp: Path, folder: Path, encoder: str
) -> None:
    flags = [f"--data={folder}", "--modalities=skeleton", f"--model.encoder={encoder}"]
    flags += ["--datamodule.skeleton=mediapipe_hands", "--trainer.max_epochs=5"]
    cli = main([*SMALL_FLAGS, *flags, "--trainer.precision=bf16-mixed", "--pruning.budget=6"])
    assert len(cli.pruning.selection.indices) == 6
    assert all(parameter.dtype == torch.float32 for parameter in cli.model.parameters())
    assert all(parameter.isfinite().all() for parameter in cli.model.parameters())


@pytest.mark.filterwarnings("ignore:The loss did not fall")  # five epochs are a trial
def test_run_goes_on_with_a_checkpoint(
    in_tmp: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [*SMALL_FLAGS, f"--data={folder}", "--modalities=skeleton", "--trainer.max_epochs=5"]
    first = main(flags)
    begun, batches = [], []
    start, batch = SignFusion.on_train_epoch_start, SignFusion.training_step
    monkeypatch.setattr(
        SignFusion,
        "on_train_epoch_start",
        lambda self: (begun.append(self.current_epoch), start(self)),
    )
    monkeypatch.setattr(
        SignFusion,
        "training_step",
        lambda self, *args: (batches.append(1), batch(self, *args))[1],
    )
    path = first.trainer.checkpoint_callback.best_model_path
    more = main([*flags, f"--ckpt-path={path}", "--trainer.max_epochs=6"])
    assert begun == [5]
    assert more.trainer.current_epoch == 6


@pytest.mark.parametrize(
    "name", [path.stem for path in CONFIGS.glob("*.yaml") if path.stem not in {*STUDIES, "full"}]
)
def test_settings_of_an_experiment_build_what_they_say(
    in_tmp: Path, folder: Path, name: str
) -> None:
    config = VideoMAEConfig(hidden_size=32, num_attention_heads=1, num_hidden_layers=1)
    VideoMAEModel(config).save_pretrained(in_tmp / "mae")
    path = CONFIGS / f"{name}.yaml"
    wanted = yaml.safe_load(path.read_text(encoding="utf-8"))
    flags = [f"--config={CONFIGS / 'full.yaml'}", f"--config={path}"]
    if "rgb_model" in wanted:
        flags.append("--rgb-model=mae")
    cli = FusionCLI([*flags, f"--data={folder}", "--trainer.accelerator=cpu"])
    assert {*cli.model.branches} == {*wanted["modalities"].split(",")}
    assert cli.model.hparams["num_signs"] == 226
    assert cli.model.hparams["encoder"] == wanted.get("model", {}).get("encoder", "bert")
    assert bool(cli.model.frozen) == ("freeze" in wanted.get("model", {}))
