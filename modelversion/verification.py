"""Verify: every digest, every chain, every number explained."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

import attrs

from modelversion import _json, layout
from modelversion.broken import Broken, Problem
from modelversion.checkpoint import Checkpoint, Pin
from modelversion.display import Page, Shown, Table, Tone, counted
from modelversion.errors import (
    IntegrityError,
    InvalidInputError,
    ModelVersionError,
    NotARegistryError,
)
from modelversion.files import VersionFiles
from modelversion.governing import look
from modelversion.home import Home
from modelversion.inspection import problems as problems_of
from modelversion.journal import Head
from modelversion.proof import decision_problems
from modelversion.records import Claim, VersionCommitted, VersionRecord
from modelversion.refs import check_name
from modelversion.schema import Json, from_json
from modelversion.stages import Decisions
from modelversion.state import Facts, Pointer, pointer, read_event
from modelversion.storage import Store
from modelversion.versions import Line, fetch


@attrs.frozen(kw_only=True)
class VerifyReport(Shown):
    """What `verify` found; falsy if anything is broken.

    Attributes:
        subject: What was verified.
        versions: Number of versions whose files were all read and hashed.
        problems: What is broken.
        pending: What a crash or a running save left, which is no fault: claims without a
            commit and bytes of deleted versions, which `gc` clears, and stages or policies that
            a model has yet to adopt.
        since: The checkpoint that the journals were held against.
    """

    subject: str
    versions: int
    problems: tuple[Problem, ...] = ()
    pending: tuple[Problem, ...] = ()
    since: Checkpoint | None = None

    @property
    def ok(self) -> bool:
        """True if nothing is broken."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok

    def _page(self) -> Page:
        tables = [
            Table(name, ("file", "what"), rows=[(found.key, found.what) for found in problems])
            for name, problems in (("broken", self.problems), ("pending", self.pending))
        ]
        tone: Tone = "good" if self.ok else "bad"
        return Page(self.subject, self._verdict(), tone=tone, blocks=tables)

    def _verdict(self) -> str:
        head = f"{counted(self.versions, 'version')} verified"
        if not self.ok:
            return f"{head}, {len(self.problems)} broken"
        if self.since is None:
            return f"{head}, all good"
        return f"{head}, all good, and nothing of the checkpoint of {self.since.time} is gone"


def verify_version(line: Line, version: Pointer) -> VerifyReport:
    """Read and hash every file of a version."""
    problems = tuple(_version_problems(line, version))
    return VerifyReport(subject=line.ref(version.number), versions=1, problems=problems)


def _version_problems(line: Line, version: Pointer) -> Iterator[Problem]:
    folder = line.folder(version.number)
    yield from _claim_problems(line, version)
    try:
        record = fetch(line, version)
    except ModelVersionError as e:
        yield Problem(f"{folder}/{layout.VERSION}", str(e))
        return
    files = VersionFiles(line.home.store, folder, record.files, line.ref(version.number))
    for file in record.files:
        try:
            files.check(file.path)
        except ModelVersionError as e:
            yield Problem(f"{folder}/{file.path}", str(e))
    yield from _unlisted(line.home.store, folder, record)


def _claim_problems(line: Line, version: Pointer) -> Iterator[Problem]:
    key = f"{line.folder(version.number)}/{layout.CLAIM}"
    data = line.home.store.read_many([key])[0]
    if data is None:
        yield Problem(key, "missing; a committed number must keep its claim")
        return
    try:
        claim, _ = read_claim(data, key)
    except IntegrityError as e:
        yield Problem(key, str(e))
        return
    found = (claim.model, claim.number, claim.nonce)
    own = line.is_own(claim.registry)
    if not own or found != (line.name, version.number, version.nonce):
        yield Problem(key, "is not the claim that the commit names")


def read_claim(data: bytes, key: str) -> tuple[Claim, datetime]:
    """Give a claim, and when it was made."""
    claim = from_json(Claim, _json.loads_strict(data, key), key)
    return claim, _json.parse_timestamp(claim.time, f"{key}.time")


