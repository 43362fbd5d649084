"""Versions as a table: filter, order, pick the best, hand over to pandas or polars."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, overload

from modelversion import upkeep
from modelversion.broken import UNREADABLE, Broken, Problem
from modelversion.current import user_level
from modelversion.display import Page, Shown, counted
from modelversion.errors import (
    InvalidInputError,
    UnequalTestsWarning,
    VersionNotFoundError,
)
from modelversion.history import PLAIN_COLUMNS, History, no_collections
from modelversion.metrics import check_word, is_test
from modelversion.serializers import Allow
from modelversion.version import Version
from modelversion.versions import open_version

if TYPE_CHECKING:
    from modelversion.lineage import Lineage

Row = tuple[History, int]


class Versions(Sequence[Version], Shown):
    """Versions in an order, of one model or of several."""

    def __init__(
        self,
        rows: Sequence[Row],
        allow: Allow | None = None,
        problems: tuple[Problem, ...] = (),
    ) -> None:
        self._rows = list(rows)
        self._allow = allow
        self._problems = problems

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The journals that cannot be read, and whose versions are missing here."""
        return self._problems

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Version: ...

    @overload
    def __getitem__(self, index: slice) -> Versions: ...

    def __getitem__(self, index: int | slice) -> Version | Versions:
        if isinstance(index, slice):
            return Versions(self._rows[index], self._allow, self._problems)
        history, number = self._rows[index]
        return Version(history, history.pointer(number), self._allow)

    def __iter__(self) -> Iterator[Version]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        missing = f", {len(self.problems)} journals cannot be read" if self.problems else ""
        return f"<Versions: {len(self)} row{'' if len(self) == 1 else 's'}{missing}>"

    def _page(self) -> Page:
        from modelversion.views.model import versions_page

        return versions_page(self._rows, self._sparks, self._problems)

    def _sparks(self, row: Row) -> Mapping[str, Sequence[float]]:
        from modelversion.views.version import small_series

        history, number = row
        try:
            opened = open_version(history.line, history.pointer(number))
            series = small_series(opened.record, opened.files.read)
        except UNREADABLE:  # its row stands in the journal; verify names the file
            return {}
        return {name: [value for _, value in points] for name, points in series.items()}

    def lineage(self) -> Lineage:
        """Give what these versions were made from, and what was made from them, in any model.

        `registry.search(data=...).lineage()` tells what descends from a data set.
        """
        from modelversion.lineage import Family, lineage

        histories = upkeep.whole_registry(self._rows[0][0]) if self._rows else ()
        keys = [(history.line.name, number) for history, number in self._rows]
        family = Family(histories, of={name for name, _ in keys})
        return lineage(family, keys, of=counted(len(keys), "version"))

    @no_collections()
    def to_dict(self) -> dict[str, list[Any]]:
        """Give the rows as columns: name -> values, in the table's order."""
        parts = [
            {"model": [history.line.display] * len(numbers), **history.columns(numbers)}
            for history, numbers in _grouped(self._rows)
        ]
        if not parts:
            return {name: [] for name in ("model", *PLAIN_COLUMNS)}
        if len(parts) == 1:
            return parts[0]
        names = dict.fromkeys(name for part in parts for name in part)
        sizes = [len(part["number"]) for part in parts]
        return {
            name: [
                value
                for part, size in zip(parts, sizes, strict=True)
                for value in part.get(name, [None] * size)
            ]
            for name in names
        }

    @no_collections()
    def to_pandas(self) -> Any:
        """Give a pandas DataFrame, indexed by nothing; needs pandas."""
        import pandas

        columns = self.to_dict()
        frame = pandas.DataFrame(columns)
        if columns:
            frame["created_at"] = pandas.to_datetime(frame["created_at"])
        return frame

    @no_collections()
    def to_polars(self) -> Any:
        """Give a polars DataFrame; needs polars. A column of mixed types holds Python objects."""
        import polars

        columns = self.to_dict()
        frame = polars.DataFrame(
            [_series(polars, name, values) for name, values in columns.items()]
        )
        if len(self):
            when = polars.col("created_at").str.to_datetime(time_zone="UTC")
            frame = frame.with_columns(when)
        return frame


def _series(polars: Any, name: str, values: list[Any]) -> Any:
    kinds = {type(value) for value in values} - {type(None)}
    try:
        if kinds == {int, float}:
            values = [None if value is None else float(value) for value in values]
        if len(kinds) < 2 or kinds == {int, float}:
            return polars.Series(name, values, strict=False)
    except (OverflowError, polars.exceptions.PolarsError):
        pass  # integers beyond 64 bits, or beyond what a float holds
    return polars.Series(name, values, dtype=polars.Object)


