"""Columns whose values are numpy arrays, and arrays of any shape."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from modelversion.errors import FingerprintError
from modelversion.fingerprints._core import (
    STEP,
    Column,
    Kernel,
    Part,
    Source,
    Type,
    Validity,
    block_digest,
    column_digest,
    column_of,
    hash_columns,
    root,
    stream,
)
from modelversion.fingerprints._objects import ObjectSource
from modelversion.fingerprints._result import Fingerprint, fingerprint_of, type_name
from modelversion.fingerprints._texts import encode_texts, lengths_of

# Bytes of interleaved columns, or of wide values, that are walked through at a time.
_GATHERED = 2 * 2**20
_TEMPORAL = {"M": "datetime", "m": "duration"}
_MICROSECONDS = {"W": 604_800_000_000, "D": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000}
_MICROSECONDS |= {"s": 1_000_000, "ms": 1_000, "us": 1}
_PARTS = {"ns": 1_000, "ps": 1_000_000, "fs": 10**9, "as": 10**12}


def accepts(value: Any) -> bool:
    """Tell whether it is a numpy array, or a numpy scalar that is no Python number or text."""
    plain = (float, complex, str, bytes)
    return isinstance(value, (np.ndarray, np.generic)) and not isinstance(value, plain)


def fingerprint(value: Any) -> Fingerprint:
    """Fingerprint an array by its type, shape, and values in C order, whatever its layout."""
    array = np.asanyarray(value)
    mask = np.ma.getmaskarray(array).reshape(-1) if isinstance(array, np.ma.MaskedArray) else None
    data = np.asarray(array)
    column = hash_columns([source(flat(data), mask)])[0]
    return array_print(type_name(value), data.shape, column)


def array_print(name: str, shape: Sequence[int], column: Column) -> Fingerprint:
    """Put the fingerprint of an array together."""
    sizes = [int(size) for size in shape]
    digest = root(["array", sizes, column.type, column.digest])
    return fingerprint_of("array", name, digest, shape=sizes, columns={"": column})


def flat(data: Any) -> Any:
    """Give the values in C order; what lies in another order is copied a step at a time."""
    if data.ndim == 1:
        return data
    return data.reshape(-1) if data.flags.c_contiguous else _Flat(data)


class _Flat:
    """An array of several dimensions that is sliced as if it had one."""

    def __init__(self, data: Any) -> None:
        self._flat, self.dtype, self.nbytes = data.flat, data.dtype, data.nbytes
        self.flags, self.ndim, self.size = data.flags, data.ndim, data.size

    def __len__(self) -> int:
        return int(self.size)

    def __getitem__(self, rows: Any) -> Any:
        return self._flat[rows]

    def astype(self, dtype: Any) -> Any:
        return self._flat[:].astype(dtype)


def source(values: Any, missing: Any = None, kind: Type | None = None) -> Source:
    """Give the source for a one-dimensional array.

    Args:
        values: The array; any dtype, byte order and stride.
        missing: Array of bools, or None.
        kind: The column's type, where the dtype does not tell all of it.

    Raises:
        FingerprintError: The dtype holds what is no data.
    """
    dtype = values.dtype
    if dtype.kind == "T":
        values, dtype = values.astype(object), np.dtype(object)
    if dtype.kind == "O":
        return ObjectSource(values, missing)
    if dtype.names is not None:
        return StructSource(
            [[name, *_field(values[name])] for name in dtype.names], len(values), missing
        )
    makers = {"M": TemporalKernel, "m": TemporalKernel, "f": FloatKernel, "c": ComplexKernel}
    makers |= {"U": TextKernel, "S": BytesKernel, "V": BytesKernel}
    found = _plain_type(dtype)
    return NumpySource(values, missing, kind or found, makers.get(dtype.kind, FixedKernel))


def _plain_type(dtype: Any) -> Type:
    if dtype.kind in "biufc":
        return str(dtype.name) if dtype.char not in "gG" else _long_type(dtype)
    names = {**_TEMPORAL, "U": "string", "S": "binary", "V": "binary"}
    if dtype.kind not in names:
        raise FingerprintError(f"an array of dtype {dtype} has no data hash; convert it first")
    return names[dtype.kind]


def _long_type(dtype: Any) -> Type:
    """Name a long double by what it is on this machine, or refuse it."""
    real = np.dtype(np.longdouble)
    if real.itemsize == 8:
        return "float64" if dtype.kind == "f" else "complex128"
    raise FingerprintError(
        f"an array of dtype {dtype} differs between machines; convert it with .astype("
        f"{'float' if dtype.kind == 'f' else 'complex'})"
    )


def _field(values: Any) -> tuple[Any, int]:
    """Give a field's column, and how many of its values make one row."""
    width = int(np.prod(values.shape[1:]))
    inner = flat(values)
    return (ObjectSource(inner, cells=True) if inner.dtype.kind == "O" else source(inner)), width


