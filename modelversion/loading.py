"""From an opened version to the live object, and what the reader allows to run."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import attrs

from modelversion import current, layout
from modelversion._json import decode
from modelversion.errors import (
    FileMissingError,
    InvalidInputError,
    InvalidPathError,
    ObjectNotFoundError,
    RecordError,
    WithdrawnWarning,
)
from modelversion.files import VersionFiles
from modelversion.metrics import Metrics
from modelversion.records import FileRecord, VersionRecord
from modelversion.serializers import Allow, named
from modelversion.stages import Withdrawal
from modelversion.storage import KeyAbsent, open_store
from modelversion.versions import Line, Opened, parse_version, refuse_deleted

ALLOW_VARIABLE = "MODELVERSION_ALLOW_PICKLE"
_MAX_SOURCE = 2**20
_MAX_RECORD = 2**28
Read = Callable[[str], bytes | bytearray]


def load_object(opened: Opened, name: str, *, mmap: bool, allow: Allow) -> Any:
    """Rebuild the object of an opened version.

    Raises:
        ObjectNotFoundError: The version has none.
        IntegrityError: Its bytes are not the committed ones; nothing was unpickled.
        UntrustedPickleError: It would run code that `allow` does not cover.
    """
    record = opened.record.object
    if record is None:
        raise ObjectNotFoundError(f"{name} was committed without an object")
    opened.files.look_ahead({record.stream, *(buffer.path for buffer in record.buffers)})
    return named(record.serializer).load(record, opened.files, mmap=mmap, allow=allow)


def recorded_params(record: VersionRecord) -> Mapping[str, Any]:
    """Give the params of a version, read-only and with the types they had."""
    return MappingProxyType(decode(record.params))


def recorded_source(record: VersionRecord, read: Read) -> str:
    """Give the source of the code that made a version, nothing where it is not there or long."""
    if record.code is None:
        return ""
    kept = record.code.source
    if kept is not None and kept.text is not None:
        return kept.text
    path = record.code.path if kept is None else kept.path
    sizes = {file.path: file.size for file in record.files}
    if path is None or sizes.get(path, _MAX_SOURCE + 1) > _MAX_SOURCE:
        return ""
    return bytes(read(path)).decode("utf-8", "replace")


def recorded_metrics(record: VersionRecord, opening: Callable[[str], BinaryIO]) -> Metrics:
    """Give the metrics of a version; its series are read when they are asked for."""
    values = {name: decode(m.value) for name, m in record.metrics.items()}

    def series() -> bytes:
        if all(file.path != layout.SERIES for file in record.files):
            return b""
        with opening(layout.SERIES) as file:
            return file.read()

    return Metrics(values, series)


def open_file(opened: Opened, path: str) -> BinaryIO:
    """Open a file of an opened version, verified; see `spelt` for its path."""
    return io.BytesIO(opened.files.read(spelt(opened, path)))


def spelt(opened: Opened, path: str) -> str:
    """Give the path of a file as it is listed; the `artifacts/` before it may be left out.

    Raises:
        ArtifactNotFoundError: The version has no such file.
        InvalidPathError: It is no text.
    """
    if not isinstance(path, str):
        raise InvalidPathError(f"artifact path must be str, found {type(path).__name__}")
    listed = {file.path for file in opened.record.files}
    longer = f"{layout.ARTIFACTS}/{path}"
    return longer if path not in listed and longer in listed else opened.files.record(path).path


def warn_withdrawn(line: Line, number: int, why: Withdrawal) -> None:
    """Warn that a version is withdrawn, naming the one to use instead."""
    instead = f"; use {line.ref(why.use_instead)}" if why.use_instead else ""
    warnings.warn(
        f"{line.ref(number)} was withdrawn on {why.time[:10]}: {why.reason}{instead}",
        WithdrawnWarning,
        stacklevel=current.user_level(),
    )


@contextlib.contextmanager
def deleted_or_damaged(line: Line, number: int) -> Iterator[None]:
    """Look again at what was decided before a missing file is called damage."""
    try:
        yield
    except (FileMissingError, KeyAbsent) as e:
        refuse_deleted(line, number)
        if isinstance(e, KeyAbsent):
            raise FileMissingError(f"{line.ref(number)}: {e} is missing") from e
        raise


def check_allow(word: Any) -> None:
    """Refuse what is no answer to `allow_pickle`.

    Raises:
        InvalidInputError: It is neither True, False, None nor a list of names.
    """
    if word is None or isinstance(word, (bool, str)):
        return
    if not isinstance(word, Collection) or not all(isinstance(name, str) for name in word):
        raise InvalidInputError(
            f"allow_pickle must be True, False or a list of names such as 'builtins:set', "
            f"found {word!r:.80}"
        )


def allowed(given: Allow | None, own: Allow | None, *, remote: bool, registry_id: str) -> Allow:
    """Settle what pickles may run: the call's word, the registry's, the machine's, the default.

    The default is everything for folders of this machine and its memory, nothing for others.
    """
    check_allow(given)
    for word in (given, own):
        if word is not None:
            return word if isinstance(word, bool) else _names(word)
    return not remote or registry_id in os.environ.get(ALLOW_VARIABLE, "").replace(",", " ").split()


def _names(word: Collection[str]) -> frozenset[str]:
    return frozenset((word,) if isinstance(word, str) else word)


@attrs.frozen
class Directory:
    """A version directory that stands by itself: copied out, or spooled when a save failed.

    Its files are checked against its own `version.json`; no journal vouches for that.

    Attributes:
        path: The folder.
        record: All of `version.json`.
    """

    path: Path
    record: VersionRecord = attrs.field(repr=False)
    _files: VersionFiles = attrs.field(repr=False, alias="files")

    @property
    def params(self) -> Mapping[str, Any]:
        """The params, with the types they had."""
        return recorded_params(self.record)

    @property
    def metrics(self) -> Metrics:
        """The metrics, as `Version.metrics` gives them."""
        return recorded_metrics(self.record, self.open)

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """Every file with its size in bytes and sha256."""
        return self.record.files

    @property
    def _opened(self) -> Opened:
        return Opened(self.record, self._files)

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading, after its bytes were verified.

        Args:
            path: Its path, such as `artifacts/roc.png`.

        Raises:
            ArtifactNotFoundError: There is no such file.
            IntegrityError: Its bytes are not those that `version.json` lists.
        """
        return open_file(self._opened, path)

    def load(self, *, mmap: bool = False, allow_pickle: Allow = False) -> Any:
        """Rebuild the object.

        Args:
            mmap: Map large buffers read-only instead of copying them.
            allow_pickle: True if you trust who wrote the directory, or a list of exact names.

        Raises:
            IntegrityError: A file is not what `version.json` lists.
            UntrustedPickleError: The pickle needs names that are not allowed.
        """
        return load_object(self._opened, str(self.path), mmap=mmap, allow=allow_pickle)


def open_directory(path: str | os.PathLike[str]) -> Directory:
    """Open a version directory that stands by itself, such as `SaveError.spooled_at`.

    Raises:
        FileMissingError: There is no `version.json`.
        RecordError: It does not parse, or lists a file outside the directory.
        StorageError: It cannot be read, or is a link or a folder.
    """
    folder = layout.folder_path(path, "a version directory")
    shown, name = str(folder / layout.VERSION), folder.absolute().name
    store = open_store(folder.absolute().parent)
    try:
        with store.open(f"{name}/{layout.VERSION}") as file:
            data = file.read(_MAX_RECORD + 1)
    except KeyAbsent as e:
        raise FileMissingError(f"{folder} has no {layout.VERSION}") from e
    if len(data) > _MAX_RECORD:
        raise RecordError(f"{shown} is longer than {_MAX_RECORD} bytes; it is none of a version")
    record = parse_version(data, shown)
    return Directory(folder, record, VersionFiles(store, name, record.files, str(folder)))
