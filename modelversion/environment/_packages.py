"""Installed distributions, and the files that pin them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from modelversion.records import InstalledFrom, LockRecord
from modelversion.redaction import redact_url
from modelversion.source.git import without_user

MAX_LISTED = 2000
MAX_LOCK = 16 * 2**20
MAX_LOCKS = 20
MAX_UP = 30
_LOCKS = re.compile(
    r"uv\.lock|poetry\.lock|pdm\.lock|pixi\.lock|Pipfile\.lock|pylock(\..+)?\.toml|"
    r"(.*[.-])?conda-lock\.ya?ml|environment\.ya?ml|requirements[^/]*\.(txt|lock)"
)


def normal(name: str) -> str:
    """Give a project's name in normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distributions(folders: list[str]) -> tuple[dict[str, str], dict[str, InstalledFrom]]:
    """Read name and version from the folder names of installed distributions.

    `importlib.metadata` opens each one's METADATA, which takes a thousand times as long; the
    folder name is `{name}-{version}.dist-info` by the specification of recorded projects. What
    was installed from a URL or a folder says so in its direct_url.json (PEP 610).

    Returns:
        Name -> version, and name -> origin of those that have one; the first of a name counts.
    """
    versions: dict[str, str] = {}
    origins: dict[str, InstalledFrom] = {}
    for folder in folders:
        for place, name, version in _found_in(folder):
            if name not in versions:
                versions[name] = version
                origin = _origin(place)
                if origin is not None:
                    origins[name] = origin
    return dict(sorted(versions.items())), dict(sorted(origins.items()))


def _found_in(folder: str) -> Iterator[tuple[str, str, str]]:
    """Give (place, name, version) of the distributions of one folder."""
    try:
        entries = os.listdir(folder or ".")
    except OSError:
        return
    for entry in entries:
        place = os.path.join(folder, entry)
        if entry.endswith(".dist-info"):
            project, _, version = entry.removesuffix(".dist-info").rpartition("-")
            if project:
                yield place, normal(project), version
        elif entry.endswith(".egg-info"):
            project, _, rest = entry.removesuffix(".egg-info").partition("-")
            yield place, normal(project), rest.partition("-py")[0] or _version_inside(place)


def _version_inside(place: str) -> str:
    """Read the version of a distribution whose folder does not tell it."""
    text = _read(os.path.join(place, "PKG-INFO")) or _read(place)
    found = re.search(r"^Version: *(\S+)", text, re.MULTILINE)
    return found[1] if found else "0"


def _read(place: str) -> str:
    try:
        with open(place, "rb") as file:
            return file.read(2**16).decode("utf-8", "replace")
    except OSError:
        return ""


def _origin(place: str) -> InstalledFrom | None:
    try:
        told: Any = json.loads(_read(os.path.join(place, "direct_url.json")) or "null")
        if not isinstance(told, dict) or not isinstance(told.get("url"), str):
            return None
        vcs = _part(told, "vcs_info", "vcs", str)
        commit = _part(told, "vcs_info", "commit_id", str)
        editable = _part(told, "dir_info", "editable", bool)
    except (ValueError, RecursionError):
        return None
    url, _ = redact_url(without_user(told["url"]))
    return InstalledFrom(url=url, vcs=vcs, commit=commit, editable=editable)


def _part(told: dict[str, Any], name: str, inner: str, kind: type) -> Any:
    part = told.get(name)
    value = part.get(inner) if isinstance(part, dict) else None
    return value if isinstance(value, kind) else None


# ---- lock files ----------------------------------------------------------------------------------


def lock_folders(start: str) -> list[str]:
    """Give the folders in which lock files count: from one up to the top of its repository.

    Outside of a repository, up to the first that has any.
    """
    folders = []
    here = start
    for _ in range(MAX_UP):
        folders.append(here)
        if os.path.lexists(os.path.join(here, ".git")):
            return folders
        above = os.path.dirname(here)
        if above == here:
            break
        here = above
    for i, folder in enumerate(folders):
        if _locks_in(folder):
            return folders[: i + 1]
    return folders[:1]


def lock_places(folders: list[str]) -> list[str]:
    """Give the lock files of folders, the nearest first."""
    places = (os.path.join(f, name) for f in folders for name in sorted(_locks_in(f)))
    return [place for place, _ in zip(places, range(MAX_LOCKS), strict=False)]


def _locks_in(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            listed = [e.name for e, _ in zip(entries, range(MAX_LISTED), strict=False)]
    except OSError:
        return []
    return [name for name in listed if _LOCKS.fullmatch(name)]


def lock_record(place: str, start: str) -> LockRecord | None:
    """Describe a lock file; its path is that from the working folder."""
    try:
        if os.path.getsize(place) > MAX_LOCK or not os.path.isfile(place):
            return None
        with open(place, "rb") as file:
            data = file.read(MAX_LOCK)
    except OSError:
        return None
    path = os.path.relpath(place, start).replace(os.sep, "/")
    path = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return LockRecord(path=path, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
