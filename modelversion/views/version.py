"""What a version shows: where it stands, what it scored, what it was made from and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelversion import layout
from modelversion._json import decode
from modelversion.display import (
    Block,
    Cell,
    Facts,
    Page,
    Picture,
    Section,
    Table,
    Text,
    Tone,
    counted,
    shape,
    size,
    when,
    without_empty,
)
from modelversion.display import digest as short
from modelversion.display.plots import lines
from modelversion.history import History
from modelversion.loading import Read, recorded_source
from modelversion.metrics import direction, is_number, moved, series_of
from modelversion.records import (
    CodeRecord,
    DataRecord,
    EnvironmentRecord,
    SignatureRecord,
    VersionRecord,
)
from modelversion.schema import to_json
from modelversion.views.changes import last_changes
from modelversion.views.model import Standing, against_live

_LOOKED_AT = 200
_READ = 2**18
Series = Mapping[str, Sequence[tuple[Any, Any]]]


def version_page(
    history: History, number: int, *, record: VersionRecord, read: Read, url: str
) -> Page:
    """Describe a version; of its files only the series and the source are read, if small."""
    history.refresh()
    standing = history.kept(Standing)
    ref = history.line.ref(number)
    series = small_series(record, read)
    says, tone = _headline(standing, number, record)
    return Page(
        ref,
        says,
        tone=tone,
        blocks=[
            _facts(history, number, record),
            _metrics(standing, number, record, series),
            _curves(series),
            _observed(history, number),
            _params(record),
            *data_blocks(record.data),
            _steps(record.steps),
            _code(record.code, record, read),
            _environment(record.environment),
            _files(record),
            _said(history, number),
            None if record.object is None else _how_to_load(url, ref),
        ],
    )


def _headline(standing: Standing, number: int, record: VersionRecord) -> tuple[str, Tone]:
    why = standing.history.decisions.withdrawn.get(number)
    if why is not None:
        instead = f"; use {standing.history.line.ref(why.use_instead)}" if why.use_instead else ""
        return f"withdrawn: {why.reason}{instead}", "bad"
    if record.failed:
        return f"a failed run: {record.failed}", "bad"
    return str(standing.marks(number).value), ""


def _facts(history: History, number: int, record: VersionRecord) -> Facts:
    tags = decode(history.summary(number).get("tags", {}))
    return Facts(
        {
            "description": record.description,
            "object": None if record.object is None else record.object.type,
            "signature": _signature(record.signature),
            "saved": when(record.created_at),
            "by": Cell(record.actor.name, f"{record.actor.name} ({_known(record.actor.source)})"),
            "made from": ", ".join(record.parents),
            "tags": ", ".join(f"{name}={value}" for name, value in tags.items()),
            "took": seconds(record.duration_seconds),
            "size": size(sum(file.size for file in record.files)),
            "digest": short(history.pointer(number).sha256),
        }
    )


def _signature(signature: SignatureRecord | None) -> Cell:
    return Cell(None) if signature is None else Cell(to_json(signature), str(signature))


def _known(source: str) -> str:
    return {"signed": "signed", "ci": "as the CI says"}.get(source, "self-declared")


def seconds(count: float | None) -> Cell:
    """Show how long something took."""
    return Cell(count, None if count is None else f"{count:.3g} s")


# ---- metrics and params --------------------------------------------------------------------------


def _metrics(standing: Standing, number: int, record: VersionRecord, series: Series) -> Table:
    rows = []
    for name, metric in record.metrics.items():
        value = decode(metric.value)
        higher = direction(name) if metric.higher_is_better is None else metric.higher_is_better
        said, tone = against_live(standing, number, name)
        drawn = [value for _, value in series.get(name, ())]
        rows.append(
            (
                name,
                Cell(value, spark=drawn if len(drawn) > 1 else ()),
                {True: "higher", False: "lower", None: None}[higher],
                metric.n,
                Cell(said or None, tone=tone),
            )
        )
    live = standing.live
    against = "change" if live is None else f"against {standing.history.line.ref(live)}"
    columns = ("metric", "value", "better", "n", against)
    return without_empty(Table("metrics", columns, rows=rows))


def small_series(record: VersionRecord, read: Read) -> Series:
    """Give (step, value) of each metric that was logged by step, if their file is small."""
    sizes = {file.path: file.size for file in record.files}
    if not 0 < sizes.get(layout.SERIES, 0) <= _READ:
        return {}
    found = series_of(bytes(read(layout.SERIES)))
    return {
        name: [(step, value) for step, value in points if is_number(step) and is_number(value)]
        for name, points in found.items()
    }


def _observed(history: History, number: int) -> Table:
    """Compare what was measured last in production with what was recorded."""
    recorded = decode(history.summary(number).get("metrics", {}))
    rows = []
    for name, seen in history.observed(number).items():
        value, before = decode(seen.value), recorded.get(name)
        against = moved(before, value, higher=history.direction(number, name))
        rows.append((name, value, before, against, seen.n, when(seen.until)))
    columns = ("metric", "observed", "recorded", "change", "n", "until")
    return without_empty(Table("observed in production", columns, rows=rows))


def _curves(series: Series) -> Section | None:
    """Draw the metrics that were logged by step, over their steps."""
    drawn = {name: points for name, points in series.items() if len(points) > 1}
    if not drawn:
        return None
    steps = sorted({step for points in drawn.values() for step, _ in points})
    values = {name: dict(points) for name, points in drawn.items()}
    rows = [(step, *(found.get(step) for found in values.values())) for step in steps]
    names = ", ".join(drawn)
    picture = Picture(
        "Values",
        lines(drawn, axis="step"),
        kind="lines",
        alt=f"{names} over {len(steps)} steps",
        data=Table("values", ("step", *drawn), rows=rows),
    )
    return Section("Over steps", [picture], says=names)


def _params(record: VersionRecord) -> Table:
    return Table("params", ("param", "value"), rows=list(decode(record.params).items()))


# ---- data and steps ------------------------------------------------------------------------------


def data_blocks(data: Sequence[DataRecord]) -> list[Block]:
    """Describe data sets: a table of them, and their columns folded away."""
    rows = [(d.name, d.type, shape(d.shape), d.dtype, short(d.digest)) for d in data]
    columns = ("data", "type", "shape", "dtype", "digest")
    sections = [
        Section(f"Columns of {d.name}", [columns_table(d)], says=counted(len(d.columns), "column"))
        for d in data
        if d.columns
    ]
    return [without_empty(Table("data", columns, rows=rows)), *sections]


def columns_table(data: DataRecord) -> Table:
    """Give the columns of a data set with what is known of each."""
    rows = []
    for name, kind in data.columns.items():
        profile = data.profile.get(name)
        known = profile if isinstance(profile, dict) else {}
        seen = (decode(known.get(part)) for part in ("nulls", "min", "max", "mean"))
        rows.append((name, str(kind), *seen, short(data.digests.get(name))))
    columns = ("column", "type", "nulls", "min", "max", "mean", "digest")
    return without_empty(Table("columns", columns, rows=rows))


def _steps(steps: Sequence[Any]) -> Section:
    rows = [
        (
            step.name,
            step.form,
            ", ".join(f"{d.name} {shape(d.shape).text or ''}".strip() for d in step.inputs),
            ", ".join(f"{d.name} {shape(d.shape).text or ''}".strip() for d in step.outputs),
            ", ".join(f"{name}={value}" for name, value in decode(step.params).items()),
            seconds(step.seconds),
            step.failed,
        )
        for step in steps
    ]
    columns = ("step", "form", "in", "out", "params", "took", "failed")
    table = without_empty(Table("steps", columns, rows=rows))
    return Section("Steps", [table], says=f"{len(rows)} in order")


# ---- code and environment ------------------------------------------------------------------------


def _code(code: CodeRecord | None, record: VersionRecord, read: Read) -> Section | None:
    if code is None:
        return None
    facts = Facts({"entry": code.entry})
    return Section("Code", [facts, Text("source", recorded_source(record, read))], says=code.entry)


def _environment(environment: EnvironmentRecord | None) -> Section | None:
    if environment is None:
        return None
    packages = sorted(environment.packages.items())
    python = f"{environment.implementation} {environment.python}"
    facts = Facts({"python": python, "platform": environment.platform})
    table = Table("packages", ("package", "version"), rows=packages)
    says = f"Python {environment.python}, {len(packages)} packages"
    return Section("Environment", [facts, table], says=says)


def _files(record: VersionRecord) -> Section:
    rows = [(file.path, size(file.size), short(file.sha256)) for file in record.files]
    table = Table("files", ("file", "size", "sha256"), rows=rows)
    return Section("Files", [table], says=f"{len(rows)}")


# ---- what was said and decided since -------------------------------------------------------------


def _said(history: History, number: int) -> Section | None:
    found = [c for c in last_changes(history, count=_LOOKED_AT) if c.number == number]
    if not found:
        return None
    rows = [(when(c.time), c.actor, c.what, c.why) for c in found]
    table = Table("history", ("when", "who", "what", "why"), rows=rows)
    return Section(
        "History", [table], says=f"{counted(len(found), 'entry', 'entries')}, the newest first"
    )


def _how_to_load(url: str, ref: str) -> Section:
    code = f"registry = modelversion.Registry({url!r})\nregistry.load({ref!r})"
    return Section("How to load", [Text("code", code)])
