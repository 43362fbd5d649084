"""Many who promote at once: one wins, the others are told; and what a decision costs."""

import itertools
import threading
import warnings

import pytest
from processes import threads_together, together

import modelversion as mv
from modelversion import governing, promotion, rollback
from modelversion.errors import (
    GateFailedError,
    InvalidInputError,
    RollbackError,
    StageMovedError,
    StageMovedWarning,
)
from modelversion.journal import Journal

MANY = 8


@pytest.fixture
def registry(place):
    """A model of as many versions as there are promoters, and one that is live."""
    registry = mv.Registry(place, actor="ana@team")
    for i in range(MANY + 1):
        registry.save("churn", {"w": [i]}, metrics={"auc": 0.9 + i / 1000}, new=True)
    registry["churn"][1].promote("production", reason="first")
    return registry


def gather(registry, job):
    """Run a job in processes on a folder, in threads with handles of their own in memory."""
    arguments = [(registry.url, i) for i in range(2, MANY + 2)]
    run = threads_together if registry.url.startswith("memory") else together
    return run(job, arguments)


def if_first(argument):
    url, number = argument
    churn = mv.Registry(url, actor=f"p{number}")["churn"]
    try:
        churn[number].promote("production", if_current=1, reason=f"try {number}")
    except StageMovedError as e:
        return number, e.current, str(e)
    return number, None, ""


def test_with_if_current_exactly_one_wins(registry):
    """All others are told what is there, who put it there and why; nothing is overwritten."""
    found = gather(registry, if_first)

    (winner,) = [number for number, current, _ in found if current is None]
    assert registry["churn"].stages["production"] == [winner]
    for _, current, said in found:
        if current is not None:
            assert current == winner
            assert f"production holds churn:{winner}" in said
            assert f"p{winner}" in said and f"try {winner}" in said
    history = registry["churn"].history("production")
    assert [decision.number for decision in history] == [1, winner]


def anyway(argument):
    url, number = argument
    churn = mv.Registry(url, actor=f"p{number}")["churn"]
    return number, churn[number].promote("production", reason=f"try {number}").position, []


def anyway_and_told(argument):
    # Only in a process of its own: warnings are caught for all threads at once.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        number, position, _ = anyway(argument)
    told = [str(w.message) for w in caught if w.category is StageMovedWarning]
    return number, position, told


