"""The clips of a split that can be trained on: the others are named and left out, or refused."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from examples.autsl_files import Depth, video_problem
from examples.autsl_labels import CLIP_NAME

SUFFIXES = {"skeleton": "_skeleton.npy", "rgb": "_color.mp4", "depth": "_depth.mp4"}
NAMED = 5


class BrokenClipWarning(UserWarning):
    """A clip is left out, because one of its files cannot be used."""


def usable_clips(
    folder: Path,
    labels: Mapping[str, int],
    modalities: Sequence[str],
    depth: Depth = "packets",
    strict: bool = False,
    allow_unlabelled: bool = False,
    workers: int = 1,
) -> dict[str, int]:
    """The labelled clips whose files can all be read, in the labels' order.

    Args:
        folder: the split's folder.
        labels: clip name to class.
        modalities: which files a clip needs.
        depth: how far to look into files before training, as in `video_problem`.
        strict: whether a clip that is left out is an error instead of a warning.
        allow_unlabelled: whether clips without a label are left out in silence.
        workers: processes that look into files.

    Raises:
        ValueError: there is no such folder, a clip has no label, no clip is left, or `strict` and
            a clip cannot be used.
    """
    if not folder.is_dir():
        raise ValueError(
            f"Expected the folder {folder} but got none. "
            "Arrange the data as train/, val/ and test/ with one label file each."
        )
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()}
    _refuse_unlabelled(folder, labels, modalities, sizes, allow_unlabelled)
    wanted = [name + SUFFIXES[kind] for kind in modalities for name in labels]
    absent = [name for name in wanted if not sizes.get(name)]
    broken = {_clip(name): f"{folder / name}: missing or empty." for name in reversed(absent)}
    if absent and (strict or len(broken) == len(labels)):
        raise ValueError(
            f"Expected {len(wanted)} files in {folder} but got {len(absent)} missing or empty, "
            f"first {absent[0]}. Extract them again, take their rows out of the label file, "
            "or choose other --modalities."
        )
    rest = [folder / name for name in wanted if _clip(name) not in broken]
    broken.update(_look(rest, depth, workers))
    if (broken and strict) or len(broken) == len(labels):
        raise ValueError(
            f"Expected {len(labels)} readable clips in {folder} but got {len(broken)} that are "
            f"not. {_named(broken)} Run `python -m examples.autsl_check {folder.parent}` for all."
        )
    if broken:
        rank_zero_warn(
            f"Left {len(broken)} of {len(labels)} clips out of {folder}. {_named(broken)}",
            category=BrokenClipWarning,
        )
    return {name: sign for name, sign in labels.items() if name not in broken}


def warn_broken(error: Exception) -> None:
    """Name a clip that could be read before the training and no longer can."""
    warnings.warn(f"Left a clip out of its batch. {error}", BrokenClipWarning, stacklevel=2)


def _clip(name: str) -> str:
    return name.rsplit("_", 1)[0]


def _named(broken: Mapping[str, str]) -> str:
    more = len(broken) - NAMED
    return " ".join(list(broken.values())[:NAMED]) + (f" And {more} more." if more > 0 else "")


def _refuse_unlabelled(
    folder: Path,
    labels: Mapping[str, int],
    modalities: Sequence[str],
    sizes: Mapping[str, int],
    allow: bool,
) -> None:
    endings = tuple(SUFFIXES[kind] for kind in modalities)
    strangers = sorted(
        name
        for name in sizes
        if name.endswith(endings) and CLIP_NAME.match(name) and _clip(name) not in labels
    )
    if strangers and not allow:
        raise ValueError(
            f"Expected a label for every clip in {folder} but got {len(strangers)} files without, "
            f"first {strangers[0]}. Add their rows to the label file, "
            "or leave them out with --datamodule.allow_unlabelled true."
        )


def _look(paths: Sequence[Path], depth: Depth, workers: int) -> Iterator[tuple[str, str]]:
    """Clip and text of the files that cannot be used."""
    if depth == "files":
        return
    videos = [path for path in paths if path.suffix == ".mp4"]
    look = partial(video_problem, size=None, depth=depth)
    with ProcessPoolExecutor(max(1, workers)) as pool:
        found = pool.map(look, videos, chunksize=64) if workers > 1 else map(look, videos)
        for path, problem in zip(videos, found, strict=True):
            if problem is not None:
                yield _clip(path.name), f"{path}: {problem[1]}"
    yield from _other_shapes([path for path in paths if path.suffix == ".npy"])


def _other_shapes(paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Arrays that are cut off, or have other joints than most of the split has."""
    shapes: dict[Path, tuple[int, ...]] = {}
    for path in paths:
        try:
            shapes[path] = np.load(path, mmap_mode="r", allow_pickle=False).shape
        except (OSError, ValueError, EOFError) as error:
            yield _clip(path.name), f"{path}: Expected a skeleton array but got {error}."
    usual = Counter(shape[1:] for shape in shapes.values()).most_common(1)
    for path, shape in shapes.items():
        if shape[1:] != usual[0][0] or shape[0] == 0:
            expected = f"Expected (frames, {', '.join(map(str, usual[0][0]))}) as in most clips"
            yield _clip(path.name), f"{path}: {expected} but got shape {shape}."
