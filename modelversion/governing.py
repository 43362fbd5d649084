"""By what models are governed: stages and policies of the registry, adopted by each model.

Setting them appends to the registry's own journal, then to the decisions of every model, and
returns only then. A model that was made since adopts them before its first decision. Where a
setter was killed between the two, a model adopts them before the next decision that asks for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from modelversion import layout
from modelversion.broken import UNREADABLE
from modelversion.errors import ConflictError, ModelVersionError, StageNotFoundError
from modelversion.events import PolicyAdopted, PolicySet, StagesSet
from modelversion.home import Home
from modelversion.journal import Head, read_heads
from modelversion.policies import Policy, check_policy, check_stages, policy_from, stages_needed
from modelversion.records import Actor, Entry
from modelversion.refs import check_name
from modelversion.schema import Json, from_json
from modelversion.stages import Decisions
from modelversion.state import DEFAULT_RULES, MODELS, Models, Rules
from modelversion.versions import Line

# Where MLflow says that a version is in no stage.
_MLFLOW = ("archived", "none")


def stage_named(rules: Iterable[str], name: Any, where: str) -> str:
    """Give a stage's name in lower case.

    Args:
        rules: The stages that there are.
        name: The name as written.
        where: Whose stages these are, as errors print it.

    Raises:
        InvalidNameError: It is no name.
        StageNotFoundError: There is no such stage; those that are there are listed.
    """
    stage, known = check_name(name, "stage"), tuple(rules)
    if stage in known:
        return stage
    hint = ""
    if stage in _MLFLOW:
        hint = "; to take a version out of use, clear_stage() or withdraw() it"
    raise StageNotFoundError(f"{where} has no stage {name!r}; stages: {', '.join(known)}{hint}")


# ---- adopting ------------------------------------------------------------------------------------


class _Known(Exception):  # noqa: N818 - a signal inside this module
    pass


def append(line: Line, decide: Callable[[Decisions], Any]) -> Head:
    """Append a decision under the rules in force, adopting them before a model's first one."""
    if not line.decisions.seen().state.adopted:
        adopt(line)
    return line.decisions.append(decide, actor=line.home.actor)


def rules_of(line: Line) -> Rules:
    """Give the rules in force for a model: those it has adopted, or is going to."""
    state: Decisions = line.decisions.seen().state
    return state.rules if state.adopted else rules(line.home)


def look(line: Line) -> int:
    """Read a model's decisions and the registry's rules, side by side.

    Returns:
        The position of the rules that the model has yet to adopt, because their setter was
        killed or is at work; 0 without such.
    """
    policies = line.home.policies()
    if policies is None:
        line.decisions.head()
        return 0
    decided, source = read_heads(line.decisions, policies)
    state, models = decided.state, source.state
    behind = state.adopted < models.governed and state.rules != models.rules
    # One without decisions has not decided anything under other rules.
    return models.governed if behind and decided.position else 0


def govern(line: Line) -> None:
    """Read what a decision is taken on, and finish what a killed setter left."""
    if look(line):
        adopt(line)


def rules(home: Home) -> Rules:
    """Give the registry's rules as they are now."""
    policies = home.policies()
    return DEFAULT_RULES if policies is None else policies.head().state.rules


def adopt(line: Line) -> None:
    """Let a model adopt the registry's rules of this moment, if it has not."""
    policies = line.home.policies()
    source = None if policies is None else policies.head()
    if source is None or not source.position:
        return
    state: Models = source.state
    # What is adopted must outlive its adoption.
    line.home.store.settle(layout.POLICIES)

    def decide(known: Decisions) -> PolicyAdopted:
        same = known.adopted and known.rules == state.rules
        if known.adopted >= source.position or same:
            raise _Known
        return PolicyAdopted(
            position=source.position,
            digest=source.digest,
            stages=state.rules.stages,
            shared=state.rules.shared,
            policies=state.rules.policies,
        )

    with contextlib.suppress(_Known):
        line.decisions.append(decide, actor=line.home.actor)


# ---- setting -------------------------------------------------------------------------------------


def set_stages(home: Home, lines: Callable[[], list[Line]], stages: Any, shared: Any) -> None:
    """Set the registry's stages.

    Raises:
        PolicyError: They are no list of different names.
        ConflictError: A stage that is left out is in use, or a new one is an alias somewhere.
    """
    names, both = check_stages(stages, shared)

    def decide(state: Models) -> StagesSet:
        if (names, both) == (state.rules.stages, state.rules.shared):
            raise _Known
        needed = stages_needed(state.rules.policies)
        for name in (n for n in needed if n not in names):
            raise ConflictError(f"the policy of {needed[name]} needs the stage {name}; clear it")
        for line in lines():
            _refuse_in_use(line, names)
        return StagesSet(stages=names, shared=both)

    _set(home, lines, decide)


