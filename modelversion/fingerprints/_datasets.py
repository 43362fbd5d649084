"""Datasets of Hugging Face, which are Arrow's tables with a mapping of rows."""

from __future__ import annotations

from typing import Any

import datasets
import pyarrow as pa

from modelversion.errors import FingerprintError
from modelversion.fingerprints import _arrow, _tables
from modelversion.fingerprints._result import Fingerprint, type_name

_KINDS = ("Dataset", "IterableDataset")


def accepts(value: Any) -> bool:
    """Tell whether it is a dataset; a module of the user's may have the library's name."""
    kinds = tuple(getattr(datasets, name) for name in _KINDS if hasattr(datasets, name))
    return type(value).__module__.startswith("datasets.") and isinstance(value, kinds)


def fingerprint(value: Any) -> Fingerprint:
    """Fingerprint the rows of a dataset in the order in which it gives them.

    Raises:
        FingerprintError: It can only be gone through.
    """
    if not isinstance(value, datasets.Dataset):
        raise FingerprintError(
            "an IterableDataset is read as it is gone through; load it with streaming=False"
        )
    rows = value.with_format("arrow")
    columns = [("column", name, _source(rows, name)) for name in value.column_names]
    return _tables.table(type_name(value), columns, len(value))


def _source(rows: Any, name: str) -> Any:
    column = _Column(rows.select_columns([name]))
    wrapped = isinstance(column.type, pa.BaseExtensionType) or pa.types.is_dictionary(column.type)
    return _arrow.source(column.slice(0, len(column))) if wrapped else _arrow.ArrowSource(column)


class _Column:
    """A column that is read from the file when its rows are asked for."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows
        self.type = rows.features.arrow_schema.field(0).type
        self.nbytes = 8 * len(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def slice(self, start: int, length: int) -> Any:
        return self._rows[start : start + length].column(0)
