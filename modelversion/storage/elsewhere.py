"""Data where it lies: a filesystem to read from, whose every answer comes within a deadline.

fsspec waits as long as a driver tries, which is minutes where a server hangs or is gone. The
drivers that registries know are asked as registries ask them; any other keeps its own time-outs.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import fsspec.core
from fsspec.spec import AbstractBufferedFile
from fsspec.utils import get_protocol

from modelversion.errors import DataNotFoundError, ModelVersionError
from modelversion.storage import _object, _sftp, family_of
from modelversion.storage._explain import explain, is_denied, is_unreachable, missing_bucket
from modelversion.storage._link import Link
from modelversion.storage._sftp_files import Lent

# A listing is as long as the folder is large, and comes page by page.
_LISTING_SECONDS = 300.0
_BLOCK = 8 * 2**20


def located(url: str, shown: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Give the filesystem of a URL, and the path on it.

    Args:
        url: Any URL that fsspec knows.
        shown: What errors call it.
        options: For the driver, as fsspec takes them.
    """
    if "::" not in url:
        cls = fsspec.get_filesystem_class(get_protocol(url))
        given = {**cls._get_kwargs_from_urls(url), **options}
        fs = _known(cls, shown, options=given)
        if fs is not None:
            return fs, cls._strip_protocol(url)
    fs, path = fsspec.core.url_to_fs(url, **{"use_listings_cache": False, **options})
    return fs, path


def limited(fs: Any, shown: str) -> Any:
    """Give a filesystem that somebody else made, with a deadline where it can have one."""
    known = _known(type(fs), shown, args=fs.storage_args, options=fs.storage_options)
    return fs if known is None else known


def told(e: Exception, shown: str) -> ModelVersionError:
    """Give the error that says which data could not be read, and what to check."""
    # Of a web server, the driver says so whatever went wrong.
    failed = missing_bucket(e) or is_denied(e) or is_unreachable(e)
    if isinstance(e, FileNotFoundError) and not failed:
        return DataNotFoundError(f"there is no file or folder {shown}")
    return explain(e, "read", shown)


def _known(
    cls: type, shown: str, *, args: Sequence[Any] = (), options: Mapping[str, Any]
) -> BucketFiles | WebFiles | SftpFiles | None:
    family = family_of(cls)
    if family is None:
        return None
    if family == "http":
        limits = _http_limits(options)
        return WebFiles(Link(cls, shown, args=args, options=limits))
    if family == "sftp":
        limits = _sftp.with_timeouts(options)
        return SftpFiles(Link(cls, shown, args=args, options=limits))
    kind: _object.Family = getattr(_object, family)
    return BucketFiles(_object.link_to(kind, cls, shown, args=args, options=options))


def _http_limits(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options of a web client that waits so long for a piece, however long the file."""
    import aiohttp

    seconds = _object.ATTEMPT_SECONDS
    wait = aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)
    client = {"timeout": wait, **(options.get("client_kwargs") or {})}
    return {"use_listings_cache": False, **options, "client_kwargs": client}


@attrs.frozen
class BucketFiles:
    """The files of a bucket. As a driver with asyncio, it can be asked by many threads at once."""

    link: Link
    async_impl: bool = True

    def info(self, path: str) -> Any:
        """Give what is known of a file or folder."""
        return self.link.run(lambda fs: _object.timely(fs._info(path)))

    def find(self, path: str, *, detail: bool = False) -> Any:
        """Give the paths of the files below a folder, or what is known of each by its path."""
        found = self.link.run(
            lambda fs: _object.timely(fs._find(path, detail=True), seconds=_LISTING_SECONDS)
        )
        return found if detail else list(found)

    def open(self, path: str, mode: str = "rb") -> Any:
        """Open a file for reading."""
        return _Blocks(self, path, mode, _BLOCK, size=self.info(path)["size"])

    def fetch(self, path: str, start: int, end: int) -> bytes:
        """Give a range of a file."""
        data = self.link.run(lambda fs: _object.fetch(fs, path, start, end))
        if data is None:
            raise FileNotFoundError(path)
        return data

    def invalidate_cache(self) -> None:
        """Do nothing: there is none."""


class _Blocks(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """A file that is read block by block."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        return bytes(self.fs.fetch(self.path, start, end))


@attrs.frozen
class WebFiles:
    """The files of a web server, whose driver keeps the deadline by time-outs of its own."""

    link: Link
    async_impl: bool = True

    def info(self, path: str) -> Any:
        """Give what is known of a file or folder."""
        return self.link.filesystem().info(path)

    def find(self, path: str, *, detail: bool = False) -> Any:
        """Give the paths of the files below a folder, or what is known of each by its path."""
        return self.link.filesystem().find(path, detail=detail)

    def open(self, path: str, mode: str = "rb") -> Any:
        """Open a file for reading."""
        return self.link.filesystem().open(path, mode)

    def invalidate_cache(self) -> None:
        """Do nothing: the driver was told to keep none."""


class SftpFiles:
    """The files of an SFTP server; one thread at a time has the channel."""

    async_impl = False

    def __init__(self, link: Link) -> None:
        self._link = link
        self._alone = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return SftpFiles, (self._link,)

    @contextlib.contextmanager
    def _driver(self) -> Iterator[Any]:
        with self._alone:
            fs = self._link.filesystem()
            fs.ftp.get_channel().settimeout(_sftp.ATTEMPT_SECONDS)
            yield fs

    def info(self, path: str) -> Any:
        """Give what is known of a file or folder."""
        with self._driver() as fs:
            return fs.info(path)

    def find(self, path: str, *, detail: bool = False) -> Any:
        """Give the paths of the files below a folder, or what is known of each by its path."""
        with self._driver() as fs:
            return fs.find(path, detail=detail)

    def open(self, path: str, mode: str = "rb") -> Any:
        """Open a file for reading, block by block."""
        return _Blocks(self, path, mode, _BLOCK, size=self.info(path)["size"])

    def fetch(self, path: str, start: int, end: int) -> bytes:
        """Give a range of a file, asked for ahead; less where it has become shorter."""
        with self._driver() as fs, contextlib.ExitStack() as lending:
            file = lending.enter_context(fs.ftp.open(path, "rb"))
            source = Lent(fs.ftp, file, lending, at=start, end=end)
            pieces = []
            with contextlib.suppress(EOFError):  # so the server says that there is no more
                while piece := source.read():
                    pieces.append(piece)
            return b"".join(pieces)

    def invalidate_cache(self) -> None:
        """Do nothing: there is none."""
