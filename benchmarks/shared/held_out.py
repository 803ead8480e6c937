"""Data in three parts: to train on, to choose a number of joints on, and to score a model on once.

The validation is held out like the test part: whole subjects, whole sessions, or rows that follow
each other. No sequence is in two parts.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.utils.data import TensorDataset as Part

from benchmarks.shared.data import Planted, make_planted, standardised

VALIDATION, TEST = 500, 1000  # sequences of a planted set
# As among the subjects of the test part, one uses the left side.
SUBJECTS = ("s05", "s07")
# Of all choices of training sessions with 20 to 32 % of the sequences that leave each word to train
# on: the one with most words, 14 of 16, and of these the most even. No model was asked.
SESSIONS = ("s1_2022-03-03_1553", "s1_2022-03-03_2200", "s1_2022-03-07_1550", "s2_2022-02-15_1643")
ROWS = 0.25  # share of each class's training rows, the last of them, 0 to 1


class Parts(NamedTuple):
    """Hold sequences in three parts.

    Attributes:
        train: what a model is trained on.
        validation: what a number of joints may be chosen on.
        test: what a model is scored on, once.
        classes: number of classes.
        informative: of a planted set, the joints that carry the class, each in its own way.
        copies: of a planted set, the joints of the crowd.
        weak: of a planted set, the joints that carry little.
    """

    train: Part
    validation: Part
    test: Part
    classes: int
    informative: Sequence[int] = ()
    copies: Sequence[int] = ()
    weak: Sequence[int] = ()

    @property
    def joints(self) -> int:
        return int(self.train.tensors[0].shape[2])

    def subset(self, joints: Sequence[int]) -> Parts:
        """Return the same sequences with these joints only."""
        chosen = list(joints)
        parts = (Part(part.tensors[0][:, :, chosen], part.tensors[1]) for part in self[:3])
        return Parts(*parts, self.classes)


@functools.lru_cache(maxsize=1)
def planted_parts(settings: Planted, seed: int) -> Parts:
    """Return a planted set, of which the training part is that of `make_planted`."""
    data = make_planted(settings._replace(unseen=VALIDATION + TEST), seed)
    validation, test = cut(data.unseen, VALIDATION)
    truth = data.informative, data.copies, data.weak
    return Parts(data.train, validation, test, settings.classes, *truth)


@functools.lru_cache(maxsize=1)
def recorded_parts(path: Path) -> Parts:
    """Read a recording; of one that marks the classes with a clean split, only these."""
    with np.load(path, allow_pickle=False) as file:
        use = file["word"] if "word" in file else np.ones(len(file["y"]), bool)
        held = {
            name: file[name][use]
            for name in ("x", "y", "test", "subject", "session")
            if name in file
        }
    y = np.unique(held["y"], return_inverse=True)[1]
    x, test = held["x"].astype(np.float32), held["test"]
    if "session" in held:
        validation = ~test & np.isin(held["session"], SESSIONS)
    elif "subject" in held:
        validation = ~test & np.isin(held["subject"], SUBJECTS)
    else:
        validation = by_row(y, ~test)
    train = ~test & ~validation
    others = np.concatenate([np.flatnonzero(validation), np.flatnonzero(test)])
    trained, unseen = standardised(x[train], y[train], x[others], y[others])
    return Parts(trained, *cut(unseen, int(validation.sum())), int(y.max()) + 1)


def cut(part: Part, first: int) -> tuple[Part, Part]:
    """Return the first sequences of a part, and the others."""
    x, y = part.tensors
    return Part(x[:first], y[:first]), Part(x[first:], y[first:])


def by_row(y: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Return which rows to hold out, shape `(N,)`: the last usable ones of each class."""
    held = np.zeros(len(y), bool)
    for label in np.unique(y):
        rows = np.flatnonzero((y == label) & usable)
        held[rows[round((1 - ROWS) * len(rows)) :]] = True
    return held
