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
        parts.append(_label(name, 160, y + 12, anchor="end", chars=24))
        parts.append(f'<rect x="170" y="{y}" width="{wide:.4g}" height="14" fill="{INK}"/>')
        parts.append(_label(label, 178 + wide, y + 12))
    return _svg(parts, _ROW * len(kept) + 8)


def intervals(rows: Sequence[tuple[str, float, float | None, float | None]]) -> str:
    """Draw a dot and its interval, if there is one, for each name: (name, value, low, high)."""
    kept = [row for row in rows if len(drawable([row[1]])) == 1][:_MOST]
    ends = drawable([v for _, *values in kept for v in values if v is not None])
    xs = dict(zip(ends, scaled(ends, 170, _WIDTH - 70), strict=True))
    parts = []
    for i, (name, value, low, high) in enumerate(kept):
        y = _ROW * i + 14
        parts.append(_label(name, 160, y + 4, anchor="end", chars=24))
        if low in xs and high in xs:
            parts.append(_line((xs[low], y), (xs[high], y), INK, width=2))
        parts.append(_dot(xs[value], y, full=True))
        parts.append(_label(shown(value, 12), _WIDTH - 56, y + 4))
    return _svg(parts, _ROW * len(kept) + 8)


def lines(series: Mapping[str, Sequence[tuple[float, float]]], *, axis: str) -> str:
    """Draw series of (step, value) as lines over one axis, whose name stands below it."""
    kept = {name: _points(found) for name, found in list(series.items())[: len(_INKS)]}
    every = [point for points in kept.values() for point in points]
    xs = dict(zip(*_axis([x for x, _ in every], 46, _WIDTH - 120), strict=True))
    ys = dict(zip(*_axis([y for _, y in every], 150, 14), strict=True))
    parts = [_frame(every), _label(axis, 173, 168)] if every else []
    for i, (name, points) in enumerate(kept.items()):
        at = " ".join(f"{xs[x]:.4g},{ys[y]:.4g}" for x, y in points)
        dash = f' stroke-dasharray="{_DASHES[i]}"' if _DASHES[i] else ""
        parts.append(
            f'<polyline points="{at}" fill="none" stroke="{_INKS[i]}" stroke-width="1.8"{dash}/>'
        )
        parts.append(
            _line((_WIDTH - 112, 20 + 18 * i), (_WIDTH - 92, 20 + 18 * i), _INKS[i], width=2)
        )
        parts.append(_label(name, _WIDTH - 86, 24 + 18 * i, chars=14))
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


def dots(points: Sequence[tuple[str, float, float, bool]], *, axes: tuple[str, str]) -> str:
    """Draw points with names: (name, x, y, whether it stands out)."""
    kept = [p for p in points if len(drawable(p[1:3])) == 2][: 2 * _MOST]
    xs = scaled([p[1] for p in kept], 60, _WIDTH - 130)
    ys = scaled([p[2] for p in kept], 140, 24)
    parts = [_frame([p[1:3] for p in kept])] if kept else []
    parts.append(_label(axes[0], _WIDTH - 110, 154, chars=16))
    parts.append(_label(axes[1], 52, 12, chars=30))
    for (name, _, _, out), x, y in zip(kept, xs, ys, strict=True):
        parts.append(_dot(x, y, full=out))
        if out:
            parts.append(_label(name, x + 7, y + 4, chars=20))
    return _svg(parts, 178)


