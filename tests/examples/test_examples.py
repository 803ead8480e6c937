"""The example: its data, its model, and one small run from the command line to the report."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import av
import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import yaml
from transformers import VideoMAEConfig, VideoMAEModel

import examples
from examples.autsl.data.clips import (
    Arrays,
    fit_length,
    hold_out,
    read_skeleton,
    read_video,
)
from examples.autsl.data.labels import read_labels
from examples.autsl.data.module import SignData
from examples.autsl.data.preprocess import Standardizer
from examples.autsl.data.synthetic import (
    JOINT_NAMES,
    SyntheticSettings,
    make_synthetic,
    planted_scores,
    read_planted,
    write_video,
)
from examples.autsl_fusion import FusionCLI, SignFusion, main
from lightning_jointprune import JointSelection
from lightning_jointprune.skeletons import get_skeleton
from tests.runs import SHORT_RUNS, SMALL_FLAGS

pytestmark = SHORT_RUNS

FULL_SIZE = Path(examples.__file__).parent / "autsl" / "configs" / "full.yaml"
SMALL = SyntheticSettings(signs=3, clips=(12, 6, 6), signers=(2, 1, 1), frames=(5, 8), size=32)
DEMO_FLAGS = [
    *SMALL_FLAGS,
    "--datamodule.synthetic.signs=3",
    "--datamodule.synthetic.clips=[48,12,12]",
    "--datamodule.synthetic.signers=[3,2,2]",
    "--datamodule.synthetic.frames=[5,8]",
    "--datamodule.synthetic.size=32",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic data set; tests only read it."""
    return make_synthetic(tmp_path_factory.mktemp("synthetic"), SMALL)


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """A smaller one that a test may damage."""
    return make_synthetic(
        tmp_path, SyntheticSettings(signs=2, clips=(4, 2, 2), signers=(2, 1, 1), size=32)
    )


def data_of(folder: Path, **settings: object) -> SignData:
    data = SignData(str(folder), num_frames=6, batch_size=4, **settings)
    data.prepare_data()
    data.setup("fit")
    return data


def write_npz(path: Path, **changes: np.ndarray | None) -> Path:
    rng = np.random.default_rng(0)
    content = {
        "x": rng.normal(size=(40, 7, 5, 2)).astype(np.float16),
        "y": np.arange(40) % 4,
        "test": np.arange(40) >= 30,
        "joint_names": np.array(["a", "b", "c", "d", "e"]),
    }
    content.update({key: value for key, value in changes.items() if value is not None})
    for key in [key for key, value in changes.items() if value is None]:
        del content[key]
    np.savez(path, **content)
    return path


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


# --- synthetic data ------------------------------------------------------------------------------


def test_synthetic_joints_are_those_of_mediapipe_hands() -> None:
    assert get_skeleton("mediapipe_hands").joints == JOINT_NAMES


def test_synthetic_folder_has_autsl_names_and_headerless_labels(folder: Path) -> None:
    for split, clips in zip(("train", "val", "test"), SMALL.clips, strict=True):
        labels = rows(folder / f"{split}_labels.csv")
        assert len(labels) == clips
        for name, sign in labels:
            assert re.fullmatch(r"signer\d+_sample\d+", name)
            assert 0 <= int(sign) < SMALL.signs
        files = {path.name for path in (folder / split).iterdir()}
        endings = ("_color.mp4", "_depth.mp4", "_skeleton.npy")
        assert files == {name + ending for name, _ in labels for ending in endings}


def test_synthetic_videos_decode_to_as_many_frames_as_the_skeleton_has(folder: Path) -> None:
    name, _ = rows(folder / "train_labels.csv")[0]
    skeleton = np.load(folder / "train" / f"{name}_skeleton.npy", allow_pickle=False)
    assert skeleton.dtype == np.float32
    assert skeleton.shape[1:] == (42, 3)
    for kind in ("color", "depth"):
        with av.open(str(folder / "train" / f"{name}_{kind}.mp4")) as video:
            frames = list(video.decode(video=0))
        assert [(frame.height, frame.width) for frame in frames] == [(32, 32)] * len(skeleton)


