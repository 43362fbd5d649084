"""The plots of a page in matplotlib and in altair, from the tables behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from modelversion.display import _chart, _figure
from modelversion.display._page import Page, Picture, Section
from modelversion.errors import InvalidInputError


def figure(page: Page) -> Any:
    """Give a matplotlib figure with an axis for each plot of a page.

    Raises:
        InvalidInputError: The page has no plot.
    """
    from matplotlib.figure import Figure

    pictures = _drawable(page)
    made = Figure(figsize=(7, 3.2 * len(pictures)), layout="constrained")
    axes = made.subplots(len(pictures), squeeze=False)[:, 0]
    for axis, picture in zip(axes, pictures, strict=True):
        _figure.draw(axis, picture)
    return made


def chart(page: Page) -> Any:
    """Give an altair chart of the plots of a page, one below the other.

    Raises:
        InvalidInputError: The page has no plot.
    """
    import altair

    made = [_chart.draw(altair, picture) for picture in _drawable(page)]
    return made[0] if len(made) == 1 else altair.vconcat(*made)


def _drawable(page: Page) -> list[Picture]:
    found = list(_pictures(page.blocks))
    if not found:
        raise InvalidInputError(f"the display of {page.title} has no plot")
    return found


def _pictures(blocks: Sequence[Any]) -> Iterator[Picture]:
    for block in blocks:
        if isinstance(block, Picture):
            yield block
        elif isinstance(block, Section):
            yield from _pictures(block.blocks)
