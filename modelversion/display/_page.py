"""What a display says, before it is HTML, text or Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Literal, NamedTuple

import attrs

Tone = Literal["", "good", "bad", "warn", "quiet"]
Kind = Literal["bars", "dots", "graph", "intervals", "lanes", "lines", "parallel"]


class Limits(NamedTuple):
    """How much of a page is shown."""

    rows: int
    columns: int
    chars: int
    lines: int
    blocks: int


# What compares and prints is left out: nobody does either, and importing stays quick.
@attrs.frozen(eq=False, repr=False)
class Cell:
    """A value with how it looks.

    Attributes:
        value: What `to_dict` and `to_pandas` give.
        text: What is shown, where that is not the value printed.
        below: A remark on it: on a line of its own where there are lines, else in brackets.
        tone: What it means: good, bad, warn or quiet. Its words must say so too.
        spark: Numbers drawn as a small line before the text.
        share: How much of it is done, from 0 to 1, drawn as a bar before the text.
        unbroken: Whether its text stays on one line, however narrow the table gets.
    """

    value: Any
    text: str | None = None
    below: str = attrs.field(default="", kw_only=True)
    tone: Tone = attrs.field(default="", kw_only=True)
    spark: Sequence[float] = attrs.field(default=(), kw_only=True)
    share: float | None = attrs.field(default=None, kw_only=True)
    unbroken: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen(eq=False, repr=False)
class Facts:
    """Labels with values; those that are None or empty are not shown."""

    values: Mapping[str, Any]


@attrs.frozen(eq=False, repr=False)
class Table:
    """Rows under named columns.

    Attributes:
        name: Its caption, and its key in `to_dict`.
        columns: Their names, as many as each row has values.
        rows: All rows; displays show the first ones and say how many more there are.
        more: Rows that are not even here.
        empty: Said where there are no rows; without it an empty table is not shown.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]] = attrs.field(kw_only=True)
    more: int = attrs.field(default=0, kw_only=True)
    empty: str = attrs.field(default="", kw_only=True)

    def records(self) -> list[dict[str, Any]]:
        """Give the rows as plain dicts."""
        return [
            {name: plain(value) for name, value in zip(self.columns, row, strict=True)}
            for row in self.rows
        ]


@attrs.frozen(eq=False, repr=False)
class Text:
    """Lines shown as they are, such as a patch or a traceback."""

    name: str
    text: str


@attrs.frozen(eq=False, repr=False)
class Note:
    """A sentence."""

    text: str
    tone: Tone = ""


@attrs.frozen(eq=False, repr=False)
class Picture:
    """A plot: its SVG, what it shows in a sentence, and its data as a table.

    `kind` says how other libraries draw the data: `bars` of the first number behind a name,
    `dots` of the first two, `intervals` of a number from a low to a high one; `graph` from a name
    to a name; `lanes` of what was where, from when to when; `lines` over the first column of
    numbers; `parallel` lines behind a name through everything else.
    """

    name: str
    svg: str
    kind: Kind = attrs.field(kw_only=True)
    alt: str = attrs.field(kw_only=True)
    data: Table = attrs.field(kw_only=True)


@attrs.frozen(eq=False, repr=False)
class Section:
    """Blocks under a title, folded away where the medium can fold."""

    title: str
    blocks: Sequence[Block]
    says: str = attrs.field(default="", kw_only=True)


Block = Facts | Table | Text | Note | Picture | Section


@attrs.frozen(eq=False, repr=False)
class Page:
    """A whole display: a title, what there is to say in a few words, and blocks.

    Attributes:
        title: Whose display it is, such as `churn:3`.
        says: The most important thing in one line.
        tone: What that line means.
        blocks: The rest, from the most important on; None is left out.
    """

    title: str
    says: str = ""
    tone: Tone = attrs.field(default="", kw_only=True)
    blocks: Sequence[Block | None] = attrs.field(default=(), kw_only=True)


# ---- values -------------------------------------------------------------------------------------


def size(count: int) -> Cell:
    """Show bytes in a unit that reads well."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    said = f"{count} bytes" if unit == "bytes" else f"{value:.3g} {unit}"
    return Cell(count, said, unbroken=True)


def counted(count: int, one: str, many: str = "") -> str:
    """Say how many there are: 1 row, 2 rows."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def when(time: str | None) -> Cell:
    """Show a stored time, which is RFC 3339 and UTC, to the second."""
    return Cell(time, time and f"{time[:19].replace('T', ' ')} UTC", unbroken=True)


def digest(text: str | None) -> Cell:
    """Show enough of a digest to tell it from others."""
    return Cell(text, text and text[:12])


def plain(value: Any) -> Any:
    """Give what machines get of a value."""
    return value.value if isinstance(value, Cell) else value


def shape(sizes: Sequence[int] | None) -> Cell:
    """Show a shape as `100 × 4`."""
    return Cell(sizes, None if sizes is None else " × ".join(map(str, sizes)))


def tone_of(value: Any) -> Tone:
    """Give the tone of a value, none without one."""
    return value.tone if isinstance(value, Cell) else ""


def spark_of(value: Any) -> Sequence[float]:
    """Give the numbers to be drawn before a value."""
    return value.spark if isinstance(value, Cell) else ()


def unbroken(value: Any) -> bool:
    """Tell whether a value stays on one line."""
    return isinstance(value, Cell) and value.unbroken


def share_of(value: Any) -> float | None:
    """Give how much of a value's bar is full, None without one."""
    return value.share if isinstance(value, Cell) else None