def test_no_signer_is_in_two_splits_and_every_signer_signs_everything(folder: Path) -> None:
    signers = []
    for split in ("train", "val", "test"):
        pairs = {(name.split("_")[0], sign) for name, sign in rows(folder / f"{split}_labels.csv")}
        signers.append({signer for signer, _ in pairs})
        assert len(pairs) == len(signers[-1]) * SMALL.signs
    assert len(set().union(*signers)) == sum(map(len, signers))


def test_only_planted_joints_tell_the_signs_apart(tmp_path: Path) -> None:
    quiet = SyntheticSettings(signs=2, clips=(40, 2, 2), signers=(2, 1, 1), size=16, drift=0.01)
    folder = make_synthetic(tmp_path, quiet)
    labels = read_labels(folder, "train")
    middle = np.stack(
        [np.load(folder / "train" / f"{name}_skeleton.npy").mean(axis=0) for name in labels]
    )
    signs = np.array(list(labels.values()))
    apart = np.abs(middle[signs == 0].mean(0) - middle[signs == 1].mean(0)).max(axis=-1)
    strongest = {JOINT_NAMES[joint] for joint in np.argsort(apart)[-quiet.planted :]}
    assert strongest == set(read_planted(folder))


def test_making_twice_gives_the_same_arrays_and_keeps_a_finished_folder(tmp_path: Path) -> None:
    first = make_synthetic(tmp_path / "a", SMALL)
    again = make_synthetic(tmp_path / "b", SMALL)
    for path in first.glob("*/*.npy"):
        np.testing.assert_array_equal(np.load(path), np.load(again / path.parent.name / path.name))
    marker = first / "marker"
    marker.touch()
    assert make_synthetic(tmp_path / "a", SMALL) == first
    assert marker.exists()
    assert make_synthetic(tmp_path / "a", SyntheticSettings(**{**vars(SMALL), "seed": 1})) != first


def test_interrupted_making_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("examples.autsl.data.synthetic.write_video", fail)
    with pytest.raises(KeyboardInterrupt):
        make_synthetic(tmp_path, SMALL)
    assert list(tmp_path.iterdir()) == []


# --- reading -------------------------------------------------------------------------------------


def test_folder_written_is_folder_read(folder: Path) -> None:
    data = data_of(folder)
    assert (data.num_joints, data.num_coordinates, data.num_signs) == (42, 3, 3)
    assert data.modalities == ("skeleton", "rgb", "depth")
    assert data.skeleton == "mediapipe_hands"
    assert data.joint_names == JOINT_NAMES
    batch = next(iter(data.train_dataloader()))
    assert {key: tuple(value.shape) for key, value in batch.items()} == {
        "skeleton_keypoints": (4, 6, 42, 3),
        "frame_mask": (4, 6),
        "rgb_frames": (4, 6, 3, 32, 32),
        "depth_frames": (4, 6, 1, 32, 32),
        "sign": (4,),
        "clip": (4,),
    }
    assert batch["rgb_frames"].dtype == torch.uint8
    assert [len(data.parts[split]) for split in ("train", "val", "test")] == list(SMALL.clips)
    assert data.parts["val"].signs == [int(sign) for _, sign in rows(folder / "val_labels.csv")]


def test_skeleton_alone_never_opens_a_video(own_folder: Path) -> None:
    for path in own_folder.glob("*/*.mp4"):
        path.unlink()
    batch = next(iter(data_of(own_folder, modalities="skeleton").train_dataloader()))
    assert set(batch) == {"skeleton_keypoints", "frame_mask", "sign", "clip"}


def test_clips_are_kept_in_memory_only_where_they_fit(folder: Path) -> None:
    kept = data_of(folder).parts["train"]
    assert kept[0] is kept[0]
    streamed = data_of(folder, memory_mb=0).parts["train"]
    assert streamed[0] is not streamed[0]
    torch.testing.assert_close(kept[0], streamed[0])


