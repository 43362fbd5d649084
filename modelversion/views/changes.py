"""What changed last in a model: the ends of its journals, in words."""

from __future__ import annotations

from typing import Any

import attrs

from modelversion.history import History
from modelversion.journal import Journal
from modelversion.schema import Json

_SAID = {
    "alias.deleted": "deleted the alias {alias}",
    "alias.set": "let {alias} name {ref}",
    "approval.withdrawn": "withdrew what was said of {ref} for {stage}",
    "policy.adopted": "adopted the registry's policies",
    "stage.cleared": "cleared {stage}",
    "stage.frozen": "froze {stage}",
    "stage.promoted": "promoted {ref} to {stage}",
    "stage.rolled_back": "rolled {stage} back to {ref}",
    "stage.unfrozen": "unfroze {stage}",
    "version.abandoned": "gave up {ref}, which was never committed",
    "version.approved": "approved {ref} for {stage}",
    "version.committed": "saved {ref}",
    "version.deleted": "deleted {ref}",
    "version.noted": "noted of {ref}: {text}",
    "version.rejected": "rejected {ref} for {stage}",
    "version.repeated": "saved {ref} once more",
    "version.restored": "restored {ref}",
    "version.tagged": "tagged {ref}: {tags}",
    "version.withdrawn": "withdrew {ref}",
}


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
    """Give the last changes of a model, newest first; only the ends of its journals are read."""
    line = history.line
    entries = [*_tail(line.facts, count), *_tail(line.decisions, count)]
    entries.sort(key=lambda entry: str(entry["time"]), reverse=True)
    return [_change(history, entry) for entry in entries[:count]]


def _tail(journal: Journal, count: int) -> list[Json]:
    head = journal.seen()
    return [entry for _, entry in journal._rows(max(head.position - count + 1, 1), head, None)]


def _change(history: History, entry: Json) -> Change:
    event = entry["event"]
    said = _SAID.get(event.get("kind"), "{kind}")
    loud = " (override)" if event.get("override") else ""
    return Change(
        time=entry["time"],
        actor=entry["actor"]["name"],
        what=said.format_map(_Words(history, event)) + loud,
        why=event.get("reason"),
        event=event,
    )


class _Words(dict[str, Any]):
    """What a phrase may name; whatever an event lacks is a question mark."""

    def __init__(self, history: History, event: Json) -> None:
        changed = [f"{name}={value}" for name, value in event.get("set", {}).items()]
        changed += [f"no {name}" for name in event.get("removed", ())]
        ref = history.line.ref(event.get("number", 0))
        super().__init__({**event, "ref": ref, "tags": ", ".join(changed)})

    def __missing__(self, key: str) -> str:
        return "?"
