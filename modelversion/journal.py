"""Append-only, hash-chained journals: read to the head, append at the head, check the chain.

Entry n is the key `<folder>/<n, 12 digits>.json`, created once, so two writers never both
land on a position. Merges hold the bytes of 32, 1024, ... entries and the state after the
last; they and the hint only save requests, and whatever is wrong with them is ignored.
"""

from __future__ import annotations

import os
import threading
import time as _time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import attrs

from modelversion import _json, layout
from modelversion.errors import (
    ConflictError,
    IntegrityError,
    InvalidValueError,
    JournalForkError,
    JournalGapError,
    JournalRewoundError,
    ModelVersionError,
    RecordError,
)
from modelversion.records import Actor, Entry, event_json
from modelversion.schema import Json, from_json, stored
from modelversion.state import Fold
from modelversion.storage import KeyTaken, Store, nonce

MAX_ENTRY = 64 * 1024
MAX_MERGE = 16 * 2**20
MAX_ATTEMPTS = 2000
_TICK = timedelta(microseconds=1)
# One more than a merge holds, so that a hole at its last entry shows as a hole.
_WINDOW = layout.MERGE + 1

Clock = Callable[[], datetime]
Decide = Callable[[Any], Any]


@attrs.frozen(kw_only=True)
class Head:
    """Where a journal ends: position and digest of its last entry, its time, and the state."""

    position: int
    digest: str
    time: str
    state: Any


