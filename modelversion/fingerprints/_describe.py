"""What a version remembers of the data it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelversion._json import dumps, encode
from modelversion.errors import FingerprintError, ModelVersionError
from modelversion.fingerprints._families import family
from modelversion.fingerprints._result import Fingerprint, text, type_name, unique_names
from modelversion.records import DataRecord
from modelversion.schema import Json, evolve

MAX_COLUMNS = 10_000
# Bytes of JSON that the columns of one data set may take in a record.
MAX_DETAIL = 256 * 1024
_MAX_NAME = 200
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
# Asking these starts work elsewhere, so capture asks only for what was logged as data.
_ENGINES = frozenset(["dask", "pyspark", "ray"])


def is_data(value: Any) -> bool:
    """Tell whether a value is a table, an array or a tensor: something with a shape."""
    if isinstance(value, (*_PLAIN, type)):
        return False
    if _told(value) is not None:
        return True
    return _shape(value) not in (None, ())


def describe(name: str, value: Any, *, asked: bool = True) -> DataRecord:
    """Record a value by its fingerprint, or by its type and why it has none; never raises.

    Args:
        name: Its role.
        value: The data. It is neither changed nor consumed, and no path is followed.
        asked: Whether the user gave it as data; frames of a distributed engine are not computed
            for an argument that only happens to be one.
    """
    told = _told(value)
    if told is not None:
        return evolve(told, name=name)
    try:
        return _recorded(name, _fingerprint(value, asked=asked), value)
    except ModelVersionError as e:
        return _bare(name, value, str(e))
    except Exception as e:  # noqa: BLE001 - a foreign object may raise anything, capture never
        return _bare(name, value, f"{type(e).__name__}: {e}")


def _told(value: Any) -> DataRecord | None:
    """Give the record of what knows its own: data that was opened where it lies."""
    told = getattr(type(value), "__data_record__", None)
    return told.__get__(value) if isinstance(told, property) else None


def _fingerprint(value: Any, *, asked: bool) -> Fingerprint:
    if not asked and type(value).__module__.partition(".")[0] in _ENGINES:
        raise FingerprintError("its engine was not asked to compute it; log it by log_data")
    found = family(value)
    if found is None:
        raise FingerprintError(f"a {type_name(value)} has no data hash")
    return found(value)


def _recorded(name: str, found: Fingerprint, value: Any) -> DataRecord:
    names = dict(zip(found.columns, _short(found.columns), strict=True))
    profiles = {names.get(n, n): encode(p.to_dict(), n) for n, p in found.profile.items()}
    types = {names[n]: c.type for n, c in list(found.columns.items())[:MAX_COLUMNS]}
    digests = {names[n]: c.digest for n, c in found.columns.items()}
    types, digests, profiles = _fit(types, digests, profiles)
    return DataRecord(
        name=name,
        type=found.type,
        kind=found.kind,
        shape=found.shape,
        dtype=_dtype(value),
        digest=found.digest,
        size=found.size,
        columns=types,
        digests=digests,
        profile=profiles,
    )


def _short(names: Mapping[str, Any]) -> list[str]:
    """Cut long names; those that were the same are told apart by a number."""
    return unique_names([n if len(n) <= _MAX_NAME else n[: _MAX_NAME - 1] + "…" for n in names])


def _fit(*parts: Json) -> list[Json]:
    """Leave out what is too much: the last one first."""
    kept = list(parts)
    for i in reversed(range(len(kept))):
        if len(dumps(kept)) <= MAX_DETAIL:
            break
        kept[i] = {}
    return kept


def _bare(name: str, value: Any, reason: str) -> DataRecord:
    return DataRecord(
        name=name,
        type=type_name(value),
        shape=_shape(value),
        columns=_columns(value),
        dtype=_dtype(value),
        reason=text(reason[:1000]),
    )


def _shape(value: Any) -> tuple[int, ...] | None:
    try:
        return tuple(int(size) for size in value.shape)
    except Exception:  # noqa: BLE001 - a foreign attribute may raise anything, capture never
        return None


def _dtype(value: Any) -> str | None:
    try:
        dtype = getattr(value, "dtype", None)
        return None if dtype is None or callable(dtype) else text(dtype)
    except Exception:  # noqa: BLE001 - a foreign attribute may raise anything, capture never
        return None


def _columns(value: Any) -> dict[str, str]:
    try:
        return dict(_pairs(value)[:MAX_COLUMNS])
    except Exception:  # noqa: BLE001 - a foreign attribute may raise anything, capture never
        return {}


def _pairs(value: Any) -> list[tuple[str, str]]:
    schema = getattr(value, "schema", None)
    if isinstance(schema, Mapping):  # polars
        return [(text(name), text(dtype)) for name, dtype in schema.items()]
    if schema is not None and hasattr(schema, "types"):  # pyarrow
        return [(text(n), text(t)) for n, t in zip(schema.names, schema.types, strict=True)]
    if hasattr(value, "dtypes") and hasattr(value, "columns"):  # pandas
        return [(text(n), text(t)) for n, t in zip(value.columns, value.dtypes, strict=True)]
    return []
