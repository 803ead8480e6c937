"""A small data set in AUTSL's own layout, made from two-hand kinematics with known answer.

Real sign data cannot say which joints matter; this one can. Two hands of 21 MediaPipe landmarks
move in front of a camera. A few *planted* joints follow a path of their own for each sign; all
others only move with what has nothing to do with the sign: the signer's build and place, the path
of the hands, tremor, and slow drift. Whoever prunes well finds the planted joints, whose names are
in `synthetic.json`.

The files are those of AUTSL (Sincan & Keles 2020, arXiv:2008.00932), with an array per clip added::

    train_labels.csv                     signer0_sample1,7        no header
    train/signer0_sample1_color.mp4      (val and test alike; no signer is in two of them)
    train/signer0_sample1_depth.mp4
    train/signer0_sample1_skeleton.npy   (frames, joints, coordinates), float32
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from lightning_jointprune import JointSelection

FINGERS = ("index_finger", "middle_finger", "ring_finger", "pinky")
LANDMARKS = (
    *("wrist", "thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip"),
    *(f"{finger}_{part}" for finger in FINGERS for part in ("mcp", "pip", "dip", "tip")),
)
JOINT_NAMES = tuple(f"{side}_hand_{mark}" for side in ("left", "right") for mark in LANDMARKS)
SPLITS = ("train", "val", "test")
TRUTH_FILE = "synthetic.json"
FORMAT = 2  # raise it whenever the same settings give other files


@dataclasses.dataclass(frozen=True)
class SyntheticSettings:
    """Describe the synthetic data set; the same settings give the same arrays.

    Args:
        signs: number of classes.
        clips: clips in train, val and test.
        signers: signers in train, val and test; no signer is in two of them.
        planted: number of joints that carry the sign, out of 42.
        frames: shortest and longest clip, in frames.
        size: width and height of the videos, in pixels, a multiple of 16.
        signal: size of a planted joint's path, as a fraction of the image.
        drift: slow movement of every joint that has nothing to do with the sign, same unit.
        seed: seed of everything random.
    """

    signs: int = 12
    clips: tuple[int, int, int] = (1440, 240, 240)
    signers: tuple[int, int, int] = (12, 4, 4)
    planted: int = 8
    frames: tuple[int, int] = (12, 16)
    size: int = 64
    signal: float = 0.05
    drift: float = 0.05
    seed: int = 7

    @property
    def folder_name(self) -> str:
        """A name that changes with the settings, so that no stale folder is ever read."""
        text = json.dumps([FORMAT, dataclasses.asdict(self)])
        return f"autsl_synthetic_{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def make_synthetic(parent: Path, settings: SyntheticSettings) -> Path:
    """Write the data set into a folder below `parent`, unless it is there, and return it."""
    folder = parent / settings.folder_name
    if (folder / TRUTH_FILE).is_file():
        return folder
    parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}_", dir=parent))
    try:
        _write(unfinished, settings)
        os.replace(unfinished, folder)  # all or nothing: an interrupted run leaves no half folder
    except OSError:
        if not (folder / TRUTH_FILE).is_file():  # another process may have been faster
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def read_planted(folder: Path) -> tuple[str, ...]:
    """Return the names of the joints that carry the sign; empty of a folder not synthetic."""
    path = folder / TRUTH_FILE
    if not path.is_file():
        return ()
    return tuple(json.loads(path.read_text(encoding="utf-8"))["planted"])


def _write(folder: Path, settings: SyntheticSettings) -> None:
    rng = np.random.default_rng(settings.seed)
    planted = np.sort(rng.choice(len(JOINT_NAMES), settings.planted, replace=False))
    paths = _sign_paths(rng, settings, planted)
    first_signer = 0
    for split, clips, signers in zip(SPLITS, settings.clips, settings.signers, strict=True):
        (folder / split).mkdir()
        people = [_Signer.random(rng) for _ in range(signers)]
        rows = []
        for clip in range(clips):
            sign = clip % settings.signs
            # One signer further in every round of signs, so that nobody owns a sign.
            person = (clip // settings.signs + sign) % signers
            name = f"signer{first_signer + person}_sample{clip + 1}"
            _write_clip(folder / split / name, rng, settings, people[person], paths[sign])
            rows.append((name, sign))
        with (folder / f"{split}_labels.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        first_signer += signers
    truth = {
        "format": FORMAT,
        "planted": [JOINT_NAMES[joint] for joint in planted],
        "joint_names": JOINT_NAMES,
        "settings": dataclasses.asdict(settings),
    }
    (folder / TRUTH_FILE).write_text(json.dumps(truth, indent=1), encoding="utf-8")


@dataclasses.dataclass(frozen=True)
class _Signer:
    """Nuisance that belongs to a person: build, place in the picture, tremor, colours."""

    scale: float
    offset: np.ndarray  # (2,) fraction of the image
    tremor: float
    skin: np.ndarray  # (3,) RGB, 0 ... 255
    background: np.ndarray  # (3,) RGB, 0 ... 255

    @classmethod
    def random(cls, rng: np.random.Generator) -> _Signer:
        return cls(
            scale=rng.normal(1.0, 0.04),
            offset=rng.normal(0.0, 0.01, 2),
            tremor=rng.uniform(0.003, 0.01),
            skin=np.array([205, 150, 120]) + rng.integers(-40, 40),
            background=rng.integers(30, 110, 3),
        )


def _sign_paths(
    rng: np.random.Generator, settings: SyntheticSettings, planted: np.ndarray
) -> np.ndarray:
    """Draw each sign's path of each joint, as the coefficients of three slow curves.

    Returns:
        Shape `(signs, 3 curves, joints, 3 coordinates)`; zero for joints that are not planted.
    """
    paths = np.zeros((settings.signs, 3, len(JOINT_NAMES), 3))
    paths[:, :, planted] = rng.normal(0.0, settings.signal, (settings.signs, 3, len(planted), 3))
    return paths


def _curves(frames: int) -> np.ndarray:
    """Return place, sweep and wave over a clip, shape `(frames, 3 curves)`."""
    time = np.linspace(0.0, 1.0, frames)
    return np.stack([np.ones(frames), np.cos(np.pi * time), np.sin(2 * np.pi * time)], axis=1)


def _hand(side: int) -> np.ndarray:
    """Return an open hand at rest, shape `(21, 2)`, x right and y down, the wrist at the origin."""
    points = [np.zeros(2)]
    for finger, angle in enumerate(np.deg2rad([-50.0, -22.0, -4.0, 12.0, 28.0])):
        direction = np.array([np.sin(angle) * (1 if side == 0 else -1), -np.cos(angle)])
        reach = 0.045 if finger == 0 else 0.10
        points += [direction * (reach + 0.03 * bone) for bone in range(4)]
    return np.array(points)


def _pose() -> np.ndarray:
    """Return both hands at rest in the image, `(42, 3)`, the signer's left hand at the right."""
    pose = np.zeros((len(JOINT_NAMES), 3))
    pose[:, :2] = np.concatenate([_hand(0), _hand(1)])
    pose[: len(LANDMARKS), :2] += [0.68, 0.68]
    pose[len(LANDMARKS) :, :2] += [0.32, 0.68]
    return pose


