"""Describes what a detector is, and holds what it finds in a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np


class Landmarks(NamedTuple):
    """Hold what was found in a clip of T frames, with J joints in B blocks.

    Args:
        joints: shape `(T, J, C)`, NaN where nothing was found: x and y as shares of the picture's
            width and height, and z, about as x, where the detector tells it.
        visibility: shape `(T, V)`, how surely each joint is seen, about 0 to 1, NaN where nothing
            was found: of all joints, or of the pose alone where the detector tells it of no others.
        found: shape `(T, B)`, bool, of each block of the detector's order.
        detector: what found them, and its version.
    """

    joints: np.ndarray
    visibility: np.ndarray
    found: np.ndarray
    detector: str


Detect = Callable[[Iterable[np.ndarray]], Landmarks]  # of frames (height, width, 3), RGB, uint8


class Detector(Protocol):
    """Describe a detector: cheap to make, to compare and to send to a process.

    Its package is imported, and its models are loaded, where `load` is called.
    """

    @property
    def name(self) -> str:
        """Return its name without a version; clips of one name can stand in one folder."""

    @property
    def order(self) -> str:
        """Return the order of its joints, a name out of `examples.autsl.data.orders`."""

    def load(self) -> Detect:
        """Return a function that finds the joints in a clip of at least one frame.

        Raises:
            ModuleNotFoundError: its package is not installed.
            ValueError: a model can not be used.
        """


def check_models(models: Sequence[Path], needed: str) -> None:
    """Check that there are files, before any work begins.

    Args:
        models: the paths that the user named.
        needed: the models that this detector takes, and where they come from.

    Raises:
        ValueError: none is named, or there is no file at one's path.
    """
    if not models:
        raise ValueError(f"Expected --models but got none. It takes {needed}.")
    for path in models:
        if not path.is_file():
            raise ValueError(f"Expected a model but got no file at {path}. It takes {needed}.")
