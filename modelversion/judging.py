"""Judge a version on its way to a stage: by what is there now, and again by what was there then."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import attrs

from modelversion._json import decode, double
from modelversion.checkpoint import Pin
from modelversion.display import Cell, Note, Page, Shown, Table
from modelversion.errors import IntegrityError, NotFoundError, RecordError
from modelversion.history import History
from modelversion.journal import Head
from modelversion.metrics import direction
from modelversion.observed import Asked, measured
from modelversion.policies import Policy, conditions, policy_from
from modelversion.records import VersionRecord
from modelversion.redaction import masked
from modelversion.schema import Json, to_json
from modelversion.stages import Decisions
from modelversion.state import Pointer
from modelversion.stays import Move, moves, spent
from modelversion.verdicts import MAX_SAYS, Verdict, decide
from modelversion.versions import Line, fetch, open_version

_SECOND = 1_000_000
HARD = ("not_withdrawn", "not_frozen")


@attrs.frozen(kw_only=True)
class GateReport(Shown):
    """How a version was judged on its way to a stage; falsy if it may not go there.

    Attributes:
        subject: The version, such as `churn:4`.
        stage: Where it is to go.
        verdicts: One for each thing that was asked, in order.
        allow_override: Whether the stage's policy lets an override pass over what has failed.
        adopts: The position of the registry's rules that it was judged under and the model has
            yet to adopt, because setting them was interrupted; 0 without such.
    """

    subject: str
    stage: str
    verdicts: tuple[Verdict, ...]
    allow_override: bool = True
    adopts: int = 0

    @property
    def passed(self) -> bool:
        """True if everything was met."""
        return all(verdict.passed for verdict in self.verdicts)

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """The verdicts of what was not met."""
        return tuple(verdict for verdict in self.verdicts if not verdict.passed)

    @property
    def can_override(self) -> bool:
        """True if `override=True` would let the version in."""
        return self.allow_override and not any(v.gate.kind in HARD for v in self.failed)

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        total, failed = len(self.verdicts), len(self.failed)
        result = f"passed all {total}" if self.passed else f"failed {failed} of {total}"
        lines = [f"{self.subject} to {self.stage}: {result}", *map(str, self.verdicts)]
        lines += [] if self.passed else [self._override]
        return "\n".join([*lines, self._pending] if self.adopts else lines)

    @property
    def _override(self) -> str:
        if self.can_override:
            return "an override with a reason would let it in, and is recorded"
        why = "none lifts a stop like this" if self.allow_override else "the policy allows none"
        return f"no override lets it in: {why}"

    @property
    def _pending(self) -> str:
        return f"the model adopts the rules of policies {self.adopts} with its next promotion"

    def _page(self) -> Page:
        total, failed = len(self.verdicts), len(self.failed)
        says = f"passed all {total}" if self.passed else f"failed {failed} of {total}"
        return Page(
            f"{self.subject} to {self.stage}",
            says,
            tone="good" if self.passed else "bad",
            blocks=[
                verdict_table(self.verdicts),
                None if self.passed else Note(self._override, "warn"),
                Note(self._pending, "warn") if self.adopts else None,
            ],
        )

    def to_dict(self) -> Json:
        """Give it as plain JSON."""
        return {
            "subject": self.subject,
            "stage": self.stage,
            "passed": self.passed,
            "allow_override": self.allow_override,
            "adopts": self.adopts,
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
        }


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Show verdicts: what was asked, how it came out, and what was found."""
    rows = [
        (
            str(verdict.gate),
            Cell(True, "passed", tone="good")
            if verdict.passed
            else Cell(False, "FAILED", tone="bad"),
            verdict.says,
        )
        for verdict in verdicts
    ]
    return Table("gates", ("gate", "verdict", "found"), rows=rows, empty="nothing was asked")


def pin(head: Head) -> Pin:
    """Say up to where a journal was read."""
    return Pin(position=head.position, digest=head.digest)


