"""Stand-ins for what an unpickler would have on its stack: no more than is asked about it.

Numbers, texts, tuples and lists stand for themselves.
"""

from __future__ import annotations

from typing import Any


class Named:
    """A global; a free one may do anything, since the list or the reader is asked about it."""

    __slots__ = ("free", "name")

    def __init__(self, name: str, *, free: bool = False) -> None:
        self.name = name
        self.free = free


class Made:
    """What a call of a name made; `fresh` until its state was given."""

    __slots__ = ("free", "fresh", "name")

    def __init__(self, name: str, *, free: bool = False, fresh: bool = False) -> None:
        self.name = name
        self.free = free
        self.fresh = fresh


class Array(Made):
    """An array of numpy."""

    __slots__ = ()


class Number(Made):
    """A scalar of numpy, which nothing can change."""

    __slots__ = ()


class Dtype(Made):
    """A dtype; its `kind` is a letter of numpy once its state was read, `size` its bytes."""

    __slots__ = ("kind", "letter", "size")

    def __init__(self, name: str, letter: str, size: int) -> None:
        super().__init__(name, fresh=True)
        self.letter = letter
        self.kind = ""
        self.size = size


class Pairs(list[Any]):
    """A dict, as keys and values in turn; a list stands for a list.

    numpy keeps the one that a dtype's fields are in, so what is `kept` may not change any more,
    and what was `given` to another, who may change it, is not taken for one.
    """

    given = False
    kept = False


BUFFER = Made("")
LITERALS = (bool, int, float, str, bytes, type(None), Number)
