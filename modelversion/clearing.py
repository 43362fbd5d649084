"""Clear what crashes left behind.

Age picks the candidates and the journals decide: of a model whose journals cannot be read,
nothing is removed but temporary files, which no journal names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta

import attrs

from modelversion import layout, upkeep
from modelversion.broken import Broken, Problem
from modelversion.broken import table as unread
from modelversion.display import Page, Shown, Table, Tone
from modelversion.errors import InvalidInputError, StorageError
from modelversion.home import Home
from modelversion.journal import read_heads
from modelversion.stages import Decisions
from modelversion.state import Facts
from modelversion.storage import Item, Store
from modelversion.verification import read_claim, walk
from modelversion.versions import Line


@attrs.frozen(kw_only=True)
class GcReport(Shown):
    """What `gc` abandoned and removed, or would.

    Attributes:
        abandoned: Numbers that were claimed and never committed.
        removed: Keys of files and empty folders.
        dry_run: Whether nothing was done.
        problems: The journals that cannot be read, whose models were left alone.
    """

    abandoned: tuple[str, ...]
    removed: tuple[str, ...]
    dry_run: bool
    problems: tuple[Problem, ...] = ()

    def _page(self) -> Page:
        verb = "would remove" if self.dry_run else "removed"
        says = f"{verb} {len(self.removed)} files, {len(self.abandoned)} abandoned numbers"
        tone: Tone = "bad" if self.problems else ""
        tables = [
            unread(self.problems, "LEFT ALONE"),
            Table("abandoned", ("version",), rows=[(name,) for name in self.abandoned]),
            Table("removed", ("file",), rows=[(name,) for name in self.removed]),
        ]
        return Page("gc", says, tone=tone, blocks=tables)


def gc(
    home: Home,
    lines: Sequence[Line],
    *,
    older_than: timedelta,
    dry_run: bool,
    broken: Broken | None = None,
) -> GcReport:
    """Abandon old claims that were never committed, and remove what no version holds.

    A claim is never removed.

    Args:
        home: The registry's place.
        lines: Its models.
        older_than: How old a claim or a temporary file is at least.
        dry_run: Only tell.
        broken: Takes the journals that cannot be read; without it one of them is an error.
    """
    if not isinstance(older_than, timedelta):
        raise InvalidInputError(
            f"older_than must be a timedelta such as timedelta(days=1), found {older_than!r:.80}"
        )
    limit = home.clock() - older_than
    abandoned: list[str] = []
    removed: list[str] = []
    whole: list[Line] = []
    for line in lines:
        with nullcontext() if broken is None else broken.aside(line.facts, line.decisions):
            read_heads(line.facts, line.decisions)  # nothing is begun where one is broken
            for number in _unfinished(line, limit):
                if dry_run:
                    removed += upkeep.left(line, number)
                if dry_run or upkeep.abandon(line, number, "gc: claimed and never committed"):
                    abandoned.append(line.ref(number))
            removed += _swept(line, dry_run)
            whole.append(line)
    removed += _temporaries(home.store, limit, dry_run)
    # Taking a temporary file out of a folder has just made the folder look young.
    emptied = {key.rpartition("/")[0] for key in removed}
    for line in whole:
        removed += _unclaimed(line, limit, emptied, dry_run=dry_run)
    return GcReport(
        abandoned=tuple(abandoned),
        removed=tuple(removed),
        dry_run=dry_run,
        problems=() if broken is None else broken.problems,
    )


def _numbers_on_disk(line: Line) -> list[int]:
    # A link leads out of the registry, where nothing is removed.
    items = line.home.store.list(layout.versions(line.name))
    return layout.numbers(item.name for item in items if item.folder)


def _unfinished(line: Line, limit: datetime) -> list[int]:
    facts: Facts = line.facts.head().state
    found = []
    for number in _numbers_on_disk(line):
        if number in facts.committed or number in facts.abandoned:
            continue
        key = f"{line.folder(number)}/{layout.CLAIM}"
        data = line.home.store.read_many([key])[0]
        if data is not None and read_claim(data, key)[1] <= limit:
            found.append(number)
    return found


def _swept(line: Line, dry_run: bool) -> list[str]:
    facts: Facts = line.facts.head().state
    decided: Decisions = line.decisions.head().state
    removed: list[str] = []
    # An entry may be visible and not durable yet, and bytes go only after it.
    for folder in () if dry_run else (line.facts.folder, line.decisions.folder):
        line.home.store.settle(folder)
    for number in _numbers_on_disk(line):
        if number in facts.abandoned or number in decided.deleted:
            removed += upkeep.left(line, number)
            if not dry_run:
                upkeep.sweep(line, number)
    return removed


def _temporaries(store: Store, limit: datetime, dry_run: bool) -> list[str]:
    """Find temporary files and spools that are older than the limit."""
    oldest = limit.timestamp()
    removed = []
    folders = set()
    for key, changed in walk(store, ""):
        parts = key.split("/")
        if changed <= oldest and any(part.startswith(layout.TEMPORARY) for part in parts):
            removed.append(key)
            if not dry_run:
                store.remove(key)
                folders.add(key.rpartition("/")[0])
    for folder in folders:
        if folder.rsplit("/", 1)[-1].startswith(layout.TEMPORARY):
            store.remove(folder)
    return removed + _empty_spools(store, oldest, dry_run)


def _empty_spools(store: Store, oldest: float, dry_run: bool) -> list[str]:
    def is_spool(item: Item) -> bool:
        return item.folder and item.name.startswith(layout.TEMPORARY) and item.changed <= oldest

    names = [i.name for i in store.list("") if is_spool(i) and not store.list(i.name)]
    for name in names:
        if not dry_run:
            store.remove(name)
    return names


def _unclaimed(line: Line, limit: datetime, emptied: set[str], *, dry_run: bool) -> list[str]:
    """Remove number folders that were made and never claimed; they are empty."""
    store, folder = line.home.store, layout.versions(line.name)
    keys = {f"{folder}/{item.name}": item.changed for item in store.list(folder) if item.folder}
    empty = [
        key
        for key, changed in keys.items()
        if (key in emptied or changed <= limit.timestamp()) and not store.list(key)
    ]
    for key in () if dry_run else empty:
        with contextlib.suppress(StorageError):
            store.remove(key)
    return empty
