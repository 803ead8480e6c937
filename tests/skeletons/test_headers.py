"""Test that the header of a `.pose` file is read, and that what is none is refused by name."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from lightning_jointprune.record import versions
from lightning_jointprune.skeletons.headers import header_of_file
from tests.poses import pose_of, write_pose


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_pose(tmp_path / "clip.pose", pose_of("mmpose_133"))


def test_the_header_is_the_files(clip: Path) -> None:
    header = header_of_file(clip)
    assert (header.total_points(), header.dimensions.width) == (133, 640)


def test_a_header_that_was_changed_in_memory_is_read_anew(clip: Path) -> None:
    header_of_file(clip).dimensions.width = 1
    assert header_of_file(clip).dimensions.width == 640


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda whole: whole[:100], r"the header of .*clip\.pose is cut short or damaged"),
        (lambda whole: b"", r"version 0\.0, 0\.1, 0\.2 but got 0 bytes in .*clip\.pose"),
        (lambda whole: struct.pack("<f", 0.3) + whole[4:], "but got version 0.3 in"),
        (lambda whole: b"\x93NUMPY" * 9, r"but got version .* in .*clip\.pose"),
        (lambda whole: whole[:10] + bytes(2), "points in the header of .* but got none"),
    ],
    ids=["cut short", "empty", "newer", "an array", "no points"],
)
def test_what_is_no_pose_file_is_refused(content: Any, message: str, clip: Path) -> None:
    clip.write_bytes(content(clip.read_bytes()))
    with pytest.raises(ValueError, match=message):
        header_of_file(clip)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got .*none\.pose, which does not exist"):
        header_of_file(tmp_path / "none.pose")


def test_without_pose_format_it_says_what_to_install(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lightning-jointprune\[pose\]'"):
        header_of_file(clip)
