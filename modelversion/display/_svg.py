"""Shapes as SVG, drawn from numbers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TypeVar

# It stands out from a white and from a black ground alike.
T = TypeVar("T")
INK = "#2f81d7"
_LARGEST = sys.float_info.max


def spark(values: Sequence[float], *, width: int = 64, height: int = 16) -> str:
    """Draw a small line, its last point marked."""
    kept = thinned(drawable(values), width // 3)
    xs = scaled(range(len(kept)), 2, width - 3)
    ys = scaled([-value for value in kept], 2, height - 3)
    points = " ".join(f"{x:.4g},{y:.4g}" for x, y in zip(xs, ys, strict=True))
    dot = f'<circle cx="{xs[-1]:.4g}" cy="{ys[-1]:.4g}" r="2" fill="{INK}"/>' if kept else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        f'<polyline points="{points}" fill="none" stroke="{INK}" stroke-width="1.5"/>{dot}</svg>'
    )


def drawable(values: Sequence[Any]) -> list[float]:
    """Leave out what has no place on an axis: infinities, NaN, integers beyond any float."""
    return [value for value in values if abs(value) <= _LARGEST]


def thinned(values: Sequence[T], count: int) -> list[T]:
    """Give at most so many of the values, evenly, the first and the last among them."""
    last = len(values) - 1
    if last < count:
        return list(values)
    return [values[round(i * last / (count - 1))] for i in range(count)]


def scaled(values: Sequence[float], low: float, high: float) -> list[float]:
    """Map values linearly onto a range; where all are the same, onto its middle."""
    least, most = min(values, default=0.0), max(values, default=0.0)
    # Halves, since the difference of two floats may be no float any more.
    reach = most / 2 - least / 2
    if reach == 0:
        return [(low + high) / 2] * len(values)
    return [low + (high - low) * ((v / 2 - least / 2) / reach) for v in values]
