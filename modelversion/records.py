"""The records that are stored, and their JSON.

A record is a frozen attrs class whose fields say what JSON they take. `to_json` and
`from_json` are inverse; fields of a newer release that a record does not know are kept in
`extra` and written back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar, dataclass_transform

import attrs

from modelversion._json import dumps
from modelversion.errors import NewerFormatError, RecordError

FORMAT = 1
Json = dict[str, Any]
R = TypeVar("R")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def _record(cls: type[R]) -> type[R]:
    """Make a frozen attrs class that shares what compares and prints: import stays quick."""
    made: Any = cls
    made.__eq__, made.__repr__, made.__hash__ = _equal, _shown, None
    return attrs.frozen(kw_only=True, eq=False, repr=False)(cls)


def _equal(self: Any, other: Any) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return attrs.astuple(self, recurse=False) == attrs.astuple(other, recurse=False)


def _shown(self: Any) -> str:
    shown = (f"{name}={getattr(self, name)!r}" for name, _, _ in _fields(type(self)))
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _plain(kind: Any, default: Any = attrs.NOTHING, converter: Any = None) -> Any:
    return attrs.field(default=default, converter=converter, metadata={"plain": kind})


def _one(record: type, default: Any = attrs.NOTHING) -> Any:
    return attrs.field(default=default, metadata={"one": record})


def _many(record: type) -> Any:
    return attrs.field(default=(), converter=tuple, metadata={"many": record})


def _by_name(record: type) -> Any:
    return attrs.field(factory=dict, metadata={"by_name": record})


def _texts() -> Any:
    return attrs.field(default=(), converter=tuple, metadata={"plain": (list, tuple)})


def _object() -> Any:
    return attrs.field(factory=dict, metadata={"plain": dict})


_OPTIONAL_TEXT = (str, type(None))
_OPTIONAL_INT = (int, type(None))
_OPTIONAL_BOOL = (bool, type(None))
_OPTIONAL_NUMBER = (float, int, type(None))
_OPTIONAL_LIST = (list, tuple, type(None))


def to_json(record: Any) -> Json:
    """Give the record as plain JSON; fields that are None or empty are left out."""
    result = dict(record.extra)
    for name, kind, nested in _fields(type(record)):
        value = getattr(record, name)
        if value is None or (value in ((), {}) and nested is not object):
            continue
        if kind == "one":
            value = to_json(value)
        elif kind == "many":
            value = [to_json(item) for item in value]
        elif kind == "by_name":
            value = {key: to_json(item) for key, item in value.items()}
        result[name] = value
    return result


_FIELDS: dict[Any, tuple[tuple[str, str, Any], ...]] = {}


def _fields(cls: Any) -> tuple[tuple[str, str, Any], ...]:
    """List (name, kind of JSON, what it takes) of a record's fields."""
    found = _FIELDS.get(cls)
    if found is None:
        found = _FIELDS[cls] = tuple(
            (field.name, *next(iter(field.metadata.items())))
            for field in cls.__attrs_attrs__
            if field.name != "extra"
        )
    return found


def from_json(cls: Callable[..., R], value: Any, path: str) -> R:
    """Read a record from plain JSON.

    Args:
        cls: The record class.
        value: What the JSON parser gave.
        path: The JSON path so far, as errors print it.

    Raises:
        RecordError: A field is missing or has another type than the format says.
    """
    if not isinstance(value, dict):
        raise RecordError(f"{path} must be an object, found {_name(value)}")
    rest = dict(value)
    known = {}
    for name, kind, nested in _fields(cls):
        if name in rest:
            known[name] = _READERS[kind](nested, rest.pop(name), f"{path}.{name}")
    try:
        return cls(**known, extra=rest)
    except TypeError as e:
        raise RecordError(f"{path}.{_lacking(cls, known)} is missing; it was edited") from e


def _lacking(cls: Any, known: Json) -> Any:
    fields = (field for field in cls.__attrs_attrs__ if field.default is attrs.NOTHING)
    return next(field.name for field in fields if field.name not in known)


def _read_one(record: Any, value: Any, path: str) -> Any:
    return None if value is None else from_json(record, value, path)


def _read_many(record: Any, value: Any, path: str) -> Any:
    if not isinstance(value, list):
        raise RecordError(f"{path} must be a list, found {_name(value)}")
    return [from_json(record, item, f"{path}[{i}]") for i, item in enumerate(value)]


def _read_by_name(record: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise RecordError(f"{path} must be an object, found {_name(value)}")
    return {name: from_json(record, item, f"{path}.{name}") for name, item in value.items()}


def _read_plain(kind: Any, value: Any, path: str) -> Any:
    # bool is an int to isinstance and is not one in JSON.
    if not isinstance(value, kind) or (isinstance(value, bool) and not _takes_bool(kind)):
        raise RecordError(f"{path} must be {_names(kind)}, found {_name(value)}")
    return value


_READERS: dict[str, Callable[[Any, Any, str], Any]] = {
    "one": _read_one,
    "many": _read_many,
    "by_name": _read_by_name,
    "plain": _read_plain,
}


def _takes_bool(kind: Any) -> bool:
    return bool in (kind if isinstance(kind, tuple) else (kind,)) or kind is object


def _name(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:60]!r}"