def pin_from(stored: Any) -> Pin | None:
    """Read up to where a promotion says that it read a journal; None if it does not say it."""
    position = stored.get("position") if isinstance(stored, dict) else None
    return Pin(position, str(stored.get("digest"))) if isinstance(position, int) else None


def policy_of(state: Decisions, stage: str) -> Policy:
    """Give the policy of a stage that the model has adopted."""
    return policy_from(state.rules.policies.get(stage, {}), f"policy of {stage}")


# ---- what is there -------------------------------------------------------------------------------


class Shelf:
    """What was recorded of a model's versions, each read once."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._rows: dict[int, Json] = {}
        self._moves: tuple[int, dict[str, list[Move]]] = (0, {})
        self._measured: list[Json] = []

    def row(self, held: Pointer) -> Json:
        """Give what was recorded: from `version.json`, or from the commit of what was deleted.

        Raises:
            NotFoundError: It was deleted, and its commit had no room for it all.
        """
        if held.number not in self._rows:
            self._rows[held.number] = self._read(held)
        return self._rows[held.number]

    def moves(self, stage: str, last: int | None = None) -> list[Move]:
        """Give what came into a stage and left it, up to a position; else as far as was seen."""
        line = self.history.line
        head = line.decisions.seen()
        if self._moves[0] != head.position:
            self._moves = head.position, moves(line, head)
        found = self._moves[1].get(stage, [])
        return found if last is None else [move for move in found if move.position <= last]

    def _read(self, held: Pointer) -> Json:
        try:
            return _of_record(fetch(self.history.line, held))
        except NotFoundError:
            return _of_commit(self.history.refresh().full(held.number))

    def measured(self, position: int) -> list[Json]:
        """Give the entries of what production measured, up to a position."""
        if len(self._measured) < position:
            journal = self.history.line.observations
            self._measured = journal.history(journal.start(), journal.head())
        return self._measured[:position]


def _of_record(record: VersionRecord) -> Json:
    return {
        **to_json(record),
        "author": record.actor.name,
        "bytes": sum(file.size for file in record.files),
        "metrics": {name: to_json(metric) for name, metric in record.metrics.items()},
        "data": {item.name: to_json(item) for item in record.data},
    }


def _of_commit(row: Json) -> Json:
    directions = row.get("directions", {})
    metrics = {
        name: {"value": value, **_direction(directions.get(name))}
        for name, value in row.get("metrics", {}).items()
    }
    tags = row.get("saved_tags", row.get("tags", {}))
    return {**row, "author": row["actor"], "metrics": metrics, "tags": tags, "data": None}


def _direction(up: Any) -> Json:
    return {} if up is None else {"higher_is_better": up}


@attrs.frozen(kw_only=True)
class Moment:
    """What a gate can see of a version at one moment; `Eyes` says what each method gives.

    Attributes:
        shelf: What was recorded of versions.
        held: The version.
        stage: Where it is to go.
        state: What was decided until then.
        now: The time as stored.
        facts: Up to where tags count.
        observations: Up to where measurements count; None where no gate asks for them.
        version: What a function of the user's is given.
        last: The position of the last decision before it, None for the one seen last.
    """

    shelf: Shelf
    held: Pointer
    stage: str
    state: Decisions
    now: str
    facts: Pin
    observations: Pin | None = None
    version: Any = None
    last: int | None = None

    @property
    def number(self) -> int:
        """The version's number."""
        return self.held.number

    @property
    def line(self) -> Line:
        """The model."""
        return self.shelf.history.line

    def _pointer(self, number: int) -> Pointer:
        """Give the pointer of the candidate, or of a version that is in a stage."""
        if number == self.number:
            return self.held
        lived = (stage.tenures.get(number) for stage in self.state.stages.values())
        return next(tenure.pointer for tenure in lived if tenure is not None)

    def metric(self, number: int, name: str) -> Json:
        """See `Eyes`."""
        found = self.shelf.row(self._pointer(number))["metrics"].get(name)
        if found is None:
            return {}
        up = found.get("higher_is_better")
        return {"value": found["value"], **_direction(direction(name) if up is None else up)}

    def incumbent(self, stage: str) -> int | None:
        """See `Eyes`."""
        held = self.state.live(stage)
        return None if held is None else held.number

    def missing(self, fields: Collection[str]) -> list[str]:
        """See `Eyes`."""
        row = self.shelf.row(self.held)
        if any(field.startswith("tags.") for field in fields):
            row = {**row, "tags": self._tags(row)}
        return [field for field in fields if not _has(row, field)]

    def _tags(self, row: Json) -> Mapping[str, Any]:
        return self.shelf.history.refresh().tags_at(
            self.number, self.facts.position, row.get("tags", {})
        )

    def damage(self) -> list[str]:
        """See `Eyes`."""
        return damage(self.line, self.held)

    def schema_differs(self, other: int) -> list[str]:
        """See `Eyes`."""
        rows = [self.shelf.row(held) for held in (self._pointer(other), self.held)]
        if any(row["data"] is None for row in rows):
            raise NotFoundError(f"what {self.line.ref(other)} recorded of its data is gone")
        return list(_differs(*({n: _schema(d) for n, d in row["data"].items()} for row in rows)))

    def size(self) -> int:
        """See `Eyes`."""
        total: int = self.shelf.row(self.held)["bytes"]
        return total

    def call(self, target: str) -> Json:
        """See `Eyes`."""
        return ask(target, self.version, self.stage)

    def withdrawn(self) -> str | None:
        """See `Eyes`."""
        why = self.state.withdrawn.get(self.number)
        return None if why is None else why.reason[:MAX_SAYS]

    def frozen(self) -> Json | None:
        """See `Eyes`."""
        freeze = self.state.stage(self.stage).frozen
        if freeze is None or not freeze.holds_at(self.now):
            return None
        until = {} if freeze.until is None else {"until": freeze.until}
        return {"actor": freeze.actor, "reason": freeze.reason[:MAX_SAYS], **until}

    def rolled_back(self) -> bool:
        """See `Eyes`."""
        return self.number in self.state.stage(self.stage).left

    def served(self, stage: str) -> Json:
        """See `Eyes`."""
        there = self.state.stage(stage)
        if self.number not in there.been:
            return {"been": False, "seconds": None}
        known = there.spent(self.number, self.now)
        if known is None:
            known = spent(self.shelf.moves(stage, self.last), self.number, self.now)
        return {"been": True, "seconds": known / _SECOND}

    def observed(self, args: Mapping[str, Any]) -> Json:
        """See `Eyes`."""
        window = args.get("window_seconds")
        asked = Asked(
            number=self.number,
            metric=args["metric"],
            slice=args.get("slice"),
            window=None if window is None else timedelta(seconds=window),
            now=self.now,
        )
        last = 0 if self.observations is None else self.observations.position
        return measured(self.shelf.measured(last), asked)

    def said(self) -> Json:
        """See `Eyes`."""
        said = self.state.said_of(self.number, self.stage)
        return {
            "approved": sorted(s.actor for s in said if s.approves and self._same(s.sha256)),
            "author": self.shelf.row(self.held)["author"] if said else None,
            "rejected": sorted(s.actor for s in said if not s.approves),
        }

    def _same(self, sha256: str) -> bool:
        return sha256 == self.held.sha256


