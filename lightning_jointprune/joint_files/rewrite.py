"""Rewrites files of skeletons to the kept joints, each whole or not at all."""

from __future__ import annotations

import os
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from lightning_jointprune.joint_files.format import Opened
from lightning_jointprune.joint_files.formats import SUFFIXES, format_of, new_name
from lightning_jointprune.joint_files.labels import JointLabels, is_sidecar
from lightning_jointprune.record.files import PathLike, Place, place
from lightning_jointprune.record.selection import JointSelection

FILES_PER_WORKER = 32  # smallest number of files for which another process is started
CHUNK = 8  # number of files that a process takes at once


class Rewritten(NamedTuple):
    """Says where a file was rewritten to, and how much smaller it became.

    Attributes:
        path: the new file.
        made: whether it was made now; False if this file, selection and axis had made it before.
        before: bytes of the old file.
        after: bytes of the new file.
    """

    path: Place
    made: bool
    before: int
    after: int

    def __str__(self) -> str:
        there = "" if self.made else ", there already"
        return f"{self.path}: {self.after} of {self.before} bytes{there}"


class Skipped(NamedTuple):
    """Says which file was left out, and why.

    Attributes:
        path: the file.
        why: the error that it caused.
    """

    path: Place
    why: str

    def __str__(self) -> str:
        return f"{self.path}: left out. {self.why}"


def outputs_of(paths: Sequence[PathLike], folder: PathLike) -> dict[Place, Place]:
    """Return the new path of each file in a folder, under its own name.

    Args:
        paths: files, or folders for all files of a known kind in them, at any depth, which keep
            their places below.
        folder: takes the new files; what is in it is no input.

    Raises:
        ValueError: if two have the same name, or a folder has no files.
    """
    output = place(folder)
    found = [pair for path in paths for pair in _files_of(place(path), output)]
    times = Counter(name for _, name in found)
    twice = next((name for name, count in times.items() if count > 1), None)
    if twice is not None:
        both = " and ".join(str(path) for path, name in found if name == twice)
        raise ValueError(
            f"Expected files of different names but got {both}, which would both become "
            f"{output / twice}. Pass those of one folder at a time, each with its own -o."
        )
    return {path: output / name for path, name in found}


def _files_of(path: Place, output: Place) -> list[tuple[Place, str]]:
    """Return a file, or those in a folder, each with its name in the output."""
    if not path.is_dir():
        return [(path, new_name(path.name))]
    folder, ours = path.resolve(), f"{str(output.resolve()).rstrip('/')}/"
    files = [file for suffix in SUFFIXES for file in folder.glob(f"**/*{suffix}")]
    found = sorted(str(f) for f in files if not f"{f}".startswith(ours) and not is_sidecar(f))
    if not found:
        raise ValueError(
            f"Expected files of {', '.join(SUFFIXES)} in {path} but got none. Pass another folder."
        )
    start = len(str(folder).rstrip("/")) + 1
    inside = [file[start:].rpartition("/") for file in found]
    return [
        (place(file), f"{below}{slash}{new_name(name)}")
        for file, (below, slash, name) in zip(found, inside, strict=True)
    ]


def rewrite_all(
    outputs: Mapping[Place, Place],
    selection: JointSelection,
    axis: int | None = None,
    workers: int | None = None,
) -> Iterator[Rewritten | Skipped]:
    """Write the kept joints of many files, in their order; a bad one is left out and named.

    Args:
        outputs: the new path of each file, see `outputs_of`.
        selection: the joints to keep.
        axis: see `rewrite`.
        workers: processes; None takes as many as there are processors, but none for few files.

    Raises:
        ModuleNotFoundError: if a package is not installed that reads them.
    """
    if workers is None:
        workers = min(_processors(), len(outputs) // FILES_PER_WORKER)
    attempt = partial(_attempt, selection=selection, axis=axis)
    if workers < 2:
        yield from map(attempt, outputs.items())
        return
    # A fork needs no imports, and is safe where the program has no threads, as fsspec has some.
    local = all(isinstance(path, Path) for pair in outputs.items() for path in pair)
    context = get_context("fork" if sys.platform == "linux" and local else "spawn")
    with ProcessPoolExecutor(workers, context, _end_with_parent) as pool:
        try:
            yield from pool.map(attempt, outputs.items(), chunksize=CHUNK)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _end_with_parent() -> None:
    """End this process with the one that started it, which cannot say so if it is killed."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()


def _processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _attempt(
    pair: tuple[Place, Place], selection: JointSelection, axis: int | None
) -> Rewritten | Skipped:
    path, output = pair
    try:
        return rewrite(path, output, selection, axis)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        return Skipped(path, " ".join(str(error).split()))


def rewrite(
    path: PathLike, output: PathLike, selection: JointSelection, axis: int | None = None
) -> Rewritten:
    """Write the kept joints of a file to another one of the same kind.

    Of an npz file, arrays of at least two axes with one of J are rewritten, and others copied.
    Labels say which joints the new file holds and which file they are from. They stand beside it
    (npy), under the key `jointprune` in it (npz, JSON), or in the metadata of its schema
    (parquet). A new file that has the right labels already is left as it is. A `.pose` file names
    its joints itself, and is finished if it has the time of change of the old one.

    Args:
        path: a file of a kind in `FORMATS` that has all joints.
        output: the new file.
        selection: the joints to keep.
        axis: the axis of the joints, 0 to ndim - 1; None where only one has their number.

    Raises:
        ValueError: if the file has other joints, only the kept ones, or several axes of J; or if
            the output is there and was not written by this, or is the file itself.
    """
    source, target = place(path), place(output)
    _check_place(source, target)
    wanted = JointLabels.of(selection, source, axis)
    with source.open("rb", buffering=0) as file:
        opened = Opened(file, source)
        format_ = format_of(opened)
        if format_.is_selected(opened, selection):
            kept = f"{len(selection.indices)} of {selection.num_joints}"
            raise ValueError(
                f"Expected a file with all joints but got {source}, which has the {kept} that the "
                "selection keeps. It needs nothing: read it as it is."
            )
        made = not _is_there(target, opened, selection, wanted)
        if made:
            format_.write(opened, target, selection, wanted, axis)
    return Rewritten(target, made, source.stat().st_size, target.stat().st_size)


def _check_place(source: Place, target: Place) -> None:
    if target.exists() and target.samefile(source):
        raise ValueError(
            f"Expected a place for a new file but got {target}, which is the file itself. Pass -o "
            "another folder."
        )


def _is_there(
    target: Place, source: Opened, selection: JointSelection, wanted: JointLabels
) -> bool:
    """Return whether the output is finished already."""
    if not target.exists():
        return False
    with target.open("rb", buffering=0) as file:
        opened = Opened(file, target)
        made = format_of(opened).is_made(opened, source, selection, wanted)
    if made is None:
        raise ValueError(
            f"Expected a place for a new file but got {target}, which is there and was not written "
            "by jointprune select. Pass -o another folder."
        )
    return made
