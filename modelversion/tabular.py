"""The columns of a file of tabular data, as its own format tells them; rows are not read."""

from __future__ import annotations

import csv
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, BinaryIO

MAX_HEADER = 2**20
MAX_COLUMNS = 10_000
Schema = tuple[tuple[int, ...] | None, dict[str, str]]
_NONE: Schema = (None, {})


def schema_of(opened: Callable[[], BinaryIO], path: str) -> Schema:
    """Give shape and columns, each where it is known; never an error.

    Args:
        opened: Opens the file.
        path: Its path, whose suffix names the format.
    """
    read = _FORMATS.get(path.rpartition(".")[2].lower())
    if read is None:
        return _NONE
    try:
        with opened() as file:
            return read(file)
    except Exception:  # noqa: BLE001 - a file may hold anything, capture never fails
        return _NONE


def _parquet(file: BinaryIO) -> Schema:
    if find_spec("pyarrow") is None:
        return _NONE
    from pyarrow import parquet

    found = parquet.ParquetFile(file)
    columns = _columns(found.schema_arrow)
    return (found.metadata.num_rows, len(found.schema_arrow)), columns


def _arrow(file: BinaryIO) -> Schema:
    if find_spec("pyarrow") is None:
        return _NONE
    from pyarrow import ipc

    return None, _columns(ipc.open_file(file).schema)


def _columns(schema: Any) -> dict[str, str]:
    pairs = zip(schema.names, schema.types, strict=True)
    return {str(name): str(kind) for name, kind in list(pairs)[:MAX_COLUMNS]}


def _separated(separator: str) -> Callable[[BinaryIO], Schema]:
    def read(file: BinaryIO) -> Schema:
        line = file.readline(MAX_HEADER).decode("utf-8-sig")
        names = next(csv.reader([line], delimiter=separator), [])
        # What looks like numbers is a first row and no header.
        if any(_is_number(name) for name in names):
            return _NONE
        return None, dict.fromkeys(names[:MAX_COLUMNS], "text")

    return read


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_FORMATS: dict[str, Callable[[BinaryIO], Schema]] = {
    "parquet": _parquet,
    "pq": _parquet,
    "feather": _arrow,
    "arrow": _arrow,
    "csv": _separated(","),
    "tsv": _separated("\t"),
}
