"""Read a pickle without running it: the names it imports, and how it calls them.

The stack machine is followed with stand-ins: a global is its name, what a call makes is the name
that made it. A stream that names a global by anything but text is refused, since what it would
import cannot be known. What may be called, and with what, is decided in `_calls`.
Opcodes: `pickletools` of the standard library.
"""

from __future__ import annotations

import functools
import gc
import io
from collections.abc import Callable, Collection
from typing import Any

import attrs

from modelversion.errors import RecordError
from modelversion.serializers import _calls
from modelversion.serializers._standins import BUFFER, Made, Named, Pairs

# No name is longer, and of longer text and bytes only the kind is kept.
_LONGEST = 4096
_LONG_TEXT, _LONG_BYTES = "?" * (_LONGEST + 1), b"?" * (_LONGEST + 1)
_OTHER = Named("")  # what is neither called nor read: a set
_STOP = b"."
_NO_PICKLE = "the object's stream is no pickle"


@attrs.frozen
class Scanned:
    """What a pickle would do.

    Attributes:
        globals: Every name that it imports, sorted, as `module:qualname`.
        misused: Those of the list that it calls or changes as no library writes it, sorted.
    """

    globals: tuple[str, ...]
    misused: tuple[str, ...]


def pickle_globals(stream: bytes | bytearray) -> tuple[str, ...]:
    """List the globals of a pickle as sorted `module:qualname`.

    Raises:
        RecordError: The bytes are no pickle, go on after its end, or name a global in a way
            that cannot be read without running it.
    """
    return scan(stream).globals


def scan(stream: bytes | bytearray, given: Collection[str] = ()) -> Scanned:
    """Follow a pickle to its end; names that are given may be called in any way.

    Raises:
        RecordError: As `pickle_globals`.
    """
    machine = _Machine(given, stream)
    read, rules, collected = machine.read, _opcodes(), gc.isenabled()
    gc.disable()  # all stand-ins stay, and to go through them takes longer than to make them
    try:
        while (opcode := read(1)) != _STOP:
            rules[opcode](machine)
        machine.stack.pop()
    except RecordError:
        raise
    except (KeyError, IndexError) as e:
        raise RecordError(f"{_NO_PICKLE}; it was replaced") from e
    except (ValueError, OverflowError) as e:
        raise RecordError(f"{_NO_PICKLE}: {e}") from e
    finally:
        if collected:
            gc.enable()
    if read(1):
        raise RecordError("the object's stream has bytes behind its end; it was replaced")
    return Scanned(tuple(sorted(machine.names)), tuple(sorted(machine.misused)))


