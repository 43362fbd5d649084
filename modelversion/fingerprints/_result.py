"""What a fingerprint is once it was taken."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import attrs

from modelversion.display import Facts, Page, Shown, Table, shape, size, without_empty
from modelversion.display import digest as short
from modelversion.fingerprints._core import Column, Type


@attrs.frozen
class ColumnPrint:
    """The type of a column, and the sha256 of its values."""

    type: str
    digest: str


@attrs.frozen
class Profile:
    """What a column's values are like: numbers have a mean, numbers and times the extremes."""

    rows: int
    nulls: int
    min: Any = None
    max: Any = None
    mean: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give what is known as a dict."""
        return {name: v for name, v in attrs.asdict(self).items() if v is not None}


@attrs.frozen(repr=False)
class Fingerprint(Shown):
    """What tells whether two data sets are the same, and what they look like.

    Attributes:
        kind: What it is of: table, column, array, sparse, container, file, folder, or the kind
            of a distributed frame.
        type: The Python type, as `module.name`.
        digest: The sha256 in hex; two data sets of one kind are equal if their digests are.
        shape: Rows and columns, or the sizes of an array; None where there is no such thing.
        columns: Name -> type and digest of each column.
        profile: Name -> rows, nulls, min, max and mean of each column.
        size: Bytes of a file or folder.
    """

    kind: str
    type: str
    digest: str
    shape: tuple[int, ...] | None = None
    columns: Mapping[str, ColumnPrint] = MappingProxyType({})
    profile: Mapping[str, Profile] = MappingProxyType({})
    size: int | None = None

    def __repr__(self) -> str:
        sizes = "" if self.shape is None else " x ".join(f"{n:_}" for n in self.shape) + " "
        if self.size is not None:
            sizes = f"{self.size:_} bytes "
        return f"<Fingerprint {self.kind} {sizes}sha256:{self.digest[:12]}…>"

    def _page(self) -> Page:
        names = dict.fromkeys([*self.columns, *self.profile])
        rows = [_row(name, self.columns.get(name), self.profile.get(name)) for name in names]
        columns = ("column", "type", "nulls", "min", "max", "mean", "digest")
        facts = Facts(
            {
                "type": self.type,
                "shape": shape(self.shape),
                "size": None if self.size is None else size(self.size),
                "sha256": self.digest,
            }
        )
        table = Table("columns", columns, rows=rows)
        article = "an" if self.kind[0] in "aeiou" else "a"
        return Page(f"fingerprint of {article} {self.kind}", blocks=[facts, without_empty(table)])

    def to_dict(self) -> dict[str, Any]:
        """Give all of it as plain dicts, lists, texts and numbers."""
        return {
            "kind": self.kind,
            "type": self.type,
            "digest": self.digest,
            "shape": None if self.shape is None else list(self.shape),
            "columns": {name: attrs.asdict(column) for name, column in self.columns.items()},
            "profile": {name: profile.to_dict() for name, profile in self.profile.items()},
            "size": self.size,
        }


def _row(name: str, column: ColumnPrint | None, profile: Profile | None) -> tuple[Any, ...]:
    kind, found = (None, None) if column is None else (column.type, column.digest)
    seen: tuple[Any, ...] = (None,) * 4
    if profile is not None:
        seen = (profile.nulls, profile.min, profile.max, profile.mean)
    return (name, kind, *seen, short(found))


def fingerprint_of(
    kind: str, name: str, digest: str, *, shape: Sequence[int], columns: Mapping[str, Column]
) -> Fingerprint:
    """Put together what was found of columns; one without a name is in the profile only."""
    prints = {n: ColumnPrint(type_text(c.type), c.digest) for n, c in columns.items() if n}
    profiles = {n or "values": _profile(c) for n, c in columns.items()}
    return Fingerprint(
        kind,
        name,
        digest,
        tuple(shape),
        columns=MappingProxyType(prints),
        profile=MappingProxyType(profiles),
    )


def _profile(column: Column) -> Profile:
    name = column.type if isinstance(column.type, str) else column.type[0]
    show: Callable[[Any], Any] = _SHOWN.get(name, _same)
    mean = None if name in _POINTS else show(column.mean)
    return Profile(column.rows, column.nulls, show(column.low), show(column.high), mean)


def _same(number: Any) -> Any:
    return number


def _moment(micros: Any) -> str | None:
    try:
        return None if micros is None else (_EPOCH + timedelta(microseconds=micros)).isoformat()
    except OverflowError:  # a year that the calendar does not have
        return None


def _date(days: Any) -> str | None:
    moment = None if days is None else _moment(days * 86_400_000_000)
    return None if moment is None else moment[:10]


def _seconds(micros: Any) -> float | None:
    return None if micros is None else micros / 1_000_000


_EPOCH = datetime(1970, 1, 1)
_SHOWN: dict[str, Callable[[Any], Any]] = {
    "datetime": _moment,
    "date": _date,
    "duration": _seconds,
    "time": _seconds,
}
# Points in time, and what counts periods, have no mean worth telling.
_POINTS = ("datetime", "date", "period")


def type_name(value: Any) -> str:
    """Name the type of a value; what is not Unicode in it is escaped."""
    kind = type(value)
    return text(f"{kind.__module__}.{kind.__qualname__}")


def text(value: Any) -> str:
    """Print a value; what is not Unicode in it is escaped, so that it can be stored."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def type_text(kind: Type) -> str:
    """Print a column's type, such as `list[int64]`."""
    if isinstance(kind, str):
        return kind
    name, *rest = kind
    if name == "struct":
        inner = ", ".join(f"{field}: {type_text(of)}" for field, of in rest[0])
    else:
        inner = ", ".join(type_text(r) if isinstance(r, (str, list)) else str(r) for r in rest)
    return f"{name}[{inner}]"


def unique_names(names: Iterable[Any]) -> list[str]:
    """Give names as texts that differ, as keys of a dict."""
    found: dict[str, None] = {}
    for name in names:
        shown = text(name) or "''"
        numbered = (f"{shown} ({i})" for i in itertools.count(2))
        found[shown if shown not in found else next(n for n in numbered if n not in found)] = None
    return list(found)
