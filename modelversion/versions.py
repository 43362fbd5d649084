"""Versions: claim a number, fill its folder, commit; and the way back from a number to bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from types import MappingProxyType
from typing import Any

import attrs

from modelversion import _json, layout
from modelversion.decisions import DECISIONS
from modelversion.errors import (
    AliasNotFoundError,
    DigestMismatchError,
    FileMissingError,
    JournalForkError,
    ModelVersionError,
    OriginMismatchError,
    RecordError,
    SizeMismatchError,
    StorageError,
    VersionNotFoundError,
)
from modelversion.files import VersionFiles
from modelversion.home import Home
from modelversion.journal import Head, Journal, Known, read_heads
from modelversion.merges import first_keys
from modelversion.observed import OBSERVATIONS
from modelversion.records import (
    Claim,
    CopiedFrom,
    Origin,
    VersionCommitted,
    VersionRecord,
    VersionRepeated,
    check_format,
)
from modelversion.refs import LATEST
from modelversion.schema import from_json, stored
from modelversion.snapshot import Snapshot
from modelversion.stages import Decisions
from modelversion.state import FACTS, Facts, Pointer, pointer, read_event
from modelversion.storage import Blob, KeyAbsent, KeyTaken, nonce

_SHARE_FROM = 2**20
_REMEMBERED = 64
# Half a merge and one: a table of many versions asks for little that is not there.
_TAIL = layout.MERGE // 2 + 1


class Line:
    """One model's line of versions: its place, its three journals, and numbers seen taken."""

    def __init__(self, home: Home, name: str, registry_id: str) -> None:
        self.home = home
        self.name = name
        self.registry_id = registry_id
        self.facts: Journal = home.journal(
            layout.journal(name, "journal"), FACTS, registry_id, tail=_TAIL
        )
        self.decisions: Journal = home.journal(
            layout.journal(name, "decisions"), DECISIONS, registry_id
        )
        self.observations: Journal = home.journal(
            layout.journal(name, "observations"), OBSERVATIONS, registry_id
        )
        self.taken = 0
        # What a pointer names does not change: its digest is that of the record's bytes.
        self.records: dict[Pointer, VersionRecord] = {}

    def __reduce__(self) -> tuple[type[Line], tuple[Home, str, str]]:
        return Line, (self.home, self.name, self.registry_id)

    @property
    def display(self) -> str:
        """The model's first spelling."""
        return self.home.spelling(self.name)

    def folder(self, number: int) -> str:
        """Give the folder of a version."""
        return layout.version(self.name, number)

    def ref(self, number: int) -> str:
        """Give a version's printed reference."""
        return f"{self.display}:{number}"

    def label(self, number: int) -> str:
        """Give a version's reference in lower case, which needs no request."""
        return f"{self.name}:{number}"

    def is_own(self, registry_id: str) -> bool:
        """Tell whether an id is the registry's, or that of one it was forked from."""
        return registry_id == self.registry_id or self.home.is_own(registry_id)

    def live(self) -> list[int]:
        """Give the numbers that are committed and not deleted, lowest first."""
        facts, decided = self.heads()
        return sorted(live_numbers(facts.state, decided.state))

    def heads(self) -> tuple[Head, Head]:
        """Read both journals to their heads, side by side: facts, then decisions."""
        facts, decided = read_heads(self.facts, self.decisions, lengthy=self.facts)
        return facts, decided


# ---- committing ----------------------------------------------------------------------------------


class _Repeat(Exception):  # noqa: N818 - a signal inside this module
    pass


class Abandoned(Exception):  # noqa: N818 - a signal, never shown to a user
    """A gc gave up the number of a commit."""


def commit(line: Line, snapshot: Snapshot, *, new: bool) -> Pointer:
    """Commit a snapshot under the next number, or find that it is committed already.

    Args:
        line: The model.
        snapshot: What is committed.
        new: Make a version even if the latest has the same content.

    Returns:
        The version's pointer, or that of the version that exists.
    """
    repeated = None if new else _repeat(line, snapshot)
    if repeated is not None:
        return repeated
    while True:
        claim = claim_number(line)
        with contextlib.suppress(KeyTaken, Abandoned), vanished(line, claim):
            data = fill(line, claim, snapshot)
            event = committed(claim, snapshot, data)
            line.facts.append(unless_abandoned(event), actor=claim.actor)
            return pointer(event)


