"""Tables, batches, columns and scalars' arrays of Arrow, and whatever can be read as such."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelversion.errors import FingerprintError
from modelversion.fingerprints import _tables
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
)
from modelversion.fingerprints._numpy import FixedKernel, FloatKernel, TemporalKernel
from modelversion.fingerprints._result import Fingerprint, type_name
from modelversion.fingerprints._texts import TOO_LONG, encode_decimals


def accepts(value: Any) -> bool:
    """Tell whether it is a table or a column of Arrow."""
    return isinstance(value, (pa.Table, pa.RecordBatch, pa.ChunkedArray, pa.Array))


def fingerprint(value: Any) -> Fingerprint:
    """Fingerprint a table or column by names, types and values, however it is chunked."""
    if isinstance(value, (pa.ChunkedArray, pa.Array)):
        return _tables.column(type_name(value), [("column", None, source(value))])
    return table(type_name(value), value)


def table(name: str, value: Any) -> Fingerprint:
    """Fingerprint a table or batch under the name of the type that it came from."""
    parts = []
    for i, label in enumerate(value.schema.names):
        try:
            parts.append(("column", label, source(value.column(i))))
        except FingerprintError as e:
            raise FingerprintError(f"column {label!r}: {e}") from e
    return _tables.table(name, parts, value.num_rows)


def source(array: Any) -> Source:
    """Give the source for an array or a chunked array."""
    chunked = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    while isinstance(chunked.type, pa.BaseExtensionType):
        chunked = _storage(chunked)
    kind = chunked.type
    if pa.types.is_dictionary(kind):
        return _categories(chunked)
    if pa.types.is_run_end_encoded(kind):
        return source(
            pa.chunked_array([pc.run_end_decode(c) for c in chunked.chunks], kind.value_type)
        )
    return ArrowSource(chunked)


def _storage(chunked: Any) -> Any:
    return pa.chunked_array([chunk.storage for chunk in chunked.chunks], chunked.type.storage_type)


def _categories(chunked: Any) -> Source:
    unified = chunked.unify_dictionaries()
    if not unified.num_chunks:
        unified = pa.chunked_array([pa.array([], unified.type)])
    values = unified.chunk(0).dictionary
    if values.null_count or len(pc.unique(values)) != len(values):
        plain = chunked.cast(chunked.type.value_type)
        again = pa.dictionary(pa.int32(), chunked.type.value_type, chunked.type.ordered)
        return _categories(plain.dictionary_encode().cast(again))

    def codes(start: int, stop: int) -> Any:
        found = [
            np.asarray(chunk.indices.cast(pa.int64()).fill_null(-1))
            for chunk in unified.slice(start, stop - start).chunks
        ]
        return np.concatenate(found) if found else np.zeros(0, "i8")

    return _tables.CategoriesSource(
        codes,
        len(unified),
        values=lambda kept: source(values.take(pa.array(kept))),
        order=None if chunked.type.ordered else np.asarray(pc.array_sort_indices(values)),
        count=len(values),
    )


class ArrowSource:
    """A column of Arrow, read where it lies."""

    group: Any = None
    step = STEP

    def __init__(self, chunked: Any) -> None:
        self.chunked, self.rows, self.nbytes = chunked, len(chunked), chunked.nbytes
        self.kind, self.maker = _rule(chunked.type)

    def kernel(self) -> Kernel:
        return _ArrowKernel(self)

    def column(self, parts: Sequence[Part]) -> Column:
        return column_of(self.kind, self.rows, parts)


class _ArrowKernel:
    """Cuts rows out of the chunks and hands them on."""

    def __init__(self, source: ArrowSource) -> None:
        self._chunked, self._inner = source.chunked, source.maker(source.chunked.type)

    def feed(self, start: int, stop: int) -> None:
        for chunk in self._chunked.slice(start, stop - start).chunks:
            self._inner.take(chunk)

    def finish(self) -> Part:
        part: Part = self._inner.finish()
        return part


def missing_of(array: Any) -> Any:
    """Give where an array has no values, None if it has all."""
    return np.asarray(array.is_null()) if array.null_count else None


# ---- values of one width -------------------------------------------------------------------------


class _Viewed:
    """Values that numpy can look at: hands them to the kernel for such an array."""

    def __init__(self, kernel: Any, dtype: str) -> None:
        self._dtype = np.dtype(dtype)
        self._kernel = kernel(self._dtype)

    def take(self, array: Any) -> None:
        self._kernel.take(self._values(array), missing_of(array))

    def _values(self, array: Any) -> Any:
        buffer = array.buffers()[1]
        if buffer is None or not len(array):
            return np.zeros(len(array), self._dtype)
        size = self._dtype.itemsize
        return np.frombuffer(buffer, self._dtype, len(array), array.offset * size)

    def finish(self) -> Part:
        part: Part = self._kernel.finish()
        return part


class _Bools(_Viewed):
    def _values(self, array: Any) -> Any:
        filled = array.fill_null(False) if array.null_count else array
        return np.asarray(filled.cast(pa.uint8())).view(bool)


class _Days(_Viewed):
    """Dates: Arrow keeps days, or milliseconds of whole days."""

    def _values(self, array: Any) -> Any:
        return super()._values(array.cast(pa.date32()) if pa.types.is_date64(array.type) else array)


class _Nothing:
    """A column without any value, whose type is nothing."""

    def __init__(self, kind: Any) -> None:
        self._rows = 0

    def take(self, array: Any) -> None:
        self._rows += len(array)

    def finish(self) -> Part:
        validity = bytes((self._rows + 7) // 8)
        digest = block_digest(validity, [], rows=self._rows, nulls=self._rows)
        return Part(digest, self._rows, self._rows)


# ---- texts and bytes -----------------------------------------------------------------------------


class _Texts:
    """Texts and bytes: lengths, then the bytes that are not under a null."""

    def __init__(self, kind: Any) -> None:
        self._lengths, self._text = hashlib.sha256(), hashlib.sha256()
        self._validity = Validity()
        self._offset = "<i8" if _is_large(kind) else "<i4"
        self._plain = _plain_of(kind)

    def take(self, array: Any) -> None:
        if self._plain is not None:
            array = array.cast(self._plain)
        missing = missing_of(array)
        self._validity.add(len(array), missing)
        if not len(array):
            return
        _, offsets, data = array.buffers()
        size = np.dtype(self._offset).itemsize
        ends = np.frombuffer(offsets, self._offset, len(array) + 1, array.offset * size)
        lengths = np.diff(ends)
        if missing is not None and lengths[missing].any():
            self.take_present(array, missing)
            return
        self._update(lengths, data, int(ends[0]), int(ends[-1]))

    def take_present(self, array: Any, missing: Any) -> None:
        """Leave out the bytes that are hidden under nulls."""
        present = array.drop_null()
        _, offsets, data = present.buffers()
        size = np.dtype(self._offset).itemsize
        ends = np.frombuffer(offsets, self._offset, len(present) + 1, present.offset * size)
        lengths = np.zeros(len(array), self._offset)
        lengths[~missing] = np.diff(ends)
        self._update(lengths, data, int(ends[0]), int(ends[-1]))

    def _update(self, lengths: Any, data: Any, start: int, stop: int) -> None:
        if len(lengths) and int(lengths.max()) >= 2**32:
            raise FingerprintError(TOO_LONG)
        self._lengths.update(lengths.astype("<u4"))
        if stop > start:
            self._text.update(memoryview(data)[start:stop])

    def finish(self) -> Part:
        rows, nulls = self._validity.rows, self._validity.nulls
        streams = [self._lengths.digest(), self._text.digest()]
        return Part(
            block_digest(self._validity.bits(), streams, rows=rows, nulls=nulls), rows, nulls
        )


def _is_large(kind: Any) -> bool:
    return not (pa.types.is_string(kind) or pa.types.is_binary(kind))


def _plain_of(kind: Any) -> Any:
    """Give the type that has offsets, for the kinds that have none."""
    types = pa.types
    if types.is_string(kind) or types.is_binary(kind):
        return None
    if types.is_large_string(kind) or types.is_large_binary(kind):
        return None
    is_text = hasattr(types, "is_string_view") and types.is_string_view(kind)
    return pa.large_string() if is_text else pa.large_binary()


class _Decimals:
    """Decimals, in which 1.0 and 1.00 are equal."""

    def __init__(self, kind: Any) -> None:
        self._lengths, self._text = hashlib.sha256(), hashlib.sha256()
        self._validity = Validity()

    def take(self, array: Any) -> None:
        self._validity.add(len(array), missing_of(array))
        lengths, text = encode_decimals(array.to_pylist())
        self._lengths.update(lengths)
        self._text.update(text)

    finish = _Texts.finish


# ---- lists and structs ---------------------------------------------------------------------------


class _Lists:
    """Lists: their lengths, then all items as one column."""

    def __init__(self, kind: Any) -> None:
        self._stream, self._validity = hashlib.sha256(), Validity()
        item = kind.item_type if pa.types.is_map(kind) else kind.value_type
        self._items = _Child(_entries(kind) if pa.types.is_map(kind) else item)

    def take(self, array: Any) -> None:
        missing = missing_of(array)
        self._validity.add(len(array), missing)
        lengths = np.asarray(_list_lengths(array))
        self._stream.update(lengths.astype("<u4"))
        self._items.take(_items(array))

    def finish(self) -> Part:
        rows, nulls = self._validity.rows, self._validity.nulls
        streams = [self._stream.digest(), self._items.digest()]
        return Part(
            block_digest(self._validity.bits(), streams, rows=rows, nulls=nulls), rows, nulls
        )


def _entries(kind: Any) -> Any:
    return pa.struct([("key", kind.key_type), ("value", kind.item_type)])


def _list_lengths(array: Any) -> Any:
    if pa.types.is_map(array.type):
        offsets = np.frombuffer(array.buffers()[1], "<i4", len(array) + 1, array.offset * 4)
        lengths = np.diff(offsets)
        missing = missing_of(array)
        return lengths if missing is None else np.where(missing, 0, lengths)
    return pc.list_value_length(array).fill_null(0)


def _items(array: Any) -> Any:
    """Give the items of lists that are not null, in order."""
    kind = array.type
    if pa.types.is_map(kind):
        present = array.drop_null()
        offsets = present.offsets
        start, stop = (offsets[0].as_py(), offsets[-1].as_py()) if len(present) else (0, 0)
        parts = [a.slice(start, stop - start) for a in (present.keys, present.items)]
        return pa.StructArray.from_arrays(parts, names=["key", "value"])
    return array.flatten()


class _Structs:
    """Structs: each field as a column."""

    def __init__(self, kind: Any) -> None:
        self._validity = Validity()
        self._fields = [_Child(kind.field(i).type) for i in range(kind.num_fields)]

    def take(self, array: Any) -> None:
        self._validity.add(len(array), missing_of(array))
        # flatten() lays the struct's nulls over its fields.
        for child, values in zip(self._fields, array.flatten(), strict=True):
            child.take(values)

    def finish(self) -> Part:
        rows, nulls = self._validity.rows, self._validity.nulls
        streams = [child.digest() for child in self._fields]
        return Part(
            block_digest(self._validity.bits(), streams, rows=rows, nulls=nulls), rows, nulls
        )


class _Child:
    """A column inside the blocks of another: one block of its own in each."""

    def __init__(self, kind: Any) -> None:
        self._kind, maker = _rule(kind)
        self._inner = maker(kind)

    def take(self, array: Any) -> None:
        self._inner.take(_unwrapped(array))

    def digest(self) -> bytes:
        part = self._inner.finish()
        return bytes.fromhex(column_digest(self._kind, part.rows, [part.digest]))


def _unwrapped(array: Any) -> Any:
    while isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        return array.dictionary_decode()
    return pc.run_end_decode(array) if pa.types.is_run_end_encoded(array.type) else array


# ---- which rule a type has -----------------------------------------------------------------------


def _rule(kind: Any) -> tuple[Type, Any]:
    """Give the type's name in the data hash, and what hashes its values."""
    if kind.id in _FIXED:
        name, reader, kernel, dtype = _FIXED[kind.id]
        return name, lambda of: reader(kernel, dtype)
    for applies, rule in _RULES:
        if applies(kind):
            made: tuple[Type, Any] = rule(kind)
            return made
    raise FingerprintError(f"the Arrow type {kind} has no data hash; cast it to another")


_INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
_FIXED: dict[int, tuple[str, Any, Any, str]] = {
    **{getattr(pa, name)().id: (name, _Viewed, FixedKernel, name) for name in _INTEGERS},
    pa.float16().id: ("float16", _Viewed, FloatKernel, "float16"),
    pa.float32().id: ("float32", _Viewed, FloatKernel, "float32"),
    pa.float64().id: ("float64", _Viewed, FloatKernel, "float64"),
    pa.bool_().id: ("bool", _Bools, FixedKernel, "bool"),
    pa.date32().id: ("date", _Days, FixedKernel, "int32"),
    pa.date64().id: ("date", _Days, FixedKernel, "int32"),
}


def _timestamps(kind: Any) -> tuple[Type, Any]:
    name: Type = ["datetime", _tables.zone_name(kind.tz)] if kind.tz else "datetime"
    return name, lambda of: _Viewed(TemporalKernel, f"<M8[{kind.unit}]")


def _durations(kind: Any) -> tuple[Type, Any]:
    return "duration", lambda of: _Viewed(TemporalKernel, f"<m8[{kind.unit}]")


class _Times(_Viewed):
    """Times of day."""

    def _values(self, array: Any) -> Any:
        # A time of 32 bits is a number of its unit as well.
        wide = array.cast(pa.time64("us" if array.type.unit in ("s", "ms") else array.type.unit))
        return super()._values(wide)


