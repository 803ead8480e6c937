"""A file is written whole or not at all; runs in a folder leave each other's files alone."""

from __future__ import annotations

import os
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_jointprune.record.files import (
    Address,
    Place,
    RunFolder,
    file_at,
    local_copy,
    place,
    whole_file,
    write_text,
)
from tests.remote import bucket_at

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
    """Let no file have more bytes: writing fails in the middle, as on a full disk."""
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


def write(run: RunFolder, text: str) -> Place:
    """Write all files of a run, the telling one first, as it does at its end or in its course."""
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
    first, other = RunFolder(tmp_path, "record"), RunFolder(tmp_path, "record")
    (tmp_path / "run_2").mkdir()
    write(first, "first")
    with pytest.warns(UserWarning, match=r"Another run has written .* go to .*run_3\. Give"):
        assert write(other, "other") == tmp_path / "run_3"
    assert write(other, "other again") == tmp_path / "run_3"  # the warning comes once


@POSIX
def test_a_run_does_not_wait_for_another_that_is_writing(tmp_path: Path) -> None:
    first, other = RunFolder(tmp_path, "record"), RunFolder(tmp_path, "record")
    with first.writing() as folder:
        with pytest.warns(UserWarning, match="Another run"):
            assert write(other, "other") == tmp_path / "run_2"
        assert folder == tmp_path
    assert write(first, "first") == tmp_path


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


# --- addresses -----------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "s3"])
def remote(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the address of an empty folder, where there are folders and where there are none."""
    if request.param == "memory":
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]
        yield "memory://bucket/runs"
    else:
        with bucket_at("s3"):
            yield "s3://bucket/runs"


def test_a_path_stays_a_path(tmp_path: Path) -> None:
    for path in (tmp_path, "runs/a", "C:/runs", "run::2", "ab:/c", "~/runs"):
        assert place(path) == Path(path)
    for written in (f"file://{tmp_path}", f"file:{tmp_path}", f"local://{tmp_path}"):
        assert place(written) == tmp_path


def test_an_address_has_the_methods_of_a_path(remote: str) -> None:
    folder = place(remote)
    file = folder / "a" / "report.html"
    assert isinstance(file, Address)
    assert str(file) == f"{remote}/a/report.html"
    assert (file.name, file.suffix) == ("report.html", ".html")
    assert file.parent.parent == folder
    assert file.with_name("other") == folder / "a" / "other"
    assert place(remote.rpartition("/")[0]).parent == place(remote.rpartition("/")[0])
    assert place(file) is file
    assert not file.exists()
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '.*report.html'"):
        file.read_bytes()
    write_text(file, "é\n")
    assert file.is_file()
    assert folder.is_dir()
    assert file.read_text("utf-8") == "é\n"
    assert file.stat().st_size == 3
    assert file.stat().st_mtime > 0
    with local_copy(file) as copied:
        assert copied.name == "report.html"
        assert copied.read_text("utf-8") == "é\n"
    assert not copied.exists()


def test_an_address_finds_what_is_below_it(remote: str) -> None:
    folder = place(f"{remote}/a [1]")
    for name in ("x.ckpt", "deep/er/y.ckpt", "other.json"):
        write_text(folder / name, "text")
    found = sorted(map(str, folder.glob("**/*.ckpt")))
    assert found == [f"{folder}/deep/er/y.ckpt", f"{folder}/x.ckpt"]
    assert [str(found) for found in folder.glob("*/*/*")] == [f"{folder}/deep/er/y.ckpt"]


def test_a_file_is_named_itself_or_by_its_folder(remote: str, tmp_path: Path) -> None:
    for folder in (remote, str(tmp_path)):
        assert str(file_at(f"{folder}/new.json", "record.json")) == f"{folder}/new.json"
        write_text(f"{folder}/record.json", "text")
        assert str(file_at(folder, "record.json")) == f"{folder}/record.json"
    assert str(file_at(f"{remote}/new/", "record.json")) == f"{remote}/new/record.json"


def test_what_fails_in_the_middle_leaves_the_old_file_at_an_address(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = place(remote) / "file.json"
    write_text(file, "old")

    def fail(*_: object) -> None:
        raise ConnectionError("no network")

    with suppress(KeyError), whole_file(file) as partial:
        partial.write_text("new")
        raise KeyError
    monkeypatch.setattr("shutil.copyfileobj", lambda _, target: (target.write(b"n"), fail()))
    with pytest.raises(OSError, match="no network"):
        write_text(file, "new")
    assert file.read_bytes() == b"old"
    assert [found.name for found in file.parent.glob("*")] == ["file.json"]


def test_a_transaction_of_another_is_not_touched() -> None:
    system = MemoryFileSystem()  # fsspec gives everybody the same instance
    with system.transaction:
        with system.open("/others/checkpoint", "wb") as file:
            file.write(b"weights")
        write_text("memory://bucket/report", "text")
        assert not system.exists("/others/checkpoint")
    assert system.cat("/others/checkpoint") == b"weights"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("foo://bucket/run", "reaches but got foo://bucket/run: Protocol not known: foo. Pass a"),
        (Path("s3://bucket/run"), "'s3://bucket/run' but got 's3:/bucket/run', of which pathlib"),
    ],
)
def test_what_is_no_address_is_refused(path: str | Path, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        place(path)


@pytest.mark.parametrize(
    ("address", "package"),
    [("s3://bucket", "s3fs"), ("gs://bucket", "gcsfs"), ("abfs://b", "adlfs")],
)
def test_a_package_that_is_missing_is_named(
    address: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(ValueError, match=rf"reaches {address} .* Run `pip install {package}`\."):
        place(address)


def test_what_a_connection_raises_is_an_oserror() -> None:
    class NoCredentialsError(Exception):
        pass

    with bucket_at("s3") as bucket:
        file = place("s3://bucket/run/record")
        bucket.fails = NoCredentialsError("unable to locate credentials")
        for access in (file.exists, file.is_dir, file.is_file, file.stat, file.read_bytes):
            with pytest.raises(OSError, match="s3://bucket/run/record cannot be reached: NoCred"):
                access()


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3), max_size=12), st.sampled_from(["memory", "s3"]))
def test_runs_at_one_address_never_mix_their_files(order: list[int], scheme: str) -> None:
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    with bucket_at("s3"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runs = [RunFolder(f"{scheme}://bucket/shared", "record") for _ in range(4)]
        folders = {index: write(runs[index], f"run {index}") for index in order}
        assert len(set(folders.values())) == len(folders)
        for index, folder in folders.items():
            for name in ("record", "report"):
                assert (folder / name).read_text("utf-8") == f"run {index}"


def test_a_run_that_cannot_read_its_address_is_warned_before_and_writes_when_it_can() -> None:
    with bucket_at("s3") as bucket:
        bucket.fails = PermissionError("forbidden")
        with pytest.warns(
            UserWarning, match="s3://bucket/run cannot be read: forbidden. The train"
        ):
            run = RunFolder("s3://bucket/run", "record")
        bucket.fails = None
        assert write(run, "text") == place("s3://bucket/run")
        assert bucket.objects["bucket/run/record"] == b"text"
