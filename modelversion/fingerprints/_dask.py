"""Tables of Dask, hashed by its scheduler, partition by partition."""

from __future__ import annotations

import sys
from typing import Any

import dask

from modelversion.fingerprints._engine import combined, piece
from modelversion.fingerprints._result import Fingerprint, type_name


def accepts(value: Any) -> bool:
    """Tell whether it is a table or series of Dask."""
    frames = sys.modules.get("dask.dataframe")
    return frames is not None and isinstance(value, (frames.DataFrame, frames.Series))


def fingerprint(value: Any) -> Fingerprint:
    """Fingerprint a table by its partitions, in their order."""
    hashed = dask.delayed(piece, pure=False)
    made = dask.compute(*(hashed(partition) for partition in value.to_delayed()))
    return combined("dask", type_name(value), made)