class _Machine:
    """The unpickler's stack, with one list for what is above each mark, as in `pickle`."""

    __slots__ = ("_below", "_given", "_memo", "_most", "file", "misused", "names", "read", "stack")

    def __init__(self, given: Collection[str], stream: bytes | bytearray) -> None:
        self.file = io.BytesIO(stream)
        self.read = self.file.read
        self.stack: list[Any] = []
        self.names: dict[str, Named] = {}
        self.misused: set[str] = set()
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._given = given
        self._most = len(stream)

    # ---- values

    def number_1(self) -> None:
        self.stack.append(self.read(1)[0])

    def number_2(self) -> None:
        self.stack.append(int.from_bytes(self.read(2), "little"))

    def number_4(self) -> None:
        self.stack.append(int.from_bytes(self.read(4), "little", signed=True))

    def real(self) -> None:
        self.read(8)
        self.stack.append(0.0)

    def line(self) -> None:
        self.file.readline()
        self.stack.append(_OTHER)

    def text_1(self) -> None:
        self.stack.append(str(self.read(self.read(1)[0]), "utf-8", "surrogatepass"))

    def text(self, width: int) -> None:
        size = int.from_bytes(self.read(width), "little")
        short = size <= _LONGEST
        text = (
            str(self.read(size), "utf-8", "surrogatepass")
            if short
            else self._skip(size, _LONG_TEXT)
        )
        self.stack.append(text)

    def bytes(self, width: int) -> None:
        size = int.from_bytes(self.read(width), "little")
        self.stack.append(self.read(size) if size <= _LONGEST else self._skip(size, _LONG_BYTES))

    def buffer(self) -> None:
        self.bytes(8)
        self.stack[-1] = BUFFER

    def read_only(self) -> None:
        if self.stack[-1] is not BUFFER:
            raise ValueError("what is no buffer is made read-only")

    def _skip(self, size: int, kind: Any) -> Any:
        # What is cut off is found at the end, where no opcode follows.
        self.file.seek(size, io.SEEK_CUR)
        return kind

    def protocol(self) -> None:
        self.read(1)

    def frame(self) -> None:
        self.read(8)

    def outside(self) -> None:
        raise RecordError("the object's stream uses what is not in it: an extension or a reference")

    # ---- marks and the memo

    def mark(self) -> None:
        self._below.append(self.stack)
        self.stack = []

    def _above_mark(self) -> list[Any]:
        above, self.stack = self.stack, self._below.pop()
        return above

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._above_mark()

    def pop_mark(self) -> None:
        self._above_mark()

    def duplicate(self) -> None:
        self.stack.append(self.stack[-1])

    def memoize(self) -> None:
        # The unpickler counts what it keeps, not what was put: a slot may be put twice.
        self._memo[len(self._memo)] = self.stack[-1]

    def put_1(self) -> None:
        self._memo[self.read(1)[0]] = self.stack[-1]

    def put_4(self) -> None:
        self.put(int.from_bytes(self.read(4), "little"))

    def put(self, index: int) -> None:
        if not 0 <= index <= self._most:
            raise ValueError("a slot beyond all that it keeps")  # for which memory would be taken
        self._memo[index] = self.stack[-1]

    def get_1(self) -> None:
        self.stack.append(self._memo[self.read(1)[0]])

    def get_4(self) -> None:
        self.get(int.from_bytes(self.read(4), "little"))

    def get(self, index: int) -> None:
        self.stack.append(self._memo[index])

    # ---- containers

    def tuple_1(self) -> None:
        self.stack[-1] = (self.stack[-1],)

    def tuple_2(self) -> None:
        last = self.stack.pop()
        self.stack[-1] = (self.stack[-1], last)

    def tuple_3(self) -> None:
        last, middle = self.stack.pop(), self.stack.pop()
        self.stack[-1] = (self.stack[-1], middle, last)

    def tuple_above(self) -> None:
        items = tuple(self._above_mark())
        self.stack.append(items)

    def empty_list(self) -> None:
        self.stack.append([])

    def list_above(self) -> None:
        above = self._above_mark()
        self.stack.append(above)

    def append(self) -> None:
        last = self.stack.pop()
        self._extend([last])

    def appends(self) -> None:
        self._extend(self._above_mark())

    def _extend(self, above: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is list:
            target += above
        elif above:
            self._check(target, _calls.takes_items(target))

    def empty_dict(self) -> None:
        self.stack.append(Pairs())

    def dict_above(self) -> None:
        above = self._above_mark()
        self.stack.append(Pairs(above))

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def set_items(self) -> None:
        self._update(self._above_mark())

    def _update(self, above: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is Pairs:
            target += above
            if target.kept:
                self.misused.add("numpy:dtype")
        elif above:
            self._check(target, _calls.takes_pairs(target))

    def set_above(self) -> None:
        self._above_mark()
        self.stack.append(_OTHER)

    def add_items(self) -> None:
        self._above_mark()
        if self.stack[-1] is not _OTHER:  # a set of the stream's own
            self._check(self.stack[-1], _calls.is_free_value(self.stack[-1]))

    # ---- names and calls

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not (_is_name(name) and _is_name(module)):
            raise RecordError("the object's stream names a global by something that is not text")
        self.name(f"{module}:{name}")

    def named_global(self) -> None:
        # `pickletools` would read escapes in these lines, and the unpickler reads none.
        module, name = (self.file.readline()[:-1].decode("utf-8") for _ in range(2))
        self.name(f"{module}:{name}")

    def name(self, name: str) -> None:
        found = self.names.get(name)
        if found is None:
            found = self.names[name] = Named(name, free=_calls.is_free(name, self._given))
        self.stack.append(found)

    def reduce(self) -> None:
        args, called = self.stack.pop(), self.stack.pop()
        self._call(called, args)

    def new_with_names(self) -> None:
        named = self.stack.pop()
        args, called = self.stack.pop(), self.stack.pop()
        self._call(called, args if type(named) is Pairs and not named else None)

    def instance(self) -> None:
        args = tuple(self._above_mark())
        self.named_global()
        self._call(self.stack.pop(), args)

    def instance_above(self) -> None:
        called, *args = self._above_mark()
        self._call(called, tuple(args))

    def _call(self, called: Any, args: Any) -> None:
        made = _calls.made_by(called, args)
        self._check(called, made is not None)
        self.stack.append(Made(_name_of(called)) if made is None else made)

    def build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        self._check(made, _calls.takes_state(made, state))

    def _check(self, used: Any, well: bool) -> None:
        """Note the name that is misused, to be told with the others."""
        if not well:
            self.misused.add(_name_of(used))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST


def _name_of(value: Any) -> str:
    name = getattr(value, "name", "")
    if not name:
        raise RecordError("the object's stream calls or changes what has no name")
    return str(name)


# ---- opcodes


@functools.cache
def _opcodes() -> dict[bytes, Callable[[_Machine], None]]:
    import pickletools

    return {op.code.encode("latin-1"): _rule(op) for op in pickletools.opcodes if op.name != "STOP"}


def _rule(op: Any) -> Callable[[_Machine], None]:
    """Give what an opcode does; `pickletools` reads what old and rare ones are given."""
    known = _RULES.get(op.name)
    if known is not None:
        return known
    read, use = op.arg.reader, _OLD[op.name]
    return lambda machine: use(machine, read(machine.file))


def _push(value: Any) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(value)


def _sized(rule: Callable[[_Machine, int], None], width: int) -> Callable[[_Machine], None]:
    return lambda machine: rule(machine, width)


def _value(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


def _other(machine: _Machine, value: Any) -> None:
    machine.stack.append(_OTHER)


_OLD: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(["INT", "LONG", "LONG1", "LONG4", "FLOAT", "UNICODE"], _value),
    **dict.fromkeys(["BINSTRING", "SHORT_BINSTRING"], _other),
    "GET": _Machine.get,
    "PUT": _Machine.put,
}
_RULES: dict[str, Callable[[_Machine], None]] = {
    **dict.fromkeys(["EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"], _Machine.outside),
    "PROTO": _Machine.protocol,
    "FRAME": _Machine.frame,
    "BININT": _Machine.number_4,
    "BININT1": _Machine.number_1,
    "BININT2": _Machine.number_2,
    "BINFLOAT": _Machine.real,
    "STRING": _Machine.line,
    "SHORT_BINUNICODE": _Machine.text_1,
    "BINUNICODE": _sized(_Machine.text, 4),
    "BINUNICODE8": _sized(_Machine.text, 8),
    "SHORT_BINBYTES": _sized(_Machine.bytes, 1),
    "BINBYTES": _sized(_Machine.bytes, 4),
    "BINBYTES8": _sized(_Machine.bytes, 8),
    "BYTEARRAY8": _Machine.buffer,
    "NEXT_BUFFER": _push(BUFFER),
    "READONLY_BUFFER": _Machine.read_only,
    "NONE": _push(None),
    "NEWTRUE": _push(True),
    "NEWFALSE": _push(False),
    "BINGET": _Machine.get_1,
    "LONG_BINGET": _Machine.get_4,
    "BINPUT": _Machine.put_1,
    "LONG_BINPUT": _Machine.put_4,
    "MEMOIZE": _Machine.memoize,
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.duplicate,
    "EMPTY_TUPLE": _push(()),
    "TUPLE": _Machine.tuple_above,
    "TUPLE1": _Machine.tuple_1,
    "TUPLE2": _Machine.tuple_2,
    "TUPLE3": _Machine.tuple_3,
    "EMPTY_LIST": _Machine.empty_list,
    "LIST": _Machine.list_above,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "EMPTY_DICT": _Machine.empty_dict,
    "DICT": _Machine.dict_above,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "EMPTY_SET": _push(_OTHER),
    "FROZENSET": _Machine.set_above,
    "ADDITEMS": _Machine.add_items,
    "GLOBAL": _Machine.named_global,
    "INST": _Machine.instance,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.new_with_names,
    "OBJ": _Machine.instance_above,
    "BUILD": _Machine.build,
}
