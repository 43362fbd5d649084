"""What a registry offers to those who look after it: policies, proof, audits, events, upkeep."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, overload

from modelversion.refs import check_name

if TYPE_CHECKING:
    from modelversion import governing, upkeep
    from modelversion.audit import AuditReport
    from modelversion.checkpoint import Checkpoint
    from modelversion.clearing import GcReport
    from modelversion.feed import Events
    from modelversion.gates import Gate
    from modelversion.history import History
    from modelversion.home import Home
    from modelversion.hooks import Event
    from modelversion.policies import Policy
    from modelversion.verification import VerifyReport
    from modelversion.versions import Line

    Hook = Callable[[Event], Any]


class Oversight:
    """The part of `Registry` that looks at all models at once."""

    _home: Home
    _histories: dict[str, History]

    def _history(self, name: str) -> History:
        raise NotImplementedError

    def _all(self) -> list[History]:
        return [self._history(name) for name in self._home.models()]

    def _lines(self) -> list[Line]:
        return [history.line for history in self._all()]

    # ---- stages and policies

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages in their order; development, staging and production unless they were set."""
        from modelversion import governing

        return governing.rules(self._home).stages

    def set_stages(self, stages: Iterable[str], *, shared: Iterable[str] = ()) -> None:
        """Set the stages of every model, in order; `shared` ones hold several versions at a time.

        Raises:
            PolicyError: They are no list of different names, or one of a policy is missing.
            ConflictError: A stage that is left out is in use, or a new one is an alias somewhere.
        """
        from modelversion import governing

        governing.set_stages(self._home, self._lines, stages, shared)

    @property
    def policies(self) -> governing.Policies:
        """The policies: stage -> what is asked there; `policies.history()` tells every change."""
        from modelversion import governing

        return governing.Policies(self._home)

    def set_policy(
        self,
        stage: str,
        *,
        after: str | None = None,
        soak: timedelta | None = None,
        approvals: int = 0,
        gates: Sequence[Gate | str] = (),
        reason_required: bool = False,
        allow_override: bool = True,
    ) -> Policy:
        """Set what is asked on the way to a stage, for every model, and return when all obey it.

        It replaces the stage's policy; without arguments, nothing is asked any more.

        Args:
            stage: Its name.
            after: The stage that a version must have been in before, at least for `soak`.
            approvals: How many others than its author must approve it.
            gates: What it must pass: `modelversion.gates`, or `"module:function"` of yours.
            reason_required: Whether each promotion must give a reason.
            allow_override: Whether `override=True` may pass over what is not met.

        Raises:
            StageNotFoundError: There is no such stage.
            PolicyError: The policy can never be met.
        """
        from modelversion import governing

        rest = {"reason_required": reason_required, "allow_override": allow_override}
        given = {"after": after, "soak": soak, "approvals": approvals, "gates": gates, **rest}
        return governing.set_policy(self._home, self._lines, stage, given)

    # ---- proof

    def verify(self, *, since: Checkpoint | str | os.PathLike[str] | None = None) -> VerifyReport:
        """Check every digest, every chain, and that every number is explained.

        Args:
            since: A checkpoint, its three lines, or the path of the file that holds them. A
                journal that was cut off, rolled back or rewritten since is found and named.

        Raises:
            InvalidInputError: The checkpoint is another registry's, or none.
        """
        from modelversion.checkpoint import read_checkpoint
        from modelversion.verification import verify_registry

        pinned = None if since is None else read_checkpoint(since)
        return verify_registry(self._home, lambda name: self._history(name).line, since=pinned)

    def checkpoint(self) -> Checkpoint:
        """Give three lines to keep elsewhere, such as in git, that pin what every journal says.

        Without one nobody can tell a journal that was cut off from one that was never longer.

        Raises:
            NotARegistryError: The place is empty.
        """
        from modelversion.verification import pin

        return pin(self._home, self._lines())

    def audit(
        self,
        *,
        models: Iterable[str] | None = None,
        since: str | date | datetime | None = None,
        until: str | date | datetime | None = None,
    ) -> AuditReport:
        """Report who did what, when and why, with gates, approvals, overrides, data and code.

        Everything is verified, and a checkpoint is part of the report. A journal that is broken
        is named in `unread`, which makes the report falsy; its entries before that are reported
        as far as they are one chain, and so is the rest.

        Args:
            models: Only these; else all.
            since: From when on: a time, or the beginning of a day, in UTC.
            until: Until when: a time, or the end of a day, in UTC.

        Raises:
            ModelNotFoundError: There is no such model.
            InvalidInputError: A time is none.
            NotARegistryError: The place is empty.
        """
        from modelversion.auditing import audit, scope
        from modelversion.verification import names

        asked = scope(since, until)
        known, _ = names(self._home)
        everything = [self._history(name) for name in known]
        wanted = known if models is None else self._named(models, known)
        chosen = [history for history in everything if history.line.name in wanted]
        return audit(self._home, chosen, everything, asked)

    def _named(self, models: Any, known: list[str]) -> set[str]:
        given = [models] if isinstance(models, str) or not isinstance(models, Iterable) else models
        wanted = {check_name(name, "model") for name in given}
        for name in wanted.difference(known):
            self._home.require_model(name)
        return wanted

    # ---- events

    def events(
        self, *, since: str | date | datetime | None = None, limit: int | None = None
    ) -> Events:
        """Give what happened in all models, in order; each event once for each cursor.

        A journal that cannot be read is warned of and named in `problems`; its events come with
        a later call, once it is whole again.

        Args:
            since: The `cursor` of an earlier call; a time or the beginning of a day; `"now"` for
                a cursor and no events; None for everything.
            limit: How many at most; the cursor goes on behind them.

        Raises:
            InvalidInputError: `since` is none of these, or the cursor is another registry's.
            JournalError: The registry's own journal cannot be read.
        """
        from modelversion.feed import read_events

        return read_events(self._home, self._lines(), since=since, limit=limit)

    @overload
    def on(self, kind: str, hook: Hook, /) -> Hook: ...

    @overload
    def on(self, kind: str, /) -> Callable[[Hook], Hook]: ...

    def on(self, kind: str, hook: Hook | None = None, /) -> Any:
        """Call a function with each event of a kind that this process appends through this handle.

        It is called in the thread that did it, after the event is durable. What it raises is
        warned of, and changes nothing about the event. `@registry.on("version.committed")` works
        too.

        Args:
            kind: Such as `"version.committed"` or `"stage.promoted"`; `"*"` for all.
            hook: The function.

        Raises:
            InvalidInputError: There is no such kind of event.
        """
        from modelversion.feed import check_kind

        check_kind(kind)
        if hook is None:
            return lambda given: self.on(kind, given)
        self._home.hooks.add(kind, hook)
        return hook

    def off(self, hook: Hook, /) -> None:
        """Call a function no more, whatever it was to be called for."""
        self._home.hooks.remove(hook)

    # ---- upkeep

    def fork(self, *, reason: str) -> str:
        """Give a copied folder an id of its own, before it is written to; the id is returned.

        Two places of one id can never be told apart again once both are written to. That a folder
        is a copy cannot be seen from the inside, so nothing but you can know when to call this.

        Raises:
            NotARegistryError: The place is empty.
        """
        from modelversion.snapshot import check_text

        found = self._home.fork(check_text(reason, "reason"))
        self._histories = {}
        return found

    def gc(self, *, older_than: timedelta = timedelta(days=1), dry_run: bool = False) -> GcReport:
        """Clear what crashes left: claims without a commit, bytes of deleted versions, temporaries.

        A model whose journal cannot be read is left alone, warned of, and named in `problems`.

        Args:
            older_than: Leave what is younger; a save that is slower than this claims another
                number.
            dry_run: Only tell what would be done.
        """
        from modelversion.broken import Broken
        from modelversion.clearing import gc

        broken = Broken()
        report = gc(
            self._home, self._lines(), older_than=older_than, dry_run=dry_run, broken=broken
        )
        broken.warn("nothing was cleared of")
        return report

    def usage(self) -> upkeep.Usage:
        """Count versions and bytes of each model."""
        from modelversion import upkeep

        return upkeep.usage(self._all())
