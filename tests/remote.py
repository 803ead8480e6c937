"""File systems that are not on this machine, for tests: an object store such as S3 among them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, ClassVar

from fsspec import AbstractFileSystem, register_implementation
from fsspec.registry import _registry


class Bucket(AbstractFileSystem):
    """An object store: it has keys and no folders, and remembers what it has listed.

    Attributes:
        objects: what is stored, by key, over all connections.
        fails: what is raised by each access, if anything.
        fails_to_write: what is raised by each write.
        versions: of each object, a number that is higher the later it was written.
    """

    objects: ClassVar[dict[str, bytes]] = {}
    fails: ClassVar[Exception | None] = None
    fails_to_write: ClassVar[Exception | None] = None
    versions: ClassVar[dict[str, int]] = {}
    root_marker = ""

    def _keys(self) -> dict[str, bytes]:
        if self.fails is not None:
            raise self.fails
        return self.objects

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        path = self._strip_protocol(path).rstrip("/")
        if path not in self.dircache:
            found: dict[str, dict[str, Any]] = {}
            for key, content in self._keys().items():
                if key == path:
                    found[key] = self._described(key, content)
                elif key.startswith(f"{path}/" if path else ""):
                    rest = key[len(path) + 1 if path else 0 :]
                    name = key[: len(key) - len(rest)] + rest.split("/")[0]
                    folder = {"name": name, "size": 0, "type": "directory"}
                    found[name] = folder if "/" in rest else self._described(key, content)
            if not found:
                raise FileNotFoundError(path)
            self.dircache[path] = list(found.values())
        listed = self.dircache[path]
        return listed if detail else [entry["name"] for entry in listed]

    def _described(self, key: str, content: bytes) -> dict[str, Any]:
        known = {"ETag": self.versions[key]}
        return {"name": key, "size": len(content), "type": "file", **known}

    def invalidate_cache(self, path: str | None = None) -> None:
        self.dircache.clear()

    def _rm(self, path: str) -> None:
        del self._keys()[path]
        self.invalidate_cache()

    def modified(self, path: str) -> datetime:
        version = self.versions[self._strip_protocol(path)]
        return datetime.fromtimestamp(version, tz=timezone.utc)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        self._keys()  # there is nothing to make, and nothing that could be there already

    mkdir = makedirs  # type: ignore[assignment]

    def _open(self, path: str, mode: str = "rb", autocommit: bool = True, **_: Any) -> Any:
        if mode == "rb":
            try:
                return io.BytesIO(self._keys()[path])
            except KeyError:
                raise FileNotFoundError(path) from None
        if self.fails_to_write is not None:
            raise self.fails_to_write
        return _Upload(self, path, autocommit)


class _Upload(io.BytesIO):
    """Make an object of what is written at once, when it is closed, or committed."""

    def __init__(self, bucket: Bucket, key: str, autocommit: bool) -> None:
        super().__init__()
        self.bucket, self.key, self.autocommit = bucket, key, autocommit
        self.content = b""

    def close(self) -> None:
        if not self.closed:
            self.content = self.getvalue()
            super().close()
            if self.autocommit:
                self.commit()

    def commit(self) -> None:
        self.bucket._keys()[self.key] = self.content
        self.bucket.versions[self.key] = max(self.bucket.versions.values(), default=0) + 1

    def discard(self) -> None:
        pass


@contextmanager
def bucket_at(*schemes: str) -> Iterator[type[Bucket]]:
    """An empty bucket that is reached at `scheme://`, in place of what else would be."""
    made = type(
        "MadeBucket",
        (Bucket,),
        {"protocol": schemes, "objects": {}, "versions": {}, "fails": None},
    )
    before = dict(_registry)
    for scheme in schemes:
        register_implementation(scheme, made, clobber=True)
    try:
        yield made
    finally:
        _registry.clear()
        _registry.update(before)