def is_number(value: Any) -> bool:
    """Tell whether a value is a number."""
    return isinstance(plain(value), (int, float)) and not isinstance(plain(value), bool)


def are_numbers(values: Iterable[Any]) -> bool:
    """Tell whether a column stands to the right: numbers, and cells without anything."""
    kept = [value for value in values if plain(value) is not None]
    return bool(kept) and all(map(is_number, kept))


def shown(value: Any, chars: int) -> str:
    """Print a value in one line of at most so many characters, all printable."""
    if isinstance(value, Cell):
        text = shown(value.value if value.text is None else value.text, chars)
        return f"{text} ({line(value.below, chars)})" if value.below else text
    return line(_printed(value), chars)


def _printed(value: Any) -> str:
    match value:
        case None | bool():
            return {None: "", True: "yes", False: "no"}[value]
        case int() if value.bit_length() > 200:
            # Printing it may be refused, and nobody reads it.
            return f"an integer of {value.bit_length()} bits"
        case float():
            return "NaN" if math.isnan(value) else f"{value:.6g}"
        case bytes():
            return f"{len(value)} bytes"
        case date():  # datetimes are dates
            return value.isoformat()
    return str(value)


def line(text: str, chars: int) -> str:
    """Give one line of at most so many characters; what cannot be printed is replaced."""
    # Only a part of a long text is looked at.
    head = " ".join(text[: chars * 2 + 40].split())
    safe = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in head)
    return safe if len(safe) <= chars else f"{safe[: max(chars - 1, 0)]}…"


def lines(text: str, limits: Limits) -> tuple[list[str], int]:
    """Give the first lines of a text, tabs and indentation kept, and how many more there are."""
    found = text.splitlines()
    kept = [_whole(row.expandtabs(4), limits.chars * 2) for row in found[: limits.lines]]
    return kept, len(found) - len(kept)


def _whole(row: str, chars: int) -> str:
    safe = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in row[: chars + 1])
    return safe if len(safe) <= chars else f"{safe[: chars - 1]}…"


def without_empty(table: Table) -> Table:
    """Leave out the columns that say nothing."""
    kept = [
        i
        for i in range(len(table.columns))
        if any(plain(row[i]) not in (None, "") for row in table.rows)
    ]
    rows = [[row[i] for i in kept] for row in table.rows]
    return Table(table.name, [table.columns[i] for i in kept], rows=rows)


# ---- what is shown of a page ---------------------------------------------------------------------


def facts_shown(facts: Facts, limits: Limits) -> tuple[list[tuple[str, Any]], int]:
    """Give the facts that say something, and how many more there are."""
    told = [(label, v) for label, v in facts.values.items() if shown(v, 8) or spark_of(v)]
    return told[: limits.rows * 2], max(len(told) - limits.rows * 2, 0)


def rows_shown(table: Table, limits: Limits) -> tuple[list[Sequence[Any]], int]:
    """Give the first rows of the first columns, and how many rows more there are."""
    kept = [row[: limits.columns] for row in table.rows[: limits.rows]]
    return kept, len(table.rows) - len(kept) + table.more


def columns_left_out(table: Table, limits: Limits) -> str:
    """Name the columns that there is no room for."""
    rest = table.columns[limits.columns :]
    return f"not shown: {', '.join(line(str(name), 40) for name in rest[:8])}" if rest else ""


def blocks_shown(blocks: Sequence[Block | None], limits: Limits) -> tuple[list[Block], int]:
    """Give the first blocks that say something, and how many more there are."""
    told = [block for block in blocks if block is not None and _says(block)]
    return told[: limits.blocks], max(len(told) - limits.blocks, 0)


def _says(block: Block) -> bool:
    match block:
        case Table():
            return bool(block.rows or block.more or block.empty)
        case Section():
            return any(map(_says, block.blocks))
        case Facts():
            return any(shown(v, 8) or spark_of(v) for v in block.values.values())
        case Text():
            return bool(block.text)
    return True


# ---- the plain data of a page --------------------------------------------------------------------


def data_of(page: Page) -> dict[str, Any]:
    """Give a page as plain data: facts and tables by name, in whatever section they stand."""
    notes: list[str] = []
    data = {"title": page.title, "says": page.says}
    for block in page.blocks:
        if block is not None:
            _gather(block, data, notes)
    return {**data, "notes": notes} if notes else data


def _gather(block: Block, data: dict[str, Any], notes: list[str]) -> None:
    match block:
        case Facts():
            data.update({key(label): plain(value) for label, value in block.values.items()})
        case Table():
            data[key(block.name)] = block.records()
        case Text():
            data[key(block.name)] = block.text
        case Picture():
            data[key(block.name)] = block.data.records()
        case Note():
            notes.append(block.text)
        case Section():
            inner: dict[str, Any] = {}
            for part in block.blocks:
                _gather(part, inner, notes)
            own = key(block.title)
            data[own] = inner[own] if list(inner) == [own] else inner


def key(label: str) -> str:
    """Give the key under which `to_dict` has a label: `Made by` is `made_by`."""
    return "_".join(label.lower().split())


def main_table(page: Page) -> Table | None:
    """Find the first table, in sections too."""
    return _table(page.blocks)


def _table(blocks: Sequence[Block | None]) -> Table | None:
    for block in blocks:
        inner = _table(block.blocks) if isinstance(block, Section) else block
        found = inner.data if isinstance(inner, Picture) else inner
        if isinstance(found, Table):
            return found
    return None
