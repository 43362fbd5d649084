"""Replay a decision: judge it again on the state it was taken on, and compare.

What the journal knows is looked at again: the state before, the numbers that were committed, the
tags of that time. What cannot be seen again is taken from the record.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from modelversion._json import parse_timestamp
from modelversion.display import Facts, Page, Shown, Table
from modelversion.errors import RecordError
from modelversion.events import Promoted, RolledBack
from modelversion.judging import Moment, Shelf, judged_again, pin_from, policy_of, verdict_table
from modelversion.policies import Policy
from modelversion.schema import Json, from_json
from modelversion.stages import MAX_SKIPPED, Decisions, unfit
from modelversion.state import pointer
from modelversion.stays import candidates
from modelversion.verdicts import Verdict


@attrs.frozen(kw_only=True)
class Explanation(Shown):
    """A decision judged again on the state it was taken on; falsy if it comes out otherwise.

    Attributes:
        subject: The decision, in words.
        stage: The stage it is about, if it is about one.
        policy: The policy it was judged by, of a promotion.
        ruled: The position of the entry that adopted that policy, 0 for none.
        live: The versions that were in the stage before.
        recorded: The verdicts that were recorded with it.
        replayed: The same, judged again.
        skipped: What a roll-back passed over, and why.
        problems: Where the two differ, or the record is not what it says.
    """

    subject: str
    stage: str | None = None
    policy: Policy | None = None
    ruled: int = 0
    live: tuple[int, ...] = ()
    recorded: tuple[Json, ...] = ()
    replayed: tuple[Verdict, ...] = ()
    skipped: tuple[Json, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """True if the replay gives what was recorded."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.agrees

    def __str__(self) -> str:
        lines = [self.subject]
        if self.stage is not None:
            there = ", ".join(map(str, self.live)) or "nothing"
            lines.append(f"there before: {there}")
        if self.policy is not None:
            lines.append(f"policy adopted at {self.ruled}: {self.policy}")
        lines += [str(verdict) for verdict in self.replayed]
        lines += [f"passed over {s['number']}: {s['why']}" for s in self.skipped]
        lines += [f"DIFFERS  {problem}" for problem in self.problems]
        lines += ["judged again, it comes out the same"] if self.agrees else []
        return "\n".join(lines)

    def _page(self) -> Page:
        policy = None if self.policy is None else f"{self.policy} (adopted at {self.ruled})"
        there = ", ".join(map(str, self.live)) or "nothing"
        skipped = [(found["number"], found["why"]) for found in self.skipped]
        return Page(
            self.subject,
            "the replay agrees" if self.agrees else "the replay differs from the record",
            tone="good" if self.agrees else "bad",
            blocks=[
                Facts({"there before": there if self.stage else None, "policy": policy}),
                Table("differs", ("problem",), rows=[(problem,) for problem in self.problems]),
                verdict_table(self.replayed) if self.replayed else None,
                Table("passed over", ("version", "why"), rows=skipped),
            ],
        )

    def to_dict(self) -> Json:
        """Give it as plain JSON."""
        return {
            "subject": self.subject,
            "stage": self.stage,
            "agrees": self.agrees,
            "policy": None if self.policy is None else self.policy.to_dict(),
            "ruled": self.ruled,
            "live": list(self.live),
            "recorded": list(self.recorded),
            "replayed": [verdict.to_dict() for verdict in self.replayed],
            "skipped": list(self.skipped),
            "problems": list(self.problems),
        }


def replay(shelf: Shelf, entry: Json, before: Decisions, *, subject: str) -> Explanation:
    """Judge a decision again on the state before it; a void one has nothing to be judged.

    Args:
        shelf: What was recorded.
        entry: `position` and `event` of the decision.
        before: The state before it.
        subject: What it is called.
    """
    event = entry["event"]
    stage = event.get("stage")
    live = before.stage(stage).live if isinstance(stage, str) else ()
    explained = Explanation(subject=subject, stage=stage, live=live)
    if event.get("kind") == Promoted.kind:
        return _promotion_again(shelf, entry, before, explained)
    if event.get("kind") == RolledBack.kind:
        problems = tuple(_rollback_again(shelf, entry, before))
        return attrs.evolve(explained, skipped=tuple(_skipped(event)), problems=problems)
    return explained


