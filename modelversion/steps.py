"""Steps: functions whose calls leave a trace from the data that went in to what came out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

import attrs

from modelversion import current, trail
from modelversion._json import digest
from modelversion.arguments import bind, is_container, named_items, owner_params, sort_arguments
from modelversion.errors import InvalidValueError
from modelversion.fingerprints import describe, is_data
from modelversion.forms import in_form
from modelversion.mode import is_disabled
from modelversion.params import bound_params
from modelversion.records import CodeRecord, DataRecord, StepRecord
from modelversion.schema import evolve
from modelversion.source import function_source, is_own
from modelversion.trail import Trace, digests, tick

F = TypeVar("F", bound=Callable[..., Any])
MAX_FLOWS = 64
MAX_COLUMNS = 200
_MAX_DEPTH = 3


def step(function: F) -> F:
    """Record what goes into a function and what comes out of it, each time it is called.

    It goes above a function of your own, or around one of a library:
    `mv.step(train_test_split)(X, random_state=0)`. The function does and returns what it always
    did. Data is recorded by fingerprint, type and shape, all other arguments as params. A step
    becomes part of a version if it ran inside its run, or if it led to data that the run used,
    also when it ran before, such as in an earlier cell.

    Args:
        function: A function or method, of any form. Of a generator each item that it yields is an
            output.

    Raises:
        InvalidValueError: It is no function.
    """
    if isinstance(function, (classmethod, staticmethod)):
        return cast("F", type(function)(step(function.__func__)))
    if not callable(function) or isinstance(function, type):
        raise InvalidValueError(
            f"step goes on a function or a method, found {type(function).__name__} "
            f"{getattr(function, '__name__', '')!r}; wrap the function that makes the data"
        )
    return in_form(_Stepper(function, *_origin(function)), function)


def _origin(function: Any) -> tuple[str, CodeRecord, str | None]:
    """Give the name of a function, where it comes from, and its source if it is the user's."""
    inner = getattr(function, "func", function)  # of a functools.partial
    owner = getattr(inner, "__self__", None)
    qualname = str(getattr(inner, "__qualname__", type(inner).__qualname__))
    name = qualname.rpartition("<locals>.")[2]
    if isinstance(getattr(inner, "__func__", None), Callable):  # type: ignore[arg-type]
        kind = owner if isinstance(owner, type) else type(owner)
        name = f"{kind.__name__}.{inner.__name__}"
    module = str(getattr(inner, "__module__", None) or "builtins")
    entry = f"{module}:{qualname}"
    text = function_source(inner) if module == "__main__" or is_own(module) else None
    if text is None:
        return name, CodeRecord(entry=entry), None
    return name, CodeRecord(entry=entry, sha256=digest(text.encode("utf-8", "replace"))), text


@attrs.frozen
class _Stepper:
    """How the calls of a step are recorded."""

    function: Callable[..., Any]
    name: str
    code: CodeRecord
    source: str | None

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tracing | None:
        if is_disabled():
            return None
        try:
            return self._begin(args, kwargs)
        except Exception:  # noqa: BLE001 - a foreign object may raise anything, capture never
            return None

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tracing:
        own, arguments = bind(self.function, args, kwargs)
        owner = getattr(self.function, "__self__", None) if own is None else own
        params, data = sort_arguments(arguments or {"args": args, **kwargs})
        record = StepRecord(
            name=self.name,
            form="call",
            code=self.code,
            params={**owner_params(owner), **params},
            inputs=_described(data),
        )
        return begin(record, source=self.source, data=data)


def _described(data: Mapping[str, Any]) -> tuple[DataRecord, ...]:
    """Describe data by role; an object that stands under two roles is hashed once."""
    known: dict[int, DataRecord] = {}
    for value in data.values():
        if id(value) not in known:
            known[id(value)] = flow("", value)
    return tuple(evolve(known[id(v)], name=role) for role, v in data.items())[:MAX_FLOWS]


def flow(role: str, value: Any) -> DataRecord:
    """Describe what a step takes or gives: what tells it, and the columns of a narrow table."""
    found = describe(role, value, asked=False)
    columns = found.columns if len(found.columns) <= MAX_COLUMNS else {}
    return evolve(found, columns=columns, digests={}, profile={})


