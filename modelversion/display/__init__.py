"""Displays: a result describes itself once, and is shown as HTML, text, Markdown and data.

A class derives from `Shown` and says in `_page` what there is to see:

    class Report(Shown):
        def _page(self) -> Page:
            return Page("churn:3", "2 of 3 gates passed", tone="bad", blocks=[
                Facts({"stage": "production", "judged at": when(self.time)}),
                Table("gates", ("gate", "found", "passed"), rows=self.rows, empty="no gates"),
            ])

Nothing has to be escaped, cut or caught there: whatever stands in a page is shown as text, a
display is at most 20 kB, and one that cannot be made says why in a line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from modelversion.display._page import (
    Block,
    Cell,
    Facts,
    Limits,
    Note,
    Page,
    Picture,
    Section,
    Table,
    Text,
    Tone,
    counted,
    digest,
    line,
    shape,
    shown,
    size,
    when,
    without_empty,
)

__all__ = [
    "Block",
    "Cell",
    "Facts",
    "Note",
    "Page",
    "Picture",
    "Section",
    "Shown",
    "Table",
    "Text",
    "Tone",
    "counted",
    "digest",
    "shape",
    "shown",
    "size",
    "when",
    "without_empty",
]

MAX_BYTES = 20_000
# The first that fits is taken.
_LADDER = (
    Limits(rows=20, columns=10, chars=240, lines=80, blocks=16),
    Limits(rows=12, columns=10, chars=100, lines=40, blocks=16),
    Limits(rows=8, columns=8, chars=40, lines=20, blocks=12),
    Limits(rows=5, columns=6, chars=32, lines=10, blocks=10),
    Limits(rows=3, columns=5, chars=24, lines=5, blocks=8),
    Limits(rows=1, columns=3, chars=16, lines=2, blocks=3),
)
_ALL = Limits(rows=10_000, columns=1_000, chars=2_000, lines=10_000, blocks=1_000)


class Shown:
    """What every result can do: be looked at, printed, and handed on."""

    __slots__ = ()

    def _page(self) -> Page:
        raise NotImplementedError

    def __str__(self) -> str:
        from modelversion.display._as_text import text

        return _never_raising(self, lambda: _fitting(self._page(), text), str)

    def _repr_html_(self) -> str:
        from modelversion.display._as_html import fragment, sentence

        return _never_raising(self, lambda: _fitting(self._page(), fragment), sentence)

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        made: dict[str, Callable[[], str]] = {
            "text/html": self._repr_html_,
            "text/plain": lambda: str(self),
        }
        return {
            kind: make()
            for kind, make in made.items()
            if (not include or kind in include) and not (exclude and kind in exclude)
        }

    def to_dict(self) -> dict[str, Any]:
        """Give all that the display says as plain data: facts and tables by name."""
        from modelversion.display._page import data_of

        return data_of(self._page())

    def to_pandas(self) -> Any:
        """Give the display's main table as a pandas DataFrame; needs pandas."""
        import pandas

        from modelversion.display._page import main_table, plain

        table = main_table(self._page()) or Table("", (), rows=())
        rows = [[plain(value) for value in row] for row in table.rows]
        return pandas.DataFrame(rows, columns=list(table.columns))

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the display as one HTML file that needs nothing else, and give its path.

        It has every row, runs no script and loads nothing.
        """
        from modelversion.display._as_html import document

        target = Path(path)
        target.write_text(document(self._page(), _ALL), encoding="utf-8")
        return target

    def plot(self) -> Any:
        """Draw its plots with matplotlib, and give the figure; needs matplotlib.

        Raises:
            InvalidInputError: The display has no plot of numbers.
        """
        from modelversion.display.drawing import figure

        return figure(self._page())

    def chart(self) -> Any:
        """Draw its plots with altair, and give the chart; needs altair.

        Raises:
            InvalidInputError: The display has no plot of numbers.
        """
        from modelversion.display.drawing import chart

        return chart(self._page())

    def to_markdown(self) -> str:
        """Give the display as Markdown, for a pull request or a ticket."""
        from modelversion.display._as_markdown import markdown

        return _fitting(self._page(), markdown)


def _fitting(page: Page, render: Callable[[Page, Limits], str]) -> str:
    """Give the fullest rendering of at most `MAX_BYTES` bytes."""
    for limits in _LADDER:
        made = render(page, limits)
        if len(made.encode()) <= MAX_BYTES:
            return made
    return render(Page(page.title, "too much to show here; to_html(path) writes all"), _LADDER[-2])


def _never_raising(of: Shown, make: Callable[[], str], say: Callable[[str], str]) -> str:
    try:
        return make()
    except Exception as e:  # noqa: BLE001 - a display that raises prints a traceback in a notebook
        failed = line(f"{type(of).__name__} cannot be shown: {type(e).__name__}: {e}", 300)
        return say(failed)
