"""Roll back: put a version back into a stage where it was before.

No gate is asked. The target is chosen from the journal alone, and its files are hashed first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import attrs

from modelversion.display import Facts, Page, Shown, Table
from modelversion.errors import IntegrityError, RollbackError
from modelversion.events import RolledBack
from modelversion.governing import append
from modelversion.history import History
from modelversion.judging import damage
from modelversion.promotion import IfCurrent, check_current, known_stage, refuse_moved
from modelversion.schema import Json
from modelversion.snapshot import check_text
from modelversion.stages import MAX_SKIPPED, Decisions, unfit
from modelversion.state import Pointer
from modelversion.stays import Move, candidates, moves
from modelversion.versions import Line


@attrs.frozen(kw_only=True)
class RollbackReport(Shown):
    """What a roll-back did, or would do.

    Attributes:
        stage: The stage.
        left: The references of the versions that left it.
        target: The reference of the version that is there now.
        number: The target's number.
        skipped: The versions that were passed over, each with the reason; the first 400 of them.
        dry_run: Whether nothing was done.
    """

    stage: str
    left: tuple[str, ...]
    target: str
    number: int
    skipped: tuple[str, ...] = ()
    dry_run: bool = False

    def __str__(self) -> str:
        verb = "would roll" if self.dry_run else "rolled"
        left = f" from {', '.join(self.left)}" if self.left else ""
        head = f"{verb} {self.stage} back{left} to {self.target}"
        return "\n".join([head, *(f"passed over {skipped}" for skipped in self.skipped)])

    def _page(self) -> Page:
        verb = "would be rolled back" if self.dry_run else "was rolled back"
        rows = [(skipped,) for skipped in self.skipped]
        return Page(
            self.stage,
            f"{verb} to {self.target}",
            tone="warn",
            blocks=[
                Facts({"from": ", ".join(self.left), "to": self.target}),
                Table("passed over", ("version",), rows=rows),
            ],
        )

    def to_dict(self) -> Json:
        """Give it as plain JSON."""
        return attrs.asdict(self)


_NONE: tuple[Json, ...] = ()
_TOLD = 20


def rollback(
    history: History,
    stage: Any,
    *,
    reason: str,
    to: int | None,
    if_current: IfCurrent,
    dry_run: bool,
) -> RollbackReport:
    """Put back what was in a stage before, or a version that was there at some time.

    Raises:
        RollbackError: There is none that is fit.
        StageMovedError: Another version is there than `if_current` names, or, without `to`, than
            when this began.
        IntegrityError: The version that `to` names is damaged.
    """
    line = history.line
    reason = check_text(reason, "reason")
    check_current(if_current)
    name = known_stage(line, stage)
    leaving = if_current
    damaged = functools.cache(functools.partial(damage, line))
    event: list[RolledBack] = []

    def decide(state: Decisions) -> RolledBack:
        nonlocal leaving
        there = refuse_moved(history, name, state.stage(name), leaving)
        if to is None:
            # Whoever was faster has left it already; what is there by then nobody meant to leave.
            leaving = there
        found = _Found(line, name, state)
        if to is None:
            held, skipped = _choose(found, damaged)
        else:
            held, skipped = _named(found, to), _NONE
        event[:] = [
            RolledBack(
                stage=name,
                number=held.number,
                nonce=held.nonce,
                size=held.size,
                sha256=held.sha256,
                replaces=state.stage(name).live,
                reason=reason,
                named=to is not None,
                skipped=skipped[:MAX_SKIPPED],
            )
        ]
        return event[0]

    if dry_run:
        # Nothing is written, not even that the model adopts its rules.
        decide(line.decisions.seen().state)
    else:
        append(line, decide)
    return _reported(line, event[0], dry_run)


def _reported(line: Line, event: RolledBack, dry_run: bool) -> RollbackReport:
    return RollbackReport(
        stage=event.stage,
        left=tuple(line.ref(n) for n in event.replaces),
        target=line.ref(event.number),
        number=event.number,
        skipped=tuple(f"{line.ref(s['number'])}: {s['why']}" for s in event.skipped),
        dry_run=dry_run,
    )


@attrs.frozen
class _Found:
    """A stage as a roll-back finds it; the journal is read only for what the state forgot."""

    line: Line
    name: str
    state: Decisions

    @functools.cached_property
    def moved(self) -> list[Move]:
        """Everything that came into the stage or left it."""
        return moves(self.line, self.line.decisions.seen()).get(self.name, [])

    def pointer(self, number: int) -> Pointer:
        """Give the pointer by which a version was there last."""
        tenure = self.state.stage(self.name).tenures.get(number)
        if tenure is not None:
            return tenure.pointer
        held = [move.held for move in self.moved if move.held and move.held.number == number]
        return held[-1]


def _choose(
    found: _Found, damaged: Callable[[Pointer], list[str]]
) -> tuple[Pointer, tuple[Json, ...]]:
    """Give the last good version before what is live, and what was passed over.

    Raises:
        RollbackError: There is none.
    """
    skipped: list[Json] = []
    for number in candidates(found.state, found.name, lambda: found.moved):
        why = unfit(found.state, found.name, number)
        if why is None:
            held = found.pointer(number)
            broken = damaged(held)
            if not broken:
                return held, tuple(skipped)
            why = f"damaged: {broken[0]}"[:100]
        skipped.append({"number": number, "why": why})
    raise RollbackError(_none_fit(found, skipped))


def _none_fit(found: _Found, skipped: list[Json]) -> str:
    ref, live = found.line.ref, found.state.stage(found.name).live
    there = f"before {ref(live[-1])}" if live else "at any time"
    told = [f"{ref(s['number'])}: {s['why']}" for s in skipped[:_TOLD]]
    told += [f"and {len(skipped) - _TOLD} more"] if len(skipped) > _TOLD else []
    said = f"nothing was in {found.name} {there}"
    if told:
        said = f"none of those that were in {found.name} {there} is fit ({'; '.join(told)})"
    return f"{found.line.display}: {said}; promote a version, or name one with to="


def _named(found: _Found, number: int) -> Pointer:
    """Give a version that a roll-back names.

    Raises:
        RollbackError: It was never there, is there now, or is withdrawn or deleted.
        IntegrityError: It is damaged.
    """
    name, state = found.name, found.state
    stage, ref = state.stage(name), found.line.ref(number)
    if number not in stage.been:
        raise RollbackError(f"{ref} was never in {name}; promote it instead")
    if stage.live[-1:] == (number,):
        raise RollbackError(f"{ref} is in {name} already")
    if number in state.deleted or number in state.withdrawn:
        why = "deleted" if number in state.deleted else "withdrawn; restore() it first"
        raise RollbackError(f"{ref} is {why}")
    held = found.pointer(number)
    broken = damage(found.line, held)
    if broken:
        raise IntegrityError(f"{ref} is damaged, so {name} stays as it is: {'; '.join(broken)}")
    return held
