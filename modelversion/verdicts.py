"""How a gate is judged: it looks first and judges then.

Pure. What it saw is recorded with its verdict, so that the same verdict can be given again from
the record alone. Numbers count as they are printed, so that 0.9 - 0.002 is 0.898. A check that
cannot be made has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from fractions import Fraction
from typing import Any, Protocol

import attrs

from modelversion._json import decode, encode
from modelversion.errors import IntegrityError, NotFoundError
from modelversion.gates import Gate, lasting, unchecked
from modelversion.schema import Json

MAX_SAYS = 500
# What looking again can answer otherwise: a replay takes what was seen then.
UNREPEATABLE = frozenset(["verified", "call"])
PROBLEM = "problem"


class Eyes(Protocol):
    """What a gate can see: one version on its way to a stage, at one moment."""

    @property
    def number(self) -> int:
        """The version's number."""

    def metric(self, number: int, name: str) -> Json:
        """Give `value` as stored and `higher_is_better`; empty where there is no such metric."""

    def incumbent(self, stage: str) -> int | None:
        """Give the version in a stage."""

    def missing(self, fields: Collection[str]) -> list[str]:
        """Give those fields that the version does not have."""

    def damage(self) -> list[str]:
        """Hash every file now and name what is broken."""

    def schema_differs(self, other: int) -> list[str]:
        """Tell how the version's data differ in shape from those of another."""

    def size(self) -> int:
        """Give the bytes of all files."""

    def call(self, target: str) -> Json:
        """Ask a function: `passed` and `says`."""

    def withdrawn(self) -> str | None:
        """Give the reason of its withdrawal."""

    def frozen(self) -> Json | None:
        """Give the freeze of the stage it is going to, if it is in force."""

    def rolled_back(self) -> bool:
        """Tell whether a roll-back left it behind in that stage."""

    def observed(self, args: Mapping[str, Any]) -> Json:
        """Sum up those measurements of the version that an `observed` gate asks for."""

    def served(self, stage: str) -> Json:
        """Tell whether it has `been` in a stage, and for how many `seconds`."""

    def said(self) -> Json:
        """Give its `author`, and who has `approved` and `rejected` it for that stage."""


@attrs.frozen(kw_only=True)
class Verdict:
    """How a gate was judged: whether it passed, in words, and what it saw."""

    gate: Gate
    passed: bool
    says: str
    seen: Json

    def __str__(self) -> str:
        return f"{'pass' if self.passed else 'FAIL'}  {self.gate}: {self.says}"

    def to_dict(self) -> Json:
        """Give it as plain JSON."""
        return {**self.to_stored(), "says": self.says}

    def to_stored(self) -> Json:
        """Give it as it is stored with a promotion: what it says follows from what it saw."""
        return {**self.gate.to_dict(), "passed": self.passed, "seen": self.seen}


def verdict_from(stored: Json) -> Verdict:
    """Read a stored verdict, and find the words for what it saw."""
    gate = unchecked({k: v for k, v in stored.items() if k not in ("passed", "seen")})
    return attrs.evolve(judge(gate, stored["seen"]), passed=stored["passed"] is True)


def decide(gate: Gate, eyes: Eyes, recorded: Json | None = None) -> Verdict:
    """Judge a gate by what it sees now.

    Args:
        gate: The gate.
        eyes: What is looked at.
        recorded: What was seen when this was judged before; it stands in for what cannot be
            seen again, such as the state of the files then, or what was deleted since.
    """
    once = gate.kind in UNREPEATABLE or PROBLEM in (recorded or ())
    if recorded is not None and once:
        return judge(gate, recorded)
    try:
        return judge(gate, _look(gate, eyes, recorded))
    except (IntegrityError, NotFoundError) as e:
        return judge(gate, {PROBLEM: str(e)[:MAX_SAYS]} if recorded is None else recorded)


def _look(gate: Gate, eyes: Eyes, recorded: Json | None) -> Json:
    if gate.kind in _COMBINED:
        parts = gate.parts()
        before = [None] * len(parts) if recorded is None else recorded["parts"]
        pairs = zip(parts, before, strict=True)
        return {"parts": [decide(part, eyes, seen).seen for part, seen in pairs]}
    return _KINDS[gate.kind][0](gate.args, eyes) if gate.kind in _KINDS else {}


