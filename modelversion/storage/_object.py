"""Buckets: S3, Google Cloud Storage and Azure Blob, through s3fs, gcsfs and adlfs.

A bucket creates once by a condition on one PUT: `If-None-Match: *` on S3 and Azure,
`ifGenerationMatch=0` on GCS. Multipart uploads do not keep it everywhere, so they serve only
for large files of a folder that nobody else writes.

A reply can be lost, and a driver that tries again then meets its own write as a conflict. Every
answer but "created" is therefore settled by what stands under the key.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import attrs

from modelversion.errors import OutcomeUnknownError, StorageError
from modelversion.progress import Meter, transfer
from modelversion.storage import Blob, Item, KeyAbsent, KeyTaken
from modelversion.storage._explain import (
    explain,
    is_denied,
    missing_bucket,
    passes,
    status_of,
)
from modelversion.storage._link import Link
from modelversion.storage._proof import prove

T = TypeVar("T")

POOL = 64
# One request is given so long, and the attempts to create a key together so long.
ATTEMPT_SECONDS = 20.0
DEADLINE_SECONDS = 60.0
_SLOWEST = 800_000  # bytes a second: a large piece is given more time than a small one
# What is read in one request; a longer key is read piece by piece.
_WHOLE = 64 * 2**20
PIECE = 8 * 2**20
_AHEAD = 4
# Seconds before a piece is asked for again whose reply broke off.
_PAUSES = (0.1, 0.5, 2.0)
_PARTS = 9_000  # S3 takes 10,000


class LateError(TimeoutError):
    """No answer came in time; a TimeoutError itself loses its cause on the way between threads."""


@attrs.frozen
class Family:
    """What differs between the drivers of buckets.

    `options` are defaults below the caller's; `create` and `large` are passed to the calls
    that put a new key and a large file. `whole` is the range that asks for all of a key.
    """

    name: str
    options: Mapping[str, Any] = attrs.field(factory=dict)
    create: Mapping[str, Any] = attrs.field(factory=dict)
    large: Callable[[int], Mapping[str, Any]] = lambda size: {}
    whole: tuple[int, int] | tuple[()] = ()


def _s3_parts(size: int) -> Mapping[str, Any]:
    return {"chunksize": max(PIECE, -(-size // _PARTS)), "max_concurrency": _AHEAD}


S3 = Family(
    "S3",
    options={
        "config_kwargs": {
            "max_pool_connections": POOL,
            "connect_timeout": 5,
            "read_timeout": 15,
            "retries": {"max_attempts": 2},
        }
    },
    large=_s3_parts,
    # Asked for a range s3fs sends no HEAD first, and does not believe its listings.
    whole=(0, _WHOLE),
)
GCS = Family("GCS", large=lambda size: {"chunksize": PIECE})
# The time between its own attempts is longer than one of ours may take.
AZURE = Family("Azure", create={"retry_total": 0}, large=lambda size: {"max_concurrency": _AHEAD})


def with_defaults(family: Family, options: Mapping[str, Any]) -> dict[str, Any]:
    """Give a driver's options: the caller's, and below them those of the family."""
    merged = {**family.options, **options, "use_listings_cache": False}
    for name, value in family.options.items():
        merged[name] = {**value, **(options.get(name) or {})}
    return merged


def link_to(
    family: Family, cls: type, url: str, *, args: Sequence[Any] = (), options: Mapping[str, Any]
) -> Link:
    """Give the way to a bucket, by the driver that we use for it."""
    if family is GCS:
        from modelversion.storage._gcs import GcsDriver

        cls = GcsDriver
    return Link(cls, url, args=args, options=with_defaults(family, options))


class ObjectStore:
    """A bucket, or a folder of one."""

    remote = True

    def __init__(self, link: Link, root: str, family: Family) -> None:
        self.url = link.url
        self._link = link
        self._root = root.strip("/")
        self._family = family
        self._proven = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._link, self._root, self._family.name)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _run(self, verb: str, key: str, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        try:
            return self._link.run(work)
        except (KeyTaken, KeyAbsent, StorageError):
            raise
        except Exception as e:  # drivers pass on whatever their HTTP clients raise
            raise explain(e, verb, f"{self.url}/{key}") from e

    # ---- reading

    def read(self, key: str) -> bytes:
        """Give the bytes of a key, in one request."""
        data = self.read_many([key])[0]
        if data is None:
            raise KeyAbsent(key)
        return data

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Give the bytes of each key, None where it is absent, in parallel."""
        paths = [self._path(key) for key in keys]

        async def read(fs: Any) -> list[bytes | None]:
            return await _all_of(fetch(fs, path, *self._family.whole) for path in paths)

        return self._run("read", keys[0] if keys else "", read)

    def open(self, key: str, size: int | None = None) -> BinaryIO:
        """Open a key for reading: its pieces are fetched ahead, in parallel."""
        path = self._path(key)
        end = _WHOLE**2 if size is None else size + 1

        def start(first: int) -> Future[bytes | None]:
            last = min(first + PIECE, end)
            return self._link.start(lambda fs: fetch(fs, path, first, last))

        def fetched(piece: Future[bytes | None]) -> bytes | None:
            return self._run("read", key, lambda fs: _done(piece))

        data = self.read(key) if size == 0 else fetched(start(0))
        if data is None:
            raise KeyAbsent(key)
        return Download(data, end, start, fetched)  # type: ignore[return-value]

    def local_path(self, key: str) -> None:
        """Give None: it is on no disk of this machine."""
        return None

    def list(self, folder: str) -> list[Item]:
        """List a folder, sorted by name; what was written before is seen."""
        path = self._path(folder)

        async def listed(fs: Any) -> list[Any]:
            try:
                return list(await timely(fs._ls(path, detail=True)))
            except FileNotFoundError as e:
                if missing_bucket(e):
                    raise
                return []

        found = self._run("list", folder, listed)
        # A bucket tells a folder that is a file by listing the file itself.
        items = (_item(info) for info in found if info["name"].strip("/") != path)
        return sorted(items, key=lambda item: item.name)

    # ---- writing

    def put_new(self, key: str, data: bytes) -> None:
        """Create a key by a PUT that the bucket refuses where there is one."""
        if not data:
            raise ValueError("an empty key cannot be told from an unfinished one")
        creation = _Creation(self._family, self._path(key), f"{self.url}/{key}", data)
        self._run("write", key, creation.settle)

    def put(self, key: str, data: bytes) -> None:
        """Write a key that can be rebuilt; a bucket replaces it at once."""
        path = self._path(key)
        self._run("write", key, lambda fs: timely(fs._pipe_file(path, data)))

    def fill(self, folder: str, blobs: Iterable[Blob], shared: Mapping[str, str]) -> None:
        """Put the files of a folder, all at once.

        What an older version holds is put again: to share it on the server, its bytes would
        first have to be fetched and hashed.
        """
        wanted = list(blobs)
        with transfer(f"sending {folder}", sum(blob.size for blob in wanted)) as meter:

            async def put(fs: Any) -> None:
                await _all_of(
                    self._place(fs, f"{folder}/{blob.path}", blob, meter) for blob in wanted
                )

            self._run("fill", folder, put)

    async def _place(self, fs: Any, key: str, blob: Blob, meter: Meter) -> None:
        if isinstance(blob.content, Path) and blob.size > PIECE:
            await self._place_large(fs, key, blob, meter)
            return
        creation = _Creation(self._family, self._path(key), f"{self.url}/{key}", blob.read())
        await creation.settle(fs)
        meter.add(blob.size)

    async def _place_large(self, fs: Any, key: str, blob: Blob, meter: Meter) -> None:
        """Send a file in parts, of which the driver sends each again that fails."""
        path, size, callback = self._path(key), blob.size, meter.callback()
        await fs._put_file(str(blob.content), path, callback=callback, **self._family.large(size))
        found = (await timely(fs._info(path)))["size"]
        if found != size:
            raise StorageError(f"{self.url}/{key} has {found} bytes, sent were {size}; save again")
        callback.absolute_update(size)  # not every driver tells of its last part

    def settle(self, folder: str) -> None:
        """Do nothing: a bucket shows only what is durable."""

    def remove(self, key: str) -> None:
        """Remove a key; a bucket has no folders to remove."""
        path = self._path(key)

        async def removed(fs: Any) -> None:
            with contextlib.suppress(FileNotFoundError):
                await timely(fs._rm_file(path))

        self._run("remove", key, removed)

    def revalidate(self) -> bool:
        """Say that there is no cache on the way."""
        return False

    def spool(self) -> Path:
        """Make a folder on this machine's disk, from which large files are sent."""
        import tempfile

        return Path(tempfile.mkdtemp(prefix="modelversion-spool-"))

    def prove(self) -> None:
        """Create a key twice: the second must lose, and the bytes of the first stay."""
        if not self._proven:
            prove(self)
            self._proven = True


