"""Promote, roll back, clear, freeze: what is in a stage, who decided it, and what is refused."""

import warnings
from datetime import UTC, date, datetime, timedelta

import pytest

import modelversion as mv
from modelversion.errors import (
    ConflictError,
    GateFailedError,
    IntegrityError,
    InUseError,
    InvalidInputError,
    InvalidNameError,
    LiveVersionWarning,
    RollbackError,
    StageMovedError,
    StageNotFoundError,
    VersionNotFoundError,
)


@pytest.fixture
def registry(place, clock):
    """An empty registry in a folder or in memory, with a clock of the test's."""
    return mv.Registry(place, actor="ana@team", clock=clock)


@pytest.fixture
def churn(registry):
    """A model of five versions with a rising auc."""
    for i in range(1, 6):
        registry.save("Churn", {"weights": [i]}, params={"C": i}, metrics={"auc": 0.7 + i / 100})
    return registry["churn"]


def live(model, stage="production"):
    return model.stages[stage]


def promoted(churn, *numbers, stage="production"):
    for number in numbers:
        churn[number].promote(stage)
    return churn


# ---- promoting


def test_a_version_is_promoted_to_a_stage(churn, registry):
    """The stage names it for every handle, by every form of reference."""
    decision = churn[3].promote("Production", reason="CR-118")

    assert (decision.stage, decision.number, decision.reason) == ("production", 3, "CR-118")
    assert str(decision.actor) == "ana@team"
    for handle in (registry, mv.Registry(registry.url)):
        model = handle["churn"]
        assert model["PRODUCTION"].number == 3
        assert handle.get("churn@production").number == 3
        assert handle.load("models:/churn/Production", allow_pickle=True) == {"weights": [3]}
        assert model.stages == {"development": [], "staging": [], "production": [3]}
        assert model[3].stages == ["production"]
        assert model[2].stages == []


def test_a_promotion_replaces_what_was_there_and_leaves_other_stages(churn):
    """One version at a time in a stage; promotion to production leaves staging as it is."""
    promoted(churn, 3, stage="staging")

    decision = promoted(churn, 2, 3).history("production")[-1]

    assert churn.stages == {"development": [], "staging": [3], "production": [3]}
    assert churn[3].stages == ["staging", "production"]
    assert decision.event["replaces"] == [2]
    assert "promoted Churn:3 to production instead of Churn:2" in str(decision)


def test_what_is_live_already_is_promoted_by_doing_nothing(churn):
    """The decision that brought it there is given again, and nothing is written."""
    first = churn[3].promote("production", reason="CR-118")
    before = len(churn.history())

    again = churn[3].promote("production", reason="retry")

    assert again == first
    assert again.reason == "CR-118"
    assert len(churn.history()) == before


@pytest.mark.parametrize("there", [None, 3])
def test_if_current_lets_through_what_it_names(churn, there):
    """None is for an empty stage."""
    if there:
        promoted(churn, there)

    churn[4].promote("production", if_current=there)

    assert live(churn) == [4]


@pytest.mark.parametrize(("there", "named"), [(3, 2), (3, None), (None, 3), (3, 99)])
def test_if_current_refuses_and_tells_who_moved_the_stage(churn, registry, there, named):
    """The message names what is there, who put it there and why; nothing is changed."""
    if there:
        bob = mv.Registry(registry.url, actor="bob@team")
        bob["churn"][there].promote("production", reason="incident 7")

    with pytest.raises(StageMovedError) as refusal:
        churn[4].promote("production", if_current=named)

    assert refusal.value.current == there
    assert live(churn) == ([there] if there else [])
    if there:
        assert "production holds Churn:3" in str(refusal.value)
        assert "bob@team" in str(refusal.value) and "incident 7" in str(refusal.value)
    else:
        assert "production holds nothing" in str(refusal.value)


