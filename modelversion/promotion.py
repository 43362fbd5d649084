"""Promote, and clear a stage: which version is in a stage, one entry for each decision.

Each is decided on the state at the head and lands only there. When another decision comes first,
it is decided again, so that nothing is ever overwritten unseen.
"""

from __future__ import annotations

import warnings
from types import EllipsisType
from typing import Any

import attrs

from modelversion import current
from modelversion.errors import (
    ConflictError,
    GateFailedError,
    InvalidInputError,
    StageMovedError,
    StageMovedWarning,
    VersionNotFoundError,
)
from modelversion.events import Promoted, StageCleared
from modelversion.governing import append, govern, look, rules, rules_of, stage_named
from modelversion.history import History
from modelversion.judging import GateReport, Moment, Shelf, pin, policy_of, report
from modelversion.policies import asks
from modelversion.schema import Json
from modelversion.snapshot import check_text
from modelversion.stages import Decisions, Stage
from modelversion.state import Pointer
from modelversion.timeline import Decision, decision, decision_at, read
from modelversion.versions import Line

IfCurrent = int | None | EllipsisType


@attrs.frozen
class Candidate:
    """A version that may be promoted; `version` is what a function of the user's is given."""

    history: History
    held: Pointer
    version: Any
    shelf: Shelf = attrs.field(init=False)

    @shelf.default
    def _shelf(self) -> Shelf:
        return Shelf(self.history)

    @property
    def line(self) -> Line:
        """The model."""
        return self.history.line

    def moment(self, stage: str, state: Decisions) -> Moment:
        """Give what its gates can see now."""
        watched = asks(policy_of(state, stage).gates, "observed")
        return Moment(
            shelf=self.shelf,
            held=self.held,
            stage=stage,
            state=state,
            now=now(self.line),
            facts=pin(self.line.facts.seen()),
            observations=pin(self.line.observations.head()) if watched else None,
            version=self.version,
        )


def now(line: Line) -> str:
    """Give the time at which something is decided; it never goes back in a journal."""
    return max(line.home.now(), line.decisions.seen().time)


def known_stage(line: Line, name: Any) -> str:
    """Give a stage's name in lower case, or refuse what is none.

    In an incident the way back must not depend on a journal more than a model's own.
    """
    line.decisions.head()
    return stage_named(rules_of(line).stages, name, line.display)


def governed_stage(line: Line, name: Any) -> str:
    """Give a stage's name in lower case, under the rules that were set last."""
    govern(line)
    return stage_named(rules_of(line).stages, name, line.display)


# ---- promoting -----------------------------------------------------------------------------------


def check(candidate: Candidate, stage: Any) -> GateReport:
    """Judge a version without promoting it."""
    line = candidate.line
    adopts = look(line)
    line.facts.head()
    state: Decisions = line.decisions.seen().state
    known = rules(line.home) if adopts or not state.adopted else state.rules
    name = stage_named(known.stages, stage, line.display)
    state = attrs.evolve(state, rules=known)
    found = report(candidate.moment(name, state), policy_of(state, name))
    return attrs.evolve(found, adopts=adopts)


class _AlreadyLive(Exception):  # noqa: N818 - a signal inside this module
    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


@attrs.frozen(kw_only=True)
class Wish:
    """What a promotion asks for, besides the version and the stage."""

    reason: str | None = None
    if_current: IfCurrent = ...
    override: bool = False

    def checked(self) -> Wish:
        """Give it without secrets, or refuse what is no reason or no word.

        Raises:
            InvalidInputError: A part is not of its kind, or an override has no reason.
        """
        check_current(self.if_current)
        if not isinstance(self.override, bool):
            raise InvalidInputError(f"override must be True or False, found {self.override!r:.60}")
        if self.override and self.reason is None:
            raise InvalidInputError("an override needs a reason; say reason=")
        reason = None if self.reason is None else check_text(self.reason, "reason")
        return attrs.evolve(self, reason=reason)


def check_current(named: Any) -> None:
    """Refuse what is neither the number of a version nor None nor left out.

    Raises:
        InvalidInputError: It is something else.
    """
    if named not in (None, ...) and (not isinstance(named, int) or isinstance(named, bool)):
        raise InvalidInputError(
            f"if_current must be the number of a version or None, found {named!r:.60}"
        )


def promote(candidate: Candidate, stage: Any, wish: Wish) -> Decision:
    """Put a version into a stage, if it passes what is asked there.

    Raises:
        GateFailedError: It does not.
        StageMovedError: Something else is there than `if_current` names.
    """
    line = candidate.line
    wish = wish.checked()
    name = governed_stage(line, stage)
    # The commit may be visible and not durable yet, and tags count as they are now.
    line.facts.head()
    line.home.store.settle(line.facts.folder)
    seen: list[Stage] = []
    event: list[Promoted] = []

    def decide(state: Decisions) -> Promoted:
        seen.append(state.stage(name))
        _refuse(candidate, name, state, wish.if_current)
        event[:] = [_judged(candidate, name, state, wish)]
        return event[0]

    try:
        head = append(line, decide)
    except _AlreadyLive as e:
        return decision_at(candidate.history, e.position)
    except GateFailedError as e:
        raise _told(candidate.history, name, seen, e) from None
    if _moved(seen):
        text = f"{_holder(candidate.history, name, seen[-1])} came first; judged again against it"
        warnings.warn(text, StageMovedWarning, stacklevel=current.user_level())
    return decision(candidate.history, head, event[0])


