"""`memory://`: fsspec's dictionary of this process, under one lock."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO

from modelversion.errors import ForeignProcessError
from modelversion.redaction import redact_url
from modelversion.storage import Blob, Item, KeyAbsent, KeyTaken

_LOCK = threading.Lock()


class MemoryStore:
    """A registry for tests and demonstrations; it ends with the process."""

    remote = False

    def __init__(self, fs: Any, path: str, url: str, pid: int | None = None) -> None:
        self.url = redact_url(url)[0]
        self._fs = fs
        self._root = path.rstrip("/")
        self._pid = pid if pid is not None else os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return MemoryStore, (self._fs, self._root, self.url, self._pid)

    def _path(self, key: str) -> str:
        if self._pid != os.getpid():
            raise ForeignProcessError(
                f"{self.url} lives in the memory of process {self._pid} and this is process "
                f"{os.getpid()}; use a folder or a bucket to share a registry between processes"
            )
        return f"{self._root}/{key}"

    def read(self, key: str) -> bytes:
        """Give the bytes of a key."""
        data = _read(self._fs, self._path(key))
        if data is None:
            raise KeyAbsent(key)
        return data

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Give the bytes of each key, None where it is absent."""
        return [_read(self._fs, self._path(key)) for key in keys]

    def put_new(self, key: str, data: bytes) -> None:
        """Create a key under the lock."""
        path = self._path(key)
        with _LOCK:
            if self._fs.exists(path):
                raise KeyTaken(key)
            self._fs.pipe_file(path, data)

    def put(self, key: str, data: bytes) -> None:
        """Write a key under the lock."""
        path = self._path(key)
        with _LOCK:
            self._fs.pipe_file(path, data)

    def fill(self, folder: str, blobs: Iterable[Blob], shared: Mapping[str, str]) -> None:
        """Put the files of a folder; memory shares nothing."""
        for blob in blobs:
            self.put_new(f"{folder}/{blob.path}", blob.read())

    def open(self, key: str, size: int | None = None) -> BinaryIO:
        """Open a key for reading."""
        data = _read(self._fs, self._path(key))
        if data is None:
            raise KeyAbsent(key)
        return io.BytesIO(data)

    def local_path(self, key: str) -> None:
        """Give None: nothing is on a disk."""
        return None

    def list(self, folder: str) -> list[Item]:
        """List a folder, sorted by name."""
        path = self._path(folder).rstrip("/")
        with _LOCK:
            try:
                found = self._fs.ls(path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
            return sorted((_item(info) for info in found), key=lambda item: item.name)

    def remove(self, key: str) -> None:
        """Remove a file or an empty folder."""
        path = self._path(key)
        with _LOCK:
            try:
                self._fs.rm_file(path)
            except (FileNotFoundError, KeyError):
                if self._fs.isdir(path) and not self._fs.ls(path):
                    self._fs.rmdir(path)

    def settle(self, folder: str) -> None:
        """Do nothing: what can be seen is as durable as it will be."""

    def revalidate(self) -> bool:
        """Say that there is no cache on the way."""
        return False

    def spool(self) -> None:
        """Give None: bytes wait in memory, where they are going."""
        return None

    def prove(self) -> None:
        """Check the process; the lock is all there is to prove."""
        self._path("")


def _read(fs: Any, path: str) -> bytes | None:
    try:
        return bytes(fs.cat_file(path))
    except (FileNotFoundError, IsADirectoryError):
        return None


def _item(info: dict[str, Any]) -> Item:
    created = info.get("created") or 0.0  # seconds or a datetime, by the release of fsspec
    changed = float(created.timestamp() if hasattr(created, "timestamp") else created)
    name = info["name"].rsplit("/", 1)[-1]
    return Item(name, info["type"] == "directory", info["size"] or 0, changed)
