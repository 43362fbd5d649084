"""Registries that were published: on a plain HTTP server, or in a zip. They are only read.

A web server lists nothing and has its own way to say that there is no such key: one asks for a
key that cannot exist, and knows. Versions are found by the journals, whose keys are computed.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, BinaryIO

from modelversion.errors import ReadOnlyError, StorageError
from modelversion.layout import TEMPORARY
from modelversion.storage import Blob, Item, KeyAbsent, nonce
from modelversion.storage._explain import explain, is_unreachable
from modelversion.storage._link import Link

SECONDS = 20.0
# No key is read whole that is longer; a file is read as far as its record says.
MOST = 64 * 2**20
_TOGETHER = 16
# How often a reply may break off; each time only the rest is asked for.
_BREAKS = 5
_ABSENT = (403, 404, 410)


class ReadOnlyStore:
    """What every published registry refuses, and why."""

    remote = True
    url: str
    _why: str

    def put_new(self, key: str, data: bytes) -> None:
        """Refuse."""
        raise self._refusal()

    def put(self, key: str, data: bytes) -> None:
        """Refuse."""
        raise self._refusal()

    def fill(self, folder: str, blobs: Iterable[Blob], shared: Mapping[str, str]) -> None:
        """Refuse."""
        raise self._refusal()

    def remove(self, key: str) -> None:
        """Refuse."""
        raise self._refusal()

    def prove(self) -> None:
        """Refuse."""
        raise self._refusal()

    def _refusal(self) -> ReadOnlyError:
        return ReadOnlyError(
            f"{self.url} cannot be written: {self._why}; copy what you need into a registry of "
            "your own, or write where this was published from"
        )

    def settle(self, folder: str) -> None:
        """Do nothing: nothing is written."""

    def spool(self) -> None:
        """Give None: nothing is written."""
        return None

    def local_path(self, key: str) -> None:
        """Give None: it is on no disk of this machine."""
        return None


class HttpStore(ReadOnlyStore):
    """A folder below a URL of a web server."""

    _why = "a web server only gives files"

    def __init__(self, link: Link, root: str) -> None:
        self.url = link.url
        self._link = link
        self._root = root.rstrip("/")
        self._absent: frozenset[int] = frozenset()
        self._headers: dict[str, str] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return HttpStore, (self._link, self._root)

    def read(self, key: str) -> bytes:
        """Give the bytes of a key."""
        data = self.read_many([key])[0]
        if data is None:
            raise KeyAbsent(key)
        return data

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Give the bytes of each key, None where it is absent, in parallel."""
        return self._get([(key, MOST) for key in keys])

    def open(self, key: str, size: int | None = None) -> BinaryIO:
        """Open a key; a reply that is longer than expected is cut."""
        data = self._get([(key, MOST if size is None else size + 1)])[0]
        if data is None:
            raise KeyAbsent(key)
        return io.BytesIO(data)

    def _get(self, wanted: list[tuple[str, int]]) -> list[bytes | None]:
        first = wanted[0][0] if wanted else ""
        try:
            return self._link.run(lambda fs: self._all(fs, wanted))
        except StorageError:
            raise
        except Exception as e:  # aiohttp raises its own, and what sockets do
            raise explain(e, "read", f"{self.url}/{first}") from e

    async def _all(self, fs: Any, wanted: list[tuple[str, int]]) -> list[bytes | None]:
        session = await fs.set_session()
        if not self._absent:
            # Asked first: an answer is not believed before it is known what none looks like.
            status, _ = await self._one(fs, session, f"{TEMPORARY}{nonce()}", 1)
            if status not in _ABSENT:
                raise StorageError(
                    f"{self.url}: the server answers {status} to a key that cannot exist, so "
                    "what is there cannot be told from what is not; serve plain files, and 404 "
                    "where there is none"
                )
            self._absent = frozenset([status, 404, 410])
        room = asyncio.Semaphore(_TOGETHER)

        async def one(key: str, most: int) -> bytes | None:
            async with room:
                status, data = await self._one(fs, session, key, most)
            if status == 200:
                return data
            if status in self._absent:
                return None
            raise StorageError(
                f"cannot read {self.url}/{key}: the server answered {status}"
                + ("; check the credentials in storage_options" if status in (401, 403) else "")
            )

        return list(await asyncio.gather(*(one(key, most) for key, most in wanted)))

    async def _one(self, fs: Any, session: Any, key: str, most: int) -> tuple[int, bytes]:
        """Get a status, and at most so many bytes."""
        get = partial(session.get, fs.encode_url(f"{self._root}/{key}"), **fs.kwargs)
        got = bytearray()
        async with asyncio.timeout(SECONDS + most / 100_000):
            for left in reversed(range(_BREAKS + 1)):
                before = len(got)
                try:
                    status = await self._rest(get, most, got)
                except Exception as e:  # aiohttp raises its own; a refusal is a status, no error
                    if not left or len(got) == before or not is_unreachable(e):
                        raise
                else:
                    return status, bytes(got)
        raise AssertionError("the last attempt returns or raises")

    async def _rest(self, get: partial[Any], most: int, got: bytearray) -> int:
        """Get what is missing of a reply that broke off, or all of one that did not begin."""
        headers = {**get.keywords.get("headers", {}), **self._headers}
        if got:
            headers["Range"] = f"bytes={len(got)}-"
        async with get(headers=headers) as reply:
            if reply.status == 200:
                got.clear()  # a server that knows no ranges begins anew
            while reply.status in (200, 206) and len(got) < most:
                piece = await reply.content.read(min(most - len(got), 2**20))
                if not piece:
                    break
                got += piece
            return 200 if reply.status == 206 else int(reply.status)

    def list(self, folder: str) -> list[Item]:
        """Refuse: a web server does not say what it has."""
        raise StorageError(
            f"{self.url} cannot be listed, so this cannot be done there: a web server only gives "
            "what it is asked for by name; copy the registry and do it in the copy"
        )

    def revalidate(self) -> bool:
        """Ask past the caches on the way from now on; tell whether that is new."""
        if self._headers:
            return False
        self._headers = {"Cache-Control": "no-cache"}
        return True


class ZipStore(ReadOnlyStore):
    """A registry in a zip, or below a folder of one."""

    _why = "it is an archive"

    def __init__(self, fs: Any, root: str, url: str) -> None:
        self.url = url
        self._fs = fs
        self._root = root.strip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return ZipStore, (self._fs, self._root, self.url)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}".strip("/")

    def read(self, key: str) -> bytes:
        """Give the bytes of a key."""
        try:
            return bytes(self._fs.cat_file(self._path(key)))
        except (FileNotFoundError, KeyError, IsADirectoryError) as e:
            raise KeyAbsent(key) from e
        except Exception as e:  # zipfile and zlib raise their own for a damaged archive
            raise explain(e, "read", f"{self.url}/{key}") from e

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Give the bytes of each key, None where it is absent."""
        return [self._read_or_none(key) for key in keys]

    def _read_or_none(self, key: str) -> bytes | None:
        try:
            return self.read(key)
        except KeyAbsent:
            return None

    def open(self, key: str, size: int | None = None) -> BinaryIO:
        """Open a key for reading."""
        return io.BytesIO(self.read(key))

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

    def revalidate(self) -> bool:
        """Say that there is no cache on the way."""
        return False
