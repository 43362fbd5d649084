"""Tables and series of polars, which are Arrow's underneath."""

from __future__ import annotations

from typing import Any

import polars as pl

from modelversion.errors import FingerprintError
from modelversion.fingerprints import _tables
from modelversion.fingerprints._result import Fingerprint, type_name


def accepts(value: Any) -> bool:
    """Tell whether it is a table or series of polars, collected or not."""
    return isinstance(value, (pl.DataFrame, pl.Series, pl.LazyFrame))


def fingerprint(value: Any) -> Fingerprint:
    """Fingerprint a table or series.

    Raises:
        FingerprintError: It is a LazyFrame, or pyarrow is not installed.
    """
    if isinstance(value, pl.LazyFrame):
        raise FingerprintError(
            "a polars.LazyFrame is a plan and has no values yet; call .collect() first"
        )
    try:
        from modelversion.fingerprints import _arrow
    except ImportError as e:
        raise FingerprintError(
            "a polars table is read through pyarrow, which is not installed; pip install pyarrow"
        ) from e
    if isinstance(value, pl.Series):
        column = ("column", value.name or None, _arrow.source(value.to_arrow()))
        return _tables.column(type_name(value), [column])
    columns = [("column", s.name, _arrow.source(s.to_arrow())) for s in value.get_columns()]
    return _tables.table(type_name(value), columns, value.height)