@pytest.fixture
def unwarned():
    """Warnings of all threads are passed over."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_without_it_nothing_is_overwritten_unseen(registry, unwarned):
    """Each promotion names what it replaced, and who was overtaken is told by whom."""
    found = gather(registry, anyway if registry.url.startswith("memory") else anyway_and_told)

    history = registry["churn"].history("production")
    assert len(history) == MANY + 1
    for before, after in itertools.pairwise(history):
        assert after.event["replaces"] == [before.number]
    assert sorted(position for _, position, _ in found) == [d.position for d in history[1:]]
    by_position = {position: (number, told) for number, position, told in found}
    for position, (number, told) in by_position.items():
        (mine,) = [d for d in history if d.position == position]
        for text in told:
            (before,) = mine.event["replaces"]
            assert f"production holds churn:{before} " in text
            assert f" p{before} promoted churn:{before} " in text
            assert "came first; judged again against it" in text and number != before
    assert all(decision.explain() for decision in history)
    assert registry.verify(), str(registry.verify())


def not_worse(argument):
    url, number = argument
    churn = mv.Registry(url, actor=f"p{number}")["churn"]
    try:
        churn[number].promote("production")
    except GateFailedError as e:
        return number, str(e)
    return number, None


def test_who_is_overtaken_is_judged_again(registry, unwarned):
    """Against what is live by then: the stage only ever gets better, whatever the order."""
    registry.set_policy("production", gates=[mv.gates.not_worse_than("production", "auc")])

    found = gather(registry, not_worse)

    history = [d.number for d in registry["churn"].history("production")]
    assert history == sorted(history)
    assert history[-1] == MANY + 1
    lost = {number for number, said in found if said is not None}
    assert lost == set(range(2, MANY + 2)) - set(history)


def back_or_forth(argument):
    url, number = argument
    churn = mv.Registry(url, actor=f"p{number}")["churn"]
    try:
        if number % 3 == 0:
            churn.rollback("production", reason="r")
        elif number % 3 == 1:
            churn[number].withdraw(reason="bad")
        else:
            churn[number].promote("production")
    except (GateFailedError, RollbackError, StageMovedError) as e:
        return type(e).__name__
    return None


def test_promotions_roll_backs_and_withdrawals_at_once(registry, unwarned):
    """Whatever the order, every decision stands on the state before it, and all are explained."""
    gather(registry, back_or_forth)

    churn = registry["churn"]
    state = churn._line.decisions.head().state
    assert state.void == 0
    assert all(decision.explain() for decision in churn.history())
    assert registry.verify(), str(registry.verify())


# ---- one promoter who is overtaken, step by step


@pytest.fixture
def overtaken(registry, monkeypatch):
    """Let another promote version 5 after each first judgement of a promotion."""
    original = promotion._judged
    done = []

    def judged(candidate, name, state, wish):
        event = original(candidate, name, state, wish)
        if not done and candidate.line.home.actor.name == "ana@team":
            done.append(1)
            bob = mv.Registry(registry.url, actor="bob@team")["churn"]
            bob[5].promote("production", reason="hot fix")
        return event

    monkeypatch.setattr(promotion, "_judged", judged)
    return done


def test_a_promotion_that_meets_another_goes_on_and_warns(registry, overtaken):
    """It is judged again, and the warning names what came first, by whom and why."""
    with pytest.warns(StageMovedWarning, match=r"churn:5 .*bob@team .*hot fix.* came first"):
        decision = registry["churn"][6].promote("production")

    assert decision.event["replaces"] == [5]
    assert registry["churn"].stages["production"] == [6]


def test_a_promotion_that_meets_another_may_fail_by_it(registry, overtaken):
    """The error has the new numbers and who came first."""
    registry.set_policy("production", gates=[mv.gates.not_worse_than("production", "auc")])

    with pytest.raises(GateFailedError, match=r"bob@team.* came first, and it was judged again"):
        registry["churn"][3].promote("production")

    assert registry["churn"].stages["production"] == [5]


def test_a_promotion_that_meets_another_is_refused_by_if_current(registry, overtaken):
    """What the caller believed is not true any more."""
    with pytest.raises(StageMovedError, match="hot fix"):
        registry["churn"][6].promote("production", if_current=1)

    assert registry["churn"].stages["production"] == [5]


def test_mutant_a_promotion_is_not_decided_again(registry, overtaken, monkeypatch):
    """Without the second look, what was decided before is void, and verify's fold shows it."""
    append = Journal.append

    def once(self, decide, **more):
        decided = []

        def first(state):
            decided[:] = decided or [decide(state)]
            return decided[0]

        return append(self, first, **more)

    monkeypatch.setattr(Journal, "append", once)
    registry["churn"][6].promote("production")

    assert registry["churn"].stages["production"] == [5]
    assert registry["churn"]._line.decisions.head().state.void == 1


# ---- somebody who rolls back and is overtaken


@pytest.fixture
def incident(registry, monkeypatch):
    """Production went from 1 to 2, 3 and 4; bob acts while the files of a target are hashed."""
    for number in (2, 3, 4):
        registry["churn"][number].promote("production", reason=f"CR-{number}")
    original, acts = rollback.damage, []

    def damage(line, held):
        if acts and line.home.actor.name == "ana@team":
            acts.pop()(mv.Registry(registry.url, actor="bob@team")["churn"])
        return original(line, held)

    monkeypatch.setattr(rollback, "damage", damage)
    return acts


def test_two_who_roll_back_at_once_go_back_once(registry, incident):
    """What the second meant to leave is gone already; a step further would leave a good version."""
    incident.append(lambda churn: churn.rollback("production", reason="bob was paged too"))

    with pytest.raises(StageMovedError, match=r"holds churn:3 .*bob was paged too.*not churn:4"):
        registry["churn"].rollback("production", reason="latency")

    assert registry["churn"].stages["production"] == [3]
    assert registry["churn"].rollback("production", reason="3 is slow too").number == 2


def test_a_roll_back_does_not_put_back_the_bad_one_over_a_fix(registry, incident):
    """What was promoted meanwhile was not what somebody wanted to leave."""
    incident.append(lambda churn: churn[5].promote("production", reason="hot fix"))

    with pytest.raises(StageMovedError, match="hot fix") as caught:
        registry["churn"].rollback("production", reason="latency")

    assert caught.value.current == 5
    assert registry["churn"].stages["production"] == [5]


