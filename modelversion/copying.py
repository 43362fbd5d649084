"""Copies into another registry: bytes and digests stay, the number is the target's own.

What was said of a version since its save travels in the commit of the copy. Everything is read
and verified before the target gets a claim, and a version that is there already is found again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import attrs

from modelversion import _json, layout
from modelversion.errors import ConflictError, InvalidInputError, ModelVersionError
from modelversion.history import History, Identity
from modelversion.home import Home
from modelversion.journal import MAX_ENTRY
from modelversion.records import Claim, CopiedFrom, VersionCommitted, VersionRecord
from modelversion.refs import parse
from modelversion.schema import Json, to_json
from modelversion.stages import Withdrawal
from modelversion.state import Facts, Pointer, pointer
from modelversion.storage import Blob, KeyTaken
from modelversion.storage.spool import Spool
from modelversion.upkeep import abandon, sweep, withdraw
from modelversion.versions import (
    Abandoned,
    Line,
    claim_number,
    commit_of,
    fetch_bytes,
    open_version,
    shared,
    unless_abandoned,
    vanished,
)

MAX_HISTORY = 24 * 1024
# What an entry needs besides its event: nonce, times, actor.
_AROUND = 4 * 1024
Open = Callable[[str], History]


class Courier:
    """Carries versions from one registry to another; `open_source` and `open_target` give models.

    `open_target` makes the registry and the model where there are none; it is given the first
    spelling.
    """

    def __init__(self, source: Home, open_source: Open, target: Home, open_target: Open) -> None:
        self._source = source
        self._open_source = open_source
        self._target = target
        self._open_target = open_target
        self._told: dict[str, dict[int, list[Json]]] = {}
        self._refuse_twins()

    def _refuse_twins(self) -> None:
        found = self._target.id()
        if found is None or found != self._source.id():
            return
        if self._target.store.url == self._source.store.url:
            raise InvalidInputError(f"{self._source.store.url} cannot be copied into itself")
        raise ConflictError(
            f"{self._source.store.url} and {self._target.store.url} are both the registry {found}: "
            "one is a copied folder; call fork() on the one that is to go its own way"
        )

    def copy(self, source: History, version: Pointer) -> tuple[History, Pointer]:
        """Copy a version, or find the copy that is there, and its withdrawal with it.

        Raises:
            IntegrityError: A byte of the source is not the committed one; nothing was committed.
            InvalidInputError: Its tags are too many to go with it.
        """
        source.refresh()
        target = self._known(source.line.name)
        found = None if target is None else target.find(source.identity(version.number))
        if target is not None and found is not None:
            # It may be visible and not durable yet, if its writer was killed.
            self._target.store.settle(target.line.facts.folder)
            copied = target.pointer(found)
        else:
            target, copied = self._carry(source, version)
        why = source.decisions.withdrawn.get(version.number)
        if why is not None:
            self._withdraw(target, copied.number, source, why)
        return target, copied

    def _known(self, model: str) -> History | None:
        """Give a model of the target, None if it has none of that name."""
        if model not in self._target.models():
            return None
        return self._open_target(model).refresh()

    def _carry(self, source: History, version: Pointer) -> tuple[History, Pointer]:
        opened = open_version(source.line, version)
        commit = commit_of(source.line, version.number, source.line.facts.seen())
        event = self._event(source, opened.record, commit)
        with Spool(self._target.store.spool) as spool:
            for file in opened.record.files:
                with spool.writer(file.path) as out:
                    for piece in opened.files.pieces(file.path):
                        out.write(piece)
            data = fetch_bytes(source.line, version)
            record = Blob(layout.VERSION, version.size, version.sha256, data)
            target = self._open_target(source.line.display)
            identity = source.identity(version.number)
            return target, _land(target, [*spool.blobs, record], event, identity)

    # ---- what the commit says

    def _event(self, source: History, record: VersionRecord, commit: Any) -> VersionCommitted:
        line, row = source.line, source.full(commit.number)
        parents = tuple(row.get("parents", ()))
        saved, tags = record.tags, row.get("tags", {})
        copied = CopiedFrom(
            origin=record.origin,
            registry=line.registry_id,
            model=line.name,
            number=commit.number,
            actor=record.actor,
            heads={
                journal.folder: [journal.seen().position, journal.seen().digest]
                for journal in (line.facts, line.decisions)
            },
            tags={k: v for k, v in tags.items() if k not in saved or saved[k] != v},
            untagged=tuple(sorted(saved.keys() - tags.keys())),
            parents=parents,
        )
        here = [ref for ref in map(self._translated, parents) if ref is not None]
        summary = {**commit.summary, "parents": here}
        event = _evolved(commit, summary=summary, copied_from=copied)
        return _with_history(event, self._entries(line)[commit.number], line.ref(commit.number))

    def _translated(self, reference: str) -> str | None:
        """Give the reference of a parent in the target, None if it is not there."""
        try:
            ref = parse(reference)
            source = self._open_source(ref.model.lower()).refresh()
            identity = source.identity(int(ref.selector or 0))
        except (ModelVersionError, ValueError, KeyError):
            return None  # what it names was deleted before it could be copied
        target = self._known(identity[0]) or self._known(source.line.name)
        found = None if target is None else target.find(identity)
        return None if target is None or found is None else target.line.ref(found)

    def _entries(self, line: Line) -> dict[int, list[Json]]:
        """Give the entries of both journals by the version that they are about, oldest first."""
        known = self._told.get(line.name)
        if known is None:
            known = self._told[line.name] = {}
            for journal in (line.facts, line.decisions):
                for entry in journal.history(journal.start(), journal.seen()):
                    told = {"registry": line.registry_id, "journal": journal.folder}
                    number = entry["event"].get("number")
                    if type(number) is int:  # else forged, and void
                        known.setdefault(number, []).extend(_flattened(entry, told))
            for entries in known.values():
                entries.sort(key=lambda entry: str(entry["time"]))
        return known

    def _withdraw(self, target: History, number: int, source: History, why: Withdrawal) -> None:
        if number in target.line.decisions.head().state.withdrawn:
            return
        instead = why.use_instead
        found = None if instead is None else target.refresh().find(source.identity(instead))
        with contextlib.suppress(ConflictError):  # somebody else was faster
            withdraw(target.line, number, reason=why.reason, use_instead=found)


def _flattened(entry: Json, told: Json) -> list[Json]:
    """Give what a copy says of an entry; what an earlier copy carried comes before it."""
    event = entry["event"]
    before = event.get("copied_from", {}).get("history", [])
    kept = {k: v for k, v in event.items() if k not in ("summary", "copied_from")}
    names = ("position", "time", "actor")
    return [*before, {**told, **{name: entry[name] for name in names}, "event": kept}]


def _with_history(event: Any, entries: list[Json], name: str) -> VersionCommitted:
    """Add the newest entries that fit; the oldest are left out and counted."""
    room = MAX_ENTRY - _AROUND - len(_json.dumps(to_json(event)))
    if room < 0:
        raise InvalidInputError(
            f"the tags set on {name} since it was saved are too many to be copied in one entry; "
            "untag some"
        )
    kept, size = len(entries), 0
    for entry in reversed(entries):
        size += len(_json.dumps(entry)) + 1
        if size > min(room, MAX_HISTORY):
            break
        kept -= 1
    told = attrs.evolve(event.copied_from, history=tuple(entries[kept:]), left_out=kept or None)
    return _evolved(event, copied_from=told)


def _evolved(event: Any, **changes: Any) -> VersionCommitted:
    changed: VersionCommitted = attrs.evolve(event, **changes)
    return changed


# ---- landing -------------------------------------------------------------------------------------


class _Copied(Exception):  # noqa: N818 - a signal inside this module
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _land(
    target: History, blobs: list[Blob], event: VersionCommitted, identity: Identity
) -> Pointer:
    """Commit files under the next number, unless another copier was faster."""
    line = target.line
    while True:
        claim = claim_number(line)
        with contextlib.suppress(KeyTaken, Abandoned), vanished(line, claim):
            line.home.store.fill(
                line.folder(claim.number), blobs, shared(line, blobs, event.content)
            )
            landed = _evolved(event, number=claim.number, nonce=claim.nonce)
            try:
                decide = _unless_copied(target, landed, identity)
                line.facts.append(decide, actor=claim.actor, fresh=False)
            except _Copied as e:
                _give_up(line, claim, e.number)
                return target.pointer(e.number)
            return pointer(landed)


def _unless_copied(
    target: History, event: VersionCommitted, identity: Identity
) -> Callable[[Facts], VersionCommitted]:
    decide = unless_abandoned(event)

    def decided(state: Facts) -> VersionCommitted:
        # Read beyond the state that is decided on, the entry would not land behind it.
        found = target.refresh().find(identity)
        if found is not None:
            raise _Copied(found)
        return decide(state)

    return decided


def _give_up(line: Line, claim: Claim, found: int) -> None:
    if abandon(line, claim.number, f"copied as {line.ref(found)} by another process"):
        sweep(line, claim.number)
