"""SFTP through paramiko: a file is written under a temporary name and renamed, once.

The rename of the SFTP protocol refuses a target that exists (draft-ietf-secsh-filexfer-02,
6.5); OpenSSH does it with a hard link. `posix-rename` replaces, and serves only for what can
be rebuilt. Files are synced where the server has `fsync@openssh.com`; nothing in the protocol
syncs the folder that names them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from modelversion.errors import OutcomeUnknownError, StorageError
from modelversion.progress import transfer
from modelversion.storage import Blob, Item, KeyAbsent, KeyTaken
from modelversion.storage._explain import explain, passes
from modelversion.storage._link import Link
from modelversion.storage._proof import prove
from modelversion.storage._sftp_files import Lent, Reading, Tell, Upload
from modelversion.threads import each

T = TypeVar("T")

# OpenSSH gives a connection ten channels unless it was told otherwise.
CHANNELS = 6
ATTEMPT_SECONDS = 20.0
DEADLINE_SECONDS = 60.0
_PIECE = 32 * 2**10
_FOLDER = 0o40000


def with_timeouts(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options of a connection, with limits on how long it may take to be made."""
    limits = dict.fromkeys(("timeout", "banner_timeout", "auth_timeout"), ATTEMPT_SECONDS)
    return {**limits, **options}


class SftpStore:
    """A folder on a server that is reached over SSH."""

    remote = True

    def __init__(self, link: Link, root: str) -> None:
        self.url = link.url
        self._link = link
        self._root = root.rstrip("/")
        self._pools: dict[int, _Pool] = {}
        self._proven = False

    def __reduce__(self) -> tuple[Any, ...]:
        return SftpStore, (self._link, self._root)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root or "/"

    @contextlib.contextmanager
    def _channel(self, verb: str, key: str) -> Iterator[Any]:
        """Lend a channel to one thread; a connection that broke is made again by the next."""
        try:
            pool = self._pool()
            with pool.channel() as channel:
                yield channel
        except (KeyTaken, KeyAbsent, StorageError):
            raise
        except Exception as e:  # paramiko raises its own, EOFError, and plain OSError
            raise explain(e, verb, f"{self.url}/{key}") from e

    def _pool(self) -> _Pool:
        """Give the channels of this process's connection, a new one where it broke."""
        while True:
            fs = self._link.filesystem()
            pool = self._pools.setdefault(id(fs), _Pool(fs))
            if not pool.broken:
                return pool
            self._link.forget(fs)

    # ---- reading

    def read(self, key: str) -> bytes:
        """Give the bytes of a key."""
        with self._channel("read", key) as channel:
            data = _read(channel, self._path(key))
        if data is None:
            raise KeyAbsent(key)
        return data

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Give the bytes of each key, None where it is absent, over several channels."""

        def read(key: str) -> bytes | None:
            with self._channel("read", key) as channel:
                return _read(channel, self._path(key))

        return each(read, keys, workers=CHANNELS)

    def open(self, key: str, size: int | None = None) -> BinaryIO:
        """Open a key for reading; a connection that breaks is made again where it broke."""
        return Reading(  # type: ignore[return-value]
            lambda start: self._opened(key, start), patience=DEADLINE_SECONDS
        )

    def _opened(self, key: str, start: int) -> Lent:
        """Open a key at a position; its next pieces are asked for ahead."""
        lending = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            channel = lending.enter_context(self._channel("read", key))
            undo.push(lending)
            try:
                file = channel.open(self._path(key), "rb")
            except FileNotFoundError as e:
                raise KeyAbsent(key) from e
            lending.callback(file.close)
            end = file.stat().st_size
            undo.pop_all()
        return Lent(channel, file, lending, at=start, end=end)

    def local_path(self, key: str) -> None:
        """Give None: it is on no disk of this machine."""
        return None

    def list(self, folder: str) -> list[Item]:
        """List a folder, sorted by name."""
        with self._channel("list", folder) as channel:
            try:
                found = channel.listdir_attr(self._path(folder))
            except FileNotFoundError:
                return []
        items = (
            Item(i.filename, bool(i.st_mode & _FOLDER), i.st_size, float(i.st_mtime)) for i in found
        )
        return sorted(items, key=lambda item: item.name)

    # ---- writing

    def put_new(self, key: str, data: bytes) -> None:
        """Create a key by a rename that the server refuses where there is one."""
        self._create(key, Blob(key, len(data), hashlib.sha256(data).hexdigest(), data))

    def put(self, key: str, data: bytes) -> None:
        """Write a key that can be rebuilt, by a rename that replaces."""
        upload = Upload(self._path(key), Blob(key, len(data), "", data))
        with self._channel("write", key) as channel, upload.cleared_up(self._channel):
            _make_folders(channel, os.path.dirname(upload.path))
            upload.send(channel)
            channel.posix_rename(upload.temporary, upload.path)

    def fill(self, folder: str, blobs: Iterable[Blob], shared: Mapping[str, str]) -> None:
        """Put the files of a folder, over several channels; nothing is shared over SFTP."""
        wanted = list(blobs)
        with transfer(f"sending {folder}", sum(blob.size for blob in wanted)) as meter:

            def put(blob: Blob) -> None:
                tell = meter.callback().absolute_update
                self._create(f"{folder}/{blob.path}", blob, tell)

            each(put, wanted, workers=CHANNELS)

    def _create(self, key: str, blob: Blob, tell: Tell = lambda size: None) -> None:
        """Try until the key is there, by us or by another; what was sent is not sent again."""
        upload = Upload(self._path(key), blob, tell)
        until = time.monotonic() + DEADLINE_SECONDS
        pause, open_before = 0.05, False
        with upload.cleared_up(self._channel):
            while True:
                before = upload.sent
                refusal, is_open = self._attempt(key, upload)
                if refusal is None or self._is_ours(key, blob, refusal):
                    return
                open_before = open_before or is_open
                if upload.sent > before:
                    until, pause = time.monotonic() + DEADLINE_SECONDS, 0.05
                late = time.monotonic() + pause > until
                if late and open_before:
                    raise self._unknown(key, blob, refusal) from refusal
                if late or not (open_before or _may_resume(upload, refusal)):
                    raise refusal
                time.sleep(pause)
                pause = min(2 * pause, 2.0)

    def _unknown(self, key: str, blob: Blob, refusal: StorageError) -> OutcomeUnknownError:
        return OutcomeUnknownError(
            f"whether {self.url}/{key} was created is not known: {refusal}; open the registry "
            f"again and look whether it is there with {blob.size} bytes"
        )

    def _attempt(self, key: str, upload: Upload) -> tuple[StorageError | None, bool]:
        """Send and rename once; give what came back, and whether the rename may have happened."""
        renaming = False
        try:
            with self._channel("write", key) as channel:
                _make_folders(channel, os.path.dirname(upload.path))
                upload.send(channel)
                renaming = True
                channel.rename(upload.temporary, upload.path)
        except StorageError as e:
            said_no = isinstance(e.__cause__, OSError) and not _is_broken(e.__cause__)
            return e, renaming and not said_no
        return None, False

    def _is_ours(self, key: str, blob: Blob, refusal: Exception) -> bool:
        """Read back: ours is won, another's is lost, and nothing there is neither."""
        try:
            with self.open(key) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        except KeyAbsent:
            return False
        except StorageError as e:
            refusal.add_note(f"and reading it back failed: {e}")
            return False
        if digest != blob.sha256:
            raise KeyTaken(key) from refusal
        return True

    def settle(self, folder: str) -> None:
        """Do nothing: SFTP has no way to sync a folder."""

    def remove(self, key: str) -> None:
        """Remove a file, or a folder that is empty."""
        path = self._path(key)
        with self._channel("remove", key) as channel, contextlib.suppress(FileNotFoundError):
            try:
                channel.remove(path)
            except FileNotFoundError:
                raise
            except OSError:
                channel.rmdir(path)

    def revalidate(self) -> bool:
        """Say that there is no cache on the way."""
        return False

    def spool(self) -> Path:
        """Make a folder on this machine's disk, from which large files are sent."""
        import tempfile

        return Path(tempfile.mkdtemp(prefix="modelversion-spool-"))

    def prove(self) -> None:
        """Create a key twice: the second must lose, and the bytes of the first stay."""
        if not self._proven:
            with self._channel("write", "") as channel:
                _make_folders(channel, self._path(""))
            prove(self)
            self._proven = True


