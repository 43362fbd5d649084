"""Read a version's files: size and sha256 first, and always of the very bytes that are used."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from modelversion.errors import (
    ArtifactNotFoundError,
    DigestMismatchError,
    FileMissingError,
    SizeMismatchError,
)
from modelversion.progress import transfer
from modelversion.records import FileRecord
from modelversion.storage import KeyAbsent, Store
from modelversion.threads import behind, each

if TYPE_CHECKING:
    from modelversion.storage.cache import Copies

PIECE = 4 * 2**20
_SMALL = 4 * 2**20
_IN_PARALLEL = 8 * 2**20
_REMEMBERED = 4096
_SHARED = 2**20  # what one thread has read is in the processor's cache still when another hashes it
Count = Callable[[int], None]
Room = Callable[[int], Any]
# Mapped files of this process whose bytes were hashed, by what changes when they change.
_VERIFIED: dict[tuple[int, ...], str] = {}


class VersionFiles:
    """The files that a `version.json` lists, in the folder it stands in."""

    def __init__(
        self,
        store: Store,
        folder: str,
        files: Iterable[FileRecord],
        name: str,
        *,
        cache: Copies | None = None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._folder = folder
        self._name = name
        self._files = {file.path: file for file in files}
        self._ahead: dict[str, bytes | None] = {}
        self._count: Count | None = None

    def record(self, path: str) -> FileRecord:
        """Give a file's record.

        Raises:
            ArtifactNotFoundError: The version has no such file.
        """
        try:
            return self._files[path]
        except KeyError:
            names = ", ".join(sorted(self._files)[:10]) or "none"
            raise ArtifactNotFoundError(
                f"{self._name} has no file {path!r}; its files: {names}"
            ) from None

    def look_ahead(self, paths: Iterable[str]) -> None:
        """Get small files that are about to be read, in one round trip where each is one."""
        if not self._store.remote:
            return
        small = [path for path in paths if self._is_small_and_elsewhere(self.record(path))]
        found = self._store.read_many([f"{self._folder}/{path}" for path in small])
        self._ahead = dict(zip(small, found, strict=True))

    def _is_small_and_elsewhere(self, record: FileRecord) -> bool:
        kept = self._cache is not None and self._cache.holds(record.sha256, record.size)
        return record.size <= _SMALL and not kept

    def read(self, path: str, room: Room = bytearray) -> Any:
        """Give a file's verified bytes, in memory that `room` gives for their number."""
        record = self.record(path)
        kept = None if self._cache is None else _kept(self._cache, record, room)
        if kept is not None:
            return kept
        ahead, key = self._ahead.pop(record.path, None), f"{self._folder}/{record.path}"
        try:
            # Opened here, not by a helper: the path of a load is kept short.
            with (
                self._metered(record.size) as count,
                self._store.open(key, record.size) if ahead is None else io.BytesIO(ahead) as file,
            ):
                data, size, digest = _read_hashed(file, record.size, room, count)
        except KeyAbsent as e:
            raise self._missing(record) from e
        self._compare(record, size, digest)
        if self._cache is not None:
            self._cache.add(record.sha256, data)
        return data

    def views(self, paths: list[str], *, mmap: bool) -> dict[str, memoryview]:
        """Give files as flat memory; writable copies, or read-only maps with `mmap`."""
        get = self._mapped if mmap else lambda path: self.read(path, _private)
        total = sum(self.record(path).size for path in paths)
        if len(paths) < 2 or total < _IN_PARALLEL or (mmap and all(map(self._verified, paths))):
            return {path: memoryview(get(path)) for path in paths}
        with self._metered(total):
            found = each(lambda path: memoryview(get(path)), paths, workers=os.cpu_count() or 2)
        return dict(zip(paths, found, strict=True))

    @contextlib.contextmanager
    def _metered(self, size: int) -> Iterator[Count]:
        """Show how far it is where bytes come from afar; what is read meanwhile counts with it."""
        if not self._store.remote or self._count is not None:
            yield self._count or _uncounted
            return
        with transfer(f"reading {self._name}", size) as meter:
            self._count = meter.add
            try:
                yield meter.add
            finally:
                self._count = None

    def pieces(self, path: str) -> Iterator[bytes]:
        """Give a file's bytes piece by piece; the last piece comes only if all were right."""
        record, cache = self.record(path), self._cache
        copy = None if cache is None else _hashed_copy(cache, record)
        if cache is None or copy is not None:
            yield from self._pieces(record, copy or self._open(record))
            return
        with cache.filling(record.sha256, record.size) as filling:
            for piece in self._pieces(record, self._open(record)):
                filling.write(piece)
                yield piece
            filling.keep()

    def _pieces(self, record: FileRecord, source: BinaryIO) -> Iterator[bytes]:
        hasher, size, held = hashlib.sha256(), 0, b""
        with source as file, self._metered(record.size) as count:
            while piece := file.read(PIECE):
                count(len(piece))
                hasher.update(piece)
                size += len(piece)
                if size > record.size:
                    break
                if held:
                    yield held
                held = piece
        self._compare(record, size, hasher.hexdigest())
        yield held

    def check(self, path: str) -> None:
        """Raise unless a file's bytes are the committed ones, where they are stored."""
        record = self.record(path)
        for _ in self._pieces(record, self._open(record)):
            pass

    def _open(self, record: FileRecord) -> BinaryIO:
        try:
            return self._store.open(f"{self._folder}/{record.path}", record.size)
        except KeyAbsent as e:
            raise self._missing(record) from e

    def _missing(self, record: FileRecord) -> FileMissingError:
        return FileMissingError(f"{self._name}: {record.path} is missing; restore it from a backup")

    def _mapped(self, path: str) -> Any:
        from mmap import ACCESS_COPY, mmap

        record = self.record(path)
        mappable = self._mappable(record)
        if mappable is None:
            return self.read(path)
        with mappable as file:
            status = os.fstat(file.fileno())
            if status.st_size != record.size:
                self._compare(record, status.st_size, "")
            # Private pages: what writes into them all the same (torch does) cannot kill
            # the process or reach the file.
            mapped = mmap(file.fileno(), 0, access=ACCESS_COPY)
        identity = _identity(status)
        if _VERIFIED.get(identity) != record.sha256:
            digest = hashlib.sha256(mapped).hexdigest()
            if digest != record.sha256 and self._place(record) is None:
                return self.read(path)  # the copy is wrong, and is fetched again
            self._compare(record, record.size, digest)
            _remember(identity, record.sha256)
        return memoryview(mapped).toreadonly()

    def _place(self, record: FileRecord) -> str | None:
        return self._store.local_path(f"{self._folder}/{record.path}")

    def _mappable(self, record: FileRecord) -> BinaryIO | None:
        """Open the file on this machine's disk: the stored one, or the cache's copy of it."""
        if record.size == 0:
            return None
        if self._place(record) is not None:
            return self._open(record)
        if self._cache is None:
            return None
        if not self._cache.holds(record.sha256, record.size):
            for _ in self.pieces(record.path):
                pass
        return self._cache.open(record.sha256, record.size)

    def _verified(self, path: str) -> bool:
        """Tell whether a file was hashed in this process and has not changed since."""
        record = self.record(path)
        place = self._place(record)
        if place is None and self._cache is not None:
            place = self._cache.path(record.sha256)
        try:
            known = place is not None and _VERIFIED.get(_identity(os.stat(place)))
        except OSError:
            return False
        return known == record.sha256

    def _compare(self, record: FileRecord, size: int, digest: str) -> None:
        if size != record.size:
            raise SizeMismatchError(
                f"{self._name}: {record.path} has "
                f"{'more than ' if size > record.size else ''}{min(size, record.size)} bytes, "
                f"committed were {record.size}; restore it from a backup"
            )
        if digest != record.sha256:
            raise DigestMismatchError(
                f"{self._name}: {record.path} has the sha256 {digest[:12]}..., committed was "
                f"{record.sha256[:12]}...; it was changed: restore it from a backup"
            )