def judge(gate: Gate, seen: Json) -> Verdict:
    """Judge a gate by what was seen; the same is always judged in the same way."""
    if PROBLEM in seen:
        passed, says = False, f"it cannot be judged: {seen[PROBLEM]}"
    elif gate.kind in _COMBINED:
        passed, says = _judge_combined(gate, seen)
    elif gate.kind in _KINDS:
        passed, says = _KINDS[gate.kind][1](gate.args, seen)
    else:
        passed, says = False, "a gate that this release does not know; install a newer one"
    plain = "".join(c if c.isprintable() else " " for c in says)
    return Verdict(gate=gate, passed=passed, says=plain[:MAX_SAYS], seen=seen)


# ---- each kind: what it sees, and what it makes of it --------------------------------------------


def _see_metric(args: Mapping[str, Any], eyes: Eyes) -> Json:
    return eyes.metric(eyes.number, args["metric"])


def _judge_bound(args: Mapping[str, Any], seen: Json, up: bool) -> tuple[bool, str]:
    problem = _no_number(args["metric"], seen, "the version")
    if problem:
        return False, problem
    value, bound = decode(seen["value"]), decode(args["value"])
    return (value >= bound if up else value <= bound), f"{args['metric']} is {value}"


def _no_number(metric: str, seen: Json, who: str) -> str | None:
    if "value" not in seen:
        return f"{who} has no metric {metric!r}"
    value = decode(seen["value"])
    return None if value == value else f"{metric} of {who} is nan, which never passes"


def _see_both(args: Mapping[str, Any], eyes: Eyes) -> Json:
    other = eyes.incumbent(args["stage"])
    seen = {"candidate": eyes.metric(eyes.number, args["metric"])}
    if other is not None:
        seen["incumbent"] = {"number": other, **eyes.metric(other, args["metric"])}
    return seen


def _judge_not_worse(args: Mapping[str, Any], seen: Json) -> tuple[bool, str]:
    metric, stage = args["metric"], args["stage"]
    other: Json = seen.get("incumbent") or {}
    who = f"the version in {stage} ({other['number']})" if other else None
    problem = _no_number(metric, seen["candidate"], "the version")
    problem = problem or (None if who is None else _no_number(metric, other, who))
    if problem:
        return False, problem
    value = decode(seen["candidate"]["value"])
    if not other:
        return True, f"{metric} is {value}; nothing is in {stage} yet"
    up = args.get("higher_is_better", seen["candidate"].get("higher_is_better"))
    if up is None:
        return False, f"nothing tells whether a higher {metric} is better; say higher_is_better="
    against = decode(other["value"])
    passed = _as_good(value, against, args["by"]) if up else _as_good(against, value, args["by"])
    return passed, f"{metric} is {value}, that of {who} is {against}"


def _as_good(value: Any, than: Any, by: Any) -> bool:
    """Tell whether value >= than - by, in the decimals that one reads."""
    if value >= than:
        return True
    if value - value != 0 or than - than != 0:  # infinities, the worse one on the wrong side
        return False
    return Fraction(str(value)) >= Fraction(str(than)) - Fraction(str(by))


def _judge_observed(args: Mapping[str, Any], seen: Json) -> tuple[bool, str]:
    what = args["metric"] + (f" of slice {args['slice']}" if "slice" in args else "")
    if not seen:
        return False, f"{what} was never observed; observe() the version where it serves first"
    low, high, age = decode(seen["lowest"]), decode(seen["highest"]), seen["age_seconds"]
    if low != low:
        return False, f"{what} was observed as nan, which never passes"
    met = [
        "at_least" not in args or low >= decode(args["at_least"]),
        "at_most" not in args or high <= decode(args["at_most"]),
        "n" not in args or seen["n"] >= decode(args["n"]),
        "max_age_seconds" not in args or age <= args["max_age_seconds"],
    ]
    values = f"{low}" if low == high else f"{low} to {high}"
    plural = "" if seen["count"] == 1 else "s"
    counted = f"{seen['count']} measurement{plural} of {seen['n']:,} samples"
    return all(met), f"{what} was {values} in {counted}, {lasting(max(round(age), 0))} ago"


def _judge_requires(args: Mapping[str, Any], seen: Json) -> tuple[bool, str]:
    if seen["missing"]:
        return False, f"{', '.join(seen['missing'])} missing"
    return True, "all are recorded"


def _judge_verified(args: Mapping[str, Any], seen: Json) -> tuple[bool, str]:
    damaged = seen["damaged"]
    return not damaged, "; ".join(damaged) if damaged else "every file is what was committed"


def _see_schema(args: Mapping[str, Any], eyes: Eyes) -> Json:
    other = eyes.incumbent(args["stage"])
    if other is None:
        return {}
    return {"incumbent": other, "differs": eyes.schema_differs(other)[:10]}


