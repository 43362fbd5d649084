"""Who came into a stage when, read back from the journal: what the state has forgotten.

The state of a model's decisions holds the last versions of each stage, so that it stays small.
How long an older one was there, and what was there before it, is counted from the entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import attrs

from modelversion.decisions import DECISIONS
from modelversion.events import Promoted, RolledBack, StageCleared
from modelversion.journal import Head
from modelversion.records import Entry
from modelversion.schema import Json, from_json
from modelversion.stages import Decisions, between, earlier
from modelversion.state import Pointer
from modelversion.versions import Line

MOVES = (Promoted.kind, RolledBack.kind, StageCleared.kind)


@attrs.frozen(kw_only=True)
class Move:
    """A decision that changed what is in a stage.

    Attributes:
        position: Its place in the journal.
        time: When it was made.
        held: The version that came in, None where one only left.
        back: Whether it was a roll-back.
        live: What was in the stage from then on.
    """

    position: int
    time: str
    held: Pointer | None
    back: bool
    live: tuple[int, ...]


def moves(line: Line, head: Head) -> dict[str, list[Move]]:
    """Read the moves of every stage up to a head of a model's decisions."""
    journal = line.decisions
    return moves_of(
        from_json(Entry, value, f"{journal.folder} entry {value['position']}")
        for value in journal.history(journal.start(), head)
    )


def moves_of(entries: Iterable[Entry]) -> dict[str, list[Move]]:
    """Give the moves of every stage that a model's decisions from the first on made. Pure."""
    found: dict[str, list[Move]] = {}
    state = Decisions()
    for entry in entries:
        before, state = state, DECISIONS.step(state, entry)
        kind, stage = entry.event.get("kind"), entry.event.get("stage")
        if kind in MOVES and isinstance(stage, str) and state.void == before.void:
            move = Move(
                position=entry.position,
                time=entry.time,
                held=None if kind == StageCleared.kind else _held(entry.event),
                back=kind == RolledBack.kind,
                live=state.stage(stage).live,
            )
            found.setdefault(stage, []).append(move)
    return found


def _held(event: Json) -> Pointer:
    return Pointer(**{name: event[name] for name in ("number", "nonce", "size", "sha256")})


def spent(moved: Iterable[Move], number: int, now: str) -> int:
    """Give the microseconds that a version was in a stage, counted to a time."""
    total, since = 0, None
    for move in moved:
        there = number in move.live
        if there and since is None:
            since = move.time
        elif since is not None and not there:
            total, since = total + between(since, move.time), None
    return total if since is None else total + between(since, now)


def candidates(state: Decisions, name: str, moved: Callable[[], Iterable[Move]]) -> Iterator[int]:
    """Give what a roll-back of a stage may go to, the version that was there last first.

    Args:
        state: The state before the roll-back.
        name: The stage.
        moved: Gives the stage's moves up to that state; asked only for what the state forgot.
    """
    kept = earlier(state, name)
    yield from kept
    if state.stage(name).forgets:
        yield from list(_before_live(moved()))[len(kept) :]


def _before_live(moved: Iterable[Move]) -> Iterator[int]:
    """Give the versions that were in a stage before what is live there, the last one first."""
    stack: list[int] = []
    live: tuple[int, ...] = ()
    for move in moved:
        live = move.live
        if move.held is not None:
            came = move.held.number
            if move.back and came in stack:
                del stack[stack.index(came) :]
            stack = [*(number for number in stack if number != came), came]
    if live:
        del stack[stack.index(live[-1]) if live[-1] in stack else 0 :]
    return reversed(stack)
