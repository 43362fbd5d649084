"""Folders on this machine: hard links create once, fsync makes durable.

Windows has neither `os.link` semantics nor folder fsync to the letter used here; a rename there
refuses an existing target, and folders are not synced.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from modelversion.errors import (
    NotARegistryError,
    OutcomeUnknownError,
    ReadOnlyError,
    StorageError,
    StorageFullError,
    UnsafeFilesystemError,
)
from modelversion.layout import TEMPORARY
from modelversion.storage import Blob, Item, KeyAbsent, KeyTaken, nonce

_WINDOWS = sys.platform == "win32"
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# A pipe in the place of a file is read as empty, and nobody waits for who would write to it.
_READ = os.O_RDONLY | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW
_MODE = 0o444
_ATTEMPTS = 100
_TOGETHER = 64  # files that are open at once while they are synced
_FULL = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class LocalStore:
    """A folder. Handles are plain values: they pickle, and survive a fork."""

    remote = False

    def __init__(self, root: str) -> None:
        self.url = root
        self._root = root
        self._settled: set[str] = set()
        self._proven = False

    def __reduce__(self) -> tuple[type[LocalStore], tuple[str]]:
        return LocalStore, (self._root,)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    # ---- reading

    def read(self, key: str) -> bytes:
        """Give the bytes of a key."""
        data = _read(self._path(key))
        if data is None:
            raise KeyAbsent(key)
        return data

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Give the bytes of each key, None where it is absent."""
        return [_read(f"{self._root}/{key}") for key in keys]

    def open(self, key: str, size: int | None = None) -> BinaryIO:
        """Open a key for reading."""
        path = f"{self._root}/{key}"
        try:
            return _opened(os.open(path, _READ))
        except (FileNotFoundError, NotADirectoryError) as e:
            raise KeyAbsent(key) from e
        except OSError as e:
            raise _storage_error("read", path, e) from e

    def local_path(self, key: str) -> str | None:
        """Give the path of a key."""
        return self._path(key)

    def list(self, folder: str) -> list[Item]:
        """List a folder, sorted by name."""
        path = self._path(folder) if folder else self._root
        try:
            with os.scandir(path) as found:
                return sorted((_item(entry) for entry in found), key=lambda item: item.name)
        except FileNotFoundError:
            return []
        except NotADirectoryError as e:
            if folder:
                return []
            raise NotARegistryError(f"{path}: a file is where a folder is needed") from e
        except OSError as e:
            raise _storage_error("list", path, e) from e

    # ---- writing

    def put_new(self, key: str, data: bytes) -> None:
        """Create a key with a hard link, durably."""
        path = self._path(key)
        folder = os.path.dirname(path)
        for attempt in range(_ATTEMPTS):
            temporary = f"{folder}/{TEMPORARY}{nonce()}"
            try:
                self._make(folder)
                with mapped("write", path), _removed(temporary):
                    _write(temporary, data)
                    _link_new(temporary, path)
                break
            except StorageError as e:
                # A gc may take the temporary file away, or a folder that is empty still.
                vanished = isinstance(e.__cause__, FileNotFoundError)
                if not vanished or attempt == _ATTEMPTS - 1:
                    raise
        with _unknown(path):
            self._settle([folder])

    def put(self, key: str, data: bytes) -> None:
        """Write a key that can be rebuilt, with a rename."""
        path = self._path(key)
        self._make(os.path.dirname(path))
        temporary = f"{os.path.dirname(path)}/{TEMPORARY}{nonce()}"
        with mapped("write", path), _removed(temporary):
            _write(temporary, data, durable=False)
            os.replace(temporary, path)

    def fill(self, folder: str, blobs: Iterable[Blob], shared: Mapping[str, str]) -> None:
        """Put the files of a folder, fsync them, then the folders that name them."""
        base = self._path(folder)
        folders = {base}
        written = []
        with mapped("fill", base):
            for blob in blobs:
                target = f"{base}/{blob.path}"
                self._make(os.path.dirname(target))
                folders.update(_folders(base, blob.path))
                if self._place(blob, target, shared.get(blob.path)):
                    written.append(target)
            # Written first and synced then, one commit of the filesystem's log serves several.
            _sync_files(written)
            self._settle(folders)

    def _place(self, blob: Blob, target: str, shared: str | None) -> bool:
        """Put a file in its place; tell whether its bytes have still to be synced."""
        if shared is not None and _share(self._path(shared), target, blob):
            return False  # its bytes were synced before the commit that we know it from
        in_memory = isinstance(blob.content, bytes)
        try:
            if isinstance(blob.content, bytes):
                _write(target, blob.content, durable=False)
            else:
                os.link(blob.content, target)
        except FileExistsError as e:
            raise KeyTaken(target) from e
        if os.stat(target).st_size != blob.size:
            raise StorageError(f"{target} has another size than was written: {blob.size} bytes")
        return in_memory

    def settle(self, folder: str) -> None:
        """Make durable what a folder shows, whoever put it there."""
        path = self._path(folder)
        if os.path.isdir(path):
            with mapped("sync", path):
                self._settle([path])

    def remove(self, key: str) -> None:
        """Remove a file or an empty folder."""
        path = self._path(key)
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        except (IsADirectoryError, PermissionError):
            with mapped("remove", path), contextlib.suppress(FileNotFoundError):
                os.rmdir(path)
        except OSError as e:
            raise _storage_error("remove", path, e) from e

    def revalidate(self) -> bool:
        """Say that there is no cache on the way."""
        return False

    def spool(self) -> Path:
        """Make a private folder on the same filesystem, so that its files can be linked in."""
        self._make(self._root)
        path = f"{self._root}/{TEMPORARY}{nonce()}"
        with mapped("write", path):
            os.mkdir(path, 0o700)
        return Path(path)

    def prove(self) -> None:
        """Create a key twice: the second must lose, and the bytes of the first stay."""
        # A gc without patience may take the key away while it is being proved.
        attempts = iter(range(_ATTEMPTS))
        while not self._proven and next(attempts, None) is not None:
            self._make(self._root)
            with mapped("write", self._root):
                self._proven = _creates_once(self._path(f"{TEMPORARY}{nonce()}"))
        if not self._proven:
            raise UnsafeFilesystemError(
                f"{self.url}: two writers of one file both won; its filesystem cannot hold a "
                "registry"
            )

    # ---- folders

    def _make(self, folder: str) -> None:
        """Make a folder and those above it, each by one atomic call."""
        if os.path.isdir(folder):
            return
        try:
            _make_folder(folder)
        except (FileExistsError, NotADirectoryError) as e:
            raise StorageError(f"{folder}: a file is where a folder is needed") from e
        except OSError as e:
            raise _storage_error("make", folder, e) from e

    def _settle(self, folders: Iterable[str]) -> None:
        """Fsync folders, and once a process every folder on the way to them.

        A folder that another process made may not be durable yet, and what we acknowledge
        would be lost with it.
        """
        pending = set(folders)
        reached: set[str] = set()
        for folder in list(pending):
            while folder not in self._settled | reached and folder != os.path.dirname(folder):
                reached.add(folder)
                folder = os.path.dirname(folder)
                pending.add(folder)
        for folder in () if _WINDOWS else sorted(pending, reverse=True):
            try:
                descriptor = os.open(folder, os.O_RDONLY)
            except PermissionError:
                # What is above the root may be closed to us, and was not made by us then.
                if len(folder) >= len(self._root):
                    raise
                continue
            try:
                sync(descriptor)
            finally:
                os.close(descriptor)
        self._settled |= reached


