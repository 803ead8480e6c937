"""Check a download of AUTSL before anything is trained on it.

    python -m examples.autsl.check AUTSL                       lists, sizes, labels, packets
    python -m examples.autsl.check AUTSL --depth frames        decodes every frame too
    python -m examples.autsl.check AUTSL --depth files         opens no video: seconds
    python -m examples.autsl.check AUTSL --strict true         fails where anything is wrong
    python -m examples.autsl.check AUTSL --modalities rgb      a download without depth
    python -m examples.autsl.check OUT --modalities skeleton   what examples.autsl.extract wrote

The layout is that of the ChaLearn challenge (Sincan & Keles 2020, arXiv:2008.00932): `train/`,
`val/` and `test/` with `signer0_sample1_color.mp4` and `_depth.mp4`, and one label file each.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jsonargparse import auto_cli
from rich.console import Console
from rich.progress import track
from rich.table import Table

from examples.autsl.data.files import Depth, array_problems, video_problem
from examples.autsl.data.labels import (
    CLIP_NAME,
    NUM_SIGNS,
    SIGN_LIST,
    SPLITS,
    SUFFIXES,
    Problem,
    clip_of,
    find_labels,
    read_sign_names,
    scan_labels,
    signer_of,
)
from examples.autsl.data.pose_clips import pose_problems, skeleton_ending
from examples.programs import one_line

VIDEOS = ("_color.mp4", "_depth.mp4")
PUBLISHED = {"train": (28142, 31), "val": (4418, 6), "test": (3742, 6)}  # clips, signers
KINDS = {
    "folder": "a split's folder is not there",
    "labels": "a split's label file is not there, or has no row",
    "signs": "the list of signs cannot be read; 226 signs are expected",
    "separator": "a label file with another separator than the comma; no row of it counts",
    "row": "a row is not a clip name and a class",
    "header": "the first row is a header",
    "class": "a class that AUTSL does not have",
    "duplicate": "a clip has more than one row",
    "path": "a name leads out of its folder",
    "bom": "a byte-order mark; harmless",
    "crlf": "Windows line ends; harmless",
    "missing": "a labelled clip has no file",
    "array": "an array that is cut off, or has another shape than most",
    "empty": "a file of zero bytes",
    "truncated": "a video that ends too early, or cannot be read",
    "zero-frame": "a video without a frame",
    "audio-only": "a file with sound and no picture",
    "wrong-size": "a video of another size",
    "unlabelled": "a file whose clip has no row",
    "wrong-extension": "a video that is not called .mp4",
    "signer": "a signer is in two splits",
    "count": "another number of clips or signers than published",
}
HARMLESS = ("bom", "crlf")


@dataclass(frozen=True)
class Checked:
    """Hold what a check found.

    Args:
        problems: all of them, in the order of the splits.
        usable: split to clip name to class, of the clips with nothing wrong.
        files: number of files listed.
    """

    problems: Sequence[Problem]
    usable: Mapping[str, Mapping[str, int]]
    files: int

    @property
    def serious(self) -> list[Problem]:
        """Those that `--strict` fails for."""
        return [problem for problem in self.problems if problem.kind not in HARMLESS]


def check(
    root: Path,
    size: int | None = 512,
    depth: Depth = "packets",
    published: bool = True,
    endings: Sequence[str] = VIDEOS,
    workers: int = 1,
    progress: bool = False,
) -> Checked:
    """Check the three splits below `root`; nothing is raised for what is wrong with the data.

    Args:
        root: the folder with train/, val/ and test/.
        size: width and height of the videos, in pixels; None for any.
        depth: how far to look into a video, as in `video_problem`; `files` opens no array either.
        published: whether to compare the numbers of clips and signers with the published ones.
        endings: what every clip must have a file of.
        workers: processes that look into videos.
        progress: whether to show a progress bar.

    Raises:
        ValueError: there is no folder at `root`.
    """
    if not root.is_dir():
        raise ValueError(f"Expected AUTSL's folder but got nothing at {root}. Pass its path.")
    joints = SUFFIXES["skeleton"]
    endings = [skeleton_ending(root / SPLITS[0]) if e == joints else e for e in endings]
    num_signs, problems = _num_signs(root)
    labels: dict[str, dict[str, int]] = {}
    there: list[Path] = []
    bad: set[tuple[str, str]] = set()
    files = 0
    for split in SPLITS:
        labels[split], found = _read(root, split, num_signs)
        sizes = _sizes(root / split)
        files += len(sizes)
        problems += found
        for clip, problem in _listing(root / split, labels[split], sizes, endings):
            problems.append(problem)
            bad.add((split, clip))
        there += [
            root / split / f"{clip}{ending}"
            for clip in labels[split]
            for ending in endings
            if sizes.get(f"{clip}{ending}")
        ]
    if depth != "files":
        videos = [path for path in there if path.suffix == ".mp4"]
        arrays = [path for path in there if path.suffix in (".npy", ".pose")]
        looked = _look(videos, size, depth, workers, progress)
        for split, clip, problem in itertools.chain(looked, _arrays(arrays)):
            problems.append(problem)
            bad.add((split, clip))
    problems += _signers(labels)
    problems += _counts(labels) if published else []
    usable = {
        split: {clip: sign for clip, sign in rows.items() if (split, clip) not in bad}
        for split, rows in labels.items()
    }
    return Checked(problems, usable, files)


def _num_signs(root: Path) -> tuple[int, list[Problem]]:
    """Return the number of classes by the list of signs, or AUTSL's own where it cannot be read."""
    try:
        signs = read_sign_names(root)
    except ValueError as error:
        return NUM_SIGNS, [Problem("signs", str(root / SIGN_LIST), str(error))]
    return (NUM_SIGNS if signs is None else max(signs) + 1), []


