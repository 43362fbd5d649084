"""What pickles of modelversion call when they are loaded: a part of the format.

The names here stand in stored pickles and never change.
"""

from __future__ import annotations

import importlib.util
import sys
import weakref
from collections.abc import Callable
from typing import Any

_IMPORTED: weakref.WeakSet[type] = weakref.WeakSet()


def own_class(module: str, name: str, source: str, make: Callable[..., type], args: Any) -> type:
    """Give the importable class where its module's source is the saved one, else a new class.

    Args:
        module: Name of the module that defined the class.
        name: Qualified name of the class in it.
        source: sha256 of the module's source file when the class was saved.
        make: Builds the class from the code in the pickle.
        args: Arguments of `make`.
    """
    found = _importable(module, name, source)
    if found is None:
        return make(*args)
    _IMPORTED.add(found)
    return found


def own_state(cls: type, state: tuple[Callable[[type, Any], Any], Any]) -> None:
    """Fill a new class; an imported one has its code already."""
    setter, value = state
    if cls not in _IMPORTED:
        setter(cls, value)


def _importable(module: str, name: str, source: str) -> type | None:
    """Import a class, after the digest of its source was found right and not before."""
    from modelversion.source import module_digest

    loaded = sys.modules.get(module)
    if loaded is None:
        loaded = _import_if_same(module, source)
    if loaded is None or module_digest(loaded) != source:
        return None
    value: Any = loaded
    for part in name.split("."):
        value = getattr(value, part, None)
    return value if isinstance(value, type) else None


def _import_if_same(module: str, source: str) -> Any:
    import hashlib

    if "." in module and module.rpartition(".")[0] not in sys.modules:
        return None  # importing a parent package would run code that was not checked
    try:
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.origin or not spec.origin.endswith(".py"):
            return None
        with open(spec.origin, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != source:
                return None
        return importlib.import_module(module)
    except (ImportError, OSError, ValueError):
        return None
