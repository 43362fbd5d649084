"""The run that is going on here, and which live objects came from which version.

A run is found through a context variable, so that calls in other threads and tasks never log
into it. A run that was started without a `with` is also found from later notebook cells of the
same thread, each of which may have a context of its own.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from typing import Any, Protocol


class Listener(Protocol):
    """What a run has to offer to those below it."""

    pid: int

    def add_parent(self, reference: str) -> None:
        """Note a version that the run builds on."""

    def add_step(self, trace: Any) -> None:
        """Note a step of the run, or what a suspended one has given since."""

    def add_input(self, record: Any) -> None:
        """Note a file or folder of data that the run opened."""


_CURRENT: contextvars.ContextVar[Any] = contextvars.ContextVar("modelversion_run", default=None)
_STEP: contextvars.ContextVar[Any] = contextvars.ContextVar("modelversion_step", default=None)
_STARTED = threading.local()
_ORIGINS: dict[int, tuple[weakref.ref[Any], str]] = {}


def current_run() -> Any:
    """Give the run of this thread or task, None if there is none or it is another process's."""
    run = _CURRENT.get() or getattr(_STARTED, "run", None)
    return run if run is not None and run.pid == os.getpid() else None


@contextlib.contextmanager
def inside(run: Any) -> Iterator[None]:
    """Make a run the current one for the body."""
    token = _CURRENT.set(run)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_step() -> Any:
    """Give the step that is going on in this thread or task, None if there is none."""
    return _STEP.get()


@contextlib.contextmanager
def inside_step(step: Any) -> Iterator[None]:
    """Make a step the current one for the body."""
    token = _STEP.set(step)
    try:
        yield
    finally:
        _STEP.reset(token)


def started(run: Any) -> None:
    """Make a run the current one of this thread until it has ended; None ends it."""
    _STARTED.run = run


def loaded(value: Any, reference: str) -> None:
    """Note that an object was loaded from a version: the current run builds on it."""
    run = current_run()
    if run is not None:
        run.add_parent(reference)
    if _importable(value):
        return
    key = id(value)
    with contextlib.suppress(TypeError):  # what takes no weak reference is not remembered
        _ORIGINS[key] = (weakref.ref(value, lambda _: _ORIGINS.pop(key, None)), reference)


def _importable(value: Any) -> bool:
    """Tell whether a load only looked the object up: it was here before, and is no version's."""
    if not isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return False
    found: Any = sys.modules.get(value.__module__ or "")
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value


def origin(value: Any) -> str | None:
    """Give the reference of the version that an object of this process was loaded from."""
    found = _ORIGINS.get(id(value))
    return found[1] if found is not None and found[0]() is value else None


def user_level() -> int:
    """Count the frames up to the first that is not ours, where the warning belongs."""
    own = os.path.dirname(__file__)
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(own):
        frame, level = frame.f_back, level + 1
    return level