def begin(record: StepRecord, *, source: str | None, data: Mapping[str, Any]) -> Tracing:
    """Begin to trace a call.

    Args:
        record: What is known before it.
        source: The text of its function, where it is the user's.
        data: The live data that went in, by role, in which changes in place are looked for.
    """
    run, around = current.current_run(), current.current_step()
    trace = Trace(
        began=tick(),
        path=(*(() if around is None else around.path), record.code.entry),
        record=record,
        source=source,
        around=None if around is None else around.began,
        run=None if run is None else run.traces.run,
    )
    return Tracing(trace, run, data)


@attrs.define(eq=False)
class Tracing:
    """A call of a step while it runs."""

    trace: Trace
    run: Any
    data: Mapping[str, Any]
    _seconds: float = 0.0
    _items: int = 0

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Time the function's own code; steps in it are inside this one."""
        with current.inside_step(self.trace):
            began = time.perf_counter()
            try:
                yield
            finally:
                self._seconds += time.perf_counter() - began

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """End by whatever the body raises, and let it go on unchanged."""
        try:
            yield
        except BaseException as e:
            self.fail(e)
            raise

    def gave(self, item: Any) -> None:
        """Note what a generator yields: the next step may take it before this one has ended."""
        left = MAX_FLOWS - len(self.trace.record.outputs)
        if left > 0:
            self._give(_outputs(f"result[{self._items}]", item, left))
            trail.TRAIL.add(self.trace)
        self._items += 1

    def finish(self, value: Any) -> None:
        """Note what came out, and what was changed in place."""
        if value is not None:
            self._give(_outputs("result", value, MAX_FLOWS - len(self.trace.record.outputs)))
        self._give(self._changed())
        self._end()

    def fail(self, e: BaseException) -> None:
        """Keep the exception for a run that is kept; a generator that is left has not failed."""
        if not isinstance(e, GeneratorExit):
            text = f"{type(e).__name__}: {e}"[:1000].encode("utf-8", "replace").decode()
            self.trace.record = evolve(self.trace.record, failed=text)
        self._end()

    def _end(self) -> None:
        trace = self.trace
        trace.record = evolve(trace.record, seconds=round(self._seconds, 6))
        if self.run is not None:
            self.run.add_step(trace)
        if trace.record.failed is None:
            trace.ended = tick()
            trail.TRAIL.add(trace)

    def _give(self, given: tuple[DataRecord, ...]) -> None:
        record = self.trace.record
        self.trace.record = evolve(record, outputs=(*record.outputs, *given))
        self.trace.ended = tick()

    def _changed(self) -> tuple[DataRecord, ...]:
        """Find data that was changed in place, where nothing came back or a shape is another."""
        record = self.trace.record
        given = set(digests(record.outputs))
        before = {item.name: item for item in record.inputs}
        changed = []
        for role, value in self.data.items():
            was = before.get(role)
            if was is None or was.digest is None or (given and was.shape == _shape(value)):
                continue
            now = flow(role, value)
            if now.digest not in (was.digest, None) and now.digest not in given:
                changed.append(now)
        return tuple(changed)


def _shape(value: Any) -> tuple[int, ...] | None:
    try:
        return tuple(int(size) for size in value.shape)
    except Exception:  # noqa: BLE001 - a foreign attribute may raise anything, capture never
        return None


def _outputs(role: str, value: Any, most: int) -> tuple[DataRecord, ...]:
    """Describe what came out: the parts of a tuple each, and data inside lists and dicts."""
    try:
        return tuple(_output(role, part) for role, part in _parts(role, value, 0))[:most]
    except Exception:  # noqa: BLE001 - a foreign object may raise anything, capture never
        return ()


def _parts(role: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    apart = isinstance(value, tuple) or (
        is_container(value)
        and any(is_data(item) or isinstance(item, tuple) for item in _items(value))
    )
    if is_data(value) or not (apart and is_container(value)) or depth >= _MAX_DEPTH:
        yield role, value
        return
    for inner, _, item in named_items(role, value):
        yield from _parts(inner, item, depth + 1)


def _items(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value


def _output(role: str, value: Any) -> DataRecord:
    """Describe one part; a plain value, such as a count, is no data that a link may hang on."""
    if not is_data(value) and not bound_params({role: value})[1]:
        return DataRecord(name=role, type=f"{type(value).__module__}.{type(value).__qualname__}")
    return flow(role, value)
