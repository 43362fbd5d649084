"""What a model's journal tells of all its versions, as rows for tables."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from modelversion._json import decode, double, undouble
from modelversion.journal import Head
from modelversion.metrics import direction
from modelversion.observed import Observed, Seen
from modelversion.records import NoteAdded, TagsChanged, VersionCommitted
from modelversion.schema import Json, to_json
from modelversion.snapshot import PASSED
from modelversion.stages import Decisions
from modelversion.state import Pointer, read_event
from modelversion.versions import Line, fetch, live_numbers

Made = TypeVar("Made")
Identity = tuple[str, int, str]
MISSING_PARTS = "left_out"
_RETAGGED = "retagged"
_COMMITTED = (("nonce", str), ("size", int), ("sha256", str), ("content", str))


class History:
    """The summaries of one model's versions, read once and then only as far as they grew.

    Rows stay plain JSON: a table of 100,000 versions makes no record object.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self._read: Head | None = None
        self._rows: dict[int, Json] = {}
        self._tagged: dict[int, list[tuple[int, Json]]] = {}
        self.notes: dict[int, list[Json]] = {}
        # (model, number, nonce) where it was saved first -> number of the copy here
        self._copies: dict[Identity, int] = {}
        self.decisions = Decisions()
        self._locks: dict[int, threading.Lock] = {}
        # What was made of all rows, and up to where they were read then.
        self._kept: dict[Callable[[History], Any], tuple[tuple[Any, Any], Any]] = {}
        # The columns made last, and what they were made of.
        self._table: tuple[tuple[Any, Any, list[int]], dict[str, tuple[list[Any], bool]]] = (
            _NO_TABLE
        )

    def __reduce__(self) -> tuple[type[History], tuple[Line]]:
        return History, (self.line,)

    def refresh(self) -> History:
        """Read on to the heads of both journals."""
        with self._lock(), no_collections():
            self._refresh()
        return self

    def _lock(self) -> threading.Lock:
        """Give the lock of this process: a fork may have copied one that was held."""
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def _refresh(self) -> None:
        head, decided = self.line.heads()
        before = self._read or self.line.facts.start()
        if head.position > before.position:
            for entry in self.line.facts.history(before, head):
                self._apply(entry)
            self._read = head
        self.decisions = decided.state

    def _apply(self, entry: Json) -> None:
        event = entry["event"]
        kind, number = event.get("kind"), event.get("number")
        if type(number) is not int:
            return  # forged, and void
        if kind == VersionCommitted.kind and number not in self._rows:
            if self._read_committed(number) and _makes_sense(event):
                # No copy: the entry was parsed for this row alone. 10,000 are read a third faster.
                self._rows[number] = row = event.get("summary", {})
                row["actor"] = entry["actor"]["name"]
                row["pointer"] = (event["nonce"], event["size"], event["sha256"])
                if "copied_from" in event:
                    self._apply_copy(entry, event["copied_from"])
        elif number in self._rows and kind == TagsChanged.kind and read_event(TagsChanged, event):
            self._retag(number, event)
            self._tagged.setdefault(number, []).append((entry["position"], event))
        elif number in self._rows and kind == NoteAdded.kind and read_event(NoteAdded, event):
            self.notes.setdefault(number, []).append(_note(entry))

    def _apply_copy(self, entry: Json, copied: Json) -> None:
        """Take over what was said of a version where it was copied from."""
        number = entry["event"]["number"]
        origin = copied["origin"]
        identity = origin["model"], origin["number"], origin["nonce"]
        self._copies[identity] = number
        row = self._rows[number]
        row.update(actor=copied["actor"]["name"], identity=identity)
        retagged = {"set": copied.get("tags", {}), "removed": copied.get("untagged", ())}
        self._retag(number, retagged)
        self._tagged[number] = [(entry["position"], retagged)]
        told = [e for e in copied.get("history", ()) if e["event"].get("kind") == NoteAdded.kind]
        if told:
            self.notes[number] = [_note(entry) for entry in told]

    def _read_committed(self, number: int) -> bool:
        return number in self.line.facts.seen().state.committed

    def _retag(self, number: int, event: Json) -> None:
        row = self._rows[number]
        if "tags" in row.get(MISSING_PARTS, ()):
            row.setdefault(_RETAGGED, []).append(event)
            return
        row.setdefault("saved_tags", row.get("tags", {}))
        row["tags"] = _retagged(row.get("tags", {}), event)

    def tags_at(self, number: int, position: int, saved: Json) -> Json:
        """Give a version's tags as they were at a position: those it was saved with, changed."""
        tags = saved
        for at, event in self._tagged.get(number, ()):
            if at <= position:
                tags = _retagged(tags, event)
        return tags

    def numbers(self) -> list[int]:
        """Give the numbers of the versions that exist, lowest first."""
        return list(self.kept(_numbers))

    def pointer(self, number: int) -> Pointer:
        """Give a version's pointer."""
        nonce, size, sha256 = self._rows[number]["pointer"]
        return Pointer(number=number, nonce=nonce, size=size, sha256=sha256)

    def identity(self, number: int) -> Identity:
        """Tell a version's model, number and nonce where it was saved first."""
        own = (self.line.name, number, self._rows[number]["pointer"][0])
        found: Identity = self._rows[number].get("identity", own)
        return found

    def find(self, identity: Identity) -> int | None:
        """Give the number of the version, or of its copy, that exists here."""
        model, number, nonce = identity
        row = self._rows.get(number)
        own = model == self.line.name and row is not None and row["pointer"][0] == nonce
        found = number if own else self._copies.get(identity)
        return None if found is None or found in self.decisions.deleted else found

    def object_digest(self, number: int) -> str | None:
        """Give the digest of a version's object, none or empty without one; no file is read.

        It is too short for a summary to leave out.
        """
        digest: str | None = self._rows[number].get("object")
        return digest

    def knows(self, number: int) -> bool:
        """Tell whether a version was ever committed."""
        return number in self._rows

    def counts(self, number: int) -> bool:
        """Tell whether a version can be the best: it is neither withdrawn nor a failed run."""
        return number not in self.decisions.withdrawn and not self._rows[number].get("failed")

    def summary(self, number: int) -> Json:
        """Give a row as the journal has it; what its summary had to leave out is not there."""
        return self._rows[number]

    def names(self, number: int) -> list[str]:
        """Give the stages that a version is in, then the aliases that name it."""
        stages = reversed(self.decisions.stages_of(number))
        return [*stages, *self.decisions.held_by(number)]

    def full(self, number: int) -> Json:
        """Give a row; what its summary had to leave out is read from `version.json`."""
        row = self._rows[number]
        if MISSING_PARTS in row:
            record = to_json(fetch(self.line, self.pointer(number)))
            for part in row.pop(MISSING_PARTS):
                row[part] = _PARTS.get(part, lambda r, p=part: r.get(p, {}))(record)
            for event in row.pop(_RETAGGED, ()):
                self._retag(number, event)
        return row

    def used(self, number: int, digest: str) -> bool:
        """Tell whether a version was made from some data, directly or through a step."""
        row = self.full(number)
        direct = digest in row.get("data", {}).values()
        return direct or digest[:PASSED] in row.get("passed", ())

    def higher_is_better(self, number: int, metric: str) -> bool | None:
        """Tell the direction of a version's metric, None if neither save nor name say it."""
        explicit = self.full(number).get("directions", {}).get(metric)
        return direction(metric) if explicit is None else explicit

    def direction(self, number: int, metric: str) -> bool | None:
        """Tell the direction of a metric as far as the summary says it; no file is read."""
        explicit: bool | None = self._rows[number].get("directions", {}).get(metric)
        return direction(metric) if explicit is None else explicit

    def observed(self, number: int) -> dict[str, Seen]:
        """Give what was measured last of a version in production, by metric."""
        state: Observed = self.line.observations.head().state
        return state.of(number)

    def lookup(self, number: int) -> Callable[[tuple[str, ...]], Any]:
        """Give what `where` and `order_by` ask a row for."""
        from modelversion.query import MISSING

        row = self.full(number)

        def value(path: tuple[str, ...]) -> Any:
            if path[0] in _SPACES:
                names = map(double, path[1:]) if path[0] == "params" else path[1:]
                found = _inside(row.get(path[0], {}), tuple(names))
                return MISSING if found is None else decode(found)
            return self._plain(number, row, path[0])

        return value

    def _plain(self, number: int, row: Json, name: str) -> Any:
        if name == "number":
            return number
        if name == "alias":
            return self.decisions.held_by(number)
        if name == "stage":
            return self.decisions.stages_of(number)
        if name == "withdrawn":
            return number in self.decisions.withdrawn
        return row.get(name)

    def kept(self, make: Callable[[History], Made]) -> Made:
        """Give what is made of all rows; it is made again only after a journal grew."""
        grown = (self._read, self.decisions)
        before, value = self._kept.get(make, (None, None))
        if before is None or before[0] is not grown[0] or before[1] is not grown[1]:
            value = make(self)
            self._kept[make] = (grown, value)
        return cast(Made, value)

    def columns(self, numbers: list[int]) -> dict[str, list[Any]]:
        """Give rows as columns: plain fields, then `metrics.*`, `params.*` and `tags.*`."""
        (read, decisions, kept), table = self._table
        if kept != numbers or read is not self._read or decisions is not self.decisions:
            made = self._columns(numbers)
            table = {name: (values, _is_plain(values)) for name, values in made.items()}
            self._table = ((self._read, self.decisions, list(numbers)), table)
        # Copies: what a caller does to them is not seen by the next.
        return {
            name: list(values) if plain else [decode(value) for value in values]
            for name, (values, plain) in table.items()
        }

    def _columns(self, numbers: list[int]) -> dict[str, list[Any]]:
        rows = [self.full(number) for number in numbers]
        held: dict[int, list[str]] = {}
        for alias, pointer in sorted(self.decisions.aliases.items()):
            held.setdefault(pointer.number, []).append(alias)
        staged: dict[int, list[str]] = {}
        for stage in self.decisions.stage_names():
            for number in self.decisions.stage(stage).live:
                staged.setdefault(number, []).append(stage)
        table: dict[str, list[Any]] = {
            "number": list(numbers),
            "created_at": [row["created_at"] for row in rows],
            "actor": [row["actor"] for row in rows],
            "type": [row.get("type") for row in rows],
            "description": [row.get("description") for row in rows],
            "stages": [", ".join(staged.get(number, ())) for number in numbers],
            "aliases": [", ".join(held.get(number, ())) for number in numbers],
            "withdrawn": [number in self.decisions.withdrawn for number in numbers],
        }
        for space in _SPACES[:3]:
            table.update(_spread(space, rows))
        return table


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Let the garbage collector rest while many rows are made that all stay.

    It would go through all of them again and again, for two fifths of the time of 100,000.
    Where threads meet here, one of them may switch it on early, and nobody leaves it off.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _numbers(history: History) -> list[int]:
    live = live_numbers(history.line.facts.seen().state, history.decisions)
    found = [number for number in live if number in history._rows]
    found.reverse()
    return found


