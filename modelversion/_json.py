"""Canonical JSON: the bytes that are stored and digested, and typed values inside it.

orjson writes NaN as null, reads 2**64 as a float and keeps the last of two equal keys, all
silently; every value passes through here so that none of that reaches a record. Format:
RFC 8259 text, UTF-8, keys sorted, no insignificant white space.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import orjson

from modelversion.errors import InvalidValueError, RecordError
from modelversion.secret import Secret

MAX_DEPTH = 64
_EXACT_INT = 2**53
_FLOATS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def dumps(value: Any) -> bytes:
    """Give the canonical bytes of a value made of plain JSON types."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def loads(data: bytes, what: str) -> Any:
    """Parse stored bytes; `what` names them in the `RecordError` when they do not parse."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as e:
        raise RecordError(f"{what} is not JSON: {e}; it was truncated or edited") from e


def loads_strict(data: bytes, what: str) -> Any:
    """Parse stored bytes and refuse an object that holds one key twice.

    Bytes that equal their own canonical form cannot hold one, so the slow parser sees only
    the others (hand-edited files, and floats that another orjson release spelt otherwise).
    """
    value = loads(data, what)
    try:
        if dumps(value) != data:
            _refuse_duplicate_keys(data, what)
    except (TypeError, RecursionError) as e:
        raise RecordError(f"{what} is nested deeper than any record; it was edited") from e
    return value


def _refuse_duplicate_keys(data: bytes, what: str) -> None:
    import json

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise RecordError(f"{what} holds the key {twice!r} twice; it was edited")
        return result

    json.loads(data, object_pairs_hook=unique)


def digest(data: bytes) -> str:
    """Give the sha256 of bytes in hex, as `sha256sum` prints it."""
    return hashlib.sha256(data).hexdigest()


def encode(value: Any, what: str) -> Any:
    """Turn a Python value into plain JSON that `decode` turns back into an equal value.

    What JSON cannot say is tagged: `{"$float": "nan"}`, `{"$int": "..."}` beyond 53 bits,
    `$tuple`, `$bytes` (base64), `$time` (RFC 3339, or a date), and `$secret` for a `Secret`,
    without its text; a user's key that begins with `$` is doubled. numpy scalars become the
    Python number of the same value.

    Args:
        value: None, bool, int, float, str, bytes, datetime, date, and lists, tuples and
            string-keyed mappings of these, at most 64 deep.
        what: The field's name, as errors print it, such as `params`.

    Raises:
        InvalidValueError: Another type, a cycle or a deeper nesting, a key that is not a
            string, or text with lone surrogates; the message has the path to it.
    """
    return _encode(value, what, 0)


def _encode(value: Any, path: str, depth: int) -> Any:
    if value is None or value is True or value is False:
        return value
    encoder = _ENCODERS.get(type(value))
    if encoder is not None:
        return encoder(value, path, depth)
    return _encode_other(value, path, depth)


def _encode_int(value: int, path: str, depth: int) -> Any:
    if -_EXACT_INT <= value <= _EXACT_INT:
        return value
    _check_depth(path, depth)
    return {"$int": _decimal(value, path)}


def _decimal(value: int, path: str) -> str:
    try:
        return str(value)
    except ValueError as e:  # sys.set_int_max_str_digits
        raise InvalidValueError(f"{path} is an integer of too many digits: {e}") from e


def _encode_float(value: float, path: str, depth: int) -> Any:
    if value - value == 0.0:
        return value
    _check_depth(path, depth)
    return {"$float": "nan" if value != value else "inf" if value > 0 else "-inf"}


def _encode_str(value: str, path: str, depth: int) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as e:
        raise InvalidValueError(f"{path} holds text that is not Unicode: {e.reason}") from e
    return value


def _encode_bytes(value: bytes, path: str, depth: int) -> Any:
    _check_depth(path, depth)
    return {"$bytes": base64.b64encode(value).decode("ascii")}


def _encode_date(value: date, path: str, depth: int) -> Any:
    _check_depth(path, depth)
    return {"$time": value.isoformat()}


def _encode_list(value: list[Any], path: str, depth: int) -> Any:
    _check_depth(path, depth)
    return [_encode(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]


def _encode_tuple(value: tuple[Any, ...], path: str, depth: int) -> Any:
    _check_depth(path, depth + 1)
    return {"$tuple": [_encode(item, f"{path}[{i}]", depth + 2) for i, item in enumerate(value)]}


def _encode_mapping(value: Mapping[Any, Any], path: str, depth: int) -> Any:
    _check_depth(path, depth)
    result = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise InvalidValueError(
                f"{path} has the key {key!r} of type {type(key).__name__}; keys must be str"
            )
        name = _encode_str(str.__str__(key), f"a key of {path}", depth)
        result[double(name)] = _encode(item, f"{path}[{key!r}]", depth + 1)
    return result


def _encode_secret(value: Secret, path: str, depth: int) -> Any:
    return {"$secret": True}


def _check_depth(path: str, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise InvalidValueError(
            f"{path[:200]} is nested deeper than {MAX_DEPTH} levels, or contains itself"
        )


_ENCODERS: dict[type, Callable[[Any, str, int], Any]] = {
    int: _encode_int,
    float: _encode_float,
    str: _encode_str,
    bytes: _encode_bytes,
    datetime: _encode_date,
    date: _encode_date,
    list: _encode_list,
    tuple: _encode_tuple,
    dict: _encode_mapping,
    Secret: _encode_secret,
}


# A subclass may print itself otherwise; the base class gives the value.
_BASES: dict[type, Callable[[Any], Any]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    bytes: lambda value: bytes(memoryview(value)),
}


def _encode_other(value: Any, path: str, depth: int) -> Any:
    for kind, plain in _BASES.items():
        if isinstance(value, kind):  # subclasses: IntEnum, StrEnum, numpy.float64, numpy.str_
            return _encode(plain(value), path, depth)
    if isinstance(value, Mapping):
        return _encode_mapping(value, path, depth)
    number = numpy_scalar(value)
    if number is not None:
        return _encode(number, path, depth)
    raise InvalidValueError(
        f"{path} is a {type(value).__module__}.{type(value).__qualname__}; "
        "stored values are None, bool, int, float, str, bytes, datetime, list, tuple and dict"
    )


def numpy_scalar(value: Any) -> bool | int | float | None:
    """Give the Python number of a numpy scalar, or None for anything else."""
    if type(value).__module__ != "numpy" or getattr(value, "ndim", None) != 0:
        return None
    number = value.item() if hasattr(value, "dtype") else None
    return number if isinstance(number, (bool, int, float)) else None


def decode(value: Any) -> Any:
    """Turn what `encode` gave back into an equal value.

    Raises:
        RecordError: A tag does not hold what `encode` writes; the record was edited.
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, item),) = value.items()
        if key in _DECODERS:
            return _decode_tag(key, item)
    return {undouble(key): decode(item) for key, item in value.items()}


