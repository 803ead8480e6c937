"""What every test runs under: one thread per worker, the same seeds, no display."""

from __future__ import annotations

import os

# Before numpy and torch are imported. Workers share the cores; more threads only slow them down.
for library in ("OMP", "MKL", "OPENBLAS"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may need the network

import random

import numpy as np
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# Shared machines stall at times: a property fails for what it finds, not for how long it took.
settings.register_profile("default", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start every test from the same random numbers, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 -- libraries under test draw from it
    torch.manual_seed(0)
