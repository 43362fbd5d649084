"""A driver of our own: built at its first use, once a process, shared with nobody.

After a fork s3fs, gcsfs and adlfs refuse to work and paramiko hangs, so a child builds its own.
What the parent built stays referenced there: were it collected, the child would close
connections that the parent is using.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from modelversion.errors import InvalidInputError
from modelversion.redaction import masked
from modelversion.storage._explain import explain

T = TypeVar("T")


class Link:
    """How to reach a place: the driver's class and what it is made with. It pickles."""

    def __init__(
        self, cls: type, url: str, *, args: Sequence[Any] = (), options: Mapping[str, Any]
    ) -> None:
        self.cls = cls
        self.url = url
        self._args = tuple(args)
        self._options = dict(options)
        self._built: dict[int, Any] = {}
        self._locks: dict[int, threading.Lock] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _link, (self.cls, self.url, self._args, self._options)

    def filesystem(self) -> Any:
        """Give this process's instance of the driver."""
        pid = os.getpid()
        if pid not in self._built:
            # A lock of each process: a fork may have copied one that was held.
            with self._locks.setdefault(pid, threading.Lock()):
                if pid not in self._built:
                    self._built[pid] = self._build()
        return self._built[pid]

    def _build(self) -> Any:
        try:
            # fsspec would hand one instance to everybody.
            return self.cls(*self._args, **{**self._options, "skip_instance_cache": True})
        except (TypeError, ValueError) as e:
            raise InvalidInputError(
                f"{self.url}: {self.cls.__name__} does not take these storage_options: "
                f"{masked(str(e))}"
            ) from e
        except Exception as e:  # drivers look for credentials here, and raise anything
            raise explain(e, "open", self.url) from e

    def forget(self, broken: Any) -> None:
        """Build another instance at the next use, if the broken one is still ours."""
        pid = os.getpid()
        with self._locks.setdefault(pid, threading.Lock()):
            if self._built.get(pid) is broken:
                del self._built[pid]

    def start(self, work: Callable[[Any], Coroutine[Any, Any, T]]) -> Future[T]:
        """Start asynchronous work on the loop that the driver runs on."""
        fs = self.filesystem()
        return asyncio.run_coroutine_threadsafe(work(fs), fs.loop)

    def run(self, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """Do asynchronous work on the loop that the driver runs on, and wait for it."""
        running = self.start(work)
        try:
            return running.result()
        except BaseException:
            running.cancel()
            raise


def _link(cls: type, url: str, args: Sequence[Any], options: Mapping[str, Any]) -> Link:
    return Link(cls, url, args=args, options=options)
