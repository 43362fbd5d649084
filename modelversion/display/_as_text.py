"""A page as text: all that the HTML says, for terminals and logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from modelversion.display._page import (
    Block,
    Facts,
    Limits,
    Note,
    Page,
    Picture,
    Section,
    Table,
    Text,
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
)
from modelversion.display._svg import drawable, scaled, thinned

_BARS = "▁▂▃▄▅▆▇█"


def text(page: Page, limits: Limits) -> str:
    """Give a page as lines of text."""
    head = line(page.title, limits.chars)
    says = line(page.says, limits.chars * 2)
    return "\n".join([f"{head}: {says}" if says else head, *_blocks(page.blocks, limits)])


def _blocks(blocks: Sequence[Block | None], limits: Limits) -> Iterator[str]:
    kept, more = blocks_shown(blocks, limits)
    for block in kept:
        yield from _block(block, limits)
    if more:
        yield f"... {more} more parts"


def _block(block: Block, limits: Limits) -> Iterator[str]:
    match block:
        case Facts():
            yield from _facts(block, limits)
        case Table():
            yield from _table(block, limits)
        case Text():
            kept, more = lines(block.text, limits)
            yield f"{line(block.name, limits.chars)}:"
            yield from (f"  {row}" for row in kept)
            if more:
                yield f"  ... {more} more lines"
        case Note():
            yield line(block.text, limits.chars * 4)
        case Picture():
            yield line(block.alt, limits.chars * 4)
            yield from _table(block.data, limits)
        case Section():
            told = f" ({line(block.says, 120)})" if block.says else ""
            yield f"{line(block.title, 80)}{told}:"
            yield from (f"  {row}" for row in _blocks(block.blocks, limits))


def _facts(facts: Facts, limits: Limits) -> Iterator[str]:
    kept, more = facts_shown(facts, limits)
    labels = [line(label, limits.chars) for label, _ in kept]
    width = max(map(len, labels), default=0)
    for label, (_, value) in zip(labels, kept, strict=True):
        yield f"  {label.ljust(width)}  {_cell(value, limits)}"
    if more:
        yield f"  ... {more} more"


def _table(table: Table, limits: Limits) -> Iterator[str]:
    rows, more = rows_shown(table, limits)
    if not rows:
        yield line(table.empty or f"{table.name}: {more} rows", limits.chars * 2)
        return
    yield f"{line(table.name, limits.chars)}:"
    columns = [
        _column(line(name, limits.chars), [row[i] for row in rows], limits)
        for i, name in enumerate(table.columns[: limits.columns])
    ]
    yield from (f"  {'  '.join(cells).rstrip()}" for cells in zip(*columns, strict=True))
    if more:
        yield f"  ... {more} more"
    left_out = columns_left_out(table, limits)
    if left_out:
        yield f"  {left_out}"


def _column(name: str, values: Sequence[Any], limits: Limits) -> list[str]:
    """Give a column's cells below its name, all of one width."""
    cells = [name, *(_cell(value, limits) for value in values)]
    width = max(map(len, cells))
    numeric = are_numbers(values)
    return [cell.rjust(width) if numeric else cell.ljust(width) for cell in cells]


def _cell(value: Any, limits: Limits) -> str:
    drawn = drawing(value)
    told = shown(value, limits.chars)
    return f"{drawn} {told}" if drawn else told


def drawing(value: Any) -> str:
    """Draw what stands before a value: its numbers as a line, or its bar."""
    share = share_of(value)
    if share is not None:
        full = round(min(max(share, 0), 1) * 20)
        return f"{'█' * full}{'░' * (20 - full)}"
    kept = thinned(drawable(spark_of(value)), 12)
    return "".join(_BARS[round(height)] for height in scaled(kept, 0, len(_BARS) - 1))
