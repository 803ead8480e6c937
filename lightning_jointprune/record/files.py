"""Writes a whole file or none, into a folder that no other run is writing to."""

from __future__ import annotations

import os
import secrets
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

PathLike = str | os.PathLike[str]


def write_text(path: PathLike, text: str) -> None:
    """Write a whole file of text or none, see `write_bytes`."""
    write_bytes(path, text.encode("utf-8", "replace"))


def write_bytes(path: PathLike, content: bytes) -> None:
    """Write a whole file or none, see `whole_file`."""
    with whole_file(path) as partial:
        partial.write_bytes(content)


@contextmanager
def whole_file(path: PathLike) -> Iterator[Path]:
    """A file to be written beside another one, whose place it takes at the end.

    If something is raised before, nothing is left of it, and the other one stays as it is.
    """
    target = Path(os.path.realpath(path))  # so that a link stays a link
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield partial
        with partial.open("rb+") as file:  # its name may outlive a power cut, and its content not
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


class RunFolder:
    """A folder for a run's files, which leaves alone what another run writes there meanwhile.

    What is there when the run begins is replaced, as by a second try. What has changed since then,
    and not by this run, is another's: this one's files then go to `run_2`, `run_3`, ... inside.

    Args:
        path: the folder; it need not exist.
        telling: name of the file that every run writes first.
    """

    def __init__(self, path: PathLike, telling: str) -> None:
        self.path = Path(path)
        self._telling = telling
        self._seen = self._state()

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """Have the folder to itself while the files are written; another one if it is taken.

        Raises:
            OSError: if the folder cannot be made.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with _alone_in(self.path) as alone:
            if not alone or self._state() != self._seen:
                self._move()
            try:
                yield self.path
            finally:
                self._seen = self._state()

    def _move(self) -> None:
        taken = self.path
        for number in count(2):
            self.path = taken / f"run_{number}"
            with suppress(FileExistsError):
                self.path.mkdir()
                break
        warnings.warn(
            f"Another run has written to {taken} since this one began, so the files of this one go "
            f"to {self.path}. Give each run a dirpath of its own.",
            stacklevel=5,
        )

    def _state(self) -> tuple[int, int, int] | None:
        """What tells one writing of the file from another, whatever the clock says."""
        try:
            found = (self.path / self._telling).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


@contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """Keep other runs from writing to a folder, where the system can; False if one is writing."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):  # not a POSIX system
        yield True
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except OSError as error:
        alone = not isinstance(error, BlockingIOError)  # some network folders have no locks
    try:
        yield alone
    finally:
        os.close(handle)  # and so does the end of the process, however it comes