def _restored(link: Link, root: str, name: str) -> ObjectStore:
    return ObjectStore(link, root, {f.name: f for f in (S3, GCS, AZURE)}[name])


# ---- creating a key


class _Creation:
    """One key being created, until it is known whose bytes stand there."""

    def __init__(self, family: Family, path: str, place: str, data: bytes) -> None:
        self._family = family
        self._path = path
        self._place = place
        self._data = data
        self._open = False

    async def settle(self, fs: Any) -> None:
        """Put until the key is there, by us or by another.

        The same bytes are put at the same key again, so an attempt that arrives late can only
        find them there.
        """
        until = time.monotonic() + DEADLINE_SECONDS
        pause = 0.05
        while True:
            refusal = await self._attempt(fs)
            if refusal is None or await self._is_ours(fs, refusal):
                return
            if isinstance(refusal, FileExistsError) or time.monotonic() + pause > until:
                raise self._unknown(refusal) from refusal
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2.0)

    async def _attempt(self, fs: Any) -> Exception | None:
        """Put once; give what came back if it was not that the key was created."""
        try:
            await timely(
                fs._pipe_file(self._path, self._data, mode="create", **self._family.create),
                len(self._data),
            )
        except Exception as e:  # whatever it is, what stands under the key decides
            if not self._open and _is_final(e):
                raise
            self._open = self._open or not isinstance(e, FileExistsError)
            return e
        return None

    async def _is_ours(self, fs: Any, refusal: Exception) -> bool:
        """Read back: ours is won, another's is lost, and nothing there is neither."""
        try:
            found = await fetch(fs, self._path, *self._family.whole)
        except Exception as e:  # noqa: BLE001 - it cannot be seen now; perhaps it can later
            refusal.add_note(f"and reading it back failed: {e}")
            return False
        if found is not None and found != self._data:
            raise KeyTaken(self._path) from refusal
        return found is not None

    def _unknown(self, refusal: Exception) -> OutcomeUnknownError:
        why = explain(refusal, "write", self._place)
        return OutcomeUnknownError(
            f"whether {self._place} was created is not known: {why}; open the registry again "
            f"and look whether the key is there with the {len(self._data)} bytes that were sent"
        )


