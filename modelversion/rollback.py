"""Roll back: put a version back into a stage where it was before.

No gate is asked. The target is chosen from the journal alone, and its files are hashed first.
"""

from __future__ import annotations

import contextlib
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
from modelversion.promotion import known_stage
from modelversion.schema import Json
from modelversion.snapshot import check_text
from modelversion.stages import Decisions, earlier, unfit
from modelversion.state import Pointer
from modelversion.versions import Line, resolve


@attrs.frozen(kw_only=True)
class RollbackReport(Shown):
    """What a roll-back did, or would do.

    Attributes:
        stage: The stage.
        left: The references of the versions that left it.
        target: The reference of the version that is there now.
        number: The target's number.
        skipped: The versions that were passed over, each with the reason.
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


class _Dry(Exception):  # noqa: N818 - a signal inside this module
    pass


def rollback(
    history: History, stage: Any, *, reason: str, to: int | None, dry_run: bool
) -> RollbackReport:
    """Put back what was in a stage before, or a version that was there at some time.

    Raises:
        RollbackError: There is none that is fit.
        IntegrityError: The version that `to` names is damaged.
    """
    line = history.line
    reason = check_text(reason, "reason")
    name = known_stage(line, stage)
    damaged = functools.cache(functools.partial(damage, line))
    event: list[RolledBack] = []

    def decide(state: Decisions) -> RolledBack:
        if to is None:
            held, skipped = _choose(line, name, state, damaged)
        else:
            held, skipped = _named(line, name, state, to), _NONE
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
                skipped=skipped,
            )
        ]
        if dry_run:
            raise _Dry
        return event[0]

    with contextlib.suppress(_Dry):
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


def _choose(
    line: Line, name: str, state: Decisions, damaged: Callable[[Pointer], list[str]]
) -> tuple[Pointer, tuple[Json, ...]]:
    """Give the last good version before what is live, and what was passed over.

    Raises:
        RollbackError: There is none.
    """
    skipped: list[Json] = []
    for number in earlier(state, name):
        why = unfit(state, name, number)
        if why is None:
            held = _pointer(line, name, state, number)
            broken = damaged(held)
            if not broken:
                return held, tuple(skipped)
            why = f"damaged: {broken[0]}"
        skipped.append({"number": number, "why": why})
    raise RollbackError(_none_fit(line, name, state, skipped))


def _none_fit(line: Line, name: str, state: Decisions, skipped: list[Json]) -> str:
    live = state.stage(name).live
    there = f"before {line.ref(live[-1])}" if live else "at any time"
    told = "; ".join(f"{line.ref(s['number'])}: {s['why']}" for s in skipped)
    found = (
        f"none of those that were in {name} {there} is fit ({told})"
        if told
        else (f"nothing was in {name} {there}")
    )
    return f"{line.display}: {found}; promote a version, or name one with to="


def _pointer(line: Line, name: str, state: Decisions, number: int) -> Pointer:
    tenure = state.stage(name).tenures.get(number)
    return resolve(line, number) if tenure is None else tenure.pointer


def _named(line: Line, name: str, state: Decisions, number: int) -> Pointer:
    """Give a version that a roll-back names.

    Raises:
        RollbackError: It was never there, is there now, or is withdrawn or deleted.
        IntegrityError: It is damaged.
    """
    stage = state.stage(name)
    ref = line.ref(number)
    if number not in stage.been:
        raise RollbackError(f"{ref} was never in {name}; promote it instead")
    if stage.live[-1:] == (number,):
        raise RollbackError(f"{ref} is in {name} already")
    if number in state.deleted or number in state.withdrawn:
        why = "deleted" if number in state.deleted else "withdrawn; restore() it first"
        raise RollbackError(f"{ref} is {why}")
    held = _pointer(line, name, state, number)
    broken = damage(line, held)
    if broken:
        raise IntegrityError(f"{ref} is damaged, so {name} stays as it is: {'; '.join(broken)}")
    return held