@contextlib.contextmanager
def vanished(line: Line, claim: Claim) -> Iterator[None]:
    """Files that vanish while they are written belong to a number that a gc abandoned."""
    try:
        yield
    except StorageError as e:
        gone = isinstance(e.__cause__, FileNotFoundError)
        if gone and claim.number in line.facts.head().state.abandoned:
            raise Abandoned from e
        raise


def _repeat(line: Line, snapshot: Snapshot) -> Pointer | None:
    """Journal a repeat of the latest version, if that is what the snapshot is."""
    if line.facts.seen().state.content != snapshot.content:
        return None

    def same(state: Facts) -> VersionRepeated:
        decided: Decisions = line.decisions.head().state
        newest = state.newest
        if newest is None or state.content != snapshot.content:
            raise _Repeat
        if newest.number in decided.deleted or newest.number in decided.withdrawn:
            raise _Repeat
        return VersionRepeated(number=newest.number)

    try:
        newest: Pointer = line.facts.append(same, actor=line.home.actor).state.newest
    except _Repeat:
        return None
    return newest


def claim_number(line: Line) -> Claim:
    """Take the next free number; nobody else gets it, whatever becomes of this process."""
    state: Facts = line.facts.seen().state
    number = max(state.committed.last, state.abandoned.last, line.taken) + 1
    while True:
        claim = Claim(
            registry=line.registry_id,
            model=line.name,
            number=number,
            nonce=nonce(),
            time=line.home.now(),
            actor=line.home.actor,
        )
        try:
            line.home.store.put_new(f"{line.folder(number)}/{layout.CLAIM}", stored(claim))
        except KeyTaken:
            number = _next_free(line, number)
        else:
            line.taken = number
            return claim


