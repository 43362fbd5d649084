"""What was decided of a model, when, by whom and why; and each decision replayed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar, overload

import attrs

from modelversion import layout
from modelversion._json import dumps, loads, parse_timestamp
from modelversion.decisions import DECISIONS
from modelversion.display import Cell, Page, Picture, Shown, Table, when
from modelversion.display.plots import lanes
from modelversion.governing import rules_of, stage_named
from modelversion.history import History
from modelversion.journal import Head
from modelversion.judging import Shelf
from modelversion.phrases import phrase
from modelversion.records import Actor, Entry, event_json
from modelversion.replay import Explanation, replay, void
from modelversion.schema import Json, from_json, to_json
from modelversion.stages import Decisions
from modelversion.stays import MOVES
from modelversion.versions import Line

Said = TypeVar("Said", int, str)


@attrs.frozen
class Decision:
    """One entry of a model's decisions: who decided what, when and why."""

    _history: History = attrs.field(repr=False, alias="history", eq=False)
    _entry: Json = attrs.field(repr=False, alias="entry", eq=lambda e: (e["position"], e["time"]))

    @property
    def position(self) -> int:
        """Its number in the journal, from 1."""
        position: int = self._entry["position"]
        return position

    @property
    def time(self) -> str:
        """When it was decided: RFC 3339, UTC."""
        return str(self._entry["time"])

    @property
    def actor(self) -> Actor:
        """Who decided, and how that is known."""
        return from_json(Actor, self._entry["actor"], "actor")

    @property
    def kind(self) -> str:
        """What it is, such as `stage.promoted`."""
        return str(self.event.get("kind"))

    @property
    def event(self) -> Json:
        """All that was recorded of it, as plain JSON."""
        event: Json = self._entry["event"]
        return event

    @property
    def stage(self) -> str | None:
        """The stage it is about, if it is about one."""
        return self._said("stage", str)

    @property
    def number(self) -> int | None:
        """The version it is about, if it is about one."""
        return self._said("number", int)

    @property
    def reason(self) -> str | None:
        """Why, if that was said."""
        return self._said("reason", str)

    def _said(self, name: str, kind: type[Said]) -> Said | None:
        """Give a field of the event; what a forged one has in its place is passed over."""
        found = self.event.get(name)
        return found if type(found) is kind else None

    @property
    def override(self) -> bool:
        """True if a promotion passed over what was not met."""
        return self.event.get("override") is True

    def __repr__(self) -> str:
        return f"<Decision {self.position}: {self}>"

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        loud = " (OVERRIDE)" if self.override else ""
        text = f"{self.time[:19]}Z {self.actor} {self.action()}{loud}{why}"
        return "".join(c if c.isprintable() else " " for c in text)

    def action(self) -> str:
        """Say what was done, without who and why."""
        return phrase(self.event, self._history.line.ref)

    def explain(self) -> Explanation:
        """Replay it from the journal: the policy, the numbers and the state it was taken on.

        Raises:
            JournalError: The journal is not the one that this was read from.
        """
        return read(self._history).explain(self.position)

    def to_dict(self) -> Json:
        """Give it as plain JSON."""
        event = {k: v for k, v in self.event.items() if k not in ("kind", "must_understand")}
        return {
            "position": self.position,
            "time": self.time,
            "actor": self._entry["actor"],
            "kind": self.kind,
            **event,
            "text": self.action(),
        }


def decision(history: History, head: Head, event: Any) -> Decision:
    """Give the decision that has just been appended."""
    entry = {
        "position": head.position,
        "time": head.time,
        "actor": to_json(history.line.home.actor),
        "event": loads(dumps(event_json(event)), "event"),
    }
    return Decision(history, entry)


def decision_at(history: History, position: int) -> Decision:
    """Read one decision."""
    journal = history.line.decisions
    data = history.line.home.store.read(layout.entry(journal.folder, position))
    return Decision(history, to_json(journal.parse(data, position)))


# ---- all of them ---------------------------------------------------------------------------------


