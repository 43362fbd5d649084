"""Sparse arrays of scipy: where the values that are not 0 stand, and the values."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from modelversion.fingerprints._core import hash_columns, root
from modelversion.fingerprints._numpy import source
from modelversion.fingerprints._result import Fingerprint, fingerprint_of, type_name


def accepts(value: Any) -> bool:
    """Tell whether it is a sparse array or matrix."""
    return bool(scipy.sparse.issparse(value))


def fingerprint(value: Any) -> Fingerprint:
    """Fingerprint by shape, type and values; the format, order and stored zeros do not count."""
    entries = scipy.sparse.coo_array(value, copy=True)
    entries.sum_duplicates()
    places = getattr(entries, "coords", None) or (entries.row, entries.col)
    kept = np.flatnonzero(entries.data != 0)
    order = kept[np.lexsort([place[kept] for place in reversed(places)])]
    axes = [source(place[order].astype("<i8")) for place in places]
    *where, values = hash_columns([*axes, source(entries.data[order])])
    shape = [int(size) for size in value.shape]
    digest = root(["sparse", shape, [axis.digest for axis in where], values.type, values.digest])
    return fingerprint_of("sparse", type_name(value), digest, shape=shape, columns={"": values})
