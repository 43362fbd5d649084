"""What changed last in a model: the ends of its journals, in words."""

from __future__ import annotations

import attrs

from modelversion.history import History
from modelversion.inspection import voids
from modelversion.journal import Journal
from modelversion.phrases import phrase
from modelversion.schema import Json


@attrs.frozen(kw_only=True)
class Change:
    """One entry of a journal: when, who, what, and why if it was said."""

    time: str
    actor: str
    what: str
    why: str | None
    event: Json

    @property
    def number(self) -> int | None:
        """The version that it is about, None if it is about none."""
        return self.event.get("number")


def last_changes(history: History, *, count: int) -> list[Change]:
    """Give the last changes of a model, newest first; what is void is none.

    Only the ends of its journals are read, unless something in one is void.
    """
    line = history.line
    entries = [*_tail(line.facts, count), *_tail(line.decisions, count)]
    entries.sort(key=lambda entry: str(entry["time"]), reverse=True)
    return [_change(history, entry) for entry in entries[:count]]


def _tail(journal: Journal, count: int) -> list[Json]:
    head = journal.seen()
    if not head.state.void:
        return journal.history(max(head.position - count, 0), head)
    entries = journal.history(journal.start(), head)
    void = voids(journal, entries)
    return [entry for entry in entries if entry["position"] not in void][-count:]


def _change(history: History, entry: Json) -> Change:
    event = entry["event"]
    loud = " (override)" if event.get("override") else ""
    return Change(
        time=entry["time"],
        actor=entry["actor"]["name"],
        what=phrase(event, history.line.ref) + loud,
        why=event.get("reason"),
        event=event,
    )
