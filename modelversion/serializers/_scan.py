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

# Opcodes with a size of so many bytes before their text or bytes.
_SIZED = {"BINUNICODE": 4, "BINUNICODE8": 8, "BINBYTES": 4, "BINBYTES8": 8, "BYTEARRAY8": 8}
_LONGEST_NAME = 4096
_LONG: Any = type("Long", (), {})()
_STOP = b"."


def pickle_globals(stream: bytes | bytearray) -> tuple[str, ...]:
    """List the globals of a pickle as sorted `module:qualname`.

    Raises:
        RecordError: The bytes are no pickle, go on after its end, or name a global in a way
            that cannot be read without running it.
    """
    scan = _Scan()
    file = io.BytesIO(stream)
    table = _opcodes()
    try:
        while (byte := file.read(1)) != _STOP:
            read, rule = table[byte]
            rule(scan, read and read(file))
    except RecordError:
        raise
    except KeyError as e:
        raise RecordError("the object's stream is no pickle; it was replaced") from e
    except (ValueError, UnicodeDecodeError) as e:
        raise RecordError(f"the object's stream is no pickle: {e}") from e
    if file.read(1):
        raise RecordError("the object's stream has bytes behind its end; it was replaced")
    return tuple(sorted(scan.globals))


@functools.cache
def _opcodes() -> dict[bytes, tuple[Any, Any]]:
    """Give what reads the argument of an opcode, None if it has none, and its rule."""
    import pickletools

    return {
        op.code.encode("latin-1"): (_reader(op), _RULES.get(op.name, _Scan.other))
        for op in pickletools.opcodes
    }


def _reader(op: Any) -> Any:
    read = None if op.arg is None else op.arg.reader
    width = _SIZED.get(op.name)
    return read if width is None else functools.partial(_read_or_skip, read, width)


def _read_or_skip(read: Any, width: int, file: io.BytesIO) -> Any:
    """Go past a long text or bytes without reading it: no name is that long."""
    start = file.tell()
    size = int.from_bytes(file.read(width), "little")
    end = file.tell() + size
    if size <= _LONGEST_NAME or end > len(file.getbuffer()):
        file.seek(start)
        return read(file)
    file.seek(end)
    return _LONG


class _Scan:
    """Follows what is pushed; None stands for anything that is no text."""

    def __init__(self) -> None:
        self.globals: set[str] = set()
        self._memo: dict[int, str | None] = {}
        self._before: str | None = None
        self._last: str | None = None

    def other(self, argument: Any) -> None:
        self._push(None)

    def _push(self, text: str | None) -> None:
        self._before, self._last = self._last, text

    def text(self, argument: Any) -> None:
        self._push(None if argument is _LONG else argument)

    def memoize(self, argument: Any) -> None:
        # The unpickler counts what it keeps, not what was put: a slot may be put twice.
        self._memo[len(self._memo)] = self._last

    def put(self, argument: Any) -> None:
        self._memo[int(argument)] = self._last

    def get(self, argument: Any) -> None:
        self._push(self._memo.get(int(argument)))

    def stack_global(self, argument: Any) -> None:
        if self._before is None or self._last is None:
            raise RecordError("the object's stream names a global by something that is not text")
        self.globals.add(f"{self._before}:{self._last}")
        self._push(None)

    def named_global(self, argument: str) -> None:
        self.globals.add(argument.replace(" ", ":", 1))
        self._push(None)

    def outside(self, argument: Any) -> None:
        raise RecordError("the object's stream uses what is not in it: an extension or a reference")

    def nothing(self, argument: Any) -> None:
        pass


_RULES = {
    **dict.fromkeys(["SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"], _Scan.text),
    **dict.fromkeys(["BINGET", "LONG_BINGET", "GET"], _Scan.get),
    **dict.fromkeys(["BINPUT", "LONG_BINPUT", "PUT"], _Scan.put),
    **dict.fromkeys(["EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"], _Scan.outside),
    **dict.fromkeys(["GLOBAL", "INST"], _Scan.named_global),
    **dict.fromkeys(["FRAME", "PROTO"], _Scan.nothing),
    "MEMOIZE": _Scan.memoize,
    "STACK_GLOBAL": _Scan.stack_global,
}
