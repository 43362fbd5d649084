"""What a journal says: entries folded to state, without I/O.

How any journal is folded, and the rules of two of them: a model's facts, and what is decided for
the whole registry. Those of a model's decisions stand in `stages`.

The fold is total. An event whose precondition fails, or whose fields are not what the format
says, is void: it changes nothing and is counted. An event of an unknown kind that must be
understood stops reading. States are records: a merge keeps the state after its last entry.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import attrs

from modelversion.errors import RecordError, UnknownEventError
from modelversion.events import PolicySet, StagesSet
from modelversion.records import (
    Entry,
    ModelCreated,
    NoteAdded,
    RegistryForked,
    TagsChanged,
    VersionAbandoned,
    VersionCommitted,
    VersionRepeated,
)
from modelversion.schema import Json, from_json

R = TypeVar("R")
MAX_RUNS = 256


@attrs.frozen
class Ranges:
    """A set of positive numbers, kept as (first, last) pairs in rising order."""

    pairs: tuple[tuple[int, int], ...] = ()

    def __contains__(self, number: int) -> bool:
        i = bisect_right(self.pairs, number, key=_first) - 1
        return i >= 0 and number <= self.pairs[i][1]

    def __iter__(self) -> Iterator[int]:
        return (number for first, last in self.pairs for number in range(first, last + 1))

    def __reversed__(self) -> Iterator[int]:
        return (n for first, last in reversed(self.pairs) for n in range(last, first - 1, -1))

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.pairs)

    @property
    def last(self) -> int:
        """The highest number, 0 if there is none."""
        return self.pairs[-1][1] if self.pairs else 0

    def discard(self, number: int) -> Ranges:
        """Give the set without a number."""
        if number not in self:
            return self
        i = bisect_right(self.pairs, number, key=_first) - 1
        first, last = self.pairs[i]
        rest = [(a, b) for a, b in ((first, number - 1), (number + 1, last)) if a <= b]
        return Ranges((*self.pairs[:i], *rest, *self.pairs[i + 1 :]))

    def add(self, number: int) -> Ranges:
        """Give the set with one more number."""
        if number in self:
            return self
        i = bisect_right(self.pairs, number, key=_first)
        first = last = number
        before, after = self.pairs[:i], self.pairs[i:]
        if before and before[-1][1] == number - 1:
            first, before = before[-1][0], before[:-1]
        if after and after[0][0] == number + 1:
            last, after = after[0][1], after[1:]
        return Ranges((*before, (first, last), *after))


def _first(pair: tuple[int, int]) -> int:
    return pair[0]


NO_NUMBERS = Ranges()


@attrs.frozen(kw_only=True)
class Pointer:
    """A committed version as a journal binds it: what `version.json` must be."""

    number: int
    nonce: str
    size: int
    sha256: str


@attrs.frozen(kw_only=True)
class Facts:
    """The state of a model's journal of facts.

    `content` is the content digest of the highest committed version, `newest` its pointer.
    `runs` are (number, position, length): commits of consecutive numbers at consecutive
    positions, the last `MAX_RUNS` of them, which find the entry of a number in one request.
    """

    committed: Ranges = Ranges()
    abandoned: Ranges = Ranges()
    newest: Pointer | None = None
    content: str = ""
    runs: tuple[tuple[int, int, int], ...] = ()
    void: int = 0

    def position_of(self, number: int) -> int | None:
        """Give the position of a number's commit, None if it is not among the kept runs."""
        for first, position, length in reversed(self.runs):
            if first <= number < first + length:
                return position + number - first
        return None


@attrs.frozen(kw_only=True)
class Rules:
    """By what models are governed: stages in order, which are shared, stage -> policy."""

    stages: tuple[str, ...] = ("development", "staging", "production")
    shared: tuple[str, ...] = ()
    policies: dict[str, Json] = attrs.field(factory=dict)


DEFAULT_RULES = Rules()


def rules_of(stages: Any, shared: Any, policies: Any) -> Rules | None:
    """Give rules from plain JSON; None if it is not what the format says."""
    names = (*stages, *shared)
    if not isinstance(policies, dict) or not all(isinstance(n, str) and n for n in names):
        return None
    known = set(stages)
    if not known or len(known) != len(stages) or not {*shared, *policies} <= known:
        return None
    if not all(isinstance(policy, dict) for policy in policies.values()):
        return None
    return Rules(stages=tuple(stages), shared=tuple(shared), policies=policies)


@attrs.frozen(kw_only=True)
class Models:
    """The state of the registry's own journal.

    Attributes:
        names: Model name in lower case -> first spelling.
        rules: The stages and policies that are to be adopted by each model.
        governed: The position of the last entry that changed the rules, 0 without one.
        void: How many entries made no sense.
    """

    names: dict[str, str] = attrs.field(factory=dict)
    rules: Rules = DEFAULT_RULES
    governed: int = 0
    void: int = 0


# ---- folding -----------------------------------------------------------------------------------

Rule = Callable[[Any, Any, Entry], Any]


@attrs.frozen
class Fold:
    """How one kind of journal is read: its first state, and a rule for each event."""

    initial: Any
    rules: dict[str, tuple[type, Rule]]
    to_json: Callable[[Any], Json]
    from_json: Callable[[Json], Any]

    def step(self, state: Any, entry: Entry, where: str = "the journal's") -> Any:
        """Give the state after one more entry; `where` names the journal in an error.

        Raises:
            UnknownEventError: The event must be understood and this release does not know it.
        """
        kind = entry.event.get("kind")
        known = self.rules.get(kind) if isinstance(kind, str) else None
        if known is None:
            return self._unknown(state, entry, f"{where} entry {entry.position} is a {kind!r}")
        cls, rule = known
        event = read_event(cls, entry.event)
        after = None if event is None else rule(state, event, entry)
        return _void(state) if after is None else after

    def _unknown(self, state: Any, entry: Entry, what: str) -> Any:
        if entry.event.get("must_understand") is not False:
            raise UnknownEventError(
                f"{what}, which this modelversion does not know and must understand; install a "
                "newer release"
            )
        return state


