"""A run: what is recorded between the start of some training and its commit."""

from __future__ import annotations

import functools
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from modelversion import current
from modelversion.display import Page, Shown
from modelversion.errors import (
    NoActiveRunError,
    NothingRecordedWarning,
    SaveError,
    SecretError,
)
from modelversion.logbook import Logbook
from modelversion.mode import rank
from modelversion.notes import Notes, Setting
from modelversion.nothing import NOTHING
from modelversion.records import DataRecord
from modelversion.redaction import Redaction, masked
from modelversion.refs import check_name
from modelversion.snapshot import (
    FrozenObject,
    check_mapping,
    freeze,
    freeze_artifacts,
    warn_left_out,
)
from modelversion.source.capture import Look, look
from modelversion.storage import Blob
from modelversion.storage.spool import Spool
from modelversion.trail import Trace
from modelversion.version import Version

if TYPE_CHECKING:
    from modelversion.handle import RunHandle

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
_NEVER_OBJECTS = (bool, int, float, complex, str, bytes, type(None))
# Longer messages are cut before they are searched; what is stored is much shorter.
_MAX_MESSAGE = 100_000
_RUNNING, _COMMITTED, _DISCARDED = "running", "committed", "discarded"


@attrs.frozen
class Target:
    """Where runs are committed.

    Attributes:
        prepare: Shows that the place can be written.
        spool: Gives a place for bytes that are frozen before the commit; True allows secrets.
        commit: Commits notes, an object and artifacts as a version of a model.
    """

    prepare: Callable[[], object]
    spool: Callable[[bool], Spool]
    commit: Callable[[str, Notes, Any, tuple[Blob, ...]], Version]


