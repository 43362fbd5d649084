"""What is decided of a model at one moment: stages, aliases, approvals, withdrawals, deletions.

Pure. How it comes about, entry by entry, is in `decisions`.
"""

from __future__ import annotations

import attrs

from modelversion._json import parse_timestamp
from modelversion.schema import Json
from modelversion.state import (
    DEFAULT_RULES,
    NO_NUMBERS,
    Pointer,
    Ranges,
    Rules,
    ranges_from,
    rules_json,
    rules_of,
)

MAX_TENURES = 256
# Of the versions that a roll-back passed over, so many fit into its entry.
MAX_SKIPPED = 400


@attrs.frozen(kw_only=True)
class Withdrawal:
    """Why and when a version was withdrawn, and which to use instead."""

    reason: str
    time: str
    use_instead: int | None = None


@attrs.frozen(kw_only=True)
class Freeze:
    """Why nothing may be promoted to a stage, by whom, and until when; None is for good."""

    reason: str
    actor: str
    until: str | None = None

    def holds_at(self, time: str) -> bool:
        """Tell whether it is in force at a time as stored."""
        return self.until is None or time < self.until


@attrs.frozen(kw_only=True)
class Statement:
    """What somebody said of a version that is to go to a stage: yes or no, when and why."""

    stage: str
    number: int
    sha256: str
    actor: str
    approves: bool
    reason: str
    time: str


@attrs.frozen(kw_only=True)
class Tenure:
    """A version that is or was in a stage.

    `position` and `since` are of the decision that brought it in last, `spent` the microseconds
    that it had been there before, None where that was forgotten.
    """

    pointer: Pointer
    position: int
    since: str
    spent: int | None = 0

    def total(self, until: str) -> int | None:
        """Give the microseconds that it has been there, counted to a time."""
        return None if self.spent is None else self.spent + between(self.since, until)


def between(since: str, until: str) -> int:
    """Give the microseconds from one time as stored to another, 0 if that is not later."""
    passed = parse_timestamp(until, "time") - parse_timestamp(since, "time")
    return max(0, passed.days * 86_400_000_000 + passed.seconds * 1_000_000 + passed.microseconds)


@attrs.frozen(kw_only=True)
class Stage:
    """One stage of one model.

    Attributes:
        live: The versions in it, the one that counts last; more than one only where it is shared.
        stack: What a roll-back goes back through, the version that came in last at its end; of
            those that were there longer ago than `tenures` reach it may hold none.
        tenures: The last `MAX_TENURES` versions that were in it, by when they came in.
        been: Every version that was ever in it.
        left: Those that were left behind by a roll-back and not promoted again since.
        frozen: The freeze, also one that has run out.
    """

    live: tuple[int, ...] = ()
    stack: tuple[int, ...] = ()
    tenures: dict[int, Tenure] = attrs.field(factory=dict)
    been: Ranges = NO_NUMBERS
    left: Ranges = NO_NUMBERS
    frozen: Freeze | None = None

    @property
    def forgets(self) -> bool:
        """True if versions were here that only the journal still tells about."""
        return len(self.been) > MAX_TENURES

    def spent(self, number: int, now: str) -> int | None:
        """Give the microseconds that a version was here; None if that was forgotten."""
        tenure = self.tenures.get(number)
        if tenure is None:
            return None
        return tenure.total(now) if number in self.live else tenure.spent


_EMPTY = Stage()


