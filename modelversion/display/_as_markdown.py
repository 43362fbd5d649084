"""A page as Markdown, for pull requests: no value of a user's becomes markup, link or mention."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from modelversion.display._as_text import drawing
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
    shown,
)

_MARKUP = re.compile(r"[\\`*_{}\[\]()#|~$!]")
# A dash, a plus, an equals sign, or a number with a dot is markup where a line begins with it.
_AT_START = re.compile(r"^(\d*)((?<!\d)[-+=]|(?<=\d)\.(?=\s|$))")
# What a code host makes a notification or a link of; a space without width breaks it.
_MENTION = re.compile(r"@(?=\w)|#(?=\d)|(?<=\w):(?=//)|\bwww(?=\.)", re.IGNORECASE)
_BROKEN = "\\g<0>\N{ZERO WIDTH SPACE}"


def markdown(page: Page, limits: Limits) -> str:
    """Give a page as Markdown."""
    says = escaped(page.says, limits.chars * 2)
    title = f"### {escaped(page.title, limits.chars)}"
    return "\n".join([title, *(["", says] if says else []), *_blocks(page.blocks, limits), ""])


def escaped(text: str, chars: int) -> str:
    r"""Give a text as Markdown that shows it as it is.

    >>> escaped("a|b <img> [x](y)", 80)
    'a\\|b &lt;img&gt; \\[x\\]\\(y\\)'
    """
    safe = escape(_MENTION.sub(_BROKEN, line(text, chars)), quote=False)
    return _AT_START.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", safe))


def _blocks(blocks: Sequence[Block | None], limits: Limits) -> Iterator[str]:
    kept, more = blocks_shown(blocks, limits)
    for block in kept:
        yield ""
        yield from _block(block, limits)
    if more:
        yield from ("", f"... {more} more parts")


def _block(block: Block, limits: Limits) -> Iterator[str]:
    match block:
        case Facts():
            yield from _facts(block, limits)
        case Table():
            yield from _table(block, limits)
        case Text():
            yield from _text(block, limits)
        case Note():
            yield escaped(block.text, limits.chars * 4)
        case Picture():
            yield escaped(block.alt, limits.chars * 4)
            yield ""
            yield from _table(block.data, limits)
        case Section():
            says = f" {_in_html(line(block.says, 120))}" if block.says else ""
            title = _in_html(line(block.title, 80))
            yield f"<details><summary><b>{title}</b>{says}</summary>"
            yield from _blocks(block.blocks, limits)
            yield from ("", "</details>")


def _in_html(text: str) -> str:
    """Give a text for a line of HTML, where a backslash would be seen."""
    safe = escape(_MENTION.sub(_BROKEN, text), quote=False)
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", safe)


def _facts(facts: Facts, limits: Limits) -> Iterator[str]:
    kept, more = facts_shown(facts, limits)
    for label, value in kept:
        yield f"- **{escaped(label, limits.chars)}**: {_cell(value, limits)}"
    if more:
        yield f"- ... {more} more"


def _table(table: Table, limits: Limits) -> Iterator[str]:
    rows, more = rows_shown(table, limits)
    if not rows:
        yield escaped(table.empty or f"{table.name}: {more} rows", limits.chars * 2)
        return
    yield from (f"**{escaped(table.name, limits.chars)}**", "")
    numeric = [are_numbers(column) for column in zip(*rows, strict=True)]
    yield _row(escaped(name, limits.chars) for name in table.columns[: limits.columns])
    yield _row("---:" if right else "---" for right in numeric)
    yield from (_row(_cell(value, limits) for value in row) for row in rows)
    rest = [f"... {more} more"] if more else []
    left_out = columns_left_out(table, limits)
    rest += [escaped(left_out, 400)] if left_out else []
    if rest:
        yield from ("", "; ".join(rest))


def _row(cells: Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any, limits: Limits) -> str:
    drawn = drawing(value)
    told = escaped(shown(value, limits.chars), limits.chars)
    return f"{drawn} {told}" if drawn else told


def _text(block: Text, limits: Limits) -> Iterator[str]:
    kept, more = lines(block.text, limits)
    # A fence longer than any in the text cannot be closed by it.
    longest = max((len(run) for row in kept for run in re.findall("`+", row)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"**{escaped(block.name, limits.chars)}**", "", f"{fence}text", *kept, fence)
    if more:
        yield from ("", f"... {more} more lines")
