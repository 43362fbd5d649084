"""Data hash v1: what tells whether two data sets are the same, however they are kept.

`fingerprint` refuses what it does not know; `describe` is for capture, and never raises. Each
family of data is a module that is imported when an object of its library is seen. Format:
docs/reference/data-hash.md.
"""

from __future__ import annotations

from typing import Any

from modelversion.errors import FingerprintError
from modelversion.fingerprints import _files
from modelversion.fingerprints._describe import describe, is_data
from modelversion.fingerprints._families import Maker, family, register, unregister
from modelversion.fingerprints._files import fingerprint_place, folder_digest
from modelversion.fingerprints._result import ColumnPrint, Fingerprint, Profile, type_name


def fingerprint(value: Any) -> Fingerprint:
    """Fingerprint data: a table, an array, a tensor, a container of plain values, a file.

    Two data sets of one kind have the same digest if they are equal, whichever library holds
    them, in any process. Nothing is sampled, changed, consumed or collected. A `str` is text; a
    file or folder is given as a `pathlib.Path` or an `fsspec.core.OpenFile`.

    Raises:
        FingerprintError: The object, or a part of it, has no data hash; the message says what
            to do.
        DataNotFoundError: A path leads to nothing.
    """
    found = _files.fingerprint if _files.accepts(value) else family(value)
    if found is None:
        raise FingerprintError(
            f"a {type_name(value)} has no data hash; {_advice(value)}, or register one: "
            "modelversion.fingerprints.register(type, function)"
        )
    return found(value)


def _advice(value: Any) -> str:
    if hasattr(value, "__next__"):
        return "it can be gone through only once: make a list of it"
    if callable(getattr(value, "collect", None)):
        return "call .collect() first"
    return "convert it to a table, an array or plain values"


__all__ = [
    "ColumnPrint",
    "Fingerprint",
    "Maker",
    "Profile",
    "describe",
    "family",
    "fingerprint",
    "fingerprint_place",
    "folder_digest",
    "is_data",
    "register",
    "unregister",
]
