"""What tables of every library have in common: roots, categories, names of time zones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from modelversion.errors import FingerprintError
from modelversion.fingerprints._containers import name_of
from modelversion.fingerprints._core import (
    STEP,
    Column,
    Kernel,
    Part,
    Source,
    Validity,
    block_digest,
    column_of,
    hash_columns,
    root,
)
from modelversion.fingerprints._result import Fingerprint, fingerprint_of, text, unique_names

# Role, name, and the values.
Named = tuple[str, Any, Source]


def table(name: str, parts: Sequence[Named], rows: int, axis: Any = None) -> Fingerprint:
    """Fingerprint a table of columns and those of its index; `axis` names the list of columns."""
    found, columns = _hashed(parts)
    digest = root(["table", rows, found, *([[name_of(label) for label in axis]] if axis else [])])
    labels = unique_names(name for role, name, _ in parts if role == "column")
    shown = dict(zip(labels, columns, strict=True))
    return fingerprint_of("table", name, digest, shape=(rows, len(labels)), columns=shown)


def column(name: str, parts: Sequence[Named]) -> Fingerprint:
    """Fingerprint a column that stands by itself, and those of its index."""
    found, (made,) = _hashed(parts)
    digest = root(["column by itself", made.rows, found])
    label = "" if parts[-1][1] is None else text(parts[-1][1])
    return fingerprint_of("column", name, digest, shape=(made.rows,), columns={label: made})


def _hashed(parts: Sequence[Named]) -> tuple[list[Any], list[Column]]:
    """Give what a root says of columns, and those that are no index."""
    columns = hash_columns([source for _, _, source in parts])
    found = [
        [role, name_of(name), made.type, made.digest]
        for (role, name, _), made in zip(parts, columns, strict=True)
    ]
    return found, [
        made for (role, _, _), made in zip(parts, columns, strict=True) if role == "column"
    ]


class CategoriesSource:
    """A column of categories: those that are used, sorted, or the order that was declared.

    Args:
        codes: Gives the codes of the rows from start to stop; a negative one is missing.
        rows: Number of rows.
        values: Gives the column of the categories at some positions.
        order: Positions of the categories in sorted order; None where their order counts.
        count: Number of categories.
    """

    group: Any = None
    step = STEP

    def __init__(
        self,
        codes: Callable[[int, int], Any],
        rows: int,
        *,
        values: Callable[[Any], Source],
        order: Any,
        count: int,
    ) -> None:
        self.codes, self.rows, self.nbytes = codes, rows, 4 * rows
        self._ordered = order is None
        kept = np.arange(count) if order is None else order[self._used(count)[order]]
        self.rank = np.zeros(count, dtype="<u4")
        self.rank[kept] = np.arange(len(kept), dtype="<u4")
        self._categories = hash_columns([values(kept)])[0]

    def _used(self, count: int) -> Any:
        used = np.zeros(count, dtype=bool)
        for start in range(0, self.rows, STEP):
            codes = self.codes(start, min(start + STEP, self.rows))
            used[codes[codes >= 0]] = True
        return used

    def kernel(self) -> Kernel:
        return _CategoriesKernel(self)

    def column(self, parts: Sequence[Part]) -> Column:
        kind = ["ordered" if self._ordered else "categories", self._categories.type]
        return column_of(kind, self.rows, parts, self._categories.digest)


class _CategoriesKernel:
    def __init__(self, source: CategoriesSource) -> None:
        self._source, self._stream, self._validity = source, hashlib.sha256(), Validity()

    def feed(self, start: int, stop: int) -> None:
        codes = self._source.codes(start, stop)
        missing = codes < 0
        self._validity.add(stop - start, missing)
        kept = self._source.rank[np.where(missing, 0, codes)] if len(self._source.rank) else codes
        self._stream.update(np.where(missing, 0, kept).astype("<u4"))

    def finish(self) -> Part:
        rows, nulls = self._validity.rows, self._validity.nulls
        streams = [self._stream.digest()]
        return Part(
            block_digest(self._validity.bits(), streams, rows=rows, nulls=nulls), rows, nulls
        )


def zone_name(zone: Any) -> str:
    """Name a time zone the same in every library: `Europe/Berlin`, `UTC`, `+01:00`.

    Raises:
        FingerprintError: It has no name.
    """
    if not isinstance(zone, str):
        zone = getattr(zone, "key", None) or getattr(zone, "zone", None) or str(zone)
    if zone.startswith("pytz.FixedOffset("):
        minutes = int(zone[len("pytz.FixedOffset(") : -1])
        sign = "-" if minutes < 0 else "+"
        return f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    if zone in ("UTC", "Etc/UTC", "utc", "Z", "+00:00", "UTC+00:00", "tzutc()"):
        return "UTC"
    name: str = zone.removeprefix("UTC") if zone.startswith(("UTC+", "UTC-")) else zone
    if "(" in name:
        raise FingerprintError(f"the time zone {name!r} has no name; convert the times to another")
    return name