def _read(root: Path, split: str, num_signs: int) -> tuple[dict[str, int], list[Problem]]:
    path = find_labels(root, split)
    if path is None:
        text = f"Expected {split}_labels.csv but got no such file. Put AUTSL's labels there."
        return {}, [Problem("labels", str(root), text)]
    labels, problems = scan_labels(path, num_signs)
    if not labels and all(problem.kind != "separator" for problem in problems):
        problems.append(Problem("labels", str(path), "Expected labels but got no good row."))
    return labels, problems


def _sizes(folder: Path) -> dict[str, int]:
    """Name to size in bytes of the files in a folder, empty where there is none."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}


def _listing(
    folder: Path, labels: Mapping[str, int], sizes: Mapping[str, int], endings: Sequence[str]
) -> Iterator[tuple[str, Problem]]:
    """Return what is wrong by names and sizes of files, each with its clip; none is opened."""
    if not folder.is_dir():
        text = "Expected this folder but got none. Arrange the data as train/, val/ and test/."
        yield "", Problem("folder", str(folder), text)
        return
    for clip in labels:
        for name in (f"{clip}{ending}" for ending in endings):
            if name not in sizes:
                text = "Expected this file but got none. Extract it again, or delete its row."
                yield clip, Problem("missing", str(folder / name), text)
            elif not sizes[name]:
                what = "a video" if name.endswith(".mp4") else "an array"
                text = f"Expected {what} but got zero bytes. Extract it again."
                yield clip, Problem("empty", str(folder / name), text)
    for name in sorted(sizes):
        clip = CLIP_NAME.match(name)
        stem, dot, extension = name.rpartition(".")
        if clip and name.endswith(tuple(endings)):
            if clip[0] not in labels:
                yield clip[0], Problem("unlabelled", str(folder / name), "Add its row, or move it.")
        elif clip and dot and f"{stem}.mp4".endswith(tuple(endings)):
            text = f"Expected .mp4 but got .{extension}. Convert it, or rename it."
            yield clip[0], Problem("wrong-extension", str(folder / name), text)


def _look(
    paths: Sequence[Path], size: int | None, depth: Depth, workers: int, progress: bool
) -> Iterator[tuple[str, str, Problem]]:
    """Look into videos, several at a time; split, clip and what is wrong."""
    look = partial(video_problem, size=size, depth=depth)
    with ProcessPoolExecutor(workers) as pool:
        results = map(look, paths) if workers == 1 else pool.map(look, paths, chunksize=64)
        shown: Iterable[tuple[str, str] | None] = track(
            results, "Videos", total=len(paths), disable=not progress
        )
        for path, problem in zip(paths, shown, strict=True):
            if problem is not None:
                yield (
                    path.parent.name,
                    clip_of(path.name),
                    Problem(problem[0], str(path), problem[1]),
                )


def _arrays(paths: Sequence[Path]) -> Iterator[tuple[str, str, Problem]]:
    """Split, clip and what is wrong, of arrays or `.pose` files unlike most in their folder."""
    for folder, group in itertools.groupby(paths, key=lambda path: path.parent):
        some = [*group]
        find = pose_problems if some[0].suffix == ".pose" else array_problems
        for path, text in find(some):
            yield folder.name, clip_of(path.name), Problem("array", str(path), text)


def _signers(labels: Mapping[str, Mapping[str, int]]) -> list[Problem]:
    """Return signers that are in two splits, which makes a test signer-dependent."""
    splits: dict[str, list[str]] = {}
    for split, rows in labels.items():
        for signer in sorted({signer_of(clip) for clip in rows}):
            splits.setdefault(signer, []).append(split)
    text = "Expected each signer in one split but got {}. Take the label files from AUTSL again."
    return [
        Problem("signer", signer, text.format(" and ".join(found)))
        for signer, found in splits.items()
        if len(found) > 1
    ]


def _counts(labels: Mapping[str, Mapping[str, int]]) -> list[Problem]:
    problems = []
    for split, (clips, signers) in PUBLISHED.items():
        found = (len(labels[split]), len({signer_of(clip) for clip in labels[split]}))
        if found != (clips, signers):
            text = f"Expected {clips} clips of {signers} signers but got {found[0]} of {found[1]}."
            problems.append(Problem("count", split, text))
    return problems


def print_checked(checked: Checked, limit: int) -> None:
    """Print how much is usable, how often each kind occurs, and the first of each kind."""
    console = Console(soft_wrap=True)
    counts = Counter(problem.kind for problem in checked.problems)
    usable = ", ".join(f"{len(rows)} {split}" for split, rows in checked.usable.items())
    console.print(f"{checked.files} files listed; usable clips: {usable}.")
    if not counts:
        console.print("Nothing is wrong.")
        return
    table = Table("kind", "times", "what it is")
    for kind, meaning in KINDS.items():
        if counts[kind]:
            table.add_row(kind, str(counts[kind]), meaning)
    console.print(table)
    for kind in KINDS:
        of_kind = [problem for problem in checked.problems if problem.kind == kind]
        for problem in of_kind[:limit]:
            console.print(f"{kind}: {problem.where}: {problem.text}", markup=False, highlight=False)
        if len(of_kind) > limit:
            console.print(f"{kind}: and {len(of_kind) - limit} more; see --limit.", markup=False)


def endings_of(modalities: str | None) -> Sequence[str]:
    """Return the endings of some modalities' file names; None takes the videos.

    Raises:
        ValueError: one of the names is unknown.
    """
    if modalities is None:
        return VIDEOS
    names = [name.strip() for name in modalities.split(",")]
    if not {*names} <= {*SUFFIXES}:
        raise ValueError(
            f"Expected modalities out of {', '.join(SUFFIXES)} but got {modalities!r}. "
            "Pass --modalities rgb,depth, say."
        )
    return [SUFFIXES[name] for name in dict.fromkeys(names)]


def main(
    root: Path,
    size: int | None = 512,
    depth: Depth = "packets",
    published: bool = True,
    workers: int = 4,
    limit: int = 10,
    strict: bool = False,
    modalities: str | None = None,
) -> int:
    """Check AUTSL's folder, and say what is wrong with it.

    Args:
        root: the folder with train/, val/ and test/.
        size: width and height of the videos, in pixels; null for any.
        depth: files opens nothing, packets finds what is cut off, frames decodes all videos.
        published: whether to compare with the published numbers of clips and signers.
        workers: processes that look into videos.
        limit: how many problems of each kind to print.
        strict: whether to end with status 1 where anything but a harmless thing is wrong.
        modalities: what every clip must have, any of rgb, depth and skeleton, separated by commas;
            rgb,depth if left out.
    """
    endings = endings_of(modalities)
    checked = check(root, size, depth, published, endings, workers, progress=True)
    print_checked(checked, limit)
    return int(strict and bool(checked.serious))


if __name__ == "__main__":
    with one_line():
        sys.exit(auto_cli(main, as_positional=True))