def _skeleton(
    rng: np.random.Generator, settings: SyntheticSettings, signer: _Signer, path: np.ndarray
) -> np.ndarray:
    """Return a clip, shape `(frames, 42, 3)`: rest + sign + what has nothing to do with it."""
    frames = int(rng.integers(settings.frames[0], settings.frames[1] + 1))
    curves = _curves(frames)
    drift = rng.normal(0.0, settings.drift, (3, len(JOINT_NAMES), 3))
    hands = np.repeat(rng.normal(0.0, 0.008, (3, 2, 3)), len(LANDMARKS), axis=1)
    moved = np.einsum("tk,kjc->tjc", curves, path + drift + hands)
    moved += rng.normal(0.0, signer.tremor, moved.shape)
    middle = np.array([0.5, 0.5, 0.0])
    clip = (_pose() - middle) * signer.scale + middle + moved
    clip[..., :2] += signer.offset
    return clip.astype(np.float32)


def _write_clip(
    stem: Path,
    rng: np.random.Generator,
    settings: SyntheticSettings,
    signer: _Signer,
    path: np.ndarray,
) -> None:
    skeleton = _skeleton(rng, settings, signer, path)
    np.save(f"{stem}_skeleton.npy", skeleton)
    color, depth = _render(skeleton, signer, settings.size)
    write_video(Path(f"{stem}_color.mp4"), color)
    write_video(Path(f"{stem}_depth.mp4"), depth)


def _render(skeleton: np.ndarray, signer: _Signer, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return hands as soft blobs, two arrays of shape `(frames, size, size, 3)`, uint8."""
    grid = (np.arange(size) + 0.5) / size
    across = np.exp(-0.5 * ((grid - skeleton[..., :1]) / 0.03) ** 2)  # (frames, joints, size)
    down = np.exp(-0.5 * ((grid - skeleton[..., 1:2]) / 0.03) ** 2)
    blobs = np.clip(np.einsum("tjy,tjx->tyx", down, across), 0.0, 1.0)[..., None]
    color = signer.background * (1 - blobs) + signer.skin * blobs
    depth = np.repeat(60 + 160 * blobs, 3, axis=-1)
    return color.clip(0, 255).astype(np.uint8), depth.astype(np.uint8)


def write_video(path: Path, frames: np.ndarray, fps: int = 30) -> None:
    """Write `frames`, shape `(frames, height, width, 3)` in RGB and uint8, as an mp4 file."""
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def planted_scores(selection: JointSelection, planted: Sequence[str], names: Sequence[str]) -> str:
    """Compare the kept joints with those that are known to carry the sign."""
    kept = {names[index] for index in selection.indices}
    found = len(kept & set(planted))
    precision = found / len(kept) if kept else 0.0
    recall = found / len(planted)
    f1 = 2 * found / (len(kept) + len(planted))
    return (
        f"The data was made so that {len(planted)} joints carry the sign: "
        f"precision {precision:.2f}, recall {recall:.2f}, F1 {f1:.2f}."
    )
