"""Python values: tagged and length-prefixed, so that 1, 1.0, True and "1" differ."""

from __future__ import annotations

import datetime
import hashlib
import struct
import uuid
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from modelversion.errors import FingerprintError
from modelversion.fingerprints._decimals import canonical
from modelversion.fingerprints._families import family, registered
from modelversion.fingerprints._result import Fingerprint, text, type_name

MAX_DEPTH = 100
_NAN = float("nan")


def accepts(value: Any) -> bool:
    """Tell whether it is a plain value or a container of Python's own."""
    return isinstance(value, tuple(kind for kind, _ in _RULES))


def fingerprint(value: Any) -> Fingerprint:
    """Fingerprint a value; the order of dicts and sets does not count, that of lists does."""
    size = (len(value),) if isinstance(value, _SIZED) else None
    digest = hashlib.sha256(encoded(value)).hexdigest()
    return Fingerprint("container", type_name(value), digest, size)


def encoded(value: Any) -> bytes:
    """Give the canonical bytes of a value.

    Raises:
        FingerprintError: A part of it has no data hash, or it contains itself.
    """
    return _Walk().encode(value, 0)


class _Walk:
    """Goes through a value and knows the containers that it is inside of."""

    def __init__(self) -> None:
        self._inside: set[int] = set()

    def encode(self, value: Any, depth: int) -> bytes:
        rule = _EXACT.get(type(value)) or _rule_of_base(value)
        return _leaf(value) if rule is None else rule(self, value, depth)

    def parts(
        self, values: Iterable[Any], owner: Any, depth: int, *, place: Callable[[int], str]
    ) -> list[bytes]:
        """Encode the items of a container, and refuse one that contains itself.

        Args:
            values: The items.
            owner: The container.
            depth: How deep it is.
            place: Gives how errors name the item of a number.
        """
        if depth >= MAX_DEPTH or id(owner) in self._inside:
            what = "contains itself" if id(owner) in self._inside else f"is over {MAX_DEPTH} deep"
            raise FingerprintError(
                f"a {type(owner).__name__} {what}, so it has no data hash; give its parts"
            )
        self._inside.add(id(owner))
        found: list[bytes] = []
        try:
            found.extend(self.encode(value, depth + 1) for value in values)
        except UnknownPartError as e:
            raise UnknownPartError(e.what, place(len(found)) + e.path) from None
        finally:
            self._inside.discard(id(owner))
        return found


def _rule_of_base(value: Any) -> _Rule | None:
    """Give the rule of the first base that has one, unless somebody registered the type."""
    if registered(value) is not None:
        return None
    return next((rule for kind, rule in _RULES if isinstance(value, kind)), None)


def _leaf(value: Any) -> bytes:
    """Encode what another family knows: an array, a table."""
    found = family(value)
    if found is None or found is fingerprint:
        raise UnknownPartError(type_name(value))
    made = found(value)
    return b"x" + _prefixed(made.kind.encode()) + bytes.fromhex(made.digest)


class UnknownPartError(FingerprintError):
    """A part of a value has no data hash; it knows how to get there."""

    def __init__(self, what: str, path: str = "") -> None:
        super().__init__(
            f"value{path} is a {what}, which has no data hash; convert it to plain "
            "values or arrays, or register a fingerprint for its type"
        )
        self.what, self.path = what, path


def _prefixed(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data


def _counted(tag: bytes, parts: list[bytes]) -> bytes:
    return tag + len(parts).to_bytes(8, "little") + b"".join(parts)


def _mapping(walk: _Walk, value: Mapping[Any, Any], depth: int) -> bytes:
    pairs = list(value.items())
    names = [key for key, _ in pairs]
    keys = walk.parts(names, value, depth, place=lambda i: "'s key")
    items = walk.parts(
        (item for _, item in pairs), value, depth, place=lambda i: f"[{names[i]!r:.80}]"
    )
    return _counted(b"d", sorted(key + item for key, item in zip(keys, items, strict=True)))


def _set(walk: _Walk, value: Iterable[Any], depth: int) -> bytes:
    return _counted(b"e", sorted(walk.parts(value, value, depth, place=lambda i: "'s item")))


def _list(walk: _Walk, value: Iterable[Any], depth: int) -> bytes:
    return _counted(b"l", walk.parts(value, value, depth, place=_position))


def _tuple(walk: _Walk, value: Iterable[Any], depth: int) -> bytes:
    return _counted(b"t", walk.parts(value, value, depth, place=_position))


def _position(i: int) -> str:
    return f"[{i}]"


def _none(walk: _Walk, value: None, depth: int) -> bytes:
    return b"N"


def _bool(walk: _Walk, value: bool, depth: int) -> bytes:
    return b"T" if value else b"F"


def _int(walk: _Walk, value: int, depth: int) -> bytes:
    # Hexadecimal has no limit on the digits.
    return b"i" + _prefixed(f"{int(value):x}".encode())


def _float(walk: _Walk, value: float, depth: int) -> bytes:
    return b"f" + _double(value)


def _double(number: float) -> bytes:
    return struct.pack("<d", _NAN if number != number else number)


def _complex(walk: _Walk, value: complex, depth: int) -> bytes:
    return b"c" + _double(value.real) + _double(value.imag)


def _str(walk: _Walk, value: str, depth: int) -> bytes:
    return b"s" + _prefixed(str.__str__(value).encode("utf-8", "surrogatepass"))


def _bytes(walk: _Walk, value: Any, depth: int) -> bytes:
    return b"b" + _prefixed(bytes(memoryview(value)))


def _time(walk: _Walk, value: Any, depth: int) -> bytes:
    # pandas' Timestamp is one too, and says its nanoseconds.
    return b"D" + _prefixed(f"{_TIMES[_base(value)]} {value.isoformat()}".encode())


def _base(value: Any) -> type:
    return next(kind for kind in _TIMES if isinstance(value, kind))


def _duration(walk: _Walk, value: datetime.timedelta, depth: int) -> bytes:
    micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    return b"P" + _prefixed(f"{micros} {getattr(value, 'nanoseconds', 0)}".encode())


def _decimal(walk: _Walk, value: Decimal, depth: int) -> bytes:
    return b"m" + _prefixed(canonical(value))


def _uuid(walk: _Walk, value: uuid.UUID, depth: int) -> bytes:
    return b"u" + value.bytes


_TIMES: dict[type, str] = {
    datetime.datetime: "datetime",
    datetime.date: "date",
    datetime.time: "time",
}
_SIZED = (list, tuple, set, frozenset, Mapping)
_Rule = Callable[[_Walk, Any, int], bytes]
# The first that fits; a subclass counts as its base.
_RULES: tuple[tuple[type, _Rule], ...] = (
    (type(None), _none),
    (bool, _bool),
    (int, _int),
    (float, _float),
    (complex, _complex),
    (str, _str),
    (bytes, _bytes),
    (bytearray, _bytes),
    (tuple, _tuple),
    (list, _list),
    (dict, _mapping),
    (Mapping, _mapping),
    (set, _set),
    (frozenset, _set),
    (datetime.datetime, _time),
    (datetime.date, _time),
    (datetime.time, _time),
    (datetime.timedelta, _duration),
    (Decimal, _decimal),
    (uuid.UUID, _uuid),
)
_EXACT: dict[type, _Rule] = dict(_RULES)


def name_of(value: Any) -> Any:
    """Give a column's name for a canonical list: text as it is, anything else by its digest."""
    if isinstance(value, str) and text(value) == value:
        return str.__str__(value)
    return None if value is None else ["name", hashlib.sha256(encoded(value)).hexdigest()]
