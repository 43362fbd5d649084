"""The text that code was compiled from, and the proof that it is that text.

A file may have been edited since it was imported. A text is only given for code that it
compiles to, or where the file has not changed since before this process began.
"""

from __future__ import annotations
import __future__

import ast
import functools
import linecache
import os
import time
import tokenize
import types
import weakref
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from typing import Any, Generic, TypeVar

import attrs

from modelversion.source._notebook import shell

MAX_FILE = 4 * 2**20
MAX_KEPT = 3
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_FUTURE_FLAGS = functools.reduce(
    int.__or__, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)
_MAGICS = ("run_cell_magic", "run_line_magic")
Node = ast.stmt
T = TypeVar("T")


def _process_began() -> float:
    """Give when this process began, 0 where the system does not tell; files keep ticks of 10 ms."""
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0
    return time.time() - age - 0.1


# Read when this module is imported: a forked child has younger a birth than its modules.
BEGAN = _process_began()


@attrs.frozen(eq=False)
class Text:
    """A file or a cell as it was read; `changed_at` is infinite for what is no file."""

    name: str
    lines: tuple[str, ...]
    stamp: tuple[int, ...]
    changed_at: float
    _indexes: dict[int, Index | None] = attrs.field(factory=dict, repr=False)

    def index(self, flags: int) -> Index | None:
        """Give what it compiles to under the future statements of `flags`; None if it does not."""
        known = flags & _FUTURE_FLAGS
        if known not in self._indexes:
            self._indexes[known] = _compiled(self, known)
        return self._indexes[known]

    def cut(self, first: int, last: int) -> str:
        """Give lines, counted from 1, without the indentation that they share."""
        import textwrap

        return textwrap.dedent("".join(self.lines[first - 1 : last])).rstrip() + "\n"


@attrs.frozen(eq=False)
class Index:
    """What a text compiles to: code by name and first line; its statements."""

    codes: dict[tuple[str, int], list[types.CodeType]]
    module: types.CodeType
    tree: ast.Module


