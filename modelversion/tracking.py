"""Track: a decorator that commits what a training function returns, and what it logged.

A run is what one call records. It is found through a context variable, so that calls in other
threads and tasks never log into it.
"""

from __future__ import annotations

import contextvars
import functools
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from modelversion._json import dumps, encode
from modelversion.errors import (
    InvalidInputError,
    InvalidNameError,
    InvalidValueError,
    NoActiveRunError,
    NothingRecordedWarning,
    SaveError,
)
from modelversion.fingerprint import describe, is_data
from modelversion.metrics import check_metrics
from modelversion.records import DataRecord, MetricRecord
from modelversion.refs import check_name
from modelversion.schema import Json
from modelversion.snapshot import NOTHING, Notes
from modelversion.source import function_source

if TYPE_CHECKING:
    from modelversion.version import Version

F = TypeVar("F", bound=Callable[..., Any])
MAX_ARGUMENT = 64 * 1024
_SAY_NOTHING = frozenset(["train", "fit", "main", "run", "wrapper", "func", "function"])
_NEVER_OBJECTS = (bool, int, float, complex, str, bytes, type(None))


class Run:
    """What one call of a tracked function records until it is committed."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.params: Json = {}
        self.data: list[DataRecord] = []
        self.metrics: dict[str, MetricRecord] = {}
        self.version: Any = None

    def log_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Record metrics; a later value of the same name replaces the earlier.

        Raises:
            InvalidInputError: A name or a value is not one.
        """
        self.metrics.update(check_metrics(metrics))

    def bind(self, arguments: Mapping[str, Any]) -> None:
        """Record bound arguments: plain values as params, all others as data, by type and shape.

        Capture never fails: what cannot be stored as a value is described.
        """
        for name, value in arguments.items():
            if is_data(value):
                self.data.append(describe(name, value))
                continue
            try:
                encoded = encode(value, name)
                if len(dumps(encoded)) <= MAX_ARGUMENT:
                    self.params[name] = encoded
                    continue
            except InvalidValueError:
                pass
            self.data.append(describe(name, value))


_CURRENT: contextvars.ContextVar[Run | None] = contextvars.ContextVar(
    "modelversion_run", default=None
)
_LAST: contextvars.ContextVar[Version | None] = contextvars.ContextVar(
    "modelversion_last", default=None
)


@attrs.frozen
class Call:
    """A tracked call: what the function returned, and the version it made (None if none)."""

    value: Any = attrs.field(repr=False)
    version: Version | None


@attrs.frozen
class Target:
    """Where runs are committed: shows that the place is writable, and commits."""

    prepare: Callable[[], None]
    commit: Callable[[str, Notes, Any], Version]


@attrs.frozen
class _Tracker:
    """How a tracked function's calls are recorded."""

    function: Callable[..., Any]
    model: str
    target: Callable[[], Target]
    entry: str
    source: str | None

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        target = self.target()
        target.prepare()
        run = Run(self.model)
        run.bind(_bound(self.function, args, kwargs))
        token = _CURRENT.set(run)
        started = time.perf_counter()
        try:
            value = self.function(*args, **kwargs)
        finally:
            _CURRENT.reset(token)
        seconds = time.perf_counter() - started
        try:
            version = self._commit(target, run, value, seconds)
        except SaveError as e:
            e.value = value
            raise
        _LAST.set(version)
        return Call(value, version)

    def _commit(self, target: Target, run: Run, value: Any, seconds: float) -> Version | None:
        has_object = not isinstance(value, _NEVER_OBJECTS)
        if not has_object and not run.metrics:
            warnings.warn(
                f"{self.entry} returned {value!r:.40} and logged nothing, so no version of "
                f"{self.model!r} was committed; return the model or call mv.log_metrics",
                NothingRecordedWarning,
                stacklevel=4,
            )
            return None
        notes = Notes(
            params=run.params,
            metrics=run.metrics,
            data=tuple(run.data),
            tags={},
            entry=self.entry,
            source=self.source,
            duration_seconds=round(seconds, 6),
        )
        return target.commit(self.model, notes, value if has_object else NOTHING)


def _bound(function: Callable[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
    import inspect

    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return {}  # the call itself will raise, or the function has no signature to read
    bound.apply_defaults()
    return dict(bound.arguments)


def track(model: str, *, target: Callable[[], Target]) -> Callable[[F], F]:
    """Commit what a function returns as a version of a model, each time it is called.

    Raises:
        InvalidNameError: The name is no model name.
    """
    check_name(model, "model")
    return lambda function: _tracked(function, model, target)


def track_as_named(function: F, *, target: Callable[[], Target]) -> F:
    """Track a function under its own name.

    Raises:
        InvalidNameError: The name is no model name, or says nothing, such as `train`.
    """
    return _tracked(function, _function_name(function), target)


def _function_name(function: Callable[..., Any]) -> str:
    name: str = getattr(function, "__name__", "")
    if name in _SAY_NOTHING or name.startswith(("_", "<")):
        raise InvalidNameError(
            f'the function\'s name {name!r} says nothing about the model; name it: @track("churn")'
        )
    check_name(name, "model")
    return name


def _tracked(function: F, model: str, target: Callable[[], Target]) -> F:
    _refuse_deferred(function)
    entry = f"{function.__module__}:{function.__qualname__}"
    tracker = _Tracker(function, model, target, entry, function_source(function))

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return tracker(args, kwargs).value

    wrapper.__modelversion__ = tracker  # type: ignore[attr-defined]
    return cast("F", wrapper)


def _refuse_deferred(function: Callable[..., Any]) -> None:
    """Refuse what does its work after it returned, which would be taken for its result."""
    import inspect

    for deferred in (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    ):
        if deferred(function):
            raise InvalidInputError(
                f"{function.__qualname__} is async or a generator, which track does not take "
                "yet; track the function that it serves, or call registry.save at its end"
            )


def call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Call:
    """Call a tracked function and give both its value and the version it made.

    Raises:
        InvalidValueError: The function is not tracked.
    """
    tracker = getattr(function, "__modelversion__", None)
    if tracker is None:
        raise InvalidValueError(
            f"{getattr(function, '__qualname__', function)!r} is not tracked; "
            "put @track on it, or call it as it is"
        )
    result: Call = tracker(args, kwargs)
    return result


def last_version() -> Version | None:
    """Give the version that the last tracked call of this thread or task made, None if none."""
    return _LAST.get()


def log_metrics(metrics: Mapping[str, Any] | None = None, /, **more: Any) -> None:
    """Record metrics in the run of the tracked function that is being called.

    Args:
        metrics: Names that are no Python identifiers go here, such as `val/auc`.
        more: Names with numbers, or `modelversion.metric`.

    Raises:
        NoActiveRunError: No tracked function is being called here.
        InvalidInputError: A name or a value is not one.
    """
    run = _CURRENT.get()
    if run is None:
        raise NoActiveRunError(
            "log_metrics was called outside a run; call it inside a function under @track, or "
            "pass metrics= to registry.save"
        )
    run.log_metrics(metrics or {})
    run.log_metrics(more)
