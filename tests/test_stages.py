"""Stages: the fold of decisions, its void events, and the choice of a roll-back's target."""

from functools import partial

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelversion import decisions, stages, stays
from modelversion._json import dumps, loads
from modelversion.decisions import DECISIONS
from modelversion.events import (
    ApprovalWithdrawn,
    PolicyAdopted,
    PolicySet,
    Promoted,
    RolledBack,
    StageCleared,
    StageFrozen,
    StagesSet,
    StageUnfrozen,
    VersionApproved,
    VersionRejected,
)
from modelversion.records import (
    Actor,
    AliasSet,
    Entry,
    VersionDeleted,
    VersionRestored,
    VersionWithdrawn,
    event_json,
)
from modelversion.stages import MAX_TENURES, earlier, unfit
from modelversion.state import DEFAULT_RULES, MODELS

STAGES = DEFAULT_RULES.stages
NOW = "2026-11-02T00:00:00.000000Z"


def entry(event, position, actor="ana"):
    value = event if isinstance(event, dict) else event_json(event)
    # As it comes from storage: lists, no tuples.
    value = loads(dumps(value), "event")
    return Entry(
        position=position,
        previous="",
        nonce="",
        time=f"2026-11-01T00:00:00.{position:06d}Z",
        clock="",
        actor=Actor(name=actor, source="given"),
        event=value,
    )


def fold(*events, rules=DECISIONS, state=None):
    state = rules.initial if state is None else state
    for position, event in enumerate(events, 1):
        actor, event = event if isinstance(event, tuple) else ("ana", event)
        state = rules.step(state, entry(event, position, actor))
    return state


def held(number):
    return {"number": number, "nonce": f"n{number}", "size": number, "sha256": f"s{number}"}


def promoted(number, *replaces, stage="production", override=False, verdicts=(), **more):
    return Promoted(
        stage=stage,
        replaces=replaces,
        override=override,
        judged={"verdicts": list(verdicts), **more},
        **held(number),
    )


def rolled(number, *replaces, stage="production"):
    return RolledBack(stage=stage, replaces=replaces, reason="r", **held(number))


def adopted(position, stages=STAGES, shared=(), policies=None):
    return PolicyAdopted(
        position=position, digest="d", stages=stages, shared=shared, policies=policies or {}
    )


def cleared(*numbers, stage="production"):
    return StageCleared(stage=stage, numbers=numbers, reason="r")


def withdrawn(number):
    return VersionWithdrawn(number=number, reason="r")


def deleted(number):
    return VersionDeleted(number=number, reason="r", sha256="s")


def said(kind, number, stage="production"):
    return kind(stage=stage, number=number, sha256=f"s{number}", reason="r")


FAILED = {"gate": "at_least", "passed": False}
FROZEN = {"gate": "not_frozen", "passed": False}


def test_promotions_and_roll_backs_are_folded():
    """What is live, what was, and what was left behind."""
    state = fold(promoted(1), promoted(2, 1), promoted(3, 2), rolled(2, 3))
    stage = state.stage("production")

    assert stage.live == (2,)
    assert list(stage.been) == [1, 2, 3]
    assert list(stage.left) == [3]
    assert state.live("production").number == 2
    assert state.stages_of(2) == ["production"]
    assert earlier(state, "production") == [1]
    assert state.void == 0


