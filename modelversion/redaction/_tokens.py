"""Tokens of known formats in bytes: where they may be, and whether they are.

With numpy, if it is loaded, a look at all bytes at once leaves few places: those behind which
16 bytes follow that may belong to a token. Without it, and in few bytes, `re` goes through them.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from typing import Any

from modelversion.redaction._formats import FORMATS, needed

# A part of bytes that tells every token which lies across it and the bytes before.
SEAM = 2048
# Rare enough in most bytes for a search that stops at each of them.
_RARE = "_-IJ=~."
# What stands behind an anchor in every token; most other places end here.
_GUARDS = {
    "_": r"(?=[A-Za-z0-9+]{16}|[A-Za-z0-9+=_\-]{27})",
    "-": r"(?=[A-Za-z0-9_][A-Za-z0-9_\-]{15}|----)",
    "=": r"(?=[A-Za-z0-9+/]{43})",
    ".": r"(?=[A-Za-z0-9_\-=.]{22}|com/services/T)",
}
_KEY_BLOCK = b"PRIVATE KEY"
_RARE_IN_BLOCK = b"V"
_BEFORE_RARE = _KEY_BLOCK.index(_RARE_IN_BLOCK)
# Where it is not rare, the block itself is looked for.
_BYTES_A_RARE = 4096


def formats_in(data: bytes) -> Iterator[str]:
    """Give the rules of the formats that tokens in some bytes have."""
    places = _places(data) if len(data) >= _FEW and sys.modules.get("numpy") else None
    if places is None:
        yield from _searched(data)
        return
    if _has_key_block(data):
        yield from _found(_anchored()["-"], [_anchored()["-"][0].search(data)])
    for anchor, at in places:
        form = _anchored()[anchor]
        yield from _found(form, (form[0].match(data, place) for place in at))


def _has_key_block(data: bytes) -> bool:
    """Look for a byte that is rare in most bytes: that is far quicker than for several."""
    at = data.find(_RARE_IN_BLOCK)
    for _ in range(len(data) // _BYTES_A_RARE):
        if at < 0:
            return False
        if data.startswith(_KEY_BLOCK, max(at - _BEFORE_RARE, 0)):
            return True
        at = data.find(_RARE_IN_BLOCK, at + 1)
    return _KEY_BLOCK in data


Form = tuple[re.Pattern[bytes], tuple[str, ...], tuple[bytes, ...]]


@functools.cache
def _anchored() -> dict[str, Form]:
    """Give for each anchor a pattern of its formats, the rule of each group, and plain parts."""
    forms = {}
    for anchor in sorted({begins[-1] for _, begins, _ in FORMATS}):
        rows = [row for row in FORMATS if row[1][-1] == anchor]
        branches = "|".join(f"({_begun(begins)}{goes_on})" for _, begins, goes_on in rows)
        pattern = f"{re.escape(anchor)}{_GUARDS.get(anchor, '')}(?:{branches})"
        rules = tuple(rule for rule, _, _ in rows)
        plain = [anchor] if anchor in _RARE else [needed(begins) for _, begins, _ in rows]
        forms[anchor] = re.compile(pattern.encode()), rules, tuple(p.encode() for p in plain)
    return forms


def _begun(begins: str) -> str:
    """Give what looks back from the end of a beginning.

    In a pickle the byte before a text is its length, which may look like a letter.
    """
    if begins.startswith("PRIVATE"):
        return f"(?<={begins})"
    return f"(?:(?<={begins})(?<![A-Za-z0-9]{begins})|(?<=[\\x8cCU][\\x00-\\xff]{begins}))"


def _found(form: Form, matches: Any) -> Iterator[str]:
    for match in matches:
        if match is not None and match.lastindex is not None:
            yield form[1][match.lastindex - 1]


def _searched(data: bytes) -> Iterator[str]:
    for form in _anchored().values():
        if any(plain in data for plain in form[2]):
            yield from _found(form, [form[0].search(data)])


# ---- all bytes at once ---------------------------------------------------------------------------

_FEW = 16 * 1024
_CHUNK = 256 * 1024
_RUN = 16
# Behind other anchors than these more follows; numbers in texts are seldom so long.
_SHORT = "_-I"
_LONG_RUN = 22
# Where more places are left than one of so many bytes, a search is quicker.
_BYTES_A_PLACE = 32
# Where one of so many groups of eight bytes has a run or more, only anchors are looked at.
_DENSE = 16


def _places(data: bytes) -> list[tuple[str, list[int]]] | None:
    """Give the anchors behind which a token may stand, None if they are too many."""
    import numpy as np

    whole = np.frombuffer(data, np.uint8)
    at = [np.zeros(0, np.int64)]
    for start in range(0, len(data), _CHUNK):
        part = whole[start : start + _CHUNK + _LONG_RUN + 1]
        at.append(_begun_at(whole, _before_runs(part) + start))
        if len(at[-1]) * _BYTES_A_PLACE > _CHUNK:
            return None
    places = np.unique(np.concatenate(at))
    kinds = whole[places]
    return [(chr(kind), places[kinds == kind].tolist()) for kind in np.unique(kinds)]


def _before_runs(part: Any) -> Any:
    """Give the places behind which a run follows; where there are many, of anchors only."""
    import numpy as np

    runs = _runs(part)[1:]
    packed = np.packbits(runs, bitorder="little")
    if np.count_nonzero(packed) * _DENSE > len(packed):
        flags = _behind(part, runs)
        if np.count_nonzero(flags) * _DENSE > len(part):
            flags &= np.frombuffer(part.tobytes().translate(_anchors()), bool)[: len(flags)]
        return np.flatnonzero(flags)
    eights = np.flatnonzero(packed)
    found = np.flatnonzero(np.unpackbits(packed[eights], bitorder="little"))
    return eights[found >> 3] * 8 + (found & 7)


def _behind(part: Any, runs: Any) -> Any:
    """Tell of each byte whether as many follow as do behind an anchor like it."""
    import numpy as np

    # At the end of all bytes there may be no room for more.
    long = np.zeros(len(runs), bool)
    more = _LONG_RUN - _RUN
    np.logical_and(runs[:-more], runs[more:], out=long[:-more])
    before = part[: len(runs)]
    short = before == ord(_SHORT[0])
    for anchor in _SHORT[1:]:
        short |= before == ord(anchor)
    short &= runs
    return short | long


def _runs(part: Any) -> Any:
    """Tell of each byte whether a run of 16 begins there that a token may consist of."""
    import numpy as np

    # From + to ~, but neither a comma nor a colon: letters, digits, and signs of all tokens.
    runs = part.view(np.int8) > ord("*")
    runs &= part != ord(",")
    runs &= part != ord(":")
    for width in (1, 2, 4, 8):
        runs = runs[:-width] & runs[width:]
    return runs


def _begun_at(whole: Any, places: Any) -> Any:
    """Give those of some anchors that end as a beginning does, with the two bytes before."""
    import numpy as np

    pairs, rows = (np.frombuffer(table, bool) for table in _ends()[:2])
    row_of = np.frombuffer(_ends()[2], np.uint8)
    places = places[places > 0]
    places = places[pairs[whole[places - 1] * np.uint16(256) + whole[places]]]
    before = whole[np.maximum(places - 2, 0)] * np.uint16(256) + whole[places - 1]
    return places[rows[row_of[whole[places]].astype(np.int64) * 2**16 + before]]


_ELEMENT = re.compile(r"(\[[^\]]*\]|\\.|.)(?:\{(\d+)\})?")


@functools.cache
def _anchors() -> bytes:
    """Tell of each byte whether a beginning ends with it."""
    known = {anchor for _, _, anchor in _endings()}
    return bytes(byte in known for byte in range(256))


@functools.cache
def _endings() -> list[tuple[list[int], list[int], int]]:
    """Give for each way that a beginning ends the bytes of its last three places."""
    found = []
    for _, begins, _ in FORMATS:
        group = re.search(r"\(\?:([^)]*)\)", begins)
        options = group[1].split("|") if group else [""]
        for option in options:
            text = begins.replace(group[0], option) if group else begins
            spread = [[e] * min(int(n or 1), 3) for e, n in _ELEMENT.findall(text)]
            places = [r"[\x00-\xff]", *(element for elements in spread for element in elements)]
            two, one, anchor = (_bytes_of(element) for element in places[-3:])
            found.append((two, one, anchor[0]))
    return found


def _bytes_of(element: str) -> list[int]:
    pattern = re.compile(element)
    return [byte for byte in range(256) if pattern.fullmatch(chr(byte))]


@functools.cache
def _ends() -> tuple[bytes, bytes, bytes]:
    """Give tables of how beginnings end.

    A flag for each pair of the last two bytes; rows with a flag for each pair of bytes before an
    anchor; and the row of each anchor.
    """
    anchors = sorted({anchor for _, _, anchor in _endings()})
    pairs, row_of, rows = bytearray(2**16), bytearray(256), bytearray(len(anchors) << 16)
    for twos, ones, anchor in _endings():
        row_of[anchor] = anchors.index(anchor)
        for one in ones:
            pairs[one << 8 | anchor] = 1
            for two in twos:
                rows[row_of[anchor] << 16 | two << 8 | one] = 1
    return bytes(pairs), bytes(rows), bytes(row_of)
