"""A file is written whole or not at all; runs in a folder leave each other's files alone."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_jointprune.record.files import RunFolder, write_text

POSIX = pytest.mark.skipif(os.name != "posix", reason="modes, limits and locks are those of POSIX")


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    write_text(path, "old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@POSIX
def test_a_written_file_has_the_mode_of_any_other_and_keeps_it(tmp_path: Path) -> None:
    path, other = tmp_path / "file.json", tmp_path / "other"
    other.touch()
    write_text(path, "text")
    assert path.stat().st_mode == other.stat().st_mode
    path.chmod(0o600)
    write_text(path, "text")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    link = tmp_path / "link.json"
    link.symlink_to("real.json")
    write_text(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"


@contextmanager
def limited_to(size: int) -> Iterator[None]:
    """No file may have more bytes: writing fails in the middle, as on a full disk."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@POSIX
def test_a_disk_that_is_full_in_the_middle_of_a_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_text(path, "old")
    with limited_to(1000), pytest.raises(OSError):  # noqa: PT011 -- systems have words of their own
        write_text(path, "new" * 1000)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# --- a folder for each run -----------------------------------------------------------------------


def write(run: RunFolder, text: str) -> Path:
    """What a run does at its end, or in its course: all of its files, the telling one first."""
    with run.writing() as folder:
        write_text(folder / "record", text)
        write_text(folder / "report", text)
    return folder


def test_a_run_replaces_what_was_there_when_it_began_and_what_it_wrote(tmp_path: Path) -> None:
    write(RunFolder(tmp_path, "record"), "an earlier run")
    run = RunFolder(tmp_path, "record")
    for text in ("early", "late"):
        assert write(run, text) == tmp_path
        assert (tmp_path / "record").read_text() == text


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3), max_size=12))
def test_runs_in_one_folder_never_mix_their_files(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    path = tmp_path_factory.mktemp("shared")
    runs = [RunFolder(path, "record") for _ in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folders = {index: write(runs[index], f"run {index}") for index in order}
    assert len(set(folders.values())) == len(folders)
    for index, folder in folders.items():
        for name in ("record", "report"):
            assert (folder / name).read_text() == f"run {index}"


def test_a_run_says_where_its_files_are_when_the_folder_is_anothers(tmp_path: Path) -> None:
    one, other = RunFolder(tmp_path, "record"), RunFolder(tmp_path, "record")
    (tmp_path / "run_2").mkdir()
    write(one, "one")
    with pytest.warns(UserWarning, match=r"Another run has written .* go to .*run_3\. Give"):
        assert write(other, "other") == tmp_path / "run_3"
    assert write(other, "other again") == tmp_path / "run_3"  # said once


@POSIX
def test_a_run_does_not_wait_for_another_that_is_writing(tmp_path: Path) -> None:
    one, other = RunFolder(tmp_path, "record"), RunFolder(tmp_path, "record")
    with one.writing() as folder:
        with pytest.warns(UserWarning, match="Another run"):
            assert write(other, "other") == tmp_path / "run_2"
        assert folder == tmp_path
    assert write(one, "one") == tmp_path


def test_a_clock_that_goes_back_does_not_hide_another_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "record")
    write(run, "same length")
    write(RunFolder(tmp_path, "record"), "SAME LENGTH")
    os.utime(tmp_path / "record", (0, 0))
    with pytest.warns(UserWarning, match="Another run"):
        write(run, "same length")
    assert (tmp_path / "record").read_text() == "SAME LENGTH"


@POSIX
def test_where_folders_have_no_locks_a_run_writes_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert write(RunFolder(tmp_path, "record"), "text") == tmp_path
