"""What a version remembers of the data it was made from.

For now the type, shape and dtypes; a digest is recorded once the data hash is specified.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelversion.records import DataRecord
from modelversion.schema import evolve

MAX_COLUMNS = 10_000
_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def is_data(value: Any) -> bool:
    """Tell whether a value is a table, an array or a tensor: something with a shape."""
    if isinstance(value, (*_PLAIN, type)):
        return False
    if _told(value) is not None:
        return True
    return _shape(value) not in (None, ())


def describe(name: str, value: Any) -> DataRecord:
    """Record a value by its type and, where it has them, shape and dtypes; it is never consumed."""
    told = _told(value)
    if told is not None:
        return evolve(told, name=name)
    kind = type(value)
    return DataRecord(
        name=name,
        type=_text(f"{kind.__module__}.{kind.__qualname__}"),
        shape=_shape(value),
        columns=_columns(value),
        dtype=_dtype(value),
    )


def _told(value: Any) -> DataRecord | None:
    """Give the record of what knows its own: data that was opened where it lies."""
    told = getattr(type(value), "__data_record__", None)
    return told.__get__(value) if isinstance(told, property) else None


def _shape(value: Any) -> tuple[int, ...] | None:
    try:
        return tuple(int(size) for size in value.shape)
    except Exception:  # noqa: BLE001 - a foreign attribute may raise anything, capture never
        return None


def _dtype(value: Any) -> str | None:
    try:
        dtype = getattr(value, "dtype", None)
        return None if dtype is None or callable(dtype) else _text(dtype)
    except Exception:  # noqa: BLE001 - a foreign attribute may raise anything, capture never
        return None


def _text(value: Any) -> str:
    """Print a name; what is not Unicode in it is escaped, so that it can be stored."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _columns(value: Any) -> dict[str, str]:
    try:
        return dict(_pairs(value)[:MAX_COLUMNS])
    except Exception:  # noqa: BLE001 - a foreign attribute may raise anything, capture never
        return {}


def _pairs(value: Any) -> list[tuple[str, str]]:
    schema = getattr(value, "schema", None)
    if isinstance(schema, Mapping):  # polars
        return [(_text(name), _text(dtype)) for name, dtype in schema.items()]
    if schema is not None and hasattr(schema, "types"):  # pyarrow
        return [(_text(n), _text(t)) for n, t in zip(schema.names, schema.types, strict=True)]
    if hasattr(value, "dtypes") and hasattr(value, "columns"):  # pandas
        return [(_text(n), _text(t)) for n, t in zip(value.columns, value.dtypes, strict=True)]
    return []
