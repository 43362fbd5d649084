"""The on-disk format as pure functions from names to keys.

A key is a relative POSIX path below the registry's root. Keys are built from checked parts
and never decoded from text that storage gave.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from modelversion.errors import InvalidPathError
from modelversion.refs import WINDOWS_DEVICES

REGISTRY = "registry.json"
FORKS = "forks"
POLICIES = "policies"
MODELS = "models"
CLAIM = "claim.json"
VERSION = "version.json"
OBJECT = "object"
ARTIFACTS = "artifacts"
SOURCE = "source"
SERIES = "series.jsonl"
TEMPORARY = ".tmp-"
MERGE = 32
LEVELS = (MERGE, MERGE**2, MERGE**3)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def journal(model: str, name: str) -> str:
    """Give the folder of a model's journal: `journal` (facts), `decisions`, `observations`."""
    return f"{MODELS}/{model}/{name}"


def entry(folder: str, position: int) -> str:
    """Give the key of an entry."""
    return f"{folder}/{position:012d}.json"


def merge(folder: str, level: int, last: int) -> str:
    """Give the key of the merge of `32 ** level` entries that ends with position `last`."""
    return f"{folder}/s{level}/{last:012d}.jsonl"


def hint(folder: str) -> str:
    """Give the key of a journal's hint."""
    return f"{folder}/head.json"


def versions(model: str) -> str:
    """Give the folder of a model's version directories."""
    return f"{MODELS}/{model}/versions"


def version(model: str, number: int) -> str:
    """Give the folder of a version."""
    return f"{versions(model)}/{number}"


def numbers(names: Iterable[str]) -> list[int]:
    """Give the numbers whose folders are among these names, in order."""
    return sorted(int(name) for name in names if re.fullmatch(r"[1-9][0-9]{0,17}", name))


def folder_path(given: Any, what: str) -> Path:
    """Check a path on this machine, which nothing is asked of yet.

    Raises:
        InvalidPathError: It is no path, or one that no system has.
    """
    try:
        text = os.fsdecode(given)
        os.fsencode(text)
    except (TypeError, UnicodeError) as e:
        found = f"{type(given).__name__} {given!r:.80}"
        raise InvalidPathError(f"{what} must be a path, found {found}") from e
    if not text or "\0" in text:
        raise InvalidPathError(f"{what} must be a path, found {text[:80]!r}")
    return Path(text)


def artifact_path(path: Any) -> str:
    r"""Check the path of an artifact and give its path inside the version.

    Args:
        path: Relative POSIX parts, NFC, without `\`, `:` or control characters, each at most
            255 bytes long and not ending in a dot or a space.

    Raises:
        InvalidPathError: The path is not one; the message says which rule.
    """
    if not isinstance(path, str):
        raise InvalidPathError(f"artifact path must be str, found {type(path).__name__}")
    for part in path.split("/"):
        problem = _part_problem(part)
        if problem:
            raise InvalidPathError(f"artifact path {path[:200]!r}: part {part[:80]!r} {problem}")
    return f"{ARTIFACTS}/{path}"


def is_stored_path(path: str) -> bool:
    """Tell whether a path that a `version.json` lists stays inside the version's folder."""
    own = path in (CLAIM, VERSION)
    return not own and not any(_part_problem(part) for part in path.split("/"))


def _part_problem(part: str) -> str | None:
    rules = (
        (part in ("", ".", ".."), "is empty, '.' or '..'; give relative parts joined by '/'"),
        ("\\" in part or ":" in part, "contains a backslash or a colon"),
        (_CONTROL.search(part) is not None, "contains a control character"),
        (part.endswith((".", " ")), "ends with a dot or a space"),
        (part.startswith(TEMPORARY), f"begins with {TEMPORARY!r}"),
        (not unicodedata.is_normalized("NFC", part), "is not in Unicode form NFC"),
        (part.lower().split(".")[0] in WINDOWS_DEVICES, "is a device name on Windows"),
        (any(c in '<>"|?*' for c in part), "contains a character that Windows cannot store"),
        (_byte_length(part) > 255, "is longer than 255 bytes"),
    )
    return next((problem for broken, problem in rules if broken), None)


def _byte_length(part: str) -> int:
    try:
        return len(part.encode())
    except UnicodeEncodeError:
        return 256


def check_distinct(paths: Iterable[str]) -> None:
    """Refuse paths that would be one file where case is ignored, or a file and a folder at once.

    Raises:
        InvalidPathError: Two paths collide.
    """
    seen: dict[str, str] = {}
    for path in paths:
        folded = path.casefold()
        if folded in seen:
            raise InvalidPathError(
                f"{path!r} and {seen[folded]!r} are one path where case is ignored"
            )
        seen[folded] = path
    for folded, path in seen.items():
        parts = folded.split("/")
        for cut in range(1, len(parts)):
            if "/".join(parts[:cut]) in seen:
                raise InvalidPathError(f"{path!r} lies inside a path that is a file")
