"""Progress: how far a loop or a transfer is, where somebody looks at it."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

import attrs

from modelversion.display import Cell, Facts, Page, Shown

T = TypeVar("T")
_EVERY = 0.25
_SHOWN = 8


@attrs.frozen
class _State(Shown):
    label: str
    done: int
    total: int | None
    seconds: float
    metrics: dict[str, Any]

    def text(self) -> str:
        share = f"{self.done}/{self.total}" if self.total is not None else f"{self.done}"
        numbers = "".join(f", {name} {_number(value)}" for name, value in self._few())
        return f"{self.label}: {share}, {self.seconds:.1f} s{numbers}"

    def _page(self) -> Page:
        total = "" if self.total is None else f" of {self.total}"
        share = self.done / self.total if self.total else None
        done = Cell(self.done, f"{self.done}{total}, {self.seconds:.1f} s", share=share)
        return Page(self.label, blocks=[Facts({"done": done, **dict(self._few())})])

    def _few(self) -> list[tuple[str, Any]]:
        return list(self.metrics.items())[:_SHOWN]


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def progress(
    items: Iterable[T],
    *,
    total: int | None,
    label: str,
    metrics: Callable[[], dict[str, Any]],
) -> Iterator[T]:
    """Go through items and show how far it is; see `Run.progress`."""
    total = total if total is not None else _length(items)
    view, began, shown = _view(), time.monotonic(), 0.0
    done = 0
    try:
        for item in items:
            yield item
            done += 1
            now = time.monotonic()
            if now - shown >= _EVERY:
                shown = now
                view.update(_State(label, done, total, now - began, metrics()))
    finally:
        view.close(_State(label, done, total, time.monotonic() - began, metrics()))


def _length(items: Any) -> int | None:
    try:
        return len(items)
    except TypeError:
        return None


# ---- transfers -----------------------------------------------------------------------------------


# Shorter transfers are over before anybody wonders.
_PATIENCE = 1.0
_MEGABYTE = 1e6


class Meter:
    """Counts the bytes of one transfer, from any thread, and shows them once it takes long."""

    def __init__(self, label: str, total: int, view: _View) -> None:
        self._label = label
        self._total = total
        self._view = view
        self._lock = threading.Lock()
        self._done: dict[object, int] = {}
        self._began = self._shown = time.monotonic()
        self._visible = False

    def add(self, count: int) -> None:
        """Count bytes that have come or gone."""
        with self._lock:
            self._done[None] = self._done.get(None, 0) + count
            self._show()

    def callback(self) -> Any:
        """Give the fsspec callback of one file of the transfer; a driver calls it."""
        from fsspec.callbacks import Callback

        file = object()

        def tell(size: int | None, value: int, **more: Any) -> None:
            with self._lock:
                self._done[file] = value
                self._show()

        return Callback(hooks={"meter": tell})

    @property
    def done(self) -> int:
        """How many bytes were counted."""
        return sum(self._done.values())

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._began >= _PATIENCE and now - self._shown >= _EVERY:
            self._shown, self._visible = now, True
            self._view.update(self._state())

    def close(self) -> None:
        """Leave the last state where one was shown."""
        if self._visible:
            self._view.close(self._state())

    def _state(self) -> _State:
        done, total = (round(n / _MEGABYTE) for n in (self.done, self._total))
        return _State(f"{self._label}, MB", done, total, time.monotonic() - self._began, {})


@contextlib.contextmanager
def transfer(label: str, total: int) -> Iterator[Meter]:
    """Show how far a transfer of so many bytes is, to people; a log file gets nothing."""
    view = _view()
    meter = Meter(label, total, _Nowhere() if isinstance(view, _Log) else view)
    try:
        yield meter
    finally:
        meter.close()


# ---- where it is shown ---------------------------------------------------------------------------


class _View(Protocol):
    def update(self, state: _State) -> None: ...

    def close(self, state: _State) -> None: ...


def _view() -> _View:
    if _in_notebook():
        return _Notebook()
    return _Terminal() if sys.stderr is not None and sys.stderr.isatty() else _Log()


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class _Notebook:
    """One output, updated in place, which stays when the loop has ended."""

    def __init__(self) -> None:
        self._handle: Any = None

    def update(self, state: _State) -> None:
        from IPython.display import display

        bundle = state._repr_mimebundle_()
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def close(self, state: _State) -> None:
        self.update(state)


class _Terminal:
    """One line, written over; what it leaves is its last state."""

    def update(self, state: _State) -> None:
        sys.stderr.write(f"\r\033[K{state.text()[:120]}")
        sys.stderr.flush()

    def close(self, state: _State) -> None:
        self.update(state)
        sys.stderr.write("\n")


class _Log:
    """One line at the end: a log file is no place for a moving bar."""

    def update(self, state: _State) -> None:
        pass

    def close(self, state: _State) -> None:
        if sys.stderr is not None:
            sys.stderr.write(state.text() + "\n")


class _Nowhere:
    """Nobody looks."""

    def update(self, state: _State) -> None:
        pass

    def close(self, state: _State) -> None:
        pass