class Timeline(Sequence[Decision], Shown):
    """A model's decisions, oldest first; `history("production")` gives those on one stage."""

    def __init__(self, log: Log, stage: str | None) -> None:
        self._log = log
        self._stage = stage
        self._rows = [d for d in log.decisions if stage is None or d.stage == stage]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Decision: ...

    @overload
    def __getitem__(self, index: slice) -> list[Decision]: ...

    def __getitem__(self, index: int | slice) -> Decision | list[Decision]:
        return self._rows[index]

    def __repr__(self) -> str:
        what = f" on {self._stage}" if self._stage else ""
        return f"<Timeline {self._log.line.display}: {len(self)} decisions{what}>"

    def __str__(self) -> str:
        told = [f"{row}{_VOID if self._is_void(row) else ''}" for row in self._rows]
        return "\n".join(told) or "nothing was decided yet"

    def _is_void(self, row: Decision) -> bool:
        return row.position not in self._log.effective

    def intervals(self) -> list[Interval]:
        """Tell which version was in the stage from when until when; of all stages without one."""
        return self._log.intervals(self._stage)

    def _page(self) -> Page:
        rows = [
            (when(d.time), str(d.actor), _told(d.action(), void=self._is_void(d)), d.reason)
            for d in reversed(self._rows)
        ]
        columns = ("when", "who", "what", "why")
        on = f" on {self._stage}" if self._stage else ""
        return Page(
            f"history of {self._log.line.display}",
            f"{len(rows)} decisions{on}",
            blocks=[
                _swimlanes(self.intervals(), self._log.line.ref),
                Table("decisions", columns, rows=rows, empty="nothing was decided yet"),
            ],
        )

    def to_dict(self) -> list[Json]:  # type: ignore[override] # a history is a list
        """Give the decisions as plain JSON; one that is void has `effective` false."""
        return [
            {**row.to_dict(), "effective": False} if self._is_void(row) else row.to_dict()
            for row in self._rows
        ]

    def to_pandas(self) -> Any:
        """Give a pandas DataFrame with a row for each decision; needs pandas."""
        import pandas

        columns = ("position", "time", "actor", "kind", "stage", "number", "reason", "override")
        rows = [{name: getattr(row, name) for name in columns} for row in self._rows]
        frame = pandas.DataFrame([{**r, "actor": str(r["actor"])} for r in rows], columns=columns)
        frame["time"] = pandas.to_datetime(frame["time"], utc=True)
        frame["number"] = frame["number"].astype("Int64")
        return frame


_VOID = " (void: it made no sense where it stands, and changed nothing)"


def _told(action: str, *, void: bool) -> Cell:
    return Cell(f"{action}{_VOID}", tone="quiet") if void else Cell(action)


def _swimlanes(intervals: Sequence[Interval], ref: Callable[[int], str]) -> Picture | None:
    """Draw which version was in which stage; what is there still goes on to the right."""
    if not intervals:
        return None
    times = [seconds(t) for i in intervals for t in (i.since, i.until) if t is not None]
    end = max(times) + max((max(times) - min(times)) / 20, 1)
    stretches: dict[str, list[tuple[float, float, str]]] = {}
    for i in intervals:
        until = end if i.until is None else seconds(i.until)
        stretches.setdefault(i.stage, []).append((seconds(i.since), until, ref(i.number)))
    rows = [
        (i.stage, ref(i.number), when(i.since), when(i.until) if i.until else Cell(None, "now"))
        for i in intervals
    ]
    return Picture(
        "Stages over time",
        lanes(list(stretches.items())),
        kind="lanes",
        alt=f"which version was in {', '.join(stretches)}, from the left to the right",
        data=Table("intervals", ("stage", "version", "since", "until"), rows=rows),
    )


def seconds(time: str) -> float:
    """Give a stored time as seconds since 1970."""
    return parse_timestamp(time, "time").timestamp()


@attrs.frozen(kw_only=True)
class Interval:
    """A version's stay in a stage; `until` is None while it is there.

    In an audit `cut_off` is true where the journal cannot be read behind `until`: whether the
    version was there for longer is not known.
    """

    stage: str
    number: int
    since: str
    until: str | None
    began: Decision = attrs.field(repr=False)
    ended: Decision | None = attrs.field(repr=False)
    cut_off: bool = False

    def __str__(self) -> str:
        until = "now" if self.until is None else f"{self.until[:19]}Z"
        lost = ", and what came later is not known" if self.cut_off else ""
        return f"{self.stage} {self.number}: {self.since[:19]}Z to {until}{lost}"

    def to_dict(self) -> Json:
        """Give it as plain JSON."""
        return {
            "stage": self.stage,
            "number": self.number,
            "since": self.since,
            "until": self.until,
            "began": self.began.position,
            "ended": None if self.ended is None else self.ended.position,
            **({"cut_off": True} if self.cut_off else {}),
        }


