"""Append-only, hash-chained journals: read to the head, append at the head, check the chain.

Entry n is the key `<folder>/<n, 12 digits>.json`, created once, so two writers never both
land on a position. Merges hold the bytes of 32, 1024, ... entries and the state after the
last; they and the hint only save requests, and whatever is wrong with them is ignored.
"""

from __future__ import annotations

import os
import time as _time
from collections.abc import Callable, Generator, Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from modelversion import _json, layout, merges
from modelversion.errors import (
    ConflictError,
    IntegrityError,
    InvalidValueError,
    JournalError,
    JournalForkError,
    JournalGapError,
    JournalRewoundError,
    ModelVersionError,
    RecordError,
)
from modelversion.hooks import Hooks
from modelversion.records import Actor, Entry, event_json
from modelversion.schema import Json, from_json, stored
from modelversion.state import Fold
from modelversion.storage import KeyTaken, Store, nonce
from modelversion.threads import in_background

MAX_ENTRY = 64 * 1024
MAX_ATTEMPTS = 2000
_TICK = timedelta(microseconds=1)
# One more than a merge holds, so that a hole at its last entry shows as a hole.
_WINDOW = layout.MERGE + 1
_NEAR = 4  # as few as others appended since a handle looked

Clock = Callable[[], datetime]
Decide = Callable[[Any], Any]
Known = Mapping[str, bytes | None]
Plan = Generator[list[str], list[bytes | None], "Head"]
_NOTHING: Known = {}


@attrs.frozen(kw_only=True)
class Head:
    """Where a journal ends: position and digest of its last entry, its time, and the state."""

    position: int
    digest: str
    time: str
    state: Any


