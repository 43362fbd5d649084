"""Source code: which modules are the user's own, and the source of functions and modules."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

PACKAGE = __name__.split(".", 1)[0]
_LIBRARIES = ("site-packages", "dist-packages")


@functools.cache
def _standard_library() -> tuple[str, ...]:
    import sysconfig

    paths = sysconfig.get_paths()
    return tuple({paths["stdlib"], paths["platstdlib"]})


_OWN: dict[str, bool] = {}
_OWN_NAMES: list[str] = []
# How many modules there were when all were known, and the last of them.
_ALL_KNOWN = [(0, "")]


def own_modules() -> list[ModuleType]:
    """List the imported modules of the user's own code.

    Own is what lies outside the standard library and site-packages, so that a process
    elsewhere need not have it; packages installed editable count as own.
    """
    now = len(sys.modules), next(reversed(sys.modules))
    # Going through all names costs a small save a twentieth of its time.
    if now != _ALL_KNOWN[0]:
        for name in sys.modules.keys() - _OWN.keys():
            _OWN[name] = is_own(name)
            if _OWN[name]:
                _OWN_NAMES.append(name)
        _ALL_KNOWN[0] = now
    # A module may stand under several names, of which only its own tells what it is.
    found = [sys.modules.get(name) for name in _OWN_NAMES]
    named = {m.__name__: m for m in found if isinstance(m, ModuleType)}
    return [module for name, module in named.items() if _OWN.get(name)]


def is_own(name: str) -> bool:
    """Tell whether an imported module is the user's own code."""
    module = sys.modules.get(name)
    if name == "__main__" or name.split(".", 1)[0] == PACKAGE:
        return False
    if not isinstance(module, ModuleType) or _inside_library(name):
        return False
    places = _stands_in(module)
    if not places:
        # Made by hand and filled by exec(), which leaves its mark; C libraries make some too.
        return getattr(module, "__spec__", None) is None and "__builtins__" in vars(module)
    return not any(_is_library(place) for place in places)


def _inside_library(name: str) -> bool:
    """Tell whether a module lies in a package of a library; some of those name no real file."""
    package = name.rpartition(".")[0]
    # A package without a file of its own may have parts in both.
    has_file = getattr(sys.modules.get(package), "__file__", None) is not None
    return bool(package) and has_file and not is_own(package)


def is_compiled(name: str) -> bool:
    """Tell whether an imported module is a library of machine code."""
    from importlib.machinery import EXTENSION_SUFFIXES

    file = getattr(sys.modules.get(name), "__file__", None)
    return bool(file) and str(file).endswith(tuple(EXTENSION_SUFFIXES))


def _stands_in(module: ModuleType) -> list[str]:
    """Give the file of a module, or the folders of a package that has no file."""
    file = getattr(module, "__file__", None)
    return [file] if file else [str(place) for place in getattr(module, "__path__", ())]


def _is_library(place: str) -> bool:
    parts = place.replace("\\", "/").split("/")
    return any(name in parts for name in _LIBRARIES) or place.startswith(_standard_library())


# ---- the source of modules -----------------------------------------------------------------------


def module_sources(name: str) -> str | None:
    """Digest the source files of an imported module and of the packages it lies in.

    Returns:
        A sha256 in hex, None where one of them has no source file.
    """
    modules = [sys.modules.get(package) for package in _lineage(name)]
    return _digest_files(getattr(module, "__file__", None) for module in modules)


def importable_sources(name: str) -> str | None:
    """Digest the same of a module that is not imported; nothing of it is run."""
    try:
        return _digest_files(_find_files(name))
    except Exception:  # noqa: BLE001 - finders raise anything, and want parents imported
        return None


def _lineage(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _find_files(name: str) -> Iterator[str | None]:
    path: Any = None
    for package in _lineage(name):
        spec = _find_spec(package, path)
        if spec is None:
            yield "absent"
            return
        yield spec.origin
        path = spec.submodule_search_locations


def _find_spec(name: str, path: Any) -> Any:
    # importlib.util.find_spec imports the packages above, which is what must not happen here.
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = None if find is None else find(name, path)
        if spec is not None:
            return spec
    return None


def _digest_files(files: Iterable[str | None]) -> str | None:
    """Digest files in order; None stands for a package without one, which runs nothing."""
    lines = []
    for file in files:
        if file is not None and not file.endswith(".py"):
            return None
        try:
            lines.append("" if file is None else _digest_file(file))
        except OSError:
            return None
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if any(lines) else None


def _digest_file(file: str) -> str:
    with open(file, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def function_source(function: Any) -> str | None:
    """Give the source of a function, None where it cannot be shown to be what runs."""
    from modelversion.source.capture import text_of_function

    return text_of_function(function)
