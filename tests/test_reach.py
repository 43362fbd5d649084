"""A stage of a thousand promotions: time counts and roll-backs go as far as there was something."""

import shutil
from datetime import timedelta

import pytest
from conftest import Clock, wait_for_merges
from test_promoters import sequence

import modelversion as mv
from modelversion import stays
from modelversion.errors import RollbackError
from modelversion.timeline import seconds


@pytest.fixture(scope="module")
def long_served(tmp_path_factory):
    """A stage that saw a thousand promotions of 300 versions, the first of them long ago."""
    clock = Clock()
    place = tmp_path_factory.mktemp("long") / "registry"
    registry = mv.Registry(place, actor="ana@team", clock=clock)
    for i in range(1, 301):
        registry.save("churn", {"w": i})
    churn = registry["churn"]
    for _ in range(2):
        churn[1].promote("staging")
        clock.now += timedelta(minutes=30)
        for number in range(2, 301):
            churn[number].promote("staging")
    for number in (2 + i % 299 for i in range(400)):
        churn[number].promote("staging")
    wait_for_merges()
    assert len(churn.history("staging")) == 1000
    return place, clock


@pytest.fixture
def long(long_served, tmp_path):
    """A copy of it, and the clock that it was made by."""
    place, clock = long_served
    shutil.copytree(place, tmp_path / "registry")
    return mv.Registry(tmp_path / "registry", actor="ana@team", clock=clock)


def test_time_in_a_stage_counts_however_long_ago_it_was(long):
    """Two stays, both before the last 256 versions, are added up, and explained so."""
    churn = long["churn"]
    hour = timedelta(hours=1)
    long.set_policy("production", after="staging", soak=hour)
    report = churn[1].check("production")

    assert report, str(report)
    assert not churn[2].check("production")
    decision = churn[1].promote("production")
    seen = next(v["seen"] for v in decision.event["judged"]["verdicts"] if v["gate"] == "after")
    stays = [s for s in churn.history("staging").intervals() if s.number == 1]
    assert len(stays) == 2 and seen["seconds"] >= 3600
    assert seen["seconds"] == pytest.approx(sum(seconds(s.until) - seconds(s.since) for s in stays))
    assert decision.explain(), str(decision.explain())
    assert churn.verify(), str(churn.verify())


def test_a_version_that_comes_back_keeps_the_time_it_had_before(long):
    """Also where its earlier stays are no part of the state any more."""
    churn = long["churn"]
    churn[1].promote("staging")
    long.set_policy("production", after="staging", soak=timedelta(hours=1))

    assert churn[1].check("production"), str(churn[1].check("production"))


def test_a_roll_back_goes_back_as_far_as_there_was_something(long):
    """Past 256 versions that are withdrawn, to one that only the journal knows; in few requests."""
    churn = long["churn"]
    live = churn["staging"].number
    for number in range(2, 301):
        if number != live:
            churn[number].withdraw(reason="bad labels")
    wait_for_merges()
    handle, noted = sequence(long)
    model = handle["churn"]
    noted.calls.clear()

    report = model.rollback("staging", reason="incident")

    assert report.number == 1
    assert len(report.skipped) == 298
    assert len(noted.calls) <= 5, noted.calls
    assert churn.history("staging")[-1].explain()
    assert churn.verify(), str(churn.verify())


def test_promoting_asks_the_journal_only_for_what_is_forgotten(long):
    """Judging a version that was there lately reads no history; an old one costs one request."""
    long.set_policy("production", after="staging", soak=timedelta(milliseconds=1))
    long.save("churn", {"w": 301}).promote("staging")
    wait_for_merges()
    calls = {}
    for number in (301, 1):
        handle, noted = sequence(long)
        version = handle["churn"][number]
        noted.calls.clear()
        assert version.check("production"), str(version.check("production"))
        calls[number] = len(noted.calls)

    assert calls[1] - calls[301] == 1, calls


def test_a_roll_back_names_as_many_as_fit_into_its_entry(long, monkeypatch):
    """What is passed over beyond that follows from the state, and the replay agrees."""
    monkeypatch.setattr("modelversion.rollback.MAX_SKIPPED", 5)
    monkeypatch.setattr("modelversion.replay.MAX_SKIPPED", 5)
    churn = long["churn"]
    for number in churn.history("staging").intervals()[-10:-1]:
        churn[number.number].withdraw(reason="bad labels")

    churn.rollback("staging", reason="incident")

    last = churn.history("staging")[-1]
    assert len(last.event["skipped"]) == 5
    assert last.explain(), str(last.explain())


def test_without_the_journal_the_first_would_be_forgotten(long, monkeypatch):
    """Reading back is what makes the tests above pass."""
    monkeypatch.setattr(stays, "_before_live", lambda moved: iter(()))
    churn = long["churn"]
    for number in range(2, 301):
        if number != churn["staging"].number:
            churn[number].withdraw(reason="bad labels")

    with pytest.raises(RollbackError, match="none of those"):
        churn.rollback("staging", reason="incident")
