"""What the commands of `python -m modelversion` do: arguments in, an outcome out.

Each gives JSON whose fields are documented and stay, something to print, and an exit code.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs

from modelversion._json import encode
from modelversion.broken import Broken, table
from modelversion.display import Facts, Page, Shown, Table, Tone, when
from modelversion.errors import GateFailedError, InvalidInputError
from modelversion.model import Model
from modelversion.refs import Ref, parse
from modelversion.registry import Registry
from modelversion.schema import Json, to_json
from modelversion.timeline import Decision
from modelversion.verification import VerifyReport
from modelversion.version import Version

OK, FAILED, ERROR = 0, 1, 2


@attrs.frozen
class Outcome:
    """What a command gives: JSON, what is printed instead, and the exit code."""

    value: Any
    shown: Any
    code: int = OK


class _Display(Shown):
    def __init__(self, page: Page) -> None:
        self._shown = page

    def _page(self) -> Page:
        return self._shown


Command = Callable[[Registry, argparse.Namespace], Outcome]


# ---- reading -------------------------------------------------------------------------------------


def list_(registry: Registry, args: argparse.Namespace) -> Outcome:
    """List models, or the versions of one."""
    if args.model is None:
        if (args.where, args.order_by, args.limit) != (None, None, None):
            raise InvalidInputError(
                "--where, --order-by and --limit are about versions: say which model, as in "
                "list churn --where ..."
            )
        return _models(registry)
    model = registry[args.model]
    found = model.versions(where=args.where, order_by=args.order_by, limit=args.limit)
    columns = found.to_dict()
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return Outcome([encode(record, "version") for record in records], _versions(model, columns))


def _models(registry: Registry) -> Outcome:
    broken = Broken()
    rows = [_model_row(model, broken) for model in registry.models()]
    cells = [
        (r["model"], r["versions"], r["latest"], _named(r["stages"]), _named(r["aliases"]))
        for r in rows
    ]
    names = ("model", "versions", "latest", "stages", "aliases")
    models = Table("models", names, rows=cells, empty="no models")
    unread = table(broken.problems)
    tone: Tone = "bad" if unread else ""
    says = _count(rows, "model") + ("; no registry is here yet" if registry.id is None else "")
    page = Page(registry.url, says, tone=tone, blocks=[unread, models])
    return Outcome(rows, _Display(page), FAILED if unread else OK)


def _model_row(model: Model, broken: Broken) -> Json:
    """Give what a model holds; of one that cannot be read only its name, and why."""
    row: Json = {"model": model.name, "versions": None, "latest": None, "stages": {}, "aliases": {}}
    line, known = model._line, len(broken.problems)
    with broken.aside(line.facts, line.decisions):
        numbers = line.live()
        row |= {"versions": len(numbers), "latest": numbers[-1] if numbers else None}
        row["stages"] = {name: held for name, held in model.stages.items() if held}
        row["aliases"] = model.aliases
    return {**row, "broken": [problem.to_dict() for problem in broken.problems[known:]]}


def _count(rows: list[Any], one: str, many: str | None = None) -> str:
    return f"{len(rows)} {one if len(rows) == 1 else many or one + 's'}"


def _named(names: Json) -> str:
    return ", ".join(f"{name} {_numbers(held)}" for name, held in names.items())


def _numbers(held: Any) -> str:
    return ", ".join(map(str, held)) if isinstance(held, list) else str(held)


def _versions(model: Model, columns: dict[str, list[Any]]) -> _Display:
    told = {
        name: [when(v) for v in values] if name == "created_at" else values
        for name, values in columns.items()
        if name != "model" and any(value not in (None, "", False) for value in values)
    }
    rows = list(zip(*told.values(), strict=True))
    table = Table("versions", list(told), rows=rows, empty="no versions")
    return _Display(Page(model.name, _count(rows, "version"), blocks=[table]))


def show(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Show a version."""
    version = registry.get(args.ref)
    value = {
        "ref": version.ref,
        "model": version.model,
        "number": version.number,
        "digest": version.digest,
        "record": to_json(version._record),
        "tags": encode(dict(version.tags), "tags"),
        "notes": [dict(note) for note in version.notes],
        "stages": version.stages,
        "aliases": version.aliases,
        "withdrawn": version.withdrawn,
    }
    return Outcome(value, version)