# ---- channels


class _Pool:
    """The channels of one connection, each lent to one thread at a time."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs
        self.broken = False
        fs.ftp.get_channel().settimeout(ATTEMPT_SECONDS)
        self._idle = [fs.ftp]
        self._room = threading.BoundedSemaphore(CHANNELS)

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        if not self._room.acquire(timeout=10 * DEADLINE_SECONDS):
            raise TimeoutError(f"all {CHANNELS} channels have been busy for too long")
        channel = None
        try:
            channel = self._opened()
            yield channel
        except Exception as e:
            if _is_broken(e) or not self.fs.client.get_transport().is_active():
                self.broken = True
                self.fs.client.close()
            raise
        finally:
            if channel is not None:
                self._idle.append(channel)
            self._room.release()

    def _opened(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            channel = self.fs.client.open_sftp()
            channel.get_channel().settimeout(ATTEMPT_SECONDS)
            return channel


def _is_broken(e: BaseException) -> bool:
    """Tell a connection that is gone from a request that was refused."""
    if isinstance(e, (TimeoutError, ConnectionError, EOFError)):
        return True
    return type(e).__name__ in ("SSHException", "ChannelException") or "Socket is closed" in str(e)


# ---- asking a server


def _read(channel: Any, path: str) -> bytes | None:
    try:
        file = channel.open(path, "rb")
    except FileNotFoundError:
        return None
    with file:
        pieces = []
        while piece := file.read(_PIECE):
            pieces.append(piece)
            if len(piece) < _PIECE:
                break
        return b"".join(pieces)


def _make_folders(channel: Any, folder: str) -> None:
    """Make a folder and those above it; each may be made by another at the same time."""
    if _is_there(channel, folder):
        return
    _make_folders(channel, os.path.dirname(folder))
    try:
        channel.mkdir(folder)
    except OSError:
        if not _is_there(channel, folder):
            raise


def _is_there(channel: Any, path: str) -> bool:
    try:
        channel.stat(path)
    except FileNotFoundError:
        return False
    return True


def _may_resume(upload: Upload, refusal: StorageError) -> bool:
    """Tell whether a part was sent before the connection broke."""
    return upload.sent > 0 and passes(refusal)
