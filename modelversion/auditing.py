"""Make an audit: who did what to which models, when and why, with what was asked, from which data.

It is made from the journals alone, and from the `version.json` of the versions that were saved
or promoted in its time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs

from modelversion import _json
from modelversion.audit import AuditReport, AuditRow, Unread
from modelversion.broken import UNREADABLE, Broken
from modelversion.errors import InvalidInputError, JournalRewoundError, ModelVersionError
from modelversion.history import History
from modelversion.home import Home
from modelversion.hooks import event_of
from modelversion.inspection import voids, whole
from modelversion.journal import Head, Journal
from modelversion.moments import moment
from modelversion.phrases import Ref, phrase
from modelversion.records import VersionCommitted
from modelversion.schema import Json, to_json
from modelversion.stages import between
from modelversion.state import Pointer
from modelversion.timeline import Interval, Log
from modelversion.verdicts import verdict_from
from modelversion.verification import committed, pin, verify_registry
from modelversion.versions import Line, fetch


@attrs.frozen
class Scope:
    """The time that is asked about: text as stored, which sorts as time does."""

    since: str | None
    until: str | None

    def __contains__(self, time: object) -> bool:
        return (self.since or "") <= str(time) <= (self.until or "~")

    def overlaps(self, stay: Interval) -> bool:
        """Tell whether a stay falls into the time at least in part."""
        return stay.since <= (self.until or "~") and (stay.until or "~") >= (self.since or "")


def scope(since: Any, until: Any) -> Scope:
    """Give the time asked about: a bare date counts from its beginning, or to its end, in UTC.

    Raises:
        InvalidInputError: They are no times.
    """
    first = None if since is None else moment(since, "since", end=False)
    last = None if until is None else moment(until, "until", end=True)
    if first is not None and last is not None and first > last:
        raise InvalidInputError(
            f"since {since!s:.60} is after until {until!s:.60}; nothing lies between them"
        )
    return Scope(first, last)


def audit(
    home: Home, chosen: Sequence[History], everything: Sequence[History], asked: Scope
) -> AuditReport:
    """Report what was done to models in a time, and in the registry's own journal.

    Args:
        home: The registry's place.
        chosen: The models it is about.
        everything: All models, which are verified and pinned whole.
        asked: The time.

    Raises:
        NotARegistryError: The place is empty.
    """
    lines = {history.line.name: history.line for history in everything}
    reader = _Reader()
    checkpoint = pin(home, lines.values(), broken=reader.broken)
    rows = _registry_rows(home.policies(), [h.line.name for h in chosen], asked, reader)
    stays: list[tuple[str, Interval]] = []
    for history in chosen:
        found, there = _of_model(history, asked, reader)
        rows += found
        stays += [(history.line.display, stay) for stay in there]
    rows.sort(key=lambda row: (row.time, row.journal, row.position))
    return AuditReport(
        registry=home.store.url,
        models=tuple(history.line.display for history in chosen),
        since=asked.since,
        until=asked.until,
        rows=tuple(rows),
        stays=tuple(sorted(stays, key=lambda item: (item[1].since, item[0], item[1].stage))),
        checkpoint=checkpoint,
        verified=verify_registry(home, lines.__getitem__),
        unread=reader.unread,
    )


class _Reader:
    """Reads journals; of one that is broken, what stands before that, and notes where it ends."""

    def __init__(self) -> None:
        self.broken = Broken()
        self.ends: dict[str, Head] = {}

    def read(self, journal: Journal) -> tuple[list[Json], Head]:
        """Give the entries of a journal, and the state that they lead to."""
        entries, head = list[Json](), journal.start()
        with self.broken.aside(journal):
            try:
                last = journal.head()
                entries, head = journal.history(head, last), last
            except JournalRewoundError:
                raise  # which of its entries are those that were seen cannot be told
            except UNREADABLE:
                entries, head = whole(journal)
                self.ends[journal.folder] = head
                raise
        return entries, head

    @property
    def unread(self) -> tuple[Unread, ...]:
        """The journals that cannot be read to their end."""
        found = []
        for problem in self.broken.problems:
            end = self.ends.get(problem.key)
            entries, until = (end.position, end.time or None) if end else (0, None)
            found.append(Unread(key=problem.key, what=problem.what, entries=entries, until=until))
        return tuple(found)


def _registry_rows(
    journal: Journal | None, models: Sequence[str], asked: Scope, reader: _Reader
) -> list[AuditRow]:
    """Give stages, policies and forks, and the creation of the models in question."""
    rows: list[AuditRow] = []
    if journal is None:
        return rows
    entries, _ = reader.read(journal)
    void = voids(journal, entries)
    for entry in entries:
        named = entry["event"].get("model")
        if entry["time"] in asked and named in (None, *models):
            effective = entry["position"] not in void
            rows.append(_row(journal.folder, entry, str, effective=effective))
    return rows


def _of_model(
    history: History, asked: Scope, reader: _Reader
) -> tuple[list[AuditRow], list[Interval]]:
    """Give the rows of a model's three journals, as far as they can be read, and its stays."""
    line = history.line
    facts, committing = reader.read(line.facts)
    versions = committed(facts, committing.state)
    made = functools.cache(lambda number: _made_from(line, versions.get(number)))
    rows = list(_facts(line, line.facts, facts, asked, made=made))
    decisions, _ = reader.read(line.decisions)
    log = Log(history, decisions)
    rows += _decisions(line, log, asked, made)
    observed, _ = reader.read(line.observations)
    rows += _facts(line, line.observations, observed, asked, made=made)
    return rows, _stays(log, asked, reader.ends.get(line.decisions.folder))


