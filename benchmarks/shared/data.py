"""The data that the measurements run on: planted truth of several kinds, and sixteen ASL words."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import TensorDataset as Part


class Planted(NamedTuple):
    """Sequences of which only some joints carry the class.

    A joint that carries it moves on a smooth path of its own for each class, three slow curves
    with normal coefficients. All joints have unit noise in every frame, independent of everything.
    A *crowd* is many joints that repeat one more such joint, its noise included, each with some
    noise of its own: any one of them is nearly as good as all.

    *Weak* joints carry it like the first ones, but so little that they count only together.

    Attributes:
        joints: number of joints, J.
        informative: joints that carry the class, each in its own way.
        copies: joints of the crowd.
        copy_noise: standard deviation of what a copy adds to the joint that it repeats.
        weak: joints that carry little.
        weak_strength: `strength` of these.
        strength: standard deviation of the paths' coefficients; the noise has 1.
        classes: number of classes.
        frames: frames per sequence.
        coordinates: coordinates per joint.
        train: training sequences.
        unseen: sequences that a model is scored on.
    """

    joints: int = 42
    informative: int = 8
    copies: int = 0
    copy_noise: float = 0.5
    strength: float = 0.2
    classes: int = 12
    frames: int = 16
    coordinates: int = 3
    train: int = 2000
    unseen: int = 1000
    weak: int = 0
    weak_strength: float = 0.0

    def changed(self) -> dict[str, Any]:
        """Return all settings, but of weak joints only where there are any."""
        return {k: v for k, v in self._asdict().items() if self.weak or not k.startswith("weak")}


class PlantedData(NamedTuple):
    """Hold what `make_planted` returns; the joints are sorted indices."""

    train: Part
    unseen: Part
    informative: list[int]
    copies: list[int]
    weak: list[int]


def make_planted(settings: Planted, seed: int) -> PlantedData:
    """Draw paths, places of the joints and sequences; the same seed gives the same data."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(settings.joints)
    informative = np.sort(places[: settings.informative])
    _, copies, weak, _ = np.split(
        places, np.cumsum([settings.informative, settings.copies, settings.weak])
    )
    copies, weak = np.sort(copies), np.sort(weak)
    paths = _paths(rng, settings, settings.informative)
    crowd_path = _paths(rng, settings, 1)
    weak_paths = _paths(rng, settings._replace(strength=settings.weak_strength), settings.weak)
    parts = []
    for size in (settings.train, settings.unseen):
        y = rng.permutation(np.arange(size) % settings.classes)
        shape = (size, settings.frames, settings.joints, settings.coordinates)
        x = rng.standard_normal(shape, dtype=np.float32)
        x[:, :, informative] += paths[y]
        x[:, :, weak] += weak_paths[y]
        if settings.copies:
            repeated = crowd_path[y] + rng.standard_normal(crowd_path[y].shape)
            x[:, :, copies] = repeated + settings.copy_noise * x[:, :, copies]
        parts.append((x, y))
    (x, y), (x_unseen, y_unseen) = parts
    return PlantedData(
        *standardised(x, y, x_unseen, y_unseen),
        informative.tolist(),
        copies.tolist(),
        weak.tolist(),
    )


def _paths(rng: np.random.Generator, settings: Planted, joints: int) -> np.ndarray:
    """Return paths of shape `(classes, frames, joints, coordinates)`: place, sweep and wave."""
    time = np.linspace(0.0, 1.0, settings.frames)
    curves = [np.ones_like(time), np.cos(np.pi * time), np.sin(2 * np.pi * time)]
    size = (settings.classes, 3, joints, settings.coordinates)
    return np.einsum("kt,nkjc->ntjc", curves, rng.normal(0.0, settings.strength, size))


def standardised(
    x: np.ndarray, y: np.ndarray, x_unseen: np.ndarray, y_unseen: np.ndarray
) -> tuple[Part, Part]:
    """Return both parts, with each joint's coordinates at mean 0 and deviation 1 over the first."""
    mean = x.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    std = np.maximum(x.std(axis=(0, 1), dtype=np.float64), 1e-6).astype(np.float32)

    def part(values: np.ndarray, classes: np.ndarray) -> Part:
        scaled = (values - mean) / std
        return Part(torch.from_numpy(scaled), torch.from_numpy(classes.astype(np.int64)))

    return part(x, y), part(x_unseen, y_unseen)


# --- ASL words -----------------------------------------------------------------------------------

# Pose 33, left hand 21, right hand 21.
ARMS = tuple(range(11, 17))
HANDS = tuple(range(33, 75))
JOINT_SETS = {"hands": HANDS, "arms_hands": ARMS + HANDS}

# For choices: training sessions of both subjects, which leave every word but `water` (it has one
# training session) on the other side too.
HELD_OUT = ("s1_2022-03-07_1328", "s2_2022-03-03_1619")


class Words(NamedTuple):
    """Sixteen words, split by session."""

    train: Part
    unseen: Part
    joint_names: tuple[str, ...]
    classes: int

    def subset(self, joints: list[int]) -> Words:
        """Return the same sequences with these joints only, in this order."""
        parts = [Part(part.tensors[0][:, :, joints], part.tensors[1]) for part in self[:2]]
        return Words(*parts, tuple(self.joint_names[joint] for joint in joints), self.classes)


@functools.lru_cache(maxsize=2)
def read_words(path: Path, score: str) -> Words:
    """Read the words' sequences.

    Args:
        path: the `.npz` file.
        score: `test` scores on the test sessions. `heldout` never looks at them: it trains on
            some training sessions and scores on the others, for whoever has to choose something.
    """
    with np.load(path, allow_pickle=False) as file:
        keys = ("x", "y", "test", "session")
        x, y, unseen, session = (file[key][file["word"]] for key in keys)
        names = tuple(str(name) for name in file["joint_names"])
    y = np.unique(y, return_inverse=True)[1]
    if score == "heldout":
        x, y, session = x[~unseen], y[~unseen], session[~unseen]
        unseen = np.isin(session, HELD_OUT)
        known = np.isin(y, y[~unseen])
        x, y, unseen = x[known], y[known], unseen[known]
    x = x.astype(np.float32)
    parts = standardised(x[~unseen], y[~unseen], x[unseen], y[unseen])
    return Words(*parts, names, int(y.max()) + 1)
