"""Bytes on their way in: frozen, hashed while they are written, kept until the commit.

A digest is that of the bytes that were written: of a large buffer, what was read back from its
file. A thread that goes on changing an array cannot make a file that its digest does not fit.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from modelversion.storage import Blob, Withheld
from modelversion.storage._local import begin_to_write, mapped, sync
from modelversion.threads import behind, beside, each

PIECE = 2 * 2**20
IN_MEMORY = 4 * 2**20
_LARGE = 2**20
_SHARED = 2**20  # what one thread wrote is in the processor's cache still when another hashes it
_AHEAD = 8 * 2**20  # bytes after which the disk is set to work

# Tells of each piece of a file, in their order, why it must not be kept; None if it may.
Watch = Callable[[bytes], "str | None"]


def watch_nothing() -> Watch:
    """Give the watch that keeps everything."""
    return _keep


def _keep(piece: bytes) -> None:
    return None


class Spool:
    """Collects the files of one version before it has a number.

    Small files wait in memory, large ones in `folder` on the registry's filesystem, already
    synced, where the commit links them in. Where storage gives no folder, all wait in memory.

    `watch` is called for each file that is watched, and what it gives is asked before a byte is
    written. Files of raw numbers need no watch.
    """

    def __init__(
        self,
        make_folder: Callable[[], Path | None],
        *,
        watch: Callable[[], Watch] = watch_nothing,
    ) -> None:
        self._make_folder = make_folder
        self.watch = watch
        self._folder: Path | None = None
        self._count = 0
        self.blobs: list[Blob] = []

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was spooled; linked files stay where they were linked."""
        if self._folder is None:
            return
        for blob in self.blobs:
            if isinstance(blob.content, Path):
                # What cannot be removed is left to a gc: the save has ended as it has.
                with contextlib.suppress(OSError):
                    blob.content.unlink()
        with contextlib.suppress(OSError):
            for left in self._folder.iterdir():
                left.unlink()
            self._folder.rmdir()

    def add(self, path: str, data: bytes, *, watched: bool = True) -> Blob:
        """Add a file of bytes that do not change any more.

        Raises:
            Withheld: They must not be kept.
        """
        hasher = hashlib.sha256()
        _hash_watched(data, hasher, self.watch() if watched else _keep)
        blob = Blob(path, len(data), hasher.hexdigest(), data)
        self.blobs.append(blob)
        return blob

    def add_file(self, path: str, source: Path) -> Blob:
        """Add a copy of a file."""
        with source.open("rb") as file, self.writer(path) as writer:
            while piece := file.read(PIECE):
                writer.write(piece)
        return self.blobs[-1]

    def add_views(self, views: Iterable[tuple[str, memoryview]]) -> list[Blob]:
        """Add large buffers without a copy in memory, hashed and written in parallel.

        Args:
            views: Paths and flat views of bytes.
        """
        items = list(views)
        targets = [self._file() for _ in items]
        if not targets or targets[0] is None:
            return [self.add(path, bytes(view), watched=False) for path, view in items]
        stop = threading.Event()
        jobs = list(zip(items, targets, strict=True))
        blobs = each(lambda job: _spool_view(job[0], job[1], stop), jobs, workers=2, stop=stop)
        self.blobs.extend(blobs)
        return blobs

    def drop(self, blobs: Iterable[Blob]) -> None:
        """Remove what was added and is not wanted any more."""
        for blob in blobs:
            self.blobs.remove(blob)
            if isinstance(blob.content, Path):
                blob.content.unlink(missing_ok=True)

    def writer(self, path: str, *, watched: bool = True) -> Writer:
        """Open a file to be written in pieces; it joins the spool when closed.

        Its `write` raises `Withheld` for what must not be kept.
        """
        return Writer(self, path, self.watch() if watched else _keep)

    def _file(self) -> Path | None:
        if self._count == 0:
            self._folder = self._make_folder()
        self._count += 1
        if self._folder is None:
            return None
        return self._folder / str(self._count)