class NumpySource:
    """A column of one array."""

    def __init__(self, values: Any, missing: Any, kind: Type, maker: Any) -> None:
        self.values, self.missing, self.kind = values, missing, kind
        self.rows, self.nbytes = len(values), int(values.nbytes)
        self.group, self.step = _interleaved(values)
        self._maker = maker

    def kernel(self) -> Kernel:
        return _Cut(self, self._maker(self.values.dtype))

    def column(self, parts: Sequence[Part]) -> Column:
        return column_of(self.kind, self.rows, parts)


def _interleaved(values: Any) -> tuple[Any, int]:
    """Group the columns of one two-dimensional block, so that its memory is read once."""
    if values.flags.c_contiguous or values.ndim != 1:
        # Wide values, such as texts of a fixed width, are copied to be read.
        return None, max(8, min(STEP, 2 * _GATHERED // max(values.dtype.itemsize, 1) // 8 * 8))
    owner = values
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    stride = abs(values.strides[0])
    step = max(1024, min(STEP, _GATHERED // max(stride, 1) // 8 * 8))
    return (id(owner), values.strides, len(values)), step


class _Cut:
    """Cuts rows out of an array and hands them on."""

    def __init__(self, source: NumpySource, inner: Any) -> None:
        self._values, self._missing, self._inner = source.values, source.missing, inner

    def feed(self, start: int, stop: int) -> None:
        missing = None if self._missing is None else self._missing[start:stop]
        if missing is not None and not missing.any():
            missing = None
        self._inner.take(self._values[start:stop], missing)

    def finish(self) -> Part:
        part: Part = self._inner.finish()
        return part


class FixedKernel:
    """Bools and integers: the values, little-endian, 0 where one is missing."""

    def __init__(self, dtype: Any) -> None:
        self._little = dtype.newbyteorder("<")
        self._stream, self._validity = hashlib.sha256(), Validity()
        self._low: Any = None
        self._high: Any = None
        self._total: Any = None

    def take(self, values: Any, missing: Any) -> None:
        part = np.ascontiguousarray(values, dtype=self._little)
        self._validity.add(len(part), missing)
        stored = part if missing is None else np.where(missing, np.zeros((), self._little), part)
        # Hashing brings the values into the cache for the profile.
        self._stream.update(stored.view(np.uint8) != 0 if part.dtype == bool else stored)
        self._profile(part if missing is None else part[~missing])

    def _profile(self, part: Any) -> None:
        if not len(part):
            return
        low, high = part.min().item(), part.max().item()
        self._low = low if self._low is None else min(low, self._low)
        self._high = high if self._high is None else max(high, self._high)
        # The sum of one step fits unless its values are huge; Python's integers take the rest.
        fits = max(abs(low), abs(high)) < 2**47
        total = part.sum(dtype=None if fits else np.float64).item()
        self._total = total if self._total is None else self._total + total

    def finish(self) -> Part:
        rows, nulls = self._validity.rows, self._validity.nulls
        digest = block_digest(
            self._validity.bits(), [self._stream.digest()], rows=rows, nulls=nulls
        )
        return Part(digest, rows, nulls, self._low, self._high, self._total)


class FloatKernel:
    """Floats: the values, little-endian, one NaN for whatever is missing."""

    def __init__(self, dtype: Any) -> None:
        self._little = dtype.newbyteorder("<")
        self._bits = np.dtype(f"<i{dtype.itemsize}")
        self._nan = np.asarray(np.nan, self._little).view(self._bits)
        self._stream = hashlib.sha256()
        self._room: Any = None
        self._rows = self._nulls = 0
        self._many_nans = False
        self._low, self._high = np.inf, -np.inf
        self._total = 0.0

    def take(self, values: Any, missing: Any) -> None:
        part = np.ascontiguousarray(values, dtype=self._little)
        if not len(part):
            return
        self._rows += len(part)
        if missing is not None:
            part = np.where(missing, np.asarray(np.nan, self._little), part)
        with np.errstate(all="ignore"):
            if self._many_nans:
                self._stream.update(self._with_one_nan(part))
            else:
                self._hash_first(part)

    def _hash_first(self, part: Any) -> None:
        """Hash values as they are, which brings them into the cache for all that follows.

        What was hashed is taken back if there is a NaN among them that is not the one.
        """
        before = self._stream.copy()
        self._stream.update(part)
        # The least value is NaN if any is. Where the last rows had one, these will too.
        low = np.nan if self._nulls else float(np.minimum.reduce(part))
        if low == low:
            self._add(part, part, low)
            return
        filled = self._with_one_nan(part)
        if filled is not part:
            self._many_nans = True
            before.update(filled)
            self._stream = before

    def _with_one_nan(self, part: Any) -> Any:
        """Give values in which every NaN is the one; nearly always they are it already."""
        valid, ones = self._rooms(len(part))
        np.equal(part, part, out=valid)
        count = len(part) - int(np.count_nonzero(valid))
        self._nulls += count
        # All bits where there is a value, none under NaN: no branch, which NaN would mislead.
        np.negative(valid.view("i1"), out=ones, dtype=self._bits)
        bits = part.view(self._bits)
        filled = np.bitwise_and(bits, ones, out=ones).view(self._little)
        if count < len(part):
            self._add(part, filled, float(np.fmin.reduce(part)))
        if np.count_nonzero(bits == self._nan) == count:
            return part
        return np.where(valid, part, np.asarray(np.nan, self._little))

    def _rooms(self, rows: int) -> Any:
        """Give room for a step; fresh memory would cost more than what is done in it."""
        if self._room is None or len(self._room[0]) < rows:
            self._room = (np.empty(rows, bool), np.empty(rows, self._bits))
        return (room[:rows] for room in self._room)

    def _add(self, part: Any, filled: Any, low: float) -> None:
        """Add values to the profile; `filled` has 0 in place of NaN."""
        self._low = min(self._low, low)
        self._high = max(self._high, float(np.fmax.reduce(part)))
        wide = np.float64 if part.dtype.itemsize < 8 else None
        self._total += float(np.add.reduce(filled, dtype=wide))

    def finish(self) -> Part:
        digest = block_digest(b"", [self._stream.digest()], rows=-1, nulls=0)
        if self._nulls == self._rows:
            return Part(digest, self._rows, self._nulls)
        return Part(digest, self._rows, self._nulls, self._low, self._high, self._total)


class ComplexKernel:
    """Complex numbers: two floats each, every NaN among them the same."""

    def __init__(self, dtype: Any) -> None:
        self._little = dtype.newbyteorder("<")
        self._real = np.dtype(f"<f{dtype.itemsize // 2}")
        self._stream = hashlib.sha256()
        self._rows = self._nulls = 0

    def take(self, values: Any, missing: Any) -> None:
        part = np.array(values, dtype=self._little)
        if missing is not None:
            part[missing] = complex(np.nan, np.nan)
        flat = part.view(self._real)
        nan = np.isnan(flat)
        flat[nan] = np.nan
        self._rows += len(part)
        self._nulls += int(nan.reshape(-1, 2).any(axis=1).sum())
        self._stream.update(flat)

    def finish(self) -> Part:
        digest = block_digest(b"", [self._stream.digest()], rows=-1, nulls=0)
        return Part(digest, self._rows, self._nulls)


class TemporalKernel:
    """Times and durations: whole microseconds, then the nanoseconds left, if there are any."""

    def __init__(self, dtype: Any) -> None:
        self._micros, self._validity = hashlib.sha256(), Validity()
        self._nanos: list[Any] = []
        self._low: Any = None
        self._high: Any = None
        self._total: Any = None

    def take(self, values: Any, missing: Any) -> None:
        nat = np.isnat(values)
        missing = nat if missing is None else nat | missing
        micros, nanos = microseconds(np.where(missing, np.zeros((), values.dtype), values))
        self._validity.add(len(values), missing)
        self._micros.update(np.ascontiguousarray(micros, dtype="<i8"))
        self._nanos.append(nanos)
        valid = micros[~missing]
        if len(valid):
            low, high, total = int(valid.min()), int(valid.max()), float(valid.sum(dtype=float))
            self._low = low if self._low is None else min(low, self._low)
            self._high = high if self._high is None else max(high, self._high)
            self._total = total if self._total is None else total + self._total

    def finish(self) -> Part:
        rows, nulls = self._validity.rows, self._validity.nulls
        rest = np.concatenate(self._nanos) if self._nanos else np.zeros(0, "<u2")
        nanos = stream(rest.astype("<u2").tobytes()) if rest.any() else stream()
        streams = [self._micros.digest(), nanos]
        digest = block_digest(self._validity.bits(), streams, rows=rows, nulls=nulls)
        return Part(digest, rows, nulls, self._low, self._high, self._total)


def microseconds(values: Any) -> tuple[Any, Any]:
    """Split datetime64 or timedelta64 values into whole microseconds and nanoseconds 0 to 999.

    Raises:
        FingerprintError: A value is beyond 292,000 years, or finer than a nanosecond.
    """
    unit, count = np.datetime_data(values.dtype)
    if unit in ("Y", "M") and values.dtype.kind == "M":
        values, unit, count = values.astype("M8[D]"), "D", 1
    if unit not in _MICROSECONDS and unit not in _PARTS:
        raise FingerprintError(f"values of dtype {values.dtype} are no exact times; give them one")
    whole = values.astype(values.dtype.newbyteorder("=")).view("i8")
    factor = count * _MICROSECONDS.get(unit, 1)
    limit = (2**63 - 1) // factor
    if len(whole) and (int(whole.min()) < -limit or int(whole.max()) > limit):
        raise FingerprintError("a time is more than 292,000 years away; keep such as integers")
    whole = whole if factor == 1 else whole * factor
    if unit in _MICROSECONDS:
        return whole, np.zeros(len(whole), "u2")
    micros = whole // _PARTS[unit]
    rest = whole - micros * _PARTS[unit]
    finer = _PARTS[unit] // 1_000
    if finer > 1 and (rest % finer).any():
        raise FingerprintError(f"times of dtype {values.dtype} are finer than a nanosecond")
    return micros, (rest // finer).astype("u2")


class TextKernel:
    """Text: the lengths in bytes of UTF-8, then the bytes."""

    def __init__(self, dtype: Any) -> None:
        self._lengths, self._text = hashlib.sha256(), hashlib.sha256()
        self._validity = Validity()

    def take(self, values: Any, missing: Any) -> None:
        self._validity.add(len(values), missing)
        rows = values.tolist()
        if missing is not None:
            rows = [row[:0] if m else row for row, m in zip(rows, missing, strict=True)]
        lengths, text = self._encoded(rows)
        self._lengths.update(lengths)
        self._text.update(text)

    def _encoded(self, rows: list[Any]) -> tuple[Any, bytes]:
        return encode_texts(rows)

    def finish(self) -> Part:
        rows, nulls = self._validity.rows, self._validity.nulls
        streams = [self._lengths.digest(), self._text.digest()]
        digest = block_digest(self._validity.bits(), streams, rows=rows, nulls=nulls)
        return Part(digest, rows, nulls)


class BytesKernel(TextKernel):
    """Bytes: their lengths, then all of them."""

    def _encoded(self, rows: list[Any]) -> tuple[Any, bytes]:
        return lengths_of(rows), b"".join(rows)


class StructSource:
    """A column whose rows have named fields, each a column of its own in every block.

    Args:
        fields: Name, source, and how many of its values make one row.
        rows: Number of rows.
        missing: Array of bools, or None.
        kind: What it is called.
    """

    group: Any = None
    step = STEP

    def __init__(
        self, fields: list[list[Any]], rows: int, missing: Any = None, *, kind: str = "struct"
    ) -> None:
        self.fields, self.rows, self.missing, self._kind = fields, rows, missing, kind
        self.nbytes = sum(field[1].nbytes for field in fields)

    def kernel(self) -> Kernel:
        return _StructKernel(self)

    def column(self, parts: Sequence[Part]) -> Column:
        kinds = [
            [name, own.column([]).type if width == 1 else ["array", own.column([]).type, width]]
            for name, own, width in self.fields
        ]
        return column_of([self._kind, kinds], self.rows, parts)


class _StructKernel:
    def __init__(self, source: StructSource) -> None:
        self._source, self._validity = source, Validity()
        self._kernels = [field[1].kernel() for field in source.fields]

    def feed(self, start: int, stop: int) -> None:
        missing = self._source.missing
        self._validity.add(stop - start, None if missing is None else missing[start:stop])
        for kernel, (_, _, width) in zip(self._kernels, self._source.fields, strict=True):
            kernel.feed(start * width, stop * width)

    def finish(self) -> Part:
        rows, nulls = self._validity.rows, self._validity.nulls
        made = [kernel.finish() for kernel in self._kernels]
        streams = [
            bytes.fromhex(column_digest(own.column([part]).type, part.rows, [part.digest]))
            for part, (_, own, _) in zip(made, self._source.fields, strict=True)
        ]
        return Part(
            block_digest(self._validity.bits(), streams, rows=rows, nulls=nulls), rows, nulls
        )