NOT_GROUNDED = {
    "unknown stage": ([], promoted(1, stage="qa")),
    "another was live": ([promoted(1)], promoted(2)),
    "another was replaced": ([promoted(1), promoted(2, 1)], promoted(3, 1)),
    "is live already": ([promoted(1)], promoted(1, 1)),
    "was deleted": ([deleted(1)], promoted(1)),
    "is withdrawn": ([withdrawn(1)], promoted(1)),
    "a gate failed": ([], promoted(1, verdicts=[FAILED])),
    "a stop is overridden": ([], promoted(1, verdicts=[FROZEN], override=True)),
    "verdicts are none": ([], promoted(1, verdicts=["passed"])),
    "was left behind": ([promoted(1), promoted(2, 1), rolled(1, 2)], promoted(2, 1)),
    "no override is allowed": (
        [adopted(1, policies={"production": {"allow_override": False}})],
        promoted(1, verdicts=[FAILED], override=True),
    ),
    "is frozen": ([StageFrozen(stage="production", reason="r")], promoted(1)),
    "is frozen until later": (
        [StageFrozen(stage="production", reason="r", until="2026-12-01T00:00:00.000000Z")],
        promoted(1, at="2026-11-30T00:00:00.000000Z"),
    ),
    "no number": ([], promoted(0)),
    "roll back to what never was": ([promoted(1)], rolled(2, 1)),
    "roll back unseen": ([promoted(1), promoted(2, 1)], rolled(1, 1)),
    "roll back to what is live": ([promoted(1), promoted(2, 1)], rolled(2, 2)),
    "roll back to withdrawn": ([promoted(1), promoted(2, 1), withdrawn(1)], rolled(1, 2)),
    "roll back to deleted": ([promoted(1), promoted(2, 1), deleted(1)], rolled(1, 2)),
    "clear what is empty": ([], cleared(1)),
    "clear nothing": ([promoted(1)], cleared()),
    "clear another": ([promoted(1)], cleared(2)),
    "freeze what is none": ([], StageFrozen(stage="qa", reason="r")),
    "thaw what is open": ([], StageUnfrozen(stage="production", reason="r")),
    "approve for what is none": ([], said(VersionApproved, 1, "qa")),
    "approve what is deleted": ([deleted(1)], said(VersionApproved, 1)),
    "withdraw nothing said": ([], ApprovalWithdrawn(stage="production", number=1, reason="r")),
    "withdraw what another said": (
        [("bob", said(VersionApproved, 1))],
        ApprovalWithdrawn(stage="production", number=1, reason="r"),
    ),
    "delete what is live": ([promoted(1)], deleted(1)),
    "alias of a stage": ([], AliasSet(alias="production", **held(1))),
    "adopt what is older": ([adopted(5)], adopted(5)),
    "adopt nothing": ([], adopted(1, stages=())),
    "adopt a stage twice": ([], adopted(1, stages=("a", "a"))),
    "adopt what is shared and none": ([], adopted(1, shared=("qa",))),
    "adopt a policy of nothing": ([], adopted(1, policies={"qa": {}})),
    "adopt a policy that is none": ([], adopted(1, policies={"production": 5})),
}


@pytest.mark.parametrize("name", NOT_GROUNDED)
def test_an_event_without_ground_is_void(name):
    """It is counted and changes nothing else."""
    first, then = NOT_GROUNDED[name]
    before = fold(*first)

    after = DECISIONS.step(before, entry(then, len(first) + 1))

    assert after == attrs.evolve(before, void=before.void + 1)


@pytest.mark.parametrize(
    "mutant",
    ["replaces", "is_frozen", "allowed"],
)
def test_mutant_a_fold_without_a_guard(mutant, monkeypatch):
    """Each guard of a promotion taken out lets an event in that must be void."""
    kind, rule = DECISIONS.rules["stage.promoted"]
    names = {
        "replaces": ("another was live",),
        "is_frozen": ("is frozen", "is frozen until later"),
        "allowed": ("a gate failed", "was left behind"),
    }[mutant]
    if mutant == "is_frozen":
        monkeypatch.setattr(decisions, "_is_frozen", lambda *args: False)
    elif mutant == "allowed":
        monkeypatch.setattr(decisions, "_allowed", lambda *args: True)
    else:

        def blind(state, event, at):
            seen = attrs.evolve(event, replaces=state.stage(event.stage).live)
            return rule(state, seen, at)

        monkeypatch.setitem(DECISIONS.rules, "stage.promoted", (kind, blind))

    for name in names:
        first, then = NOT_GROUNDED[name]
        state = DECISIONS.step(fold(*first), entry(then, len(first) + 1))
        assert state.void == 0, name


def test_a_freeze_ends_by_the_time_at_which_it_was_judged():
    """The clock may have stepped back before the entry was made."""
    frozen = StageFrozen(stage="production", reason="r", until="2026-12-01T00:00:00.000000Z")

    state = fold(frozen, promoted(1, at="2026-12-01T00:00:00.000000Z"))

    assert state.stage("production").live == (1,)


