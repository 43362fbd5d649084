"""Columns of Python objects: texts, bytes, bools and dates are what they would be elsewhere.

What a column is shows only when all of it was seen. One of several types is hashed again, cell
by cell, as containers are.
"""

from __future__ import annotations

import datetime
import hashlib
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from modelversion.fingerprints._containers import encoded
from modelversion.fingerprints._core import (
    STEP,
    Column,
    Kernel,
    Part,
    Validity,
    block_digest,
    column_of,
    hash_columns,
)
from modelversion.fingerprints._texts import encode_decimals, encode_texts, lengths_of

_EPOCH = datetime.date(1970, 1, 1).toordinal()
_MIXED = "mixed"
# Rows that are taken first, and bytes that are copied at a time.
_FEW = 64
_COPIED = 2**19


class ObjectSource:
    """A column of Python objects.

    Args:
        values: One-dimensional numpy array of objects.
        missing: Array of bools, or None.
        kind: The type of a column without any value.
        cells: Hash cell by cell whatever the objects are.
    """

    group: Any = None
    step = STEP

    def __init__(
        self, values: Any, missing: Any = None, *, kind: str = "null", cells: bool = False
    ) -> None:
        self.values, self.missing, self.cells = values, missing, cells
        self._kind = "object" if cells else kind
        self.rows = len(values)
        # A guess: the texts are elsewhere, and looking at them all costs too much.
        self.nbytes = 32 * self.rows

    def kernel(self) -> Kernel:
        return _ObjectKernel(self)

    def column(self, parts: Sequence[Part]) -> Column:
        kinds = {part.kind for part in parts if part.kind is not None}
        if len(kinds) > 1 or _MIXED in kinds:
            again = ObjectSource(self.values, self.missing, cells=True)
            return hash_columns([again])[0]
        return column_of(next(iter(kinds), self._kind), self.rows, parts)


