"""Decisions judged again: what an edited record is caught by, one edit at a time."""

import copy

import attrs
import pytest

import modelversion as mv
from modelversion.replay import replay


@pytest.fixture
def churn(registry):
    """Four versions: promoted in turn under a policy, one withdrawn, one rolled back to."""
    bob = mv.Registry(registry.url, actor="bob@team")
    for auc in (0.8, 0.85, 0.9, 0.95):
        registry.save("churn", {"auc": auc}, metrics={"auc": auc})
    model = registry["churn"]
    model[1].promote("production")
    registry.set_policy(
        "production", approvals=1, reason_required=True, gates=[mv.gates.at_least("auc", 0.85)]
    )
    for number in (2, 3, 4):
        bob["churn"][number].approve("production", reason="reviewed")
        model[number].promote("production", reason=f"CR-{number}")
    model[3].withdraw(reason="leak")
    model.rollback("production", reason="latency")
    model[4].promote("production", reason="it was not that", override=True)
    return model


def again(model, kind, edit, *, before=None):
    """Replay the last decision of a kind, edited; gives what differs."""
    log = model.history()._log
    found = next(d for d in reversed(log.decisions) if d.kind == kind)
    event = copy.deepcopy(found.event)
    edit(event)
    state = log.state(found.position - 1)
    entry = {"position": found.position, "event": event}
    return replay(log._shelf, entry, before(state) if before else state, subject="it").problems


def verdict(event, gate):
    return next(v for v in event["judged"]["verdicts"] if v["gate"] == gate)


def test_what_was_not_edited_agrees(churn):
    """Every decision, and each of the two kinds that are judged."""
    assert all(decision.explain() for decision in churn.history())
    assert str(churn.history()[-1].explain()).endswith("it comes out the same")
    for kind in ("stage.promoted", "stage.rolled_back"):
        assert again(churn, kind, lambda event: None) == ()


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda e: e.pop("reason"), "the policy wants a reason, and there is none"),
        (lambda e: e.update(override=False), "it passes over a gate unsaid"),
        (lambda e: e["judged"].update(ruled=1), "it names the policy adopted at 1"),
        (lambda e: e["judged"].pop("at"), "does not say when it was judged"),
        (lambda e: e["judged"].update(facts=3), "does not say when it was judged"),
        (lambda e: e["judged"]["verdicts"].pop(), "no verdict for each of"),
        (lambda e: e["judged"].update(verdicts="all"), "no verdict for each of"),
        (lambda e: verdict(e, "at_least").pop("seen"), "not what the format says"),
        (lambda e: verdict(e, "at_least")["seen"].update(value=0.99), "seen was recorded as"),
        (lambda e: verdict(e, "at_least").update(passed=False), "passed was recorded as False"),
        (lambda e: verdict(e, "approvals")["seen"].update(approved=["eva"]), "seen was recorded"),
    ],
)
def test_an_edited_promotion_differs(churn, edit, says):
    """Each part of the record is held against what the journal says."""
    assert says in "; ".join(again(churn, "stage.promoted", edit))


def test_an_override_of_nothing_differs(churn):
    """A promotion that passed does not say that it passed over something."""
    log = churn.history()._log
    found = next(d for d in log.decisions if d.kind == "stage.promoted" and d.number == 3)
    entry = {"position": found.position, "event": {**found.event, "override": True}}

    problems = replay(log._shelf, entry, log.state(found.position - 1), subject="it").problems

    assert problems == ("it is an override of nothing",)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda e: e.update(skipped=[]), "3 was passed over, and the record does not say so"),
        (lambda e: e["skipped"][0].update(why="damaged"), "3 was passed over"),
        (lambda e: e.update(skipped=["3", {"number": 3}]), "3 was passed over"),
        (lambda e: e.update(number=1), "2 was passed over"),
        (lambda e: e.update(number=3, skipped=[]), "3 was chosen, though withdrawn"),
        (lambda e: e.update(number=9), "9 was not there before what was live"),
    ],
)
def test_an_edited_roll_back_differs(churn, edit, says):
    """The target is chosen again, and what was passed over has to be told."""
    assert says in "; ".join(again(churn, "stage.rolled_back", edit))


def test_a_named_roll_back_is_not_chosen_again(churn):
    """Whoever names the target has chosen it."""
    assert again(churn, "stage.rolled_back", lambda e: e.update(number=1, named=True)) == ()


def test_a_state_of_other_rules_differs(churn):
    """The policy that the state had counts, not one that somebody wishes it had."""

    def without_policy(state):
        return attrs.evolve(state, rules=attrs.evolve(state.rules, policies={}))

    problems = again(churn, "stage.promoted", lambda e: None, before=without_policy)

    assert "no verdict for each of" in "; ".join(problems)
