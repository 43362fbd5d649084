"""Decisions replay: what was recorded is given again, and what was forged is found."""

import itertools
import json
import random
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import modelversion as mv
from modelversion import judging, proof, verification
from modelversion._json import digest, dumps
from modelversion.errors import ModelVersionError, NotFoundError


@pytest.fixture
def registry(tmp_path, clock):
    """An empty registry in a local folder, with a clock of the test's."""
    return mv.Registry(tmp_path / "registry", actor="ana@team", clock=clock)


@pytest.fixture
def governed(registry):
    """A model with every kind of decision, under two policies."""
    for i in range(1, 6):
        registry.save(
            "churn",
            {"w": [i]},
            metrics={"auc": round(0.8 + i / 100, 2)},
            tags={"team": "risk"},
            new=True,
        )
    churn = registry["churn"]
    bob = mv.Registry(registry.url, actor="bob@team", clock=registry._home.clock)["churn"]
    churn[1].promote("production", reason="first")
    registry.set_policy(
        "production",
        after="staging",
        approvals=1,
        gates=[
            mv.gates.at_least("auc", 0.8),
            mv.gates.not_worse_than("production", "auc", by=0.002),
            mv.gates.requires(["tags.team"]),
            mv.gates.verified(),
            mv.gates.any_of("operator:is_not", mv.gates.smaller_than(10**9)),
        ],
    )
    for number in (2, 3):
        churn[number].promote("staging")
        bob[number].approve("production", reason="reviewed")
        churn[number].promote("production", reason=f"CR-{number}")
    churn.rollback("production", reason="latency")
    churn[4].promote("production", reason="incident", override=True)
    churn.set_alias("champion", 4)
    churn.freeze("staging", reason="audit")
    return churn


# ---- replaying


def test_every_decision_is_explained(governed):
    """The replay gives the recorded verdicts, with the policy, the numbers and the state."""
    explained = [decision.explain() for decision in governed.history()]

    assert all(explained)
    promotion = next(e for e in explained if "CR-3" in e.subject)
    assert promotion.live == (2,)
    assert promotion.policy.after == "staging"
    assert [v.to_stored() for v in promotion.replayed] == list(promotion.recorded)
    said = str(promotion)
    assert "auc is 0.83, that of the version in production (2) is 0.82" in said
    assert "1 of 1 approvals by bob@team" in said
    assert "policy adopted at 3" in said


def test_a_replay_is_of_that_time(governed, registry):
    """Tags that changed and versions that were deleted since change nothing."""
    governed[3].untag("team")
    governed[2].tag(team="other")
    governed.clear_stage("staging", reason="r")
    governed[3].delete(reason="erasure")

    assert all(decision.explain() for decision in governed.history())
    assert registry.verify(), str(registry.verify())


def test_a_thousand_random_promotions_are_explained(registry, clock):
    """By the log of all decisions, each on its own state."""
    pick = random.Random(7)
    for _ in range(12):
        registry.save("churn", {"w": [1]}, metrics={"auc": pick.random()}, new=True)
    churn = registry["churn"]
    promoted = tries = 0
    while promoted < 1000:
        tries += 1
        if tries % 60 == 1:
            gates = pick.sample(
                [
                    mv.gates.at_least("auc", pick.random() / 4),
                    mv.gates.not_worse_than("production", "auc", by=pick.random()),
                    mv.gates.any_of(
                        mv.gates.at_most("auc", 0.5), mv.gates.not_worse_than("staging", "auc")
                    ),
                    mv.gates.requires(["metrics.auc"]),
                ],
                pick.randint(0, 3),
            )
            soak = pick.choice([None, timedelta(seconds=pick.randint(1, 50))])
            registry.set_policy("production", after="staging", soak=soak, gates=gates)
        number, stage = pick.randint(1, 12), pick.choice(["staging", "production"])
        override = pick.random() < 0.3
        if churn.stages[stage] == [number]:
            continue
        try:
            churn[number].promote(stage, reason="r" if override else None, override=override)
            promoted += 1
        except mv.errors.GateFailedError as e:
            assert not e.report
            clock.now += timedelta(seconds=pick.randint(0, 30))

    log = churn.history()._log

    found = [d for d in churn.history() if d.kind == "stage.promoted"]
    assert len(found) == 1000
    explained = [log.explain(decision.position) for decision in found]
    assert all(explained), next(str(e) for e in explained if not e)
    assert any(d.override for d in found) and not all(d.override for d in found)


# ---- forging


def entries_of(registry, journal="models/churn/decisions"):
    return sorted(Path(registry.url, journal).glob("0*.json"))


def forge(registry, change):
    """Change events of the decisions and chain all entries anew, as a forger would."""
    values = [json.loads(path.read_bytes()) for path in entries_of(registry)]
    for path in entries_of(registry):
        path.unlink()
    shutil.rmtree(Path(registry.url, "models/churn/decisions/s1"), ignore_errors=True)
    values = change(values) or values
    previous = values[0]["previous"]
    folder = Path(registry.url, "models/churn/decisions")
    for position, value in enumerate(values, 1):
        value = {**value, "position": position, "previous": previous}
        data = dumps(value)
        previous = digest(data)
        (folder / f"{position:012d}.json").write_bytes(data)
    return mv.Registry(registry.url)