def test_an_override_lets_in_what_failed_and_lifts_the_mark():
    """It may be rolled back from again."""
    back = [promoted(1), promoted(2, 1), rolled(1, 2)]
    state = fold(*back, promoted(2, 1, override=True), promoted(3, 2), promoted(2, 3))

    assert state.stage("production").live == (2,)
    assert list(state.stage("production").left) == []
    assert state.void == 0


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], []),
        ([promoted(1)], []),
        ([promoted(1), promoted(2, 1), promoted(3, 2)], [2, 1]),
        ([promoted(1), promoted(2, 1), promoted(1, 2)], [2]),
        ([promoted(1), promoted(2, 1), cleared(2)], [2, 1]),
        ([promoted(1), promoted(2, 1), promoted(3, 2), rolled(2, 3), promoted(4, 2)], [2, 1]),
        ([promoted(1), promoted(2, 1), promoted(3, 2), rolled(1, 3), promoted(4, 1)], [1]),
        ([promoted(1), promoted(2, 1), rolled(1, 2), rolled(2, 1)], [1]),
    ],
)
def test_what_was_there_before_is_in_order(events, expected):
    """The last one first; what a roll-back went past does not come again."""
    assert earlier(fold(*events), "production") == expected


def test_what_is_unfit_says_why():
    """Deleted before withdrawn before left behind."""
    state = fold(
        promoted(1), promoted(2, 1), promoted(3, 2), rolled(2, 3), withdrawn(1), deleted(3)
    )

    assert [unfit(state, "production", n) for n in (1, 2, 3)] == ["withdrawn", None, "deleted"]
    assert unfit(fold(promoted(1), promoted(2, 1), rolled(1, 2)), "production", 2)


def test_a_shared_stage_holds_several():
    """In the order in which they came; a roll-back takes the last one out."""
    share = adopted(1, shared=("staging",))
    events = [share, *(promoted(n, *range(1, n), stage="staging") for n in (1, 2, 3))]
    state = fold(*events)
    assert state.stage("staging").live == (1, 2, 3)

    back = fold(*events, rolled(2, 1, 2, 3, stage="staging"))
    assert back.stage("staging").live == (1, 2)
    assert list(back.stage("staging").left) == [3]
    again = fold(*events, promoted(1, 1, 2, 3, stage="staging"))
    assert again.stage("staging").live == (2, 3, 1)
    alone = fold(*events, cleared(2, stage="staging"))
    assert alone.stage("staging").live == (1, 3)
    closed = fold(*events, adopted(2), promoted(4, 1, 2, 3, stage="staging"))
    assert closed.stage("staging").live == (4,)


def test_a_stage_that_is_no_more_keeps_what_it_holds():
    """It can be cleared and rolled back, and nothing new comes in."""
    state = fold(adopted(1), promoted(1), promoted(2, 1), adopted(2, stages=("a",)))

    assert state.stage_names() == ("a", "production")
    assert state.stages_of(2) == ["production"]
    assert fold(promoted(1), promoted(2, 1), adopted(1, stages=("a",)), rolled(1, 2)).void == 0
    emptied = fold(promoted(1), adopted(1, stages=("a",)), cleared(1))
    assert emptied.stage_names() == ("a",)


def test_the_time_in_a_stage_is_added_up():
    """All stays together; a clock that stands still counts nothing."""
    state = fold(promoted(1), promoted(2, 1), promoted(1, 2), promoted(3, 1))
    stage = state.stage("production")

    assert stage.spent(1, "2026-11-01T00:00:09.000000Z") == 2
    assert stage.spent(3, "2026-11-01T00:00:00.000010Z") == 6
    assert stage.spent(3, "2020-01-01T00:00:00.000000Z") == 0
    assert stage.spent(9, "2026-11-01T00:00:09.000000Z") is None


def test_states_stay_small():
    """After many promotions only the last ones are kept; that they were there is known."""
    count = MAX_TENURES + 50
    state = fold(*(promoted(n, *([n - 1] if n > 1 else [])) for n in range(1, count + 1)))
    stage = state.stage("production")

    assert len(stage.tenures) == len(stage.stack) == MAX_TENURES
    assert len(stage.been) == count
    assert len(earlier(state, "production")) == MAX_TENURES - 1
    assert stage.spent(1, "2026-11-02T00:00:00.000000Z") is None
    assert state.void == 0


def test_approvals_are_used_up_when_a_stage_moves():
    """Of all versions; objections stand, and other stages are not touched."""
    state = fold(
        ("bob", said(VersionApproved, 1)),
        ("bob", said(VersionApproved, 2)),
        ("eve", said(VersionRejected, 3)),
        ("bob", said(VersionApproved, 2, "staging")),
        promoted(1),
    )

    assert [(s.stage, s.number, s.approves) for s in state.statements] == [
        ("production", 3, False),
        ("staging", 2, True),
    ]