def test_clips_are_read_by_other_processes_where_they_do_not_fit_into_memory(folder: Path) -> None:
    assert data_of(folder).workers == 0
    assert data_of(folder, memory_mb=0).workers > 0
    assert data_of(folder, memory_mb=0, num_workers=0).workers == 0


def test_batches_of_other_processes_are_those_read_here(folder: Path) -> None:
    here = list(data_of(folder, memory_mb=0, num_workers=0).val_dataloader())
    there = list(data_of(folder, memory_mb=0, num_workers=2).val_dataloader())
    torch.testing.assert_close(there, here, rtol=0, atol=0)


def test_they_pass_batches_on_by_name_and_nothing_changes_here(folder: Path) -> None:
    """A descriptor each would cost a handshake for every tensor."""
    strategy = torch.multiprocessing.get_sharing_strategy()
    loader = data_of(folder, memory_mb=0, num_workers=1).val_dataloader()
    loader.collate_fn = lambda _: torch.multiprocessing.get_sharing_strategy()
    assert set(loader) == {"file_system"}
    assert torch.multiprocessing.get_sharing_strategy() == strategy


def test_frames_that_are_left_out_are_not_standardised_and_change_nothing(folder: Path) -> None:
    clips = data_of(folder, modalities="skeleton", memory_mb=0).parts["train"]
    clips.num_frames = 3
    whole = clips.standardize(clips.skeleton(0))
    assert len(whole) > 3
    expected = torch.from_numpy(fit_length(whole, 3)[0])
    assert torch.equal(clips[0]["skeleton_keypoints"], expected)


def test_video_is_sampled_evenly_and_resized(tmp_path: Path) -> None:
    ramp = np.arange(10, dtype=np.uint8)[:, None, None, None] * 20 + 20
    write_video(tmp_path / "ramp.mp4", np.broadcast_to(ramp, (10, 32, 48, 3)).copy())
    grey = read_video(tmp_path / "ramp.mp4", 4, 16, channels=1)
    assert grey.shape == (4, 1, 16, 16)
    assert grey.dtype == np.uint8
    np.testing.assert_allclose(grey.mean(axis=(1, 2, 3)), [20, 80, 140, 200], atol=6)
    assert read_video(tmp_path / "ramp.mp4", 12, 16, channels=3).shape == (12, 3, 16, 16)


def test_clip_length_is_fitted_by_sampling_or_padding() -> None:
    clip = np.arange(5.0)[:, None, None] * np.ones((1, 2, 2))
    short, mask = fit_length(clip, 8)
    assert mask.tolist() == [True] * 5 + [False] * 3
    assert not short[5:].any()
    long, mask = fit_length(clip, 3)
    assert long[:, 0, 0].tolist() == [0, 2, 4]
    assert mask.all()


