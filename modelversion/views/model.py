"""What a registry, a model and a table of versions show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from modelversion._json import decode
from modelversion.broken import Broken, Problem
from modelversion.broken import table as unread
from modelversion.display import (
    Cell,
    Facts,
    Page,
    Section,
    Table,
    Text,
    Tone,
    counted,
    shown,
    size,
    when,
)
from modelversion.history import History
from modelversion.metrics import change, direction, is_number
from modelversion.schema import Json
from modelversion.views.changes import Change, last_changes

_ROWS = 20
_METRICS = 4
_PARAMS = 3
_SPARK = 40
_CHANGES = 8
_NONE: Json = {}
Row = tuple[History, int]


class Standing:
    """How the versions of a model stand to each other: who is live, named, best."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.numbers = history.numbers()
        self.stages = stages_of(history)
        self.best = self._best()

    def _best(self) -> dict[str, tuple[int, float]]:
        """Give the best version of each metric whose direction is known, as `best` gives it.

        The direction is what was said last, or what the name tells.
        """
        higher: dict[str, bool | None] = {}
        found: dict[str, list[tuple[float, int]]] = {}
        for number in self.numbers:
            row = self.history.summary(number)
            if self.history.counts(number):
                higher.update(row.get("directions", _NONE))
                for name, value in row.get("metrics", _NONE).items():
                    if is_number(value):
                        found.setdefault(name, []).append((value, number))
        best = {}
        for name, values in found.items():
            up = higher.get(name, direction(name))
            if up is not None:
                value, number = (max if up else min)(values, key=itemgetter(0))
                best[name] = (number, value)
        return best

    @property
    def live(self) -> int | None:
        """The version that others are measured against: the one in the last stage that has one."""
        filled = [live[-1] for live in self.stages.values() if live]
        return filled[-1] if filled else None

    def marks(self, number: int) -> Cell:
        """Tell in words what a version is: its stages, aliases, what it is best in."""
        decided = self.history.decisions
        names = self.history.names(number)
        best = [name for name, (best, _) in self.best.items() if best == number][:3]
        names += [f"best {', '.join(best)}"] if best else []
        bad = ["withdrawn"] if number in decided.withdrawn else []
        bad += ["failed"] if self.history.summary(number).get("failed") else []
        tone: Tone = "bad" if bad else ""
        return Cell(", ".join([*names, *bad]), tone=tone)


def stages_of(history: History) -> dict[str, Sequence[int]]:
    """Give the stages in their order: name -> the versions in it, the one that counts last."""
    decided = history.decisions
    return {name: decided.stage(name).live for name in decided.stage_names()}


# ---- a registry ----------------------------------------------------------------------------------


def registry_page(url: str, histories: Iterable[History]) -> Page:
    """Describe a registry: its models, what is live in each, and what changed last."""
    found = list(histories)
    rows: list[Sequence[Any]] = []
    broken = Broken()
    for history in found[:_ROWS]:
        with broken.aside(history.line.facts, history.line.decisions):
            rows.append(_model_row(history.refresh()))
    problems, more = broken.problems, len(found) - len(found[:_ROWS])
    columns = ("model", "versions", "latest", "live", "last change", "by", "size")
    table = Table("models", columns, rows=rows, more=more, empty="no models yet")
    how = f"registry = modelversion.Registry({url!r})\nregistry[name].latest.load()"
    load = Section("How to load", [Text("code", how)])
    return Page(
        url,
        counted(len(found), "model"),
        tone="bad" if problems else "",
        blocks=[unread(problems), table if rows or not found else None, load if rows else None],
    )


def _model_row(history: History) -> Sequence[Any]:
    numbers = history.numbers()
    stages = {stage: live for stage, live in stages_of(history).items() if live}
    live = [f"{stage} {history.line.ref(live[-1])}" for stage, live in stages.items()][::-1]
    change = next(iter(last_changes(history, count=1)), None)
    return (
        history.line.display,
        len(numbers),
        history.line.ref(numbers[-1]) if numbers else None,
        ", ".join(live),
        None if change is None else Cell(change.time, f"{when(change.time).text} {change.what}"),
        None if change is None else change.actor,
        size(sum(history.summary(number).get("bytes", 0) for number in numbers)),
    )


