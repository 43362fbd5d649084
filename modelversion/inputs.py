"""Data where it lies: a file or folder on any filesystem, hashed and read but never copied."""

from __future__ import annotations

import contextlib
import io
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import attrs

from modelversion import current
from modelversion.arguments import sort_arguments
from modelversion.display import Facts, Page, Shown, Table, size
from modelversion.errors import (
    DataChangedError,
    DataNotFoundError,
    InvalidInputError,
    InvalidValueError,
    ModelVersionError,
    StorageError,
)
from modelversion.fingerprints import Fingerprint, fingerprint
from modelversion.metrics import check_key
from modelversion.mode import is_disabled
from modelversion.records import CodeRecord, DataRecord, PlaceRecord, StepRecord
from modelversion.redaction import masked
from modelversion.schema import evolve
from modelversion.steps import begin
from modelversion.tabular import schema_of

T = TypeVar("T")
RACY_SECONDS = 2.0
_ATTEMPTS = 3
_BUFFER = 2**20
_DIGEST = re.compile("[0-9a-f]{64}")
_TAGS = ("ETag", "etag", "e_tag", "Content-MD5", "md5Hash", "generation", "VersionId", "version_id")
_TIMES = ("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "modified")
_MARKS = ("size", "ino", "created", *_TAGS, *_TIMES)


class Data(Shown):
    """A file or folder of data, as it was when it was opened; `modelversion.data` gives one."""

    def __init__(self, place: _Place, name: str) -> None:
        self._place = place
        self._name = name
        self._seen: _Seen | None = None

    @property
    def name(self) -> str:
        """The name under which a version lists it."""
        return self._name

    @property
    def path(self) -> str:
        """The path of what lies on this machine, else the URL."""
        return self._place.path if self._place.local else self._place.url

    @property
    def digest(self) -> str:
        """The sha256 of the file; of a folder, that of its files' sorted `sha256sum` lines."""
        return self._look().digest

    @property
    def columns(self) -> Mapping[str, str]:
        """The columns and their types, where the format tells them."""
        return dict(self.__data_record__.columns)

    @property
    def __data_record__(self) -> DataRecord:
        return evolve(self._look().record, name=self._name)

    def __repr__(self) -> str:
        shown = "".join(c if c.isprintable() else "?" for c in self._place.shown)
        digest = f" sha256:{self._seen.digest[:12]}..." if self._seen else ""
        return f"<Data {self._name}: {shown}{digest}>"

    def __str__(self) -> str:
        return repr(self)

    def _page(self) -> Page:
        record = self.__data_record__
        place = record.place
        facts = {
            "place": self._place.shown,
            "sha256": self.digest,
            "size": None if place is None or place.size is None else size(place.size),
            "written at": None if place is None else place.modified_at,
        }
        columns = Table("columns", ("column", "type"), rows=list(record.columns.items()))
        return Page(f"data {self._name}", record.type, blocks=[Facts(facts), columns])

    def _look(self) -> _Seen:
        if self._seen is None:
            self._seen = _look(self._place)
        return self._seen

    def open(self) -> BinaryIO:
        """Open the file for reading.

        Raises:
            InvalidValueError: It is a folder.
        """
        if self._place.folder:
            raise InvalidValueError(f"{self._place.shown} is a folder; open its files by .path")
        with _reading(self._place):
            file = self._place.fs.open(self._place.path, "rb")
        return file if self._place.local else io.BufferedReader(_Told(file, self._place), _BUFFER)

    def read(self, reader: Callable[..., T], /, **options: Any) -> T:
        """Read it, and keep the link from the file to what the reader gives.

        A path on this machine is handed to the reader as text; of a file elsewhere it gets an
        open binary file, and of a folder elsewhere the URL.

        Args:
            reader: Such as `pandas.read_parquet`.
            options: Passed to the reader, and recorded but for `storage_options`.

        Raises:
            DataChangedError: The bytes are not those that were hashed; nothing was recorded.
        """
        if is_disabled():
            return self._read(reader, options)
        self._check(certain=False)
        code = CodeRecord(entry=f"{getattr(reader, '__module__', '?')}:{_name(reader)}")
        params, _ = sort_arguments({k: v for k, v in options.items() if k != "storage_options"})
        inputs = (self.__data_record__,)
        record = StepRecord(
            name=_name(reader).rpartition(".")[2],
            form="read",
            code=code,
            params=params,
            inputs=inputs,
        )
        tracing = begin(record, source=None, data={})
        with tracing.failing(), tracing.inside():
            value = self._read(reader, options)
            self._check(certain=True)
        tracing.finish(value)
        return value

    def _read(self, reader: Callable[..., T], options: dict[str, Any]) -> T:
        if self._place.local or self._place.folder:
            return reader(self.path, **options)
        with self.open() as file:
            return reader(file, **options)

    def _check(self, *, certain: bool) -> None:
        """Refuse bytes that changed since they were hashed.

        Args:
            certain: Hash again where what the place tells of a file would not show a change.
        """
        seen = self._look()
        marks = _marks(self._place)
        if marks == seen.marks and not (certain and seen.racy):
            return
        if _digest(self._place) != seen.digest:
            raise DataChangedError(
                f"{self._place.shown} has changed since it was hashed as {seen.digest[:12]}...; "
                f"open it again: mv.data({self._place.shown!r})"
            )


class _Told(io.RawIOBase):
    """A file elsewhere, of which every error says where it lies."""

    def __init__(self, file: Any, place: _Place) -> None:
        self._file = file
        self._place = place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def readinto(self, room: Any) -> int:
        view = memoryview(room)
        with _reading(self._place):
            data = self._file.read(len(view))
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        with _reading(self._place):
            self._file.seek(offset, whence)
            return int(self._file.tell())

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        super().close()
        self._file.close()


def _name(reader: Any) -> str:
    return str(getattr(reader, "__qualname__", type(reader).__qualname__))


def data(
    place: str | os.PathLike[str],
    /,
    *,
    name: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Data:
    """Open a file or folder of data: it is hashed where it lies, and not copied.

    In a run it becomes an input of the version; what `Data.read` gives is linked to it, also
    where a later run uses that.

    Args:
        place: A path, any fsspec URL or a UPath.
        name: What a version lists it as; the last part of the path by default.
        storage_options: Passed to the filesystem; never recorded.

    Raises:
        DataNotFoundError: There is no such file or folder, or no file in it.
        FingerprintError: It is no regular file, or holds one that is none.
        InvalidInputError: It is no place, or the name is none.
        StorageError: The place cannot be read.
    """
    where = _place(place, storage_options)
    last = where.shown.rstrip("/").rpartition("/")[2] or where.shown
    opened = Data(where, check_key(last if name is None else name, "data"))
    if not is_disabled():
        record = opened.__data_record__
        run = current.current_run()
        if run is not None:
            run.add_input(record)
    return opened


def digest_of(value: Any) -> str:
    """Give the digest of data: of a frame or an array, a file as a path, `Data`, or a digest.

    Raises:
        InvalidValueError: It is a text that is no digest.
        FingerprintError: It is nothing that has a data hash.
        DataNotFoundError: A path leads to nothing.
    """
    if isinstance(value, str):
        found = value.removeprefix("sha256:")
        if not _DIGEST.fullmatch(found):
            raise InvalidValueError(
                f"data must be data or a digest of 64 hex digits, found the text {value!r:.80}; "
                "give a file as pathlib.Path(...) or modelversion.data(url)"
            )
        return found
    if isinstance(value, (Data, DataRecord, Fingerprint)) and value.digest is not None:
        return value.digest
    return fingerprint(value).digest


# ---- where it lies -------------------------------------------------------------------------------


@attrs.define(eq=False)
class _Place:
    fs: Any
    path: str
    url: str
    local: bool
    folder: bool = False

    @property
    def shown(self) -> str:
        """The URL without what may be secret in it: user, password and query."""
        return self.url if self.local else _shown(self.url)


def _shown(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def _place(place: Any, storage_options: Mapping[str, Any] | None) -> _Place:
    if hasattr(place, "fs") and hasattr(place, "path"):
        path, url = place.path, str(place)
        fs = _limited(place.fs, url)
    elif isinstance(place, (str, os.PathLike)) and os.fspath(place):
        url = os.path.expanduser(os.fspath(place))
        fs, path = _filesystem(url, storage_options or {})
    else:
        raise InvalidInputError(f"data takes a path or a URL, found {type(place).__name__}")
    local = _is_local(fs)
    return _Place(fs, path, os.path.abspath(path) if local else url, local)


def _limited(fs: Any, url: str) -> Any:
    from modelversion.storage.elsewhere import limited

    return limited(fs, _shown(url))


def _filesystem(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    from modelversion.storage.elsewhere import located

    try:
        return located(url, _shown(url), options)
    except ImportError as e:
        raise StorageError(f"{masked(url)} needs a driver that is not installed: {e}") from e
    except (ValueError, TypeError) as e:
        said = masked(f"{url!r} is no place that fsspec knows: {e}")
        raise InvalidInputError(said) from e


def _is_local(fs: Any) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(fs, LocalFileSystem)


# ---- what it holds -------------------------------------------------------------------------------

Marks = dict[str, tuple[str, ...]]


@attrs.frozen
class _Seen:
    """What was found at a place.

    `marks` is what the place told of each file when it was hashed; it is `racy` where a change
    would not show in them.
    """

    digest: str
    record: DataRecord
    marks: Marks
    racy: bool


def _look(place: _Place) -> _Seen:
    """Hash what lies at a place, and see that it did not change meanwhile."""
    for _ in range(_ATTEMPTS):
        began = time.time()
        found = _found(place)
        marks = {path: _marks_of(info) for path, info in found.items()}
        digest = _digest(place)
        if _marks(place) == marks:
            racy = not all(_settled(info, began) for info in found.values())
            return _Seen(digest, _record(place, found, digest), marks, racy)
    raise DataChangedError(
        f"{place.shown} changes while it is read; open it when nobody writes to it any more"
    )


def _found(place: _Place) -> dict[str, dict[str, Any]]:
    """Give what the place tells of the file, or of each file of the folder, by relative path."""
    with _reading(place):
        place.fs.invalidate_cache()
        info = place.fs.info(place.path)
        place.folder = info["type"] == "directory"
        if not place.folder:
            return {"": info}
        listed = place.fs.find(place.path, detail=True)
    root = place.path.rstrip("/") + "/"
    files = {path.removeprefix(root): found for path, found in sorted(listed.items())}
    if not files:
        raise DataNotFoundError(f"the folder {place.shown} holds no file")
    return files


@contextlib.contextmanager
def _reading(place: _Place) -> Iterator[None]:
    try:
        yield
    except ModelVersionError:
        raise  # some of them are errors of files too
    except Exception as e:  # drivers pass on whatever their HTTP clients raise
        from modelversion.storage.elsewhere import told

        raise told(e, place.shown) from e


def _marks(place: _Place) -> Marks:
    return {path: _marks_of(info) for path, info in _found(place).items()}


def _marks_of(info: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{mark}={info[mark]}" for mark in _MARKS if info.get(mark) is not None)


def _settled(info: Mapping[str, Any], began: float) -> bool:
    """Tell whether a later change must show: by a tag, or since the last one is long ago."""
    when = _time(info)
    tagged = any(info.get(tag) for tag in _TAGS)
    return tagged or (when is not None and when < began - RACY_SECONDS)


def _time(info: Mapping[str, Any]) -> float | None:
    for name in _TIMES:
        found = info.get(name)
        if isinstance(found, datetime):
            return found.timestamp()
        if isinstance(found, (int, float)):
            return float(found)
    return None


def _digest(place: _Place) -> str:
    from fsspec.core import OpenFile

    with _reading(place):
        file = Path(place.path) if place.local else OpenFile(place.fs, place.path)
        return fingerprint(file).digest


def _record(place: _Place, found: Mapping[str, Mapping[str, Any]], digest: str) -> DataRecord:
    infos = list(found.values())
    times = [when for info in infos if (when := _time(info)) is not None]
    tags = [str(info[tag]) for info in infos for tag in _TAGS if info.get(tag)]
    sizes = [info.get("size") for info in infos]
    shape, columns = _schema(place, found)
    return DataRecord(
        name="",
        type="folder" if place.folder else "file",
        shape=shape,
        columns=columns,
        digest=digest,
        place=PlaceRecord(
            url=place.shown,
            size=None if None in sizes else sum(int(size or 0) for size in sizes),
            files=len(found) if place.folder else None,
            etag=tags[0] if tags and not place.folder else None,
            modified_at=_rfc3339(max(times)) if times else None,
        ),
    )


def _schema(
    place: _Place, found: Mapping[str, Any]
) -> tuple[tuple[int, ...] | None, dict[str, str]]:
    first = next((path for path in found if place.folder), "")
    path = f"{place.path.rstrip('/')}/{first}" if first else place.path
    shape, columns = schema_of(lambda: place.fs.open(path, "rb"), path)
    return (None if place.folder else shape), columns


def _rfc3339(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="microseconds")[:26] + "Z"
