"""Audit: who did what to which models, when and why, with what was asked and from which data.

A report is made from the journals alone and from the `version.json` of the versions that were
saved in its time. It is data: the same journals give the same rows, in the same order.
"""

from __future__ import annotations

import csv
import functools
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from modelversion import _json
from modelversion.checkpoint import Checkpoint
from modelversion.display import Cell, Facts, Page, Section, Shown, Table, Text, when
from modelversion.errors import ModelVersionError
from modelversion.events import PolicySet, StagesSet
from modelversion.history import History
from modelversion.home import Home
from modelversion.hooks import event_of
from modelversion.journal import Journal
from modelversion.moments import moment
from modelversion.policies import policy_from
from modelversion.records import VersionCommitted
from modelversion.schema import Json, to_json
from modelversion.timeline import Interval, Log, read
from modelversion.verdicts import verdict_from
from modelversion.verification import VerifyReport, pin, verify_registry
from modelversion.versions import fetch

SIGNED = "signed"
# A cell that begins so is a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@attrs.frozen(kw_only=True)
class AuditRow:
    """One thing that was done.

    Attributes:
        time: When, by the clock of who did it.
        model: The model's name, None for what concerns the whole registry.
        ref: The version or the model.
        kind: The kind of event.
        what: What was done, in words.
        actor: Who, as declared by themselves unless `source` is `signed`.
        source: How the actor is known: given, env, ci, os or signed.
        run_url: The CI run, where there was one.
        reason: Why, if that was said.
        override: Whether something that was not met was passed over.
        gates: What was asked, what was found, and whether it passed.
        approvals: Who had approved.
        data: Name -> digest of the data that the version was made from.
        code: The function that made the version, and the sha256 of its source.
        effective: False for an entry that made no sense where it stands and changed nothing.
        journal: The folder of the journal.
        position: The entry's number there.
    """

    time: str
    model: str | None
    ref: str | None
    kind: str
    what: str
    actor: str
    source: str
    run_url: str | None = None
    reason: str | None = None
    override: bool = False
    gates: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()
    data: Json = attrs.field(factory=dict)
    code: str | None = None
    effective: bool = True
    journal: str
    position: int

    def to_dict(self) -> Json:
        """Give it as plain JSON."""
        plain = attrs.asdict(self, recurse=False)
        return {**plain, "gates": list(self.gates), "approvals": list(self.approvals)}


