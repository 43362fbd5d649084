"""Arrays that pickle protocol 5 would copy into the stream, sent out of band instead.

Each reducer gives a standard reduce value made of public names of the library concerned, so
that a plain `pickle.load` with the buffers rebuilds the object. A library is looked at only
if it is imported already: an object of its own cannot exist otherwise.
"""

from __future__ import annotations

import functools
import operator
import pickle
import sys
from collections.abc import Callable
from typing import Any

Reducer = Callable[[Any, "Holders"], Any]


class Holders:
    """Memory that several tensors of one dump share, wrapped once so that it stays shared."""

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """Give the holder of a key, made at its first use."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


class _Call:
    """Pickles as a call; the pickle holds its result."""

    def __init__(self, function: Any, *args: Any) -> None:
        self._reduced = (function, args)

    def __reduce__(self) -> Any:
        return self._reduced


def reducers() -> dict[type, Reducer]:
    """Give the reducers of the libraries that are imported."""
    numpy, torch, polars = (sys.modules.get(name) for name in ("numpy", "torch", "polars"))
    found: dict[type, Reducer] = {}
    if numpy is not None and hasattr(numpy, "ndarray"):
        found[numpy.ndarray] = _datetime_array
    if torch is not None and hasattr(torch, "UntypedStorage"):
        found[torch.storage.TypedStorage] = _typed_storage
        found[torch.UntypedStorage] = _untyped_storage
    if polars is not None and hasattr(polars, "DataFrame"):
        found[polars.DataFrame] = _polars_frame
    return found


def _datetime_array(array: Any, holders: Holders) -> Any:
    # numpy sends only buffers with a PEP 3118 format out of band, and times have none.
    if array.dtype.kind not in "mM" or not array.flags.c_contiguous or array.ndim == 0:
        return NotImplemented
    return operator.methodcaller("view", array.dtype), (array.view("i8"),)


def _untyped_storage(storage: Any, holders: Holders) -> Any:
    if storage.device.type != "cpu" or storage.nbytes() == 0:
        return NotImplemented
    import torch

    def make() -> _Call:
        raw = torch.empty(0, dtype=torch.uint8).set_(storage)
        buffer = pickle.PickleBuffer(raw.numpy())
        return _Call(functools.partial(torch.frombuffer, dtype=torch.uint8), buffer)

    key = (storage.data_ptr(), storage.nbytes())
    return operator.methodcaller("untyped_storage"), (holders.get(key, make),)


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
