"""Folding journals: sets of numbers, rules, void events, and states as JSON."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelversion._json import dumps, loads
from modelversion.decisions import DECISIONS
from modelversion.errors import UnknownEventError
from modelversion.records import (
    Actor,
    AliasDeleted,
    AliasSet,
    Entry,
    ModelCreated,
    NoteAdded,
    TagsChanged,
    VersionAbandoned,
    VersionCommitted,
    VersionDeleted,
    VersionRepeated,
    VersionRestored,
    VersionWithdrawn,
    event_json,
)
from modelversion.state import FACTS, MAX_RUNS, MODELS, Pointer, Ranges

FOLDS = {"facts": FACTS, "decisions": DECISIONS, "models": MODELS}


def entry(event, position=1):
    value = event if isinstance(event, dict) else event_json(event)
    return Entry(
        position=position,
        previous="",
        nonce="",
        time=f"2026-11-01T00:00:00.{position:06d}Z",
        clock="",
        actor=Actor(name="ana", source="given"),
        event=value,
    )


def fold(fold, *events):
    state = fold.initial
    for position, event in enumerate(events, 1):
        state = fold.step(state, entry(event, position))
    return state


def committed(number, content="c"):
    return VersionCommitted(
        number=number, nonce=f"n{number}", size=number, sha256=f"s{number}", content=content
    )


def alias(name, number):
    return AliasSet(alias=name, number=number, nonce=f"n{number}", size=number, sha256=f"s{number}")


def deleted(number):
    return VersionDeleted(number=number, reason="r", sha256=f"s{number}")


def withdrawn(number, instead=None):
    return VersionWithdrawn(number=number, reason="r", use_instead=instead)


# ---- sets of numbers


@given(st.lists(st.integers(1, 40)))
def test_ranges_are_a_set(numbers):
    """Ranges hold, count, order and turn around as a set of numbers does."""
    ranges, plain = Ranges(), set()

    for number in numbers:
        ranges, plain = ranges.add(number), plain | {number}
    assert list(ranges) == sorted(plain)
    assert list(reversed(ranges)) == sorted(plain, reverse=True)
    assert len(ranges) == len(plain)
    assert ranges.last == max(plain, default=0)
    assert [n for n in range(42) if n in ranges] == sorted(plain)


@given(st.permutations(range(1, 12)))
def test_ranges_are_as_short_as_they_can_be(numbers):
    """However a run of numbers came about, it is one pair."""
    ranges = Ranges()
    for number in numbers:
        ranges = ranges.add(number)

    assert ranges.pairs == ((1, 11),)
    assert all(a[1] + 1 < b[0] for a, b in zip(ranges.pairs, ranges.pairs[1:], strict=False))


# ---- facts


def test_commits_are_folded():
    """Commits give the numbers, and the highest number's pointer and content."""
    state = fold(FACTS, committed(2, "b"), committed(1, "a"), committed(4, "d"))

    assert list(state.committed) == [1, 2, 4]
    assert state.newest == Pointer(number=4, nonce="n4", size=4, sha256="s4")
    assert state.content == "d"
    assert state.void == 0


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ([], committed(0)),
        ([], committed(-1)),
        ([committed(1)], committed(1, "other")),
        ([VersionAbandoned(number=1, reason="gc")], committed(1)),
        ([committed(1)], VersionAbandoned(number=1, reason="gc")),
        ([VersionAbandoned(number=1, reason="gc")], VersionAbandoned(number=1, reason="gc")),
        ([], VersionAbandoned(number=0, reason="gc")),
        ([], VersionRepeated(number=1)),
        ([], TagsChanged(number=1, set={"a": 1})),
        ([committed(2)], NoteAdded(number=1, text="a")),
        ([], {"kind": "version.committed", "number": "1"}),
        ([], {"kind": "version.abandoned"}),
    ],
)
def test_a_fact_without_ground_is_void(first, then):
    """It is counted and changes nothing else."""
    before = fold(FACTS, *first)

    assert fold(FACTS, *first, then) == attrs.evolve(before, void=before.void + 1)


@given(st.lists(st.integers(1, 30), unique=True))
def test_runs_find_the_entry_of_a_number(numbers):
    """The position of every commit that is kept is the one it was appended at."""
    state = fold(FACTS, *map(committed, numbers))

    found = {number: state.position_of(number) for number in range(32)}
    assert found == {n: numbers.index(n) + 1 if n in numbers else None for n in range(32)}


def test_runs_are_limited():
    """The state stays small however numbers are mixed; old ones are looked up elsewhere."""
    numbers = [n for pair in range(1, 2 * MAX_RUNS, 2) for n in (pair + 1, pair)]
    state = fold(FACTS, *map(committed, numbers))

    assert len(state.runs) == MAX_RUNS
    assert state.position_of(numbers[0]) is None
    assert state.position_of(numbers[-1]) == len(numbers)


# ---- decisions


def test_decisions_are_folded():
    """Aliases move, withdrawals are taken back, deletions stay."""
    state = fold(
        DECISIONS,
        alias("champion", 1),
        alias("champion", 2),
        alias("next", 3),
        AliasDeleted(alias="next"),
        withdrawn(1, instead=2),
        withdrawn(3),
        VersionRestored(number=3, reason="r"),
        deleted(4),
    )

    assert {name: held.number for name, held in state.aliases.items()} == {"champion": 2}
    assert state.held_by(2) == ["champion"]
    assert state.held_by(1) == []
    assert list(state.withdrawn) == [1]
    assert state.withdrawn[1].use_instead == 2
    assert state.withdrawn[1].time == "2026-11-01T00:00:00.000005Z"
    assert list(state.deleted) == [4]
    assert state.void == 0


