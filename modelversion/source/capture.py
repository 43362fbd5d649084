"""The code that makes a version: where it enters, and all of the user's own that it reaches.

What enters is a tracked function, or the script or cells that a run or a save is called from.
Looking changes nothing, and whatever goes wrong in it is recorded and never raised.
"""

from __future__ import annotations

import functools
import os
import sys
import types
from collections.abc import Iterable
from typing import Any

import attrs

from modelversion.source import _notebook, _texts
from modelversion.source._notebook import Transcript
from modelversion.source._places import (
    Piece,
    Place,
    functions_of,
    piece_of,
    place_of,
    place_of_class,
    place_of_function,
    shown_file,
)
from modelversion.source._randomness import random_states
from modelversion.source._reach import Definition, ModuleCode, Reached, is_users, reach
from modelversion.source._texts import Text
from modelversion.source.git import GitState, Reading, start_reading

MAX_BYTES = 256 * 1024
MAX_NAMED = 100
_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


@attrs.frozen(eq=False)
class Entry:
    """Where the code enters.

    Attributes:
        name: `module:qualname` of a function, a file, or a notebook.
        root: The function, or the code of a module with its globals.
        owner: The class that a method is called on, or the class of the object.
        since: For cells, the number of the first that belongs to it.
    """

    name: str
    root: Any
    owner: type | None = None
    since: int | None = None

    @property
    def is_function(self) -> bool:
        """Whether it is a function, and not a script or cells."""
        return not isinstance(self.root, ModuleCode)


@attrs.frozen(eq=False, kw_only=True)
class Capture:
    """Code as it was found, the entry's own piece first.

    Attributes:
        entry: Where it enters.
        pieces: Texts; without the first where the entry's own is missing.
        missing: Name of a piece that cannot be shown -> why.
        values: `module:name` -> plain value of a global or closure that the code reads.
        libraries: Packages of others that it uses.
        left_out: Names of pieces beyond what is kept.
        cells: All cells so far.
        notebook: The notebook's file name.
        folder: A folder that the code lies in.
        open: Whether a name had nothing behind it yet.
    """

    entry: Entry
    pieces: tuple[Piece, ...] = ()
    missing: dict[str, str] = attrs.field(factory=dict)
    values: dict[str, Any] = attrs.field(factory=dict)
    libraries: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    cells: Transcript | None = None
    notebook: str | None = None
    folder: str = "."
    open: bool = False


# ---- where code enters ---------------------------------------------------------------------------


def of_function(function: Any, name: str) -> Entry:
    """Give the entry of a function, whose file is read now."""
    inner = _innermost(function)
    if isinstance(inner, types.FunctionType):
        _texts.remember(inner.__code__.co_filename, inner.__globals__)
    return Entry(name, function)