def void(event: Json, *, subject: str) -> Explanation:
    """Tell that a decision changed nothing."""
    problem = "it made no sense where it stands, and changed nothing"
    return Explanation(subject=subject, stage=event.get("stage"), problems=(problem,))


def _promotion_again(
    shelf: Shelf, entry: Json, before: Decisions, explained: Explanation
) -> Explanation:
    event = entry["event"]
    stage, judged = event["stage"], event.get("judged", {})
    policy = policy_of(before, stage)
    replayed: tuple[Verdict, ...] = ()
    problems: list[str] = []
    try:
        replayed = judged_again(_moment(shelf, entry, before), judged)
    except RecordError as e:
        problems.append(str(e))
    recorded = tuple(judged.get("verdicts", ()))
    problems += _differences(recorded, replayed)
    problems += _otherwise(event, before, policy, all(v.passed for v in replayed))
    return attrs.evolve(
        explained,
        policy=policy,
        ruled=before.ruled,
        recorded=recorded,
        replayed=replayed,
        problems=tuple(problems),
    )


def _moment(shelf: Shelf, entry: Json, before: Decisions) -> Moment:
    """Give the moment at which a promotion was judged.

    Raises:
        RecordError: The record does not name it.
    """
    event = entry["event"]
    judged = event.get("judged", {})
    at, facts = judged.get("at"), pin_from(judged.get("facts"))
    if not isinstance(at, str) or facts is None:
        raise RecordError("the record does not say when it was judged, or by which facts")
    parse_timestamp(at, "judged.at")
    return Moment(
        shelf=shelf,
        held=pointer(from_json(Promoted, _fields(event), "event")),
        stage=event["stage"],
        state=before,
        now=at,
        facts=facts,
        observations=pin_from(judged.get("observations")),
        last=entry["position"] - 1,
    )


def _otherwise(event: Json, before: Decisions, policy: Policy, passed: bool) -> Iterator[str]:
    ruled, override = event.get("judged", {}).get("ruled"), event.get("override", False)
    if ruled != before.ruled:
        yield f"it names the policy adopted at {ruled}, and that of {before.ruled} was in force"
    if policy.reason_required and not event.get("reason"):
        yield "the policy wants a reason, and there is none"
    if override is passed:
        yield "it is an override of nothing" if passed else "it passes over a gate unsaid"


def _fields(event: Json) -> Json:
    return {k: v for k, v in event.items() if k not in ("kind", "must_understand")}


def _differences(recorded: tuple[Json, ...], replayed: tuple[Verdict, ...]) -> Iterator[str]:
    for was, verdict in zip(recorded, replayed, strict=False):
        now = verdict.to_stored()
        for name in sorted({*was, *now}):
            if was.get(name) != now.get(name):
                found = f"{was.get(name)!r:.200}, and is {now.get(name)!r:.200}"
                yield f"{verdict.gate}: {name} was recorded as {found}"


def _skipped(event: Json) -> list[Json]:
    skipped = event.get("skipped", ())
    return [s for s in skipped if isinstance(s, dict) and {"number", "why"} <= {*s}]


def _rollback_again(shelf: Shelf, entry: Json, before: Decisions) -> Iterator[str]:
    """Choose the target again; what was damaged then may have been mended since."""
    event, last = entry["event"], entry["position"] - 1
    if event.get("named"):
        return
    stage, number = event["stage"], event["number"]
    skipped = {s["number"]: s["why"] for s in _skipped(event)}
    for candidate in candidates(before, stage, lambda: shelf.moves(stage, last)):
        why = unfit(before, stage, candidate)
        if candidate == number:
            if why is not None:
                yield f"{number} was chosen, though {why}"
            return
        if candidate not in skipped and len(skipped) == MAX_SKIPPED:
            continue
        if candidate not in skipped or (why is not None and skipped[candidate] != why):
            yield f"{candidate} was passed over, and the record does not say so"
    yield f"{number} was not there before what was live"
