"""Track: a decorator that commits what a training function returns, and what it logged."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import attrs

from modelversion import current
from modelversion.arguments import bind
from modelversion.errors import InvalidNameError, InvalidValueError, NoActiveRunError, SaveError
from modelversion.forms import awaited, called, in_form
from modelversion.mode import is_disabled, warn_of_rank
from modelversion.notes import Setting
from modelversion.redaction import NOTHING_LIFTED, Lifted, check_lifted
from modelversion.refs import check_name
from modelversion.run import Run, Target
from modelversion.source.capture import Entry, of_function

if TYPE_CHECKING:
    from modelversion.version import Version

F = TypeVar("F", bound=Callable[..., Any])
_SAY_NOTHING = frozenset(["train", "fit", "main", "run", "wrapper", "func", "function"])
_PARTS = ("model", "metrics", "params", "data", "artifacts", "_")

_LAST: contextvars.ContextVar[Version | None] = contextvars.ContextVar(
    "modelversion_last", default=None
)


@attrs.frozen
class Call:
    """A tracked call: what the function returned, and the version it made (None if none)."""

    value: Any = attrs.field(repr=False)
    version: Version | None


@attrs.frozen(kw_only=True)
class Options:
    """How calls of a tracked function are recorded; see `modelversion.track`."""

    ignore: Collection[str] = ()
    returns: tuple[str, ...] = ()
    on_error: str = "discard"
    lifted: Lifted = NOTHING_LIFTED


def check_options(
    ignore: Any, returns: Any, on_error: Any, *, not_secret: Any = (), allow_secrets: Any = False
) -> Options:
    """Give the options of a tracked function, or refuse what is none.

    Raises:
        InvalidValueError: An option is not one of those that there are.
    """
    if isinstance(ignore, str) or not all(isinstance(name, str) for name in ignore):
        raise InvalidValueError(f"ignore must list names of arguments, found {ignore!r:.80}")
    parts = (returns,) if isinstance(returns, str) else tuple(returns)
    wrong = [part for part in parts if part not in _PARTS]
    if wrong or len(set(parts) - {"_"}) < len([part for part in parts if part != "_"]):
        raise InvalidValueError(
            f"returns must name each part of the tuple once, out of {', '.join(_PARTS)}; "
            f"found {returns!r:.80}"
        )
    if on_error not in ("discard", "keep"):
        raise InvalidValueError(f"on_error must be 'discard' or 'keep', found {on_error!r:.80}")
    return Options(
        ignore=tuple(ignore),
        returns=parts,
        on_error=on_error,
        lifted=check_lifted(not_secret, allow_secrets),
    )


# ---- a tracked function --------------------------------------------------------------------------


@attrs.frozen
class _Tracker:
    """How a tracked function's calls are recorded."""

    function: Callable[..., Any]
    model: str
    target: Callable[[], Target]
    options: Options
    code: Entry

    @property
    def entry(self) -> str:
        """The function's name, with its module."""
        return self.code.name

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Recording | None:
        """Show that the place can be written, and note the arguments as they came."""
        if is_disabled():
            warn_of_rank(self.model)
            return None
        own, arguments = bind(self.function, args, kwargs)
        setting = Setting(
            model=self.model,
            code=attrs.evolve(self.code, owner=_class_of(own)),
            keep_failed=self.options.on_error == "keep",
            lifted=self.options.lifted,
        )
        run = Run(setting, self.target())
        run._begin()
        kept = {n: v for n, v in arguments.items() if n not in self.options.ignore}
        run.bind_arguments(kept, own)
        return _Recording(self, run)

    def finish(self, run: Run, value: Any) -> None:
        """Commit what a call returned and logged."""
        before = current.current_run()
        version = run.commit(self._split(run, value))
        _LAST.set(version)
        if version is not None and before is not None:
            before.add_parent(version.ref)

    def _split(self, run: Run, value: Any) -> Any:
        """Log the named parts of a returned tuple, and give the model among them."""
        names = self.options.returns
        if not names:
            return value
        parts = (value,) if len(names) == 1 and not isinstance(value, tuple) else value
        if not isinstance(parts, tuple) or len(parts) != len(names):
            run.discard()
            raise SaveError(
                f"{self.entry} returned {type(value).__name__}, and returns={names!r} wants a "
                f"tuple of {len(names)}; the result is in .value",
                value=value,
                spooled_at=None,
            )
        found = dict(zip(names, parts, strict=True))
        run.log_params(found.get("params"))
        run.log_metrics(found.get("metrics"))
        run.log_data(found.get("data"))
        for path, content in (found.get("artifacts") or {}).items():
            run.log_artifact(path, content)
        return found.get("model")


def _class_of(own: Any) -> type | None:
    return own if own is None or isinstance(own, type) else type(own)


@attrs.frozen
class _Recording:
    """A call of a tracked function, with its run."""

    tracker: _Tracker
    run: Run

    def inside(self) -> AbstractContextManager[None]:
        return current.inside(self.run)

    def gave(self, item: Any) -> None:
        """What a training yields on its way is its caller's."""

    def finish(self, value: Any) -> None:
        self.tracker.finish(self.run, value)

    def fail(self, e: BaseException) -> None:
        self.run.fail(e)


# ---- the decorator -------------------------------------------------------------------------------


def track(
    model: str, *, target: Callable[[], Target], options: Options | None = None
) -> Callable[[F], F]:
    """Commit what a function returns as a version of a model, each time it is called.

    Raises:
        InvalidNameError: The name is no model name.
    """
    check_name(model, "model")
    return lambda function: _tracked(function, model, target, options or Options())


