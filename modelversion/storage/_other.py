"""Any other fsspec filesystem: read always, written only where the caller is the one writer.

Whether two writers of one key can both win cannot be learnt from the name of a filesystem or
of an option, so a class that is not known here is refused for writing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO

from modelversion.errors import StorageError, UnsafeFilesystemError
from modelversion.redaction import redact_url
from modelversion.storage import Blob, Item, KeyAbsent, KeyTaken


class OtherStore:
    """A filesystem that gives no create-once write."""

    remote = True

    def __init__(self, fs: Any, path: str, url: str, writers: str) -> None:
        self.url = redact_url(url)[0]
        self._fs = fs
        self._root = path.rstrip("/")
        self._writers = writers

    def __reduce__(self) -> tuple[Any, ...]:
        return OtherStore, (self._fs, self._root, self.url, self._writers)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def read(self, key: str) -> bytes:
        """Give the bytes of a key."""
        try:
            return bytes(self._fs.cat_file(self._path(key)))
        except (FileNotFoundError, IsADirectoryError, KeyError) as e:
            raise KeyAbsent(key) from e
        except OSError as e:
            raise StorageError(f"cannot read {key} of {self.url}: {e}") from e

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Give the bytes of each key, None where it is absent."""
        return [self._read_or_none(key) for key in keys]

    def _read_or_none(self, key: str) -> bytes | None:
        try:
            return self.read(key)
        except KeyAbsent:
            return None

    def put_new(self, key: str, data: bytes) -> None:
        """Create a key; safe only because the caller said that nobody else writes."""
        self._check_single()
        path = self._path(key)
        if self._fs.exists(path):
            raise KeyTaken(key)
        self._put(path, data)

    def put(self, key: str, data: bytes) -> None:
        """Write a key."""
        self._check_single()
        self._put(self._path(key), data)

    def _put(self, path: str, data: bytes) -> None:
        try:
            self._fs.makedirs(self._fs._parent(path), exist_ok=True)
            self._fs.pipe_file(path, data)
        except OSError as e:
            raise StorageError(f"cannot write {path} of {self.url}: {e}") from e

    def fill(self, folder: str, blobs: Iterable[Blob], shared: Mapping[str, str]) -> None:
        """Put the files of a folder."""
        for blob in blobs:
            self.put_new(f"{folder}/{blob.path}", blob.read())

    def open(self, key: str, size: int | None = None) -> BinaryIO:
        """Open a key for reading."""
        import io

        return io.BytesIO(self.read(key))

    def local_path(self, key: str) -> None:
        """Give None: what is on a disk of this machine is not known."""
        return None

    def list(self, folder: str) -> list[Item]:
        """List a folder, sorted by name."""
        try:
            found = self._fs.ls(self._path(folder), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        items = (
            Item(i["name"].rstrip("/").rsplit("/", 1)[-1], i["type"] == "directory", i["size"] or 0)
            for i in found
        )
        return sorted(items, key=lambda item: item.name)

    def remove(self, key: str) -> None:
        """Remove a file; object stores have no folders to remove."""
        self._check_single()
        path = self._path(key)
        if self._fs.isfile(path):
            self._fs.rm_file(path)

    def settle(self, folder: str) -> None:
        """Do nothing: what can be seen is as durable as it will be."""

    def revalidate(self) -> bool:
        """Say that there is no cache on the way."""
        return False

    def spool(self) -> None:
        """Give None: bytes wait in memory."""
        return None

    def prove(self) -> None:
        """Refuse, unless the caller is the one writer."""
        self._check_single()

    def _check_single(self) -> None:
        from fsspec.implementations.cached import CachingFileSystem

        if isinstance(self._fs, CachingFileSystem):
            raise UnsafeFilesystemError(
                f"{self.url}: {type(self._fs).__name__} answers from its cache what others have "
                "changed since, so nothing is written through it; give the URL without it"
            )
        if self._writers != "single":
            raise UnsafeFilesystemError(
                f"{self.url}: {type(self._fs).__name__} is not known to create a file exactly "
                "once, so two writers could overwrite each other; it can be read, and written "
                "with Registry(..., writers='single') where one process at a time writes"
            )
