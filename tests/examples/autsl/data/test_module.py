"""Folders and array files are read as they were written, and what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from examples.autsl.data.clips import read_skeleton
from examples.autsl.data.labels import read_labels
from examples.autsl.data.module import SignData
from examples.autsl.data.synthetic import (
    JOINT_NAMES,
)
from lightning_jointprune.skeletons import get_skeleton
from tests.examples.autsl.made import SMALL, data_of, rows, write_npz
from tests.runs import SHORT_RUNS

pytestmark = SHORT_RUNS


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
    ("row", "advice"),
    [
        ("sample,label", "Delete the row"),
        ("signer0_sample1", "Correct"),
        ("../signer0_sample1,1", "Correct"),
        ("signer0_sample1,-1", "Correct"),
    ],
)
def test_label_row_of_another_form_is_named(own_folder: Path, row: str, advice: str) -> None:
    path = own_folder / "train_labels.csv"
    path.write_text(row + "\n" + path.read_text())
    with pytest.raises(ValueError, match=rf"signer0_sample1,41 but got .*{advice}.* line 1\."):
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
