"""The difference of two versions, and what of it could explain a metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from modelversion._json import decode
from modelversion.differences import (
    Changed,
    DataChange,
    changes,
    data_changes,
    directions,
    file_changes,
    how,
    kept_as,
    metrics,
    packages,
    patch,
    platform,
    signature_changes,
    step_changes,
    steps,
    unknown_data,
)
from modelversion.display import (
    Cell,
    Note,
    Page,
    Section,
    Shown,
    Table,
    Text,
    counted,
    size,
    without_empty,
)
from modelversion.history import History
from modelversion.loading import recorded_source
from modelversion.metrics import moved
from modelversion.records import VersionRecord
from modelversion.versions import Opened


@attrs.frozen
class Side:
    """One of the two versions: its record, how its files are read, and what was observed."""

    ref: str
    record: VersionRecord
    read: Callable[[str], bytes | bytearray]
    observed: Mapping[str, tuple[Any, int | None]] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Diff(Shown):
    """What differs between two versions; falsy if nothing does.

    Attributes:
        before: The reference of the version that is compared with.
        after: The reference of the version that was asked.
        metrics: Metrics that differ, with their directions in the display.
        params: Params that differ.
        data: Data sets that differ, column by column.
        steps: Steps that differ, as plain data without how long they took.
        code: The change of the source as a unified patch, empty if it is the same.
        packages: Packages of other versions.
        environment: Python and the platform where they differ.
        files: Files that differ, with their sizes in bytes.
        object: The object's type, serializer and signature where they differ.
        observed: What was measured last in production: reference, metric, recorded, observed, n.
        unknown: Data sets whose content cannot be compared, since one has no digest.
    """

    before: str
    after: str
    metrics: tuple[Changed, ...]
    params: tuple[Changed, ...]
    data: tuple[DataChange, ...]
    steps: tuple[Changed, ...]
    code: str
    packages: tuple[Changed, ...]
    environment: tuple[Changed, ...]
    files: tuple[Changed, ...]
    object: tuple[Changed, ...]
    unknown: tuple[str, ...] = ()
    observed: tuple[tuple[str, str, Any, Any, int | None], ...] = ()
    _directions: Mapping[str, bool | None] = attrs.field(factory=dict, repr=False)

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in _PARTS)

    def __repr__(self) -> str:
        return f"<Diff {self.before} -> {self.after}: {', '.join(self._counts()) or 'the same'}>"

    def _counts(self) -> list[str]:
        found = [(name, getattr(self, name)) for name in _PARTS]
        return [_counted(what, name) for name, what in found if what]

    def _page(self) -> Page:
        same = [name for name in _PARTS if not getattr(self, name)]
        said = f"the same: {', '.join(same)}" if same else ""
        if self.unknown:
            said += f"; not known of the content of {', '.join(self.unknown)}, without a digest"
        return Page(
            f"{self.before} → {self.after}",
            ", ".join(self._counts()) or "the same",
            blocks=[
                _metric_table(self),
                Table("what changed", ("part", "what", "how"), rows=list(_causes(self))),
                Note(said.removeprefix("; "), "quiet") if said else None,
                _columns(self.data),
                Section("Code", [Text("patch", self.code)], says=_lines_of(self.code)),
                _observed_table(self),
                _section("Packages", self.packages),
                _section("Environment", self.environment),
                _steps(self.steps),
                _section("Object", self.object),
                _section("Files", self.files, show=size),
            ],
        )


_NAMED = 6
_PARTS = (
    "metrics",
    "params",
    "data",
    "steps",
    "code",
    "packages",
    "environment",
    "files",
    "object",
)


def _counted(found: Sequence[Any], name: str) -> str:
    if name in ("code", "environment", "object"):
        return name
    return counted(len(found), "data set" if name == "data" else name.removesuffix("s"))


def side_of(history: History, number: int, opened: Opened) -> Side:
    """Give a version as one of the two."""
    seen = history.observed(number).items()
    observed = {name: (decode(found.value), found.n) for name, found in seen}
    return Side(history.line.ref(number), opened.record, opened.files.read, observed)


def diff(before: Side, after: Side) -> Diff:
    """Compare the records of two versions; of their files only the source is read."""
    old, new = before.record, after.record
    return Diff(
        before=before.ref,
        after=after.ref,
        metrics=changes(metrics(old), metrics(new)),
        params=changes(decode(old.params), decode(new.params)),
        data=tuple(data_changes(old.data, new.data)),
        steps=changes(steps(old.steps), steps(new.steps)),
        code=patch(_source(before), _source(after)),
        packages=changes(packages(old.environment), packages(new.environment)),
        environment=changes(platform(old.environment), platform(new.environment)),
        files=tuple(file_changes(old, new)),
        object=(*changes(kept_as(old), kept_as(new)), *signature_changes(old, new)),
        observed=tuple(_observed(before, after)),
        unknown=tuple(unknown_data(old.data, new.data)),
        directions=directions(old) | directions(new),
    )


def _observed(*sides: Side) -> Iterator[tuple[str, str, Any, Any, int | None]]:
    for side in sides:
        recorded = metrics(side.record)
        for name, (value, n) in side.observed.items():
            yield side.ref, name, recorded.get(name), value, n


def _source(side: Side) -> tuple[str, str]:
    return side.ref, recorded_source(side.record, side.read)


# ---- what is shown -------------------------------------------------------------------------------


def _metric_table(diff: Diff) -> Table:
    rows = [
        (c.name, _shown(c.before), _shown(c.after), _moved(c, diff._directions.get(c.name)))
        for c in diff.metrics
    ]
    columns = ("metric", diff.before, diff.after, "change")
    return Table("metrics", columns, rows=rows, empty="no metric differs")


def _moved(changed: Changed, higher: bool | None) -> Cell:
    by = moved(changed.before, changed.after, higher=higher)
    return Cell(None, changed.what) if by.value is None else by


def _observed_table(diff: Diff) -> Table:
    rows = [
        (ref, name, before, value, moved(before, value, higher=diff._directions.get(name)), n)
        for ref, name, before, value, n in diff.observed
    ]
    columns = ("version", "metric", "recorded", "observed", "change", "n")
    return Table("observed in production", columns, rows=rows)


def _shown(value: Any) -> Any:
    return Cell(None, "not there", tone="quiet") if value is None else value


def _causes(diff: Diff) -> Iterator[tuple[str, str, Any]]:
    """Give a line for whatever could explain a metric, what most often does first."""
    for item in diff.data:
        yield "data", f"{item.name} {item.what}", _data_said(item)
    parts = (("param", diff.params, _said), ("step", diff.steps, _step_said))
    for part, changed, say in (*parts, ("object", diff.object, how)):
        for c in changed:
            yield part, f"{c.name} {c.what}", say(c)
    if diff.code:
        yield "code", "changed", _lines_of(diff.code)
    for part, found in (("package", diff.packages), ("environment", diff.environment)):
        for c in found[:_NAMED]:
            yield part, f"{c.name} {c.what}", _said(c)
        if len(found) > _NAMED:
            yield part, f"{len(found) - _NAMED} more", "see below"


def _said(changed: Changed) -> str:
    sides = ("not there" if v is None else str(v) for v in (changed.before, changed.after))
    return " → ".join(sides)


def _step_said(changed: Changed) -> str:
    moves = step_changes(changed)
    more = [f"{len(moves) - _NAMED} more"] if len(moves) > _NAMED else []
    return ", ".join([*(f"{c.name} {_said(c)}" for c in moves[:_NAMED]), *more])


def _steps(found: Sequence[Changed]) -> Section:
    rows: list[tuple[Any, ...]] = []
    for step in found:
        moves = step_changes(step)
        rows += [(step.name, step.what, c.name, _shown(c.before), _shown(c.after)) for c in moves]
        rows += [] if moves else [(step.name, step.what, None, None, None)]
    table = Table("steps", ("step", "what", "part", "before", "after"), rows=rows)
    return Section("Steps", [without_empty(table)], says=f"{len(found)} differ")


def _data_said(item: DataChange) -> str:
    counts: dict[str, list[str]] = {}
    for column in item.columns:
        counts.setdefault(column.what, []).append(column.name)
    said = [f"{what}: {', '.join(names)}" for what, names in counts.items()]
    return "; ".join([*filter(None, [item.detail]), *said])


def _columns(data: Sequence[DataChange]) -> Section:
    rows = [(d.name, c.name, c.what, c.detail) for d in data for c in d.columns]
    table = Table("columns", ("data", "column", "what", "how"), rows=rows)
    return Section("Columns", [table], says=f"{len(rows)} differ")


def _lines_of(patch: str) -> str:
    lines = patch.splitlines()[2:]
    added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
    return f"{added} lines added, {removed} removed"


def _section(
    title: str, found: Sequence[Changed], *, show: Callable[[Any], Any] = _shown
) -> Section:
    rows = [
        (c.name, c.what, *(_shown(v) if v is None else show(v) for v in (c.before, c.after)))
        for c in found
    ]
    table = Table(title.lower(), ("name", "what", "before", "after"), rows=rows)
    return Section(title, [table], says=f"{len(rows)} differ")