def test_standardizer_works_per_joint_and_puts_missing_ones_at_the_mean() -> None:
    rng = np.random.default_rng(0)
    clips = [rng.normal(3.0, 2.0, (6, 4, 2)) for _ in range(20)]
    base = Standardizer.fit(clips)
    for clip in clips:
        clip[:, 1] *= 100.0
        clip[:, 2] = np.nan
    changed = Standardizer.fit(clips)
    for joint in (0, 3):
        np.testing.assert_array_equal(base.mean[joint], changed.mean[joint])
        np.testing.assert_array_equal(base.std[joint], changed.std[joint])
    frames = np.concatenate(clips)[:, 1]
    np.testing.assert_allclose(changed.mean[1], frames.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(changed.std[1], frames.std(axis=0), rtol=1e-5)
    out = changed(clips[0])
    assert np.isfinite(out).all()
    assert not out[:, 2].any()


def test_npz_is_read_with_its_names_words_and_test_part(tmp_path: Path) -> None:
    word = np.arange(40) % 4 != 1
    path = write_npz(tmp_path / "words.npz", word=word)
    data = data_of(path)
    assert data.modalities == ("skeleton",)
    assert (data.num_signs, data.joint_shape, data.title) == (3, (5, 2), "words")
    assert data.joint_names == ("a", "b", "c", "d", "e")
    assert data.skeleton is None
    assert data.planted == ()
    assert len(data.parts["test"]) == int(word[30:].sum())
    batch = next(iter(data.val_dataloader()))
    assert batch["skeleton_keypoints"].dtype == torch.float32
    assert batch["frame_mask"].all()


def test_npz_with_75_joints_is_recognised_by_its_names(tmp_path: Path) -> None:
    names = np.array(get_skeleton("mediapipe_body_hands").joints)
    path = write_npz(tmp_path / "a.npz", x=np.zeros((40, 2, 75, 3), "f4"), joint_names=names)
    assert SignData(str(path)).skeleton == "mediapipe_body_hands"


def test_npz_validation_holds_out_whole_sessions(tmp_path: Path) -> None:
    session = np.repeat(np.arange(10), 4)
    clips = np.broadcast_to(session[:, None, None, None], (40, 7, 2, 1)).astype("f4")
    path = write_npz(tmp_path / "a.npz", x=clips, session=session, test=session >= 7)
    parts = Arrays.read(path, 0.2, seed=0).parts
    sessions = {split: set(x[:, 0, 0, 0].astype(int)) for split, (x, _) in parts.items()}
    assert sessions["test"] == {7, 8, 9}
    assert len(sessions["val"]) == 2
    assert sessions["train"] == set(range(7)) - sessions["val"]


def test_hold_out_keeps_every_sign_in_training() -> None:
    signs = np.repeat([0, 1, 2], 20)
    for groups in (None, signs, np.arange(60) % 6):  # the second cannot be split by group
        held = hold_out(signs, groups, 0.2, seed=0)
        assert 0.1 * 60 <= held.sum() <= 0.3 * 60
        assert set(signs[~held]) == {0, 1, 2}
        np.testing.assert_array_equal(held, hold_out(signs, groups, 0.2, seed=0))


# --- bad input -----------------------------------------------------------------------------------


def test_missing_source_is_named() -> None:
    with pytest.raises(ValueError, match=r"nothing at nowhere\. Pass --data PATH"):
        data_of(Path("nowhere"))


def test_missing_labels_are_named(own_folder: Path) -> None:
    (own_folder / "val_labels.csv").unlink()
    with pytest.raises(ValueError, match=r"Expected val_labels\.csv in .* Put AUTSL's labels"):
        data_of(own_folder)


def test_missing_split_folder_is_named(own_folder: Path) -> None:
    (own_folder / "test").rename(own_folder / "other")
    with pytest.raises(ValueError, match=r"Expected the folder .*test but got none"):
        data_of(own_folder)


def test_ground_truth_of_the_challenge_is_read(own_folder: Path) -> None:
    (own_folder / "val_labels.csv").rename(own_folder / "val" / "ground_truth.csv")
    assert len(read_labels(own_folder, "val")) == 2


@pytest.mark.parametrize(
    "row", ["sample,label", "signer0_sample1", "../signer0_sample1,1", "signer0_sample1,-1"]
)
def test_label_row_of_another_form_is_named(own_folder: Path, row: str) -> None:
    path = own_folder / "train_labels.csv"
    path.write_text(row + "\n" + path.read_text())
    with pytest.raises(ValueError, match=r"like signer0_sample1,41 but got .*Correct.* line 1\."):
        data_of(own_folder)


def test_label_without_clip_is_named(own_folder: Path) -> None:
    with (own_folder / "train_labels.csv").open("a") as file:
        file.write("signer9_sample9,1\n")
    with pytest.raises(ValueError, match=r"3 missing or empty, first .*signer9_sample9_skeleton"):
        data_of(own_folder, strict=True)


def test_empty_video_is_named_before_training(own_folder: Path) -> None:
    video = sorted((own_folder / "train").glob("*_color.mp4"))[0]
    video.write_bytes(b"")
    with pytest.raises(ValueError, match=f"1 missing or empty, first .*{video.name}"):
        data_of(own_folder, strict=True)


def test_corrupt_video_is_named(own_folder: Path) -> None:
    data = data_of(own_folder, strict=True)
    for video in (own_folder / "train").glob("*_color.mp4"):
        video.write_bytes(b"no video at all")
    with pytest.raises(ValueError, match=r"Expected a readable video .*_color\.mp4\. Extract"):
        data.parts["train"][0]


def test_unlabelled_clip_is_named_or_left_out(own_folder: Path) -> None:
    path = own_folder / "train_labels.csv"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join(others))
    with pytest.raises(ValueError, match=f"3 files without, first {first.split(',')[0]}_color"):
        data_of(own_folder)
    assert len(data_of(own_folder, allow_unlabelled=True).parts["train"]) == len(others)


