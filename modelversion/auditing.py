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
from modelversion.audit import AuditReport, AuditRow
from modelversion.broken import Broken
from modelversion.errors import InvalidInputError, ModelVersionError
from modelversion.history import History
from modelversion.home import Home
from modelversion.hooks import event_of
from modelversion.journal import Journal
from modelversion.moments import moment
from modelversion.phrases import Ref, phrase
from modelversion.records import VersionCommitted
from modelversion.schema import Json, to_json
from modelversion.stages import between
from modelversion.state import Pointer
from modelversion.timeline import Interval, Log, read
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
    broken = Broken()
    checkpoint = pin(home, lines.values(), broken=broken)
    rows = _registry_rows(home.policies(), [h.line.name for h in chosen], asked, broken)
    stays: list[tuple[str, Interval]] = []
    for history in chosen:
        found, there = _of_model(history, asked, broken)
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
        unread=broken.problems,
    )


def _registry_rows(
    journal: Journal | None, models: Sequence[str], asked: Scope, broken: Broken
) -> list[AuditRow]:
    """Give stages, policies and forks, and the creation of the models in question."""
    rows: list[AuditRow] = []
    if journal is None:
        return rows
    for entry in _entries(journal, broken):
        named = entry["event"].get("model")
        if entry["time"] in asked and named in (None, *models):
            rows.append(_row(journal.folder, entry, str))
    return rows


def _entries(journal: Journal, broken: Broken) -> list[Json]:
    """Read a journal, or say that it cannot be read."""
    entries: list[Json] = []
    with broken.aside(journal):
        entries = journal.history(journal.start(), journal.head())
    return entries


def _of_model(
    history: History, asked: Scope, broken: Broken
) -> tuple[list[AuditRow], list[Interval]]:
    """Give the rows of a model's three journals, of those that can be read, and its stays."""
    line, stays = history.line, list[Interval]()
    facts = _entries(line.facts, broken)
    versions = committed(line) if facts else {}
    made = functools.cache(lambda number: _made_from(line, versions.get(number)))
    rows = [_fact(line, line.facts, entry, made) for entry in facts if entry["time"] in asked]
    with broken.aside(line.decisions):
        log = read(history)
        rows += _decisions(line, log, asked, made)
        stays = [stay for stay in log.intervals(None) if asked.overlaps(stay)]
    for entry in _entries(line.observations, broken):
        if entry["time"] in asked:
            rows.append(_fact(line, line.observations, entry, made))
    return rows, stays


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


def _fact(line: Line, journal: Journal, entry: Json, made: Made) -> AuditRow:
    event = entry["event"]
    saved = event.get("kind") == VersionCommitted.kind
    more = made(event.get("number")) if saved else {}
    return _row(journal.folder, entry, line.ref, **more)


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
