"""Wrap a function in its own form: plain, coroutine, generator or async generator.

What is recorded of a call is the recorder's: a form only says when it begins, what runs inside
it, what it yields, and how it ends. An exception goes on unchanged.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, cast

import attrs

F = TypeVar("F", bound=Callable[..., Any])
Args = tuple[Any, ...]
Kwargs = dict[str, Any]


class Recording(Protocol):
    """One call while it is recorded."""

    def inside(self) -> AbstractContextManager[None]:
        """Give the context that the function's own code runs in."""

    def gave(self, item: Any) -> None:
        """Note what a generator yields."""

    def finish(self, value: Any) -> None:
        """End the recording by what the function returned."""

    def fail(self, e: BaseException) -> None:
        """End the recording by what the function raised."""


class Recorder(Protocol):
    """Records the calls of one function."""

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself."""

    def begin(self, args: Args, kwargs: Kwargs) -> Recording | None:
        """Begin to record a call; None lets it run as it is."""


def in_form(recorder: Recorder, function: F) -> F:
    """Give a function of the same form, name and signature whose calls are recorded."""
    wrapper: Any = functools.wraps(function)(_form(function)(recorder))
    wrapper.__modelversion__ = recorder
    return cast("F", wrapper)


def _form(function: Any) -> Callable[[Recorder], Any]:
    import inspect

    kind = inspect.unwrap(function)
    for is_kind, form in (
        (inspect.isasyncgenfunction, _async_generator),
        (inspect.iscoroutinefunction, _async),
        (inspect.isgeneratorfunction, _generator),
    ):
        if is_kind(function) or (is_kind(kind) and not inspect.isfunction(function)):
            return form
    return _sync


def _sync(recorder: Recorder) -> Any:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return called(recorder, args, kwargs)[0]

    return wrapper


def called(recorder: Recorder, args: Args, kwargs: Kwargs) -> tuple[Any, Recording | None]:
    """Call a function; give what it returned, and what was recorded if anything was."""
    recording = recorder.begin(args, kwargs)
    if recording is None:
        return recorder.function(*args, **kwargs), None
    with _failing(recording), recording.inside():
        value = recorder.function(*args, **kwargs)
    recording.finish(value)
    return value, recording


@contextlib.contextmanager
def _failing(recording: Recording | None) -> Iterator[None]:
    """End a recording by whatever the body raises, and let it go on unchanged."""
    try:
        yield
    except BaseException as e:
        if recording is not None:
            recording.fail(e)
        raise


def _async(recorder: Recorder) -> Any:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return (await awaited(recorder, args, kwargs))[0]

    return wrapper


async def awaited(recorder: Recorder, args: Args, kwargs: Kwargs) -> tuple[Any, Recording | None]:
    """Await a coroutine function; see `called`."""
    recording = recorder.begin(args, kwargs)
    if recording is None:
        return await recorder.function(*args, **kwargs), None
    with _failing(recording), recording.inside():
        value = await recorder.function(*args, **kwargs)
    recording.finish(value)
    return value, recording


def _generator(recorder: Recorder) -> Any:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return (yield from _stepped(recorder, args, kwargs))

    return wrapper


def _stepped(recorder: Recorder, args: Args, kwargs: Kwargs) -> Generator[Any, Any, Any]:
    recording = recorder.begin(args, kwargs)
    if recording is None:
        return (yield from recorder.function(*args, **kwargs))
    with _failing(recording):
        value = yield from _Inside(recorder.function(*args, **kwargs), recording)
    recording.finish(value)
    return value


@attrs.frozen
class _Inside(Generator[Any, Any, Any]):
    """A generator that is recorded only while it runs: its caller's code is not inside."""

    generator: Generator[Any, Any, Any]
    recording: Recording

    def send(self, value: Any) -> Any:
        with self.recording.inside():
            item = self.generator.send(value)
        self.recording.gave(item)
        return item

    def throw(self, *error: Any) -> Any:
        with self.recording.inside():
            item = self.generator.throw(*error)
        self.recording.gave(item)
        return item

    def close(self) -> None:
        with self.recording.inside():
            self.generator.close()


def _async_generator(recorder: Recorder) -> Any:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        recording = recorder.begin(args, kwargs)
        with _failing(recording):
            async with contextlib.aclosing(recorder.function(*args, **kwargs)) as steps:
                step, given = steps.asend, None
                while True:
                    try:
                        item = await _one_step(step, given, recording)
                    except StopAsyncIteration:
                        break
                    try:
                        step, given = steps.asend, (yield item)
                    except GeneratorExit:
                        raise
                    except BaseException as e:  # noqa: BLE001 - thrown in for the generator
                        step, given = steps.athrow, e
        if recording is not None:
            recording.finish(None)

    return wrapper


async def _one_step(step: Callable[[Any], Any], given: Any, recording: Recording | None) -> Any:
    if recording is None:
        return await step(given)
    with recording.inside():
        item = await step(given)
    recording.gave(item)
    return item
