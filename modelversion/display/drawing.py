"""The plots of a page in matplotlib and in altair, from the tables behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from modelversion.display._page import Page, Picture, Section, are_numbers, is_number, plain
from modelversion.errors import InvalidInputError


def figure(page: Page) -> Any:
    """Give a matplotlib figure with an axis for each plot of a page.

    Raises:
        InvalidInputError: The page has no plot.
    """
    from matplotlib.figure import Figure

    pictures = _drawable(page)
    made = Figure(figsize=(7, 3.2 * len(pictures)), layout="constrained")
    for axis, picture in zip(
        made.subplots(len(pictures), squeeze=False)[:, 0], pictures, strict=True
    ):
        _draw(axis, picture)
    return made


def _draw(axis: Any, picture: Picture) -> None:
    data = picture.data
    axis.set_title(picture.name)
    first, *others = _numeric(data.columns, data.rows)
    if picture.kind == "dots":
        other = others[0]
        axis.scatter(_column(picture, first), _column(picture, other))
        for row in data.rows:
            place = data.columns.index(first), data.columns.index(other)
            axis.annotate(str(plain(row[0])), [plain(row[i]) for i in place])
        axis.set_ylabel(other)
    for name in others if picture.kind == "lines" else ():
        points = [(x, y) for x, y in zip(*_pair(picture, first, name), strict=True) if is_number(y)]
        axis.plot([x for x, _ in points], [y for _, y in points], label=name)
        axis.legend()
    axis.set_xlabel(first)


def chart(page: Page) -> Any:
    """Give an altair chart of the plots of a page, one below the other.

    Raises:
        InvalidInputError: The page has no plot.
    """
    import altair

    made = [_chart(altair, picture) for picture in _drawable(page)]
    return made[0] if len(made) == 1 else altair.vconcat(*made)


def _chart(altair: Any, picture: Picture) -> Any:
    data = picture.data
    first, *others = _numeric(data.columns, data.rows)
    if picture.kind == "dots":
        rows = [{"name": str(plain(row[0])), **dict(_points(picture, row))} for row in data.rows]
        base = altair.Chart(altair.Data(values=rows), title=picture.name)
        return base.mark_point().encode(
            x=altair.X(field=first, type="quantitative"),
            y=altair.Y(field=others[0], type="quantitative"),
            tooltip=altair.Tooltip(field="name", type="nominal"),
        )
    rows = [
        {first: x, "value": y, "series": name}
        for name in others
        for x, y in zip(*_pair(picture, first, name), strict=True)
        if is_number(y)
    ]
    base = altair.Chart(altair.Data(values=rows), title=picture.name)
    return base.mark_line(point=True).encode(
        x=altair.X(field=first, type="quantitative"),
        y=altair.Y(field="value", type="quantitative"),
        color=altair.Color(field="series", type="nominal"),
    )


def _points(picture: Picture, row: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for name in _numeric(picture.data.columns, picture.data.rows):
        yield name, plain(row[picture.data.columns.index(name)])


def _drawable(page: Page) -> list[Picture]:
    found = [picture for picture in _pictures(page.blocks) if picture.kind != "shapes"]
    if not found:
        raise InvalidInputError(f"the display of {page.title} has no plot of numbers")
    return found


def _pictures(blocks: Sequence[Any]) -> Iterator[Picture]:
    for block in blocks:
        if isinstance(block, Picture):
            yield block
        elif isinstance(block, Section):
            yield from _pictures(block.blocks)


def _numeric(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    return [name for i, name in enumerate(columns) if are_numbers(row[i] for row in rows)]


def _column(picture: Picture, name: str) -> list[Any]:
    place = picture.data.columns.index(name)
    return [plain(row[place]) for row in picture.data.rows]


def _pair(picture: Picture, first: str, other: str) -> tuple[list[Any], list[Any]]:
    return _column(picture, first), _column(picture, other)
