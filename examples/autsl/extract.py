"""Skeletons out of videos: a detector over a folder, one array per clip.

    pip install "lightning-jointprune[extract]"
    python -m examples.autsl.extract AUTSL                   writes beside the videos
    python -m examples.autsl.extract AUTSL -o SKELETONS      a folder that can be trained on alone
    python -m examples.autsl.extract AUTSL --strict true     status 1 where a video was left out
    python -m examples.autsl.extract AUTSL --format pose     `.pose` files in place of arrays
    python -m examples.autsl.extract AUTSL --detector mediapipe --models hand_landmarker.task

A finished clip is never computed again: after a crash, start the same command again. Of
`signer0_sample1_color.mp4` come two files:

`signer0_sample1_skeleton.npy`
    Coordinates, shape `(frames, joints, coordinates)`, float32, NaN where nothing was found: x and
    y as shares of the picture's width and height, z about as x. It is written last, so it means
    "finished".
`signer0_sample1_found.npz`
    `found`, shape `(frames, components)`, bool: whether each of `components` was found.
    `visibility`, shape `(frames, 33)`, 0 to 1: how surely each joint of the pose is seen, NaN
    without a pose; of RTMPose, `(frames, 133)`, the score of each joint. `order`: the order of the
    joints, a name out of `examples.autsl.data.orders`. `detector`: what found them.

With `--format pose` it is one file, `signer0_sample1_skeleton.pose`, whose confidence says what
`_found.npz` does: 0 where nothing was found.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import av
import numpy as np
from jsonargparse import ArgumentParser
from rich.console import Console
from rich.progress import track

from examples.autsl.data.files import PARTIAL, save_array, video_problem, write_whole
from examples.autsl.data.labels import SIGN_LIST, SPLITS, find_labels
from examples.autsl.data.orders import (
    ORDER_FILE,
    get_order,
    save_order,
    saved_detector,
    saved_order,
)
from examples.autsl.data.pose_file import PoseFile, Shot, confidence, pose_file
from examples.autsl.detectors.holistic import Holistic
from examples.autsl.detectors.landmarks import Detect, Detector, Landmarks
from examples.autsl.detectors.rtmpose import RTMPose
from examples.autsl.detectors.tasks import Tasks
from examples.programs import one_line

OTHER_VIDEOS = (".avi", ".mkv", ".mov", ".mp4", ".m4v", ".webm", ".wmv")
DetectorName = Literal["mediapipe-legacy", "mediapipe", "rtmpose"]
Suffix = Literal["npy", "pose"]
DETECTORS: dict[DetectorName, Callable[[tuple[Path, ...]], Detector]] = {
    "mediapipe-legacy": Holistic,
    "mediapipe": Tasks,
    "rtmpose": RTMPose,
}
HOLISTIC = Holistic()


# --- one clip ------------------------------------------------------------------------------------


class Clip(NamedTuple):
    """A video, and the file that it becomes."""

    video: Path
    skeleton: Path


class DetectorError(Exception):
    """The detector has raised something; it may be of no use for other clips."""


class Outcome(NamedTuple):
    """Hold what became of a clip.

    Args:
        video: the file.
        problem: why it was left out; empty where it was not.
        found: the share of frames in which each component was found, 0 to 1.
    """

    video: Path
    problem: str
    found: tuple[float, ...] = ()


def components_of(order: str) -> tuple[str, ...]:
    """Return the parts of a body that an order has, such as `pose` and `left`."""
    return tuple(name for name, _ in get_order(order).blocks)


def frames_of(video: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a video, one at a time, shape `(height, width, 3)`, RGB, uint8."""
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def shot_of(video: Path) -> Shot:
    """Return width and height of a video in pixels, and its frames per second."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate or stream.guessed_rate
        return Shot(stream.width, stream.height, float(rate or 0))


def extract_clip(clip: Clip, detect: Detect, order: str, pose: PoseFile | None = None) -> Outcome:
    """Write the files of a clip, the skeleton last; a video that cannot be read writes none.

    Args:
        clip: the video.
        detect: finds the joints in its frames.
        order: their order.
        pose: what all `.pose` files have in common; None writes an array.

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
    _write(clip, marks, order, pose)
    return Outcome(clip.video, "", tuple(marks.found.mean(axis=0).tolist()))


