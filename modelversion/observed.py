"""What was measured of versions in production: the event, its fold, what a gate asks. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar

import attrs

from modelversion._json import decode, encode, parse_timestamp, timestamp
from modelversion.records import Entry
from modelversion.schema import OPTIONAL_INT, OPTIONAL_TEXT, Json, json_object, plain, record
from modelversion.state import Fold

MAX_VERSIONS = 256


@record
class ObservationAdded:
    """Metrics of a version (tagged JSON) as they were measured where it serves.

    `begin` and `end` are the window that was looked at, `slice` the part of the traffic, `n` the
    number of samples, `source` who or what measured.
    """

    kind: ClassVar[str] = "observation.added"
    must_understand: ClassVar[bool] = False
    number: int = plain(int)
    metrics: Json = json_object()
    n: int | None = plain(OPTIONAL_INT, None)
    begin: str | None = plain(OPTIONAL_TEXT, None)
    end: str | None = plain(OPTIONAL_TEXT, None)
    slice: str | None = plain(OPTIONAL_TEXT, None)
    source: str | None = plain(OPTIONAL_TEXT, None)
    extra: Json = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Seen:
    """What was measured last of all traffic: the value (tagged JSON), n, and until when."""

    value: Any
    n: int | None
    until: str


@attrs.frozen(kw_only=True)
class Observed:
    """The state of a model's journal of observations.

    Attributes:
        last: Number -> metric -> what was measured last, of the `MAX_VERSIONS` versions that were
            measured last; what is of a slice only is not in it.
        void: How many entries made no sense.
    """

    last: dict[int, dict[str, Seen]] = attrs.field(factory=dict)
    void: int = 0

    def of(self, number: int) -> dict[str, Seen]:
        """Give what was measured last of a version."""
        return self.last.get(number, {})


def _added(state: Observed, event: ObservationAdded, entry: Entry) -> Observed | None:
    if event.number < 1 or not event.metrics or (event.n is not None and event.n < 1):
        return None
    if event.slice is not None:
        return state
    until = event.end or entry.time
    found = {name: Seen(value=v, n=event.n, until=until) for name, v in event.metrics.items()}
    last = dict(state.last)
    # At the end again, so that the oldest is dropped first.
    last[event.number] = {**last.pop(event.number, {}), **found}
    kept = list(last.items())[-MAX_VERSIONS:]
    return attrs.evolve(state, last=dict(kept))


def _to_json(state: Observed) -> Json:
    # JSON sorts its keys, and the order says who was measured last.
    rows = [
        [number, {name: attrs.asdict(seen) for name, seen in found.items()}]
        for number, found in state.last.items()
    ]
    return {"last": rows, "void": state.void}


def _from_json(value: Json) -> Observed:
    last = {
        number: {name: Seen(**seen) for name, seen in found.items()}
        for number, found in value["last"]
    }
    return Observed(last=last, void=value["void"])


OBSERVATIONS = Fold(
    Observed(),
    {ObservationAdded.kind: (ObservationAdded, _added)},
    _to_json,
    _from_json,
)


# ---- what a gate asks ----------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Asked:
    """Which measurements a gate looks at.

    Attributes:
        number: The version.
        metric: The metric's name.
        slice: The part of the traffic, None for all.
        window: How far the ends of windows may lie before the newest one; None for that alone.
        now: The time of judging.
    """

    number: int
    metric: str
    slice: str | None
    window: timedelta | None
    now: str


def measured(entries: Iterable[Json], asked: Asked) -> Json:
    """Sum up the measurements that a gate looks at; nothing where there is none.

    Gives how many they are (`count`) and of how many samples (`n`; one that does not say has
    none), the `lowest` and `highest` value (NaN if one is no number), `until` when they go, and
    their `age_seconds`.
    """
    windows = {(m.begin, m.end): m for entry in entries for m in _measured(entry, asked)}
    if not windows:
        return {}
    # Of two that end at the same time, the one that was noted later.
    newest = max(reversed(windows.values()), key=lambda m: m.end)
    kept = [newest]
    if asked.window is not None:
        kept = [m for m in windows.values() if newest.end - m.end < asked.window]
    values = [m.value for m in kept]
    if any(value != value for value in values):
        values = [math.nan]
    return {
        "count": len(kept),
        "n": sum(m.n for m in kept),
        "lowest": encode(min(values), "lowest"),
        "highest": encode(max(values), "highest"),
        "until": timestamp(newest.end),
        "age_seconds": (parse_timestamp(asked.now, "now") - newest.end).total_seconds(),
    }


@attrs.frozen(kw_only=True)
class _Measured:
    value: Any
    n: int
    begin: str | None
    end: datetime


def _measured(entry: Json, asked: Asked) -> Iterator[_Measured]:
    event = entry["event"]
    if event.get("kind") != ObservationAdded.kind or event["number"] != asked.number:
        return
    if asked.metric not in event["metrics"] or event.get("slice") != asked.slice:
        return
    value, n = decode(event["metrics"][asked.metric]), event.get("n")
    yield _Measured(
        value=value if isinstance(value, (int, float)) else math.nan,
        n=0 if n is None else max(n, 0),
        begin=event.get("begin"),
        # Nothing is measured before it happens: a window that ends in the year 2099 is not fresh.
        end=parse_timestamp(min(event.get("end") or entry["time"], entry["time"]), "end"),
    )