def _refuse(candidate: Candidate, name: str, state: Decisions, if_current: IfCurrent) -> None:
    """Raise where the state alone forbids it.

    Raises:
        VersionNotFoundError: The version was deleted.
        StageMovedError: Something else is there than `if_current` names.
        _AlreadyLive: The version is there already.
    """
    line, number = candidate.line, candidate.held.number
    if number in state.deleted:
        raise VersionNotFoundError(f"{line.ref(number)} was deleted")
    stage_named(state.rules.stages, name, line.display)
    stage = state.stage(name)
    if refuse_moved(candidate.history, name, stage, if_current) == number:
        raise _AlreadyLive(stage.tenures[number].position)


def refuse_moved(history: History, name: str, stage: Stage, if_current: IfCurrent) -> int | None:
    """Give the number of what is in a stage, None for nothing.

    Raises:
        StageMovedError: Something else is there than `if_current` names.
    """
    there = stage.live[-1] if stage.live else None
    if if_current is not ... and if_current != there:
        wanted = "nothing" if if_current is None else history.line.ref(if_current)
        raise StageMovedError(
            f"{_holder(history, name, stage)}, not {wanted}; look at it and decide again",
            current=there,
        )
    return there


def _holder(history: History, name: str, stage: Stage) -> str:
    """Tell what is, or was a moment ago, in a stage, and who decided that."""
    if stage.live:
        number = stage.live[-1]
        why = decision_at(history, stage.tenures[number].position)
        return f"{name} holds {history.line.ref(number)} ({why})"
    # Who cleared it only the journal tells.
    cleared = read(history).last_move(name) if stage.been else None
    return f"{name} holds nothing" + (f" ({cleared})" if cleared else "")


def _moved(seen: list[Stage]) -> bool:
    return len({stage.live for stage in seen}) > 1


def _judged(candidate: Candidate, name: str, state: Decisions, wish: Wish) -> Promoted:
    """Judge a version and give its promotion.

    Raises:
        GateFailedError: It does not pass, and no override lets it in.
    """
    policy, moment = policy_of(state, name), candidate.moment(name, state)
    if policy.reason_required and wish.reason is None:
        raise InvalidInputError(f"a promotion to {name} needs a reason; say reason=")
    found = report(moment, policy)
    if not found and not (wish.override and found.can_override):
        raise GateFailedError(str(found), report=found)
    held = candidate.held
    return Promoted(
        stage=name,
        number=held.number,
        nonce=held.nonce,
        size=held.size,
        sha256=held.sha256,
        replaces=state.stage(name).live,
        reason=wish.reason,
        override=not found.passed,
        judged=_record(state, moment, found),
    )


def _record(state: Decisions, moment: Moment, found: GateReport) -> Json:
    """Give all that is needed to judge it again."""
    read = {"facts": moment.facts, "observations": moment.observations}
    return {
        "at": moment.now,
        **{name: attrs.asdict(last) for name, last in read.items() if last is not None},
        "ruled": state.ruled,
        "verdicts": [verdict.to_stored() for verdict in found.verdicts],
    }


def _told(
    history: History, name: str, seen: list[Stage], error: GateFailedError
) -> GateFailedError:
    """Add who came first, where somebody did."""
    if not _moved(seen):
        return error
    text = f"{error}\n{_holder(history, name, seen[-1])} came first, and it was judged again"
    return GateFailedError(text, report=error.report)


# ---- clearing ------------------------------------------------------------------------------------


def clear_stage(history: History, stage: Any, *, reason: str, number: int | None) -> Decision:
    """Take what is in a stage out of it, or one version of several.

    Raises:
        ConflictError: Nothing is there, or not that version.
    """
    line = history.line
    reason = check_text(reason, "reason")
    line.decisions.head()
    known = (*rules_of(line).stages, *line.decisions.seen().state.stages)
    name = stage_named(dict.fromkeys(known), stage, line.display)
    event: list[StageCleared] = []

    def decide(state: Decisions) -> StageCleared:
        live = state.stage(name).live
        gone = live if number is None else (number,)
        if not gone or not {*gone} <= {*live}:
            what = "nothing" if number is None else f"no {line.ref(number)}"
            raise ConflictError(f"{what} is in {name} of {line.display}")
        event[:] = [StageCleared(stage=name, numbers=gone, reason=reason)]
        return event[0]

    head = append(line, decide)
    return decision(history, head, event[0])