def _has(row: Json, field: str) -> bool:
    root, _, name = field.partition(".")
    value = row.get(root)
    if name:
        value = (value or {}).get(double(name) if root == "params" else name)
    return decode(value) not in (None, "", (), [], {})


def _schema(data: Json) -> Json:
    """Give what must be the same of two data sets: columns, or what each row is."""
    if data.get("columns"):
        columns: Json = data["columns"]
        return columns
    return {"each row": f"{data.get('dtype')} {list(data.get('shape') or ())[1:]}"}


def _differs(old: Json, new: Json) -> Any:
    for name in sorted({*old, *new}):
        if name not in new or name not in old:
            yield f"data {name!r} is {'missing' if name in old else 'new'}"
            continue
        for column in sorted({*old[name], *new[name]}):
            before, after = old[name].get(column), new[name].get(column)
            if before != after:
                yield f"{name}: {column!r} was {before or 'absent'}, is {after or 'absent'}"[:200]


def damage(line: Line, held: Pointer) -> list[str]:
    """Hash every file of a version now, and say what is not as committed."""
    try:
        opened = open_version(line, held)
    except (IntegrityError, NotFoundError) as e:
        return [str(e)[:MAX_SAYS]]
    broken = []
    for file in opened.record.files:
        try:
            opened.files.check(file.path)
        except IntegrityError as e:
            broken.append(str(e)[:MAX_SAYS])
    return broken