def _makes_sense(event: Json) -> bool:
    """Tell whether a commit is what the format says; making the record of each takes far longer."""
    if "copied_from" in event:
        return read_event(VersionCommitted, event) is not None
    fields = all(type(event.get(name)) is kind for name, kind in _COMMITTED)
    return fields and isinstance(event.get("summary", _EMPTY), dict)


def _note(entry: Json) -> Json:
    actor = entry["actor"]["name"]
    return {"text": entry["event"]["text"], "time": entry["time"], "actor": actor}


def _retagged(tags: Json, event: Json) -> Json:
    changed, removed = {**tags, **event.get("set", {})}, event.get("removed", ())
    return {name: value for name, value in changed.items() if name not in removed}


PLAIN_COLUMNS = (
    "number",
    "created_at",
    "actor",
    "type",
    "description",
    "stages",
    "aliases",
    "withdrawn",
)
_SPACES = ("metrics", "params", "tags", "data")
_PARTS: dict[str, Callable[[Json], Any]] = {
    "metrics": lambda r: {name: m["value"] for name, m in r.get("metrics", {}).items()},
    "directions": lambda r: {
        name: m["higher_is_better"]
        for name, m in r.get("metrics", {}).items()
        if "higher_is_better" in m
    },
    "data": lambda r: {d["name"]: d.get("digest") for d in r.get("data", ())},
    "passed": lambda r: [
        flow.get("digest", "")[:PASSED]
        for step in r.get("steps", ())
        for flow in (*step.get("inputs", ()), *step.get("outputs", ()))
    ],
}


def _inside(space: Json, path: tuple[str, ...]) -> Any:
    """Find a value by its flat name first (`a.b`), then by nesting."""
    flat = ".".join(path)
    if flat in space:
        return space[flat]
    value: Any = space
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _spread(space: str, rows: list[Json]) -> Iterator[tuple[str, list[Any]]]:
    parts = [row.get(space) or _EMPTY for row in rows]
    # Most versions of a model have the same names, in the same order.
    shapes = dict.fromkeys(map(tuple, parts))
    for name in dict.fromkeys(name for shape in shapes for name in shape):
        values = [part.get(name) for part in parts]
        yield f"{space}.{undouble(name) if space == 'params' else name}", values


def _is_plain(values: list[Any]) -> bool:
    """Tell whether values are what they are stored as."""
    return {dict, list}.isdisjoint(map(type, values))


_EMPTY: Json = {}
_NO_TABLE: Any = ((None, None, []), {})
