"""Skeletons out of videos: MediaPipe Holistic over a folder, one array per clip.

    pip install "lightning-jointprune[extract]"
    python -m examples.autsl.extract AUTSL                   writes beside the videos
    python -m examples.autsl.extract AUTSL -o SKELETONS      a folder that can be trained on alone
    python -m examples.autsl.extract AUTSL --strict true     status 1 where a video was left out

A finished clip is never computed again: after a crash, start the same command again. Of
`signer0_sample1_color.mp4` come two files:

`signer0_sample1_skeleton.npy`
    Coordinates, shape `(frames, 543, 3)`, float32, NaN where nothing was found: x and y as shares
    of the picture's width and height, z about as x. It is written last, so it means "finished".
`signer0_sample1_found.npz`
    `found`, shape `(frames, 4)`, bool: whether each of `components` was found. `visibility`, shape
    `(frames, 33)`, 0 to 1: how surely each joint of the pose is seen, NaN without a pose. `order`:
    the order of the joints, a name out of `examples.autsl.data.orders`. `detector`: what
    found them.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from jsonargparse import ArgumentParser
from rich.console import Console
from rich.progress import track

from examples.autsl.data.files import PARTIAL, save_array, video_problem, write_whole
from examples.autsl.data.labels import SIGN_LIST, SPLITS, find_labels
from examples.autsl.data.orders import ORDER_FILE, get_order, save_order, saved_order
from examples.programs import one_line

ORDER = "face-left-pose-right"  # of the named skeleton mediapipe_holistic
BLOCKS = get_order(ORDER).blocks
COMPONENTS = tuple(name for name, _ in BLOCKS)
OTHER_VIDEOS = (".avi", ".mkv", ".mov", ".mp4", ".m4v", ".webm", ".wmv")
FIELDS = {  # of MediaPipe's results
    "face": "face_landmarks",
    "left": "left_hand_landmarks",
    "pose": "pose_landmarks",
    "right": "right_hand_landmarks",
}


# --- the detector --------------------------------------------------------------------------------


class Landmarks(NamedTuple):
    """Hold what was found in a clip of T frames.

    Args:
        joints: shape `(T, 543, 3)`, NaN where nothing was found.
        visibility: shape `(T, 33)`, 0 to 1, of the pose's joints; NaN without a pose.
        found: shape `(T, 4)`, bool, of each of `COMPONENTS`.
        detector: what found them, and its version.
    """

    joints: np.ndarray
    visibility: np.ndarray
    found: np.ndarray
    detector: str


Detector = Callable[[Iterable[np.ndarray]], Landmarks]  # of frames (height, width, 3), RGB, uint8


def read_results(results: Iterable[Any], detector: str) -> Landmarks:
    """Turn MediaPipe's result of each frame into arrays."""
    joints, visibility, found = [], [], []
    for result in results:
        lists = {name: getattr(result, FIELDS[name]) for name in COMPONENTS}
        parts = [
            np.full((size, 3), np.nan)
            if lists[name] is None
            else np.array([(mark.x, mark.y, mark.z) for mark in lists[name].landmark])
            for name, size in BLOCKS
        ]
        joints.append(np.concatenate(parts).astype(np.float32))
        pose = lists["pose"]
        sure = [np.nan] * 33 if pose is None else [mark.visibility for mark in pose.landmark]
        visibility.append(np.array(sure, np.float32))
        found.append([lists[name] is not None for name in COMPONENTS])
    return Landmarks(np.stack(joints), np.stack(visibility), np.array(found), detector)


class Holistic:
    """MediaPipe Holistic, which follows a person from frame to frame, anew in every clip.

    Raises:
        ModuleNotFoundError: MediaPipe is not installed.
    """

    def __init__(self) -> None:
        os.environ.setdefault("GLOG_minloglevel", "2")  # else it talks into the progress bar
        try:
            import mediapipe
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "Expected mediapipe but it is not installed: "
                'pip install "lightning-jointprune[extract]". It needs Python below 3.13 and numpy '
                "below 2, so an environment of its own may be best."
            ) from error
        self.name = f"MediaPipe Holistic {mediapipe.__version__}"
        self.solution = mediapipe.solutions.holistic.Holistic()

    def __call__(self, frames: Iterable[np.ndarray]) -> Landmarks:
        """Find the joints in a clip of at least one frame."""
        self.solution.reset()
        return read_results(map(self.solution.process, frames), self.name)


# --- one clip ------------------------------------------------------------------------------------


class Clip(NamedTuple):
    """A video, and the array it becomes."""

    video: Path
    array: Path


