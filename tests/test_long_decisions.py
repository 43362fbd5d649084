"""A model that was decided on 10,000 times: a decision costs what it cost at first."""

import attrs
import pytest
from test_journal import CountingStore, TickingClock, commits, never, now

import modelversion as mv
from modelversion.events import Promoted
from modelversion.home import Home
from modelversion.schema import from_json

FEW, MANY = 10, 10_000
VERSIONS = 400  # more than a stage's state remembers the stays of
# Calls of the store, one after the other, on a handle that has read nothing; and on one that has.
# The version's own files, read for the first time, are among them.
COLD = {"rollback, dry": 5, "rollback": 5, "check": 7, "promote": 7, "approve": 7, "alias": 5}
WARM = {"rollback, dry": 5, "rollback": 3, "check": 5, "promote": 6, "approve": 5, "alias": 3}
WARM |= {"clear": 2, "freeze": 2, "refused": 7}


def decided(count):
    """Make a registry in memory whose model was promoted to production so many times."""
    url = f"memory://decided-{count}"
    registry = mv.Registry(url, actor="ana@team", clock=TickingClock())
    registry.set_policy("production", approvals=0, gates=[mv.gates.at_least("auc", 0.1)])
    registry.save("churn", {"w": 0}, metrics={"auc": 0.5})
    churn = registry["churn"]
    facts, decisions = churn._line.facts, churn._line.decisions
    facts._run = decisions._run = now
    for event in commits(2, VERSIONS):
        facts.append(lambda _, event=event: event, actor=registry._home.actor)
    registry.save("churn", {"w": 1}, metrics={"auc": 0.6})
    registry.save("churn", {"w": 2}, metrics={"auc": 0.7})
    first = churn[1].promote("production").event
    for i in range(count):
        decisions.append(lambda state, i=i: again(first, state, i), actor=registry._home.actor)
    for number in (1, VERSIONS + 1, VERSIONS + 2):
        churn[number].promote("production", reason="for real")
    return url


def again(first, state, i):
    """Give the promotion of one version after the other, judged as the first was."""
    fields = {k: v for k, v in first.items() if k not in ("kind", "must_understand")}
    number = 2 + i % (VERSIONS - 1)
    return attrs.evolve(
        from_json(Promoted, fields, "event"),
        number=number,
        nonce=f"{number:016x}",
        sha256=f"{number:064x}",
        replaces=state.stage("production").live,
    )


def handle_on(url):
    """Open it anew as somebody else, and count what is asked of its store."""
    registry = mv.Registry(url, actor="bo@risk", clock=TickingClock())
    home = registry._home
    store = CountingStore(home.store)
    registry._home = Home(store, home.actor, home.clock)
    churn = registry["churn"]
    # Merges are written beside the caller, by whoever lands on a multiple.
    churn._line.decisions._run = never
    return churn, store


def refused(churn):
    """Promote over what is not there."""
    with pytest.raises(mv.errors.StageMovedError, match=r"ana@team|bo@risk"):
        churn[1].promote("production", if_current=77)


DOES = {
    "rollback, dry": lambda churn: churn.rollback("production", reason="incident", dry_run=True),
    "check": lambda churn: churn[1].check("production"),
    "approve": lambda churn: churn[1].approve("production", reason="reviewed"),
    "alias": lambda churn: churn.set_alias("champion", 1),
    "refused": refused,
    "rollback": lambda churn: churn.rollback("production", reason="incident"),
    "promote": lambda churn: churn[1].promote("staging", reason="again"),
    "freeze": lambda churn: churn.freeze("production", reason="weekend"),
    "clear": lambda churn: churn.clear_stage("staging", reason="not needed"),
}


def counted(url):
    """Give (calls, keys) of each decision, cold and warm; `approve` needs another actor each."""
    found = {}
    for name in COLD:
        churn, store = handle_on(url)
        if name == "approve":
            churn._line.home.actor = attrs.evolve(churn._line.home.actor, name="eve@risk")
        store.clear()
        DOES[name](churn)
        found["cold", name] = (store.waves, store.requests)
    churn, store = handle_on(url)
    churn.set_alias("champion", VERSIONS + 1)
    mv.Registry(url, actor="ana@team", clock=TickingClock())["churn"][VERSIONS + 2].promote(
        "production", reason="again", override=True
    )
    for name in WARM:
        store.clear()
        DOES[name](churn)
        found["warm", name] = (store.waves, store.requests)
    return found


@pytest.fixture(scope="module")
def counts():
    """What each decision asks of its store, with few and with many decisions behind it."""
    return {count: counted(decided(count)) for count in (FEW, MANY)}


@pytest.mark.parametrize(
    "which", [*(("cold", name) for name in COLD), *(("warm", name) for name in WARM)], ids="-".join
)
def test_a_decision_costs_the_same_after_10000_decisions(counts, which):
    """No more calls, and of keys at most those of half a merge more."""
    few, many = counts[FEW][which], counts[MANY][which]

    assert many[0] <= few[0]
    assert many[1] <= few[1] + 48
    assert max(few[0], many[0]) <= {"cold": COLD, "warm": WARM}[which[0]][which[1]]
