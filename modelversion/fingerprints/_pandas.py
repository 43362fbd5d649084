"""Tables, series and indexes of pandas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from modelversion.errors import FingerprintError
from modelversion.fingerprints import _tables
from modelversion.fingerprints._core import Source
from modelversion.fingerprints._numpy import StructSource
from modelversion.fingerprints._numpy import source as numpy_source
from modelversion.fingerprints._objects import ObjectSource
from modelversion.fingerprints._result import Fingerprint, type_name


def accepts(value: Any) -> bool:
    """Tell whether it is a table, series, index or array of pandas."""
    return isinstance(value, (pd.DataFrame, pd.Series, pd.Index, pd.api.extensions.ExtensionArray))


def fingerprint(value: Any) -> Fingerprint:
    """Fingerprint a table by names, types, values and index; a default index does not count."""
    if isinstance(value, pd.DataFrame):
        return _frame(value)
    if isinstance(value, pd.Series):
        made = [("column", value.name or None, _named(_source, value.array, value.name))]
        return _tables.column(type_name(value), [*_index(value.index), *made])
    if isinstance(value, pd.MultiIndex):
        return _tables.table(type_name(value), _levels(value), len(value))
    if isinstance(value, pd.Index):
        return _tables.column(type_name(value), [("column", value.name, _source(value.array))])
    return _tables.column(type_name(value), [("column", None, _source(value))])


def _frame(frame: Any) -> Fingerprint:
    columns = [
        ("column", name, _named(_source, series.array, name)) for name, series in frame.items()
    ]
    axis = list(frame.columns.names)
    return _tables.table(
        type_name(frame),
        [*_index(frame.index), *columns],
        len(frame),
        axis=axis if any(name is not None for name in axis) else None,
    )


def _named(make: Any, array: Any, name: Any) -> Source:
    try:
        made: Source = make(array)
    except FingerprintError as e:
        raise FingerprintError(f"column {name!r}: {e}") from e
    return made


def _index(index: Any) -> list[tuple[str, Any, Source]]:
    """Give the columns of an index; one that only counts the rows has none."""
    if isinstance(index, pd.MultiIndex):
        return [("index", name, made) for _, name, made in _levels(index)]
    return [] if _is_default(index) else [("index", index.name, _source(index.array))]


def _levels(index: Any) -> list[tuple[str, Any, Source]]:
    return [
        ("column", name, _source(index.get_level_values(i).array))
        for i, name in enumerate(index.names)
    ]


def _is_default(index: Any) -> bool:
    if index.name is not None:
        return False
    if isinstance(index, pd.RangeIndex):
        return bool(index.start == 0 and index.step == 1) or not len(index)
    return index.dtype == np.dtype("int64") and bool((index == np.arange(len(index))).all())


def _source(array: Any) -> Source:
    dtype = array.dtype
    if isinstance(dtype, pd.ArrowDtype) or _is_arrow_string(array):
        from modelversion.fingerprints._arrow import source

        return source(array.__arrow_array__())
    for kind, make in _SOURCES:
        if isinstance(dtype, kind):
            made: Source = make(array)
            return made
    if isinstance(array, pd.arrays.NumpyExtensionArray) or isinstance(dtype, np.dtype):
        return numpy_source(np.asarray(array))
    if hasattr(array, "__arrow_array__"):
        import pyarrow as pa

        from modelversion.fingerprints._arrow import source

        return source(pa.array(array))
    return ObjectSource(np.asarray(array, dtype=object), np.asarray(array.isna()))


def _is_arrow_string(array: Any) -> bool:
    return isinstance(array.dtype, pd.StringDtype) and array.dtype.storage.startswith("pyarrow")


def _zoned(array: Any) -> Source:
    utc = np.asarray(array, dtype=f"M8[{array.unit}]")
    return numpy_source(utc, kind=["datetime", _tables.zone_name(array.tz)])


def _masked(array: Any) -> Source:
    """Read a nullable column; what stands under a missing value is set to 0."""
    missing = np.asarray(array.isna())
    dtype = array.dtype.numpy_dtype
    return numpy_source(array.to_numpy(dtype=dtype, na_value=dtype.type(0)), missing)


def _text(array: Any) -> Source:
    return ObjectSource(np.asarray(array, dtype=object), kind="string")


def _categories(array: Any) -> Source:
    codes = np.asarray(array.codes)
    return _tables.CategoriesSource(
        lambda start, stop: codes[start:stop],
        len(codes),
        values=lambda kept: _source(array.categories.take(kept).array),
        order=None if array.ordered else np.asarray(array.categories.argsort()),
        count=len(array.categories),
    )


def _period(array: Any) -> Source:
    missing = np.asarray(array.isna())
    return numpy_source(array.asi8, missing, kind=["period", array.dtype.freq.freqstr])


def _interval(array: Any) -> Source:
    sides = [["left", _source(array.left.array), 1], ["right", _source(array.right.array), 1]]
    return StructSource(sides, len(array), np.asarray(array.isna()), kind=f"closed {array.closed}")


def _sparse(array: Any) -> Source:
    return numpy_source(array.to_dense())


_SOURCES: tuple[tuple[type, Any], ...] = (
    (pd.DatetimeTZDtype, _zoned),
    (pd.CategoricalDtype, _categories),
    (pd.PeriodDtype, _period),
    (pd.IntervalDtype, _interval),
    (pd.SparseDtype, _sparse),
    (pd.StringDtype, _text),
    (pd.BooleanDtype, _masked),
    *((getattr(pd, f"{name}Dtype"), _masked) for name in ("Float32", "Float64")),
    *((getattr(pd, f"{u}Int{n}Dtype"), _masked) for u in ("", "U") for n in (8, 16, 32, 64)),
)
