"""Writes a whole file or none, into a folder that no other run is writing to.

Files are on a local disk, or at an address such as `s3://bucket/run`, which fsspec reaches. Nothing
else here knows of fsspec: a `Place` is a `Path`, or an `Address` with the methods of one.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from fsspec.core import url_to_fs
from fsspec.registry import known_implementations, registry

PathLike = str | os.PathLike[str]
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(://|::|:/)")  # a letter alone is a drive
_LOCAL = ("file", "local")  # protocols of fsspec whose files are on this machine


class Stat(NamedTuple):
    """Holds what a file system says of a file, as `os.stat` does.

    Attributes:
        st_size: in bytes.
        st_mtime: seconds since 1970; 0 where the file system knows no time.
    """

    st_size: int
    st_mtime: float

    @property
    def st_mtime_ns(self) -> int:
        """Nanoseconds since 1970."""
        return int(self.st_mtime * 1e9)


class Address:
    """Names a file or folder on a file system of fsspec; `place` makes one.

    It has the methods of `pathlib.Path` that are used here. What goes wrong is an `OSError`.

    Args:
        text: the address, such as `"s3://bucket/run"`.
        system: the file system.
        path: where it is there.
        writer: the same with a connection of its own, where it was made; shared by what is beside.
    """

    def __init__(self, text: str, system: Any, path: str, writer: list[Any] | None = None) -> None:
        self._text, self._system, self._path = text, system, path
        self._writer: list[Any] = [] if writer is None else writer

    def __str__(self) -> str:
        return self._text

    __fspath__ = __str__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash(self._text)

    def __truediv__(self, name: str) -> Address:
        return self._at(f"{self._text.rstrip('/')}/{name}", f"{self._path.rstrip('/')}/{name}")

    def _at(self, text: str, path: str) -> Address:
        return Address(text, self._system, path, self._writer)

    @property
    def name(self) -> str:
        """Return the last word of the path."""
        return PurePosixPath(self._path).name

    @property
    def suffix(self) -> str:
        """Return what the name ends with, from the last dot on."""
        return PurePosixPath(self._path).suffix

    @property
    def parent(self) -> Address:
        """Return the folder that it is in; the root's is itself."""
        above, _, name = self._text.rstrip("/").rpartition("/")
        if not name or above.endswith((":", "/")):
            return self
        return self._at(above, self._path.rstrip("/").rpartition("/")[0])

    def with_name(self, name: str) -> Address:
        """Return another file beside this one."""
        return self.parent / name

    def resolve(self) -> Address:
        """Return itself: an address is whole."""
        return self

    def exists(self) -> bool:
        """Return whether there is such a file or folder."""
        return self._kind() is not None

    def is_dir(self) -> bool:
        """Return whether it is a folder, which on an object store is one with files in it."""
        return self._kind() == "directory"

    def is_file(self) -> bool:
        """Return whether it is a file."""
        return self._kind() == "file"

    def _kind(self) -> str | None:
        """Return what it is; None if it is not there. fsspec's `exists` hides what goes wrong."""
        try:
            with self._reached():
                kind: str = self._system.info(self._path)["type"]
        except FileNotFoundError:
            return None
        return kind

    def stat(self) -> Stat:
        """Return its size and time."""
        with self._reached():
            size = self._system.info(self._path).get("size") or 0
            try:
                return Stat(size, self._system.modified(self._path).timestamp())
            except NotImplementedError:
                return Stat(size, 0.0)

    def version(self) -> str:
        """Return what tells one writing of the file from another."""
        with self._reached():
            self._system.invalidate_cache()
            return str(self._system.ukey(self._path))

    def glob(self, pattern: str) -> Iterator[Address]:
        """Find the files below it, such as `"**/*.ckpt"`, at any depth, or `"*/record.json"`."""
        name = pattern.removeprefix("**/")
        depth = None if name != pattern else len(PurePosixPath(pattern).parts)
        with self._reached():
            found = self._system.find(self._path, maxdepth=depth)
        start = len(self._path.rstrip("/")) + 1
        for path in (PurePosixPath(whole[start:]) for whole in found):
            if path.match(name) and depth in (None, len(path.parts)):
                yield self / str(path)

    def samefile(self, other: object) -> bool:
        """Return whether another place is this one."""
        return self == other

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove a file."""
        if missing_ok and not self.exists():
            return
        with self._reached():
            self._system.rm_file(self._path)

    def open(self, mode: str = "rb", buffering: int = -1) -> BinaryIO:  # noqa: ARG002
        """Open it for reading bytes; how it is buffered is the file system's."""
        with self._reached():
            opened: BinaryIO = self._system.open(self._path, mode)
        return opened

    def read_bytes(self) -> bytes:
        """Return what is in it."""
        with self._reached(), self._system.open(self._path, "rb") as file:
            content: bytes = file.read()
        return content

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return what is in it, as text."""
        return self.read_bytes().decode(encoding)

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:  # noqa: ARG002
        """Make a folder, where the file system has some."""
        if not exist_ok and self.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self))
        with self._reached():
            self._system.makedirs(self._path, exist_ok=exist_ok)

    def put(self, content: Path) -> None:
        """Write a local file there, whole or not at all if the file system can; as Lightning does.

        A transaction on the connection that all share would end that of a checkpoint.
        """
        self.parent.mkdir(parents=True, exist_ok=True)
        with self._reached():
            if not self._writer:
                self._writer.append(url_to_fs(self._text, skip_instance_cache=True)[0])
            (writer,) = self._writer
            with (
                content.open("rb") as source,
                writer.transaction,
                writer.open(self._path, "wb") as file,
            ):
                shutil.copyfileobj(source, file)
            self._system.invalidate_cache()  # of what it has listed

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Raise whatever a file system raises as the errors that `Path` has."""
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self)) from error
        except OSError:
            raise
        except NotImplementedError as error:
            kind = type(self._system).__name__
            raise OSError(f"{self} cannot be used in this way, which {kind} has not.") from error
        except Exception as error:  # each file system has error classes of its own
            raise OSError(f"{self} cannot be reached: {error!r}") from error


