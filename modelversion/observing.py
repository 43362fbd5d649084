"""Observations: measurements of versions where they serve, beside what was recorded of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, overload

import attrs

from modelversion._json import decode, timestamp
from modelversion.display import Page, Picture, Shown, Table, when
from modelversion.display.plots import lines
from modelversion.errors import InvalidValueError, MetricNotFoundError
from modelversion.history import History
from modelversion.metrics import check_count, check_key, check_metrics, is_number, moved
from modelversion.observed import ObservationAdded
from modelversion.snapshot import check_text
from modelversion.state import read_event
from modelversion.versions import Line, refuse_deleted

Window = tuple[Any, Any]


def observe(
    line: Line,
    number: int,
    metrics: Mapping[str, Any],
    *,
    n: int | None,
    window: Window | None,
    part: str | None,
    source: str | None,
) -> None:
    """Append what was measured of a version."""
    found = check_metrics(metrics)
    if not found:
        raise InvalidValueError("metrics is empty; observe at least one, such as {'auc': 0.87}")
    begin, end = _window(window)
    event = ObservationAdded(
        number=number,
        metrics={name: record.value for name, record in found.items()},
        n=check_count(n),
        begin=begin,
        end=end,
        slice=None if part is None else check_key(part, "slice"),
        source=None if source is None else check_text(source, "source"),
    )
    refuse_deleted(line, number)
    # The commit may be visible and not durable yet, if its writer was killed.
    line.home.store.settle(line.facts.folder)
    line.observations.append(lambda _: event, actor=line.home.actor)


def _window(window: Any) -> tuple[str | None, str | None]:
    if window is None:
        return None, None
    if not isinstance(window, (tuple, list)) or len(window) != 2:
        raise InvalidValueError(
            'window must be its begin and its end, such as ("2026-11-01", "2026-11-08"); '
            f"found {window!r:.80}"
        )
    begin, end = (_moment(time, f"window[{i}]") for i, time in enumerate(window))
    if end <= begin:
        raise InvalidValueError(f"window must end after it begins; found {window!r:.120}")
    return begin, end


def _moment(time: Any, what: str) -> str:
    """Give a time as stored; a day is its beginning, and UTC where no zone is said."""
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError as e:
            raise InvalidValueError(f"{what} is no date or time: {time!r:.60}") from e
    if isinstance(time, date) and not isinstance(time, datetime):
        time = datetime(time.year, time.month, time.day)
    if not isinstance(time, datetime):
        raise InvalidValueError(f"{what} must be a date or a time, found {type(time).__name__}")
    return timestamp(time if time.tzinfo else time.replace(tzinfo=UTC))


# ---- reading -------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Observation:
    """One metric of one version, as it was measured where it serves.

    Attributes:
        number: The version.
        metric: The metric's name.
        value: What was measured.
        n: The number of samples, None if it was not said.
        begin: Where the window begins, None without one.
        end: Where it ends.
        slice: The part of the traffic, None for all.
        source: Who or what measured, None if it was not said.
        time: When it was noted.
        actor: By whom.
    """

    number: int
    metric: str
    value: Any
    n: int | None
    begin: str | None
    end: str | None
    slice: str | None
    source: str | None
    time: str
    actor: str


class Observations(Sequence[Observation], Shown):
    """What was measured of a model's versions in production, oldest first."""

    def __init__(self, history: History, rows: Sequence[Observation]) -> None:
        self._history = history
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Observation: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Observation]: ...

    def __getitem__(self, index: int | slice) -> Observation | Sequence[Observation]:
        return self._rows[index]

    def __repr__(self) -> str:
        return f"<Observations of {self._history.line.display}: {len(self)}>"

    def to_pandas(self) -> Any:
        """Give a pandas DataFrame, a row for each metric that was measured; needs pandas."""
        import pandas

        names = [field.name for field in attrs.fields(Observation)]
        frame = pandas.DataFrame([attrs.asdict(row) for row in self._rows], columns=names)
        for name in ("begin", "end", "time"):
            frame[name] = pandas.to_datetime(frame[name], utc=True)
        return frame

    def _page(self) -> Page:
        rows = [self._row(row) for row in reversed(self._rows)]
        columns = ("version", "metric", "observed", "recorded", "change", "n", "until", "of", "by")
        says = f"{len(rows)} measurements in production"
        table = Table("observations", columns, rows=rows, empty="nothing was observed yet")
        title = f"observations of {self._history.line.display}"
        return Page(title, says, blocks=[_curve(self._rows), table])

    def _row(self, row: Observation) -> Sequence[Any]:
        summary = self._history.summary(row.number) if self._history.knows(row.number) else {}
        recorded = decode(summary.get("metrics", {}).get(row.metric))
        higher = self._history.direction(row.number, row.metric) if summary else None
        return (
            self._history.line.ref(row.number),
            row.metric,
            row.value,
            recorded,
            moved(recorded, row.value, higher=higher),
            row.n,
            when(row.end or row.time),
            row.slice or "all",
            row.source or row.actor,
        )


def _day(count: float) -> str:
    return datetime.fromtimestamp(count * 86_400, UTC).date().isoformat()


def _curve(rows: Sequence[Observation]) -> Picture | None:
    """Draw each metric of all traffic over time."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.slice is None and is_number(row.value):
            day = datetime.fromisoformat(row.end or row.time).timestamp() / 86_400
            series.setdefault(row.metric, []).append((day, row.value))
    drawn = {name: sorted(points) for name, points in series.items() if len(points) > 1}
    if not drawn:
        return None
    first = min(points[0][0] for points in drawn.values())
    days = {name: [(x - first, y) for x, y in points] for name, points in drawn.items()}
    values = {name: dict(points) for name, points in days.items()}
    every = sorted({day for points in days.values() for day, _ in points})
    listed = [(day, *(found.get(day) for found in values.values())) for day in every]
    return Picture(
        "Over time",
        lines(days, axis=f"days since {_day(first)}"),
        kind="lines",
        alt=f"{', '.join(drawn)} over the days since the first measurement",
        data=Table("over time", ("day", *values), rows=listed),
    )


def observations(history: History, metric: str | None) -> Observations:
    """Read what was measured of a model's versions.

    Raises:
        MetricNotFoundError: The metric was never observed.
    """
    journal = history.refresh().line.observations
    rows = [
        Observation(
            number=event.number,
            metric=name,
            value=decode(value),
            time=entry["time"],
            actor=entry["actor"]["name"],
            **{part: getattr(event, part) for part in ("n", "begin", "end", "slice", "source")},
        )
        for entry in journal.history(journal.start(), journal.head())
        if entry["event"].get("kind") == ObservationAdded.kind
        and (event := read_event(ObservationAdded, entry["event"])) is not None
        for name, value in event.metrics.items()
    ]
    known = dict.fromkeys(row.metric for row in rows)
    if metric is not None and metric not in known:
        names = ", ".join(known) or "none yet"
        raise MetricNotFoundError(f"{metric!r} was never observed; observed were: {names}")
    kept = [row for row in rows if metric in (None, row.metric)]
    return Observations(history, kept)