# ---- a model -------------------------------------------------------------------------------------


def model_page(history: History, url: str) -> Page:
    """Describe a model: what is live, what is best, what changed last and by whom."""
    history.refresh()
    standing = history.kept(Standing)
    newest = standing.numbers[::-1]
    changes = last_changes(history, count=_CHANGES)
    table = versions_table([(history, n) for n in newest[:_ROWS]], standings={history: standing})
    return Page(
        history.line.display,
        _headline(standing),
        blocks=[
            Facts(_model_facts(standing, changes)),
            Table(table.name, table.columns, rows=table.rows, more=len(newest) - len(table.rows)),
            Section("Last changes", [_changes(changes)], says=f"the last {len(changes)}"),
            Section("How to load", [Text("code", _how_to_load(standing, url))]),
        ],
    )


def _headline(standing: Standing) -> str:
    count = len(standing.numbers)
    if not count:
        return "no versions"
    ref = standing.history.line.ref
    parts = [f"{counted(count, 'version')}, latest {ref(standing.numbers[-1])}"]
    parts += [f"{stage} {ref(live[-1])}" for stage, live in standing.stages.items() if live][::-1]
    return "; ".join(parts)


def _model_facts(standing: Standing, changes: Sequence[Change]) -> dict[str, Any]:
    history, ref = standing.history, standing.history.line.ref
    facts: dict[str, Any] = {}
    for stage in reversed(standing.stages):
        facts[f"in {stage}"] = _in_stage(standing, stage)
    for alias, pointer in sorted(history.decisions.aliases.items()):
        facts[f"alias {alias}"] = ref(pointer.number)
    for name, (number, value) in list(standing.best.items())[:_METRICS]:
        spark = _across(standing, name)
        text = f"{ref(number)} with {value:.6g}"
        facts[f"best {name}"] = Cell(ref(number), text, spark=spark if len(spark) > 1 else ())
    if standing.live is not None:
        facts.update(_observed(standing, standing.live))
    if changes:
        last = changes[0]
        why = f": {last.why}" if last.why else ""
        text = f"{last.actor} {last.what}{why}, {when(last.time).text}"
        facts["last change"] = Cell(last.time, text)
    return facts


def _in_stage(standing: Standing, stage: str) -> Cell:
    """Tell what is in a stage, and since when; nothing where nothing ever was."""
    found = standing.history.decisions.stage(stage)
    if not found.live:
        return Cell(None, "nothing any more" if found.been else None, tone="quiet")
    refs = [standing.history.line.ref(number) for number in found.live]
    since = found.tenures[found.live[-1]].since
    bad = found.live[-1] in standing.history.decisions.withdrawn
    said = f"{', '.join(refs)}, since {when(since).text}{', withdrawn' if bad else ''}"
    return Cell(refs[-1], said, tone="bad" if bad else "")


def _observed(standing: Standing, number: int) -> dict[str, Any]:
    """Give what was measured last of a version where it serves."""
    line = standing.history.line
    facts: dict[str, Any] = {}
    for name, seen in list(standing.history.observed(number).items())[:_METRICS]:
        value, count = decode(seen.value), "" if seen.n is None else f" on {seen.n:,}"
        text = f"{shown(value, 12)}{count} of {line.ref(number)}, until {seen.until[:10]}"
        facts[f"observed {name}"] = Cell(value, text)
    return facts


def _across(standing: Standing, name: str) -> list[float]:
    rows = map(standing.history.summary, standing.numbers[-_SPARK:])
    values = [row.get("metrics", {}).get(name) for row in rows]
    return [value for value in values if is_number(value)]


def _changes(changes: Sequence[Change]) -> Table:
    rows = [(when(c.time), c.actor, c.what, c.why) for c in changes]
    return Table("changes", ("when", "who", "what", "why"), rows=rows)


def _how_to_load(standing: Standing, url: str) -> str:
    name = standing.history.line.display
    lines = [f"registry = modelversion.Registry({url!r})"]
    filled = [stage for stage, live in standing.stages.items() if live]
    names = [*filled[::-1], *sorted(standing.history.decisions.aliases)]
    lines += [f'registry.load("{name}@{selector}")' for selector in names[:3]]
    newest = next(_loadable(standing), None)
    lines += [] if newest is None else [f'registry.load("{name}:{newest}")']
    return "\n".join(lines)