def read_event(cls: Callable[..., R], event: Json) -> R | None:
    """Read an event; None if its fields are not what the format says, so that it is void."""
    fields = {k: v for k, v in event.items() if k not in ("kind", "must_understand")}
    try:
        return from_json(cls, fields, "event")
    except RecordError:
        return None


def _void(state: Any) -> Any:
    return attrs.evolve(state, void=state.void + 1)


def _committed(state: Facts, event: VersionCommitted, entry: Entry) -> Facts | None:
    number = event.number
    if number < 1 or number in state.committed or number in state.abandoned:
        return None
    newest, content = state.newest, state.content
    if newest is None or number > newest.number:
        newest = pointer(event)
        content = event.content
    return attrs.evolve(
        state,
        committed=state.committed.add(number),
        newest=newest,
        content=content,
        runs=_extend(state.runs, number, entry.position),
    )


def pointer(event: Any) -> Pointer:
    """Give the pointer that an event holds: a commit, an alias, a promotion or a roll-back."""
    return Pointer(number=event.number, nonce=event.nonce, size=event.size, sha256=event.sha256)


def _extend(
    runs: tuple[tuple[int, int, int], ...], number: int, position: int
) -> tuple[tuple[int, int, int], ...]:
    if runs:
        first, start, length = runs[-1]
        if (number, position) == (first + length, start + length):
            return (*runs[:-1], (first, start, length + 1))
    return (*runs, (number, position, 1))[-MAX_RUNS:]


def _abandoned(state: Facts, event: VersionAbandoned, entry: Entry) -> Facts | None:
    if event.number < 1 or event.number in state.committed or event.number in state.abandoned:
        return None
    return attrs.evolve(state, abandoned=state.abandoned.add(event.number))


def _about_committed(state: Facts, event: Any, entry: Entry) -> Facts | None:
    return state if event.number in state.committed else None


def _model_created(state: Models, event: ModelCreated, entry: Entry) -> Models | None:
    if event.model in state.names or event.display.lower() != event.model:
        return None
    return attrs.evolve(state, names={**state.names, event.model: event.display})


def _registry_forked(state: Models, event: RegistryForked, entry: Entry) -> Models:
    return state


def _stages_set(state: Models, event: StagesSet, entry: Entry) -> Models | None:
    rules = rules_of(event.stages, event.shared, state.rules.policies)
    if rules is None:
        return None
    return attrs.evolve(state, rules=rules, governed=entry.position)


def _policy_set(state: Models, event: PolicySet, entry: Entry) -> Models | None:
    if event.stage not in state.rules.stages:
        return None
    kept = {stage: policy for stage, policy in state.rules.policies.items() if stage != event.stage}
    if event.policy:
        kept[event.stage] = event.policy
    rules = attrs.evolve(state.rules, policies=kept)
    return attrs.evolve(state, rules=rules, governed=entry.position)


# ---- states as JSON ------------------------------------------------------------------------------


def _facts_json(state: Facts) -> Json:
    return {
        "abandoned": state.abandoned.pairs,
        "committed": state.committed.pairs,
        "content": state.content,
        "newest": None if state.newest is None else attrs.asdict(state.newest),
        "runs": state.runs,
        "void": state.void,
    }


def _facts_from(value: Json) -> Facts:
    return Facts(
        committed=ranges_from(value["committed"]),
        abandoned=ranges_from(value["abandoned"]),
        newest=None if value["newest"] is None else Pointer(**value["newest"]),
        content=value["content"],
        runs=tuple((a, b, c) for a, b, c in value["runs"]),
        void=value["void"],
    )


def ranges_from(pairs: Any) -> Ranges:
    """Give a set of numbers from its JSON."""
    return Ranges(tuple((first, last) for first, last in pairs))


def rules_json(rules: Rules) -> Json:
    """Give rules as the JSON that a merge and an adoption keep."""
    return {"policies": rules.policies, "shared": rules.shared, "stages": rules.stages}


def _models_json(state: Models) -> Json:
    return {
        "governed": state.governed,
        "names": state.names,
        "rules": rules_json(state.rules),
        "void": state.void,
    }


def _models_from(value: Json) -> Models:
    rules = rules_of(**value["rules"])
    if rules is None:
        raise ValueError("rules")  # the merge is passed over
    return Models(names=value["names"], rules=rules, governed=value["governed"], void=value["void"])


FACTS = Fold(
    Facts(),
    {
        VersionCommitted.kind: (VersionCommitted, _committed),
        VersionAbandoned.kind: (VersionAbandoned, _abandoned),
        VersionRepeated.kind: (VersionRepeated, _about_committed),
        TagsChanged.kind: (TagsChanged, _about_committed),
        NoteAdded.kind: (NoteAdded, _about_committed),
    },
    _facts_json,
    _facts_from,
)
MODELS = Fold(
    Models(),
    {
        ModelCreated.kind: (ModelCreated, _model_created),
        RegistryForked.kind: (RegistryForked, _registry_forked),
        StagesSet.kind: (StagesSet, _stages_set),
        PolicySet.kind: (PolicySet, _policy_set),
    },
    _models_json,
    _models_from,
)
