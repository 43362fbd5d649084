"""End of life: withdraw, delete, prune; and what a registry holds."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence

import attrs

from modelversion import _json, current, layout
from modelversion.broken import Broken, Problem
from modelversion.broken import table as unread
from modelversion.display import Facts as Listed
from modelversion.display import Page, Picture, Shown, Table, Tone, size
from modelversion.display.plots import bars
from modelversion.errors import (
    BytesLeftWarning,
    ConflictError,
    IntegrityError,
    InUseError,
    LiveVersionWarning,
    StorageError,
    VersionNotFoundError,
)
from modelversion.governing import append
from modelversion.history import History
from modelversion.records import (
    FileRecord,
    VersionAbandoned,
    VersionDeleted,
    VersionRestored,
    VersionWithdrawn,
)
from modelversion.schema import to_json
from modelversion.snapshot import check_text
from modelversion.stages import Decisions
from modelversion.state import Facts, Pointer
from modelversion.storage import Store
from modelversion.verification import walk
from modelversion.versions import Line, fetch


def withdraw(line: Line, number: int, *, reason: str, use_instead: int | None) -> None:
    """Mark a version as not to be used; loading it warns from now on.

    It stays in the stages that it is in, and the caller is warned of that.
    """
    reason = check_text(reason, "reason")

    def decide(state: Decisions) -> VersionWithdrawn:
        _refuse_deleted(line, number, state)
        if number in state.withdrawn:
            raise ConflictError(f"{line.ref(number)} is withdrawn already")
        return VersionWithdrawn(number=number, reason=reason, use_instead=use_instead)

    after: Decisions = append(line, decide).state
    stages = after.stages_of(number)
    if stages:
        text = f"{line.ref(number)} is still in {', '.join(stages)}; roll back or promote another"
        warnings.warn(text, LiveVersionWarning, stacklevel=current.user_level())


def restore(line: Line, number: int, *, reason: str) -> None:
    """Take a withdrawal back."""
    reason = check_text(reason, "reason")

    def decide(state: Decisions) -> VersionRestored:
        if number not in state.withdrawn:
            raise ConflictError(f"{line.ref(number)} is not withdrawn")
        return VersionRestored(number=number, reason=reason)

    append(line, decide)


def _refuse_deleted(line: Line, number: int, state: Decisions) -> None:
    if number in state.deleted:
        raise VersionNotFoundError(f"{line.ref(number)} was deleted")


# ---- deleting ------------------------------------------------------------------------------------


def delete(line: Line, version: Pointer, *, reason: str, spare_staged: bool = False) -> None:
    """Append the tombstone, then remove the bytes; a gc removes what cannot be removed now.

    Args:
        line: The model.
        version: What is deleted.
        reason: Why.
        spare_staged: Refuse a version that was ever in a stage, too.

    Raises:
        InUseError: A stage or an alias holds the version.
    """
    reason = check_text(reason, "reason")
    files = _tombstone_files(line, version)

    def decide(state: Decisions) -> VersionDeleted:
        _refuse_deleted(line, version.number, state)
        refuse_held(line, version.number, state)
        if spare_staged and state.was_staged(version.number):
            raise InUseError(f"{line.ref(version.number)} was in a stage")
        return VersionDeleted(
            number=version.number, reason=reason, sha256=version.sha256, files=files
        )

    append(line, decide)
    try:
        sweep(line, version.number)
    except StorageError as e:
        # The tombstone stands: nobody loads it any more, whatever became of the bytes.
        warnings.warn(
            f"{line.ref(version.number)} is deleted, and not all of its bytes could be removed: "
            f"{e}; registry.gc() removes the rest",
            BytesLeftWarning,
            stacklevel=current.user_level(),
        )


def refuse_held(line: Line, number: int, state: Decisions) -> None:
    """Raise if a stage or an alias holds a version.

    Raises:
        InUseError: One does; all that do are named.
    """
    stages, aliases = state.stages_of(number), state.held_by(number)
    if stages:
        names = ", ".join(stages)
        raise InUseError(
            f"{line.ref(number)} is in {names}; promote another or clear_stage() first"
        )
    if aliases:
        names = ", ".join(repr(alias) for alias in aliases)
        raise InUseError(
            f"{line.ref(number)} is held by the alias {names}; move or delete it first"
        )


_MAX_TOMBSTONE = 32 * 1024


def _tombstone_files(line: Line, version: Pointer) -> tuple[FileRecord, ...]:
    """List the files whose digests the tombstone keeps.

    `version.json` lists every file and its own digest is kept, so the first ones are enough
    where all would not fit an entry.
    """
    try:
        files = fetch(line, version).files
    except IntegrityError:  # a broken version can be deleted too
        files = ()
    own = FileRecord(path=layout.VERSION, size=version.size, sha256=version.sha256)
    kept, size = [own], 0
    for file in files:
        size += len(_json.dumps(to_json(file))) + 1
        if size > _MAX_TOMBSTONE:
            break
        kept.append(file)
    return tuple(kept)


def sweep(line: Line, number: int) -> list[str]:
    """Remove what a deleted or abandoned number has left, all but its claim.

    Raises:
        StorageError: Something cannot be removed, or the number's folder is a link.
    """
    place = line.home.store.local_path(line.folder(number))
    if place is not None and os.path.islink(place):
        raise StorageError(f"{place} is a link; remove by hand what it leads to")
    keys = left(line, number)
    for key in keys:
        line.home.store.remove(key)
    _remove_empty(line.home.store, line.folder(number))
    return keys


def _remove_empty(store: Store, folder: str) -> None:
    """Remove the empty folders below a folder; one that a writer is filling stays."""
    for item in store.list(folder):
        if item.folder:
            _remove_empty(store, f"{folder}/{item.name}")
            with contextlib.suppress(StorageError):
                store.remove(f"{folder}/{item.name}")


def same_object(history: History, number: int) -> list[tuple[Line, Pointer]]:
    """Find the registry's other versions whose object has the same bytes."""
    wanted = history.refresh().object_digest(number)
    if not wanted:
        return []
    return [
        (other.line, other.pointer(n))
        for other in whole_registry(history)
        for n in other.refresh().numbers()
        if (other is not history or n != number) and other.object_digest(n) == wanted
    ]