class _ObjectKernel:
    def __init__(self, source: ObjectSource) -> None:
        self._values, self._missing = source.values, source.missing
        self._kind: str | None = "object" if source.cells else None
        self._streams = (hashlib.sha256(), hashlib.sha256())
        self._validity = Validity()
        self._rows, self._gaps = _FEW, False

    def feed(self, start: int, stop: int) -> None:
        while start < stop and self._kind != _MIXED:
            end = min(start + self._rows, stop)
            self._take(start, end)
            start = end

    def _take(self, start: int, stop: int) -> None:
        values = self._values[start:stop]
        if self._missing is None and self._kind in (None, "string") and self._texts(values):
            return
        rows: list[Any] = values.tolist()
        missing = _missing(rows)
        if self._missing is not None:
            missing |= self._missing[start:stop]
        self._validity.add(len(rows), missing)
        present = [row for row, m in zip(rows, missing, strict=True) if not m]
        if present:
            self._feed_present(rows, present, missing)

    def _texts(self, values: Any) -> bool:
        """Take rows that are texts or missing, all of them, in the quickest way there is."""
        found = None if self._gaps else _texts_by_join(values)
        if found is None and sys.modules.get("pyarrow"):
            found = _texts_by_arrow(values)
            # Where some are missing, more will be.
            self._gaps = found is not None
        if found is None:
            return False
        missing, *streams = found
        self._kind = "string"
        self._validity.add(len(values), missing)
        self._update(len(values), *streams)
        return True

    def _feed_present(self, rows: list[Any], present: list[Any], missing: Any) -> None:
        kind = self._kind if self._kind == "object" else _kind_of(present)
        if self._kind not in (None, kind):
            self._kind = _MIXED
            return
        self._kind = kind
        self._update(len(rows), *_ENCODERS[kind](rows, missing))

    def _update(self, rows: int, *streams: Any) -> None:
        for hasher, data in zip(self._streams, streams, strict=False):
            hasher.update(data)
        # What is copied at a time stays small, however long the texts are.
        size = max(memoryview(data).nbytes for data in streams)
        self._rows = min(8 * self._rows, STEP, max(1, _COPIED * rows // max(size, 1)))

    def finish(self) -> Part:
        rows, nulls = self._validity.rows, self._validity.nulls
        count = _STREAMS.get(self._kind or "", 1)
        streams = [hasher.digest() for hasher in self._streams[:count]]
        digest = block_digest(self._validity.bits(), streams, rows=rows, nulls=nulls)
        return Part(digest, rows, nulls, kind=self._kind)


def _texts_by_join(values: Any) -> tuple[Any, Any, Any] | None:
    """Give where texts are missing, their lengths and bytes; None if others are among them.

    To join texts is the quickest proof that they are, and all there.
    """
    try:
        return (None, *encode_texts(values.tolist())) if len(values) else None
    except TypeError:
        return None


def _texts_by_arrow(values: Any) -> tuple[Any, Any, Any] | None:
    """Do so where some are missing, with Arrow, which tells them quickly."""
    import pyarrow as pa

    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    if array.type != pa.string():
        return None
    _, offsets, data = array.buffers()
    lengths = np.diff(np.frombuffer(offsets, "<i4", len(array) + 1)).astype("<u4")
    missing = np.asarray(array.is_null()) if array.null_count else None
    return missing, lengths, data if data is not None else b""


def _missing(rows: list[Any]) -> Any:
    return np.fromiter(map(is_missing, rows), dtype=bool, count=len(rows))


def is_missing(value: Any) -> bool:
    """Tell whether a cell holds no value: None, NaN, NaT or pandas.NA."""
    if value is None:
        return True
    if isinstance(value, float):
        return value != value
    kind = type(value)
    if kind.__module__.startswith("pandas."):
        pandas = sys.modules["pandas"]
        return value is pandas.NA or value is pandas.NaT
    return isinstance(value, (np.datetime64, np.timedelta64)) and bool(np.isnat(value))


def _kind_of(present: list[Any]) -> str:
    kinds = set(map(type, present))
    for known, name in _KINDS:
        if kinds <= known:
            return name
    if all(issubclass(kind, str) for kind in kinds):
        return "string"
    return "object"


def _filled(rows: list[Any], missing: Any, fill: Any) -> list[Any]:
    return [fill if m else row for row, m in zip(rows, missing, strict=True)]


def _encode_strings(rows: list[Any], missing: Any) -> tuple[Any, bytes]:
    return encode_texts(_filled(rows, missing, ""))


def _encode_bytes(rows: list[Any], missing: Any) -> tuple[Any, bytes]:
    filled = _filled(rows, missing, b"")
    return lengths_of(filled), b"".join(filled)


def _encode_bools(rows: list[Any], missing: Any) -> tuple[bytes]:
    return (bytes(map(bool, _filled(rows, missing, False))),)


def _encode_dates(rows: list[Any], missing: Any) -> tuple[Any]:
    days = [0 if m else row.toordinal() - _EPOCH for row, m in zip(rows, missing, strict=True)]
    return (np.array(days, dtype="<i4"),)


def _encode_times(rows: list[Any], missing: Any) -> tuple[Any]:
    micros = [0 if m else _micros(row) for row, m in zip(rows, missing, strict=True)]
    return (np.array(micros, dtype="<i8"),)


def _micros(time: datetime.time) -> int:
    return ((time.hour * 60 + time.minute) * 60 + time.second) * 1_000_000 + time.microsecond


def _encode_cells(rows: list[Any], missing: Any) -> tuple[bytes]:
    return (b"".join(b"" if m else encoded(r) for r, m in zip(rows, missing, strict=True)),)


_KINDS: tuple[tuple[set[type], str], ...] = (
    ({str}, "string"),
    ({bytes}, "binary"),
    ({bool, np.bool_}, "bool"),
    ({datetime.date}, "date"),
    ({datetime.time}, "time"),
    ({Decimal}, "decimal"),
)
_STREAMS = {"string": 2, "binary": 2, "decimal": 2, "time": 2}
_ENCODERS: dict[str, Any] = {
    "string": _encode_strings,
    "binary": _encode_bytes,
    "bool": _encode_bools,
    "date": _encode_dates,
    "time": _encode_times,
    "decimal": lambda rows, missing: encode_decimals(_filled(rows, missing, None)),
    "object": _encode_cells,
}
