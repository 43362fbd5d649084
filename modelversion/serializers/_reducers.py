"""Arrays that pickle protocol 5 would copy into the stream, sent out of band instead.

Each reducer gives a standard reduce value, of names that do no more than they are here for:
one who allows them by name must not allow any method of any object with them, as
`operator.methodcaller` would. A library is looked at only
if it is imported already: an object of its own cannot exist otherwise.
"""

from __future__ import annotations

import functools
import pickle
import sys
from collections.abc import Callable
from typing import Any

from modelversion import source
from modelversion.reconstruct import lru_cached, torch_storage

Reducer = Callable[[Any, "Holders"], Any]
_LRU = type(functools.lru_cache(len))


class Holders:
    """Memory that several tensors of one dump share, wrapped once so that it stays shared."""

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """Give the holder of a key, made at its first use."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


def reducers() -> dict[type, Reducer]:
    """Give the reducers of the libraries that are imported."""
    known = sys.modules
    numpy, torch, polars = known.get("numpy"), known.get("torch"), known.get("polars")
    found: dict[type, Reducer] = {functools.cached_property: _cached_property, _LRU: _lru_cached}
    if numpy is not None and hasattr(numpy, "ndarray"):
        found[numpy.ndarray] = _datetime_array
    if torch is not None and hasattr(torch, "UntypedStorage"):
        found[torch.storage.TypedStorage] = _typed_storage
        found[torch.UntypedStorage] = _untyped_storage
    if polars is not None and hasattr(polars, "DataFrame"):
        found[polars.DataFrame] = _polars_frame
    return found


def _cached_property(value: Any, holders: Holders) -> Any:
    # Up to Python 3.11 it holds a lock.
    return functools.cached_property, (value.func,), {"attrname": value.attrname}


def _lru_cached(function: Any, holders: Holders) -> Any:
    # Its own reduction is a name, which other processes do not have.
    if function.__module__ != "__main__" and not source.is_own(function.__module__):
        return NotImplemented
    how = function.cache_parameters()
    return lru_cached, (function.__wrapped__, how["maxsize"], how["typed"])


def _datetime_array(array: Any, holders: Holders) -> Any:
    # numpy sends only buffers with a PEP 3118 format out of band, and times have none.
    whole = array.flags.c_contiguous or array.flags.f_contiguous
    if array.dtype.kind not in "mM" or not whole or array.size == 0:
        return NotImplemented
    buffer = pickle.PickleBuffer(array.view("i8"))
    return type(array), (array.shape, array.dtype, buffer, 0, array.strides)


def _untyped_storage(storage: Any, holders: Holders) -> Any:
    if storage.device.type != "cpu" or storage.nbytes() == 0:
        return NotImplemented
    import torch

    def make() -> Any:
        return [pickle.PickleBuffer(torch.empty(0, dtype=torch.uint8).set_(storage).numpy())]

    key = (storage.data_ptr(), storage.nbytes())
    return torch_storage, (holders.get(key, make),)


def _typed_storage(storage: Any, holders: Holders) -> Any:
    import torch

    inner = storage._untyped_storage
    if inner.device.type != "cpu" or inner.nbytes() == 0:
        return NotImplemented
    wrap = functools.partial(
        torch.storage.TypedStorage, wrap_storage=inner, dtype=storage.dtype, _internal=True
    )
    return wrap, ()


def _polars_frame(frame: Any, holders: Holders) -> Any:
    import polars

    if "pyarrow" not in sys.modules or polars.Object in frame.dtypes:
        return NotImplemented
    table = frame.to_arrow()
    if polars.from_arrow(table).schema != frame.schema:
        return NotImplemented
    return polars.from_arrow, (table,)
