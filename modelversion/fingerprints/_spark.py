"""Tables of Spark, hashed by its executors, partition by partition."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from modelversion.fingerprints._engine import combined
from modelversion.fingerprints._result import Fingerprint, type_name


def accepts(value: Any) -> bool:
    """Tell whether it is a table of Spark."""
    frames = sys.modules.get("pyspark.sql")
    return frames is not None and isinstance(value, frames.DataFrame)


def fingerprint(value: Any) -> Fingerprint:
    """Fingerprint a table by its partitions, in their order.

    The executors need modelversion and pyarrow. Rows keep the order in which Spark gives them,
    so a table that was shuffled should be sorted first.
    """
    import json

    found = value.mapInArrow(_hashed, "place long, made string").collect()
    ordered = sorted(found, key=lambda row: row["place"])
    return combined("spark", type_name(value), [json.loads(row["made"]) for row in ordered])


def _hashed(batches: Iterator[Any]) -> Iterator[Any]:
    """Hash one partition, on its executor."""
    import json

    import pyarrow as pa
    from pyspark import TaskContext

    from modelversion.fingerprints._engine import piece

    rows = list(batches)
    if rows:
        made = json.dumps(piece(pa.Table.from_batches(rows)))
        place = TaskContext.get().partitionId()
        yield pa.RecordBatch.from_pydict({"place": [place], "made": [made]})
