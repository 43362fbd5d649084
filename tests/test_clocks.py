"""Clocks that disagree: the journal gives the order, whatever the writers' clocks say."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelversion as mv
from modelversion import layout, versions
from modelversion.errors import JournalError
from modelversion.journal import Journal

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
PLACES = itertools.count(1)
WRITERS = 3


class Clock:
    """A simulated clock: it stands where it is set."""

    def __init__(self, now=NOON):
        self.now = now

    def __call__(self):
        return self.now


seconds = st.integers(-(10**7), 10**7) | st.sampled_from([0, 1, -1])
steps = st.tuples(
    st.integers(0, WRITERS - 1), st.sampled_from(["save", "alias", "promote"]), seconds
)


def entries(registry, kind):
    store = registry._home.store
    keys = (layout.entry(f"models/churn/{kind}", position) for position in itertools.count(1))
    found = itertools.takewhile(bool, (store.read_many([key])[0] for key in keys))
    return [json.loads(data) for data in found]


def act(registry, what, count):
    """Do one thing; give what the model is to say from then on."""
    churn = registry["churn"]
    if what == "save":
        return "latest", registry.save("churn", {"weight": count}).number
    newest = churn.versions()[0].number
    if what == "alias":
        churn.set_alias("champion", newest)
        return "champion", newest
    churn[newest].promote("staging", reason="next")
    return "staging", newest


@settings(max_examples=60)
@given(st.lists(steps, min_size=1, max_size=15))
def test_writers_whose_clocks_disagree_agree_on_the_order(done):
    """Each clock jumps as it likes: times of entries rise, and what was done last is there."""
    clocks = [Clock() for _ in range(WRITERS)]
    url = f"memory://clocks-{next(PLACES)}"
    writers = [mv.Registry(url, clock=clock) for clock in clocks]
    writers[0].save("churn", {"weight": -1})
    said = {"latest": 1}
    for count, (writer, what, jump) in enumerate(done):
        clocks[writer].now += timedelta(seconds=jump)
        name, number = act(writers[writer], what, count)
        said[name] = number

    fresh = mv.Registry(url)
    assert fresh.verify().ok
    assert {name: fresh["churn"][name].number for name in said} == said
    for kind in ("journal", "decisions"):
        times = [entry["time"] for entry in entries(fresh, kind)]
        assert times == sorted(set(times))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, WRITERS - 1), seconds), min_size=1, max_size=10))
def test_what_was_live_then_does_not_depend_on_clocks(jumps):
    """`at` of each entry's own time gives what that entry made live."""
    clocks = [Clock() for _ in range(WRITERS)]
    url = f"memory://clocks-{next(PLACES)}"
    writers = [mv.Registry(url, clock=clock) for clock in clocks]
    for i in range(3):
        writers[0].save("churn", {"weight": i})
    for count, (writer, jump) in enumerate(jumps):
        clocks[writer].now += timedelta(seconds=jump)
        writers[writer]["churn"][count % 3 + 1].promote("production", reason="next")

    churn = mv.Registry(url)["churn"]
    made = [entry for entry in entries(mv.Registry(url), "decisions") if "number" in entry["event"]]
    assert made
    for entry in made:
        assert churn.at(entry["time"])["production"].number == entry["event"]["number"]


@pytest.mark.parametrize("hours", [-48, 48])
def test_a_gc_by_another_clock_in_the_middle_of_a_save_loses_nothing(tmp_path, monkeypatch, hours):
    """A writer whose clock is behind looks long dead: it claims another number, and is saved."""
    slow = mv.Registry(tmp_path, clock=Clock(NOON + timedelta(hours=hours)))
    slow.save("churn", {"weight": 0})
    fill = versions.fill
    swept = []

    def interrupted(*args):
        data = fill(*args)
        if not swept:
            swept.append(mv.Registry(tmp_path, clock=Clock()).gc())
        return data

    monkeypatch.setattr(versions, "fill", interrupted)
    saved = slow.save("churn", {"weight": 1})

    assert saved.number == (3 if hours < 0 else 2)
    assert mv.Registry(tmp_path).load("churn") == {"weight": 1}
    assert mv.Registry(tmp_path).verify().ok


def test_mutant_times_as_the_clock_says_them(tmp_path, monkeypatch):
    """Without the correction the times of a journal fall when a clock goes back."""
    real = Journal._entry

    def as_it_is(self, head, event, actor):
        entry = real(self, head, event, actor)
        return type(entry)(**{**_fields(entry), "time": entry.clock})

    monkeypatch.setattr(Journal, "_entry", as_it_is)
    clock = Clock()
    registry = mv.Registry(tmp_path, clock=clock)
    registry.save("churn", {"weight": 0})
    clock.now -= timedelta(days=1)
    registry.save("churn", {"weight": 1})

    times = [entry["time"] for entry in entries(registry, "journal")]
    assert times != sorted(set(times))


def _fields(entry):
    return {field.name: getattr(entry, field.name) for field in entry.__attrs_attrs__}


def test_an_append_behind_what_was_cut_off_is_found(tmp_path):
    """A handle goes on where it was, behind entries that somebody took away: all others see it."""
    handle = mv.Registry(tmp_path)
    for i in range(3):
        handle.save("churn", {"weight": i})
    last = Path(tmp_path, layout.entry("models/churn/journal", 3))
    last.unlink()

    handle.save("churn", {"weight": 3})

    fresh = mv.Registry(tmp_path)
    assert not fresh.verify().ok
    with pytest.raises(JournalError):
        handle["churn"].versions()