def track_as_named(
    function: F, *, target: Callable[[], Target], options: Options | None = None
) -> F:
    """Track a function under its own name.

    Raises:
        InvalidNameError: The name is no model name, or says nothing, such as `train`.
    """
    return _tracked(function, _function_name(function), target, options or Options())


def _function_name(function: Callable[..., Any]) -> str:
    name: str = getattr(function, "__name__", "")
    if name in _SAY_NOTHING or name.startswith(("_", "<")):
        raise InvalidNameError(
            f'the function\'s name {name!r} says nothing about the model; name it: @track("churn")'
        )
    check_name(name, "model")
    return name


def _tracked(function: F, model: str, target: Callable[[], Target], options: Options) -> F:
    if isinstance(function, (classmethod, staticmethod)):
        inner = _tracked(function.__func__, model, target, options)
        return cast("F", type(function)(inner))
    if not callable(function) or isinstance(function, type):
        raise InvalidValueError(
            f"track goes on a function or a method, found {type(function).__name__} "
            f"{getattr(function, '__name__', '')!r}; put it on the method that trains"
        )
    entry = f"{getattr(function, '__module__', '?')}:{_qualname(function)}"
    _check_ignored(function, options)
    tracker = _Tracker(function, model, target, options, of_function(function, entry))
    return in_form(tracker, function)


def _qualname(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _check_ignored(function: Any, options: Options) -> None:
    import inspect

    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return
    for name in options.ignore:
        if name not in known:
            raise InvalidValueError(
                f"ignore names {name!r}, which is no parameter of {_qualname(function)}; "
                f"parameters: {', '.join(known) or 'none'}"
            )


# ---- inside and after a call ---------------------------------------------------------------------


@overload
def call(
    function: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any, **kwargs: Any
) -> Coroutine[Any, Any, Call]: ...


@overload
def call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Call: ...


def call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a tracked function and give both its value and the version it made.

    Returns:
        A `Call`; of an async function a coroutine that gives one.

    Raises:
        InvalidValueError: The function is not tracked, or is a generator.
    """
    import inspect

    tracker = getattr(function, "__modelversion__", None)
    if not isinstance(tracker, _Tracker):
        raise InvalidValueError(
            f"{getattr(function, '__qualname__', function)!r} is not tracked; "
            "put @track on it, or call it as it is"
        )
    owner = getattr(function, "__self__", None)
    args = args if owner is None else (owner, *args)
    if inspect.iscoroutinefunction(function):
        return _awaited_call(tracker, args, kwargs)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidValueError(
            f"{tracker.entry} is a generator; go through it, then ask mv.last_version()"
        )
    return _call(*called(tracker, args, kwargs))


async def _awaited_call(tracker: _Tracker, args: Any, kwargs: Any) -> Call:
    return _call(*(await awaited(tracker, args, kwargs)))


def _call(value: Any, recording: Any) -> Call:
    return Call(value, None if recording is None else recording.run.version)


def last_version() -> Version | None:
    """Give the version that the last tracked call of this thread or task made, None if none."""
    return _LAST.get()


def _running(what: str) -> Run | None:
    """Give the run that a `log_*` is for, None where tracking is off."""
    run: Run | None = current.current_run()
    if run is None and not is_disabled():
        raise NoActiveRunError(
            f"{what} was called outside a run; call it inside a function under @track or a "
            "`with registry.run(...)` block, carry the run into a thread by run.bind(function), "
            "or pass what you have to registry.save"
        )
    return None if is_disabled() else run


def log_params(params: Mapping[str, Any] | None = None, /, **more: Any) -> None:
    """Record params in the run that is going on here; see `Run.log_params`."""
    run = _running("log_params")
    if run is not None:
        run.log_params(params, **more)


def log_param(name: str, value: Any) -> None:
    """Record one param in the run that is going on here."""
    run = _running("log_param")
    if run is not None:
        run.log_param(name, value)


def log_metrics(
    metrics: Mapping[str, Any] | None = None, /, *, step: int | None = None, **more: Any
) -> None:
    """Record metrics in the run that is going on here.

    Args:
        metrics: Names that are no Python identifiers go here, such as `val/auc`.
        step: Keeps the value in the metric's series too, at this step.
        more: Names with numbers, or `modelversion.metric`.

    Raises:
        NoActiveRunError: No run is going on here.
        InvalidInputError: A name or a value is not one.
    """
    run = _running("log_metrics")
    if run is not None:
        run.log_metrics(metrics, step=step, **more)


def log_metric(name: str, value: Any, *, step: int | None = None) -> None:
    """Record one metric in the run that is going on here; see `log_metrics`."""
    run = _running("log_metric")
    if run is not None:
        run.log_metric(name, value, step=step)


def log_data(data: Mapping[str, Any] | None = None, /, **more: Any) -> None:
    """Record data in the run that is going on here, by role; see `Run.log_data`."""
    run = _running("log_data")
    if run is not None:
        run.log_data(data, **more)


def log_artifact(path: Any, content: Any = None) -> None:
    """Keep a file in the run that is going on here; see `Run.log_artifact`."""
    run = _running("log_artifact")
    if run is not None:
        run.log_artifact(path, content)


def log_model(value: Any, *, model: str | None = None) -> None:
    """Give the object of the run that is going on here; see `Run.log_model`."""
    run = _running("log_model")
    if run is not None:
        run.log_model(value, model=model)