class Journal:
    """One journal: its place, how it folds, and the head that this handle has seen."""

    def __init__(
        self,
        store: Store,
        folder: str,
        fold: Fold,
        *,
        registry_id: str,
        clock: Clock,
        run: Callable[[Callable[[], None]], None] = in_background,
        tail: int = 0,
    ) -> None:
        """Make a handle; `tail` is how many entries behind a merge are asked for at first."""
        self._store = store
        self.folder = folder
        self._fold = fold
        self._clock = clock
        self.hooks = Hooks()
        self._run = run
        genesis = _json.digest(f"{registry_id}\n{folder}".encode())
        self._start = Head(position=0, digest=genesis, time="", state=fold.initial)
        self._head: Head | None = None
        self._tail = tail or _WINDOW
        self._lately: dict[str, bytes] = {}

    # ---- reading to the head

    def head(self, known: Known = _NOTHING) -> Head:
        """Read whatever was appended since the last look, and give the head.

        Args:
            known: What some of the first keys were just found to hold.

        Raises:
            JournalError: The chain is broken, or shorter than this handle has seen it.
            UnknownEventError: A newer release wrote what this one must understand.
        """
        return read_heads(self, known=known)[0]

    def seen(self) -> Head:
        """Give the head as last seen; read it only if it was never."""
        return self._head or self.head()

    def _keep(self, head: Head) -> Head:
        known = self._head
        if known is None or head.position > known.position:
            self._head = known = head
        return known

    def _plan(self, width: int = 1, look: int = merges.LOOK) -> Plan:
        """Yield the keys that are asked for, wave by wave, take their bytes, give the head.

        Args:
            width: How many entries behind the head seen last are asked for first.
            look: How many entries are asked for first, with the hint, where none was seen.
        """
        head = self._head
        return self._cold(look) if head is None else self._warm(head, width)

    def _cold(self, look: int) -> Plan:
        found = yield merges.first_keys(self.folder, look)
        last = merges.hinted(found[0])
        if last:
            tail = yield [layout.merge(self.folder, 1, last), *self._keys(last + 1, self._tail)]
            block = self._block(tail[0], last - layout.MERGE, last, None)
            if block is not None:
                self._remember(layout.merge(self.folder, 1, last), tail[0])
                return (yield from self._on(block, tail[1:]))
        head = yield from self._follow(self._start, found[1:])
        return head if head.position < look - 1 else (yield from self._advance(self._start))

    def _warm(self, head: Head, width: int) -> Plan:
        first = max(head.position, 1)
        found = yield self._keys(first, head.position + width + 1 - first)
        if head.position:
            mine = found.pop(0)
            if mine is None:
                (mine,) = yield self._keys(head.position, 1)
            self._compare(head, mine)
        return (yield from self._on(head, found, near=True))

    def _compare(self, head: Head, mine: bytes | None) -> None:
        if mine is None or _json.digest(mine) != head.digest:
            raise JournalRewoundError(
                f"{self._store.url}/{self.folder}: entry {head.position} is "
                f"{'gone' if mine is None else 'another'} since this handle read it; "
                "the journal was rewritten or restored from an older copy"
            )

    def has_grown(self) -> bool:
        """Tell by one small request whether an entry follows the head as last seen."""
        return self._store.read_many(self._keys(self.seen().position + 1, 1))[0] is not None

    def recheck(self) -> None:
        """Raise `JournalRewoundError` unless the last entry seen is there, by one small request."""
        head = self.seen()
        if head.position:
            self._compare(head, self._store.read_many(self._keys(head.position, 1))[0])

    def _on(self, head: Head, entries: list[bytes | None], *, near: bool = False) -> Plan:
        """Apply the entries behind a head, and read on if none of them was absent.

        Args:
            head: The head that they follow.
            entries: What was found.
            near: Few more are expected.
        """
        after = yield from self._follow(head, entries)
        if after.position < head.position + len(entries):
            return after
        if near:
            found = yield self._keys(after.position + 1, _NEAR)
            return (yield from self._on(after, found))
        return (yield from self._advance(after))

    def _advance(self, head: Head) -> Plan:
        """Read on from a position whose followers are unknown, by merges where they help."""
        while True:
            levels = [n for n, size in merges.SIZES.items() if head.position % size == 0]
            blocks = [
                layout.merge(self.folder, n, head.position + merges.SIZES[n])
                for n in reversed(levels)
            ]
            # Up to where the next merge begins.
            count = _WINDOW - head.position % layout.MERGE
            found = yield [*blocks, *self._keys(head.position + 1, count)]
            start = head
            for level, data in zip(reversed(levels), found, strict=False):
                end = start.position + merges.SIZES[level]
                block = self._block(data, start.position, end, start)
                if block is not None:
                    head = block
                    break
            else:
                entries = found[len(blocks) :]
                whole = None not in entries
                head = yield from self._follow(head, entries[:-1] if whole else entries)
                if not whole and head.position < start.position + count:
                    return head

    def _follow(self, head: Head, entries: list[bytes | None]) -> Plan:
        """Apply entries up to the first absent one; one that is present behind it is a gap."""
        for i, data in enumerate(entries):
            if data is None:
                if entries[i:].count(None) == len(entries) - i:
                    return head
                (again,) = yield self._keys(head.position + 1, 1)
                data = self._present(again, head.position + 1)
            head = self._apply(head, data)
            self._remember(layout.entry(self.folder, head.position), data)
        return head

    def _remember(self, key: str, data: bytes | None) -> None:
        """Keep what a look at the history will ask for next."""
        if len(self._lately) > 2 * _WINDOW:
            self._lately = {}
        if data is not None and len(data) <= MAX_ENTRY * 4:
            self._lately[key] = data

    def _present(self, data: bytes | None, position: int) -> bytes:
        if data is None:
            raise JournalGapError(
                f"{self._store.url}/{self.folder}: entry {position} is missing below later "
                "ones; restore it from a backup"
            )
        return data

    def _keys(self, first: int, count: int) -> list[str]:
        return [layout.entry(self.folder, first + i) for i in range(count)]

    def _apply(self, head: Head, data: bytes) -> Head:
        entry = self.parse(data, head.position + 1)
        if entry.previous != head.digest:
            raise JournalForkError(
                f"{self._store.url}/{self.folder}: entry {entry.position} does not continue "
                f"entry {head.position}; one of the two was replaced: restore it from a backup"
            )
        return self._next(head, entry, data)

    def _next(self, head: Head, entry: Entry, data: bytes) -> Head:
        return Head(
            position=entry.position,
            digest=_json.digest(data),
            time=entry.time,
            state=self._fold.step(head.state, entry, self.folder),
        )

    def parse(self, data: bytes, position: int) -> Entry:
        """Read an entry's bytes; `position` is where they were found."""
        what = f"{self.folder} entry {position}"
        if len(data) > MAX_ENTRY:
            raise RecordError(f"{what} has {len(data)} bytes; an entry has at most {MAX_ENTRY}")
        entry = from_json(Entry, _json.loads(data, what), what)
        if entry.position != position:
            raise JournalForkError(f"{what} says that it is entry {entry.position}; it was moved")
        _json.parse_timestamp(entry.time, f"{what}.time")
        return entry

    # ---- reading it all

    def history(self, after: Head | int, last: Head) -> list[Json]:
        """Give the parsed entries behind a head or a position up to a head, their chain checked.

        Plain JSON, not records: a history may have 100,000 of them. A merge that does not
        continue what stands before it is passed over for the entries themselves.
        """
        if isinstance(after, int):
            return [value for _, value in self._rows(after + 1, last, None)]
        return [value for _, value in self._rows(after.position + 1, last, after.digest)]

    def _rows(self, first: int, last: Head, digest: str | None) -> list[tuple[bytes, Json]]:
        """Give (bytes, parsed) of the entries from a position up to a head."""
        if first > last.position:
            return []
        for top in (len(layout.LEVELS), 0):
            rows = self._chained(first, last.position, digest, top)
            if rows is not None and _json.digest(rows[-1][0]) == last.digest:
                return rows
        raise JournalForkError(
            f"{self._store.url}/{self.folder}: the entries {first} to {last.position} are not one "
            "chain; run verify() to see which was replaced"
        )

    def _chained(
        self, first: int, last: int, digest: str | None, top: int
    ) -> list[tuple[bytes, Json]] | None:
        """Read a stretch by the largest merges up to a level; None if it is not one chain."""
        spans = list(merges.spans(first, last, top))
        found = self._read([self._span_key(level, end) for level, _, end in spans])
        rows: list[tuple[bytes, Json]] = []
        for (level, start, end), data in zip(spans, found, strict=True):
            if data is None and level == 0:
                (again,) = self._store.read_many(self._keys(end, 1))
                data = self._present(again, end)
            part = None if data is None else self._parsed(data, start, end, digest)
            if part is None and level > 0:
                part = self._chained(start, end, digest, level - 1)
            if part is None:
                return None
            rows += part
            digest = _json.digest(part[-1][0])
        return rows

    def _read(self, keys: list[str]) -> list[bytes | None]:
        """Read keys, but for those that the look at the head has just read."""
        lately, self._lately = self._lately, {}
        missing = [key for key in keys if key not in lately]
        found = dict(zip(missing, self._store.read_many(missing) if missing else (), strict=True))
        return [found[key] if key in found else lately[key] for key in keys]

    def _parsed(
        self, data: bytes, start: int, end: int, digest: str | None
    ) -> list[tuple[bytes, Json]] | None:
        """Parse an entry, or the lines of a merge, if they are a chain that continues a digest."""
        lines = [data] if start == end else merges.lines(data, end - start + 1)
        rows: list[tuple[bytes, Json]] = []
        for position, line in enumerate(lines or (), start):
            try:
                value = _json.loads(line, "entry")
            except RecordError:
                return None
            if not isinstance(value, dict) or value.get("position") != position:
                return None
            if digest is not None and value.get("previous") != digest:
                return None
            digest = _json.digest(line)
            rows.append((line, value))
        return rows or None

    def _span_key(self, level: int, end: int) -> str:
        return layout.merge(self.folder, level, end) if level else layout.entry(self.folder, end)

    def start(self) -> Head:
        """Give the head of the empty journal."""
        return self._start

    # ---- appending

    def append(self, decide: Decide, *, actor: Actor, fresh: bool = False) -> Head:
        """Append the event that `decide` gives for the state at the head; give the new head.

        The head as last seen is tried first: another writer's entry is noticed when the
        position is taken, so that a decision costs one request.

        Args:
            decide: Takes the state, gives an event, or raises to refuse. It is asked again
                whenever another writer was faster; a refusal counts only at the head.
            actor: Who does it.
            fresh: Read to the head first.
        """
        current = fresh or self._head is None
        head = self.head() if current else self.seen()
        for attempt in range(MAX_ATTEMPTS):
            try:
                event = decide(head.state)
            except Exception:  # any refusal: what it was judged by may have been overtaken
                if current:
                    raise
                head, current = self.head(), True
                continue
            entry = self._entry(head, event, actor)
            data = stored(entry)
            _check_size(data, entry.event)
            began = _time.monotonic()
            try:
                self._store.put_new(layout.entry(self.folder, entry.position), data)
            except KeyTaken:
                _wait(attempt, _time.monotonic() - began)
                head, current = read_heads(self, width=_NEAR)[0], True
                continue
            return self._landed(head, entry, data)
        raise ConflictError(
            f"{self._store.url}/{self.folder}: {MAX_ATTEMPTS} other writers were faster, one "
            "after the other; try again when fewer write"
        )

    def _entry(self, head: Head, event: Any, actor: Actor) -> Entry:
        clock = self._clock()
        moment = _json.timestamp(clock)
        if head.time and moment <= head.time:
            moment = _json.timestamp(_json.parse_timestamp(head.time, "time") + _TICK)
        return Entry(
            position=head.position + 1,
            previous=head.digest,
            nonce=nonce(),
            time=moment,
            clock=_json.timestamp(clock),
            actor=actor,
            event=event_json(event),
        )

    def _landed(self, before: Head, entry: Entry, data: bytes) -> Head:
        self._keep(head := self._next(before, entry, data))
        if head.position % layout.MERGE == 0:
            self._run(lambda: self.merge(head))
        if self.hooks.active:
            self.hooks.tell(self.folder, entry)
        return head

    # ---- merges

    def merge(self, head: Head) -> None:
        """Write the merges that end with a head, then the hint; a failure costs only speed."""
        try:
            for level, size in merges.SIZES.items():
                if head.position % size == 0:
                    rows = self._rows(head.position - size + 1, head, None)
                    self._write_merge(level, [line for line, _ in rows], head)
            self._store.put(layout.hint(self.folder), _json.dumps({"position": head.position}))
        except (ModelVersionError, OSError):
            return

    def _write_merge(self, level: int, lines: list[bytes], head: Head) -> None:
        tail = {"digest": head.digest, "position": head.position, "time": head.time}
        state = _json.dumps({**tail, "state": self._fold.to_json(head.state)})
        data = merges.sealed([*lines, state])
        if len(data) <= merges.MAX_MERGE:
            self._store.put(layout.merge(self.folder, level, head.position), data)

    def _block(self, data: bytes | None, start: int, last: int, before: Head | None) -> Head | None:
        """Give the head that a merge leads to; None if it does not continue `before`."""
        if data is None or (lines := merges.lines(data, last - start)) is None:
            return None
        try:
            digest = (
                before.digest if before is not None else self.parse(lines[0], start + 1).previous
            )
            for position, line in enumerate(lines, start + 1):
                if self.parse(line, position).previous != digest:
                    return None
                digest = _json.digest(line)
            value = _json.loads(data.split(b"\n")[-2], "merge")
            state = self._fold.from_json(value["state"])
            head = Head(position=value["position"], digest=digest, time=value["time"], state=state)
        except (IntegrityError, KeyError, TypeError, ValueError):
            return None
        return head if (head.position, value.get("digest")) == (last, digest) else None


