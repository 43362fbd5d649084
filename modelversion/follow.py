"""Follow a name from a serving process: the object in use, swapped in the background.

`Live.get` reads one attribute and never waits. A daemon thread asks storage one small question
an interval, and loads beside the one in use what the name has come to mean. Whatever goes wrong,
the last good version stays, and `Live.status` says why.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import attrs

from modelversion.errors import InvalidInputError, ModelVersionError
from modelversion.history import History
from modelversion.journal import Journal
from modelversion.refs import LATEST, check_name
from modelversion.serializers import Allow
from modelversion.stages import Decisions
from modelversion.state import Pointer
from modelversion.version import Version
from modelversion.versions import Line, resolve

OnChange = Callable[[Any, Version], object]
_LOG = logging.getLogger("modelversion")
_LONGEST = 30 * 24 * 3600.0
# Every so many intervals the question is whether what was read is still there.
_RECHECK = 4
_MOST_PATIENT = 64


@attrs.frozen(kw_only=True)
class Status:
    """How following a name goes; falsy while there is a problem.

    Attributes:
        ref: The version in use.
        loaded_at: When it was loaded.
        checked_at: When storage last answered.
        problem: Why the version in use may not be the one that the name means now, None if it is.
        withdrawn: Why the version in use was withdrawn, None if it was not.
    """

    ref: str
    loaded_at: str
    checked_at: str
    problem: str | None = None
    withdrawn: str | None = None

    def __bool__(self) -> bool:
        return self.problem is None


@attrs.frozen
class How:
    """How versions are loaded, and who is told."""

    mmap: bool = False
    allow_pickle: Allow | None = None
    on_change: OnChange | None = None


def follow(history: History, name: Any, allow: Allow | None, *, every: Any, how: How) -> Live:
    """Load the version that a name means now, then watch it.

    Raises:
        InvalidInputError: It is a number, which never moves, or the interval is none.
        NotFoundError: There is no such alias, stage or version yet.
        IntegrityError: Its bytes are not the committed ones.
        UntrustedPickleError: The pickle needs names that are not allowed.
    """
    if isinstance(name, int):
        raise InvalidInputError(f"version {name} never changes: load it, or follow a name")
    number = isinstance(every, (int, float)) and not isinstance(every, bool)
    if not number or not 0 < every <= _LONGEST:
        raise InvalidInputError(f"every must be a number of seconds above 0, found {every!r:.80}")
    live = Live(history, check_name(name, "alias or stage"), allow, every=float(every))
    return live._start(how)


class Live:
    """The object that a name means, kept up to date; `Model.follow` makes it.

    After a fork the child goes on with what was loaded and watches by a thread of its own from
    its first `get` on. It does not pickle: a process that is to serve follows by itself.
    """

    def __init__(self, history: History, name: str, allow: Allow | None, *, every: float) -> None:
        self._line: Line = Line(history.line.home, history.line.name, history.line.registry_id)
        self._history = History(self._line)
        self._allow = allow
        self._name = name
        self._every = every
        self._how = How()
        self._journals = _journals(self._line, name)
        self._current: tuple[Any, Version]
        self._status: Status
        self._locks: dict[int, threading.RLock] = {}
        self._pid = 0
        self._stop = threading.Event()
        self._ticks = 0
        self._failures = 0
        self._retry_at = 0

    def _start(self, how: How) -> Live:
        self._how = how
        version = self._resolved()
        value = version.load(mmap=how.mmap, allow_pickle=how.allow_pickle)
        self._use(value, version)
        self._watch()
        return self

    def __repr__(self) -> str:
        state = "closed" if self._stop.is_set() else self._status.problem or "up to date"
        shown = "".join(c if c.isprintable() else "?" for c in state)
        return f"<Live {self._line.name}@{self._name}: {self._status.ref} ({shown})>"

    def __reduce__(self) -> Any:
        raise InvalidInputError(
            f"{self!r} belongs to its process: send the model or its address, and call follow() "
            "where it is served"
        )

    # ---- using it

    def get(self) -> tuple[Any, Version]:
        """Give the object in use and its version; it never waits and asks storage nothing."""
        if self._pid != os.getpid():
            self._watch()
        return self._current

    @property
    def version(self) -> Version:
        """The version in use."""
        return self.get()[1]

    @property
    def status(self) -> Status:
        """How it goes, as of the last look."""
        return self._status

    def refresh(self) -> Status:
        """Look now and load what is new, in this thread; it waits for that, and raises nothing."""
        with self._lock():
            self._tick(look=True)
            return self._status

    def close(self) -> None:
        """Stop watching; `get` goes on giving the last version."""
        self._stop.set()

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    # ---- watching

    def _lock(self) -> threading.RLock:
        """Give the lock of this process: a fork may have copied one that was held."""
        return self._locks.setdefault(os.getpid(), threading.RLock())

    def _watch(self) -> None:
        """Start the thread of this process, once."""
        with self._lock():
            if self._pid == os.getpid():
                return
            closed = self._stop.is_set()
            self._stop = threading.Event()
            self._pid = os.getpid()
            if closed:
                self._stop.set()
                return
            # The thread holds no reference: a Live that is dropped ends it.
            arguments = weakref.ref(self), self._stop, self._every
            weakref.finalize(self, _finish, self._stop, self._pid)
            threading.Thread(
                target=_run, args=arguments, name="modelversion-follow", daemon=True
            ).start()

    def _tick(self, look: bool = False) -> None:
        """Ask once, and load what the name means now if that may have changed."""
        self._ticks += 1
        try:
            if self._has_news() or look or (self._failures and self._ticks >= self._retry_at):
                self._swap()
                self._failures = 0
        except Exception as e:  # noqa: BLE001 - unpickling raises anything, and serving goes on
            self._failed(e)
        else:
            if not self._failures:
                self._good()

    def _has_news(self) -> bool:
        """Ask storage one question: is there more, or now and then, is all still there?"""
        count = len(self._journals)
        if self._ticks % _RECHECK == 0:
            self._journals[self._ticks // _RECHECK % count].recheck()
            return False
        return self._journals[self._ticks % count].has_grown()

    def _swap(self) -> None:
        version = self._resolved()
        if version._pointer == self.version._pointer:
            return
        # Not by load(): a warning about a withdrawal would be this thread's, and is in the status.
        value = version._load(Decisions(), self._how.mmap, self._how.allow_pickle)
        if self._stop.is_set():
            return
        self._use(value, version)
        _LOG.info("%s@%s is %s now", self._line.name, self._name, self._status.ref)
        if self._how.on_change is not None:
            with _logged(f"on_change for {self._status.ref}"):
                self._how.on_change(value, version)

    def _resolved(self) -> Version:
        pointer: Pointer = resolve(self._line, self._name)
        return Version(self._history, pointer, self._allow)

    def _use(self, value: Any, version: Version) -> None:
        now = self._line.home.now()
        ref = self._line.label(version.number)
        self._current = (value, version)
        self._status = Status(ref=ref, loaded_at=now, checked_at=now, withdrawn=self._withdrawn())

    def _withdrawn(self) -> str | None:
        decided: Decisions = self._line.decisions.seen().state
        why = decided.withdrawn.get(self._current[1].number)
        return None if why is None else str(why.reason)

    def _good(self) -> None:
        before, why = self._status, self._withdrawn()
        if before.problem is not None:
            _LOG.info("following %s@%s works again", self._line.name, self._name)
        if why is not None and why != before.withdrawn:
            _LOG.warning("%s is in use and was withdrawn: %s", before.ref, why)
        now = self._line.home.now()
        self._status = attrs.evolve(before, problem=None, withdrawn=why, checked_at=now)

    def _failed(self, e: Exception) -> None:
        # A version that does not load is tried again, at longer and longer intervals.
        self._failures += 1
        self._retry_at = self._ticks + min(2 ** (self._failures - 1), _MOST_PATIENT)
        problem = str(e) if isinstance(e, ModelVersionError) else f"{type(e).__name__}: {e}"
        if problem != self._status.problem:
            name = f"{self._line.name}@{self._name}"
            _LOG.warning("%s stays at %s: %s", name, self._status.ref, problem)
        self._status = attrs.evolve(self._status, problem=problem)


def _journals(line: Line, name: str) -> list[Journal]:
    """Give the journals that decide what a name means: `latest` also by what was committed."""
    return [line.facts, line.decisions] if name == LATEST else [line.decisions]


def _run(ref: weakref.ref[Live], stop: threading.Event, every: float) -> None:
    """Tick until told to stop; spread out, so that a fleet does not ask at one moment."""
    while not stop.wait(every * random.uniform(1.0, 1.1)):
        live = ref()
        if live is None:
            return
        with live._lock():
            live._tick()
        del live


def _finish(stop: threading.Event, pid: int) -> None:
    """End the watch; the event that a fork copied may be held by a thread that is not there."""
    if pid == os.getpid():
        stop.set()


@contextlib.contextmanager
def _logged(what: str) -> Iterator[None]:
    try:
        yield
    except Exception:  # noqa: BLE001 - it is the user's code, and the swap is done
        _LOG.exception("%s failed; serving goes on", what)
