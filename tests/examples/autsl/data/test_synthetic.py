"""Synthetic folders are in the layout of AUTSL, and only planted joints tell the signs apart."""

from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
import pytest

from examples.autsl.data.labels import read_labels
from examples.autsl.data.synthetic import (
    JOINT_NAMES,
    SyntheticSettings,
    make_synthetic,
    read_planted,
)
from lightning_jointprune.skeletons import get_skeleton
from tests.examples.autsl.made import SMALL, rows
from tests.runs import SHORT_RUNS

pytestmark = SHORT_RUNS


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
