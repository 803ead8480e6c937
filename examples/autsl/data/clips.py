"""Reading sign clips: files in AUTSL's layout, or arrays in an `.npz` file.

AUTSL itself brings color and depth videos but no skeletons: run a pose estimator (MediaPipe, say)
over the color videos and save one array per clip beside them, `signer0_sample1_skeleton.npy` of
shape `(frames, joints, coordinates)`, floating point, NaN where a joint was not found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch.utils.data import Dataset

from examples.autsl.data.files import save_array
from examples.autsl.data.labels import SUFFIXES
from examples.autsl.data.pose_clips import read_pose_clip, skeleton_ending
from examples.autsl.data.preprocess import Preprocess, Standardizer, with_marks
from examples.autsl.data.usable import BrokenClips

AS_IT_IS = Preprocess()
MODALITIES = ("skeleton", "rgb", "depth")


# --- one clip ------------------------------------------------------------------------------------


def sample_frames(available: int, wanted: int) -> np.ndarray:
    """Return the indices of `wanted` frames spread evenly over a clip; a short clip repeats frames.

    >>> sample_frames(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.linspace(0, available - 1, wanted).round().astype(int)


def read_video(path: Path, num_frames: int, size: int, channels: int) -> np.ndarray:
    """Decode a video and return `num_frames` frames spread evenly over it.

    Args:
        path: an mp4 file.
        num_frames: frames to return.
        size: width and height to return, in pixels.
        channels: 3 for RGB, 1 for grey (depth).

    Returns:
        Shape `(num_frames, channels, size, size)`, uint8.

    Raises:
        ValueError: if the file cannot be decoded or has no frame.
    """
    pixel_format = "rgb24" if channels == 3 else "gray"
    try:
        with av.open(str(path)) as container:
            decoded = list(container.decode(video=0))
    except (av.FFmpegError, IndexError, OSError) as error:
        raise ValueError(
            f"Expected a readable video but got {error} in {path}. "
            "Extract it again from the archive, or take its row out of the label file."
        ) from error
    if not decoded:
        raise ValueError(
            f"Expected at least one frame but got none in {path}. "
            "Extract it again from the archive, or take its row out of the label file."
        )
    chosen = [decoded[index] for index in sample_frames(len(decoded), num_frames)]
    frames = [frame.to_ndarray(width=size, height=size, format=pixel_format) for frame in chosen]
    return np.stack(frames).reshape(num_frames, size, size, channels).transpose(0, 3, 1, 2).copy()


def read_skeleton(path: Path, num_frames: int | None = None) -> np.ndarray:
    """Read one clip's joints, shape `(frames, joints, coordinates)`; NaN where a joint is missing.

    Args:
        path: a `.npy` or a `.pose` file.
        num_frames: frames to return of a longer clip, spread evenly; None returns all.

    Raises:
        ValueError: if the file is no such array.
    """
    try:
        pose = path.suffix == ".pose"
        clip = read_pose_clip(path) if pose else np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"Expected a skeleton array but got {error} in {path}. "
            "Write it again with numpy.save, shape (frames, joints, coordinates)."
        ) from error
    if clip.ndim != 3 or len(clip) == 0 or not np.issubdtype(clip.dtype, np.floating):
        raise ValueError(
            "Expected a floating-point array of shape (frames, joints, coordinates) but got "
            f"{clip.dtype} of shape {clip.shape} in {path}. Write it again with numpy.save."
        )
    if num_frames is not None and len(clip) > num_frames:
        clip = clip[sample_frames(len(clip), num_frames)]
    return clip.astype(np.float32, copy=False)