Turn = tuple[Decision, Decisions, Decisions]


_Move = tuple[Decision, str, tuple[int, ...], tuple[int, ...]]


class Log:
    """A model's decisions; states are folded again where one is asked for, and not kept.

    A state shares little with the one before it: 10,000 of them took 50 MB.
    """

    def __init__(self, history: History, entries: list[Json]) -> None:
        self.line: Line = history.line
        self.decisions = [Decision(history, entry) for entry in entries]
        self._shelf = Shelf(history)

    def turns(self) -> Iterator[Turn]:
        """Give each decision with the state before and after it."""
        after, folder = Decisions(), self.line.decisions.folder
        for i, found in enumerate(self.decisions, 1):
            record = from_json(Entry, found._entry, f"{folder} entry {i}")
            before, after = after, DECISIONS.step(after, record, folder)
            yield found, before, after

    def state(self, count: int) -> Decisions:
        """Give the state after so many decisions."""
        last = deque(islice(self.turns(), count), maxlen=1)
        return last[0][2] if last else Decisions()

    def at(self, when: str) -> Decisions:
        """Give the state at a time as stored."""
        return self.state(sum(1 for found in self.decisions if found.time <= when))

    @cached_property
    def _told(self) -> tuple[frozenset[int], list[_Move]]:
        """Give the positions of what is not void, and who left and who came into a stage when."""
        effective, moves = [], []
        for found, before, after in self.turns():
            if after.void == before.void:
                effective.append(found.position)
                if found.kind in MOVES and found.stage is not None:
                    old, new = before.stage(found.stage).live, after.stage(found.stage).live
                    moves.append((found, found.stage, old, new))
        return frozenset(effective), moves

    @property
    def effective(self) -> frozenset[int]:
        """The positions of the decisions that are not void."""
        return self._told[0]

    def last_move(self, stage: str) -> Decision | None:
        """Give the decision that last changed what is in a stage."""
        moves = [found for found, name, old, new in self._told[1] if name == stage and old != new]
        return moves[-1] if moves else None

    def intervals(self, stage: str | None) -> list[Interval]:
        """Give the stays in a stage, or in all, by when they began."""
        stays: list[Interval] = []
        running: dict[tuple[str, int], int] = {}
        for found, name, old, new in self._told[1]:
            if stage not in (None, name):
                continue
            for number in (n for n in old if n not in new):
                i = running.pop((name, number))
                stays[i] = attrs.evolve(stays[i], until=found.time, ended=found)
            for number in (n for n in new if n not in old):
                running[name, number] = len(stays)
                stays.append(_begun(name, number, found))
        return stays

    def explain(self, position: int) -> Explanation:
        """Replay one decision."""
        found = self.decisions[position - 1]
        _, before, after = next(islice(self.turns(), position - 1, None))
        if after.void > before.void:
            return void(found.event, subject=str(found))
        entry = {"position": position, "event": found.event}
        return replay(self._shelf, entry, before, subject=str(found))


def _begun(stage: str, number: int, began: Decision) -> Interval:
    return Interval(
        stage=stage, number=number, since=began.time, until=None, began=began, ended=None
    )


def timeline(history: History, stage: str | None) -> Timeline:
    """Give a model's decisions, or those on one stage.

    Raises:
        StageNotFoundError: There is no such stage.
    """
    log = read(history)
    if stage is None:
        return Timeline(log, None)
    known = dict.fromkeys(
        [*rules_of(history.line).stages, *history.line.decisions.seen().state.stages]
    )
    return Timeline(log, stage_named(known, stage, history.line.display))


def read(history: History) -> Log:
    """Read all of a model's decisions."""
    journal = history.line.decisions
    return Log(history, journal.history(journal.start(), journal.head()))
