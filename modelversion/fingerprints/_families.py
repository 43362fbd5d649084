"""Which module fingerprints an object: one for each library, and a list that plug-ins join."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

from modelversion.errors import InvalidInputError
from modelversion.fingerprints._result import Fingerprint

ENTRY_POINTS = "modelversion.fingerprints"
Maker = Callable[[Any], Fingerprint]

# Family -> the module that has to be loaded for an object of its to exist.
_FAMILIES = {
    "_pandas": "pandas",
    "_arrow": "pyarrow",
    "_polars": "polars",
    "_numpy": "numpy",
    "_torch": "torch",
    "_sparse": "scipy.sparse",
    "_datasets": "datasets",
    "_dask": "dask",
    "_spark": "pyspark",
    "_ray": "ray",
    "_containers": "builtins",
}
_PACKAGE = __name__.rpartition(".")[0]
_REGISTERED: list[tuple[type, Maker]] = []


def register(kind: type, maker: Maker) -> None:
    """Say how objects of a type are fingerprinted; the last one that fits is asked.

    Args:
        kind: The type; its subclasses are meant too.
        maker: Gives the `Fingerprint` of such an object, and raises `FingerprintError` for one
            that has none.

    Raises:
        InvalidInputError: It is no type, or nothing that can be called.
    """
    if not isinstance(kind, type) or not callable(maker):
        raise InvalidInputError(
            f"register takes a type and a function, found {kind!r:.80} and {maker!r:.80}"
        )
    _REGISTERED.append((kind, maker))


def unregister(kind: type) -> None:
    """Take a type out again."""
    _REGISTERED[:] = [(known, maker) for known, maker in _REGISTERED if known is not kind]


def family(value: Any) -> Maker | None:
    """Give what fingerprints an object, None for one that nobody knows."""
    for known in (registered, _own, _installed):
        found = known(value)
        if found is not None:
            return found
    return None


def registered(value: Any) -> Maker | None:
    """Give what was registered for an object's type, None for no such."""
    return next((maker for kind, maker in reversed(_REGISTERED) if isinstance(value, kind)), None)


def _own(value: Any) -> Maker | None:
    for name, library in _FAMILIES.items():
        if sys.modules.get(library):
            module = _imported(f"{_PACKAGE}.{name}")
            if module.accepts(value):
                maker: Maker = module.fingerprint
                return maker
    return None


# A child that is forked while a thread imports would wait for that thread for ever.
_IMPORTING = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_IMPORTING.acquire,
        after_in_parent=_IMPORTING.release,
        after_in_child=_IMPORTING.release,
    )


def _imported(name: str) -> Any:
    with _IMPORTING:
        return import_module(name)


def _installed(value: Any) -> Maker | None:
    """Look for a plug-in: an entry point named like the first part of the type's module."""
    for load in _points().pop(type(value).__module__.partition(".")[0], ()):
        load()()
    return registered(value)


@functools.cache
def _points() -> dict[str, list[Callable[[], Callable[[], None]]]]:
    from importlib.metadata import entry_points

    found: dict[str, list[Callable[[], Callable[[], None]]]] = {}
    for point in entry_points(group=ENTRY_POINTS):
        found.setdefault(point.name, []).append(point.load)
    return found