def _judge_schema(args: Mapping[str, Any], seen: Json) -> tuple[bool, str]:
    if "incumbent" not in seen:
        return True, f"nothing is in {args['stage']} yet"
    who = f"the version in {args['stage']} ({seen['incumbent']})"
    if seen["differs"]:
        return False, f"against {who}: {'; '.join(seen['differs'])}"
    return True, f"the same as that of {who}"


def _judge_size(args: Mapping[str, Any], seen: Json) -> tuple[bool, str]:
    size = decode(seen["bytes"])
    return size < decode(args["bytes"]), f"{size:,} bytes"


def _judge_combined(gate: Gate, seen: Json) -> tuple[bool, str]:
    verdicts = [judge(part, found) for part, found in zip(gate.parts(), seen["parts"], strict=True)]
    says = "; ".join(f"{'pass' if v.passed else 'FAIL'} {v.gate}: {v.says}" for v in verdicts)
    return _COMBINED[gate.kind](verdict.passed for verdict in verdicts), says


def _judge_withdrawn(args: Mapping[str, Any], seen: Json) -> tuple[bool, str]:
    if seen["withdrawn"] is None:
        return True, "it is not withdrawn"
    return False, f"it was withdrawn: {seen['withdrawn']}; restore() it first"


def _judge_frozen(args: Mapping[str, Any], seen: Json) -> tuple[bool, str]:
    freeze = seen["frozen"]
    if freeze is None:
        return True, "promotions are open"
    until = f"until {freeze['until']}" if freeze.get("until") else "until it is unfrozen"
    return False, f"frozen by {freeze['actor']} {until}: {freeze['reason']}"


def _judge_rolled_back(args: Mapping[str, Any], seen: Json) -> tuple[bool, str]:
    if seen["rolled_back"]:
        return False, f"{args['stage']} was rolled back from it; only an override lets it in again"
    return True, f"{args['stage']} was not rolled back from it"


def _judge_after(args: Mapping[str, Any], seen: Json) -> tuple[bool, str]:
    stage, soak = args["stage"], args.get("soak_seconds", 0)
    if not seen["been"]:
        return False, f"it has never been in {stage}; promote it there first"
    if not soak:
        return True, f"it has been in {stage}"
    return seen["seconds"] >= soak, f"it was in {stage} for {seen['seconds']:.0f} of {soak:.0f} s"


def _judge_approvals(args: Mapping[str, Any], seen: Json) -> tuple[bool, str]:
    quorum, by = args["quorum"], [name for name in seen["approved"] if name != seen["author"]]
    if seen["rejected"]:
        return False, f"rejected by {', '.join(seen['rejected'])}"
    names = f" by {', '.join(by)}" if by else ""
    if not quorum:
        return True, f"nobody objects; approved{names}" if by else "nobody objects"
    return len(by) >= quorum, f"{len(by)} of {quorum} approvals{names}"


_COMBINED: dict[str, Callable[[Iterable[bool]], bool]] = {"all_of": all, "any_of": any}
_Look = Callable[[Mapping[str, Any], Eyes], Json]
_Judge = Callable[[Mapping[str, Any], Json], tuple[bool, str]]
_KINDS: dict[str, tuple[_Look, _Judge]] = {
    "at_least": (_see_metric, lambda args, seen: _judge_bound(args, seen, True)),
    "at_most": (_see_metric, lambda args, seen: _judge_bound(args, seen, False)),
    "not_worse_than": (_see_both, _judge_not_worse),
    "observed": (lambda args, eyes: eyes.observed(args), _judge_observed),
    "requires": (lambda args, eyes: {"missing": eyes.missing(args["fields"])}, _judge_requires),
    "verified": (lambda args, eyes: {"damaged": eyes.damage()[:5]}, _judge_verified),
    "same_data_schema": (_see_schema, _judge_schema),
    "smaller_than": (lambda args, eyes: {"bytes": encode(eyes.size(), "bytes")}, _judge_size),
    "call": (
        lambda args, eyes: eyes.call(args["target"]),
        lambda args, seen: (seen["passed"], seen["says"]),
    ),
    "not_withdrawn": (lambda args, eyes: {"withdrawn": eyes.withdrawn()}, _judge_withdrawn),
    "not_frozen": (lambda args, eyes: {"frozen": eyes.frozen()}, _judge_frozen),
    "not_rolled_back": (lambda args, eyes: {"rolled_back": eyes.rolled_back()}, _judge_rolled_back),
    "after": (lambda args, eyes: eyes.served(args["stage"]), _judge_after),
    "approvals": (lambda args, eyes: eyes.said(), _judge_approvals),
}
