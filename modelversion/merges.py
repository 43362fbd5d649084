"""What a merge of a journal holds: the bytes of its entries, the state after them, a digest.

Merges stand for 32, 1024, ... entries; they only save requests.
"""

from __future__ import annotations

from collections.abc import Iterator

from modelversion import _json, layout
from modelversion.errors import RecordError

MAX_MERGE = 16 * 2**20
SIZES = dict(enumerate(layout.LEVELS, 1))
# A first look is for journals of two entries at most (rules adopted, a first decision), with room
# to see a hole behind them, and for the hint.
LOOK = 4


def spans(first: int, last: int, top: int) -> Iterator[tuple[int, int, int]]:
    """Cover first..last with the largest merges that end in it: (level, first, last)."""
    while first <= last:
        level = top
        while level and ((first - 1) % SIZES[level] or first + SIZES[level] - 1 > last):
            level -= 1
        size = SIZES[level] if level else 1
        yield level, first, first + size - 1
        first += size


def sealed(lines: list[bytes]) -> bytes:
    """Join the lines of a merge and end it with their sha256, which finds a flipped bit."""
    body = b"\n".join(lines)
    return body + b"\n" + _json.digest(body).encode()


def lines(data: bytes, count: int) -> list[bytes] | None:
    """Give the entries of a merge of so many; None if it is torn or was changed."""
    found = data.split(b"\n")
    body = data[: -len(found[-1]) - 1]
    if len(found) != count + 2 or found[-1] != _json.digest(body).encode():
        return None
    return found[:-2]


def hinted(data: bytes | None) -> int:
    """Give the position that a hint names, 0 if it is none that a merge can end with."""
    try:
        value = _json.loads(data or b"{}", "hint")
    except RecordError:
        return 0
    last = value.get("position", 0) if isinstance(value, dict) else 0
    usable = isinstance(last, int) and 0 < last < 10**12 and last % layout.MERGE == 0
    return last if usable else 0


def first_keys(folder: str, look: int = LOOK) -> list[str]:
    """Give the keys that a handle asks for when it has seen nothing of a journal yet."""
    return [layout.hint(folder), *(layout.entry(folder, i) for i in range(1, look + 1))]