def _unlisted(store: Store, folder: str, record: VersionRecord) -> Iterator[Problem]:
    listed = {file.path for file in record.files} | {layout.CLAIM, layout.VERSION}
    for key, _ in walk(store, folder):
        path = key.removeprefix(f"{folder}/")
        if path not in listed and not path.rsplit("/", 1)[-1].startswith(layout.TEMPORARY):
            yield Problem(key, "is not listed in version.json")


def walk(store: Store, folder: str) -> Iterator[tuple[str, float]]:
    """Give (key, seconds since 1970) of every file below a folder."""
    for item in store.list(folder):
        key = f"{folder}/{item.name}" if folder else item.name
        if item.folder:
            yield from walk(store, key)
        else:
            yield key, item.changed


def verify_line(line: Line) -> VerifyReport:
    """Check a model's journals, and every number that was ever taken."""
    problems = [Problem(*found) for found in problems_of(line.facts)]
    problems += [Problem(*found) for found in problems_of(line.decisions)]
    problems += [Problem(*found) for found in problems_of(line.observations)]
    pending: list[Problem] = []
    versions = 0
    if not problems:
        # Decisions first: what they name was committed before.
        last = line.decisions.head()
        decided: Decisions = last.state
        facts = line.facts.head()
        versions_of = committed(line.facts.history(line.facts.start(), facts), facts.state)
        problems += [Problem(*found) for found in decision_problems(line, last, versions_of)]
        for number, version in versions_of.items():
            if number not in decided.deleted:
                versions += 1
                broken = list(_version_problems(line, version))
                # Its files may be gone because it was deleted while they were read.
                if broken and number not in line.decisions.head().state.deleted:
                    problems += broken
        missing, left = _number_problems(line, decided)
        problems += missing
        pending += [*left, *_unadopted(line)]
    return VerifyReport(
        subject=line.display, versions=versions, problems=tuple(problems), pending=tuple(pending)
    )


def _unadopted(line: Line) -> Iterator[Problem]:
    try:
        position = look(line)
    except ModelVersionError:
        return  # the registry's own journal is broken, which is told of it
    if position:
        yield Problem(
            line.decisions.folder,
            f"{layout.POLICIES} {position} is not adopted yet; the next promotion does it",
        )


def committed(entries: Iterable[Json], state: Facts) -> dict[int, Pointer]:
    """Give every version that was ever committed, also those that were deleted since.

    Args:
        entries: Of a journal of facts, from the first on.
        state: What they lead to.
    """
    found: dict[int, Pointer] = {}
    for entry in entries:
        if entry["event"].get("kind") == VersionCommitted.kind:
            event = read_event(VersionCommitted, entry["event"])
            if event is not None and event.number in state.committed:
                found.setdefault(event.number, pointer(event))
    return found


def _number_problems(line: Line, decided: Decisions) -> tuple[list[Problem], list[Problem]]:
    facts: Facts = line.facts.head().state
    broken: list[Problem] = []
    pending: list[Problem] = []
    folder = layout.versions(line.name)
    items = {item.name: item for item in line.home.store.list(folder)}
    found = layout.numbers(items)
    for number in found:
        key = f"{folder}/{number}"
        if not items[str(number)].folder:
            broken.append(Problem(key, "a link or a file, where the version's folder should be"))
            continue
        names = {item.name for item in line.home.store.list(key)}
        if number in decided.deleted and names - {layout.CLAIM}:
            pending.append(Problem(key, "deleted, and its bytes are still there"))
        elif number not in facts.committed and number not in facts.abandoned:
            pending.append(Problem(key, "claimed and not committed yet"))
            broken += _unreadable_claim(line.home.store, f"{key}/{layout.CLAIM}")
    for number in range(1, max(facts.committed.last, facts.abandoned.last) + 1):
        if number not in found:
            broken.append(Problem(f"{folder}/{number}", "missing; every number keeps its claim"))
    return broken, pending