def _loadable(standing: Standing) -> Iterator[int]:
    """Give what can be loaded and neither failed nor was withdrawn, the newest first."""
    for number in reversed(standing.numbers):
        if standing.history.counts(number) and standing.history.summary(number).get("type"):
            yield number


# ---- a table of versions -------------------------------------------------------------------------


def versions_page(
    rows: Sequence[Row],
    sparks: Callable[[Row], Mapping[str, Sequence[float]]],
    problems: Sequence[Problem] = (),
) -> Page:
    """Describe versions, of one model or of several."""
    shown = rows[:_ROWS]
    table = versions_table(shown, sparks=sparks)
    more = len(rows) - len(shown)
    blocks = [unread(problems), Table(table.name, table.columns, rows=table.rows, more=more)]
    tone: Tone = "bad" if problems else ""
    return Page("versions", counted(len(rows), "version"), tone=tone, blocks=blocks)


def versions_table(
    rows: Sequence[Row],
    *,
    standings: dict[History, Standing] | None = None,
    sparks: Callable[[Row], Mapping[str, Sequence[float]]] | None = None,
) -> Table:
    """Give versions as rows: what each is, when and by whom, metrics, and params that differ.

    Metrics say how they changed against what is live. A run that failed, perhaps before it logged
    its params, makes none of them differ.
    """
    known = dict(standings or {})
    for history, _ in rows:
        if history not in known:
            known[history] = history.kept(Standing)
    summaries = [history.summary(number) for history, number in rows]
    metrics = _common(summaries, "metrics")[:_METRICS]
    whole = [summary for summary in summaries if not summary.get("failed")]
    params = [name for name in _common(summaries, "params") if _differ(whole, name)][:_PARAMS]
    columns = ["version", "is", *metrics, *params, "saved", "by"]
    names = [*metrics, *(f"param {name}" if name in metrics else name for name in params)]
    body = []
    for (history, number), summary in zip(rows, summaries, strict=True):
        standing = known[history]
        drawn: Mapping[str, Sequence[float]] = {} if sparks is None else sparks((history, number))
        body.append(
            [
                history.line.ref(number),
                standing.marks(number),
                *(_metric(standing, number, name, drawn.get(name, ())) for name in metrics),
                *(_short(summary.get("params", {}).get(name)) for name in params),
                _minute(summary["created_at"]),
                summary["actor"],
            ]
        )
    columns[2:-2] = names
    if any(summary.get("description") for summary in summaries):
        columns.append("description")
        for row, summary in zip(body, summaries, strict=True):
            row.append(_short(summary.get("description")))
    return Table("versions", columns, rows=body)


def _minute(time: str) -> Cell:
    return Cell(time, f"{time[:16].replace('T', ' ')} UTC", unbroken=True)


def _short(stored: Any) -> Cell:
    value = decode(stored)
    return Cell(value, shown(value, 40))


def _common(summaries: Sequence[Json], space: str) -> list[str]:
    """Name what the rows have, what most of them have first."""
    counts: dict[str, int] = {}
    for summary in summaries:
        for name in summary.get(space, {}):
            counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: -counts[name])


def _differ(summaries: Sequence[Json], name: str) -> bool:
    return len({repr(summary.get("params", {}).get(name)) for summary in summaries}) > 1


def _metric(standing: Standing, number: int, name: str, spark: Sequence[float]) -> Any:
    value = decode(standing.history.summary(number).get("metrics", {}).get(name))
    if not is_number(value):
        return value
    said, tone = against_live(standing, number, name)
    return Cell(value, f"{value:.6g}", below=said, tone=tone, spark=spark)


def against_live(standing: Standing, number: int, name: str) -> tuple[str, Tone]:
    """Tell how a metric changed against what is live; nothing where nothing else is."""
    live = standing.live
    if live is None or live == number:
        return "", ""
    history = standing.history
    here, there = (history.summary(n).get("metrics", {}).get(name) for n in (number, live))
    if not (is_number(here) and is_number(there)):
        return "", ""
    return change(here - there, history.direction(number, name))
