"""Whoever sets a policy or the stages may be killed: it is reported, and finished by the next."""

from pathlib import Path

import pytest
from processes import report_of

import modelversion as mv
from modelversion.errors import ConflictError, GateFailedError, StageNotFoundError

WORKER = Path(__file__).with_name("setter_worker.py")


@pytest.mark.parametrize("scenario", ["set-policy", "set-stages"])
def test_a_killed_setter_is_reported_and_finished(scenario, tmp_path):
    """At each call: what is pending is told, checks are by the new rules, the next adopts them."""
    report = report_of(WORKER, scenario, tmp_path / "kills")

    assert report["problems"] == [], "\n".join(report["problems"])
    assert report["kills"] >= 20
    assert report["pending"] >= 10


MUTANTS = {
    "not looked for": "governing.look = promotion.look = verification.look = lambda line: 0",
    "not reported": "verification.look = lambda line: 0",
    "not finished": "promotion.govern = lambda line: line.decisions.head()",
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_mutants_are_caught_by_the_kills(mutant, tmp_path):
    """Without looking, telling or adopting, the kills show it."""
    script = f"""
from modelversion import governing, promotion, verification
{mutant}
import sys, setter_worker
setter_worker.main(*sys.argv[1:])
"""

    report = report_of("-c", script, "set-policy", tmp_path / "kills", "stop", cwd=WORKER.parent)

    assert report["problems"]


@pytest.fixture
def half_set(registry, monkeypatch):
    """A policy and stages that one of two models has not adopted."""
    for name in ("a", "b"):
        registry.save(name, {"n": name})
        registry[name][1].promote("production")
    dying = mv.Registry(registry.url, actor="bo")
    adopt = mv.governing.adopt
    monkeypatch.setattr(
        "modelversion.governing.adopt", lambda line: line.name == "a" and adopt(line)
    )
    dying.set_stages(["staging", "qa", "production"])
    dying.set_policy("production", approvals=1)
    monkeypatch.setattr("modelversion.governing.adopt", adopt)
    return registry


def test_what_is_pending_is_no_fault(half_set):
    """`verify` stays true, names the journal that is behind, and whose entry it lacks."""
    report = half_set.verify()

    assert report
    assert [p.key for p in report.pending] == ["models/b/decisions"]
    assert "policies 4 is not adopted yet" in str(report)


def test_a_check_says_that_the_rules_are_not_adopted(half_set):
    """It judges by them, tells so in every form, and writes nothing."""
    report = half_set["b"][1].check("qa")

    assert report and report.adopts == 4 and report.to_dict()["adopts"] == 4
    for shown in (str(report), report.to_markdown(), report._repr_html_()):
        assert "the model adopts the rules of policies 4 with its next promotion" in shown
    assert half_set.verify().pending
    assert not half_set["a"][1].check("qa").adopts
    with pytest.raises(StageNotFoundError):
        half_set["b"][1].check("development")


@pytest.mark.parametrize(
    "decide",
    [
        lambda v: v.promote("qa"),
        lambda v: v.approve("qa", reason="fair"),
        lambda v: v.reject("qa", reason="unfair"),
    ],
    ids=["promote", "approve", "reject"],
)
def test_the_next_decision_on_a_stage_adopts(half_set, decide):
    """Also one that is about a stage that only the new rules have."""
    reviewer = mv.Registry(half_set.url, actor="eva")

    decide(reviewer["b"][1])

    assert not half_set.verify().pending
    assert [d.kind for d in half_set["b"].history()][-2] == "policy.adopted"
    assert half_set["b"].history()[-1].explain()


def test_a_freeze_adopts_too(half_set):
    """Of a stage that only the new rules have."""
    half_set["b"].freeze("qa", reason="audit")

    assert not half_set.verify().pending


def test_a_refused_promotion_has_finished_the_setter_all_the_same(half_set):
    """It was judged by the new policy, which is in force from then on."""
    half_set.save("b", {"n": 2})

    with pytest.raises(GateFailedError, match="0 of 1 approvals"):
        half_set["b"][2].promote("production")

    assert not half_set.verify().pending


def test_a_roll_back_waits_for_nobody(half_set, tmp_path):
    """In an incident only the model's own journal is read; the policy stays pending."""
    b = half_set["b"]
    with pytest.raises(ConflictError):
        b.unfreeze("production", reason="r")
    for file in (tmp_path / "registry" / "policies").glob("*.json"):
        file.chmod(0o644)
        file.write_bytes(b"broken")
    b.clear_stage("production", reason="broken")

    assert b.rollback("production", reason="it was not that").number == 1
