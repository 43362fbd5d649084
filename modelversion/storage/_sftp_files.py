"""Files over SFTP: read ahead and sent, and gone on with where a connection broke."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from modelversion.errors import StorageError
from modelversion.layout import TEMPORARY
from modelversion.storage import Blob, nonce
from modelversion.storage._explain import passes

_PIECE = 32 * 2**10
_IN_FLIGHT = 64
# Seconds before a file is opened again whose connection broke.
_PAUSES = (0.1, 0.5, 2.0)

Tell = Callable[[int], object]


class Lent:
    """An open file, and the channel that it came over, until it is closed or fails.

    paramiko's own reading ahead keeps all of a file in memory, and a connection that breaks under
    it leaves the traceback of a thread on the terminal.
    """

    def __init__(
        self, channel: Any, file: Any, lending: contextlib.ExitStack, *, at: int, end: int
    ) -> None:
        self._channel = channel
        self._file = file
        self._lending = lending
        self._next = at
        self._end = end
        self._asked: deque[tuple[int, int, int]] = deque()
        self._answers: dict[int, tuple[int, Any]] = {}

    def read(self) -> bytes:
        """Give what comes next, nothing at the end."""
        try:
            return self._read()
        except Exception:  # the channel knows whether it is broken, and says whose error it is
            with self._lending:
                raise

    def _read(self) -> bytes:
        while self._next < self._end and len(self._asked) < _IN_FLIGHT:
            size = min(_PIECE, self._end - self._next)
            self._asked.append((self._ask(self._next, size), self._next, size))
            self._next += size
        if not self._asked:
            return b""
        number, start, size = self._asked.popleft()
        data = self._answer(number)
        while len(data) < size:  # a server may give less than it was asked for
            data += self._answer(self._ask(start + len(data), size - len(data)))
        return data

    def _ask(self, start: int, size: int) -> int:
        from paramiko.sftp import CMD_READ, int64

        wanted = self._file.handle, int64(start), size
        return int(self._channel._async_request(self, CMD_READ, *wanted))

    def _answer(self, number: int) -> bytes:
        from paramiko.sftp import CMD_STATUS

        while number not in self._answers:
            self._channel._read_response()
        kind, message = self._answers.pop(number)
        if kind == CMD_STATUS:
            self._channel._convert_status(message)
        return bytes(message.get_string())

    def _async_response(self, kind: int, message: Any, number: int) -> None:
        """Take an answer, in whatever order they come; paramiko calls this."""
        self._answers[number] = kind, message

    def close(self) -> None:
        """Close the file and give the channel back."""
        self._lending.close()


class Reading(io.RawIOBase):
    """The bytes of a key in order; where a connection breaks, another one goes on."""

    def __init__(self, opened: Callable[[int], Lent], *, patience: float) -> None:
        self._opened = opened
        self._patience = patience
        self._source = opened(0)
        self._at = 0
        self._held = memoryview(b"")

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, room: Any) -> int:
        """Read what comes next."""
        view = memoryview(room)
        if not self._held:
            self._held = memoryview(self._read())
            self._at += len(self._held)
        count = min(len(view), len(self._held))
        view[:count] = self._held[:count]
        self._held = self._held[count:]
        return count

    def _read(self) -> bytes:
        until = time.monotonic() + self._patience
        for pause in _PAUSES:
            try:
                return self._source.read()
            except StorageError as e:
                if not passes(e) or time.monotonic() > until:
                    raise
            time.sleep(pause)
            self._source = self._opened(self._at)
        return self._source.read()

    def close(self) -> None:
        """Give the channel back."""
        super().close()
        self._source.close()


class Upload:
    """A blob on its way to a temporary name beside its path; it goes on where it broke off.

    Requests for one file are answered in the order in which they came (draft-ietf-secsh-filexfer,
    "request synchronization"), so what the server has is a beginning of what was sent.
    """

    def __init__(self, path: str, blob: Blob, tell: Tell = lambda size: None) -> None:
        self.path = path
        self.blob = blob
        self.temporary = f"{os.path.dirname(path)}/{TEMPORARY}{nonce()}"
        self.sent = 0
        self._tell = tell
        self._begun = False

    def send(self, channel: Any) -> None:
        """Write what the server does not have yet, as durably as it can."""
        there = _size(channel, self.temporary) if self._begun else None
        self._begun = True
        with channel.open(self.temporary, "wx" if there is None else "r+") as file:
            self.sent = min(there or 0, self.blob.size)
            file.seek(self.sent)
            file.set_pipelined(True)
            for piece in _pieces(self.blob, self.sent):
                file.write(piece)
                self.sent += len(piece)
                self._tell(self.sent)
            file.flush()
            file.set_pipelined(False)
            size = file.stat().st_size
            if size != self.blob.size:
                wanted = self.blob.size
                raise StorageError(f"{self.path} got {size} bytes, sent were {wanted}; save again")
            _sync(channel, file)

    @contextlib.contextmanager
    def cleared_up(self, channels: Callable[[str, str], Any]) -> Iterator[None]:
        """Leave no temporary file where it was not renamed."""
        try:
            yield
        except BaseException:
            if self._begun:
                # Whatever came before is what is told.
                with contextlib.suppress(StorageError), channels("remove", "") as channel:
                    channel.remove(self.temporary)
            raise


def _size(channel: Any, path: str) -> int | None:
    try:
        return int(channel.stat(path).st_size)
    except FileNotFoundError:
        return None


def _pieces(blob: Blob, start: int) -> Iterator[bytes]:
    if isinstance(blob.content, bytes):
        yield blob.content[start:]
        return
    with blob.content.open("rb") as file:
        file.seek(start)
        while piece := file.read(2**20):
            yield piece


def _sync(channel: Any, file: Any) -> None:
    """Ask for an fsync; a server that does not know how says so, and that is all it can do."""
    from paramiko.sftp import CMD_EXTENDED

    try:
        channel._request(CMD_EXTENDED, "fsync@openssh.com", file.handle)
    except OSError as e:
        if "unsupported" not in str(e).lower():
            raise