def _next_free(line: Line, taken: int) -> int:
    """Probe upwards by doubling, then halve: numbers are taken in order."""
    step = 1
    while True:
        steps = [step * 2**i for i in range(4)]
        keys = [f"{line.folder(taken + s)}/{layout.CLAIM}" for s in steps]
        found = line.home.store.read_many(keys)
        for s, data in zip(steps, found, strict=True):
            if data is None:
                return _lowest_free(line, taken + s // 2, taken + s)
        step *= 16


def _lowest_free(line: Line, taken: int, free: int) -> int:
    while free - taken > 1:
        middle = (taken + free) // 2
        key = f"{line.folder(middle)}/{layout.CLAIM}"
        if line.home.store.read_many([key])[0] is None:
            free = middle
        else:
            taken = middle
    return free


def fill(line: Line, claim: Claim, snapshot: Snapshot) -> bytes:
    """Put every file of a claimed folder; give the bytes of `version.json`."""
    origin = Origin(
        registry=claim.registry, model=claim.model, number=claim.number, nonce=claim.nonce
    )
    data = stored(snapshot.version_record(origin, created_at=claim.time, actor=claim.actor))
    version = Blob(layout.VERSION, len(data), _json.digest(data), data)
    line.home.store.fill(
        line.folder(claim.number),
        [*snapshot.blobs, version],
        shared(line, snapshot.blobs, snapshot.content),
    )
    return data


def shared(line: Line, blobs: Sequence[Blob], content: str) -> dict[str, str]:
    """Find files of the latest version that hold the same bytes as ours.

    Small files are cheaper written than looked up.
    """
    state: Facts = line.facts.seen().state
    large = any(blob.size >= _SHARE_FROM for blob in blobs)
    if state.newest is None or not (large or state.content == content):
        return {}
    try:
        before = fetch(line, state.newest)
    except ModelVersionError:
        return {}  # sharing only saves bytes: deleted, broken or newer, our own are written
    folder = line.folder(state.newest.number)
    known = {(file.size, file.sha256): f"{folder}/{file.path}" for file in before.files}
    return {
        blob.path: known[blob.size, blob.sha256]
        for blob in blobs
        if (blob.size, blob.sha256) in known
    }


def committed(claim: Claim, snapshot: Snapshot, data: bytes) -> VersionCommitted:
    """Give the event by which a version exists; `data` is its `version.json`."""
    return VersionCommitted(
        number=claim.number,
        nonce=claim.nonce,
        size=len(data),
        sha256=_json.digest(data),
        content=snapshot.content,
        summary=snapshot.summary(claim.time),
    )


def unless_abandoned(event: VersionCommitted) -> Callable[[Facts], VersionCommitted]:
    """Decide for a commit, unless the number was given up while its folder was filled."""

    def decide(state: Facts) -> VersionCommitted:
        if event.number in state.abandoned:
            raise Abandoned
        return event

    return decide


# ---- resolving -----------------------------------------------------------------------------------


def resolve(line: Line, selector: int | str | None, known: Known = MappingProxyType({})) -> Pointer:
    """Give the pointer of a number, of `latest` (also None, -1, -2 ...), of a stage or an alias.

    Args:
        line: The model.
        selector: Which.
        known: What some keys of its journals were just found to hold.

    Raises:
        VersionNotFoundError: There is no such version, it was deleted, or the stage is empty.
        AliasNotFoundError: There is no such stage or alias.
    """
    if isinstance(selector, str) and is_name(selector):
        return _named(line, selector.lower(), known)
    facts, decisions = read_heads(line.facts, line.decisions, known=known)
    decided: Decisions = decisions.state
    number = _number(line, selector, facts.state, decided)
    if number in decided.deleted:
        raise VersionNotFoundError(
            f"{line.ref(number)} was deleted; its bytes are gone and its number is not used again"
        )
    if number not in facts.state.committed:
        raise VersionNotFoundError(_no_version(line, number, facts.state))
    return _pointer(line, number, facts)


def first_look(model: str, selector: int | str | None) -> list[str]:
    """Give the keys that resolving asks for when nothing of a model was read yet."""
    names = ["decisions"] if is_name(selector) else ["journal", "decisions"]
    return [key for name in names for key in first_keys(layout.journal(model, name))]


def is_name(selector: int | str | None) -> bool:
    """Tell a stage or an alias from a number and from `latest`."""
    return isinstance(selector, str) and selector != LATEST


def _named(line: Line, name: str, known: Known) -> Pointer:
    """Give what is in a stage, or what an alias names."""
    state: Decisions = line.decisions.head(known).state
    stages = state.stage_names()
    held = state.live(name) if name in stages else state.aliases.get(name)
    if held is not None:
        return held
    if name in stages:
        raise VersionNotFoundError(f"no version of {line.display} is in {name}; promote one")
    aliases = ", ".join(sorted(state.aliases)) or "none"
    raise AliasNotFoundError(
        f"{line.display} has no stage or alias {name!r}; stages: {', '.join(stages)}; "
        f"aliases: {aliases}"
    )


def _number(line: Line, selector: int | str | None, facts: Facts, decided: Decisions) -> int:
    if isinstance(selector, int) and selector > 0:
        return selector
    back = -selector if isinstance(selector, int) else 1
    if selector == 0:
        raise VersionNotFoundError(f"{line.display} has no version 0; numbers begin with 1")
    for number in live_numbers(facts, decided):
        back -= 1
        if back == 0:
            return number
    raise VersionNotFoundError(
        f"{line.display} has no version {selector if selector is not None else LATEST}; "
        f"it has {len(facts.committed) - len(decided.deleted)}"
    )


def live_numbers(facts: Facts, decided: Decisions) -> Iterator[int]:
    """Give the numbers that are committed and not deleted, highest first."""
    return (number for number in reversed(facts.committed) if number not in decided.deleted)


def _no_version(line: Line, number: int, facts: Facts) -> str:
    if number in facts.abandoned:
        return f"{line.ref(number)} was claimed and never committed; it was abandoned"
    known = ", ".join(str(n) for n, _ in zip(reversed(facts.committed), range(5), strict=False))
    return f"no version {line.ref(number)}; the latest versions are {known or 'none'}"


def _pointer(line: Line, number: int, facts: Head) -> Pointer:
    state: Facts = facts.state
    if state.newest is not None and state.newest.number == number:
        return state.newest
    return pointer(commit_of(line, number, facts))


def commit_of(line: Line, number: int, facts: Head) -> VersionCommitted:
    """Give the event by which a version exists, as the journal's head says.

    Raises:
        VersionNotFoundError: The number was never committed.
        JournalForkError: The entry is another than was appended.
    """
    position = facts.state.position_of(number)
    if position is None:
        return _search(line, number, facts)
    keys = [layout.entry(line.facts.folder, position + i) for i in (0, 1)]
    data, following = line.home.store.read_many(keys)
    if data is None:
        raise JournalForkError(f"{keys[0]} is missing; restore it from a backup")
    entry = line.facts.parse(data, position)
    after = None if following is None else line.facts.parse(following, position + 1)
    event = from_json(VersionCommitted, _event(entry.event), f"{keys[0]}.event")
    if event.number != number or (after and after.previous != _json.digest(data)):
        raise JournalForkError(f"{keys[0]} is not the entry that was appended there")
    return event


def _event(value: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in value.items() if k not in ("kind", "must_understand")}


def _search(line: Line, number: int, facts: Head) -> VersionCommitted:
    for entry in line.facts.history(line.facts.start(), facts):
        event = entry["event"]
        if event.get("kind") == VersionCommitted.kind and event.get("number") == number:
            made = read_event(VersionCommitted, event)
            if made is not None:
                return made
    raise VersionNotFoundError(_no_version(line, number, facts.state))


# ---- fetching ------------------------------------------------------------------------------------


def fetch(line: Line, version: Pointer) -> VersionRecord:
    """Read `version.json` and check that it is the committed one.

    Raises:
        IntegrityError: It is missing, another, or stands in a folder that is not its own.
        VersionNotFoundError: It was deleted meanwhile.
    """
    record = parse_version(fetch_bytes(line, version), f"{line.label(version.number)} version.json")
    _check_origin(line, version, record.origin)
    return record


def fetch_bytes(line: Line, version: Pointer) -> bytes:
    """Read the committed bytes of `version.json`."""
    what = f"{line.label(version.number)} {layout.VERSION}"
    try:
        data = line.home.store.read(f"{line.folder(version.number)}/{layout.VERSION}")
    except KeyAbsent as e:
        refuse_deleted(line, version.number)
        raise FileMissingError(f"{what} is missing; restore it from a backup") from e
    if len(data) != version.size:
        raise SizeMismatchError(f"{what} has {len(data)} bytes, committed were {version.size}")
    if _json.digest(data) != version.sha256:
        raise DigestMismatchError(f"{what} is not the committed one: its sha256 is another")
    return data


def parse_version(data: bytes, what: str) -> VersionRecord:
    """Read the bytes of a `version.json`."""
    value = _json.loads_strict(data, what)
    check_format(value, what)
    record = from_json(VersionRecord, value, what)
    for file in record.files:
        if not layout.is_stored_path(file.path):
            raise RecordError(f"{what} lists the file {file.path[:200]!r}, which cannot be its own")
        if not 0 <= file.size < 2**63:
            raise RecordError(f"{what} lists {file.path[:200]!r} with {file.size} bytes")
    return record


def refuse_deleted(line: Line, number: int) -> None:
    """A file that vanished while we read belongs to a deletion, or the version is corrupt."""
    if number in line.decisions.head().state.deleted:
        raise VersionNotFoundError(f"{line.ref(number)} was deleted")


def _check_origin(line: Line, version: Pointer, origin: Origin) -> None:
    if _is_from_here(line, version, origin):
        return
    copied = copied_from(line, version, origin)
    if copied is None or copied.origin != origin:
        raise OriginMismatchError(
            f"{line.ref(version.number)} holds {origin.model}:{origin.number} of registry "
            f"{origin.registry}; its folder was copied or swapped"
        )


def _is_from_here(line: Line, version: Pointer, origin: Origin) -> bool:
    found = (origin.model, origin.number, origin.nonce)
    return found == (line.name, version.number, version.nonce) and line.is_own(origin.registry)


def copied_from(line: Line, version: Pointer, origin: Origin) -> CopiedFrom | None:
    """Tell what the commit says of a version's origin, None of one that was saved here."""
    if _is_from_here(line, version, origin):
        return None
    event = commit_of(line, version.number, line.facts.seen())
    return event.copied_from if pointer(event) == version else None


@attrs.frozen
class Opened:
    """A version's record with its files, ready to be read."""

    record: VersionRecord
    files: VersionFiles


def open_version(line: Line, version: Pointer) -> Opened:
    """Give access to a version's files; its record is fetched once a handle."""
    record = line.records.get(version)
    if record is None:
        record = fetch(line, version)
        while len(line.records) >= _REMEMBERED:
            line.records.pop(next(iter(line.records)), None)
        line.records[version] = record
    name = line.label(version.number)
    folder, cache = line.folder(version.number), line.home.cache
    files = VersionFiles(line.home.store, folder, record.files, name, cache=cache)
    return Opened(record, files)
