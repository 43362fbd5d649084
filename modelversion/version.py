"""A version: what was recorded, the object, its files, and the remarks made on it since."""

from __future__ import annotations

from collections.abc import Mapping
from types import EllipsisType, MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from modelversion import current, upkeep
from modelversion._json import decode
from modelversion.display import Page, Shown
from modelversion.errors import (
    InvalidInputError,
)
from modelversion.history import History
from modelversion.loading import (
    allowed,
    deleted_or_damaged,
    load_object,
    warn_withdrawn,
)
from modelversion.metrics import check_key
from modelversion.recorded import Recorded
from modelversion.records import (
    NoteAdded,
    TagsChanged,
)
from modelversion.redaction import known_secrets, redact
from modelversion.refs import check_selector
from modelversion.serializers import Allow
from modelversion.snapshot import check_tags, check_text
from modelversion.stages import Decisions
from modelversion.state import Pointer
from modelversion.versions import (
    open_version,
    refuse_deleted,
    resolve,
)

if TYPE_CHECKING:
    from modelversion.diff import Diff
    from modelversion.judging import GateReport
    from modelversion.lineage import Lineage
    from modelversion.promotion import Candidate
    from modelversion.timeline import Decision


class Adopting(Protocol):
    """A registry, as a version sees it."""

    def adopt(self, version: Version, /) -> Version:
        """Give the version's copy there, made if there is none."""


class Version(Recorded, Shown):
    """An immutable, numbered snapshot of an object and of what was recorded beside it.

    What was recorded is read from storage at its first use and kept; aliases, tags and notes
    can change and are read anew each time.
    """

    def __init__(self, history: History, pointer: Pointer, allow: Allow | None = None) -> None:
        self._history = history
        self._line = history.line
        self._pointer = pointer
        self._allow = allow
        self._opened = None

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
    def stages(self) -> list[str]:
        """The stages that it is in now, in their order."""
        return list(self._line.decisions.head().state.stages_of(self.number))

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
            mmap: Map buffers read-only, without a copy: of a local registry, or of the read cache.
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
        number = self._pointer.number
        if number in decided.deleted:
            refuse_deleted(line, number)
        why = decided.withdrawn.get(number)
        if why is not None:
            warn_withdrawn(line, number, why)
        opened = open_version(line, self._pointer)
        with deleted_or_damaged(line, number):
            value = load_object(opened, line.label(number), mmap=mmap, allow=allow)
        current.loaded(value, line.label(number))
        return value

    def diff(self, other: Version | int | str) -> Diff:
        """Compare it with another version, of this model or of any: what changed since that one.

        Metrics with their direction, params, data by column, steps, the source as a patch,
        packages, files, and the object's type; falsy if nothing differs.

        Args:
            other: The version to compare with, the earlier one as a rule; a number, a stage or an
                alias is one of the same model.

        Raises:
            NotFoundError: There is no such version.
        """
        from modelversion.diff import diff, side_of

        if not isinstance(other, Version):
            chosen = check_selector(other, "diff")
            other = Version(self._history, resolve(self._line, chosen), self._allow)
        return diff(*(side_of(v._history, v.number, v._open()) for v in (other, self)))

    def lineage(self) -> Lineage:
        """Give what it was made from, data over steps, and what was made from it, in any model."""
        from modelversion.lineage import Family, lineage

        family = Family(upkeep.whole_registry(self._history), of=[self._line.name])
        key = (self._line.name, self.number)
        return lineage(family, [key], of=self.ref, record=self._record)

    # ---- stages

    def promote(
        self,
        stage: str,
        *,
        reason: str | None = None,
        if_current: int | EllipsisType | None = ...,
        override: bool = False,
        to: Adopting | None = None,
    ) -> Decision:
        """Put it into a stage, if it passes what the stage's policy asks.

        It stays in the stages that it is in. Where it is in the stage already, nothing is done
        and the decision that brought it there is given.

        Args:
            stage: Such as `"production"`; case is ignored.
            reason: Why; a policy or an override may want it.
            if_current: Refuse unless this number is in the stage now; None is for an empty one.
                Without it, a promotion that meets another is judged again and warns.
            override: Pass over what is not met, where the policy allows that; recorded.
            to: Another registry: it is copied there first, and promoted under its policies.

        Raises:
            StageNotFoundError: There is no such stage.
            GateFailedError: Something is not met; the report has a line for each gate.
            StageMovedError: Another version is there than `if_current` names.
        """
        from modelversion.promotion import Wish, promote

        wish = Wish(reason=reason, if_current=if_current, override=override)
        version = self if to is None else to.adopt(self)
        return promote(version._candidate(), stage, wish)

    def check(self, stage: str) -> GateReport:
        """Judge it as `promote` would, and do nothing.

        Raises:
            StageNotFoundError: There is no such stage.
        """
        from modelversion.promotion import check

        return check(self._candidate(), stage)

    def approve(self, stage: str, *, reason: str) -> Decision:
        """Approve that it goes to a stage; that stands until something moves there.

        Raises:
            ApprovalError: You are its author, or have approved it already.
        """
        from modelversion.approving import approve

        return approve(self._candidate(), stage, reason=reason)

    def reject(self, stage: str, *, reason: str) -> Decision:
        """Object to it in a stage; that blocks it until you withdraw that, or approve it."""
        from modelversion.approving import reject

        return reject(self._candidate(), stage, reason=reason)

    def withdraw_approval(self, stage: str, *, reason: str) -> Decision:
        """Take back your approval or rejection.

        Raises:
            ApprovalError: There is none of yours.
        """
        from modelversion.approving import withdraw_approval

        return withdraw_approval(self._candidate(), stage, reason=reason)

    def _candidate(self) -> Candidate:
        from modelversion.promotion import Candidate

        return Candidate(self._history, self._pointer, self)

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
            InUseError: A stage or an alias holds it, or other versions hold the same bytes.
        """
        upkeep.delete_all(self._history, self._pointer, reason=reason, everywhere=everywhere)