def _times(kind: Any) -> tuple[Type, Any]:
    unit = "us" if kind.unit in ("s", "ms") else kind.unit
    return "time", lambda of: _Times(TemporalKernel, f"<m8[{unit}]")


def _lists(kind: Any) -> tuple[Type, Any]:
    return ["list", _rule(_child_type(kind.value_type))[0]], _Lists


def _child_type(kind: Any) -> Any:
    while isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    wrapped = pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind)
    return kind.value_type if wrapped else kind


def _sized_lists(kind: Any) -> tuple[Type, Any]:
    return ["array", _rule(_child_type(kind.value_type))[0], kind.list_size], _Lists


def _maps(kind: Any) -> tuple[Type, Any]:
    return ["map", _rule(kind.key_type)[0], _rule(_child_type(kind.item_type))[0]], _Lists


def _structs(kind: Any) -> tuple[Type, Any]:
    fields = [kind.field(i) for i in range(kind.num_fields)]
    return ["struct", [[f.name, _rule(_child_type(f.type))[0]] for f in fields]], _Structs


def _named(*names: str) -> Any:
    tests = [getattr(pa.types, f"is_{name}", None) for name in names]
    return lambda kind: any(test is not None and test(kind) for test in tests)


_RULES: tuple[tuple[Any, Any], ...] = (
    (_named("null"), lambda kind: ("null", _Nothing)),
    (_named("string", "large_string", "string_view"), lambda kind: ("string", _Texts)),
    (
        _named("binary", "large_binary", "binary_view", "fixed_size_binary"),
        lambda kind: ("binary", _Texts),
    ),
    (_named("timestamp"), _timestamps),
    (_named("duration"), _durations),
    (_named("time"), _times),
    (_named("decimal"), lambda kind: ("decimal", _Decimals)),
    (_named("list", "large_list", "list_view", "large_list_view"), _lists),
    (_named("fixed_size_list"), _sized_lists),
    (_named("map"), _maps),
    (_named("struct"), _structs),
)