@pytest.mark.parametrize(
    ("stage", "error", "message"),
    [
        ("prod", StageNotFoundError, "no stage 'prod'; stages: development, staging, production"),
        ("Archived", StageNotFoundError, "clear_stage"),
        ("None", StageNotFoundError, "withdraw"),
        ("", InvalidNameError, "stage name"),
        (None, InvalidNameError, "stage name must be str"),
        ("a b", InvalidNameError, "stage name"),
        (3, InvalidNameError, "stage name"),
    ],
)
@pytest.mark.parametrize("act", ["promote", "check", "approve", "rollback", "freeze", "history"])
def test_an_unknown_stage_lists_the_known_ones(churn, stage, error, message, act):
    """Whatever is done with it, and MLflow's words for "in none" are explained."""
    actions = {
        "promote": lambda: churn[1].promote(stage),
        "check": lambda: churn[1].check(stage),
        "approve": lambda: churn[1].reject(stage, reason="r"),
        "rollback": lambda: churn.rollback(stage, reason="r"),
        "freeze": lambda: churn.freeze(stage, reason="r"),
        "history": lambda: churn.history(stage if stage is not None else 5),
    }
    before = len(churn.history())

    with pytest.raises(error) as refusal:
        actions[act]()

    assert message in str(refusal.value)
    assert len(churn.history()) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": 5},
        {"reason": ""},
        {"reason": "x" * 10_001},
        {"override": 1},
        {"override": True},
        {"if_current": "3"},
        {"if_current": True},
        {"if_current": 1.0},
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(churn, wrong):
    """The message names the argument."""
    with pytest.raises(InvalidInputError, match=next(iter(wrong)) + "|reason"):
        churn[1].promote("production", **wrong)

    assert len(churn.history()) == 0


def test_a_deleted_version_is_not_promoted(churn):
    """A handle that is held since before the deletion is refused."""
    held = churn[1]
    churn[1].delete(reason="erasure")

    with pytest.raises(VersionNotFoundError, match="Churn:1 was deleted"):
        held.promote("production")


def test_a_withdrawn_version_is_not_promoted(churn):
    """Not even by an override; restored it is."""
    churn[1].withdraw(reason="bad labels")

    for override in (False, True):
        with pytest.raises(GateFailedError, match="bad labels; restore") as refusal:
            churn[1].promote("production", reason="r", override=override)
        assert not refusal.value.report.can_override
    churn[1].restore(reason="they were right")
    churn[1].promote("production")

    assert live(churn) == [1]


def test_withdrawing_what_is_live_warns_the_caller(churn):
    """It stays where it is, and that is said."""
    promoted(churn, 2, stage="staging")
    promoted(churn, 2)

    with pytest.warns(LiveVersionWarning, match="Churn:2 is still in staging, production"):
        churn[2].withdraw(reason="bad labels")

    assert live(churn) == [2]


def test_an_empty_stage_gives_no_version(churn, registry):
    """The stage is known, and that nothing is there is said."""
    with pytest.raises(VersionNotFoundError, match="no version of Churn is in staging"):
        registry.get("churn@staging")

    assert "staging" not in churn


# ---- rolling back


def test_a_roll_back_brings_back_what_was_live_before(churn):
    """And again goes further back, until nothing is left."""
    promoted(churn, 1, 2, 3)

    first = churn.rollback("production", reason="latency")
    second = churn.rollback("production", reason="still")

    assert (first.left, first.target, first.number) == (("Churn:3",), "Churn:2", 2)
    assert (second.left, second.target) == (("Churn:2",), "Churn:1")
    assert live(churn) == [1]
    with pytest.raises(RollbackError, match="nothing was in production before Churn:1"):
        churn.rollback("production", reason="again")


def test_a_dry_run_changes_nothing(churn):
    """It tells what would be done."""
    promoted(churn, 1, 2)

    report = churn.rollback("production", reason="latency", dry_run=True)

    assert str(report) == "would roll production back from Churn:2 to Churn:1"
    assert live(churn) == [2]
    assert len(churn.history("production")) == 2


def test_after_a_roll_back_the_next_one_goes_to_what_was_live_then(churn):
    """1, 2, 3, back to 2, then 4: the one before 4 is 2, not 3."""
    promoted(churn, 1, 2, 3)
    churn.rollback("production", reason="r")
    promoted(churn, 4)

    assert churn.rollback("production", reason="r").number == 2
    assert churn.rollback("production", reason="r").number == 1