def fit_length(clip: np.ndarray, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Bring a clip to `num_frames`: long clips are sampled evenly, short ones padded with zeros.

    Returns:
        The clip and its frame mask (False where padded). The mask depends on the length alone, so
        no joint's absence can be read from it.
    """
    if len(clip) >= num_frames:
        return clip[sample_frames(len(clip), num_frames)], np.ones(num_frames, dtype=bool)
    padded = np.zeros((num_frames, *clip.shape[1:]), dtype=clip.dtype)
    padded[: len(clip)] = clip
    return padded, np.arange(num_frames) < len(clip)


# --- a folder in AUTSL's layout ------------------------------------------------------------------


class FolderClips(Dataset[dict[str, Any] | None]):
    """The clips of one split, read from disk when asked for.

    Args:
        folder: the split's folder.
        labels: clip name to class number, in the order of the items.
        modalities: what to read of each clip.
        num_frames: frames per clip.
        image_size: width and height of the videos, in pixels.
        joint_shape: joints and coordinates that every clip must have; None for any.
        standardize: applied to the joints; None leaves them as they are.
        prepare: applied to the joints before that.
        skeletons: the folder of the joints, where they are not beside the videos.
        keep: whether to keep clips in memory once read (small data sets only).
        cache: folder to keep the sampled and resized frames in; None decodes every time.
        strict: whether a clip that cannot be read is an error; else it is named, and None.
    """

    def __init__(
        self,
        folder: Path,
        labels: Mapping[str, int],
        modalities: Sequence[str],
        num_frames: int,
        image_size: int,
        joint_shape: tuple[int, int] | None = None,
        standardize: Standardizer | None = None,
        keep: bool = False,
        cache: Path | None = None,
        strict: bool = True,
        prepare: Preprocess = AS_IT_IS,
        skeletons: Path | None = None,
    ) -> None:
        self.folder = folder
        self.skeletons = skeletons or folder
        self.ending = skeleton_ending(self.skeletons)
        self.names = list(labels)
        self.signs = list(labels.values())
        self.modalities = tuple(modalities)
        self.num_frames = num_frames
        self.image_size = image_size
        self.joint_shape = joint_shape
        self.standardize = standardize
        self.cache = cache
        self.strict = strict
        self.prepare = prepare
        self.broken = BrokenClips()
        self._kept: dict[int, dict[str, Any] | None] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self.names)

    def skeleton(self, index: int, num_frames: int | None = None) -> np.ndarray:
        """Return the clip's joints, not yet standardised, `(frames, joints, coordinates)`.

        Args:
            index: number of the clip.
            num_frames: frames that are needed of a longer clip; None needs all.
        """
        path = self.skeletons / f"{self.names[index]}{self.ending}"
        clip = self.prepare(read_skeleton(path, num_frames))
        if self.joint_shape is not None and clip.shape[1:] != self.joint_shape:
            joints, coordinates = self.joint_shape
            raise ValueError(
                f"Expected {joints} joints of {coordinates} coordinates, as in the first training "
                f"clip, but got shape {clip.shape} in {path}. "
                "Extract every clip with the same skeleton."
            )
        return clip

    def __getitem__(self, index: int) -> dict[str, Any] | None:
        if self._kept and index in self._kept:
            return self._kept[index]
        item = None
        try:
            item = self._read(index)
            self.broken.clear()
        except ValueError as error:
            if self.strict:
                raise
            self.broken.warn(error)
        if self._kept is not None:
            self._kept[index] = item
        return item

    def _read(self, index: int) -> dict[str, Any]:
        needed = self.num_frames if self.prepare.frame_by_frame else None
        clip = _finished(self.skeleton(index, needed), self.standardize, self.prepare.mark)
        item = _skeleton_item(clip, self.signs[index], self.num_frames, index)
        for kind, channels in (("rgb", 3), ("depth", 1)):
            if kind in self.modalities:
                path = self.folder / f"{self.names[index]}{SUFFIXES[kind]}"
                item[f"{kind}_frames"] = torch.from_numpy(self._video(path, channels))
        return item

    def _video(self, path: Path, channels: int) -> np.ndarray:
        """Return the clip's frames, from the cache where they are in it."""
        if self.cache is None:
            return read_video(path, self.num_frames, self.image_size, channels)
        info = path.stat()
        shape = f"{self.num_frames}x{self.image_size}_{info.st_size}_{info.st_mtime_ns}"
        kept = self.cache / self.folder.name / f"{path.stem}_{shape}.npy"
        if kept.is_file():
            return np.load(kept, allow_pickle=False)
        video = read_video(path, self.num_frames, self.image_size, channels)
        save_array(kept, video)
        return video


def _finished(clip: np.ndarray, standardize: Standardizer | None, mark: bool) -> np.ndarray:
    """Return what the model gets of a clip: standardised, and marked where a joint is missing."""
    finished = clip if standardize is None else standardize(clip)
    return with_marks(clip, finished) if mark else finished


def _skeleton_item(clip: np.ndarray, sign: int, num_frames: int, index: int) -> dict[str, Any]:
    clip, mask = fit_length(clip, num_frames)
    return {
        "skeleton_keypoints": torch.from_numpy(clip),
        "frame_mask": torch.from_numpy(mask),
        "sign": sign,
        "clip": index,
    }


# --- arrays in an .npz file ----------------------------------------------------------------------


class ArrayClips(Dataset[dict[str, Any]]):
    """Clips that are already in memory, shape `(clips, frames, joints, coordinates)`."""

    def __init__(
        self,
        clips: np.ndarray,
        signs: np.ndarray,
        num_frames: int,
        standardize: Standardizer | None = None,
        prepare: Preprocess = AS_IT_IS,
    ) -> None:
        self.clips = clips
        self.names = [f"clip{number}" for number in range(len(clips))]
        self.prepare = prepare
        self.signs = signs
        self.num_frames = num_frames
        self.standardize = standardize

    def __len__(self) -> int:
        return len(self.clips)

    def skeleton(self, index: int) -> np.ndarray:
        """Return the clip's joints, not yet standardised, `(frames, joints, coordinates)`."""
        return self.prepare(self.clips[index].astype(np.float32))

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip = _finished(self.skeleton(index), self.standardize, self.prepare.mark)
        return _skeleton_item(clip, int(self.signs[index]), self.num_frames, index)


def hold_out(
    signs: np.ndarray, groups: np.ndarray | None, fraction: float, seed: int
) -> np.ndarray:
    """Choose validation clips out of the training part.

    Whole groups (sessions, subjects) are held out where every class keeps clips in training;
    without groups, or where no group can be spared, a random share of every class.

    Args:
        signs: class of every clip, shape `(clips,)`.
        groups: session or subject of every clip, the same shape, or None.
        fraction: share to hold out, between 0 and 1.
        seed: seed of the choice.

    Returns:
        Shape `(clips,)`, True where held out.
    """
    rng = np.random.default_rng(seed)
    held = np.zeros(len(signs), dtype=bool)
    for group in () if groups is None else rng.permutation(np.unique(groups)):
        more = held | (groups == group)
        every_sign_stays = len(np.unique(signs[~more])) == len(np.unique(signs))
        if every_sign_stays and more.sum() <= 1.5 * fraction * len(signs):
            held = more
        if held.sum() >= fraction * len(signs):
            break
    if held.any():
        return held
    for sign in np.unique(signs):
        clips = rng.permutation(np.flatnonzero(signs == sign))
        held[clips[: round(fraction * len(clips))]] = True
    return held


@dataclass(frozen=True)
class Arrays:
    """The three parts of an `.npz` file: clips and classes of each, and the joints' names."""

    parts: Mapping[str, tuple[np.ndarray, np.ndarray]]
    joint_names: tuple[str, ...] | None

    @classmethod
    def read(cls, path: Path, fraction: float, seed: int) -> Arrays:
        """Read `x`, `y`, `test`, and where they are there `joint_names`, `word`, `val`, `session`.

        `word` (bool) says which clips to use at all. Without `val` (bool) a `fraction` of the
        training part is held out, by `session` or `subject` where the file has them.

        Raises:
            ValueError: if a key is missing or the shapes do not fit together.
        """
        data = _load_npz(path)
        use = data.get("word", np.ones(len(data["x"]), dtype=bool)).astype(bool)
        clips, test = data["x"][use], data["test"][use].astype(bool)
        signs = np.unique(data["y"][use], return_inverse=True)[1]
        if "val" in data:
            val = data["val"][use].astype(bool) & ~test
        else:
            key = next((key for key in ("session", "subject") if key in data), None)
            groups = None if key is None else data[key][use][~test]
            val = np.zeros_like(test)
            val[~test] = hold_out(signs[~test], groups, fraction, seed)
        chosen = {"train": ~test & ~val, "val": val, "test": test}
        for split, part in chosen.items():
            if not part.any():
                raise ValueError(
                    f"Expected clips in the {split} part but got none in {path}. "
                    "Check its `test` and `val` keys (bool, one value per clip)."
                )
        names = tuple(map(str, data["joint_names"])) if "joint_names" in data else None
        return cls({split: (clips[part], signs[part]) for split, part in chosen.items()}, names)


def _load_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Expected an .npz file but got {error} in {path}. Write it with numpy.savez."
        ) from error
    absent = [key for key in ("x", "y", "test") if key not in data]
    if absent:
        raise ValueError(
            f"Expected the keys x, y and test but got {', '.join(sorted(data))} in {path}. "
            f"Add {', '.join(absent)}."
        )
    shape = data["x"].shape
    if len(shape) != 4 or len(data["y"]) != shape[0] or len(data["test"]) != shape[0]:
        raise ValueError(
            "Expected x of shape (clips, frames, joints, coordinates) and one y and test per clip "
            f"but got x {shape}, y {data['y'].shape}, test {data['test'].shape} in {path}. "
            "Write it again with these shapes."
        )
    return data
