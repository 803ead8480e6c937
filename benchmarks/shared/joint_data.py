"""Make the data that joints are chosen from: planted sets of five kinds, and recordings by name.

A planted set says which joints have to be kept; the seed draws places, paths and sequences. How
hard each is was settled by models on all joints alone, which reach 0.7 to 0.95.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import TensorDataset as Part

from benchmarks.shared.data import ARMS, HANDS, Planted, _paths, make_planted, standardised

Parts = Mapping[str, Sequence[int]]

SMALL = Planted(joints=42, informative=8, strength=0.3, classes=12, frames=8, train=1500)
PAIRS = SMALL._replace(informative=6, strength=1.2, classes=8)  # a bit of the class in each pair
CROWD = SMALL._replace(copies=16)
SINGLE = SMALL._replace(strength=0.7, classes=9)  # a class for each joint, and one for none
FOLLOWERS = 2  # joints that follow an informative one, in the correlated set
FOLLOW = 0.8  # their correlation with it
PLANTED = {
    "independent": 8,
    "correlated": 8,
    "pairs": PAIRS.informative,
    "crowd": CROWD.informative + 1,
    "class-specific": 8,
}  # kind to the number of joints that have to be kept


class JointData(NamedTuple):
    """Sequences to choose joints on, and sequences that no choice may see.

    Attributes:
        train: what everything is trained and chosen on.
        unseen: what a model on the chosen joints is scored on.
        classes: number of classes.
        truth: of planted sets, what has to be kept: one joint out of each of these.
    """

    train: Part
    unseen: Part
    classes: int
    truth: tuple[tuple[int, ...], ...] = ()

    @property
    def joints(self) -> int:
        return int(self.train.tensors[0].shape[2])

    def subset(self, joints: Sequence[int]) -> JointData:
        """Return the same sequences with these joints only."""
        chosen = list(joints)
        parts = (Part(part.tensors[0][:, :, chosen], part.tensors[1]) for part in self[:2])
        return JointData(*parts, self.classes)


def recall(kept: Sequence[int], truth: Sequence[Sequence[int]]) -> float:
    """Share of what has to be kept that is."""
    return sum(not {*kept}.isdisjoint(enough) for enough in truth) / len(truth)


# --- planted sets --------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def make_set(kind: str, seed: int) -> JointData:
    """Return a planted set.

    Args:
        kind: `independent`: eight joints carry the class, each in its own way. `correlated`: two
            more joints follow each of these eight and say nothing that it does not. `pairs`: six
            joints, of which each alone says nothing; whether the two of a pair move in the same
            sense is a bit of the class. `crowd`: eight joints, and sixteen that repeat a ninth, of
            which one has to be kept. `class-specific`: each of eight joints moves in one class
            only, and in the ninth class none.
        seed: of all that is drawn.
    """
    rng = np.random.default_rng([seed, list(PLANTED).index(kind)])
    if kind == "pairs":
        return _signed(PAIRS, rng)
    if kind == "class-specific":
        return _single(SINGLE, rng)
    settings = CROWD if kind == "crowd" else SMALL
    data = make_planted(settings, seed)
    truth = tuple((joint,) for joint in data.informative)
    if kind == "crowd":
        truth += (tuple(data.copies),)
    if kind == "correlated":
        _follow(data.train, data.unseen, data.informative, rng)
    return JointData(data.train, data.unseen, settings.classes, truth)


def _follow(train: Part, unseen: Part, leaders: Sequence[int], rng: np.random.Generator) -> None:
    """Let joints that carry nothing follow those that do, in place."""
    others = np.setdiff1d(np.arange(train.tensors[0].shape[2]), leaders)
    followers = rng.permutation(others)[: FOLLOWERS * len(leaders)]
    for part in (train, unseen):
        x = part.tensors[0]
        led = x[:, :, list(leaders) * FOLLOWERS]
        x[:, :, followers] = FOLLOW * led + (1 - FOLLOW**2) ** 0.5 * x[:, :, followers]


def _signed(settings: Planted, rng: np.random.Generator) -> JointData:
    """Let each joint go its path or the opposite one; only products of two signs are the class."""
    joints = rng.permutation(settings.joints)[: settings.informative]
    paths = _paths(rng, settings._replace(classes=1), settings.informative)[0]

    def sequences(size: int) -> tuple[np.ndarray, np.ndarray]:
        signs = rng.choice([-1, 1], (size, settings.informative))
        bits = signs[:, 0::2] * signs[:, 1::2] > 0
        y = bits @ (2 ** np.arange(bits.shape[1]))
        x = _noise(rng, settings, size)
        x[:, :, joints] += signs[:, None, :, None] * paths
        return x, y

    return _parts(sequences, settings, joints)


def _single(settings: Planted, rng: np.random.Generator) -> JointData:
    """Let each joint go its path in one class, and none in the last class."""
    joints = rng.permutation(settings.joints)[: settings.informative]
    paths = _paths(rng, settings._replace(classes=1), settings.informative)[0]

    def sequences(size: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.permutation(np.arange(size) % settings.classes)
        x = _noise(rng, settings, size)
        moves = y[:, None] == np.arange(settings.informative)
        x[:, :, joints] += moves[:, None, :, None] * paths
        return x, y

    return _parts(sequences, settings, joints)


def _noise(rng: np.random.Generator, settings: Planted, size: int) -> np.ndarray:
    shape = (size, settings.frames, settings.joints, settings.coordinates)
    return rng.standard_normal(shape, dtype=np.float32)


def _parts(
    sequences: Callable[[int], tuple[np.ndarray, np.ndarray]], settings: Planted, joints: np.ndarray
) -> JointData:
    parts = standardised(*sequences(settings.train), *sequences(settings.unseen))
    return JointData(*parts, settings.classes, tuple((int(joint),) for joint in sorted(joints)))


# --- recordings ----------------------------------------------------------------------------------

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
PARTS: dict[str, Parts] = {
    "hand_static": {
        "wrist": [0],
        **{name: range(1 + 4 * n, 5 + 4 * n) for n, name in enumerate(FINGERS)},
    },
    "uiprmd_vicon": {
        "head": range(4),
        "trunk": range(4, 9),
        "left arm": range(9, 16),
        "right arm": range(16, 23),
        "pelvis": range(23, 27),
        "left leg": range(27, 33),
        "right leg": range(33, 39),
    },
    "asl_words": {
        "face": range(11),
        "arms": range(11, 23),
        "legs": range(23, 33),
        "left hand": range(33, 54),
        "right hand": range(54, 75),
    },
}  # recording to its body parts
HAND_PICKED: dict[str, Parts] = {
    "asl_words": {
        "right hand": range(54, 75),
        "both hands": HANDS,
        "arms and both hands": ARMS + HANDS,
    }
}  # sets that people take, as far as the joints' names permit


@functools.lru_cache(maxsize=1)
def read_recording(path: Path) -> JointData:
    """Read a recording; of one that marks the classes with a clean split, only these."""
    with np.load(path, allow_pickle=False) as file:
        use = file["word"] if "word" in file else np.ones(len(file["y"]), bool)
        x, y, unseen = (file[key][use] for key in ("x", "y", "test"))
    y = np.unique(y, return_inverse=True)[1]
    x = x.astype(np.float32)
    parts = standardised(x[~unseen], y[~unseen], x[unseen], y[unseen])
    return JointData(*parts, int(y.max()) + 1)


def held_out(part: Part, share: float, seed: int) -> tuple[Part, Part]:
    """Return a part in two, at random: to train on, and to measure on what training did not see."""
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))
    cut = round(share * len(part))
    measure, train = (
        Part(*(t[index] for t in part.tensors)) for index in order.split([cut, len(part) - cut])
    )
    return train, measure
