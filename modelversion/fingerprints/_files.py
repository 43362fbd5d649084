"""Files and folders, here or on any fsspec filesystem: what `sha256sum` prints of them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from modelversion.errors import DataNotFoundError, FingerprintError
from modelversion.fingerprints._result import Fingerprint
from modelversion.threads import each

_CHUNK = 2**20
_WORKERS = 4


def accepts(value: Any) -> bool:
    """Tell whether it is a path object, or a file that fsspec has described."""
    return isinstance(value, os.PathLike) or _is_open_file(value)


def _is_open_file(value: Any) -> bool:
    return type(value).__name__ == "OpenFile" and type(value).__module__ == "fsspec.core"


def fingerprint(value: Any) -> Fingerprint:
    """Fingerprint the file or folder that a path or an `fsspec.core.OpenFile` names.

    Raises:
        DataNotFoundError: There is nothing.
        FingerprintError: It is no regular file, or a folder that holds one that is not.
    """
    if _is_open_file(value):
        return _of_remote(value.fs, value.path)
    if hasattr(value, "fs") and hasattr(value, "storage_options"):  # universal_pathlib
        return _of_remote(value.fs, value.path)
    return _of_local(Path(value))


def fingerprint_place(
    url: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None
) -> Fingerprint:
    """Fingerprint a file or folder by its URL; a plain path is one too.

    Args:
        url: A path, or a URL of any fsspec filesystem.
        storage_options: For the filesystem, as fsspec takes them.

    Raises:
        DataNotFoundError: There is nothing.
        FingerprintError: It is no regular file, or a folder that holds one that is not.
    """
    if isinstance(url, os.PathLike):
        return fingerprint(url)
    if "://" not in url and "::" not in url:
        return _of_local(Path(url))
    from fsspec.core import url_to_fs

    fs, path = url_to_fs(url, **(storage_options or {}))
    return _of_remote(fs, path)


# ---- local ---------------------------------------------------------------------------------------


def _of_local(path: Path) -> Fingerprint:
    if path.is_dir():
        names = list(_walk(path))
        return _folder(names, lambda name: _hash_local(path / name))
    digest, size = _hash_local(path)
    return Fingerprint("file", "file", digest, size=size)


def _walk(folder: Path) -> Iterable[str]:
    """List the files below a folder, as relative paths."""

    def refuse(e: OSError) -> None:
        raise FingerprintError(f"{e.filename} cannot be read: {e.strerror}") from e

    for parent, folders, files in os.walk(folder, onerror=refuse):
        for name in folders:
            if (linked := Path(parent, name)).is_symlink():
                raise FingerprintError(
                    f"{str(linked)!r} is a link to a folder, which may never end; "
                    "fingerprint the folder that it points at"
                )
        for name in files:
            yield Path(parent, name).relative_to(folder).as_posix()


def _hash_local(path: Path) -> tuple[str, int]:
    try:
        # A pipe would wait for its writer for ever.
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise FingerprintError(f"{str(path)!r} is no regular file; its content has no end")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return digest, file.tell()
    except FileNotFoundError as e:
        raise DataNotFoundError(f"there is no file or folder {str(path)!r}") from e
    except PermissionError as e:
        raise FingerprintError(f"{str(path)!r} cannot be read: {e.strerror}") from e


# ---- elsewhere -----------------------------------------------------------------------------------


def _of_remote(fs: Any, path: str) -> Fingerprint:
    try:
        kind = fs.info(path)["type"]
    except FileNotFoundError as e:
        missing = f"there is no file or folder {path!r} on {type(fs).__name__}"
        raise DataNotFoundError(missing) from e
    if kind == "file":
        digest, size = _hash_remote(fs, path)
        return Fingerprint("file", "file", digest, size=size)
    root = path.rstrip("/")
    found = {_below(root, full): full for full in fs.find(path)}
    # Drivers without asyncio have one connection, on which two threads take each other's replies.
    workers = _WORKERS if getattr(fs, "async_impl", False) else 1
    return _folder(list(found), lambda name: _hash_remote(fs, found[name]), workers=workers)


def _below(root: str, full: str) -> str:
    return full[len(root) :].lstrip("/") if full.startswith(root) else full.lstrip("/")


def _hash_remote(fs: Any, path: str) -> tuple[str, int]:
    hasher, size = hashlib.sha256(), 0
    with fs.open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
            size += len(chunk)
    return hasher.hexdigest(), size


# ---- folders -------------------------------------------------------------------------------------


def _folder(names: list[str], hash_one: Any, *, workers: int = _WORKERS) -> Fingerprint:
    """Hash the files of a folder, as many at once as there are workers."""
    found = dict(zip(names, each(hash_one, names, workers=workers), strict=True))
    return Fingerprint(
        "folder",
        "folder",
        folder_digest({name: digest for name, (digest, _) in found.items()}),
        shape=(len(found),),
        size=sum(size for _, size in found.values()),
    )


def folder_digest(digests: Mapping[str, str]) -> str:
    """Digest what `sha256sum` prints of files, sorted by the bytes of their names.

    Args:
        digests: Relative path with `/` -> sha256 in hex.
    """
    ordered = sorted(digests.items(), key=lambda item: os.fsencode(item[0]))
    lines = b"".join(_line(name, digest) for name, digest in ordered)
    return hashlib.sha256(lines).hexdigest()


def _line(name: str, digest: str) -> bytes:
    """Give a line of `sha256sum`, which escapes line breaks and backslashes and says so."""
    shown = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if shown != name else ""
    return f"{mark}{digest}  ".encode() + os.fsencode(shown) + b"\n"