def event_of(values, **wanted):
    return next(
        v["event"] for v in values if all(v["event"].get(k) == w for k, w in wanted.items())
    )


def promotion_of(values, reason):
    return event_of(values, kind="stage.promoted", reason=reason)


def _pass(values):
    event = promotion_of(values, "incident")
    event["override"] = False
    for verdict in event["judged"]["verdicts"]:
        verdict["passed"] = True


def _no_verdicts(values):
    promotion_of(values, "CR-3")["judged"]["verdicts"] = []


def _another_number(values):
    verdict = promotion_of(values, "CR-3")["judged"]["verdicts"][5]
    assert verdict["gate"] == "at_least"
    verdict["seen"]["value"] = 0.99


def _easier(values):
    verdict = promotion_of(values, "CR-3")["judged"]["verdicts"][5]
    verdict["value"] = 0.1


def _another_version(values):
    promotion_of(values, "CR-3")["sha256"] = "0" * 64


def _other_facts(values):
    promotion_of(values, "CR-3")["judged"]["facts"]["digest"] = "0" * 64


def _no_facts(values):
    del promotion_of(values, "CR-3")["judged"]["facts"]


def _before(values):
    promotion_of(values, "CR-3")["judged"]["at"] = "2020-01-01T00:00:00.000000Z"


def _no_time(values):
    promotion_of(values, "CR-3")["judged"]["at"] = "soon"


def _another_policy(values):
    promotion_of(values, "CR-3")["judged"]["ruled"] = 1


def _adopted_easier(values):
    event = [v["event"] for v in values if v["event"]["kind"] == "policy.adopted"][1]
    event["policies"]["production"]["approvals"] = 0


def _adopted_nothing(values):
    event = [v["event"] for v in values if v["event"]["kind"] == "policy.adopted"][1]
    event["digest"] = "0" * 64


def _approved_by_the_author(values):
    entry = next(v for v in values if v["event"]["kind"] == "version.approved")
    entry["actor"]["name"] = "ana@team"


def _approval_of_another(values):
    event_of(values, kind="version.approved")["sha256"] = "0" * 64


def _approval_removed(values):
    return [v for v in values if v["event"]["kind"] != "version.approved"]


def _chosen_otherwise(values):
    event = event_of(values, kind="stage.rolled_back")
    first = promotion_of(values, "first")
    event.update({name: first[name] for name in ("number", "nonce", "size", "sha256")})


def _alias_of_nothing(values):
    event_of(values, kind="alias.set")["nonce"] = "0" * 16


def _override_of_nothing(values):
    promotion_of(values, "CR-3")["override"] = True


FORGERIES = [
    _pass,
    _no_verdicts,
    _another_number,
    _easier,
    _another_version,
    _other_facts,
    _no_facts,
    _before,
    _no_time,
    _another_policy,
    _adopted_easier,
    _adopted_nothing,
    _approved_by_the_author,
    _approval_of_another,
    _approval_removed,
    _chosen_otherwise,
    _alias_of_nothing,
    _override_of_nothing,
]


def test_what_is_true_is_verified(governed, registry):
    """Chained anew without a change, everything holds."""
    assert registry.verify(), str(registry.verify())
    assert forge(registry, lambda values: values).verify()


@pytest.mark.parametrize("change", FORGERIES, ids=lambda f: f.__name__.strip("_"))
def test_a_forged_decision_is_found(governed, registry, change):
    """Though the chain is whole again, verify names the entry, and explain says what differs."""
    report = forge(registry, change).verify()

    assert not report
    assert all("decisions/" in problem.key for problem in report.problems), str(report)


@pytest.mark.parametrize("change", FORGERIES, ids=lambda f: f.__name__.strip("_"))
def test_mutant_verify_without_a_replay(governed, registry, change, monkeypatch):
    """Without the proof, each forgery passes: the guard is what finds it."""
    monkeypatch.setattr(verification, "decision_problems", lambda *args: ())

    assert forge(registry, change).verify()


def test_mutant_adoptions_are_not_compared(governed, registry, monkeypatch):
    """A judge that does not look at the registry's own journal misses easier policies."""
    monkeypatch.setattr(proof._Judge, "_adoption", lambda self, event: iter(()))

    assert forge(registry, _adopted_nothing).verify()


def test_mutant_a_replay_that_believes_the_record(governed, registry, monkeypatch):
    """A replay that takes every number from the record misses a forged one."""
    original = judging.decide
    monkeypatch.setattr(
        judging,
        "decide",
        lambda gate, eyes, seen=None: (
            original(gate, eyes) if seen is None else verification_judge(gate, seen)
        ),
    )

    assert forge(registry, _another_number).verify()


def verification_judge(gate, seen):
    from modelversion.verdicts import judge

    return judge(gate, seen)


