"""A version: what was recorded, the object, its files, and the remarks made on it since."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

from modelversion import current, layout, upkeep
from modelversion._json import decode
from modelversion.display import Page, Shown
from modelversion.errors import (
    FileMissingError,
    InUseError,
    InvalidInputError,
    ModelVersionError,
)
from modelversion.files import write_files
from modelversion.history import History
from modelversion.loading import (
    allowed,
    load_object,
    open_file,
    recorded_metrics,
    recorded_params,
    spelt,
    warn_withdrawn,
)
from modelversion.metrics import Metrics, check_key, direction
from modelversion.records import (
    Actor,
    CodeRecord,
    CopiedFrom,
    DataRecord,
    EnvironmentRecord,
    FileRecord,
    NoteAdded,
    TagsChanged,
    VersionRecord,
)
from modelversion.redaction import Redaction, known_secrets, redact
from modelversion.serializers import Allow
from modelversion.snapshot import check_tags, check_text
from modelversion.state import Decisions, Pointer
from modelversion.storage import KeyAbsent
from modelversion.verification import VerifyReport, verify_version
from modelversion.versions import (
    Line,
    Opened,
    copied_from,
    open_version,
    refuse_deleted,
    resolve,
)

if TYPE_CHECKING:
    from modelversion.diff import Diff
    from modelversion.graph import Steps
    from modelversion.lineage import Lineage


class Version(Shown):
    """An immutable, numbered snapshot of an object and of what was recorded beside it.

    What was recorded is read from storage at its first use and kept; aliases, tags and notes
    can change and are read anew each time.
    """

    def __init__(self, history: History, pointer: Pointer, allow: Allow | None = None) -> None:
        self._history = history
        self._line: Line = history.line
        self._pointer = pointer
        self._allow = allow
        self._opened: Opened | None = None

    # ---- identity

    @property
    def number(self) -> int:
        """The version's number, from 1."""
        return self._pointer.number

    @property
    def model(self) -> str:
        """The model's name in its first spelling."""
        return self._line.display

    @property
    def ref(self) -> str:
        """The printed reference, such as `churn:3`."""
        return self._line.ref(self.number)

    @property
    def digest(self) -> str:
        """The sha256 of `version.json` in hex, which covers every byte of the version."""
        return self._pointer.sha256

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, str, int]:
        return self._line.registry_id, self._line.name, self.number

    def __repr__(self) -> str:
        return f"<Version {self.ref}{self._glance()}>"

    def _page(self) -> Page:
        from modelversion.views.version import version_page

        opened = self._open()
        return version_page(
            self._history,
            self.number,
            record=opened.record,
            read=opened.files.read,
            url=self._line.home.store.url,
        )

    def _glance(self) -> str:
        try:
            record = self._open().record
        except ModelVersionError as e:  # a repr never raises
            return f" ({type(e).__name__})"
        kind = "" if record.object is None else " " + record.object.type.rsplit(".", 1)[-1]
        shown = [f" {name}={_short(value)}" for name, value in list(self.metrics.items())[:3]]
        return "".join(c if c.isprintable() else "?" for c in "".join([kind, *shown]))

    def _open(self) -> Opened:
        if self._opened is None:
            self._opened = open_version(self._line, self._pointer)
        return self._opened

    @property
    def _record(self) -> VersionRecord:
        return self._open().record

    # ---- what was recorded

    @property
    def created_at(self) -> str:
        """When the number was claimed: RFC 3339, UTC."""
        return self._record.created_at

    @property
    def actor(self) -> Actor:
        """Who saved it, and how that is known."""
        return self._record.actor

    @property
    def description(self) -> str | None:
        """The description given when it was saved."""
        return self._record.description

    @property
    def type(self) -> str | None:
        """The full name of the object's type, None without an object."""
        return None if self._record.object is None else self._record.object.type

    @property
    def params(self) -> Mapping[str, Any]:
        """The params, with the types they had."""
        return recorded_params(self._record)

    @property
    def metrics(self) -> Metrics:
        """The metrics: name -> last value; `metrics.series(name)` gives those logged by step."""
        return recorded_metrics(self._record, self.open)

    @property
    def failed(self) -> str | None:
        """What stopped the run that made it, None for one that came to its end."""
        return self._record.failed

    def higher_is_better(self, metric: str) -> bool | None:
        """Tell a metric's direction: the one it was saved with, else what its name says."""
        record = self._record.metrics.get(metric)
        explicit = None if record is None else record.higher_is_better
        return direction(metric) if explicit is None else explicit

    @property
    def data(self) -> Mapping[str, DataRecord]:
        """The data it was made from: name -> type, shape and columns."""
        return MappingProxyType({item.name: item for item in self._record.data})

    @property
    def steps(self) -> Steps:
        """The steps that led to it, and the parts of its pipeline; `print(v.steps)` shows them."""
        from modelversion.graph import Steps

        return Steps(self._record.steps, self._record.data)

    @property
    def code(self) -> CodeRecord | None:
        """The function that made it, and the path of its source among the files."""
        return self._record.code

    @property
    def environment(self) -> EnvironmentRecord | None:
        """Python, platform and every installed distribution when it was saved."""
        return self._record.environment

    @property
    def parents(self) -> tuple[str, ...]:
        """References of the versions it was made from; of a copy, those that are here too."""
        if self.copied_from is None:
            return self._record.parents
        return tuple(self._history.refresh().full(self.number).get("parents", ()))

    @property
    def copied_from(self) -> CopiedFrom | None:
        """Where it was copied from, None for a version that was saved here."""
        return copied_from(self._line, self._pointer, self._record.origin)

    @property
    def redactions(self) -> tuple[Redaction, ...]:
        """What was redacted when it was saved: the path and the rule of each."""
        found = self._record.redactions
        return tuple(Redaction(path, str(rule)) for path in sorted(found) for rule in found[path])

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """Every file with its size in bytes and sha256."""
        return self._record.files

    # ---- what can change

    @property
    def tags(self) -> Mapping[str, Any]:
        """The tags as they are now."""
        row = self._history.refresh().full(self.number)
        tags = row.get("tags", {})
        return MappingProxyType({name: decode(value) for name, value in tags.items()})

    @property
    def notes(self) -> list[Mapping[str, str]]:
        """The notes, oldest first: text, time and actor."""
        notes = self._history.refresh().notes.get(self.number, [])
        return [MappingProxyType(note) for note in notes]

    @property
    def aliases(self) -> list[str]:
        """The aliases that name it now."""
        return list(self._line.decisions.head().state.held_by(self.number))

    @property
    def withdrawn(self) -> str | None:
        """Why it was withdrawn, None if it was not."""
        why = self._line.decisions.head().state.withdrawn.get(self.number)
        return None if why is None else str(why.reason)

    def tag(self, tags: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Set tags.

        Args:
            tags: Names that are no Python identifiers go here.
            more: Names with text, numbers, bools or None.

        Raises:
            InvalidInputError: A name or a value is not one.
        """
        checked = {**check_tags(tags or {}), **check_tags(more)}
        given, _ = redact(checked, "tags", known=known_secrets())
        if given:
            self._remark(TagsChanged(number=self.number, set=given))

    def untag(self, *names: str) -> None:
        """Remove tags; one that is not set is no error."""
        removed = tuple(check_key(name, "tag") for name in names)
        if removed:
            self._remark(TagsChanged(number=self.number, removed=removed))

    def note(self, text: str) -> None:
        """Add a remark of at most 10,000 characters; it stays for good."""
        self._remark(NoteAdded(number=self.number, text=check_text(text, "note")))

    def observe(
        self,
        metrics: Mapping[str, Any],
        *,
        n: int | None = None,
        window: tuple[Any, Any] | None = None,
        slice: str | None = None,
        source: str | None = None,
    ) -> None:
        """Note what was measured of it where it serves, beside what was recorded of it.

        Args:
            metrics: Names with numbers, under the names that the version's own metrics have.
            n: The number of samples.
            window: Begin and end of what was looked at: days or times; a day is its beginning,
                in UTC where no zone is said.
            slice: The part of the traffic, such as `EU`; None is all of it.
            source: Who or what measured.

        Raises:
            InvalidInputError: One of these is not what it says; nothing was written.
        """
        from modelversion.observing import observe

        observe(self._line, self.number, metrics, n=n, window=window, part=slice, source=source)

    def _remark(self, event: TagsChanged | NoteAdded) -> None:
        refuse_deleted(self._line, self.number)
        self._line.facts.append(lambda _: event, actor=self._line.home.actor)

    # ---- the object and the files

    def load(self, *, mmap: bool = False, allow_pickle: Allow | None = None) -> Any:
        """Load the object; size and sha256 of every byte are checked before it is parsed.

        Args:
            mmap: Map buffers of a local registry read-only, without a copy.
            allow_pickle: True, False or a list of exact names such as `"builtins:set"`;
                None takes the registry's word.

        Raises:
            IntegrityError: Bytes are not the committed ones; nothing was unpickled.
            UntrustedPickleError: The pickle needs names that are not allowed.
            ObjectNotFoundError: The version has no object.
        """
        return self._load(self._line.decisions.head().state, mmap, allow_pickle)

    def _load(self, decided: Decisions, mmap: bool, allow_pickle: Allow | None) -> Any:
        line = self._line
        allow = allowed(
            allow_pickle,
            self._allow,
            remote=line.home.store.remote,
            registry_id=line.registry_id,
        )
        why = decided.withdrawn.get(self.number)
        if why is not None:
            warn_withdrawn(line, self.number, why)
        opened = open_version(line, self._pointer)
        with self._deleted_or_damaged():
            value = load_object(opened, line.label(self.number), mmap=mmap, allow=allow)
        current.loaded(value, line.label(self.number))
        return value

    @contextlib.contextmanager
    def _deleted_or_damaged(self) -> Iterator[None]:
        """Look again at what was decided before a missing file is called damage."""
        try:
            yield
        except (FileMissingError, KeyAbsent) as e:
            refuse_deleted(self._line, self.number)
            if isinstance(e, KeyAbsent):
                raise FileMissingError(f"{self.ref}: {e} is missing") from e
            raise

    def open(self, path: str) -> BinaryIO:
        """Open a file of the version for reading, after its bytes were verified.

        Args:
            path: Its path, such as `artifacts/roc.png`.

        Raises:
            ArtifactNotFoundError: The version has no such file.
            IntegrityError: Its bytes are not the committed ones.
        """
        opened = self._open()
        with self._deleted_or_damaged():
            return open_file(opened, path)

    def download(self, folder: str | os.PathLike[str], *paths: str) -> Path:
        """Copy verified files below a folder and give it.

        Args:
            folder: Where to; made if absent. No file there is replaced.
            paths: Which files; without any, all and `version.json` with them, so that
                `modelversion.open_directory` reads the copy.

        Raises:
            InvalidInputError: A file of that name is there already.
            IntegrityError: Bytes are not the committed ones.
        """
        opened, target = self._open(), Path(folder)
        chosen = [spelt(opened, path) for path in paths]
        wanted = chosen or [file.path for file in opened.record.files]
        try:
            with self._deleted_or_damaged():
                write_files(opened.files, wanted, target)
                if not chosen:
                    self._write_record(target)
        except FileExistsError as e:
            raise InvalidInputError(f"{e.filename} exists; download into another folder") from e
        return target

    def _write_record(self, target: Path) -> None:
        data = self._line.home.store.read(f"{self._line.folder(self.number)}/{layout.VERSION}")
        with (target / layout.VERSION).open("xb") as out:
            out.write(data)

    def diff(self, other: Version) -> Diff:
        """Compare it with another version, of this model or of any: what changed since that one.

        Metrics with their direction, params, data by column, steps, the source as a patch,
        packages, files, and the object's type; falsy if nothing differs.

        Args:
            other: The version to compare with, the earlier one as a rule.
        """
        from modelversion.diff import diff, side_of

        return diff(*(side_of(v._history, v.number, v._open()) for v in (other, self)))

    def lineage(self) -> Lineage:
        """Give what it was made from, data over steps, and what was made from it, in any model."""
        from modelversion.lineage import Family, lineage

        family = Family(upkeep.whole_registry(self._history))
        key = (self._line.name, self.number)
        return lineage(family, [key], of=self.ref, record=self._record)

    def verify(self) -> VerifyReport:
        """Read and hash every file; the report is falsy and names each that is broken."""
        return verify_version(self._line, self._pointer)

    # ---- end of life

    def withdraw(self, *, reason: str, use_instead: int | Version | None = None) -> None:
        """Mark it as not to be used; every later load warns.

        Args:
            reason: Why; it is shown in each warning.
            use_instead: The version to use.

        Raises:
            ConflictError: It is withdrawn already.
        """
        number = None if use_instead is None else self._other(use_instead)
        upkeep.withdraw(self._line, self.number, reason=reason, use_instead=number)

    def _other(self, version: int | Version) -> int:
        """Give the number of another version of the same model."""
        if isinstance(version, Version) and version._key()[:2] != self._key()[:2]:
            raise InvalidInputError(f"{version.ref} is no version of {self.model}")
        number = version.number if isinstance(version, Version) else version
        if not isinstance(number, int) or isinstance(number, bool) or number == self.number:
            raise InvalidInputError(f"use_instead must be another version, found {version!r}")
        return resolve(self._line, number).number

    def restore(self, *, reason: str) -> None:
        """Take a withdrawal back."""
        upkeep.restore(self._line, self.number, reason=reason)

    def delete(self, *, reason: str, everywhere: bool = False) -> None:
        """Remove its bytes for good; number, digests and reason stay in the journal.

        Args:
            reason: Why.
            everywhere: Also delete the registry's other versions, of any model, that hold the same
                object.

        Raises:
            InUseError: An alias holds it, or other versions hold the same bytes.
        """
        twins = upkeep.same_object(self._history, self.number)
        if twins and not everywhere:
            names = ", ".join(line.ref(twin.number) for line, twin in twins)
            raise InUseError(
                f"{names} hold{'s' if len(twins) == 1 else ''} the same object as {self.ref}; "
                "delete(everywhere=True) deletes all of them"
            )
        upkeep.delete_all([*twins, (self._line, self._pointer)], reason=reason)


def _short(value: float) -> str:
    return str(value)[:12] if isinstance(value, int) else f"{value:.4g}"