Place = Path | Address


def place(path: PathLike) -> Place:
    """Return where a path or an address is: on a local disk, or on a file system of fsspec.

    Args:
        path: a path, `file://` and a path, or an address such as `"s3://bucket/run"`.

    Raises:
        ValueError: if fsspec knows no such address, or what reaches it is not installed, or if it
            has lost a slash, as in `Path("s3://bucket")`.
    """
    if isinstance(path, Address):
        return path
    text = str(path)
    found = _ADDRESS.match(text)
    if found is None:
        return Path(path)
    scheme, ending = found.groups()
    if ending != "://" and scheme not in {*known_implementations, *registry}:
        return Path(path)
    if ending == ":/" and scheme not in _LOCAL:
        whole = text.replace(":/", "://", 1)
        raise ValueError(
            f"Expected an address such as {whole!r} but got {text!r}, of which pathlib makes a "
            f"local path. Pass the text {whole!r}."
        )
    try:
        system, inside = url_to_fs(text)
    except ImportError as error:
        package = known_implementations.get(scheme, {}).get("class", "fsspec").split(".")[0]
        install = f"Run `pip install {package}`" if package != "fsspec" else "Install what it names"
        raise ValueError(
            f"Expected the package that reaches {text} but it is not installed: {error}. {install}."
        ) from error
    except Exception as error:
        raise ValueError(
            f"Expected an address that fsspec reaches but got {text}: {error}. Pass a local path, "
            "or an address such as s3://bucket/run."
        ) from error
    return Path(inside) if scheme in _LOCAL else Address(text, system, inside)


def file_at(path: PathLike, name: str) -> Place:
    """Return a file that is named itself, or by the folder that it is in.

    Args:
        path: of the file, or of its folder; an address that ends with `/` is a folder.
        name: of the file, where `path` is a folder.
    """
    found = place(path)
    address = isinstance(found, Address) and str(found).endswith("/")
    return found / name if address or found.is_dir() else found


def write_text(path: PathLike, text: str) -> None:
    """Write a whole file of text or none, see `write_bytes`."""
    write_bytes(path, text.encode("utf-8", "replace"))


def write_bytes(path: PathLike, content: bytes) -> None:
    """Write a whole file or none, see `whole_file`."""
    with whole_file(path) as partial:
        partial.write_bytes(content)


@contextmanager
def local_copy(path: PathLike) -> Iterator[Path]:
    """Yield a file on a local disk: the file itself, or a copy for the block."""
    found = place(path)
    if isinstance(found, Path):
        yield found
        return
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder, found.name)
        with found.open() as source, copied.open("wb") as file:
            shutil.copyfileobj(source, file)
        yield copied


@contextmanager
def whole_file(path: PathLike, sync: bool = True) -> Iterator[Path]:
    """Yield a file to be written beside `path`, whose place it takes at the end.

    If something is raised before, nothing is left of it, and the other one stays as it is.

    Args:
        path: the file.
        sync: whether to wait for the disk, which takes longer than to write a small file; without,
            a power cut may leave the name without content.
    """
    found = place(path)
    if isinstance(found, Address):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder, "partial")
            found.put(Path(folder, "partial"))
        return
    target = Path(os.path.realpath(found)) if found.is_symlink() else found  # a link stays a link
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield partial
        if sync:
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


class RunFolder:
    """Keeps a run's files in a folder apart from what another run writes there meanwhile.

    What is there when the run begins is replaced, as by a second try. What has changed since then,
    and not by this run, is another's: this one's files then go to `run_2`, `run_3`, ... inside.

    Args:
        path: the folder; it need not exist.
        telling: name of the file that every run writes first.
    """

    def __init__(self, path: PathLike, telling: str) -> None:
        self.path = place(path)
        self._telling = telling
        self._seen = self._state_at_first()

    @contextmanager
    def writing(self) -> Iterator[Place]:
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

    def _state_at_first(self) -> Hashable:
        try:
            return self._found()
        except FileNotFoundError:
            return None
        except OSError as error:  # the run may end long after the network is back
            if isinstance(self.path, Path):
                return None
            warnings.warn(
                f"{self.path} cannot be read: {error}. The training goes on, and its files are "
                "written there if that is possible then. Pass another dirpath if it is not.",
                stacklevel=2,
            )
            return None

    def _state(self) -> Hashable:
        try:
            return self._found()
        except OSError:
            return None

    def _found(self) -> Hashable:
        """Return what tells one writing of the file from another, whatever the clock says."""
        telling = self.path / self._telling
        if isinstance(telling, Address):
            return telling.version()
        found = telling.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size


@contextmanager
def _alone_in(folder: Place) -> Iterator[bool]:
    """Keep other runs from writing to a folder, where the system can; False if one is writing."""
    if isinstance(folder, Address):  # it has no locks, but what another run wrote is seen
        yield True
        return
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
        os.close(handle)  # the end of the process closes it, too
