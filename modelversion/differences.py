"""What differs between the records of two versions; pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from modelversion._json import decode
from modelversion.display import shape
from modelversion.metrics import direction
from modelversion.records import (
    DataRecord,
    EnvironmentRecord,
    SignatureRecord,
    StepRecord,
    VersionRecord,
)
from modelversion.schema import Json, to_json

_NOT_THERE = object()


@attrs.frozen(kw_only=True)
class Changed:
    """Something that differs: its name, and what it was and is; None where it is not there."""

    name: str
    before: Any
    after: Any

    @property
    def what(self) -> str:
        """In a word: added, removed or changed."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


@attrs.frozen(kw_only=True)
class ColumnChange:
    """A column that differs: added, removed, retyped or changed, and how its profile moved."""

    name: str
    what: str
    detail: str = ""


@attrs.frozen(kw_only=True)
class DataChange:
    """A data set that differs: what happened to it as a whole, and to its columns."""

    name: str
    what: str
    detail: str
    columns: tuple[ColumnChange, ...] = ()


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Changed, ...]:
    """Give what differs between two mappings, in their order."""
    names = dict.fromkeys([*after, *before])
    return tuple(
        Changed(name=name, before=before.get(name), after=after.get(name))
        for name in names
        if not _same(before.get(name, _NOT_THERE), after.get(name, _NOT_THERE))
    )


def _same(one: Any, other: Any) -> bool:
    # 1, 1.0 and True are different params; NaN is the same as NaN.
    return type(one) is type(other) and repr(one) == repr(other)


def metrics(record: VersionRecord) -> dict[str, Any]:
    """Give the last value of each metric."""
    return {name: decode(metric.value) for name, metric in record.metrics.items()}


def directions(record: VersionRecord) -> dict[str, bool | None]:
    """Tell which way each metric is better, None if nothing says it."""
    return {
        name: direction(name) if metric.higher_is_better is None else metric.higher_is_better
        for name, metric in record.metrics.items()
    }


# ---- data ----------------------------------------------------------------------------------------


def data_changes(before: Sequence[DataRecord], after: Sequence[DataRecord]) -> Iterator[DataChange]:
    """Compare data sets by name, and their columns."""
    old, new = ({item.name: item for item in side} for side in (before, after))
    for name in dict.fromkeys([*new, *old]):
        if name not in old:
            yield DataChange(name=name, what="added", detail=_described(new[name]))
        elif name not in new:
            yield DataChange(name=name, what="removed", detail=_described(old[name]))
        else:
            yield from _data_change(old[name], new[name])


def _described(data: DataRecord) -> str:
    return " ".join(filter(None, [data.type, shape(data.shape).text]))


def _data_change(old: DataRecord, new: DataRecord) -> Iterator[DataChange]:
    columns = tuple(_column_changes(old, new))
    said = list(_whole(old, new))
    changed = old.digest != new.digest if old.digest and new.digest else bool(said or columns)
    if changed or said or columns:
        detail = "; ".join(said) or ("" if columns else "other content of the same shape")
        yield DataChange(name=new.name, what="changed", detail=detail, columns=columns)


def unknown_data(before: Sequence[DataRecord], after: Sequence[DataRecord]) -> Iterator[str]:
    """Name the data sets whose content cannot be compared: one of the two has no digest."""
    old = {item.name: item for item in before}
    for item in after:
        other = old.get(item.name)
        if other is not None and not (item.digest and other.digest):
            yield item.name


def _whole(old: DataRecord, new: DataRecord) -> Iterator[str]:
    if old.type != new.type:
        yield f"{old.type} became {new.type}"
    if old.dtype != new.dtype:
        yield f"dtype {old.dtype} became {new.dtype}"
    if old.shape != new.shape:
        yield _shapes(old.shape, new.shape)


def _shapes(old: Sequence[int] | None, new: Sequence[int] | None) -> str:
    if old and new and old[1:] == new[1:]:
        return f"{old[0]} → {new[0]} rows ({new[0] - old[0]:+})"
    return f"{shape(old).text or 'no shape'} → {shape(new).text or 'no shape'}"


def _column_changes(old: DataRecord, new: DataRecord) -> Iterator[ColumnChange]:
    digests, profiles = (old.digests, new.digests), (old.profile, new.profile)
    for name in dict.fromkeys([*new.columns, *old.columns]):
        was, now = (columns.get(name) for columns in (old.columns, new.columns))
        moved = _drift(*(profile.get(name) for profile in profiles))
        one, other = (digest.get(name) for digest in digests)
        if was is None:
            yield ColumnChange(name=name, what="added", detail=str(now))
        elif now is None:
            yield ColumnChange(name=name, what="removed", detail=str(was))
        elif was != now:
            yield ColumnChange(name=name, what="retyped", detail=f"{was} → {now}")
        elif one and other and one != other:
            yield ColumnChange(name=name, what="changed", detail=moved)


