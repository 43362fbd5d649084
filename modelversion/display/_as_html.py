"""A page as HTML: offline, without a script, readable where the style sheet is dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

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
    are_numbers,
    blocks_shown,
    columns_left_out,
    facts_shown,
    line,
    lines,
    rows_shown,
    share_of,
    shown,
    spark_of,
    tone_of,
    unbroken,
)
from modelversion.display._svg import spark
from modelversion.display._tags import (
    INK,
    PAGE_SHEET,
    PLATE,
    SCOPE,
    SHEET,
    Html,
    breakable,
    image,
    joined,
    tag,
)

_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def fragment(page: Page, limits: Limits) -> str:
    """Give a page as a part of a notebook."""
    return str(tag("div", SHEET, _body(page, limits), class_=SCOPE, style=PLATE))


def document(page: Page, limits: Limits) -> str:
    """Give a page as a file of its own, which may load nothing."""
    head = joined(
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_CSP),
        tag("meta", name="viewport", content="width=device-width"),
        tag("title", line(page.title, limits.chars)),
        PAGE_SHEET,
    )
    main = tag("main", _body(page, limits), class_=SCOPE, style=PLATE)
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', main), lang='en')}\n"


def sentence(text: str) -> str:
    """Give one line that stands where a display could not be made."""
    return str(tag("div", tag("p", text), class_=SCOPE, style=PLATE))


def _body(page: Page, limits: Limits) -> Html:
    title = tag("strong", line(page.title, limits.chars), class_="mv-title")
    says = toned(line(page.says, limits.chars * 2), page.tone)
    return joined(tag("p", title, " ", says), *_blocks(page.blocks, limits))


def toned(text: str | Html, tone: Tone) -> Html:
    """Give a text in the colour of what it means."""
    if not tone:
        return joined(text)
    return tag("span", text, class_=f"mv-{tone}", style=INK[tone])


def _blocks(blocks: Sequence[Block | None], limits: Limits) -> Iterator[Html]:
    kept, more = blocks_shown(blocks, limits)
    for block in kept:
        yield from _block(block, limits)
    if more:
        yield _quiet(f"... {more} more parts")


def _block(block: Block, limits: Limits) -> Iterator[Html]:
    match block:
        case Facts():
            yield from _facts(block, limits)
        case Table():
            yield from _table(block, limits)
        case Text():
            yield from _text(block, limits)
        case Note():
            yield tag("p", toned(line(block.text, limits.chars * 4), block.tone))
        case Picture():
            yield tag("p", tag("strong", line(block.name, limits.chars)))
            yield tag("p", image(block.svg, alt=line(block.alt, limits.chars * 4)))
            yield _folded(block.name, "as a table", _table(block.data, limits))
        case Section():
            yield _folded(block.title, block.says, _blocks(block.blocks, limits))


def _folded(title: str, says: str, parts: Iterator[Html]) -> Html:
    told = joined(" ", toned(line(says, 120), "quiet")) if says else ""
    return tag("details", tag("summary", tag("strong", line(title, 80)), told), *parts)


def _facts(facts: Facts, limits: Limits) -> Iterator[Html]:
    kept, more = facts_shown(facts, limits)
    rows = [_row(_label(label, limits), _cell(value, limits, right=False)) for label, value in kept]
    yield tag("table", *rows)
    if more:
        yield _quiet(f"... {more} more")


def _label(label: str, limits: Limits) -> Html:
    text = breakable(line(label, limits.chars))
    return tag("th", text, scope="row", class_="mv-u" if len(label) <= _SHORT else None)


_SHORT = 20  # a label that stays on one line, however narrow the table gets


def _row(*cells: Html) -> Html:
    return tag("tr", *cells, style=PLATE)


def _table(table: Table, limits: Limits) -> Iterator[Html]:
    rows, more = rows_shown(table, limits)
    if not rows:
        yield tag("p", toned(line(table.empty or f"{more} rows", limits.chars * 2), "quiet"))
        return
    numeric = [are_numbers(column) for column in zip(*rows, strict=True)]
    names = zip(table.columns, numeric, strict=False)
    head = _row(
        *(
            tag("th", breakable(line(n, limits.chars)), scope="col", class_=_right(r))
            for n, r in names
        )
    )
    body = [
        _row(*(_cell(v, limits, right=r) for v, r in zip(row, numeric, strict=True)))
        for row in rows
    ]
    yield tag("table", tag("caption", line(table.name, limits.chars), style=PLATE), head, *body)
    rest = [f"... {more} more"] if more else []
    rest += filter(None, [columns_left_out(table, limits)])
    if rest:
        yield _quiet("; ".join(rest))


def _right(numeric: bool) -> str | None:
    return "mv-n" if numeric else None


def _cell(value: Any, limits: Limits, *, right: bool) -> Html:
    text = _lines_of(value, limits)
    numbers = spark_of(value)
    if numbers:
        alt = f"{len(numbers)} values, from {shown(numbers[0], 12)} to {shown(numbers[-1], 12)}"
        text = joined(image(spark(numbers), alt=alt), " ", text)
    share = share_of(value)
    if share is not None:
        bar = tag("progress", value=f"{share:.4g}", max="1", aria_label="done")
        text = joined(bar, " ", text)
    # The whole of what was cut can be read by pointing at it, where it is one thing.
    told = isinstance(value, Cell) and value.text and not isinstance(value.value, dict)
    whole = shown(Cell(value.value), 80) if told else ""
    return tag(
        "td",
        toned(text, tone_of(value)),
        class_=" ".join([*(["mv-n"] if right else []), *(["mv-u"] if unbroken(value) else [])])
        or None,
        title=whole if whole and whole != value.text else None,
    )


def _lines_of(value: Any, limits: Limits) -> Html:
    if not isinstance(value, Cell) or not value.below:
        return breakable(shown(value, limits.chars))
    above = breakable(shown(attrs.evolve(value, below=""), limits.chars))
    return joined(above, tag("br"), line(value.below, limits.chars))


def _text(block: Text, limits: Limits) -> Iterator[Html]:
    kept, more = lines(block.text, limits)
    yield tag("p", tag("strong", line(block.name, limits.chars)))
    yield tag("pre", "\n".join(kept), style=PLATE)
    if more:
        yield _quiet(f"... {more} more lines")


def _quiet(text: str) -> Html:
    return tag("p", toned(text, "quiet"))