def _refuse_in_use(line: Line, names: tuple[str, ...]) -> None:
    state: Decisions = line.decisions.head().state
    for name, stage in state.stages.items():
        if stage.live and name not in names:
            ref = line.ref(stage.live[-1])
            raise ConflictError(f"{ref} is in the stage {name}; clear_stage({name!r}) first")
    for name in names:
        if name in state.aliases and name not in state.rules.stages:
            raise ConflictError(
                f"{name!r} is an alias of {line.display}; delete it, or name the stage otherwise"
            )


def set_policy(home: Home, lines: Callable[[], list[Line]], stage: Any, given: Json) -> Policy:
    """Set the policy of a stage for every model.

    Raises:
        StageNotFoundError: There is no such stage.
        PolicyError: The policy can never be met.
    """
    made: list[Policy] = []

    def decide(state: Models) -> PolicySet:
        name = stage_named(state.rules.stages, stage, home.store.url)
        policy = check_policy(state.rules, name, given)
        made[:] = [policy]
        if policy.to_dict() == state.rules.policies.get(name, {}):
            raise _Known
        return PolicySet(stage=name, policy=policy.to_dict())

    _set(home, lines, decide)
    return made[0]


def _set(home: Home, lines: Callable[[], list[Line]], decide: Callable[[Models], Any]) -> None:
    home.ensure()
    journal = home.policies()
    if journal is None:  # ensure() has just made it
        raise AssertionError("a registry without an id")
    # What stands already may not have been adopted everywhere: its setter may have been killed.
    with contextlib.suppress(_Known):
        journal.append(decide, actor=home.actor)
    # One that cannot be read must not keep those behind it without the rules.
    failed: list[ModelVersionError] = []
    for line in lines():
        try:
            adopt(line)
        except UNREADABLE as e:
            failed.append(e)
    if failed:
        raise failed[0]


# ---- reading -------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class RuleChange:
    """A change of the registry's stages, or of the policy of one: what, when and by whom.

    Attributes:
        position: Its number in the registry's own journal.
        time: When: RFC 3339, UTC.
        actor: Who, and how that is known.
        stage: The stage whose policy it is, None for a change of the stages.
        policy: The policy from then on; one that asks for nothing was lifted.
        stages: The stages from then on, in order.
        shared: Those of them that hold several versions.
    """

    position: int
    time: str
    actor: Actor
    stage: str | None
    policy: Policy | None
    stages: tuple[str, ...]
    shared: tuple[str, ...]

    def __str__(self) -> str:
        what = f"policy of {self.stage}: {self.policy}"
        if self.stage is None:
            marks = (f"{n} (shared)" if n in self.shared else n for n in self.stages)
            what = f"stages: {', '.join(marks)}"
        return f"{self.time[:19]}Z {self.actor} {what}"


class Policies(Mapping[str, Policy]):
    """The policies of a registry: stage -> what is asked there, and how that came about."""

    def __init__(self, home: Home) -> None:
        self._home = home
        known = rules(home)
        self._found = {
            stage: policy_from(known.policies[stage], f"policy of {stage}")
            for stage in known.stages
            if stage in known.policies
        }

    def __getitem__(self, stage: str) -> Policy:
        return self._found[stage.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"<Policies of {self._home.store.url}: {', '.join(self) or 'none'}>"

    def __str__(self) -> str:
        return "\n".join(f"{s}: {p}" for s, p in self.items()) or "no stage has a policy"

    def history(self) -> list[RuleChange]:
        """Give every change of stages and policies, oldest first."""
        journal = self._home.policies()
        state, found = Models(), []
        for value in [] if journal is None else journal.history(journal.start(), journal.head()):
            entry = from_json(Entry, value, f"{layout.POLICIES} entry {value['position']}")
            state = MODELS.step(state, entry)
            if state.governed == entry.position:
                found.append(_change(entry, state.rules))
        return found


def _change(entry: Entry, after: Rules) -> RuleChange:
    stage = entry.event.get("stage")
    policy = None if stage is None else policy_from(after.policies.get(stage, {}), "policy")
    return RuleChange(
        position=entry.position,
        time=entry.time,
        actor=entry.actor,
        stage=stage,
        policy=policy,
        stages=after.stages,
        shared=after.shared,
    )
