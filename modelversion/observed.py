"""What was measured of versions in production: the event, and the state that it folds to. Pure."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from modelversion.errors import InvalidValueError
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


def check_count(n: Any) -> int | None:
    """Give a number of samples, or refuse what is none.

    Raises:
        InvalidValueError: It is no int above 0.
    """
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
        raise InvalidValueError(f"n must be the number of samples, at least 1; found {n!r:.80}")
    return n