def _stays(log: Log, asked: Scope, end: Head | None) -> list[Interval]:
    """Give the stays of a time; where the decisions are broken, none goes on behind that."""
    stays = log.intervals(None)
    if end is not None:
        stays = [
            attrs.evolve(stay, until=end.time, cut_off=True) if stay.until is None else stay
            for stay in stays
        ]
    return [stay for stay in stays if asked.overlaps(stay)]


def _row(folder: str, entry: Json, ref: Ref, **more: Any) -> AuditRow:
    event = event_of(folder, entry)
    return AuditRow(
        time=event.time,
        model=event.model,
        ref=event.ref,
        kind=event.kind,
        what=phrase(entry["event"], ref),
        actor=event.actor.name,
        source=event.actor.source,
        run_url=event.actor.run_url,
        reason=event.data.get("reason"),
        override=event.data.get("override") is True,
        journal=folder,
        position=event.position,
        clock=_behind(entry),
        **more,
    )


def _behind(entry: Json) -> str | None:
    """Give what the writer's clock said, where that is not just the time of the entry."""
    clock, time = entry.get("clock"), entry["time"]
    # Entries are kept a microsecond apart, and good clocks differ by less than a second.
    return clock if isinstance(clock, str) and between(clock, time) > _SECOND else None


_SECOND = 1_000_000
Made = Callable[[Any], Json]


def _decisions(line: Line, log: Log, asked: Scope, made: Made) -> Iterator[AuditRow]:
    for found in log.decisions:
        if found.time in asked:
            yield _row(
                line.decisions.folder,
                found._entry,
                line.ref,
                effective=found.position in log.effective,
                **_judged(found.event),
                **made(found.number),
            )


def _judged(event: Json) -> Json:
    """Give the verdicts in words, and who had approved."""
    try:
        verdicts = event.get("judged", {}).get("verdicts", [])
        seen = [verdict["seen"].get("approved", ()) for verdict in verdicts]
        gates = tuple(str(verdict_from(verdict)).replace("  ", " ", 1) for verdict in verdicts)
    except (AttributeError, KeyError, TypeError, ValueError, ModelVersionError):
        # A forged entry is void, and must not keep the rest from being reported.
        return {"gates": ("FAIL what was judged cannot be read",)}
    return {"gates": gates, "approvals": tuple(name for names in seen for name in names)}


def _facts(
    line: Line, journal: Journal, entries: Sequence[Json], asked: Scope, *, made: Made
) -> Iterator[AuditRow]:
    void = voids(journal, entries)
    for entry in entries:
        if entry["time"] in asked:
            effective = entry["position"] not in void
            saved = effective and entry["event"].get("kind") == VersionCommitted.kind
            more = made(entry["event"]["number"]) if saved else {}
            yield _row(journal.folder, entry, line.ref, effective=effective, **more)


def _made_from(line: Line, version: Pointer | None) -> Json:
    """Give the data and the code of a version, as far as its bytes are still there."""
    if version is None:
        return {}
    try:
        record = fetch(line, version)
    except (KeyError, ModelVersionError):
        return {}  # deleted, or damaged, which verify tells
    files = {file.path: file.sha256 for file in record.files}
    shown = None if record.code is None else _code(to_json(record.code), files)
    data = {item.name: item.digest or "not fingerprinted" for item in record.data}
    return {"data": data, "code": shown}


def _code(code: Json, files: dict[str, str]) -> str:
    """Name the entry, the sha256 of its source, and the commit that it was at."""
    source: Json = code.get("source", {})
    digest = code.get("sha256") or files.get(source.get("path", ""))
    if "text" in source:
        digest = _json.digest(source["text"].encode())
    git: Json = code.get("git", {})
    commit = git.get("commit") and f"git {git['commit']}"
    state = "with changes" if commit and git.get("dirty") else None
    return " ".join(part for part in (code["entry"], digest, commit, state) if part)