def test_clip_with_other_joints_is_named(own_folder: Path) -> None:
    clip = sorted((own_folder / "train").glob("*.npy"))[-1]
    np.save(clip, np.zeros((9, 21, 3), np.float32))
    with pytest.raises(ValueError, match=rf"{clip.name}: .* but got shape \(9, 21, 3\)"):
        data_of(own_folder, strict=True)


@pytest.mark.parametrize("content", [np.zeros((3, 4), np.float32), np.zeros((3, 4, 2), int)])
def test_skeleton_of_another_form_is_named(tmp_path: Path, content: np.ndarray) -> None:
    np.save(tmp_path / "clip.npy", content)
    with pytest.raises(ValueError, match=r"Expected a floating-point array .*clip\.npy"):
        read_skeleton(tmp_path / "clip.npy")


def test_pickled_skeleton_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"Expected a skeleton array .*clip\.npy"):
        read_skeleton(tmp_path / "clip.npy")


def test_npz_of_another_form_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"keys x, y and test but got .* Add test\."):
        data_of(write_npz(tmp_path / "a.npz", test=None))
    with pytest.raises(ValueError, match=r"Expected x of shape .* x \(40, 7\)"):
        data_of(write_npz(tmp_path / "b.npz", x=np.zeros((40, 7))))
    with pytest.raises(ValueError, match="in the test part but got none"):
        data_of(write_npz(tmp_path / "c.npz", test=np.zeros(40, bool)))
    (tmp_path / "d.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"Expected an \.npz file .*d\.npz"):
        data_of(tmp_path / "d.npz")


def test_modalities_that_are_not_there_are_refused(tmp_path: Path, folder: Path) -> None:
    path = write_npz(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"out of skeleton, .* Pass --modalities skeleton\."):
        data_of(path, modalities="skeleton,rgb")
    with pytest.raises(ValueError, match="with skeleton among them, but got 'rgb'"):
        data_of(folder, modalities="rgb")


def test_too_few_signs_are_refused(folder: Path) -> None:
    assert data_of(folder, num_signs=226).num_signs == 226
    with pytest.raises(ValueError, match=r"Expected classes 0 to 1 but got class 2"):
        _ = data_of(folder, num_signs=2).num_signs


# --- the model -----------------------------------------------------------------------------------


def small_model(**settings: object) -> SignFusion:
    return SignFusion(**{"num_signs": 5, "num_frames": 8, "hidden_size": 32, **settings})


def test_forward_scores_every_sign() -> None:
    model = small_model().eval()
    keypoints = torch.randn(2, 8, 42, 3)
    rgb = torch.randint(0, 256, (2, 8, 3, 32, 32), dtype=torch.uint8)
    logits = model(keypoints, rgb, rgb[:, :, :1])
    assert logits.shape == (2, 5)
    named = model(skeleton_keypoints=keypoints, rgb_frames=rgb, depth_frames=rgb[:, :, :1])
    torch.testing.assert_close(logits, named)


def test_forward_with_skeleton_alone() -> None:
    model = small_model(modalities=["skeleton"], num_joints=75)
    assert set(model.branches) == {"skeleton"}
    assert model(torch.randn(2, 6, 75, 3)).shape == (2, 5)


def test_226_signs_by_default() -> None:
    assert SignFusion(modalities=["skeleton"])(torch.randn(1, 4, 42, 3)).shape == (1, 226)


def test_padded_frames_do_not_change_the_scores() -> None:
    model = small_model(modalities=["skeleton"]).eval()
    keypoints = torch.randn(2, 8, 42, 3)
    mask = torch.arange(8) < 5
    keypoints[:, 5:] = 1e3
    torch.testing.assert_close(
        model(keypoints, frame_mask=mask.expand(2, 8)), model(keypoints[:, :5]), atol=1e-5, rtol=0
    )


def test_videos_are_brought_to_the_size_the_network_knows() -> None:
    model = small_model(modalities=["skeleton", "rgb"])
    video = torch.randint(0, 256, (2, 11, 3, 48, 40), dtype=torch.uint8)
    assert model(torch.randn(2, 8, 42, 3), video).shape == (2, 5)


def test_wrong_joints_and_missing_video_are_named() -> None:
    model = small_model(modalities=["skeleton", "rgb"])
    with pytest.raises(ValueError, match=r"\(batch, frames, 42, 3\) but got \(2, 8, 21, 3\)"):
        model(torch.randn(2, 8, 21, 3))
    with pytest.raises(ValueError, match="Expected rgb_frames but got None"):
        model(torch.randn(2, 8, 42, 3))


def test_rgb_branch_loads_a_local_pretrained_model(tmp_path: Path) -> None:
    config = VideoMAEConfig(
        image_size=16,
        patch_size=8,
        num_frames=4,
        hidden_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    pretrained = VideoMAEModel(config)
    pretrained.save_pretrained(tmp_path)
    model = small_model(modalities=["skeleton", "rgb", "depth"], rgb_model=str(tmp_path))
    loaded = model.branches["rgb"].backbone.state_dict()
    for name, value in pretrained.state_dict().items():
        torch.testing.assert_close(loaded[name], value)
    video = torch.randint(0, 256, (2, 8, 3, 32, 32), dtype=torch.uint8)
    assert model(torch.randn(2, 8, 42, 3), video, video[:, :, :1]).shape == (2, 5)


def test_every_trainable_parameter_is_in_one_group() -> None:
    model = small_model()
    groups = model.parameter_groups()
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    trainable = [id(p) for p in model.parameters() if p.requires_grad]
    assert sorted(grouped) == sorted(trainable)
    assert {(group["lr"], group["weight_decay"]) for group in groups} == {
        (model.lr, model.weight_decay),
        (model.lr, 0.0),
        (model.backbone_lr, model.weight_decay),
        (model.backbone_lr, 0.0),
    }
    no_decay = {id(p) for g in groups if g["weight_decay"] == 0 for p in g["params"]}
    assert id(model.fusion_logits) in no_decay


def test_every_trainable_parameter_gets_a_gradient() -> None:
    model = small_model()
    video = torch.randint(0, 256, (2, 8, 3, 32, 32), dtype=torch.uint8)
    model(torch.randn(2, 8, 42, 3), video, video[:, :, :1]).square().sum().backward()
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []


class Rates(pl.Callback):
    """Writes down the first group's learning rate at every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_warm_up_raises_the_rate_at_every_step(tmp_path: Path) -> None:
    data = SignData(str(write_npz(tmp_path / "a.npz")), batch_size=4, num_frames=7)
    model = small_model(
        modalities=["skeleton"], num_joints=5, num_coordinates=2, num_frames=7, warmup=0.5
    )
    rates = Rates()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[rates],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model, datamodule=data)
    steps = len(rates.seen)
    peak = max(rates.seen)
    rise = rates.seen.index(peak)
    assert peak == model.lr
    assert abs(rise + 1 - steps / 2) <= 1
    assert rates.seen[: rise + 1] == pytest.approx(
        [peak * (k + 1) / (rise + 1) for k in range(rise + 1)]
    )
    assert all(a > b for a, b in zip(rates.seen[rise + 1 :], rates.seen[rise + 2 :], strict=False))
    assert {"val_acc", "val_top5", "val_loss", "train_loss", "fusion/skeleton"} <= set(
        trainer.callback_metrics
    )


# --- the command line ----------------------------------------------------------------------------


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
    cli = main(["--data=words.npz", "--trainer.max_epochs=3", *SMALL_FLAGS])
    printed = capsys.readouterr().out
    assert cli.pruning.selection.sentence("words") in printed
    assert "carry the sign" not in printed
