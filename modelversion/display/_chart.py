"""A picture as a chart of altair. Names of the user's are never names of fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelversion.display import _series
from modelversion.display._page import Picture


def draw(altair: Any, picture: Picture) -> Any:
    """Give the chart of a picture, its data inside."""
    return _DRAW[picture.kind](altair, picture).properties(title=picture.name)


def _chart(altair: Any, rows: list[dict[str, Any]]) -> Any:
    return altair.Chart(altair.Data(values=rows))


def _number(channel: Any, field: str, title: str) -> Any:
    return channel(field=field, type="quantitative", title=title)


def _name(channel: Any, title: str | None = None, field: str = "name") -> Any:
    return channel(field=field, type="nominal", sort=None, title=title)


def _tooltip(altair: Any, *fields: str) -> list[Any]:
    return [altair.Tooltip(field=field, type="nominal") for field in fields]


def _bars(altair: Any, picture: Picture) -> Any:
    title = _series.numeric(picture)[0]
    pairs = zip(_series.names(picture), _series.column(picture, title), strict=True)
    chart = _chart(altair, [{"name": name, "value": value} for name, value in pairs])
    return chart.mark_bar().encode(
        x=_number(altair.X, "value", title), y=_name(altair.Y), tooltip=_tooltip(altair, "name")
    )


def _dots(altair: Any, picture: Picture) -> Any:
    one, other = _series.numeric(picture)[:2]
    columns = (_series.column(picture, name) for name in (one, other))
    points = zip(_series.names(picture), *columns, strict=True)
    chart = _chart(altair, [{"name": name, "x": x, "y": y} for name, x, y in points])
    return chart.mark_point().encode(
        x=_number(altair.X, "x", one),
        y=_number(altair.Y, "y", other),
        tooltip=_tooltip(altair, "name"),
    )


def _graph(altair: Any, picture: Picture) -> Any:
    edges = _series.edges(picture)
    places = _series.places(edges)
    arrows = [_between(places[one], places[other]) for one, other in edges]
    nodes = [{"name": name, "x": x, "y": y} for name, (x, y) in places.items()]
    x, y = (channel(field=f, type="quantitative", axis=None) for channel, f in _xy(altair))
    lines = _chart(altair, arrows).mark_rule().encode(x=x, y=y, x2="x2", y2="y2")
    texts = _chart(altair, nodes).mark_text(dy=-8)
    points = _chart(altair, nodes).mark_point(filled=True).encode(x=x, y=y)
    text = altair.Text(field="name", type="nominal")
    return altair.layer(lines, points, texts.encode(x=x, y=y, text=text))


def _xy(altair: Any) -> list[tuple[Any, str]]:
    return [(altair.X, "x"), (altair.Y, "y")]


def _between(one: tuple[float, float], other: tuple[float, float]) -> dict[str, float]:
    return {"x": one[0], "y": one[1], "x2": other[0], "y2": other[1]}


def _intervals(altair: Any, picture: Picture) -> Any:
    keys = ("name", "value", "low", "high")
    rows = [dict(zip(keys, row, strict=True)) for row in _series.intervals(picture)]
    title, y = picture.data.columns[1], _name(altair.Y)
    low = altair.X(field="low", type="quantitative", title=title, scale=altair.Scale(zero=False))
    lines = _chart(altair, rows).mark_rule().encode(x=low, x2="high", y=y)
    dots = _chart(altair, rows).mark_point(filled=True)
    return altair.layer(lines, dots.encode(x=_number(altair.X, "value", title), y=y))


def _lanes(altair: Any, picture: Picture) -> Any:
    rows = [
        {"name": lane, "what": what, "since": since.isoformat(), "until": until.isoformat()}
        for lane, what, since, until in _series.stretches(picture)
    ]
    return (
        _chart(altair, rows)
        .mark_bar(stroke="black")
        .encode(
            x=altair.X(field="since", type="temporal", title=None),
            x2="until",
            y=_name(altair.Y),
            color=_name(altair.Color, field="what"),
            tooltip=_tooltip(altair, "what", "since", "until"),
        )
    )


def _lines(altair: Any, picture: Picture) -> Any:
    rows = [
        {"x": x, "value": y, "series": name}
        for name, points in _series.lines(picture).items()
        for x, y in points
    ]
    return (
        _chart(altair, rows)
        .mark_line(point=True)
        .encode(
            x=_number(altair.X, "x", _series.numeric(picture)[0]),
            y=_number(altair.Y, "value", "value"),
            color=_name(altair.Color, field="series"),
        )
    )


def _parallel(altair: Any, picture: Picture) -> Any:
    names = _series.names(picture)
    rows = [
        {"name": names[i], "axis": axis, "height": height, "value": str(value)}
        for axis, found in _series.heights(picture)
        for i, (height, value) in enumerate(found)
        if height is not None
    ]
    return (
        _chart(altair, rows)
        .mark_line(point=True)
        .encode(
            x=_name(altair.X, field="axis"),
            y=altair.Y(field="height", type="quantitative", axis=None),
            color=_name(altair.Color),
            tooltip=_tooltip(altair, "name", "axis", "value"),
        )
    )


_DRAW: dict[str, Callable[[Any, Picture], Any]] = {
    "bars": _bars,
    "dots": _dots,
    "graph": _graph,
    "intervals": _intervals,
    "lanes": _lanes,
    "lines": _lines,
    "parallel": _parallel,
}