def _names(kind: Any) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(k.__name__ for k in kinds if k is not type(None))


def stored(record: Any) -> bytes:
    """Give the canonical bytes of a record."""
    return dumps(to_json(record))


@_record
class Actor:
    """Who did it: a name, and how it is known (given, env, ci, os)."""

    name: str = _plain(str)
    source: str = _plain(str)
    run_url: str | None = _plain(_OPTIONAL_TEXT, None)
    extra: Json = attrs.field(factory=dict)

    def __str__(self) -> str:
        return self.name


@_record
class RegistryRecord:
    """`registry.json`: what makes a folder a registry."""

    format: int = _plain(int)
    id: str = _plain(str)
    created_at: str = _plain(str)
    actor: Actor = _one(Actor)
    extra: Json = attrs.field(factory=dict)


@_record
class Claim:
    """`claim.json`: number n of a model is taken by the process that knows the nonce."""

    registry: str = _plain(str)
    model: str = _plain(str)
    number: int = _plain(int)
    nonce: str = _plain(str)
    time: str = _plain(str)
    actor: Actor = _one(Actor)
    extra: Json = attrs.field(factory=dict)


@_record
class FileRecord:
    """A file of a version: relative POSIX path, bytes, sha256 in hex."""

    path: str = _plain(str)
    size: int = _plain(int)
    sha256: str = _plain(str)
    extra: Json = attrs.field(factory=dict)


@_record
class Origin:
    """Where a version directory was committed first."""

    registry: str = _plain(str)
    model: str = _plain(str)
    number: int = _plain(int)
    nonce: str = _plain(str)
    extra: Json = attrs.field(factory=dict)


@_record
class BufferRecord:
    """An out-of-band buffer: `size` bytes at `offset` of the version's file `path`."""

    path: str = _plain(str)
    offset: int = _plain(int)
    size: int = _plain(int)
    extra: Json = attrs.field(factory=dict)


@_record
class ObjectRecord:
    """How the object is kept.

    `stream` is the path of the pickle, `buffers` its out-of-band buffers in the order in which
    it asks for them, `globals` the exact names that it imports, as `module:qualname`.
    """

    serializer: str = _plain(str)
    type: str = _plain(str)
    stream: str = _plain(str)
    buffers: tuple[BufferRecord, ...] = _many(BufferRecord)
    globals: tuple[str, ...] = _texts()
    extra: Json = attrs.field(factory=dict)


@_record
class MetricRecord:
    """A metric: its number (tagged JSON), the direction if known, and the sample size."""

    value: Any = _plain(object)
    higher_is_better: bool | None = _plain(_OPTIONAL_BOOL, None)
    n: int | None = _plain(_OPTIONAL_INT, None)
    extra: Json = attrs.field(factory=dict)


@_record
class DataRecord:
    """A data set that a version was made from; `digest` is None where it was not fingerprinted."""

    name: str = _plain(str)
    type: str = _plain(str)
    shape: tuple[int, ...] | None = _plain(_OPTIONAL_LIST, None, attrs.converters.optional(tuple))
    dtype: str | None = _plain(_OPTIONAL_TEXT, None)
    columns: Json = _object()
    digest: str | None = _plain(_OPTIONAL_TEXT, None)
    extra: Json = attrs.field(factory=dict)


@_record
class CodeRecord:
    """The code that made a version: entry point, and the file of its source in the version."""

    entry: str = _plain(str)
    path: str | None = _plain(_OPTIONAL_TEXT, None)
    sha256: str | None = _plain(_OPTIONAL_TEXT, None)
    extra: Json = attrs.field(factory=dict)


@_record
class EnvironmentRecord:
    """Where a version was made: Python, platform, every installed distribution."""

    python: str = _plain(str)
    implementation: str = _plain(str)
    platform: str = _plain(str)
    packages: Json = _object()
    extra: Json = attrs.field(factory=dict)


@_record
class VersionRecord:
    """`version.json`: everything recorded of a version; every other file with size and digest.

    `params` and `metrics` values are tagged JSON (`modelversion._json.encode`).
    """

    format: int = _plain(int)
    origin: Origin = _one(Origin)
    created_at: str = _plain(str)
    actor: Actor = _one(Actor)
    content: str = _plain(str)
    description: str | None = _plain(_OPTIONAL_TEXT, None)
    object: ObjectRecord | None = _one(ObjectRecord, None)
    params: Json = _object()
    metrics: dict[str, MetricRecord] = _by_name(MetricRecord)
    data: tuple[DataRecord, ...] = _many(DataRecord)
    code: CodeRecord | None = _one(CodeRecord, None)
    environment: EnvironmentRecord | None = _one(EnvironmentRecord, None)
    parents: tuple[str, ...] = _texts()
    tags: Json = _object()
    duration_seconds: float | None = _plain(_OPTIONAL_NUMBER, None)
    files: tuple[FileRecord, ...] = _many(FileRecord)
    extra: Json = attrs.field(factory=dict)