def diff(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Compare a version with an earlier one: what changed since."""
    found = registry.get(args.ref).diff(registry.get(args.other))
    return Outcome(found.to_dict(), found)


def history(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Show what was decided of a model."""
    found = registry[args.model].history(args.stage)
    return Outcome(found.to_dict(), found)


def at(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Show what was in the stages and what aliases named at a time."""
    found = registry[args.model].at(args.when)
    return Outcome(found.to_dict(), found)


def explain(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Tell why a stage holds what it holds; exit code 1 if a replay says otherwise."""
    found = _decision(registry[args.model], args.stage, args.position).explain()
    return Outcome(found.to_dict(), found, OK if found else FAILED)


def _decision(model: Model, stage: str, position: int | None) -> Decision:
    """Give the decision on a stage at a position, or the one that brought in what is there."""
    decisions = model.history(stage)
    if position is None:
        stays = [stay for stay in decisions.intervals() if stay.until is None]
        if not stays:
            raise InvalidInputError(f"{model.name} has nothing in {stage}; say --position")
        return stays[-1].began
    known = {decision.position: decision for decision in decisions}
    if position not in known:
        shown = ", ".join(map(str, list(known)[-10:])) or "none"
        raise InvalidInputError(f"no decision {position} on {stage}; the last ones: {shown}")
    return known[position]


def events(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Show what happened since a cursor, and the next; exit code 1 if a journal is broken."""
    found = registry.events(since=args.since, limit=args.limit)
    rows = [(when(e.time), e.actor.name, e.kind, e.ref, e.data.get("reason")) for e in found]
    columns = ("time", "actor", "kind", "ref", "reason")
    told = Table("events", columns, rows=rows, empty="nothing happened")
    cursor = Facts({"cursor": found.cursor})
    page = Page(registry.url, _count(rows, "event"), blocks=[table(found.problems), told, cursor])
    value = {
        "cursor": found.cursor,
        "events": [event.to_dict() for event in found],
        "problems": [problem.to_dict() for problem in found.problems],
    }
    return Outcome(value, _Display(page), FAILED if found.problems else OK)


# ---- deciding ------------------------------------------------------------------------------------


def check(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Judge a version as a promotion would; exit code 1 if a gate fails."""
    report = registry.get(args.ref).check(args.stage)
    return Outcome(report.to_dict(), report, OK if report else FAILED)


def promote(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Put a version into a stage; exit code 1 if a gate fails."""
    try:
        decision = registry.get(args.ref).promote(
            args.stage,
            reason=args.reason,
            override=args.override,
            if_current=_current(args.ref, args.if_current),
            to=None if args.to is None else Registry(args.to, actor=args.actor),
        )
    except GateFailedError as e:
        return Outcome(e.report.to_dict(), e.report, FAILED)
    return Outcome(decision.to_dict(), decision)


def _current(ref: str, text: Any) -> Any:
    """Read what `--if-current` names: a version, `none`, or nothing at all."""
    if text is ...:
        return text
    return None if text.lower() == "none" else _number(parse(ref).model, text)


def _number(model: str, text: str) -> int:
    """Read the number of a model's version, also as a reference prints it.

    Raises:
        InvalidInputError: It is none, or of another model.
    """
    try:
        ref = parse(text if ":" in text else f"{model}:{text}")
    except InvalidInputError:
        ref = Ref("")
    if ref.model.lower() != model.lower() or not isinstance(ref.selector, int):
        raise InvalidInputError(
            f"{text!r:.80} is no version of {model}; give its number, such as 3 or {model}:3"
        )
    return ref.selector


def approve(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Approve that a version goes to a stage."""
    decision = registry.get(args.ref).approve(args.stage, reason=args.reason)
    return Outcome(decision.to_dict(), decision)


def reject(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Object to a version in a stage."""
    decision = registry.get(args.ref).reject(args.stage, reason=args.reason)
    return Outcome(decision.to_dict(), decision)


def rollback(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Put back what was in a stage before."""
    model = registry[args.model]
    to = None if args.to is None else _number(args.model, args.to)
    report = model.rollback(
        args.stage,
        reason=args.reason,
        to=to,
        if_current=_current(args.model, args.if_current),
        dry_run=args.dry_run,
    )
    return Outcome(report.to_dict(), report)


def freeze(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Let nothing be promoted to a stage; roll-backs still work."""
    decision = registry[args.model].freeze(args.stage, reason=args.reason, until=args.until)
    return Outcome(decision.to_dict(), decision)


def unfreeze(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Lift a freeze."""
    decision = registry[args.model].unfreeze(args.stage, reason=args.reason)
    return Outcome(decision.to_dict(), decision)


def clear(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Take what is in a stage out of it."""
    decision = registry[args.model].clear_stage(args.stage, reason=args.reason)
    return Outcome(decision.to_dict(), decision)


def withdraw(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Say that a version is not to be used; every load of it warns."""
    version = registry.get(args.ref)
    instead = None if args.use_instead is None else _number(version.model, args.use_instead)
    version.withdraw(reason=args.reason, use_instead=instead)
    return _standing(version)


def restore(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Take a withdrawal back."""
    version = registry.get(args.ref)
    version.restore(reason=args.reason)
    return _standing(version)


def _standing(version: Version) -> Outcome:
    why = version.withdrawn
    said = f"{version.ref} may be used" if why is None else f"{version.ref} is withdrawn: {why}"
    where = f"; it is in {', '.join(version.stages)}" if version.stages else ""
    value = {"ref": version.ref, "withdrawn": why, "stages": version.stages}
    return Outcome(value, said + where)


def copy(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Copy versions into another registry."""
    target = Registry(args.to, actor=args.actor)
    sources = [registry.get(ref) for ref in args.refs]
    copies = registry.copy(sources, to=target)
    rows = [
        {"from": source.ref, "to": made.ref, "digest": made.digest}
        for source, made in zip(sources, copies, strict=True)
    ]
    table = Table("copies", ("from", "to", "digest"), rows=[tuple(row.values()) for row in rows])
    return Outcome(rows, _Display(Page(target.url, _count(rows, "copy", "copies"), blocks=[table])))


# ---- upkeep --------------------------------------------------------------------------------------


def verify(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Check every byte, or those of a model or a version; exit code 1 if something is broken."""
    since = None if args.since is None else Path(args.since)
    if args.ref is None:
        report = registry.verify(since=since)
    elif since is not None:
        raise InvalidInputError("--since is about the whole registry; leave the model out")
    else:
        report = _subject(registry, args.ref).verify()
    return Outcome(_report(report), report, OK if report else FAILED)


def _subject(registry: Registry, ref: str) -> Model | Version:
    return registry.get(ref) if ":" in ref or "@" in ref else registry[ref]


def _report(report: VerifyReport) -> Json:
    return {
        "ok": report.ok,
        "subject": report.subject,
        "versions": report.versions,
        "problems": [problem.to_dict() for problem in report.problems],
        "pending": [problem.to_dict() for problem in report.pending],
        "since": None if report.since is None else report.since.time,
    }


def checkpoint(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Print the three lines that pin what every journal says."""
    found = registry.checkpoint()
    if args.output is not None:
        _write(args.output, str(found))
    value = {
        "registry": found.registry,
        "time": found.time,
        "digest": found.digest,
        "text": str(found),
    }
    return Outcome(value, str(found).rstrip())


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as e:
        raise InvalidInputError(f"cannot write {path}: {e.strerror or e}") from e


def audit(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Report who did what; exit code 1 if the registry does not verify."""
    report = registry.audit(models=args.models or None, since=args.since, until=args.until)
    try:
        if args.html is not None:
            report.to_html(args.html)
        if args.csv is not None:
            report.to_csv(args.csv)
    except OSError as e:
        raise InvalidInputError(f"cannot write {e.filename}: {e.strerror or e}") from e
    return Outcome(report.to_dict(), report, OK if report else FAILED)


def gc(registry: Registry, args: argparse.Namespace) -> Outcome:
    """Clear what crashes left."""
    older = timedelta(hours=args.older_than)
    report = registry.gc(older_than=older, dry_run=args.dry_run)
    value = {
        "abandoned": list(report.abandoned),
        "removed": list(report.removed),
        "dry_run": report.dry_run,
    }
    if report.problems:
        value["problems"] = [problem.to_dict() for problem in report.problems]
    return Outcome(value, report, FAILED if report.problems else OK)


def markdown(shown: Any) -> str:
    """Give what is printed as Markdown; plain text in a fence that it cannot end."""
    if isinstance(shown, Shown):
        return shown.to_markdown()
    text = str(shown)
    fence = "`" * max([3, *(len(run) + 1 for run in _runs(text))])
    return f"{fence}text\n{text}\n{fence}"


def _runs(text: str) -> Iterable[str]:
    import re

    return re.findall("`+", text)