def _uncounted(count: int) -> None:
    pass


def _read_hashed(
    file: BinaryIO, size: int, room: Room, count: Count = _uncounted
) -> tuple[Any, int, str]:
    """Read and hash what is there, at most one byte more than expected."""
    data, hasher, at = room(size), hashlib.sha256(), 0
    view, large = memoryview(data), size >= _IN_PARALLEL
    with behind(hasher.update) if large else contextlib.nullcontext(hasher.update) as update:
        while at < size:
            came = file.readinto(view[at : at + _SHARED])  # type: ignore[attr-defined]
            if not came:
                return data, at, ""
            update(view[at : at + came])
            at += came
            count(came)
    return data, size + len(file.read(1)), hasher.hexdigest()


def _private(size: int) -> Any:
    """Give memory that nobody clears before it is filled; a fork's writes stay its own."""
    if size < _IN_PARALLEL or sys.platform == "win32":
        return bytearray(size)
    from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

    try:
        return mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS)
    except OSError as e:
        raise MemoryError(f"there is no memory for {size} bytes") from e


def _kept(cache: Copies, record: FileRecord, room: Room) -> Any:
    """Give what a cache has of a file, if it is right; drop it if it is not."""
    file = cache.open(record.sha256, record.size)
    if file is None:
        return None
    with file, contextlib.suppress(OSError):
        data, size, digest = _read_hashed(file, record.size, room)
        if (size, digest) == (record.size, record.sha256):
            return data
    cache.drop(record.sha256)
    return None


def _hashed_copy(cache: Copies, record: FileRecord) -> BinaryIO | None:
    """Open what a cache has of a file once all of it was hashed: its first piece goes out first."""
    file = cache.open(record.sha256, record.size)
    if file is None:
        return None
    with contextlib.suppress(OSError):
        if hashlib.file_digest(file, "sha256").hexdigest() == record.sha256:  # type: ignore[arg-type]
            file.seek(0)
            return file
    file.close()
    cache.drop(record.sha256)
    return None


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Give what changes when a file does."""
    times = status.st_mtime_ns, status.st_ctime_ns
    return (status.st_dev, status.st_ino, status.st_size, *times)


def _remember(identity: tuple[int, ...], digest: str) -> None:
    while len(_VERIFIED) >= _REMEMBERED:
        _VERIFIED.pop(next(iter(_VERIFIED)), None)
    _VERIFIED[identity] = digest


def write_files(files: VersionFiles, paths: Iterable[str], target: Path) -> None:
    """Copy verified files below a folder; none of them replaces what is there."""
    for path in paths:
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as out:
            for piece in files.pieces(path):
                out.write(piece)