def test_a_named_target_goes_in_whoever_came_first(registry, incident):
    """The caller has said where to go, and the report tells what was left."""
    incident.append(lambda churn: churn.rollback("production", reason="bob was paged too"))

    report = registry["churn"].rollback("production", reason="latency", to=1)

    assert (report.left, report.number) == (("churn:3",), 1)


def test_a_roll_back_may_say_what_it_is_to_leave(registry, incident):
    """Somebody who was faster by a minute is seen too."""
    churn = registry["churn"]
    for wrong in (3, None):
        for more in ({}, {"to": 1}, {"dry_run": True}):
            with pytest.raises(StageMovedError, match="production holds churn:4"):
                churn.rollback("production", reason="latency", if_current=wrong, **more)

    assert churn.rollback("production", reason="latency", if_current=4).number == 3
    with pytest.raises(InvalidInputError, match="if_current"):
        churn.rollback("production", reason="latency", if_current="4")


# ---- policies while promotions are on their way


def test_no_promotion_lands_under_an_older_policy(registry, unwarned):
    """After `set_policy` has returned, whoever promotes is judged by it."""
    landed, stop = [], threading.Event()

    def promote():
        model = mv.Registry(registry.url, actor="p")["churn"]
        number = 0
        while not stop.is_set():
            number += 1
            try:
                decision = model[number % MANY + 1].promote("staging")
            except GateFailedError:
                continue
            landed.append(decision)

    thread = threading.Thread(target=promote)
    thread.start()
    positions = []
    for i in range(12):
        registry.set_policy("staging", gates=[mv.gates.at_least("auc", 0.89 + i / 1e4)])
        positions.append(registry["churn"]._line.decisions.head())
    stop.set()
    thread.join()

    ruled = [head.state.ruled for head in positions]
    for decision in registry["churn"].history("staging"):
        if decision.kind == "stage.promoted":
            newest = max((r for r in ruled if r < decision.position), default=0)
            assert decision.event["judged"]["ruled"] >= newest
            assert decision.explain()


def test_mutant_set_policy_returns_too_early(registry, monkeypatch):
    """Without the adoption a promotion lands under the older policy."""
    registry.set_policy("staging", approvals=1)
    monkeypatch.setattr(governing, "adopt", lambda line: None)

    registry.set_policy("staging", approvals=0, gates=[mv.gates.at_least("auc", 1)])

    with pytest.raises(GateFailedError) as caught:
        registry["churn"][2].promote("staging")
    assert [v.gate.kind for v in caught.value.report.failed] == ["approvals"]


# ---- what it costs


class Sequence:
    """Notes the calls of a store that are no reading of a version's files."""

    def __init__(self, store):
        self._store = store
        self.calls = []

    def __getattr__(self, name):
        value = getattr(self._store, name)
        if not callable(value) or name == "local_path":
            return value

        def call(*args, **more):
            keys = args[0] if args and isinstance(args[0], list) else [str(a) for a in args[:1]]
            if not all("/versions/" in key for key in keys):
                self.calls.append((name, keys[:1]))
            return value(*args, **more)

        return call


def sequence(registry):
    """Open a registry whose sequential requests are noted."""
    handle = mv.Registry(registry.url, actor="ana@team")
    noted = Sequence(handle._home.store)
    handle._home.store = noted
    return handle, noted


@pytest.mark.parametrize("decisions", [3, 40, 1100])
def test_a_roll_back_costs_at_most_five_requests(registry, merges, decisions):
    """One after the other, on a handle that has read nothing, besides the target's own files."""
    churn = registry["churn"]
    for i in range(decisions):
        churn.set_alias("champion", i % MANY + 1)
    for number in (2, 3):
        churn[number].promote("production")
    merges()
    handle, noted = sequence(registry)
    model = handle["churn"]
    noted.calls.clear()

    assert model.rollback("production", reason="incident").number == 2

    assert len(noted.calls) <= 5, noted.calls
    noted.calls.clear()
    assert model.rollback("production", reason="incident").number == 1
    assert len(noted.calls) <= 3, noted.calls
    assert registry["churn"].stages["production"] == [1]
