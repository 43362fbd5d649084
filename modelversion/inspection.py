"""Look at a journal as a sceptic: every entry, every hole, every merge that lies, what is whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from modelversion import _json, layout, merges
from modelversion.errors import (
    JournalGapError,
    JournalRewoundError,
    ModelVersionError,
    RecordError,
)
from modelversion.journal import Head, Journal
from modelversion.records import Entry
from modelversion.schema import Json, from_json


def problems(journal: Journal) -> Iterator[tuple[str, str]]:
    """Give (key, what is wrong) of every broken entry and of every merge that lies."""
    head = journal.start()
    checked: dict[int, tuple[Head, list[bytes]]] = {}
    lines: list[bytes] = []
    for data in _entries(journal):
        try:
            head = _checked(journal, head, data)
        except ModelVersionError as e:
            yield layout.entry(journal.folder, head.position + 1), str(e)
            return
        lines.append(data)
        if head.position % layout.MERGE == 0:
            checked[head.position] = (head, lines)
    yield from _behind(journal, head)
    for merged, entries in checked.values():
        yield from _merge_problems(journal, merged, entries)


def _entries(journal: Journal) -> Iterator[bytes]:
    """Give the bytes of the entries up to the first absent one."""
    position = 1
    while True:
        found = journal._store.read_many(journal._keys(position, layout.MERGE))
        for data in found:
            if data is None:
                return
            yield data
        position += len(found)


def _checked(journal: Journal, head: Head, data: bytes) -> Head:
    """Apply an entry, and refuse what a reader passes over: a key twice, a time that stands."""
    after = journal._apply(head, data)
    what = f"{journal.folder} entry {after.position}"
    known = journal._head
    if known and known.position == after.position and known.digest != after.digest:
        raise JournalRewoundError(f"{what} is another since this handle read it")
    _json.loads_strict(data, what)
    if after.time <= head.time:
        raise RecordError(f"{what} is of {after.time}, not after the entry before it")
    return after


def _behind(journal: Journal, head: Head) -> Iterator[tuple[str, str]]:
    """Name entries that stand behind a hole."""
    known = journal._head
    if known is not None and known.position > head.position:
        yield (
            layout.entry(journal.folder, head.position + 1),
            f"missing, though this handle has seen entry {known.position}",
        )
    names = [item.name.removesuffix(".json") for item in journal._store.list(journal.folder)]
    later = sorted(int(name) for name in names if name.isdecimal())
    behind = [position for position in later if position > head.position + 1]
    # Others may have appended while we read; a hole stays one.
    if behind and journal._store.read_many(journal._keys(head.position + 1, 1))[0] is None:
        for position in behind:
            yield layout.entry(journal.folder, position), "stands behind a missing entry"


def _merge_problems(journal: Journal, head: Head, lines: list[bytes]) -> Iterator[tuple[str, str]]:
    position = head.position
    for level, size in merges.SIZES.items():
        if position % size:
            continue
        key = layout.merge(journal.folder, level, position)
        data = journal._store.read_many([key])[0]
        if data is None:
            continue
        merged = journal._block(data, position - size, position, None)
        same = merges.lines(data, size) == lines[position - size : position]
        if merged != head or not same:
            yield key, "does not say what the entries that it merges say; delete it"


def voids(journal: Journal, entries: Iterable[Json]) -> frozenset[int]:
    """Give the positions of the entries that made no sense where they stand and changed nothing.

    Args:
        journal: Whose entries they are.
        entries: All of them, from the first on.
    """
    found, state = set[int](), journal.start().state
    for value in entries:
        what = f"{journal.folder} entry {value['position']}"
        after = journal._fold.step(state, from_json(Entry, value, what), journal.folder)
        if after.void > state.void:
            found.add(value["position"])
        state = after
    return frozenset(found)


# ---- what of a broken one is whole ---------------------------------------------------------------


def whole(journal: Journal) -> tuple[list[Json], Head]:
    """Give the entries from the first on that are one chain, and the state that they lead to.

    Where an entry does not continue the one before it, either was replaced: both are left out.
    The state is that of then; nothing tells what came of it.
    """
    told: list[Json] = []
    before = head = journal.start()
    for data, value in _chained(journal):
        try:
            before, head = head, journal._apply(head, data)
        except ModelVersionError:
            return told, head
        told.append(value)
    if told and _is_contradicted(journal, head):
        return told[:-1], before
    return told, head


def _chained(journal: Journal) -> Iterator[tuple[bytes, Json]]:
    """Give entries as long as each continues the one before, from merges where they have them."""
    position, digest = 0, journal.start().digest
    count = layout.MERGE
    while count:
        try:
            rows = journal._chained(position + 1, position + count, digest, top=1)
        except JournalGapError:
            rows = None
        if rows is None:
            count = 1 if count > 1 else 0
            continue
        yield from rows
        position, digest = position + count, _json.digest(rows[-1][0])


def _is_contradicted(journal: Journal, head: Head) -> bool:
    """Tell whether the next entry can be read, and names another one before it."""
    position = head.position + 1
    data = journal._store.read_many(journal._keys(position, 1))[0]
    return data is not None and journal._parsed(data, position, position, None) is not None
