"""Test that a file's kind is known by its first bytes or by its name, and others are refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_jointprune.joint_files.format import Opened, without_axis
from lightning_jointprune.joint_files.formats import format_of
from lightning_jointprune.joint_files.formats.npy import NpyFile
from lightning_jointprune.joint_files.formats.npz import NpzFile
from lightning_jointprune.joint_files.formats.pose import PoseFile


def test_an_array_is_known_without_a_name() -> None:
    for save, kind in ((np.save, NpyFile), (np.savez, NpzFile)):
        file: Any = io.BytesIO()
        save(file, np.arange(3))
        assert isinstance(format_of(Opened(file)), kind)
    assert isinstance(format_of(Opened(io.BytesIO(b""), Path("a/clip.pose"))), PoseFile)


def test_other_kinds_of_files_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a file of \.npy, \.npz.* but got `x\.h5`, which begins"):
        format_of(Opened(io.BytesIO(b"\x89HDF\r\n"), Path("x.h5")))


def test_an_axis_is_refused_where_the_joints_have_a_place() -> None:
    without_axis("parquet", "whose joints are columns", None)
    with pytest.raises(ValueError, match=r"no axis for parquet, whose .* columns, but got 1"):
        without_axis("parquet", "whose joints are columns", 1)


def test_a_file_is_read_once() -> None:
    file = io.BytesIO(b"content")
    opened = Opened(file)
    assert (opened.head, opened.content) == (b"content", b"content")
    file.truncate(0)
    assert opened.content == b"content"