def in_background(job: Callable[[], None]) -> None:
    """Run a job beside the caller; the interpreter waits for it before it ends."""
    threading.Thread(target=job, name="modelversion-merge").start()


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
    ) -> None:
        self._store = store
        self.folder = folder
        self._fold = fold
        self._clock = clock
        self._run = run
        genesis = _json.digest(f"{registry_id}\n{folder}".encode())
        self._start = Head(position=0, digest=genesis, time="", state=fold.initial)
        self._head: Head | None = None

    # ---- reading to the head

    def head(self) -> Head:
        """Read whatever was appended since the last look, and give the head.

        Raises:
            JournalError: The chain is broken, or shorter than this handle has seen it.
            UnknownEventError: A newer release wrote what this one must understand.
        """
        head = self._head
        return self._keep(self._cold() if head is None else self._warm(head))

    def seen(self) -> Head:
        """Give the head as last seen; read it only if it was never."""
        return self._head or self.head()

    def _keep(self, head: Head) -> Head:
        known = self._head
        if known is None or head.position > known.position:
            self._head = known = head
        return known

    def _cold(self) -> Head:
        last = self._hinted()
        if last == 0:
            return self._advance(self._start)
        keys = [layout.merge(self.folder, 1, last), *self._keys(last + 1, _WINDOW)]
        found = self._store.read_many(keys)
        block = self._block(found[0], last - layout.MERGE, last, None)
        if block is None:
            return self._advance(self._start)
        head = self._follow(block, found[1:])
        return head if head.position < last + _WINDOW else self._advance(head)

    def _hinted(self) -> int:
        data = self._store.read_many([layout.hint(self.folder)])[0]
        try:
            value = _json.loads(data or b"{}", "hint")
        except RecordError:
            return 0
        last = value.get("position", 0) if isinstance(value, dict) else 0
        usable = isinstance(last, int) and 0 < last < 10**12 and last % layout.MERGE == 0
        return last if usable else 0

    def _warm(self, head: Head) -> Head:
        keys = self._keys(head.position, 2)
        if head.position == 0:
            (following,) = self._store.read_many(keys[1:])
            return head if following is None else self._advance(head)
        mine, following = self._store.read_many(keys)
        if mine is None:
            (mine,) = self._store.read_many(keys[:1])
        self._compare(head, mine)
        if following is None:
            return head
        return self._advance(self._apply(head, following))

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
        """Look by one small request whether the head as last seen is still there.

        Raises:
            JournalRewoundError: It is gone, or another.
        """
        head = self.seen()
        if head.position:
            self._compare(head, self._store.read_many(self._keys(head.position, 1))[0])

    def _advance(self, head: Head) -> Head:
        """Read on from a position whose followers are unknown, by merges where they help."""
        while True:
            levels = [n for n, size in _SIZES.items() if head.position % size == 0]
            merges = [
                layout.merge(self.folder, n, head.position + _SIZES[n]) for n in reversed(levels)
            ]
            found = self._store.read_many([*merges, *self._keys(head.position + 1, _WINDOW)])
            start = head
            for level, data in zip(reversed(levels), found, strict=False):
                block = self._block(data, start.position, start.position + _SIZES[level], start)
                if block is not None:
                    head = block
                    break
            else:
                head = self._follow(head, found[len(merges) :])
                if head.position < start.position + _WINDOW:
                    return head

    def _follow(self, head: Head, entries: list[bytes | None]) -> Head:
        """Apply entries up to the first absent one; one that is present behind it is a gap."""
        for i, data in enumerate(entries):
            if data is None:
                if any(later is not None for later in entries[i + 1 :]):
                    data = self._reread(head.position + 1)
                else:
                    return head
            head = self._apply(head, data)
        return head

    def _reread(self, position: int) -> bytes:
        data = self._store.read_many(self._keys(position, 1))[0]
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
                f"entry {head.position}; one of the two was replaced"
            )
        return self._next(head, entry, data)

    def _next(self, head: Head, entry: Entry, data: bytes) -> Head:
        return Head(
            position=entry.position,
            digest=_json.digest(data),
            time=entry.time,
            state=self._fold.step(head.state, entry),
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

    def history(self, after: Head, last: Head) -> list[Json]:
        """Give the parsed entries behind one head up to another, their chain checked.

        Plain JSON, not records: a history may have 100,000 of them. A merge that does not
        continue what stands before it is passed over for the entries themselves.
        """
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
        spans = list(_spans(first, last, top))
        found = self._store.read_many([self._span_key(level, end) for level, _, end in spans])
        rows: list[tuple[bytes, Json]] = []
        for (level, start, end), data in zip(spans, found, strict=True):
            if data is None and level == 0:
                data = self._reread(end)
            part = None if data is None else self._parsed(data, start, end, digest)
            if part is None and level > 0:
                part = self._chained(start, end, digest, level - 1)
            if part is None:
                return None
            rows += part
            digest = _json.digest(part[-1][0])
        return rows

    def _parsed(
        self, data: bytes, start: int, end: int, digest: str | None
    ) -> list[tuple[bytes, Json]] | None:
        """Parse an entry, or the lines of a merge, if they are a chain that continues a digest."""
        lines = [data] if start == end else _merged_lines(data, end - start + 1)
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

    def append(self, decide: Decide, *, actor: Actor, fresh: bool = True) -> Head:
        """Append the event that `decide` gives for the state at the head.

        Args:
            decide: Takes the state, gives an event, or raises to refuse. It is asked again
                whenever another writer was faster.
            actor: Who does it.
            fresh: Read to the head first; without it the head as last seen is tried, and
                another writer's entry is noticed when the position is taken.

        Returns:
            The head that the event made.
        """
        head = self.head() if fresh else self.seen()
        for attempt in range(MAX_ATTEMPTS):
            entry = self._entry(head, decide(head.state), actor)
            data = stored(entry)
            _check_size(data, entry.event)
            try:
                self._store.put_new(layout.entry(self.folder, entry.position), data)
            except KeyTaken:
                _wait(attempt)
                head = self.head()
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
        head = self._keep(self._next(before, entry, data))
        if head.position % layout.MERGE == 0:
            self._run(lambda: self.merge(head))
        return head

    # ---- merges

    def merge(self, head: Head) -> None:
        """Write the merges that end with a head, then the hint; a failure costs only speed."""
        try:
            for level, size in _SIZES.items():
                if head.position % size == 0:
                    rows = self._rows(head.position - size + 1, head, None)
                    self._write_merge(level, [line for line, _ in rows], head)
            self._store.put(layout.hint(self.folder), _json.dumps({"position": head.position}))
        except (ModelVersionError, OSError):
            return

    def _write_merge(self, level: int, lines: list[bytes], head: Head) -> None:
        tail = {"digest": head.digest, "position": head.position, "time": head.time}
        state = _json.dumps({**tail, "state": self._fold.to_json(head.state)})
        data = _sealed([*lines, state])
        if len(data) <= MAX_MERGE:
            self._store.put(layout.merge(self.folder, level, head.position), data)

    def _block(self, data: bytes | None, start: int, last: int, before: Head | None) -> Head | None:
        """Give the head that a merge leads to; None if it does not continue `before`."""
        lines = None if data is None else _merged_lines(data, last - start)
        if data is None or lines is None:
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

    # ---- verifying

    def problems(self) -> Iterator[tuple[str, str]]:
        """Give (key, what is wrong) of every broken entry and of every merge that lies."""
        head = self._start
        checked: dict[int, tuple[Head, list[bytes]]] = {}
        lines: list[bytes] = []
        while True:
            key = layout.entry(self.folder, head.position + 1)
            data = self._store.read_many([key])[0]
            if data is None:
                break
            try:
                head = self._checked(head, data)
            except ModelVersionError as e:
                yield key, str(e)
                return
            lines.append(data)
            if head.position % layout.MERGE == 0:
                checked[head.position] = (head, lines)
        yield from self._after(head)
        for position, (merged, entries) in checked.items():
            yield from self._merge_problems(position, merged, entries)

    def _checked(self, head: Head, data: bytes) -> Head:
        """Apply an entry, and refuse what a reader passes over: a key twice, a time that stands."""
        after = self._apply(head, data)
        what = f"{self.folder} entry {after.position}"
        known = self._head
        if known and known.position == after.position and known.digest != after.digest:
            raise JournalRewoundError(f"{what} is another since this handle read it")
        _json.loads_strict(data, what)
        if after.time <= head.time:
            raise RecordError(f"{what} is of {after.time}, not after the entry before it")
        return after

    def _after(self, head: Head) -> Iterator[tuple[str, str]]:
        """Name entries that stand behind a hole."""
        known = self._head
        if known is not None and known.position > head.position:
            yield (
                layout.entry(self.folder, head.position + 1),
                f"missing, though this handle has seen entry {known.position}",
            )
        names = [item.name.removesuffix(".json") for item in self._store.list(self.folder)]
        later = sorted(int(name) for name in names if name.isdigit())
        behind = [position for position in later if position > head.position + 1]
        # Others may have appended while we read; a hole stays one.
        if behind and self._store.read_many(self._keys(head.position + 1, 1))[0] is None:
            for position in behind:
                yield layout.entry(self.folder, position), "stands behind a missing entry"

    def _merge_problems(
        self, position: int, head: Head, lines: list[bytes]
    ) -> Iterator[tuple[str, str]]:
        for level, size in _SIZES.items():
            if position % size:
                continue
            key = layout.merge(self.folder, level, position)
            data = self._store.read_many([key])[0]
            if data is None:
                continue
            merged = self._block(data, position - size, position, None)
            same = _merged_lines(data, size) == lines[position - size : position]
            if merged != head or not same:
                yield key, "does not say what the entries that it merges say; delete it"


_SIZES = dict(enumerate(layout.LEVELS, 1))


def _spans(first: int, last: int, top: int) -> Iterator[tuple[int, int, int]]:
    """Cover first..last with the largest merges that end in it: (level, first, last)."""
    while first <= last:
        level = top
        while level and ((first - 1) % _SIZES[level] or first + _SIZES[level] - 1 > last):
            level -= 1
        size = _SIZES[level] if level else 1
        yield level, first, first + size - 1
        first += size


def _sealed(lines: list[bytes]) -> bytes:
    """Join the lines of a merge and end it with their sha256, which finds a flipped bit."""
    body = b"\n".join(lines)
    return body + b"\n" + _json.digest(body).encode()


def _merged_lines(data: bytes, count: int) -> list[bytes] | None:
    """Give the entries of a merge of so many; None if it is torn or was changed."""
    lines = data.split(b"\n")
    body = data[: -len(lines[-1]) - 1]
    if len(lines) != count + 2 or lines[-1] != _json.digest(body).encode():
        return None
    return lines[:-2]


def _check_size(data: bytes, event: Json) -> None:
    if len(data) > MAX_ENTRY:
        raise InvalidValueError(
            f"a {event['kind']} of {len(data)} bytes is too large; at most {MAX_ENTRY} are kept "
            "in one journal entry: shorten its text or tags"
        )


def _wait(attempt: int) -> None:
    """Sleep a random time, so that writers that met do not meet again."""
    _time.sleep(int.from_bytes(os.urandom(2)) / 65535 * min(0.001 * 2 ** min(attempt, 6), 0.05))