def test_a_version_that_came_back_counts_where_it_was_last(churn):
    """1, 2, 1 again: before it was 2, and before that nothing else that is good."""
    promoted(churn, 1, 2, 1)

    assert churn.rollback("production", reason="r").number == 2
    with pytest.raises(RollbackError):
        churn.rollback("production", reason="r")


@pytest.mark.parametrize("spoil", ["withdrawn", "deleted", "rolled back before", "damaged"])
def test_a_roll_back_passes_over_what_is_not_fit(churn, registry, spoil, memory):
    """Withdrawn, deleted, damaged, or left behind before; each is named with the reason."""
    promoted(churn, 1, 2, 3, 4)
    if spoil == "withdrawn":
        churn[3].withdraw(reason="bad")
    elif spoil == "deleted":
        churn[3].delete(reason="bad")
    elif spoil == "damaged":
        damage(registry, 3)
    else:
        # Left behind by going to 4, which was newer; the way back leads over it.
        churn.rollback("production", to=3, reason="r")
        churn.rollback("production", to=4, reason="it was not that")

    report = churn.rollback("production", reason="latency")

    assert report.number == 2
    (skipped,) = report.skipped
    assert skipped.startswith(f"Churn:3: {spoil}")
    assert all(decision.explain() for decision in churn.history())


def damage(registry, number):
    """Flip a byte of a version's object."""
    store = registry._home.store
    key = f"models/churn/versions/{number}/object/object.pkl"
    data = bytearray(store.read(key))
    data[-5] ^= 1
    store.remove(key)
    store.put(key, bytes(data))


def test_all_that_is_not_fit_is_named_when_nothing_is(churn):
    """The stage stays as it is."""
    promoted(churn, 1, 2, 3)
    churn[1].withdraw(reason="bad")
    churn[2].delete(reason="bad")

    with pytest.raises(RollbackError, match=r"Churn:2: deleted; Churn:1: withdrawn"):
        churn.rollback("production", reason="r")

    assert live(churn) == [3]


def test_a_roll_back_may_name_its_target(churn):
    """Any version that was there, older or newer; the one left behind is marked."""
    promoted(churn, 1, 2, 3)

    churn.rollback("production", to=1, reason="r")
    report = churn.rollback("production", to=churn[3], reason="it was not that")

    assert report.number == 3
    assert live(churn) == [3]
    with pytest.raises(GateFailedError, match="rolled back from it"):
        churn[1].promote("production")


@pytest.mark.parametrize(
    ("to", "error", "message"),
    [
        (5, RollbackError, "never in production"),
        (3, RollbackError, "in production already"),
        (2, RollbackError, "withdrawn"),
        (99, VersionNotFoundError, "no version Churn:99"),
        ("staging", VersionNotFoundError, "is in staging"),
        (True, InvalidInputError, "takes a number"),
    ],
)
def test_a_target_that_cannot_be_is_refused(churn, to, error, message):
    """The message says why, and nothing moves."""
    promoted(churn, 1, 2, 3)
    churn[2].withdraw(reason="bad")

    with pytest.raises(error, match=message):
        churn.rollback("production", to=to, reason="r")

    assert live(churn) == [3]


def test_a_named_target_that_is_damaged_is_refused(churn, registry):
    """What is broken is named, and the stage stays as it is."""
    promoted(churn, 1, 2)
    damage(registry, 1)

    with pytest.raises(IntegrityError, match=r"object\.pkl"):
        churn.rollback("production", to=1, reason="r")

    assert live(churn) == [2]


def test_what_was_left_behind_is_not_promoted_again_without_an_override(churn):
    """The override lifts the mark, and it may be rolled back from again."""
    promoted(churn, 1, 2)
    churn.rollback("production", reason="latency")

    with pytest.raises(GateFailedError, match="only an override lets it in again"):
        churn[2].promote("production")
    decision = churn[2].promote("production", override=True, reason="it was the network")

    assert decision.override
    assert "(OVERRIDE): it was the network" in str(decision)
    assert live(churn) == [2]
    churn[3].promote("production")
    churn[2].promote("production")
    assert live(churn) == [2]


def test_a_mark_is_of_one_stage(churn):
    """Left behind in production, it may still go to staging."""
    promoted(churn, 1, 2)
    churn.rollback("production", reason="latency")

    churn[2].promote("staging")

    assert live(churn, "staging") == [2]