# The functions of the user's that are being asked.
_ASKED: ContextVar[tuple[str, ...]] = ContextVar("asked", default=())


def ask(target: str, version: Any, stage: str) -> Json:
    """Import a function of the user's by name and ask it."""
    from importlib import import_module

    if target in _ASKED.get():
        # Each refusal is looked at twice, so that it would go on for longer than anybody waits.
        return {"passed": False, "says": f"{target} promotes or checks a version: it asks itself"}
    module, _, path = target.partition(":")
    asked = _ASKED.set((*_ASKED.get(), target))
    try:
        function: Any = import_module(module)
        for part in path.split("."):
            function = getattr(function, part)
        return _answer(target, function(version, stage))
    except (Exception, SystemExit) as e:  # noqa: BLE001 - whatever it raises, it has not passed
        return {"passed": False, "says": _printable(f"{type(e).__name__}: {e}")}
    finally:
        _ASKED.reset(asked)


def _answer(target: str, answer: Any) -> Json:
    passed, says = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, "")
    # numpy's bool is none of Python's.
    if type(passed).__name__ in ("bool", "bool_") and isinstance(says, str):
        return {"passed": bool(passed), "says": _printable(says) or f"{target} says so"}
    return {
        "passed": False,
        "says": f"{target} gave {_printable(repr(answer))[:80]}, not a bool or (bool, text)",
    }


def _printable(text: str) -> str:
    """Give a text of the user's as a journal may keep it: one line, not long, without secrets."""
    return "".join(c if c.isprintable() else " " for c in masked(text))[:MAX_SAYS]


# ---- judging, and judging again ------------------------------------------------------------------


def report(moment: Moment, policy: Policy) -> GateReport:
    """Judge a version by a policy."""
    verdicts = tuple(decide(gate, moment) for gate in conditions(policy, moment.stage))
    return GateReport(
        subject=moment.line.ref(moment.number),
        stage=moment.stage,
        verdicts=verdicts,
        allow_override=policy.allow_override,
    )


def judged_again(moment: Moment, recorded: Any) -> tuple[Verdict, ...]:
    """Judge as was judged before; what cannot be seen again is taken from the record.

    Raises:
        RecordError: The record does not hold what was seen for each gate.
    """
    gates = conditions(policy_of(moment.state, moment.stage), moment.stage)
    verdicts = recorded.get("verdicts") if isinstance(recorded, dict) else None
    if not isinstance(verdicts, list) or len(verdicts) != len(gates):
        raise RecordError(f"the record has no verdict for each of {len(gates)} conditions")
    try:
        return tuple(
            decide(gate, moment, verdict["seen"])
            for gate, verdict in zip(gates, verdicts, strict=True)
        )
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise RecordError(f"a recorded verdict is not what the format says: {e!r:.100}") from e
