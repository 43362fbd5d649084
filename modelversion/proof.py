"""Prove a model's decisions: what each names is there, and each verdict is given again.

A chain shows that nothing was changed since it was written. This shows that what was written is
true: that a promotion passed what it says it passed, by the policy that was in force, on the
numbers that were committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from modelversion import layout
from modelversion.broken import UNREADABLE
from modelversion.decisions import DECISIONS
from modelversion.events import (
    PolicyAdopted,
    Promoted,
    RolledBack,
    VersionApproved,
    VersionRejected,
)
from modelversion.history import History
from modelversion.journal import Head, Journal
from modelversion.judging import Shelf, pin_from
from modelversion.records import AliasSet, Entry
from modelversion.replay import replay
from modelversion.schema import Json, from_json
from modelversion.stages import Decisions
from modelversion.state import MODELS, Models, Pointer, Rules
from modelversion.versions import Line

_POINTING = (AliasSet.kind, Promoted.kind, RolledBack.kind)
_STATING = (VersionApproved.kind, VersionRejected.kind)


def decision_problems(
    line: Line, last: Head, committed: Mapping[int, Pointer]
) -> Iterator[tuple[str, str]]:
    """Give (key, what is wrong) of every decision up to a head that is not what it says.

    `committed` and whatever else they name is read after that head.
    """
    journal = line.decisions
    entries = journal.history(journal.start(), last)
    judge = _Judge(line, committed)
    state, time = Decisions(), ""
    for entry in entries:
        after = DECISIONS.step(state, from_json(Entry, entry, "entry"))
        if after.void == state.void:
            key = layout.entry(journal.folder, entry["position"])
            yield from ((key, what) for what in judge.problems(entry, state, time))
        state, time = after, entry["time"]


class _Judge:
    """What decisions are held against: commits, facts, and the registry's rules over time."""

    def __init__(self, line: Line, committed: Mapping[int, Pointer]) -> None:
        self._committed = committed
        self._shelf = Shelf(History(line))
        self._facts = _digests(line.facts)
        self._policies = line.home.policies

    def problems(self, entry: Json, before: Decisions, time: str) -> Iterator[str]:
        """Tell what is wrong with one decision, `before` being the state and `time` before it."""
        event = entry["event"]
        kind = event["kind"]
        if kind in _POINTING:
            held = Pointer(**{n: event[n] for n in ("number", "nonce", "size", "sha256")})
            if self._committed.get(held.number) != held:
                yield f"names {held.number} as it was not committed"
                return
        if kind in _STATING and self._sha256(event["number"]) != event["sha256"]:
            yield f"is about {event['number']} as it was not committed"
        if kind == PolicyAdopted.kind:
            yield from self._adoption(event)
        if kind in (Promoted.kind, RolledBack.kind):
            subject = f"entry {entry['position']}"
            yield from replay(self._shelf, entry, before, subject=subject).problems
        if kind == Promoted.kind:
            yield from self._reading(event["judged"], time)

    @cached_property
    def _measured(self) -> dict[Any, str]:
        return _digests(self._shelf.history.line.observations)

    def _sha256(self, number: int) -> str | None:
        held = self._committed.get(number)
        return None if held is None else held.sha256

    @cached_property
    def _rules(self) -> dict[int, tuple[str, Rules]]:
        journal = self._policies()
        return {} if journal is None else _rules(journal)

    def _adoption(self, event: Json) -> Iterator[str]:
        try:
            digest, rules = self._rules.get(event["position"], (None, None))
        except UNREADABLE as e:
            yield f"cannot be held against {layout.POLICIES}, which is broken: {e}"
            return
        if digest is None or digest != event["digest"]:
            yield f"adopts entry {event['position']} of {layout.POLICIES}, which is another"
            return
        found = Rules(
            stages=tuple(event["stages"]),
            shared=tuple(event.get("shared", ())),
            policies=event.get("policies", {}),
        )
        if found != rules:
            yield f"does not say what entry {event['position']} of {layout.POLICIES} says"

    def _reading(self, judged: Json, time: str) -> Iterator[str]:
        if not _names(self._facts, judged.get("facts")):
            yield "names facts that were never there"
        if "observations" in judged and not _names(self._measured, judged["observations"]):
            yield "names observations that were never there"
        if str(judged.get("at")) < time:
            yield f"was judged at {judged.get('at')}, before the entry before it"


def _names(digests: Mapping[Any, str], pin: Any) -> bool:
    """Tell whether what a promotion says it read was there."""
    found = pin_from(pin)
    return found is not None and digests.get(found.position) == found.digest


def _digests(journal: Journal) -> dict[Any, str]:
    """Give the digest of each entry by its position, as the entries and the head say it."""
    head = journal.head()
    entries = journal.history(journal.start(), head)
    return {
        **{entry["position"] - 1: entry["previous"] for entry in entries},
        head.position: head.digest,
    }


def _rules(journal: Journal) -> dict[int, tuple[str, Rules]]:
    """Give the digest of each entry of the registry's own journal, and the rules after it."""
    digests, state = _digests(journal), Models()
    found = {}
    for entry in journal.history(journal.start(), journal.head()):
        state = MODELS.step(state, from_json(Entry, entry, "entry"))
        found[entry["position"]] = (digests[entry["position"]], state.rules)
    return found
