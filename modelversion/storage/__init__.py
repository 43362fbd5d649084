"""Storage: read, create-once, put and list, on one adapter per filesystem class.

Nothing here knows what a model is. A key is a relative POSIX path. Adapters are judged by the
class of the filesystem, never by the name of a protocol: what looks alike in a URL differs in
whether two writers of one key can both win.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import attrs

from modelversion.errors import InvalidInputError, StorageError
from modelversion.layout import folder_path
from modelversion.redaction import redact_url


class KeyAbsent(Exception):  # noqa: N818 - a signal between layers, never shown to a user
    """Nothing is stored under the key."""


class KeyTaken(Exception):  # noqa: N818 - a signal between layers, never shown to a user
    """The key was created before, by us or by another writer."""


class Withheld(Exception):  # noqa: N818 - a signal between layers, never shown to a user
    """Bytes must not be kept; `rule` is why."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


@attrs.frozen
class Blob:
    """Bytes that are fixed from here on: a path in a folder, size, sha256, and the bytes.

    `content` is the bytes themselves, or the spooled file that holds them.
    """

    path: str
    size: int
    sha256: str
    content: bytes | Path = attrs.field(repr=False)

    def read(self) -> bytes:
        """Give the bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@attrs.frozen
class Item:
    """What a listing tells of a name: whether it is a folder, bytes, and seconds since 1970."""

    name: str
    folder: bool
    size: int = 0
    changed: float = 0.0


class Store(Protocol):
    """What the layers above need of a filesystem."""

    url: str
    remote: bool

    def read(self, key: str) -> bytes:
        """Give the bytes of a key in one request; raise `KeyAbsent`."""

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Give the bytes of each key, None where it is absent, in parallel where that helps."""

    def put_new(self, key: str, data: bytes) -> None:
        """Create a key; durable on return.

        Exactly one of many writers wins, and a reader sees all of the bytes or none.

        Raises:
            KeyTaken: The key exists.
            OutcomeUnknownError: It may or may not have been created durably.
        """

    def put(self, key: str, data: bytes) -> None:
        """Write a key that can be rebuilt, atomically; durability is not promised."""

    def fill(self, folder: str, blobs: Iterable[Blob], shared: Mapping[str, str]) -> None:
        """Put the files of a folder that only this caller writes; durable on return.

        Args:
            folder: The folder's key.
            blobs: What to put, by path in the folder.
            shared: For some paths, the key of a file that should hold the same bytes; it is
                shared after its bytes were hashed now, else our own bytes are written.

        Raises:
            KeyTaken: A file is there already.
            StorageError: It failed; caused by a FileNotFoundError if somebody removed a file.
        """

    def settle(self, folder: str) -> None:
        """Make durable what a folder shows; a writer that died may have left that undone."""

    def open(self, key: str, size: int | None = None) -> BinaryIO:
        """Open a key for reading; raise `KeyAbsent`.

        Args:
            key: The key.
            size: How many bytes are expected; at most one more need be fetched.
        """

    def local_path(self, key: str) -> str | None:
        """Give the path of a key on this machine, or None where there is none."""

    def list(self, folder: str) -> list[Item]:
        """List a folder, sorted by name; empty where it is absent."""

    def remove(self, key: str) -> None:
        """Remove a file, or a folder that is empty; absent is fine."""

    def revalidate(self) -> bool:
        """Ask past the caches on the way from now on; tell whether that changes anything."""

    def spool(self) -> Path | None:
        """Make a private folder for files on their way in, or None where bytes wait in memory."""

    def prove(self) -> None:
        """Show that the place can be written and creates once; done once a handle."""


def open_store(
    url: Any, *, storage_options: Mapping[str, Any] | None = None, writers: str = "many"
) -> Store:
    """Give the adapter for a place, without I/O.

    Args:
        url: A path, an fsspec URL, or a UPath.
        storage_options: What fsspec passes to the filesystem.
        writers: `"single"` is the caller's word that no two processes ever write there at
            once; it allows filesystems that cannot create once.

    Raises:
        InvalidInputError: The URL or an argument is none of these.
    """
    if writers not in ("many", "single"):
        raise InvalidInputError(f"writers must be 'many' or 'single', found {writers!r}")
    if hasattr(url, "fs") and hasattr(url, "path"):
        return _adapter(url.fs, url.path, str(url), writers)
    if not isinstance(url, (str, os.PathLike)) or not str(url):
        raise InvalidInputError(f"a registry is a path or a URL, found {type(url).__name__}")
    text = os.fspath(url)
    path = text.removeprefix("file://").removeprefix("local://")
    if "://" not in path and "::" not in path:
        from modelversion.storage._local import LocalStore

        folder_path(path, "a registry")
        return LocalStore(os.path.abspath(os.path.expanduser(path)))
    return _located(text, dict(storage_options or {}), writers)


