"""A clip that cannot be read is named and left out, before the training or in it."""

from __future__ import annotations

import warnings
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from examples.autsl.data.files import save_array
from examples.autsl.data.module import SignData
from examples.autsl.data.synthetic import SyntheticSettings, make_synthetic
from examples.autsl.data.usable import BrokenClipWarning
from examples.autsl_fusion import SignFusion, main
from tests.runs import SHORT_RUNS

pytestmark = SHORT_RUNS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    settings = SyntheticSettings(signs=2, clips=(12, 4, 4), signers=(2, 1, 1), size=32)
    return make_synthetic(tmp_path, settings)


def data_of(folder: Path, **settings: object) -> SignData:
    data = SignData(str(folder), **{"num_frames": 8, "batch_size": 4, **settings})
    data.setup("fit")
    return data


def files(folder: Path, ending: str) -> list[Path]:
    return sorted((folder / "train").glob(f"*{ending}"))


DAMAGE = {
    "cut off": ("_color.mp4", lambda path: path.write_bytes(path.read_bytes()[:-200])),
    "empty": ("_depth.mp4", lambda path: path.write_bytes(b"")),
    "gone": ("_skeleton.npy", Path.unlink),
    "array cut off": ("_skeleton.npy", lambda path: path.write_bytes(path.read_bytes()[:-200])),
    "no floats": ("_skeleton.npy", lambda path: np.save(path, np.zeros((9, 42, 3), int))),
    "no clip": ("_skeleton.npy", lambda path: np.save(path, np.zeros((9, 42), "f4"))),
    "other joints": ("_skeleton.npy", lambda path: np.save(path, np.zeros((9, 21, 3), "f4"))),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_broken_clip_is_named_and_left_out_or_refused(folder: Path, case: str) -> None:
    ending, damage = DAMAGE[case]
    broken = files(folder, ending)[0]  # of the first clip, which the others are compared with
    damage(broken)
    with pytest.warns(BrokenClipWarning, match=rf"Left 1 of 12 clips out .*{broken.name}"):
        data = data_of(folder)
    assert broken.name.rsplit("_", 1)[0] not in data.parts["train"].names
    assert len(data.parts["train"]) == 11
    assert data.joint_shape == (42, 3)
    with pytest.raises(ValueError, match=broken.name):
        data_of(folder, strict=True)


def test_split_without_a_usable_clip_is_refused(folder: Path) -> None:
    for path in files(folder, "_color.mp4"):
        path.write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"Expected 12 readable clips .* but got 12 that are not"):
        data_of(folder)


def test_clip_that_breaks_after_the_start_leaves_its_batch(folder: Path) -> None:
    data = data_of(folder, memory_mb=0, num_workers=0)
    broken = files(folder, "_color.mp4")[0]
    broken.write_bytes(b"no video")
    with pytest.warns(BrokenClipWarning, match=broken.name):
        batches = list(data.train_dataloader())
    assert sum(len(batch["sign"]) for batch in batches) == 11


def test_evaluation_passes_over_a_batch_of_broken_clips(folder: Path, tmp_path: Path) -> None:
    """AUTSL's last batch of a split can be a clip or two."""
    data = data_of(folder, memory_mb=0, num_workers=0, batch_size=3, modalities="skeleton")
    sorted((folder / "val").glob("*_skeleton.npy"))[-1].write_bytes(b"no array")
    with pytest.warns(BrokenClipWarning):
        batches = list(data.val_dataloader())
    assert [None if batch is None else len(batch["sign"]) for batch in batches] == [3, None]
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    model = SignFusion(2, modalities=("skeleton",), num_frames=8, hidden_size=32)
    with pytest.warns(BrokenClipWarning):
        (found,) = trainer.validate(model, data, verbose=False)
    assert 3 * found["val_acc"] == pytest.approx(round(3 * found["val_acc"]))  # of three clips


def test_a_disk_that_is_gone_is_an_error(folder: Path) -> None:
    clips = data_of(folder, memory_mb=0, num_workers=0, modalities="skeleton").parts["train"]
    clips.broken.most = 3
    for name in clips.names[:11]:
        (folder / "train" / f"{name}_skeleton.npy").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrokenClipWarning)
        for place in (0, 1, 2, 11, 0, 1, 2):  # one that is there in between
            clips[place]
        with pytest.raises(ValueError, match=r"got 4 in a row that are not\. Is the disk still"):
            clips[3]


def test_joints_are_read_from_a_folder_of_their_own(folder: Path, tmp_path: Path) -> None:
    before = data_of(folder, modalities="skeleton,rgb").parts["val"][1]
    other = tmp_path / "skeletons"
    for path in folder.rglob("*_skeleton.npy"):
        target = other / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    after = data_of(folder, modalities="skeleton,rgb", skeletons=str(other))
    torch.testing.assert_close(after.parts["val"][1], before, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"12 missing or empty, first .*_skeleton\.npy"):
        data_of(folder, modalities="skeleton,rgb")


@pytest.mark.filterwarnings("ignore:The run ended in its search phase")  # of two steps
def test_training_survives_a_broken_clip(folder: Path, tmp_path: Path) -> None:
    files(folder, "_color.mp4")[0].write_bytes(b"no video")
    flags = f"--data={folder} --trainer.max_epochs=2 --trainer.default_root_dir={tmp_path}"
    quiet = "--trainer.enable_progress_bar=false --trainer.enable_model_summary=false"
    small = "--model.hidden_size=32 --model.num_layers=1 --trainer.accelerator=cpu"
    with pytest.warns(BrokenClipWarning):
        cli = main([*flags.split(), *quiet.split(), *small.split()])
    assert cli.trainer.current_epoch == 2


def test_cached_frames_are_the_decoded_ones_and_the_video_is_not_opened_again(
    folder: Path, tmp_path: Path
) -> None:
    plain = data_of(folder, memory_mb=0).parts["train"][0]
    cache = str(tmp_path / "cache")
    first = data_of(folder, memory_mb=0, cache=cache).parts["train"]
    torch.testing.assert_close(first[0], plain)
    assert len(list((tmp_path / "cache" / "train").iterdir())) == 2

    data = data_of(folder, memory_mb=0, cache=cache, look="files")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("examples.autsl.data.clips.read_video", None)
        torch.testing.assert_close(data.parts["train"][0], plain)


def test_replaced_video_is_not_read_from_the_cache(folder: Path, tmp_path: Path) -> None:
    clips = data_of(folder, memory_mb=0, cache=str(tmp_path / "cache")).parts["train"]
    first = clips[0]["rgb_frames"]
    a, b = (folder / "train" / f"{clips.names[i]}_color.mp4" for i in (0, 1))
    a.write_bytes(b.read_bytes())
    assert not torch.equal(clips[0]["rgb_frames"], first)


def test_array_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    save_array(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(ValueError, match="Object arrays"):
        save_array(tmp_path / "a.npy", np.array([{}], dtype=object))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.ones(3))


def test_good_folder_gives_no_warning(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", BrokenClipWarning)
        data_of(folder, look="frames")