def _is_final(e: Exception) -> bool:
    """Tell whether a server said no to the request as such, so that nothing was written."""
    if missing_bucket(e) or is_denied(e):
        return True
    status = status_of(e)
    return isinstance(e, FileNotFoundError) or status in (400, 404, 405, 413, 501)


# ---- asking a driver


async def fetch(
    fs: Any, path: str, start: int | None = None, end: int | None = None
) -> bytes | None:
    """Get a key or a range of it in one request; None where the key is absent."""
    try:
        # What is read whole is small, or a merge.
        size = PIECE if end is None else min(end - (start or 0), PIECE)
        return bytes(await timely(fs._cat_file(path, start=start, end=end), size))
    except FileNotFoundError as e:
        if missing_bucket(e):
            raise
        return None
    except Exception as e:  # each driver has its own error for a range that starts at the end
        if status_of(e) == 416:
            return b""
        raise


async def timely(answer: Awaitable[T], size: int = 0, *, seconds: float | None = None) -> T:
    """Wait for one answer, longer for many bytes."""
    if seconds is None:
        seconds = ATTEMPT_SECONDS + size / _SLOWEST
    try:
        async with asyncio.timeout(seconds) as limit:
            return await answer
    except TimeoutError as e:
        if not limit.expired():
            raise  # one of the driver's
        raise LateError(f"it took longer than {seconds:.0f} seconds") from e


async def _all_of(jobs: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do jobs side by side; all end before the first error is raised."""
    room = asyncio.Semaphore(POOL)

    async def admitted(job: Coroutine[Any, Any, T]) -> T:
        async with room:
            return await job

    found = await asyncio.gather(*map(admitted, jobs), return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return found  # type: ignore[return-value]


async def _done(piece: Future[T]) -> T:
    return await asyncio.wrap_future(piece)


def _item(info: Mapping[str, Any]) -> Item:
    changed = next((info[name] for name in _TIMES if info.get(name)), 0.0)
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed)
    seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed)
    name = info["name"].rstrip("/").rsplit("/", 1)[-1]
    return Item(name, info["type"] == "directory", info.get("size") or 0, seconds)


_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")


class Download(io.RawIOBase):
    """The bytes of a key in order, while its next pieces are on their way."""

    def __init__(
        self,
        first: bytes,
        end: int,
        start: Callable[[int], Future[bytes | None]],
        fetched: Callable[[Future[bytes | None]], bytes | None],
    ) -> None:
        self._held = memoryview(first)
        self._start = start
        self._fetched = fetched
        self._coming: list[Future[bytes | None]] = []
        self._end = end
        self._asked = PIECE
        self._ended = len(first) < PIECE

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, room: Any) -> int:
        """Read what is at hand, at least a byte unless it has ended."""
        if not self._held and not self._ended:
            self._advance()
        view = memoryview(room)
        count = min(len(view), len(self._held))
        view[:count] = self._held[:count]
        self._held = self._held[count:]
        return count

    def _advance(self) -> None:
        while len(self._coming) < _AHEAD and self._asked < self._end:
            self._coming.append(self._start(self._asked))
            self._asked += PIECE
        piece = b""
        if self._coming:
            first = self._asked - PIECE * len(self._coming)
            piece = self._arrived(self._coming.pop(0), first) or b""
        self._held = memoryview(piece)
        self._ended = len(piece) < PIECE

    def _arrived(self, piece: Future[bytes | None], first: int) -> bytes | None:
        """Wait for a piece, and ask for it alone again where its reply broke off."""
        until = time.monotonic() + DEADLINE_SECONDS
        for pause in _PAUSES:
            try:
                return self._fetched(piece)
            except StorageError as e:
                if not passes(e) or time.monotonic() > until:
                    raise
            time.sleep(pause)
            piece = self._start(first)
        return self._fetched(piece)

    def close(self) -> None:
        """Stop what is on its way."""
        for piece in self._coming:
            piece.cancel()
        self._coming.clear()
        super().close()
