"""The steps that this process has taken lately, and which of them led to some data.

Data is known by its digest only: a step follows another if what it took has the digest of what
the other gave. So a link holds over notebook cells, copies and mutation, and no frame of the
user's is kept alive.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from modelversion._json import digest, dumps
from modelversion.records import DataRecord, StepRecord
from modelversion.schema import evolve

MAX_TRACES = 4096
MAX_BYTES = 16 * 2**20
MAX_ALIKE = 256
MAX_LISTED = 64
MAX_STEPS = 1000
_TICKS = itertools.count(1)
_END = float("inf")

tick: Callable[[], int] = _TICKS.__next__


@attrs.define(eq=False)
class Trace:
    """One call of a step in this process.

    Attributes:
        began: When it began, in ticks of the process; no other trace has the same.
        path: The entries of the steps around it, and its own.
        record: What is stored of it, but for its parent.
        source: The text of its function, None for a library's.
        around: When the step around it began, None without one.
        run: The run that it belongs to, None outside.
        ended: When it last gave something.
    """

    began: int
    path: tuple[str, ...]
    record: StepRecord
    source: str | None = None
    around: int | None = None
    run: int | None = None
    ended: int = 0

    @property
    def weight(self) -> int:
        """About how many bytes it takes."""
        flows = len(self.record.inputs) + len(self.record.outputs)
        return 1000 + len(dumps(self.record.params)) + 1000 * flows


def digests(flows: Iterable[DataRecord]) -> list[str]:
    """Give the digests of those that have one."""
    return [flow.digest for flow in flows if flow.digest is not None]


class Trail:
    """The latest traces, found by what they gave; the oldest are forgotten."""

    def __init__(self, *, traces: int = MAX_TRACES, size: int = MAX_BYTES) -> None:
        self._most = traces
        self._most_bytes = size
        self._traces: dict[int, tuple[Trace, int]] = {}
        self._bytes = 0
        self._makers: dict[str, list[int]] = {}
        self._alike: dict[tuple[str, ...], list[int]] = {}
        self._locks: dict[int, threading.Lock] = {}

    def __len__(self) -> int:
        return len(self._traces)

    @property
    def bytes(self) -> int:
        """About how many bytes it takes."""
        return self._bytes

    def _lock(self) -> threading.Lock:
        """Give the lock of this process: a fork may have copied one that was held."""
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def add(self, trace: Trace) -> None:
        """Remember a trace, or what it has given since it was added."""
        with self._lock():
            self._forget(trace.began)
            self._traces[trace.began] = (trace, trace.weight)
            self._bytes += trace.weight
            for made in digests(trace.record.outputs):
                self._makers.setdefault(made, []).append(trace.began)
            alike = self._alike.setdefault(trace.path, [])
            alike.append(trace.began)
            if len(alike) > MAX_ALIKE:
                self._forget(alike[0])
            while len(self._traces) > self._most or self._bytes > self._most_bytes:
                self._forget(next(iter(self._traces)))

    def _forget(self, began: int) -> None:
        trace, weight = self._traces.pop(began, (None, 0))
        if trace is None:
            return
        self._bytes -= weight
        _drop(self._alike, trace.path, began)
        for made in digests(trace.record.outputs):
            _drop(self._makers, made, began)

    def leading_to(self, wanted: Iterable[str], own: Iterable[Trace] = ()) -> list[Trace]:
        """Give the traces that led to data, nearest first, and those that ran inside them.

        Args:
            wanted: Digests of the data.
            own: Traces that belong to it in any case; what led to them is found too.
        """
        found: dict[int, Trace] = {}
        mine = list(own)
        with self._lock():
            self._follow([(made, _END) for made in wanted], found)
            found.update({trace.began: trace for trace in mine})
            self._follow([taken for trace in mine for taken in _taken(trace)], found)
            self._enter(found, {trace.run for trace in mine})
        return list(found.values())

    def _enter(self, found: dict[int, Trace], runs: set[int | None]) -> None:
        """Add what ran inside the steps found; a run has those of its own already."""
        if not found:
            return
        for trace, _ in sorted(self._traces.values(), key=lambda held: held[0].began):
            if trace.around in found and (trace.run is None or trace.run not in runs):
                found.setdefault(trace.began, trace)

    def _follow(self, ahead: list[tuple[str, float]], found: dict[int, Trace]) -> None:
        while ahead:
            maker = self._maker(*ahead.pop())
            if maker is not None and maker.began not in found:
                found[maker.began] = maker
                ahead += _taken(maker)

    def _maker(self, made: str, before: float) -> Trace | None:
        """Give the last trace that gave some data before a moment."""
        held = (self._traces[began][0] for began in self._makers.get(made, ()))
        return max((t for t in held if t.ended < before), key=lambda t: t.ended, default=None)


def _drop(index: dict[Any, list[int]], key: Any, began: int) -> None:
    kept = [other for other in index.get(key, ()) if other != began]
    if kept:
        index[key] = kept
    else:
        index.pop(key, None)


def _taken(trace: Trace) -> Iterator[tuple[str, float]]:
    return ((taken, trace.began) for taken in digests(trace.record.inputs))


TRAIL = Trail()


# ---- many calls of one function ------------------------------------------------------------------


class Traces:
    """The traces of one run; calls of one function beyond a number are only counted."""

    def __init__(self) -> None:
        self.run = tick()
        self._listed: dict[int, Trace] = {}
        self._alike: dict[tuple[str, ...], dict[str, Trace]] = {}
        self._folded: dict[tuple[str, ...], Trace] = {}

    def __len__(self) -> int:
        return len(self._listed) + len(self._folded)

    def add(self, trace: Trace) -> None:
        """Add a trace: by itself, to the count of an equal one, or to that of its function."""
        alike = self._alike.setdefault(trace.path, {})
        key = identity(trace)
        if key in alike:
            alike[key].record = _counted(alike[key].record, trace.record)
        elif len(alike) < MAX_LISTED and len(self._listed) < MAX_STEPS:
            self._listed[trace.began] = alike[key] = attrs.evolve(trace)
        else:
            self._fold(trace)

    def _fold(self, trace: Trace) -> None:
        before = self._folded.get(trace.path)
        if before is None:
            bare = evolve(trace.record, inputs=(), outputs=(), params={}, failed=None)
            self._folded[trace.path] = attrs.evolve(trace, record=bare)
        else:
            before.record = _counted(before.record, trace.record)

    def leading_to(self, wanted: Iterable[str]) -> Traces:
        """Give these steps with those, taken before or elsewhere, that led to data and to them."""
        found = [t for t in TRAIL.leading_to(wanted, self._listed.values()) if not self._has(t)]
        every = Traces()
        for trace in found:
            every.add(trace)
        again = [t for t in found if t.run == self.run and t.began not in self._listed]
        for trace in self._folded.values():
            # What was only counted so far, and is listed now since it led somewhere.
            out = [t.record for t in again if t.path == trace.path]
            left = trace.record.count - len(out)
            if left > 0:
                seconds = (trace.record.seconds or 0.0) - sum(r.seconds or 0.0 for r in out)
                rest = evolve(trace.record, count=left, seconds=round(max(seconds, 0.0), 6))
                every._fold(attrs.evolve(trace, record=rest))
        return every

    def _has(self, trace: Trace) -> bool:
        """Tell whether a call was added to the count of an equal one that is listed."""
        if trace.run != self.run or trace.began in self._listed:
            return False
        return identity(trace) in self._alike.get(trace.path, {})

    def records(self) -> tuple[StepRecord, ...]:
        """Give what is stored, in the order in which the steps began."""
        traces = sorted(
            [*self._listed.values(), *self._folded.values()], key=lambda trace: trace.began
        )
        places = {trace.began: i for i, trace in enumerate(traces)}
        of_function = {path: places[trace.began] for path, trace in self._folded.items()}
        return tuple(
            evolve(
                trace.record,
                parent=places.get(trace.around or 0, of_function.get(trace.path[:-1])),
            )
            for trace in traces
        )

    def sources(self) -> dict[str, str]:
        """Give the texts of the users' functions, by their digests."""
        traces = [*self._listed.values(), *self._folded.values()]
        return {
            trace.record.code.sha256: trace.source
            for trace in traces
            if trace.source is not None and trace.record.code.sha256 is not None
        }

    def files(self) -> list[DataRecord]:
        """Give the files and folders of data that were read."""
        flows = (flow for t in self._listed.values() for flow in t.record.inputs)
        return list({flow.digest: flow for flow in flows if flow.place is not None}.values())


def identity(trace: Trace) -> str:
    """Digest what makes two calls the same: function, params, and what went in and came out."""
    record = trace.record
    flows = [[[f.name, f.digest] for f in side] for side in (record.inputs, record.outputs)]
    code = [record.name, record.code.entry, record.code.sha256]
    return digest(dumps([*code, record.form, record.params, flows, record.failed]))


def _counted(record: StepRecord, other: StepRecord) -> StepRecord:
    seconds = (record.seconds or 0.0) + (other.seconds or 0.0)
    return evolve(record, count=record.count + other.count, seconds=round(seconds, 6))
