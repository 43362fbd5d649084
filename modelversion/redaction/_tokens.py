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


def formats_in(data: bytes) -> Iterator[str]:
    """Give the rules of the formats that tokens in some bytes have."""
    places = _places(data) if len(data) >= _FEW and sys.modules.get("numpy") else None
    if places is None:
        yield from _searched(data)
        return
    if _KEY_BLOCK in data:
        yield from _found(_anchored()["-"], [_anchored()["-"][0].search(data)])
    for anchor, at in places:
        form = _anchored()[anchor]
        yield from _found(form, (form[0].match(data, place) for place in at))


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
_BYTES_A_PLACE = 256


def _places(data: bytes) -> list[tuple[str, list[int]]] | None:
    """Give the anchors behind which a token may stand, None if they are too many."""
    import numpy as np

    whole = np.frombuffer(data, np.uint8)
    ends = np.frombuffer(_ends(), bool)
    at = [np.zeros(0, np.int64)]
    for start in range(0, len(data), _CHUNK):
        part = whole[start : start + _CHUNK + _LONG_RUN + 1]
        found = np.flatnonzero(_behind(part)) + 1
        # Two bytes of a beginning stand before the run.
        found = found[ends[part[found - 1] * np.uint16(256) + part[found]]]
        at.append(found + start)
        if len(found) * _BYTES_A_PLACE > _CHUNK:
            return None
    places = np.unique(np.concatenate(at))
    kinds = whole[places]
    return [(chr(kind), places[kinds == kind].tolist()) for kind in np.unique(kinds)]


def _behind(part: Any) -> Any:
    """Tell of each byte but the first whether so many follow as do behind an anchor."""
    import numpy as np

    runs = _runs(part)[2:]
    # At the end of all bytes there may be no room for more.
    long = np.zeros(len(runs), bool)
    more = _LONG_RUN - _RUN
    np.logical_and(runs[:-more], runs[more:], out=long[:-more])
    before = part[1 : len(runs) + 1]
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


_ELEMENT = re.compile(r"(\[[^\]]*\]|\(\?:[^)]*\)|\\.|.)(?:\{\d+\})?")


@functools.cache
def _ends() -> bytes:
    """Tell of each pair of bytes whether a beginning ends with it: a bool for each."""
    pairs = bytearray(2**16)
    for _, begins, _ in FORMATS:
        before, anchor = _ELEMENT.findall(begins)[-2:]
        options = before[3:-1].split("|") if before.startswith("(?:") else [before]
        one = re.compile("|".join(_ELEMENT.findall(option)[-1] for option in options))
        for byte in range(256):
            if one.fullmatch(chr(byte)):
                pairs[byte * 256 + ord(anchor[-1])] = 1
    return bytes(pairs)