def _drift(old: Any, new: Any) -> str:
    """Tell how the profile of a column moved: its nulls, smallest, largest and mean."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return ""
    told = []
    for name in ("nulls", "min", "max", "mean"):
        was, now = decode(old.get(name)), decode(new.get(name))
        if was != now and not (was is None and now is None):
            told.append(f"{name} {_number(was)} → {_number(now)}")
    return ", ".join(told)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# ---- steps, code, environment, files -------------------------------------------------------------


def steps(steps: Sequence[StepRecord]) -> dict[str, Json]:
    """Give what a step is by its name and place; how long it took is nothing of it."""
    found: dict[str, Json] = {}
    for step in steps:
        whole = to_json(step)
        for name in ("seconds", "inputs", "outputs", "name"):
            whole.pop(name, None)
        # The digest tells the source, wherever the text stands.
        whole["code"] = {"entry": step.code.entry, "sha256": step.code.sha256}
        name = step.name
        while name in found:
            name += " again"
        found[name] = whole
    return found


def step_changes(changed: Changed) -> tuple[Changed, ...]:
    """Give what differs in a step that is on both sides, its params one by one."""
    if changed.before is None or changed.after is None:
        return ()
    return changes(_parts_of_step(changed.before), _parts_of_step(changed.after))


def _parts_of_step(step: Json) -> dict[str, Any]:
    rest = {name: part for name, part in step.items() if name not in ("params", "code")}
    source = str(step["code"]["sha256"] or "")[:12] or None
    params = {f"params.{name}": value for name, value in decode(step.get("params", {})).items()}
    return {"function": step["code"]["entry"], "source": source, **params, **rest}


def patch(before: tuple[str, str], after: tuple[str, str]) -> str:
    """Give the change between two texts, each a name and what it holds, as a unified patch."""
    lines = difflib.unified_diff(
        before[1].splitlines(), after[1].splitlines(), before[0], after[0], n=2, lineterm=""
    )
    return "\n".join(lines)


def packages(environment: EnvironmentRecord | None) -> Mapping[str, Any]:
    """Give the packages of an environment."""
    return {} if environment is None else environment.packages


def platform(environment: EnvironmentRecord | None) -> dict[str, Any]:
    """Give Python and the platform of an environment."""
    if environment is None:
        return {}
    python = f"{environment.implementation} {environment.python}"
    return {"python": python, "platform": environment.platform}


def file_changes(old: VersionRecord, new: VersionRecord) -> Iterator[Changed]:
    """Give the files that differ, with their sizes."""
    before, after = ({file.path: file for file in record.files} for record in (old, new))
    for path in sorted({*before, *after}):
        one, other = before.get(path), after.get(path)
        if one is None or other is None or one.sha256 != other.sha256:
            sizes = (None if file is None else file.size for file in (one, other))
            yield Changed(name=path, **dict(zip(("before", "after"), sizes, strict=True)))


def kept_as(record: VersionRecord) -> dict[str, Any]:
    """Give the type of an object and how it is kept."""
    if record.object is None:
        return {}
    return {"type": record.object.type, "serializer": record.object.serializer}


# ---- signatures ----------------------------------------------------------------------------------

_SIGNED = ("features", "feature_names", "outputs", "classes", "parameters", "call")
_NAMED = 6


def signature_changes(old: VersionRecord, new: VersionRecord) -> tuple[Changed, ...]:
    """Give what differs in what two objects take and give, as far as it is known of both."""
    if old.signature is None or new.signature is None:
        return ()
    return changes(_signed(old.signature), _signed(new.signature))


def _signed(signature: SignatureRecord) -> dict[str, Any]:
    """Give the parts of a signature; of a list that was too long its count and digest."""
    known = {name: decode(getattr(signature, name)) for name in _SIGNED}
    told = {name: value for name, value in known.items() if value not in (None, ())}
    return {**told, **signature.left_out}


def how(changed: Changed) -> str:
    """Tell what became of a part of an object: names that came and went, or before and after."""
    lists = [[] if side is None else side for side in (changed.before, changed.after)]
    if not all(isinstance(side, (list, tuple)) for side in lists):
        return f"{_side(changed.before)} → {_side(changed.after)}"
    old, new = ({repr(item): item for item in side} for side in lists)
    moves = [("+", new.keys() - old.keys(), new), ("-", old.keys() - new.keys(), old)]
    said = [
        f"{sign} {_few([v for k, v in of.items() if k in keys])}"
        for sign, keys, of in moves
        if keys
    ]
    return "; ".join(said) or "in another order"


def _few(names: Sequence[Any]) -> str:
    rest = len(names) - _NAMED
    shown = ", ".join(map(str, names[:_NAMED]))
    return f"{shown} and {rest} more" if rest > 0 else shown


def _side(value: Any) -> str:
    if value is None:
        return "not there"
    if isinstance(value, Mapping):
        return f"{value.get('count')} of digest {str(value.get('sha256', 'unknown'))[:12]}"
    return f"{len(value)} named" if isinstance(value, (list, tuple)) else str(value)
