"""Plots as SVG, drawn from numbers and names; each is a few kB, however much it is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from modelversion.display._page import line, shown
from modelversion.display._svg import INK, drawable, scaled, thinned

_WIDTH, _WIDE, _ROW = 480, 780, 20
_GREY = "#768390"
_TEXT = "#1f2328"
_INKS = (INK, "#c2410c", "#15803d", "#a855f7", "#0e7490", "#be185d")
_MOST = 24
_READABLE = 4  # of a name that is cut, so many characters at least
# A second way to tell lines apart, for those who see colours otherwise.
Point = tuple[float, float]
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 2", "10 4")


def bars(rows: Sequence[tuple[str, float, str]]) -> str:
    """Draw a bar from zero for each name: (name, value, label); no value is below zero."""
    kept = rows[:_MOST]
    most = max((value for _, value, _ in kept), default=0) or 1
    parts = []
    for i, (name, value, label) in enumerate(kept):
        y, wide = _ROW * i + 4, 220 * (value / most)
        parts.append(_label(_named(name, 22), 160, y + 12, anchor="end", chars=22))
        parts.append(f'<rect x="170" y="{y}" width="{wide:.4g}" height="14" fill="{INK}"/>')
        parts.append(_label(label, 178 + wide, y + 12))
    return _svg(parts, _ROW * len(kept) + 8)


def intervals(rows: Sequence[tuple[str, float, float | None, float | None]]) -> str:
    """Draw a dot and its interval, if there is one, for each name: (name, value, low, high)."""
    kept = [row for row in rows if len(drawable([row[1]])) == 1][:_MOST]
    ends = drawable([v for _, *values in kept for v in values if v is not None])
    xs = dict(zip(ends, scaled(ends, 170, _WIDTH - 94), strict=True))
    parts = []
    for i, (name, value, low, high) in enumerate(kept):
        y = _ROW * i + 14
        parts.append(_label(_named(name, 22), 160, y + 4, anchor="end", chars=22))
        if low in xs and high in xs:
            parts.append(_line((xs[low], y), (xs[high], y), INK, width=2))
        parts.append(_dot(xs[value], y, full=True))
        parts.append(_label(shown(value, 12), _WIDTH - 2, y + 4, anchor="end"))
    return _svg(parts, _ROW * len(kept) + 8)


def lines(series: Mapping[str, Sequence[tuple[float, float]]], *, axis: str) -> str:
    """Draw series of (step, value) as lines over one axis, whose name stands below it."""
    kept = {name: _points(found) for name, found in list(series.items())[: len(_INKS)]}
    every = [point for points in kept.values() for point in points]
    xs = dict(zip(*_axis([x for x, _ in every], 46, _WIDTH - 120), strict=True))
    ys = dict(zip(*_axis([y for _, y in every], 150, 14), strict=True))
    parts = [_frame(every), _below(axis)] if every else []
    for i, (name, points) in enumerate(kept.items()):
        at = " ".join(f"{xs[x]:.4g},{ys[y]:.4g}" for x, y in points)
        dash = f' stroke-dasharray="{_DASHES[i]}"' if _DASHES[i] else ""
        parts.append(
            f'<polyline points="{at}" fill="none" stroke="{_INKS[i]}" stroke-width="1.8"{dash}/>'
        )
        parts.append(
            _line((_WIDTH - 112, 20 + 18 * i), (_WIDTH - 92, 20 + 18 * i), _INKS[i], width=2)
        )
        parts.append(_label(_tail(name, 13), _WIDTH - 86, 24 + 18 * i, chars=13))
    return _svg(parts, 178)


def _points(found: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return thinned([(x, y) for x, y in found if len(drawable([x, y])) == 2], 60)


def _axis(values: Sequence[float], low: float, high: float) -> tuple[Sequence[float], list[float]]:
    return values, scaled(values, low, high)


def _frame(points: Sequence[tuple[float, float]]) -> str:
    xs, ys = ([point[i] for point in points] for i in (0, 1))
    return "".join(
        [
            _line((46, 150), (_WIDTH - 120, 150), _GREY),
            _line((46, 14), (46, 150), _GREY),
            _label(f"{max(ys):.3g}", 42, 18, anchor="end"),
            _label(f"{min(ys):.3g}", 42, 152, anchor="end"),
            _label(f"{min(xs):.3g}", 46, 168),
            _label(f"{max(xs):.3g}", _WIDTH - 120, 168, anchor="end"),
        ]
    )


def _below(axis: str) -> str:
    """Write the name of an axis between the numbers at its ends."""
    return _label(axis, 203, 168, anchor="middle", chars=30)


def dots(points: Sequence[tuple[str, float, float, bool]], *, axes: tuple[str, str]) -> str:
    """Draw points with names: (name, x, y, whether it stands out)."""
    kept = [p for p in points if len(drawable(p[1:3])) == 2][: 2 * _MOST]
    xs = scaled([p[1] for p in kept], 60, _WIDTH - 130)
    ys = scaled([p[2] for p in kept], 140, 24)
    parts = [_frame([p[1:3] for p in kept])] if kept else []
    parts += [_below(axes[0]), _label(axes[1], 52, 12, chars=40)]
    for (name, _, _, out), x, y in zip(kept, xs, ys, strict=True):
        parts.append(_dot(x, y, full=out))
        if out:
            parts.append(_label(_named(name, 16), x + 7, y + 4, chars=16))
    return _svg(parts, 178)


def parallel(rows: Sequence[Sequence[Any]], *, axes: Sequence[str]) -> str:
    """Draw a line for each row (name, values) through an axis for each value.

    What is no number is a category; what is missing has no place, and its line a gap.
    """
    if not rows or not axes:
        return _svg([], 20)
    names, rows = [str(row[0]) for row in rows], [row[1:] for row in rows]
    width = _WIDTH if len(axes) <= _NARROW else _WIDE
    gap = (width - 200) / max(len(axes) - 1, 1)
    at = [120 + gap * i for i in range(len(axes))]
    heights = [_heights([row[i] for row in rows]) for i in range(len(axes))]
    parts = [_line((x, 24), (x, 140), _GREY) for x in at]
    for r, (name, label) in enumerate(zip(names, _apart(heights[0]), strict=True)):
        ink, dash = _INKS[r % len(_INKS)], _DASHES[r % len(_INKS)]
        line_at: list[Point | None] = []
        if label is not None:
            parts.append(_label(_named(name, 14), 96, label + 4, anchor="end", chars=14))
            line_at.append((100, label))
        line_at += [
            None if y is None else (x, y) for x, y in zip(at, _row(heights, r), strict=True)
        ]
        parts += [_path(points, ink, dash) for points in _unbroken(line_at)]
    for name, x, found, column in zip(axes, at, heights, zip(*rows, strict=True), strict=True):
        chars = min(max(int(gap / 7) - 1, 4), 22)
        parts.append(_label(_tail(name, chars), x, 14, anchor="middle", chars=chars))
        for value, y in _ends(column, found):
            parts.append(_label(_short(value, chars), x + 4, y, chars=chars, halo=True))
    return _svg(parts, 160, width=width)


_NARROW = 5  # more axes than this are drawn wider
_APART = 12
_NAMES = 10  # as many as have room


def _row(heights: Sequence[Sequence[float | None]], row: int) -> list[float | None]:
    return [column[row] for column in heights]


def _unbroken(points: Sequence[Point | None]) -> Iterator[list[Point]]:
    """Give the stretches between the gaps."""
    kept: list[Point] = []
    for point in [*points, None]:
        if point is not None:
            kept.append(point)
            continue
        if kept:
            yield kept
        kept = []


def _path(points: Sequence[Point], ink: str, dash: str) -> str:
    if len(points) == 1:
        x, y = points[0]
        return f'<circle cx="{x:.4g}" cy="{y:.4g}" r="2.5" fill="{ink}"/>'
    at = " ".join(f"{x:.4g},{y:.4g}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{at}" fill="none" stroke="{ink}"{dashed}/>'


def _apart(heights: Sequence[float | None]) -> list[float | None]:
    """Give places for names beside their values, one below the other; some may get none."""
    fits = sorted((y, i) for i, y in enumerate(heights) if y is not None)[:_NAMES]
    found: list[float | None] = [None] * len(heights)
    above = 0.0
    for rest, (y, i) in zip(range(len(fits) - 1, -1, -1), fits, strict=True):
        above = max(min(y, 140 - _APART * rest), above + _APART)
        found[i] = above
    return found


def _short(value: Any, chars: int) -> str:
    return f"{value:.3g}" if isinstance(value, float) else shown(value, min(chars, 9))


def _heights(values: Sequence[Any]) -> list[float | None]:
    """Give each value its height, None where it is missing or a number without a place."""
    kept = [value for value in values if value is not None]
    if all(isinstance(value, (int, float)) for value in kept):
        return _placed(values, {v: -v for v in drawable(kept)})
    kinds = sorted({repr(value) for value in kept})
    return _placed(
        [v if v is None else repr(v) for v in values], {k: kinds.index(k) for k in kinds}
    )


def _placed(values: Sequence[Any], places: Mapping[Any, float]) -> list[float | None]:
    at = dict(zip(places, scaled(list(places.values()), 28, 136), strict=True))
    return [at.get(value) for value in values]


def _ends(column: Sequence[Any], heights: Sequence[float | None]) -> list[tuple[Any, float]]:
    found = sorted((y, i) for i, y in enumerate(heights) if y is not None)
    if not found:
        return []
    ends = {found[0][1]: found[0][0] + 4}
    if found[-1][0] > found[0][0]:
        ends[found[-1][1]] = found[-1][0] + 8
    return [(column[i], y) for i, y in ends.items()]


def lanes(rows: Sequence[tuple[str, Sequence[tuple[float, float, str]]]]) -> str:
    """Draw stretches of time in lanes: (lane, [(begin, end, label)])."""
    kept = rows[:_MOST]
    ends = [t for _, stretches in kept for begin, end, _ in stretches for t in (begin, end)]
    xs = dict(zip(*_axis(ends, 110, _WIDTH - 10), strict=True))
    parts = []
    for i, (name, stretches) in enumerate(kept):
        y = (_ROW + 6) * i + 4
        parts.append(_label(name, 102, y + 14, anchor="end", chars=15))
        for begin, end, label in list(stretches)[-_MOST:]:
            wide = max(xs[end] - xs[begin], 2)
            parts.append(
                f'<rect x="{xs[begin]:.4g}" y="{y}" width="{wide:.4g}" height="{_ROW}" '
                f'fill="none" stroke="{INK}" stroke-width="1.5"/>'
            )
            chars = int((wide - 6) / 7)
            if chars >= _READABLE:
                parts.append(_label(_named(label, chars), xs[begin] + 4, y + 14, chars=chars))
    return _svg(parts, (_ROW + 6) * len(kept) + 6)


def graph(layers: Sequence[Sequence[str]], edges: Sequence[tuple[str, str]]) -> str:
    """Draw nodes in columns, from the left to the right, and arrows between them."""
    kept = [list(layer[:8]) for layer in layers if layer][:6]
    wide = _WIDE / max(len(kept), 1)
    tall = max(map(len, kept), default=1) * 34
    at: dict[str, tuple[float, float]] = {}
    parts = []
    for i, layer in enumerate(kept):
        for j, name in enumerate(layer):
            x, y = wide * i + 4, (j + 0.5) * tall / len(layer) - 12
            at[name] = (x, y + 12)
            parts.append(
                f'<rect x="{x:.4g}" y="{y:.4g}" width="{wide - 34:.4g}" height="24" rx="4" '
                f'fill="none" stroke="{_GREY}"/>'
            )
            chars = max(int((wide - 44) / 6.6), 3)
            parts.append(_label(_named(name, chars), x + 6, y + 16, chars=chars))
    for one, other in edges:
        if one in at and other in at:
            (x, y), (to, down) = at[one], at[other]
            parts.append(_arrow(x + wide - 34, y, to, down))
    return _svg(parts, tall + 4, width=_WIDE)


def _arrow(x: float, y: float, to: float, down: float) -> str:
    head = f"{to:.4g},{down:.4g} {to - 6:.4g},{down - 3:.4g} {to - 6:.4g},{down + 3:.4g}"
    return f'{_line((x, y), (to - 5, down), INK)}<polygon points="{head}" fill="{INK}"/>'


# ---- shapes --------------------------------------------------------------------------------------


def _svg(parts: Sequence[str], height: float, *, width: int = _WIDTH) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.4g}" '
        f'font-family="system-ui,sans-serif" font-size="12" fill="{_TEXT}">{"".join(parts)}</svg>'
    )


def _label(
    text: str, x: float, y: float, *, anchor: str = "start", chars: int = 12, halo: bool = False
) -> str:
    told = escape(line(text, chars))
    # Where lines pass behind it, a text has its ground around it.
    ground = ' stroke="#fff" stroke-width="3" paint-order="stroke"' if halo else ""
    placed = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.4g}" y="{y:.4g}"{placed}{ground}>{told}</text>'


def _named(name: str, chars: int) -> str:
    """Cut a name that is too long in its middle: the number of a version stands at its end."""
    tail = name[name.rfind(":") :] if ":" in name else ""
    if len(name) <= chars or not 0 < len(tail) <= chars - 2:
        return name
    return f"{name[: chars - 1 - len(tail)]}…{tail}"


def _tail(name: str, chars: int) -> str:
    """Cut a name that is too long at its beginning, where params of a group are alike."""
    return name if len(name) <= chars else f"…{name[1 - chars :]}"


def _line(start: Point, end: Point, ink: str, *, width: float = 1) -> str:
    return (
        f'<line x1="{start[0]:.4g}" y1="{start[1]:.4g}" x2="{end[0]:.4g}" y2="{end[1]:.4g}" '
        f'stroke="{ink}" stroke-width="{width}"/>'
    )


def _dot(x: float, y: float, *, full: bool) -> str:
    fill = INK if full else "none"
    return f'<circle cx="{x:.4g}" cy="{y:.4g}" r="4" fill="{fill}" stroke="{INK}"/>'
