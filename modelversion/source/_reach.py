"""What a function reaches of the user's own code: through globals, closures, modules, classes.

The walk looks and never runs anything: it reads names from bytecode and follows what stands
behind them now. Libraries are named and not entered.
"""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from modelversion import source
from modelversion.source._texts import Known

MAX_DEFINITIONS = 200
MAX_VALUES = 100
MAX_ITEMS = 100
MAX_TEXT = 1000
_PLAIN = frozenset([type(None), bool, int, float, complex, str, bytes])
_CONTAINERS = (list, tuple, set, frozenset)
_CODE_HOLDERS = (staticmethod, classmethod, functools.cached_property)
_HAND_MADE = ("__main__", "builtins", "")
_USERS: dict[str, bool] = {}


@attrs.frozen
class Reads:
    """What code reads by name: dotted chains from a global, and modules that it imports."""

    chains: tuple[tuple[str, ...], ...]
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]


@attrs.frozen(eq=False)
class Definition:
    """A function or a class of the user's own, and the module that it is of."""

    value: Any
    module: str


@attrs.define(eq=False)
class Reached:
    """What a walk found.

    Attributes:
        definitions: Own functions and classes, in the order in which they were found.
        values: Plain values of globals and closures that own code reads, by `module:name`.
        libraries: Names of the other packages that own code uses.
        cut: Whether there was more than the walk takes.
        open: Whether a name had nothing behind it yet.
    """

    definitions: list[Definition] = attrs.field(factory=list)
    values: dict[str, Any] = attrs.field(factory=dict)
    libraries: set[str] = attrs.field(factory=set)
    cut: bool = False
    open: bool = False


def reach(roots: Iterable[Any]) -> Reached:
    """Walk from functions, classes or the code of a module with its globals."""
    walk = _Walk()
    for root in roots:
        walk.visit(root)
    return walk.finish()


@attrs.frozen(eq=False)
class ModuleCode:
    """The code of a whole module, or of cells, and the globals it runs in."""

    code: types.CodeType
    scope: dict[str, Any]


