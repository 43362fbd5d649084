"""Read a pickle without running it: the names it imports, and that it ends where it ends.

The stack machine is followed for text only, which is what names a global. A stream that
names a global by anything else is refused, since what it would import cannot be known.
Opcodes: `pickletools` of the standard library.
"""

from __future__ import annotations

import functools
import io
from typing import Any

from modelversion.errors import RecordError

_TEXT = frozenset(["SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"])
_GET = frozenset(["BINGET", "LONG_BINGET", "GET"])
_PUT = frozenset(["BINPUT", "LONG_BINPUT", "PUT"])
# Opcodes with a size of so many bytes before their text or bytes.
_SIZED = {"BINUNICODE": 4, "BINUNICODE8": 8, "BINBYTES": 4, "BINBYTES8": 8, "BYTEARRAY8": 8}
_LONGEST_NAME = 4096
_LONG: Any = type("Long", (), {})()
_REFUSED = frozenset(["EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"])


def pickle_globals(stream: bytes | bytearray) -> tuple[str, ...]:
    """List the globals of a pickle as sorted `module:qualname`.

    Raises:
        RecordError: The bytes are no pickle, go on after its end, or name a global in a way
            that cannot be read without running it.
    """
    scan = _Scan()
    file = io.BytesIO(stream)
    table = _opcodes()
    while True:
        byte = file.read(1)
        row = table.get(byte)
        if row is None:
            raise RecordError("the object's stream is no pickle; it was replaced")
        name, read = row
        if name == "STOP":
            break
        scan.step(name, _argument(name, read, file))
    if file.read(1):
        raise RecordError("the object's stream has bytes behind its end; it was replaced")
    return tuple(sorted(scan.globals))


@functools.cache
def _opcodes() -> dict[bytes, tuple[str, Any]]:
    import pickletools

    return {
        op.code.encode("latin-1"): (op.name, None if op.arg is None else op.arg.reader)
        for op in pickletools.opcodes
    }


def _argument(name: str, read: Any, file: io.BytesIO) -> Any:
    if read is None:
        return None
    try:
        return _skipped(name, file) or read(file)
    except (ValueError, UnicodeDecodeError) as e:
        raise RecordError(f"the object's stream is no pickle: {e}") from e


def _skipped(name: str, file: io.BytesIO) -> Any:
    """Go past a long text or bytes without reading it: no name is that long."""
    width = _SIZED.get(name)
    if width is None:
        return None
    start = file.tell()
    size = int.from_bytes(file.read(width), "little")
    end = file.tell() + size
    if size <= _LONGEST_NAME or end > len(file.getbuffer()):
        file.seek(start)
        return None
    file.seek(end)
    return _LONG


class _Scan:
    def __init__(self) -> None:
        self.globals: set[str] = set()
        self._memo: dict[int, str | None] = {}
        # The texts pushed last; None stands for anything else.
        self._recent: list[str | None] = []

    def step(self, name: str, argument: Any) -> None:
        if name in _TEXT:
            self._recent.append(None if argument is _LONG else argument)
        elif name == "MEMOIZE" or name in _PUT:
            # The unpickler counts what it keeps, not what was put: a slot may be put twice.
            slot = len(self._memo) if name == "MEMOIZE" else int(argument)
            self._memo[slot] = self._recent[-1] if self._recent else None
        elif name in _GET:
            self._recent.append(self._memo.get(int(argument)))
        elif name == "STACK_GLOBAL":
            self._stack_global()
        elif name in ("GLOBAL", "INST"):
            self.globals.add(argument.replace(" ", ":", 1))
            self._recent.append(None)
        elif name in _REFUSED:
            raise RecordError(f"the object's stream uses {name}, which names what is not in it")
        elif name not in ("FRAME", "PROTO"):
            self._recent.append(None)
        del self._recent[:-2]

    def _stack_global(self) -> None:
        texts = self._recent[-2:]
        if len(texts) < 2 or None in texts:
            raise RecordError("the object's stream names a global by something that is not text")
        self.globals.add(f"{texts[0]}:{texts[1]}")
        self._recent.append(None)