def _grouped(rows: Iterable[Row]) -> Iterator[tuple[History, list[int]]]:
    """Split rows into runs of one model, in order."""
    current: History | None = None
    numbers: list[int] = []
    for history, number in rows:
        if history is not current:
            if current is not None:
                yield current, numbers
            current, numbers = history, []
        numbers.append(number)
    if current is not None:
        yield current, numbers


@no_collections()
def select(
    histories: Iterable[History],
    *,
    where: str | None,
    order_by: str | Sequence[str] | None,
    limit: int | None,
    data: str | None = None,
    broken: Broken | None = None,
) -> list[Row]:
    """Give the rows that a question names; with a digest, of versions made from that data.

    With `broken`, models that cannot be read are set aside there.

    Raises:
        QueryError: `where` or `order_by` does not parse.
        InvalidInputError: `limit` is no number of rows.
    """
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
        raise InvalidInputError(f"limit must be a number of rows, found {limit!r}")
    matches, order = _question(where, order_by)
    rows: list[Row] = []
    for history in histories:
        line = history.line
        with nullcontext() if broken is None else broken.aside(line.facts, line.decisions):
            found = [(history, n) for n in history.refresh().numbers()]
            if data is not None:
                found = [(history, n) for _, n in found if history.used(n, data)]
            rows += found if matches is None else [row for row in found if matches(row)]
    return order(rows)[:limit]


def _question(
    where: str | None, order_by: str | Sequence[str] | None
) -> tuple[Callable[[Row], bool] | None, Callable[[list[Row]], list[Row]]]:
    """Parse before anything is read, so that a typo costs no request."""
    if where is None and order_by is None:
        return None, (lambda rows: rows)
    from modelversion.query import parse_order_by, parse_where, sort_rows

    condition = None if where is None else parse_where(where)
    orders = () if order_by is None else parse_order_by(order_by)

    def lookup(row: Row) -> Callable[[tuple[str, ...]], Any]:
        return row[0].lookup(row[1])

    return (
        None if condition is None else lambda row: condition.matches(lookup(row)),
        lambda rows: sort_rows(rows, orders, lookup_for=lookup) if orders else rows,
    )


def best(rows: Sequence[Row], metric: str, *, name: str, higher: bool | None) -> list[Row]:
    """Order rows from the best value of a metric on; withdrawn, failed ones and NaN are left out.

    Raises:
        VersionNotFoundError: No row has the metric.
        InvalidInputError: Nothing says which way is better.
    """
    check_word(metric, "metric")
    found = []
    directions = set()
    for history, number in rows:
        value = history.lookup(number)(("metrics", metric))
        usable = isinstance(value, (int, float)) and value == value
        if usable and history.counts(number):
            found.append((value, (history, number)))
            directions.add(history.higher_is_better(number, metric))
    if not found:
        raise VersionNotFoundError(
            f"no version of {name} has the metric {metric!r}; metrics: {_names(rows)}; "
            "withdrawn and failed ones do not count"
        )
    if higher not in (None, True, False):
        raise InvalidInputError(f"higher_is_better must be True or False, found {higher!r}")
    up = _direction(directions, metric, higher)
    found.sort(key=lambda item: item[0], reverse=up)
    return [row for _, row in found]


def warn_of_tests(ranked: Sequence[Row], metric: str) -> None:
    """Warn if the first has other test data, under the same name, than one that it beats."""
    own, *others = map(_tests, ranked)
    for name, digest in own.items():
        count = sum(tests.get(name, digest) != digest for tests in others)
        if count:
            history, number = ranked[0]
            warnings.warn(
                f"{history.line.ref(number)} is the best by {metric!r}, but "
                f"{counted(count, 'other')} had other data as {name!r}; "
                "evaluate scores them on the same",
                UnequalTestsWarning,
                stacklevel=user_level(),
            )


def _tests(row: Row) -> dict[str, str]:
    history, number = row
    found = history.summary(number).get("data") or {}
    return {name: digest for name, digest in found.items() if digest and is_test(name)}


def _names(rows: Iterable[Row]) -> str:
    names = {name for history, number in rows for name in history.full(number).get("metrics", {})}
    return ", ".join(sorted(names)[:20]) or "none"


def _direction(directions: set[bool | None], metric: str, higher: bool | None) -> bool:
    known = {d for d in directions if d is not None} if higher is None else {higher}
    if len(known) != 1:
        found = "both ways" if known else "neither way"
        raise InvalidInputError(
            f"whether a higher {metric!r} is better was recorded {found}; say "
            "higher_is_better=True or False, and log it as mv.metric(value, higher_is_better=...)"
        )
    return known.pop()
