"""When the text under a bare `key` is a secret: by what stands around it, or by how it looks.

`key` names a column, a metric or an entry far more often than a credential, and so says nothing
by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_KEY = re.compile(r"(?i)(?:.*:)?_*key_*")
_OPTIONS = r"(?:storage|file_?system|fs|s3|minio|client)_?(?:options|kwargs|opts|config)"
_IN_OPTIONS = re.compile(rf"(?i)(?:\w+_)?{_OPTIONS}")
_OPENED_OPTIONS = re.compile(
    rf"(?i)(?:{_OPTIONS}[\"']?\]?\s*(?::[^=()]{{1,80}})?[:=]\s*(?:dict)?\s*[({{]"
    r"|\b(?:S3FileSystem|S3Map|filesystem|url_to_fs)\()(?:[^(){}]|\{[^(){}]*\})*\Z"
    rf"|(?i:{_OPTIONS})[\"']?\]?\[[\"']\Z"
)
# What stands beside the key of a store, and hardly ever beside another.
_LOGIN = r"secret(?:_?(?:access_?)?key)?|endpoint_?url|client_?kwargs"
_BESIDE = re.compile(rf"(?i)[^(){{}}]{{0,300}}?[\"',\s](?:{_LOGIN})[\"']?\s*[:=]")
_RANDOM = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9+/]{32,}={0,2}")
# A drawn text of base 62 falls into pieces of 1.9 characters, 99 of 100 into less than this;
# names of models and columns into pieces of 3 and more.
_PIECE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_LONGEST = 2.7


def is_key(name: str) -> bool:
    """Tell whether a name is no more than `key`, perhaps behind that of its module."""
    return _KEY.fullmatch(name) is not None


def in_options(path: str, names: Iterable[str]) -> bool:
    """Tell whether an object holds a login: by its own name, or by another name in it."""
    last = re.split(r"[.:/\[']", path.rstrip("']"))[-1]
    if _IN_OPTIONS.fullmatch(last) is not None:
        return True
    return any(re.fullmatch(_LOGIN, name.lower()) for name in names)


def in_options_of_code(before: str, behind: str) -> bool:
    """Tell so of the call or the dict that stands open before a name in program text."""
    return _OPENED_OPTIONS.search(before) is not None or _BESIDE.match(behind) is not None


def looks_random(text: object) -> bool:
    """Tell whether a text looks like a drawn key: neither words, numbers, digests nor UUIDs."""
    if not isinstance(text, str) or _RANDOM.fullmatch(text) is None:
        return False
    return len(text) <= _LONGEST * len(_PIECE.findall(text))