def test_the_last_word_of_a_person_counts():
    """And can be taken back."""
    words = [("bob", said(VersionApproved, 1)), ("bob", said(VersionRejected, 1))]

    assert [s.approves for s in fold(*words).said_of(1, "production")] == [False]
    back = ("bob", ApprovalWithdrawn(stage="production", number=1, reason="r"))
    assert fold(*words, back).statements == ()


def test_a_deleted_version_leaves_no_statements():
    """Nothing is left to be said of it."""
    assert fold(said(VersionApproved, 1), deleted(1)).statements == ()


# ---- the registry's own rules


def test_rules_are_folded():
    """Stages and policies are replaced as a whole; an empty policy lifts one."""
    state = fold(
        StagesSet(stages=("a", "b"), shared=("a",)),
        PolicySet(stage="b", policy={"after": "a"}),
        PolicySet(stage="a", policy={"approvals": 1}),
        PolicySet(stage="a", policy={}),
        rules=MODELS,
    )

    assert state.rules.stages == ("a", "b")
    assert state.rules.shared == ("a",)
    assert state.rules.policies == {"b": {"after": "a"}}
    assert state.governed == 4
    assert state.void == 0


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ([], StagesSet(stages=())),
        ([], StagesSet(stages=("a", "a"))),
        ([], StagesSet(stages=("a",), shared=("b",))),
        ([], {"kind": "stages.set", "stages": [5]}),
        ([PolicySet(stage="staging", policy={"approvals": 1})], StagesSet(stages=("production",))),
        ([], PolicySet(stage="qa", policy={})),
    ],
)
def test_rules_without_ground_are_void(first, then):
    """They are counted and change nothing else."""
    before = fold(*first, rules=MODELS)

    after = MODELS.step(before, entry(then, 9))

    assert after == attrs.evolve(before, void=before.void + 1)


# ---- any sequence

numbers = st.integers(0, 4)
stage_names = st.sampled_from(["staging", "production", "qa"])
live = st.lists(numbers, max_size=2).map(tuple)
verdicts = st.lists(st.sampled_from([FAILED, FROZEN, {"gate": "x", "passed": True}]), max_size=2)
events = st.one_of(
    st.builds(
        lambda n, live, stage, o, v: promoted(n, *live, stage=stage, override=o, verdicts=v),
        numbers,
        live,
        stage_names,
        st.booleans(),
        verdicts,
    ),
    st.builds(lambda n, live, stage: rolled(n, *live, stage=stage), numbers, live, stage_names),
    st.builds(lambda n, stage: cleared(*n, stage=stage), live, stage_names),
    st.builds(StageFrozen, stage=stage_names, reason=st.just("r"), until=st.none()),
    st.builds(StageUnfrozen, stage=stage_names, reason=st.just("r")),
    st.builds(said, st.sampled_from([VersionApproved, VersionRejected]), numbers, stage_names),
    st.builds(ApprovalWithdrawn, stage=stage_names, number=numbers, reason=st.just("r")),
    st.builds(withdrawn, numbers),
    st.builds(VersionRestored, number=numbers, reason=st.just("r")),
    st.builds(deleted, numbers),
    st.builds(
        adopted,
        st.integers(0, 5),
        st.sampled_from([STAGES, ("staging", "qa")]),
        st.sampled_from([(), ("staging",)]),
    ),
)


def grounded(drawn):
    """Let most promotions name what is live, so that they count."""
    state = DECISIONS.initial
    for position, event in enumerate(drawn, 1):
        if position % 4 and hasattr(event, "replaces"):
            event = attrs.evolve(event, replaces=state.stage(event.stage).live)
        state = DECISIONS.step(state, entry(event, position))
        yield event, state


@given(st.lists(events, max_size=25))
def test_whatever_happens_stages_are_sound(drawn):
    """What is live was there, is not deleted, is known by its pointer; the state survives JSON."""
    for _, state in grounded(drawn):
        for name, stage in state.stages.items():
            assert len(set(stage.live)) == len(stage.live)
            assert set(stage.live) <= set(stage.tenures) & set(stage.been)
            assert set(stage.stack) <= set(stage.been)
            assert not set(stage.live) & set(state.deleted)
            assert not set(stage.live) & set(stage.left)
            assert set(earlier(state, name)) <= set(stage.been)
            assert not set(earlier(state, name)) & set(stage.live[-1:])
        assert DECISIONS.from_json(loads(dumps(DECISIONS.to_json(state)), "state")) == state


