"""Where the user's functions and classes stand in their texts, and the pieces cut from there."""

from __future__ import annotations

import ast
import functools
import sys
import types
from collections.abc import Iterator
from typing import Any

import attrs

from modelversion.source import _notebook, _texts
from modelversion.source._reach import functions_of_member, is_plain, stands_in
from modelversion.source._texts import Known, Text


@attrs.frozen(eq=False)
class Piece:
    """The text of a definition, a file or a cell.

    Attributes:
        name: `module:name` of a definition, the module of a file.
        text: The text.
        file: The file's name, with the folders that belong to the module's name.
        line: The first line in the file or the cell.
        cell: Number of the cell.
    """

    name: str
    text: str
    file: str | None = None
    line: int = 1
    cell: int | None = None


Place = tuple[Text, int, int]
_PLACES: Known[Place | str] = Known()
_PIECES: dict[tuple[int, int, int, str], tuple[Text, Piece]] = {}
_MOST_PIECES = 10_000


def place_of(value: Any) -> Place | str:
    """Give the statement of its module in which a function or a class stands."""
    owner = value if isinstance(value, type) else value.__code__
    known = _PLACES.get(owner)
    if known is None:
        known = place_of_class(value) if isinstance(value, type) else _outer_place(value)
        _PLACES.put(owner, known)
    return known


def _outer_place(function: types.FunctionType) -> Place | str:
    code = function.__code__
    text = _texts.text_of(code, function.__globals__, function=function)
    if isinstance(text, str):
        return text
    index = text.index(code.co_flags)
    node = None if index is None else _texts.outermost(index, code.co_firstlineno)
    return "not found in its file" if node is None else (text, *_texts.span(node))


def place_of_function(function: types.FunctionType) -> Place | str:
    """Give the statement that defines a function."""
    code = function.__code__
    text = _texts.text_of(code, function.__globals__, function=function)
    if isinstance(text, str):
        return text
    index = text.index(code.co_flags)
    node = None if index is None else _texts.definition(index, code)
    return "not found in its file" if node is None else (text, *_texts.span(node))


def place_of_class(cls: type) -> Place | str:
    """Give the statement of a class: all of its methods must be those of the text."""
    text = _text_of_class(cls)
    if isinstance(text, str):
        return text
    for flags in (0, *(f.__code__.co_flags for f in functions_of(cls))):
        index = text.index(flags)
        node = None if index is None else _find_class(index, cls)
        if node is not None:
            same = text.changed_at < _texts.BEGAN or _has_attributes(node, cls)
            return (text, *_texts.span(node)) if same else "edited since import"
    return "not found in its file"


def _text_of_class(cls: type) -> Text | str:
    functions = [f for f in functions_of(cls) if not f.__code__.co_filename.startswith("<")]
    texts = {
        _texts.text_of(f.__code__, f.__globals__, function=f)
        for f in functions
        if stands_in(f, cls)
    }
    if len(texts) > 1:
        return "edited since import"
    return texts.pop() if texts else _text_without_methods(cls)


def _text_without_methods(cls: type) -> Text | str:
    module = sys.modules.get(cls.__module__)
    scope = {} if module is None else vars(module)
    for cell in reversed(_notebook.cells() if cls.__module__ == "__main__" else []):
        if f"class {cls.__name__}" in cell.compiled:
            lines = tuple(cell.compiled.splitlines(keepends=True))
            return Text(f"cell {cell.number}", lines, (), float("inf"))
    name = scope.get("__file__")
    found = None if not isinstance(name, str) else next(iter(_texts.texts(name, scope)), None)
    return found or "made by exec or typed in"


def functions_of(cls: type) -> list[types.FunctionType]:
    kinds = (types.FunctionType, property, staticmethod, classmethod, functools.cached_property)
    members = [value for value in list(vars(cls).values()) if type(value) in kinds]
    return [function for member in members for function in functions_of_member(member)]


def _find_class(index: _texts.Index, cls: type) -> ast.ClassDef | None:
    """Find the statement of a class: by name, or inside a function, around its methods."""
    node = _texts.class_definition(index, cls.__qualname__)
    lines = [f.__code__.co_firstlineno for f in functions_of(cls) if stands_in(f, cls)]
    around = [
        node
        for node in _texts.statements(index.tree)
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__
        if all(_texts.span(node)[0] <= line <= _texts.span(node)[1] for line in lines)
    ]
    return node or (around[-1] if around else None)


def _has_attributes(node: ast.ClassDef, cls: type) -> bool:
    """Tell whether the plain attributes that stand in a class are those that it has."""
    for statement in node.body:
        for name, value in _assigned(statement):
            found = vars(cls).get(name)
            if name in vars(cls) and is_plain(found) and not _texts.is_literally(value, found):
                return False
    return True


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(statement, ast.Assign):
        targets, value = statement.targets, statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets, value = [statement.target], statement.value
    else:
        return
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id, value


def piece_of(text: Text, first: int, last: int, *, name: str, scope: dict[str, Any]) -> Piece:
    """Give lines of a text as a piece; the same lines are the same piece."""
    key = (id(text), first, last, name)
    known = _PIECES.get(key)
    if known is not None:
        return known[1]
    cell = None if text.stamp else _notebook.cell_number("".join(text.lines))
    file = shown_file(text.name, scope) if text.stamp else None
    piece = Piece(name, text.cut(first, last), file, first, cell)
    if len(_PIECES) < _MOST_PIECES:
        _PIECES[key] = (text, piece)
    return piece


def shown_file(file: str, scope: dict[str, Any]) -> str:
    """Give a file with as many folders as the module's name has; elsewhere it is the same."""
    module, parts = scope.get("__name__"), file.replace("\\", "/").split("/")
    depth = module.count(".") + 1 if isinstance(module, str) else 1
    return "/".join(parts[-depth - (parts[-1] == "__init__.py" and module != "__main__") :])