def _hash_watched(piece: bytes, hasher: Any, watch: Watch) -> None:
    """Hash a piece, of a large one while another thread looks through it.

    Raises:
        Withheld: It must not be kept; nothing of it was written yet.
    """
    if watch is _keep or len(piece) < _LARGE:
        hasher.update(piece)
        rule = watch(piece)
    else:
        told = beside(lambda: watch(piece))
        hasher.update(piece)
        rule = told()
    if rule is not None:
        raise Withheld(rule)


def _spool_view(item: tuple[str, memoryview], target: Path | None, stop: threading.Event) -> Blob:
    assert target is not None
    path, view = item
    with mapped("write", str(target)):
        descriptor = _create(target)
        try:
            digest = _write_and_hash(descriptor, view, target, stop)
        finally:
            os.close(descriptor)
    return Blob(path, view.nbytes, digest, target)


def _write_and_hash(descriptor: int, view: memoryview, target: Path, stop: threading.Event) -> str:
    """Write and sync, while another thread hashes what stands in the file right behind it.

    The pages that are read back are those that the sync brings to the disk.
    """
    out, hasher = _Out(descriptor), hashlib.sha256()
    room = memoryview(bytearray(min(_SHARED, view.nbytes)))
    with target.open("rb", buffering=0) as file:

        def hash_next(size: int) -> None:
            if file.readinto(room[:size]) != size:
                raise OSError(errno.EIO, "the file is shorter than what was written to it")
            hasher.update(room[:size])

        with behind(hash_next) as written:
            for start in range(0, view.nbytes, _SHARED):
                if stop.is_set():
                    raise OSError(errno.ECANCELED, "another file could not be written")
                piece = view[start : start + _SHARED]
                out.write(piece)
                written(piece.nbytes)
            sync(descriptor)
    return hasher.hexdigest()


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)


class _Out:
    """A file that the disk takes while it is written, so that its sync has little left to do."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._begun = self._written = 0

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            count = os.write(self.descriptor, view[:_AHEAD])
            view = view[count:]
            self._written += count
            if self._written - self._begun >= _AHEAD:
                begin_to_write(self.descriptor, self._begun, self._written - self._begun)
                self._begun = self._written


class Writer(io.RawIOBase):
    """A file being spooled: in memory while it is small, then in the spool's folder."""

    def __init__(self, spool: Spool, path: str, watch: Watch) -> None:
        self._spool = spool
        self._path = path
        self._watch = watch
        self._hasher = hashlib.sha256()
        self._size = 0
        self._memory: list[bytes] = []
        self._target: Path | None = None
        self._out: _Out | None = None

    def writable(self) -> bool:
        """Say that bytes can be written."""
        return True

    def write(self, data: Any) -> int:
        """Add bytes, as any binary file takes them."""
        piece = bytes(data)
        _hash_watched(piece, self._hasher, self._watch)
        self._size += len(piece)
        if self._out is not None:
            with mapped("write", str(self._target)):
                self._out.write(piece)
        else:
            self._memory.append(piece)
            if self._size > IN_MEMORY:
                self._roll()
        return len(piece)

    def _roll(self) -> None:
        self._target = self._spool._file()
        if self._target is None:
            return
        with mapped("write", str(self._target)):
            self._out = _Out(_create(self._target))
            for piece in self._memory:
                self._out.write(piece)
        self._memory = []

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._give_up()

    def _give_up(self) -> None:
        """Leave nothing of a file that was not written to its end."""
        super().close()
        if self._out is not None and self._target is not None:
            os.close(self._out.descriptor)
            self._target.unlink(missing_ok=True)

    def close(self) -> None:
        """Finish the file and add it to the spool."""
        if self.closed:
            return
        super().close()
        content: bytes | Path = b"".join(self._memory)
        if self._out is not None and self._target is not None:
            try:
                with mapped("sync", str(self._target)):
                    sync(self._out.descriptor)
            finally:
                os.close(self._out.descriptor)
            content = self._target
        self._spool.blobs.append(Blob(self._path, self._size, self._hasher.hexdigest(), content))