class _Walk:
    """Visits each object once, in the order found, until it has found enough."""

    def __init__(self) -> None:
        self._found = Reached()
        self._seen: set[int] = set()
        self._followed: dict[tuple[int, str], set[tuple[str, ...]]] = {}
        # What was made on the way must live as long as its id is remembered.
        self._waiting: list[Any] = []

    def visit(self, value: Any) -> None:
        if id(value) not in self._seen:
            self._seen.add(id(value))
            self._waiting.append(value)

    def finish(self) -> Reached:
        for value in self._waiting:  # grows while it is gone through
            if len(self._found.definitions) >= MAX_DEFINITIONS:
                self._found.cut = True
                break
            self._look(value)
        return self._found

    def _look(self, value: Any) -> None:
        rule = _RULES.get(type(value))
        if rule is not None:
            rule(self, value)
        elif issubclass(type(value), type):
            self._class(value)
        elif type(value) in _CODE_HOLDERS:
            self.visit(_held(value))
        else:
            self._instance(value)

    def _function(self, function: types.FunctionType) -> None:
        wrapped = function.__dict__.get("__wrapped__")
        if wrapped is not None:
            self.visit(wrapped)
        module = module_of(function)
        if not is_users(module):
            self._library(module)
            return
        self._found.definitions.append(Definition(function, module))
        self._names(function.__code__, function.__globals__, module)
        self._cells(function, module)
        for default in (function.__defaults__ or (), (function.__kwdefaults__ or {}).values()):
            self._items(default)

    def _cells(self, function: types.FunctionType, module: str) -> None:
        names = function.__code__.co_freevars
        for name, cell in zip(names, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                self._found.open = True
            else:
                self._named(f"{module}:{function.__code__.co_qualname}.{name}", value)

    def _code(self, root: ModuleCode) -> None:
        self._names(root.code, root.scope, str(root.scope.get("__name__", "")))

    def _names(self, code: types.CodeType, scope: dict[str, Any], module: str) -> None:
        reads = reads_of(code)
        followed = self._followed.setdefault((id(scope), module), set())
        fresh = [chain for chain in reads.chains if chain not in followed]
        followed.update(fresh)
        for chain in fresh:
            if chain[0] in scope:
                self._chain(scope[chain[0]], chain, module)
            elif not hasattr(sys.modules["builtins"], chain[0]):
                self._found.open = True
        for level, name, inner in reads.imports:
            self._imported(_absolute(level, name, scope), inner)

    def _imported(self, name: str, inner: tuple[str, ...]) -> None:
        found = sys.modules.get(name)
        if found is None:
            self._found.open = True
        else:
            self._chain(found, (name, *inner), name)

    def _chain(self, value: Any, chain: tuple[str, ...], module: str) -> None:
        """Follow a dotted name through modules to what it means."""
        name = f"{module}:{chain[0]}"
        for part in chain[1:]:
            if type(value) is not types.ModuleType or not is_users(value.__name__):
                break
            name = f"{value.__name__}:{part}"
            if part not in vars(value):
                self._found.open = True
                return
            value = vars(value)[part]
        self._named(name, value)

    def _named(self, name: str, value: Any) -> None:
        if is_plain(value):
            if len(self._found.values) < MAX_VALUES and not name.endswith("__"):
                self._found.values.setdefault(name, value)
        else:
            self.visit(value)

    def _class(self, cls: type) -> None:
        module = getattr(cls, "__module__", "")
        if not isinstance(module, str) or module == "builtins" or not is_users(module):
            self._library(str(module))
            return
        self._found.definitions.append(Definition(cls, module))
        for base in cls.__mro__[1:]:
            self.visit(base)
        for name, value in list(vars(cls).items()):
            if type(value) in (types.FunctionType, property, *_CODE_HOLDERS):
                self._member(cls, value)
            elif not name.startswith("__"):
                self.visit(value)

    def _member(self, cls: type, value: Any) -> None:
        """Walk the methods of a class, whose text is that of the class."""
        for function in functions_of_member(value):
            if id(function) in self._seen:
                continue
            if not stands_in(function, cls) and not _is_made_for(function, cls):
                self.visit(function)
                continue
            self._seen.add(id(function))
            self._names(function.__code__, function.__globals__, cls.__module__)
            self._cells(function, cls.__module__)

    def _module(self, module: types.ModuleType) -> None:
        if not is_users(module.__name__):
            self._library(module.__name__)

    def _method(self, method: types.MethodType) -> None:
        self.visit(method.__func__)
        self.visit(type(method.__self__))

    def _partial(self, partial: functools.partial[Any]) -> None:
        self.visit(partial.func)
        self._items([*partial.args, *partial.keywords.values()])

    def _items(self, values: Iterable[Any]) -> None:
        for _, value in zip(range(MAX_ITEMS), values, strict=False):
            if type(value) not in _PLAIN:
                self.visit(value)

    def _instance(self, value: Any) -> None:
        wrapped = _wrapped(value)
        if wrapped is not None:
            self.visit(wrapped)
        self.visit(type(value))

    def _library(self, module: str) -> None:
        name = module.split(".", 1)[0]
        if name != source.PACKAGE and name not in sys.stdlib_module_names:
            self._found.libraries.add(name)


_RULES: dict[type, Any] = {
    types.FunctionType: _Walk._function,
    types.MethodType: _Walk._method,
    types.ModuleType: _Walk._module,
    functools.partial: _Walk._partial,
    ModuleCode: _Walk._code,
    list: _Walk._items,
    tuple: _Walk._items,
    set: _Walk._items,
    frozenset: _Walk._items,
    dict: lambda walk, value: walk._items(list(value.values())[:MAX_ITEMS]),
}


def _held(value: Any) -> Any:
    return value.func if isinstance(value, functools.cached_property) else value.__func__


def _wrapped(value: Any) -> Any:
    """Give what an object says it wraps, read without running code of the object's class."""
    try:
        return object.__getattribute__(value, "__dict__").get("__wrapped__")
    except AttributeError:
        return None


def functions_of_member(value: Any) -> Iterator[types.FunctionType]:
    """Give the functions of a member of a class, through what wraps them."""
    if isinstance(value, property):
        parts = [value.fget, value.fset, value.fdel]
    else:
        parts = [value if isinstance(value, types.FunctionType) else _held(value)]
    for part in parts:
        while part is not None:
            if isinstance(part, types.FunctionType):
                yield part
            part = _wrapped(part)


def stands_in(function: types.FunctionType, cls: type) -> bool:
    """Tell whether a function's code stands in a class; a wrapper only bears its name."""
    return function.__code__.co_qualname.startswith(f"{cls.__qualname__}.")


def _is_made_for(function: types.FunctionType, cls: type) -> bool:
    """Tell whether a method has no text, as those that dataclasses and attrs make."""
    code = function.__code__
    # Dataclasses make them in a function of this name, and may wrap them.
    named = code.co_qualname.startswith("__create_fn__.") or function.__qualname__.startswith(
        f"{cls.__qualname__}."
    )
    return named and code.co_filename.startswith("<")


def module_of(function: types.FunctionType) -> str:
    """Give the module whose globals a function has; `__module__` may be that of what it wraps."""
    name = function.__globals__.get("__name__")
    return name if isinstance(name, str) else str(function.__module__)


def is_users(module: str) -> bool:
    """Tell whether a module, or the script or notebook that runs, is the user's own code.

    A name that is no imported module is that of code which was made by exec.
    """
    known = _USERS.get(module)
    if known is None:
        known = module in _HAND_MADE or module not in sys.modules or source.is_own(module)
        if module in sys.modules:
            _USERS[module] = known
    return known


def is_plain(value: Any, budget: int = MAX_ITEMS) -> bool:
    """Tell whether a value is plain and small, so that it may be kept as it is."""
    if type(value) in (str, bytes):
        return len(value) <= MAX_TEXT
    if type(value) in (dict, list, tuple):
        items = [*value, *value.values()] if type(value) is dict else value
        return len(value) <= budget and all(is_plain(item, budget // 4) for item in items)
    return type(value) in _PLAIN


# ---- what code reads -----------------------------------------------------------------------------

_GLOBALS = frozenset(["LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"])
# Since Python 3.13 one step may read two locals, or write one and read one.
_LOCALS = frozenset(
    [
        *("LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK", "LOAD_DEREF"),
        *("LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW", "STORE_FAST_LOAD_FAST"),
    ]
)
_STORES = frozenset(["STORE_FAST", "STORE_DEREF", "STORE_FAST_LOAD_FAST"])
_ATTRIBUTES = frozenset(["LOAD_ATTR", "LOAD_METHOD"])
_Import = tuple[int, str, tuple[str, ...]]
_READS: Known[Reads] = Known()


def reads_of(code: types.CodeType) -> Reads:
    """Give what code, and the functions and classes inside it, read by name."""
    known = _READS.get(code)
    if known is None:
        steps = [_steps(inner) for inner in _inside(code)]
        chains = (chain for inner in steps for chain in _chains(inner, _GLOBALS))
        known = Reads(tuple(dict.fromkeys(chains)), tuple(dict.fromkeys(_imported(steps))))
        _READS.put(code, known)
    return known


def _inside(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _inside(constant)


def _steps(code: types.CodeType) -> list[dis.Instruction]:
    # In code of many names an EXTENDED_ARG stands before most of them.
    return [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]


def _chains(steps: list[dis.Instruction], loads: frozenset[str]) -> Iterator[tuple[str, ...]]:
    """Give the names that are loaded, each with the attributes that are read from it."""
    chain: tuple[str, ...] = ()
    for step in steps:
        if chain and step.opname in _ATTRIBUTES:
            chain = (*chain, step.argval)
            continue
        if chain:
            yield chain
        chain = (_local(step, -1),) if step.opname in loads else ()


def _local(step: dis.Instruction, which: int) -> str:
    return str(step.argval[which] if isinstance(step.argval, tuple) else step.argval)


def _imported(steps: list[list[dis.Instruction]]) -> Iterator[_Import]:
    """Give (level, module, dotted name in it) of what is imported inside and then read."""
    bound: dict[str, dict[_Import, None]] = {}
    for inner in steps:
        for found, name in _imports(inner):
            yield found
            bound.setdefault(name, {})[found] = None
    for inner in steps if bound else ():
        for name, *attributes in _chains(inner, _LOCALS):
            for level, module, names in bound.get(name, ()):
                yield level, module, (*names, *attributes)


def _imports(steps: list[dis.Instruction]) -> Iterator[tuple[_Import, str]]:
    """Give what import statements bind, and to which local name; "" if to none."""
    level, module = 0, ""
    listed: Any = None
    bound: _Import | None = None
    for at, step in enumerate(steps):
        if step.opname == "IMPORT_NAME":
            level, listed, module = steps[at - 2].argval, steps[at - 1].argval, step.argval
            bound = level, module.split(".")[0], ()
            if not listed:
                yield (level, module, ()), ""
        elif step.opname == "IMPORT_FROM":
            # `import a.b as c` takes the parts one by one.
            bound = level, module, (step.argval,) if listed else ()
        elif step.opname.startswith("STORE_") and bound is not None:
            yield bound, _local(step, 0) if step.opname in _STORES else ""
            bound = None


def _absolute(level: int, name: str, scope: dict[str, Any]) -> str:
    if not level:
        return name
    package = str(scope.get("__package__") or "")
    above = package.rsplit(".", level - 1)[0] if level > 1 else package
    return f"{above}.{name}" if name else above
