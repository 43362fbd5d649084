"""The report of an audit: its rows, and how they are shown and written.

It is data: `auditing` makes the same rows of the same journals, in the same order.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from modelversion import _json, layout
from modelversion.checkpoint import Checkpoint
from modelversion.display import Cell, Facts, Page, Section, Shown, Table, Text, when
from modelversion.schema import Json
from modelversion.stages import between
from modelversion.timeline import Interval
from modelversion.verification import VerifyReport

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
        clock: What the clock of who did it said, where it was more than a second behind the entry
            before; `time` is then that of the entry before.
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
    clock: str | None = None

    def to_dict(self) -> Json:
        """Give it as plain JSON."""
        plain = attrs.asdict(self, recurse=False)
        return {**plain, "gates": list(self.gates), "approvals": list(self.approvals)}


@attrs.frozen(kw_only=True)
class Unread:
    """A journal that cannot be read to its end.

    Attributes:
        key: Its folder below the registry's root.
        what: What is wrong with it, and what to do.
        entries: How many of its entries, from the first on, are one chain and are reported.
        until: The time of the last of them, None without one; of later nothing is known.
    """

    key: str
    what: str
    entries: int
    until: str | None

    @property
    def told(self) -> str:
        """What of it is reported, in words."""
        if not self.entries:
            return "none of its entries"
        return f"entries 1 to {self.entries}, until {self.until}; what came later is not known"

    def to_dict(self) -> Json:
        """Give it as plain JSON."""
        return attrs.asdict(self)


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
        checkpoint: Where every journal ended, of those that can be read.
        verified: What `verify` found.
        unread: The journals that cannot be read to their end, and why: what they say behind
            their last whole entry is in no row.
    """

    registry: str
    models: tuple[str, ...]
    since: str | None
    until: str | None
    rows: tuple[AuditRow, ...]
    stays: tuple[tuple[str, Interval], ...]
    checkpoint: Checkpoint
    verified: VerifyReport
    unread: tuple[Unread, ...] = ()

    @property
    def ok(self) -> bool:
        """True if nothing is broken, and so nothing is missing."""
        return self.verified.ok and not self.unread

    @property
    def overrides(self) -> tuple[AuditRow, ...]:
        """What was done although something was not met."""
        return tuple(row for row in self.rows if row.override)

    def __len__(self) -> int:
        return len(self.rows)

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        loud = "" if self.ok else ", NOT VERIFIED"
        return f"<AuditReport of {len(self.models)} models: {len(self.rows)} entries{loud}>"

    def to_dict(self) -> Json:
        """Give it as plain JSON."""
        return {
            "registry": self.registry,
            "registry_id": self.checkpoint.registry,
            "models": list(self.models),
            "since": self.since,
            "until": self.until,
            "ok": self.ok,
            "unread": [journal.to_dict() for journal in self.unread],
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

        What is broken comes first, as rows of the kind `UNREAD` (a journal, whose entries from
        `position` on are missing here) and `BROKEN` (a file). A text that a spreadsheet would
        take for a formula has a quote before it.
        """
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(_COLUMNS)
        for plain in (*self._loud(), *(row.to_dict() for row in self.rows)):
            writer.writerow([_cell(plain.get(name)) for name in _COLUMNS])
        return _written(out.getvalue(), path)

    def _loud(self) -> Iterator[Json]:
        """Give a row for each thing that is broken."""
        for cut in self.unread:
            what = f"reported: {cut.told}; {cut.what}"
            yield {**_loud("UNREAD", cut.key, what), "position": cut.entries + 1}
        for problem in self.verified.problems:
            yield _loud("BROKEN", problem.key, problem.what)

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
            + self._verdict(),
            tone="bad" if not self.ok else "warn" if self.overrides else "good",
            blocks=[
                Facts(
                    {
                        "registry id": self.checkpoint.registry,
                        "time": span,
                        "models": ", ".join(self.models),
                        "actors": _declared(self.rows),
                        "clocks": _behind(self.rows),
                        "checkpoint": self.checkpoint.digest,
                    }
                ),
                _unread(self.unread),
                _problems(self.verified),
                _overrides(self.overrides),
                _entries(self.rows),
                _stays(self.stays),
                _details(self.rows),
                Text("checkpoint", str(self.checkpoint)),
            ],
        )

    def _verdict(self) -> str:
        if not self.unread:
            return "verified" if self.ok else "NOT VERIFIED"
        where = sorted({_model_of(p.key) or "the registry's own journal" for p in self.unread})
        return f"NOT VERIFIED, and INCOMPLETE: {', '.join(where)} cannot be read to the end"


def _loud(kind: str, key: str, what: str) -> Json:
    model = _model_of(key)
    told = {"kind": kind, "what": what, "effective": False, "journal": key}
    return {"model": model, "ref": model, **told}


def _model_of(key: str) -> str | None:
    """Name the model that a file belongs to, if it is one's."""
    parts = key.split("/")
    return parts[1] if parts[0] == layout.MODELS and len(parts) > 1 else None


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


def _behind(rows: Sequence[AuditRow]) -> str | None:
    """Say how far clocks were behind: the times of what they wrote are those of entries before."""
    gaps = [between(row.clock, row.time) for row in rows if row.clock is not None]
    if not gaps:
        return None
    seconds = max(gaps) // 1_000_000
    longest = f"{seconds // 86_400} days" if seconds >= 2 * 86_400 else f"{seconds} s"
    entries = "1 entry" if len(gaps) == 1 else f"{len(gaps)} entries"
    return f"behind the entry before in {entries}, by up to {longest}; `clock` has what they said"


def _unread(unread: Sequence[Unread]) -> Table | None:
    rows = [(cut.key, Cell(cut.told, tone="bad"), cut.what) for cut in unread]
    return Table("INCOMPLETE", ("what", "reported", "why"), rows=rows) if rows else None


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
        (stay.stage, f"{model}:{stay.number}", when(stay.since), _until(stay))
        for model, stay in stays
    ]
    columns = ("stage", "version", "from", "until")
    return Table("what was where", columns, rows=rows) if rows else None


def _until(stay: Interval) -> Cell:
    if stay.until is None:
        return Cell(None, "still there")
    said = when(stay.until)
    below = "what came later is not known" if stay.cut_off else ""
    return attrs.evolve(said, below=below, tone="bad" if stay.cut_off else "")


def _details(rows: Sequence[AuditRow]) -> Section | None:
    blocks = [
        Facts(
            {
                "entry": f"{row.journal} {row.position}",
                "what": row.what,
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
