"""A read cache: files of remote registries on this machine's disk, each named by its sha256.

A name says what its bytes must be, so nothing in a cache can be stale, and any process may add,
read and remove at any time. Bytes are hashed again at each read by whoever asks for them; what
is wrong is dropped and fetched anew. No error of a cache is an error of a load.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import attrs

from modelversion.errors import InvalidInputError
from modelversion.layout import TEMPORARY
from modelversion.storage import nonce

FOLDER_VARIABLE = "MODELVERSION_CACHE"
BYTES_VARIABLE = "MODELVERSION_CACHE_BYTES"
OFF = "off"
_DEFAULT_BYTES = 10 * 2**30
# Use is noted to the minute: a note changes what tells a mapped file from another.
_NOTED_SECONDS = 60
# What a killed process left half written is removed after so long.
_ABANDONED_SECONDS = 24 * 3600
_NAME = re.compile(r"[0-9a-f]{64}")
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)


def _absolute(folder: Any) -> Path:
    if not isinstance(folder, (str, os.PathLike)) or not str(folder):
        raise InvalidInputError(f"cache: the folder must be a path, found {folder!r:.80}")
    text = os.fspath(folder)
    if not isinstance(text, str) or "://" in text or "\0" in text:
        raise InvalidInputError(f"cache: a cache is a folder of this machine, found {text!r:.80}")
    return Path(os.path.abspath(os.path.expanduser(text)))


def _check_bytes(instance: Cache, field: Any, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInputError(f"max_bytes must be a number of bytes above 0, found {value!r:.80}")


@attrs.frozen
class Cache:
    """Where files of remote registries are kept on this machine, and how much of them.

    Attributes:
        folder: A folder; it is made when something is kept. Many registries may share it.
        max_bytes: The size that it is held to; what was not used for longest goes first.
    """

    folder: Path = attrs.field(converter=_absolute)
    max_bytes: int = attrs.field(default=_DEFAULT_BYTES, kw_only=True, validator=_check_bytes)

    @property
    def size(self) -> int:
        """How many bytes are in it now."""
        return sum(size for _, size, _ in _entries(self.folder))

    def clear(self) -> None:
        """Remove everything that was kept; what others are reading they read to its end."""
        for _, _, path in _entries(self.folder):
            _unlink(path)


class Copies:
    """The files in a cache, as readers of versions use them."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.folder = cache.folder
        # What this process knows of the bytes in it; None before it has looked.
        self._total: int | None = None
        self._unseen = 0

    def __reduce__(self) -> tuple[type[Copies], tuple[Cache]]:
        return Copies, (self.cache,)

    def path(self, sha256: str) -> str:
        """Give where the bytes with a digest are, if they are there."""
        return f"{self.folder}{os.sep}{sha256}"

    def holds(self, sha256: str, size: int) -> bool:
        """Tell whether there is a file under a digest, of the right size."""
        try:
            return os.stat(self.path(sha256), follow_symlinks=False).st_size == size
        except OSError:
            return False

    def open(self, sha256: str, size: int) -> BinaryIO | None:
        """Open what is kept under a digest, None if nothing is; its bytes are still to be hashed.

        That is noted as its use.
        """
        try:
            descriptor = os.open(self.path(sha256), _READ)
        except OSError:
            return None
        status = os.fstat(descriptor)
        if status.st_size != size:
            os.close(descriptor)
            self.drop(sha256)
            return None
        if abs(time.time() - status.st_mtime) > _NOTED_SECONDS:
            with contextlib.suppress(OSError):
                os.utime(self.path(sha256))
        return os.fdopen(descriptor, "rb", buffering=0)

    def drop(self, sha256: str) -> None:
        """Remove what is kept under a digest: its bytes are wrong."""
        _unlink(self.path(sha256))

    def add(self, sha256: str, data: bytes | bytearray) -> None:
        """Keep verified bytes."""
        with self.filling(sha256, len(data)) as filling:
            filling.write(data)
            filling.keep()

    def filling(self, sha256: str, size: int) -> Filling:
        """Give a file to write bytes to while they arrive; it is kept only if it is told to."""
        return Filling(self, sha256, size)

    # ---- its size

    @property
    def _target(self) -> int:
        """What eviction goes down to, so that it is not done for every file."""
        return max(self.cache.max_bytes * 9 // 10, 1)

    def _has_room(self, size: int) -> bool:
        """Tell whether a file of a size is ever kept: one that would evict all is not."""
        return 0 < size <= self._target

    def _added(self, size: int) -> None:
        """Count what was added; look again when it is full, or when others may have filled it."""
        limit = self.cache.max_bytes
        self._unseen += size
        if self._total is not None:
            self._total += size
        if self._total is None or self._total > limit or self._unseen > limit // 64:
            self._total, self._unseen = self._evict(), 0

    def _evict(self) -> int:
        """Remove what was not used for longest until it fits; give the bytes that stay."""
        entries = sorted(_entries(self.folder))
        total = sum(size for _, size, _ in entries)
        if total <= self.cache.max_bytes:
            return total
        for _, size, path in entries:
            _unlink(path)
            total -= size
            if total <= self._target:
                break
        return total


def _entries(folder: Path) -> Iterator[tuple[float, int, str]]:
    """Give (time of use, size, path) of each file; files that are not ours are passed over."""
    try:
        with os.scandir(folder) as found:
            for entry in found:
                with contextlib.suppress(OSError):
                    yield from _entry(entry)
    except OSError:
        return


def _entry(entry: os.DirEntry[str]) -> Iterator[tuple[float, int, str]]:
    half_written = entry.name.startswith(TEMPORARY)
    if not half_written and not _NAME.fullmatch(entry.name):
        return
    status = entry.stat(follow_symlinks=False)
    if half_written and time.time() - status.st_mtime < _ABANDONED_SECONDS:
        # Its writer will look after it has finished.
        return
    yield (0.0 if half_written else status.st_mtime), status.st_size, entry.path


def _unlink(path: str) -> None:
    # On Windows what is open stays; the next look tries again.
    with contextlib.suppress(OSError):
        os.unlink(path)


class Filling:
    """A file on its way into a cache; a disk that takes no more ends it and nothing else."""

    def __init__(self, copies: Copies, sha256: str, size: int) -> None:
        self._copies = copies
        self._sha256 = sha256
        self._size = size
        self._temporary = f"{copies.folder}{os.sep}{TEMPORARY}{nonce()}"
        self._descriptor = -1

    def __enter__(self) -> Filling:
        if self._copies._has_room(self._size):
            with contextlib.suppress(OSError):
                os.makedirs(self._copies.folder, mode=0o700, exist_ok=True)
                self._descriptor = os.open(self._temporary, _CREATE, 0o600)
        return self

    def write(self, data: bytes | bytearray) -> None:
        """Add bytes."""
        if self._descriptor < 0:
            return
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            self._give_up()

    def keep(self) -> None:
        """Give the file its name: its bytes have the digest.

        Whoever is there already has the same bytes, or wrong ones.
        """
        if self._descriptor < 0:
            return
        try:
            os.close(self._descriptor)
            os.replace(self._temporary, self._copies.path(self._sha256))
        except OSError:
            _unlink(self._temporary)
        else:
            self._copies._added(self._size)
        self._descriptor = -1

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._give_up()

    def _give_up(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            _unlink(self._temporary)
            self._descriptor = -1


# ---- which cache


def chosen(word: Any, *, remote: bool) -> Copies | None:
    """Settle the cache of a registry: the caller's word, the machine's, the default.

    The default is a folder of the user's for remote places, and none for others.

    Raises:
        InvalidInputError: The word is none, or a variable of the environment says nonsense.
    """
    if isinstance(word, Cache):
        return Copies(word)
    if isinstance(word, (str, os.PathLike)):
        return Copies(Cache(word, max_bytes=_machine_bytes()))
    if word not in (None, True, False):
        raise InvalidInputError(
            f"cache must be True, False, a folder or a modelversion.Cache, found {word!r:.80}"
        )
    if word is False or (word is None and not remote):
        return None
    named = os.environ.get(FOLDER_VARIABLE)
    if named == OFF and word is None:
        return None
    folder = named if named and named != OFF else _users_folder()
    return None if folder is None else Copies(Cache(folder, max_bytes=_machine_bytes()))


def _machine_bytes() -> int:
    text = os.environ.get(BYTES_VARIABLE) or str(_DEFAULT_BYTES)
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) == 0:
        raise InvalidInputError(
            f"${BYTES_VARIABLE} must be a number of bytes above 0, found {text!r:.80}"
        )
    return int(text)


def _users_folder() -> str | None:
    """Give where programs of this user keep what can be fetched again; None without a home."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "modelversion") if os.path.isabs(base) else None