def read_heads(
    *journals: Journal, known: Known = _NOTHING, width: int = 1, lengthy: Journal | None = None
) -> list[Head]:
    """Read journals of one registry to their heads, side by side: a wave is one call.

    Args:
        journals: Which.
        known: What some keys were just found to hold.
        width: How many entries behind a head seen last are asked for first.
        lengthy: One that is likely to be long: of its first entries none is asked for.

    Raises:
        JournalError: A chain is broken, or shorter than its handle has seen it.
        UnknownEventError: A newer release wrote what this one must understand.
    """
    store = journals[0]._store
    while True:
        plans = [j._plan(width, 0 if j is lengthy else merges.LOOK) for j in journals]
        heads: dict[int, Head] = {}
        asked = {i: next(plan) for i, plan in enumerate(plans)}
        try:
            while asked:
                keys = [key for wanted in asked.values() for key in wanted if key not in known]
                read = store.read_many(keys) if keys else ()
                found = {**known, **dict(zip(keys, read, strict=True))}
                known = _NOTHING
                for i, wanted in list(asked.items()):
                    try:
                        asked[i] = plans[i].send([found[key] for key in wanted])
                    except StopIteration as e:
                        heads[i] = journals[i]._keep(e.value)
                        del asked[i]
            return [heads[i] for i in range(len(journals))]
        except JournalError:
            # A cache on the way may mix what was with what is.
            if not store.revalidate():
                raise


def _check_size(data: bytes, event: Json) -> None:
    if len(data) > MAX_ENTRY:
        raise InvalidValueError(
            f"a {event['kind']} of {len(data)} bytes is too large; at most {MAX_ENTRY} are kept "
            "in one journal entry: shorten its text or tags"
        )


def _wait(attempt: int, took: float) -> None:
    """Sleep a random time, so that writers that met do not meet again.

    It grows with the attempts, and with the time that one takes at this place.
    """
    longest = min(max(0.001, took / 2) * 2 ** min(attempt, 6), max(0.05, 16 * took), 5.0)
    _time.sleep(int.from_bytes(os.urandom(2)) / 65535 * longest)
