"""What a picture's table says, in the form in which plotting libraries want it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from modelversion.display._page import Picture, are_numbers, is_number, plain

_DEPTHS = 60
Point = tuple[float, float]


def names(picture: Picture) -> list[str]:
    """Give what stands in the first column."""
    return [str(plain(row[0])) for row in picture.data.rows]


def numeric(picture: Picture) -> list[str]:
    """Name the columns that hold numbers."""
    data = picture.data
    return [name for i, name in enumerate(data.columns) if are_numbers(row[i] for row in data.rows)]


def column(picture: Picture, name: str) -> list[Any]:
    """Give a column's values."""
    place = picture.data.columns.index(name)
    return [plain(row[place]) for row in picture.data.rows]


def lines(picture: Picture) -> dict[str, list[Point]]:
    """Give each column of numbers behind the first: name -> its points over the first."""
    first, *others = numeric(picture)
    xs = column(picture, first)
    return {
        name: [(x, y) for x, y in zip(xs, column(picture, name), strict=True) if is_number(y)]
        for name in others
    }


def intervals(picture: Picture) -> list[tuple[str, float, float, float]]:
    """Give name, value, low and high; where there is no interval, both are the value."""
    kept = []
    for row in picture.data.rows:
        name, value, low, high = [*map(plain, row), None, None][:4]
        known = is_number(low) and is_number(high)
        kept.append((str(name), value, low if known else value, high if known else value))
    return kept


def stretches(picture: Picture) -> list[tuple[str, str, datetime, datetime]]:
    """Give lane, what was there, since when and until when; what is there still goes on."""
    rows = [
        (str(lane), str(what), datetime.fromisoformat(since), until)
        for lane, what, since, until in (map(plain, row) for row in picture.data.rows)
    ]
    ends = [datetime.fromisoformat(until) for *_, until in rows if until is not None]
    times = [*ends, *(since for _, _, since, _ in rows)]
    now = max(times) + max((max(times) - min(times)) / 20, timedelta(seconds=1))
    return [
        (lane, what, since, now if until is None else datetime.fromisoformat(until))
        for lane, what, since, until in rows
    ]


def places(edges: Sequence[tuple[str, str]]) -> dict[str, Point]:
    """Put the nodes of a graph behind what leads to them: node -> (column, row)."""
    depth = dict.fromkeys((node for edge in edges for node in edge), 0)
    for _ in range(min(len(depth), _DEPTHS)):
        for one, other in edges:
            depth[other] = max(depth[other], min(depth[one] + 1, _DEPTHS))
    counts: dict[int, int] = {}
    found: dict[str, Point] = {}
    for node, column_ in depth.items():
        row = counts[column_] = counts.get(column_, -1) + 1
        found[node] = (column_, -row)
    return found


def edges(picture: Picture) -> list[tuple[str, str]]:
    """Give the pairs of a graph."""
    return [(str(plain(one)), str(plain(other))) for one, other in picture.data.rows]


def heights(picture: Picture) -> Iterator[tuple[str, list[tuple[float | None, Any]]]]:
    """Give each axis of a parallel plot: name -> (from 0 to 1, value) of each row.

    What is no number is a category, in the order of its text; None has no place.
    """
    for name in picture.data.columns[1:]:
        values = column(picture, name)
        kept = [value for value in values if value is not None]
        order = sorted(set(kept)) if are_numbers(kept) else sorted({repr(v) for v in kept})
        yield name, [(_height(value, order), value) for value in values]


def _height(value: Any, order: list[Any]) -> float | None:
    if value is None:
        return None
    if not isinstance(order[0], str):
        reach = order[-1] - order[0]
        return 0.5 if reach == 0 else (value - order[0]) / reach
    return 0.5 if len(order) == 1 else order.index(repr(value)) / (len(order) - 1)