def of_caller() -> Entry | None:
    """Give the entry of the script, module or cell that calls us; None if none is of the user."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if not _is_ours(frame.f_code.co_filename) and isinstance(module, str) and is_users(module):
            return _of_code(frame.f_code, frame.f_globals)
        frame = frame.f_back
    return None


def _of_code(code: types.CodeType, scope: dict[str, Any]) -> Entry:
    in_cell = scope.get("__name__") == "__main__" and "__file__" not in scope
    if in_cell and _notebook.shell() is not None:
        name = _notebook.notebook_name(scope) or "notebook"
        return Entry(name, ModuleCode(code, scope), since=_notebook.current_number())
    return Entry(shown_file(code.co_filename, scope), ModuleCode(code, scope))


def remember_script() -> None:
    """Read the script that runs, which its author may edit while it runs."""
    main = sys.modules.get("__main__")
    name = getattr(main, "__file__", None)
    if isinstance(name, str) and not _is_ours(name):
        _texts.remember(name, vars(main))


def _is_ours(name: str) -> bool:
    return name.startswith(_HERE)


def _innermost(function: Any) -> Any:
    """Give the function or class that is behind decorators, partials, methods and instances."""
    for _ in range(100):
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif "__wrapped__" in getattr(function, "__dict__", ()):
            function = function.__wrapped__
        elif isinstance(function, (types.FunctionType, type)):
            return function
        else:
            return type(function)
    return type(function)


def text_of_function(function: Any) -> str | None:
    """Give the source of a function or a class, None where it cannot be shown to be what runs."""
    try:
        inner = _innermost(function)
        place = place_of_class(inner) if isinstance(inner, type) else place_of_function(inner)
    except Exception:  # noqa: BLE001 - foreign objects may raise anything, capture never
        return None
    return None if isinstance(place, str) else place[0].cut(*place[1:])


# ---- one look ------------------------------------------------------------------------------------


@attrs.frozen
class Look:
    """The code of a run as it was found, its git repository being read, and random states."""

    code: Capture | None = None
    git: Reading | GitState | None = None
    states: dict[str, Any] = attrs.field(factory=dict)

    def finish(self) -> Look:
        """Look again for what was not there at the start, and take the cells that were run."""
        return self if self.code is None else attrs.evolve(self, code=finish(self.code))

    def told(self) -> GitState | None:
        """Give what git told, after waiting for it."""
        return self.git.result() if isinstance(self.git, Reading) else self.git


def look(entry: Entry | None) -> Look:
    """Take the code of an entry that is about to run; its git repository is read meanwhile."""
    states = random_states()
    if entry is None:
        return Look(states=states)
    found = capture(entry)
    return Look(found, start_reading(found.folder), states)


def look_back(entry: Entry | None) -> Look:
    """Take the code of an entry that has run, such as the script that calls a save."""
    if entry is None:
        return Look()
    found = _with_cells(capture(entry))
    return Look(found, start_reading(found.folder))


# ---- what it reaches -----------------------------------------------------------------------------


def capture(entry: Entry) -> Capture:
    """Find the code of an entry and of what it reaches, as it is now."""
    try:
        return _captured(entry)
    except Exception as e:  # noqa: BLE001 - foreign objects may raise anything, capture never
        return Capture(entry=entry, missing={entry.name: f"{type(e).__name__} while looking"})


def _captured(entry: Entry) -> Capture:
    found = _Found(entry)
    if isinstance(entry.root, ModuleCode) and entry.since is not None:
        reached = found.of_cells(entry.root, entry.since)
    elif isinstance(entry.root, ModuleCode):
        reached = found.of_module(entry.root)
    else:
        reached = found.of_function(entry.root)
    pieces, left_out = _bounded(found.pieces)
    return Capture(
        entry=entry,
        pieces=pieces,
        missing=dict(list(found.missing.items())[:MAX_NAMED]),
        values=dict(sorted(reached.values.items())),
        libraries=tuple(sorted(reached.libraries)[:MAX_NAMED]),
        left_out=(*left_out, *(["..."] if reached.cut else [])),
        notebook=_notebook.notebook_name(_scope(entry.root)),
        folder=found.folder,
        open=reached.open,
    )


def finish(found: Capture) -> Capture:
    """Look again for what was not there at the start, and take the cells that were run."""
    if found.open or found.entry.since is not None:
        found = attrs.evolve(found, **_later(found))
    return _with_cells(found)


def _with_cells(found: Capture) -> Capture:
    run = _notebook.cells()
    return attrs.evolve(found, cells=_notebook.transcript(run)) if run else found


def _later(found: Capture) -> dict[str, Any]:
    again = capture(found.entry)
    values = {**again.values, **found.values}
    return {
        "pieces": again.pieces,
        "missing": again.missing,
        "values": values,
        "libraries": again.libraries,
        "left_out": again.left_out,
    }


def _scope(root: Any) -> dict[str, Any]:
    return root.scope if isinstance(root, ModuleCode) else vars(sys.modules["__main__"])


def _bounded(pieces: Iterable[Piece]) -> tuple[tuple[Piece, ...], list[str]]:
    kept, left_out, size = [], [], 0
    for piece in pieces:
        size += len(piece.text)
        if size <= MAX_BYTES:
            kept.append(piece)
        else:
            size -= len(piece.text)
            left_out.append(piece.name)
    return tuple(kept), left_out[:MAX_NAMED]


class _Found:
    """Collects the pieces of one entry."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.pieces: list[Piece] = []
        self.missing: dict[str, str] = {}
        self.folder = os.getcwd()
        # What the entry's own piece covers: a text and its lines.
        self._covered: Place | None = None

    # ---- a function

    def of_function(self, function: Any) -> Reached:
        inner, owner = _innermost(function), self.entry.owner
        reached = reach([function, *([] if owner is None else [owner])])
        place = self._place_of_entry(inner, owner)
        if isinstance(place, str):
            self.missing[self.entry.name] = place
        else:
            self._enter(*place)
        self._add([d for d in reached.definitions if d.value is not inner])
        return reached

    def _place_of_entry(self, inner: Any, owner: type | None) -> Place | str:
        """Give where the entry stands: of a method, the whole class."""
        if owner is not None:
            for cls in owner.__mro__:
                if inner in functions_of(cls):
                    place = place_of_class(cls)
                    if not isinstance(place, str):
                        return place
        return place_of_class(inner) if isinstance(inner, type) else place_of_function(inner)

    def _enter(self, text: Text, first: int, last: int) -> None:
        self._covered = (text, first, last)
        name, scope = self.entry.name, {"__name__": self.entry.name.partition(":")[0]}
        self.pieces.append(piece_of(text, first, last, name=name, scope=scope))
        if text.stamp:
            self.folder = os.path.dirname(os.path.abspath(text.name))

    # ---- a script or cells

    def of_cells(self, root: ModuleCode, since: int) -> Reached:
        cells = [cell for cell in _notebook.cells() if cell.number >= since]
        roots = []
        for cell in cells:
            name = f"{self.entry.name}[{cell.number}]"
            self.pieces.append(Piece(name, cell.typed.rstrip() + "\n", cell=cell.number))
            for code in _texts.codes_of_cell(cell.compiled, root.code.co_flags):
                roots.append(ModuleCode(code, root.scope))
        reached = reach([*roots, root])
        self._add(reached.definitions)
        return reached

    def of_module(self, root: ModuleCode) -> Reached:
        text = _texts.text_of(root.code, root.scope)
        if isinstance(text, str):
            self.missing[self.entry.name] = text
            reached = reach([root])
            self._add(reached.definitions)
            return reached
        index = text.index(root.code.co_flags)
        whole = root.code if index is None else index.module
        reached = reach([ModuleCode(whole, root.scope)])
        if all(_runs(d, text) for d in reached.definitions):
            self._enter(text, 1, len(text.lines))
        else:
            self.missing[self.entry.name] = "edited since import"
        self._add(reached.definitions)
        return reached

    # ---- all others

    def _add(self, definitions: Iterable[Definition]) -> None:
        seen = {piece.text for piece in self.pieces}
        cells = {piece.cell for piece in self.pieces} - {None}
        for definition in definitions:
            name = f"{definition.module}:{_name(definition.value)}"
            place = self._place(definition.value)
            if place is None:
                continue
            if isinstance(place, str):
                self.missing[name] = place
                continue
            piece = piece_of(*place, name=name, scope={"__name__": definition.module})
            whole = piece.cell in cells and self.entry.since is not None
            if piece.text not in seen and not whole:
                seen.add(piece.text)
                self.pieces.append(piece)

    def _place(self, value: Any) -> Place | str | None:
        """Give where a helper stands, None where the entry's own piece covers it."""
        place = place_of(value)
        if isinstance(place, str) or self._covered is None or place[0] is not self._covered[0]:
            return place
        _, first, last = self._covered
        if first <= place[1] and place[2] <= last:
            return None
        holds_entry = place[1] <= first and last <= place[2]
        if holds_entry and isinstance(value, types.FunctionType):
            inner = place_of_function(value)
            return None if inner == self._covered else inner
        return place


def _runs(definition: Definition, text: Text) -> bool:
    """Tell whether a definition, if it is of this file, is the one that its text shows."""
    value = definition.value
    if not isinstance(value, types.FunctionType) or value.__code__.co_filename != text.name:
        return True
    return _texts.text_of(value.__code__, value.__globals__, function=value) is text


def _name(value: Any) -> str:
    """Give the qualified name; a wrapper bears that of what it wraps, its code does not."""
    return str(value.__qualname__ if isinstance(value, type) else value.__code__.co_qualname)