def whole_registry(history: History) -> Iterator[History]:
    """Give the histories of all models of a model's registry, its own as it is."""
    own = history.line
    for name in own.home.models():
        line = own if name == own.name else Line(own.home, name, own.registry_id)
        yield history if line is own else History(line)


def delete_all(history: History, version: Pointer, *, reason: str, everywhere: bool) -> None:
    """Delete a version, with those of any model that hold the same object if that is said.

    If a stage or an alias holds one of them, none is deleted.

    Raises:
        InUseError: One is held, or others hold the same object and `everywhere` is not said.
    """
    reason = check_text(reason, "reason")
    line = history.line
    twins = same_object(history, version.number)
    if twins and not everywhere:
        names = ", ".join(other.ref(twin.number) for other, twin in twins)
        raise InUseError(
            f"{names} hold{'s' if len(twins) == 1 else ''} the same object as "
            f"{line.ref(version.number)}; delete(everywhere=True) deletes all of them"
        )
    doomed = [*twins, (line, version)]
    for other, twin in doomed:
        refuse_held(other, twin.number, other.decisions.head().state)
    for other, twin in doomed:
        delete(other, twin, reason=reason)


# ---- pruning -------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class PruneReport(Shown):
    """What `prune` deleted, or would delete."""

    deleted: tuple[int, ...]
    kept: tuple[int, ...]
    bytes: int
    dry_run: bool

    def _page(self) -> Page:
        verb = "would delete" if self.dry_run else "deleted"
        says = f"{verb} {_versions(self.deleted)}, {self.bytes:,} bytes; {len(self.kept)} kept"
        listed = {name: ", ".join(map(str, getattr(self, name))) for name in ("deleted", "kept")}
        return Page("prune", says, blocks=[Listed(listed)])


def _versions(numbers: Sequence[int]) -> str:
    return f"{len(numbers)} version{'' if len(numbers) == 1 else 's'}"