class Run(Shown):
    """What is recorded between the start of some training and its commit.

    `with registry.run("churn") as run:` commits at the end of the block and discards on an
    exception; `start`, `commit` and `discard` do so step by step, over the cells of a notebook.

    Attributes:
        version: The version that the run made, None before its commit or where it made none.
        value: What the tracked function returned, None without one.
        failed: What stopped it, None where nothing did.
    """

    def __init__(self, setting: Setting, target: Target, *, off: bool = False) -> None:
        self.model = setting.model
        self.pid = os.getpid()
        self.value: Any = None
        self.version: Version | None = None
        self.failed: str | None = None
        self._setting = setting
        self._target = target
        self._off = off
        self._state: str | None = None
        self._book = Logbook()
        self._lock = self._book.lock
        self._began = 0.0
        self._artifacts: dict[str, tuple[Blob, ...]] = {}
        self._objects: dict[str, FrozenObject] = {}
        self._spool: Spool | None = None
        self._handle: RunHandle | None = None
        self.traces = self._book.traces
        self._look = Look()

    def __repr__(self) -> str:
        return f"<Run of {self.model}: {self._state or 'not started'}>"

    def _page(self) -> Page:
        from modelversion.views.run import run_page

        with self._lock:
            blobs = tuple(blob for blobs in self._artifacts.values() for blob in blobs)
            notes = self._notes(self.failed)
            ref = None if self.version is None else self.version.ref
            return run_page(notes, blobs, model=self.model, state=self._state, version=ref)

    # ---- from start to end

    def start(self) -> Run:
        """Show that the place can be written, and record from here on.

        Raises:
            NoActiveRunError: It was started before.
        """
        self._begin()
        current.started(self)
        return self

    def _begin(self) -> None:
        if self._state is not None:
            raise NoActiveRunError(f"this run of {self.model!r} was started before; make a new one")
        if not self._off:
            self._target.prepare()
            self._look = look(self._setting.code)
        self._state, self._began = _RUNNING, time.perf_counter()

    def __enter__(self) -> Run:
        if self._state is None:
            self._begin()
        self._block = current.inside(self)
        self._block.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._block.__exit__(None, None, None)
        if self._state != _RUNNING:
            return
        if e is None:
            self.commit()
        else:
            self.fail(e)

    def commit(self, value: Any = None) -> Version | None:
        """Commit what was recorded as a version, and end the run.

        Args:
            value: The object, unless `log_model` gave one.

        Returns:
            The version; None where nothing was recorded, which is warned of.

        Raises:
            SaveError: The commit failed; the object is in `.value`, its bytes in `.spooled_at`.
            NoActiveRunError: The run is not going on, or was started in another process.
        """
        self._check_going_on("commit")
        if os.getpid() != self.pid:
            raise NoActiveRunError(
                f"this run of {self.model!r} was started by process {self.pid}, which alone can "
                "commit it; log from other processes by run.handle()"
            )
        self.value = value
        try:
            self.version = None if self._makes_nothing() else self._commit(failed=None)
        except SaveError as e:
            e.value = e.value if value is None else value
            raise
        finally:
            self._end(_COMMITTED)
        return self.version

    def _makes_nothing(self) -> bool:
        # The process group may have been made since the run began.
        return self._off or rank() > 0

    def discard(self) -> None:
        """End the run and commit nothing."""
        self._end(_DISCARDED)

    def fail(self, e: BaseException) -> None:
        """End the run by an exception: discard it, or keep it, marked as failed."""
        try:
            text = f"{type(e).__name__}: {e}"[:_MAX_MESSAGE].encode("utf-8", "replace").decode()
            self.failed = masked(text)
            kept = self._setting.keep_failed and not self._makes_nothing()
            if kept and os.getpid() == self.pid:
                self.version = self._commit(failed=text)
        except Exception as failure:  # noqa: BLE001 - the run's own exception must not be hidden
            warnings.warn(f"the failed run was not kept: {masked(str(failure))}", stacklevel=2)
        finally:
            self._end(_DISCARDED)

    def _end(self, state: str) -> None:
        self._state = state
        if current.current_run() is self:
            current.started(None)
        if self._spool is not None:
            self._spool.close()
        if self._handle is not None and os.getpid() == self.pid:
            self._handle.remove()

    def _commit(self, *, failed: str | None) -> Version | None:
        if self._handle is not None:
            from modelversion.handle import collect

            collect(self._handle, self)
        with self._lock:
            notes = self._notes(failed)
            own = self._objects.pop(self.model, None) or self._returned()
            blobs = tuple(blob for blobs in self._artifacts.values() for blob in blobs)
            siblings = {
                model: self._target.commit(model, notes, value, ())
                for model, value in self._objects.items()
            }
            empty = own is NOTHING and not (self._book.metrics or blobs or failed)
            if empty:
                self._warn_nothing(bool(siblings))
                return None
            return self._target.commit(self._setting.model, notes, own, blobs)

    def _returned(self) -> Any:
        return NOTHING if isinstance(self.value, _NEVER_OBJECTS) else self.value

    def _warn_nothing(self, siblings: bool) -> None:
        if siblings:
            return
        code = self._setting.code
        where = code.name if code and code.is_function else f"the run of {self.model!r}"
        warnings.warn(
            f"{where} returned {masked(repr(self.value)):.40} and logged nothing, so no version of "
            f"{self.model!r} was committed; return the model, or call mv.log_model or "
            "mv.log_metrics",
            NothingRecordedWarning,
            stacklevel=current.user_level(),
        )

    def _notes(self, failed: str | None) -> Notes:
        return Notes(
            **self._book.notes(),
            tags=self._setting.tags,
            description=self._setting.description,
            look=self._look.finish(),
            duration_seconds=round(time.perf_counter() - self._began, 6),
            failed=failed,
            lifted=self._setting.lifted,
        )

    def _check_going_on(self, what: str) -> None:
        if self._state != _RUNNING:
            found = "not started" if self._state is None else self._state
            raise NoActiveRunError(
                f"{what}: this run of {self.model!r} is {found}; a run records between its start "
                "and its commit"
            )

    # ---- what is recorded

    def log_first(self, params: Mapping[str, Any] | None, parents: Iterable[str]) -> None:
        """Take what is known before the start."""
        self._book.take_first(params, parents)

    def log_params(self, params: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Record params, or an object that knows its own, such as an argparse namespace.

        Raises:
            InvalidValueError: A value cannot be stored as it is.
        """
        self._check_going_on("log_params")
        self._book.add_params(params, more)

    def log_param(self, name: str, value: Any) -> None:
        """Record one param."""
        self.log_params({name: value})

    def log_metrics(
        self,
        metrics: Mapping[str, Any] | None = None,
        /,
        *,
        step: int | None = None,
        **more: Any,
    ) -> None:
        """Record metrics; a later value of the same name replaces the earlier.

        Args:
            metrics: Names that are no Python identifiers go here, such as `val/auc`.
            step: Keeps the value in the metric's series too, at this step.
            more: Names with numbers, or `modelversion.metric`.

        Raises:
            InvalidInputError: A name or a value is not one.
        """
        self._check_going_on("log_metrics")
        self._book.add_metrics({**check_mapping(metrics, "metrics"), **more}, step)

    def log_metric(self, name: str, value: Any, *, step: int | None = None) -> None:
        """Record one metric; see `log_metrics`."""
        self.log_metrics({name: value}, step=step)

    def log_data(self, data: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Record data that the run used, by role: `log_data(train=df)`; the data stays where it is.

        Raises:
            InvalidNameError: A role is no name.
        """
        self._check_going_on("log_data")
        self._book.add_data({**check_mapping(data, "data"), **more})

    def log_artifact(self, path: Any, content: Any = None) -> None:
        """Keep a file; its bytes are taken at the call, a later one of the same path replaces it.

        A file that holds a secret is left out with a `SecretWarning`: a run is not ended by it.

        Args:
            path: Its path in the version. Without `content`, a `pathlib.Path` whose name is it.
            content: Bytes, text, a `pathlib.Path` of a file or folder, a matplotlib or plotly
                figure, or a table, in the format that the path's suffix names.

        Raises:
            InvalidPathError: The path is not allowed, or there is no file.
            InvalidValueError: The content is nothing that can be kept.
        """
        self._check_going_on("log_artifact")
        if content is None and isinstance(path, os.PathLike):
            path, content = os.path.basename(os.fspath(path)), path
        if self._off:
            return
        with self._lock:
            self._artifacts[path] = freeze_artifacts(
                self._frozen(), {path: content}, leave_out=self._leave_out
            )

    def _leave_out(self, e: SecretError) -> None:
        self.note_redactions([Redaction(e.path, e.rule)])
        warn_left_out(e.path, e.rule, model=self.model)

    def log_model(self, value: Any, *, model: str | None = None) -> None:
        """Give the object; its bytes are taken at the call, and the last call wins.

        Args:
            value: The object.
            model: Another model's name, to commit a sibling beside the run's own version.

        Raises:
            UnpicklableError: A part of the object cannot be pickled; its path is named.
            SecretError: A part of the object is a secret; its path is named.
        """
        self._check_going_on("log_model")
        name = self.model if model is None else check_name(model, "model")
        if self._off:
            return
        with self._lock:
            frozen = freeze(self._frozen(), value)
            before = self._objects.get(name)
            self._objects[name] = frozen
            if before is not None:
                self._frozen().drop(before.blobs)

    def _frozen(self) -> Spool:
        if self._spool is None:
            self._spool = self._target.spool(self._setting.lifted.secrets)
        return self._spool

    def note_redactions(self, found: Iterable[Redaction]) -> None:
        """Note what was redacted before it came here, in a worker."""
        self._book.add_redactions(found)

    def add_parent(self, reference: str) -> None:
        """Note a version that the run builds on."""
        self._book.add_parent(reference)

    def add_step(self, trace: Trace) -> None:
        """Note a step of the run."""
        self._book.add_step(trace)

    def add_input(self, record: DataRecord) -> None:
        """Note a file or folder of data that the run opened."""
        self._book.add_input(record)

    def bind_arguments(self, arguments: Mapping[str, Any], owner: Any = None) -> None:
        """Record the arguments of a call, and the params of the object that it is a method of."""
        given = {name: v for name, v in arguments.items() if isinstance(v, Version)}
        for version in given.values():
            self._book.add_parent(version.ref)
        self._book.bind_arguments({n: v for n, v in arguments.items() if n not in given})
        if owner is not None:
            self._book.note_owner(owner)

    # ---- elsewhere

    def bind(self, function: F) -> F:
        """Give a function that logs into this run, whichever thread calls it."""

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with current.inside(self):
                return function(*args, **kwargs)

        return cast("F", inside)

    def handle(self) -> RunHandle:
        """Give a handle that another process of this machine may log into; it pickles.

        Only this process commits; what workers logged until then is part of the version.
        """
        from modelversion.handle import open_handle

        self._check_going_on("handle")
        with self._lock:
            if self._handle is None:
                self._handle = open_handle(self.model, self._setting.lifted)
            return self._handle

    def progress(self, items: Iterable[T], *, total: int | None = None) -> Iterator[T]:
        """Go through items and show how far it is, with the metrics logged last.

        In a notebook a table that is updated in place, in a terminal a line; elsewhere one line
        at the end, on the error stream.

        Args:
            items: What to go through.
            total: Number of items, where `len(items)` does not tell.
        """
        from modelversion.progress import progress

        return progress(items, total=total, label=self.model, metrics=self._book.values)
