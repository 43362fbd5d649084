"""Tell whether two classes, perhaps of two processes, are the same code.

The digest covers whatever a class does: its bases and attributes, bytecode, defaults,
closures, and the values of the globals that its methods use. File names, line numbers and
docstrings of classes are no part of it. Bytecode is that of one Python version.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import hashlib
import pickle
import sys
import types
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from modelversion import source

_PLAIN = frozenset([type(None), bool, int, float, complex, str, type(...), type(NotImplemented)])
_IMMUTABLE = frozenset([bytes, tuple, frozenset, types.CodeType])
_NO_CODE = frozenset(
    [
        "__abstractmethods__",
        "__annotate__",
        "__annotate_func__",
        "__annotations__",
        "__annotations_cache__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__slotnames__",
        "__static_attributes__",
        "__weakref__",
        "_abc_impl",
    ]
)
_SLOTS = (types.MemberDescriptorType, types.GetSetDescriptorType)
_CODE_FIELDS = (
    "co_name",
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
    "co_flags",
    "co_code",
    "co_names",
    "co_varnames",
    "co_freevars",
    "co_cellvars",
    "co_exceptiontable",
    "co_consts",
)
_GLOBAL_NAMES: weakref.WeakKeyDictionary[types.CodeType, list[str]] = weakref.WeakKeyDictionary()


def class_digest(cls: type) -> str | None:
    """Give the sha256 of what a class does, None if a part of it cannot be told."""
    walk = _Walk()
    try:
        walk.visit(cls)
    except Exception:  # noqa: BLE001 - what it refers to may raise anything; None is always safe
        return None
    return walk.hexdigest()


class _Walk:
    """Feeds a hash with everything that is reached from one value, each object once."""

    def __init__(self) -> None:
        self._hasher = hashlib.sha256()
        self._seen: dict[int, int] = {}
        # An id is only an object's for as long as it lives.
        self._alive: list[Any] = []

    def hexdigest(self) -> str:
        return self._hasher.hexdigest()

    def visit(self, value: Any) -> None:
        kind = type(value)
        if kind in _PLAIN:
            self._feed(kind.__name__, repr(value).encode("utf-8", "surrogatepass"))
        elif kind in _IMMUTABLE:
            # Whether two equal ones are one object depends on who compiled them.
            _RULES[kind](self, value)
        elif id(value) in self._seen:
            self._feed("seen", str(self._seen[id(value)]).encode())
        else:
            self._seen[id(value)] = len(self._seen)
            self._alive.append(value)
            self._object(value)

    def _object(self, value: Any) -> None:
        name = _importable(value)
        rule = _RULES.get(type(value))
        if name is not None:
            self._feed("name", name.encode())
        elif rule is not None:
            rule(self, value)
        elif isinstance(value, type):
            self._class(value)
        else:
            self._reduced(value)

    def _feed(self, tag: str, data: Any = b"") -> None:
        self._hasher.update(f"{tag} {len(data)} ".encode())
        self._hasher.update(data)

    def _items(self, tag: str, values: Iterable[Any]) -> None:
        items = list(values)
        self._feed(tag, str(len(items)).encode())
        for item in items:
            self.visit(item)

    def _set(self, value: Iterable[Any]) -> None:
        # The order of a set of texts is another in each process.
        self._items("set", sorted(_digest(item) for item in value))

    def _mapping(self, value: Any) -> None:
        self._items("dict", (part for item in value.items() for part in item))

    def _code(self, code: types.CodeType) -> None:
        self._items("code", (getattr(code, name) for name in _CODE_FIELDS))

    def _function(self, function: types.FunctionType) -> None:
        used = global_names(function.__code__)
        found = {name: function.__globals__[name] for name in used if name in function.__globals__}
        parts = (
            function.__code__,
            function.__defaults__,
            function.__kwdefaults__,
            function.__closure__,
            function.__dict__,
            found,
        )
        self._items("function", parts)

    def _cell(self, cell: types.CellType) -> None:
        try:
            value = cell.cell_contents
        except ValueError:
            self._feed("empty cell")
        else:
            self._items("cell", [value])

    def _class(self, cls: type) -> None:
        state = {
            name: value
            for name, value in sorted(vars(cls).items())
            if name not in _NO_CODE and not isinstance(value, _SLOTS)
        }
        self._items("class", (cls.__module__, cls.__qualname__, type(cls), cls.__bases__, state))

    def _module(self, module: types.ModuleType) -> None:
        self._feed("module", module.__name__.encode())
        if source.is_own(module.__name__):
            own = sorted(item for item in vars(module).items() if not item[0].startswith("__"))
            self._mapping(dict(own))

    def _reduced(self, value: Any) -> None:
        reduce = copyreg.dispatch_table.get(type(value))
        reduced = value.__reduce_ex__(5) if reduce is None else reduce(value)
        if isinstance(reduced, str):
            self._items("global", [type(value), reduced])
            return
        # Function and arguments, then a state, and iterators over items of a list or a dict.
        parts = [list(part) if i > 2 and part else part for i, part in enumerate(reduced)]
        self._items("reduced", parts)


def _digest(value: Any) -> str:
    walk = _Walk()
    walk.visit(value)
    return walk.hexdigest()


def _attributes(*names: str) -> Callable[[_Walk, Any], None]:
    """Give the rule for a wrapper that does what these attributes do."""

    def rule(walk: _Walk, value: Any) -> None:
        walk._items(type(value).__name__, (getattr(value, name) for name in names))

    return rule


_RULES: dict[type, Callable[[_Walk, Any], None]] = {
    bytes: lambda walk, value: walk._feed("bytes", value),
    tuple: lambda walk, value: walk._items("tuple", value),
    bytearray: lambda walk, value: walk._feed("bytearray", value),
    pickle.PickleBuffer: lambda walk, value: walk._feed("buffer", value.raw()),
    list: lambda walk, value: walk._items("list", value),
    set: _Walk._set,
    frozenset: _Walk._set,
    dict: _Walk._mapping,
    types.MappingProxyType: _Walk._mapping,
    types.CodeType: _Walk._code,
    types.FunctionType: _Walk._function,
    types.CellType: _Walk._cell,
    types.ModuleType: _Walk._module,
    types.MethodType: _attributes("__func__", "__self__"),
    property: _attributes("fget", "fset", "fdel"),
    staticmethod: _attributes("__func__"),
    classmethod: _attributes("__func__"),
    functools.cached_property: _attributes("func"),
    type(functools.lru_cache(len)): _attributes("__wrapped__"),
}


def _importable(value: Any) -> str | None:
    """Give the name of what every process imports the same, None for the user's own code."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    if module == "__main__" or source.is_own(module):
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is value else None


def global_names(code: types.CodeType) -> list[str]:
    """List the globals that code and the functions inside it read, sorted."""
    if code not in _GLOBAL_NAMES:
        names = {i.argval for i in dis.get_instructions(code) if "GLOBAL" in i.opname}
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                names.update(global_names(constant))
        _GLOBAL_NAMES[code] = sorted(names)
    return _GLOBAL_NAMES[code]