def test_a_cleared_stage_is_empty_and_can_be_rolled_back(churn):
    """Nothing is marked by clearing."""
    promoted(churn, 1, 2)

    decision = churn.clear_stage("production", reason="end of the pilot")

    assert live(churn) == []
    assert "cleared production of Churn:2: end of the pilot" in str(decision)
    assert churn.rollback("production", reason="r").number == 2
    with pytest.raises(ConflictError, match="nothing is in staging"):
        churn.clear_stage("staging", reason="r")


def test_a_roll_back_of_a_stage_that_was_never_used_is_refused(churn):
    """It says so."""
    with pytest.raises(RollbackError, match="nothing was in staging at any time"):
        churn.rollback("staging", reason="r")


@pytest.mark.parametrize("reason", ["", None, 5, "x" * 10_001])
@pytest.mark.parametrize("act", ["rollback", "clear_stage", "freeze", "unfreeze"])
def test_a_reason_is_needed(churn, act, reason):
    """Nothing is written without one."""
    promoted(churn, 1, 2)
    before = len(churn.history())

    with pytest.raises(InvalidInputError, match="reason"):
        getattr(churn, act)("production", reason=reason)

    assert len(churn.history()) == before


# ---- freezing


def test_a_frozen_stage_takes_no_promotion(churn, clock):
    """Not even by an override; a roll-back works, and other stages are open."""
    promoted(churn, 1, 2)

    churn.freeze("production", until="2026-12-01", reason="holidays")

    for override in (False, True):
        with pytest.raises(GateFailedError, match="frozen by ana@team until 2026-12-01"):
            churn[3].promote("production", reason="r", override=override)
    churn[3].promote("staging")
    assert churn.rollback("production", reason="incident").number == 1
    clock.now = datetime(2026, 12, 1, tzinfo=UTC)
    churn[3].promote("production")
    assert live(churn) == [3]


def test_a_freeze_without_an_end_is_lifted(churn):
    """By `unfreeze`, once."""
    churn.freeze("production", reason="audit")
    with pytest.raises(GateFailedError, match="until it is unfrozen: audit"):
        churn[1].promote("production")

    churn.unfreeze("production", reason="done")

    churn[1].promote("production")
    with pytest.raises(ConflictError, match="is not frozen"):
        churn.unfreeze("production", reason="again")


def test_a_freeze_that_has_run_out_cannot_be_lifted(churn, clock):
    """It is none any more."""
    churn.freeze("production", until=clock.now + timedelta(hours=1), reason="r")
    clock.now += timedelta(hours=2)

    with pytest.raises(ConflictError, match="is not frozen"):
        churn.unfreeze("production", reason="r")


@pytest.mark.parametrize(
    "until",
    ["yesterday", "2026-11-01", "", 5, datetime(2027, 1, 1), date(2020, 1, 1), "2026-13-01", ()],
)
def test_a_freeze_until_no_time_to_come_is_refused(churn, until):
    """Text that is none, a time without a zone, and what is over."""
    with pytest.raises(InvalidInputError, match="until"):
        churn.freeze("production", until=until, reason="r")

    assert len(churn.history()) == 0


# ---- what is in a stage is kept


def test_what_is_in_a_stage_is_not_deleted(churn):
    """The stages are named; once it has left, it may be deleted by name."""
    promoted(churn, 2)

    with pytest.raises(InUseError, match="Churn:2 is in production"):
        churn[2].delete(reason="r")
    promoted(churn, 3)
    churn[2].delete(reason="r")

    assert 2 not in churn


def test_prune_and_gc_spare_what_is_or_was_in_a_stage(churn, registry):
    """Also what was rolled back from, and what left long ago."""
    promoted(churn, 1, 2, 3)
    churn.rollback("production", reason="r")
    churn.clear_stage("production", reason="r")

    report = churn.prune(keep=0)
    registry.gc(older_than=timedelta(0))

    assert report.deleted == (4, 5)
    assert [version.number for version in churn] == [1, 2, 3]
    assert churn[3].load(allow_pickle=True) == {"weights": [3]}


# ---- warnings and loads


def test_a_promotion_warns_of_nothing(churn):
    """Without a race there is nothing to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        promoted(churn, 1, 2, 3)