@attrs.frozen(kw_only=True, repr=False, str=False, eq=False)
class AuditReport(Shown):
    """What was done in a registry, in an order that anybody can replay.

    Attributes:
        registry: Its address.
        models: The models it is about.
        since: From when, None for the beginning.
        until: Until when, None for the end.
        rows: What was done, oldest first.
        stays: Which version was in which stage from when until when, in that time.
        checkpoint: Where every journal ended.
        verified: What `verify` found.
    """

    registry: str
    models: tuple[str, ...]
    since: str | None
    until: str | None
    rows: tuple[AuditRow, ...]
    stays: tuple[tuple[str, Interval], ...]
    checkpoint: Checkpoint
    verified: VerifyReport

    @property
    def overrides(self) -> tuple[AuditRow, ...]:
        """What was done although something was not met."""
        return tuple(row for row in self.rows if row.override)

    def __len__(self) -> int:
        return len(self.rows)

    def __bool__(self) -> bool:
        return self.verified.ok

    def __repr__(self) -> str:
        return f"<AuditReport of {len(self.models)} models: {len(self.rows)} entries>"

    def to_dict(self) -> Json:
        """Give it as plain JSON."""
        return {
            "registry": self.registry,
            "registry_id": self.checkpoint.registry,
            "models": list(self.models),
            "since": self.since,
            "until": self.until,
            "verified": {
                "ok": self.verified.ok,
                "versions": self.verified.versions,
                "problems": [attrs.asdict(problem) for problem in self.verified.problems],
            },
            "checkpoint": str(self.checkpoint),
            "overrides": len(self.overrides),
            "entries": [row.to_dict() for row in self.rows],
            "stays": [{"model": model, **stay.to_dict()} for model, stay in self.stays],
        }

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Give it as JSON text, and write it to a file if a path is given."""
        return _written(_json.dumps(self.to_dict()).decode() + "\n", path)

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """Give a row for each thing done as CSV, and write it to a file if a path is given.

        A text that a spreadsheet would take for a formula has a quote before it.
        """
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(_COLUMNS)
        for row in self.rows:
            plain = row.to_dict()
            writer.writerow([_cell(plain[name]) for name in _COLUMNS])
        return _written(out.getvalue(), path)

    def to_pandas(self) -> Any:
        """Give a pandas DataFrame with a row for each thing done; needs pandas."""
        import pandas

        rows = [row.to_dict() for row in self.rows]
        frame = pandas.DataFrame(rows, columns=list(_COLUMNS))
        frame["time"] = pandas.to_datetime(frame["time"], utc=True)
        return frame

    def _page(self) -> Page:
        span = f"{self.since or 'the beginning'} to {self.until or 'now'}"
        return Page(
            f"Audit of {self.registry}",
            f"{len(self.rows)} {'entry' if len(self.rows) == 1 else 'entries'}, "
            f"{len(self.overrides)} override{'' if len(self.overrides) == 1 else 's'}; "
            + ("verified" if self.verified.ok else "NOT VERIFIED"),
            tone="bad" if not self.verified.ok else "warn" if self.overrides else "good",
            blocks=[
                Facts(
                    {
                        "registry id": self.checkpoint.registry,
                        "time": span,
                        "models": ", ".join(self.models),
                        "actors": _declared(self.rows),
                        "checkpoint": self.checkpoint.digest,
                    }
                ),
                _problems(self.verified),
                _overrides(self.overrides),
                _entries(self.rows),
                _stays(self.stays),
                _details(self.rows),
                Text("checkpoint", str(self.checkpoint)),
            ],
        )


_COLUMNS = tuple(field.name for field in attrs.fields(AuditRow))


def _written(text: str, path: str | os.PathLike[str] | None) -> str:
    if path is not None:
        Path(path).write_text(text, encoding="utf-8", newline="")
    return text


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = "; ".join(map(str, value))
    elif isinstance(value, dict):
        value = "; ".join(f"{name}={item}" for name, item in value.items())
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


# ---- what it looks like --------------------------------------------------------------------------


def _declared(rows: Iterable[AuditRow]) -> str:
    """Say how far the actors can be believed."""
    sources = sorted({row.source for row in rows})
    if not sources:
        return "nobody"
    if sources == [SIGNED]:
        return "signed"
    return f"self-declared ({', '.join(sources)})"


def _problems(verified: VerifyReport) -> Table | None:
    rows = [(Cell(p.key, tone="bad"), p.what) for p in verified.problems]
    return Table("broken", ("file", "what is wrong"), rows=rows) if rows else None


def _overrides(rows: Sequence[AuditRow]) -> Table | None:
    shown = [
        (when(r.time), r.ref, r.actor, Cell(r.what, tone="bad"), r.reason, _failed(r)) for r in rows
    ]
    columns = ("when", "version", "who", "what", "why", "not met")
    return Table("OVERRIDES", columns, rows=shown) if shown else None


def _failed(row: AuditRow) -> str:
    return "; ".join(gate for gate in row.gates if not gate.startswith("pass"))


def _entries(rows: Sequence[AuditRow]) -> Table:
    shown = [
        (
            when(row.time),
            row.ref or "registry",
            row.actor,
            Cell(row.what, tone="bad" if row.override else "" if row.effective else "quiet"),
            row.reason,
        )
        for row in rows
    ]
    columns = ("when", "version", "who", "what", "why")
    return Table("entries", columns, rows=shown, empty="nothing was done")


def _stays(stays: Sequence[tuple[str, Interval]]) -> Table | None:
    rows = [
        (stay.stage, f"{model}:{stay.number}", when(stay.since), when(stay.until))
        for model, stay in stays
    ]
    columns = ("stage", "version", "from", "until")
    return Table("what was where", columns, rows=rows) if rows else None


def _details(rows: Sequence[AuditRow]) -> Section | None:
    blocks = [
        Facts(
            {
                "entry": f"{row.journal} {row.position}",
                "what": f"{row.ref}: {row.what}",
                "gates": "; ".join(row.gates),
                "approved by": ", ".join(row.approvals),
                "data": ", ".join(f"{name} {digest}" for name, digest in row.data.items()),
                "code": row.code,
                "run": row.run_url,
            }
        )
        for row in rows
        if row.gates or row.approvals or row.data or row.code or row.run_url
    ]
    return Section("Gates, approvals, data and code", blocks) if blocks else None


# ---- making it -----------------------------------------------------------------------------------


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
    return Scope(
        None if since is None else moment(since, "since", end=False),
        None if until is None else moment(until, "until", end=True),
    )


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
    checkpoint = pin(home, lines.values())
    rows = list(_registry_rows(home.policies(), [h.line.name for h in chosen], asked))
    stays: list[tuple[str, Interval]] = []
    for history in chosen:
        log = read(history.refresh())
        rows += _decisions(history, log, asked)
        rows += _facts(history, history.line.facts, asked)
        rows += _facts(history, history.line.observations, asked)
        stays += [(history.line.display, s) for s in log.intervals(None) if asked.overlaps(s)]
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
    )


def _registry_rows(
    journal: Journal | None, models: Sequence[str], asked: Scope
) -> Iterator[AuditRow]:
    """Give stages, policies and forks, and the creation of the models in question."""
    if journal is None:
        return
    for entry in journal.history(journal.start(), journal.head()):
        named = entry["event"].get("model")
        if entry["time"] in asked and named in (None, *models):
            yield _row(journal.folder, entry, _said_of_registry(entry["event"]))


def _said_of_registry(event: Json) -> str:
    try:
        if event.get("kind") == PolicySet.kind:
            return f"set the policy of {event['stage']}: {policy_from(event['policy'], 'policy')}"
        if event.get("kind") == StagesSet.kind:
            return f"set the stages: {', '.join(event['stages'])}"
    except _MALFORMED:
        return "set what cannot be read"
    return _REGISTRY.get(str(event.get("kind")), "{kind}").format_map(_Said(event))


# A forged entry is void, and must not keep the rest from being reported.
_MALFORMED = (AttributeError, KeyError, TypeError, ValueError, ModelVersionError)


class _Said(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return "?"


_REGISTRY = {
    "model.created": "made the model {display}",
    "registry.forked": "forked the registry {previous}",
}
_FACTS = {
    "observation.added": "measured where it serves",
    "version.abandoned": "gave the number {number} up",
    "version.committed": "saved",
    "version.noted": "noted: {text}",
    "version.repeated": "saved the same content again",
    "version.tagged": "set tags",
}


def _row(folder: str, entry: Json, what: str, **more: Any) -> AuditRow:
    event = event_of(folder, entry)
    return AuditRow(
        time=event.time,
        model=event.model,
        ref=event.ref,
        kind=event.kind,
        what=what,
        actor=event.actor.name,
        source=event.actor.source,
        run_url=event.actor.run_url,
        reason=event.data.get("reason"),
        override=event.data.get("override") is True,
        journal=folder,
        position=event.position,
        **more,
    )


def _decisions(history: History, log: Log, asked: Scope) -> Iterator[AuditRow]:
    effective = {found.position for found, _, _ in log.effective()}
    made = functools.cache(lambda number: _made_from(history, number))
    for found in log.decisions:
        if found.time in asked:
            told = found.to_dict()
            entry = {"position": found.position, "time": found.time, "actor": told["actor"]}
            yield _row(
                history.line.decisions.folder,
                {**entry, "event": found.event},
                told["text"],
                effective=found.position in effective,
                **_judged(found.event),
                **made(found.number),
            )


def _judged(event: Json) -> Json:
    """Give the verdicts in words, and who had approved."""
    try:
        verdicts = event.get("judged", {}).get("verdicts", [])
        seen = [verdict["seen"].get("approved", ()) for verdict in verdicts]
        gates = tuple(str(verdict_from(verdict)).replace("  ", " ", 1) for verdict in verdicts)
    except _MALFORMED:
        return {"gates": ("FAIL what was judged cannot be read",)}
    return {"gates": gates, "approvals": tuple(name for names in seen for name in names)}


def _facts(history: History, journal: Journal, asked: Scope) -> Iterator[AuditRow]:
    for entry in journal.history(journal.start(), journal.head()):
        if entry["time"] in asked:
            event = entry["event"]
            what = _FACTS.get(event.get("kind"), "{kind}").format_map(_Said(event))
            saved = event.get("kind") == VersionCommitted.kind
            more = _made_from(history, event.get("number")) if saved else {}
            copied = event.get("copied_from")
            if copied:
                what = "copied from {model}:{number} of {registry}".format_map(_Said(copied))
            yield _row(journal.folder, entry, what, **more)


def _made_from(history: History, number: Any) -> Json:
    """Give the data and the code of a version, as far as its bytes are still there."""
    if not isinstance(number, int):
        return {}
    try:
        record = fetch(history.line, history.pointer(number))
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