@pytest.mark.parametrize("how", ["edited", "removed", "reordered"])
def test_a_chain_that_was_touched_is_found_at_every_entry(governed, registry, how):
    """Any entry but the last that is edited, removed or swapped breaks the chain."""
    paths = entries_of(registry)
    whole = {path: path.read_bytes() for path in paths}
    for i in range(len(paths) - 1):
        for path, data in whole.items():
            path.write_bytes(data)
        if how == "edited":
            value = json.loads(whole[paths[i]])
            value["actor"]["name"] = "eve"
            paths[i].write_bytes(dumps(value))
        elif how == "removed":
            paths[i].unlink()
        else:
            paths[i].write_bytes(whole[paths[i + 1]])
            paths[i + 1].write_bytes(whole[paths[i]])

        assert not mv.Registry(registry.url).verify(), f"{how} {paths[i].name}"


def test_a_void_promotion_changes_nothing_and_says_so(governed, registry):
    """A careless writer that promotes past a freeze is told so by the replay."""

    def late(values):
        event = json.loads(json.dumps(promotion_of(values, "CR-3")))
        return [*values, {**values[-1], "event": {**event, "stage": "staging"}}]

    other = forge(registry, late)

    explained = other["churn"].history()[-1].explain()
    assert not explained
    assert "changed nothing" in explained.problems[0]
    assert other["churn"].stages["staging"] == [3]


def test_history_of_an_empty_model_is_empty(registry):
    """Nothing was decided, and it says so."""
    registry.save("churn", {"w": 1})

    assert len(registry["churn"].history()) == 0
    assert "nothing" in str(registry["churn"].history())
    assert registry["churn"].history().to_pandas().empty


# ---- looking back


def test_the_past_is_what_it_was(governed, registry, clock):
    """Stages, aliases, tags, versions and what is withdrawn, by any form of a moment."""
    before = clock.now
    clock.now += timedelta(days=3)
    registry.save("churn", {"w": [6]})
    governed[2].tag(team="other")
    governed[2].withdraw(reason="bad")
    governed.clear_stage("production", reason="end")
    governed.set_alias("champion", 1)

    for when in (before, before.date(), "2026-11-01", before.isoformat()):
        past = governed.at(when)
        assert past["production"].number == 4
        assert past["champion"].number == 4
        assert past["latest"].number == 5
        assert past.numbers == [1, 2, 3, 4, 5]
        assert past.stages == {"development": [], "staging": [3], "production": [4]}
        assert past.tags(2) == {"team": "risk"}
        assert past.withdrawn == {}
        assert registry.at(when)["churn"].aliases == {"champion": 4}
    assert governed.at("2026-10-31").numbers == []
    assert list(registry.at("2026-10-31")) == []
    with pytest.raises(NotFoundError):
        governed.at("2026-10-31")["production"]
    assert governed.at("2099-01-01").aliases == {"champion": 1}


@pytest.mark.parametrize(
    "when", ["soon", 5, None, datetime(2026, 1, 1), "2026-02-30", "", b"2026-01-01"]
)
def test_a_moment_that_is_none_is_refused(governed, registry, when):
    """Text that is none, and a time without a zone."""
    with pytest.raises(mv.errors.InvalidInputError, match="when"):
        governed.at(when)
    with pytest.raises(mv.errors.InvalidInputError, match="when"):
        registry.at(when)


def test_a_moment_beyond_utc_is_refused(governed):
    """The last hours of the year 9999 in the west are the year 10000 in UTC."""
    west = timezone(timedelta(hours=-12))
    with pytest.raises(mv.errors.InvalidInputError, match="beyond"):
        governed.at(datetime(9999, 12, 31, 23, tzinfo=west))


def test_intervals_cover_the_history(governed):
    """They follow each other without a gap, and the last one is open."""
    stays = governed.history("production").intervals()

    assert [stay.number for stay in stays] == [1, 2, 3, 2, 4]
    for earlier, later in itertools.pairwise(stays):
        assert earlier.until == later.since
    assert stays[-1].until is None
    assert stays[3].began.kind == "stage.rolled_back"
    assert {stay.stage for stay in governed.history().intervals()} == {"staging", "production"}


def test_everything_can_be_taken_as_data(governed, registry):
    """Plain JSON, with nothing in it that JSON cannot say."""
    report = governed[5].check("production")
    things = [
        governed.history(),
        governed.history("production").intervals()[0],
        governed.history()[3],
        governed.history()[3].explain(),
        governed.at("2099-01-01"),
        registry.at("2099-01-01"),
        registry.policies["production"],
        report,
        report.verdicts[0],
    ]

    for thing in things:
        assert json.loads(json.dumps(thing.to_dict())) is not None
        assert str(thing)
        assert repr(thing)


def test_a_journal_that_is_damaged_raises(governed, registry):
    """A history is never made of what does not chain."""
    entries_of(registry)[3].unlink()

    with pytest.raises(ModelVersionError):
        mv.Registry(registry.url)["churn"].history()