@given(st.lists(events, max_size=25))
def test_void_events_change_nothing(drawn):
    """Without them the state is the same."""
    kept, states, void = [], [], 0
    for event, state in grounded(drawn):
        if state.void == void:
            kept.append(event)
        void = state.void
        states.append(state)
    if not states:
        return
    stripped = [s for _, s in _folded(kept)][-1] if kept else DECISIONS.initial

    assert _timeless(states[-1]) == _timeless(stripped)


def _folded(kept):
    state = DECISIONS.initial
    for position, event in enumerate(kept, 1):
        state = DECISIONS.step(state, entry(event, position))
        yield event, state


def _timeless(state):
    """Leave out positions and times, which void entries take."""
    stages = {
        name: (s.live, s.stack, s.been, s.left, s.frozen, sorted(s.tenures))
        for name, s in state.stages.items()
    }
    said_ = [(s.stage, s.number, s.actor, s.approves) for s in state.statements]
    return stages, said_, set(state.withdrawn), state.deleted, state.rules, state.adopted


wild = st.fixed_dictionaries(
    {"kind": st.sampled_from(sorted(DECISIONS.rules))},
    optional={
        name: st.none() | numbers | stage_names | st.lists(numbers | stage_names, max_size=2)
        | st.dictionaries(stage_names, numbers | st.none(), max_size=2) | st.booleans()
        for name in (
            "stage", "number", "nonce", "size", "sha256", "replaces", "reason", "override",
            "judged", "numbers", "until", "position", "digest", "stages", "shared", "policies",
            "skipped", "named", "alias",
        )
    },
)  # fmt: skip


@given(st.lists(wild, max_size=12))
def test_the_fold_is_total(drawn):
    """Any fields of any types give a state, void or not."""
    state = DECISIONS.initial
    for position, event in enumerate(drawn, 1):
        state = DECISIONS.step(state, entry(event, position))

    assert 0 <= state.void <= len(drawn)
    assert dumps(DECISIONS.to_json(state))


@pytest.fixture
def forgetful(monkeypatch):
    """States that remember two versions of each stage."""
    monkeypatch.setattr(stages, "MAX_TENURES", 2)
    monkeypatch.setattr(decisions, "MAX_TENURES", 2)


def _before_and_spent(drawn):
    """Give what a roll-back may go to and how long each version was there, after each event."""
    entries, said_ = [], []
    for position, (event, state) in enumerate(grounded(drawn), 1):
        entries.append(entry(event, position))
        moved = stays.moves_of(entries)
        for name in STAGES:
            stage, there = state.stage(name), moved.get(name, [])
            times = {n: stage.spent(n, NOW) for n in stage.been}
            read = {n: stays.spent(there, n, NOW) if t is None else t for n, t in times.items()}
            before = list(stays.candidates(state, name, partial(moved.get, name, [])))
            said_.append((before, read, stage.live, stage.left, set(stage.been), state.void))
    return said_


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(events, max_size=25))
def test_what_a_state_forgot_is_in_the_journal(forgetful, drawn):
    """Roll-backs go as far, and times count as long, as if the state remembered everything."""
    little = _before_and_spent(drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "MAX_TENURES", 256)
        patch.setattr(decisions, "MAX_TENURES", 256)
        everything = _before_and_spent(drawn)

    assert little == everything


def test_without_the_journal_a_state_would_forget(forgetful):
    """What is read back is what keeps the two alike."""
    moved = [promoted(n, *([n - 1] if n > 1 else [])) for n in range(1, 6)]
    state = fold(*moved, promoted(1, 5))

    assert earlier(state, "production") == [5]
    assert state.stage("production").spent(1, NOW) is None
    entries = [entry(event, i) for i, event in enumerate([*moved, promoted(1, 5)], 1)]
    there = stays.moves_of(entries)["production"]
    assert list(stays.candidates(state, "production", lambda: there)) == [5, 4, 3, 2]
    assert stays.spent(there, 1, entries[-1].time) == 1
    assert stays.spent(there, 9, NOW) == 0


def test_a_roll_back_below_what_is_kept_leaves_nothing_known_below(forgetful):
    """The next one asks the journal, and finds what was there before the target."""
    moved = [promoted(n, *([n - 1] if n > 1 else [])) for n in range(1, 6)]
    events = [*moved, rolled(3, 5), promoted(6, 3)]
    state = fold(*events)
    there = stays.moves_of(entry(e, i) for i, e in enumerate(events, 1))["production"]

    assert state.void == 0
    assert state.stage("production").stack == (3, 6)
    assert list(stays.candidates(state, "production", lambda: there)) == [3, 2, 1]
