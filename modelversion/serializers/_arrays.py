"""Read the state of dtypes and arrays in a pickle: no bytes may become pointers.

numpy believes what it is told: flags that deny the objects of a dtype, fields that lie outside
it, a list that is shorter than the array that it fills. So a state is taken only as numpy itself
writes it, and what is not understood is refused. Its own reading: `arraydescr_setstate` and
`array_setstate`.
"""

from __future__ import annotations

import math
import re
from typing import Any

from modelversion.serializers._standins import LITERALS, Array, Dtype, Pairs

_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "f": (2, 4, 8, 12, 16), "c": (8, 16, 24, 32)}
_SIZES |= {"u": _SIZES["i"], "m": (8,), "M": (8,), "O": (4, 8)}
_DTYPE = re.compile("([biufcmMOSUV])([0-9]{1,10})")
_UNITS = tuple(b"generic Y M W D h m s ms us ns ps fs as".split())
_LARGEST = 2**31 - 1
# Flags of numpy's dtypes: all of an object's, and those that say that there are objects inside.
_OBJECT, _OBJECTS_INSIDE = 0b0011_1111, 0b0110_0111


def make_dtype(name: str, args: tuple[Any, ...]) -> Dtype | None:
    """Read `dtype("f8", False, True)`: a copy, since what all share must not be given state."""
    if len(args) != 3 or type(args[0]) is not str or args[1:] != (False, True):
        return None
    found = _DTYPE.fullmatch(args[0])
    if found is None:
        return None
    letter, size = found[1], int(found[2])
    if size not in _SIZES.get(letter, (size,)) or size > _LARGEST:
        return None
    return Dtype(name, letter, 4 * size if letter == "U" else size)


def read_dtype(dtype: Dtype, state: Any) -> bool:
    """Believe a dtype once its state is one that numpy writes for it, with no objects inside."""
    if type(state) is not tuple or len(state) not in (8, 9):
        return False
    version, order, base, names, fields, size, alignment, flags = state[:8]
    if not all(type(number) is int for number in (version, size, alignment, flags)):
        return False
    known = version in (3, 4) and type(order) is str and order in ("<", ">", "|")
    if not known or not _is_metadata(dtype.letter, state[8:]):
        return False
    if not _is_sized(dtype, size, alignment) or not _is_flagged(dtype.letter, flags):
        return False
    if (base, names, fields) == (None, None, None):
        dtype.kind = dtype.letter
    elif dtype.letter == "V" and base is not None:
        dtype.kind = "subarray" if names is None is fields and _is_inside(base, size) else ""
    elif dtype.letter == "V":
        dtype.kind = "V" if _are_fields(names, fields, size) else ""
    return dtype.kind != ""


def _is_metadata(letter: str, more: tuple[Any, ...]) -> bool:
    if letter not in "mM":
        return more in ((), (None,))
    if len(more) != 1 or type(more[0]) is not tuple or len(more[0]) != 2:
        return False
    metadata, unit = more[0]
    empty = metadata is None or (type(metadata) is Pairs and not metadata)
    if not empty or type(unit) is not tuple or len(unit) != 4 or type(unit[0]) is not bytes:
        return False
    return unit[0] in _UNITS and all(type(n) is int and 1 <= n <= _LARGEST for n in unit[1:])


def _is_sized(dtype: Dtype, size: int, alignment: int) -> bool:
    if dtype.letter in _SIZES:
        return size == alignment == -1
    return size == dtype.size and alignment in (1, 2, 4, 8, 16)


def _is_flagged(letter: str, flags: int) -> bool:
    if letter == "O":
        return flags == _OBJECT
    return -128 <= flags < 256 and flags & _OBJECTS_INSIDE == 0


def _is_inside(base: Any, size: int) -> bool:
    """Tell whether a dtype of arrays is of no more bytes than it has."""
    if type(base) is not tuple or len(base) != 2 or not is_flat(base[0]) or not is_shape(base[1]):
        return False
    return bool(base[0].size * math.prod(base[1]) == size)


def _are_fields(names: Any, fields: Any, size: int) -> bool:
    """Tell whether every name has one field, and every field lies in the bytes that there are."""
    if type(names) is not tuple or type(fields) is not Pairs or fields.given:
        return False
    fields.kept = True
    keys = fields[::2]
    if not all(type(key) is str for key in (*keys, *names)):
        return False
    each_once = len(keys) == len(names) == len(set(keys)) and set(keys) == set(names)
    return each_once and all(_is_field(field, size) for field in fields[1::2])


def _is_field(field: Any, size: int) -> bool:
    if type(field) is not tuple or len(field) != 2 or type(field[1]) is not int:
        return False
    dtype, offset = field
    inside = is_flat(dtype) or (type(dtype) is Dtype and dtype.kind == "subarray")
    return inside and 0 <= offset <= size - dtype.size


def is_flat(dtype: Any) -> bool:
    """Tell a dtype that was read and has bytes and no objects."""
    return type(dtype) is Dtype and dtype.kind not in ("", "O", "subarray")


def is_shape(shape: Any) -> bool:
    if type(shape) is not tuple or len(shape) > 64:
        return False
    return all(type(n) is int and 0 <= n < 2**63 for n in shape)


def is_array_state(state: Any) -> bool:
    """Tell whether bytes stand for bytes, and as many objects are listed as there is room for.

    numpy does not compare the last two.
    """
    if type(state) is not tuple or len(state) not in (5, 7) or not is_shape(state[1]):
        return False
    _, shape, dtype, _, data, *more = state
    if more and type(more[1]) not in (*LITERALS, Array):  # what a masked array is filled with
        return False
    if type(dtype) is Dtype and dtype.kind == "O":
        return type(data) is list and len(data) == math.prod(shape)
    return is_flat(dtype) and type(data) is bytes
