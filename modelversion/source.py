"""Source code: of functions, of modules, and whether it is the code that runs."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

_PACKAGE = __name__.split(".", 1)[0]
_LIBRARIES = ("site-packages", "dist-packages")


def _standard_library() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({paths["stdlib"], paths["platstdlib"]})


_STDLIB = _standard_library()
_OWN: dict[str, bool] = {}


def own_modules() -> list[ModuleType]:
    """List the imported modules of the user's own code.

    Own is what lies outside the standard library and site-packages, so that a process
    elsewhere need not have it; packages installed editable count as own.
    """
    for name in [name for name in list(sys.modules) if name not in _OWN]:
        _OWN[name] = is_own(name)
    return [sys.modules[name] for name, own in _OWN.items() if own and name in sys.modules]


def is_own(name: str) -> bool:
    """Tell whether an imported module is the user's own code."""
    module = sys.modules.get(name)
    if module is None or name == "__main__" or name.split(".", 1)[0] == _PACKAGE:
        return False
    file = getattr(module, "__file__", None)
    if file is None:
        # Made by hand, as notebooks and exec do; packages and built-ins have a spec.
        return isinstance(module, ModuleType) and getattr(module, "__spec__", None) is None
    return not any(f"/{part}/" in file.replace("\\", "/") for part in _LIBRARIES) and not (
        file.startswith(_STDLIB)
    )


def module_digest(module: ModuleType) -> str | None:
    """Give the sha256 of a module's source file, None where there is none to read."""
    file = getattr(module, "__file__", None)
    if not file or not file.endswith(".py"):
        return None
    try:
        with open(file, "rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except OSError:
        return None


def digest_if_current(cls: type) -> str | None:
    """Give the digest of a class's module file if the file still holds the code that runs.

    A file that was edited after the import says nothing about the class in memory.
    """
    module = sys.modules.get(cls.__module__)
    digest = None if module is None else module_digest(module)
    if module is None or digest is None:
        return None
    known = _codes(module.__file__ or "", digest)
    return digest if all(code in known for code in _own_codes(cls)) else None


_CODES: dict[tuple[str, str], frozenset[CodeType]] = {}


def _codes(file: str, digest: str) -> frozenset[CodeType]:
    """Compile a source file and give every code object in it."""
    key = (file, digest)
    if key not in _CODES:
        try:
            with open(file, "rb") as source:
                top = compile(source.read(), file, "exec", dont_inherit=True)
        except (OSError, SyntaxError, ValueError):
            return frozenset()
        _CODES[key] = frozenset(_nested(top))
    return _CODES[key]


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _own_codes(cls: type) -> Iterator[CodeType]:
    for value in vars(cls).values():
        parts = (value, *(getattr(value, name, None) for name in ("__func__", "fget", "fset")))
        for part in parts:
            # Methods that a class decorator generated stand in no file.
            if isinstance(part, FunctionType) and part.__module__ == cls.__module__:
                if not part.__code__.co_filename.startswith("<"):
                    yield part.__code__


def function_source(function: Any) -> str | None:
    """Give the source of a function, None where Python cannot find it."""
    import inspect

    try:
        return inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        return None
