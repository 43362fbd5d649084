"""The policy of a stage, as data: what is asked of a version, and what can never be met.

Pure; a registry keeps policies in its own journal, and each model adopts them in its decisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import attrs

from modelversion._json import decode, dumps
from modelversion.errors import PolicyError
from modelversion.gates import Gate, check_gates, gate_from
from modelversion.refs import check_name, check_stage
from modelversion.schema import Json, from_json, plain, record, to_json
from modelversion.state import Rules

MAX_POLICY = 8 * 1024
MAX_STAGES = 50


@record
class PolicyRecord:
    """A policy as it is stored."""

    after: str | None = plain((str, type(None)), None)
    soak_seconds: float = plain((int, float), 0)
    approvals: int = plain(int, 0)
    gates: tuple[Json, ...] = plain((list, tuple), (), tuple)
    reason_required: bool = plain(bool, False)
    allow_override: bool = plain(bool, True)
    extra: Json = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Policy:
    """What is asked of a version before it is promoted to a stage.

    Attributes:
        after: The stage that it must have been in before.
        soak: How long it must have been there, all stays together.
        approvals: How many others than its author must approve.
        gates: The gates that it must pass.
        reason_required: Whether a promotion needs a reason.
        allow_override: Whether `override=True` may pass over what is not met.
    """

    after: str | None = None
    soak: timedelta = timedelta(0)
    approvals: int = 0
    gates: tuple[Gate, ...] = ()
    reason_required: bool = False
    allow_override: bool = True

    def to_dict(self) -> Json:
        """Give it as it is stored; nothing for a policy that asks for nothing."""
        if self == Policy():
            return {}
        return to_json(
            PolicyRecord(
                after=self.after,
                soak_seconds=self.soak.total_seconds(),
                approvals=self.approvals,
                gates=tuple(gate.to_dict() for gate in self.gates),
                reason_required=self.reason_required,
                allow_override=self.allow_override,
            )
        )

    def __str__(self) -> str:
        soak = f" for {self.soak}" if self.soak else ""
        said = [
            *([f"after {self.after}{soak}"] if self.after else []),
            *([str(_quorum(self.approvals))] if self.approvals else []),
            *map(str, self.gates),
            *(["a reason"] if self.reason_required else []),
            *([] if self.allow_override else ["no override"]),
        ]
        return "; ".join(said) or "nothing is asked"


def policy_from(value: Json, what: str) -> Policy:
    """Read a stored policy.

    Raises:
        RecordError: It is not what this release would have stored.
    """
    stored = from_json(PolicyRecord, value, what)
    return Policy(
        after=stored.after,
        soak=timedelta(seconds=stored.soak_seconds),
        approvals=stored.approvals,
        gates=tuple(gate_from(g, f"{what}.gates[{i}]") for i, g in enumerate(stored.gates)),
        reason_required=stored.reason_required,
        allow_override=stored.allow_override,
    )


def conditions(policy: Policy, stage: str) -> tuple[Gate, ...]:
    """Give everything that is asked on the way to a stage, whatever the policy says first."""
    after = {"stage": policy.after, "soak_seconds": policy.soak.total_seconds()}
    return (
        Gate("not_withdrawn", {}),
        Gate("not_frozen", {"stage": stage}),
        Gate("not_rolled_back", {"stage": stage}),
        *([Gate("after", after)] if policy.after else []),
        _quorum(policy.approvals),
        *policy.gates,
    )


def asks(gates: Iterable[Gate], kind: str) -> bool:
    """Tell whether a gate of a kind is among some, or inside one of them."""
    return any(gate.kind == kind or asks(gate.parts(), kind) for gate in gates)


def _quorum(approvals: int) -> Gate:
    return Gate("approvals", {"quorum": approvals})


# ---- setting them --------------------------------------------------------------------------------


def check_stages(stages: Any, shared: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give stages in lower case, and which of them are shared.

    Raises:
        PolicyError: There is none, one twice, or a shared one that is not among them.
        InvalidNameError: A name is none, or means something else already.
    """
    names = tuple(check_stage(name) for name in _listed(stages, "stages"))
    both = tuple(check_stage(name) for name in _listed(shared, "shared"))
    if not 0 < len(names) <= MAX_STAGES or len(set(names)) != len(names):
        raise PolicyError(f"stages must be 1 to {MAX_STAGES} different names, found {names}")
    unknown = [name for name in both if name not in names]
    if unknown or len(set(both)) != len(both):
        raise PolicyError(f"shared must name stages once each, found {both}; stages: {names}")
    return names, both


