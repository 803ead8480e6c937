"""The clips of a split that can be trained on: the others are named and left out, or refused."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn

from examples.autsl.data.files import Depth, array_problems, video_problem
from examples.autsl.data.labels import CLIP_NAME, SUFFIXES, clip_of
from examples.autsl.data.pose_clips import pose_problems, skeleton_ending

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
    skeletons: Path | None = None,
) -> dict[str, int]:
    """Return the labelled clips whose files can all be read, in the labels' order.

    Args:
        folder: the split's folder.
        labels: clip name to class.
        modalities: which files a clip needs.
        depth: how far to look into files before training, as in `video_problem`.
        strict: whether a clip that is left out is an error instead of a warning.
        allow_unlabelled: whether clips without a label are left out in silence.
        workers: processes that look into files.
        skeletons: the folder of the joints, where they are not beside the videos.

    Raises:
        ValueError: there is no such folder, a clip has no label, no clip is left, or `strict` and
            a clip cannot be used.
    """
    places = dict.fromkeys(modalities, folder) | {"skeleton": skeletons or folder}
    endings = {**SUFFIXES, "skeleton": skeleton_ending(places["skeleton"])}
    sizes: dict[Path, int] = {}
    for kind in modalities:
        sizes |= _sizes(places[kind], endings[kind])
    _refuse_unlabelled(folder, labels, sizes, allow_unlabelled)
    wanted = [places[kind] / (name + endings[kind]) for kind in modalities for name in labels]
    absent = [path for path in wanted if not sizes.get(path)]
    broken = {clip_of(path.name): f"{path}: missing or empty." for path in reversed(absent)}
    if absent and (strict or len(broken) == len(labels)):
        raise ValueError(
            f"Expected {len(wanted)} files for {folder} but got {len(absent)} missing or empty, "
            f"first {absent[0]}. Extract them again, take their rows out of the label file, "
            "or choose other --modalities."
        )
    rest = [path for path in wanted if clip_of(path.name) not in broken]
    broken.update(_look(rest, depth, workers))
    if (broken and strict) or len(broken) == len(labels):
        raise ValueError(
            f"Expected {len(labels)} readable clips in {folder} but got {len(broken)} that are "
            f"not. {_named(broken)} Run `python -m examples.autsl.check {folder.parent}` for all."
        )
    if broken:
        rank_zero_warn(
            f"Left {len(broken)} of {len(labels)} clips out of {folder}. {_named(broken)}",
            category=BrokenClipWarning,
        )
    return {name: sign for name, sign in labels.items() if name not in broken}


class BrokenClips:
    """Names clips that could be read before the training and no longer can, until it is too many.

    Args:
        most: how many there may be in a row, of all that one process reads.
    """

    def __init__(self, most: int = 16) -> None:
        self.most = most
        self.in_a_row = 0

    def clear(self) -> None:
        """A clip was read."""
        self.in_a_row = 0

    def warn(self, error: Exception) -> None:
        """A clip was not.

        Raises:
            ValueError: none of the last ones was.
        """
        self.in_a_row += 1
        if self.in_a_row > self.most:
            raise ValueError(
                f"Expected a readable clip but got {self.in_a_row} in a row that are not. Is the "
                f"disk still there? The last: {error}"
            ) from error
        warnings.warn(f"Left a clip out of its batch. {error}", BrokenClipWarning, stacklevel=2)


def _named(broken: Mapping[str, str]) -> str:
    more = len(broken) - NAMED
    return " ".join(list(broken.values())[:NAMED]) + (f" And {more} more." if more > 0 else "")


def _sizes(folder: Path, ending: str) -> dict[Path, int]:
    """Return the size in bytes of the files in a folder whose names end so."""
    if not folder.is_dir():
        raise ValueError(
            f"Expected the folder {folder} but got none. "
            "Arrange the data as train/, val/ and test/ with one label file each."
        )
    with os.scandir(folder) as entries:
        return {
            folder / entry.name: entry.stat().st_size
            for entry in entries
            if entry.name.endswith(ending) and entry.is_file()
        }


def _refuse_unlabelled(
    folder: Path, labels: Mapping[str, int], sizes: Mapping[Path, int], allow: bool
) -> None:
    strangers = sorted(
        path.name
        for path in sizes
        if CLIP_NAME.match(path.name) and clip_of(path.name) not in labels
    )
    if strangers and not allow:
        raise ValueError(
            f"Expected a label for every clip in {folder} but got {len(strangers)} files without, "
            f"first {strangers[0]}. Add their rows to the label file, "
            "or leave them out with --datamodule.allow_unlabelled true."
        )


def _look(paths: Sequence[Path], depth: Depth, workers: int) -> Iterator[tuple[str, str]]:
    """Yield clip and text of the files that cannot be used."""
    if depth == "files":
        return
    videos = [path for path in paths if path.suffix == ".mp4"]
    look = partial(video_problem, size=None, depth=depth)
    with ProcessPoolExecutor(max(1, workers)) as pool:
        found = pool.map(look, videos, chunksize=64) if workers > 1 else map(look, videos)
        for path, problem in zip(videos, found, strict=True):
            if problem is not None:
                yield clip_of(path.name), f"{path}: {problem[1]}"
    for path, problem in array_problems([path for path in paths if path.suffix == ".npy"]):
        yield clip_of(path.name), f"{path}: {problem}"
    for path, problem in pose_problems([path for path in paths if path.suffix == ".pose"]):
        yield clip_of(path.name), f"{path}: {problem}"