@_record
class Entry:
    """One entry of a journal; `event` is the JSON of one of the events below, or a newer one."""

    position: int = _plain(int)
    previous: str = _plain(str)
    nonce: str = _plain(str)
    time: str = _plain(str)
    clock: str = _plain(str)
    actor: Actor = _one(Actor)
    event: Json = _plain(dict)
    extra: Json = attrs.field(factory=dict)


# ---- events ------------------------------------------------------------------------------------


@_record
class ModelCreated:
    """A model's name was used for the first time; `display` is its first spelling."""

    kind: ClassVar[str] = "model.created"
    must_understand: ClassVar[bool] = True
    model: str = _plain(str)
    display: str = _plain(str)
    extra: Json = attrs.field(factory=dict)


@_record
class VersionCommitted:
    """Number, claim nonce, size and sha256 of `version.json`, and the summary for tables."""

    kind: ClassVar[str] = "version.committed"
    must_understand: ClassVar[bool] = True
    number: int = _plain(int)
    nonce: str = _plain(str)
    size: int = _plain(int)
    sha256: str = _plain(str)
    content: str = _plain(str)
    summary: Json = _object()
    extra: Json = attrs.field(factory=dict)


@_record
class VersionAbandoned:
    """A claimed number that will never be committed."""

    kind: ClassVar[str] = "version.abandoned"
    must_understand: ClassVar[bool] = True
    number: int = _plain(int)
    reason: str = _plain(str)
    extra: Json = attrs.field(factory=dict)


@_record
class VersionRepeated:
    """The identical content was saved again, and no new version made."""

    kind: ClassVar[str] = "version.repeated"
    must_understand: ClassVar[bool] = False
    number: int = _plain(int)
    extra: Json = attrs.field(factory=dict)


@_record
class TagsChanged:
    """Tags set (tagged JSON values) and removed."""

    kind: ClassVar[str] = "version.tagged"
    must_understand: ClassVar[bool] = False
    number: int = _plain(int)
    set: Json = _object()
    removed: tuple[str, ...] = _texts()
    extra: Json = attrs.field(factory=dict)


@_record
class NoteAdded:
    """A remark on a version."""

    kind: ClassVar[str] = "version.noted"
    must_understand: ClassVar[bool] = False
    number: int = _plain(int)
    text: str = _plain(str)
    extra: Json = attrs.field(factory=dict)


@_record
class AliasSet:
    """An alias now names a version, bound to its `version.json` as the commit entry binds it."""

    kind: ClassVar[str] = "alias.set"
    must_understand: ClassVar[bool] = True
    alias: str = _plain(str)
    number: int = _plain(int)
    nonce: str = _plain(str)
    size: int = _plain(int)
    sha256: str = _plain(str)
    extra: Json = attrs.field(factory=dict)


@_record
class AliasDeleted:
    """An alias no longer names a version."""

    kind: ClassVar[str] = "alias.deleted"
    must_understand: ClassVar[bool] = True
    alias: str = _plain(str)
    extra: Json = attrs.field(factory=dict)


@_record
class VersionWithdrawn:
    """A version is not to be used any more; loading it warns."""

    kind: ClassVar[str] = "version.withdrawn"
    must_understand: ClassVar[bool] = True
    number: int = _plain(int)
    reason: str = _plain(str)
    use_instead: int | None = _plain(_OPTIONAL_INT, None)
    extra: Json = attrs.field(factory=dict)


@_record
class VersionRestored:
    """A withdrawal is taken back."""

    kind: ClassVar[str] = "version.restored"
    must_understand: ClassVar[bool] = True
    number: int = _plain(int)
    reason: str = _plain(str)
    extra: Json = attrs.field(factory=dict)


@_record
class VersionDeleted:
    """The tombstone of a version: its bytes are gone, their digests stay."""

    kind: ClassVar[str] = "version.deleted"
    must_understand: ClassVar[bool] = True
    number: int = _plain(int)
    reason: str = _plain(str)
    sha256: str = _plain(str)
    files: tuple[FileRecord, ...] = _many(FileRecord)
    extra: Json = attrs.field(factory=dict)


def event_json(event: Any) -> Json:
    """Give an event as the JSON that an entry carries."""
    return {"kind": event.kind, "must_understand": event.must_understand, **to_json(event)}


def check_format(value: Any, what: str) -> None:
    """Refuse a record of a newer major format before its fields are judged.

    Raises:
        NewerFormatError: The record says a format above the one this release writes.
    """
    found = value.get("format") if isinstance(value, Mapping) else None
    if isinstance(found, int) and found > FORMAT:
        raise NewerFormatError(
            f"{what} has format {found}; this modelversion reads up to {FORMAT}: "
            f"install a release that reads format {found}"
        )
