"""Preprocessing fills gaps, and lets no dropped joint reach the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from examples.autsl.data.module import SignData
from examples.autsl.data.preprocess import Preprocess, Standardizer, centre, fill_gaps, with_marks
from examples.autsl.data.synthetic import JOINT_NAMES, SyntheticSettings, make_synthetic
from examples.autsl_fusion import FusionCLI, SignFusion
from lightning_jointprune import JointPruningLayer

SHOULDERS = (1, 2)


def clip_of(seed: int, frames: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    clip = rng.normal(size=(frames, 5, 3)).astype(np.float32)
    clip[rng.random((frames, 5)) < 0.3] = np.nan
    return clip


@given(st.integers(0, 1000), st.integers(0, 4))
def test_short_gaps_are_on_the_line_and_long_ones_stay(seed: int, longest: int) -> None:
    clip = clip_of(seed)
    filled = fill_gaps(clip, longest)
    for joint in range(5):
        seen = np.flatnonzero(np.isfinite(clip[:, joint, 0]))
        np.testing.assert_array_equal(filled[seen, joint], clip[seen, joint])
        for frame in set(range(len(clip))) - set(seen):
            around = [seen[seen < frame].max(initial=-1), seen[seen > frame].min(initial=99)]
            if -1 in around or 99 in around or around[1] - around[0] - 1 > longest:
                assert np.isnan(filled[frame, joint]).all()
                continue
            for axis in range(3):
                expected = np.interp(frame, around, clip[around, joint, axis])
                np.testing.assert_allclose(
                    filled[frame, joint, axis], expected, rtol=1e-4, atol=1e-6
                )


@given(st.integers(0, 1000), st.floats(0.5, 4.0), st.floats(-3.0, 3.0))
def test_centred_clip_does_not_depend_on_place_and_size(seed: int, size: float, at: float) -> None:
    clip = clip_of(seed, frames=30)
    moved = (clip * size + at).astype(np.float32)
    np.testing.assert_allclose(centre(moved, SHOULDERS), centre(clip, SHOULDERS), atol=1e-4)


def test_clip_without_its_reference_is_missing_altogether() -> None:
    clip = clip_of(0)
    clip[:, 1] = np.nan
    assert np.isnan(centre(clip, SHOULDERS)).all()


def test_one_reference_joint_leaves_the_scale() -> None:
    clip = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    np.testing.assert_allclose(centre(clip, [0]), clip - clip[:, :1].mean(axis=(0, 1)))


def test_zeros_are_missing_where_the_data_says_so() -> None:
    clip = np.ones((3, 5, 3), np.float32)
    clip[1, 2] = 0
    assert np.isnan(Preprocess(zeros_missing=True)(clip)[1, 2]).all()
    np.testing.assert_array_equal(Preprocess()(clip), clip)
    np.testing.assert_array_equal(Preprocess(zeros_missing=True, longest_gap=1)(clip), 1)


@given(st.integers(0, 1000), st.sampled_from([0, 3, 4]), st.booleans())
def test_no_joint_but_the_reference_moves_another(seed: int, joint: int, vanish: bool) -> None:
    prepare = Preprocess(longest_gap=3, reference=SHOULDERS)
    clip = clip_of(seed)
    other = clip.copy()
    other[:, joint] = np.nan if vanish else 1e6
    rest = [index for index in range(5) if index != joint]
    np.testing.assert_array_equal(prepare(other)[:, rest], prepare(clip)[:, rest])


def test_marks_say_which_joint_is_missing() -> None:
    clip = clip_of(0)
    marked = with_marks(clip, np.nan_to_num(clip))
    assert marked.shape == (12, 5, 4)
    np.testing.assert_array_equal(marked[..., 3], np.isnan(clip[..., 0]))


KEPT, DROPPED = [0, 5, 21, 30], [3, 17, 41]
PREPARED = {"longest_gap": 2, "mark_gaps": True, "reference": ["left_hand_wrist", 21]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    settings = SyntheticSettings(signs=2, clips=(6, 2, 2), signers=(2, 1, 1), size=16)
    return make_synthetic(tmp_path, settings)


@pytest.mark.parametrize("change", [1e6, np.nan, np.inf])
def test_dropped_joint_in_the_raw_data_leaves_the_output_bitwise_the_same(
    folder: Path, change: float
) -> None:
    model = SignFusion(num_signs=2, modalities=["skeleton"], num_coordinates=4, num_frames=8)
    gates = JointPruningLayer(num_joints=42)
    gates.freeze(torch.isin(torch.arange(42), torch.tensor(KEPT)))
    before = scores(folder, model.eval(), gates.eval())
    for path in folder.glob("*/*.npy"):
        clip = np.load(path)
        clip[1::2, DROPPED] = change
        np.save(path, clip)
    assert torch.equal(scores(folder, model, gates), before)
    for path in folder.glob("*/*.npy"):
        clip = np.load(path)
        clip[1::2, KEPT] += 0.5
        np.save(path, clip)
    assert not torch.equal(scores(folder, model, gates), before)


def scores(folder: Path, model: SignFusion, gates: JointPruningLayer) -> torch.Tensor:
    """Return a pruned model's scores of all clips, from the files on."""
    data = SignData(str(folder), "skeleton", num_frames=8, batch_size=4, **PREPARED)
    data.setup("fit")
    batches = [batch for part in (data.val_dataloader(), data.test_dataloader()) for batch in part]
    with torch.no_grad():
        return torch.cat([model(gates(batch["skeleton_keypoints"])) for batch in batches])