class DetectorError(Exception):
    """The detector has raised something; it may be of no use for other clips."""


class Outcome(NamedTuple):
    """Hold what became of a clip.

    Args:
        video: the file.
        problem: why it was left out; empty where it was not.
        found: the share of frames in which each of `COMPONENTS` was found, 0 to 1.
    """

    video: Path
    problem: str
    found: tuple[float, ...] = ()


def frames_of(video: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a video, one at a time, shape `(height, width, 3)`, RGB, uint8."""
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def extract_clip(clip: Clip, detect: Detector) -> Outcome:
    """Write the two files of a clip, the array last; a video that cannot be read writes none.

    Raises:
        DetectorError: the detector has raised anything; nothing is written.
    """
    if not clip.video.stat().st_size:
        return Outcome(clip.video, "Expected a video but got zero bytes. Extract it again.")
    # Decoding twice costs a hundredth of the detection, and leaves nothing half read.
    problem = video_problem(clip.video, None, "frames")
    if problem is not None:
        return Outcome(clip.video, problem[1])
    try:
        marks = detect(frames_of(clip.video))
    except Exception as error:
        raise DetectorError(
            f"Expected joints but got {type(error).__name__} from the detector: {error}. Give the "
            "same command again; if it comes again, look at the video."
        ) from error
    more = {
        "found": marks.found,
        "visibility": marks.visibility,
        "components": np.array(COMPONENTS),
        "order": np.array(ORDER),
        "detector": np.array(marks.detector),
    }
    name = clip.array.name.replace("_skeleton.npy", "_found.npz")
    write_whole(clip.array.with_name(name), lambda file: np.savez(file, **more))
    save_array(clip.array, marks.joints)
    return Outcome(clip.video, "", tuple(marks.found.mean(axis=0).tolist()))


# --- a folder ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Extracted:
    """Hold what became of a folder.

    Args:
        outcomes: of the clips that were not finished before, in the order of their names.
        finished: number of clips that were.
    """

    outcomes: Sequence[Outcome]
    finished: int

    @property
    def problems(self) -> list[Outcome]:
        """The videos that were left out."""
        return [outcome for outcome in self.outcomes if outcome.problem]


def extract(
    root: Path,
    out: Path | None = None,
    pattern: str = "*_color.mp4",
    workers: int = 1,
    make_detector: Callable[[], Detector] = Holistic,
    progress: bool = False,
) -> Extracted:
    """Extract the skeletons of all videos below `root` that are not finished.

    A video that cannot be read, or on which the detector fails, is left out with a problem.

    Args:
        root: the folder with the videos, at any depth.
        out: where to write, in the same folders as below `root`, with copies of AUTSL's label
            files; None writes beside the videos. Only one extraction may write there at a time.
        pattern: the names of the videos, with `*` and `?`.
        workers: processes.
        make_detector: makes the detector of a process; it has to be importable.
        progress: whether to show a progress bar.

    Raises:
        ValueError: there is no folder at `root`, no video in it, or the pattern is no file name;
            two videos would become the same file, or arrays at `out` are in another order.
    """
    out = root if out is None else out
    there = saved_order(out)
    if there not in (None, ORDER):
        raise ValueError(
            f"Expected joints in the order {ORDER} at {out}, as they are written, but got {there} "
            f"in its {ORDER_FILE}. Pass -o another folder."
        )
    clips, strangers = find_clips(root, out, pattern)
    left = [clip for clip in clips if not clip.array.is_file()]
    for folder in {clip.array.parent for clip in clips}:
        for unfinished in folder.glob(f".*{PARTIAL}"):  # what a killed run was about to write
            unfinished.unlink()
    _copy_labels(root, out)
    save_order(out, ORDER)
    run = partial(_extract, make_detector=make_detector)
    with _pool(workers) as pool:
        results = map(run, left) if workers == 1 else pool.map(run, left)
        shown = track(results, "Clips", total=len(left), disable=not progress)
        return Extracted([*strangers, *shown], len(clips) - len(left))


def find_clips(root: Path, out: Path, pattern: str) -> tuple[list[Clip], list[Outcome]]:
    """Return the videos below `root`, and those that are left out for the ending of their names."""
    if not root.is_dir():
        raise ValueError(f"Expected a folder with videos but got nothing at {root}. Pass its path.")
    if Path(pattern).name != pattern:
        raise ValueError(
            f"Expected the pattern of a file name but got {pattern!r}, which leads to other "
            f"folders. Pass the folder in front of it, and --pattern '{Path(pattern).name}'."
        )
    videos = sorted(path for path in root.rglob(pattern) if path.is_file())
    others = sorted({*root.rglob(f"{Path(pattern).stem}.*")} - {*videos})
    ending = Path(pattern).suffix
    strangers = [
        Outcome(path, f"Expected {ending} but got {path.suffix}. Convert it, or rename it.")
        for path in others
        if path.suffix in OTHER_VIDEOS
    ]
    if not videos and not strangers:
        raise ValueError(
            f"Expected videos called {pattern} below {root} but got none. "
            "Pass --pattern, such as '*.mp4'."
        )
    clips: dict[Path, Path] = {}  # array to video
    for path in videos:
        array = _array_of(out / path.relative_to(root))
        if array in clips:
            raise ValueError(
                f"Expected a video for each array but got {clips[array].name} and {path.name}, "
                f"which would both become {array}. Pass --pattern with one's ending, or rename it."
            )
        clips[array] = path
    return [Clip(path, array) for array, path in clips.items()], strangers


def _array_of(video: Path) -> Path:
    return video.with_name(f"{video.stem.removesuffix('_color')}_skeleton.npy")


def _copy_labels(root: Path, out: Path) -> None:
    """Copy AUTSL's label files, where there are any, so that `out` can be trained on."""
    if out.resolve() == root.resolve():
        return
    labels = [path for split in SPLITS if (path := find_labels(root, split)) is not None]
    for path in [*labels, root / SIGN_LIST]:
        if path.is_file():
            write_whole(out / path.relative_to(root), partial(_copy, path))


def _copy(path: Path, file: BinaryIO) -> None:
    file.write(path.read_bytes())


@cache
def _made(make_detector: Callable[[], Detector]) -> Detector:
    """Return the detector of this process; making one takes seconds."""
    return make_detector()


def _extract(clip: Clip, make_detector: Callable[[], Detector]) -> Outcome:
    detector = _made(make_detector)  # where none can be made, no clip can be extracted
    try:
        return extract_clip(clip, detector)
    except DetectorError as error:
        _made.cache_clear()  # what has failed once may fail for every clip from now on
        return Outcome(clip.video, str(error))


def _pool(workers: int) -> ProcessPoolExecutor:
    """Return processes that end with this one, also where it is killed."""
    context = multiprocessing.get_context("spawn")  # a fork lacks the progress bar's thread
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


# --- the command line ----------------------------------------------------------------------------


def print_extracted(extracted: Extracted) -> None:
    """Print how many clips there are, how often each component was found, and what was left out."""
    console = Console(soft_wrap=True)
    good = [outcome for outcome in extracted.outcomes if not outcome.problem]
    console.print(
        f"{len(good)} clips extracted, {extracted.finished} were finished before, "
        f"{len(extracted.problems)} left out."
    )
    if good:
        shares = np.mean([outcome.found for outcome in good], axis=0)
        pairs = zip(COMPONENTS, shares, strict=True)
        text = ", ".join(f"{name} {share:.0%}" for name, share in pairs)
        console.print(f"Found, of the frames: {text}.")
    for outcome in good:
        if not any(outcome.found):
            console.print(f"{outcome.video}: nobody was found in it.", markup=False)
    for outcome in extracted.problems:
        console.print(f"{outcome.video}: {outcome.problem}", markup=False, highlight=False)
    reasons = {outcome.problem for outcome in extracted.problems}
    if len(reasons) == 1 < len(extracted.problems) == len(extracted.outcomes):
        text = f"All {len(extracted.outcomes)} videos of this run were left out for one reason: "
        console.print(text + reasons.pop(), markup=False, highlight=False)


def main(
    root: Path,
    out: Path | None = None,
    pattern: str = "*_color.mp4",
    workers: int = 2,
    strict: bool = False,
) -> int:
    """Extract the skeletons of a folder of videos.

    Args:
        root: the folder with the videos, at any depth.
        out: where to write; beside the videos if left out.
        pattern: the names of the videos.
        workers: processes; each takes about a core and 500 MB.
        strict: whether to end with status 1 where a video was left out.
    """
    extracted = extract(root, out, pattern, workers, progress=True)
    print_extracted(extracted)
    return int(strict and bool(extracted.problems))


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = ArgumentParser(description=main.__doc__.partition("\n")[0])
    parser.add_function_arguments(main, as_positional=True, skip={"out"})
    parser.add_argument("-o", "--out", type=Path | None, help="where to write, if not beside them")
    return main(**parser.parse_args(args).as_dict())


if __name__ == "__main__":
    with one_line():
        sys.exit(run())