def _decode_tag(key: str, item: Any) -> Any:
    kind, decoder = _DECODERS[key]
    try:
        if isinstance(item, kind):
            return decoder(item)
    except (KeyError, ValueError) as e:
        raise RecordError(f"{{{key!r}: {item!r:.60}}} is no value; the record was edited") from e
    raise RecordError(f"{{{key!r}: {item!r:.60}}} is no value; the record was edited")


def double(key: str) -> str:
    """Give a user's key as it is stored: one that begins with `$` gets another."""
    return "$" + key if key.startswith("$") else key


def undouble(key: str) -> str:
    """Give a stored key as the user wrote it."""
    return key[1:] if key.startswith("$$") else key


def _decode_time(text: str) -> date:
    return datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text)


_DECODERS: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "$float": (str, lambda text: _FLOATS[text]),
    "$int": (str, int),
    "$bytes": (str, lambda text: base64.b64decode(text, validate=True)),
    "$tuple": (list, lambda items: tuple(decode(item) for item in items)),
    "$time": (str, _decode_time),
}


def timestamp(moment: datetime) -> str:
    """Print a time as RFC 3339 in UTC, to the microsecond, so that text sorts as time does."""
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="microseconds") + "Z"


def parse_timestamp(text: str, what: str) -> datetime:
    """Read what `timestamp` printed; `what` names it in the `RecordError` for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as e:
        raise RecordError(f"{what} is {text[:60]!r}, which is no time; it was edited") from e
    if moment.tzinfo is not UTC or timestamp(moment) != text:
        raise RecordError(f"{what} is {text[:60]!r}, which is no time as stored; it was edited")
    return moment
