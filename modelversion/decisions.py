"""How a model's decisions change what is decided: the rules of their fold.

Pure. An event whose ground is not there is void, so that not even a careless writer can promote
over what it has not seen, past a freeze, or what its own verdicts refuse.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import attrs

from modelversion.events import (
    ApprovalWithdrawn,
    PolicyAdopted,
    Promoted,
    RolledBack,
    StageCleared,
    StageFrozen,
    StageUnfrozen,
    VersionApproved,
    VersionRejected,
)
from modelversion.records import (
    AliasDeleted,
    AliasSet,
    Entry,
    VersionDeleted,
    VersionRestored,
    VersionWithdrawn,
)
from modelversion.stages import (
    MAX_TENURES,
    Decisions,
    Freeze,
    Stage,
    Statement,
    Tenure,
    Withdrawal,
    from_json,
    to_json,
)
from modelversion.state import Fold, Pointer, pointer, rules_of

# What no override lifts.
HARD = frozenset(["not_withdrawn", "not_frozen"])


def _adopted(state: Decisions, event: PolicyAdopted, entry: Entry) -> Decisions | None:
    rules = rules_of(event.stages, event.shared, event.policies)
    if rules is None or event.position <= state.adopted:
        return None
    return attrs.evolve(state, rules=rules, adopted=event.position, ruled=entry.position)


def _promoted(state: Decisions, event: Promoted, entry: Entry) -> Decisions | None:
    stage = state.stage(event.stage)
    if event.stage not in state.rules.stages or event.replaces != stage.live:
        return None
    if event.number < 1 or event.number in state.deleted or event.number in state.withdrawn:
        return None
    if stage.live[-1:] == (event.number,):
        return None
    if _is_frozen(stage, event, entry) or not _allowed(state, stage, event):
        return None
    after = _enter(stage, pointer(event), entry, shared=event.stage in state.rules.shared)
    used = event.number if event.stage in state.rules.shared else None
    return _with_stage(state, event.stage, after, used)


def _is_frozen(stage: Stage, event: Promoted, entry: Entry) -> bool:
    # The time at which it was judged: the clock may have stepped back before the entry was made.
    at = event.judged.get("at")
    at = at if isinstance(at, str) else entry.time
    return stage.frozen is not None and stage.frozen.holds_at(at)


def _allowed(state: Decisions, stage: Stage, event: Promoted) -> bool:
    """Tell whether what was found lets the version in, or an override that the policy allows."""
    verdicts = event.judged.get("verdicts", ())
    if not isinstance(verdicts, (list, tuple)) or not all(isinstance(v, dict) for v in verdicts):
        return False
    failed = {str(v.get("gate")) for v in verdicts if v.get("passed") is not True}
    if event.number in stage.left:
        failed.add("not_rolled_back")
    if not failed:
        return True
    policy = state.rules.policies.get(event.stage, {})
    return event.override and not failed & HARD and policy.get("allow_override") is not False


def _enter(stage: Stage, held: Pointer, entry: Entry, *, shared: bool) -> Stage:
    """Let a version in on top; without sharing, all others leave."""
    stack = (*(n for n in stage.stack if n != held.number), held.number)[-MAX_TENURES:]
    kept = tuple(n for n in stage.live if shared and n != held.number)
    return attrs.evolve(
        stage,
        live=(*kept, held.number),
        stack=stack,
        tenures=_move(stage, held, entry, kept),
        been=stage.been.add(held.number),
        left=stage.left.discard(held.number),
    )


def _move(stage: Stage, held: Pointer, entry: Entry, kept: Collection[int]) -> dict[int, Tenure]:
    """Give the tenures after one version came in and all but some others went."""
    tenures = _leave(stage, {*stage.live} - {*kept}, entry.time)
    before = tenures.pop(held.number, None)
    spent = before.spent if before is not None else None if held.number in stage.been else 0
    tenures[held.number] = Tenure(
        pointer=held, position=entry.position, since=entry.time, spent=spent
    )
    excess = len(tenures) - MAX_TENURES
    if excess > 0:
        for number in [number for number in tenures if number not in kept][:excess]:
            del tenures[number]
    return tenures


def _leave(stage: Stage, numbers: set[int], now: str) -> dict[int, Tenure]:
    """Give the tenures after some versions went, their time counted."""
    tenures = dict(stage.tenures)
    for number in numbers & tenures.keys():
        tenures[number] = attrs.evolve(tenures[number], spent=tenures[number].total(now))
    return tenures


def _with_stage(state: Decisions, name: str, stage: Stage, used: int | None = None) -> Decisions:
    """Put a changed stage back; approvals were given for what stood there before.

    Only those of one version are used up where others stay as they are; objections stand.
    """
    spent = [
        s for s in state.statements if s.stage == name and s.approves and used in (None, s.number)
    ]
    statements = tuple(s for s in state.statements if s not in spent) if spent else state.statements
    return attrs.evolve(state, stages={**state.stages, name: stage}, statements=statements)


def _rolled_back(state: Decisions, event: RolledBack, entry: Entry) -> Decisions | None:
    stage = state.stage(event.stage)
    known = event.stage in state.stage_names() and event.number in stage.been
    if not known or event.replaces != stage.live or stage.live[-1:] == (event.number,):
        return None
    if event.number in state.deleted or event.number in state.withdrawn:
        return None
    shared = event.stage in state.rules.shared
    gone = stage.live[-1:] if shared else stage.live
    after = _enter(
        attrs.evolve(
            stage,
            live=tuple(n for n in stage.live if n not in gone),
            stack=_below(stage, event.number),
            tenures=_leave(stage, set(gone), entry.time),
        ),
        pointer(event),
        entry,
        shared=shared,
    )
    for number in gone:
        after = attrs.evolve(after, left=after.left.add(number))
    return _with_stage(state, event.stage, after)


def _below(stage: Stage, number: int) -> tuple[int, ...]:
    """Give what a roll-back leaves below its target, as far as that is known."""
    if number in stage.stack:
        return stage.stack[: stage.stack.index(number)]
    # It may have stood below what is kept, and then nothing that is kept is below it.
    return () if stage.forgets else stage.stack


def _cleared(state: Decisions, event: StageCleared, entry: Entry) -> Decisions | None:
    stage = state.stage(event.stage)
    gone = {*event.numbers} if all(isinstance(n, int) for n in event.numbers) else set()
    if not gone or not gone <= {*stage.live}:
        return None
    after = attrs.evolve(
        stage,
        live=tuple(n for n in stage.live if n not in gone),
        tenures=_leave(stage, gone, entry.time),
    )
    return _with_stage(state, event.stage, after)


def _frozen(state: Decisions, event: StageFrozen, entry: Entry) -> Decisions | None:
    if event.stage not in state.rules.stages:
        return None
    freeze = Freeze(reason=event.reason, actor=entry.actor.name, until=event.until)
    stage = attrs.evolve(state.stage(event.stage), frozen=freeze)
    return attrs.evolve(state, stages={**state.stages, event.stage: stage})


def _unfrozen(state: Decisions, event: StageUnfrozen, entry: Entry) -> Decisions | None:
    stage = state.stage(event.stage)
    if stage.frozen is None:
        return None
    after = attrs.evolve(stage, frozen=None)
    return attrs.evolve(state, stages={**state.stages, event.stage: after})


def _stated(
    state: Decisions, event: VersionApproved | VersionRejected, entry: Entry
) -> Decisions | None:
    if event.stage not in state.rules.stages or event.number in state.deleted or event.number < 1:
        return None
    statement = Statement(
        stage=event.stage,
        number=event.number,
        sha256=event.sha256,
        actor=entry.actor.name,
        approves=event.kind == VersionApproved.kind,
        reason=event.reason,
        time=entry.time,
    )
    return attrs.evolve(state, statements=(*_others(state, event, entry), statement))


def _others(state: Decisions, event: Any, entry: Entry) -> tuple[Statement, ...]:
    """Give the statements but for the actor's own on the version and stage of an event."""
    own = (event.stage, event.number, entry.actor.name)
    return tuple(s for s in state.statements if (s.stage, s.number, s.actor) != own)