@attrs.frozen(kw_only=True)
class Decisions:
    """The state of a model's journal of decisions.

    `adopted` is the position in the registry's own journal whose rules are in force, `ruled` the
    position of the entry here that adopted them; both are 0 before the first.
    """

    aliases: dict[str, Pointer] = attrs.field(factory=dict)
    withdrawn: dict[int, Withdrawal] = attrs.field(factory=dict)
    deleted: Ranges = NO_NUMBERS
    rules: Rules = DEFAULT_RULES
    adopted: int = 0
    ruled: int = 0
    stages: dict[str, Stage] = attrs.field(factory=dict)
    statements: tuple[Statement, ...] = ()
    void: int = 0

    def stage(self, name: str) -> Stage:
        """Give a stage, empty if nothing ever happened there."""
        return self.stages.get(name, _EMPTY)

    def live(self, name: str) -> Pointer | None:
        """Give the version that counts in a stage, None if nothing is there."""
        stage = self.stage(name)
        return stage.tenures[stage.live[-1]].pointer if stage.live else None

    def stage_names(self) -> tuple[str, ...]:
        """Give the stages in their order, then those that are no more and not yet empty."""
        gone = [name for name, stage in sorted(self.stages.items()) if stage.live]
        return (*self.rules.stages, *(name for name in gone if name not in self.rules.stages))

    def held_by(self, number: int) -> list[str]:
        """Name the aliases that hold a version."""
        return sorted(alias for alias, held in self.aliases.items() if held.number == number)

    def stages_of(self, number: int) -> list[str]:
        """Name the stages that a version is in, in their order."""
        return [name for name in self.stage_names() if number in self.stage(name).live]

    def was_staged(self, number: int) -> bool:
        """Tell whether a version is or ever was in a stage."""
        return any(number in stage.been for stage in self.stages.values())

    def said_of(self, number: int, stage: str) -> list[Statement]:
        """Give the approvals and rejections of a version for a stage that stand."""
        return [s for s in self.statements if (s.stage, s.number) == (stage, number)]


# ---- rolling back: what comes next ---------------------------------------------------------------


def earlier(state: Decisions, name: str) -> list[int]:
    """Give the versions that were in a stage before what is live there, the last one first."""
    stage = state.stage(name)
    if not stage.live:
        return list(reversed(stage.stack))
    cut = stage.stack.index(stage.live[-1]) if stage.live[-1] in stage.stack else 0
    return list(reversed(stage.stack[:cut]))


def unfit(state: Decisions, name: str, number: int) -> str | None:
    """Tell why a roll-back passes a version over; None if it is fit."""
    if number in state.deleted:
        return "deleted"
    if number in state.withdrawn:
        return "withdrawn"
    return "rolled back before" if number in state.stage(name).left else None


# ---- the state as JSON ---------------------------------------------------------------------------


def to_json(state: Decisions) -> Json:
    """Give the state as a merge keeps it."""
    return {
        "adopted": state.adopted,
        "aliases": {alias: attrs.asdict(held) for alias, held in state.aliases.items()},
        "deleted": state.deleted.pairs,
        "ruled": state.ruled,
        "rules": rules_json(state.rules),
        "stages": {name: _stage_json(stage) for name, stage in state.stages.items()},
        "statements": [attrs.asdict(statement) for statement in state.statements],
        "void": state.void,
        "withdrawn": {str(n): attrs.asdict(why) for n, why in state.withdrawn.items()},
    }


def _stage_json(stage: Stage) -> Json:
    return {
        "been": stage.been.pairs,
        "frozen": None if stage.frozen is None else attrs.asdict(stage.frozen),
        "left": stage.left.pairs,
        "live": stage.live,
        "stack": stage.stack,
        "tenures": [attrs.asdict(tenure) for tenure in stage.tenures.values()],
    }


def from_json(value: Json) -> Decisions:
    """Read what `to_json` gave."""
    rules = rules_of(**value["rules"])
    if rules is None:
        raise ValueError("rules")  # the merge is passed over
    return Decisions(
        adopted=value["adopted"],
        aliases={alias: Pointer(**held) for alias, held in value["aliases"].items()},
        deleted=ranges_from(value["deleted"]),
        ruled=value["ruled"],
        rules=rules,
        stages={name: _stage_from(stage) for name, stage in value["stages"].items()},
        statements=tuple(Statement(**statement) for statement in value["statements"]),
        void=value["void"],
        withdrawn={int(n): Withdrawal(**why) for n, why in value["withdrawn"].items()},
    )


def _stage_from(value: Json) -> Stage:
    tenures = [
        Tenure(**{**tenure, "pointer": Pointer(**tenure["pointer"])}) for tenure in value["tenures"]
    ]
    return Stage(
        been=ranges_from(value["been"]),
        frozen=None if value["frozen"] is None else Freeze(**value["frozen"]),
        left=ranges_from(value["left"]),
        live=tuple(value["live"]),
        stack=tuple(value["stack"]),
        tenures={tenure.pointer.number: tenure for tenure in tenures},
    )