def _listed(value: Any, what: str) -> list[Any]:
    if isinstance(value, (str, dict)) or not isinstance(value, Iterable):
        raise PolicyError(f"{what} must be a list of names, found {value!r:.80}")
    return list(value)


def check_policy(rules: Rules, stage: str, given: Json) -> Policy:
    """Give a policy that can be met under the registry's stages and other policies.

    Raises:
        PolicyError: It can never be met, names an unknown stage, or is too large.
        InvalidInputError: A part is not of its kind.
    """
    policy = _typed(given)
    for name in (policy.after, *_stages_named(policy.gates)):
        if name is not None and name not in rules.stages:
            raise PolicyError(f"no stage {name!r}; stages: {', '.join(rules.stages)}")
    if policy.soak and policy.after is None:
        raise PolicyError("soak counts the time in a stage; say which by after=")
    _refuse_cycle(rules, stage, policy.after)
    problem = _impossible(policy.gates, {})
    if problem:
        raise PolicyError(f"the policy of {stage} can never be met: {problem}")
    size = len(dumps(policy.to_dict()))
    if size > MAX_POLICY:
        raise PolicyError(f"the policy of {stage} has {size} bytes; at most {MAX_POLICY} are kept")
    return policy


def _typed(given: Json) -> Policy:
    after, soak, approvals = given["after"], given["soak"], given["approvals"]
    if soak is not None and (not isinstance(soak, timedelta) or soak < timedelta(0)):
        raise PolicyError(f"soak must be a timedelta from 0, found {soak!r:.60}")
    if not isinstance(approvals, int) or isinstance(approvals, bool) or approvals < 0:
        raise PolicyError(f"approvals must be a number from 0, found {approvals!r:.60}")
    for name in ("reason_required", "allow_override"):
        if not isinstance(given[name], bool):
            raise PolicyError(f"{name} must be True or False, found {given[name]!r:.60}")
    return Policy(
        after=None if after is None else check_name(after, "stage"),
        soak=soak or timedelta(0),
        approvals=approvals,
        gates=check_gates(given["gates"]),
        reason_required=given["reason_required"],
        allow_override=given["allow_override"],
    )


def _stages_named(gates: Iterable[Gate]) -> Iterator[str]:
    for gate in gates:
        if "stage" in gate.args:
            yield gate.args["stage"]
        yield from _stages_named(gate.parts())


def stages_needed(policies: dict[str, Json]) -> dict[str, str]:
    """Give the stages that policies name -> the stage whose policy it is."""
    needed: dict[str, str] = {}
    for stage, value in policies.items():
        policy = policy_from(value, f"policy of {stage}")
        for name in (stage, policy.after, *_stages_named(policy.gates)):
            if name is not None:
                needed.setdefault(name, stage)
    return needed


def _refuse_cycle(rules: Rules, stage: str, after: str | None) -> None:
    path = [stage]
    while after is not None:
        path.append(after)
        if path.count(after) > 1:
            raise PolicyError(
                f"the policy of {stage} can never be met: {' after '.join(path)} is a circle"
            )
        value = rules.policies.get(after, {}).get("after")
        after = value if isinstance(value, str) else None


_Bounds = dict[str, tuple[Any, Any]]


def _impossible(gates: Iterable[Gate], outer: _Bounds) -> str | None:
    """Tell why gates can never pass together; None if they may."""
    bounds = dict(outer)
    several = []
    for gate in _flat(gates):
        if gate.kind == "any_of":
            several.append(gate)
        for what, low, high in _bounds(gate):
            known = bounds.get(what, (None, None))
            low = max((v for v in (low, known[0]) if v is not None), default=None)
            high = min((v for v in (high, known[1]) if v is not None), default=None)
            if low is not None and high is not None and low > high:
                return f"{what} at least {low} and at most {high}"
            bounds[what] = (low, high)
    for gate in several:
        problems = [_impossible([part], bounds) for part in gate.parts()]
        if all(problems):
            return str(problems[0])
    return None


def _bounds(gate: Gate) -> Iterator[tuple[str, Any, Any]]:
    """Give what a gate holds within bounds, the lowest and the highest that pass."""
    args = gate.args
    if gate.kind == "at_least":
        yield args["metric"], decode(args["value"]), None
    elif gate.kind == "at_most":
        yield args["metric"], None, decode(args["value"])
    elif gate.kind == "observed":
        part = f" of slice {args['slice']}" if "slice" in args else ""
        low, high = (decode(args.get(bound)) for bound in ("at_least", "at_most"))
        yield f"observed {args['metric']}{part}", low, high


def _flat(gates: Iterable[Gate]) -> Iterator[Gate]:
    for gate in gates:
        if gate.kind == "all_of":
            yield from _flat(gate.parts())
        else:
            yield gate