def test_statistics_of_the_kept_joints_are_those_of_their_training_clips_by_hand(
    folder: Path,
) -> None:
    for path in folder.glob("*/*.npy"):
        clip = np.load(path)
        clip[2, KEPT[1]] = np.nan
        np.save(path, clip)
    data = SignData(str(folder), "skeleton", kept=KEPT)
    data.setup("fit")
    frames = np.concatenate([np.load(path) for path in (folder / "train").glob("*.npy")])
    fitted = data.parts["test"].standardize
    np.testing.assert_allclose(fitted.mean[KEPT], np.nanmean(frames[:, KEPT], 0), rtol=1e-5)
    np.testing.assert_allclose(fitted.std[KEPT], np.nanstd(frames[:, KEPT], 0), rtol=1e-4)
    rest = np.setdiff1d(np.arange(42), KEPT)
    assert (fitted.mean[rest] == 0).all()
    assert (fitted.std[rest] == 1).all()


def test_statistics_fitted_again_after_the_freeze_leave_the_kept_joints_bitwise_as_they_were(
    folder: Path,
) -> None:
    names = [JOINT_NAMES[joint] for joint in KEPT]
    data = SignData(str(folder), "skeleton", num_frames=8, batch_size=4, longest_gap=2)
    data.setup("fit")
    (before,) = data.val_dataloader()
    data.keep_only(names)
    data.setup("test")
    (after,) = data.val_dataloader()
    gates = torch.isin(torch.arange(42), torch.tensor(KEPT))[:, None]
    x = after["skeleton_keypoints"]
    assert torch.equal(x, before["skeleton_keypoints"] * gates)
    for path in folder.glob("*/*.npy"):
        clip = np.load(path)
        clip[:, DROPPED] = 1e6
        np.save(path, clip)
    data.keep_only(KEPT)
    data.setup("test")
    (changed,) = data.val_dataloader()
    assert torch.equal(changed["skeleton_keypoints"], x)


def test_reference_that_is_not_kept_is_refused(folder: Path) -> None:
    data = SignData(str(folder), "skeleton", reference=["left_hand_wrist"], kept=[1, 2])
    with pytest.raises(ValueError, match=r"Expected the reference joints \[0\] to be kept"):
        data.setup("fit")


def test_reference_joints_are_kept_by_the_command_line(folder: Path, tmp_path: Path) -> None:
    cli = FusionCLI(
        [
            f"--data={folder}",
            "--modalities=skeleton",
            "--datamodule.reference=[left_hand_wrist,right_hand_wrist]",
            "--pruning.keep=[left_hand_thumb_tip,left_hand_wrist]",
            f"--trainer.default_root_dir={tmp_path}",
        ]
    )
    assert cli.datamodule.preprocess.reference == (0, 21)
    assert cli.config.pruning.keep == ["left_hand_thumb_tip", "left_hand_wrist", "right_hand_wrist"]


def test_wrong_order_is_refused_before_the_training(tmp_path: Path, folder: Path) -> None:
    for path in folder.glob("*/*.npy"):
        np.save(path, np.random.default_rng(0).random((9, 543, 3)).astype(np.float32))
    with pytest.raises(ValueError, match="Expected joints in the order face-left-pose-right but"):
        SignData(str(folder), "skeleton", order="face-left-pose-right").setup("fit")


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
