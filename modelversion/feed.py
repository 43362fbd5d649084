"""The feed: what happened in a registry, from all of its journals, each event once.

A cursor is how far every journal was read. Journals are read by their merges, so that the first
look at a long history costs few requests.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, overload

from modelversion import _json
from modelversion.broken import Broken, Problem, table
from modelversion.decisions import DECISIONS
from modelversion.display import Page, Shown, Table, Tone, when
from modelversion.errors import InvalidInputError, JournalRewoundError, RecordError
from modelversion.home import Home
from modelversion.hooks import ANY, Event, event_of
from modelversion.journal import Journal
from modelversion.moments import moment
from modelversion.observed import OBSERVATIONS
from modelversion.state import FACTS, MODELS
from modelversion.versions import Line

NOW = "now"
_MARK = "mv1."
_LARGEST = 16 * 2**20


class Events(Shown, Sequence[Event]):
    """Events in the order of their times; `cursor` is where the next look goes on.

    Times are those of the writers' clocks. What is in one journal is always in its own order.
    """

    def __init__(
        self, told: Sequence[Event], cursor: str, subject: str, problems: tuple[Problem, ...] = ()
    ) -> None:
        self._events = told
        self.cursor = cursor
        self.problems = problems
        self._subject = subject

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Event]: ...

    def __getitem__(self, index: int | slice) -> Event | Sequence[Event]:
        return self._events[index]

    def __repr__(self) -> str:
        missing = f", {len(self.problems)} journals cannot be read" if self.problems else ""
        return f"<Events of {self._subject}: {len(self)}{missing}>"

    def _page(self) -> Page:
        columns = ("time", "actor", "kind", "ref", "reason")
        rows = [
            (when(e.time), e.actor.name, e.kind, e.ref, e.data.get("reason")) for e in self._events
        ]
        told = Table("events", columns, rows=rows, empty="nothing happened")
        says = f"{len(self)} event{'' if len(self) == 1 else 's'}"
        tone: Tone = "bad" if self.problems else ""
        return Page(self._subject, says, tone=tone, blocks=[table(self.problems), told])


def check_kind(kind: Any) -> None:
    """Refuse what is no kind of event.

    Raises:
        InvalidInputError: There is no such kind; those that are there are listed.
    """
    known = sorted({*FACTS.rules, *MODELS.rules, *DECISIONS.rules, *OBSERVATIONS.rules})
    if kind != ANY and kind not in known:
        raise InvalidInputError(
            f"there is no event {kind!r:.80}; events: {', '.join(known)}, and {ANY!r} for all"
        )


def read_events(home: Home, lines: Iterable[Line], *, since: Any, limit: Any) -> Events:
    """Give what happened.

    Args:
        home: The registry's place.
        lines: Its models.
        since: A cursor, a time or a day, `"now"` for nothing but a cursor, None for all.
        limit: How many at most.

    Raises:
        InvalidInputError: `since` or `limit` is none of these, or the cursor another registry's.
        JournalError: The registry's own journal cannot be read.
    """
    if limit is not None and (type(limit) is not int or limit < 0):
        raise InvalidInputError(f"limit must be a number of events, found {limit!r:.80}")
    registry_id = home.id() or ""
    read, earliest = _start(since, registry_id)
    found: list[tuple[str, int, Event]] = []
    ends: dict[str, int] = dict(read)
    broken = Broken()
    for i, journal in enumerate(_journals(home, lines)):
        first = None if since == NOW else read.get(journal.folder, 0)
        # Of one that cannot be read nothing was told: the cursor stays where it was.
        with broken.aside(journal):
            told, ends[journal.folder] = _told(journal, first)
            found += [(event.time, i, event) for event in told if event.time >= earliest]
    found.sort(key=lambda item: (item[0], item[1], item[2].position))
    taken = [event for _, _, event in found[:limit]]
    for _, _, event in reversed(found[len(taken) :]):
        ends[event.journal] = event.position - 1
    broken.warn("there are no events of")
    return Events(taken, _cursor(registry_id, ends), home.store.url, broken.problems)


def _told(journal: Journal, first: int | None) -> tuple[list[Event], int]:
    """Give the events behind a position, none without one, and where the journal ends."""
    head = journal.head()
    if first is None:
        return [], head.position
    _refuse_rewound(journal, first, head.position)
    entries = journal.history(first, head)
    return [event_of(journal.folder, entry) for entry in entries], head.position


def _journals(home: Home, lines: Iterable[Line]) -> list[Journal]:
    """Give every journal; a model's facts come last, since the others rest on them."""
    policies = home.policies()
    found = [] if policies is None else [policies]
    for line in lines:
        found += [line.observations, line.decisions, line.facts]
    return found


def _refuse_rewound(journal: Journal, read: int, last: int) -> None:
    if read > last:
        raise JournalRewoundError(
            f"{journal.folder} ends with entry {last} and the cursor has read {read}; the journal "
            "was cut off or restored from an older copy: verify it, then begin without a cursor"
        )


# ---- cursors -------------------------------------------------------------------------------------


def _start(since: Any, registry_id: str) -> tuple[dict[str, int], str]:
    """Give what was read before, and the earliest time of interest."""
    if since is None or since == NOW:
        return {}, ""
    if isinstance(since, str) and since.startswith(_MARK):
        return _parse(since, registry_id), ""
    if isinstance(since, (str, date)):
        return {}, moment(since, "since", end=False)
    raise InvalidInputError(
        f"since must be a cursor, a time, a day or {NOW!r}, found {type(since).__name__}"
    )


def _cursor(registry_id: str, ends: dict[str, int]) -> str:
    read = {folder: position for folder, position in ends.items() if position}
    data = zlib.compress(_json.dumps({"registry": registry_id, "read": read}), 9)
    return _MARK + base64.urlsafe_b64encode(data).decode().rstrip("=")


_UNREADABLE = (AttributeError, KeyError, RecordError, TypeError, ValueError, zlib.error)


def _parse(cursor: str, registry_id: str) -> dict[str, int]:
    text = cursor.removeprefix(_MARK)
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        inflate = zlib.decompressobj()
        value = _json.loads(inflate.decompress(data, _LARGEST), "cursor")
        read, found = value["read"], value["registry"]
        whole = inflate.eof and not inflate.unused_data
        if not whole or not all(type(n) is int and n > 0 for n in read.values()):
            raise ValueError
    except _UNREADABLE as e:
        raise InvalidInputError(f"{cursor[:60]!r} is no cursor that events() gave") from e
    if found and found != registry_id:
        raise InvalidInputError(f"the cursor is of the registry {found}, and this is {registry_id}")
    return dict(read)
