"""A picture on an axis of matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelversion.display import _series
from modelversion.display._page import Picture


def draw(axis: Any, picture: Picture) -> None:
    """Draw a picture from its data."""
    axis.set_title(picture.name)
    _DRAW[picture.kind](axis, picture)


def _bars(axis: Any, picture: Picture) -> None:
    name = _series.numeric(picture)[0]
    axis.barh(_series.names(picture), _series.column(picture, name))
    axis.invert_yaxis()
    axis.set_xlabel(name)


def _dots(axis: Any, picture: Picture) -> None:
    one, other = _series.numeric(picture)[:2]
    xs, ys = _series.column(picture, one), _series.column(picture, other)
    axis.scatter(xs, ys)
    for name, *place in zip(_series.names(picture), xs, ys, strict=True):
        axis.annotate(name, place)
    axis.set_xlabel(one)
    axis.set_ylabel(other)


def _graph(axis: Any, picture: Picture) -> None:
    edges = _series.edges(picture)
    places = _series.places(edges)
    for one, other in edges:
        arrow = {"arrowstyle": "->", "shrinkA": 12, "shrinkB": 12}
        axis.annotate("", places[other], places[one], arrowprops=arrow)
    for name, (x, y) in places.items():
        axis.text(x, y, name, ha="center", va="center", bbox={"facecolor": "w", "pad": 3})
    xs, ys = zip(*places.values(), strict=True)
    axis.set_xlim(min(xs) - 0.5, max(xs) + 0.5)
    axis.set_ylim(min(ys) - 0.5, max(ys) + 0.5)
    axis.set_axis_off()


def _intervals(axis: Any, picture: Picture) -> None:
    rows = _series.intervals(picture)
    errors = [[v - low for _, v, low, _ in rows], [high - v for _, v, _, high in rows]]
    axis.errorbar([v for _, v, *_ in rows], range(len(rows)), xerr=errors, fmt="o", capsize=3)
    axis.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axis.invert_yaxis()
    axis.set_xlabel(picture.data.columns[1])


def _lanes(axis: Any, picture: Picture) -> None:
    for lane, what, since, until in _series.stretches(picture):
        axis.barh(lane, until - since, left=since, edgecolor="black", fill=False)
        axis.text(since, lane, f" {what}", va="center")
    axis.invert_yaxis()


def _lines(axis: Any, picture: Picture) -> None:
    for name, points in _series.lines(picture).items():
        axis.plot([x for x, _ in points], [y for _, y in points], label=name)
    axis.legend()
    axis.set_xlabel(_series.numeric(picture)[0])


def _parallel(axis: Any, picture: Picture) -> None:
    heights = dict(_series.heights(picture))
    for i, name in enumerate(_series.names(picture)):
        ys = [found[i][0] for found in heights.values()]
        axis.plot(range(len(ys)), [float("nan") if y is None else y for y in ys], label=name)
    axis.set_xticks(range(len(heights)), list(heights))
    axis.set_yticks([])
    axis.legend()


_DRAW: dict[str, Callable[[Any, Picture], None]] = {
    "bars": _bars,
    "dots": _dots,
    "graph": _graph,
    "intervals": _intervals,
    "lanes": _lanes,
    "lines": _lines,
    "parallel": _parallel,
}