def prune(
    history: History, *, keep: int, best: Iterable[int], dry_run: bool, reason: str
) -> PruneReport:
    """Delete all but the newest `keep`, the best, and what an alias holds or a stage ever held."""
    numbers = history.refresh().numbers()
    held = {pointer.number for pointer in history.decisions.aliases.values()}
    held |= {number for number in numbers if history.decisions.was_staged(number)}
    kept = set(numbers[len(numbers) - keep :] if keep else ()) | set(best) | held
    doomed = [number for number in numbers if number not in kept]
    size = sum(history.full(number).get("bytes", 0) for number in doomed)
    deleted = []
    for number in doomed:
        if not dry_run:
            # Another process may have promoted it or put an alias on it since we looked.
            with contextlib.suppress(InUseError, VersionNotFoundError):
                delete(history.line, history.pointer(number), reason=reason, spare_staged=True)
                deleted.append(number)
    shown = doomed if dry_run else deleted
    rest = [number for number in numbers if number not in shown]
    return PruneReport(deleted=tuple(shown), kept=tuple(rest), bytes=size, dry_run=dry_run)


# ---- clearing up, see `clearing` -----------------------------------------------------------------


class _Committed(Exception):  # noqa: N818 - a signal inside this module
    pass


def abandon(line: Line, number: int, reason: str) -> bool:
    """Say that a claimed number will never be committed; False if it was, or was said before."""

    def decide(state: Facts) -> VersionAbandoned:
        if number in state.committed or number in state.abandoned:
            raise _Committed
        return VersionAbandoned(number=number, reason=reason)

    try:
        line.facts.append(decide, actor=line.home.actor)
    except _Committed:
        return False
    return True


def left(line: Line, number: int) -> list[str]:
    """List what a number has left besides its claim."""
    claim = f"{line.folder(number)}/{layout.CLAIM}"
    return [key for key, _ in walk(line.home.store, line.folder(number)) if key != claim]


@attrs.frozen(kw_only=True)
class ModelUsage:
    """What one model holds: versions that exist, and the bytes of their files."""

    versions: int
    bytes: int


@attrs.frozen(kw_only=True)
class Usage(Shown):
    """What a registry holds. `bytes` counts a file that versions share once for each of them.

    Attributes:
        models: Name of each model -> what it holds.
        problems: The journals that cannot be read, whose models are missing.
    """

    models: dict[str, ModelUsage]
    problems: tuple[Problem, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes of all versions' files."""
        return sum(model.bytes for model in self.models.values())

    @property
    def versions(self) -> int:
        """Number of versions."""
        return sum(model.versions for model in self.models.values())

    def _page(self) -> Page:
        rows = [(name, m.versions, size(m.bytes)) for name, m in self.models.items()]
        table = Table("models", ("model", "versions", "size"), rows=rows, empty="no models")
        says = f"{self.versions} versions, {self.bytes:,} bytes"
        tone: Tone = "bad" if self.problems else ""
        return Page("usage", says, tone=tone, blocks=[unread(self.problems), table, self._bars()])

    def _bars(self) -> Picture | None:
        if len(self.models) < 2:
            return None
        rows = [(name, model.bytes) for name, model in self.models.items()]
        rows.sort(key=lambda row: -row[1])
        return Picture(
            "Who holds how much",
            bars([(name, count, size(count).text or "") for name, count in rows]),
            kind="bars",
            alt=f"bytes of {len(rows)} models, the largest first",
            data=Table("bytes", ("model", "bytes"), rows=rows),
        )


def usage(histories: Iterable[History]) -> Usage:
    """Count versions and bytes from the journals; no file is looked at."""
    found: dict[str, ModelUsage] = {}
    broken = Broken()
    for history in histories:
        with broken.aside(history.line.facts, history.line.decisions):
            numbers = history.refresh().numbers()
            size = sum(history.full(number).get("bytes", 0) for number in numbers)
            found[history.line.display] = ModelUsage(versions=len(numbers), bytes=size)
    return Usage(models=found, problems=broken.problems)
