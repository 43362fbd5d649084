"""Records as JSON: frozen attrs classes whose fields say what JSON they take.

`to_json` and `from_json` are inverse; fields of a newer release that a record does not know are
kept in `extra` and written back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import attrs

from modelversion._json import dumps
from modelversion.errors import RecordError

Json = dict[str, Any]
R = TypeVar("R")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type[R]) -> type[R]:
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


def plain(kind: Any, default: Any = attrs.NOTHING, converter: Any = None) -> Any:
    """A field of plain JSON: of this type, or of one of these."""
    return attrs.field(default=default, converter=converter, metadata={"plain": kind})


def one(kind: type, default: Any = attrs.NOTHING) -> Any:
    """A field of one record, or null."""
    return attrs.field(default=default, metadata={"one": kind})


def many(kind: type) -> Any:
    """A field of a list of records."""
    return attrs.field(default=(), converter=tuple, metadata={"many": kind})


def by_name(kind: type) -> Any:
    """A field of an object whose values are records."""
    return attrs.field(factory=dict, metadata={"by_name": kind})


def texts() -> Any:
    """A field of a list of texts."""
    return attrs.field(default=(), converter=tuple, metadata={"plain": (list, tuple)})


def json_object() -> Any:
    """A field of any JSON object."""
    return attrs.field(factory=dict, metadata={"plain": dict})


OPTIONAL_TEXT = (str, type(None))
OPTIONAL_INT = (int, type(None))
OPTIONAL_BOOL = (bool, type(None))
OPTIONAL_NUMBER = (float, int, type(None))
OPTIONAL_LIST = (list, tuple, type(None))


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


def evolve(record: R, **changes: Any) -> R:
    """Give a record with some fields changed."""
    known: Any = record  # that `record` makes attrs classes is hidden from the type checker
    made: R = attrs.evolve(known, **changes)
    return made


def stored(record: Any) -> bytes:
    """Give the canonical bytes of a record."""
    return dumps(to_json(record))
