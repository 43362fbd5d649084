"""Approve, reject, freeze: what people say of a version on its way to a stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelversion.errors import (
    ApprovalError,
    ConflictError,
    InvalidInputError,
    VersionNotFoundError,
)
from modelversion.events import (
    ApprovalWithdrawn,
    StageFrozen,
    StageUnfrozen,
    VersionApproved,
    VersionRejected,
)
from modelversion.governing import append
from modelversion.history import History
from modelversion.moments import moment
from modelversion.promotion import Candidate, governed_stage, known_stage, now
from modelversion.snapshot import check_text
from modelversion.stages import Decisions
from modelversion.timeline import Decision, decision


def approve(candidate: Candidate, stage: Any, *, reason: str) -> Decision:
    """Approve a version for a stage.

    Raises:
        ApprovalError: The actor is the version's author, or has approved it already.
    """
    author = candidate.shelf.row(candidate.held)["author"]
    if _same(author, candidate.line.home.actor.name):
        raise ApprovalError(
            f"{author} is the author of {candidate.line.ref(candidate.held.number)}, and the "
            "approval must be by somebody else; actors are told apart by name: Registry(actor=)"
        )
    return _say(candidate, stage, VersionApproved, reason)


def reject(candidate: Candidate, stage: Any, *, reason: str) -> Decision:
    """Object to a version in a stage."""
    return _say(candidate, stage, VersionRejected, reason)


def _say(candidate: Candidate, stage: Any, kind: Callable[..., Any], reason: str) -> Decision:
    line, held = candidate.line, candidate.held
    reason = check_text(reason, "reason")
    name = governed_stage(line, stage)
    event = kind(stage=name, number=held.number, sha256=held.sha256, reason=reason)

    def decide(state: Decisions) -> Any:
        if held.number in state.deleted:
            raise VersionNotFoundError(f"{line.ref(held.number)} was deleted")
        for known in state.said_of(held.number, name):
            told = known.approves is (event.kind == VersionApproved.kind)
            if told and _same(known.actor, line.home.actor.name):
                raise ApprovalError(f"{known.actor} has said so on {known.time[:10]} already")
        return event

    return decision(candidate.history, append(line, decide), event)


def _same(name: str, other: str) -> bool:
    """Tell whether two names are one person's, who may type it in more than one way."""
    return name.strip().casefold() == other.strip().casefold()


def own(candidate: Candidate, state: Decisions, stage: str) -> Any:
    """Give what the actor has said of a version for a stage."""
    actor = candidate.line.home.actor.name
    said = state.said_of(candidate.held.number, stage)
    return next((s for s in said if s.actor == actor), None)


def withdraw_approval(candidate: Candidate, stage: Any, *, reason: str) -> Decision:
    """Take back what the actor has said.

    Raises:
        ApprovalError: There is nothing.
    """
    line, number = candidate.line, candidate.held.number
    reason = check_text(reason, "reason")
    name = known_stage(line, stage)
    event = ApprovalWithdrawn(stage=name, number=number, reason=reason)

    def decide(state: Decisions) -> ApprovalWithdrawn:
        if own(candidate, state, name) is None:
            raise ApprovalError(
                f"{line.home.actor.name} has neither approved nor rejected {line.ref(number)} for "
                f"{name}; one can only withdraw one's own"
            )
        return event

    return decision(candidate.history, append(line, decide), event)


# ---- freezing ------------------------------------------------------------------------------------


def freeze(history: History, stage: Any, *, until: Any, reason: str) -> Decision:
    """Let nothing be promoted to a stage.

    Raises:
        InvalidInputError: `until` is no time, or over.
    """
    line = history.line
    reason = check_text(reason, "reason")
    end = None if until is None else moment(until, "until", end=False)
    name = governed_stage(line, stage)
    if end is not None and end <= now(line):
        raise InvalidInputError(f"until is {until!r:.60}, which is over; give a time to come")
    event = StageFrozen(stage=name, until=end, reason=reason)
    return decision(history, append(line, lambda _: event), event)


def unfreeze(history: History, stage: Any, *, reason: str) -> Decision:
    """Lift a freeze.

    Raises:
        ConflictError: There is none in force.
    """
    line = history.line
    reason = check_text(reason, "reason")
    name = known_stage(line, stage)
    event = StageUnfrozen(stage=name, reason=reason)

    def decide(state: Decisions) -> StageUnfrozen:
        frozen = state.stage(name).frozen
        if frozen is None or not frozen.holds_at(now(line)):
            raise ConflictError(f"{name} of {line.display} is not frozen")
        return event

    return decision(history, append(line, decide), event)