def _located(url: str, options: dict[str, Any], writers: str) -> Store:
    """Judge a URL by the driver's class; a driver that connects when made is not made yet."""
    import fsspec
    import fsspec.core
    from fsspec.utils import get_protocol

    bare = url
    while bare.startswith("dir::"):
        bare = bare.removeprefix("dir::")
    shown = redact_url(url)[0]
    try:
        if "::" not in bare:
            protocol = get_protocol(bare)
            cls = fsspec.get_filesystem_class(protocol)
            given = {**cls._get_kwargs_from_urls(bare), **options.pop(protocol, {}), **options}
            store = _known(cls, cls._strip_protocol(bare), shown, options=given)
            if store is not None:
                return store
        fs, inner = fsspec.core.url_to_fs(url, **{"use_listings_cache": False, **options})
    except ImportError as e:
        raise StorageError(f"{shown} needs a driver that is not installed: {e}") from e
    except (ValueError, TypeError) as e:
        raise InvalidInputError(f"{shown!r} is no place that fsspec knows: {e}") from e
    return _adapter(fs, inner, shown, writers)


def _known(
    cls: type, path: str, url: str, *, args: Sequence[Any] = (), options: Mapping[str, Any]
) -> Store | None:
    """Give the adapter of a family whose driver is ours to build; None for other classes."""
    family = family_of(cls)
    if family is None:
        return None
    from modelversion.storage import _object
    from modelversion.storage._link import Link

    if family == "http":
        from modelversion.storage._published import HttpStore

        return HttpStore(Link(cls, url, args=args, options=options), path)
    if family == "sftp":
        from modelversion.storage._sftp import SftpStore, with_timeouts

        return SftpStore(Link(cls, url, args=args, options=with_timeouts(options)), path)
    kind: _object.Family = getattr(_object, family)
    link = _object.link_to(kind, cls, url, args=args, options=options)
    return _object.ObjectStore(link, path, kind)


def family_of(cls: type) -> str | None:
    """Give the family of a driver's class, None for one that is not known, or a look-alike."""
    family = _FAMILIES.get((cls.__module__, cls.__qualname__))
    if family is None or getattr(sys.modules[cls.__module__], cls.__qualname__) is not cls:
        return None
    return family


_FAMILIES = {
    ("s3fs.core", "S3FileSystem"): "S3",
    ("gcsfs.core", "GCSFileSystem"): "GCS",
    ("gcsfs.extended_gcsfs", "ExtendedGcsFileSystem"): "GCS",
    ("adlfs.spec", "AzureBlobFileSystem"): "AZURE",
    ("fsspec.implementations.http", "HTTPFileSystem"): "http",
    ("fsspec.implementations.sftp", "SFTPFileSystem"): "sftp",
}


def _adapter(fs: Any, path: str, url: str, writers: str) -> Store:
    from fsspec.implementations.dirfs import DirFileSystem
    from fsspec.implementations.local import LocalFileSystem
    from fsspec.implementations.memory import MemoryFileSystem
    from fsspec.implementations.zip import ZipFileSystem

    while type(fs) is DirFileSystem:
        fs, path = fs.fs, fs._join(path)
    if type(fs) is LocalFileSystem:
        from modelversion.storage._local import LocalStore

        return LocalStore(os.path.abspath(path))
    if type(fs) is MemoryFileSystem:
        from modelversion.storage._memory import MemoryStore

        return MemoryStore(fs, path, url)
    if type(fs) is ZipFileSystem:
        from modelversion.storage._published import ZipStore

        return ZipStore(fs, path, url)
    store = _known(type(fs), path, url, args=fs.storage_args, options=fs.storage_options)
    if store is not None:
        return store
    from modelversion.storage._other import OtherStore

    return OtherStore(fs, path, url, writers)


def nonce() -> str:
    """Give 16 hex digits that no other writer has."""
    return os.urandom(8).hex()