def _make_folder(folder: str) -> None:
    try:
        os.mkdir(folder)  # most often those above it are there
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise


def _read(path: str) -> bytes | None:
    try:
        descriptor = os.open(path, _READ)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise _storage_error("read", path, e) from e
    try:
        size = os.fstat(descriptor).st_size
        data = os.read(descriptor, size + 1)
        while len(data) < size and (more := os.read(descriptor, size - len(data))):
            data += more
        return data
    except OSError as e:
        raise _storage_error("read", path, e) from e
    finally:
        os.close(descriptor)


def _opened(descriptor: int) -> BinaryIO:
    try:
        return os.fdopen(descriptor, "rb", buffering=0)
    except OSError:  # a folder; it is not closed with the file that it did not become
        os.close(descriptor)
        raise


def _item(entry: os.DirEntry[str]) -> Item:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return Item(entry.name, False)
    return Item(entry.name, stat.S_ISDIR(status.st_mode), status.st_size, status.st_mtime)


def _folders(base: str, path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    return (f"{base}/{'/'.join(parts[: i + 1])}" for i in range(len(parts)))


def _write(path: str, data: bytes, *, durable: bool = True) -> None:
    descriptor = os.open(path, _CREATE, _MODE)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if durable:
            sync(descriptor)
    finally:
        os.close(descriptor)


def _sync_files(paths: list[str]) -> None:
    for start in range(0, len(paths), _TOGETHER):
        with contextlib.ExitStack() as opened:
            descriptors = []
            for path in paths[start : start + _TOGETHER]:
                descriptors.append(os.open(path, _READ))
                opened.callback(os.close, descriptors[-1])
            for descriptor in descriptors[1:]:
                begin_to_write(descriptor)
            for descriptor in descriptors:
                sync(descriptor)


def _link_new(temporary: str, path: str) -> None:
    """Give a file its name, once."""
    try:
        if _WINDOWS:  # pragma: no cover - judged on Windows only
            os.rename(temporary, path)
        else:
            os.link(temporary, path)
    except FileExistsError as e:
        raise KeyTaken(path) from e
    except OSError as e:
        if e.errno in _NO_LINKS and not os.path.exists(path):
            raise UnsafeFilesystemError(
                f"{path}: this filesystem has no hard links ({e.strerror}), so it cannot create "
                "a file exactly once; keep the registry on one that has"
            ) from e
        raise


def _creates_once(path: str) -> bool:
    """Link two files to one path; nothing is kept of it, so nothing is made durable."""
    first, second = f"{path}-1", f"{path}-2"
    try:
        _write(first, b"first", durable=False)
        _write(second, b"second", durable=False)
        _link_new(first, path)
        _link_new(second, path)
    except KeyTaken:
        return _read(path) == b"first"
    except FileNotFoundError:
        return False
    finally:
        for name in (path, first, second):
            with contextlib.suppress(OSError):
                os.unlink(name)
    return False


def _share(source: str, target: str, blob: Blob) -> bool:
    """Link a file of another version in, if it holds these very bytes now."""
    try:
        descriptor = os.open(source, _READ)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if (status.st_size, digest) != (blob.size, blob.sha256):
                return False
            os.link(source, target)
            linked = os.stat(target, follow_symlinks=False)
        if (linked.st_dev, linked.st_ino) == (status.st_dev, status.st_ino):
            return True
        os.unlink(target)
    except FileExistsError as e:
        raise KeyTaken(target) from e
    except OSError:
        return False
    return False


def begin_to_write(descriptor: int, start: int = 0, size: int = 0) -> None:
    """Let the system begin to bring a part of a file to the disk, and do not wait for it.

    The sync that follows finds less to do, and tells what failed meanwhile.

    Args:
        descriptor: The file.
        start: First byte.
        size: Bytes; 0 means to the end.
    """
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):  # only a hint
            os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)


def sync(descriptor: int) -> None:
    """Make a file's bytes durable, or the names in a folder."""
    if sys.platform == "darwin":  # pragma: no cover - judged on macOS only
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


@contextlib.contextmanager
def _removed(temporary: str) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


@contextlib.contextmanager
def mapped(verb: str, path: str) -> Iterator[None]:
    """Raise an error of the system as one of ours."""
    try:
        yield
    except StorageError:
        raise
    except OSError as e:
        raise _storage_error(verb, path, e) from e


@contextlib.contextmanager
def _unknown(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise OutcomeUnknownError(
            f"{path} was created, and whether it survives a power cut is unknown: fsync said "
            f"{e.strerror or e}; open the registry again and look whether it is there"
        ) from e


def _storage_error(verb: str, path: str, e: OSError) -> StorageError:
    reason = e.strerror or str(e)
    if e.errno in _FULL:
        return StorageFullError(f"cannot {verb} {path}: {reason}; free space or inodes there")
    if e.errno in _DENIED:
        return ReadOnlyError(f"cannot {verb} {path}: {reason}; check its owner and permissions")
    return StorageError(f"cannot {verb} {path}: {reason}")