def _unsaid(state: Decisions, event: ApprovalWithdrawn, entry: Entry) -> Decisions | None:
    kept = _others(state, event, entry)
    return None if kept == state.statements else attrs.evolve(state, statements=kept)


def _alias_set(state: Decisions, event: AliasSet, entry: Entry) -> Decisions | None:
    if event.number in state.deleted or event.alias in state.rules.stages:
        return None
    return attrs.evolve(state, aliases={**state.aliases, event.alias: pointer(event)})


def _alias_deleted(state: Decisions, event: AliasDeleted, entry: Entry) -> Decisions | None:
    if event.alias not in state.aliases:
        return None
    kept = {alias: held for alias, held in state.aliases.items() if alias != event.alias}
    return attrs.evolve(state, aliases=kept)


def _withdrawn(state: Decisions, event: VersionWithdrawn, entry: Entry) -> Decisions | None:
    if event.number in state.deleted or event.number in state.withdrawn:
        return None
    why = Withdrawal(reason=event.reason, time=entry.time, use_instead=event.use_instead)
    return attrs.evolve(state, withdrawn={**state.withdrawn, event.number: why})


def _restored(state: Decisions, event: VersionRestored, entry: Entry) -> Decisions | None:
    if event.number not in state.withdrawn:
        return None
    kept = {number: why for number, why in state.withdrawn.items() if number != event.number}
    return attrs.evolve(state, withdrawn=kept)


def _deleted(state: Decisions, event: VersionDeleted, entry: Entry) -> Decisions | None:
    number = event.number
    if number in state.deleted or state.held_by(number) or state.stages_of(number):
        return None
    return attrs.evolve(
        state,
        deleted=state.deleted.add(number),
        withdrawn={n: why for n, why in state.withdrawn.items() if n != number},
        statements=tuple(s for s in state.statements if s.number != number),
    )


DECISIONS = Fold(
    Decisions(),
    {
        AliasSet.kind: (AliasSet, _alias_set),
        AliasDeleted.kind: (AliasDeleted, _alias_deleted),
        VersionWithdrawn.kind: (VersionWithdrawn, _withdrawn),
        VersionRestored.kind: (VersionRestored, _restored),
        VersionDeleted.kind: (VersionDeleted, _deleted),
        PolicyAdopted.kind: (PolicyAdopted, _adopted),
        Promoted.kind: (Promoted, _promoted),
        RolledBack.kind: (RolledBack, _rolled_back),
        StageCleared.kind: (StageCleared, _cleared),
        StageFrozen.kind: (StageFrozen, _frozen),
        StageUnfrozen.kind: (StageUnfrozen, _unfrozen),
        VersionApproved.kind: (VersionApproved, _stated),
        VersionRejected.kind: (VersionRejected, _stated),
        ApprovalWithdrawn.kind: (ApprovalWithdrawn, _unsaid),
    },
    to_json,
    from_json,
)
