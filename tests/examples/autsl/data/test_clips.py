"""Clips are sampled, padded, kept in memory and held out for the validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from examples.autsl.data.clips import Arrays, fit_length, hold_out, read_video
from examples.autsl.data.synthetic import (
    write_video,
)
from tests.examples.autsl.made import data_of, write_npz
from tests.runs import SHORT_RUNS

pytestmark = SHORT_RUNS


def test_clips_are_kept_in_memory_only_where_they_fit(folder: Path) -> None:
    kept = data_of(folder).parts["train"]
    assert kept[0] is kept[0]
    streamed = data_of(folder, memory_mb=0).parts["train"]
    assert streamed[0] is not streamed[0]
    torch.testing.assert_close(kept[0], streamed[0])


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