def _unreadable_claim(store: Store, key: str) -> list[Problem]:
    (data,) = store.read_many([key])
    try:
        if data is not None:
            read_claim(data, key)
    except IntegrityError as e:
        return [Problem(key, str(e))]
    return []


def verify_registry(
    home: Home, open_line: Callable[[str], Line], *, since: Checkpoint | None = None
) -> VerifyReport:
    """Check the registry's own journal, every model, and that there are no others.

    Args:
        home: The registry's place.
        open_line: Gives the model of a name.
        since: What the journals must still say.

    Raises:
        InvalidInputError: The checkpoint is another registry's.
    """
    problems = [] if since is None else list(_pinned_problems(home, since))
    known, broken = names(home)
    problems += broken
    reports = [verify_line(open_line(name)) for name in known]
    return VerifyReport(
        subject=home.store.url,
        versions=sum(report.versions for report in reports),
        problems=(*problems, *(p for report in reports for p in report.problems)),
        pending=tuple(p for report in reports for p in report.pending),
        since=since,
    )


def names(home: Home) -> tuple[list[str], list[Problem]]:
    """Give the models: those of the registry's journal or, where that is broken, the folders."""
    policies = home.policies()
    problems = [] if policies is None else [Problem(*found) for found in problems_of(policies)]
    folders = [item.name for item in home.store.list(layout.MODELS)]
    if problems:
        return [name for name in folders if _is_name(name)], problems
    known = list(home.models())
    strays = [Problem(f"{layout.MODELS}/{name}", _STRAY) for name in folders if name not in known]
    return known, strays


_STRAY = "is no model of the registry"


def _is_name(folder: str) -> bool:
    try:
        return check_name(folder, "model") == folder
    except InvalidInputError:
        return False


# ---- checkpoints ---------------------------------------------------------------------------------


def pin(home: Home, lines: Iterable[Line], *, broken: Broken | None = None) -> Checkpoint:
    """Note where every journal ends now.

    Args:
        home: The registry's place.
        lines: Its models.
        broken: Takes the journals that cannot be read; without it one of them is an error.

    Raises:
        NotARegistryError: The place is empty.
    """
    policies = home.policies()
    if policies is None:
        raise NotARegistryError(f"{home.store.url} is empty: there is no journal to pin yet")
    journals = [policies]
    for line in lines:
        # Facts last: what the others name was committed before.
        journals += [line.observations, line.decisions, line.facts]
    heads: dict[str, Head] = {}
    for journal in journals:
        with contextlib.nullcontext() if broken is None else broken.aside(journal):
            heads[journal.folder] = journal.head()
    return Checkpoint(
        registry=home.require_id(),
        time=home.now(),
        heads={folder: Pin(h.position, h.digest) for folder, h in heads.items() if h.position},
    )


def _pinned_problems(home: Home, since: Checkpoint) -> Iterator[Problem]:
    """Name every journal that does not say any more what it said at a checkpoint.

    The chain is checked elsewhere, so the pinned entry vouches for all before it.
    """
    found = home.id()
    if found is None:
        yield Problem(layout.REGISTRY, f"gone since the checkpoint of {since.time}")
    elif found != since.registry:
        raise InvalidInputError(
            f"the checkpoint is of the registry {since.registry}, and {home.store.url} is "
            f"{found}: give the checkpoint of this one, or find out who replaced it"
        )
    keys = [layout.entry(folder, pinned.position) for folder, pinned in since.heads.items()]
    entries = home.store.read_many(keys)
    for key, pinned, data in zip(keys, since.heads.values(), entries, strict=True):
        if data is None:
            yield Problem(
                key,
                f"missing, and the checkpoint of {since.time} has seen it; the journal was cut "
                "off or restored from an older copy",
            )
        elif _json.digest(data) != pinned.digest:
            yield Problem(
                key,
                f"is not the entry that the checkpoint of {since.time} has seen; the journal "
                "was rewritten",
            )