def _compiled(text: Text, flags: int) -> Index | None:
    if not text.stamp:
        flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # as cells may have it
    try:
        tree = compile(
            "".join(text.lines), text.name, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True
        )
        module = compile(tree, text.name, "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # the file is being edited
    codes: dict[tuple[str, int], list[types.CodeType]] = {}
    for whole in (module, *([] if text.stamp else _each(tree, text.name, flags))):
        for code in _inside(whole):
            codes.setdefault((code.co_qualname, code.co_firstlineno), []).append(code)
    return Index(codes, module, tree)


def _each(tree: Any, name: str, flags: int) -> Iterator[types.CodeType]:
    """Compile the statements of a cell one by one, as a notebook's shell does.

    A call of `module.function` is another instruction where the same unit imports the module.
    """
    for node in tree.body:
        one = ast.Module([node], type_ignores=[])
        yield compile(one, name, "exec", flags, dont_inherit=True)


def _inside(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _inside(constant)


@functools.lru_cache(maxsize=64)
def codes_of_cell(text: str, flags: int) -> tuple[types.CodeType, ...]:
    """Give what a cell compiles to, and what it hands to magics such as `%%time`."""
    index = Text("<cell>", tuple(text.splitlines(keepends=True)), (), float("inf")).index(flags)
    if index is None:
        return ()
    inner = (codes_of_cell(text, flags) for text in _magics(index.tree))
    return (index.module, *(code for codes in inner for code in codes))


def _magics(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            text = node.args[-1]
            if node.func.attr in _MAGICS and isinstance(text, ast.Constant):
                yield str(text.value)


# ---- reading -------------------------------------------------------------------------------------

_READ: dict[str, list[Text]] = {}
# Whatever is given to `exec` has this name, and since Python 3.13 what is given to `python -c` is
# listed under it.
_STRING = "<string>"


def remember(name: str, scope: dict[str, Any]) -> None:
    """Read a file now, so that its text is known when it has been edited."""
    if name not in _READ:
        for _ in texts(name, scope):
            pass


def texts(name: str, scope: dict[str, Any]) -> Iterator[Text]:
    """Give the texts that were seen under a file name, the last first, and read it if it changed.

    Args:
        name: As code objects have it.
        scope: The globals of the code, which lead to the text of a module in an archive.
    """
    kept = _READ.get(name, [])
    yield from reversed(kept)
    read = _file(name) or _listed(name, scope)
    if read is None or any(_is_same(read, text) for text in kept):
        return
    _READ[name] = [*kept, read][-MAX_KEPT:]
    yield read


def _is_same(one: Text, other: Text) -> bool:
    return one.stamp == other.stamp and one.lines == other.lines


def _file(name: str) -> Text | None:
    try:
        with open(name, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size > MAX_FILE:
                return None
            encoding, _ = tokenize.detect_encoding(file.readline)
            file.seek(0)
            content = file.read().decode(encoding)
    except (OSError, SyntaxError, ValueError, LookupError):
        return None
    stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    changed_at = max(status.st_mtime, status.st_ctime)
    return Text(name, tuple(content.splitlines(keepends=True)), stamp, changed_at)


def _listed(name: str, scope: dict[str, Any]) -> Text | None:
    """Read what notebooks, consoles and archives list under a name that is no file."""
    if os.path.exists(name):
        return None
    try:
        lines = linecache.getlines(name, scope)
    except Exception:  # noqa: BLE001 - a loader of somebody else may raise anything
        return None
    return Text(name, tuple(lines), (), float("inf")) if lines else None


# ---- the proof -----------------------------------------------------------------------------------


def text_of(code: types.CodeType, scope: dict[str, Any], *, function: Any = None) -> Text | str:
    """Give the text that a code object was compiled from, or why there is none.

    Args:
        code: The code.
        scope: Its globals.
        function: What has the code, if its defaults are to be compared too.
    """
    known = _KNOWN.get(code)
    if known is None:
        known = _find(function, code, scope)
        _KNOWN.put(code, known)
    return known


def _find(function: Any, code: types.CodeType, scope: dict[str, Any]) -> Text | str:
    found = False
    for text in texts(code.co_filename, scope):
        found = found or text.name != _STRING
        if _fits(text, function, code, scope):
            return text
    return "edited since import" if found else "made by exec or typed in"


def _fits(text: Text, function: Any, code: types.CodeType, scope: dict[str, Any]) -> bool:
    index = text.index(code.co_flags)
    if index is None:
        return False
    same = code in index.codes.get((code.co_qualname, code.co_firstlineno), ())
    if text.changed_at < BEGAN:
        return same or (_is_rewritten(scope) and _has_place(index, code))
    return (same and _has_defaults(index, function, code)) or _is_rewritten_cell(text)


def _has_place(index: Index, code: types.CodeType) -> bool:
    return (code.co_qualname, code.co_firstlineno) in index.codes


def _is_rewritten(scope: dict[str, Any]) -> bool:
    """Tell whether a module's loader may compile something else than the text, as pytest's does."""
    loader = scope.get("__loader__")
    return loader is not None and type(loader) is not SourceFileLoader


def _is_rewritten_cell(text: Text) -> bool:
    """Tell whether a text is a cell, which cannot be edited, of a shell that rewrites cells."""
    return not text.stamp and bool(getattr(shell(), "ast_transformers", None))


def _has_defaults(index: Index, function: Any, code: types.CodeType) -> bool:
    """Tell whether the defaults that stand in the text as literals are those of the function."""
    node = definition(index, code)
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return True
    given = list(getattr(function, "__defaults__", None) or ())
    by_name = getattr(function, "__kwdefaults__", None) or {}
    pairs = [*zip(reversed(node.args.defaults), reversed(given), strict=False)]
    pairs += [
        (value, by_name.get(argument.arg))
        for argument, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        if value is not None
    ]
    return all(is_literally(value, found) for value, found in pairs)


def is_literally(node: ast.expr, value: Any) -> bool:
    """Tell whether a value is what an expression says, as far as it is a plain literal."""
    try:
        literal = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return True
    return type(literal) is type(value) and repr(literal) == repr(value)


# ---- where a definition stands -------------------------------------------------------------------


def definition(index: Index, code: types.CodeType) -> Node | None:
    """Give the statement that defines a function; for a lambda, the one that it stands in."""
    line = code.co_firstlineno
    holding = [node for node in statements(index.tree) if first_line(node) <= line <= _last(node)]
    for node in holding:
        named = isinstance(node, _DEFINITIONS) and node.name == code.co_name
        if named and first_line(node) == line:
            return node
    return holding[-1] if holding else None


def statements(tree: ast.AST) -> Iterator[Node]:
    """Give every statement, outer ones before those inside."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.stmt):
            yield child
        yield from statements(child)


def outermost(index: Index, line: int) -> Node | None:
    """Give the statement of the module that a line lies in."""
    inside = (node for node in index.tree.body if first_line(node) <= line <= _last(node))
    return next(inside, None)


def span(node: Node) -> tuple[int, int]:
    """Give the first line of a statement, decorators included, and the last."""
    return first_line(node), _last(node)


def class_definition(index: Index, qualname: str) -> ast.ClassDef | None:
    """Give the statement of a class that stands at the top of a module, or in another class."""
    body: list[ast.stmt] = index.tree.body
    node = None
    for part in qualname.split("."):
        found = [n for n in body if isinstance(n, ast.ClassDef) and n.name == part]
        if not found:
            return None
        node = found[-1]
        body = node.body
    return node


def first_line(node: Node) -> int:
    """Give the first line of a statement, decorators included."""
    decorators = getattr(node, "decorator_list", [])
    return min([int(node.lineno), *(int(decorator.lineno) for decorator in decorators)])


def _last(node: Node) -> int:
    return node.end_lineno or node.lineno


# ---- what is known of code objects ---------------------------------------------------------------


class Known(Generic[T]):
    """What is known of live objects, by identity: equal code of two files has two texts."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[weakref.ref[Any], T]] = {}

    def get(self, owner: Any) -> T | None:
        """Give what is known of an object."""
        found = self._found.get(id(owner))
        return found[1] if found is not None and found[0]() is owner else None

    def put(self, owner: Any, value: T) -> None:
        """Keep something for as long as an object lives."""
        key = id(owner)
        self._found[key] = (weakref.ref(owner, lambda _: self._found.pop(key, None)), value)


_KNOWN: Known[Text | str] = Known()