def test_a_deleted_version_is_not_withdrawn_any_more():
    """The tombstone says more than the withdrawal."""
    assert fold(DECISIONS, withdrawn(1), deleted(1)).withdrawn == {}


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ([deleted(1)], alias("champion", 1)),
        ([], AliasDeleted(alias="champion")),
        ([deleted(1)], withdrawn(1)),
        ([withdrawn(1)], withdrawn(1)),
        ([], VersionRestored(number=1, reason="r")),
        ([deleted(1)], deleted(1)),
        ([alias("champion", 1)], deleted(1)),
        ([], {"kind": "alias.set", "alias": "a", "number": True}),
        ([], {"kind": "version.withdrawn", "number": 1}),
    ],
)
def test_a_decision_without_ground_is_void(first, then):
    """It is counted and changes nothing else."""
    before = fold(DECISIONS, *first)

    assert fold(DECISIONS, *first, then) == attrs.evolve(before, void=before.void + 1)


# ---- models


def test_models_keep_their_first_spelling():
    """The first entry of a name decides how it is spelt; another is void."""
    state = fold(
        MODELS,
        ModelCreated(model="churn", display="Churn"),
        ModelCreated(model="churn", display="CHURN"),
        ModelCreated(model="other", display="churn"),
    )

    assert state.names == {"churn": "Churn"}
    assert state.void == 2


# ---- any journal


@pytest.mark.parametrize("name", FOLDS)
def test_an_event_that_must_be_understood_stops(name):
    """An unknown kind stops reading, unless it says that it may be skipped."""
    state = fold(FOLDS[name], {"kind": "version.praised", "must_understand": False})

    assert state == FOLDS[name].initial
    for event in ({"kind": "version.frozen", "must_understand": True}, {"kind": "a"}, {}):
        with pytest.raises(UnknownEventError, match="install a newer release"):
            fold(FOLDS[name], event)


numbers = st.integers(0, 6)
names = st.sampled_from(["champion", "next"])
facts = st.one_of(
    st.builds(committed, numbers, st.text(max_size=2)),
    st.builds(VersionAbandoned, number=numbers, reason=st.just("r")),
    st.builds(VersionRepeated, number=numbers),
    st.builds(TagsChanged, number=numbers),
    st.builds(NoteAdded, number=numbers, text=st.just("t")),
)
decisions = st.one_of(
    st.builds(alias, names, numbers),
    st.builds(AliasDeleted, alias=names),
    st.builds(withdrawn, numbers, st.none() | numbers),
    st.builds(VersionRestored, number=numbers, reason=st.just("r")),
    st.builds(deleted, numbers),
)
models = st.builds(
    ModelCreated, model=st.sampled_from(["a", "b"]), display=st.sampled_from(["A", "a", "b"])
)


@pytest.mark.parametrize(
    ("name", "events"), [("facts", facts), ("decisions", decisions), ("models", models)]
)
@given(st.data())
def test_a_state_comes_back_from_its_json(name, events, data):
    """The state of any sequence of events is what a merge keeps of it."""
    rules = FOLDS[name]
    state = fold(rules, *data.draw(st.lists(events, max_size=20)))

    assert rules.from_json(loads(dumps(rules.to_json(state)), "state")) == state


@given(st.lists(facts, max_size=20))
def test_no_number_is_both_committed_and_abandoned(events):
    """Whatever is appended, a number has one fate."""
    state = fold(FACTS, *events)

    assert not set(state.committed) & set(state.abandoned)
    assert 0 not in state.committed


@given(st.lists(decisions, max_size=20))
def test_no_alias_names_a_deleted_version(events):
    """Whatever is appended, what an alias names is not deleted."""
    state = fold(DECISIONS, *events)

    assert not {held.number for held in state.aliases.values()} & set(state.deleted)
    assert not set(state.withdrawn) & set(state.deleted)


events = st.fixed_dictionaries(
    {"kind": st.sampled_from(sorted([*FACTS.rules, *DECISIONS.rules, *MODELS.rules]))},
    optional={
        "number": st.none() | numbers | st.text(max_size=2) | st.lists(numbers, max_size=1),
        "alias": names | numbers,
        "model": names | numbers,
        "display": names | st.none(),
        "reason": st.just("r") | numbers,
        "nonce": st.just("n") | numbers,
        "size": numbers | st.text(max_size=2),
        "sha256": st.just("s") | st.none(),
        "content": st.just("c"),
        "must_understand": st.just(False),
    },
)


@pytest.mark.parametrize("name", FOLDS)
@given(st.lists(events, max_size=12))
def test_the_fold_is_total(name, events):
    """Any sequence of entries of known kinds has a state, however their fields were edited."""
    rules = FOLDS[name]

    state = rules.initial
    for position, event in enumerate(events, 1):
        if event["kind"] in rules.rules:
            state = rules.step(state, entry(event, position))
    assert 0 <= state.void <= len(events)
