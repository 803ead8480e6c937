"""Run every test under one thread per worker, the same seeds, and no network."""

from __future__ import annotations

import functools
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

pytest_plugins = ["tests.zoo.compatibility", "pytester"]

# Workers share the cores; more threads only slow them down. The variables are for subprocesses.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when transformers is imported

# Shared machines stall at times: a property fails for what it finds, not for how long it took.
settings.register_profile(
    "default", max_examples=50, deadline=None, derandomize=True, print_blob=True
)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start every test from the same random numbers, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 -- libraries under test draw from it
    torch.manual_seed(0)


@pytest.fixture
def blank_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that takes no time to write."""

    def touched(record: object, path: Path) -> Path:
        path.touch()
        return path

    monkeypatch.setattr("lightning_jointprune.report.write_report", touched)


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank_report: None) -> None:
    """Runs leave their files in a folder of their own, with a report that takes no time."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def one_table_of_operations() -> Iterator[None]:
    """Read ONNX's operations once; PyTorch reads them for each model, for a second or two."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    read = ONNXRegistry.from_torchlib
    once = functools.cache(lambda version: read(opset_version=version))
    with pytest.MonkeyPatch.context() as patch:
        kept = staticmethod(lambda opset_version=18: once(opset_version))
        patch.setattr(ONNXRegistry, "from_torchlib", kept)
        yield


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own and no command line of pytest's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["autsl_fusion"])
    return tmp_path


RANKS = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
LEFT_BY_LIGHTNING = (*RANKS, "PL_GLOBAL_SEED", "PL_SEED_WORKERS")


@pytest.fixture(autouse=True)
def environment_as_before() -> Iterator[None]:
    """Take back what Lightning leaves for scripts that it starts: those of other tests obey it.

    A script that finds a LOCAL_RANK starts no other process, and one with a seed begins with that.
    """
    before = dict(os.environ)
    yield
    for name in LEFT_BY_LIGHTNING:
        os.environ.pop(name, None)
        if name in before:
            os.environ[name] = before[name]