def _write(clip: Clip, marks: Landmarks, order: str, pose: PoseFile | None) -> None:
    if pose is not None:
        sure, shot = confidence(marks, order), shot_of(clip.video)
        write_whole(clip.skeleton, lambda file: pose.write(file, marks, sure, shot))
        return
    more = {
        "found": marks.found,
        "visibility": marks.visibility,
        "components": np.array(components_of(order)),
        "order": np.array(order),
        "detector": np.array(marks.detector),
    }
    name = clip.skeleton.name.replace("_skeleton.npy", "_found.npz")
    write_whole(clip.skeleton.with_name(name), lambda file: np.savez(file, **more))
    save_array(clip.skeleton, marks.joints)


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
    detector: Detector = HOLISTIC,
    progress: bool = False,
    suffix: Suffix = "npy",
) -> Extracted:
    """Extract the skeletons of all videos below `root` that are not finished.

    A video that cannot be read, or on which the detector fails, is left out with a problem.

    Args:
        root: the folder with the videos, at any depth.
        out: where to write, in the same folders as below `root`, with copies of AUTSL's label
            files; None writes beside the videos. Only one extraction may write there at a time.
        pattern: the names of the videos, with `*` and `?`.
        workers: processes.
        detector: finds the joints; every process loads it for itself.
        progress: whether to show a progress bar.
        suffix: what a clip becomes: an array, or a file of pose-format.

    Raises:
        ValueError: there is no folder at `root`, no video in it, or the pattern is no file name;
            two videos would become the same file, or arrays at `out` are in another order or of
            another detector.
    """
    out = root if out is None else out
    pose = pose_file(detector.order) if suffix == "pose" else None
    order = detector.order if pose is None else pose.order
    clips, strangers = find_clips(root, out, pattern, suffix)
    left = [clip for clip in clips if not clip.skeleton.is_file()]
    finished = len(clips) - len(left)
    _check_alike(out, order, detector.name if finished else None)
    for folder in {clip.skeleton.parent for clip in clips}:
        for unfinished in folder.glob(f".*{PARTIAL}"):  # what a killed run was about to write
            unfinished.unlink()
    _copy_labels(root, out)
    save_order(out, order, detector.name)
    run = partial(_extract, detector=detector, pose=pose)
    try:
        with _pool(workers) as pool:
            results = map(run, left) if workers == 1 else pool.map(run, left)
            shown = track(results, "Clips", total=len(left), disable=not progress)
            return Extracted([*strangers, *shown], finished)
    except Exception:  # no detector could be loaded: the folder is left to another one
        if not any(clip.skeleton.is_file() for clip in clips):
            (out / ORDER_FILE).unlink()
        raise


def _check_alike(out: Path, order: str, detector: str | None) -> None:
    """Refuse to add joints to a folder that has those of another order or detector."""
    there, before = saved_order(out), saved_detector(out)
    if there not in (None, order):
        raise ValueError(
            f"Expected joints in the order {order} at {out}, as they are written, but got {there} "
            f"in its {ORDER_FILE}. Pass -o another folder."
        )
    if None not in (before, detector) and before != detector:
        raise ValueError(
            f"Expected joints of {detector} at {out} but got those of {before}, as its "
            f"{ORDER_FILE} says. Pass -o another folder, or the detector of before."
        )


def find_clips(
    root: Path, out: Path, pattern: str, suffix: Suffix = "npy"
) -> tuple[list[Clip], list[Outcome]]:
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
    clips: dict[Path, Path] = {}  # skeleton to video
    for path in videos:
        skeleton = _skeleton_of(out / path.relative_to(root), suffix)
        if skeleton in clips:
            raise ValueError(
                f"Expected a video for each array but got {clips[skeleton].name} and {path.name}, "
                f"which would both become {skeleton}. Pass --pattern with one's ending, or rename "
                "it."
            )
        clips[skeleton] = path
    return [Clip(path, skeleton) for skeleton, path in clips.items()], strangers


def _skeleton_of(video: Path, suffix: Suffix) -> Path:
    return video.with_name(f"{video.stem.removesuffix('_color')}_skeleton.{suffix}")


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
def _loaded(detector: Detector) -> Detect:
    """Return the detector of this process at work; loading one takes seconds."""
    return detector.load()


def _extract(clip: Clip, detector: Detector, pose: PoseFile | None) -> Outcome:
    detect = _loaded(detector)  # where none can be loaded, no clip can be extracted
    try:
        return extract_clip(clip, detect, detector.order, pose)
    except DetectorError as error:
        _loaded.cache_clear()  # what has failed once may fail for every clip from now on
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


def print_extracted(extracted: Extracted, components: Sequence[str]) -> None:
    """Print how many clips there are, how often each component was found, and what was left out."""
    console = Console(soft_wrap=True)
    good = [outcome for outcome in extracted.outcomes if not outcome.problem]
    console.print(
        f"{len(good)} clips extracted, {extracted.finished} were finished before, "
        f"{len(extracted.problems)} left out."
    )
    if good:
        shares = np.mean([outcome.found for outcome in good], axis=0)
        pairs = zip(components, shares, strict=True)
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
    detector: DetectorName = "mediapipe-legacy",
    models: Sequence[Path] = (),
    format: Suffix = "npy",  # noqa: A002 (it is the option's name)
) -> int:
    """Extract the skeletons of a folder of videos.

    Args:
        root: the folder with the videos, at any depth.
        out: where to write; beside the videos if left out.
        pattern: the names of the videos.
        workers: processes; each takes about a core and 500 MB.
        strict: whether to end with status 1 where a video was left out.
        detector: what finds the joints: the Holistic of MediaPipe up to 0.10.21, the landmarkers of
            today's MediaPipe, or RTMPose's whole body.
        models: the detector's model files; MediaPipe up to 0.10.21 has its own.
        format: what a clip becomes: an array beside flags of what was found, or a `.pose` file.
    """
    chosen = DETECTORS[detector](tuple(models))
    extracted = extract(root, out, pattern, workers, chosen, progress=True, suffix=format)
    print_extracted(extracted, components_of(chosen.order))
    return int(strict and bool(extracted.problems))


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = ArgumentParser(description=main.__doc__.partition("\n")[0])
    parser.add_function_arguments(main, as_positional=True, skip={"out", "models"})
    parser.add_argument("-o", "--out", type=Path | None, help="where to write, if not beside them")
    parser.add_argument("--models", type=Path, nargs="+", default=[], help="the detector's files")
    return main(**parser.parse_args(args).as_dict())


if __name__ == "__main__":
    with one_line():
        sys.exit(run())