def parallel(rows: Sequence[Sequence[Any]], *, axes: Sequence[str]) -> str:
    """Draw a line for each row (name, values) through an axis for each value.

    What is no number is a category.
    """
    if not rows or not axes:
        return _svg([], 20)
    names, rows = [str(row[0]) for row in rows], [row[1:] for row in rows]
    gap = (_WIDTH - 180) / max(len(axes) - 1, 1)
    at = [100 + gap * i for i in range(len(axes))]
    heights = [_heights([row[i] for row in rows]) for i in range(len(axes))]
    parts = []
    for i, (name, x) in enumerate(zip(axes, at, strict=True)):
        parts.append(_line((x, 24), (x, 140), _GREY))
        parts.append(_label(name, x, 14, anchor="middle", chars=max(int(gap / 7), 4)))
        column = [row[i] for row in rows if row[i] is not None]
        for value, y in _ends(column, heights[i]):
            parts.append(_label(_short(value), x + 4, y))
    for r in range(len(rows)):
        line_at = " ".join(f"{x:.4g},{heights[i][r]:.4g}" for i, x in enumerate(at))
        parts.append(
            f'<polyline points="{line_at}" fill="none" stroke="{_INKS[r % len(_INKS)]}" '
            f'stroke-dasharray="{_DASHES[r % len(_INKS)] or "none"}"/>'
        )
    parts += [_label(name, 94, y + 4, anchor="end", chars=14) for name, y in _apart(names, heights)]
    return _svg(parts, 160)


def _apart(names: Sequence[str], heights: Sequence[Sequence[float]]) -> Iterator[tuple[str, float]]:
    """Give the names at their first axis, but for those that would cover the one above."""
    above = -float(_ROW)
    for y, name in sorted(zip(heights[0], names, strict=True)):
        if y - above >= 12:
            yield name, y
            above = y


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else shown(value, 9)


def _heights(values: Sequence[Any]) -> list[float]:
    numbers = [v for v in values if isinstance(v, (int, float)) and drawable([v])]
    if len(numbers) == len(values):
        return scaled([-value for value in numbers], 28, 136)
    kinds = sorted({repr(value) for value in values})
    return scaled([kinds.index(repr(value)) for value in values], 28, 136) if values else []


def _ends(column: Sequence[Any], heights: Sequence[float]) -> list[tuple[Any, float]]:
    if not column:
        return []
    found = sorted(zip(heights, range(len(column)), strict=False))
    ends = {found[0][1]: found[0][0] + 4, found[-1][1]: found[-1][0] + 8}
    return [(column[i], y) for i, y in ends.items()]


def lanes(rows: Sequence[tuple[str, Sequence[tuple[float, float, str]]]]) -> str:
    """Draw stretches of time in lanes: (lane, [(begin, end, label)])."""
    kept = rows[:_MOST]
    ends = [t for _, stretches in kept for begin, end, _ in stretches for t in (begin, end)]
    xs = dict(zip(*_axis(ends, 110, _WIDTH - 10), strict=True))
    parts = []
    for i, (name, stretches) in enumerate(kept):
        y = (_ROW + 6) * i + 4
        parts.append(_label(name, 102, y + 14, anchor="end", chars=16))
        for begin, end, label in list(stretches)[-_MOST:]:
            wide = max(xs[end] - xs[begin], 2)
            parts.append(
                f'<rect x="{xs[begin]:.4g}" y="{y}" width="{wide:.4g}" height="{_ROW}" '
                f'fill="none" stroke="{INK}" stroke-width="1.5"/>'
            )
            if wide > 16:
                parts.append(_label(label, xs[begin] + 4, y + 14, chars=max(int(wide / 7), 1)))
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
            parts.append(_label(name, x + 6, y + 16, chars=max(int((wide - 44) / 6.6), 3)))
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
        f'font-family="system-ui,sans-serif" font-size="12">{"".join(parts)}</svg>'
    )


def _label(text: str, x: float, y: float, *, anchor: str = "start", chars: int = 12) -> str:
    told = escape(line(text, chars))
    return f'<text x="{x:.4g}" y="{y:.4g}" text-anchor="{anchor}" fill="{_TEXT}">{told}</text>'


def _line(start: Point, end: Point, ink: str, *, width: float = 1) -> str:
    return (
        f'<line x1="{start[0]:.4g}" y1="{start[1]:.4g}" x2="{end[0]:.4g}" y2="{end[1]:.4g}" '
        f'stroke="{ink}" stroke-width="{width}"/>'
    )


def _dot(x: float, y: float, *, full: bool) -> str:
    fill = INK if full else "none"
    return f'<circle cx="{x:.4g}" cy="{y:.4g}" r="4" fill="{fill}" stroke="{INK}"/>'
