"""Gates: what a version must meet before it is promoted, as data.

Build them with the functions here and hand them to `Registry.set_policy`; how each is judged is
in `verdicts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any

import attrs

from modelversion._json import decode, encode
from modelversion.errors import InvalidInputError, RecordError
from modelversion.metrics import check_count, check_key
from modelversion.refs import check_name
from modelversion.schema import Json

MAX_NESTING = 8
FIELDS = ("code", "data", "description", "environment", "metrics", "params", "parents", "tags")


@attrs.frozen(repr=False)
class Gate:
    """One condition: its kind, and what it holds the version against."""

    kind: str
    args: Mapping[str, Any]

    def __str__(self) -> str:
        return _shown(self.to_dict())

    def __repr__(self) -> str:
        return f"<Gate {self}>"

    def to_dict(self) -> Json:
        """Give it as it is stored."""
        return {"gate": self.kind, **self.args}

    def parts(self) -> list[Gate]:
        """Give the gates that it combines, in order."""
        return [unchecked(part) for part in self.args.get("gates", ())]


def unchecked(value: Json) -> Gate:
    """Give the gate of stored JSON that was checked before."""
    return Gate(value["gate"], {name: item for name, item in value.items() if name != "gate"})


def _shown(value: Json) -> str:
    args = {name: decode(item) for name, item in value.items() if name != "gates"}
    words = _WORDS.get(value["gate"])
    if words is not None:
        return words(args)
    inner = "; ".join(map(_shown, value.get("gates", ())))
    return str(value["gate"]).replace("_", " ") + (f" ({inner})" if inner else "")


def _against(args: Json) -> str:
    by = f" by {args['by']}" if args["by"] else ""
    return f"{args['metric']} not worse than {args['stage']}{by}"


def _observed(args: Json) -> str:
    told = [f"at least {args['at_least']}"] if "at_least" in args else []
    told += [f"at most {args['at_most']}"] if "at_most" in args else []
    bounds = " and ".join(told)
    parts = [f"observed {args['metric']} {bounds}"]
    parts += [f"of slice {args['slice']}"] if "slice" in args else []
    parts += [f"on {args['n']:,} samples or more"] if "n" in args else []
    parts += [f"over {lasting(args['window_seconds'])}"] if "window_seconds" in args else []
    if "max_age_seconds" in args:
        parts.append(f"not older than {lasting(args['max_age_seconds'])}")
    return ", ".join(parts)


def lasting(seconds: float) -> str:
    """Give a time span in words.

    >>> lasting(7 * 86_400), lasting(86_400), lasting(90)
    ('7 days', '1 day', '0:01:30')
    """
    days = f"{seconds / 86_400:.4g}"
    if seconds < 86_400:
        return str(timedelta(seconds=seconds))
    return f"{days} day{'' if days == '1' else 's'}"


def _quorum(count: int) -> str:
    return f"{count} approval{'' if count == 1 else 's'}" if count else "no rejection"


_WORDS: dict[str, Callable[[Json], str]] = {
    "after": lambda args: f"after {args['stage']}",
    "approvals": lambda args: _quorum(args["quorum"]),
    "at_least": lambda args: f"{args['metric']} at least {args['value']}",
    "at_most": lambda args: f"{args['metric']} at most {args['value']}",
    "call": lambda args: str(args["target"]),
    "not_worse_than": _against,
    "observed": _observed,
    "requires": lambda args: f"recorded: {', '.join(args['fields'])}",
    "same_data_schema": lambda args: f"data as in {args['stage']}",
    "smaller_than": lambda args: f"smaller than {args['bytes']:,} bytes",
}


# ---- building them -------------------------------------------------------------------------------


def at_least(metric: str, value: float) -> Gate:
    """Ask that a metric is this or higher; NaN and a metric that is not there fail.

    Args:
        metric: The metric's name.
        value: The lowest that passes.

    Raises:
        InvalidInputError: The name is none, or the value is no finite number.

    >>> at_least("auc", 0.85)
    <Gate auc at least 0.85>
    """
    return Gate("at_least", {"metric": check_key(metric, "metric"), "value": _number(value)})


def at_most(metric: str, value: float) -> Gate:
    """Ask that a metric is this or lower; NaN and a metric that is not there fail."""
    return Gate("at_most", {"metric": check_key(metric, "metric"), "value": _number(value)})


def _number(value: Any, what: str = "a gate's value") -> Any:
    number = value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or number - number != 0:
        raise InvalidInputError(f"{what} must be a finite number, found {value!r:.60}")
    return encode(number, what)


def not_worse_than(
    stage: str, metric: str, *, by: float = 0, higher_is_better: bool | None = None
) -> Gate:
    """Ask that a metric is not worse than that of the version in a stage.

    Without a version there, it passes. Where the other version lacks the metric, or has NaN,
    nothing can be compared and it fails.

    Args:
        stage: Where the version to compare with is, such as `production`.
        metric: The metric's name.
        by: How much worse it may be, in the metric's own unit.
        higher_is_better: The direction; else the one that the version was saved with, or that
            the metric's name tells.

    Raises:
        InvalidInputError: A name is none, or `by` is negative or not finite.
    """
    if _number(by, "by") != by or by < 0:
        raise InvalidInputError(f"by must be a number from 0, found {by!r:.60}")
    if higher_is_better not in (None, True, False):
        raise InvalidInputError(f"higher_is_better must be True or False, found {higher_is_better}")
    args = {"stage": check_name(stage, "stage"), "metric": check_key(metric, "metric"), "by": by}
    if higher_is_better is not None:
        args["higher_is_better"] = higher_is_better
    return Gate("not_worse_than", args)


def observed(
    metric: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    n: int | None = None,
    window: timedelta | None = None,
    max_age: timedelta | None = None,
    slice: str | None = None,
) -> Gate:
    """Ask what was measured of the version where it serves, such as in staging.

    The newest measurement counts, the one whose window ends last; with `window`, those that
    ended less than that before it count too, and every one must keep to the bounds. NaN, and a
    version that was never measured, fail.

    Args:
        metric: The metric's name, as `observe` was told it.
        at_least: The lowest that passes.
        at_most: The highest that passes; one of the two is needed.
        n: How many samples those that count must have together; one that did not say has none.
        window: How far back from the newest measurement others count.
        max_age: How long ago the newest may have ended when the version is judged.
        slice: The part of the traffic; without it, what was measured of all traffic.

    Raises:
        InvalidInputError: A name is none, there is no bound or none that can be met, or a part
            is not of its kind.

    >>> observed("auc", at_least=0.85, n=1000, max_age=timedelta(days=7))
    <Gate observed auc at least 0.85, on 1,000 samples or more, not older than 7 days>
    """
    bounds = {"at_least": at_least, "at_most": at_most}
    found = {name: _number(value, name) for name, value in bounds.items() if value is not None}
    if not found:
        raise InvalidInputError(f"observed({metric!r:.80}) asks nothing; say at_least= or at_most=")
    if at_least is not None and at_most is not None and at_least > at_most:
        raise InvalidInputError(f"at_least {at_least} is above at_most {at_most}: nothing passes")
    spans = {"window": window, "max_age": max_age}
    rest = {
        "n": None if n is None else encode(check_count(n), "n"),
        "slice": None if slice is None else check_key(slice, "slice"),
        **{f"{name}_seconds": _span(span, name) for name, span in spans.items()},
    }
    rest = {name: value for name, value in rest.items() if value is not None}
    return Gate("observed", {"metric": check_key(metric, "metric"), **found, **rest})


def _span(span: Any, what: str) -> float | None:
    if span is None:
        return None
    if not isinstance(span, timedelta) or span <= timedelta(0):
        raise InvalidInputError(f"{what} must be a timedelta above 0, found {span!r:.60}")
    return span.total_seconds()


def _observed_again(**stored: Any) -> Gate:
    """Build it from what is stored: time spans are in seconds there."""
    for name in ("window", "max_age"):
        if f"{name}_seconds" in stored:
            stored[name] = timedelta(seconds=stored.pop(f"{name}_seconds"))
    return observed(**stored)


def requires(fields: Collection[str]) -> Gate:
    """Ask that fields are recorded, such as `["description", "tags.team", "data.train"]`.

    Args:
        fields: `description`, `code`, `environment`, `parents`, or a name behind `data.`,
            `metrics.`, `params.` or `tags.`.

    Raises:
        InvalidInputError: One is no such field.
    """
    if isinstance(fields, str) or not isinstance(fields, Collection) or not fields:
        raise InvalidInputError(f"requires takes a list of fields, found {fields!r:.80}")
    for field in fields:
        root, _, name = field.partition(".") if isinstance(field, str) else ("", "", "")
        if root not in FIELDS or bool(name) != (root in ("data", "metrics", "params", "tags")):
            known = "description, code, environment, parents, data.*, metrics.*, params.*, tags.*"
            raise InvalidInputError(f"requires knows no field {field!r:.80}; fields: {known}")
    return Gate("requires", {"fields": list(fields)})


def verified() -> Gate:
    """Ask that every file of the version is hashed at that moment and is what was committed."""
    return Gate("verified", {})


def same_data_schema(stage: str) -> Gate:
    """Ask for data with the names, columns and types of that of the version in a stage.

    Without a version there, it passes.
    """
    return Gate("same_data_schema", {"stage": check_name(stage, "stage")})


def smaller_than(bytes: int) -> Gate:
    """Ask that all files of the version together have fewer bytes."""
    if isinstance(bytes, bool) or not isinstance(bytes, int) or bytes < 1:
        raise InvalidInputError(f"smaller_than takes a number of bytes, found {bytes!r:.60}")
    return Gate("smaller_than", {"bytes": encode(bytes, "bytes")})


def call(target: str) -> Gate:
    """Ask a function of yours, imported by name when the version is judged.

    It is given the version and the stage, and gives True or False, or a pair of that and a
    text. Where it cannot be imported, raises, or gives anything else, the gate has failed. Its
    source is never stored.

    Args:
        target: Such as `"acme.gates:is_fair"`.

    Raises:
        InvalidInputError: It is no `module:function`.
    """
    if not isinstance(target, str) or not _TARGET.fullmatch(target):
        raise InvalidInputError(
            f"a gate of your own is named as 'module:function', found {target!r:.80}"
        )
    return Gate("call", {"target": target})


_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def all_of(*gates: Gate | str) -> Gate:
    """Ask that every one of some gates passes; for use inside `any_of`."""
    return Gate("all_of", {"gates": [_gate(gate).to_dict() for gate in _several(gates)]})


def any_of(*gates: Gate | str) -> Gate:
    """Ask that at least one of some gates passes."""
    return Gate("any_of", {"gates": [_gate(gate).to_dict() for gate in _several(gates)]})


def _several(gates: Collection[Gate | str]) -> Collection[Gate | str]:
    if not gates:
        raise InvalidInputError("all_of and any_of take at least one gate")
    return gates


def _gate(gate: Any) -> Gate:
    """Give a gate; a text names a function."""
    if isinstance(gate, str):
        return call(gate)
    if not isinstance(gate, Gate):
        raise InvalidInputError(
            "a gate is made by modelversion.gates, such as gates.at_least('auc', 0.85), or is "
            f"'module:function'; found {gate!r:.80}"
        )
    if _depth(gate.to_dict()) > MAX_NESTING:
        raise InvalidInputError(f"gates are nested at most {MAX_NESTING} deep")
    _refuse_unknown(gate)
    return gate


def _refuse_unknown(gate: Gate) -> None:
    """Refuse what nothing would ever pass here: a gate that this release cannot judge.

    Raises:
        InvalidInputError: It is of no kind that can be set.
    """
    known = (*_BUILDERS, "all_of", "any_of")
    if gate.kind not in known:
        raise InvalidInputError(
            f"this release has no gate {gate.kind!r:.60}, so nothing would ever pass it; gates: "
            f"{', '.join(sorted(known))}"
        )
    for part in gate.parts():
        _refuse_unknown(part)


def _depth(value: Json) -> int:
    return 1 + max(map(_depth, value.get("gates", ())), default=0)


def check_gates(gates: Any) -> tuple[Gate, ...]:
    """Give the gates of a policy.

    Raises:
        InvalidInputError: One is none.
    """
    if isinstance(gates, (str, Gate, Mapping)) or not isinstance(gates, Collection):
        raise InvalidInputError(f"gates must be a list of gates, found {gates!r:.80}")
    return tuple(_gate(gate) for gate in gates)


def gate_from(value: Any, what: str, depth: int = 0) -> Gate:
    """Read a stored gate; one of a kind that a newer release added is kept, and never passes.

    Raises:
        RecordError: It is not what this release would have stored.
    """
    if not isinstance(value, dict) or not isinstance(value.get("gate"), str):
        raise RecordError(f"{what} is no gate; it was edited")
    args = {name: item for name, item in value.items() if name != "gate"}
    kind = value["gate"]
    if kind in ("all_of", "any_of"):
        inner = args.get("gates")
        if not isinstance(inner, list) or not inner or depth >= MAX_NESTING:
            raise RecordError(f"{what}.gates is no list of gates; it was edited")
        gates = [gate_from(item, f"{what}.gates[{i}]", depth + 1) for i, item in enumerate(inner)]
        return Gate(kind, {"gates": [gate.to_dict() for gate in gates]})
    builder = _BUILDERS.get(kind)
    if builder is None:
        return Gate(kind, args)
    try:
        return builder(**{name: decode(item) for name, item in args.items()})
    except (ArithmeticError, TypeError, ValueError) as e:
        raise RecordError(f"{what} is no gate ({e}); it was edited") from e


_BUILDERS: dict[str, Callable[..., Gate]] = {
    "at_least": at_least,
    "at_most": at_most,
    "call": call,
    "not_worse_than": not_worse_than,
    "observed": _observed_again,
    "requires": requires,
    "same_data_schema": same_data_schema,
    "smaller_than": smaller_than,
    "verified": verified,
}
