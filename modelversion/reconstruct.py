"""What pickles of modelversion call when they are loaded: a part of the format.

The names here stand in stored pickles and never change.
"""

from __future__ import annotations

import functools
import importlib
import sys
import weakref
from collections.abc import Callable
from typing import Any

# Classes that were built from pickles here, by the digest of their code: two versions with the
# same class share it, so that what they hold can be compared.
_BUILT: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()


def own_class(
    where: tuple[str, str, str, str, str],
    make: Callable[..., type],
    args: Any,
    pending: list[str],
) -> type:
    """Give the class that this process has or can import if it is the same code, else a new one.

    Args:
        where: Module and qualified name of the class; digest of what it does; digest of the
            source files that importing the module runs (empty if there are none);
            `major.minor` of the Python that wrote the pickle.
        make: Builds a class without attributes from the pickle.
        args: Arguments of `make`.
        pending: Emptied if the class needs no filling; `own_state` gets the same list.
    """
    module, name, code, sources, python = where
    same = _same_code(code) if python == running_python() else _same_sources(sources)
    found = _find(module, name, sources)
    for candidate in (found, _BUILT.get(code)):
        if candidate is not None and same(candidate):
            pending.clear()
            return candidate
    if python != running_python():
        raise ImportError(
            f"the class {module}.{name} was saved by Python {python} and its source is not "
            f"importable here; load it with Python {python}, or install its module"
        )
    return make(*args)


def own_state(cls: type, state: tuple[Callable[[type, Any], Any], Any, list[str]]) -> None:
    """Fill a class that `own_class` made; one that it found has its code already."""
    setter, value, pending = state
    if pending:
        setter(cls, value)
        _BUILT[pending[0]] = cls


def lru_cached(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    """Give a function with an empty cache around it."""
    return functools.lru_cache(maxsize, typed)(function)


def torch_storage(holder: list[Any]) -> Any:
    """Give a buffer as torch's memory, without a copy.

    Args:
        holder: The buffer, replaced by the storage at first use: tensors that shared memory
            when they were saved come with the same list.
    """
    import warnings

    import torch

    if not isinstance(holder[0], torch.UntypedStorage):
        with warnings.catch_warnings():
            # Mapped buffers are read-only by intent.
            warnings.filterwarnings("ignore", message="The given buffer is not writable")
            holder[0] = torch.frombuffer(holder[0], dtype=torch.uint8).untyped_storage()
    return holder[0]


def running_python() -> str:
    """Give `major.minor` of this Python; bytecode of another cannot be compared or run."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _same_code(code: str) -> Callable[[type], bool]:
    from modelversion.sameness import class_digest

    return lambda cls: class_digest(cls) == code


def _same_sources(sources: str) -> Callable[[type], bool]:
    from modelversion.source import module_sources

    return lambda cls: bool(sources) and module_sources(cls.__module__) == sources


def _find(module: str, name: str, sources: str) -> type | None:
    """Find a class by its name, importing its module only if its source is the saved one."""
    found: Any = sys.modules.get(module)
    if found is None:
        found = _import_if_same(module, sources)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


def _import_if_same(module: str, sources: str) -> Any:
    from modelversion.source import importable_sources

    if not sources or importable_sources(module) != sources:
        return None
    try:
        return importlib.import_module(module)
    except Exception:  # noqa: BLE001 - the user's module may raise anything; ours needs no import
        return None
